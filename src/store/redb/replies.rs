//! Reply log on disk: the last reply of each kind to each sender, and the count of each of the last hours. The first
//! row creates the tables.

use super::schema::{REPLIES, REPLY_HOURS, open_optional};
use super::session::{Session, SessionError};
use super::{ROWS_PER_COMMIT, ROWS_PER_SCAN, Redb};
use crate::os::safe_dir::IfMissing;
use crate::store::error::StoreError;
use crate::store::reply_log::{self, ReplyHistory, ReplyLog, ReplyRequest, Reservation};
use crate::time::UnixTime;
use redb::{ReadTransaction, ReadableTable};
use std::ops::{Bound, ControlFlow};

impl ReplyLog for Redb {
    fn reserve_reply(&self, ask: &ReplyRequest) -> Result<Reservation, StoreError> {
        // A reply that may not be sent creates no log.
        let writes = reply_log::decide(ask, &ReplyHistory::default()).1.is_some();
        let absent = if writes { IfMissing::Create } else { IfMissing::Ignore };
        let answer = self.with_session(absent, |session| {
            let (answer, after) = look(session, ask)?;
            if let Some(ReplyHistory { at, hours }) = after {
                session.write(|tx| {
                    if let Some(at) = at {
                        let mut table = tx.open_table(REPLIES)?;
                        for key in reply_log::keys(ask) {
                            table.insert(key.as_str(), at)?;
                        }
                    }
                    let mut table = tx.open_table(REPLY_HOURS)?;
                    table.retain(|_, _| false)?;
                    for (hour, count) in hours {
                        table.insert(hour, count)?;
                    }
                    Ok(())
                })?;
            }
            Ok(answer)
        })?;
        Ok(answer.unwrap_or_else(|| reply_log::decide(ask, &ReplyHistory::default()).0))
    }

    fn peek_reply(&self, ask: &ReplyRequest) -> Result<Reservation, StoreError> {
        let answer = self.with_session(IfMissing::Ignore, |session| Ok(look(session, ask)?.0))?;
        Ok(answer.unwrap_or_else(|| reply_log::decide(ask, &ReplyHistory::default()).0))
    }

    fn purge_replies(&self, before: UnixTime) -> Result<u64, StoreError> {
        let mut from: Option<String> = None;
        self.in_chunks(|session| {
            let Some(table) = open_optional(session.read()?.open_table(REPLIES))? else { return Ok((0, false)) };
            let lower = from.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let mut ended: Vec<String> = Vec::new();
            let mut seen = 0;
            let mut last = None;
            for row in table.range::<&str>((lower, Bound::Unbounded))? {
                let (key, at) = row?;
                seen += 1;
                if i64::from(at.value()) < before.0 {
                    ended.push(key.value().to_owned());
                }
                if seen == ROWS_PER_SCAN || ended.len() == ROWS_PER_COMMIT {
                    last = Some(key.value().to_owned());
                    break;
                }
            }
            drop(table);
            if !ended.is_empty() {
                session.write(|tx| {
                    let mut table = tx.open_table(REPLIES)?;
                    ended.iter().try_for_each(|key| table.remove(key.as_str()).map(|_| ()))?;
                    Ok(())
                })?;
            }
            let more = last.is_some();
            from = last;
            Ok((ended.len() as u64, more))
        })
    }
}

fn look(session: &Session, ask: &ReplyRequest) -> Result<(Reservation, Option<ReplyHistory>), SessionError> {
    let tx = session.read()?;
    let mut at = None;
    if let Some(table) = open_optional(tx.open_table(REPLIES))? {
        for key in reply_log::keys(ask) {
            at = at.max(table.get(key.as_str())?.map(|at| at.value()));
        }
    }
    Ok(reply_log::decide(ask, &ReplyHistory { at, hours: all_hours(&tx)? }))
}

/// Counts the replies of the last day that the ceiling includes at `now`.
pub(in crate::store) fn counted(tx: &ReadTransaction, now: UnixTime) -> Result<u32, SessionError> {
    Ok(reply_log::counted(all_hours(tx)?, now))
}

fn all_hours(tx: &ReadTransaction) -> Result<Vec<(u32, u32)>, SessionError> {
    let mut all = Vec::new();
    let _ = hours(tx, &mut |hour, count| {
        all.push((hour, count));
        ControlFlow::Continue(())
    })?;
    Ok(all)
}

/// Visits every row about a sender, until `to` breaks.
pub(super) fn replies(
    tx: &ReadTransaction,
    to: &mut dyn FnMut(&str, u32) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, SessionError> {
    let Some(table) = open_optional(tx.open_table(REPLIES))? else { return Ok(ControlFlow::Continue(())) };
    for row in table.range::<&str>(..)? {
        let (key, at) = row?;
        if to(key.value(), at.value()).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// Visits every hour with its count, until `to` breaks.
pub(super) fn hours(
    tx: &ReadTransaction,
    to: &mut dyn FnMut(u32, u32) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, SessionError> {
    let Some(table) = open_optional(tx.open_table(REPLY_HOURS))? else { return Ok(ControlFlow::Continue(())) };
    for row in table.iter()? {
        let (hour, count) = row?;
        if to(hour.value(), count.value()).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}
