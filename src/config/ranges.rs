//! Numbers and durations, each with the range that makes sense for its key. Durations are written as `90s`, `5m`,
//! `12h`, `100d`.

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use std::fmt;

/// Seconds in a minute, in an hour, and in a day.
pub(super) const MINUTE: i64 = 60;
pub(super) const HOUR: i64 = 60 * MINUTE;
pub(super) const DAY: i64 = 24 * HOUR;
/// Longest duration: a hundred years. Added to any time of a message, it overflows nothing.
pub(super) const CENTURY: i64 = 36_600 * DAY;

/// Duration in whole seconds, from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seconds<const MIN: i64 = 0, const MAX: i64 = CENTURY>(pub(super) i64);

impl<const MIN: i64, const MAX: i64> Seconds<MIN, MAX> {
    /// Parses a duration. The error says what to write.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let seconds = seconds(text).ok_or("not a duration (write \"90s\", \"5m\", \"12h\" or \"100d\")")?;
        if (MIN..=MAX).contains(&seconds) {
            return Ok(Self(seconds));
        }
        Err(format!("write a duration from \"{}\" to \"{}\"; {text:?} is not", written(MIN), written(MAX)))
    }
}

/// Parses a duration of any length; one beyond the range of numbers counts as the longest.
fn seconds(text: &str) -> Option<i64> {
    let unit = text.chars().last()?;
    let each = match unit {
        's' => 1,
        'm' => MINUTE,
        'h' => HOUR,
        'd' => DAY,
        _ => return None,
    };
    let digits = text.strip_suffix(unit)?;
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse::<i64>().map_or(i64::MAX, |count| count.saturating_mul(each)))
}

/// Formats a duration in the largest unit that divides it.
fn written(seconds: i64) -> String {
    let (each, unit) = [(DAY, 'd'), (HOUR, 'h'), (MINUTE, 'm')]
        .into_iter()
        .find(|(each, _)| seconds != 0 && seconds % each == 0)
        .unwrap_or((1, 's'));
    format!("{}{unit}", seconds / each)
}

impl<'de, const MIN: i64, const MAX: i64> Deserialize<'de> for Seconds<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Length<const MIN: i64, const MAX: i64>;
        impl<const MIN: i64, const MAX: i64> Visitor<'_> for Length<MIN, MAX> {
            type Value = Seconds<MIN, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration with its unit, as \"90s\", \"5m\", \"12h\" or \"100d\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Seconds::parse(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Length::<MIN, MAX>)
    }
}

/// Whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number<const MIN: u64, const MAX: u64>(pub(super) u64);

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Number<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Whole<const MIN: u64, const MAX: u64>;
        impl<const MIN: u64, const MAX: u64> Visitor<'_> for Whole<MIN, MAX> {
            type Value = Number<MIN, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a whole number from {MIN} to {MAX}")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
                let found = u64::try_from(number).ok().filter(|number| (MIN..=MAX).contains(number));
                found.map(Number).ok_or_else(|| E::invalid_value(Unexpected::Signed(number), &self))
            }
        }
        deserializer.deserialize_i64(Whole::<MIN, MAX>)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_needed_and_nothing_else_is_taken() {
        assert_eq!(Seconds::parse("90s"), Ok(Seconds::<0, DAY>(90)));
        assert_eq!(Seconds::parse("5m"), Ok(Seconds::<0, DAY>(300)));
        assert_eq!(Seconds::parse("0d"), Ok(Seconds::<0, DAY>(0)));
        for text in ["", "5", "m", "-5m", "+5m", "5 m", "1e3s", "5ä"] {
            assert!(Seconds::<0, DAY>::parse(text).unwrap_err().starts_with("not a duration"), "{text}");
        }
    }

    #[test]
    fn a_duration_out_of_its_range_is_refused_with_the_range() {
        let said = |text: &str| Seconds::<HOUR, DAY>::parse(text).unwrap_err();
        assert_eq!(said("0s"), "write a duration from \"1h\" to \"1d\"; \"0s\" is not");
        for text in ["3599s", "86401s", "99999999999999999999d", "9223372036854775807d"] {
            assert!(said(text).starts_with("write a duration"), "{text}");
        }
        assert_eq!([0, 1, 90, 120, 7_200, 100 * DAY].map(written), ["0s", "1s", "90s", "2m", "2h", "100d"]);
        assert_eq!(Seconds::<0, CENTURY>::parse("36600d").map(|it| it.0), Ok(CENTURY));
    }
}
