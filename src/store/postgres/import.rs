//! Import into PostgreSQL. Rows of one kind are merged together, by the rules of `export_record.rs`, under locks of
//! their rows. What another session changed meanwhile is read again.

use super::Postgres;
use super::connection::{Connection, Failure};
use super::contacts;
use super::replies::locked;
use super::rows;
use super::spends;
use super::trouble::Kind;
use crate::store::contacts::{Contact, row_key};
use crate::store::decide::{self, Entry, StampId};
use crate::store::error::StoreError;
use crate::store::export_record::{merge_standing, merge_used};
use crate::store::{ExportRecord, Imported, peers, reply_log};
use std::collections::{BTreeMap, HashSet};
use std::mem::discriminant;
use tokio_postgres::types::Type;

/// Rows in one transaction.
const ROWS_PER_COMMIT: usize = 1_000;

impl Postgres {
    pub(super) fn import_rows(&self, rows: &mut dyn Iterator<Item = ExportRecord>) -> Result<Imported, StoreError> {
        let mut done = Imported::default();
        let mut rows = rows.peekable();
        self.pool.run_long(Kind::Write, async |connection| {
            while let Some(first) = rows.next() {
                // Of one kind, each key once: a statement writes a row once.
                let kind = discriminant(&first);
                let mut keys = HashSet::from([key_of(&first)]);
                let mut batch = vec![first];
                while batch.len() < ROWS_PER_COMMIT
                    && let Some(row) = rows.next_if(|row| discriminant(row) == kind && keys.insert(key_of(row)))
                {
                    batch.push(row);
                }
                let taken = merge(connection, &batch).await?;
                done.taken += taken;
                done.known += batch.len() as u64 - taken;
            }
            Ok(())
        })?;
        // The rows may be older than all others.
        self.oldest.store(super::UNKNOWN, std::sync::atomic::Ordering::SeqCst);
        Ok(done)
    }
}

/// Returns the key of a row, within its kind.
fn key_of(row: &ExportRecord) -> Vec<u8> {
    match row {
        ExportRecord::PurgedThrough { .. } => Vec::new(),
        ExportRecord::Used { stamp, .. } => stamp.to_vec(),
        ExportRecord::Standing { vendor, serial, .. } => decide::name(vendor, serial).to_vec(),
        ExportRecord::Correspondent { owner, address, .. } => row_key(*owner, address).into_bytes(),
        ExportRecord::Sent { message, .. } => message.to_vec(),
        ExportRecord::Reply { kind, sender, .. } => reply_log::key(*kind, sender).into_bytes(),
        ExportRecord::Replies { hour, .. } => hour.to_be_bytes().to_vec(),
        ExportRecord::Peer { owner, address, .. } => peers::key(*owner, address).into_bytes(),
    }
}

/// Merges rows of one kind; returns how many changed anything.
async fn merge(connection: &mut Connection, batch: &[ExportRecord]) -> Result<u64, Failure> {
    match batch.first() {
        None => Ok(0),
        Some(ExportRecord::PurgedThrough { hour }) => {
            Ok(u64::from(spends::raise_mark(connection, i64::from(*hour), true).await?))
        }
        Some(ExportRecord::Used { .. } | ExportRecord::Standing { .. }) => {
            rows::in_rounds(connection, async |connection| {
                connection.batch("begin").await?;
                let merged = match batch.first() {
                    Some(ExportRecord::Used { .. }) => merge_used_rows(connection, batch).await?,
                    _ => merge_standings(connection, batch).await?,
                };
                connection.batch(if merged.is_some() { "commit" } else { "rollback" }).await?;
                Ok(merged)
            })
            .await
        }
        Some(ExportRecord::Correspondent { .. }) => {
            locked(connection, async |connection| merge_contacts(connection, batch).await).await
        }
        Some(ExportRecord::Peer { .. }) => super::peers::merge(connection, batch).await,
        Some(ExportRecord::Sent { .. }) => {
            let text =
                "insert into mailstamp.sent as s (space, message, at) select $1, k, n from unnest($2, $3) t (k, n)
                on conflict (space, message) do update set at = excluded.at where s.at < excluded.at returning 1";
            raise(connection, text, batch).await
        }
        Some(ExportRecord::Reply { .. }) => {
            let text = "insert into mailstamp.reply as s (space, key, at) select $1, k, n from unnest($2, $3) t (k, n)
                on conflict (space, key) do update set at = excluded.at where s.at < excluded.at returning 1";
            raise(connection, text, batch).await
        }
        Some(ExportRecord::Replies { .. }) => {
            let text = "insert into mailstamp.reply_hour as s (space, hour, count)
                select $1, ('x' || encode(k, 'hex'))::bit(32)::bigint & 4294967295, n from unnest($2, $3) t (k, n)
                on conflict (space, hour) do update set count = excluded.count where s.count < excluded.count
                returning 1";
            raise(connection, text, batch).await
        }
    }
}

