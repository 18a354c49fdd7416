//! What is to be sent and what has been sent, on the disk: one file a message in the folder `outbox` of the state. It has one
//! line about the envelope, the message, and then a line for each recipient for whom it is over. A file is whole when it has
//! its name, each line is on the disk before the next step, and a line that a crash cut off was never written. Whoever works
//! on a message has its file locked. The file goes when all is said.
//!
//! What is not here: the stamps. The purse keeps them under a key made of the message's name and the recipient.

use super::submission::{Recipient, Submission};
use crate::mail::field::printable;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The folder.
const FOLDER: &str = "outbox";
/// The end of the names of messages about whose end a caller was not told yet.
const OWED: &str = ".owed";
/// Seconds for which such an end is remembered: as long as mail systems try.
const REMEMBERED: u64 = 5 * 86_400;
/// What ended, as the file says, may not be longer than this.
const HEAD: usize = 1024 * 1024;

/// What became of one recipient's copy, for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// The next program took it.
    Sent,
    /// It never will be, with this status and for this reason.
    Refused(u8, String),
}

/// The journal of what is sent.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
}

/// A message that is being sent. Nobody else works on it meanwhile.
#[derive(Debug)]
pub struct Entry {
    /// The message and its envelope.
    pub submission: Submission,
    /// What became of each recipient's copy, in their order.
    pub ends: Vec<Option<End>>,
    file: File,
    path: PathBuf,
}

/// What is known of a message that is handed in.
#[derive(Debug)]
pub enum Known {
    /// It is to be sent, or to be sent on.
    Open(Box<Entry>),
    /// It was sent, by `mailstamp sendmail -q`, after its caller had been told to come again. With what status.
    Done(u8),
    /// Another process is sending it.
    Busy,
}

#[derive(Serialize, Deserialize)]
struct Head {
    version: u32,
    name: String,
    sender: Option<String>,
    recipients: Vec<String>,
    for_return: bool,
    length: usize,
}

#[derive(Serialize, Deserialize)]
struct Line {
    to: usize,
    end: End,
}

/// The journal could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct JournalError {
    /// Which file.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

impl Journal {
    /// The journal in the folder of the state. Nothing is opened yet.
    #[must_use]
    pub fn new(state: &Path) -> Self {
        Self { folder: state.join(FOLDER) }
    }

