//! Spending limits: over an hour, a day, and a day for one recipient. Pure: earlier spending and the time are
//! arguments.
//!
//! A purchase counts from the moment it is journalled until it is known to have been refused, so a purchase with a lost
//! answer counts.

use crate::time::UnixTime;
use std::collections::BTreeMap;

/// Limits in credits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpendingLimits {
    /// In any 60 minutes.
    pub hour: u64,
    /// In any 24 hours.
    pub day: u64,
    /// In any 24 hours for one recipient.
    pub recipient: u64,
}

/// Kind of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitKind {
    /// [`SpendingLimits::hour`].
    Hour,
    /// [`SpendingLimits::day`].
    Day,
    /// [`SpendingLimits::recipient`].
    Recipient,
}

/// A purchase would exceed a limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.sentence())]
pub struct LimitExceeded {
    pub which: LimitKind,
    /// Its credits.
    pub cap: u64,
    /// Credits spent within its window.
    pub spent: u64,
    /// Credits requested now.
    pub asked: u64,
    /// Recipient, if it is the recipient's limit.
    pub recipient: Option<String>,
    /// Time at which the purchase fits; `None` if it exceeds the whole limit.
    pub free: Option<UnixTime>,
}

impl LimitExceeded {
    fn sentence(&self) -> String {
        let Self { cap, spent, asked, .. } = self;
        let whose = match (&self.which, &self.recipient) {
            (LimitKind::Hour, _) => "an hour (sender.credits_per_hour)".to_owned(),
            (LimitKind::Day, _) => "a day (sender.credits_per_day)".to_owned(),
            (LimitKind::Recipient, Some(recipient)) => format!("a day for {recipient} (sender.credits_per_recipient)"),
            (LimitKind::Recipient, None) => "a day for one recipient (sender.credits_per_recipient)".to_owned(),
        };
        let when = match self.free {
            Some(free) => format!("it is free again at {free}"),
            None => "that is more than the whole cap".to_owned(),
        };
        format!("{asked} more credits exceed your cap of {cap} credits {whose}, of which {spent} are spent; {when}")
    }
}

/// Credits that were spent, or may have been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spending {
    pub at: UnixTime,
    /// Canonical address of the recipient.
    pub recipient: String,
    pub credits: u64,
}

/// The window of [`SpendingLimits::hour`], in seconds.
const HOUR: i64 = 60 * 60;
/// The window of [`SpendingLimits::day`] and [`SpendingLimits::recipient`], in seconds: nothing older than this counts.
pub const DAY: i64 = 24 * HOUR;
/// Spending further in the future than this many seconds counts for no limit.
pub const CLOCK_TOLERANCE: i64 = HOUR;

impl SpendingLimits {
    /// Checks the credits `asked` for recipients against the limits, after the spending `before`.
    ///
    /// # Errors
    /// [`LimitExceeded`]: the first limit that the purchase would exceed.
    pub fn check(&self, before: &[Spending], asked: &[(String, u64)], now: UnixTime) -> Result<(), LimitExceeded> {
        let all = asked.iter().map(|(_, credits)| *credits).fold(0, u64::saturating_add);
        let every: Vec<&Spending> = before.iter().collect();
        Self::within(LimitKind::Hour, self.hour, HOUR, &every, all, now)?;
        Self::within(LimitKind::Day, self.day, DAY, &every, all, now)?;
        let mut by_recipient = BTreeMap::<&str, u64>::new();
        for (recipient, credits) in asked {
            let sum = by_recipient.entry(recipient).or_default();
            *sum = sum.saturating_add(*credits);
        }
        for (recipient, credits) in by_recipient {
            let own: Vec<&Spending> = before.iter().filter(|spending| spending.recipient == recipient).collect();
            Self::within(LimitKind::Recipient, self.recipient, DAY, &own, credits, now)
                .map_err(|capped| LimitExceeded { recipient: Some(recipient.to_owned()), ..capped })?;
        }
        Ok(())
    }