/// Stores the higher numbers.
async fn raise(connection: &mut Connection, text: &'static str, batch: &[ExportRecord]) -> Result<u64, Failure> {
    let space = connection.space;
    let keys: Vec<Vec<u8>> = batch.iter().map(key_of).collect();
    let number = |row: &ExportRecord| match row {
        ExportRecord::Sent { at, .. } | ExportRecord::Reply { at, .. } => i64::from(*at),
        ExportRecord::Replies { count, .. } => i64::from(*count),
        _ => 0,
    };
    let numbers: Vec<i64> = batch.iter().map(number).collect();
    let parameters = [(&space as _, Type::INT4), (&keys as _, Type::BYTEA_ARRAY), (&numbers as _, Type::INT8_ARRAY)];
    locked(connection, async |connection| Ok(connection.rows(text, &parameters).await?.len() as u64)).await
}

async fn merge_contacts(connection: &mut Connection, batch: &[ExportRecord]) -> Result<u64, Failure> {
    let keys: Vec<Vec<u8>> = batch.iter().map(key_of).collect();
    let refs: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    let known = contacts::known(connection, &refs).await?;
    let mut changed = Vec::new();
    for (row, key) in batch.iter().zip(&keys) {
        let ExportRecord::Correspondent { first, last, forgotten, .. } = row else { continue };
        let contact = Contact { first: *first, last: *last, forgotten: *forgotten };
        let before = known.get(key).copied();
        let after = before.map_or(contact, |known| known.and(contact));
        if before != Some(after) {
            changed.push((key.clone(), after));
        }
    }
    contacts::put(connection, &changed).await?;
    Ok(changed.len() as u64)
}

/// Merges used stamps. `None` if another session inserted one of them meanwhile.
async fn merge_used_rows(connection: &mut Connection, batch: &[ExportRecord]) -> Result<Option<u64>, Failure> {
    let space = connection.space;
    let keys: Vec<Vec<u8>> = batch.iter().map(key_of).collect();
    let text = "select stamp, hour, message, owner, first_seen, times from mailstamp.used
        where space = $1 and stamp = any ($2) order by stamp for update";
    let rows = connection.rows(text, &[(&space, Type::INT4), (&keys, Type::BYTEA_ARRAY)]).await?;
    let mut known: BTreeMap<&[u8], (u32, Entry)> = BTreeMap::new();
    for row in &rows {
        let entry = rows::entry_of(row)?.ok_or(Failure::Damaged)?;
        known.insert(rows::value(row, "stamp")?, (rows::number(row, "hour")?, entry));
    }
    let (mut new, mut changed) = (Vec::new(), Vec::new());
    for row in batch {
        let ExportRecord::Used { hour, stamp, fingerprint: message, owner, first_seen, times } = row else { continue };
        let entry = Entry { message: *message, owner: *owner, first_seen: *first_seen, times: *times };
        match known.get(stamp.as_slice()) {
            None => new.push((*stamp, *hour, entry)),
            Some((its, before)) => {
                // The later end keeps it for longer.
                let after = (*hour.max(its), merge_used(Some(*before), entry));
                if after != (*its, *before) {
                    changed.push((*stamp, after.0, after.1));
                }
            }
        }
    }
    let insert = "insert into mailstamp.used (space, stamp, hour, first_seen, times, message, owner)
        select $1, t.* from unnest($2, $3, $4, $5, $6, $7) t on conflict do nothing returning 1";
    if put_used(connection, insert, &new).await? < new.len() {
        return Ok(None);
    }
    let update = "update mailstamp.used u
        set hour = t.hour, first_seen = t.seen, times = t.times, message = t.message, owner = t.owner
        from unnest($2, $3, $4, $5, $6, $7) t (stamp, hour, seen, times, message, owner)
        where u.space = $1 and u.stamp = t.stamp returning 1";
    put_used(connection, update, &changed).await?;
    Ok(Some((new.len() + changed.len()) as u64))
}

