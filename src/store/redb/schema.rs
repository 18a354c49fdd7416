//! Tables of the used log, and the steps on them inside a caller's transaction. `used` has key and row as in
//! `store/decide.rs`; `standing` has a stamp's id and its status in JSON; `meta` has the format and the purge mark.
//!
//! The first row creates each of the other five tables (`redb/contacts.rs`, `redb/replies.rs`, `redb/peers.rs`), and a
//! missing table counts as empty.

use super::session::SessionError;
use crate::grant::StampStatus;
use crate::peer::record::PeerRecord;
use crate::stamp::serial::Serial;
use crate::store::Purged;
use crate::store::contacts::{Contact, MessageName, row_key};
use crate::store::decide::{self, Entry, SpendKey, StampId};
use crate::store::error::StoreError;
use crate::store::export_record::{ExportRecord, merge_standing, merge_used};
use crate::store::peers;
use crate::store::reply_log;
use redb::{AccessGuard, Database, Key as KeyType, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable};
use redb::{Table, TableDefinition, TableError, WriteTransaction};
use serde::{Deserialize, Serialize};
use std::borrow::Borrow;
use std::ops::ControlFlow;
use std::path::PathBuf;

pub(in crate::store) const USED: TableDefinition<&SpendKey, &[u8]> = TableDefinition::new("used");
pub(in crate::store) const STANDING: TableDefinition<&StampId, &[u8]> = TableDefinition::new("standing");
pub(in crate::store) const META: TableDefinition<&str, u32> = TableDefinition::new("meta");
pub(in crate::store) const CONTACTS: TableDefinition<&str, &[u8; 12]> = TableDefinition::new("correspondent");
pub(in crate::store) const SENT: TableDefinition<&MessageName, u32> = TableDefinition::new("sent");
pub(in crate::store) const REPLIES: TableDefinition<&str, u32> = TableDefinition::new("reply");
pub(in crate::store) const REPLY_HOURS: TableDefinition<u32, u32> = TableDefinition::new("reply_hour");
pub(in crate::store) const PEERS: TableDefinition<&str, &[u8]> = TableDefinition::new("peer");

/// The format that this program reads and writes.
pub(in crate::store) const FORMAT: u32 = 3;
/// The format while some rows may be in the WAL only (`store/resident/wal.rs`); otherwise the same.
pub(in crate::store) const JOURNALLED: u32 = 4;

/// A status as it is stored: with the vendor and serial that its key is a hash of.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::store) struct StampStatusRow {
    pub(in crate::store) vendor: String,
    pub(in crate::store) serial: String,
    pub(in crate::store) standing: StampStatus,
}

impl StampStatusRow {
    /// Decodes a row.
    pub(in crate::store) fn from_bytes(bytes: &[u8]) -> Result<Self, SessionError> {
        serde_json::from_slice(bytes).map_err(|error| SessionError::damaged(&error))
    }

    /// Encodes a row.
    pub(in crate::store) fn to_bytes(&self) -> Result<Vec<u8>, SessionError> {
        serde_json::to_vec(self).map_err(|error| SessionError::damaged(&error))
    }

    /// The serial of the stamp.
    pub(in crate::store) fn serial(&self) -> Result<Serial, SessionError> {
        Serial::new(self.serial.clone()).map_err(|error| SessionError::damaged(&error))
    }
}

/// Creates the tables of an empty log.
pub(super) fn establish(database: &Database) -> Result<(), SessionError> {
    let mut tx = database.begin_write()?;
    tx.set_quick_repair(true);
    tx.open_table(USED)?;
    tx.open_table(STANDING)?;
    tx.open_table(META)?.insert("format", FORMAT)?;
    Ok(tx.commit()?)
}

/// Checks that the database is a used log, of either format.
pub(super) fn check(database: &Database) -> Result<(), SessionError> {
    check_format(database, FORMAT).or_else(|_| check_format(database, JOURNALLED)).map_err(|trouble| match trouble {
        SessionError::Store(StoreError::Version { path, found, .. }) => {
            SessionError::Store(StoreError::Version { path, found, known: FORMAT })
        }
        other => other,
    })
}

