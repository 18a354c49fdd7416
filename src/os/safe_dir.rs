//! Safe access to a store's files. Each is opened relative to its folder and never through a symbolic link. It must be
//! a regular file of this user, writable by no other user. Its content is left to the other modules.

use super::safe_open::{self, Links};
use super::sync_open_folder;
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// A file's path: its folder, held open, and its name there. Files beside it have the same name and a suffix.
#[derive(Debug)]
pub(crate) struct SafePath {
    path: PathBuf,
    folder: OwnedFd,
    name: OsString,
}

/// The identity of a file, independent of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
}

/// What to do if a file is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IfMissing {
    Ignore,
    Create,
}

/// Why a file or folder is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PathError {
    /// Another user could write to it, or has its place.
    #[error("{}: {what}", path.display())]
    Insecure { path: PathBuf, what: String },
    /// The system's error.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
}

impl PathError {
    fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { doing, path: path.to_owned(), source }
    }
}

impl SafePath {
    /// Opens the folder of `path`; `None` when it is missing and not to be created.
    pub(crate) fn open(path: &Path, absent: IfMissing) -> Result<Option<Self>, PathError> {
        let parent = super::above(path);
        let Some(name) = path.file_name() else {
            return Err(insecure_path(path, "has no file name"));
        };
        let folder = match open_folder(parent) {
            Err(Errno::NOENT) if absent == IfMissing::Ignore => return Ok(None),
            Err(Errno::NOENT) => {
                super::make_folder(parent, 0o700).map_err(|error| PathError::io("create", parent, error))?;
                open_folder(parent)
            }
            other => other,
        }
        .map_err(|errno| match errno {
            Errno::NOTDIR => insecure_path(parent, "not a folder"),
            _ => PathError::io("open", parent, errno.into()),
        })?;
        let stat = fs::fstat(&folder).map_err(|errno| PathError::io("look at", parent, errno.into()))?;
        check_folder(parent, &stat, rustix::process::geteuid().as_raw())?;
        Ok(Some(Self { path: path.to_owned(), folder, name: name.to_owned() }))
    }

    /// Returns the path of the file with this suffix.
    pub(crate) fn path(&self, suffix: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(suffix);
        path.into()
    }

    /// Opens the file with this suffix for reading and writing.
    /// `None` when it is missing and not to be created.
    pub(crate) fn file(&self, suffix: &str, absent: IfMissing) -> Result<Option<File>, PathError> {
        // NONBLOCK opens a fifo without waiting, so that it can be refused. It has no effect on a regular file.
        let create = if absent == IfMissing::Create { OFlags::CREATE } else { OFlags::empty() };
        let path = self.path(suffix);
        let file = match safe_open::file_at(&self.folder, self.name(suffix), OFlags::RDWR | create) {
            Ok(file) => file,
            Err(Errno::NOENT) if absent == IfMissing::Ignore => return Ok(None),
            Err(Errno::LOOP) => return Err(insecure_path(&path, "unsafe: a symbolic link")),
            Err(Errno::ISDIR | Errno::NXIO | Errno::NODEV) => {
                return Err(insecure_path(&path, "not a regular file"));
            }
            Err(errno) => return Err(PathError::io("open", &path, errno.into())),
        };
        let stat = fs::fstat(&file).map_err(|errno| PathError::io("look at", &path, errno.into()))?;
        check_file(&path, &stat, rustix::process::geteuid().as_raw())?;
        Ok(Some(file))
    }

