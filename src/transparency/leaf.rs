//! Leaves of the log: what happened to one stamp, payment or licence, on a day. A leaf has no name and no address. The
//! serial of a stamp is 128 random bits, so its leaf is found by those who have the stamp.

use crate::time::UnixTime;
use sha2::{Digest, Sha256};

/// Seconds of a day.
pub const DAY: i64 = 86_400;
/// Length of a leaf in bytes.
pub const LENGTH: usize = 45;

/// Kind of a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LeafKind {
    /// A stamp was sold.
    Issued,
    /// A used stamp was taken back.
    Deposited,
    /// An unused stamp was taken back. This program does not make such leaves.
    Refunded,
    /// A stamp was revoked.
    Revoked,
    /// A token of a meter was cleared.
    Cleared,
    /// A meter was licensed.
    Licensed,
}

impl LeafKind {
    /// All kinds, each with its word.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::Issued, "issued"),
        (Self::Deposited, "deposited"),
        (Self::Refunded, "refunded"),
        (Self::Revoked, "revoked"),
        (Self::Cleared, "cleared"),
        (Self::Licensed, "licensed"),
    ];

    /// Returns the byte with which its leaves begin.
    #[must_use]
    pub const fn byte(self) -> u8 {
        match self {
            Self::Issued => 1,
            Self::Deposited => 2,
            Self::Refunded => 3,
            Self::Revoked => 4,
            Self::Cleared => 5,
            Self::Licensed => 6,
        }
    }

    /// Returns the kind of this byte, if there is one.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().map(|(kind, _)| kind).find(|kind| kind.byte() == byte)
    }
}

/// A leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Leaf {
    pub kind: LeafKind,
    /// What it is about: a hash of [`stamp`], [`payment`] or [`license`].
    pub subject: [u8; 32],
    /// Its value in credits. A licence has its limit.
    pub value: u64,
    /// The day in UTC, counted from 1970-01-01.
    pub day: u32,
}

impl Leaf {
    /// Returns the bytes: kind (1), subject (32), value (8) and day (4), numbers in big endian.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        let (kind, rest) = bytes.split_at_mut(1);
        let (subject, rest) = rest.split_at_mut(32);
        let (value, day) = rest.split_at_mut(8);
        kind.copy_from_slice(&[self.kind.byte()]);
        subject.copy_from_slice(&self.subject);
        value.copy_from_slice(&self.value.to_be_bytes());
        day.copy_from_slice(&self.day.to_be_bytes());
        bytes
    }

    /// Parses the bytes of a leaf. `None` for another length, or an unknown kind.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&[kind], rest) = bytes.split_first_chunk::<1>()?;
        let (subject, rest) = rest.split_first_chunk::<32>()?;
        let (value, day) = rest.split_first_chunk::<8>()?;
        let kind = LeafKind::from_byte(kind)?;
        let day = u32::from_be_bytes(day.try_into().ok()?);
        Some(Self { kind, subject: *subject, value: u64::from_be_bytes(*value), day })
    }
}

/// Returns the subject of a stamp's leaves: SHA-256 over `serial`, the vendor and the serial, with LF between them.
#[must_use]
pub fn stamp(vendor: &str, serial: &str) -> [u8; 32] {
    subject("serial", vendor, serial)
}

/// Returns the subject of a cleared payment (64 hexadecimal digits), as [`stamp`] does with the word `payment`.
#[must_use]
pub fn payment(vendor: &str, payment: &str) -> [u8; 32] {
    subject("payment", vendor, payment)
}

/// Returns the subject of a licence by the name of its key, as [`stamp`] does with the word `license`.
#[must_use]
pub fn license(vendor: &str, kid: &str) -> [u8; 32] {
    subject("license", vendor, kid)
}

/// Returns the day in UTC, counted from 1970-01-01. A time before that counts as the first day.
#[must_use]
pub fn day_of(time: UnixTime) -> u32 {
    u32::try_from(time.0.div_euclid(DAY).max(0)).unwrap_or(u32::MAX)
}

fn subject(word: &str, vendor: &str, name: &str) -> [u8; 32] {
    let hash = Sha256::new().chain_update(word).chain_update("\n").chain_update(vendor);
    hash.chain_update("\n").chain_update(name).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaf_is_read_as_it_was_written() {
        for ((kind, _), byte) in LeafKind::ALL.into_iter().zip(1..) {
            let leaf = Leaf { kind, subject: [7; 32], value: u64::MAX - 1, day: 20_787 };
            let bytes = leaf.to_bytes();
            assert_eq!((bytes[0], Leaf::from_bytes(&bytes)), (byte, Some(leaf)));
            assert_eq!(Leaf::from_bytes(&bytes[..44]), None);
            assert_eq!(Leaf::from_bytes(&[bytes.as_slice(), &[0]].concat()), None);
        }
        assert_eq!(Leaf::from_bytes(&[0; LENGTH]), None);
        assert_eq!(Leaf::from_bytes(&[9; LENGTH]), None);
    }

    // Made with Python: hashlib.sha256(b"serial\nv.example\nAAAA").hexdigest()
    #[test]
    fn subjects_are_those_of_the_manual() {
        let hex = data_encoding::HEXLOWER.encode(&stamp("v.example", "AAAA"));
        assert_eq!(hex, "22bdad4e314e9b702c29ad2700ec1090e041af966ad61d15aa18da8d99a3a276");
        assert_ne!(stamp("v.example", "a"), license("v.example", "a"));
        assert_ne!(payment("v.example", "a"), license("v.example", "a"));
    }
}
