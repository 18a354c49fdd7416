//! Reply log: the senders who got automatic replies. This module has the port and the rule that every adapter applies.
//! Whether a message may be answered at all is decided elsewhere.
//!
//! - A reply is *reserved* before it is sent. A process killed between the two sends one reply too few, never one too
//!   many.
//! - Replies to one sender are counted by kind. The ceiling is over all replies, and counts by the hour: this hour and
//!   the 24 before it. That is at least the last 24 hours, in few rows whatever the ceiling.
//! - A row dated after now was written before now, by a clock that was ahead. It counts as of now, and its date is set
//!   to now. So a clock that is set back lets no reply through, and one that was years ahead blocks no sender for
//!   years.
//! - Hours that no longer count are kept for a while, since a clock that was ahead may come back to them.

use super::contacts;
use super::error::StoreError;
pub use crate::autoreply::eligibility::Kind as ReplyKind;
use crate::time::UnixTime;
use sha2::{Digest, Sha256};

/// A request to send a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyRequest {
    pub kind: ReplyKind,
    /// The sender, in the form in which it is looked up; [`correspondent_key`](super::correspondent_key) makes one.
    /// A form longer than 600 bytes is kept as a hash.
    pub sender: String,
    /// The author, in the same form, if it is another address. A reply to either counts for both.
    pub author: Option<String>,
    /// The current time.
    pub now: UnixTime,
    /// Least interval between two replies of one kind to one sender, in seconds.
    pub per_sender: i64,
    /// The most replies of all kinds to all senders in a day.
    pub per_day: u32,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reservation {
    /// It may be sent, and is recorded as sent.
    Yes,
    /// The sender got one of this kind within the interval.
    Lately {
        /// When; now, if the recorded time is in the future.
        at: UnixTime,
    },
    /// The day's ceiling is reached.
    Ceiling {
        /// Replies of the last day.
        sent: u32,
    },
}

/// The port of the reply log.
pub trait ReplyLog {
    /// Reserves a reply: if it may be sent, records it as sent, durable before it returns.
    /// Of any number of concurrent requests for one reply to one sender, one gets [`Reservation::Yes`].
    ///
    /// # Errors
    /// Any [`StoreError`]: no reply must be sent. It may have been recorded all the same.
    fn reserve_reply(&self, ask: &ReplyRequest) -> Result<Reservation, StoreError>;

    /// Returns what [`reserve_reply`](Self::reserve_reply) would return now.
    /// Changes nothing.
    ///
    /// # Errors
    /// Any [`StoreError`].
    fn peek_reply(&self, ask: &ReplyRequest) -> Result<Reservation, StoreError>;

    /// Removes replies before `before`; returns how many.
    /// Commits are short enough for mail to pass between them. The counts of the last day stay.
    ///
    /// # Errors
    /// Any [`StoreError`]; what earlier commits removed stays removed.
    fn purge_replies(&self, before: UnixTime) -> Result<u64, StoreError>;
}

/// The longest sender that is kept in clear text: an address fits.
const SENDER_MAX: usize = 600;
/// Seconds in an hour.
const HOUR: i64 = 3_600;
/// Hours before this one that count.
const HOURS: u32 = 24;
/// Hours kept, the latest ones: those that count, and as many again in case a clock that was ahead comes back.
const KEPT: usize = 50;

/// What the rule reads, and what it leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ReplyHistory {
    /// When the sender, or the author, last got a reply of this kind.
    pub(super) at: Option<u32>,
    /// Hours, with the count of replies in each.
    pub(super) hours: Vec<(u32, u32)>,
}

impl ReplyHistory {
    /// Returns the history as of `now`: later dates are set to now.
    fn seen(&self, now: u32, hour: u32) -> Self {
        let mut hours: Vec<(u32, u32)> = Vec::new();
        for (of, count) in self.hours.iter().map(|(of, count)| ((*of).min(hour), *count)) {
            match hours.iter_mut().find(|(known, _)| *known == of) {
                Some((_, sum)) => *sum = sum.saturating_add(count),
                None => hours.push((of, count)),
            }
        }
        Self { at: self.at.map(|at| at.min(now)), hours }
    }

    fn is_ahead(&self, now: u32, hour: u32) -> bool {
        self.at.is_some_and(|at| at > now) || self.hours.iter().any(|(of, _)| *of > hour)
    }

