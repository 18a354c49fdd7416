//! Schema of the log in PostgreSQL: numbered migrations of the tables, each run once, forward only, and then the
//! functions, all anew. `meta` has the number of the last migration as the format. Names are qualified, so the
//! `search_path` of the role does not matter.
//!
//! - `space` has a row for each log in the database: its purge mark and its epoch.
//! - `used` has a row for each used stamp. Its key is space and stamp (a hash over vendor and serial), whatever the end
//!   of the stamp. A table that is partitioned by the end could not have that key: a unique index must contain the
//!   partition key (PostgreSQL 15, 5.11.2.3). So ended rows are deleted in small steps.
//! - Keys of contacts and replies are bytes: they sort as they do in the other stores, in every locale.
//!
//! The isolation level is `read committed`: each statement, also each one inside a function that is not `stable`, sees
//! what was committed before it began (13.2.1, 38.7). The functions depend on that.

mod functions;

use super::connection::{Connection, Failure};
use super::options::Options;
use super::{rows, trouble};
use crate::store::error::StoreError;
use functions::FUNCTIONS;
use std::path::PathBuf;
use tokio_postgres::types::Type;

/// What `init` found and did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitOutcome {
    Created,
    Migrated { from: u32 },
    Unchanged,
}

/// The format that this program reads and writes: the number of migrations.
pub(super) const FORMAT: u32 = 2;

/// The migrations of the tables: the first makes format 1 of an empty database. The second adds the records of
/// correspondents' own keys.
const MIGRATIONS: [&str; FORMAT as usize] = [FIRST, SECOND];

/// Classes of advisory locks; the second key is the number of the space. Spends share `SPENDS`, and what raises or
/// lifts the purge mark takes it alone.
const SPENDS: i32 = 0x6d73_0001;
/// One purge at a time.
const PURGES: i32 = 0x6d73_0002;
/// Contacts and replies change under this.
const CORRESPONDENCE: i32 = 0x6d73_0003;
/// Migrations of the schema.
const SCHEMA: i32 = 0x6d73_0004;

const FIRST: &str = "
create schema if not exists mailstamp;
create table mailstamp.meta (one boolean primary key default true check (one), format int not null);
create table mailstamp.space (
    id int generated always as identity primary key,
    name text not null unique,
    mark bigint,
    epoch bigint not null default 1
);
create table mailstamp.used (
    space int not null,
    stamp bytea not null,
    hour bigint not null,
    first_seen bigint not null,
    times smallint not null,
    message bytea not null,
    owner bytea,
    primary key (space, stamp)
);
create index used_hour on mailstamp.used (space, hour);
create table mailstamp.standing (
    space int not null, stamp bytea not null, vendor text not null, serial text not null, standing text not null,
    primary key (space, stamp)
);
create table mailstamp.correspondent (
    space int not null, key bytea not null, first bigint not null, last bigint not null, forgotten bigint not null,
    primary key (space, key)
);
create index correspondent_last on mailstamp.correspondent (space, last);
create table mailstamp.sent (
    space int not null, message bytea not null, at bigint not null, primary key (space, message)
);
create index sent_at on mailstamp.sent (space, at);
create table mailstamp.reply (space int not null, key bytea not null, at bigint not null, primary key (space, key));
create index reply_at on mailstamp.reply (space, at);
create table mailstamp.reply_hour (
    space int not null, hour bigint not null, count bigint not null, primary key (space, hour)
);
";

const SECOND: &str = "
create table mailstamp.peer (space int not null, key bytea not null, peer text not null, primary key (space, key));
";

/// Creates or migrates the schema in one transaction, and makes the row of the space.
pub(super) async fn init(connection: &mut Connection, options: &Options) -> Result<InitOutcome, Failure> {
    let refused = |connection: &Connection, what| StoreError::Refused { server: connection.server().to_owned(), what };
    let text = "select current_setting('synchronous_standby_names') <> '' and not exists (
        select from pg_stat_replication where state is null or state = 'streaming')";
    if rows::single(&connection.rows(text, &[]).await?)? {
        let what =
            "every commit waits for a standby, and none is there (synchronous_standby_names); start it".to_owned();
        return Err(refused(connection, what).into());
    }
    let text = "select pg_get_userbyid(nspowner)::text from pg_namespace
        where nspname = 'mailstamp' and not pg_has_role(nspowner, 'usage')";
    if let Some(row) = connection.rows(text, &[]).await?.first() {
        let owner = trouble::plain(rows::value(row, 0)?);
        let what = format!(
            "its schema mailstamp belongs to the role {owner}; make it the user's there (alter schema mailstamp owner \
             to), or name another database"
        );
        return Err(refused(connection, what).into());
    }
    connection.batch("begin").await?;
    let lock = connection.rows("select pg_advisory_xact_lock($1, 0)", &[(&SCHEMA, Type::INT4)]).await;
    lock?;
    let found = format(connection).await?;
    let known = found.unwrap_or_default();
    if known > FORMAT {
        let path = PathBuf::from(connection.server());
        return Err(StoreError::Version { path, found: known, known: FORMAT }.into());
    }
    for migration in MIGRATIONS.iter().skip(known as usize) {
        connection.batch(migration).await?;
    }
    if known < FORMAT {
        connection.batch(&with_locks(FUNCTIONS)).await?;
        let format = FORMAT as i32;
        let text = "insert into mailstamp.meta (format) values ($1) on conflict (one) do update set format = $1";
        connection.rows(text, &[(&format, Type::INT4)]).await?;
    }
    let text = "insert into mailstamp.space (name) values ($1) on conflict do nothing returning id";
    let made = connection.rows(text, &[(&options.space, Type::TEXT)]).await?;
    connection.batch("commit").await?;
    Ok(match found {
        None => InitOutcome::Created,
        Some(from) if from < FORMAT => InitOutcome::Migrated { from },
        Some(_) if !made.is_empty() => InitOutcome::Created,
        Some(_) => InitOutcome::Unchanged,
    })
}

/// Returns the format of the schema; `None` if there is none.
pub(super) async fn format(connection: &mut Connection) -> Result<Option<u32>, Failure> {
    if !rows::single::<bool>(&connection.rows("select to_regclass('mailstamp.meta') is not null", &[]).await?)? {
        return Ok(None);
    }
    let rows = connection.rows("select format from mailstamp.meta", &[]).await?;
    let format = |row| u32::try_from(rows::value::<i32>(row, 0)?).map_err(|_| Failure::Damaged);
    rows.first().map(format).transpose()
}

/// Writes the numbers of the locks into a text.
fn with_locks(text: &str) -> String {
    let locks = [("SPENDS", SPENDS), ("PURGES", PURGES), ("CORRESPONDENCE", CORRESPONDENCE)];
    locks
        .iter()
        .fold(text.to_owned(), |text, (name, number)| text.replace(&format!("({name}, "), &format!("({number}, ")))
}
