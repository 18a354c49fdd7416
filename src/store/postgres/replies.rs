//! Reply log in PostgreSQL: the rule of `reply_log.rs` under a lock that one transaction holds for the space.

use super::Postgres;
use super::connection::{Connection, Failure};
use super::rows;
use crate::store::error::StoreError;
use crate::store::reply_log::{self, ReplyHistory, ReplyLog, ReplyRequest, Reservation};
use crate::time::UnixTime;
use tokio_postgres::types::Type;

impl ReplyLog for Postgres {
    fn reserve_reply(&self, ask: &ReplyRequest) -> Result<Reservation, StoreError> {
        self.correspond(async |connection| {
            let (answer, after) = reply_log::decide(ask, &history(connection, ask).await?);
            if let Some(after) = after {
                store(connection, ask, &after).await?;
            }
            Ok(answer)
        })
    }

    fn peek_reply(&self, ask: &ReplyRequest) -> Result<Reservation, StoreError> {
        let known = self.read(async |connection| history(connection, ask).await)?;
        Ok(reply_log::decide(ask, &known).0)
    }

    fn purge_replies(&self, before: UnixTime) -> Result<u64, StoreError> {
        self.purge_old(purge_of!("reply", "key", "at"), before)
    }
}

impl Postgres {
    /// Does `work` on a session, as [`locked`] does.
    pub(super) fn correspond<T>(
        &self,
        work: impl AsyncFnOnce(&mut Connection) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        self.write(async |connection| locked(connection, work).await)
    }
}

/// Does `work` in a transaction in which contacts, replies and records of the space are ours alone.
pub(super) async fn locked<T>(
    connection: &mut Connection,
    work: impl AsyncFnOnce(&mut Connection) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let space = connection.space;
    connection.batch("begin").await?;
    connection.rows("select mailstamp.lock_correspondence($1)", &[(&space, Type::INT4)]).await?;
    let done = work(connection).await?;
    connection.batch("commit").await?;
    Ok(done)
}

async fn history(connection: &mut Connection, ask: &ReplyRequest) -> Result<ReplyHistory, Failure> {
    let space = connection.space;
    let keys = reply_log::keys(ask);
    let keys: Vec<&[u8]> = keys.iter().map(|key| key.as_bytes()).collect();
    let text = "select max(at) from mailstamp.reply where space = $1 and key = any ($2)";
    let rows = connection.rows(text, &[(&space, Type::INT4), (&keys, Type::BYTEA_ARRAY)]).await?;
    let at = rows::single::<Option<i64>>(&rows)?.map(rows::hour).transpose()?;
    Ok(ReplyHistory { at, hours: hours(connection).await? })
}

pub(super) async fn hours(connection: &mut Connection) -> Result<Vec<(u32, u32)>, Failure> {
    let space = connection.space;
    let text = "select hour, count from mailstamp.reply_hour where space = $1 order by hour";
    let rows = connection.rows(text, &[(&space, Type::INT4)]).await?;
    rows.iter().map(|row| Ok((rows::number(row, 0)?, rows::number(row, 1)?))).collect()
}

async fn store(connection: &mut Connection, ask: &ReplyRequest, after: &ReplyHistory) -> Result<(), Failure> {
    let space = connection.space;
    if let Some(at) = after.at {
        let keys = reply_log::keys(ask);
        let mut keys: Vec<&[u8]> = keys.iter().map(|key| key.as_bytes()).collect();
        // Sender and author may be one; a statement writes a row once.
        keys.sort_unstable();
        keys.dedup();
        let text = "insert into mailstamp.reply (space, key, at) select $1, k, $3 from unnest($2) k
            on conflict (space, key) do update set at = excluded.at";
        let at = i64::from(at);
        connection.rows(text, &[(&space, Type::INT4), (&keys, Type::BYTEA_ARRAY), (&at, Type::INT8)]).await?;
    }
    connection.rows("delete from mailstamp.reply_hour where space = $1", &[(&space, Type::INT4)]).await?;
    let hours: Vec<i64> = after.hours.iter().map(|(hour, _)| (*hour).into()).collect();
    let counts: Vec<i64> = after.hours.iter().map(|(_, count)| (*count).into()).collect();
    let text = "insert into mailstamp.reply_hour (space, hour, count) select $1, h, c from unnest($2, $3) t (h, c)";
    connection.rows(text, &[(&space, Type::INT4), (&hours, Type::INT8_ARRAY), (&counts, Type::INT8_ARRAY)]).await?;
    Ok(())
}
