//! Check of a log: whether its heads belong to one tree, and whether the stamps that were accepted here are in it.
//!
//! The files of whole days are read, so the vendor learns at most on which days the stamps were sold.

use super::Head;
use super::place::checkpoint;
use super::problem::Problem;
use super::state::{AcceptedStamp, LogState};
use crate::accounting::serial_derivation;
use crate::stamp::serial::Serial;
use crate::time::UnixTime;
use crate::transparency::leaf::{self, DAY, Leaf, LeafKind, day_of};
use crate::transparency::note::VerifierKey;
use crate::transparency::reader::{LogError, Source, SourceError, VerifiedLog};
use crate::transparency::tile::WIDTH;
use crate::transparency::witness::{OddTime, Quorum};
use std::collections::BTreeMap;

/// How old an accepted stamp must be before it must be in the log, in seconds: two days.
pub const GRACE: i64 = 2 * DAY;
/// Most days whose beginnings are kept.
const DAYS_MAX: usize = 1_000;
/// Days after a stamp's own in which its leaf is looked for, too: a vendor's clock may have gone back.
const LATER: u32 = 7;

/// Result of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Leaves of the log.
    pub size: u64,
    /// Leaves that are new since the last check.
    pub added: u64,
    /// Heads that were compared.
    pub heads: u64,
    /// Witnesses of the user that cosigned the largest.
    pub witnesses: u64,
    /// Those of them whose cosignatures have no likely time.
    pub odd_times: Vec<OddTime>,
    /// Stamps that were found.
    pub found: u64,
    /// Accepted stamps that are too fresh to be looked up.
    pub fresh: u64,
    /// Stamps of days that the log has not reached, though it should have.
    pub late: u64,
    pub problems: Vec<Problem>,
    /// Seconds since the log was first seen behind or away.
    pub trouble: i64,
}

impl Checked {
    /// Returns whether a problem is an alarm by now.
    #[must_use]
    pub fn is_alarm(&self, problem: &Problem) -> bool {
        problem.patience().is_none_or(|patience| self.trouble > patience)
    }

    /// Notes in the state since when the log is behind or away.
    pub fn note_trouble(&mut self, state: &mut LogState, now: UnixTime) {
        if self.problems.iter().all(|problem| problem.patience().is_none()) {
            state.trouble = None;
            return;
        }
        let since = state.trouble.filter(|since| *since <= now).unwrap_or(now);
        state.trouble = Some(since);
        self.trouble = now.since(since);
    }
}

/// Stamps to look up, by their serials.
pub type Accepted = BTreeMap<String, AcceptedStamp>;

/// Checks the log of this key at a named place against the heads that are known of it, and looks up the stamps. Updates
/// the state where everything was consistent. Witnesses must have cosigned the largest head.
pub fn check<S: Source + Copy>(
    (vendor, key): (&str, &VerifierKey),
    (heads, quorum): (Vec<Head>, &Quorum),
    place: (&str, S),
    state: &mut LogState,
    stamps: &Accepted,
    now: UnixTime,
) -> Checked {
    let mut checked = Checked::default();
    match compare(key, (heads, quorum), place, state, now, &mut checked) {
        Ok(Some(mut log)) => {
            if let Err(error) = look_up(vendor, &mut log, state, stamps, now, &mut checked) {
                checked.problems.push(Problem::File(error));
            }
        }
        Ok(None) => {}
        Err(error) => checked.problems.push(Problem::File(error)),
    }
    checked
}

