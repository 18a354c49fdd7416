//! Time from which a command counts or lists: a date, a time, or a number of days back.

use crate::time::UnixTime;

/// Time from which to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    Time(UnixTime),
    DaysBack(i64),
}

impl std::str::FromStr for Since {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "write 2026-11-21, 2026-11-21T12:00:00Z, seconds since 1970, or 30d";
        if let Some(days) = text.strip_suffix('d') {
            let days = Some(days).filter(|days| days.bytes().all(|b| b.is_ascii_digit()) && days.len() <= 6);
            return days.and_then(|days| days.parse().ok()).map(Self::DaysBack).ok_or(wrong);
        }
        let day = || UnixTime::from_rfc3339(&format!("{text}T00:00:00Z"));
        text.parse().or_else(|_| day()).map(Self::Time).map_err(|_| wrong)
    }
}

impl Since {
    /// Returns the time.
    #[must_use]
    pub fn from(self, now: UnixTime) -> UnixTime {
        match self {
            Self::Time(time) => time,
            Self::DaysBack(days) => now.plus(-86_400 * days),
        }
    }
}
