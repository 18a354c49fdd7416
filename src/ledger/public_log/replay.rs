//! Recomputation of the public log from the chain, for an audit: every booked size, day and root, and what was booked
//! when the log was taken over.

use super::leaves::{self, LeafMaker};
use super::positions::{LogState, state_in};
use crate::accounting::event::Event;
use crate::accounting::hash::Hash;
use crate::accounting::hash_chain::Entry;
use crate::ledger::schema::{self, TxResult};
use crate::ledger::transaction::spent_hash;
use crate::transparency::merkle::Appender;
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata};

/// The log by the entries that were added.
#[derive(Default)]
pub(in crate::ledger) struct Replay {
    state: LogState,
    /// The tree; `None` behind leaves that a restored chain lost.
    tree: Option<Appender>,
    /// Sizes that the entries give it.
    sizes: Vec<(u64, u64)>,
    spent: Option<Hash>,
}

/// Takes a problem, in one sentence.
type Report<'a> = &'a mut dyn FnMut(String);

impl Replay {
    pub(in crate::ledger) fn new() -> Self {
        Self { tree: Some(Appender::default()), ..Self::default() }
    }

    /// Follows the next entry.
    pub(in crate::ledger) fn add<S, E>(
        &mut self,
        entry: &Entry,
        maker: &mut LeafMaker<'_, S, E>,
        wrong: Report<'_>,
    ) -> TxResult<()>
    where
        S: ReadableTable<&'static [u8; 16], u64>,
        E: ReadableTable<u64, &'static [u8]>,
    {
        let after = self.state.after(entry);
        match entry.event {
            Event::Logged { .. } => self.logged(entry, &after, maker, wrong)?,
            Event::LogResumed { spent, .. } => {
                if after.size > self.state.size {
                    // The leaves that the chain lost are in the published files alone.
                    self.tree = None;
                    self.sizes.push((after.size, entry.number));
                }
                self.spent = Some(spent);
            }
            _ => {}
        }
        self.state = after;
        Ok(())
    }

    fn logged<S, E>(
        &mut self,
        entry: &Entry,
        after: &LogState,
        maker: &mut LeafMaker<'_, S, E>,
        wrong: Report<'_>,
    ) -> TxResult<()>
    where
        S: ReadableTable<&'static [u8; 16], u64>,
        E: ReadableTable<u64, &'static [u8]>,
    {
        let number = entry.number;
        self.sizes.push((after.size, number));
        if after.through < self.state.through || after.through >= number || after.day < self.state.day {
            wrong(format!("entry {number} of the public log goes back, or ahead of the chain"));
            return Ok(());
        }
        let mut batch = Vec::new();
        for row in maker.entries.range(self.state.through + 1..=after.through)? {
            let (number, row) = row?;
            let row = schema::split_entry(number.value(), row.value())?.1;
            // An entry that cannot be read is reported by itself.
            let Ok(entry) = schema::from_json::<Entry>(row) else { continue };
            batch.extend(maker.leaves(&entry, (self.state.day, after.day))?);
        }
        leaves::sort(&mut batch);
        if after.size != self.state.size + batch.len() as u64 {
            let (has, says) = (self.state.size + batch.len() as u64, after.size);
            wrong(format!("entry {number} says that the public log has {says} leaves, and the entries come to {has}"));
            self.tree = None;
            return Ok(());
        }
        let day = batch.last().map(leaves::leaf_day);
        if day != Some(after.day) {
            let (says, has) = (after.day, day.unwrap_or(self.state.day));
            wrong(format!(
                "entry {number} says that the public log ends with day {says}, and the entries end with {has}"
            ));
        }
        let Some(tree) = &mut self.tree else { return Ok(()) };
        batch.iter().for_each(|leaf| tree.add(leaf));
        if tree.root() != after.root.0 {
            wrong(format!("entry {number} says a root of the public log that is not the one of the entries"));
            self.tree = None;
        }
        Ok(())
    }

    /// Compares it with the tables.
    pub(in crate::ledger) fn compare(self, tx: &ReadTransaction, wrong: Report<'_>) -> TxResult<()> {
        if state_in(&tx.open_table(schema::META)?)? != self.state {
            wrong("the state of the public log is not the one of the entries".to_owned());
        }
        let mut sizes = Vec::new();
        for row in tx.open_table(schema::LOGGED)?.iter()? {
            let (size, number) = row?;
            sizes.push((size.value(), number.value()));
        }
        if sizes != self.sizes {
            wrong("the sizes of the public log are not those of the entries".to_owned());
        }
        let spent = tx.open_table(schema::LOGGED_BEFORE)?;
        let is_same = match self.spent {
            None => spent.is_empty()?,
            Some(said) => spent_hash(&spent)? == said,
        };
        if !is_same {
            wrong("the stamps that the public log has as spent are not those of the entries".to_owned());
        }
        Ok(())
    }
}
