//! The verdict log: who, what class, why. A file of JSON lines, appended without waiting for the disk and rotated by size,
//! so that a message with nothing to spend costs no sync. What became of messages that were kept aside stands there, too;
//! a line without which nothing may be dropped is synced.

use crate::os;
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The file is set aside when it has grown to this many bytes: about 25,000 verdicts.
const ROTATE_AT: u64 = 8 * 1024 * 1024;

/// One judged message, or, with an `event`, what was done later. Every value from outside is
/// already encoded: printable ASCII, capped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When it was judged (RFC 3339).
    pub time: String,
    /// Its class.
    pub class: String,
    /// Why.
    pub reason: String,
    /// The user's rule that matched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// What is to be done with the message; entries of version 0.1 have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// What was done with a message that was held (`released`, `allowed`, `deleted`, `expired`), or about its sender
    /// (`replied`, `not-replied`, `reply-failed`). A judgement has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// The folder that it was delivered into, where we delivered it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// The short name under which it is held, or was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
    /// Which automatic reply was sent, or why none was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
    /// The vendor of the stamp that spoke.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    /// The serial of the stamp that spoke.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Its value in credits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<u64>,
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

/// The verdict log in a folder of state.
#[derive(Clone, Debug)]
pub struct VerdictLog {
    path: PathBuf,
}

impl VerdictLog {
    /// The log in the folder `state`, which need not exist yet.
    #[must_use]
    pub fn new(state: &Path) -> Self {
        Self { path: state.join("verdicts.jsonl") }
    }

    /// Appends an entry.
    ///
    /// # Errors
    /// The system's. Nothing was judged differently because of it.
    pub fn append(&self, entry: &Entry) -> io::Result<()> {
        self.write(entry).map(drop)
    }

    /// Appends an entry and waits until it is on the disk: what is dropped on its strength can be found here.
    ///
    /// # Errors
    /// The system's. Nothing may be dropped then.
    pub fn append_durably(&self, entry: &Entry) -> io::Result<()> {
        self.write(entry)?.sync_all()?;
        // The file may have been made just now.
        os::sync_folder(os::above(&self.path))
    }

    fn write(&self, entry: &Entry) -> io::Result<File> {
        // A line that a full disk cut short must not take this one with it: it begins with the end of that.
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
        // One write to a file opened for appending: lines of processes that run at once do not mix.
        file.write_all(if last == *b"\n" { line.get(1..).unwrap_or_default() } else { &line })?;
        Ok(file)
    }

    /// The last `most` entries, oldest first. Lines that are no entries (a cut line after a crash) are passed over.
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

    /// Hands out every entry, oldest first, and returns how many lines are no entries.
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

    /// The stamps that spoke on messages of this Message-ID, as (vendor, serial), the latest last.
    ///
    /// # Errors
    /// The system's; a log that does not exist is empty.
    pub fn stamps_of(&self, message_id: &str) -> io::Result<Vec<(String, String)>> {
        let mut stamps = Vec::new();
        for entry in self.last(usize::MAX)? {
            if entry.message_id.as_deref() != Some(message_id) {
                continue;
            }
            if let (Some(vendor), Some(serial)) = (entry.vendor, entry.serial) {
                stamps.retain(|known| *known != (vendor.clone(), serial.clone()));
                stamps.push((vendor, serial));
            }
        }
        Ok(stamps)
    }

    fn older(&self) -> PathBuf {
        self.path.with_extension("jsonl.1")
    }

    fn open(&self) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mode = Mode::RUSR | Mode::WUSR;
        match rustix::fs::open(&self.path, flags, mode) {
            Err(rustix::io::Errno::NOENT) => {
                os::make_folder(os::above(&self.path), 0o700)?;
                Ok(File::from(rustix::fs::open(&self.path, flags, mode)?))
            }
            other => Ok(File::from(other?)),
        }
    }

    /// Sets the full file aside, unless another process has just done so.
    fn rotate(&self, full: &File) -> io::Result<()> {
        flock(full, FlockOperation::LockExclusive)?;
        let mine = full.metadata()?;
        let current = fs::symlink_metadata(&self.path)?;
        if (mine.dev(), mine.ino()) == (current.dev(), current.ino()) {
            fs::rename(&self.path, self.older())?;
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
