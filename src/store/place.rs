//! Where a store's files are, and whether they may be trusted: opened relative to their folder, never through a symbolic
//! link, ours, regular, and writable by nobody else. What stands in them is left to the others.

use super::error::StoreError;
use crate::os;
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// A file's place: its folder, held open, and its name there. Files beside it have the same name and a suffix.
#[derive(Debug)]
pub(crate) struct SafePath {
    path: PathBuf,
    folder: OwnedFd,
    name: OsString,
}

/// Which file it is, whatever its name becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

/// What to do about a file that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IfMissing {
    Ignore,
    Create,
}

impl SafePath {
    /// Opens the folder of `path`; `None` when it does not exist and is not to be created.
    pub(super) fn open(path: &Path, absent: IfMissing) -> Result<Option<Self>, StoreError> {
        let parent = os::above(path);
        let Some(name) = path.file_name() else {
            return Err(insecure_path(path, "names no file"));
        };
        let folder = match open_folder(parent) {
            Err(Errno::NOENT) if absent == IfMissing::Ignore => return Ok(None),
            Err(Errno::NOENT) => {
                os::make_folder(parent, 0o700).map_err(|error| StoreError::from_io("create", parent, error))?;
                open_folder(parent)
            }
            other => other,
        }
        .map_err(|errno| match errno {
            Errno::NOTDIR => insecure_path(parent, "is not a folder"),
            _ => StoreError::from_io("open", parent, errno.into()),
        })?;
        let stat = fs::fstat(&folder).map_err(|errno| StoreError::from_io("look at", parent, errno.into()))?;
        check_folder(parent, &stat, rustix::process::geteuid().as_raw())?;
        Ok(Some(Self { path: path.to_owned(), folder, name: name.to_owned() }))
    }

    /// The path of the file with this suffix.
    pub(super) fn path(&self, suffix: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(suffix);
        path.into()
    }

    /// Opens the file with this suffix for reading and writing; `None` when it does not exist and is not to be created.
    pub(super) fn file(&self, suffix: &str, absent: IfMissing) -> Result<Option<File>, StoreError> {
        // NONBLOCK lets a fifo be opened and refused instead of waited for; a regular file does not care.
        let mut flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        if absent == IfMissing::Create {
            flags |= OFlags::CREATE;
        }
        let path = self.path(suffix);
        let file = match fs::openat(&self.folder, self.name(suffix), flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => file,
            Err(Errno::NOENT) if absent == IfMissing::Ignore => return Ok(None),
            Err(Errno::LOOP) => return Err(insecure_path(&path, "is a symbolic link")),
            Err(Errno::ISDIR | Errno::NXIO | Errno::NODEV) => {
                return Err(insecure_path(&path, "is not a regular file"));
            }
            Err(errno) => return Err(StoreError::from_io("open", &path, errno.into())),
        };
        let stat = fs::fstat(&file).map_err(|errno| StoreError::from_io("look at", &path, errno.into()))?;
        check_file(&path, &stat, rustix::process::geteuid().as_raw())?;
        Ok(Some(file.into()))
    }

    /// Which file has this suffix now; `None` when there is none.
    pub(super) fn identity(&self, suffix: &str) -> Result<Option<FileId>, StoreError> {
        match fs::statat(&self.folder, self.name(suffix), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(identity(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(StoreError::from_io("look at", &self.path(suffix), errno.into())),
        }
    }

    /// Whether its path leads to this file. It is looked up from the beginning: the folder that is held open may have been
    /// put aside, and another be in its place.
    pub(super) fn leads_to(&self, file: FileId) -> bool {
        fs::lstat(&self.path).is_ok_and(|stat| identity(&stat) == file)
    }

    /// Bytes that the file with this suffix takes on the disk.
    pub(super) fn bytes(&self, suffix: &str) -> Result<u64, StoreError> {
        match fs::statat(&self.folder, self.name(suffix), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(u64::try_from(stat.st_blocks).unwrap_or(0) * 512),
            Err(errno) => Err(StoreError::from_io("look at", &self.path(suffix), errno.into())),
        }
    }

    /// Removes the file with this suffix, if there is one.
    pub(super) fn remove(&self, suffix: &str) -> Result<(), StoreError> {
        match fs::unlinkat(&self.folder, self.name(suffix), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(StoreError::from_io("remove", &self.path(suffix), errno.into())),
        }
    }

    /// Gives the file with the suffix `from` the suffix `to`, and makes that durable.
    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), StoreError> {
        fs::renameat(&self.folder, self.name(from), &self.folder, self.name(to))
            .and_then(|()| fs::fsync(&self.folder))
            .map_err(|errno| StoreError::from_io("create", &self.path(to), errno.into()))
    }

    /// Makes it durable which files there are.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        fs::fsync(&self.folder).map_err(|errno| StoreError::from_io("sync", &self.path, errno.into()))
    }

    fn name(&self, suffix: &str) -> OsString {
        let mut name = self.name.clone();
        name.push(suffix);
        name
    }
}

/// Which file this is.
pub(super) fn identity_of(file: impl AsFd, path: &Path) -> Result<FileId, StoreError> {
    match fs::fstat(file) {
        Ok(stat) => Ok(identity(&stat)),
        Err(errno) => Err(StoreError::from_io("look at", path, errno.into())),
    }
}

fn identity(stat: &Stat) -> FileId {
    FileId { device: stat.st_dev, inode: stat.st_ino }
}

fn open_folder(path: &Path) -> Result<OwnedFd, Errno> {
    fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

fn check_folder(path: &Path, stat: &Stat, euid: u32) -> Result<(), StoreError> {
    if stat.st_uid != euid && stat.st_uid != 0 {
        return Err(insecure_path(path, &format!("belongs to user {}, not to user {euid}", stat.st_uid)));
    }
    check_mode(path, stat)
}

fn check_file(path: &Path, stat: &Stat, euid: u32) -> Result<(), StoreError> {
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(insecure_path(path, "is not a regular file"));
    }
    if stat.st_uid != euid {
        return Err(insecure_path(path, &format!("belongs to user {}, not to user {euid}", stat.st_uid)));
    }
    check_mode(path, stat)
}

fn check_mode(path: &Path, stat: &Stat) -> Result<(), StoreError> {
    if Mode::from_raw_mode(stat.st_mode).intersects(Mode::WGRP | Mode::WOTH) {
        let mode = stat.st_mode & 0o7777;
        return Err(insecure_path(path, &format!("can be written by others (mode {mode:04o})")));
    }
    Ok(())
}

fn insecure_path(path: &Path, what: &str) -> StoreError {
    StoreError::Unsafe { path: path.to_owned(), what: what.to_owned() }
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
        assert!(
            error.ends_with("f belongs to user 12, not to user 13; it is not used until that is put right"),
            "{error}"
        );
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
