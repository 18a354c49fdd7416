//! Takes the public log over from its files, which may be ahead of the chain: the ledger was restored from a backup, or
//! is an older copy.
//!
//! - Entries whose leaves the log has count as logged.
//! - Stamps and payments that the log has as spent, and the chain does not, are remembered: they stay spent.
//! - Stamps that were sold since the backup stay unknown to the chain. Their values are in the log, their accounts and
//!   addresses are not.

use super::error::PublicLogError;
use super::files::LogFolder;
use super::note_key;
use super::positions::LeafPage;
use super::positions::LogState;
use crate::accounting::hash::Hash;
use crate::ledger::error::LedgerError;
use crate::ledger::files::LedgerPaths;
use crate::ledger::queries::ReadTx;
use crate::ledger::schema::TxResult;
use crate::ledger::transaction::Extension;
use crate::ledger::writer;
use crate::time::UnixTime;
use crate::transparency::checkpoint::Checkpoint;
use crate::transparency::leaf::{Leaf, LeafKind};
use crate::transparency::note::Note;
use crate::transparency::{self, tile::WIDTH};
use redb::Database;
use std::collections::BTreeSet;
use std::path::Path;

/// The chain, for a log that is taken over.
pub(in crate::ledger) trait Books {
    fn state(&self) -> Result<LogState, LedgerError>;
    fn leaves(&self, from: (u64, u64)) -> Result<LeafPage, LedgerError>;
    fn resume(&self, spent: Vec<(Hash, u8)>, new: Extension) -> Result<LogState, LedgerError>;
}

/// A restored ledger that no other process sees yet.
struct Restored<'a> {
    database: &'a Database,
    path: &'a Path,
    now: UnixTime,
}

impl Restored<'_> {
    fn read<T>(&self, act: impl FnOnce(&ReadTx) -> TxResult<T>) -> Result<T, LedgerError> {
        ReadTx::open(self.database, self.now).and_then(|tx| act(&tx)).map_err(|stop| stop.at(self.path))
    }
}

impl Books for Restored<'_> {
    fn state(&self) -> Result<LogState, LedgerError> {
        self.read(ReadTx::log_state)
    }

    fn leaves(&self, from: (u64, u64)) -> Result<LeafPage, LedgerError> {
        self.read(|tx| tx.log_leaves(from, Some(u64::MAX), (0, 0)))
    }

    fn resume(&self, spent: Vec<(Hash, u8)>, new: Extension) -> Result<LogState, LedgerError> {
        writer::write(self.database, self.now, |tx| {
            tx.log_remember(&spent)?;
            tx.log_resume(new)
        })
        .map_err(|stop| stop.at(self.path))
    }
}

/// Takes the log over for a restored ledger, if it has files.
pub(in crate::ledger) fn restored(
    place: &LedgerPaths,
    database: &Database,
    path: &Path,
    folder: &LogFolder,
    now: UnixTime,
) -> Result<(), LedgerError> {
    if !folder.checkpoint_path().exists() {
        return Ok(());
    }
    let books = Restored { database, path, now };
    let origin = transparency::origin(&books.read(ReadTx::profile)?.vendor);
    let missing = || PublicLogError::KeyAbsent { path: place.log_key() };
    let key = note_key::read(place, &origin)?.ok_or_else(missing)?;
    let Some((note, checkpoint)) = folder.checkpoint(&key.verifier())? else { return Ok(()) };
    resume(&books, folder, Some(&checkpoint))?;
    let own = LogFolder::below(&place.public());
    if own.path() == folder.path() { Ok(()) } else { copy(folder, &checkpoint, &note, &own) }
}

/// Copies a log, each file verified.
fn copy(from: &LogFolder, checkpoint: &Checkpoint, note: &Note, to: &LogFolder) -> Result<(), LedgerError> {
    from.rebuild(checkpoint, &mut |tile, bytes| to.write(tile, bytes))?;
    to.write_checkpoint(note)
}

/// Takes over the log with this checkpoint; with none, the log that the chain itself has.
pub(in crate::ledger) fn resume(
    books: &impl Books,
    folder: &LogFolder,
    found: Option<&Checkpoint>,
) -> Result<LogState, LedgerError> {
    let state = books.state()?;
    let same =
        Extension { last: state.entry, through: state.through, day: state.day, size: state.size, root: state.root };
    let Some(found) = found.filter(|found| found.size > state.size) else {
        // Files that are behind are checked when they are continued.
        return books.resume(Vec::new(), same);
    };
    let other = |what: &str| PublicLogError::Other { path: folder.path().to_owned(), what: what.to_owned() };
    let wrong = || PublicLogError::files(folder.path().to_owned());
    let mut log = folder.open(found)?;
    if log.root_at(state.size).map_err(wrong())? != state.root.0 {
        return Err(other("its first leaves are not those of the ledger").into());
    }
    let mut day = state.day;
    let mut ahead = BTreeSet::new();
    for index in state.size / u64::from(WIDTH)..log.bundles() {
        let first = usize::try_from(state.size.saturating_sub(index * u64::from(WIDTH))).unwrap_or(0);
        for entry in log.bundle(index).map_err(wrong())?.into_iter().skip(first) {
            let leaf = Leaf::from_bytes(&entry).ok_or_else(|| other("it has an unknown leaf"))?;
            day = day.max(leaf.day);
            ahead.insert((entry[0], leaf.subject));
        }
    }
    let through = logged(books, state.through, &mut ahead)?;
    let through = through.ok_or_else(|| other("it has later entries of the ledger, and not all before them"))?;
    let spent = [LeafKind::Deposited, LeafKind::Revoked, LeafKind::Cleared].map(LeafKind::byte);
    let rows = ahead.into_iter().filter(|(kind, _)| spent.contains(kind));
    let rows = rows.map(|(kind, subject)| (Hash(subject), kind)).collect();
    books.resume(rows, Extension { through, day, size: found.size, root: Hash(found.root), ..same })
}

/// Removes the leaves of the chain behind the entry `after` from those of the log, and returns the last entry that the
/// log has; `None` unless all before it are there, too.
fn logged(books: &impl Books, after: u64, ahead: &mut BTreeSet<(u8, [u8; 32])>) -> Result<Option<u64>, LedgerError> {
    let (mut through, mut ended) = (after, false);
    let mut from = (after.saturating_add(1), 0);
    loop {
        let page = books.leaves(from)?;
        let mut leaves = page.leaves.iter();
        for (number, count) in page.entries {
            for leaf in leaves.by_ref().take(count as usize) {
                let subject = leaf.get(1..33).and_then(|subject| subject.try_into().ok()).unwrap_or_default();
                match (ahead.remove(&(leaf[0], subject)), ended) {
                    (true, true) => return Ok(None),
                    (true, false) => through = number,
                    (false, _) => ended = true,
                }
            }
            // An entry is logged as a whole.
            if ended && through == number {
                return Ok(None);
            }
        }
        let Some(next) = page.next else { return Ok(Some(through)) };
        from = next;
    }
}
