//! What several modules need of the operating system, each mechanism once: folders that last (a synced file is lost all the
//! same when the disk does not know its folder), files replaced in one step, Unix sockets, the clock, random bytes, group
//! commit. What is put into files, and who may read them, is decided by the callers.

pub mod atomic_file;
pub mod clock;
pub(crate) mod group_commit;
pub mod random;
pub mod unix_socket;

use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;
use std::io;
use std::path::Path;

/// Makes a folder and those above it that are missing, each with this mode and each durable in the one above it.
///
/// # Errors
/// The system's. Whether what is there already is a folder shows when it is used.
pub fn make_folder(path: &Path, mode: u32) -> io::Result<()> {
    let made = match fs::mkdir(path, Mode::from_raw_mode(mode)) {
        Err(Errno::NOENT) if path.parent().is_some() => {
            make_folder(above(path), mode)?;
            fs::mkdir(path, Mode::from_raw_mode(mode))
        }
        other => other,
    };
    match made {
        Ok(()) => sync_folder(above(path)),
        // It was there, or another process was faster.
        Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Makes it durable which files and folders are in this one.
///
/// # Errors
/// The system's.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match fs::open(path, flags, Mode::empty()).and_then(fs::fsync) {
        // A file system that can't sync folders keeps their entries by itself.
        Ok(()) | Err(Errno::INVAL) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// The folder in which `path` is.
#[must_use]
pub fn above(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