    /// Counts the replies that the ceiling includes at this hour.
    fn sent(&self, hour: u32) -> u32 {
        let counting = self.hours.iter().filter(|(of, _)| *of >= hour.saturating_sub(HOURS));
        counting.fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// Adds one reply at `now`.
    fn add(&mut self, now: u32, hour: u32) {
        self.at = Some(now);
        match self.hours.iter_mut().find(|(of, _)| *of == hour) {
            Some((_, count)) => *count = count.saturating_add(1),
            None => self.hours.push((hour, 1)),
        }
        self.hours.sort_unstable_by_key(|(of, _)| std::cmp::Reverse(*of));
        self.hours.truncate(KEPT);
    }
}

/// Applies the rule: returns the answer, and what to write before it is given.
pub(super) fn decide(ask: &ReplyRequest, known: &ReplyHistory) -> (Reservation, Option<ReplyHistory>) {
    let (now, hour) = (contacts::seconds(ask.now), hour(ask.now));
    let mut after = known.seen(now, hour);
    let answer = match after.at {
        Some(at) if i64::from(now) - i64::from(at) < ask.per_sender => Reservation::Lately { at: UnixTime(at.into()) },
        _ if after.sent(hour) >= ask.per_day => Reservation::Ceiling { sent: after.sent(hour) },
        _ => Reservation::Yes,
    };
    if answer == Reservation::Yes {
        after.add(now, hour);
        return (answer, Some(after));
    }
    // A date in the future must be corrected, or it would count as of now for ever.
    (answer, known.is_ahead(now, hour).then_some(after))
}

/// Counts the replies of these hours that the ceiling includes at `now`.
pub(super) fn counted(hours: Vec<(u32, u32)>, now: UnixTime) -> u32 {
    let (seconds, hour) = (contacts::seconds(now), hour(now));
    ReplyHistory { at: None, hours }.seen(seconds, hour).sent(hour)
}

/// Returns the hour of a time, counted since 1970.
pub(super) fn hour(time: UnixTime) -> u32 {
    u32::try_from(time.0.max(0) / HOUR).unwrap_or(u32::MAX)
}

/// Returns the keys under which a reply is counted.
pub(super) fn keys(ask: &ReplyRequest) -> Vec<String> {
    [Some(&ask.sender), ask.author.as_ref()].into_iter().flatten().map(|address| key(ask.kind, address)).collect()
}

/// Returns the key of a reply: its kind and its sender.
pub(super) fn key(kind: ReplyKind, sender: &str) -> String {
    if sender.len() <= SENDER_MAX {
        return format!("{kind} {sender}");
    }
    let digest: [u8; 32] = Sha256::digest(sender).into();
    let hash: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{kind} sha256:{hash}")
}

/// Parses the key of a reply into its kind and its sender.
pub(super) fn named(key: &str) -> Option<(ReplyKind, String)> {
    let (word, sender) = key.split_once(' ')?;
    let kind = [ReplyKind::Challenge, ReplyKind::Compromised].into_iter().find(|kind| kind.as_str() == word)?;
    Some((kind, sender.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_262_400;

    fn ask(seconds: i64) -> ReplyRequest {
        let now = UnixTime(NOW + seconds);
        ReplyRequest {
            kind: ReplyKind::Challenge,
            sender: "joe@x.example".into(),
            author: None,
            now,
            per_sender: 7 * 86_400,
            per_day: 3,
        }
    }

    /// Makes the history of replies to new senders at these times.
    fn sent(times: &[i64]) -> ReplyHistory {
        times.iter().fold(ReplyHistory::default(), |known, seconds| {
            let asked = decide(&ask(*seconds), &ReplyHistory { at: None, ..known });
            assert_eq!(asked.0, Reservation::Yes);
            asked.1.unwrap()
        })
    }

    #[test]
    fn one_sender_gets_one_until_his_time_is_over() {
        let known = sent(&[0]);
        assert_eq!(decide(&ask(7 * 86_400 - 1), &known), (Reservation::Lately { at: UnixTime(NOW) }, None));
        assert_eq!(decide(&ask(7 * 86_400), &known).0, Reservation::Yes);
        let always = ReplyRequest { per_sender: 0, ..ask(0) };
        assert_eq!(decide(&always, &known).0, Reservation::Yes);
    }

    #[test]
    fn the_ceiling_holds_for_at_least_a_day_and_at_most_an_hour_more() {
        let stranger = |known: &ReplyHistory| ReplyHistory { at: None, ..known.clone() };
        let known = stranger(&sent(&[0, 3_600, 3_700]));
        for seconds in [3_700, 86_400, 25 * 3_600 - 1] {
            assert_eq!(decide(&ask(seconds), &known), (Reservation::Ceiling { sent: 3 }, None), "{seconds}");
        }
        let (answer, after) = decide(&ask(25 * 3_600), &known);
        assert_eq!(answer, Reservation::Yes);
        assert_eq!(after.clone().unwrap().hours.len(), 3);
        // A clock that was ahead comes back to them.
        assert_eq!(decide(&ask(24 * 3_600), &stranger(&after.unwrap())).0, Reservation::Ceiling { sent: 4 });
        assert_eq!(
            decide(&ReplyRequest { per_day: 0, ..ask(0) }, &ReplyHistory::default()).0,
            Reservation::Ceiling { sent: 0 }
        );
    }

    #[test]
    fn a_clock_set_back_lets_nothing_through_and_one_that_was_ahead_silences_nobody_for_long() {
        let ahead = sent(&[400 * 86_400, 400 * 86_400 + 9, 400 * 86_400 + 9_000]);
        let (answer, after) = decide(&ask(0), &ahead);
        assert_eq!(answer, Reservation::Lately { at: UnixTime(NOW) });
        let after = after.unwrap();
        assert_eq!(after, ReplyHistory { at: Some(NOW as u32), hours: vec![(hour(UnixTime(NOW)), 3)] });
        let (answer, other) = decide(&ask(0), &ReplyHistory { at: None, ..ahead });
        assert_eq!(answer, Reservation::Ceiling { sent: 3 });
        assert_eq!(other.unwrap().hours, after.hours);
        assert_eq!(decide(&ask(7 * 86_400), &after).0, Reservation::Yes);
    }

    #[test]
    fn few_hours_are_kept() {
        let years: Vec<i64> = (0..400).map(|day| day * 86_400).collect();
        assert_eq!(sent(&years).hours.len(), KEPT);
    }

    #[test]
    fn a_key_reads_back_and_a_long_sender_takes_little_room() {
        let key_of = key(ReplyKind::Compromised, "a b@x.example");
        assert_eq!(named(&key_of), Some((ReplyKind::Compromised, "a b@x.example".into())));
        assert_eq!(named("other joe@x.example"), None);
        let long = "x".repeat(1 << 20);
        assert_eq!(key(ReplyKind::Challenge, &long).len(), "challenge sha256:".len() + 64);
    }
}
