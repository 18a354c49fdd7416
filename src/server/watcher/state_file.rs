//! State file of the watcher: `watch.jsonl` in the state folder, one event per line.
//!
//! It is appended to and synced, and rewritten in its shortest form whenever a watcher starts. A line cut by a crash is
//! ignored: the next scan finds the same change.

use super::state::{Event, WatcherState};
use crate::os::atomic_file::{self, Durability};
use crate::os::{self, file_lock, safe_open};
use rustix::fs::OFlags;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The open file and its state.
#[derive(Debug)]
pub struct StateFile {
    /// The state that the file holds.
    pub memory: WatcherState,
    file: File,
    lock: File,
}

impl StateFile {
    /// Opens the file in the folder `state`, which is created if it is missing.
    ///
    /// Returns `None` when another watcher has it open.
    pub fn open(state: &Path) -> io::Result<Option<Self>> {
        os::make_folder(state, 0o700)?;
        let lock = open(&state.join("watch.lock"), OFlags::empty())?;
        if !file_lock::try_lock(&lock)? {
            return Ok(None);
        }
        let path = state.join("watch.jsonl");
        let memory = read(&path)?;
        let file = rewrite(&path, &memory)?;
        Ok(Some(Self { memory, file, lock }))
    }

    /// Returns whether it is still the file in the folder `state`.
    #[must_use]
    pub fn stands_in(&self, state: &Path) -> bool {
        let of = |found: fs::Metadata| (found.dev(), found.ino());
        let there = fs::symlink_metadata(state.join("watch.lock")).map(of);
        there.is_ok_and(|there| self.lock.metadata().map(of).is_ok_and(|held| held == there))
    }

    /// Appends these events durably, then applies them.
    ///
    /// # Errors
    /// When the file cannot be written. Then no event is applied, and the same events may be written again.
    pub fn write(&mut self, notes: Vec<Event>) -> io::Result<()> {
        if notes.is_empty() {
            return Ok(());
        }
        // A line end before them, too: a full disk may have cut the last line.
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
    Ok(safe_open::file(path, OFlags::WRONLY | OFlags::CREATE | more)?)
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

/// Rewrites the file under another name, and renames it when it is complete and durable.
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
        let mut state_file = StateFile::open(&state).unwrap().unwrap();
        assert!(StateFile::open(&state).unwrap().is_none(), "one watcher at a time");
        state_file.write(vec![came(1)]).unwrap();
        state_file.file.write_all(br#"{"note":"came","folder":"Ju"#).unwrap();
        state_file.write(vec![came(2)]).unwrap();
        let memory = state_file.memory.clone();
        drop(state_file);
        let state_file = StateFile::open(&state).unwrap().unwrap();
        assert!(state_file.stands_in(&state));
        assert_eq!(state_file.memory, memory);
        assert_eq!(state_file.memory.known("Junk").map(|known| known.len()), Some(2));
        // A restored backup takes its path.
        atomic_file::rename(&state, &folder.path().join("aside")).unwrap();
        assert!(!state_file.stands_in(&state));
        let restored = StateFile::open(&state).unwrap().unwrap();
        assert!(!state_file.stands_in(&state) && restored.stands_in(&state));
    }
}
