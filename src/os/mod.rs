//! Folders that are made so that they last: a file that is synced is lost all the same when the disk does not know of the
//! folder in which it is. What is put into them, and whose they are, is decided above. And random bytes, for their names.

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
    Ok(fs::open(path, flags, Mode::empty()).and_then(fs::fsync)?)
}

/// The folder in which `path` is.
#[must_use]
pub fn above(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
