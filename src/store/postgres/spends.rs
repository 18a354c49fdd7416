//! Spends, in batches. One call of the function `spend` inserts what is fresh, and returns what is known. The rule
//! (`decide.rs`) then answers each request; what it writes beside that is written only where the row is still as it was
//! read. What was not is asked anew, a few times.

use super::connection::{Connection, Failure, Parameter};
use super::pool::Pool;
use super::rows::{ROUNDS, back_off, busy, damaged, entry_of, exact, hour, message_bytes, number, owner_bytes};
use super::rows::{single, standing_of, text_of, value};
use super::seen;
use super::trouble;
use crate::store::decide::{self, Decision, Entry, StampId, State};
use crate::store::error::StoreError;
use crate::verdict::spend::{Cap, SpendRequest, SpendResult, Terms};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::Instant;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

/// Requests in one statement at most.
pub(super) const MAX_BATCH: usize = 64;
/// Ended rows that each written row purges at most.
const PURGE_PER_WRITE: usize = 64;

const SPEND: &str = "select * from mailstamp.spend($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
const RENEW: &str = "select * from mailstamp.renew($1, $2, $3, $4, $5, $6)";
pub(super) const STAND: &str = "select * from mailstamp.stand($1, $2, $3, $4, $5, $6)";

type Answer = Result<SpendResult, StoreError>;

/// The result of a batch.
pub(super) struct Batch {
    /// In the order of the requests.
    pub(super) answers: Vec<Answer>,
    /// Rows written, and the bucket below which ended ones may be purged by the way.
    pub(super) purge: Option<(usize, u32)>,
    /// The earliest bucket of a row that was inserted.
    pub(super) earliest: Option<u32>,
}

/// The requests of one stamp that have no answer yet, in order.
struct Group {
    waiting: VecDeque<usize>,
    /// The status that the last round read, in its text.
    standing: Option<String>,
}

/// What is known of a stamp, and whether this call inserted its row.
struct Known {
    state: State,
    standing: Option<String>,
    fresh: bool,
}

/// What a round decided of one stamp.
struct Decided {
    stamp: StampId,
    /// Requests with their answers; given once the writes are durable.
    answers: Vec<(usize, Answer)>,
    renew: Option<(Entry, u8)>,
    stand: Option<(Option<String>, Option<String>)>,
}

/// Spends a batch.
pub(super) async fn spend(
    connection: &mut Connection,
    pool: &Pool,
    asks: &[SpendRequest],
    grace: i64,
) -> Result<Batch, Failure> {
    let began = Instant::now();
    let mut answers: Vec<Option<Answer>> = asks.iter().map(|_| None).collect();
    let mut batch = Batch { answers: Vec::new(), purge: None, earliest: None };
    let mut groups: BTreeMap<StampId, Group> = BTreeMap::new();
    for (number, ask) in asks.iter().enumerate() {
        let group = groups.entry(decide::name(&ask.vendor, &ask.serial));
        group.or_insert_with(|| Group { waiting: VecDeque::new(), standing: None }).waiting.push_back(number);
    }
    for round in 0..ROUNDS {
        back_off(round).await;
        let known = call(connection, pool, asks, &groups).await?;
        let mut decided = Vec::new();
        for (stamp, known) in known {
            let Some(group) = groups.get_mut(&stamp) else { continue };
            match known {
                Ok(known) => decided.push(group.decide(stamp, asks, known, &mut batch, grace)),
                Err(error) => {
                    for number in group.waiting.drain(..) {
                        answers[number] = Some(Err(error.again()));
                    }
                }
            }
        }
        let written = write(connection, asks, &decided).await?;
        for it in decided {
            let Some(group) = groups.get_mut(&it.stamp) else { continue };
            if written.contains(&it.stamp) {
                for (number, answer) in it.answers {
                    answers[number] = Some(answer);
                }
            } else {
                // In the order in which they came.
                it.answers.iter().rev().for_each(|(number, _)| group.waiting.push_front(*number));
            }
        }
        groups.retain(|_, group| !group.waiting.is_empty());
        if groups.is_empty() {
            break;
        }
    }
    let busy = || Err(busy(connection, began.elapsed()));
    batch.answers = answers.into_iter().map(|answer| answer.unwrap_or_else(busy)).collect();
    Ok(batch)
}

