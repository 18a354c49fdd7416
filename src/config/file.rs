//! Reading a small file that the program acts upon: configuration, trusted keys. It must belong to the user or to root and
//! be closed to other writers, or whoever may write it would decide which mail is let through. Symbolic links are followed:
//! people keep their configuration in other folders, and what counts is whose file it is in the end.

use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// No configuration is larger than this: 1 MiB.
const LARGEST: u64 = 1024 * 1024;
/// No list of addresses is larger than this: 16 MiB, some half a million of them.
const LARGEST_LIST: u64 = 16 * 1024 * 1024;

/// A file could not be read, or must not be.
#[derive(Debug, thiserror::Error)]
#[error("{}: {kind}", path.display())]
pub struct FileError {
    /// Which file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub kind: FileErrorKind,
}

/// Why a file could not be read, or must not be.
#[derive(Debug, thiserror::Error)]
pub enum FileErrorKind {
    /// The system says no.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A folder, a pipe, a device.
    #[error("not an ordinary file")]
    Irregular,
    /// Somebody else's file.
    #[error("belongs to user {0}, who is neither you nor root")]
    Owner(u32),
    /// Others could change it.
    #[error("others may write to it; chmod go-w would close it")]
    Writable,
    /// Others could read a secret.
    #[error("others may read it; chmod 600 would close it")]
    Readable,
    /// Too large to be what it should be.
    #[error("larger than {} MiB", .0 >> 20)]
    TooLarge(u64),
    /// Not text.
    #[error("not UTF-8 text")]
    Encoding,
}

impl FileError {
    /// Whether there is simply no such file.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(&self.kind, FileErrorKind::Io(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory))
    }
}

/// Reads a public file: configuration, trusted keys.
///
/// # Errors
/// [`FileError`].
pub fn read(path: &Path) -> Result<String, FileError> {
    read_closed(path, LARGEST, 0o022, FileErrorKind::Writable)
}

/// Reads a list of addresses: as [`read`], but up to 16 MiB.
///
/// # Errors
/// [`FileError`].
pub fn read_list(path: &Path) -> Result<String, FileError> {
    read_closed(path, LARGEST_LIST, 0o022, FileErrorKind::Writable)
}

/// Reads a secret file: nobody but its owner may read it.
///
/// # Errors
/// [`FileError`].
pub fn read_secret(path: &Path) -> Result<String, FileError> {
    read_closed(path, LARGEST, 0o077, FileErrorKind::Readable)
}

fn read_closed(path: &Path, largest: u64, closed: u32, otherwise: FileErrorKind) -> Result<String, FileError> {
    let refused = |kind| FileError { path: path.to_owned(), kind };
    // Without O_NONBLOCK, opening a pipe would wait for a writer for ever.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened =
        rustix::fs::open(path, flags, Mode::empty()).map_err(|error| refused(io::Error::from(error).into()))?;
    let file = File::from(opened);
    let metadata = file.metadata().map_err(|error| refused(error.into()))?;
    if !metadata.is_file() {
        return Err(refused(FileErrorKind::Irregular));
    }
    if metadata.uid() != 0 && metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(refused(FileErrorKind::Owner(metadata.uid())));
    }
    // A user's private group, which by convention has his own number, is nobody else (umask 002 leaves its write bit).
    let euid = rustix::process::geteuid().as_raw();
    let private_group = metadata.gid() == euid && rustix::process::getegid().as_raw() == euid;
    let closed = if private_group && closed == 0o022 { 0o002 } else { closed };
    if metadata.mode() & closed != 0 {
        return Err(refused(otherwise));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len().min(largest)).unwrap_or(0));
    file.take(largest + 1).read_to_end(&mut bytes).map_err(|error| refused(error.into()))?;
    if bytes.len() as u64 > largest {
        return Err(refused(FileErrorKind::TooLarge(largest)));
    }
    String::from_utf8(bytes).map_err(|_| refused(FileErrorKind::Encoding))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn only_closed_ordinary_files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        assert!(read(&path).unwrap_err().is_absent());
        fs::write(&path, "price = 1").unwrap();
        let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        mode(0o644);
        assert_eq!(read(&path).unwrap(), "price = 1");
        assert!(matches!(read_secret(&path).unwrap_err().kind, FileErrorKind::Readable));
        mode(0o666);
        assert!(matches!(read(&path).unwrap_err().kind, FileErrorKind::Writable));
        mode(0o600);
        assert_eq!(read_secret(&path).unwrap(), "price = 1");
        assert!(matches!(read(folder.path()).unwrap_err().kind, FileErrorKind::Irregular));
    }

    #[test]
    fn a_pipe_does_not_make_it_wait() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, Mode::from(0o600), 0).unwrap();
        assert!(matches!(read(&path).unwrap_err().kind, FileErrorKind::Irregular));
    }

    #[test]
    fn too_large_and_not_text_are_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, vec![b'#'; 1024 * 1024 + 1]).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(read(&path).unwrap_err().kind, FileErrorKind::TooLarge(_)));
        assert_eq!(read_list(&path).unwrap().len(), 1024 * 1024 + 1);
        fs::write(&path, [0xff]).unwrap();
        assert!(matches!(read(&path).unwrap_err().kind, FileErrorKind::Encoding));
    }
}
