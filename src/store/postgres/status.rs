//! What a server says of itself, for `doctor` and `store status`.

use super::connection::{Connection, Failure};
use super::options::Options;
use super::rows::{self, value};
use super::schema;
use crate::os::clock;
use tokio_postgres::types::Type;

/// State of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerStatus {
    /// Its address, as configured.
    pub server: String,
    /// Its version, such as `15.8`.
    pub version: String,
    /// The format of the schema; `None` before `store init`.
    pub format: Option<u32>,
    /// Whether it is a standby.
    pub in_recovery: bool,
    pub read_only: bool,
    /// The setting of our sessions.
    pub synchronous_commit: String,
    pub fsync: bool,
    pub full_page_writes: bool,
    pub synchronous_standby_names: String,
    /// Its standbys. Their state and lag need the role `pg_monitor`.
    pub replicas: Vec<Replica>,
    /// Its clock less ours, in milliseconds, half of the round trip taken off.
    pub clock_difference_ms: i64,
    /// The epoch of our space; `None` if the space has no row yet.
    pub epoch: Option<i64>,
    pub system_identifier: String,
    pub timeline: Option<i64>,
    /// Bytes on the disk of all tables of the log, of all spaces.
    pub bytes: u64,
}

/// A standby, as its primary sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replica {
    pub name: String,
    /// `streaming`, `catchup` and others; empty if the user may not see it.
    pub state: String,
    /// `sync`, `quorum`, `potential` or `async`; empty if the user may not see it.
    pub sync_state: String,
    /// WAL that it has not flushed, in bytes.
    pub lag_bytes: Option<i64>,
    /// Time until it flushed the latest WAL, in milliseconds.
    pub lag_ms: Option<i64>,
}

/// Reads the state of a server. What the user may not see is left empty.
pub(super) async fn read(connection: &mut Connection, options: &Options) -> Result<ServerStatus, Failure> {
    let began = i64::try_from(clock::since_1970().as_millis()).unwrap_or(i64::MAX);
    let clock = connection.rows_once("select (extract(epoch from clock_timestamp()) * 1000)::bigint").await?;
    let ended = i64::try_from(clock::since_1970().as_millis()).unwrap_or(i64::MAX);
    let theirs: i64 = rows::single(&clock)?;
    let rows = connection
        .rows_once(concat!(
            "select current_setting('server_version'), pg_is_in_recovery(),
                current_setting('transaction_read_only') = 'on', current_setting('synchronous_commit'),
                current_setting('fsync') = 'on', current_setting('full_page_writes') = 'on',
                current_setting('synchronous_standby_names'),
                (select system_identifier::text from pg_control_system()),
                (select timeline_id::bigint from pg_control_checkpoint()), ",
            bytes_of_tables!()
        ))
        .await?;
    let mut status = ServerStatus { server: connection.server().to_owned(), ..ServerStatus::default() };
    if let Some(row) = rows.first() {
        status.version = value::<&str>(row, 0)?.split(' ').next().unwrap_or_default().to_owned();
        status.in_recovery = value(row, 1)?;
        status.read_only = value(row, 2)?;
        status.synchronous_commit = value(row, 3)?;
        status.fsync = value(row, 4)?;
        status.full_page_writes = value(row, 5)?;
        status.synchronous_standby_names = value(row, 6)?;
        status.system_identifier = value(row, 7)?;
        status.timeline = value(row, 8)?;
        status.bytes = u64::try_from(value::<i64>(row, 9)?).unwrap_or(0);
    }
    status.clock_difference_ms = theirs - i64::midpoint(began, ended);
    status.replicas = replicas(connection, status.in_recovery).await?;
    status.format = schema::format(connection).await?;
    if status.format.is_some() {
        let text = "select epoch from mailstamp.space where name = $1";
        let rows = connection.rows(text, &[(&options.space, Type::TEXT)]).await?;
        status.epoch = rows.first().map(|row| value(row, 0)).transpose()?;
    }
    Ok(status)
}

async fn replicas(connection: &mut Connection, in_recovery: bool) -> Result<Vec<Replica>, Failure> {
    let now = if in_recovery { "pg_last_wal_replay_lsn()" } else { "pg_current_wal_flush_lsn()" };
    let text = format!(
        "select coalesce(application_name, ''), coalesce(state, ''), coalesce(sync_state, ''),
            pg_wal_lsn_diff({now}, flush_lsn)::bigint, (extract(epoch from flush_lag) * 1000)::bigint
         from pg_stat_replication order by 1"
    );
    let rows = connection.rows_once(&text).await?;
    let replica = |row| {
        Ok(Replica {
            name: value(row, 0)?,
            state: value(row, 1)?,
            sync_state: value(row, 2)?,
            lag_bytes: value(row, 3)?,
            lag_ms: value(row, 4)?,
        })
    };
    rows.iter().map(replica).collect()
}
