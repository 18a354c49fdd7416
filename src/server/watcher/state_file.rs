//! The file in which the watcher writes down what it has seen to: `watch.jsonl` in the folder of the state, one note a line.
//! It is appended to and synced, and made anew, as short as it can be, whenever a watcher starts. A line cut by a crash is
//! passed over: what it said is found out again.

use super::state::{Event, WatcherState};
use crate::os;
use crate::os::atomic_file::{self, Durability};
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The open file with what it says.
#[derive(Debug)]
pub struct StateFile {
    /// What it says.
    pub memory: WatcherState,
    file: File,
    lock: File,
}

impl StateFile {
    /// Opens the one in the folder `state`, which is made if it is not there. `None` when another watcher has it open.
    ///
    /// # Errors
    /// The system's.
    pub fn open(state: &Path) -> io::Result<Option<Self>> {
        os::make_folder(state, 0o700)?;
        let lock = open(&state.join("watch.lock"), OFlags::empty())?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            other => other?,
        }
        let path = state.join("watch.jsonl");
        let memory = read(&path)?;
        let file = rewrite(&path, &memory)?;
        Ok(Some(Self { memory, file, lock }))
    }

    /// Whether it is the one in the folder `state`, as it is now.
    #[must_use]
    pub fn stands_in(&self, state: &Path) -> bool {
        let of = |found: fs::Metadata| (found.dev(), found.ino());
        let there = fs::symlink_metadata(state.join("watch.lock")).map(of);
        there.is_ok_and(|there| self.lock.metadata().map(of).is_ok_and(|held| held == there))
    }

    /// Writes these notes down, durably, and takes them in.
    ///
    /// # Errors
    /// The system's; then nothing was taken in, and the same notes may be written again.
    pub fn write(&mut self, notes: Vec<Event>) -> io::Result<()> {
        if notes.is_empty() {
            return Ok(());
        }
        // A line end before, too: the last line may have been cut by a full disk.
        let mut lines = vec![b'\n'];
        for note in &notes {
            serde_json::to_writer(&mut lines, note)?;
            lines.push(b'\n');
        }
        self.file.write_all(&lines)?;
        self.file.sync_data()?;
        notes.into_iter().for_each(|note| self.memory.apply(note));
        Ok(())
    }
}

fn open(path: &Path, more: OFlags) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW | more;
    Ok(File::from(rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?))
}

fn read(path: &Path) -> io::Result<WatcherState> {
    let mut memory = WatcherState::default();
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(memory),
        other => other?,
    };
    for line in BufReader::new(file).split(b'\n') {
        if let Ok(note) = serde_json::from_slice(&line?) {
            memory.apply(note);
        }
    }
    Ok(memory)
}

/// Under another name until it is complete and durable.
fn rewrite(path: &Path, memory: &WatcherState) -> io::Result<File> {
    atomic_file::replace(path, 0o600, Durability::Synced, |file| {
        let mut lines = BufWriter::new(file);
        for note in memory.notes() {
            serde_json::to_writer(&mut lines, &note)?;
            lines.write_all(b"\n")?;
        }
        lines.flush()
    })?;
    open(path, OFlags::APPEND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_known_after_a_crash_in_the_middle_of_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let came = |name| Event::Added { folder: "Junk".into(), names: vec![name] };
        let mut book = StateFile::open(&state).unwrap().unwrap();
        assert!(StateFile::open(&state).unwrap().is_none(), "one watcher at a time");
        book.write(vec![came(1)]).unwrap();
        book.file.write_all(br#"{"note":"came","folder":"Ju"#).unwrap();
        book.write(vec![came(2)]).unwrap();
        let memory = book.memory.clone();
        drop(book);
        let book = StateFile::open(&state).unwrap().unwrap();
        assert!(book.stands_in(&state));
        assert_eq!(book.memory, memory);
        assert_eq!(book.memory.known("Junk").map(|known| known.len()), Some(2));
        // A backup in its place.
        fs::rename(&state, folder.path().join("aside")).unwrap();
        assert!(!book.stands_in(&state));
        let restored = StateFile::open(&state).unwrap().unwrap();
        assert!(!book.stands_in(&state) && restored.stands_in(&state));
    }
}
