//! What callers ask of the bank, and what they get.

use crate::accounting::bank::books::PaymentState;
use crate::accounting::hash::Hash;
use crate::time::UnixTime;
use sha2::{Digest as _, Sha256};

/// A payment that is to be reserved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentOrder {
    /// Name of the payment ([`payment_hash`](crate::accounting::meter::payment_hash)).
    pub payment: Hash,
    /// Recipient, as the receiver wrote it.
    pub mailbox: String,
    /// Fingerprint of the message.
    pub fingerprint: String,
    /// ID of the receiver's offer.
    pub id: String,
    /// Price.
    pub credits: u64,
    /// End of the ID.
    pub until: UnixTime,
    /// Account that is paid.
    pub peer: String,
    /// Whether a reservation under another ID moves to this one: the receiver wanted none of the other.
    pub renew: bool,
}

/// Reserved payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    pub payment: Hash,
    /// ID that the token names.
    pub id: String,
    pub credits: u64,
    /// End of the token.
    pub until: UnixTime,
    pub token: String,
    pub state: PaymentState,
    /// Whether it was reserved before, and nothing was written now.
    pub again: bool,
}

/// Token that came with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncomingToken {
    pub id: String,
    /// Name of the mailbox and the message: [`copy_name`].
    pub copy: Hash,
    /// Licence of the payer.
    pub peer: String,
    pub credits: u64,
    /// End of the token.
    pub until: UnixTime,
    pub token: String,
    /// Most credits of this payer that may be open.
    pub max_exposure: u64,
}

/// Computes the name of a message to a mailbox.
#[must_use]
pub fn copy_name(mailbox: &str, fingerprint: &[u8]) -> Hash {
    let hash = Sha256::new().chain_update(b"emstamp-copy\0").chain_update(mailbox);
    Hash(hash.chain_update([0]).chain_update(fingerprint).finalize().into())
}
