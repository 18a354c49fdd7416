//! Point in time: seconds since 1970 in UTC. Pure modules receive it from the engine, which reads the clock.

#![deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]

use jiff::SignedDuration;
use jiff::civil::DateTime;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Seconds since 1970-01-01T00:00:00Z, without leap seconds. Formatted and parsed as RFC 3339; stored in files as the
/// number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UnixTime(pub i64);

/// The text is neither an RFC 3339 time nor a whole number of seconds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a time (write 2026-11-21T12:00:00Z, or seconds since 1970)")]
pub struct TimeError;

impl UnixTime {
    /// Returns the time `seconds` later (earlier when negative); saturates at the ends of the range.
    #[must_use]
    pub fn plus(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds))
    }

    /// Returns the seconds from `earlier` to this time; negative when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Parses the `date-time` of RFC 3339 section 5.6, with `T` and `Z` in upper case, as stamps and documents carry
    /// it. A fraction of a second is dropped. A second 60 ends a month in UTC (section 5.7), and counts as the second
    /// 59.
    ///
    /// # Errors
    /// [`TimeError`] for any other text, a time without an offset included.
    pub fn from_rfc3339(text: &str) -> Result<Self, TimeError> {
        date_time(text).ok_or(TimeError)
    }

    /// Parses the date of a Date or Received field (RFC 5322 section 3.3), whatever weekday it claims. `None` for other
    /// text, or a date before 1970.
    #[must_use]
    pub fn from_rfc5322(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?.trim();
        // Only the beginning is parsed; a weekday or a comment of any length adds nothing.
        let text = text.get(..text.len().min(100)).unwrap_or(text);
        let time = jiff::fmt::rfc2822::DateTimeParser::new().relaxed_weekday(true).parse_timestamp(text).ok()?;
        Some(Self(time.as_second())).filter(|time| time.0 >= 0)
    }

    /// Formats the time for a Date field (RFC 5322 section 3.3), in UTC.
    #[must_use]
    pub fn to_rfc5322(self) -> String {
        let time = jiff::Timestamp::from_second(self.0).unwrap_or_default().to_zoned(jiff::tz::TimeZone::UTC);
        jiff::fmt::rfc2822::to_string(&time).unwrap_or_default()
    }
}

impl FromStr for UnixTime {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        match text.parse() {
            Ok(seconds) => Ok(Self(seconds)),
            Err(_) => Self::from_rfc3339(text),
        }
    }
}

impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_second(self.0) {
            Ok(time) => time.fmt(f),
            // The last hours of the year 9999, which a Timestamp cannot hold.
            Err(_) => match EPOCH.checked_add(SignedDuration::from_secs(self.0)) {
                Ok(time) if self.0 > 0 => write!(f, "{time}Z"),
                _ => self.0.fmt(f),
            },
        }
    }
}

/// 1970-01-01T00:00:00, without an offset.
const EPOCH: DateTime = jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0);

