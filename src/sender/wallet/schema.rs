//! Tables of the wallet's file, and operations on single rows. Callers begin and commit the transactions.

use super::record::{self, KeyRow, PurchaseRow, StampRow, StateRow};
use crate::sender::selection::RecipientPreference;
use crate::sender::stamp_request::ReservationKey;
use crate::store::{Schema, SessionError, check_format};
use redb::{Database, ReadTransaction, ReadableTable, Table, TableDefinition, WriteTransaction};
use serde::de::DeserializeOwned;

const META: TableDefinition<&str, u32> = TableDefinition::new("meta");
/// Key: vendor and serial.
const STAMPS: TableDefinition<(&str, &str), &[u8]> = TableDefinition::new("stamps");
/// Target of each reservation key.
const KEYS: TableDefinition<&str, &[u8]> = TableDefinition::new("keys");
/// Unused stamps. Key: recipient, end of validity, vendor, serial.
const UNUSED: TableDefinition<(&str, i64, &str, &str), ()> = TableDefinition::new("unused");
/// Journal of purchases. Key: time and idempotency key.
const PURCHASES: TableDefinition<(u64, &str), &[u8]> = TableDefinition::new("purchases");
/// Known preferences of recipients.
const LEARNED: TableDefinition<&str, &[u8]> = TableDefinition::new("learned");
/// Purchases by command: digest of the arguments, number of runs, and whether one is unfinished.
const RUNS: TableDefinition<&str, (u64, bool)> = TableDefinition::new("runs");

const FORMAT: u32 = 1;
pub(super) const SCHEMA: Schema =
    Schema { create: establish, check: |database| check_format(database, FORMAT), recover: |_, _| Ok(()) };

fn establish(database: &Database) -> Result<(), SessionError> {
    let mut tx = database.begin_write()?;
    tx.set_quick_repair(true);
    tx.open_table(META)?.insert("format", FORMAT)?;
    Tables::open(&tx)?;
    Ok(tx.commit()?)
}

/// All tables, open for writing.
pub(super) struct Tables<'tx> {
    stamps: Table<'tx, (&'static str, &'static str), &'static [u8]>,
    keys: Table<'tx, &'static str, &'static [u8]>,
    unused: Table<'tx, (&'static str, i64, &'static str, &'static str), ()>,
    purchases: Table<'tx, (u64, &'static str), &'static [u8]>,
    learned: Table<'tx, &'static str, &'static [u8]>,
    runs: Table<'tx, &'static str, (u64, bool)>,
}

impl<'tx> Tables<'tx> {
    pub(super) fn open(tx: &'tx WriteTransaction) -> Result<Self, SessionError> {
        Ok(Self {
            stamps: tx.open_table(STAMPS)?,
            keys: tx.open_table(KEYS)?,
            unused: tx.open_table(UNUSED)?,
            purchases: tx.open_table(PURCHASES)?,
            learned: tx.open_table(LEARNED)?,
            runs: tx.open_table(RUNS)?,
        })
    }

    pub(super) fn stamp(&self, vendor: &str, serial: &str) -> Result<Option<StampRow>, SessionError> {
        self.stamps.get((vendor, serial))?.map(|row| record::read(row.value())).transpose()
    }

    /// Inserts or replaces a stamp, and updates the index of unused ones.
    pub(super) fn put_stamp(&mut self, stamp: &StampRow) -> Result<(), SessionError> {
        let place = place(stamp);
        if stamp.state == StateRow::Unused {
            self.unused.insert(place, ())?;
        } else {
            self.unused.remove(place)?;
        }
        self.stamps.insert((stamp.vendor.as_str(), stamp.serial.as_str()), record::written(stamp)?.as_slice())?;
        Ok(())
    }

    /// Removes a stamp, and the keys that point to it.
    pub(super) fn remove_stamp(&mut self, stamp: &StampRow) -> Result<(), SessionError> {
        self.unused.remove(place(stamp))?;
        self.stamps.remove((stamp.vendor.as_str(), stamp.serial.as_str()))?;
        let reserved = match &stamp.state {
            StateRow::Reserved { key, .. } | StateRow::Used { key, .. } => Some(key),
            StateRow::Unused => None,
        };
        let points = KeyRow::Stamp { vendor: stamp.vendor.clone(), serial: stamp.serial.clone() };
        for key in reserved.into_iter().chain(&stamp.named) {
            if self.key(key)?.as_ref() == Some(&points) {
                self.remove_key(key)?;
            }
        }
        Ok(())
    }

    pub(super) fn stamps(&self) -> Result<Vec<StampRow>, SessionError> {
        all(&self.stamps)
    }

    /// Returns unused stamps for a recipient that end after `from`, the earliest end first.
    pub(super) fn unused(&self, recipient: &str, from: i64) -> Result<Vec<StampRow>, SessionError> {
        let mut found = Vec::new();
        for row in self.unused.range((recipient, from.saturating_add(1), "", "")..)? {
            let (key, _) = row?;
            let (whose, _, vendor, serial) = key.value();
            if whose != recipient {
                break;
            }
            found.extend(self.stamp(vendor, serial)?);
        }
        Ok(found)
    }

