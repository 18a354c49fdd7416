//! Publication: extends the log by the entries of the days that have ended, and writes its files.
//!
//! 1. A batch that was booked and is not in the files, after a crash or in another folder, is written from the chain.
//! 2. The next batch is booked in the chain ([`ops::LogAppend`]), then written: tiles first, the checkpoint last.
//!
//! Its memory grows with the leaves of one batch: 49 bytes each.

use super::error::PublicLogError;
use super::files::LogFolder;
use super::leaves::{self, LeafBytes};
use super::note_key;
use super::positions::{LeafPage, LogState};
use super::resume::{self, Books};
use crate::accounting::hash::Hash;
use crate::directory::document::{CHECKPOINT_MAX, LogEntry};
use crate::ledger::error::LedgerError;
use crate::ledger::handle::{ANY_TIME, Ledger};
use crate::ledger::ops;
use crate::ledger::publication::retried;
use crate::ledger::transaction::Extension;
use crate::time::UnixTime;
use crate::transparency::checkpoint::Checkpoint;
use crate::transparency::leaf::{DAY, day_of};
use crate::transparency::merkle::{Appender, root_of};
use crate::transparency::note::{Note, NoteKey, VerifierKey};
use crate::transparency::{self, tile::Tile};
use std::path::Path;

/// Most rows in one request.
const MAX_ROWS: usize = 20_000;

/// How far the clock may be behind the log, in seconds.
const SKEW: i64 = 60 * 60;

/// A published log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedLog {
    /// Its key and its checkpoint, for the directory.
    pub entry: LogEntry,
    /// Leaves of the tree.
    pub size: u64,
    /// Leaves that this publication booked.
    pub appended: u64,
    /// The last day of the log, where the clock is before its end.
    pub ahead: Option<u32>,
}

/// The log in a folder, while it is published.
struct Publication<'a> {
    ledger: &'a Ledger,
    folder: &'a LogFolder,
    key: NoteKey,
    now: UnixTime,
    /// The tree in the files, and their checkpoint.
    tree: Appender,
    note: Option<Note>,
    /// Leaves of that checkpoint.
    before: u64,
}

impl PublishedLog {
    /// Returns what is wrong with the clock, if it is before the end of the log's last day.
    #[must_use]
    pub fn clock_problem(&self, now: UnixTime) -> Option<String> {
        let last = UnixTime(i64::from(self.ahead?) * DAY).to_string();
        let last = last.split('T').next().unwrap_or_default();
        Some(format!(
            "the clock says {now}, and the public log has leaves of {last}: the clock is behind, or was ahead"
        ))
    }
}

impl Ledger {
    /// Publishes the log below `public`, whose lock the caller holds. Without anything new, nothing is written. The log
    /// in the ledger's own folder must not have more than the ledger knows, wherever it is published.
    ///
    /// With `resume`, it is first taken over from the files there.
    ///
    /// # Errors
    /// [`PublicLogError`] for files that are not those of this ledger, and others.
    pub fn publish_log(&self, public: &Path, resume: bool, now: UnixTime) -> Result<PublishedLog, LedgerError> {
        let folder = LogFolder::below(public);
        retried(|| self.publish_once(&folder, resume, now))
    }

    fn publish_once(&self, folder: &LogFolder, takes_over: bool, now: UnixTime) -> Result<PublishedLog, LedgerError> {
        let mut state = self.run(ops::LogPosition {}, ANY_TIME)?;
        let key = self.log_key(&state)?;
        let found = folder.checkpoint(&key.verifier())?;
        if takes_over {
            let found = found.as_ref().map(|(_, checkpoint)| checkpoint);
            state = resume::resume(&Open(self, now), folder, found)?;
        }
        let own = LogFolder::below(&self.place().public());
        if own.path() != folder.path() {
            // An older copy of the ledger would sign a second tree elsewhere.
            self.known(&own, &state, own.checkpoint(&key.verifier())?)?;
        }
        let (note, tree) = match self.known(folder, &state, found)? {
            Some((note, checkpoint)) => (Some(note), folder.tree(&checkpoint)?),
            None => (None, Appender::default()),
        };
        let before = tree.size();
        let mut publication = Publication { ledger: self, folder, key, now, tree, note, before };
        publication.catch_up()?;
        let appended = publication.extend(&state)?;
        let note = publication.finish()?;
        let entry = entry(&publication.key.verifier(), &note);
        // A step of the clock over midnight is no problem.
        let ahead = (state.size > 0 && day_of(now.plus(SKEW)) <= state.day).then_some(state.day);
        Ok(PublishedLog { entry, size: publication.tree.size(), appended, ahead })
    }