    /// Returns the identity of the file with this suffix; `None` when there is none.
    pub(crate) fn identity(&self, suffix: &str) -> Result<Option<FileId>, PathError> {
        match fs::statat(&self.folder, self.name(suffix), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(identity(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(PathError::io("look at", &self.path(suffix), errno.into())),
        }
    }

    /// Whether the path leads to this file.
    /// The path is resolved from the root: the open folder may have been moved and replaced.
    pub(crate) fn leads_to(&self, file: FileId) -> bool {
        fs::lstat(&self.path).is_ok_and(|stat| identity(&stat) == file)
    }

    /// Returns the bytes that the file with this suffix takes on the disk.
    pub(crate) fn bytes(&self, suffix: &str) -> Result<u64, PathError> {
        match fs::statat(&self.folder, self.name(suffix), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(u64::try_from(stat.st_blocks).unwrap_or(0) * 512),
            Err(errno) => Err(PathError::io("look at", &self.path(suffix), errno.into())),
        }
    }

    /// Removes the file with this suffix, if there is one.
    pub(crate) fn remove(&self, suffix: &str) -> Result<(), PathError> {
        match fs::unlinkat(&self.folder, self.name(suffix), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(PathError::io("remove", &self.path(suffix), errno.into())),
        }
    }

    /// Renames the file with the suffix `from` to the suffix `to`, durably.
    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<(), PathError> {
        fs::renameat(&self.folder, self.name(from), &self.folder, self.name(to))
            .and_then(|()| sync_open_folder(&self.folder))
            .map_err(|errno| PathError::io("create", &self.path(to), errno.into()))
    }

    /// Syncs the folder, which makes created and removed files durable.
    pub(crate) fn sync(&self) -> Result<(), PathError> {
        sync_open_folder(&self.folder).map_err(|errno| PathError::io("sync", &self.path, errno.into()))
    }

    fn name(&self, suffix: &str) -> OsString {
        let mut name = self.name.clone();
        name.push(suffix);
        name
    }
}

/// Returns the identity of an open file.
pub(crate) fn identity_of(file: impl AsFd, path: &Path) -> Result<FileId, PathError> {
    match fs::fstat(file) {
        Ok(stat) => Ok(identity(&stat)),
        Err(errno) => Err(PathError::io("look at", path, errno.into())),
    }
}

fn identity(stat: &Stat) -> FileId {
    FileId { device: stat.st_dev, inode: stat.st_ino }
}

fn open_folder(path: &Path) -> Result<OwnedFd, Errno> {
    safe_open::folder_at(fs::CWD, path, Links::Followed)
}

fn check_folder(path: &Path, stat: &Stat, euid: u32) -> Result<(), PathError> {
    if stat.st_uid != euid && stat.st_uid != 0 {
        return Err(insecure_path(path, &format!("unsafe: owned by user {}, not by user {euid}", stat.st_uid)));
    }
    check_mode(path, stat)
}

fn check_file(path: &Path, stat: &Stat, euid: u32) -> Result<(), PathError> {
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(insecure_path(path, "not a regular file"));
    }
    if stat.st_uid != euid {
        return Err(insecure_path(path, &format!("unsafe: owned by user {}, not by user {euid}", stat.st_uid)));
    }
    check_mode(path, stat)
}

fn check_mode(path: &Path, stat: &Stat) -> Result<(), PathError> {
    if Mode::from_raw_mode(stat.st_mode).intersects(Mode::WGRP | Mode::WOTH) {
        let mode = stat.st_mode & 0o7777;
        return Err(insecure_path(path, &format!("unsafe permissions: mode {mode:04o}, others may write; chmod go-w")));
    }
    Ok(())
}

fn insecure_path(path: &Path, what: &str) -> PathError {
    PathError::Insecure { path: path.to_owned(), what: what.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat_of(path: &Path) -> Stat {
        fs::stat(path).unwrap()
    }

    #[test]
    fn a_file_or_folder_of_somebody_else_is_refused_but_roots_folder_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f");
        File::create(&file).unwrap();
        let mut stat = stat_of(&file);
        stat.st_uid = 12;
        assert!(check_file(&file, &stat, 12).is_ok());
        let error = check_file(&file, &stat, 13).unwrap_err().to_string();
        assert!(error.ends_with("f: unsafe: owned by user 12, not by user 13"), "{error}");
        let mut stat = stat_of(folder.path());
        stat.st_uid = 12;
        assert!(check_folder(folder.path(), &stat, 13).is_err());
        stat.st_uid = 0;
        assert!(check_folder(folder.path(), &stat, 13).is_ok());
    }

    #[test]
    fn folders_are_created_for_us_alone() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("a/b/used.redb");
        assert!(SafePath::open(&path, IfMissing::Ignore).unwrap().is_none());
        assert!(SafePath::open(&path, IfMissing::Create).unwrap().is_some());
        for folder in ["a", "a/b"] {
            assert_eq!(stat_of(&top.path().join(folder)).st_mode & 0o7777, 0o700);
        }
    }
}
