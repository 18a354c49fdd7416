//! Used log in PostgreSQL, which users and hosts share. A stamp is accepted once on all of them.
//!
//! - Every answer is that of `decide.rs`, `contacts.rs` and `reply_log.rs`, over the rows that were read. A write
//!   happens only if they are still so, or under a lock.
//! - A stamp is one by vendor and serial alone. In the other stores its end is part of the key, so a serial that its
//!   vendor signed with two ends is one stamp here and two there. An import keeps the earlier use, and the later end.
//! - A purge first raises the purge mark, alone, and removes rows afterwards. A spend takes the shared lock before it
//!   looks, in a statement of its own. A lock that is taken in the same statement comes too late: the statement sees the
//!   rows as they were before it waited, and a stamp whose row was just removed would be fresh.
//! - When no answer came in time the result is [`StoreError::Undecided`], and mail is deferred. The next try finds what
//!   was written. Nothing is ever accepted without the server, and there is no local log beside it: two hosts would
//!   accept one stamp each.
//! - PostgreSQL 13 or later. Not for servers that only speak its protocol: the advisory locks must be real.
//!
//! The callers block. They must not be tasks of an async runtime.

/// Returns the statement that removes the oldest rows of a table whose `$time` is before `$2`, `$3` rows at most.
macro_rules! purge_of {
    ($table:literal, $key:literal, $time:literal) => {
        concat!(
            "delete from mailstamp.",
            $table,
            " where space = $1 and ",
            $time,
            " < $2 and ",
            $key,
            " = any (array(
                select ",
            $key,
            " from mailstamp.",
            $table,
            " where space = $1 and ",
            $time,
            " < $2
                order by ",
            $time,
            " limit $3)) returning 1"
        )
    };
}

/// The bytes on the disk of all tables of the log, of all spaces, as an expression.
macro_rules! bytes_of_tables {
    () => {
        "(select coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint from pg_class c
            join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'mailstamp' and c.relkind = 'r')"
    };
}

mod connection;
mod contacts;
mod export;
mod import;
mod options;
mod peers;
mod pool;
mod replies;
mod rows;
mod schema;
mod scram;
mod seen;
mod spends;
mod standings;
mod status;
mod tls;
mod trouble;

pub use options::{Options, ReadFile};
pub use schema::InitOutcome;
pub use status::{Replica, ServerStatus};

use super::decide::{self};
use super::error::StoreError;
use super::{Purged, UsedLog};
use crate::os::group_commit::GroupCommit;
use crate::time::UnixTime;
use crate::verdict::spend::{SpendRequest, SpendResult};
use connection::{Connection, Failure};
use pool::Pool;
use spends::{Batch, MAX_BATCH};
use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};
use std::time::Duration;
use tokio_postgres::types::Type;
use trouble::Kind;

/// Rows that one step of a purge removes at most. Spends pass meanwhile.
const ROWS_PER_PURGE: i64 = 1_000;
/// Batches of spends that are on their way at a time. More would be smaller.
const LEADERS: usize = 4;
/// The oldest bucket is not known.
const UNKNOWN: u64 = u64::MAX;

/// The store.
pub struct Postgres {
    pool: Pool,
    spends: GroupCommit<SpendRequest, Result<SpendResult, StoreError>>,
    grace: AtomicI64,
    /// No row that this process knows of has an earlier bucket. Other hosts purge what they insert.
    oldest: AtomicU64,
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres").field("options", &self.pool.options).finish_non_exhaustive()
    }
}