/// Compares the heads. Returns the log of the largest one when all belong to it.
fn compare<S: Source + Copy>(
    key: &VerifierKey,
    (mut heads, quorum): (Vec<Head>, &Quorum),
    (name, place): (&str, S),
    state: &mut LogState,
    now: UnixTime,
    checked: &mut Checked,
) -> Result<Option<VerifiedLog<S>>, LogError> {
    let read = |problem| LogError::Read { path: "checkpoint".to_owned(), problem };
    let text = checkpoint(&place).map_err(read)?;
    let served = Head::open(&text, key, name);
    let served = served.map_err(|error| read(SourceError::Unread(error.to_string())))?;
    let last = Head::open(&state.checkpoint, key, "the last check").ok();
    let before = last.as_ref().map_or(0, |head| head.checkpoint.size);
    heads.extend(last);
    heads.push(served.clone());
    checked.heads = heads.len() as u64;
    let Some(largest) = heads.iter().max_by_key(|head| head.checkpoint.size).cloned() else { return Ok(None) };
    let size = largest.checkpoint.size;
    let open = |head: &Head| VerifiedLog::open(place, head.checkpoint.size, &head.checkpoint.root);
    let mut log = match open(&largest) {
        Ok(log) => log,
        Err(error) => {
            let differs =
                |head: &&Head| head.checkpoint.size == size && head.checkpoint.root != largest.checkpoint.root;
            let smaller = size > served.checkpoint.size;
            let problem = match heads.iter().find(differs) {
                Some(other) => Problem::Split { one: Box::new(largest.clone()), other: Box::new(other.clone()) },
                None if smaller && open(&served).is_ok() => {
                    Problem::RolledBack { known: Box::new(largest), served: Box::new(served) }
                }
                None => return Err(error),
            };
            checked.problems.push(problem);
            return Ok(None);
        }
    };
    for head in &heads {
        if log.root_at(head.checkpoint.size)? != head.checkpoint.root {
            let (one, other) = (Box::new(largest.clone()), Box::new(head.clone()));
            checked.problems.push(Problem::Split { one, other });
        }
    }
    if !checked.problems.is_empty() {
        return Ok(None);
    }
    checked.size = size;
    checked.added = size.saturating_sub(before);
    // A directory may have it without the cosignatures that came later.
    let mut note = largest.note;
    heads.iter().for_each(|head| quorum.collect(&mut note, &head.note));
    state.checkpoint = note.to_string();
    checked.witnesses = quorum.count(&note) as u64;
    checked.odd_times = quorum.odd_times(&note, now);
    checked.problems.extend(quorum.check(&note, size).err().map(Problem::Unwitnessed));
    Ok(Some(log))
}

/// Looks up the stamps that are old enough, those that were missing before included.
fn look_up<S: Source>(
    vendor: &str,
    log: &mut VerifiedLog<S>,
    state: &mut LogState,
    stamps: &Accepted,
    now: UnixTime,
    checked: &mut Checked,
) -> Result<(), LogError> {
    let mut wanted = state.missing.clone();
    let mut until = now.plus(-GRACE);
    // After a check by a clock that was ahead, all are looked up again.
    let checked_until = if state.checked > until { UnixTime(i64::MIN) } else { state.checked };
    checked.fresh = stamps.values().filter(|stamp| stamp.accepted > until).count() as u64;
    let due = stamps.iter().filter(|(_, stamp)| stamp.accepted > checked_until && stamp.accepted <= until);
    wanted.extend(due.map(|(serial, stamp)| (serial.clone(), stamp.clone())));
    let mut days: BTreeMap<Option<u32>, Accepted> = BTreeMap::new();
    for (serial, stamp) in wanted {
        days.entry(day_of_serial(&serial)).or_default().insert(serial, stamp);
    }
    let today = day_of(now);
    let mut days_read = DayReader { log, state, last: None, today };
    let mut missing = BTreeMap::new();
    for (day, stamps) in days {
        let by_subject = stamps.into_iter().map(|(serial, stamp)| (leaf::stamp(vendor, &serial), (serial, stamp)));
        let mut left: BTreeMap<[u8; 32], (String, AcceptedStamp)> = by_subject.collect();
        let end = days_read.read(day, &mut |leaf| {
            if leaf.kind == LeafKind::Issued
                && let Some((serial, stamp)) = left.remove(&leaf.subject)
            {
                checked.found += 1;
                if let Some(accepted) = stamp.value.filter(|value| *value != leaf.value) {
                    checked.problems.push(Problem::Value { serial, accepted, logged: leaf.value });
                }
            }
            !left.is_empty()
        })?;
        for (serial, stamp) in left.into_values() {
            // A log that ends before the day may be late, but not for long.
            let late = day.is_some_and(|day| end.is_none_or(|end| end < day));
            if late && now.since(stamp.accepted) <= GRACE + i64::from(LATER) * DAY {
                checked.late += 1;
                until = until.min(stamp.accepted.plus(-1));
            } else {
                let ends = end.filter(|_| late);
                checked.problems.push(Problem::Missing { serial: serial.clone(), stamp: stamp.clone(), day, ends });
                missing.insert(serial, stamp);
            }
        }
    }
    state.missing = missing;
    while state.days.len() > DAYS_MAX {
        state.days.pop_first();
    }
    state.checked = until;
    Ok(())
}