impl Group {
    /// Answers the waiting requests in order, up to the first one that needs a row inserted.
    fn decide(
        &mut self,
        stamp: StampId,
        asks: &[SpendRequest],
        known: Known,
        batch: &mut Batch,
        grace: i64,
    ) -> Decided {
        let Known { mut state, standing, fresh } = known;
        let before = state.clone();
        // The row that was inserted is for the first that may spend; those before it saw no row.
        let mut inserted = if fresh { state.entry.take() } else { None };
        let mut decided = Decided { stamp, answers: Vec::new(), renew: None, stand: None };
        let mut uses: usize = 0;
        let mut below: Option<u32> = None;
        while let Some(number) = self.waiting.pop_front() {
            let ask = &asks[number];
            let answer = match decide::decide(ask, &state) {
                Err(error) => Err(error),
                Ok(Decision { answer, used, standing, .. }) => {
                    if let Some(entry) = used {
                        if state.entry.is_none() && inserted.take() != Some(entry) {
                            self.waiting.push_front(number);
                            break;
                        }
                        if answer == SpendResult::Fresh {
                            let bucket = decide::bucket(ask.expires);
                            batch.earliest = Some(batch.earliest.map_or(bucket, |known| known.min(bucket)));
                        }
                        state.entry = Some(entry);
                        uses += 1;
                        let limit = decide::purge_below(ask, grace);
                        below = Some(below.map_or(limit, |known| known.min(limit)));
                    }
                    if let Some(after) = standing {
                        state.standing = after;
                    }
                    Ok(answer)
                }
            };
            decided.answers.push((number, answer));
        }
        if let (Some(old), Some(new)) = (before.entry, state.entry)
            && old.times != new.times
        {
            decided.renew = Some((old, new.times));
        }
        self.standing = standing;
        if before.standing != state.standing {
            let after = text_of(&state.standing);
            decided.stand = Some((std::mem::replace(&mut self.standing, after.clone()), after));
        }
        if let Some(below) = below {
            let (rows, limit) = batch.purge.unwrap_or((0, below));
            batch.purge = Some((rows + uses, limit.min(below)));
        }
        decided
    }
}

/// Calls `spend` for the first request of each stamp that may spend. One bad row does not fail the others.
async fn call(
    connection: &mut Connection,
    pool: &Pool,
    asks: &[SpendRequest],
    groups: &BTreeMap<StampId, Group>,
) -> Result<Vec<(StampId, Result<Known, StoreError>)>, Failure> {
    let all: Vec<(&StampId, &Group)> = groups.iter().collect();
    let mut done = call_once(connection, pool, asks, &all).await;
    if matches!(&done, Err(Failure::Server(error)) if trouble::is_transient(error)) {
        done = call_once(connection, pool, asks, &all).await;
    }
    match done {
        Ok(known) => Ok(all.iter().zip(known).map(|((stamp, _), known)| (**stamp, known)).collect()),
        Err(Failure::Server(error)) if trouble::is_of_statement(&error) && all.len() > 1 => {
            let mut each = Vec::new();
            for (stamp, group) in all {
                let known = match call_once(connection, pool, asks, &[(stamp, group)]).await {
                    Ok(mut known) => known.pop().unwrap_or_else(|| Err(damaged(connection))),
                    Err(Failure::Server(error)) if trouble::is_of_statement(&error) => {
                        Err(trouble::request(connection.server(), trouble::Kind::Write, &error))
                    }
                    Err(failure) => return Err(failure),
                };
                each.push((*stamp, known));
            }
            Ok(each)
        }
        Err(failure) => Err(failure),
    }
}

