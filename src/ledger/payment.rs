//! Payment for stamps without an account. A payment method turns a buyer's evidence into a [`Paid`], which the ledger
//! settles in the transaction that sells the stamps. No payment therefore buys twice.
//!
//! Vouchers need no other party. A payment provider can be added by implementing [`Payment`].

use super::error::LedgerError;
use crate::accounting::hash::Hash;
use crate::accounting::money::Money;
use crate::directory::signing_key::SecretError;
use crate::os::random;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// A payment that can be settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Paid {
    /// A voucher, by the hash of its code; value beyond the stamps stays on it.
    Voucher(Hash),
    /// Money that a provider received for exactly these stamps.
    Elsewhere {
        /// `provider:reference`; each is accepted once.
        reference: String,
        /// Credits that were paid for.
        credits: u64,
        /// The amount.
        cost: Money,
    },
}

/// A payment method.
pub trait Payment: Send + Sync {
    /// Checks `evidence` (a voucher's code, a provider's session) for a price of `credits` and `cost`. Settles nothing.
    ///
    /// # Errors
    /// A sentence for the buyer.
    fn accept(&self, evidence: &str, credits: u64, cost: Money) -> Result<Paid, String>;
}

/// Payment by voucher codes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Vouchers;

impl Payment for Vouchers {
    fn accept(&self, evidence: &str, _credits: u64, _cost: Money) -> Result<Paid, String> {
        code_hash(evidence).map(Paid::Voucher).ok_or_else(|| "not a voucher's code".to_owned())
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
    let mut code = Zeroizing::new(String::with_capacity(40));
    for (at, letter) in plain.chars().enumerate() {
        if at > 0 && at % 4 == 0 {
            code.push('-');
        }
        code.push(letter);
    }
    Ok((code, Hash::of(plain.as_bytes())))
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
