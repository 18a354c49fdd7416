//! Ways to pay for stamps without an account. A way turns what a buyer shows into a [`Paid`]; the ledger settles it in the
//! transaction that sells the stamps, so that no payment buys twice. Vouchers are the way that needs nobody else; a
//! provider of payments can be added by implementing [`Payment`].

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
    /// A voucher, by the hash of its code; what it is worth beyond the stamps stays on it.
    Voucher(Hash),
    /// Money that a provider took for exactly these stamps.
    Elsewhere {
        /// `provider:reference`; each is taken once.
        reference: String,
        /// The credits that were paid for.
        credits: u64,
        /// What was paid.
        cost: Money,
    },
}

/// A way to pay.
pub trait Payment: Send + Sync {
    /// Its name: one word, in references and on pages.
    fn name(&self) -> &'static str;

    /// What `evidence` (a voucher's code, a provider's session) is good for. Settles nothing. `credits` and `cost` are what
    /// is to be paid.
    ///
    /// # Errors
    /// A sentence for the buyer.
    fn accept(&self, evidence: &str, credits: u64, cost: Money) -> Result<Paid, String>;
}

/// Payment by voucher codes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Vouchers;

impl Payment for Vouchers {
    fn name(&self) -> &'static str {
        "voucher"
    }

    fn accept(&self, evidence: &str, _credits: u64, _cost: Money) -> Result<Paid, String> {
        code_hash(evidence).map(Paid::Voucher).ok_or_else(|| "that is not the code of a voucher".to_owned())
    }
}

/// The hash under which the ledger knows a voucher; `None` if the text cannot be a code. Case, spaces and hyphens do not
/// count.
#[must_use]
pub fn code_hash(code: &str) -> Option<Hash> {
    let plain: String = code.chars().filter(|c| !c.is_whitespace() && *c != '-').collect();
    let plain = plain.to_ascii_uppercase();
    let fits = plain.len() == 32 && plain.bytes().all(|b| b.is_ascii_uppercase() || (b'2'..=b'7').contains(&b));
    fits.then(|| Hash::of(plain.as_bytes()))
}

/// A new voucher's code, in groups of four, and its hash.
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

/// A new API key's text.
pub(super) fn new_api_key() -> Result<Zeroizing<String>, LedgerError> {
    let mut text = Zeroizing::new(String::with_capacity(API_KEY.len() + 43));
    text.push_str(API_KEY);
    data_encoding::BASE64URL_NOPAD.encode_append(&random::<32>()?[..], &mut text);
    Ok(text)
}

/// What every API key begins with, so that it is known for one where it was left by mistake.
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
