//! Requests to a used log, and its answers. The store implements the log.

use super::owner::Owner;
use crate::grant::GrantKind;
use crate::message::fingerprint::KnownMessage;
use crate::stamp::serial::Serial;
use crate::time::UnixTime;
use serde::{Deserialize, Serialize};

/// One request to the used log about one authentic stamp on one message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpendRequest {
    /// The vendor whose signature on the stamp was verified.
    pub vendor: String,
    /// The stamp's serial.
    pub serial: Serial,
    /// The end of its window; `None` for a stamp that never ends.
    pub expires: Option<UnixTime>,
    /// The message that carries it.
    pub message: KnownMessage,
    /// Whose mail it is, of all who share the log. A stamp is spent once, for all of them.
    #[serde(default, skip_serializing_if = "Owner::is_default")]
    pub owner: Owner,
    /// The sender, as the From field says; encoded for printing. It decides nothing.
    pub from: Option<String>,
    /// The current time.
    pub now: UnixTime,
    /// Limits within which the same message counts as a redelivery.
    pub redelivery: Redelivery,
    /// What may happen if the stamp is unknown to the log.
    pub terms: Terms,
    /// Whether the window is over, so that only late mail can still be good.
    /// If the log has purged such a stamp, it counts as ended.
    #[serde(default)]
    pub late: bool,
    /// Rows of stamps that ended long enough before this time may be purged by the way; none if it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purge_until: Option<UnixTime>,
    /// How often stamps of one kind are spent, where that has a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap: Option<Cap>,
}

/// A limit on how often stamps of one kind are spent. A redelivery does not count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cap {
    /// What is counted. Another time has another name.
    pub name: Serial,
    /// The end of the time in which it is counted.
    pub until: UnixTime,
    /// Stamps that are spent until then; 0 where the user wants none any more.
    pub most: u8,
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

/// Limits of the redelivery of one message with its stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redelivery {
    /// Seconds since the stamp was spent.
    pub within: i64,
    /// Redeliveries, the first delivery not counted.
    pub times: u8,
}

impl Redelivery {
    /// As long and as often as the log keeps the stamp.
    pub const EVER: Self = Self { within: i64::MAX, times: u8::MAX };
}

/// The log's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SpendResult {
    /// The user revoked the stamp, at this time.
    Revoked { since: UnixTime },
    /// An active grant covers the stamp; nothing was spent.
    Granted(GrantKind),
    /// Not in the log. With [`Terms::Spend`] it is spent now, with [`Terms::LookUp`] nothing is written.
    Fresh,
    /// Spent on this same message before, within the limits.
    Redelivery {
        /// When it was spent.
        first_seen: UnixTime,
        /// Redeliveries of the message, this one included.
        times: u8,
    },
    /// Spent on another message, or on this one too long ago or too often.
    DoubleSpend {
        /// When it was spent.
        first_seen: UnixTime,
    },
    /// Spent on this same message before, by a delivery to another owner.
    OtherOwner,
    /// Not in the log, but as many of its kind as the [`Cap`] allows. It is not spent.
    TooOften,
    /// The window is over, and the log no longer knows whether it was spent. It is not spent now.
    Ended,
}
