//! What a judgement is made from: the user's addresses and prices, his policy, the keys he trusts. All of it is handed in
//! as values; where it comes from is the adapters' affair.

use super::spend::Redelivery;
use crate::message::address::{Address, Pattern};
use crate::stamp::serial::Serial;
use crate::stamp::signing::PublicKey;
use crate::stamp::token::Issuer;
use crate::time::UnixTime;

/// Everything that a judgement needs beside the message.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// The time at which windows are judged.
    pub now: UnixTime,
    /// The user's own mailboxes.
    pub mailboxes: &'a [Mailbox],
    /// The user's policy.
    pub policy: &'a Policy,
    /// The keys of the vendors that the user trusts.
    pub keys: &'a dyn KeyDirectory,
}

/// What the delivering program says of the message. Nothing in it is trusted beyond narrowing the recipient.
#[derive(Clone, Debug, Default)]
pub struct Envelope {
    /// The envelope sender as given; empty for the null sender.
    pub sender: Option<String>,
    /// The one recipient that this delivery is for. It narrows the user's own addresses and never adds one.
    pub recipient: Option<Address>,
}

/// One of the user's addresses, or a pattern of them, with the price that it asks.
#[derive(Clone, Debug)]
pub struct Mailbox {
    /// Which addresses.
    pub pattern: Pattern,
    /// Credits that a stamp must be worth.
    pub price: u64,
}

/// What the user accepts. The defaults are those of the manual.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Seconds by which two clocks may differ.
    pub skew: i64,
    /// The longest window accepted, in seconds.
    pub max_window: i64,
    /// Whether a stamp without an end is accepted; its serial is then remembered for ever.
    pub allow_no_expiry: bool,
    /// Seconds after its end during which a stamp is still accepted (paper: out of window *may* be rejected).
    pub expiry_grace: i64,
    /// How long and how often one message may come again.
    pub redelivery: Redelivery,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            skew: 5 * 60,
            max_window: 100 * DAY,
            allow_no_expiry: false,
            expiry_grace: 0,
            // A queue that is tried every 4,000 s for five days, as Postfix does, comes 108 times.
            redelivery: Redelivery { within: 5 * DAY, times: 200 },
        }
    }
}

const DAY: i64 = 24 * 60 * 60;

impl Policy {
    /// Seconds after its end for which a serial has to be remembered: as long as its stamp may be accepted, and then as
    /// long as the message may come again.
    #[must_use]
    pub fn grace(&self) -> i64 {
        self.skew.saturating_add(self.expiry_grace).saturating_add(self.redelivery.within)
    }
}

/// The keys that the user trusts, as they were read before the judgement began.
pub trait KeyDirectory {
    /// What is known of the key that an issuer names.
    fn key(&self, issuer: &Issuer) -> KeyFact;

    /// Whether the vendor has revoked this serial.
    fn revoked(&self, vendor: &str, serial: &Serial) -> bool;
}

/// What a directory knows of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyFact {
    /// The key, from sources that agree and are in date.
    Known(Box<VendorKey>),
    /// The user trusts no vendor of this name.
    UnknownVendor,
    /// The vendor is trusted, and has no key of this name.
    UnknownKey,
    /// Sources disagree.
    Conflict,
    /// The only document that lists the key is past its date.
    Stale,
}

/// One key of a vendor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VendorKey {
    /// The key itself.
    pub key: PublicKey,
    /// What the vendor says of it.
    pub status: KeyStatus,
    /// From when on it holds.
    pub not_before: Option<UnixTime>,
    /// Until when it holds.
    pub not_after: Option<UnixTime>,
}

/// What a vendor says of one of his keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyStatus {
    /// It signs stamps.
    Active,
    /// It signs no more; its stamps are good until they end.
    VerifyOnly,
    /// Nothing signed with it is good any more, from this time on.
    Revoked {
        /// From when on.
        since: UnixTime,
    },
}
