//! Record of the time that was last seen with this state. It keeps a clock that jumps from ending retentions.
//!
//! The uptime of the machine shows how much time has really passed since a reading of the clock. So a clock is believed
//! up to the time last seen, plus the time that the machine has run since. What goes beyond is a jump, or the machine
//! was off. It is believed once the machine has run for a day and no reading in between denied it.
//!
//! The record is the file `clock` in the folder of the state: the time seen, the uptime then, and for a clock that is
//! ahead its first reading, the seconds that the machine has run since, and the readings. It has neither lock nor sync.
//! If the record is lost, less is forgotten, and later.

use crate::os::atomic_file::{self, Durability};
use crate::os::clock;
use crate::time::UnixTime;
use std::fs;
use std::io::Write;
use std::path::Path;

/// The file.
const FILE: &str = "clock";
/// No record is longer than this.
const LONGEST: u64 = 200;

const HOUR: i64 = 3_600;
/// How long the machine must run before a clock that is ahead is believed. Retentions may end this much early.
pub const PROBATION: i64 = 24 * HOUR;
/// How many readings, an hour apart at least, must confirm a clock that is ahead.
const READINGS: u32 = 8;
/// Corrections of a clock up to this many seconds are no jump.
const CORRECTION: i64 = 300;

/// What is known of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockRecord {
    /// The time last seen that is believed.
    seen: UnixTime,
    /// The uptime of the machine then, in seconds.
    uptime: i64,
    /// A clock that is ahead, and not believed yet.
    ahead: Option<Ahead>,
}

/// A clock that is ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ahead {
    /// Its first reading. No later one was lower.
    from: UnixTime,
    /// Seconds that the machine has run since.
    ran: i64,
    /// Readings since, an hour apart at least.
    readings: u32,
}

/// What the record says of a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockHealth {
    Believed,
    /// The clock is more than a day ahead of the time that can have passed.
    Ahead {
        /// The time that it can be.
        expected: UnixTime,
    },
    /// The clock was ahead when it was read last, and is not any more.
    WasAhead {
        /// The reading.
        read: UnixTime,
    },
    /// The clock is more than a day behind the time last seen.
    Behind {
        /// The time last seen.
        seen: UnixTime,
    },
}

impl ClockRecord {
    /// Begins a record with the time last seen.
    fn new(seen: UnixTime, uptime: i64) -> Self {
        Self { seen, uptime, ahead: None }
    }

    /// Returns the seconds that have passed at least. A lower uptime is that of a machine that was started anew.
    fn passed(&self, uptime: i64) -> i64 {
        if uptime >= self.uptime { uptime.saturating_sub(self.uptime) } else { uptime.max(0) }
    }

    /// Returns the record after a reading of the clock.
    #[must_use]
    pub fn after(&self, now: UnixTime, uptime: i64) -> Self {
        let passed = self.passed(uptime);
        let expected = self.seen.plus(passed);
        // A lower reading is believed too: less is forgotten then.
        if now <= expected.plus(CORRECTION) {
            return Self::new(now, uptime);
        }
        let begin = Ahead { from: now, ran: 0, readings: 0 };
        let ahead = match self.ahead {
            Some(Ahead { from, ran, readings }) if now >= from => Ahead {
                from,
                ran: ran.saturating_add(passed),
                readings: readings.saturating_add(u32::from(passed >= HOUR)),
            },
            _ => begin,
        };
        if ahead.ran < PROBATION || ahead.readings < READINGS {
            return Self { seen: expected, uptime, ahead: Some(ahead) };
        }
        let seen = now.min(ahead.from.plus(ahead.ran).max(expected));
        Self { seen, uptime, ahead: (now > seen.plus(CORRECTION)).then_some(begin) }
    }

    /// Returns the time up to which may be forgotten, right after the reading `now`.
    #[must_use]
    pub fn limit(&self, now: UnixTime) -> UnixTime {
        now.min(self.seen.plus(PROBATION))
    }

    /// Judges a clock without recording the reading.
    #[must_use]
    pub fn health(&self, now: UnixTime, uptime: i64) -> ClockHealth {
        let expected = self.seen.plus(self.passed(uptime));
        let was_ahead = self.ahead.filter(|ahead| ahead.from > expected.plus(PROBATION)).map(|ahead| ahead.from);
        match was_ahead {
            _ if now > self.after(now, uptime).seen.plus(PROBATION) => ClockHealth::Ahead { expected },
            Some(read) if now < read => ClockHealth::WasAhead { read },
            _ if self.seen > now.plus(PROBATION) => ClockHealth::Behind { seen: self.seen },
            _ => ClockHealth::Believed,
        }
    }

