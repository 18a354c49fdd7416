//! Maildir and its folders. Each is opened once and used through its descriptor, so a name that becomes a symbolic link
//! has no effect. Missing folders are created for the user alone. The folder above the Maildir is not created, since
//! mail must not go into the mount point of a disk that is not mounted.

use super::error::MaildirError;
use super::name::{self, DeliveryTime};
use crate::os::safe_open::{self, Links, folder_at};
use crate::os::{self, file_lock};
use rustix::fs::{self, Access, AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// File that marks a folder of a Maildir++.
const MARKER: &str = "maildirfolder";

/// Age in seconds at which a file in `tmp` was left by a killed delivery (maildir(5): 36 hours).
const FORGOTTEN: i64 = 36 * 60 * 60;

/// Maildir of a user, held open.
#[derive(Debug)]
pub struct Maildir {
    inbox: Folder,
}

/// Inbox or another folder of a Maildir, held open.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    top: OwnedFd,
    tmp: OwnedFd,
    new: OwnedFd,
    cur: OwnedFd,
}

/// Message in a folder that [`Draft::finish`](super::Draft::finish) put there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kept {
    pub since: DeliveryTime,
    /// Its short name.
    pub id: String,
    /// Its file's name.
    name: OsString,
    /// Whether a mail program has seen it.
    seen: bool,
}

impl Maildir {
    /// Opens the Maildir at `path`, and creates it if it is missing, but not the folder above it.
    pub fn open(path: &Path) -> Result<Self, MaildirError> {
        let top = match folder_at(fs::CWD, path, Links::Followed) {
            Err(Errno::NOENT) => {
                make(fs::CWD, path).map_err(|errno| MaildirError::io("make", path, errno))?;
                let parent = folder_at(fs::CWD, os::above(path), Links::Followed);
                let synced = parent.and_then(os::sync_open_folder);
                synced.map_err(|errno| MaildirError::io("make", path, errno))?;
                folder_at(fs::CWD, path, Links::Followed)
            }
            other => other,
        };
        // A user may link the Maildir to another folder. Links below it are refused.
        let top = top.map_err(|errno| refused(path, errno))?;
        Ok(Self { inbox: Folder::whole(path.to_owned(), top, false)? })
    }

    /// Opens the Maildir at `path`, if there is one.
    pub fn existing(path: &Path) -> Result<Option<Self>, MaildirError> {
        match folder_at(fs::CWD, path, Links::Followed) {
            Err(Errno::NOENT) => Ok(None),
            _ => Self::open(path).map(Some),
        }
    }

    /// Returns the inbox.
    #[must_use]
    pub fn inbox(self) -> Folder {
        self.inbox
    }

    /// Returns whether there is a folder of this name on the disk.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        fs::statat(&self.inbox.top, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Opens the folder called `name` on the disk (`.Junk`), and creates it if it is missing. Without a name it is the
    /// inbox.
    pub fn folder(&self, name: Option<&str>) -> Result<Folder, MaildirError> {
        let Some(name) = name else { return self.inbox.again() };
        let path = self.inbox.path.join(name);
        let top = match folder_at(&self.inbox.top, name, Links::Refused) {
            Err(Errno::NOENT) => {
                let made = make(&self.inbox.top, name).and_then(|()| os::sync_open_folder(&self.inbox.top));
                made.map_err(|errno| MaildirError::io("make", &path, errno))?;
                folder_at(&self.inbox.top, name, Links::Refused)
            }
            other => other,
        };
        let top = top.map_err(|errno| refused(&path, errno))?;
        Folder::whole(path, top, true)
    }
}

impl Folder {
    /// Opens the folder behind `top` with its parts, creating those that are missing.
    fn whole(path: PathBuf, top: OwnedFd, marked: bool) -> Result<Self, MaildirError> {
        check(&path, &top)?;
        let part = |name: &str| {
            let below = path.join(name);
            let opened = match folder_at(&top, name, Links::Refused) {
                Err(Errno::NOENT) => complete(&top, name, marked)
                    .and_then(|()| folder_at(&top, name, Links::Refused))
                    .map_err(|errno| MaildirError::io("make", &below, errno)),
                other => other.map_err(|errno| refused(&below, errno)),
            }?;
            check(&below, &opened)?;
            Ok(opened)
        };
        let (cur, new, tmp) = (part("cur")?, part("new")?, part("tmp")?);
        Ok(Self { path, top, tmp, new, cur })
    }

    fn again(&self) -> Result<Self, MaildirError> {
        let copy = |fd: &OwnedFd| fd.try_clone().map_err(|error| MaildirError::io("open", &self.path, error));
        let (top, tmp, new, cur) = (copy(&self.top)?, copy(&self.tmp)?, copy(&self.new)?, copy(&self.cur)?);
        Ok(Self { path: self.path.clone(), top, tmp, new, cur })
    }