async fn put_used(
    connection: &mut Connection,
    text: &'static str,
    rows: &[(StampId, u32, Entry)],
) -> Result<usize, Failure> {
    if rows.is_empty() {
        return Ok(0);
    }
    let space = connection.space;
    let stamps: Vec<&[u8]> = rows.iter().map(|(stamp, ..)| stamp.as_slice()).collect();
    let hours: Vec<i64> = rows.iter().map(|(_, hour, _)| (*hour).into()).collect();
    let seen: Vec<i64> = rows.iter().map(|(.., entry)| entry.first_seen.into()).collect();
    let times: Vec<i16> = rows.iter().map(|(.., entry)| entry.times.into()).collect();
    let messages: Vec<Vec<u8>> = rows.iter().map(|(.., entry)| rows::message_bytes(&entry.message)).collect();
    let owners: Vec<Option<&[u8]>> = rows.iter().map(|(.., entry)| rows::owner_bytes(&entry.owner)).collect();
    let parameters = [
        (&space as _, Type::INT4),
        (&stamps as _, Type::BYTEA_ARRAY),
        (&hours as _, Type::INT8_ARRAY),
        (&seen as _, Type::INT8_ARRAY),
        (&times as _, Type::INT2_ARRAY),
        (&messages as _, Type::BYTEA_ARRAY),
        (&owners as _, Type::BYTEA_ARRAY),
    ];
    Ok(connection.rows(text, &parameters).await?.len())
}

/// Merges statuses. `None` if another session inserted one of them meanwhile.
async fn merge_standings(connection: &mut Connection, batch: &[ExportRecord]) -> Result<Option<u64>, Failure> {
    let space = connection.space;
    let keys: Vec<Vec<u8>> = batch.iter().map(key_of).collect();
    let text = "select stamp, standing from mailstamp.standing
        where space = $1 and stamp = any ($2) order by stamp for update";
    let rows = connection.rows(text, &[(&space, Type::INT4), (&keys, Type::BYTEA_ARRAY)]).await?;
    let pair = |row| Ok::<_, Failure>((rows::value(row, 0)?, rows::value(row, 1)?));
    let known: BTreeMap<&[u8], &str> = rows.iter().map(pair).collect::<Result<_, _>>()?;
    let mut texts = Vec::new();
    for row in batch {
        let ExportRecord::Standing { vendor, serial, standing } = row else { continue };
        let stamp = decide::name(vendor, serial);
        let old = known.get(stamp.as_slice()).map(|text| (*text).to_owned());
        let before = rows::standing_of(old.as_deref())?;
        let after = merge_standing(&before, (**standing).clone());
        if before != after {
            texts.push((stamp, vendor, serial, old, rows::text_of(&after)));
        }
    }
    let stood: Vec<spends::Stood> = texts
        .iter()
        .map(|(stamp, vendor, serial, old, new)| spends::Stood {
            stamp: *stamp,
            vendor,
            serial: serial.as_str(),
            old,
            new,
        })
        .collect();
    let done = if stood.is_empty() { 0 } else { spends::stand(connection, &stood).await?.len() };
    Ok((done == stood.len()).then_some(done as u64))
}
