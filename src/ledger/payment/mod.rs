//! Payment for stamps without an account, in three steps. A [`Payment`] begins, and tells the buyer what to do. It
//! completes when the evidence is there, with a [`Paid`]. The ledger settles that in the transaction that sells the
//! stamps. It is refunded if the sale was rejected.
//!
//! - No step of a payment runs in the writer of the books, so a slow one delays no other sale.
//! - A purchase is settled once: it has one idempotency key, whichever payment completes it, and however often. After a
//!   crash between completion and sale, the buyer sends the form again.
//! - Evidence may be a secret. No error and no log contains it.
//!
//! [`Vouchers`] need no other party; [`work`] and [`code`] are for stamps without value. `provider` asks an adapter of a
//! provider of payments; `cashu` takes tokens of mints. `exclusive` keeps a purchase from being paid in two ways.

#[cfg(feature = "sender")]
pub mod cashu;
pub mod code;
#[cfg(feature = "sender")]
pub mod exclusive;
#[cfg(feature = "sender")]
pub mod provider;
pub mod work;

use super::error::LedgerError;
use super::rejection::Rejection;
use crate::accounting::hash::Hash;
use crate::accounting::money::Money;
use crate::accounting::order::Order;
use crate::accounting::work::Gift;
use crate::directory::signing_key::SecretError;
use crate::os::random;
use crate::time::UnixTime;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// A payment that can be settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Paid {
    /// A voucher, by the hash of its code; value beyond the stamps stays on it.
    Voucher(Hash),
    /// Money that a provider received for these stamps.
    Elsewhere {
        /// `provider:reference`; each is accepted once.
        reference: String,
        /// The amount; at least the price.
        cost: Money,
    },
    /// Work or a code, for a stamp without value.
    Given(Gift),
}

/// A purchase that is not paid yet.
#[derive(Clone, Debug)]
pub struct Due {
    /// Its idempotency key in the ledger, new for each purchase.
    pub purchase: String,
    /// What is ordered.
    pub order: Order,
    /// Its price.
    pub cost: Money,
}

impl Due {
    /// Returns the hash of the purchase and its order, to which a payment is bound.
    #[must_use]
    pub fn hash(&self) -> Hash {
        // An order can always be serialized as JSON.
        let order = serde_json::to_vec(&self.order).unwrap_or_default();
        let hash = Sha256::new().chain_update(Sha256::digest(&self.purchase));
        Hash(hash.chain_update(Sha256::digest(order)).finalize().into())
    }
}

/// What the buyer does after the beginning of a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// The buyer enters what they have: the code of a voucher, or one that was mailed.
    Enter,
    /// The buyer's browser works on this challenge.
    Work(Challenge),
    /// The buyer pays on the page at this address.
    Pay(String),
}

/// Challenge for a visitor's browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The text over which the rounds are computed.
    pub nonce: String,
    pub rounds: u32,
}

/// State of a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Completion {
    /// It is complete, and can be settled.
    Paid(Paid),
    /// The money is on its way. The buyer, or a timer, asks again.
    Pending,
}

/// What became of a payment whose sale was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refund {
    /// It was returned.
    Returned,
    /// The provider did not answer. It is asked again when the buyer sends the form again.
    Later,
    /// Nothing had been taken: only the sale takes it.
    NothingTaken,
    /// The payment cannot be returned.
    Never,
}

