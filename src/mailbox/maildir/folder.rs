//! A Maildir and its folders, opened once and used through what was opened: a name that is turned into a symbolic link
//! meanwhile leads nowhere. Folders are made for the user alone and where they are missing; the one above the Maildir is
//! not, since mail must not go into the empty place of a disk that is not mounted.

use super::error::MaildirError;
use super::name::{self, DeliveryTime};
use rustix::fs::{self, Access, AtFlags, Dir, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The file that marks a folder of a Maildir++ as one.
const MARKER: &str = "maildirfolder";

/// What lies in `tmp` for so many seconds was left by a delivery that was killed (maildir(5): 36 hours).
const FORGOTTEN: i64 = 36 * 60 * 60;

/// The Maildir of a user, held open.
#[derive(Debug)]
pub struct Maildir {
    inbox: Folder,
}

/// The inbox or another folder of a Maildir, held open.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    top: OwnedFd,
    tmp: OwnedFd,
    new: OwnedFd,
    cur: OwnedFd,
}

/// A message in a folder that was put there by [`Draft::finish`](super::Draft::finish).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kept {
    /// Since when.
    pub since: DeliveryTime,
    /// Its short name.
    pub id: String,
    /// Its file's name.
    name: OsString,
    /// Whether a mail program has seen it.
    seen: bool,
}

impl Maildir {
    /// Opens the Maildir at `path`; it is made if it is missing, the folder above it is not.
    ///
    /// # Errors
    /// [`MaildirError`].
    pub fn open(path: &Path) -> Result<Self, MaildirError> {
        let top = match open(fs::CWD, path, OFlags::empty()) {
            Err(Errno::NOENT) => {
                make(fs::CWD, path).map_err(|errno| MaildirError::io("make", path, errno))?;
                if let Some(parent) = path.parent() {
                    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
                    let synced = open(fs::CWD, parent, OFlags::empty()).and_then(fs::fsync);
                    synced.map_err(|errno| MaildirError::io("make", path, errno))?;
                }
                open(fs::CWD, path, OFlags::empty())
            }
            other => other,
        };
        // A link to the Maildir is the user's own way of having his mail elsewhere; below it there are none.
        let top = top.map_err(|errno| refused(path, errno))?;
        Ok(Self { inbox: Folder::whole(path.to_owned(), top, false)? })
    }

    /// Opens the Maildir at `path`, if there is one.
    ///
    /// # Errors
    /// [`MaildirError`].
    pub fn existing(path: &Path) -> Result<Option<Self>, MaildirError> {
        match open(fs::CWD, path, OFlags::empty()) {
            Err(Errno::NOENT) => Ok(None),
            _ => Self::open(path).map(Some),
        }
    }

    /// The inbox.
    #[must_use]
    pub fn inbox(self) -> Folder {
        self.inbox
    }

    /// Whether there is a folder of this name on the disk.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        fs::statat(&self.inbox.top, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// The folder that is called `name` on the disk (`.Junk`), made if it is missing; the inbox without a name.
    ///
    /// # Errors
    /// [`MaildirError`].
    pub fn folder(&self, name: Option<&str>) -> Result<Folder, MaildirError> {
        let Some(name) = name else { return self.inbox.again() };
        let path = self.inbox.path.join(name);
        let top = match open(&self.inbox.top, name, OFlags::NOFOLLOW) {
            Err(Errno::NOENT) => {
                let made = make(&self.inbox.top, name).and_then(|()| fs::fsync(&self.inbox.top));
                made.map_err(|errno| MaildirError::io("make", &path, errno))?;
                open(&self.inbox.top, name, OFlags::NOFOLLOW)
            }
            other => other,
        };
        let top = top.map_err(|errno| refused(&path, errno))?;
        Folder::whole(path, top, true)
    }
}

