//! Meters: keys that sign payments from licensed credits of an account. Limits of licences, how a payment is known
//! again, and why an agency does not clear a token.
//!
//! A payment is one message to one mailbox, whatever ID its token names: a recipient who asks for a new token at each
//! attempt is paid once.

use super::hash::Hash;
use crate::stamp::signing::PublicKey;
use crate::time::UnixTime;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Longest life of a licence, in days.
pub const LICENSE_DAYS_MAX: u32 = 7;
/// Longest life of an ID, in seconds, hence of a token: a day.
pub const ID_TTL_MAX: i64 = 86_400;
/// How long after its end a token may be handed in, in seconds: 7 days.
pub const CLEARING_PERIOD: i64 = 7 * 86_400;

/// How much later, in seconds, a payment that was not cleared is void: an hour, by which the agency's clock may be set
/// back.
const VOID_MARGIN: i64 = 3_600;

/// Returns the name of a meter's key: `m` and the first 16 hexadecimal digits of its SHA-256.
///
/// Both sides compute it, so the first request of a new key can name it.
#[must_use]
pub fn key_name(key: &PublicKey) -> String {
    let hash = Hash::of(&key.to_bytes()).to_string();
    format!("m{}", hash.get(..16).unwrap_or(&hash))
}

/// Returns the hash by which a payment is known: SHA-256 over `emstamp-payment`, a zero, the payer's account number
/// (8 bytes, big endian), the mailbox in canonical form, a zero, and the 32 bytes of the message's fingerprint.
#[must_use]
pub fn payment_hash(payer: u64, mailbox: &str, fingerprint: &[u8; 32]) -> Hash {
    let hash = Sha256::new().chain_update(b"emstamp-payment\0").chain_update(payer.to_be_bytes());
    Hash(hash.chain_update(mailbox).chain_update([0]).chain_update(fingerprint).finalize().into())
}

/// Returns the time after which a token with this end is no longer cleared.
#[must_use]
pub fn last_clearing(end: UnixTime) -> UnixTime {
    end.plus(CLEARING_PERIOD)
}

/// Returns whether no token with this end will be cleared any more, so that its payer may use the credits again.
#[must_use]
pub fn is_void(end: UnixTime, now: UnixTime) -> bool {
    last_clearing(end).plus(VOID_MARGIN) < now
}

/// Returns the time after which the rest of a licence returns to its account: no token of it can be cleared then.
#[must_use]
pub fn closing(until: UnixTime) -> UnixTime {
    last_clearing(until.plus(ID_TTL_MAX))
}

/// Reason why an agency does not clear a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "problem", rename_all = "kebab-case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum ClearingProblem {
    /// Not a token, cut, changed, or signed by another key.
    #[error("not a token of this meter")]
    BadToken,
    /// It names another agency.
    #[error("a token of another agency")]
    OtherAgency,
    /// The agency has licensed no meter of this name.
    #[error("this agency has no licence of this name")]
    UnknownLicense,
    /// It pays another account.
    #[error("it pays another account")]
    NotYourToken,
    /// Its end is more than 7 days ago, or its meter's licence ended before it was made.
    #[error("it can no longer be cleared")]
    Expired,
    /// A token for the same message and mailbox was cleared.
    #[error("this payment was cleared in entry {entry}")]
    ClearedBefore {
        /// The entry of the ledger.
        entry: u64,
    },
    /// The licence has fewer credits left. The agency pays none of the token.
    #[error("its licence has only {rest} credits left")]
    OverLimit {
        /// Credits that are left.
        rest: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::signing::SecretKey;

    // Made with Python: hashlib.sha256(b"emstamp-payment\0" + (7).to_bytes(8, "big") + b"joe@far.example\0" + bytes(32))
    #[test]
    fn a_payment_is_known_by_payer_mailbox_and_message() {
        let hash = payment_hash(7, "joe@far.example", &[0; 32]);
        assert_eq!(hash.to_string(), "6ade5a4f83352ed778489d425f295657c35157be5b32ea57ee3c0457f77e8ad0");
        for other in [
            payment_hash(8, "joe@far.example", &[0; 32]),
            payment_hash(7, "jane@far.example", &[0; 32]),
            payment_hash(7, "joe@far.example", &[1; 32]),
        ] {
            assert_ne!(hash, other);
        }
    }

    #[test]
    fn the_name_of_a_key_is_the_beginning_of_its_hash() {
        let key = SecretKey::from_random(&[7; 32]).public();
        let name = key_name(&key);
        assert_eq!(name.len(), 17);
        assert!(Hash::of(&key.to_bytes()).to_string().starts_with(&name[1..]));
        assert!(crate::stamp::token::Issuer::new("stamps.example", &name).is_ok());
    }

    #[test]
    fn a_licence_is_closed_when_its_last_token_can_no_longer_be_cleared() {
        let until = UnixTime(1_000_000);
        assert_eq!(closing(until), UnixTime(1_000_000 + 8 * 86_400));
        assert_eq!(closing(until), last_clearing(until.plus(ID_TTL_MAX)));
        assert!(!is_void(until, last_clearing(until).plus(VOID_MARGIN)));
        assert!(is_void(until, last_clearing(until).plus(VOID_MARGIN + 1)));
    }
}
