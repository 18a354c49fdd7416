//! Columns of the tables, and what they hold. A row that this program does not write is an error, and no guess is made.

use super::connection::Connection;
use crate::grant::StampStatus;
use crate::message::fingerprint::KnownMessage;
use crate::store::contacts::Contact;
use crate::store::decide::Entry;
use crate::store::error::StoreError;
use crate::verdict::owner::Owner;
use std::path::PathBuf;
use std::time::Duration;
use tokio_postgres::Row;

/// Decodes the columns of a used row, if there is one. `None` for a row that this program does not write.
pub(super) fn entry_of(row: &Row) -> Option<Option<Entry>> {
    let Some(message) = row.get::<_, Option<&[u8]>>("message") else { return Some(None) };
    let (whole, broken) = message.split_first_chunk()?;
    let broken = if broken.is_empty() { None } else { Some(broken.try_into().ok()?) };
    let owner = match row.get::<_, Option<&[u8]>>("owner") {
        Some(owner) => Owner(owner.try_into().ok()?),
        None => Owner::default(),
    };
    let first_seen = u32::try_from(row.get::<_, i64>("first_seen")).ok()?;
    let times = u8::try_from(row.get::<_, i16>("times")).ok()?;
    Some(Some(Entry { message: KnownMessage { whole: *whole, broken }, owner, first_seen, times }))
}

/// Encodes a message: 16 bytes, and 16 more if it has long lines.
pub(super) fn message_bytes(message: &KnownMessage) -> Vec<u8> {
    [message.whole.as_slice(), message.broken.as_ref().map_or(&[], |broken| broken.as_slice())].concat()
}

/// Encodes an owner; the default one is no value.
pub(super) fn owner_bytes(owner: &Owner) -> Option<&[u8]> {
    (!owner.is_default()).then_some(owner.0.as_slice())
}

/// Encodes a status; the default one is no row.
pub(super) fn text_of(standing: &StampStatus) -> Option<String> {
    (*standing != StampStatus::default()).then(|| serde_json::to_string(standing).unwrap_or_default())
}

/// Converts a bucket of the database.
pub(super) fn hour(number: i64) -> Result<u32, ()> {
    u32::try_from(number).map_err(|_| ())
}

/// The error for a row that this program does not write.
pub(super) fn damaged(connection: &Connection) -> StoreError {
    StoreError::Refused {
        server: connection.server().to_owned(),
        what: "a row of the log is damaged; restore the database from a backup".to_owned(),
    }
}

/// The error for a row that others change all the time.
pub(super) fn busy(connection: &Connection, waited: Duration) -> StoreError {
    StoreError::Busy { path: PathBuf::from(connection.server()), waited }
}

/// Decodes a contact and its key; `None` for one that this program does not write.
pub(super) fn contact_of(row: &Row) -> Option<(Vec<u8>, Contact)> {
    let number = |column| hour(row.get(column)).ok();
    Some((row.get("key"), Contact { first: number("first")?, last: number("last")?, forgotten: number("forgotten")? }))
}
