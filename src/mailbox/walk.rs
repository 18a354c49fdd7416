//! Walks over stored mail: finds Maildirs and mbox files in the files and folders that the user names, and reads them
//! message by message.
//!
//! - Nested folders are entered, but links in them are not followed.
//! - A file that is neither in a Maildir nor an mbox file (the index of a mail program, say) is skipped, and so is a
//!   link, a socket, or a folder that is too deep. Each is reported.
//! - Something unreadable is reported with its error, and the walk continues.
//! - Nothing is written. Only one message is in memory, and of a Maildir the names of the files.

use super::mbox::{self, Messages};
use crate::os::safe_open;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Limit on the depth of nested folders.
const DEPTH: usize = 32;

/// Stored message.
#[derive(Debug)]
pub struct StoredMessage<'a> {
    /// Its file.
    pub path: &'a Path,
    /// Which message of an mbox file it is, the first being 1.
    pub number: Option<u64>,
    /// Its bytes, or the first of them.
    pub bytes: &'a [u8],
    /// Whether there are more than the limit.
    pub cut: bool,
    /// Whether it cannot be the text of another message, if that was asked for.
    pub certain: bool,
    /// How much of its file it takes.
    pub length: u64,
    /// The modification time of its file (seconds since 1970).
    pub modified: i64,
}

/// What the walk finds.
#[derive(Debug)]
pub enum Entry<'a> {
    Message(StoredMessage<'a>),
    /// Something in a folder that is passed over.
    Skipped(&'a Path, Skipped),
    /// Something that cannot be read.
    Unreadable(&'a Path, io::Error),
}

/// Reason why something is passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skipped {
    NotMail,
    /// A file of a mail server in a Maildir.
    Index,
    Compressed,
    Link,
    Special,
    TooDeep,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotMail => "no mail in a form that is known",
            Self::Index => "a file of the mail server",
            Self::Compressed => "compressed with gzip",
            Self::Link => "a link",
            Self::Special => "not a regular file",
            Self::TooDeep => "more than 32 folders deep",
        })
    }
}

/// Calls `to` with every message in `paths`, until it breaks. No more than about `largest` bytes of each are read.
pub fn read<B>(paths: &[PathBuf], largest: u64, to: &mut dyn FnMut(Entry<'_>) -> ControlFlow<B>) -> ControlFlow<B> {
    let mut walk = MailboxWalker { largest, check: false, to };
    paths.iter().try_for_each(|path| walk.given(path))
}

/// As [`read`], and reads each mbox file twice to see whether its messages are [`certain`](StoredMessage::certain).
pub fn read_certain<B>(
    paths: &[PathBuf],
    largest: u64,
    to: &mut dyn FnMut(Entry<'_>) -> ControlFlow<B>,
) -> ControlFlow<B> {
    let mut walk = MailboxWalker { largest, check: true, to };
    paths.iter().try_for_each(|path| walk.given(path))
}

/// Returns an estimate of the bytes that [`read`] is going to read.
#[must_use]
pub fn size(paths: &[PathBuf]) -> u64 {
    fn below(path: &Path, depth: usize) -> u64 {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        let sizes = entries.map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() && depth < DEPTH => below(&entry.path(), depth + 1),
            Ok(metadata) if metadata.is_file() => metadata.len(),
            _ => 0,
        });
        sizes.fold(0, u64::saturating_add)
    }
    let sizes = paths.iter().map(|path| match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => below(path, 0),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    sizes.fold(0, u64::saturating_add)
}

struct MailboxWalker<'a, B> {
    largest: u64,
    /// Whether mbox files are checked.
    check: bool,
    to: &'a mut dyn FnMut(Entry<'_>) -> ControlFlow<B>,
}

