//! Stamps without value, which a visitor gets for work or for a code by mail: how much work, and how many in a day.
//!
//! A cap for a day is given out by the hour, so that no rush leaves nothing for the rest of the day.

use crate::time::UnixTime;
use serde::{Deserialize, Serialize};

const HOUR: i64 = 3_600;
const HOURS: u32 = 24;

/// Most rounds of work for one stamp.
pub const ROUNDS_MAX: u32 = 1_024;
/// Most stamps in a day for work.
pub const GIVEN_MAX: u32 = 100_000;
/// Most codes in a day, each of which is a row for a day.
pub const CODES_MAX: u32 = 10_000;

/// Terms of stamps without value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkTerms {
    /// Computations of Argon2id that a visitor makes for one stamp.
    pub rounds: u32,
    /// Most stamps for work in a day.
    pub per_day: u32,
    /// Most codes that are mailed in a day. 0 mails none.
    pub codes_per_day: u32,
}

impl Default for WorkTerms {
    /// Returns 16 rounds, 240 stamps for work, and 48 codes.
    fn default() -> Self {
        Self { rounds: 16, per_day: 240, codes_per_day: 48 }
    }
}

/// What a stamp without value was given for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gift {
    /// Work of the visitor's browser.
    Work,
    /// A code that was mailed to the visitor.
    Code,
}

/// Returns the number of the hour since 1970.
#[must_use]
pub fn hour_of(time: UnixTime) -> i64 {
    time.0.div_euclid(HOUR)
}

/// Returns when more are given, if the cap of a day leaves nothing now. `given` has hours and what was given in each.
#[must_use]
pub fn sold_out(given: &[(i64, u32)], cap: u32, now: UnixTime) -> Option<UnixTime> {
    let hour = hour_of(now);
    let in_hours = |from: i64| -> u32 {
        given
            .iter()
            .filter(|(its, _)| (from..=hour).contains(its))
            .fold(0, |sum, (_, count)| sum.saturating_add(*count))
    };
    let next_hour = UnixTime((hour + 1) * HOUR);
    if in_hours(hour - i64::from(HOURS) + 1) >= cap {
        let oldest = given.iter().map(|(its, _)| *its).filter(|its| *its > hour - i64::from(HOURS)).min();
        return Some(oldest.map_or(next_hour, |oldest| UnixTime((oldest + i64::from(HOURS)) * HOUR)));
    }
    (in_hours(hour) >= cap.div_ceil(HOURS)).then_some(next_hour)
}

/// Returns the part of a day's cap for one network: a tenth, and at least one.
#[must_use]
pub fn share_of_network(cap: u32) -> u32 {
    (cap / 10).max(1)
}

/// Returns the part of a day's cap for one base domain: half, and at least one.
#[must_use]
pub fn share_of_domain(cap: u32) -> u32 {
    (cap / 2).max(1)
}

/// Returns a domain without the names below the one that its owner registered: its last two labels, or three below a
/// short second-level name of a country (`x.co.uk`).
///
/// It is an estimate without the list of public suffixes. Where it is wrong, unrelated domains share one part of a cap.
#[must_use]
pub fn base_domain(domain: &str) -> &str {
    let dots: Vec<usize> = domain.rmatch_indices('.').map(|(at, _)| at).collect();
    let below_country = match dots[..] {
        [last, second, ..] => domain.len() - last == 3 && last - second <= 4,
        _ => false,
    };
    let cut = dots.get(if below_country { 2 } else { 1 });
    cut.and_then(|at| domain.get(at + 1..)).unwrap_or(domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cap_is_given_out_by_the_hour() {
        let at = |hour: i64| UnixTime(hour * HOUR + 10);
        assert_eq!(sold_out(&[], 48, at(100)), None);
        assert_eq!(sold_out(&[(100, 1)], 48, at(100)), None);
        assert_eq!(sold_out(&[(100, 2)], 48, at(100)), Some(UnixTime(101 * HOUR)));
        assert_eq!(sold_out(&[(100, 2)], 48, at(101)), None);
        // All of the day is gone, until the first hour of it lies a day back.
        let all: Vec<_> = (100..124).map(|hour| (hour, 2)).collect();
        assert_eq!(sold_out(&all, 48, at(123)), Some(UnixTime(124 * HOUR)));
        assert_eq!(sold_out(&all, 48, at(124)), None);
        // Less than one an hour.
        assert_eq!(sold_out(&[(100, 1), (105, 1)], 2, at(110)), Some(UnixTime(124 * HOUR)));
        assert_eq!(sold_out(&[], 0, at(100)), Some(UnixTime(101 * HOUR)));
        // Hours of a clock that was ahead count no more.
        assert_eq!(sold_out(&[(500, 48)], 48, at(100)), None);
    }

    #[test]
    fn a_base_domain_is_what_was_registered() {
        for (domain, base) in [
            ("x.example", "x.example"),
            ("a.b.x.example", "x.example"),
            ("example", "example"),
            ("a.x.co.uk", "x.co.uk"),
            ("x.co.uk", "x.co.uk"),
            ("mail.web.de", "mail.web.de"),
            ("a.mail.zeitung.de", "zeitung.de"),
        ] {
            assert_eq!(base_domain(domain), base);
        }
    }

    #[test]
    fn shares_are_never_nothing() {
        assert_eq!((share_of_network(240), share_of_network(5)), (24, 1));
        assert_eq!((share_of_domain(48), share_of_domain(1)), (24, 1));
    }
}