impl Postgres {
    /// Makes a store, without connecting. The first request connects.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let leaders = options.connections.clamp(1, LEADERS);
        let grace = AtomicI64::new(options.grace);
        let spends = GroupCommit::with_leaders(MAX_BATCH, leaders);
        Self { pool: Pool::new(options), spends, grace, oldest: AtomicU64::new(UNKNOWN) }
    }

    /// Returns the options.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.pool.options
    }

    /// Reads the files that the options name, without connecting. An error says which is wrong, and why.
    ///
    /// # Errors
    /// A sentence.
    pub fn check_files(&self) -> Result<(), String> {
        tls::Connector::default().get(self.options())?;
        self.options().password().map(drop)
    }

    /// Creates the schema, or migrates an older one, and makes the log of our space.
    ///
    /// # Errors
    /// Any [`StoreError`]; [`StoreError::Version`] for a newer schema.
    pub fn init(&self) -> Result<InitOutcome, StoreError> {
        self.pool.clear();
        self.pool.run_primary(async |connection| schema::init(connection, &self.pool.options).await)
    }

    /// Returns what the server says of itself: the primary, or else a standby; a database without tables, too.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub fn status(&self) -> Result<ServerStatus, StoreError> {
        self.pool.run_raw(async |connection| status::read(connection, &self.pool.options).await, |it| !it.in_recovery)
    }

    /// Forgets what this host saw of the server before, and takes it as it is now.
    /// A running daemon sees this at its next connection.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub fn accept_restored(&self) -> Result<(), StoreError> {
        let options = &self.pool.options;
        let now = self.pool.run_primary(async |connection| {
            // A migration may be due first; the epoch is that of our space in any case.
            let greeting = connection.greet(options).await?;
            connection.space = greeting.space(connection.server(), schema::FORMAT)?;
            let (epoch, position) = raise(connection).await?;
            Ok(greeting.seen(options).at(epoch, position))
        })?;
        self.pool.memory().accept(options, now)
    }

    /// Raises the epoch. The daemon calls this when it starts.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub fn raise_epoch(&self) -> Result<(), StoreError> {
        let (epoch, position) = self.write(raise)?;
        self.pool.committed(epoch, position);
        Ok(())
    }

    /// Sets the retention of a row after its bucket's end, in seconds.
    pub fn set_retention(&self, grace: i64) {
        self.grace.store(grace, SeqCst);
    }

    fn read<T>(&self, job: impl AsyncFnOnce(&mut Connection) -> Result<T, Failure>) -> Result<T, StoreError> {
        self.pool.run(Kind::Read, job)
    }

    fn write<T>(&self, job: impl AsyncFnOnce(&mut Connection) -> Result<T, Failure>) -> Result<T, StoreError> {
        self.pool.run(Kind::Write, job)
    }

    /// Answers a batch, and purges by the way.
    fn answer(&self, asks: &[SpendRequest]) -> Vec<Result<SpendResult, StoreError>> {
        let grace = self.grace.load(SeqCst);
        let spent = self.write(async |connection| spends::spend(connection, &self.pool, asks, grace).await);
        match spent {
            Ok(Batch { answers, purge, earliest }) => {
                if let Some(earliest) = earliest {
                    self.saw_bucket(earliest);
                }
                if let Some((written, below)) = purge {
                    self.purge_along(written, below);
                }
                answers
            }
            Err(error) => asks.iter().map(|_| Err(error.again())).collect(),
        }
    }

    /// Returns the first bucket that may not be purged by the server's clock. The clock of one host that is ahead must
    /// not remove what the others know.
    fn purge_limit(&self, connection: &Connection, grace: i64) -> u32 {
        match self.pool.options.purge_by_server_clock {
            true => decide::oldest_kept_bucket(connection.server_time(), grace),
            false => decide::NEVER,
        }
    }

    fn saw_bucket(&self, bucket: u32) {
        let _ = self.oldest.fetch_update(SeqCst, SeqCst, |oldest| {
            (oldest != UNKNOWN && oldest > bucket.into()).then_some(bucket.into())
        });
    }

    /// Purges ended rows, if there are any. The answers are durable already, so an error changes none of them.
    fn purge_along(&self, written: usize, below: u32) {
        let look = self.oldest.load(SeqCst);
        if look != UNKNOWN && look >= below.into() {
            return;
        }
        let grace = self.grace.load(SeqCst);
        let purged = self.write(async |connection| {
            let below = below.min(self.purge_limit(connection, grace));
            let mut oldest = spends::oldest(connection).await?;
            if oldest.is_some_and(|oldest| oldest < below) {
                oldest = spends::purge_along(connection, written, below).await?;
            }
            Ok(oldest)
        });
        // What another thread inserted meanwhile may be older. It sees to that itself, at its next spend.
        if let Ok(oldest) = purged {
            self.oldest.store(oldest.unwrap_or(decide::NEVER).into(), SeqCst);
        }
    }

    /// Removes the rows before a time in steps, by a statement of [`purge_of`]; returns how many.
    fn purge_old(&self, text: &'static str, before: UnixTime) -> Result<u64, StoreError> {
        let mut removed = 0;
        loop {
            let rows = self.write(async |connection| {
                let space = connection.space;
                let parameters =
                    [(&space as _, Type::INT4), (&before.0 as _, Type::INT8), (&ROWS_PER_PURGE as _, Type::INT8)];
                Ok(connection.rows(text, &parameters).await?.len() as u64)
            })?;
            removed += rows;
            if rows == 0 {
                return Ok(removed);
            }
        }
    }
}

/// Raises the epoch; returns it with the WAL position before the commit.
async fn raise(connection: &mut Connection) -> Result<(i64, u64), Failure> {
    let space = connection.space;
    let text = "update mailstamp.space set epoch = epoch + 1 where id = $1
        returning epoch, pg_current_wal_insert_lsn()::text";
    let rows = connection.rows(text, &[(&space, Type::INT4)]).await?;
    let row = rows.first().ok_or(Failure::Damaged)?;
    Ok((rows::value(row, 0)?, seen::position(rows::value(row, 1)?).ok_or(Failure::Damaged)?))
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = self.pool.memory().keep(&self.pool.options);
    }
}

impl UsedLog for Postgres {
    fn spend(&self, ask: &SpendRequest) -> Result<SpendResult, StoreError> {
        let gone = || Err(StoreError::Busy { path: "PostgreSQL".into(), waited: Duration::ZERO });
        self.spends.ask(ask.clone(), |asks| self.answer(&asks)).unwrap_or_else(gone)
    }

    fn would_spend(&self, ask: &SpendRequest) -> Result<SpendResult, StoreError> {
        let known = self.read(async |connection| spends::look(connection, ask).await)?;
        Ok(decide::decide(ask, &known)?.answer)
    }

    fn received(&self, ask: &SpendRequest) -> Result<bool, StoreError> {
        let known = self.read(async |connection| spends::look(connection, ask).await)?;
        Ok(decide::received(ask, &known))
    }

    fn purge(&self, now: UnixTime, grace: i64, most: usize) -> Result<Purged, StoreError> {
        let limit = self.read(async |connection| Ok(self.purge_limit(connection, grace)))?;
        let below = decide::oldest_kept_bucket(now, grace).min(limit);
        let mut removed = 0;
        while removed < most {
            let room = i64::try_from(most - removed).unwrap_or(i64::MAX).min(ROWS_PER_PURGE);
            let (rows, more) = self.write(async |connection| spends::purge_step(connection, below, room).await)?;
            removed += usize::try_from(rows).unwrap_or(usize::MAX);
            if !more {
                return Ok(Purged { removed, left: false });
            }
        }
        let oldest = self.read(async |connection| spends::oldest(connection).await)?;
        Ok(Purged { removed, left: oldest.is_some_and(|oldest| oldest < below) })
    }
}
