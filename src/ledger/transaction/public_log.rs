//! Public log: the events that extend it, and what it knows of a ledger that was restored.

use super::LedgerTx;
use crate::accounting::event::Event;
use crate::accounting::hash::Hash;
use crate::accounting::hash_chain::Entry;
use crate::ledger::public_log::{self, LogState};
use crate::ledger::rejection::Rejection;
use crate::ledger::schema::{TxError, TxResult};
use crate::transparency::leaf::LeafKind;
use redb::{ReadableTable, ReadableTableMetadata};
use sha2::{Digest as _, Sha256};

/// Extension of the public log.
#[derive(Clone, Copy, Debug)]
pub(in crate::ledger) struct Extension {
    /// Entry of the state that it follows.
    pub(in crate::ledger) last: u64,
    pub(in crate::ledger) through: u64,
    pub(in crate::ledger) day: u32,
    pub(in crate::ledger) size: u64,
    pub(in crate::ledger) root: Hash,
}

impl LedgerTx<'_> {
    /// Appends a batch to the log, unless another publication was quicker.
    pub(in crate::ledger) fn log_append(&mut self, new: Extension) -> TxResult<LogState> {
        let state = self.follows(&new)?;
        if new.size <= state.size || state.is_unsure {
            return Err(TxError::Refused(Rejection::LogMoved));
        }
        let Extension { through, day, size, root, .. } = new;
        self.extend_log(state, Event::Logged { through, day, size, root })
    }

    /// Takes the log over from its files.
    pub(in crate::ledger) fn log_resume(&mut self, new: Extension) -> TxResult<LogState> {
        let state = self.follows(&new)?;
        if new.size < state.size {
            return Err(TxError::Refused(Rejection::LogMoved));
        }
        let Extension { through, day, size, root, .. } = new;
        let spent = spent_hash(&self.logged_before)?;
        self.extend_log(state, Event::LogResumed { through, day, size, root, spent })
    }

    /// Returns how far the log is.
    pub(super) fn log_state(&self) -> TxResult<LogState> {
        public_log::state_in(&self.meta)
    }

    fn follows(&self, new: &Extension) -> TxResult<LogState> {
        let state = self.log_state()?;
        let grows = new.through >= state.through && new.through <= self.head.number && new.day >= state.day;
        if new.last == state.entry && grows { Ok(state) } else { Err(TxError::Refused(Rejection::LogMoved)) }
    }

    fn extend_log(&mut self, state: LogState, event: Event) -> TxResult<LogState> {
        let entry = Entry { number: self.head.number + 1, at: self.now, event };
        let after = state.after(&entry);
        self.append_event(entry.event)?;
        if after.size > state.size {
            self.logged.insert(after.size, after.entry)?;
        }
        public_log::set_state(&mut self.meta, &after)?;
        Ok(after)
    }

    /// Records that the ledger was restored: the published log may be ahead of it.
    pub(in crate::ledger) fn restored(&mut self) -> TxResult<()> {
        self.append_event(Event::Restored)?;
        let state = self.log_state()?;
        public_log::set_state(&mut self.meta, &LogState { is_unsure: true, ..state })
    }

    /// Remembers stamps and payments that the log says are spent.
    pub(in crate::ledger) fn log_remember(&mut self, spent: &[(Hash, u8)]) -> TxResult<()> {
        for (subject, kind) in spent {
            self.logged_before.insert(&subject.0, kind)?;
        }
        Ok(())
    }

    /// Returns how a stamp or payment was spent before the ledger was restored, as the log has it.
    pub(super) fn spent_before(&self, subject: impl FnOnce(&str) -> [u8; 32]) -> TxResult<Option<LeafKind>> {
        if self.logged_before.is_empty()? {
            return Ok(None);
        }
        let vendor = self.meta.get("vendor")?.map(|row| String::from_utf8_lossy(row.value()).into_owned());
        let kind = self.logged_before.get(&subject(&vendor.unwrap_or_default()))?.map(|row| row.value());
        Ok(kind.and_then(LeafKind::from_byte))
    }
}

/// Returns the hash over all rows of the table.
pub(in crate::ledger) fn spent_hash(table: &impl ReadableTable<&'static [u8; 32], u8>) -> TxResult<Hash> {
    let mut hash = Sha256::new();
    for row in table.iter()? {
        let (subject, kind) = row?;
        hash.update(subject.value());
        hash.update([kind.value()]);
    }
    Ok(Hash(hash.finalize().into()))
}
