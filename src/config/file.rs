//! Reads and replaces small files that the program acts upon: configuration, trusted keys. A file must belong to the
//! user or to root, and other users must not be able to write it; otherwise they would decide which mail is let
//! through. Symbolic links are followed, since users keep their configuration in other folders. The owner of the target
//! counts.

use crate::os;
use crate::os::atomic_file::{self, Durability};
use rustix::fs::{Mode, OFlags};
use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Folder of the system's own configuration, used where the user has none.
pub(super) const SYSTEM: &str = "/etc/mailstamp";

/// Largest configuration: 1 MiB.
const LARGEST: u64 = 1024 * 1024;
/// Largest address list: 16 MiB, about half a million addresses.
const LARGEST_LIST: u64 = 16 * 1024 * 1024;

/// The user id that the kernel shows for users outside of a namespace.
const NOBODY: u32 = 65_534;

/// What a file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// As certificates; [`read`].
    Public,
    /// [`read_secret`].
    Secret,
    /// [`read_password`].
    Password,
}

/// Failure to read a file, or a file that is not safe to read.
#[derive(Debug, thiserror::Error)]
#[error("{}: {kind}", path.display())]
pub struct FileError {
    pub path: PathBuf,
    /// Why.
    #[source]
    pub kind: FileErrorKind,
}

/// Reason of a [`FileError`].
#[derive(Debug, thiserror::Error)]
pub enum FileErrorKind {
    /// An error of the system.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A folder, a pipe, a device.
    #[error("not an ordinary file")]
    Irregular,
    /// Owned by another user.
    #[error("belongs to user {0}, neither you nor root")]
    Owner(u32),
    /// Writable by other users.
    #[error("others may write to it; chmod go-w would close it")]
    Writable,
    /// A secret that other users can read.
    #[error("others may read it; chmod 600 would close it")]
    Readable,
    /// Too large to be what it should be.
    #[error("larger than {} MiB", .0 >> 20)]
    TooLarge(u64),
    #[error("empty, expected a password")]
    Empty,
    #[error("more than one line, expected a password alone")]
    Lines,
    /// Not text.
    #[error("not UTF-8 text")]
    Encoding,
}

impl FileError {
    /// Returns whether the file is missing.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(&self.kind, FileErrorKind::Io(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory))
    }
}

/// Reads a public file: configuration, trusted keys.
pub fn read(path: &Path) -> Result<String, FileError> {
    read_closed(path, LARGEST, 0o022, FileErrorKind::Writable)
}

/// Reads a list of addresses: as [`read`], but up to 16 MiB.
pub fn read_list(path: &Path) -> Result<String, FileError> {
    read_closed(path, LARGEST_LIST, 0o022, FileErrorKind::Writable)
}

/// As [`read`], for a file that may be larger than a configuration: at most `largest` bytes.
pub fn read_up_to(path: &Path, largest: u64) -> Result<String, FileError> {
    read_closed(path, largest, 0o022, FileErrorKind::Writable)
}

/// Reads a secret file, which only its owner may be able to read.
pub fn read_secret(path: &Path) -> Result<String, FileError> {
    read_closed(path, LARGEST, 0o077, FileErrorKind::Readable)
}

/// Reads a secret file that holds only a password, and perhaps the end of its line.
pub fn read_password(path: &Path) -> Result<Zeroizing<String>, FileError> {
    let refused = |kind| Err(FileError { path: path.to_owned(), kind });
    let text = Zeroizing::new(read_secret(path)?);
    match text.trim_end_matches(['\r', '\n']) {
        "" => refused(FileErrorKind::Empty),
        password if password.contains(['\r', '\n']) => refused(FileErrorKind::Lines),
        password => Ok(Zeroizing::new(password.to_owned())),
    }
}

/// Reads a file by the rule for its content.
pub fn read_as(path: &Path, content: Content) -> Result<Zeroizing<String>, FileError> {
    match content {
        Content::Public => read(path).map(Zeroizing::new),
        Content::Secret => read_secret(path).map(Zeroizing::new),
        Content::Password => read_password(path),
    }
}

/// Opens an address list for reading in blocks: as [`read_list`], but without looking at its content.
pub fn open_list(path: &Path) -> Result<File, FileError> {
    let (file, length) = open_closed(path, 0o022, FileErrorKind::Writable)?;
    if length > LARGEST_LIST {
        return Err(FileError { path: path.to_owned(), kind: FileErrorKind::TooLarge(LARGEST_LIST) });
    }
    Ok(file)
}

/// Replaces the file with `text` in one step, and creates its folder if it is missing. A delivery that reads it at any
/// moment sees the old or the new text. The text is on the disk when this returns. Whatever the umask, only the owner
/// can write the file.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    os::make_folder(os::above(path), 0o755)?;
    atomic_file::replace(path, 0o644, Durability::Synced, |file| file.write_all(text.as_bytes()))
}

fn read_closed(path: &Path, largest: u64, closed: u32, otherwise: FileErrorKind) -> Result<String, FileError> {
    let refused = |kind| FileError { path: path.to_owned(), kind };
    let (file, length) = open_closed(path, closed, otherwise)?;
    let mut bytes = Vec::with_capacity(usize::try_from(length.min(largest)).unwrap_or(0));
    file.take(largest + 1).read_to_end(&mut bytes).map_err(|error| refused(error.into()))?;
    if bytes.len() as u64 > largest {
        return Err(refused(FileErrorKind::TooLarge(largest)));
    }
    String::from_utf8(bytes).map_err(|_| refused(FileErrorKind::Encoding))
}

/// Opens the file if it belongs to the user or root and is closed to others. Returns it with its length.
fn open_closed(path: &Path, closed: u32, otherwise: FileErrorKind) -> Result<(File, u64), FileError> {
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
    let (owner, euid) = (metadata.uid(), rustix::process::geteuid().as_raw());
    if owner != 0 && owner != euid && !is_hidden_roots(path, owner) {
        return Err(refused(FileErrorKind::Owner(owner)));
    }
    let is_open = if closed == 0o022 { is_writable_by_others(&metadata) } else { metadata.mode() & closed != 0 };
    if is_open {
        return Err(refused(otherwise));
    }
    Ok((file, metadata.len()))
}

/// Returns whether other users may write to a file or folder by its mode.
///
/// The user's private group has the user's own number by convention, and no other member (umask 002 leaves its write
/// bit).
pub fn is_writable_by_others(metadata: &Metadata) -> bool {
    let euid = rustix::process::geteuid().as_raw();
    let is_private_group = metadata.gid() == euid && rustix::process::getegid().as_raw() == euid;
    metadata.mode() & if is_private_group { 0o002 } else { 0o022 } != 0
}

/// Returns whether root may own the file although another user seems to. In a user namespace without root, as systemd
/// makes for a user's service (systemd.exec(5), PrivateUsers), all other users are shown as 65534. Only root can have
/// put a file into the system's own folder.
fn is_hidden_roots(path: &Path, owner: u32) -> bool {
    // /proc/self/uid_map: the first id here, the first id outside, the length (user_namespaces(7)).
    let without_root = |map: String| !map.lines().any(|line| line.split_whitespace().next() == Some("0"));
    owner == NOBODY
        && std::fs::read_to_string("/proc/self/uid_map").is_ok_and(without_root)
        && std::fs::canonicalize(path).is_ok_and(|path| path.starts_with(SYSTEM))
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
