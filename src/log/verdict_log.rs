//! Verdict log: sender, class and reason of each message. A file of JSON lines, appended without waiting for the disk
//! and rotated by size, so that a message without a stamp to spend costs no sync. It also records what happened to held
//! mail. A line that must exist before data may be dropped is synced.

use crate::os::{self, atomic_file, file_lock, safe_open};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Size in bytes at which the file is rotated: about 25,000 verdicts.
const ROTATE_AT: u64 = 8 * 1024 * 1024;

/// Judged message or, with an `event`, a later action. Values from outside are encoded already: printable ASCII, of
/// limited length.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When it was judged (RFC 3339).
    pub time: String,
    pub class: String,
    pub reason: String,
    /// The user's rule that matched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The action for the message; entries of version 0.1 have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// What happened to a held message (`released`, `allowed`, `deleted`, `expired`), or to a reply (`replied`,
    /// `not-replied`, `reply-failed`). A judgement has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// The folder into which mailstamp delivered it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// The short name of the held message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
    /// The kind of automatic reply that was sent, or why none was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
    /// The vendor of the stamp that decided the class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    /// The serial of the stamp that decided the class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Its value in credits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<u64>,
    /// The host whose sealed result was believed; none where the stamp was judged here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boundary: Option<String>,
    /// The From field's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The envelope sender that the delivering program named; empty for the null sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// The Message-ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// The recipient that the delivering program named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
}

/// Verdict log in a folder of state.
#[derive(Clone, Debug)]
pub struct VerdictLog {
    path: PathBuf,
}

impl VerdictLog {
    /// Returns the log in the folder `state`, which need not exist yet.
    #[must_use]
    pub fn new(state: &Path) -> Self {
        Self { path: state.join("verdicts.jsonl") }
    }

    /// Appends an entry.
    ///
    /// # Errors
    /// The system's. It does not affect the judgement.
    pub fn append(&self, entry: &Entry) -> io::Result<()> {
        self.write(entry).map(drop)
    }

    /// Appends an entry and waits until it is on the disk: what is dropped because of it can be found here.
    ///
    /// # Errors
    /// The system's. Then no data may be dropped.
    pub fn append_durably(&self, entry: &Entry) -> io::Result<()> {
        self.write(entry)?.sync_all()?;
        // The file may be new.
        os::sync_folder(os::above(&self.path))
    }

    fn write(&self, entry: &Entry) -> io::Result<File> {
        // The line begins with a line end, so that a line cut by a full disk does not spoil it.
        let mut line = vec![b'\n'];
        serde_json::to_writer(&mut line, entry)?;
        line.push(b'\n');
        let mut file = self.open()?;
        if file.metadata()?.len() >= ROTATE_AT {
            self.rotate(&file)?;
            file = self.open()?;
        }
        let metadata = file.metadata()?;
        let mut last = [b'\n'];
        if metadata.len() > 0 {
            file.read_exact_at(&mut last, metadata.len() - 1)?;
        }
        // One write to a file opened for appending keeps the lines of concurrent processes apart.
        file.write_all(if last == *b"\n" { line.get(1..).unwrap_or_default() } else { &line })?;
        Ok(file)
    }

    /// Returns the last `most` entries, oldest first. Invalid lines (a cut line after a crash) are skipped.
    ///
    /// # Errors
    /// The system's; a log that does not exist is empty.
    pub fn last(&self, most: usize) -> io::Result<Vec<Entry>> {
        let mut last = VecDeque::new();
        self.each(&mut |entry| {
            if last.len() >= most {
                last.pop_front();
            }
            last.push_back(entry);
        })?;
        last.truncate(most);
        Ok(last.into())
    }

    /// Calls `to` with every entry, oldest first, and returns the number of invalid lines.
    ///
    /// # Errors
    /// The system's; a log that does not exist is empty.
    pub fn each(&self, to: &mut dyn FnMut(Entry)) -> io::Result<u64> {
        let mut broken = 0;
        for path in [self.older(), self.path.clone()] {
            let file = match File::open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            for line in BufReader::new(file).split(b'\n') {
                let line = line?;
                // Two processes may have ended the same cut line.
                if line.is_empty() {
                    continue;
                }
                match serde_json::from_slice(&line) {
                    Ok(entry) => to(entry),
                    Err(_) => broken += 1,
                }
            }
        }
        Ok(broken)
    }