impl<B> MailboxWalker<'_, B> {
    /// Reads a path that the user named, whatever it is.
    fn given(&mut self, path: &Path) -> ControlFlow<B> {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => self.folder(path, 0),
            Ok(_) => match File::open(path) {
                Ok(file) => self.file(path, file, true),
                Err(error) => self.unreadable(path, error),
            },
            Err(error) => self.unreadable(path, error),
        }
    }

    fn folder(&mut self, path: &Path, depth: usize) -> ControlFlow<B> {
        let is_folder = |name: &str| fs::symlink_metadata(path.join(name)).is_ok_and(|it| it.is_dir());
        let maildir = is_folder("cur");
        if maildir {
            for name in ["cur", "new"] {
                self.messages(path, name)?;
            }
        }
        let names = match names(path) {
            Ok(names) => names,
            Err(error) => return self.unreadable(path, error),
        };
        for name in names {
            if maildir && ["cur", "new", "tmp"].iter().any(|own| name == *own) {
                continue;
            }
            let index = maildir && is_index(&name);
            let path = path.join(name);
            match fs::symlink_metadata(&path) {
                Ok(metadata) if metadata.is_file() && index => self.skipped(&path, Skipped::Index)?,
                Ok(metadata) if metadata.is_dir() && depth < DEPTH => self.folder(&path, depth + 1)?,
                Ok(metadata) if metadata.is_dir() => self.skipped(&path, Skipped::TooDeep)?,
                Ok(metadata) if metadata.is_symlink() => self.skipped(&path, Skipped::Link)?,
                Ok(metadata) if metadata.is_file() => match safe_open::regular_file(&path) {
                    Ok(file) => self.file(&path, file, false)?,
                    Err(error) => self.unreadable(&path, error)?,
                },
                Ok(_) => self.skipped(&path, Skipped::Special)?,
                // It was removed after its name was read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => self.unreadable(&path, error)?,
            }
        }
        ControlFlow::Continue(())
    }

    /// Reads the messages in one folder of a Maildir, in the order of their names, which is mostly that of their
    /// arrival.
    fn messages(&mut self, maildir: &Path, folder: &str) -> ControlFlow<B> {
        let path = maildir.join(folder);
        let names = match names(&path) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return ControlFlow::Continue(()),
            Err(error) => return self.unreadable(&path, error),
        };
        for name in names {
            let file = path.join(&name);
            // A file whose name begins with a dot is no message.
            if name.as_bytes().starts_with(b".") {
                self.skipped(&file, Skipped::NotMail)?;
                continue;
            }
            let opened = match safe_open::regular_file(&file) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => match moved(maildir, &name) {
                    Some(path) => safe_open::regular_file(&path),
                    // It was deleted after its name was read.
                    None => continue,
                },
                other => other,
            };
            match opened.and_then(|opened| self.whole(opened)) {
                Ok((bytes, cut, metadata)) => self.message(&file, None, &bytes, cut, &metadata)?,
                Err(error) => self.unreadable(&file, error)?,
            }
        }
        ControlFlow::Continue(())
    }

    /// Reads an mbox file. If the user named this very file, it may also be a single message.
    fn file(&mut self, path: &Path, file: File, meant: bool) -> ControlFlow<B> {
        let metadata = file.metadata().ok();
        let modified = metadata.as_ref().map_or(0, MetadataExt::mtime);
        // A pipe cannot be read twice.
        let check = self.check && metadata.is_some_and(|metadata| metadata.is_file());
        let mut reader = BufReader::with_capacity(128 * 1024, file);
        let begins = match begins(&mut reader) {
            Ok(begins) => begins,
            Err(error) => return self.unreadable(path, error),
        };
        match begins {
            Begins::Empty => return ControlFlow::Continue(()),
            Begins::Compressed if meant => return self.unreadable(path, compressed()),
            Begins::Mbox => {}
            Begins::Other if meant => return self.alone(path, reader, modified),
            Begins::Compressed => return self.skipped(path, Skipped::Compressed),
            Begins::Other => return self.skipped(path, Skipped::NotMail),
        }
        let certain = match check.then(|| mbox::is_certain(&mut reader)) {
            Some(Ok(certain)) => match reader.rewind() {
                Ok(()) => certain,
                Err(error) => return self.unreadable(path, error),
            },
            Some(Err(error)) => return self.unreadable(path, error),
            None => false,
        };
        for (number, message) in (1..).zip(Messages::new(reader, self.largest)) {
            match message {
                Ok(it) => {
                    let (bytes, number) = (it.bytes.as_slice(), Some(number));
                    (self.to)(Entry::Message(StoredMessage {
                        path,
                        number,
                        bytes,
                        cut: it.cut,
                        certain,
                        length: it.length,
                        modified,
                    }))?;
                }
                Err(error) => return self.unreadable(path, error),
            }
        }
        ControlFlow::Continue(())
    }

    fn alone(&mut self, path: &Path, reader: impl Read, modified: i64) -> ControlFlow<B> {
        match limited(reader, self.largest) {
            Ok((bytes, cut)) => {
                let (bytes, length) = (bytes.as_slice(), bytes.len() as u64);
                (self.to)(Entry::Message(StoredMessage {
                    path,
                    number: None,
                    bytes,
                    cut,
                    certain: true,
                    length,
                    modified,
                }))
            }
            Err(error) => self.unreadable(path, error),
        }
    }

    fn whole(&self, file: File) -> io::Result<(Vec<u8>, bool, fs::Metadata)> {
        let metadata = file.metadata()?;
        let (bytes, cut) = limited(file, self.largest)?;
        if bytes.starts_with(&GZIP) { Err(compressed()) } else { Ok((bytes, cut, metadata)) }
    }

    fn message(
        &mut self,
        path: &Path,
        number: Option<u64>,
        bytes: &[u8],
        cut: bool,
        metadata: &fs::Metadata,
    ) -> ControlFlow<B> {
        let (length, modified) = (metadata.len(), metadata.mtime());
        (self.to)(Entry::Message(StoredMessage { path, number, bytes, cut, certain: true, length, modified }))
    }

    fn skipped(&mut self, path: &Path, why: Skipped) -> ControlFlow<B> {
        (self.to)(Entry::Skipped(path, why))
    }

    fn unreadable(&mut self, path: &Path, error: io::Error) -> ControlFlow<B> {
        (self.to)(Entry::Unreadable(path, error))
    }
}

