//! Write batch: rows that were decided and are not in the tables yet. A batch of requests is decided over these rows
//! and the tables below them, so a second request for a stamp sees the first one's row. The rows are then written
//! together.

use super::schema::{self, META, STANDING, StampStatusRow, USED};
use super::session::{Session, SessionError};
use crate::store::decide::{self, Decision, Entry, SpendKey, StampId, State};
use crate::store::error::StoreError;
use crate::verdict::spend::{SpendRequest, SpendResult};
use redb::WriteTransaction;
use std::collections::HashMap;

/// Ended rows that each written row purges at most.
const PURGE_PER_WRITE: usize = 64;

/// Rows not yet in the tables.
#[derive(Debug, Default)]
pub(in crate::store) struct WriteBatch {
    used: HashMap<SpendKey, Entry>,
    standings: HashMap<StampId, StampStatusRow>,
    /// Buckets below this have ended and may be purged; `None` while the batch has no use.
    below: Option<u32>,
}

/// The result of a batch: the answers in the order of the requests, and the rows to write before any is given.
pub(in crate::store) struct BatchResult {
    pub(in crate::store) answers: Vec<Result<SpendResult, StoreError>>,
    pub(in crate::store) rows: WriteBatch,
}

impl WriteBatch {
    pub(in crate::store) fn is_empty(&self) -> bool {
        self.used.is_empty() && self.standings.is_empty()
    }

    pub(in crate::store) fn len(&self) -> usize {
        self.used.len() + self.standings.len()
    }

    pub(in crate::store) fn used(&self) -> impl Iterator<Item = (&SpendKey, &Entry)> {
        self.used.iter()
    }

    pub(in crate::store) fn standings(&self) -> impl Iterator<Item = &StampStatusRow> {
        self.standings.values()
    }

    /// Adds a row that was read back.
    pub(in crate::store) fn put_used(&mut self, key: SpendKey, entry: Entry) {
        self.used.insert(key, entry);
    }

    /// Adds a status that was read back.
    pub(in crate::store) fn put_standing(&mut self, row: StampStatusRow) -> Result<(), SessionError> {
        self.standings.insert(decide::name(&row.vendor, &row.serial()?), row);
        Ok(())
    }

    /// Adds rows that were decided later.
    pub(in crate::store) fn add(&mut self, later: Self) {
        self.used.extend(later.used);
        self.standings.extend(later.standings);
        self.below = [self.below, later.below].into_iter().flatten().min();
    }

    /// Writes the rows into the tables, and purges ended rows: a limited number for each row written.
    pub(in crate::store) fn apply(&self, tx: &WriteTransaction) -> Result<(), SessionError> {
        if !self.used.is_empty() {
            let mut used = tx.open_table(USED)?;
            // In key order, neighbours share their pages.
            let mut rows: Vec<_> = self.used.iter().collect();
            rows.sort_unstable_by_key(|(key, _)| **key);
            for (key, entry) in rows {
                used.insert(key, entry.to_row().as_bytes())?;
            }
            if let Some(below) = self.below {
                schema::remove_expired(tx, &mut used, below, PURGE_PER_WRITE * self.used.len())?;
            }
        }
        if !self.standings.is_empty() {
            let mut table = tx.open_table(STANDING)?;
            for row in self.standings.values() {
                schema::put_standing(&mut table, &row.vendor, &row.serial()?, row.standing.clone())?;
            }
        }
        Ok(())
    }

    fn stage(&mut self, ask: &SpendRequest, decision: Decision, grace: i64) {
        if let Some((cap, count)) = ask.cap.as_ref().zip(decision.count) {
            self.used.insert(decide::counter_key(cap), count);
        }
        if let Some(entry) = decision.used {
            self.used.insert(decide::key(ask), entry);
            let below = decide::purge_below(ask, grace);
            self.below = Some(self.below.map_or(below, |known| known.min(below)));
        }
        if let Some(standing) = decision.standing {
            let row = StampStatusRow { vendor: ask.vendor.clone(), serial: ask.serial.to_string(), standing };
            self.standings.insert(decide::name(&ask.vendor, &ask.serial), row);
        }
    }
}

/// Decides a batch over the tables and over pending rows, the latest first.
pub(in crate::store) fn decide(
    session: &Session,
    layers: &[&WriteBatch],
    asks: &[&SpendRequest],
    grace: i64,
) -> Result<BatchResult, SessionError> {
    let tx = session.read()?;
    let (used, standing) = (tx.open_table(USED)?, tx.open_table(STANDING)?);
    let mark = tx.open_table(META)?.get("mark")?.map(|mark| mark.value());
    let mut rows = WriteBatch::default();
    let mut answers = Vec::with_capacity(asks.len());
    for ask in asks {
        let (key, name) = (decide::key(ask), decide::name(&ask.vendor, &ask.serial));
        let above = || std::iter::once(&rows).chain(layers.iter().copied());
        let entry = |key: &SpendKey| match above().find_map(|layer| layer.used.get(key)) {
            Some(entry) => Ok(Some(*entry)),
            None => schema::used_in(used.get(key)?),
        };
        let counter = ask.cap.as_ref().map(|cap| entry(&decide::counter_key(cap))).transpose()?.flatten();
        let entry = entry(&key)?;
        let standing = match above().find_map(|layer| layer.standings.get(&name)) {
            Some(row) => row.standing.clone(),
            None => schema::standing_of(&standing, &name)?,
        };
        match decide::decide(ask, &State { standing, entry, counter, mark }) {
            Ok(decision) => {
                answers.push(Ok(decision.answer));
                rows.stage(ask, decision, grace);
            }
            Err(error) => answers.push(Err(error)),
        }
    }
    Ok(BatchResult { answers, rows })
}
