//! Schema of the log in PostgreSQL: numbered migrations, each run once, forward only. `meta` has the number of the last
//! one as the format. Names are qualified, so the `search_path` of the role does not matter.
//!
//! - `space` has a row for each log in the database: its purge mark and its epoch.
//! - `used` has a row for each used stamp. Its key is space and stamp (a hash over vendor and serial), whatever the end
//!   of the stamp. A table that is partitioned by the end could not have that key: a unique index must contain the
//!   partition key (PostgreSQL 15, 5.11.2.3). So ended rows are deleted in small steps.
//! - Keys of contacts and replies are bytes: they sort as they do in the other stores, in every locale.
//!
//! The isolation level is `read committed`: each statement, also each one inside a function that is not `stable`, sees
//! what was committed before it began (13.2.1, 38.7). The functions depend on that.

mod second;

use super::connection::{Connection, Failure};
use super::options::Options;
use super::{rows, trouble};
use crate::store::error::StoreError;
use second::SECOND;
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

/// The migrations: the first makes format 1 of an empty database.
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

-- Spends stamps, each at most once in a call. The lock comes first, in a statement of its own: the statements after it
-- see each purge mark that was raised before. A stamp is inserted if it is unknown, no purge mark covers it, and its
-- status is the one that the caller has seen. What is known afterwards comes back, in the order of the stamps.
create function mailstamp.spend(
    of_space int, stamps bytea[], hours bigint[], messages bytea[], owners bytea[], seen bigint[], standings text[],
    inserts boolean[]
) returns table (
    fresh boolean, message bytea, owner bytea, first_seen bigint, times smallint, standing text, mark bigint,
    epoch bigint, wal_position text, tables oid
) language plpgsql volatile as $$
#variable_conflict use_column
declare
    its_mark bigint;
    its_epoch bigint;
    its_tables oid;
    added bytea[];
begin
    perform pg_advisory_xact_lock_shared(SPENDS, of_space);
    select s.mark, s.epoch, s.tableoid into strict its_mark, its_epoch, its_tables from mailstamp.space s where s.id = of_space;
    with new as (
        insert into mailstamp.used (space, stamp, hour, first_seen, times, message, owner)
        select of_space, t.stamp, t.hour, t.seen, 0, t.message, t.owner
        from unnest(stamps, hours, messages, owners, seen, standings, inserts)
            as t (stamp, hour, message, owner, seen, standing, inserted)
        where t.inserted and (its_mark is null or t.hour > its_mark) and t.standing is not distinct from (
            select s.standing from mailstamp.standing s where s.space = of_space and s.stamp = t.stamp
        )
        order by t.stamp
        on conflict do nothing
        returning stamp
    )
    select array_agg(new.stamp) into added from new;
    return query
        select coalesce(t.stamp = any (added), false), u.message, u.owner, u.first_seen, u.times, s.standing,
            its_mark, its_epoch, pg_current_wal_insert_lsn()::text, its_tables
        from unnest(stamps) with ordinality as t (stamp, place)
        left join mailstamp.used u on u.space = of_space and u.stamp = t.stamp
        left join mailstamp.standing s on s.space = of_space and s.stamp = t.stamp
        order by t.place;
end $$;

-- Sets the count of redeliveries where the row is still as it was read; returns the stamps for which it was.
create function mailstamp.renew(
    of_space int, stamps bytea[], messages bytea[], seen bigint[], olds smallint[], news smallint[]
) returns setof bytea language plpgsql volatile as $$
begin
    for i in 1 .. coalesce(array_length(stamps, 1), 0) loop
        update mailstamp.used u set times = news[i]
        where u.space = of_space and u.stamp = stamps[i] and u.message = messages[i] and u.first_seen = seen[i]
            and u.times = olds[i];
        if found then
            return next stamps[i];
        end if;
    end loop;
end $$;

-- The same for statuses. NULL is no row.
create function mailstamp.stand(
    of_space int, stamps bytea[], vendors text[], serials text[], olds text[], news text[]
) returns setof bytea language plpgsql volatile as $$
begin
    for i in 1 .. coalesce(array_length(stamps, 1), 0) loop
        if olds[i] is null then
            insert into mailstamp.standing (space, stamp, vendor, serial, standing)
            values (of_space, stamps[i], vendors[i], serials[i], news[i])
            on conflict do nothing;
        elsif news[i] is null then
            delete from mailstamp.standing s
            where s.space = of_space and s.stamp = stamps[i] and s.standing = olds[i];
        else
            update mailstamp.standing s set standing = news[i]
            where s.space = of_space and s.stamp = stamps[i] and s.standing = olds[i];
        end if;
        if found then
            return next stamps[i];
        end if;
    end loop;
end $$;

-- Raises the purge mark; returns whether it changed. No spend runs meanwhile, and the next one sees it. The exclusive
-- lock is held for one row. What is not durable does not wait for the disk: the WAL has the mark before the removal of
-- any row that it covers, so a crash never keeps the removal without the mark.
create function mailstamp.raise_mark(of_space int, bucket bigint, durable boolean) returns boolean
language plpgsql volatile as $$
begin
    perform pg_advisory_xact_lock(PURGES, of_space);
    if exists (select from mailstamp.space s where s.id = of_space and s.mark >= bucket) then
        return false;
    end if;
    if not durable then
        perform set_config('synchronous_commit', 'off', true);
    end if;
    perform pg_advisory_xact_lock(SPENDS, of_space);
    update mailstamp.space s set mark = bucket, epoch = s.epoch + 1
    where s.id = of_space and (s.mark is null or s.mark < bucket);
    return found;
end $$;

-- Removes up to `most` rows that the purge mark covers, oldest first.
create function mailstamp.remove_ended(of_space int, bucket bigint, most bigint) returns bigint
language plpgsql volatile as $$
declare
    removed bigint;
begin
    perform pg_advisory_xact_lock(PURGES, of_space);
    delete from mailstamp.used u
    using (
        select o.stamp from mailstamp.used o
        where o.space = of_space and o.hour <= (
            select least(s.mark, bucket) from mailstamp.space s where s.id = of_space
        )
        order by o.hour, o.stamp limit most
    ) ended
    where u.space = of_space and u.stamp = ended.stamp;
    get diagnostics removed = row_count;
    return removed;
end $$;

-- Sets the purge mark back if it is the one that the caller has seen; returns whether it was.
create function mailstamp.lift_mark(of_space int, old bigint, new bigint) returns boolean
language plpgsql volatile as $$
begin
    perform pg_advisory_xact_lock(PURGES, of_space);
    perform pg_advisory_xact_lock(SPENDS, of_space);
    update mailstamp.space s set mark = new, epoch = s.epoch + 1 where s.id = of_space and s.mark = old;
    return found;
end $$;

-- Waits until no other transaction changes contacts and replies of the space.
create function mailstamp.lock_correspondence(of_space int) returns void language sql volatile as $$
    select pg_advisory_xact_lock(CORRESPONDENCE, of_space)
$$;
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
        connection.batch(&with_locks(migration)).await?;
    }
    if known < FORMAT {
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
