//! Message on its way into a Maildir folder: it is written in `tmp`, synced, linked into `new`, and then the folder is
//! synced. A dropped draft leaves nothing behind. A killed process leaves a file in `tmp`, which no reader opens.

use super::error::MaildirError;
use super::folder::Folder;
use super::name::UniqueName;
use crate::os::{self, atomic_file, safe_open};
use rustix::fs::{self, AtFlags, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Seek, Write};

/// Message that is being written. [`finish`](Self::finish) delivers it.
#[derive(Debug)]
pub struct Draft<'a> {
    folder: &'a Folder,
    unique: UniqueName,
    file: File,
    size: u64,
    /// Whether the file may be longer than the message.
    reserved: bool,
    linked: bool,
}

impl<'a> Draft<'a> {
    /// Begins a message, if the folder can take one.
    pub fn begin(folder: &'a Folder, unique: UniqueName) -> Result<Self, MaildirError> {
        folder.check_writable()?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let file = safe_open::file_at(folder.unfinished(), unique.as_str(), flags);
        let file = file.map_err(|errno| MaildirError::io("create a file in", &folder.path().join("tmp"), errno))?;
        Ok(Self { folder, unique, file, size: 0, reserved: false, linked: false })
    }

    /// Reserves space for `bytes` and `more` of them, so that a full disk or a quota shows now. It does so by writing:
    /// reserving with fallocate(2) makes the sync of ext4 half as slow again.
    pub fn reserve(&mut self, bytes: &[u8], more: usize) -> Result<(), MaildirError> {
        self.reserved = true;
        let written = self.file.write_all(bytes).and_then(|()| self.file.write_all(&vec![0; more]));
        written.and_then(|()| self.file.rewind()).map_err(|error| self.trouble("find room in", error))
    }

    /// Returns its short name.
    #[must_use]
    pub fn id(&self) -> &str {
        self.unique.id()
    }

    /// Delivers the message. When this returns, it is in the folder and on the disk. Returns the name of its file.
    ///
    /// # Errors
    /// [`MaildirError`]. The message is not in the folder then, unless the disk fails after it was put there.
    pub fn finish(mut self) -> Result<String, MaildirError> {
        if self.reserved {
            fs::ftruncate(&self.file, self.size).map_err(|errno| self.trouble("write", errno))?;
        }
        self.file.sync_all().map_err(|error| self.trouble("write", error))?;
        let name = format!("{},S={}", self.unique.as_str(), self.size);
        self.link(&name).map_err(|errno| self.trouble("put a message into", errno))?;
        if let Err(errno) = os::sync_open_folder(self.folder.finished()) {
            // The delivery will be tried again, so a file that may not last is removed.
            let _ = fs::unlinkat(self.folder.finished(), &name, AtFlags::empty());
            return Err(self.trouble("put a message into", errno));
        }
        Ok(name)
    }

    /// A link fails if a file of that name exists; a rename would replace it. Not every file system has links.
    fn link(&mut self, name: &str) -> Result<(), Errno> {
        let (tmp, new, own) = (self.folder.unfinished(), self.folder.finished(), self.unique.as_str());
        self.linked = atomic_file::link_new(tmp, own, new, name)?;
        Ok(())
    }

    /// Converts the error of a write into one with the folder's name.
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
    /// Removes the name in `tmp`: the message has another name by now, or is abandoned. A failure does no harm.
    fn drop(&mut self) {
        if !self.linked {
            let _ = fs::unlinkat(self.folder.unfinished(), self.unique.as_str(), AtFlags::empty());
        }
    }
}
