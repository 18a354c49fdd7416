//! Outbox: one file for each message in the folder `outbox` of the state.
//!
//! - A file has one line with the envelope, space for a result line of each recipient, and the message.
//! - A file is complete when it gets its name, and never grows. A result can therefore be recorded on a full disk, too.
//! - Each line is on the disk before the next step. A line that a crash cut off counts as not written.
//! - The process that works on a message holds a lock on its file. The file is removed when every recipient is done.
//!
//! Not here: the stamps. The wallet keeps them under a key made of the name and fingerprint of the message, and the
//! recipient.

use super::parse::{Recipient, Submission};
use crate::message::header::{escape_untrusted, unescaped};
use crate::os::{self, atomic_file, file_lock, random, safe_open};
use rustix::fs::OFlags;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Name of the folder.
const FOLDER: &str = "outbox";
/// Suffix of completed messages whose caller may not know the result.
const OWED: &str = ".owed";
/// How long such a result is kept, in seconds: as long as mail systems retry.
const REMEMBERED: i64 = 5 * 86_400;
/// Longest envelope line, in bytes.
const HEAD: usize = 1024 * 1024;
/// Version of the file format.
const VERSION: u32 = 3;
/// Bytes for the result line of any recipient, without the reason of a refusal.
const LINE: usize = 40;
/// Bytes for such reasons, for all recipients together.
const REASONS: usize = 4096;

/// Error of a file with another format.
const FOREIGN: &str = "not an outbox file";

/// Final result of one recipient's copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecipientOutcome {
    /// The next program accepted it.
    Sent,
    /// Refused, with this exit status and reason, in printable characters.
    Refused(u8, String),
}

/// The outbox.
#[derive(Debug)]
pub struct Outbox {
    folder: PathBuf,
}

/// A message that this process has locked and is sending.
#[derive(Debug)]
pub struct Entry {
    /// The message and its envelope.
    pub submission: Submission,
    /// Results of the recipients' copies, in their order.
    pub ends: Vec<Option<RecipientOutcome>>,
    /// Whether this process wrote it, so that no earlier one reserved stamps for it.
    pub is_new: bool,
    file: File,
    path: PathBuf,
    /// Position of the next line, and of the message.
    room: Range<usize>,
}

/// Message of a listing.
#[derive(Debug)]
pub struct Listed {
    /// The message and its envelope.
    pub submission: Submission,
    /// Results of the recipients' copies, in their order.
    pub ends: Vec<Option<RecipientOutcome>>,
}

impl Listed {
    /// Returns whether the message came by SMTP and no copy has left: it was answered 451, and its mail program must send
    /// it again; or it is being sent.
    #[must_use]
    pub fn is_unaccepted(&self) -> bool {
        self.submission.by_smtp.is_some() && !self.ends.contains(&Some(RecipientOutcome::Sent))
    }
}

/// State of a submitted message.
#[derive(Debug)]
pub enum Claimed {
    /// To be sent, or to be continued.
    Open(Box<Entry>),
    /// Completed by `mailstamp sendmail -q` after its caller got exit status 75, with the result of each recipient.
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
    by_smtp: Option<i64>,
    length: usize,
}

#[derive(Serialize, Deserialize)]
struct Line {
    to: usize,
    end: RecipientOutcome,
}

/// The outbox cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct OutboxError {
    /// Path of the file.
    pub path: PathBuf,
    pub source: io::Error,
}

impl Outbox {
    /// Returns the outbox in the state folder. Opens no file yet.
    #[must_use]
    pub fn new(state: &Path) -> Self {
        Self { folder: state.join(FOLDER) }
    }