    pub(super) fn key(&self, key: &str) -> Result<Option<KeyRow>, SessionError> {
        self.keys.get(key)?.map(|row| record::read(row.value())).transpose()
    }

    pub(super) fn put_key(&mut self, key: &str, row: &KeyRow) -> Result<(), SessionError> {
        self.keys.insert(key, record::written(row)?.as_slice())?;
        Ok(())
    }

    pub(super) fn remove_key(&mut self, key: &str) -> Result<(), SessionError> {
        self.keys.remove(key)?;
        Ok(())
    }

    /// Returns the stamp that the key holds.
    pub(super) fn held(&self, key: &str) -> Result<Option<StampRow>, SessionError> {
        match self.key(key)? {
            Some(KeyRow::Stamp { vendor, serial }) => self.stamp(&vendor, &serial),
            _ => Ok(None),
        }
    }

    pub(super) fn purchase(&self, at: u64, id: &str) -> Result<Option<PurchaseRow>, SessionError> {
        self.purchases.get((at, id))?.map(|row| record::read(row.value())).transpose()
    }

    pub(super) fn put_purchase(&mut self, purchase: &PurchaseRow) -> Result<(), SessionError> {
        let key = (seconds(purchase.at), purchase.id.as_str());
        self.purchases.insert(key, record::written(purchase)?.as_slice())?;
        Ok(())
    }

    /// Returns the purchases since a time.
    pub(super) fn purchases(&self, since: i64) -> Result<Vec<PurchaseRow>, SessionError> {
        self.purchases.range((seconds(since), "")..)?.map(|row| record::read(row?.1.value())).collect()
    }

    /// Removes purchases before a time, which can no longer be requested.
    pub(super) fn forget_purchases(&mut self, before: i64) -> Result<(), SessionError> {
        Ok(self.purchases.retain_in(..(seconds(before), ""), |_, _| false)?)
    }

    pub(super) fn learned(&self, recipient: &str) -> Result<Option<RecipientPreference>, SessionError> {
        self.learned.get(recipient)?.map(|row| record::read(row.value())).transpose()
    }

    pub(super) fn put_learned(
        &mut self,
        recipient: &str,
        learned: Option<&RecipientPreference>,
    ) -> Result<(), SessionError> {
        match learned {
            Some(learned) => drop(self.learned.insert(recipient, record::written(learned)?.as_slice())?),
            None => drop(self.learned.remove(recipient)?),
        }
        Ok(())
    }

    pub(super) fn run(&self, digest: &str) -> Result<(u64, bool), SessionError> {
        Ok(self.runs.get(digest)?.map_or((0, false), |row| row.value()))
    }

    pub(super) fn put_run(&mut self, digest: &str, run: (u64, bool)) -> Result<(), SessionError> {
        self.runs.insert(digest, run)?;
        Ok(())
    }
}

/// Reads all stamps.
pub(super) fn read_stamps(tx: &ReadTransaction) -> Result<Vec<StampRow>, SessionError> {
    all(&tx.open_table(STAMPS)?)
}

/// Reads the stamp that a key holds.
pub(super) fn read_held(tx: &ReadTransaction, key: &str) -> Result<Option<StampRow>, SessionError> {
    let keys = tx.open_table(KEYS)?;
    let Some(row) = keys.get(key)? else { return Ok(None) };
    let KeyRow::Stamp { vendor, serial } = record::read(row.value())? else { return Ok(None) };
    tx.open_table(STAMPS)?.get((vendor.as_str(), serial.as_str()))?.map(|row| record::read(row.value())).transpose()
}

/// Reads whether one of the keys waits for a purchase; for the one with this id, if it is given.
pub(super) fn read_waits(
    tx: &ReadTransaction,
    keys: &[ReservationKey],
    purchase: Option<&str>,
) -> Result<bool, SessionError> {
    let table = tx.open_table(KEYS)?;
    for key in keys {
        if let Some(row) = table.get(key.as_str())?
            && let KeyRow::Purchase { id, .. } = record::read(row.value())?
            && purchase.is_none_or(|wanted| id == wanted)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Reads all purchases.
pub(super) fn read_purchases(tx: &ReadTransaction) -> Result<Vec<PurchaseRow>, SessionError> {
    all(&tx.open_table(PURCHASES)?)
}

/// Reads the preferences of recipients.
pub(super) fn read_learned(tx: &ReadTransaction) -> Result<Vec<(String, RecipientPreference)>, SessionError> {
    let mut found = Vec::new();
    for row in tx.open_table(LEARNED)?.iter()? {
        let (recipient, learned) = row?;
        found.push((recipient.value().to_owned(), record::read(learned.value())?));
    }
    Ok(found)
}

fn all<K: redb::Key + 'static, T: DeserializeOwned>(
    table: &impl ReadableTable<K, &'static [u8]>,
) -> Result<Vec<T>, SessionError> {
    table.iter()?.map(|row| record::read(row?.1.value())).collect()
}

fn place(stamp: &StampRow) -> (&str, i64, &str, &str) {
    (&stamp.recipient, stamp.expires.unwrap_or(i64::MAX), &stamp.vendor, &stamp.serial)
}

/// Converts a time to a key: before 1970 there were no purchases.
fn seconds(time: i64) -> u64 {
    u64::try_from(time).unwrap_or(0)
}
