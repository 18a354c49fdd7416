//! Contacts: the addresses that the user wrote to, and the Message-IDs of the user's own messages.
//!
//! This module has the port and the rules that every adapter applies. What counts as a message of the user's is decided
//! where messages are read.
//!
//! Contacts are kept by address, since users may want to see and remove them. Message-IDs are kept as hashes: no user
//! reads them, and strangers choose the length of those that are looked up.

use super::error::StoreError;
use crate::message::address::Address;
use crate::time::UnixTime;
use sha2::{Digest, Sha256};
use std::ops::{AddAssign, ControlFlow};

/// A message that the user sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Recipients, without the user's own addresses.
    pub recipients: Vec<Address>,
    /// Its Message-ID, with or without angle brackets.
    pub message_id: Option<String>,
    /// When it was sent. A time after 2106 or before 1970 counts as that limit.
    pub time: UnixTime,
}

/// What [`ContactStore::learn`] did not know before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LearnOutcome {
    /// Addresses that the user had not written to, or had removed.
    pub correspondents: u64,
    /// Message-IDs.
    pub messages: u64,
}

impl AddAssign for LearnOutcome {
    fn add_assign(&mut self, more: Self) {
        self.correspondents += more.correspondents;
        self.messages += more.messages;
    }
}

/// A correspondent: the user wrote to this address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Correspondent {
    /// Its [`key`](correspondent_key).
    pub address: String,
    /// When the user first wrote to it, as far as is known.
    pub first: UnixTime,
    /// When the user last wrote to it.
    pub last: UnixTime,
}

/// The contacts.
pub trait ContactStore {
    /// Learns from these messages, all or none; durable before it returns.
    /// The same message, or its copies to other recipients, may come in any order and any number of times.
    ///
    /// # Errors
    /// Any [`StoreError`]. The messages may have been learned all the same, so repeat the call.
    fn learn(&self, sent: &[Sent]) -> Result<LearnOutcome, StoreError>;

    /// Whether the user wrote to this address and has not removed it since.
    /// Local parts compare without case and without a detail (`joe+news@` is `joe@`), whatever the configuration says
    /// of the user's own addresses.
    ///
    /// # Errors
    /// Any [`StoreError`].
    fn wrote_to(&self, address: &Address) -> Result<bool, StoreError>;

    /// Whether the user sent the message with this Message-ID.
    /// Angle brackets are optional, and any length is accepted.
    ///
    /// # Errors
    /// Any [`StoreError`].
    fn sent(&self, message_id: &str) -> Result<bool, StoreError>;

    /// Visits every correspondent, by address, until `to` breaks.
    ///
    /// # Errors
    /// Any [`StoreError`].
    fn correspondents(&self, to: &mut dyn FnMut(Correspondent) -> ControlFlow<()>) -> Result<(), StoreError>;

    /// Removes a correspondent until the user writes to the address again.
    /// Returns whether there was one. Messages up to the last known one do not bring the contact back, however often
    /// they are learned.
    ///
    /// # Errors
    /// Any [`StoreError`].
    fn remove(&self, address: &Address) -> Result<bool, StoreError>;

    /// Removes the Message-IDs of messages sent before `before`; returns how many.
    /// Commits are short enough for mail to pass between them.
    ///
    /// # Errors
    /// Any [`StoreError`]; what earlier commits removed stays removed.
    fn purge_sent(&self, before: UnixTime) -> Result<u64, StoreError>;
}

/// Returns the form in which an address is kept and looked up.
/// It is canonical, and lacks the detail that many hosts allow after a `+` (RFC 5233). A message to `help+4711@` is so
/// answered by `help@`.
#[must_use]
pub fn correspondent_key(address: &Address) -> String {
    let local = address.local().to_ascii_lowercase();
    let base = match local.split_once('+') {
        Some((base, _)) if !base.is_empty() => base,
        _ => &local,
    };
    format!("{base}@{}", address.domain())
}

/// A Message-ID in the store: the first 16 bytes of its SHA-256.
pub(super) type MessageName = [u8; 16];

