//! What is in the file of a log: three tables, and the steps on them inside a transaction that is begun and committed
//! elsewhere. `used` has key and row as in `store/decide.rs`; `standing` a stamp's name and JSON; `meta` the format and the
//! mark.
//!
//! Four more came with version 0.2 (`redb/sent.rs`, `redb/reply.rs`). They are made by the first row that goes into them,
//! and one that is not there is empty: the format stays the same, and programs of either version read files of the other.

use super::session::Trouble;
use crate::grant::Standing;
use crate::stamp::serial::Serial;
use crate::store::Purged;
use crate::store::contacts::{Contact, MessageName};
use crate::store::decide::{self, Entry, Key, Name};
use crate::store::error::StoreError;
use crate::store::export_record::{Row, merge_standing, merge_used};
use crate::store::reply_log;
use redb::{Database, Key as KeyType, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable};
use redb::{Table, TableDefinition, TableError, WriteTransaction};
use serde::{Deserialize, Serialize};
use std::borrow::Borrow;
use std::ops::ControlFlow;
use std::path::PathBuf;

pub(in crate::store) const USED: TableDefinition<&Key, &[u8; 21]> = TableDefinition::new("used");
pub(in crate::store) const STANDING: TableDefinition<&Name, &[u8]> = TableDefinition::new("standing");
pub(in crate::store) const META: TableDefinition<&str, u32> = TableDefinition::new("meta");
pub(in crate::store) const CONTACTS: TableDefinition<&str, &[u8; 12]> = TableDefinition::new("correspondent");
pub(in crate::store) const SENT: TableDefinition<&MessageName, u32> = TableDefinition::new("sent");
pub(in crate::store) const REPLIES: TableDefinition<&str, u32> = TableDefinition::new("reply");
pub(in crate::store) const REPLY_HOURS: TableDefinition<u32, u32> = TableDefinition::new("reply_hour");

/// The format that this program reads and writes.
pub(in crate::store) const FORMAT: u32 = 1;
/// The format while some rows may stand in the journal only (`store/resident/wal.rs`); otherwise the same.
pub(in crate::store) const JOURNALLED: u32 = 2;

/// A standing as it is kept: with the names that its key is a hash of.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::store) struct StandingRow {
    pub(in crate::store) vendor: String,
    pub(in crate::store) serial: String,
    pub(in crate::store) standing: Standing,
}

impl StandingRow {
    /// Reads a row.
    pub(in crate::store) fn from_bytes(bytes: &[u8]) -> Result<Self, Trouble> {
        serde_json::from_slice(bytes).map_err(|error| Trouble::damaged(&error))
    }

    /// The row as it is kept.
    pub(in crate::store) fn to_bytes(&self) -> Result<Vec<u8>, Trouble> {
        serde_json::to_vec(self).map_err(|error| Trouble::damaged(&error))
    }

    /// The serial that it is about.
    pub(in crate::store) fn serial(&self) -> Result<Serial, Trouble> {
        Serial::new(self.serial.clone()).map_err(|error| Trouble::damaged(&error))
    }
}

/// Makes the tables of an empty log.
pub(super) fn establish(database: &Database) -> Result<(), Trouble> {
    let mut tx = database.begin_write()?;
    tx.set_quick_repair(true);
    tx.open_table(USED)?;
    tx.open_table(STANDING)?;
    tx.open_table(META)?.insert("format", FORMAT)?;
    Ok(tx.commit()?)
}

/// Whether it is a log, of either format.
pub(super) fn check(database: &Database) -> Result<(), Trouble> {
    check_format(database, FORMAT).or_else(|_| check_format(database, JOURNALLED)).map_err(|trouble| match trouble {
        Trouble::Ours(StoreError::Version { path, found, .. }) => {
            Trouble::Ours(StoreError::Version { path, found, known: FORMAT })
        }
        other => other,
    })
}

/// Whether the table `meta` names the format that is known.
pub(crate) fn check_format(database: &Database, known: u32) -> Result<(), Trouble> {
    let tx = database.begin_read()?;
    let meta = tx.open_table(META).map_err(|error| Trouble::damaged(&error))?;
    match meta.get("format")?.map(|format| format.value()) {
        Some(found) if found == known => Ok(()),
        Some(found) => Err(StoreError::Version { path: PathBuf::new(), found, known }.into()),
        None => Err(Trouble::damaged(&"it does not say its format")),
    }
}

