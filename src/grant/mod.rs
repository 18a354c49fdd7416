//! Grants and revocations: the user's permission to use a stamp again, and its withdrawal. Both are about a stamp's
//! (vendor, serial). `status` decides what follows when the stamp comes again. The store keeps them.

#![deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]

pub(crate) mod serde_hex;
mod status;

pub use status::{Answer, Means, Presentation, Refusals, StampStatus};

use crate::message::fingerprint::KnownMessage;
use crate::time::UnixTime;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How a stamp may be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GrantKind {
    /// The user sent this stamp and allowed its return (paper: return use).
    Return,
    /// The user received this stamp and allows its sender to use it again (paper: multiple use).
    MultiUse,
}

impl GrantKind {
    /// The stable word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Return => "return",
            Self::MultiUse => "multi-use",
        }
    }
}

impl fmt::Display for GrantKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
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
    /// The number of messages it is good for, if limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<u32>,
    /// The messages that it was used for.
    /// A message that comes again is one use. A limited grant keeps all of them. Any other keeps the last
    /// [`Grant::REMEMBERED`], by which a received message is recognized.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub used_for: Vec<KnownMessage>,
    /// The user's note.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// With [`GrantKind::Return`]: the senders that used it, as their From fields say, in lower case.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub senders: Vec<String>,
    /// When it was suspended, since more than [`Grant::SENDERS`] senders came under it (seconds since 1970).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended: Option<i64>,
}

impl Grant {
    /// The most messages of a limited grant: each is kept.
    pub const USES_MAX: u32 = 1000;
    /// Messages that a grant without limit keeps.
    pub const REMEMBERED: usize = 100;

    /// Time that a return grant lasts after the end of its stamp's window, in seconds: 90 days.
    pub const RETURN_AFTER: i64 = 90 * 86_400;
    /// Messages that a return grant is good for.
    pub const RETURN_USES: u32 = 20;
    /// Senders under one return grant; with another one the stamp has passed into other hands.
    pub const SENDERS: usize = 2;

    /// Makes a grant without end or limit.
    #[must_use]
    pub fn new(kind: GrantKind, now: UnixTime) -> Self {
        Self {
            kind,
            since: now.0,
            until: None,
            uses: None,
            used_for: Vec::new(),
            note: None,
            senders: Vec::new(),
            suspended: None,
        }
    }

    /// Makes the grant of return use for a stamp with a window until `expires`, if it has one.
    #[must_use]
    pub fn for_return(now: UnixTime, expires: Option<UnixTime>) -> Self {
        let until = expires.map_or(now, |expires| expires.max(now)).plus(Self::RETURN_AFTER);
        Self { until: Some(until.0), uses: Some(Self::RETURN_USES), ..Self::new(GrantKind::Return, now) }
    }

    /// Whether the grant has not ended at `now`, and has uses left for another message.
    #[must_use]
    pub fn active(&self, now: UnixTime) -> bool {
        self.suspended.is_none()
            && self.in_time(now)
            && self.uses.is_none_or(|uses| self.used_for.len() < uses as usize)
    }

    fn in_time(&self, now: UnixTime) -> bool {
        self.until.is_none_or(|until| now.0 <= until)
    }

    /// Whether this message used the grant.
    #[must_use]
    pub fn knows(&self, message: &KnownMessage) -> bool {
        self.used_for.iter().any(|known| known.recognises(message))
    }