/// Returns the stored name of a Message-ID.
/// `None` for an empty one, which matches no message.
pub(super) fn message_name(message_id: &str) -> Option<MessageName> {
    let id = message_id.trim();
    let id = id.strip_prefix('<').unwrap_or(id);
    let id = id.strip_suffix('>').unwrap_or(id).trim();
    let digest: [u8; 32] = Sha256::digest(id).into();
    digest.first_chunk().copied().filter(|_| !id.is_empty())
}

/// Converts a time to the form kept in rows.
pub(super) fn seconds(time: UnixTime) -> u32 {
    u32::try_from(time.0.max(0)).unwrap_or(u32::MAX)
}

/// What is stored about one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Contact {
    /// The first message to it.
    pub(super) first: u32,
    pub(super) last: u32,
    /// The last message before the user removed the contact; 0 if it was not removed.
    pub(super) forgotten: u32,
}

impl Contact {
    /// The contact that one message gives.
    pub(super) fn at(time: UnixTime) -> Self {
        // 0 would count as removed from the beginning.
        let at = seconds(time).max(1);
        Self { first: at, last: at, forgotten: 0 }
    }

    /// Merges two contacts; the order does not matter.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            first: self.first.min(other.first),
            last: self.last.max(other.last),
            forgotten: self.forgotten.max(other.forgotten),
        }
    }

    /// Whether the contact is known and not removed.
    pub(super) fn is_active(self) -> bool {
        self.last > self.forgotten
    }

    /// The contact after its removal.
    pub(super) fn remove(self) -> Self {
        Self { forgotten: self.last.max(self.forgotten), ..self }
    }

    /// Returns the correspondent at this address, if the contact is active.
    pub(super) fn named(self, address: &str) -> Option<Correspondent> {
        self.is_active().then(|| Correspondent {
            address: address.to_owned(),
            first: UnixTime(self.first.into()),
            last: UnixTime(self.last.into()),
        })
    }

    /// The bytes of a row.
    pub(super) fn to_bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        for (to, from) in bytes.chunks_exact_mut(4).zip([self.first, self.last, self.forgotten]) {
            to.copy_from_slice(&from.to_be_bytes());
        }
        bytes
    }

    /// The row of these bytes.
    pub(super) fn from_bytes(bytes: &[u8; 12]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = *bytes;
        let number = u32::from_be_bytes;
        Self { first: number([a, b, c, d]), last: number([e, f, g, h]), forgotten: number([i, j, k, l]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(address: &str) -> String {
        correspondent_key(&Address::parse(address).unwrap())
    }

    #[test]
    fn spellings_of_one_mailbox_are_one_key() {
        assert_eq!(key("Joe+News@B\u{fc}cher.Example."), "joe@xn--bcher-kva.example");
        assert_eq!(key("joe@x.example"), "joe@x.example");
        assert_eq!(key("+joe@x.example"), "+joe@x.example");
        assert_eq!(key("joe+@x.example"), "joe@x.example");
        // Threat 25: what only looks alike is another.
        assert_ne!(key("j\u{43e}e@x.example"), key("joe@x.example"));
    }

    #[test]
    fn a_message_id_is_the_same_with_and_without_brackets_and_an_empty_one_is_none() {
        let name = message_name("<a@b>");
        assert!(name.is_some());
        assert_eq!(message_name(" a@b "), name);
        assert_eq!(message_name("<a@b>\r\n"), name);
        assert_ne!(message_name("A@b"), name);
        assert_eq!((message_name(""), message_name("< >"), message_name("<>")), (None, None, None));
    }

    #[test]
    fn what_is_forgotten_stays_so_until_a_later_message() {
        let at = |seconds| Contact::at(UnixTime(seconds));
        let forgotten = at(5).and(at(9)).remove();
        assert!(!forgotten.is_active() && !forgotten.and(at(9)).is_active() && !forgotten.and(at(7)).is_active());
        assert!(forgotten.and(at(10)).is_active());
        assert!(at(0).is_active() && at(-5).is_active() && at(i64::MAX).is_active());
        assert!(!at(i64::MAX).remove().is_active());
    }

    #[test]
    fn a_row_reads_back_as_it_was_written() {
        let contact = Contact { first: 0x0102_0304, last: 0x0506_0708, forgotten: 9 };
        assert_eq!(contact.to_bytes(), [1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 9]);
        assert_eq!(Contact::from_bytes(&contact.to_bytes()), contact);
    }
}
