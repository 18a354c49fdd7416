//! What a grant is: the user's own word that a stamp may be used again; and what a revocation is: his word that it may
//! not. Both are about a stamp's (vendor, serial). Where they are kept is the store's affair.

#![deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]

use crate::mail::time::UnixTime;
use serde::{Deserialize, Serialize};

/// How a stamp may be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GrantKind {
    /// I sent this stamp with my message and said that it may come back (paper: return use).
    Return,
    /// I received this stamp and let its sender use it again (paper: multiple use).
    MultiUse,
}

/// A permission to use one stamp again, whatever its address, window and earlier uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Which of the two permissions.
    pub kind: GrantKind,
    /// When it was given (seconds since 1970).
    pub since: i64,
    /// Its end, if it has one (seconds since 1970).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
}

impl Grant {
    /// Whether the grant holds at `now`.
    #[must_use]
    pub fn active(&self, now: UnixTime) -> bool {
        self.until.is_none_or(|until| now.0 <= until)
    }
}

/// What the user has said about one stamp. A revocation outweighs a grant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The grant, if one was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<Grant>,
    /// When it was revoked (seconds since 1970), if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_ends_after_its_last_second() {
        let grant = Grant { kind: GrantKind::Return, since: 0, until: Some(10) };
        assert!(grant.active(UnixTime(10)));
        assert!(!grant.active(UnixTime(11)));
        let open = Grant { until: None, ..grant };
        assert!(open.active(UnixTime(i64::MAX)));
    }
}