/// The table, unless there is none yet.
pub(in crate::store) fn if_there<T>(opened: Result<T, TableError>) -> Result<Option<T>, Trouble> {
    match opened {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What stands about a stamp.
pub(in crate::store) fn standing_in(tx: &ReadTransaction, name: &Name) -> Result<Standing, Trouble> {
    standing_of(&tx.open_table(STANDING)?, name)
}

/// What stands about a stamp, in the table of standings.
pub(in crate::store) fn standing_of(table: &ReadOnlyTable<&Name, &[u8]>, name: &Name) -> Result<Standing, Trouble> {
    match table.get(name)? {
        Some(row) => Ok(StandingRow::from_bytes(row.value())?.standing),
        None => Ok(Standing::default()),
    }
}

/// Hands out every standing, until told to stop.
pub(in crate::store) fn standings(
    tx: &ReadTransaction,
    to: &mut dyn FnMut(String, Serial, Standing) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, Trouble> {
    for row in tx.open_table(STANDING)?.iter()? {
        let row = StandingRow::from_bytes(row?.1.value())?;
        let serial = row.serial()?;
        let StandingRow { vendor, standing, .. } = row;
        if to(vendor, serial, standing).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// Puts a standing; the default one takes no row.
pub(in crate::store) fn put_standing(
    table: &mut Table<&Name, &[u8]>,
    vendor: &str,
    serial: &Serial,
    standing: Standing,
) -> Result<(), Trouble> {
    let name = decide::name(vendor, serial);
    if standing == Standing::default() {
        table.remove(&name)?;
    } else {
        let row = StandingRow { vendor: vendor.to_owned(), serial: serial.to_string(), standing };
        table.insert(&name, row.to_bytes()?.as_slice())?;
    }
    Ok(())
}

/// Removes up to `most` rows of the buckets below `below`, oldest first, and raises the mark to the last bucket touched.
/// A bucket of which one row went is under the mark as a whole: which of its serials were there cannot be told any more.
pub(in crate::store) fn clear(
    tx: &WriteTransaction,
    used: &mut Table<&Key, &[u8; 21]>,
    below: u32,
    most: usize,
) -> Result<Purged, Trouble> {
    let end = decide::join(below, &[0; 16]);
    let mut removed = 0;
    let mut last = None;
    for row in used.extract_from_if::<&Key, _>(..&end, |_, _| true)?.take(most) {
        last = Some(decide::split(row?.0.value()).0);
        removed += 1;
    }
    if let Some(bucket) = last {
        raise_mark(tx, bucket)?;
    }
    Ok(Purged { removed, left: used.range::<&Key>(..&end)?.next().transpose()?.is_some() })
}

/// Raises the mark; it never goes down.
fn raise_mark(tx: &WriteTransaction, bucket: u32) -> Result<bool, Trouble> {
    let mut meta = tx.open_table(META)?;
    let known = meta.get("mark")?.map(|mark| mark.value());
    let raised = known < Some(bucket);
    if raised {
        meta.insert("mark", bucket)?;
    }
    Ok(raised)
}

/// Takes one row in; whether it changed what is known.
pub(in crate::store) fn take_in(
    tx: &WriteTransaction,
    used: &mut Table<&Key, &[u8; 21]>,
    standings: &mut Table<&Name, &[u8]>,
    row: Row,
) -> Result<bool, Trouble> {
    match row {
        Row::Cleared { hour } => raise_mark(tx, hour),
        Row::Used { hour, stamp, fingerprint, first_seen, times } => {
            let key = decide::join(hour, &stamp);
            let before = used.get(&key)?.map(|row| Entry::from_bytes(row.value()));
            let after = merge_used(before, Entry { fingerprint, first_seen, times });
            if before != Some(after) {
                used.insert(&key, &after.to_bytes())?;
            }
            Ok(before != Some(after))
        }
        Row::Standing { vendor, serial, standing } => {
            let before = match standings.get(&decide::name(&vendor, &serial))? {
                Some(row) => StandingRow::from_bytes(row.value())?.standing,
                None => Standing::default(),
            };
            let after = merge_standing(&before, standing);
            let changed = before != after;
            if changed {
                put_standing(standings, &vendor, &serial, after)?;
            }
            Ok(changed)
        }
        Row::Correspondent { address, first, last, forgotten } => {
            let contact = Contact { first, last, forgotten };
            let mut table = tx.open_table(CONTACTS)?;
            let before = table.get(address.as_str())?.map(|row| Contact::from_bytes(row.value()));
            let after = before.map_or(contact, |known| known.and(contact));
            if before != Some(after) {
                table.insert(address.as_str(), &after.to_bytes())?;
            }
            Ok(before != Some(after))
        }
        Row::Sent { message, at } => raise(&mut tx.open_table(SENT)?, &message, at),
        Row::Reply { kind, sender, at } => {
            raise(&mut tx.open_table(REPLIES)?, reply_log::key(kind, &sender).as_str(), at)
        }
        Row::Replies { hour, count } => raise(&mut tx.open_table(REPLY_HOURS)?, hour, count),
    }
}

/// Puts the higher number; whether that changed anything.
fn raise<'k, K: KeyType + 'static>(
    table: &mut Table<K, u32>,
    key: impl Borrow<K::SelfType<'k>>,
    number: u32,
) -> Result<bool, Trouble> {
    let known = table.get(key.borrow())?.map(|number| number.value());
    if known < Some(number) {
        table.insert(key, number)?;
    }
    Ok(known < Some(number))
}
