//! ID of an offer: what a server gives out with a price, and accepts in payment once.
//!
//! It authenticates itself, so that nothing is written when a recipient is named: 8 random bytes, its end, and 16 bytes
//! of an HMAC over both, the mailbox and the price. To everyone but the servers that share the key it is an opaque
//! [`Serial`].

use crate::message::address::Address;
use crate::stamp::serial::Serial;
use crate::time::UnixTime;
use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;
use zeroize::{Zeroize, Zeroizing};

/// Bytes of a nonce.
pub const NONCE_LEN: usize = 8;
/// Bytes of the end: seconds since 1970, unsigned, big-endian. The last is in 2106.
const END_LEN: usize = 4;
/// Bytes of the HMAC that are kept.
const MAC_LEN: usize = 16;
/// Separates the key's use from any other.
const CONTEXT: &[u8] = b"emstamp-id\0";

/// Key of a server's IDs, of one kind, which all servers of a domain share. It is wiped from memory when dropped.
#[derive(Clone)]
pub struct IdKey([u8; 32]);

/// An ID is not one of this server's for this mailbox at this price, or it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Of another server, mailbox or price, under a forgotten key, or forged.
    #[error("not an ID of this server for this mailbox and price")]
    Foreign,
    #[error("the ID has ended")]
    Ended,
}

/// An end that no ID can have: before 1970 or after 2106-02-07T06:28:15Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no ID can end at {0}")]
pub struct EndError(pub UnixTime);

impl IdKey {
    /// Makes a key of 32 random bytes. The caller must wipe its copy.
    #[must_use]
    pub fn from_random(bytes: &[u8; 32]) -> Self {
        Self(*bytes)
    }

    /// Returns the bytes of the key, for its file.
    #[must_use]
    pub fn to_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Makes the ID of an offer. The nonce must be random and new.
    ///
    /// # Errors
    /// [`EndError`] if the end is out of range.
    pub fn issue(
        &self,
        nonce: [u8; NONCE_LEN],
        end: UnixTime,
        mailbox: &Address,
        price: u64,
    ) -> Result<Serial, EndError> {
        self.issue_about(&about(CONTEXT, mailbox, &price.to_be_bytes()), nonce, end)
    }

    /// As [`issue`](Self::issue), about anything.
    pub(super) fn issue_about(
        &self,
        about: &About<'_>,
        nonce: [u8; NONCE_LEN],
        end: UnixTime,
    ) -> Result<Serial, EndError> {
        let end = u32::try_from(end.0).map_err(|_| EndError(end))?;
        let mut bytes = [&nonce[..], &end.to_be_bytes()].concat();
        let mac = self.mac(about, &bytes).finalize().into_bytes();
        bytes.extend_from_slice(mac.get(..MAC_LEN).unwrap_or_default());
        Serial::new(BASE64URL_NOPAD.encode(&bytes)).map_err(|_| EndError(UnixTime(end.into())))
    }

    /// HMAC over the context, nonce and end (`head`), the canonical mailbox, NUL, and the rest. No canonical mailbox
    /// contains NUL.
    fn mac(&self, about: &About<'_>, head: &[u8]) -> Hmac<Sha256> {
        // HMAC pads a key with zeros to a block (RFC 2104 section 2).
        let mut block = Zeroizing::new([0; 64]);
        block[..32].copy_from_slice(&self.0);
        let mut mac = <Hmac<Sha256> as KeyInit>::new(&(*block).into());
        for piece in [about.context, head, about.mailbox.as_bytes(), b"\0", about.rest] {
            mac.update(piece);
        }
        mac
    }
}

/// What an ID is about.
pub(super) struct About<'a> {
    context: &'static [u8],
    /// In canonical form.
    mailbox: String,
    rest: &'a [u8],
}

/// Returns what an ID of this context is about.
pub(super) fn about<'a>(context: &'static [u8], mailbox: &Address, rest: &'a [u8]) -> About<'a> {
    About { context, mailbox: mailbox.canonical(), rest }
}

impl Drop for IdKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Without the key.
impl fmt::Debug for IdKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdKey")
    }
}

/// Checks that one of the keys made the ID for this mailbox at this price, and that it has not ended (its last second
/// included). Returns its end. The comparison takes the same time wherever the bytes differ.
///
/// # Errors
/// [`IdError`]; an ID that is not this server's is never said to have ended.
pub fn check(id: &Serial, keys: &[IdKey], mailbox: &Address, price: u64, now: UnixTime) -> Result<UnixTime, IdError> {
    check_about(&about(CONTEXT, mailbox, &price.to_be_bytes()), id.as_str(), keys, now)
}