async fn call_once(
    connection: &mut Connection,
    pool: &Pool,
    asks: &[SpendRequest],
    groups: &[(&StampId, &Group)],
) -> Result<Vec<Result<Known, StoreError>>, Failure> {
    let first = |group: &Group| {
        // Behind a status only the next request may spend: those before it may change the status.
        let mut waiting = group.waiting.iter();
        match group.standing {
            None => waiting.find(|number| asks[**number].terms == Terms::Spend),
            Some(_) => waiting.next().filter(|number| asks[**number].terms == Terms::Spend),
        }
        .copied()
    };
    let chosen: Vec<(Option<usize>, &SpendRequest)> = groups
        .iter()
        .map(|(_, group)| (first(group), &asks[first(group).or(group.waiting.front().copied()).unwrap_or(0)]))
        .collect();
    let stamps: Vec<&[u8]> = groups.iter().map(|(stamp, _)| stamp.as_slice()).collect();
    let hours: Vec<i64> = chosen.iter().map(|(_, ask)| decide::bucket(ask.expires).into()).collect();
    let messages: Vec<Vec<u8>> = chosen.iter().map(|(_, ask)| message_bytes(&ask.message)).collect();
    let owners: Vec<Option<&[u8]>> = chosen.iter().map(|(_, ask)| owner_bytes(&ask.owner)).collect();
    let seen: Vec<i64> = chosen.iter().map(|(_, ask)| ask.now.0.clamp(0, u32::MAX.into())).collect();
    let standings: Vec<Option<&str>> = groups.iter().map(|(_, group)| group.standing.as_deref()).collect();
    let inserts: Vec<bool> = chosen.iter().map(|(first, _)| first.is_some()).collect();
    let caps: Vec<Option<(u32, StampId, u8)>> = chosen.iter().map(|(_, ask)| ask.cap.as_ref().map(counter)).collect();
    let counters: Vec<Option<&[u8]>> =
        caps.iter().map(|cap| cap.as_ref().map(|(_, name, _)| name.as_slice())).collect();
    let counter_hours: Vec<Option<i64>> = caps.iter().map(|cap| cap.map(|(hour, ..)| hour.into())).collect();
    let mosts: Vec<Option<i16>> = caps.iter().map(|cap| cap.map(|(.., most)| most.into())).collect();
    let no_message = message_bytes(&decide::COUNTED);
    let parameters: [Parameter; 12] = [
        (&connection.space.clone(), Type::INT4),
        (&stamps, Type::BYTEA_ARRAY),
        (&hours, Type::INT8_ARRAY),
        (&messages, Type::BYTEA_ARRAY),
        (&owners, Type::BYTEA_ARRAY),
        (&seen, Type::INT8_ARRAY),
        (&standings, Type::TEXT_ARRAY),
        (&inserts, Type::BOOL_ARRAY),
        (&counters, Type::BYTEA_ARRAY),
        (&counter_hours, Type::INT8_ARRAY),
        (&mosts, Type::INT2_ARRAY),
        (&no_message, Type::BYTEA),
    ];
    let epoch = pool.memory().epoch();
    let rows = connection.rows(SPEND, &parameters).await?;
    // A dump may have been restored under this connection.
    let row = rows.first().filter(|_| rows.len() == groups.len()).ok_or(Failure::Damaged)?;
    if value::<u32>(row, "tables")? != connection.table || value::<i64>(row, "epoch")? < epoch {
        let (server, what) = (connection.server().to_owned(), "its log is another one now".to_owned());
        return Err(StoreError::Restored { server, what }.into());
    }
    if rows.iter().any(|row| value(row, "fresh").unwrap_or(false)) {
        pool.committed(value(row, "epoch")?, seen::position(value(row, "wal_position")?).unwrap_or(0));
    }
    Ok(rows.iter().map(|row| known_of(row).map_err(|_| damaged(connection))).collect())
}