/// Beginning of a compressed message, as some Maildirs hold it: gzip (RFC 1952 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

fn compressed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "compressed with gzip")
}

/// Returns whether Dovecot or Courier keeps a file of this name in a Maildir.
fn is_index(name: &OsString) -> bool {
    let name = name.as_bytes();
    let known: [&[u8]; 4] = [b"maildirfolder", b"maildirsize", b"subscriptions", b"courierimapsubscribed"];
    known.contains(&name) || name.starts_with(b"dovecot") || name.starts_with(b"courier")
}

/// Returns the names in a folder, sorted.
fn names(path: &Path) -> io::Result<Vec<OsString>> {
    let mut names = fs::read_dir(path)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
    names.sort_unstable();
    Ok(names)
}

/// Finds a renamed file. A mail program renames a message when it is read: the name up to the colon stays (maildir(5)).
fn moved(maildir: &Path, name: &OsString) -> Option<PathBuf> {
    let unique = |name: &OsString| name.as_bytes().split(|&b| b == b':').next().map(<[u8]>::to_vec);
    let cur = maildir.join("cur");
    let names = names(&cur).ok()?;
    names.into_iter().find(|other| unique(other) == unique(name)).map(|name| cur.join(name))
}

/// Reads the first `largest` bytes, and returns whether there are more.
fn limited(from: impl Read, largest: u64) -> io::Result<(Vec<u8>, bool)> {
    let mut bytes = Vec::new();
    from.take(largest.saturating_add(1)).read_to_end(&mut bytes)?;
    let cut = bytes.len() as u64 > largest;
    bytes.truncate(usize::try_from(largest).unwrap_or(usize::MAX));
    Ok((bytes, cut))
}

enum Begins {
    Empty,
    Mbox,
    Compressed,
    Other,
}

fn begins(reader: &mut impl BufRead) -> io::Result<Begins> {
    let bytes = reader.fill_buf()?;
    Ok(match bytes {
        [] => Begins::Empty,
        bytes if mbox::begins(bytes) => Begins::Mbox,
        bytes if bytes.starts_with(&GZIP) => Begins::Compressed,
        _ => Begins::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_is_read_meanwhile_is_found_under_its_new_name() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("cur")).unwrap();
        let now = folder.path().join("cur/1.M2.x:2,RS");
        fs::write(&now, b"").unwrap();
        for before in ["1.M2.x", "1.M2.x:2,", "1.M2.x:2,S"] {
            assert_eq!(moved(folder.path(), &before.into()), Some(now.clone()));
        }
        assert_eq!(moved(folder.path(), &"1.M2".into()), None);
    }

    #[test]
    fn the_reading_stops_when_told() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("mbox"), b"From a\n\n1\n\nFrom b\nC:\n\n2\n").unwrap();
        let mut seen = 0;
        let stopped = read(&[folder.path().to_owned()], 100, &mut |_| {
            seen += 1;
            ControlFlow::Break(seen)
        });
        assert_eq!((stopped, seen), (ControlFlow::Break(1), 1));
        assert_eq!(size(&[folder.path().to_owned()]), 24);
    }
}