    fn within(
        which: LimitKind,
        cap: u64,
        window: i64,
        before: &[&Spending],
        asked: u64,
        now: UnixTime,
    ) -> Result<(), LimitExceeded> {
        // Corrections of a clock count. What is later was spent while the clock was wrong, and would count for years.
        let ages = -CLOCK_TOLERANCE..window;
        let mut counts: Vec<&Spending> =
            before.iter().copied().filter(|spending| ages.contains(&now.since(spending.at))).collect();
        counts.sort_by_key(|spending| spending.at);
        let spent = counts.iter().map(|spending| spending.credits).fold(0, u64::saturating_add);
        if spent.saturating_add(asked) <= cap {
            return Ok(());
        }
        let mut left = spent;
        let free = counts.iter().find_map(|spending| {
            left = left.saturating_sub(spending.credits);
            (left.saturating_add(asked) <= cap).then(|| spending.at.plus(window))
        });
        let free = free.filter(|_| asked <= cap);
        Err(LimitExceeded { which, cap, spent, asked, recipient: None, free })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime(1_795_262_400);
    const CAPS: SpendingLimits = SpendingLimits { hour: 10, day: 20, recipient: 5 };

    fn spent(ago: i64, recipient: &str, credits: u64) -> Spending {
        Spending { at: NOW.plus(-ago), recipient: recipient.to_owned(), credits }
    }

    fn check(before: &[Spending], asked: &[(&str, u64)]) -> Result<(), LimitExceeded> {
        let asked: Vec<(String, u64)> = asked.iter().map(|(to, credits)| ((*to).to_owned(), *credits)).collect();
        CAPS.check(before, &asked, NOW)
    }

    #[test]
    fn a_cap_may_be_reached_and_not_passed() {
        assert_eq!(check(&[], &[("a", 5), ("b", 5)]), Ok(()));
        let capped = check(&[spent(60, "c", 1)], &[("a", 5), ("b", 5)]).unwrap_err();
        let free = Some(NOW.plus(HOUR - 60));
        assert_eq!(
            capped,
            LimitExceeded { which: LimitKind::Hour, cap: 10, spent: 1, asked: 10, recipient: None, free }
        );
        assert_eq!(check(&[spent(HOUR, "c", 1)], &[("a", 5), ("b", 5)]), Ok(()));
    }

    #[test]
    fn a_day_and_a_recipient_have_caps_of_their_own() {
        let before = [spent(7_200, "a", 4), spent(9_000, "b", 15)];
        let capped = check(&before, &[("c", 2)]).unwrap_err();
        assert_eq!((capped.which, capped.spent, capped.free), (LimitKind::Day, 19, Some(NOW.plus(DAY - 9_000))));
        let capped = check(&before[..1], &[("a", 1), ("a", 1)]).unwrap_err();
        assert_eq!((capped.which, capped.asked, capped.recipient.as_deref()), (LimitKind::Recipient, 2, Some("a")));
        assert_eq!(capped.free, Some(NOW.plus(DAY - 7_200)));
        assert_eq!(check(&before[..1], &[("a", 1)]), Ok(()));
    }

    #[test]
    fn what_is_more_than_the_cap_is_never_free() {
        assert_eq!(check(&[spent(60, "c", 1)], &[("a", 11)]).unwrap_err().free, None);
        assert_eq!(check(&[], &[("a", 6)]).unwrap_err().free, None);
        assert_eq!(check(&[], &[("a", u64::MAX), ("b", u64::MAX)]).unwrap_err().asked, u64::MAX);
    }

    #[test]
    fn it_is_free_when_enough_has_passed_out_of_the_window() {
        let before = [spent(50, "a", 4), spent(40, "b", 4), spent(30, "c", 2)];
        assert_eq!(check(&before, &[("d", 5)]).unwrap_err().free, Some(NOW.plus(HOUR - 40)));
        assert_eq!(check(&before, &[("d", 4)]).unwrap_err().free, Some(NOW.plus(HOUR - 50)));
        // A clock that is corrected does not raise a limit, and one that was far ahead blocks nothing.
        assert!(check(&[spent(-500, "a", 10)], &[("b", 1)]).is_err());
        for ahead in [HOUR + 1, 3_650 * DAY] {
            assert_eq!(check(&[spent(-ahead, "b", 10), spent(-ahead, "b", 20)], &[("b", 5)]), Ok(()));
        }
    }

    #[test]
    fn the_refusal_says_which_cap_and_when_it_is_free() {
        let told = check(&[spent(60, "a", 4)], &[("a", 2)]).unwrap_err().to_string();
        assert_eq!(
            told,
            "2 more credits exceed your cap of 5 credits a day for a (sender.credits_per_recipient), of which 4 are \
             spent; it is free again at 2026-11-22T11:59:00Z"
        );
    }
}