/// Writes what was decided, in the order of the keys; returns the stamps for which all is written.
async fn write(
    connection: &mut Connection,
    asks: &[SpendRequest],
    decided: &[Decided],
) -> Result<HashSet<StampId>, Failure> {
    let mut written: HashSet<StampId> = decided.iter().map(|it| it.stamp).collect();
    let renewed: Vec<(&StampId, &Entry, u8)> =
        decided.iter().filter_map(|it| it.renew.as_ref().map(|(old, times)| (&it.stamp, old, *times))).collect();
    if !renewed.is_empty() {
        let stamps: Vec<&[u8]> = renewed.iter().map(|(stamp, ..)| stamp.as_slice()).collect();
        let messages: Vec<Vec<u8>> = renewed.iter().map(|(_, old, _)| message_bytes(&old.message)).collect();
        let seen: Vec<i64> = renewed.iter().map(|(_, old, _)| old.first_seen.into()).collect();
        let olds: Vec<i16> = renewed.iter().map(|(_, old, _)| old.times.into()).collect();
        let news: Vec<i16> = renewed.iter().map(|(.., times)| (*times).into()).collect();
        let space = connection.space;
        let parameters: [Parameter; 6] = [
            (&space, Type::INT4),
            (&stamps, Type::BYTEA_ARRAY),
            (&messages, Type::BYTEA_ARRAY),
            (&seen, Type::INT8_ARRAY),
            (&olds, Type::INT2_ARRAY),
            (&news, Type::INT2_ARRAY),
        ];
        let done = connection.rows(RENEW, &parameters).await?;
        let done: HashSet<&[u8]> = done.iter().map(|row| value(row, 0)).collect::<Result<_, _>>()?;
        renewed.iter().filter(|(stamp, ..)| !done.contains(stamp.as_slice())).for_each(|(stamp, ..)| {
            written.remove(*stamp);
        });
    }
    let stood: Vec<Stood> = decided
        .iter()
        .filter_map(|it| {
            let (old, new) = it.stand.as_ref()?;
            let ask = &asks[it.answers.first()?.0];
            Some(Stood { stamp: it.stamp, vendor: &ask.vendor, serial: ask.serial.as_str(), old, new })
        })
        .collect();
    if !stood.is_empty() {
        let done = stand(connection, &stood).await?;
        stood.iter().filter(|it| !done.contains(&it.stamp)).for_each(|it| {
            written.remove(&it.stamp);
        });
    }
    Ok(written)
}

/// A status to replace.
pub(super) struct Stood<'a> {
    pub(super) stamp: StampId,
    pub(super) vendor: &'a str,
    pub(super) serial: &'a str,
    pub(super) old: &'a Option<String>,
    pub(super) new: &'a Option<String>,
}

