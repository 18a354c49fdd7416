//! A message on its way into a folder: written in `tmp`, synced, linked into `new`, and the folder synced after it. What is
//! dropped before leaves nothing behind; what is killed before leaves a file in `tmp`, which nobody reads.

use super::error::MaildirError;
use super::folder::Folder;
use super::name::UniqueName;
use rustix::fs::{self, AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Seek, Write};

/// A message that is being written. [`finish`](Self::finish) delivers it.
#[derive(Debug)]
pub struct Draft<'a> {
    folder: &'a Folder,
    unique: UniqueName,
    file: File,
    size: u64,
    /// Whether there may be more in the file than belongs to the message.
    reserved: bool,
    linked: bool,
}

impl<'a> Draft<'a> {
    /// Begins a message, if the folder can take one.
    ///
    /// # Errors
    /// [`MaildirError`].
    pub fn begin(folder: &'a Folder, unique: UniqueName) -> Result<Self, MaildirError> {
        folder.check_writable()?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::openat(folder.unfinished(), unique.as_str(), flags, Mode::RUSR | Mode::WUSR);
        let file = file.map_err(|errno| MaildirError::io("create a file in", &folder.path().join("tmp"), errno))?;
        Ok(Self { folder, unique, file: file.into(), size: 0, reserved: false, linked: false })
    }

    /// Takes room for `bytes` and `more` of them, so that a full disk, or a quota, shows now. The file system is asked for
    /// it by writing: to have it promised (fallocate(2)) makes the sync of ext4 half as slow again.
    ///
    /// # Errors
    /// [`MaildirError`].
    pub fn reserve(&mut self, bytes: &[u8], more: usize) -> Result<(), MaildirError> {
        self.reserved = true;
        let written = self.file.write_all(bytes).and_then(|()| self.file.write_all(&vec![0; more]));
        written.and_then(|()| self.file.rewind()).map_err(|error| self.trouble("find room in", error))
    }

    /// Its short name.
    #[must_use]
    pub fn id(&self) -> &str {
        self.unique.id()
    }

    /// Delivers it: when this returns, the message is in the folder and on the disk. Returns the name of its file.
    ///
    /// # Errors
    /// [`MaildirError`]; the message is not in the folder then, but for a disk that fails after it was put there.
    pub fn finish(mut self) -> Result<String, MaildirError> {
        if self.reserved {
            fs::ftruncate(&self.file, self.size).map_err(|errno| self.trouble("write", errno))?;
        }
        self.file.sync_all().map_err(|error| self.trouble("write", error))?;
        let name = format!("{},S={}", self.unique.as_str(), self.size);
        self.link(&name).map_err(|errno| self.trouble("put a message into", errno))?;
        if let Err(errno) = fs::fsync(self.folder.finished()) {
            // It will be tried again; better not to leave what may or may not last.
            let _ = fs::unlinkat(self.folder.finished(), &name, AtFlags::empty());
            return Err(self.trouble("put a message into", errno));
        }
        Ok(name)
    }

    /// A link fails where there is a file of that name; a rename would replace it. Not every file system has links.
    fn link(&mut self, name: &str) -> Result<(), Errno> {
        let (tmp, new, own) = (self.folder.unfinished(), self.folder.finished(), self.unique.as_str());
        match fs::linkat(tmp, own, new, name, AtFlags::empty()) {
            Ok(()) => Ok(()),
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK | Errno::XDEV) => {
                match fs::renameat_with(tmp, own, new, name, RenameFlags::NOREPLACE) {
                    Err(Errno::INVAL | Errno::NOSYS) => fs::renameat(tmp, own, new, name),
                    other => other,
                }
                .inspect(|()| self.linked = true)
            }
            Err(errno) => Err(errno),
        }
    }

    /// What the system said when a piece was written, with the folder's name.
    #[must_use]
    pub fn failed(&self, error: io::Error) -> MaildirError {
        self.trouble("write into", error)
    }

    fn trouble(&self, doing: &'static str, source: impl Into<io::Error>) -> MaildirError {
        MaildirError::io(doing, self.folder.path(), source)
    }
}

impl Write for Draft<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Draft<'_> {
    /// The name in `tmp` goes: the message has another by now, or none. Trouble with it is nobody's loss.
    fn drop(&mut self) {
        if !self.linked {
            let _ = fs::unlinkat(self.folder.unfinished(), self.unique.as_str(), AtFlags::empty());
        }
    }
}