/// Parses by hand: a `jiff::Timestamp` accepts more than RFC 3339, and ends 26 hours before the year 9999 does.
fn date_time(text: &str) -> Option<UnixTime> {
    let (local, rest) = text.split_at_checked("0000-00-00T00:00:00".len())?;
    let fits = |text: &str, shape: &str| {
        text.len() == shape.len()
            && text.bytes().zip(shape.bytes()).all(|(b, s)| if s == b'0' { b.is_ascii_digit() } else { b == s })
    };
    let offset = match rest.strip_prefix('.') {
        Some(fraction) => {
            let offset = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
            (1..=9).contains(&(fraction.len() - offset.len())).then_some(offset)?
        }
        None => rest,
    };
    let ahead = match offset.split_at_checked(1)? {
        ("Z", "") => 0,
        (sign @ ("+" | "-"), hours) if fits(hours, "00:00") => {
            let (hours, minutes): (i64, i64) = (hours.get(..2)?.parse().ok()?, hours.get(3..)?.parse().ok()?);
            let seconds = (hours < 24 && minutes < 60).then_some((hours * 60 + minutes) * 60)?;
            if sign == "+" { seconds } else { -seconds }
        }
        _ => return None,
    };
    if !fits(local, "0000-00-00T00:00:00") || local.starts_with("0000") {
        return None;
    }
    // The parser takes a second 60 for the second 59.
    let seconds = local.parse::<DateTime>().ok()?.duration_since(EPOCH).as_secs() - ahead;
    if local.ends_with(":60") {
        let next = EPOCH.checked_add(SignedDuration::from_secs(seconds + 1)).ok()?;
        (next.day() == 1 && next.time() == jiff::civil::Time::midnight()).then_some(())?;
    }
    Some(UnixTime(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_and_seconds_name_the_same_time() {
        let time: UnixTime = "2026-11-21T12:00:00Z".parse().unwrap();
        assert_eq!(time, UnixTime(1_795_262_400));
        assert_eq!("1795262400".parse(), Ok(time));
        assert_eq!("2026-11-21T13:00:00+01:00".parse(), Ok(time));
        assert_eq!(time.to_string(), "2026-11-21T12:00:00Z");
    }

    #[test]
    fn a_time_is_read_as_rfc_3339_writes_it_and_no_other() {
        for (text, same) in [
            ("0001-01-01T00:00:00+23:59", "0001-01-01T00:00:00Z"),
            ("2026-11-21T12:00:00-00:00", "2026-11-21T12:00:00Z"),
            ("2026-11-22T11:59:00.123456789+23:59", "2026-11-21T12:00:00Z"),
            ("2026-11-20T12:01:00-23:59", "2026-11-21T12:00:00Z"),
            ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59Z"),
            ("1990-12-31T15:59:60.5-08:00", "1990-12-31T23:59:59Z"),
        ] {
            let [time, same] = [text, same].map(|text| UnixTime::from_rfc3339(text).unwrap());
            assert_eq!(time, if text.starts_with("0001") { same.plus(-86_340) } else { same }, "{text}");
        }
        for text in [
            "",
            "2026-11-21T12:00:00",
            "2026-11-21 12:00:00Z",
            "2026-11-21t12:00:00Z",
            "2026-11-21T12:00:00z",
            "2026-11-21T12:00Z",
            "2026-11-21T12:00:00.Z",
            "2026-11-21T12:00:00.1234567890Z",
            "2026-11-21T12:00:00+24:00",
            "2026-11-21T12:00:00+01:60",
            "2026-11-21T12:00:00+0100",
            "2026-11-21T12:00:00\u{2212}01:00",
            "2026-02-29T12:00:00Z",
            "2026-11-21T24:00:00Z",
            "2026-11-21T23:59:60Z",
            "2016-12-31T23:58:60Z",
            "2016-12-31T23:59:60+01:00",
            "0000-01-01T00:00:00Z",
        ] {
            assert_eq!(UnixTime::from_rfc3339(text), Err(TimeError), "{text}");
        }
        assert_eq!("".parse::<UnixTime>(), Err(TimeError));
    }

    #[test]
    fn the_year_9999_ends_with_its_last_second() {
        for (text, seconds) in [
            ("9999-12-30T22:00:00Z", 253_402_207_200),
            ("9999-12-30T22:00:01Z", 253_402_207_201),
            ("9999-12-31T23:59:59Z", 253_402_300_799),
            ("9999-12-31T23:59:59.999Z", 253_402_300_799),
            ("9999-12-31T23:59:59+00:00", 253_402_300_799),
            ("9999-12-31T23:59:59+01:30", 253_402_295_399),
            ("9999-12-31T22:59:59-01:00", 253_402_300_799),
        ] {
            assert_eq!(UnixTime::from_rfc3339(text), Ok(UnixTime(seconds)), "{text}");
            let shown = UnixTime(seconds).to_string();
            assert_eq!(UnixTime::from_rfc3339(&shown), Ok(UnixTime(seconds)), "{shown}");
        }
        assert_eq!(UnixTime(253_402_300_799).to_string(), "9999-12-31T23:59:59Z");
        assert_eq!(UnixTime(253_402_300_800).to_string(), "253402300800");
        for text in
            ["9999-12-31T23:59:59", "9999-12-32T00:00:00Z", "9999-12-31T23:59:59+1:000", "10000-01-01T00:00:00Z"]
        {
            assert_eq!(UnixTime::from_rfc3339(text), Err(TimeError), "{text}");
        }
    }

    #[test]
    fn sums_stop_at_the_ends() {
        assert_eq!(UnixTime(i64::MAX).plus(1), UnixTime(i64::MAX));
        assert_eq!(UnixTime(i64::MIN).since(UnixTime(1)), i64::MIN);
    }
}
