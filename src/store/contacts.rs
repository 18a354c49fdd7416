//! What the user has sent: to whom he wrote, and which Message-IDs are his. The port, and the rule that every adapter
//! asks. What of a message counts as sent by him is decided where messages are read.
//!
//! People are kept by their address, since the user may want to see and to forget them; Message-IDs as hashes, since
//! nobody reads them and strangers choose how long those are that they ask about.

use super::error::StoreError;
use crate::message::address::Address;
use crate::time::UnixTime;
use sha2::{Digest, Sha256};
use std::ops::{AddAssign, ControlFlow};

/// A message that the user sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// To whom, without the user himself.
    pub recipients: Vec<Address>,
    /// Its Message-ID, with or without angle brackets.
    pub message_id: Option<String>,
    /// When (until 2106; what lies outside counts as the nearer end).
    pub time: UnixTime,
}

/// What [`ContactStore::learn`] did not know before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LearnOutcome {
    /// People to whom the user had not written, or whom he had made it forget.
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

/// Somebody to whom the user wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Correspondent {
    /// His [`key`](correspondent_key).
    pub address: String,
    /// When the user first wrote to him, as far as is known.
    pub first: UnixTime,
    /// When he last did.
    pub last: UnixTime,
}

/// What the user has sent.
pub trait ContactStore {
    /// Learns these messages, all or none, durable before it answers. The same message again, or its copies to other
    /// recipients, may come in any order and any number of times.
    ///
    /// # Errors
    /// Any [`StoreError`]; it may have been learned all the same, so do it again.
    fn learn(&self, sent: &[Sent]) -> Result<LearnOutcome, StoreError>;

    /// Whether the user wrote to this address and has not made it forget that. Local parts compare without case, and
    /// without a detail (`joe+news@` is `joe@`), whatever the configuration says of the user's own.
    ///
    /// # Errors
    /// Any [`StoreError`].
    fn wrote_to(&self, address: &Address) -> Result<bool, StoreError>;

    /// Whether the user sent the message with this Message-ID; with or without angle brackets, of any length.
    ///
    /// # Errors
    /// Any [`StoreError`].
    fn sent(&self, message_id: &str) -> Result<bool, StoreError>;

    /// Hands out everybody to whom the user wrote, by address. Stops early when told.
    ///
    /// # Errors
    /// Any [`StoreError`].
    fn correspondents(&self, to: &mut dyn FnMut(Correspondent) -> ControlFlow<()>) -> Result<(), StoreError>;

    /// Forgets that the user wrote to this address, until he does so again: what he sent up to the last known message
    /// brings nobody back, however often it is learned. Whether there was something to forget.
    ///
    /// # Errors
    /// Any [`StoreError`].
    fn remove(&self, address: &Address) -> Result<bool, StoreError>;

    /// Removes the Message-IDs of what was sent before `before`, in commits short enough for mail to pass between them.
    /// How many there were.
    ///
    /// # Errors
    /// Any [`StoreError`]; what earlier commits removed stays removed.
    fn purge_sent(&self, before: UnixTime) -> Result<u64, StoreError>;
}

/// The form in which an address is kept and looked for: canonical, and without the detail that many hosts let stand after
/// a `+` (RFC 5233): who was written to as `help+4711@` answers as `help@`.
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

/// The name of a Message-ID; `None` of an empty one, which is nobody's.
pub(super) fn message_name(message_id: &str) -> Option<MessageName> {
    let id = message_id.trim();
    let id = id.strip_prefix('<').unwrap_or(id);
    let id = id.strip_suffix('>').unwrap_or(id).trim();
    let digest: [u8; 32] = Sha256::digest(id).into();
    digest.first_chunk().copied().filter(|_| !id.is_empty())
}

/// A time as rows keep it.
pub(super) fn seconds(time: UnixTime) -> u32 {
    u32::try_from(time.0.max(0)).unwrap_or(u32::MAX)
}

/// What is known of one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Contact {
    /// The first message to it.
    pub(super) first: u32,
    /// The last.
    pub(super) last: u32,
    /// The last of those that the user made us forget; 0 if none.
    pub(super) forgotten: u32,
}

impl Contact {
    /// What one message says.
    pub(super) fn at(time: UnixTime) -> Self {
        // 0 would be forgotten from the beginning.
        let at = seconds(time).max(1);
        Self { first: at, last: at, forgotten: 0 }
    }

    /// Two put together, in either order.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            first: self.first.min(other.first),
            last: self.last.max(other.last),
            forgotten: self.forgotten.max(other.forgotten),
        }
    }

    /// Whether it is still known that the user wrote to it.
    pub(super) fn is_active(self) -> bool {
        self.last > self.forgotten
    }

    /// What is left when it is forgotten.
    pub(super) fn remove(self) -> Self {
        Self { forgotten: self.last.max(self.forgotten), ..self }
    }

    /// The correspondent of this address, if it is one.
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
