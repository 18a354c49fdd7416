//! Opens files and folders below folders of the user's. What was put there in the meantime does no harm: symbolic links
//! are refused, opening a fifo does not wait, and a terminal does not become the controlling one.

use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;
use rustix::path::Arg;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Added to what a caller asks for. On a regular file NONBLOCK and NOCTTY have no effect.
const SAFE: OFlags = OFlags::CLOEXEC.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// Whether the last part of a path may be a symbolic link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// It may: the user chose where the folder lies.
    Followed,
    /// It may not.
    Refused,
}

/// Opens a file. `flags` says for what, and whether it is created (mode 0600).
///
/// # Errors
/// The system's; ELOOP for a symbolic link.
pub fn file(path: &Path, flags: OFlags) -> Result<File, Errno> {
    file_at(fs::CWD, path, flags)
}

/// As [`file()`], by its name in an open folder.
pub fn file_at(folder: impl AsFd, name: impl Arg, flags: OFlags) -> Result<File, Errno> {
    fs::openat(folder, name, flags | SAFE, Mode::RUSR | Mode::WUSR).map(File::from)
}

/// Opens a regular file for reading.
///
/// # Errors
/// As [`file()`], and an error for anything else than a regular file.
pub fn regular_file(path: &Path) -> io::Result<File> {
    let file = file(path, OFlags::RDONLY)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(irregular()) }
}

/// The error for what is no regular file.
pub fn irregular() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")
}

/// Opens a folder by its name in an open folder.
///
/// # Errors
/// The system's; ENOTDIR for anything else, and for a symbolic link where links are refused.
pub fn folder_at(folder: impl AsFd, name: impl Arg, links: Links) -> Result<OwnedFd, Errno> {
    let more = if links == Links::Refused { OFlags::NOFOLLOW } else { OFlags::empty() };
    fs::openat(folder, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | more, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_refused_and_a_fifo_is_not_waited_for() {
        let top = tempfile::tempdir().unwrap();
        let path = |name: &str| top.path().join(name);
        file(&path("new"), OFlags::RDWR | OFlags::CREATE).unwrap();
        symlink(path("new"), path("link")).unwrap();
        assert_eq!(file(&path("link"), OFlags::RDONLY).unwrap_err(), Errno::LOOP);
        assert!(regular_file(&path("new")).is_ok());
        fs::mknodat(fs::CWD, path("fifo"), fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert_eq!(regular_file(&path("fifo")).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        symlink(top.path(), path("folder")).unwrap();
        assert!(folder_at(fs::CWD, path("folder"), Links::Refused).is_err());
        assert!(folder_at(fs::CWD, path("folder"), Links::Followed).is_ok());
    }
}