    /// Takes a message in, durably, or finds it.
    ///
    /// # Errors
    /// [`JournalError`]: nothing was sent.
    pub fn take(&self, submission: Submission) -> Result<Known, JournalError> {
        let make = || fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder);
        make().map_err(|source| JournalError { path: self.folder.clone(), source })?;
        let owed = self.owed(&submission.name);
        if let Ok(status) = fs::read_to_string(&owed) {
            let _ = fs::remove_file(&owed);
            return Ok(Known::Done(status.trim().parse().unwrap_or(0)));
        }
        let path = self.folder.join(&submission.name);
        let failed = |source: io::Error| JournalError { path: path.clone(), source };
        // Most messages are new, so that is tried only if there is a file.
        if path.exists()
            && let Some(known) = self.open(&path).map_err(failed)?
        {
            return Ok(known);
        }
        match self.write(&submission, &path) {
            Ok(file) => {
                let ends = submission.recipients.iter().map(|_| None).collect();
                Ok(Known::Open(Box::new(Entry { submission, ends, file, path })))
            }
            // Somebody was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Known::Busy),
            Err(error) => Err(failed(error)),
        }
    }

    /// The messages that wait and on which nobody works.
    ///
    /// # Errors
    /// [`JournalError`] when the folder cannot be read.
    pub fn waiting(&self) -> Result<Vec<Result<Entry, JournalError>>, JournalError> {
        let failed = |source| JournalError { path: self.folder.clone(), source };
        let mut entries = Vec::new();
        for name in self.names().map_err(failed)? {
            let path = self.folder.join(&name);
            match self.open(&path) {
                Ok(Some(Known::Open(entry))) => entries.push(Ok(*entry)),
                Ok(_) => {}
                Err(source) => entries.push(Err(JournalError { path, source })),
            }
        }
        Ok(entries)
    }

    /// Removes what killed processes left, and what is remembered of messages whose callers did not come again.
    pub fn sweep(&self, now: i64) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let age = entry.metadata().map_or(0, |metadata| now.saturating_sub(metadata.mtime()));
            let old = age > i64::try_from(REMEMBERED).unwrap_or(i64::MAX);
            if old && (name.ends_with(OWED) || name.starts_with('.')) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn owed(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}{OWED}"))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let read = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let names = read.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| !name.contains('.')).collect();
        names.sort();
        Ok(names)
    }

    /// Writes a new file, locked, and gives it its name when it is whole.
    fn write(&self, submission: &Submission, path: &Path) -> io::Result<File> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let temporary = self.folder.join(format!(".{}", data_encoding::HEXLOWER.encode(&random)));
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mut file = File::from(rustix::fs::open(&temporary, flags, Mode::from(0o600))?);
        let written = (|| {
            rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            let head = Head {
                version: 1,
                name: submission.name.clone(),
                sender: submission.sender.clone(),
                recipients: submission.recipients.iter().map(Recipient::to_string).collect(),
                for_return: submission.for_return,
                length: submission.message.len(),
            };
            let mut bytes = serde_json::to_vec(&head)?;
            bytes.push(b'\n');
            bytes.extend_from_slice(&submission.message);
            bytes.push(b'\n');
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::hard_link(&temporary, path)
        })();
        let removed = fs::remove_file(&temporary);
        written.and(removed)?;
        File::open(&self.folder)?.sync_all()?;
        Ok(file)
    }

    /// Opens and locks a file; `None` if there is none.
    fn open(&self, path: &Path) -> io::Result<Option<Known>> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mut file = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(Some(Known::Busy)),
            Err(errno) => return Err(errno.into()),
        }
        if file.metadata()?.nlink() == 0 {
            // Whoever had it was done with it just now.
            return Ok(Some(Known::Done(0)));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let (submission, ends, end) = read(&bytes).ok_or_else(|| io::Error::other("not a file of the outbox"))?;
        // What a crash cut off was never written; the next line begins where the last whole one ends.
        file.set_len(end as u64)?;
        file.seek(SeekFrom::Start(end as u64))?;
        Ok(Some(Known::Open(Box::new(Entry { submission, ends, file, path: path.to_owned() }))))
    }
}

impl Entry {
    /// Notes, durably, what became of a recipient's copy.
    ///
    /// # Errors
    /// [`JournalError`]: it may be done again.
    pub fn note(&mut self, to: usize, end: End) -> Result<(), JournalError> {
        let end = match end {
            End::Refused(status, said) => End::Refused(status, printable(said.as_bytes(), 300)),
            End::Sent => End::Sent,
        };
        let write = |file: &mut File| -> io::Result<()> {
            let mut line = serde_json::to_vec(&Line { to, end: end.clone() })?;
            line.push(b'\n');
            file.write_all(&line)?;
            file.sync_data()
        };
        write(&mut self.file).map_err(|source| JournalError { path: self.path.clone(), source })?;
        if let Some(slot) = self.ends.get_mut(to) {
            *slot = Some(end);
        }
        Ok(())
    }

    /// Whether it is over for everybody.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.ends.iter().all(Option::is_some)
    }

    /// Removes the file: it is over. With `owed`, the caller was told to come again; so that he does not send it once more,
    /// this status is remembered for him.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn remove(self, owed: Option<u8>) -> Result<(), JournalError> {
        if let Some(status) = owed {
            let path = self.path.with_extension(OWED.trim_start_matches('.'));
            fs::write(&path, format!("{status}\n")).map_err(|source| JournalError { path, source })?;
        }
        fs::remove_file(&self.path).map_err(|source| JournalError { path: self.path.clone(), source })
    }
}