/// Returns the day of its sale that a serial tells: its first four bytes are a time. `None` for serials of another form.
fn day_of_serial(serial: &str) -> Option<u32> {
    let bytes = serial_derivation::bytes_of(&Serial::new(serial).ok()?)?;
    let (second, _) = bytes.split_first_chunk::<4>()?;
    Some(day_of(UnixTime(u32::from_be_bytes(*second).into())))
}

/// Reads the leaves of days, and notes in the state where days begin.
struct DayReader<'a, S> {
    log: &'a mut VerifiedLog<S>,
    state: &'a mut LogState,
    /// The bundle that was read last: two days may share it.
    last: Option<(u64, Vec<(u64, Leaf)>)>,
    today: u32,
}

impl<S: Source> DayReader<'_, S> {
    /// Calls `to` with the leaves of a day, and with those of the days after it while `to` returns true. `None` reads
    /// all days. Returns the day of the last leaf that was read; `None` for an empty log.
    fn read(&mut self, day: Option<u32>, to: &mut impl FnMut(&Leaf) -> bool) -> Result<Option<u32>, LogError> {
        let (first, mut last) = day.map_or((0, u32::MAX), |day| (day, day.saturating_add(LATER)));
        // Leaves never go back a day, so after a vendor's clock was ahead, all have that day.
        let end = self.log.bundles().checked_sub(1).map(|bundle| self.last_day(bundle)).transpose()?.flatten();
        if end.is_some_and(|end| end > self.today) {
            last = u32::MAX;
        }
        let mut bundle = self.first_bundle(first)?;
        let mut end = None;
        let mut wants = true;
        while bundle < self.log.bundles() {
            let leaves = self.bundle(bundle)?.clone();
            for (number, leaf) in leaves {
                if number == 0 || end.is_some_and(|end| leaf.day > end) {
                    self.state.days.entry(leaf.day).or_insert(number);
                }
                end = end.max(Some(leaf.day));
                // The whole day is read, so that the vendor does not learn where in it.
                if leaf.day > last || leaf.day > first && !wants {
                    return Ok(end);
                }
                if leaf.day >= first {
                    wants = to(&leaf);
                }
            }
            bundle += 1;
        }
        if let Some(end) = end {
            self.state.read = Some((self.log.size(), end));
        }
        Ok(end)
    }

    /// Returns the first bundle that may have leaves of a day: the first whose last leaf is not of an earlier day.
    fn first_bundle(&mut self, day: u32) -> Result<u64, LogError> {
        let width = u64::from(WIDTH);
        let known = self.state.days.range(..=day).next_back().map_or(0, |(_, leaf)| *leaf);
        let read = self.state.read.filter(|(_, last)| *last < day).map_or(0, |(leaf, _)| leaf);
        let mut low = known.max(read).min(self.log.size()) / width;
        let mut high = low;
        let mut step = 1;
        // Doubles the step until a bundle reaches the day, then halves the range.
        while high < self.log.bundles() && self.last_day(high)?.is_some_and(|last| last < day) {
            low = high + 1;
            high += step;
            step *= 2;
        }
        high = high.min(self.log.bundles());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.last_day(middle)?.is_some_and(|last| last < day) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    fn last_day(&mut self, bundle: u64) -> Result<Option<u32>, LogError> {
        Ok(self.bundle(bundle)?.last().map(|(_, leaf)| leaf.day))
    }

    /// Reads the leaves of a bundle with their numbers. One of an unknown kind counts as none.
    fn bundle(&mut self, index: u64) -> Result<&Vec<(u64, Leaf)>, LogError> {
        let known = self.last.take().filter(|(last, _)| *last == index);
        let (_, leaves) = match known {
            Some(known) => self.last.insert(known),
            None => {
                let entries = self.log.bundle(index)?;
                let numbers = index * u64::from(WIDTH)..;
                let leaves = numbers.zip(&entries).filter_map(|(at, entry)| Some((at, Leaf::from_bytes(entry)?)));
                let leaves = leaves.collect();
                self.last.insert((index, leaves))
            }
        };
        Ok(leaves)
    }
}
