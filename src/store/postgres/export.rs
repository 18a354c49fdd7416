//! Export of a log in PostgreSQL: one snapshot, read through cursors, so that the rows in memory are few.

use super::Postgres;
use super::connection::{Connection, Failure};
use super::rows::{self, contact_of, damaged};
use super::schema::FORMAT;
use super::trouble::Kind;
use crate::stamp::serial::Serial;
use crate::store::contacts::MessageName;
use crate::store::decide;
use crate::store::error::StoreError;
use crate::store::{ExportRecord, Imported, LiftedMark, Store, Summary};
use crate::time::UnixTime;
use std::ops::ControlFlow;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

/// Rows that are read at a time.
const ROWS_PER_FETCH: usize = 2_000;

/// The tables, in the order of an export.
#[derive(Clone, Copy, Debug)]
pub(super) enum Table {
    Mark,
    Used,
    Standings,
    Contacts,
    Sent,
    Replies,
    ReplyHours,
}

const ALL: [Table; 7] =
    [Table::Mark, Table::Used, Table::Standings, Table::Contacts, Table::Sent, Table::Replies, Table::ReplyHours];

impl Table {
    /// The columns, the table and its order; the rows are those of one space.
    const fn parts(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Mark => ("mark", "(select id as space, mark from mailstamp.space) s", "mark"),
            Self::Used => ("hour, stamp, first_seen, times, message, owner", "mailstamp.used", "hour, stamp"),
            Self::Standings => ("vendor, serial, standing", "mailstamp.standing", "stamp"),
            Self::Contacts => ("key, first, last, forgotten", "mailstamp.correspondent", "key"),
            Self::Sent => ("message, at", "mailstamp.sent", "message"),
            Self::Replies => ("key, at", "mailstamp.reply", "key"),
            Self::ReplyHours => ("hour, count", "mailstamp.reply_hour", "hour"),
        }
    }

    /// Decodes a row. The outer `None` is for one that this program does not write, the inner for one without a record.
    fn record(self, row: &Row) -> Option<Option<ExportRecord>> {
        let number = |column| rows::hour(row.get(column)).ok();
        let text = |column| std::str::from_utf8(row.get(column)).ok();
        Some(Some(match self {
            Self::Mark => match row.get::<_, Option<i64>>(0) {
                Some(mark) => ExportRecord::PurgedThrough { hour: rows::hour(mark).ok()? },
                None => return Some(None),
            },
            Self::Used => {
                let stamp: &[u8] = row.get("stamp");
                ExportRecord::used(number("hour")?, stamp.try_into().ok()?, rows::entry_of(row)??)
            }
            Self::Standings => ExportRecord::Standing {
                vendor: row.get("vendor"),
                serial: Serial::new(row.get::<_, String>("serial")).ok()?,
                standing: serde_json::from_str(row.get("standing")).ok()?,
            },
            Self::Contacts => {
                let (key, contact) = contact_of(row)?;
                ExportRecord::contact(std::str::from_utf8(&key).ok()?, contact)
            }
            Self::Sent => {
                let message: MessageName = row.get::<_, &[u8]>("message").try_into().ok()?;
                ExportRecord::Sent { message, at: number("at")? }
            }
            Self::Replies => return Some(ExportRecord::reply(text("key")?, number("at")?)),
            Self::ReplyHours => ExportRecord::Replies { hour: number("hour")?, count: number("count")? },
        }))
    }
}

impl Postgres {
    /// Visits the rows of these tables, of one snapshot, until `to` breaks.
    pub(super) fn visit(
        &self,
        tables: &[Table],
        to: &mut dyn FnMut(ExportRecord) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.pool.run_long(Kind::Read, async |connection| {
            connection.batch("begin isolation level repeatable read, read only").await?;
            for table in tables {
                if visit_one(connection, *table, to).await?.is_break() {
                    break;
                }
            }
            connection.batch("commit").await
        })
    }
}

async fn visit_one(
    connection: &mut Connection,
    table: Table,
    to: &mut dyn FnMut(ExportRecord) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, Failure> {
    let (columns, from, order) = table.parts();
    let space = connection.space;
    connection
        .batch(&format!(
            "declare rows no scroll cursor for select {columns} from {from} where space = {space} order by {order}"
        ))
        .await?;
    loop {
        let rows = connection.rows_once(&format!("fetch {ROWS_PER_FETCH} from rows")).await?;
        for row in &rows {
            let record = table.record(row).ok_or_else(|| damaged(connection))?;
            if record.is_some_and(|record| to(record).is_break()) {
                return Ok(ControlFlow::Break(()));
            }
        }
        if rows.len() < ROWS_PER_FETCH {
            connection.batch("close rows").await?;
            return Ok(ControlFlow::Continue(()));
        }
    }
}

impl Store for Postgres {
    fn export(&self, to: &mut dyn FnMut(ExportRecord) -> ControlFlow<()>) -> Result<(), StoreError> {
        self.visit(&ALL, to)
    }

    fn import(&self, rows: &mut dyn Iterator<Item = ExportRecord>) -> Result<Imported, StoreError> {
        self.import_rows(rows)
    }

    fn lift_mark(&self, now: UnixTime) -> Result<Option<LiftedMark>, StoreError> {
        self.write(async |connection| {
            loop {
                let space = connection.space;
                let text = "select mark from mailstamp.space where id = $1";
                let rows = connection.rows(text, &[(&space, Type::INT4)]).await?;
                let mark = rows.first().and_then(|row| row.get::<_, Option<i64>>(0)).map(rows::hour);
                let mark = mark.transpose().map_err(|()| damaged(connection))?;
                let Some((mark, after)) = mark.and_then(|mark| Some((mark, decide::lifted_mark(mark, now)?))) else {
                    return Ok(None);
                };
                let text = "select mailstamp.lift_mark($1, $2, $3)";
                let (old, new) = (i64::from(mark), i64::from(after));
                let marks = [(&space as _, Type::INT4), (&old as _, Type::INT8), (&new as _, Type::INT8)];
                if connection.rows(text, &marks).await?.first().is_some_and(|row| row.get(0)) {
                    return Ok(Some(LiftedMark { from: decide::bucket_end(mark), to: decide::bucket_end(after) }));
                }
            }
        })
    }

    fn summary(&self) -> Result<Summary, StoreError> {
        self.pool.run_long(Kind::Read, async |connection| {
            let space = connection.space;
            let text = "select
                (select count(*) from mailstamp.used where space = $1),
                (select count(*) from mailstamp.standing where space = $1),
                (select count(*) from mailstamp.correspondent where space = $1 and last > forgotten),
                (select count(*) from mailstamp.sent where space = $1),
                (select count(*) from mailstamp.reply where space = $1),
                (select sum(pg_total_relation_size(c.oid))::bigint from pg_class c
                    join pg_namespace n on n.oid = c.relnamespace
                    where n.nspname = 'mailstamp' and c.relkind = 'r'),
                (select mark from mailstamp.space where id = $1)";
            let rows = connection.rows(text, &[(&space, Type::INT4)]).await?;
            let row = rows.first().ok_or_else(|| damaged(connection))?;
            let number = |column| u64::try_from(row.get::<_, i64>(column)).unwrap_or(0);
            let mark = row.get::<_, Option<i64>>(6).map(rows::hour).transpose().map_err(|()| damaged(connection))?;
            Ok(Summary {
                used: number(0),
                standings: number(1),
                correspondents: number(2),
                sent: number(3),
                replies: number(4),
                bytes: number(5),
                cleared: mark.map(decide::bucket_end),
                format: FORMAT,
            })
        })
    }
}