/// What a file says, and where its last whole line ends.
fn read(bytes: &[u8]) -> Option<(Submission, Vec<Option<End>>, usize)> {
    let end = bytes.iter().take(HEAD).position(|&b| b == b'\n')?;
    let head: Head = serde_json::from_slice(bytes.get(..end)?).ok().filter(|head: &Head| head.version == 1)?;
    let start = end + 1;
    let message = bytes.get(start..start.checked_add(head.length)?)?.to_vec();
    let mut at = start + head.length + 1;
    let recipients: Vec<Recipient> =
        head.recipients.iter().map(|text| Recipient::parse(text).ok()).collect::<Option<_>>()?;
    let mut ends: Vec<Option<End>> = vec![None; recipients.len()];
    for line in bytes.get(at..)?.split_inclusive(|&b| b == b'\n') {
        let Some(whole) = line.strip_suffix(b"\n") else { break };
        let Ok(line_read) = serde_json::from_slice::<Line>(whole) else { break };
        *ends.get_mut(line_read.to)? = Some(line_read.end);
        at += line.len();
    }
    let Head { name, sender, for_return, .. } = head;
    Some((Submission { name, sender, recipients, message, for_return }, ends, at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::time::UnixTime;
    use crate::sender::post::submission::{Asked, Here};

    fn submission() -> Submission {
        let asked = Asked { recipients: vec!["a@x.example,b@x.example,root".into()], ..Asked::default() };
        let here = Here { now: UnixTime(0), own: None, random: [1; 16] };
        Submission::prepare(b"Message-ID: <1@x>\nFrom: me@x.example\nDate: d\n\nbody\n", &asked, &here).unwrap()
    }

    fn open(journal: &Journal) -> Entry {
        match journal.take(submission()).unwrap() {
            Known::Open(entry) => *entry,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_was_noted_is_known_again_and_what_was_cut_off_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::new(folder.path());
        let mut entry = open(&journal);
        assert!(matches!(journal.take(submission()).unwrap(), Known::Busy));
        assert_eq!(journal.waiting().unwrap().len(), 0);
        entry.note(1, End::Sent).unwrap();
        entry.note(2, End::Refused(67, "nobody\n".into())).unwrap();
        let path = entry.path.clone();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        drop(entry);
        let whole = fs::read(&path).unwrap();
        for cut in 0..20 {
            fs::write(&path, &whole[..whole.len() - cut]).unwrap();
            let mut entry = open(&journal);
            assert_eq!(entry.submission, submission());
            let refused = (cut == 0).then(|| End::Refused(67, "nobody\\x0a".into()));
            assert_eq!(entry.ends, [None, Some(End::Sent), refused], "{cut}");
            entry.note(0, End::Sent).unwrap();
            drop(entry);
            assert_eq!(open(&journal).ends[0], Some(End::Sent), "{cut}");
        }
        let entry = open(&journal);
        entry.remove(None).unwrap();
        assert_eq!(fs::read_dir(folder.path().join(FOLDER)).unwrap().count(), 0);
    }

    #[test]
    fn a_caller_who_comes_again_is_told_once_how_it_ended() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::new(folder.path());
        open(&journal).remove(Some(67)).unwrap();
        assert!(matches!(journal.take(submission()).unwrap(), Known::Done(67)));
        let again = open(&journal);
        drop(again);
        assert_eq!(journal.waiting().unwrap().len(), 1);
        open(&journal).remove(Some(0)).unwrap();
        journal.sweep(i64::MAX);
        assert_eq!(fs::read_dir(folder.path().join(FOLDER)).unwrap().count(), 0);
    }

    #[test]
    fn what_is_no_file_of_ours_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::new(folder.path());
        let path = open(&journal).path;
        fs::write(&path, "{}\n").unwrap();
        let error = journal.take(submission()).unwrap_err();
        assert!(error.to_string().contains("not a file of the outbox"), "{error}");
        assert!(journal.waiting().unwrap()[0].is_err());
    }
}