    /// Returns whether the grant covers this message of `from` at `now`, and the grant after that, where it changes.
    fn covers(&self, now: UnixTime, message: KnownMessage, from: Option<&str>) -> (bool, Option<Self>) {
        if !self.in_time(now) {
            return (false, None);
        }
        if self.knows(&message) {
            return (true, None);
        }
        if !self.active(now) {
            return (false, None);
        }
        let mut after = self.clone();
        if self.kind == GrantKind::Return {
            let from = from.unwrap_or_default().to_ascii_lowercase();
            if !after.senders.contains(&from) {
                if after.senders.len() >= Self::SENDERS {
                    return (false, Some(Self { suspended: Some(now.0), ..after }));
                }
                after.senders.push(from);
            }
        }
        if self.uses.is_none() && after.used_for.len() >= Self::REMEMBERED {
            after.used_for.remove(0);
        }
        after.used_for.push(message);
        (true, Some(after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_ends_after_its_last_second() {
        let open = Grant::new(GrantKind::Return, UnixTime(0));
        assert!(open.active(UnixTime(i64::MAX)));
        let grant = Grant { until: Some(10), ..open };
        assert!(grant.active(UnixTime(10)));
        assert!(!grant.active(UnixTime(11)));
        assert_eq!(grant.covers(UnixTime(11), KnownMessage::from([1; 16]), None), (false, None));
    }

    #[test]
    fn a_limited_grant_counts_messages_and_not_deliveries() {
        let grant = Grant { uses: Some(1), ..Grant::new(GrantKind::MultiUse, UnixTime(0)) };
        let used = grant.covers(UnixTime(1), KnownMessage::from([1; 16]), None).1.unwrap();
        assert!(!used.active(UnixTime(1)));
        assert_eq!(used.covers(UnixTime(2), KnownMessage::from([1; 16]), None), (true, None));
        assert_eq!(used.covers(UnixTime(2), KnownMessage::from([2; 16]), None), (false, None));
    }

    #[test]
    fn a_grant_without_limit_keeps_its_last_messages_in_mind() {
        let mut grant = Grant::new(GrantKind::MultiUse, UnixTime(0));
        for message in 0..=u8::try_from(Grant::REMEMBERED).unwrap() {
            grant = grant.covers(UnixTime(1), [message; 16].into(), None).1.unwrap();
        }
        assert_eq!(grant.used_for.len(), Grant::REMEMBERED);
        assert_eq!((grant.used_for.first(), grant.used_for.last()), (Some(&[1; 16].into()), Some(&[100; 16].into())));
        assert!(grant.active(UnixTime(1)));
    }

    #[test]
    fn a_return_grant_ends_ninety_days_after_its_window() {
        let day = |days: i64| UnixTime(days * 86_400);
        let grant = Grant::for_return(day(1), Some(day(10)));
        assert_eq!((grant.until, grant.uses), (Some(day(100).0), Some(20)));
        assert!(grant.active(day(100)) && !grant.active(day(100).plus(1)));
        assert_eq!(Grant::for_return(day(20), Some(day(10))).until, Some(day(110).0));
        assert_eq!(Grant::for_return(day(1), None).until, Some(day(91).0));
    }

    #[test]
    fn a_third_sender_suspends_a_return_grant() {
        let mut grant = Grant::for_return(UnixTime(0), None);
        for (message, from, covered) in
            [(1, "bob@y", true), (2, "Bob@y", true), (3, "bob@z", true), (4, "eve@x", false)]
        {
            let (covers, after) = grant.covers(UnixTime(5), [message; 16].into(), Some(from));
            assert_eq!(covers, covered, "{from}");
            grant = after.unwrap();
        }
        assert_eq!((grant.suspended, grant.used_for.len()), (Some(5), 3));
        // The messages before it stay known; nothing new is covered, from any sender.
        assert_eq!(grant.covers(UnixTime(6), [1; 16].into(), Some("bob@y")), (true, None));
        assert_eq!(grant.covers(UnixTime(6), [5; 16].into(), Some("bob@y")), (false, None));
        // Many senders may use a stamp that was granted to them.
        let mut many = Grant::new(GrantKind::MultiUse, UnixTime(0));
        for message in 0..9 {
            let (covers, after) = many.covers(UnixTime(5), [message; 16].into(), Some(&format!("{message}@x")));
            assert!(covers);
            many = after.unwrap();
        }
    }

    #[test]
    fn a_grant_of_the_first_format_reads() {
        let text = r#"{"kind":"multi-use","since":5,"until":9}"#;
        let grant: Grant = serde_json::from_str(text).unwrap();
        assert_eq!(grant, Grant { until: Some(9), ..Grant::new(GrantKind::MultiUse, UnixTime(5)) });
        assert_eq!(serde_json::to_string(&grant).unwrap(), text);
    }
}