/// As [`check`], about anything.
pub(super) fn check_about(about: &About<'_>, id: &str, keys: &[IdKey], now: UnixTime) -> Result<UnixTime, IdError> {
    let bytes = BASE64URL_NOPAD.decode(id.as_bytes()).map_err(|_| IdError::Foreign)?;
    let (head, mac) = bytes.split_at_checked(NONCE_LEN + END_LEN).ok_or(IdError::Foreign)?;
    let end = head.last_chunk().map(|end| UnixTime(u32::from_be_bytes(*end).into())).ok_or(IdError::Foreign)?;
    let is_whole = mac.len() == MAC_LEN;
    let is_of = |key: &IdKey| key.mac(about, head).verify_truncated_left(mac).is_ok();
    if !is_whole || !keys.iter().any(is_of) {
        Err(IdError::Foreign)
    } else if now > end {
        Err(IdError::Ended)
    } else {
        Ok(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const END: UnixTime = UnixTime(1_796_126_400);

    fn key(byte: u8) -> IdKey {
        IdKey::from_random(&[byte; 32])
    }

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    fn id() -> Serial {
        key(1).issue([7; 8], END, &address("alice@x.example"), 3).unwrap()
    }

    fn checked(id: &str, mailbox: &str, price: u64, now: i64) -> Result<UnixTime, IdError> {
        let keys = [key(2), key(1)];
        check(&Serial::new(id).unwrap(), &keys, &address(mailbox), price, UnixTime(now))
    }

    #[test]
    fn an_id_is_known_again_until_its_end() {
        let id = id();
        assert_eq!(id.as_str().len(), 38);
        for mailbox in ["alice@x.example", "Alice@X.Example.", "\"alice\"@x.example"] {
            assert_eq!(checked(id.as_str(), mailbox, 3, END.0), Ok(END), "{mailbox}");
        }
        assert_eq!(checked(id.as_str(), "alice@x.example", 3, END.0 + 1), Err(IdError::Ended));
        assert_eq!(check(&id, &[], &address("alice@x.example"), 3, END), Err(IdError::Foreign));
        // Another key's ID is foreign, also after its end.
        let other = key(3).issue([7; 8], END, &address("alice@x.example"), 3).unwrap();
        assert_eq!(checked(other.as_str(), "alice@x.example", 3, END.0 + 1), Err(IdError::Foreign));
    }

    #[test]
    fn an_id_fits_one_mailbox_and_price() {
        let id = id();
        for (mailbox, price) in
            [("bob@x.example", 3), ("alice@y.example", 3), ("alice@x.example", 2), ("alice@x.example", 4)]
        {
            assert_eq!(checked(id.as_str(), mailbox, price, END.0), Err(IdError::Foreign), "{mailbox} {price}");
        }
    }

    #[test]
    fn another_length_or_spelling_is_no_id() {
        let id = id();
        for cut in 1..id.as_str().len() {
            assert_eq!(checked(&id.as_str()[..cut], "alice@x.example", 3, END.0), Err(IdError::Foreign), "{cut}");
        }
        for more in ["A", "AA", "AAAA"] {
            let longer = format!("{id}{more}");
            assert_eq!(checked(&longer, "alice@x.example", 3, END.0), Err(IdError::Foreign), "{more}");
        }
    }

    #[test]
    fn an_end_fits_32_bits() {
        let of = |end: i64| key(1).issue([0; 8], UnixTime(end), &address("a@x.example"), 1).map(drop);
        assert_eq!((of(0), of(u32::MAX.into())), (Ok(()), Ok(())));
        for end in [-1, i64::from(u32::MAX) + 1, i64::MAX] {
            assert_eq!(of(end), Err(EndError(UnixTime(end))));
        }
    }

    #[test]
    fn a_key_does_not_show() {
        assert_eq!(format!("{:?}", key(0xab)), "IdKey");
    }

    proptest! {
        #[test]
        fn any_altered_character_is_noticed(
            nonce: [u8; 8], end in 0_u32.., price: u64, at in 0_usize..38, letter in "[A-Za-z0-9_-]",
        ) {
            let mailbox = address("alice@x.example");
            let end = UnixTime(end.into());
            let id = key(1).issue(nonce, end, &mailbox, price).unwrap();
            prop_assert_eq!(check(&id, &[key(1)], &mailbox, price, end), Ok(end));
            let mut other = id.as_str().to_owned();
            other.replace_range(at..=at, &letter);
            let found = check(&Serial::new(other.as_str()).unwrap(), &[key(1)], &mailbox, price, end);
            prop_assert_eq!(found.is_ok(), other == id.as_str());
        }

        #[test]
        fn any_other_mailbox_or_price_is_noticed(nonce: [u8; 8], name in "[a-z]{1,9}", price: u64, other: u64) {
            let (alice, mailbox) = (address("alice@x.example"), address(&format!("{name}@x.example")));
            let id = key(1).issue(nonce, END, &alice, price).unwrap();
            let same = mailbox == alice && price == other;
            prop_assert_eq!(check(&id, &[key(1)], &mailbox, other, END).is_ok(), same);
        }
    }
}
