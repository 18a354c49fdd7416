//! What is to be sent and what has been sent, on the disk: one file a message in the folder `outbox` of the state. It has one
//! line about the envelope, room for a line for each recipient for whom it is over, and the message. A file is whole when it
//! has its name, and never grows: that a copy was sent can be noted on a full disk, too. Each line is on the disk before the
//! next step, and one that a crash cut off was never written. Whoever works on a message has its file locked. The file goes
//! when all is said.
//!
//! What is not here: the stamps. The wallet keeps them under a key made of the message's name and fingerprint and the
//! recipient.

use super::parse::{Recipient, Submission};
use crate::message::header::escape_untrusted;
use crate::os::random;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The folder.
const FOLDER: &str = "outbox";
/// The end of the names of messages about whose end a caller was not told yet.
const OWED: &str = ".owed";
/// Seconds for which such an end is remembered: as long as mail systems try.
const REMEMBERED: i64 = 5 * 86_400;
/// The line about the envelope may not be longer than this.
const HEAD: usize = 1024 * 1024;
/// The layout of the file.
const VERSION: u32 = 2;
/// Bytes in which there is room for any recipient's line, without the reason of a refusal.
const LINE: usize = 40;
/// Bytes for such reasons, of all recipients together.
const REASONS: usize = 4096;

/// What is said of a file that is none of ours.
const FOREIGN: &str = "not a file of the outbox";

/// What became of one recipient's copy, for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecipientOutcome {
    /// The next program took it.
    Sent,
    /// It never will be, with this status and for this reason.
    Refused(u8, String),
}

/// The journal of what is sent.
#[derive(Debug)]
pub struct Outbox {
    folder: PathBuf,
}

/// A message that is being sent. Nobody else works on it meanwhile.
#[derive(Debug)]
pub struct Entry {
    /// The message and its envelope.
    pub submission: Submission,
    /// What became of each recipient's copy, in their order.
    pub ends: Vec<Option<RecipientOutcome>>,
    file: File,
    path: PathBuf,
    /// Where the next line goes, and where the message begins.
    room: Range<usize>,
}

/// A message as it is listed.
#[derive(Debug)]
pub struct Listed {
    /// The message and its envelope.
    pub submission: Submission,
    /// What became of each recipient's copy, in their order.
    pub ends: Vec<Option<RecipientOutcome>>,
}

/// What is known of a message that is handed in.
#[derive(Debug)]
pub enum Claimed {
    /// It is to be sent, or to be sent on.
    Open(Box<Entry>),
    /// It is over, by `mailstamp sendmail -q`, after its caller had been told to come again: how, for whom.
    Done(Vec<(Recipient, RecipientOutcome)>),
    /// Another process is sending it.
    Busy,
}

#[derive(Serialize, Deserialize)]
struct Head {
    version: u32,
    name: String,
    sender: Option<String>,
    recipients: Vec<String>,
    identified: bool,
    for_return: bool,
    length: usize,
}

#[derive(Serialize, Deserialize)]
struct Line {
    to: usize,
    end: RecipientOutcome,
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

impl Outbox {
    /// The journal in the folder of the state. Nothing is opened yet.
    #[must_use]
    pub fn new(state: &Path) -> Self {
        Self { folder: state.join(FOLDER) }
    }

    /// Takes a message in, durably, or finds it.
    ///
    /// # Errors
    /// [`JournalError`]: nothing was sent.
    pub fn claim(&self, submission: Submission, now: i64) -> Result<Claimed, JournalError> {
        let make = || fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder);
        make().map_err(|source| JournalError { path: self.folder.clone(), source })?;
        if let Some(ends) = self.owed(&submission.name, now) {
            return Ok(Claimed::Done(ends));
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
            Ok((file, room)) => {
                let ends = submission.recipients.iter().map(|_| None).collect();
                Ok(Claimed::Open(Box::new(Entry { submission, ends, file, path, room })))
            }
            // Somebody was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Claimed::Busy),
            Err(error) => Err(failed(error)),
        }
    }

    /// The messages that wait and on which nobody works.
    ///
    /// # Errors
    /// [`JournalError`] when the folder cannot be read.
    pub fn pending(&self) -> Result<Vec<Result<Entry, JournalError>>, JournalError> {
        let failed = |source| JournalError { path: self.folder.clone(), source };
        let mut entries = Vec::new();
        for name in self.names().map_err(failed)? {
            let path = self.folder.join(&name);
            match self.open(&path) {
                Ok(Some(Claimed::Open(entry))) => entries.push(Ok(*entry)),
                Ok(_) => {}
                Err(source) => entries.push(Err(JournalError { path, source })),
            }
        }
        Ok(entries)
    }