    /// Returns its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn unfinished(&self) -> BorrowedFd<'_> {
        self.tmp.as_fd()
    }

    pub(super) fn finished(&self) -> BorrowedFd<'_> {
        self.new.as_fd()
    }

    /// Returns an error unless `new` can be written. Without this check, the refusal would come only after the message
    /// is written.
    pub(super) fn check_writable(&self) -> Result<(), MaildirError> {
        fs::accessat(&self.top, "new", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)
            .map_err(|errno| MaildirError::io("write into", &self.path.join("new"), errno))
    }

    /// Returns the messages that mailstamp put here, the oldest first.
    pub fn messages(&self) -> Result<Vec<Kept>, MaildirError> {
        let mut messages = Vec::new();
        for (folder, seen) in [(&self.new, false), (&self.cur, true)] {
            let entries = Dir::read_from(folder).map_err(|errno| MaildirError::io("read", &self.path, errno))?;
            for entry in entries {
                let entry = entry.map_err(|errno| MaildirError::io("read", &self.path, errno))?;
                let name = OsStr::from_bytes(entry.file_name().to_bytes());
                if let Some((since, id)) = name.to_str().and_then(name::parse) {
                    messages.push(Kept { since, id: id.to_owned(), name: name.to_owned(), seen });
                }
            }
        }
        messages.sort();
        Ok(messages)
    }

    /// Returns the first `most` bytes of a message, and its size.
    ///
    /// # Errors
    /// [`MaildirError`]; the message may be gone by now.
    pub fn read(&self, kept: &Kept, most: u64) -> Result<(Vec<u8>, u64), MaildirError> {
        let path = self.path.join(&kept.name);
        let trouble = |error: std::io::Error| MaildirError::io("read", &path, error);
        let opened = safe_open::file_at(self.part(kept), &kept.name, OFlags::RDONLY);
        let file = opened.map_err(|errno| trouble(errno.into()))?;
        let metadata = file.metadata().map_err(trouble)?;
        if !metadata.is_file() {
            return Err(MaildirError::insecure_path(&path, "not a regular file"));
        }
        let mut bytes = Vec::new();
        file.take(most).read_to_end(&mut bytes).map_err(trouble)?;
        Ok((bytes, metadata.len()))
    }

    /// Removes a message. A message that is gone already is no error.
    pub fn remove(&self, kept: &Kept) -> Result<(), MaildirError> {
        match fs::unlinkat(self.part(kept), &kept.name, AtFlags::empty()) {
            Ok(()) => os::sync_open_folder(self.part(kept)),
            Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno),
        }
        .map_err(|errno| MaildirError::io("remove", &self.path.join(&kept.name), errno))
    }

    /// Locks the folder, waiting for other processes. The lock is held until the returned descriptor is dropped.
    pub fn lock(&self) -> Result<OwnedFd, MaildirError> {
        let lock = self.again_as_lock()?;
        file_lock::lock(&lock).map_err(|error| MaildirError::io("lock", &self.path, error))?;
        Ok(lock)
    }

    /// Locks like [`lock`](Self::lock), without waiting; `None` while another process has the lock.
    pub fn try_lock(&self) -> Result<Option<OwnedFd>, MaildirError> {
        let lock = self.again_as_lock()?;
        let locked = file_lock::try_lock(&lock).map_err(|error| MaildirError::io("lock", &self.path, error))?;
        Ok(locked.then_some(lock))
    }

    /// Opens the folder anew: duplicates of one description would share its lock.
    fn again_as_lock(&self) -> Result<OwnedFd, MaildirError> {
        folder_at(&self.top, ".", Links::Followed).map_err(|errno| MaildirError::io("lock", &self.path, errno))
    }

    /// Removes files from `tmp` that are 36 hours old at `now`, and returns their number.
    pub fn sweep(&self, now: i64) -> Result<usize, MaildirError> {
        let trouble = |errno| MaildirError::io("tidy up", &self.path, errno);
        let mut removed = 0;
        for entry in Dir::read_from(&self.tmp).map_err(trouble)? {
            let entry = entry.map_err(trouble)?;
            let name = entry.file_name();
            if name.to_bytes().starts_with(b".") {
                continue;
            }
            // It may be delivered at this moment.
            let Ok(stat) = fs::statat(&self.tmp, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            if now.saturating_sub(stat.st_mtime) > FORGOTTEN && fs::unlinkat(&self.tmp, name, AtFlags::empty()).is_ok()
            {
                removed += 1;
            }
        }
        Ok(removed)
    }

    fn part(&self, kept: &Kept) -> &OwnedFd {
        if kept.seen { &self.cur } else { &self.new }
    }
}

/// Creates a folder. Another delivery may be faster.
fn make(at: impl AsFd, path: impl rustix::path::Arg) -> Result<(), Errno> {
    match fs::mkdirat(at, path, Mode::RWXU) {
        Err(Errno::EXIST) => Ok(()),
        other => other,
    }
}

/// Creates a part of a folder. The marker comes first, so that a complete folder has one.
fn complete(top: &OwnedFd, part: &str, marked: bool) -> Result<(), Errno> {
    if marked {
        safe_open::file_at(top, MARKER, OFlags::WRONLY | OFlags::CREATE)?;
    }
    make(top, part)?;
    os::sync_open_folder(top)
}

/// Checks that a folder is the user's own and not world-writable. The rights of the group are the user's choice, since
/// some share their mail.
fn check(path: &Path, folder: &OwnedFd) -> Result<(), MaildirError> {
    let stat = fs::fstat(folder).map_err(|errno| MaildirError::io("look at", path, errno))?;
    let own = rustix::process::geteuid().as_raw();
    if stat.st_uid != own {
        return Err(MaildirError::insecure_path(path, format!("owned by user {}, expected user {own}", stat.st_uid)));
    }
    if Mode::from_raw_mode(stat.st_mode).intersects(Mode::WOTH) {
        return Err(MaildirError::insecure_path(path, "world-writable"));
    }
    Ok(())
}

fn refused(path: &Path, errno: Errno) -> MaildirError {
    match errno {
        Errno::LOOP | Errno::NOTDIR => MaildirError::insecure_path(path, "not a folder"),
        _ => MaildirError::io("open", path, errno),
    }
}
