//! Counts the verdict log and the user's grants by period: messages by class, grants, revocations. Pure; days, weeks
//! and months are in UTC.

use crate::cli::ui::counts::{Counts, OTHERS, Tally, tame};
use crate::grant::{GrantKind, StampStatus};
use crate::log::verdict_log::Entry;
use crate::time::UnixTime;
use crate::verdict::class::Class;
use crate::verdict::reason::Reason;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use std::collections::BTreeMap;

/// The length of a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum By {
    /// One day.
    Day,
    /// Seven days from a Monday on.
    Week,
    /// A month of the calendar.
    Month,
}

impl By {
    /// Returns the stable word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }

    /// Returns the shortest period that gives at most 31 periods for this many days, or else a month.
    fn fitting(days: i64) -> Self {
        match days {
            ..=31 => Self::Day,
            32..=217 => Self::Week,
            _ => Self::Month,
        }
    }

    /// Returns the first day of the period that contains `day`.
    fn begin(self, day: Date) -> Date {
        match self {
            Self::Day => day,
            Self::Week => day.saturating_sub(i64::from(day.weekday().to_monday_zero_offset()).days()),
            Self::Month => day.first_of_month(),
        }
    }

    /// Combines the counts of days, and fills in empty periods between them.
    pub fn combined<T: Default>(self, days: &BTreeMap<Date, T>, merge: impl Fn(&mut T, &T)) -> BTreeMap<Date, T> {
        let mut periods: BTreeMap<Date, T> = BTreeMap::new();
        for (day, counted) in days {
            merge(periods.entry(self.begin(*day)).or_default(), counted);
        }
        if let (Some((&first, _)), Some((&last, _))) = (periods.first_key_value(), periods.last_key_value()) {
            let mut begin = last;
            for _ in 0..FILLED {
                match self.before(begin).filter(|before| *before > first) {
                    Some(before) => begin = before,
                    None => break,
                }
                periods.entry(begin).or_default();
            }
        }
        periods
    }

    /// Returns the first day of the previous period.
    fn before(self, begin: Date) -> Option<Date> {
        let day = begin.yesterday().ok()?;
        Some(self.begin(day))
    }
}

/// Counts of one period.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Period {
    /// Messages by class.
    pub classes: Counts,
    /// First-class messages by vendor.
    pub vendors: BTreeMap<String, u64>,
    /// Stamps granted, whose grant stands.
    pub given: u64,
    /// Stamps revoked, whose revocation stands.
    pub revoked: u64,
    /// Messages refused because the user had revoked their stamp.
    pub refused: u64,
}

impl Period {
    fn merge(&mut self, other: &Self) {
        self.classes.merge(&other.classes);
        for (vendor, count) in &other.vendors {
            *self.vendors.entry(vendor.clone()).or_default() += count;
        }
        self.given += other.given;
        self.revoked += other.revoked;
        self.refused += other.refused;
    }
}

/// Counts of grants and revocations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// Return grants given in the time looked at.
    pub given_return: u64,
    /// Multi-use grants given in the time looked at.
    pub given_multi_use: u64,
    /// Stamps revoked in the time looked at.
    pub revoked: u64,
    /// Messages refused in the time looked at because the user had revoked their stamp.
    pub refused: u64,
    /// Grants in force now, whenever they were given.
    pub in_force: u64,
    /// Revocations in force now.
    pub standing_revocations: u64,
}

/// Result of counting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Messages by class, reason, vendor.
    pub tally: Tally,
    /// The first and the last message.
    pub span: Option<(UnixTime, UnixTime)>,
    /// Credits on the stamps that were spent here.
    pub credits: u64,
    /// Grants and revocations.
    pub grants: Grants,
    /// The periods by their first day, empty ones in between included.
    pub periods: BTreeMap<Date, Period>,
    /// Invalid lines of the log.
    pub broken: u64,
}

/// Limit on the empty periods that are filled in, from the last one back.
const FILLED: usize = 1000;

/// Limit on the vendors whose messages are counted by period; the names of the rest are not needed there.
const VENDORS_OF_A_DAY: usize = 100;

/// Counter. It counts by days, and combines them at the end.
#[derive(Clone, Debug)]
pub struct Counting {
    since: Option<UnixTime>,
    now: UnixTime,
    figures: Figures,
}