    /// Returns the key of the log. A log that was published has the key it began with.
    fn log_key(&self, state: &LogState) -> Result<NoteKey, LedgerError> {
        let (place, origin) = (self.place(), transparency::origin(self.vendor()?));
        if state.size == 0 && !state.is_unsure {
            return note_key::make(place, &origin);
        }
        let missing = || PublicLogError::KeyAbsent { path: place.log_key() };
        Ok(note_key::read(place, &origin)?.ok_or_else(missing)?)
    }

    /// Returns the checkpoint found in a folder, if there is one, after the check that the ledger had a log with it.
    fn known(
        &self,
        folder: &LogFolder,
        state: &LogState,
        found: Option<(Note, Checkpoint)>,
    ) -> Result<Option<(Note, Checkpoint)>, LedgerError> {
        let path = || folder.path().to_owned();
        if state.is_unsure {
            return Err(PublicLogError::Unsure { path: path() }.into());
        }
        let Some((note, checkpoint)) = found else { return Ok(None) };
        if checkpoint.size > state.size {
            let (files, known) = (checkpoint.size, state.size);
            return Err(PublicLogError::Ahead { path: path(), files, known }.into());
        }
        self.knows(folder, &checkpoint)?;
        Ok(Some((note, checkpoint)))
    }

    /// Checks that the chain had a log with this checkpoint.
    pub(super) fn knows(&self, folder: &LogFolder, checkpoint: &Checkpoint) -> Result<(), LedgerError> {
        let size = checkpoint.size;
        if self.log_root(size)? == Some(checkpoint.root) {
            return Ok(());
        }
        let what = format!("the ledger's log never had {size} leaves with this root");
        Err(PublicLogError::Other { path: folder.path().to_owned(), what }.into())
    }

    /// Returns the root that the log had with this many leaves; `None` if it never had so many.
    pub(super) fn log_root(&self, size: u64) -> Result<Option<[u8; 32]>, LedgerError> {
        if size == 0 {
            return Ok(Some(root_of(&[])));
        }
        let mut batches = self.run(ops::LogBatches { size: size - 1 }, ANY_TIME)?;
        batches.truncate(1);
        Ok(batches.pop().filter(|batch| batch.after.size == size).map(|batch| batch.after.root.0))
    }

    /// Returns key and checkpoint of the log below `public`; `None` before the first publication there.
    ///
    /// # Errors
    /// [`PublicLogError`] for a checkpoint that this ledger's key did not sign.
    pub fn log_entry(&self, public: &Path) -> Result<Option<LogEntry>, LedgerError> {
        let Some(key) = note_key::read(self.place(), &transparency::origin(self.vendor()?))? else { return Ok(None) };
        let key = key.verifier();
        let found = LogFolder::below(public).checkpoint(&key)?;
        Ok(found.map(|(note, _)| entry(&key, &note)))
    }

    /// Reads the leaves of entries, in the order of the log.
    pub(super) fn read_leaves(
        &self,
        after: u64,
        through: Option<u64>,
        days: (u32, u32),
        now: UnixTime,
    ) -> Result<(Vec<LeafBytes>, u64), LedgerError> {
        let mut all = Vec::new();
        let mut from = (after.saturating_add(1), 0);
        loop {
            let page = self.run(ops::LogLeaves { from, through, days }, now)?;
            all.extend(page.leaves);
            let Some(next) = page.next else {
                leaves::sort(&mut all);
                return Ok((all, page.through));
            };
            from = next;
        }
    }
}

/// A ledger that is open, and the time.
struct Open<'a>(&'a Ledger, UnixTime);