/// Reason why a payment is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum PaymentError {
    /// The evidence is wrong. The code says in which way.
    #[error("{1}")]
    Evidence(&'static str, String),
    /// Others are served first; try again.
    #[error("the vendor is checking the work of other visitors; try again in some seconds")]
    Busy,
    /// The provider's adapter did not do its part. For the operator, too.
    #[error("payment provider {0}")]
    Provider(String),
    /// Another party did not do its part. The operator is told one text, and the buyer the other.
    #[error("{log}")]
    Told { log: String, text: String },
    /// The ledger, or the mail server, did not do its part.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// A payment method. Its steps may wait for others, and are called outside of the writer of the books.
pub trait Payment: Send + Sync {
    /// Begins the payment of a purchase, and tells what the buyer has to do. `contact` is the buyer's address, for
    /// methods that need one.
    ///
    /// # Errors
    /// The method does not serve this purchase, or not now.
    fn begin(&self, due: &Due, contact: Option<&str>, now: UnixTime) -> Result<Begun, PaymentError>;

    /// Checks the evidence of a payment: the code of a voucher, the result of work. Settles nothing.
    ///
    /// # Errors
    /// [`PaymentError::Evidence`] for the buyer, and others.
    fn complete(&self, due: &Due, evidence: &str, now: UnixTime) -> Result<Completion, PaymentError>;

    /// Returns a completed payment whose sale the ledger rejected.
    fn refund(&self, due: &Due, paid: &Paid) -> Refund;
}

/// Payment by voucher codes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Vouchers;

impl Payment for Vouchers {
    fn begin(&self, _: &Due, _: Option<&str>, _: UnixTime) -> Result<Begun, PaymentError> {
        Ok(Begun::Enter)
    }

    fn complete(&self, _: &Due, evidence: &str, _: UnixTime) -> Result<Completion, PaymentError> {
        let voucher = code_hash(evidence).ok_or(LedgerError::from(Rejection::NoVoucher))?;
        Ok(Completion::Paid(Paid::Voucher(voucher)))
    }

    fn refund(&self, _: &Due, _: &Paid) -> Refund {
        // The sale takes the credits, and it was rejected.
        Refund::NothingTaken
    }
}

/// Returns the hash of a voucher's code; `None` if the text cannot be a code. Case, spaces and hyphens do not count.
#[must_use]
pub fn code_hash(code: &str) -> Option<Hash> {
    let plain: String = code.chars().filter(|c| !c.is_whitespace() && *c != '-').collect();
    let plain = plain.to_ascii_uppercase();
    let fits = plain.len() == 32 && plain.bytes().all(|b| b.is_ascii_uppercase() || (b'2'..=b'7').contains(&b));
    fits.then(|| Hash::of(plain.as_bytes()))
}

/// Creates a voucher's code, in groups of four, and its hash.
pub(super) fn new_code() -> Result<(Zeroizing<String>, Hash), LedgerError> {
    let bytes = random::<20>()?;
    let plain = Zeroizing::new(data_encoding::BASE32_NOPAD.encode(&bytes[..]));
    Ok((in_groups(&plain), Hash::of(plain.as_bytes())))
}

/// Writes a code in groups of four letters, for people.
fn in_groups(plain: &str) -> Zeroizing<String> {
    // No growth, which would leave a copy behind.
    let mut code = Zeroizing::new(String::with_capacity(plain.len() + plain.len() / 4));
    for (at, letter) in plain.chars().enumerate() {
        if at > 0 && at % 4 == 0 {
            code.push('-');
        }
        code.push(letter);
    }
    code
}

/// Creates the text of an API key.
pub(super) fn new_api_key() -> Result<Zeroizing<String>, LedgerError> {
    let mut text = Zeroizing::new(String::with_capacity(API_KEY.len() + 43));
    text.push_str(API_KEY);
    data_encoding::BASE64URL_NOPAD.encode_append(&random::<32>()?[..], &mut text);
    Ok(text)
}

/// Prefix of every API key, by which one that leaked is recognized.
const API_KEY: &str = "msk_";

pub(super) fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, LedgerError> {
    let mut bytes = Zeroizing::new([0; N]);
    random::fill(bytes.as_mut_slice()).map_err(SecretError::Random)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_known_however_it_is_typed() {
        let (code, hash) = new_code().unwrap();
        assert_eq!(code.len(), 39);
        for typed in [code.to_string(), code.to_lowercase(), code.replace('-', " "), code.replace('-', "")] {
            assert_eq!(code_hash(&typed), Some(hash), "{typed}");
        }
        assert_ne!(new_code().unwrap().1, hash);
        for wrong in ["", "AAAA", &code[1..], &code.replace('-', "1")] {
            assert_eq!(code_hash(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_api_key_has_256_random_bits() {
        let key = new_api_key().unwrap();
        assert_eq!((key.len(), &key[..4]), (47, "msk_"));
        assert_ne!(*new_api_key().unwrap(), *key);
    }
}
