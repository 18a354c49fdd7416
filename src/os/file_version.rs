//! Version of a file: what distinguishes one content from the next, without reading it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// Granularity of the file system's clock: a file may change again within this time and keep its timestamp.
const MOMENT: Duration = Duration::from_millis(50);

/// The metadata of a file, behind links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileVersion {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds.
    changed: (i64, i64),
}

impl FileVersion {
    /// Returns the version of a file; `None` if it cannot be seen.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let data = fs::metadata(path).ok()?;
        let changed = (data.ctime(), data.ctime_nsec());
        Some(Self { device: data.dev(), inode: data.ino(), size: data.size(), changed })
    }

    /// Whether a change after `read`, a time since 1970, would have made another version.
    #[must_use]
    pub fn is_settled(&self, read: Duration) -> bool {
        let (seconds, nanos) = self.changed;
        let changed = Duration::new(seconds.unsigned_abs(), u32::try_from(nanos).unwrap_or(0));
        seconds < 0 || changed + MOMENT < read
    }
}