impl Books for Open<'_> {
    fn state(&self) -> Result<LogState, LedgerError> {
        self.0.run(ops::LogPosition {}, ANY_TIME)
    }

    fn leaves(&self, from: (u64, u64)) -> Result<LeafPage, LedgerError> {
        let through = self.0.summary()?.head.number;
        self.0.run(ops::LogLeaves { from, through: Some(through), days: (0, 0) }, self.1)
    }

    fn resume(&self, spent: Vec<(Hash, u8)>, new: Extension) -> Result<LogState, LedgerError> {
        for rows in spent.chunks(MAX_ROWS) {
            self.0.run(ops::LogRemember { spent: rows.to_vec() }, self.1)?;
        }
        let Extension { last, through, day, size, root } = new;
        self.0.run(ops::LogResume { last, through, day, size, root }, self.1)
    }
}

impl Publication<'_> {
    /// Writes the batches that the chain has and the files do not.
    fn catch_up(&mut self) -> Result<(), LedgerError> {
        let path = || self.folder.path().to_owned();
        for batch in self.ledger.run(ops::LogBatches { size: self.tree.size() }, ANY_TIME)? {
            if !batch.is_in_chain() {
                return Err(PublicLogError::Lost { path: path() }.into());
            }
            let (before, after) = (batch.before, batch.after);
            let days = (before.day, after.day);
            let (leaves, _) = self.ledger.read_leaves(before.through, Some(after.through), days, self.now)?;
            if grown(&self.tree, &leaves).root() != after.root.0 {
                let what = "the entries do not come to the booked root; run mailstamp vendor audit".to_owned();
                return Err(PublicLogError::Other { path: path(), what }.into());
            }
            self.write(&leaves)?;
        }
        Ok(())
    }

    /// Books and writes the next batch. Returns the number of its leaves.
    fn extend(&mut self, state: &LogState) -> Result<u64, LedgerError> {
        let yesterday = day_of(self.now).saturating_sub(1);
        let days = (state.day, yesterday.max(state.day));
        let (leaves, through) = self.ledger.read_leaves(state.through, None, days, self.now)?;
        let Some(last) = leaves.last() else { return Ok(0) };
        let tree = grown(&self.tree, &leaves);
        let root = Hash(tree.root());
        let (last, day, size) = (state.entry, leaves::leaf_day(last), tree.size());
        self.ledger.run(ops::LogAppend { last, through, day, size, root }, self.now)?;
        self.write(&leaves)?;
        Ok(leaves.len() as u64)
    }

    fn write(&mut self, leaves: &[LeafBytes]) -> Result<(), LedgerError> {
        let folder = self.folder;
        let mut write = |tile: Tile, bytes: &[u8]| folder.write(tile, bytes);
        leaves.iter().try_for_each(|leaf| self.tree.push(leaf, &mut write))
    }

    /// Writes the right edge and the checkpoint, unless they are there. Returns the checkpoint.
    fn finish(&self) -> Result<Note, LedgerError> {
        let origin = self.key.verifier().name().to_owned();
        let text = Checkpoint { origin, size: self.tree.size(), root: self.tree.root() }.to_string();
        match &self.note {
            // It may have signatures of witnesses.
            Some(note) if note.text == text => Ok(note.clone()),
            _ => {
                let note = self.key.sign(&text);
                self.tree.finish(&mut |tile, bytes| self.folder.write(tile, bytes))?;
                self.folder.write_checkpoint(&note)?;
                self.folder.tidy(self.before)?;
                Ok(note)
            }
        }
    }
}

/// Returns what the directory says about the log. Cosignatures that do not fit are left to the file.
fn entry(key: &VerifierKey, note: &Note) -> LogEntry {
    let mut checkpoint = note.to_string();
    if checkpoint.len() > CHECKPOINT_MAX {
        checkpoint = note.only(key).to_string();
    }
    LogEntry { vkey: key.to_string(), checkpoint }
}

/// Returns the tree with these leaves, too. Writes nothing.
fn grown(tree: &Appender, leaves: &[LeafBytes]) -> Appender {
    let mut tree = tree.clone();
    leaves.iter().for_each(|leaf| tree.add(leaf));
    tree
}
