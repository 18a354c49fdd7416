//! Correspondents' own keys: two people who have exchanged keys recognise each other without a vendor (Baker's paper,
//! key-pair section). Pure: random numbers, time and what is known of a message are passed in.
//!
//! - [`announcement`] is the token in which a correspondent names their keys, and the way from earlier ones.
//! - [`sealing`] encrypts a stamp for one correspondent (RFC 9180).
//! - [`key_ring`] decides what becomes of a correspondent's keys.
//! - [`record`] is what is kept of one correspondent. [`incoming`] says what a received message changes in it, and
//!   [`outgoing`] what goes on a copy that is sent.
//! - [`gift`] makes the stamps that the user gives, and [`offer`] accepts those that a correspondent gave.
//!
//! Left out: the stamp itself and the proof of its use (`stamp`), its judgement (`verdict`), rows and files (`store`,
//! `directory`).

#![deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]

pub mod announcement;
pub mod gift;
pub mod incoming;
pub mod key_ring;
pub mod offer;
pub mod outgoing;
pub mod record;
pub mod sealing;

use crate::message::address::Address;
use crate::stamp::signing::PublicKey;
use crate::stamp::token::Issuer;
use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};

/// The field with an announcement.
pub const KEY_FIELD: &str = "Digital-Stamp-Key";
/// The field with a sealed stamp.
pub const SEALED_FIELD: &str = "Digital-Stamp-Sealed";

/// Sealed stamps of a message that are read: one for each of the user's keys that the sender may hold for theirs.
pub const SEALED_READ: usize = 3;
/// Correspondents of an owner whose keys are kept.
pub const CORRESPONDENTS_MAX: usize = 10_000;

/// Returns the name of a key in the footer of its stamps: the first 8 bytes of SHA-256 over the key, in base64url.
#[must_use]
pub fn key_id(key: &PublicKey) -> String {
    let digest: [u8; 32] = Sha256::digest(key.to_bytes()).into();
    BASE64URL_NOPAD.encode(&digest[..8])
}

/// Returns the issuer of an address's own stamps under this key. `None` for an address that no footer can name, since
/// it needs quotes or has capitals beyond ASCII.
#[must_use]
pub fn issuer(address: &Address, key: &PublicKey) -> Option<Issuer> {
    Issuer::new(&address.canonical(), &key_id(key)).ok()
}

/// Whether an address can have keys of its own: a footer can name it.
#[must_use]
pub fn can_have_keys(address: &Address) -> bool {
    Issuer::new(&address.canonical(), "k").is_ok()
}

/// Whether a member of a record is left out where it is written.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::signing::SecretKey;

    #[test]
    fn a_key_has_one_name_and_an_address_one_issuer() {
        let key = SecretKey::from_random(&[1; 32]).public();
        assert_eq!(key_id(&key).len(), 11);
        assert_ne!(key_id(&key), key_id(&SecretKey::from_random(&[2; 32]).public()));
        let of = |text: &str| issuer(&Address::parse(text).unwrap(), &key);
        assert_eq!(of("Bob@Y.example").unwrap().vendor(), "bob@y.example");
        assert_eq!(of("Bob@Y.example"), of("bob@y.example"));
        assert_eq!(of("\"bob b\"@y.example"), None);
        let can = |text: &str| can_have_keys(&Address::parse(text).unwrap());
        assert!(can("Bob@Y.example") && !can("\"bob b\"@y.example"));
    }
}