    /// Whether the reading that made `next` is to be stored. Within the same hour only news is.
    fn is_news(&self, next: &Self) -> bool {
        let from = |record: &Self| record.ahead.map(|ahead| ahead.from);
        next.uptime < self.uptime
            || self.passed(next.uptime) >= HOUR
            || next.seen < self.seen
            || from(self) != from(next)
    }

    fn to_line(self) -> String {
        let ahead = self.ahead.map(|Ahead { from, ran, readings }| format!(" {} {ran} {readings}", from.0));
        format!("{} {}{}\n", self.seen.0, self.uptime, ahead.unwrap_or_default())
    }

    fn from_line(line: &str) -> Option<Self> {
        let numbers: Vec<i64> = line.split_whitespace().map(|word| word.parse().ok()).collect::<Option<_>>()?;
        let (seen, uptime, ahead) = match *numbers.as_slice() {
            [seen, uptime] => (seen, uptime, None),
            [seen, uptime, from, ran, readings] => {
                (seen, uptime, Some(Ahead { from: UnixTime(from), ran, readings: readings.try_into().ok()? }))
            }
            _ => return None,
        };
        Some(Self { seen: UnixTime(seen), uptime, ahead })
    }
}

/// Reads the record of the state in this folder; `None` if there is none yet.
#[must_use]
pub fn read(state: &Path) -> Option<ClockRecord> {
    let path = state.join(FILE);
    fs::metadata(&path).ok().filter(|metadata| metadata.is_file() && metadata.len() <= LONGEST)?;
    ClockRecord::from_line(&fs::read_to_string(path).ok()?)
}

/// Records the reading `now`, and returns the time up to which may be forgotten. A state without a record is compared
/// with `last_written`, the time at which it was last written, if that is known.
/// `None`, and nothing is recorded, while there is no folder. An error of the disk is ignored: the older record stays,
/// which forgets less.
#[must_use]
pub fn observe(state: &Path, now: UnixTime, last_written: impl FnOnce(&Path) -> Option<UnixTime>) -> Option<UnixTime> {
    observe_at(state, now, clock::uptime(), last_written)
}