    /// The messages that wait or are being sent, as their files stand: nothing is locked, and nobody is kept from sending.
    ///
    /// # Errors
    /// [`JournalError`] when the folder cannot be read.
    pub fn list(&self) -> Result<Vec<Result<Listed, JournalError>>, JournalError> {
        let failed = |source| JournalError { path: self.folder.clone(), source };
        let mut listed = Vec::new();
        for name in self.names().map_err(failed)? {
            let path = self.folder.join(name);
            listed.push(match fs::read(&path) {
                // It is over.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => Err(JournalError { path, source }),
                Ok(bytes) => match read(&bytes).filter(|kept| kept.whole) {
                    Some(Kept { submission, ends, .. }) => Ok(Listed { submission, ends }),
                    None => Err(JournalError { path, source: io::Error::other(FOREIGN) }),
                },
            });
        }
        Ok(listed)
    }

    /// The message of this name; `None` if there is none.
    ///
    /// # Errors
    /// [`JournalError`] when its file cannot be read.
    pub fn find(&self, name: &str) -> Result<Option<Claimed>, JournalError> {
        let path = self.folder.join(name);
        let failed = |source| JournalError { path: path.clone(), source };
        if !self.names().map_err(failed)?.iter().any(|known| known == name) {
            return Ok(None);
        }
        self.open(&path).map_err(failed)
    }

    /// Removes what killed processes left, and what is remembered of messages whose callers did not come again.
    pub fn sweep(&self, now: i64) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let old = entry.metadata().is_ok_and(|metadata| now.saturating_sub(metadata.mtime()) > REMEMBERED);
            if old && (name.ends_with(OWED) || name.starts_with('.')) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// How a message ended whose caller was told to come again; he is told once, and not after long: what he sends then is
    /// another message.
    fn owed(&self, name: &str, now: i64) -> Option<Vec<(Recipient, RecipientOutcome)>> {
        let path = self.folder.join(format!("{name}{OWED}"));
        let changed = fs::metadata(&path).ok()?.mtime();
        let kept = fs::read(&path).ok().and_then(|bytes| read(&bytes));
        let _ = fs::remove_file(&path);
        let Kept { submission, ends, .. } = kept.filter(|_| now.saturating_sub(changed) <= REMEMBERED)?;
        submission.recipients.into_iter().zip(ends).map(|(recipient, end)| Some((recipient, end?))).collect()
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
    fn write(&self, submission: &Submission, path: &Path) -> io::Result<(File, Range<usize>)> {
        let mut random = [0; 8];
        random::fill(&mut random)?;
        let temporary = self.folder.join(format!(".{}", data_encoding::HEXLOWER.encode(&random)));
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mut file = File::from(rustix::fs::open(&temporary, flags, Mode::from(0o600))?);
        let written = (|| {
            rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            let head = Head {
                version: VERSION,
                name: submission.name.clone(),
                sender: submission.sender.clone(),
                recipients: submission.recipients.iter().map(Recipient::to_string).collect(),
                identified: submission.identified,
                for_return: submission.for_return,
                length: submission.message.len(),
            };
            let mut bytes = serde_json::to_vec(&head)?;
            bytes.push(b'\n');
            let room = room(bytes.len(), submission.recipients.len());
            bytes.resize(room.end, b' ');
            bytes.extend_from_slice(&submission.message);
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::hard_link(&temporary, path).map(|()| room)
        })();
        let removed = fs::remove_file(&temporary);
        let room = written.and_then(|room| removed.map(|()| room))?;
        File::open(&self.folder)?.sync_all()?;
        Ok((file, room))
    }

    /// Opens and locks a file; `None` if there is none.
    fn open(&self, path: &Path) -> io::Result<Option<Claimed>> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mut file = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(Some(Claimed::Busy)),
            Err(errno) => return Err(errno.into()),
        }
        let locked = file.metadata()?;
        if !fs::symlink_metadata(path).is_ok_and(|named| (named.dev(), named.ino()) == (locked.dev(), locked.ino())) {
            // Whoever had it was done with it just now.
            return Ok(Some(Claimed::Busy));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let kept = read(&bytes).filter(|kept| kept.whole).ok_or_else(|| io::Error::other(FOREIGN))?;
        let Kept { submission, ends, room, .. } = kept;
        Ok(Some(Claimed::Open(Box::new(Entry { submission, ends, file, path: path.to_owned(), room }))))
    }
}

