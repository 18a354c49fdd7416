//! The system's clock. No other file reads it; pure modules are handed the time.

use crate::time::UnixTime;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Returns the time. A clock before 1970 reads as 1970, which is refused where time matters.
#[must_use]
pub fn now() -> UnixTime {
    UnixTime(i64::try_from(since_1970().as_secs()).unwrap_or(i64::MAX))
}

/// Returns the time since 1970, as exactly as the system has it.
#[must_use]
pub fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Returns the seconds since the machine was started, sleep included. No change of the clock changes them.
#[must_use]
pub fn uptime() -> i64 {
    #[allow(clippy::useless_conversion, reason = "the type has 32 bits on some machines")]
    i64::from(rustix::system::sysinfo().uptime)
}