/// Replaces statuses that are still as they were read; returns the stamps for which that was so.
pub(super) async fn stand(connection: &mut Connection, all: &[Stood<'_>]) -> Result<HashSet<StampId>, Failure> {
    let stamps: Vec<&[u8]> = all.iter().map(|it| it.stamp.as_slice()).collect();
    let vendors: Vec<&str> = all.iter().map(|it| it.vendor).collect();
    let serials: Vec<&str> = all.iter().map(|it| it.serial).collect();
    let olds: Vec<Option<&str>> = all.iter().map(|it| it.old.as_deref()).collect();
    let news: Vec<Option<&str>> = all.iter().map(|it| it.new.as_deref()).collect();
    let space = connection.space;
    let parameters: [Parameter; 6] = [
        (&space, Type::INT4),
        (&stamps, Type::BYTEA_ARRAY),
        (&vendors, Type::TEXT_ARRAY),
        (&serials, Type::TEXT_ARRAY),
        (&olds, Type::TEXT_ARRAY),
        (&news, Type::TEXT_ARRAY),
    ];
    let rows = connection.rows(STAND, &parameters).await?;
    rows.iter().map(|row| exact(value(row, 0)?)).collect()
}

/// Returns bucket and id of a counter's row, and its limit.
fn counter(cap: &Cap) -> (u32, StampId, u8) {
    let (bucket, id) = decide::decode_key(&decide::counter_key(cap));
    (bucket, id, cap.most)
}

/// Reads what is known of a stamp, without a change.
pub(super) async fn look(connection: &mut Connection, ask: &SpendRequest) -> Result<State, Failure> {
    let stamp = decide::name(&ask.vendor, &ask.serial);
    let text = "select u.message, u.owner, u.first_seen, u.times, s.standing, p.mark, c.times as uses
        from mailstamp.space p
        left join mailstamp.used u on u.space = p.id and u.stamp = $2
        left join mailstamp.used c on c.space = p.id and c.stamp = $3
        left join mailstamp.standing s on s.space = p.id and s.stamp = $2 where p.id = $1";
    let space = connection.space;
    let counter = ask.cap.as_ref().map(|cap| counter(cap).1.to_vec());
    let parameters = [(&space as _, Type::INT4), (&stamp.as_slice() as _, Type::BYTEA), (&counter as _, Type::BYTEA)];
    let rows = connection.rows(text, &parameters).await?;
    state_of(rows.first().ok_or(Failure::Damaged)?)
}

/// Removes up to `most` ended rows in one step; returns how many, and whether the step could have removed more.
pub(super) async fn purge_step(connection: &mut Connection, below: u32, most: i64) -> Result<(u64, bool), Failure> {
    let space = connection.space;
    let text = "select max(o.hour) from (
        select hour from mailstamp.used where space = $1 and hour < $2 order by hour limit $3) o";
    let below = i64::from(below);
    let rows = connection.rows(text, &[(&space, Type::INT4), (&below, Type::INT8), (&most, Type::INT8)]).await?;
    let Some(bucket) = single::<Option<i64>>(&rows)? else { return Ok((0, false)) };
    raise_mark(connection, bucket, false).await?;
    let text = "select mailstamp.remove_ended($1, $2, $3)";
    let rows = connection.rows(text, &[(&space, Type::INT4), (&bucket, Type::INT8), (&most, Type::INT8)]).await?;
    Ok((u64::try_from(single::<i64>(&rows)?).unwrap_or(0), true))
}

/// Raises the purge mark; returns whether it changed. What is not durable yet is so once a removal under it is.
pub(super) async fn raise_mark(connection: &mut Connection, bucket: i64, durable: bool) -> Result<bool, Failure> {
    let space = connection.space;
    let text = "select mailstamp.raise_mark($1, $2, $3)";
    let parameters = [(&space as _, Type::INT4), (&bucket as _, Type::INT8), (&durable as _, Type::BOOL)];
    single(&connection.rows(text, &parameters).await?)
}

/// Purges by the way of a batch; returns the oldest bucket that is left.
pub(super) async fn purge_along(
    connection: &mut Connection,
    written: usize,
    below: u32,
) -> Result<Option<u32>, Failure> {
    let most = i64::try_from(PURGE_PER_WRITE * written).unwrap_or(i64::MAX);
    purge_step(connection, below, most).await?;
    oldest(connection).await
}

/// Returns the oldest bucket.
pub(super) async fn oldest(connection: &mut Connection) -> Result<Option<u32>, Failure> {
    let space = connection.space;
    let text = "select hour from mailstamp.used where space = $1 order by hour limit 1";
    let rows = connection.rows(text, &[(&space, Type::INT4)]).await?;
    rows.first().map(|row| number(row, 0)).transpose()
}

fn known_of(row: &Row) -> Result<Known, Failure> {
    let standing = value::<Option<&str>>(row, "standing")?.map(str::to_owned);
    Ok(Known { state: state_of(row)?, standing, fresh: value(row, "fresh")? })
}

fn state_of(row: &Row) -> Result<State, Failure> {
    let mark = value::<Option<i64>>(row, "mark")?.map(hour).transpose()?;
    let uses = value::<Option<i16>>(row, "uses")?.map(|uses| u8::try_from(uses).map_err(|_| Failure::Damaged));
    let counter = uses.transpose()?.map(Entry::counted);
    Ok(State { standing: standing_of(value(row, "standing")?)?, entry: entry_of(row)?, counter, mark })
}