    /// Returns the judgements of messages with this Message-ID, the latest last. Of those with the same sender and
    /// stamp, which may be one message that came again, only the latest is returned.
    ///
    /// # Errors
    /// The system's; a log that does not exist is empty.
    pub fn judgements_of(&self, message_id: &str) -> io::Result<Vec<Entry>> {
        let mut found: Vec<Entry> = Vec::new();
        for entry in self.last(usize::MAX)? {
            if entry.message_id.as_deref() != Some(message_id) || entry.event.is_some() {
                continue;
            }
            let same = |known: &Entry| {
                known.from == entry.from && known.vendor == entry.vendor && known.serial == entry.serial
            };
            found.retain(|known| !same(known));
            found.push(entry);
        }
        Ok(found)
    }

    fn older(&self) -> PathBuf {
        self.path.with_extension("jsonl.1")
    }

    fn open(&self) -> io::Result<File> {
        let open = || safe_open::file(&self.path, OFlags::RDWR | OFlags::CREATE | OFlags::APPEND);
        match open() {
            Err(rustix::io::Errno::NOENT) => {
                os::make_folder(os::above(&self.path), 0o700)?;
                Ok(open()?)
            }
            other => Ok(other?),
        }
    }

    /// Renames the full file, unless another process has just done so.
    fn rotate(&self, full: &File) -> io::Result<()> {
        file_lock::lock(full)?;
        let mine = full.metadata()?;
        let current = fs::symlink_metadata(&self.path)?;
        if (mine.dev(), mine.ino()) == (current.dev(), current.ino()) {
            atomic_file::rename(&self.path, &self.older())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(message_id: &str) -> Entry {
        Entry {
            time: "2026-11-21T12:00:00Z".into(),
            class: "unstamped".into(),
            reason: "no-stamp".into(),
            message_id: Some(message_id.into()),
            ..Entry::default()
        }
    }

    #[test]
    fn the_last_entries_come_back_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let log = VerdictLog::new(&folder.path().join("state"));
        assert_eq!(log.last(10).unwrap(), vec![]);
        for id in ["<1>", "<2>", "<3>"] {
            log.append(&entry(id)).unwrap();
        }
        assert_eq!(log.last(2).unwrap(), vec![entry("<2>"), entry("<3>")]);
        assert_eq!(log.last(0).unwrap(), vec![]);
    }

    #[test]
    fn a_cut_line_hides_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let log = VerdictLog::new(folder.path());
        log.append(&entry("<1>")).unwrap();
        fs::write(&log.path, [fs::read(&log.path).unwrap(), b"{\"time\":\n".to_vec()].concat()).unwrap();
        log.append(&entry("<2>")).unwrap();
        assert_eq!(log.last(5).unwrap().len(), 2);
        assert_eq!(log.each(&mut |_| {}).unwrap(), 1);
    }

    #[test]
    fn a_line_that_was_cut_short_takes_no_other_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let log = VerdictLog::new(folder.path());
        log.append(&entry("<1>")).unwrap();
        fs::write(&log.path, [fs::read(&log.path).unwrap(), b"{\"time\":\"20".to_vec()].concat()).unwrap();
        log.append_durably(&entry("<2>")).unwrap();
        log.append(&entry("<3>")).unwrap();
        assert_eq!(log.last(5).unwrap(), vec![entry("<1>"), entry("<2>"), entry("<3>")]);
        assert_eq!(log.each(&mut |_| {}).unwrap(), 1);
    }

    #[test]
    fn a_full_log_is_set_aside_once() {
        let folder = tempfile::tempdir().unwrap();
        let log = VerdictLog::new(folder.path());
        log.append(&entry("<old>")).unwrap();
        let full = File::options().write(true).open(&log.path).unwrap();
        full.set_len(ROTATE_AT).unwrap();
        log.append(&entry("<new>")).unwrap();
        assert!(fs::metadata(&log.path).unwrap().len() < 1000);
        log.rotate(&full).unwrap();
        assert_eq!(log.last(5).unwrap(), vec![entry("<old>"), entry("<new>")]);
    }
}
