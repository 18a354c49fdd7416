//! What a caller wants a stamp for, and what he gets. Pure.

use crate::message::address::Address;
use crate::stamp::serial::Serial;
use crate::stamp::token::Token;
use crate::time::UnixTime;
use sha2::{Digest, Sha256};

/// What a stamp is reserved for: one message to one recipient. Whoever asks again with the same key gets the same stamp, so
/// that a sender who was killed neither buys nor uses a second one; and two keys never get the same stamp.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReservationKey(String);

impl ReservationKey {
    /// The key of this message (its fingerprint, or whatever else tells it apart) to this recipient.
    #[must_use]
    pub fn of(message: &[u8], recipient: &Address) -> Self {
        let mut hash = Sha256::new();
        // The length stands first, or bytes could move from one part to the other.
        hash.update((message.len() as u64).to_be_bytes());
        hash.update(message);
        hash.update(recipient.canonical().as_bytes());
        Self::hex(&hash.finalize())
    }

    /// The key with this text, as [`as_str`](Self::as_str) gave it.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Its text: hexadecimal digits if [`of`](Self::of) made it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn hex(bytes: &[u8]) -> Self {
        Self(data_encoding::HEXLOWER.encode(bytes))
    }
}

/// A stamp that is wanted. What is `None` follows what the recipient is known to prefer, then the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StampRequest {
    /// What for.
    pub key: ReservationKey,
    /// Whom it has to name.
    pub recipient: Address,
    /// At least so many credits.
    pub value: Option<u64>,
    /// Good for so many days from now.
    pub days: Option<u32>,
    /// Of this vendor.
    pub vendor: Option<String>,
    /// Whether it names the recipient by a salted hash, which the vendor then does not learn either.
    pub hashed: Option<bool>,
    /// The sender whom it names. A stamp of the wallet will do only if it names the same, or nobody where this is `None`.
    pub sender: Option<Address>,
    /// Whether it has to be bought, even if the wallet has one that would do.
    pub fresh: bool,
}

impl StampRequest {
    /// A stamp as the recipient and the configuration want it.
    #[must_use]
    pub fn new(key: ReservationKey, recipient: Address) -> Self {
        Self { key, recipient, value: None, days: None, vendor: None, hashed: None, sender: None, fresh: false }
    }
}

/// A stamp in the wallet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalletStamp {
    /// The stamp itself.
    pub token: Token,
    /// Who sold it.
    pub vendor: String,
    /// Its serial.
    pub serial: Serial,
    /// Whom it names.
    pub recipient: Address,
    /// Its value in credits.
    pub value: u64,
    /// The beginning of its window.
    pub not_before: Option<UnixTime>,
    /// The end of its window.
    pub expires: Option<UnixTime>,
    /// When it was bought.
    pub bought: UnixTime,
    /// What has become of it.
    pub state: WalletState,
}

/// What has become of a stamp in the wallet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WalletState {
    /// Anybody may have it.
    Unused,
    /// It is kept for this key.
    Reserved {
        /// The key.
        key: ReservationKey,
        /// Since when.
        at: UnixTime,
    },
    /// It left with the message of this key. It is remembered for a while, so that the same message gets the same stamp.
    Used {
        /// The key.
        key: ReservationKey,
        /// Since when.
        at: UnixTime,
    },
}
