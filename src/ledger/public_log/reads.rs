//! Read operations of the public log: its state, its batches, and the leaves of entries.

use super::leaves::{self, LeafMaker};
use super::positions::{LeafPage, LogBatch, LogState, state_in};
use crate::accounting::hash_chain::Entry;
use crate::ledger::queries::ReadTx;
use crate::ledger::schema::{self, TxError, TxResult};

/// Most leaves in one page.
const MAX_LEAVES: usize = 20_000;

impl ReadTx {
    pub(in crate::ledger) fn log_state(&self) -> TxResult<LogState> {
        state_in(&self.tx.open_table(schema::META)?)
    }

    /// Returns the batches that made the log larger than `size`.
    pub(in crate::ledger) fn log_batches(&self, size: u64) -> TxResult<Vec<LogBatch>> {
        let logged = self.tx.open_table(schema::LOGGED)?;
        let entries = self.tx.open_table(schema::ENTRY)?;
        let read = |number: u64, before: LogState| Ok::<_, TxError>(before.after(&schema::entry_in(&entries, number)?));
        let mut before = match logged.range(..=size)?.next_back().transpose()? {
            Some((_, number)) => read(number.value(), LogState::default())?,
            None => LogState::default(),
        };
        let mut batches = Vec::new();
        for row in logged.range(size.saturating_add(1)..)? {
            let after = read(row?.1.value(), before)?;
            batches.push(LogBatch { before, after });
            before = after;
        }
        Ok(batches)
    }

    /// Returns leaves from this leaf of this entry on: up to the entry `through`, or up to the first one of today.
    pub(in crate::ledger) fn log_leaves(
        &self,
        (from, skip): (u64, u64),
        through: Option<u64>,
        days: (u32, u32),
    ) -> TxResult<LeafPage> {
        let entries = self.tx.open_table(schema::ENTRY)?;
        let serials = self.tx.open_table(schema::SERIAL)?;
        let meta = self.tx.open_table(schema::META)?;
        let vendor = meta.get("vendor")?.map(|row| String::from_utf8_lossy(row.value()).into_owned());
        let vendor = vendor.unwrap_or_default();
        let mut maker = LeafMaker::new(&vendor, &serials, &entries);
        let mut page =
            LeafPage { leaves: Vec::new(), entries: Vec::new(), next: None, through: from.saturating_sub(1) };
        for row in entries.range(from..=through.unwrap_or(u64::MAX))? {
            let (number, row) = row?;
            let number = number.value();
            let entry: Entry = schema::from_json(schema::split_entry(number, row.value())?.1)?;
            let made = maker.leaves(&entry, days)?;
            if !made.is_empty() && through.is_none() && leaves::is_too_new(&entry, self.now) {
                break;
            }
            let skip = if number == from { usize::try_from(skip).unwrap_or(usize::MAX) } else { 0 };
            let rest = made.get(skip..).unwrap_or_default();
            let room = MAX_LEAVES - page.leaves.len();
            let taken = rest.len().min(room);
            page.leaves.extend(rest.iter().take(taken));
            if taken > 0 {
                page.entries.push((number, u32::try_from(taken).unwrap_or(u32::MAX)));
            }
            if rest.len() > room {
                page.next = Some((number, (skip + room) as u64));
                return Ok(page);
            }
            page.through = number;
        }
        Ok(page)
    }
}