impl Counting {
    /// Returns a counter of everything from `since` on.
    #[must_use]
    pub fn new(since: Option<UnixTime>, now: UnixTime) -> Self {
        Self { since, now, figures: Figures::default() }
    }

    /// Counts an entry of the verdict log. An entry with unknown words counts as a broken line.
    pub fn entry(&mut self, entry: &Entry) {
        if entry.event.is_some() {
            // The message was counted when it was judged.
            return;
        }
        let reason = Reason::ALL.iter().copied().find(|reason| reason.as_str() == entry.reason);
        let reason = reason.filter(|reason| reason.class().as_str() == entry.class);
        let time = UnixTime::from_rfc3339(&entry.time).ok().and_then(|time| Some((time, day(time)?)));
        let (Some(reason), Some((time, day))) = (reason, time) else {
            self.figures.broken += 1;
            return;
        };
        if !self.counts(time) {
            return;
        }
        let vendor = entry.vendor.as_deref().map(tame);
        let figures = &mut self.figures;
        figures.tally.add(reason, vendor.as_deref());
        let (first, last) = figures.span.unwrap_or((time, time));
        figures.span = Some((first.min(time), last.max(time)));
        if reason == Reason::Paid {
            figures.credits = figures.credits.saturating_add(entry.value.unwrap_or(1));
        }
        let period = figures.periods.entry(day).or_default();
        period.classes.add(reason.class());
        if reason == Reason::ByRecipient {
            period.refused += 1;
            figures.grants.refused += 1;
        }
        if let Some(vendor) = vendor.filter(|_| reason.class() == Class::FirstClass)
            && (period.vendors.len() < VENDORS_OF_A_DAY || period.vendors.contains_key(&vendor))
        {
            *period.vendors.entry(vendor).or_default() += 1;
        }
    }

    /// Counts the status of one stamp.
    pub fn standing(&mut self, standing: &StampStatus) {
        if let Some(grant) = &standing.grant {
            let since = UnixTime(grant.since);
            self.figures.grants.in_force += u64::from(standing.revoked.is_none() && grant.active(self.now));
            if self.counts(since) {
                match grant.kind {
                    GrantKind::Return => self.figures.grants.given_return += 1,
                    GrantKind::MultiUse => self.figures.grants.given_multi_use += 1,
                }
                self.on(since, |period| period.given += 1);
            }
        }
        if let Some(since) = standing.revoked.map(UnixTime) {
            self.figures.grants.standing_revocations += 1;
            if self.counts(since) {
                self.figures.grants.revoked += 1;
                self.on(since, |period| period.revoked += 1);
            }
        }
    }

    /// Returns the numbers by periods of this length, or of the fitting length if `None`.
    #[must_use]
    pub fn finish(self, by: Option<By>, broken: u64) -> (Figures, By) {
        let mut figures = self.figures;
        figures.broken += broken;
        let days = figures.span.map_or(0, |(first, last)| last.since(first) / 86_400);
        let by = by.unwrap_or(By::fitting(days));
        figures.periods = by.combined(&figures.periods, Period::merge);
        (figures, by)
    }

    fn counts(&self, time: UnixTime) -> bool {
        self.since.is_none_or(|since| time >= since)
    }

    fn on(&mut self, time: UnixTime, change: impl FnOnce(&mut Period)) {
        // Imported rows may have any time. A time outside the calendar counts in the sums only.
        if let Some(day) = day(time) {
            change(self.figures.periods.entry(day).or_default());
        }
    }
}

/// Returns the names of the vendors with the most first-class messages, the rest combined as the last, and a function
/// that returns their message counts in a period.
pub fn leading(figures: &Figures, most: usize) -> (Vec<String>, impl Fn(&Period) -> Vec<u64>) {
    let vendors = figures.tally.vendors();
    let first_class = vendors.iter().filter(|(name, counts)| *name != OTHERS && counts.of(Class::FirstClass) > 0);
    let names: Vec<String> = first_class.take(most).map(|(name, _)| (*name).to_owned()).collect();
    let picked = names.clone();
    let counts = move |period: &Period| {
        let mut counts: Vec<u64> =
            picked.iter().map(|name| period.vendors.get(name).copied().unwrap_or_default()).collect();
        // Every first-class message has a vendor, so the remainder belongs to the rest.
        let rest = period.classes.of(Class::FirstClass).saturating_sub(counts.iter().sum());
        counts.push(rest);
        counts
    };
    (names, counts)
}

