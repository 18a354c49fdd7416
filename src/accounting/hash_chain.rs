//! Hash chain of entries: each entry has the hash of all before it. Changing, removing or reordering an entry therefore
//! changes every later hash.
//!
//! An earlier head that is kept elsewhere distinguishes a ledger that was rewritten as a whole from one that only
//! continued. Without one that cannot be detected.

use super::event::Event;
use super::hash::Hash;
use crate::time::UnixTime;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::str::FromStr;

/// One entry of a chain: of a vendor's ledger, or of other books.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry<E = Event> {
    /// Its number, from 1 without a gap.
    pub number: u64,
    /// Time of the event.
    pub at: UnixTime,
    pub event: E,
}

/// Head of the chain: number and hash of its last entry. Number 0 before the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The last entry's number.
    pub number: u64,
    /// The hash of the whole chain.
    pub hash: Hash,
}

impl Head {
    /// The head of an empty chain.
    pub const EMPTY: Self = Self { number: 0, hash: Hash([0; 32]) };

    /// Returns the head after one more entry with these bytes.
    ///
    /// The hash is SHA-256 over the previous hash, the number (8 bytes, big endian), and the bytes.
    #[must_use]
    pub fn after(&self, bytes: &[u8]) -> Self {
        let number = self.number.saturating_add(1);
        let hash = Sha256::new().chain_update(self.hash.0).chain_update(number.to_be_bytes()).chain_update(bytes);
        Self { number, hash: Hash(hash.finalize().into()) }
    }
}

impl Head {
    /// Returns the row of the next entry, whose bytes these are: the hash of the chain after it, then the bytes.
    #[must_use]
    pub fn row(self, bytes: &[u8]) -> Vec<u8> {
        [self.hash.0.as_slice(), bytes].concat()
    }

    /// Splits the row of an entry into the head after it and the entry's bytes. `None` when it is too short.
    #[must_use]
    pub fn split(number: u64, row: &[u8]) -> Option<(Self, &[u8])> {
        let (hash, bytes) = row.split_first_chunk::<32>()?;
        Some((Self { number, hash: Hash(*hash) }, bytes))
    }
}

/// Check of a chain: recomputes the hash of every entry, in order, and compares it with the stored one.
#[derive(Debug)]
pub struct ChainCheck {
    /// Head of what was read.
    pub head: Head,
    since: Option<Head>,
    seen: bool,
}

impl ChainCheck {
    /// Begins a check. With `since`, the chain must contain that head.
    #[must_use]
    pub fn new(since: Option<Head>) -> Self {
        Self { head: Head::EMPTY, since, seen: since.is_none_or(|since| since == Head::EMPTY) }
    }

    /// Checks the next row, and returns its entry if that can be read. Reports a sentence for each fault.
    pub fn row<E: DeserializeOwned>(
        &mut self,
        number: u64,
        row: &[u8],
        wrong: &mut dyn FnMut(String),
    ) -> Option<Entry<E>> {
        if number != self.head.number + 1 {
            wrong(format!("entry {} is missing", self.head.number + 1));
            self.head.number = number.saturating_sub(1);
        }
        let Some((kept, bytes)) = Head::split(number, row) else {
            wrong(format!("entry {number} is cut short"));
            return None;
        };
        self.head = self.head.after(bytes);
        if self.head != kept {
            wrong(format!("entry {number} was changed, or one before it: the chain is broken from here"));
            // Continues with the stored hash, so that the next fault is reported too.
            self.head = kept;
        }
        self.seen |= self.since == Some(self.head);
        match serde_json::from_slice::<Entry<E>>(bytes) {
            Ok(entry) if entry.number == number => return Some(entry),
            Ok(entry) => wrong(format!("entry {number} says that it is entry {}", entry.number)),
            Err(_) => wrong(format!("entry {number} cannot be read")),
        }
        None
    }

    /// Returns the head that the chain should contain and does not.
    #[must_use]
    pub fn missing(&self) -> Option<Head> {
        self.since.filter(|_| !self.seen)
    }
}

/// Parses `NUMBER:HASH`.
/// The text is not a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a head (write NUMBER:HASH, as `mailstamp vendor status` prints it)")]
pub struct HeadError;

impl FromStr for Head {
    type Err = HeadError;

    fn from_str(text: &str) -> Result<Self, HeadError> {
        let (number, hash) = text.split_once(':').ok_or(HeadError)?;
        Ok(Self { number: number.parse().map_err(|_| HeadError)?, hash: hash.parse().map_err(|_| HeadError)? })
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.number, self.hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_is_shown() {
        let head = Head { number: 7, hash: Hash([3; 32]) };
        assert_eq!(head.to_string().parse::<Head>(), Ok(head));
        for text in ["", "7", "7:00", &Hash([3; 32]).to_string()] {
            assert_eq!(text.parse::<Head>(), Err(HeadError), "{text}");
        }
    }

    // Made with Python: hashlib.sha256(bytes(32) + (1).to_bytes(8, "big") + b"abc").hexdigest()
    #[test]
    fn the_chain_is_the_one_of_the_manual() {
        let head = Head::EMPTY.after(b"abc");
        assert_eq!(head.to_string().parse(), Ok(head));
        assert_eq!(head.to_string(), "1:328976acf07e9b1c4a8967f2d63902c9a724235b6363ac83087246ad84cd222a");
    }

    #[test]
    fn order_and_every_byte_count() {
        let both = |one: &[u8], two: &[u8]| Head::EMPTY.after(one).after(two).hash;
        assert_ne!(both(b"a", b"b"), both(b"b", b"a"));
        assert_ne!(both(b"a", b"b"), both(b"ab", b""));
        assert_eq!(both(b"a", b"b"), both(b"a", b"b"));
    }
}