/// Checks that the table `meta` has the format `known`.
pub(crate) fn check_format(database: &Database, known: u32) -> Result<(), SessionError> {
    let tx = database.begin_read()?;
    let meta = tx.open_table(META).map_err(|error| SessionError::damaged(&error))?;
    match meta.get("format")?.map(|format| format.value()) {
        Some(found) if found == known => Ok(()),
        Some(found) => Err(StoreError::Version { path: PathBuf::new(), found, known }.into()),
        None => Err(SessionError::damaged(&"the format is missing")),
    }
}

/// Returns the table, or `None` if it was not created yet.
pub(in crate::store) fn open_optional<T>(opened: Result<T, TableError>) -> Result<Option<T>, SessionError> {
    match opened {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Returns the status of a stamp.
pub(in crate::store) fn standing_in(tx: &ReadTransaction, name: &StampId) -> Result<StampStatus, SessionError> {
    standing_of(&tx.open_table(STANDING)?, name)
}

/// Returns the status of a stamp from its table.
pub(in crate::store) fn standing_of(
    table: &ReadOnlyTable<&StampId, &[u8]>,
    name: &StampId,
) -> Result<StampStatus, SessionError> {
    match table.get(name)? {
        Some(row) => Ok(StampStatusRow::from_bytes(row.value())?.standing),
        None => Ok(StampStatus::default()),
    }
}

/// Visits every status, until `to` breaks.
pub(in crate::store) fn standings(
    tx: &ReadTransaction,
    to: &mut dyn FnMut(String, Serial, StampStatus) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, SessionError> {
    for row in tx.open_table(STANDING)?.iter()? {
        let row = StampStatusRow::from_bytes(row?.1.value())?;
        let serial = row.serial()?;
        let StampStatusRow { vendor, standing, .. } = row;
        if to(vendor, serial, standing).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// Decodes a used row that was looked up.
pub(in crate::store) fn used_in(row: Option<AccessGuard<'_, &[u8]>>) -> Result<Option<Entry>, SessionError> {
    row.map(|row| used_row(row.value())).transpose()
}

/// Decodes a used row.
pub(in crate::store) fn used_row(bytes: &[u8]) -> Result<Entry, SessionError> {
    Entry::from_row(bytes).ok_or_else(|| SessionError::damaged(&"a row has an invalid length"))
}

/// Stores a status; the default one takes no row.
pub(in crate::store) fn put_standing(
    table: &mut Table<&StampId, &[u8]>,
    vendor: &str,
    serial: &Serial,
    standing: StampStatus,
) -> Result<(), SessionError> {
    let name = decide::name(vendor, serial);
    if standing == StampStatus::default() {
        table.remove(&name)?;
    } else {
        let row = StampStatusRow { vendor: vendor.to_owned(), serial: serial.to_string(), standing };
        table.insert(&name, row.to_bytes()?.as_slice())?;
    }
    Ok(())
}

/// Decodes the record of a correspondent.
pub(in crate::store) fn peer_row(bytes: &[u8]) -> Result<PeerRecord, SessionError> {
    serde_json::from_slice(bytes).map_err(|error| SessionError::damaged(&error))
}

/// Stores the record of a correspondent; the default one takes no row.
pub(in crate::store) fn put_peer(
    table: &mut Table<&str, &[u8]>,
    key: &str,
    record: &PeerRecord,
) -> Result<(), SessionError> {
    if *record == PeerRecord::default() {
        table.remove(key)?;
    } else {
        let bytes = serde_json::to_vec(record).map_err(|error| SessionError::damaged(&error))?;
        table.insert(key, bytes.as_slice())?;
    }
    Ok(())
}

/// Removes up to `most` rows of the buckets below `below`, oldest first.
/// Raises the purge mark to the last bucket touched. A partly purged bucket counts as purged as a whole, since its lost
/// serials are no longer known.
pub(in crate::store) fn remove_expired(
    tx: &WriteTransaction,
    used: &mut Table<&SpendKey, &[u8]>,
    below: u32,
    most: usize,
) -> Result<Purged, SessionError> {
    let end = decide::encode_key(below, &[0; 16]);
    let mut removed = 0;
    let mut last = None;
    for row in used.extract_from_if::<&SpendKey, _>(..&end, |_, _| true)?.take(most) {
        last = Some(decide::decode_key(row?.0.value()).0);
        removed += 1;
    }
    if let Some(bucket) = last {
        raise_mark(tx, bucket)?;
    }
    Ok(Purged { removed, left: used.range::<&SpendKey>(..&end)?.next().transpose()?.is_some() })
}

/// Raises the purge mark, which never goes down; returns whether it changed.
fn raise_mark(tx: &WriteTransaction, bucket: u32) -> Result<bool, SessionError> {
    let mut meta = tx.open_table(META)?;
    let known = meta.get("mark")?.map(|mark| mark.value());
    let raised = known < Some(bucket);
    if raised {
        meta.insert("mark", bucket)?;
    }
    Ok(raised)
}

/// Merges one row; returns whether it changed anything.
pub(in crate::store) fn merge_record(
    tx: &WriteTransaction,
    used: &mut Table<&SpendKey, &[u8]>,
    standings: &mut Table<&StampId, &[u8]>,
    row: ExportRecord,
) -> Result<bool, SessionError> {
    match row {
        ExportRecord::PurgedThrough { hour } => raise_mark(tx, hour),
        ExportRecord::Used { hour, stamp, fingerprint: message, owner, first_seen, times } => {
            let key = decide::encode_key(hour, &stamp);
            let before = used_in(used.get(&key)?)?;
            let after = merge_used(before, Entry { message, owner, first_seen, times });
            if before != Some(after) {
                used.insert(&key, after.to_row().as_bytes())?;
            }
            Ok(before != Some(after))
        }
        ExportRecord::Standing { vendor, serial, standing } => {
            let before = match standings.get(&decide::name(&vendor, &serial))? {
                Some(row) => StampStatusRow::from_bytes(row.value())?.standing,
                None => StampStatus::default(),
            };
            let after = merge_standing(&before, *standing);
            let changed = before != after;
            if changed {
                put_standing(standings, &vendor, &serial, after)?;
            }
            Ok(changed)
        }
        ExportRecord::Correspondent { owner, address, first, last, forgotten } => {
            let key = row_key(owner, &address);
            let contact = Contact { first, last, forgotten };
            let mut table = tx.open_table(CONTACTS)?;
            let before = table.get(key.as_str())?.map(|row| Contact::from_bytes(row.value()));
            let after = before.map_or(contact, |known| known.and(contact));
            if before != Some(after) {
                table.insert(key.as_str(), &after.to_bytes())?;
            }
            Ok(before != Some(after))
        }
        ExportRecord::Sent { message, at } => max_into(&mut tx.open_table(SENT)?, &message, at),
        ExportRecord::Reply { kind, sender, at } => {
            max_into(&mut tx.open_table(REPLIES)?, reply_log::key(kind, &sender).as_str(), at)
        }
        ExportRecord::Replies { hour, count } => max_into(&mut tx.open_table(REPLY_HOURS)?, hour, count),
        ExportRecord::Peer { owner, address, peer } => {
            let (key, mut table) = (peers::key(owner, &address), tx.open_table(PEERS)?);
            let before = match table.get(key.as_str())? {
                Some(row) => peer_row(row.value())?,
                None => PeerRecord::default(),
            };
            let after = before.merge(&peer);
            if before != after {
                put_peer(&mut table, &key, &after)?;
            }
            Ok(before != after)
        }
    }
}

/// Stores the higher number; returns whether that changed anything.
fn max_into<'k, K: KeyType + 'static>(
    table: &mut Table<K, u32>,
    key: impl Borrow<K::SelfType<'k>>,
    number: u32,
) -> Result<bool, SessionError> {
    let known = table.get(key.borrow())?.map(|number| number.value());
    if known < Some(number) {
        table.insert(key, number)?;
    }
    Ok(known < Some(number))
}
