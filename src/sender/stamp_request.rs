//! Request for a stamp, and the stamp in the wallet. Pure.

use crate::message::address::Address;
use crate::stamp::serial::Serial;
use crate::stamp::token::Token;
use crate::time::UnixTime;
use sha2::{Digest, Sha256};

/// Identifies the use of a stamp: one message to one recipient.
///
/// The same key always returns the same stamp, so a sender that was killed neither buys nor uses a second one. Two keys
/// never get the same stamp.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReservationKey(String);

impl ReservationKey {
    /// Returns the key of this message (its fingerprint, or another id) to this recipient.
    #[must_use]
    pub fn of(message: &[u8], recipient: &Address) -> Self {
        let mut hash = Sha256::new();
        // The length comes first, or bytes could move from one part to the other.
        hash.update((message.len() as u64).to_be_bytes());
        hash.update(message);
        hash.update(recipient.canonical().as_bytes());
        Self::hex(&hash.finalize())
    }

    /// Returns the key with this text, as [`as_str`](Self::as_str) returned it.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Returns its text: hexadecimal digits if it comes from [`of`](Self::of).
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn hex(bytes: &[u8]) -> Self {
        Self(data_encoding::HEXLOWER.encode(bytes))
    }
}

/// Request for a stamp. A field that is `None` follows the recipient's known preference, then the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StampRequest {
    /// Its use.
    pub key: ReservationKey,
    /// Recipient that it must name.
    pub recipient: Address,
    /// Minimum value in credits.
    pub value: Option<u64>,
    /// Lifetime in days from now.
    pub days: Option<u32>,
    /// Name of the vendor or account.
    pub vendor: Option<String>,
    /// Whether it contains only a salted hash of the recipient, which then hides the recipient from the vendor too.
    pub hashed: Option<bool>,
    /// Sender that it names. A stamp of the wallet must name the same one, or none if this is `None`.
    pub sender: Option<Address>,
    /// Whether it must be bought, even if the wallet has one that fits.
    pub fresh: bool,
}

impl StampRequest {
    /// Requests a stamp with the preferences of the recipient and the configuration.
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
    /// Name of the vendor.
    pub vendor: String,
    pub serial: Serial,
    /// Recipient that it names.
    pub recipient: Address,
    /// Its value in credits.
    pub value: u64,
    /// Start of its validity.
    pub not_before: Option<UnixTime>,
    /// End of its validity.
    pub expires: Option<UnixTime>,
    pub bought: UnixTime,
    pub state: WalletState,
}

/// State of a stamp in the wallet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WalletState {
    /// Any key may reserve it.
    Unused,
    /// It is reserved for this key.
    Reserved {
        key: ReservationKey,
        /// Since when.
        at: UnixTime,
    },
    /// It was sent with the message of this key. It is remembered for a while, so that the same message gets the same
    /// stamp.
    Used {
        key: ReservationKey,
        /// Since when.
        at: UnixTime,
    },
}
