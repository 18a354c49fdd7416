//! What the core asks of a used-serial log, and what the log may answer. The log itself is the store's affair.

use crate::grant::GrantKind;
use crate::message::fingerprint::Fingerprint;
use crate::stamp::serial::Serial;
use crate::time::UnixTime;
use serde::{Deserialize, Serialize};

/// One question to the used-serial log about one authentic stamp on one message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpendRequest {
    /// The vendor whose signature on the stamp was verified.
    pub vendor: String,
    /// The stamp's serial.
    pub serial: Serial,
    /// The end of its window; `None` for a stamp that never ends.
    pub expires: Option<UnixTime>,
    /// The message that carries it.
    pub fingerprint: Fingerprint,
    /// From whom it comes, as its From field says; encoded for printing. It decides nothing.
    pub from: Option<String>,
    /// Now.
    pub now: UnixTime,
    /// Within what the same message counts as seen again.
    pub redelivery: Redelivery,
    /// What may happen if nothing is known of the stamp.
    pub terms: Terms,
    /// Whether its window is over, and only mail that may come late can still be good: what the log has forgotten of such a
    /// stamp has simply ended.
    #[serde(default)]
    pub late: bool,
}

/// Whether the stamp may be spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Terms {
    /// Spend it if it is fresh.
    Spend,
    /// Never spend it: it is good only under a grant, or for a message that it was spent on before.
    LookUp,
}

/// How long and how often one message may come again with its stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redelivery {
    /// Seconds since the stamp was spent.
    pub within: i64,
    /// Times, the first not counted.
    pub times: u8,
}

impl Redelivery {
    /// As long and as often as the log remembers the stamp.
    pub const EVER: Self = Self { within: i64::MAX, times: u8::MAX };
}

/// What the log says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SpendResult {
    /// The user revoked the stamp, at this time.
    Revoked {
        /// When.
        since: UnixTime,
    },
    /// An active grant covers the stamp; nothing was spent.
    Granted(GrantKind),
    /// Never seen; with [`Terms::Spend`] it is spent now, with [`Terms::LookUp`] nothing was written.
    Fresh,
    /// Spent on this same message before, in time.
    Redelivery {
        /// When it was spent.
        first_seen: UnixTime,
        /// How often the message has come again, this time included.
        times: u8,
    },
    /// Spent on another message, or on this one too long ago or too often.
    DoubleSpend {
        /// When it was spent.
        first_seen: UnixTime,
    },
    /// Its window is over, and whether it was spent has been forgotten. It is not spent now.
    Ended,
}
