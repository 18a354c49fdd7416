//! Classes of mail, each with its stable name and its exit status. The user's actions decide what a class leads to.

use std::fmt;

/// The class of a message. The order is the order of the manual's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// A good stamp: let it through.
    FirstClass,
    /// No good stamp, but a rule of the user allows it.
    Allowed,
    /// No stamp.
    Unstamped,
    /// A good stamp whose value is below this mailbox's price.
    Underpaid,
    /// A stamp that cannot be judged here.
    Unverified,
    /// A stamp that is no good.
    Invalid,
    /// Its stamp was already used by another message.
    Used,
    /// Its stamp, or the grant on it, was revoked.
    Revoked,
}

impl Class {
    /// Every class, in the order of the manual.
    pub const ALL: [Self; 8] = [
        Self::FirstClass,
        Self::Allowed,
        Self::Unstamped,
        Self::Underpaid,
        Self::Unverified,
        Self::Invalid,
        Self::Used,
        Self::Revoked,
    ];

    /// Returns the stable name of the class.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FirstClass => "first-class",
            Self::Allowed => "allowed",
            Self::Unstamped => "unstamped",
            Self::Underpaid => "underpaid",
            Self::Unverified => "unverified",
            Self::Invalid => "invalid",
            Self::Used => "used",
            Self::Revoked => "revoked",
        }
    }

    /// Returns the exit status of `classify`.
    /// No status has another meaning to a mail system: 1, 2, 99, 100, 101, 111 and 126 up are taken by shells and
    /// agents, 64 to 78 by sysexits(3).
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::FirstClass => 0,
            Self::Allowed => 10,
            Self::Unstamped => 11,
            Self::Underpaid => 12,
            Self::Unverified => 13,
            Self::Invalid => 20,
            Self::Used => 21,
            Self::Revoked => 22,
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
