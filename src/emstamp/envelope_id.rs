//! Envelope ID (ENVID, RFC 3461 section 4.4) of a message that leaves by a gateway. A report about the message contains
//! it (RFC 3464 section 2.2.1), and so shows that it is one.
//!
//! It is made as an [`id`] is, without a note: 8 random bytes, its end, and 16 bytes of an HMAC over both
//! and the envelope sender, to whom reports go. Its letters are `A-Z a-z 0-9 - _`, which need no xtext.

use super::id::{self, EndError, IdError, IdKey, NONCE_LEN};
use crate::message::address::Address;
use crate::stamp::serial::Serial;
use crate::time::UnixTime;

/// How long a report may come after its message, in seconds: 30 days.
pub const LIFE: i64 = 30 * 86_400;
/// Most reports about one message, as a server hands it over.
pub const REPORTS_MAX: usize = 5;
/// Separates the use of a key from any other.
const CONTEXT: &[u8] = b"emstamp-envid\0";

/// Makes the ID of a message of this envelope sender. The nonce must be random and new.
///
/// # Errors
/// [`EndError`] if the end is out of range.
pub fn issue(key: &IdKey, nonce: [u8; NONCE_LEN], end: UnixTime, sender: &Address) -> Result<Serial, EndError> {
    key.issue_about(&id::about(CONTEXT, sender, b""), nonce, end)
}

/// Checks that one of the keys made the ID for a message of this sender, and that it has not ended. Returns its end.
///
/// # Errors
/// [`IdError`], as [`id::check`].
pub fn check(id: &str, keys: &[IdKey], sender: &Address, now: UnixTime) -> Result<UnixTime, IdError> {
    id::check_about(&id::about(CONTEXT, sender, b""), id, keys, now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const END: UnixTime = UnixTime(1_796_126_400);

    fn key(byte: u8) -> IdKey {
        IdKey::from_random(&[byte; 32])
    }

    fn ann() -> Address {
        Address::parse("ann@x.example").unwrap()
    }

    #[test]
    fn an_id_is_known_again_for_its_sender_until_its_end() {
        let id = issue(&key(1), [7; 8], END, &ann()).unwrap();
        assert_eq!(id.as_str().len(), 38);
        let checked = |sender: &str, now: i64| {
            check(id.as_str(), &[key(2), key(1)], &Address::parse(sender).unwrap(), UnixTime(now))
        };
        for sender in ["ann@x.example", "Ann@X.Example.", "\"ann\"@x.example"] {
            assert_eq!(checked(sender, END.0), Ok(END), "{sender}");
        }
        assert_eq!(checked("ann@x.example", END.0 + 1), Err(IdError::Ended));
        for sender in ["ben@x.example", "ann@y.example", "ann+a@x.example"] {
            assert_eq!(checked(sender, END.0), Err(IdError::Foreign), "{sender}");
        }
        assert_eq!(check(id.as_str(), &[key(3)], &ann(), END), Err(IdError::Foreign));
        for text in ["", "QQ314156", &format!("{id}A"), &format!("{id}="), &id.as_str()[1..]] {
            assert_eq!(check(text, &[key(1)], &ann(), END), Err(IdError::Foreign), "{text}");
        }
    }

    /// An offer shows its ID to every client.
    #[test]
    fn the_id_of_an_offer_is_none_of_a_message() {
        for price in [0, 1, u64::MAX] {
            let offer = key(1).issue([7; 8], END, &ann(), price).unwrap();
            assert_eq!(check(offer.as_str(), &[key(1)], &ann(), END), Err(IdError::Foreign));
            let id = issue(&key(1), [7; 8], END, &ann()).unwrap();
            assert_eq!(id::check(&id, &[key(1)], &ann(), price, END), Err(IdError::Foreign));
        }
    }

    proptest! {
        #[test]
        fn any_altered_character_is_noticed(nonce: [u8; 8], at in 0_usize..38, letter in "[A-Za-z0-9_-]") {
            let id = issue(&key(1), nonce, END, &ann()).unwrap();
            let mut other = id.as_str().to_owned();
            other.replace_range(at..=at, &letter);
            prop_assert_eq!(check(&other, &[key(1)], &ann(), END).is_ok(), other == id.as_str());
        }
    }
}
