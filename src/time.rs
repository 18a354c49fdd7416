//! Point in time: seconds since 1970 in UTC. Pure modules receive it from the engine, which reads the clock.

#![deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]

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

    /// Parses an RFC 3339 time with its offset (RFC 3339 section 5.6), as the claims of a stamp carry it.
    ///
    /// # Errors
    /// [`TimeError`] for any other text, a time without an offset included.
    pub fn from_rfc3339(text: &str) -> Result<Self, TimeError> {
        let time: jiff::Timestamp = text.parse().map_err(|_| TimeError)?;
        Ok(Self(time.as_second()))
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
            Err(_) => self.0.fmt(f),
        }
    }
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
    fn a_time_without_an_offset_is_refused() {
        assert_eq!(UnixTime::from_rfc3339("2026-11-21T12:00:00"), Err(TimeError));
        assert_eq!("".parse::<UnixTime>(), Err(TimeError));
    }

    #[test]
    fn sums_stop_at_the_ends() {
        assert_eq!(UnixTime(i64::MAX).plus(1), UnixTime(i64::MAX));
        assert_eq!(UnixTime(i64::MIN).since(UnixTime(1)), i64::MIN);
    }
}