fn observe_at(
    state: &Path,
    now: UnixTime,
    uptime: i64,
    last_written: impl FnOnce(&Path) -> Option<UnixTime>,
) -> Option<UnixTime> {
    let known = read(state);
    if known.is_none() && !state.is_dir() {
        return None;
    }
    let before = known.unwrap_or_else(|| ClockRecord::new(last_written(state).unwrap_or(now), uptime));
    let after = before.after(now, uptime);
    if known.is_none() || before.is_news(&after) {
        let write = |file: &mut fs::File| file.write_all(after.to_line().as_bytes());
        let _ = atomic_file::replace(&state.join(FILE), 0o600, Durability::Cached, write);
    }
    Some(after.limit(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * HOUR;
    const THEN: UnixTime = UnixTime(1_800_000_000);

    /// A machine, its clock, and the record.
    struct Machine {
        time: UnixTime,
        uptime: i64,
        record: ClockRecord,
    }

    impl Machine {
        fn new() -> Self {
            Self { time: THEN, uptime: 5 * DAY, record: ClockRecord::new(THEN, 5 * DAY) }
        }

        fn run(&mut self, seconds: i64) -> &mut Self {
            self.time = self.time.plus(seconds);
            self.uptime += seconds;
            self
        }

        fn off(&mut self, seconds: i64) -> &mut Self {
            self.time = self.time.plus(seconds);
            self.uptime = 60;
            self
        }

        /// Reads a clock that is `off` seconds ahead, and returns by how much of it the limit is.
        fn read(&mut self, ahead: i64) -> i64 {
            let now = self.time.plus(ahead);
            self.record = self.record.after(now, self.uptime);
            self.record.limit(now).since(self.time)
        }
    }

    #[test]
    fn a_clock_that_is_right_is_believed_at_once() {
        let mut machine = Machine::new();
        for pause in [1, HOUR, 40 * DAY, 3 * 365 * DAY] {
            assert_eq!(machine.run(pause).read(0), 0);
        }
        assert_eq!(machine.run(DAY).read(200), 200, "a correction is no jump");
        assert_eq!(machine.run(DAY).read(-3 * DAY), -3 * DAY);
    }

    #[test]
    fn jumps_of_a_moment_forget_nothing_however_many() {
        for jumps in [[40, 42, 43], [40, 40, 40], [1, 2, 3], [400, 20, 40], [40, 80, 4_000]] {
            let mut machine = Machine::new();
            for jump in jumps {
                for _ in 0..100 {
                    assert!(machine.read(jump * DAY) <= DAY);
                    machine.run(1);
                }
            }
            assert_eq!(machine.run(HOUR).read(0), 0);
            assert_eq!(machine.record.ahead, None);
        }
        // Days apart, and no reading of the right clock in between: too few readings.
        let mut machine = Machine::new();
        for jump in 0..8 {
            assert!(machine.run(DAY).read((40 + jump) * DAY) <= DAY);
        }
    }

    #[test]
    fn a_clock_that_goes_forward_step_by_step_gains_no_more_than_a_day() {
        let mut machine = Machine::new();
        for step in 1..20 {
            assert!(machine.run(1).read(step * 20 * HOUR) <= DAY);
        }
    }

    #[test]
    fn after_two_months_off_a_day_of_use_is_believed() {
        let mut machine = Machine::new();
        machine.off(60 * DAY);
        let mut limits: Vec<i64> = (0..26).map(|_| machine.run(HOUR).read(0)).collect();
        assert_eq!(limits.pop(), Some(0));
        assert!(limits[..23].iter().all(|limit| *limit < -50 * DAY), "{limits:?}");
        // Two hours a day: it takes longer, and the limit comes after.
        machine.off(60 * DAY);
        let mut day = || {
            machine.off(22 * HOUR).run(HOUR).read(0);
            machine.run(HOUR).read(0)
        };
        let limits: Vec<i64> = (0..60).map(|_| day()).collect();
        assert!(limits[..10].iter().all(|limit| *limit < -50 * DAY), "{limits:?}");
        assert!(limits[14..].iter().all(|limit| *limit > -25 * DAY), "{limits:?}");
    }

    #[test]
    fn one_reading_of_the_right_clock_denies_all_before() {
        let mut machine = Machine::new();
        for _ in 0..5 {
            for _ in 0..20 {
                assert!(machine.run(HOUR).read(40 * DAY) <= DAY);
            }
            assert_eq!(machine.run(HOUR).read(0), 0);
        }
        // A lower reading that is ahead all the same begins the day anew.
        for ahead in [50, 40] {
            for _ in 0..20 {
                assert!(machine.run(HOUR).read(ahead * DAY) <= DAY);
            }
        }
    }

    #[test]
    fn the_health_of_a_clock_is_told() {
        let mut machine = Machine::new();
        let health = |machine: &Machine, ahead| machine.record.health(machine.time.plus(ahead), machine.uptime);
        assert_eq!(health(&machine, 0), ClockHealth::Believed);
        assert_eq!(health(&machine, DAY), ClockHealth::Believed);
        assert_eq!(health(&machine, 40 * DAY), ClockHealth::Ahead { expected: THEN });
        assert_eq!(health(&machine, -2 * DAY), ClockHealth::Behind { seen: THEN });
        machine.read(40 * DAY);
        assert_eq!(health(&machine, 40 * DAY), ClockHealth::Ahead { expected: THEN });
        assert_eq!(health(&machine, 0), ClockHealth::WasAhead { read: THEN.plus(40 * DAY) });
        machine.read(0);
        assert_eq!(health(&machine, 0), ClockHealth::Believed);
    }

    #[test]
    fn a_record_reads_back_and_any_other_content_is_none() {
        let mut machine = Machine::new();
        for ahead in [0, 40 * DAY] {
            machine.run(HOUR).read(ahead);
            assert_eq!(ClockRecord::from_line(&machine.record.to_line()), Some(machine.record));
        }
        for line in ["", "1", "1 x", "1 2 3", "1 2 3 4 -5", "1 2 3 4 5 6"] {
            assert_eq!(ClockRecord::from_line(line), None, "{line:?}");
        }
        let ends = ClockRecord::from_line("9223372036854775807 -9223372036854775808 9 9 4294967295").unwrap();
        let _ = ends.after(UnixTime(i64::MAX), i64::MAX).after(UnixTime(i64::MIN), i64::MIN);
    }

    #[test]
    fn a_state_without_a_record_is_compared_with_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let observe = |state: &Path, now| observe_at(state, now, 5 * DAY, |_| Some(THEN));
        assert_eq!(observe(&folder.path().join("absent"), THEN), None);
        let now = THEN;
        assert!(observe(folder.path(), now.plus(400 * DAY)).unwrap() <= now.plus(DAY + 60));
        assert_eq!(observe(folder.path(), now.plus(1)), Some(now.plus(1)));
        assert!(observe(folder.path(), now.plus(40 * DAY)).unwrap() <= now.plus(DAY + 60));
        let stored = read(folder.path()).unwrap();
        assert_eq!(observe(folder.path(), now.plus(41 * DAY)), Some(stored.seen.plus(DAY)));
        assert_eq!(read(folder.path()), Some(stored), "within an hour only news is written");
    }
}