    /// Stores a message durably, or finds it.
    ///
    /// # Errors
    /// [`OutboxError`]: nothing was sent.
    pub fn claim(&self, submission: Submission, now: i64) -> Result<Claimed, OutboxError> {
        let make = || fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder);
        make().map_err(|source| OutboxError { path: self.folder.clone(), source })?;
        if let Some(ends) = self.owed(&submission, now) {
            return Ok(Claimed::Done(ends));
        }
        let path = self.folder.join(&submission.name);
        let failed = |source: io::Error| OutboxError { path: path.clone(), source };
        // Most messages are new, so an existing file is opened only if there is one.
        if path.exists()
            && let Some(known) = self.open(&path).map_err(failed)?
        {
            return Ok(known);
        }
        match self.write(&submission) {
            Ok((file, room)) => {
                let ends = submission.recipients.iter().map(|_| None).collect();
                Ok(Claimed::Open(Box::new(Entry { submission, ends, is_new: true, file, path, room })))
            }
            // Another process was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Claimed::Busy),
            Err(error) => Err(failed(error)),
        }
    }

    /// Returns the pending messages that no other process has locked. Each is locked and read when it is its turn: the
    /// others can be claimed meanwhile, and take no memory.
    ///
    /// # Errors
    /// [`OutboxError`] when the folder cannot be read.
    pub fn pending(&self) -> Result<impl Iterator<Item = Result<Entry, OutboxError>>, OutboxError> {
        let names = self.names().map_err(|source| OutboxError { path: self.folder.clone(), source })?;
        Ok(names.into_iter().filter_map(|name| {
            let path = self.folder.join(name);
            match self.open(&path) {
                Ok(Some(Claimed::Open(entry))) => Some(Ok(*entry)),
                Ok(_) => None,
                Err(source) => Some(Err(OutboxError { path, source })),
            }
        }))
    }

    /// Lists the messages that are pending or being sent, without a lock.
    ///
    /// # Errors
    /// [`OutboxError`] when the folder cannot be read.
    pub fn list(&self) -> Result<Vec<Result<Listed, OutboxError>>, OutboxError> {
        let failed = |source| OutboxError { path: self.folder.clone(), source };
        let mut listed = Vec::new();
        for name in self.names().map_err(failed)? {
            let path = self.folder.join(name);
            listed.push(match fs::read(&path) {
                // It was completed meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => Err(OutboxError { path, source }),
                Ok(bytes) => match read(&bytes).filter(|kept| kept.whole) {
                    Some(Kept { submission, ends, .. }) => Ok(Listed { submission, ends }),
                    None => Err(OutboxError { path, source: io::Error::other(FOREIGN) }),
                },
            });
        }
        Ok(listed)
    }

    /// Opens the message with this name; `None` if there is none.
    ///
    /// # Errors
    /// [`OutboxError`] when its file cannot be read.
    pub fn find(&self, name: &str) -> Result<Option<Claimed>, OutboxError> {
        let path = self.folder.join(name);
        let failed = |source| OutboxError { path: path.clone(), source };
        if !self.names().map_err(failed)?.iter().any(|known| known == name) {
            return Ok(None);
        }
        self.open(&path).map_err(failed)
    }

    /// Removes files that killed processes left, and results that no caller asked for.
    pub fn sweep(&self, now: i64) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let old = entry.metadata().is_ok_and(|metadata| now.saturating_sub(metadata.mtime()) > REMEMBERED);
            if old && (name.ends_with(OWED) || name.starts_with('.')) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Returns the result of a message that was completed without its caller, for a limited time.
    ///
    /// A program gets it once: a later submission of the same message is another message. A client of SMTP may repeat
    /// the message again and again, since every reply can be lost (RFC 1047).
    fn owed(&self, submission: &Submission, now: i64) -> Option<Vec<(Recipient, RecipientOutcome)>> {
        let path = self.folder.join(format!("{}{OWED}", submission.name));
        let changed = fs::metadata(&path).ok()?.mtime();
        let is_owed = now.saturating_sub(changed) <= REMEMBERED;
        let kept = fs::read(&path).ok().and_then(|bytes| read(&bytes));
        if !is_owed || submission.by_smtp.is_none() {
            let _ = fs::remove_file(&path);
        }
        let Kept { submission, ends, .. } = kept.filter(|_| is_owed)?;
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

    /// Writes a new file, locked, and gives it its name when it is complete.
    fn write(&self, submission: &Submission) -> io::Result<(File, Range<usize>)> {
        let mut random = [0; 8];
        random::fill(&mut random)?;
        let unnamed = format!(".{}", data_encoding::HEXLOWER.encode(&random));
        let temporary = self.folder.join(&unnamed);
        let mut file = safe_open::file(&temporary, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)?;
        let written = (|| {
            file_lock::try_lock(&file)?;
            let head = Head {
                version: VERSION,
                name: submission.name.clone(),
                sender: submission.sender.clone(),
                recipients: submission.recipients.iter().map(Recipient::to_string).collect(),
                identified: submission.identified,
                for_return: submission.for_return,
                by_smtp: submission.by_smtp,
                length: submission.message.len(),
            };
            let mut bytes = serde_json::to_vec(&head)?;
            bytes.push(b'\n');
            let room = room(bytes.len(), submission.recipients.len());
            bytes.resize(room.end, b' ');
            bytes.extend_from_slice(&submission.message);
            file.write_all(&bytes)?;
            file.sync_all()?;
            let folder = File::open(&self.folder)?;
            let renamed = atomic_file::link_new(&folder, &unnamed, &folder, &submission.name)?;
            Ok::<_, io::Error>((room, renamed))
        })();
        let removed = if matches!(written, Ok((_, true))) { Ok(()) } else { fs::remove_file(&temporary) };
        let room = written.and_then(|(room, _)| removed.map(|()| room))?;
        os::sync_folder(&self.folder)?;
        Ok((file, room))
    }

    /// Opens and locks a file; `None` if there is none.
    fn open(&self, path: &Path) -> io::Result<Option<Claimed>> {
        let mut file = match safe_open::file(path, OFlags::RDWR) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        if !file_lock::try_lock(&file)? {
            return Ok(Some(Claimed::Busy));
        }
        let locked = file.metadata()?;
        if !fs::symlink_metadata(path).is_ok_and(|named| (named.dev(), named.ino()) == (locked.dev(), locked.ino())) {
            // Another process just completed it.
            return Ok(Some(Claimed::Busy));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let kept = read(&bytes).filter(|kept| kept.whole).ok_or_else(|| io::Error::other(FOREIGN))?;
        let Kept { submission, ends, room, .. } = kept;
        let path = path.to_owned();
        Ok(Some(Claimed::Open(Box::new(Entry { submission, ends, is_new: false, file, path, room }))))
    }
}

impl Entry {
    /// Records a recipient's result durably.
    ///
    /// # Errors
    /// [`OutboxError`]: a retry is safe.
    pub fn note(&mut self, to: usize, end: RecipientOutcome) -> Result<(), OutboxError> {
        let others = self.ends.iter().enumerate().filter(|(at, end)| *at != to && end.is_none()).count();
        let room = self.room.len().saturating_sub(others * LINE);
        let line = |said: usize| -> io::Result<(RecipientOutcome, Vec<u8>)> {
            let end = match &end {
                RecipientOutcome::Refused(status, reason) => {
                    RecipientOutcome::Refused(*status, escape_untrusted(&unescaped(reason), said))
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
            // Overwrites what a crash or a failed write left there.
            self.file.write_all_at(&line, self.room.start as u64)?;
            self.file.sync_data()?;
            self.room.start += line.len();
            Ok(end)
        };
        let end = write().map_err(|source| OutboxError { path: self.path.clone(), source })?;
        if let Some(slot) = self.ends.get_mut(to) {
            *slot = Some(end);
        }
        Ok(())
    }

    /// Returns whether every recipient is done.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.ends.iter().all(Option::is_some)
    }

    /// Removes the file of a completed message.
    ///
    /// With `owed`, its caller may not know the result. It is then kept for that caller, without the message, so that
    /// the same message is not sent again.
    pub fn remove(self, owed: bool) -> Result<(), OutboxError> {
        let failed = |source| OutboxError { path: self.path.clone(), source };
        if !owed {
            return fs::remove_file(&self.path).map_err(failed);
        }
        atomic_file::rename(&self.path, &self.path.with_extension(OWED.trim_start_matches('.'))).map_err(failed)?;
        self.file.set_len(self.room.end as u64).map_err(failed)
    }
}

/// Content of a file.
struct Kept {
    submission: Submission,
    ends: Vec<Option<RecipientOutcome>>,
    room: Range<usize>,
    /// Whether the message is still in it.
    whole: bool,
}

/// Returns the range of the result lines after an envelope of this length.
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
    let Head { name, sender, identified, for_return, by_smtp, .. } = head;
    let whole = message.is_some();
    let message = message.unwrap_or_default().to_vec();
    Some(Kept {
        submission: Submission { name, identified, sender, recipients, message, for_return, by_smtp },
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

    /// The files have the current time.
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
        assert_eq!(journal.pending().unwrap().count(), 0);
        entry.note(1, RecipientOutcome::Sent).unwrap();
        let before = entry.room.start;
        entry.note(2, RecipientOutcome::Refused(67, r"unknown \x0a user".into())).unwrap();
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
            let refused = (cut == 0).then(|| RecipientOutcome::Refused(67, r"unknown \x0a user".into()));
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
        assert_eq!(journal.pending().unwrap().count(), 1);
        end();
        assert!(matches!(journal.claim(submission(), now() + REMEMBERED + 9).unwrap(), Claimed::Open(_)));
        end();
        journal.sweep(i64::MAX);
        assert_eq!(fs::read_dir(folder.path().join(FOLDER)).unwrap().count(), 0);
    }

    #[test]
    fn a_message_whose_turn_has_not_come_can_be_claimed() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Outbox::new(folder.path());
        let last = Submission { name: "last".into(), ..submission() };
        drop((open(&journal), journal.claim(last.clone(), now()).unwrap()));
        let mut pending = journal.pending().unwrap();
        let first = pending.next().unwrap().unwrap();
        assert_eq!(first.submission, submission());
        assert!(matches!(journal.claim(submission(), now()).unwrap(), Claimed::Busy));
        assert!(matches!(journal.claim(last.clone(), now()).unwrap(), Claimed::Open(_)));
        assert_eq!(pending.next().unwrap().unwrap().submission, last);
    }

    #[test]
    fn what_is_no_file_of_ours_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Outbox::new(folder.path());
        let path = open(&journal).path;
        fs::write(&path, "{}\n").unwrap();
        let error = journal.claim(submission(), now()).unwrap_err();
        assert!(error.to_string().contains("not an outbox file"), "{error}");
        assert!(journal.pending().unwrap().next().unwrap().is_err());
    }
}