/// Returns the day of a time, in UTC; `None` outside the calendar.
#[must_use]
pub fn day(time: UnixTime) -> Option<Date> {
    Some(Timestamp::from_second(time.0).ok()?.to_zoned(TimeZone::UTC).date())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::Grant;
    use jiff::civil::date;

    fn entry(time: &str, reason: Reason) -> Entry {
        serde_json::from_value(serde_json::json!({
            "time": time, "class": reason.class().as_str(), "reason": reason.as_str(), "vendor": "v.example", "value": 3
        }))
        .unwrap()
    }

    fn time(text: &str) -> UnixTime {
        text.parse().unwrap()
    }

    #[test]
    fn days_weeks_and_months_hold_the_same_messages() {
        let mut counting = Counting::new(None, UnixTime(0));
        counting.entry(&entry("2026-11-01T23:59:59Z", Reason::Paid));
        counting.entry(&entry("2026-11-02T00:30:00+01:00", Reason::Used));
        counting.entry(&entry("2026-11-09T00:00:00Z", Reason::Return));
        for (by, starts) in [
            (By::Day, (1..=9).map(|day| date(2026, 11, day)).collect()),
            (By::Week, vec![date(2026, 10, 26), date(2026, 11, 2), date(2026, 11, 9)]),
            (By::Month, vec![date(2026, 11, 1)]),
        ] {
            let (figures, used) = counting.clone().finish(Some(by), 0);
            assert_eq!(used, by);
            assert_eq!(figures.periods.keys().copied().collect::<Vec<_>>(), starts);
            assert_eq!(figures.periods.values().map(|period| period.classes.sum()).sum::<u64>(), 3);
            assert_eq!(figures.periods.values().map(|period| period.vendors.values().sum::<u64>()).sum::<u64>(), 2);
            assert_eq!((figures.credits, figures.tally.classes.of(Class::Used)), (3, 1));
        }
        assert_eq!(counting.finish(None, 2).1, By::Day);
    }

    #[test]
    fn what_is_before_does_not_count_and_what_no_one_can_read_is_told() {
        let mut counting = Counting::new(Some(time("2026-11-02T00:00:00Z")), time("2026-11-10T00:00:00Z"));
        counting.entry(&entry("2026-11-01T23:59:59Z", Reason::Paid));
        counting.entry(&entry("2026-11-02T00:00:00Z", Reason::ByRecipient));
        counting.entry(&entry("yesterday", Reason::Paid));
        counting.entry(&Entry { class: "used".into(), ..entry("2026-11-03T00:00:00Z", Reason::Paid) });
        let since = |text| Grant::new(GrantKind::MultiUse, time(text));
        let old = StampStatus { grant: Some(since("2026-10-01T00:00:00Z")), ..StampStatus::default() };
        counting.standing(&old);
        counting.standing(&StampStatus { revoked: Some(time("2026-11-04T00:00:00Z").0), ..old });
        counting.standing(&StampStatus { revoked: Some(i64::MAX), ..StampStatus::default() });
        let (figures, _) = counting.finish(None, 1);
        assert_eq!((figures.broken, figures.tally.classes.sum()), (3, 1));
        let expected = Grants { revoked: 2, refused: 1, in_force: 1, standing_revocations: 2, ..Grants::default() };
        assert_eq!(figures.grants, expected);
        assert_eq!(figures.periods.len(), 3);
    }

    #[test]
    fn any_times_make_a_bounded_number_of_periods() {
        let mut counting = Counting::new(None, UnixTime(0));
        counting.entry(&entry("0001-01-02T00:00:00Z", Reason::NoStamp));
        counting.entry(&entry("9999-12-30T00:00:00Z", Reason::NoStamp));
        for by in [By::Day, By::Week, By::Month] {
            let (figures, _) = counting.clone().finish(Some(by), 0);
            assert_eq!(figures.periods.len(), FILLED + 2);
        }
        assert_eq!(counting.finish(None, 0).1, By::Month);
    }
}
