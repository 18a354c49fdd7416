//! Columns of the tables, and what they hold. A row that this program does not write is an error, and no guess is made.

use super::connection::{Connection, Failure};
use super::trouble;
use crate::grant::StampStatus;
use crate::message::fingerprint::KnownMessage;
use crate::os::random;
use crate::peer::record::PeerRecord;
use crate::store::contacts::Contact;
use crate::store::decide::Entry;
use crate::store::error::StoreError;
use crate::verdict::owner::Owner;
use std::fmt::Display;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::time::sleep;
use tokio_postgres::Row;
use tokio_postgres::row::RowIndex;
use tokio_postgres::types::FromSql;

/// How often a row that other sessions change meanwhile is read again.
pub(super) const ROUNDS: u32 = 10;

/// Returns a column. A value of another type is an error, as in tables that another program made.
pub(super) fn value<'a, T: FromSql<'a>>(row: &'a Row, column: impl RowIndex + Display) -> Result<T, Failure> {
    row.try_get(column).map_err(|_| Failure::Damaged)
}

/// Returns the first column of the first row.
pub(super) fn single<'a, T: FromSql<'a>>(rows: &'a [Row]) -> Result<T, Failure> {
    value(rows.first().ok_or(Failure::Damaged)?, 0)
}

/// Returns a column that has a number of 32 bits, as a bucket or a time.
pub(super) fn number(row: &Row, column: impl RowIndex + Display) -> Result<u32, Failure> {
    hour(value(row, column)?)
}

/// Decodes the columns of a used row, if there is one.
pub(super) fn entry_of(row: &Row) -> Result<Option<Entry>, Failure> {
    let Some(message) = value::<Option<&[u8]>>(row, "message")? else { return Ok(None) };
    let (whole, broken) = message.split_first_chunk().ok_or(Failure::Damaged)?;
    let broken = if broken.is_empty() { None } else { Some(exact(broken)?) };
    let owner = value::<Option<&[u8]>>(row, "owner")?.map(|owner| exact(owner).map(Owner)).transpose()?;
    let times = u8::try_from(value::<i16>(row, "times")?).map_err(|_| Failure::Damaged)?;
    let message = KnownMessage { whole: *whole, broken };
    Ok(Some(Entry { message, owner: owner.unwrap_or_default(), first_seen: number(row, "first_seen")?, times }))
}

/// Decodes a status from its column; no row is the default one.
pub(super) fn standing_of(text: Option<&str>) -> Result<StampStatus, Failure> {
    text.map_or_else(|| Ok(StampStatus::default()), |text| serde_json::from_str(text).map_err(|_| Failure::Damaged))
}

/// Converts bytes of a fixed length.
pub(super) fn exact<T: for<'a> TryFrom<&'a [u8]>>(bytes: &[u8]) -> Result<T, Failure> {
    bytes.try_into().map_err(|_| Failure::Damaged)
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
pub(super) fn hour(number: i64) -> Result<u32, Failure> {
    u32::try_from(number).map_err(|_| Failure::Damaged)
}

/// The error for a row that this program does not write.
pub(super) fn damaged(connection: &Connection) -> StoreError {
    StoreError::Refused { server: connection.server().to_owned(), what: trouble::damaged() }
}

/// The error for a row that others change all the time.
pub(super) fn busy(connection: &Connection, waited: Duration) -> StoreError {
    StoreError::Busy { path: PathBuf::from(connection.server()), waited }
}

/// Runs a compare-and-swap until it succeeds: `once` returns `None` if another session changed the row that it read.
pub(super) async fn in_rounds<T>(
    connection: &mut Connection,
    mut once: impl AsyncFnMut(&mut Connection) -> Result<Option<T>, Failure>,
) -> Result<T, Failure> {
    let began = Instant::now();
    for round in 0..ROUNDS {
        back_off(round).await;
        if let Some(done) = once(connection).await? {
            return Ok(done);
        }
    }
    Err(busy(connection, began.elapsed()).into())
}

/// Waits before a round: not before the first two, and then up to 1 to 64 ms. Sessions that change one row get apart.
pub(super) async fn back_off(round: u32) {
    if round > 1 {
        let mut random = [0; 2];
        // Without random bytes they all wait for the same time, and the deadline is near.
        let _ = random::fill(&mut random);
        sleep(Duration::from_micros(u64::from(u16::from_ne_bytes(random)) >> 8_u32.saturating_sub(round))).await;
    }
}

/// Decodes a contact and its key.
pub(super) fn contact_of(row: &Row) -> Result<(Vec<u8>, Contact), Failure> {
    let contact =
        Contact { first: number(row, "first")?, last: number(row, "last")?, forgotten: number(row, "forgotten")? };
    Ok((value(row, "key")?, contact))
}

/// Decodes the record of a correspondent.
pub(super) fn peer_of(row: &Row) -> Result<PeerRecord, Failure> {
    serde_json::from_str(value(row, "peer")?).map_err(|_| Failure::Damaged)
}
