//! Problems of a vendor's log or directory, each with its word and its sentence.

use super::state::{AcceptedStamp, KnownEdition};
use super::{Head, date};
use crate::transparency::leaf::{DAY, day_of};
use crate::transparency::reader::{LogError, SourceError};
use crate::transparency::witness::Shortfall;

/// How long a log may be behind a head that was signed, or lack files or cosignatures, in seconds: two days.
const BEHIND: i64 = 2 * DAY;
/// How long a log may be away, in seconds: nine days.
const AWAY: i64 = 9 * DAY;

/// Something that an honest vendor does not do, or not for long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// Two signed heads of which neither continues the other.
    Split { one: Box<Head>, other: Box<Head> },
    /// The log is smaller than a head that was signed.
    RolledBack { known: Box<Head>, served: Box<Head> },
    /// A file is missing, or is not the one of the tree.
    File(LogError),
    /// A stamp that was accepted is not in the log.
    Missing {
        serial: String,
        stamp: AcceptedStamp,
        day: Option<u32>,
        /// The day with which the log ends, where that is before the day.
        ends: Option<u32>,
    },
    /// An edition of the directory that does not continue a known one, and the editions between.
    Forked { known: Box<KnownEdition>, now: Box<KnownEdition>, between: Vec<(u64, String)> },
    /// An edition of the directory cannot be read, so that the chain is not verified.
    Unread { version: u64, problem: SourceError },
    /// Too few of the user's witnesses cosigned the head.
    Unwitnessed(Shortfall),
    /// A stamp is in the log with another value.
    Value { serial: String, accepted: u64, logged: u64 },
}

impl Problem {
    /// Returns the word for it in JSON.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Split { .. } => "split-view",
            Self::RolledBack { .. } => "rolled-back",
            Self::File(LogError::Read { .. }) => "unreadable",
            Self::File(LogError::Cut { .. }) => "cut",
            Self::File(_) => "changed",
            Self::Missing { .. } => "not-logged",
            Self::Value { .. } => "other-value",
            Self::Forked { .. } => "directory-forked",
            Self::Unread { .. } => "unreadable",
            Self::Unwitnessed(_) => "unwitnessed",
        }
    }

    /// Returns for how many seconds it may last without being an alarm. `None` for what no honest vendor does, at any
    /// time.
    ///
    /// A copy, a cache or a web server that is brought up to date may be behind for a while, and any server may be away.
    #[must_use]
    pub const fn patience(&self) -> Option<i64> {
        match self {
            Self::RolledBack { .. }
            | Self::Unwitnessed(_)
            | Self::File(LogError::Read { problem: SourceError::Absent, .. }) => Some(BEHIND),
            Self::Unread { .. } | Self::File(LogError::Read { problem: SourceError::Unread(_), .. }) => Some(AWAY),
            _ => None,
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Split { one, other } => write!(
                f,
                "two signed heads contradict each other: {} with {} leaves, {} with {} leaves",
                one.from, one.checkpoint.size, other.from, other.checkpoint.size
            ),
            Self::RolledBack { known, served } => write!(
                f,
                "the log was rolled back: {} has {} leaves, and the head of {} has {}",
                served.from, served.checkpoint.size, known.from, known.checkpoint.size
            ),
            Self::File(error) => error.fmt(f),
            Self::Missing { serial, stamp, day, ends } => {
                write!(f, "stamp {serial}, accepted on {}, is not in the log", date(day_of(stamp.accepted)))?;
                match (day, ends) {
                    (_, Some(end)) => write!(f, ", which ends with {}", date(*end)),
                    (Some(day), None) => {
                        write!(f, " of {}: the vendor sold a stamp that it did not book", date(*day))
                    }
                    (None, None) => f.write_str(": the vendor sold a stamp that it did not book"),
                }
            }
            Self::Forked { known, now, .. } => write!(
                f,
                "the directory was rewritten: version {} does not continue version {}, which was signed before",
                now.version, known.version
            ),
            Self::Unread { version, problem } => {
                write!(f, "version {version} of the directory, which is between two that are known: {problem}")
            }
            Self::Unwitnessed(shortfall) => shortfall.fmt(f),
            Self::Value { serial, accepted, logged } => {
                write!(f, "stamp {serial} was accepted for {accepted} credits, and the log has it with {logged}")
            }
        }
    }
}
