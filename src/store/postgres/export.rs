//! Export of a log in PostgreSQL: one snapshot, read through cursors, so that the rows in memory are few.

use super::Postgres;
use super::connection::{Connection, Failure};
use super::replies;
use super::rows::{self, contact_of, number, peer_of, value};
use super::schema::FORMAT;
use super::trouble::Kind;
use crate::stamp::serial::Serial;
use crate::store::decide;
use crate::store::error::StoreError;
use crate::store::peers::Peer;
use crate::store::reply_log;
use crate::store::resident::Stats;
use crate::store::{ExportRecord, Imported, LiftedMark, Store, Summary};
use crate::time::UnixTime;
use std::ops::ControlFlow;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

/// Rows that are read at a time.
const ROWS_PER_FETCH: usize = 2_000;

/// Used serials that [`Postgres::glance`] counts.
const COUNTED: i64 = 10_000;

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
    Peers,
}

const ALL: [Table; 8] = [
    Table::Mark,
    Table::Used,
    Table::Standings,
    Table::Contacts,
    Table::Sent,
    Table::Replies,
    Table::ReplyHours,
    Table::Peers,
];

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
            Self::Peers => ("key, peer", "mailstamp.peer", "key"),
        }
    }

    /// Decodes a row; `None` is for one without a record.
    fn record(self, row: &Row) -> Result<Option<ExportRecord>, Failure> {
        let text = |bytes| std::str::from_utf8(bytes).map_err(|_| Failure::Damaged);
        Ok(Some(match self {
            Self::Mark => match value::<Option<i64>>(row, 0)? {
                Some(mark) => ExportRecord::PurgedThrough { hour: rows::hour(mark)? },
                None => return Ok(None),
            },
            Self::Used => {
                let entry = rows::entry_of(row)?.ok_or(Failure::Damaged)?;
                ExportRecord::used(number(row, "hour")?, rows::exact(value(row, "stamp")?)?, entry)
            }
            Self::Standings => ExportRecord::Standing {
                vendor: value(row, "vendor")?,
                serial: Serial::new(value::<String>(row, "serial")?).map_err(|_| Failure::Damaged)?,
                standing: Box::new(rows::standing_of(value(row, "standing")?)?),
            },
            Self::Contacts => {
                let (key, contact) = contact_of(row)?;
                ExportRecord::contact(text(&key)?, contact)
            }
            Self::Sent => ExportRecord::Sent { message: rows::exact(value(row, "message")?)?, at: number(row, "at")? },
            Self::Replies => return Ok(ExportRecord::reply(text(value(row, "key")?)?, number(row, "at")?)),
            Self::ReplyHours => ExportRecord::Replies { hour: number(row, "hour")?, count: number(row, "count")? },
            Self::Peers => return Ok(Peer::named(text(value(row, "key")?)?, peer_of(row)?).map(ExportRecord::from)),
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
            if table.record(row)?.is_some_and(|record| to(record).is_break()) {
                return Ok(ControlFlow::Break(()));
            }
        }
        if rows.len() < ROWS_PER_FETCH {
            connection.batch("close rows").await?;
            return Ok(ControlFlow::Continue(()));
        }
    }
}

impl Postgres {
    /// Returns statistics cheaply, whatever the size of the log. From `COUNTED` used serials on, their number is the
    /// estimate of the server's planner.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub fn glance(&self, now: UnixTime) -> Result<Stats, StoreError> {
        self.read(async |connection| {
            let space = connection.space;
            let text = concat!(
                "select (select count(*) from (select from mailstamp.used where space = $1 limit $2) u), ",
                bytes_of_tables!()
            );
            let rows = connection.rows(text, &[(&space, Type::INT4), (&COUNTED, Type::INT8)]).await?;
            let (mut used, bytes): (i64, i64) = (rows::single(&rows)?, value(&rows[0], 1)?);
            if used >= COUNTED {
                let text = format!("explain select from mailstamp.used where space = {space}");
                let plan = connection.rows_once(&text).await?;
                // Such as "Seq Scan on used  (cost=0.00..1541.00 rows=59003 width=0)".
                let rows =
                    rows::single::<&str>(&plan)?.split_once(" rows=").and_then(|(_, rest)| rest.split(' ').next());
                used = used.max(rows.and_then(|rows| rows.parse().ok()).ok_or(Failure::Damaged)?);
            }
            let replies = reply_log::counted(replies::hours(connection).await?, now).into();
            Ok(Stats { used: used.unsigned_abs(), waiting: 0, bytes: bytes.unsigned_abs(), replies })
        })
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
            rows::in_rounds(connection, async |connection| {
                let space = connection.space;
                let text = "select mark from mailstamp.space where id = $1";
                let rows = connection.rows(text, &[(&space, Type::INT4)]).await?;
                let mark = rows::single::<Option<i64>>(&rows)?.map(rows::hour).transpose()?;
                let Some((mark, after)) = mark.and_then(|mark| Some((mark, decide::lifted_mark(mark, now)?))) else {
                    return Ok(Some(None));
                };
                let text = "select mailstamp.lift_mark($1, $2, $3)";
                let (old, new) = (i64::from(mark), i64::from(after));
                let marks = [(&space as _, Type::INT4), (&old as _, Type::INT8), (&new as _, Type::INT8)];
                let is_lifted = rows::single::<bool>(&connection.rows(text, &marks).await?)?;
                let lifted = LiftedMark { from: decide::bucket_end(mark), to: decide::bucket_end(after) };
                Ok(is_lifted.then_some(Some(lifted)))
            })
            .await
        })
    }

    fn summary(&self) -> Result<Summary, StoreError> {
        self.pool.run_long(Kind::Read, async |connection| {
            let space = connection.space;
            let text = concat!(
                "select
                (select count(*) from mailstamp.used where space = $1),
                (select count(*) from mailstamp.standing where space = $1),
                (select count(*) from mailstamp.correspondent where space = $1 and last > forgotten),
                (select count(*) from mailstamp.sent where space = $1),
                (select count(*) from mailstamp.reply where space = $1),
                (select count(*) from mailstamp.peer where space = $1), ",
                bytes_of_tables!(),
                ", (select mark from mailstamp.space where id = $1)"
            );
            let rows = connection.rows(text, &[(&space, Type::INT4)]).await?;
            let row = rows.first().ok_or(Failure::Damaged)?;
            let count = |column: usize| u64::try_from(value::<i64>(row, column)?).map_err(|_| Failure::Damaged);
            Ok(Summary {
                used: count(0)?,
                standings: count(1)?,
                correspondents: count(2)?,
                sent: count(3)?,
                replies: count(4)?,
                peers: count(5)?,
                bytes: count(6)?,
                cleared: value::<Option<i64>>(row, 7)?.map(rows::hour).transpose()?.map(decide::bucket_end),
                format: FORMAT,
            })
        })
    }
}
