//! Durations as users write them: `90s`, `5m`, `12h`, `100d`.

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use std::fmt;

/// Duration in whole seconds, from 0 to a hundred years.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seconds(pub(super) i64);

const LONGEST: i64 = 100 * 366 * 24 * 60 * 60;

impl Seconds {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let unit = text.chars().last()?;
        let each = match unit {
            's' => 1,
            'm' => 60,
            'h' => 60 * 60,
            'd' => 24 * 60 * 60,
            _ => return None,
        };
        let digits = text.strip_suffix(unit)?;
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let seconds = digits.parse::<i64>().ok()?.checked_mul(each)?;
        (seconds <= LONGEST).then_some(Self(seconds))
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Length;
        impl Visitor<'_> for Length {
            type Value = Seconds;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration with its unit, as \"90s\", \"5m\", \"12h\" or \"100d\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Seconds, E> {
                Seconds::parse(text)
                    .ok_or_else(|| E::custom("not a duration (write \"90s\", \"5m\", \"12h\" or \"100d\")"))
            }
        }
        deserializer.deserialize_str(Length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_needed_and_nothing_else_is_taken() {
        assert_eq!(Seconds::parse("90s"), Some(Seconds(90)));
        assert_eq!(Seconds::parse("5m"), Some(Seconds(300)));
        assert_eq!(Seconds::parse("0d"), Some(Seconds(0)));
        for text in ["", "5", "m", "-5m", "+5m", "5 m", "1e3s", "99999999999999999999d", "40000d", "5ä"] {
            assert_eq!(Seconds::parse(text), None, "{text}");
        }
    }
}
