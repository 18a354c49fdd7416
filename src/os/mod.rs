//! Operating system services that several modules need, each mechanism once: durable folders (a synced file is lost all
//! the same when the disk does not know its folder), opens that follow no link, locks, atomic replacement of files,
//! Unix sockets, standard streams, the user database, the clock and how far it is believed, random bytes, group commit, versions of files, the
//! system's certificates. The callers decide the
//! content of files and their access rights.

pub mod atomic_file;
pub mod clock;
pub mod clock_record;
pub mod file_lock;
pub mod file_version;
pub(crate) mod group_commit;
pub mod panics;
pub mod random;
pub(crate) mod safe_dir;
pub mod safe_open;
pub mod standard_streams;
#[cfg(any(feature = "postgres", feature = "sender", feature = "vendor"))]
pub(crate) mod tls;
pub mod unix_socket;
pub mod user_database;

use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

/// Creates a folder and its missing parents, each with this mode and each durable in its parent.
///
/// # Errors
/// The system's. Whether an existing path is a folder shows when it is used.
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
        // It existed, or another process was faster.
        Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Syncs a folder, so that its entries are durable.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(fs::open(path, flags, Mode::empty()).and_then(sync_open_folder)?)
}

/// Syncs an open folder, as [`sync_folder`].
pub fn sync_open_folder(folder: impl AsFd) -> Result<(), Errno> {
    match fs::fsync(folder) {
        // A file system that can't sync folders keeps their entries by itself.
        Err(Errno::INVAL) => Ok(()),
        other => other,
    }
}

/// Syncs all files of the file system that has this folder.
///
/// # Errors
/// The system's.
pub fn sync_file_system(folder: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(fs::open(folder, flags, Mode::empty()).and_then(fs::syncfs)?)
}

/// Returns the parent of `path`.
#[must_use]
pub fn above(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Returns the text of an error without the numbers that Rust adds to the system's: "(os error 2)" helps no reader.
#[must_use]
pub fn without_numbers(text: &str) -> String {
    let mut parts = text.split(" (os error ");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix(')').unwrap_or_default());
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_errors_are_left_out() {
        let error = format!("a: {}; b: {}.", io::Error::from_raw_os_error(2), io::Error::from_raw_os_error(28));
        assert_eq!(without_numbers(&error), "a: No such file or directory; b: No space left on device.");
        assert_eq!(without_numbers("a (b)"), "a (b)");
    }
}