impl Entry {
    /// Notes, durably, what became of a recipient's copy.
    ///
    /// # Errors
    /// [`JournalError`]: it may be done again.
    pub fn note(&mut self, to: usize, end: RecipientOutcome) -> Result<(), JournalError> {
        let others = self.ends.iter().enumerate().filter(|(at, end)| *at != to && end.is_none()).count();
        let room = self.room.len().saturating_sub(others * LINE);
        let line = |said: usize| -> io::Result<(RecipientOutcome, Vec<u8>)> {
            let end = match &end {
                RecipientOutcome::Refused(status, reason) => {
                    RecipientOutcome::Refused(*status, escape_untrusted(reason.as_bytes(), said))
                }
                RecipientOutcome::Sent => RecipientOutcome::Sent,
            };
            let mut line = serde_json::to_vec(&Line { to, end: end.clone() })?;
            line.push(b'\n');
            Ok((end, line))
        };
        let mut write = || {
            let (end, line) = match line(300)? {
                (_, long) if long.len() > room => line(0)?,
                fits => fits,
            };
            // Over what a crash or a failed write left there.
            self.file.write_all_at(&line, self.room.start as u64)?;
            self.file.sync_data()?;
            self.room.start += line.len();
            Ok(end)
        };
        let end = write().map_err(|source| JournalError { path: self.path.clone(), source })?;
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
    /// how it ended is remembered for him, without the message.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn remove(self, owed: bool) -> Result<(), JournalError> {
        let failed = |source| JournalError { path: self.path.clone(), source };
        if !owed {
            return fs::remove_file(&self.path).map_err(failed);
        }
        fs::rename(&self.path, self.path.with_extension(OWED.trim_start_matches('.'))).map_err(failed)?;
        self.file.set_len(self.room.end as u64).map_err(failed)
    }
}

/// What a file says.
struct Kept {
    submission: Submission,
    ends: Vec<Option<RecipientOutcome>>,
    room: Range<usize>,
    /// Whether the message is there still.
    whole: bool,
}

/// The room for lines, behind a head of this length.
fn room(head: usize, recipients: usize) -> Range<usize> {
    head..head + recipients * LINE + REASONS
}