impl Folder {
    /// The folder behind `top`, with what belongs into it.
    fn whole(path: PathBuf, top: OwnedFd, marked: bool) -> Result<Self, MaildirError> {
        check(&path, &top)?;
        let part = |name: &str| {
            let below = path.join(name);
            let opened = match open(&top, name, OFlags::NOFOLLOW) {
                Err(Errno::NOENT) => complete(&top, name, marked)
                    .and_then(|()| open(&top, name, OFlags::NOFOLLOW))
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

    /// Where it is.
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

    /// Returns an error unless `new` can be written into: to be refused when the message is written would be late.
    pub(super) fn check_writable(&self) -> Result<(), MaildirError> {
        fs::accessat(&self.top, "new", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)
            .map_err(|errno| MaildirError::io("write into", &self.path.join("new"), errno))
    }

    /// The messages that we put here, the oldest first.
    ///
    /// # Errors
    /// [`MaildirError`].
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

    /// The first `most` bytes of a message, and how large it is.
    ///
    /// # Errors
    /// [`MaildirError`]; it may be gone by now.
    pub fn read(&self, kept: &Kept, most: u64) -> Result<(Vec<u8>, u64), MaildirError> {
        let path = self.path.join(&kept.name);
        let trouble = |error: std::io::Error| MaildirError::io("read", &path, error);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file =
            fs::openat(self.part(kept), &kept.name, flags, Mode::empty()).map_err(|errno| trouble(errno.into()))?;
        let file = File::from(file);
        let metadata = file.metadata().map_err(trouble)?;
        if !metadata.is_file() {
            return Err(MaildirError::unsafe_place(&path, "is not a regular file"));
        }
        let mut bytes = Vec::new();
        file.take(most).read_to_end(&mut bytes).map_err(trouble)?;
        Ok((bytes, metadata.len()))
    }

    /// Removes a message; that it is gone already is no trouble.
    ///
    /// # Errors
    /// [`MaildirError`].
    pub fn remove(&self, kept: &Kept) -> Result<(), MaildirError> {
        match fs::unlinkat(self.part(kept), &kept.name, AtFlags::empty()) {
            Ok(()) => fs::fsync(self.part(kept)),
            Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno),
        }
        .map_err(|errno| MaildirError::io("remove", &self.path.join(&kept.name), errno))
    }

    /// Waits until no other process has this lock on the folder; it is ours until what is returned is dropped.
    ///
    /// # Errors
    /// [`MaildirError`].
    pub fn lock(&self) -> Result<OwnedFd, MaildirError> {
        loop {
            match self.locked(FlockOperation::LockExclusive) {
                Err(Errno::INTR) => {}
                other => return other.map_err(|errno| MaildirError::io("lock", &self.path, errno)),
            }
        }
    }

    /// As [`lock`](Self::lock), without waiting; `None` when another process has it.
    ///
    /// # Errors
    /// [`MaildirError`].
    pub fn try_lock(&self) -> Result<Option<OwnedFd>, MaildirError> {
        match self.locked(FlockOperation::NonBlockingLockExclusive) {
            Ok(lock) => Ok(Some(lock)),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(MaildirError::io("lock", &self.path, errno)),
        }
    }

    /// The folder, opened anew: copies of one description share its lock.
    fn locked(&self, how: FlockOperation) -> Result<OwnedFd, Errno> {
        let own = open(&self.top, ".", OFlags::empty())?;
        fs::flock(&own, how).map(|()| own)
    }

    /// Removes from `tmp` what was left there 36 hours before `now` or earlier. How many files that were.
    ///
    /// # Errors
    /// [`MaildirError`].
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

fn open(at: impl AsFd, path: impl rustix::path::Arg, more: OFlags) -> Result<OwnedFd, Errno> {
    fs::openat(at, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | more, Mode::empty())
}

/// Another delivery may be faster.
fn make(at: impl AsFd, path: impl rustix::path::Arg) -> Result<(), Errno> {
    match fs::mkdirat(at, path, Mode::RWXU) {
        Err(Errno::EXIST) => Ok(()),
        other => other,
    }
}

/// Makes a part of a folder; before it the mark, so that a folder with all its parts has one.
fn complete(top: &OwnedFd, part: &str, marked: bool) -> Result<(), Errno> {
    if marked {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        fs::openat(top, MARKER, flags, Mode::RUSR | Mode::WUSR)?;
    }
    make(top, part)?;
    fs::fsync(top)
}

/// A folder must be the user's own and closed to the world. What his group may do is his choice: some share their mail.
fn check(path: &Path, folder: &OwnedFd) -> Result<(), MaildirError> {
    let stat = fs::fstat(folder).map_err(|errno| MaildirError::io("look at", path, errno))?;
    let own = rustix::process::geteuid().as_raw();
    if stat.st_uid != own {
        return Err(MaildirError::unsafe_place(path, format!("belongs to user {}, not to user {own}", stat.st_uid)));
    }
    if Mode::from_raw_mode(stat.st_mode).intersects(Mode::WOTH) {
        return Err(MaildirError::unsafe_place(path, "can be written by everybody"));
    }
    Ok(())
}

fn refused(path: &Path, errno: Errno) -> MaildirError {
    match errno {
        Errno::LOOP | Errno::NOTDIR => MaildirError::unsafe_place(path, "is not a folder"),
        _ => MaildirError::io("open", path, errno),
    }
}