fn read(bytes: &[u8]) -> Option<Kept> {
    let end = bytes.iter().take(HEAD).position(|&b| b == b'\n')?;
    let head: Head = serde_json::from_slice(bytes.get(..end)?).ok().filter(|head: &Head| head.version == VERSION)?;
    let recipients: Vec<Recipient> =
        head.recipients.iter().map(|text| Recipient::parse(text).ok()).collect::<Option<_>>()?;
    let mut room = room(end + 1, recipients.len());
    let mut ends: Vec<Option<RecipientOutcome>> = vec![None; recipients.len()];
    for line in bytes.get(room.clone())?.split_inclusive(|&b| b == b'\n') {
        let Some(whole) = line.strip_suffix(b"\n") else { break };
        let Ok(line_read) = serde_json::from_slice::<Line>(whole) else { break };
        *ends.get_mut(line_read.to)? = Some(line_read.end);
        room.start += line.len();
    }
    let message = bytes.get(room.end..room.end.checked_add(head.length)?);
    let Head { name, sender, identified, for_return, .. } = head;
    let whole = message.is_some();
    let message = message.unwrap_or_default().to_vec();
    Some(Kept {
        submission: Submission { name, identified, sender, recipients, message, for_return },
        ends,
        room,
        whole,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sender::submission::parse::{LocalHost, RECIPIENTS, SendmailArgs};
    use crate::time::UnixTime;

    fn submission() -> Submission {
        let asked = SendmailArgs { recipients: vec!["a@x.example,b@x.example,root".into()], ..SendmailArgs::default() };
        let here = LocalHost { now: UnixTime(0), own: None, random: [1; 16] };
        Submission::prepare(b"Message-ID: <1@x>\nFrom: me@x.example\nDate: d\n\nbody\n", &asked, &here).unwrap()
    }

    /// The files are of this moment.
    fn now() -> i64 {
        fs::metadata(tempfile::tempdir().unwrap().path()).unwrap().mtime()
    }

    fn open(journal: &Outbox) -> Entry {
        match journal.claim(submission(), now()).unwrap() {
            Claimed::Open(entry) => *entry,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_was_noted_is_known_again_and_what_was_cut_off_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Outbox::new(folder.path());
        let mut entry = open(&journal);
        assert!(matches!(journal.claim(submission(), now()).unwrap(), Claimed::Busy));
        assert_eq!(journal.pending().unwrap().len(), 0);
        entry.note(1, RecipientOutcome::Sent).unwrap();
        let before = entry.room.start;
        entry.note(2, RecipientOutcome::Refused(67, "nobody\n".into())).unwrap();
        let path = entry.path.clone();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let line = before..entry.room.start;
        drop(entry);
        let whole = fs::read(&path).unwrap();
        for cut in 0..line.len() {
            let mut torn = whole.clone();
            torn[line.end - cut..line.end].fill(b' ');
            fs::write(&path, &torn).unwrap();
            let mut entry = open(&journal);
            assert_eq!(entry.submission, submission());
            let refused = (cut == 0).then(|| RecipientOutcome::Refused(67, "nobody\\x0a".into()));
            assert_eq!(entry.ends, [None, Some(RecipientOutcome::Sent), refused], "{cut}");
            entry.note(0, RecipientOutcome::Sent).unwrap();
            drop(entry);
            let mut entry = open(&journal);
            assert_eq!(entry.ends[0], Some(RecipientOutcome::Sent), "{cut}");
            entry.note(2, RecipientOutcome::Sent).unwrap();
            drop(entry);
            assert_eq!(
                open(&journal).ends,
                [Some(RecipientOutcome::Sent), Some(RecipientOutcome::Sent), Some(RecipientOutcome::Sent)],
                "{cut}"
            );
        }
        open(&journal).remove(false).unwrap();
        assert_eq!(fs::read_dir(folder.path().join(FOLDER)).unwrap().count(), 0);
    }

    #[test]
    fn there_is_room_for_what_becomes_of_everybody_from_the_beginning() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Outbox::new(folder.path());
        let recipients = (0..RECIPIENTS).map(|n| format!("p{n}@x.example")).collect();
        let asked = SendmailArgs { recipients, ..SendmailArgs::default() };
        let here = LocalHost { now: UnixTime(0), own: None, random: [1; 16] };
        let submission = Submission::prepare(b"Message-ID: <1@x>\n\nbody\n", &asked, &here).unwrap();
        let Claimed::Open(mut entry) = journal.claim(submission.clone(), now()).unwrap() else { panic!() };
        let path = entry.path.clone();
        let length = fs::metadata(&path).unwrap().len();
        let reason = "\"".repeat(300);
        for to in (0..RECIPIENTS).rev() {
            entry.note(to, RecipientOutcome::Refused(255, reason.clone())).unwrap();
        }
        assert_eq!(fs::metadata(&path).unwrap().len(), length);
        drop(entry);
        let Claimed::Open(entry) = journal.claim(submission.clone(), now()).unwrap() else { panic!() };
        assert!(entry.is_done());
        assert_eq!(
            (&entry.submission, &entry.ends[RECIPIENTS - 1]),
            (&submission, &Some(RecipientOutcome::Refused(255, reason)))
        );
    }

    #[test]
    fn a_caller_who_comes_again_is_told_once_how_it_ended_if_he_comes_soon() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Outbox::new(folder.path());
        let end = || {
            let mut entry = open(&journal);
            entry.note(0, RecipientOutcome::Refused(67, "nobody".into())).unwrap();
            entry.note(1, RecipientOutcome::Sent).unwrap();
            entry.note(2, RecipientOutcome::Sent).unwrap();
            entry.remove(true).unwrap();
        };
        end();
        let kept = fs::read_dir(folder.path().join(FOLDER)).unwrap().next().unwrap().unwrap().path();
        assert!(!fs::read_to_string(kept).unwrap().contains("me@x.example"));
        let Claimed::Done(ends) = journal.claim(submission(), now()).unwrap() else { panic!() };
        let told: Vec<&RecipientOutcome> = ends.iter().map(|(_, end)| end).collect();
        assert_eq!(
            told,
            [&RecipientOutcome::Refused(67, "nobody".into()), &RecipientOutcome::Sent, &RecipientOutcome::Sent]
        );
        let again = open(&journal);
        drop(again);
        assert_eq!(journal.pending().unwrap().len(), 1);
        end();
        assert!(matches!(journal.claim(submission(), now() + REMEMBERED + 9).unwrap(), Claimed::Open(_)));
        end();
        journal.sweep(i64::MAX);
        assert_eq!(fs::read_dir(folder.path().join(FOLDER)).unwrap().count(), 0);
    }

    #[test]
    fn what_is_no_file_of_ours_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Outbox::new(folder.path());
        let path = open(&journal).path;
        fs::write(&path, "{}\n").unwrap();
        let error = journal.claim(submission(), now()).unwrap_err();
        assert!(error.to_string().contains("not a file of the outbox"), "{error}");
        assert!(journal.pending().unwrap()[0].is_err());
    }
}
