//! Contacts: the addresses that the user wrote to, and the Message-IDs of the user's own messages.
//!
//! This module has the port and the rules that every adapter applies. What counts as a message of the user's is decided
//! where messages are read.
//!
//! Contacts are kept by address, since users may want to see and remove them. Message-IDs are kept as hashes: no user
//! reads them, and strangers choose the length of those that are looked up.
//!
//! Each row is one owner's. What one owner sent says nothing about another one's mail.

use super::error::StoreError;
use crate::message::address::Address;
use crate::time::UnixTime;
use crate::verdict::owner::Owner;
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::ops::{AddAssign, ControlFlow};

/// A message that the user sent, or a card of the user's address book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The sender, for whom alone the recipients become correspondents.
    pub owner: Owner,
    /// Recipients, without the user's own addresses.
    pub recipients: Vec<Address>,
    /// Its Message-ID, with or without angle brackets.
    pub message_id: Option<String>,
    /// When it was sent. A time after 2106 or before 1970 counts as that limit.
    pub time: UnixTime,
    /// When it is learned.
    pub now: UnixTime,
}

/// How [`ContactStore::learn_as`] learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LearnMode {
    Messages,
    /// Messages, within these limits. Known addresses are always renewed.
    Limited(LearnLimits),
    /// Entries of an address book. They do not bring back a correspondent that the user removed.
    AddressBook,
}

/// Limits of what is learned without the user's doing. The time of a message is the end of its day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LearnLimits {
    /// Most addresses of an owner, removed ones included.
    pub addresses: usize,
    /// Most addresses that are new to an owner within 24 hours.
    pub per_day: usize,
}

/// What [`ContactStore::learn`] did not know before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LearnOutcome {
    /// Addresses that the user had not written to, or had removed.
    pub correspondents: u64,
    /// Message-IDs.
    pub messages: u64,
    /// Addresses that were not learned, since the owner has as many as the limits allow.
    pub over_limit: u64,
}

impl AddAssign for LearnOutcome {
    fn add_assign(&mut self, more: Self) {
        self.correspondents += more.correspondents;
        self.messages += more.messages;
        self.over_limit += more.over_limit;
    }
}

/// A correspondent: the user wrote to this address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Correspondent {
    pub owner: Owner,
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
    fn learn(&self, sent: &[Sent]) -> Result<LearnOutcome, StoreError> {
        self.learn_as(sent, LearnMode::Messages)
    }

    /// As [`learn`](Self::learn), in another mode.
    ///
    /// # Errors
    /// As `learn`.
    fn learn_as(&self, sent: &[Sent], mode: LearnMode) -> Result<LearnOutcome, StoreError>;

    /// Whether this owner wrote to the address, last at `since` or later, and has not removed it since.
    /// Local parts compare without case and without a detail (`joe+news@` is `joe@`), whatever the configuration says
    /// of the user's own addresses.
    ///
    /// # Errors
    /// Any [`StoreError`].
    fn wrote_to(&self, owner: Owner, address: &Address, since: UnixTime) -> Result<bool, StoreError>;

    /// Whether this owner sent the message with this Message-ID.
    /// Angle brackets are optional, and any length is accepted.
    ///
    /// # Errors
    /// Any [`StoreError`].
    fn sent(&self, owner: Owner, message_id: &str) -> Result<bool, StoreError>;

    /// Visits every correspondent, by owner and address, until `to` breaks.
    ///
    /// # Errors
    /// Any [`StoreError`].
    fn correspondents(&self, to: &mut dyn FnMut(Correspondent) -> ControlFlow<()>) -> Result<(), StoreError>;

    /// Removes a correspondent of this owner, or of all, until the owner writes to the address again.
    /// Returns whether there was one. Messages up to the last known one do not bring the contact back, however often
    /// they are learned.
    ///
    /// # Errors
    /// Any [`StoreError`].
    fn remove(&self, owner: Option<Owner>, address: &Address) -> Result<bool, StoreError>;

    /// Removes the Message-IDs of messages sent before `before`; returns how many.
    /// Commits are short enough for mail to pass between them.
    ///
    /// # Errors
    /// Any [`StoreError`]; what earlier commits removed stays removed.
    fn purge_sent(&self, before: UnixTime) -> Result<u64, StoreError>;

    /// Removes the addresses to which the last message was sent before `before`, and what is known of their removal;
    /// returns how many. Such a message must not be learned again.
    ///
    /// # Errors
    /// As `purge_sent`.
    fn purge_correspondents(&self, before: UnixTime) -> Result<u64, StoreError>;
}

/// Returns the form in which an address is kept and looked up.
/// It is normalized, and lacks the detail that many hosts allow after a `+` (RFC 5233). A message to `help+4711@` is so
/// answered by `help@`.
#[must_use]
pub fn correspondent_key(address: &Address) -> String {
    address.without_detail().normalized()
}

/// A Message-ID in the store: the first 16 bytes of its SHA-256.
pub(super) type MessageName = [u8; 16];

/// Marks the key of an owner. No address begins with it.
const OWNER_MARK: char = '\0';
/// Bytes of an owner in hexadecimal.
const OWNER_DIGITS: usize = 16;

/// Returns the key of a row. The default owner is left out.
pub(super) fn row_key(owner: Owner, address: &str) -> String {
    if owner.is_default() { address.to_owned() } else { owner_prefix(owner) + address }
}

/// Returns what the keys of an owner's rows begin with, of an owner other than the default.
fn owner_prefix(owner: Owner) -> String {
    format!("{OWNER_MARK}{}", HEXLOWER.encode(&owner.0))
}

/// Returns the range of keys in which all rows of an owner are. That of the default owner has no other rows.
pub(super) fn rows_of(owner: Owner) -> (String, String) {
    if owner.is_default() {
        // The first character of an address follows the mark.
        return ("\u{1}".to_owned(), "\u{10ffff}".to_owned());
    }
    let prefix = owner_prefix(owner);
    (prefix.clone(), prefix + "\u{10ffff}")
}

/// Splits a key into owner and address.
pub(super) fn row_of(key: &str) -> (Owner, &str) {
    let owned = || {
        let (prefix, address) = key.strip_prefix(OWNER_MARK)?.split_at_checked(OWNER_DIGITS)?;
        Some((Owner::try_from(prefix.to_owned()).ok()?, address))
    };
    owned().unwrap_or((Owner::default(), key))
}

/// Returns the stored name of an owner's Message-ID.
/// `None` for an empty one, which matches no message.
pub(super) fn message_name(owner: Owner, message_id: &str) -> Option<MessageName> {
    let id = message_id.trim();
    let id = id.strip_prefix('<').unwrap_or(id);
    let id = id.strip_suffix('>').unwrap_or(id).trim();
    let digest: [u8; 32] = Sha256::digest(row_key(owner, id)).into();
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
    /// The contact that a message of this time gives.
    pub(super) fn at(time: UnixTime) -> Self {
        // 0 would count as removed from the beginning.
        let at = seconds(time).max(1);
        Self { first: at, last: at, forgotten: 0 }
    }

    /// Returns the contact after `new` is learned at `now`.
    pub(super) fn learn(known: Option<Self>, new: Self, mode: LearnMode, now: UnixTime) -> Self {
        match known.map(|known| known.corrected(now)) {
            None => new,
            Some(known) if mode == LearnMode::AddressBook && !known.is_active() => known,
            Some(known) => known.and(new),
        }
    }

    /// Returns the contact as it can be at `now`. A removal dated more than a day after it was dated by a clock that was
    /// ahead, and no message before that date would undo it. It counts as made an hour ago.
    fn corrected(self, now: UnixTime) -> Self {
        if self.is_active() || self.forgotten <= seconds(now.plus(86_400)) {
            return self;
        }
        let removed = seconds(now.plus(-3_600)).max(1);
        Self { first: self.first.min(removed), last: self.last.min(removed), forgotten: removed }
    }

    /// Whether the last message to it was sent at this time or later.
    pub(super) fn is_since(self, since: UnixTime) -> bool {
        i64::from(self.last) >= since.0
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

    /// Returns the correspondent of the row with this key, if the contact is active.
    pub(super) fn named(self, key: &str) -> Option<Correspondent> {
        let (owner, address) = row_of(key);
        self.is_active().then(|| Correspondent {
            owner,
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

/// Contacts by owner and address.
pub(super) type Gathered = BTreeMap<(Owner, String), Contact>;

/// Returns when these messages are learned.
pub(super) fn learned_at(sent: &[Sent]) -> UnixTime {
    sent.iter().map(|message| message.now).max().unwrap_or(UnixTime(0))
}

/// Collects the contacts and Message-IDs of these messages, each once.
pub(super) fn gather(sent: &[Sent]) -> (Gathered, HashMap<MessageName, u32>) {
    let mut contacts = Gathered::new();
    let mut messages: HashMap<MessageName, u32> = HashMap::new();
    for message in sent {
        let contact = Contact::at(message.time);
        for address in message.recipients.iter().map(correspondent_key) {
            let entry = contacts.entry((message.owner, address));
            entry.and_modify(|known| *known = known.and(contact)).or_insert(contact);
        }
        if let Some(name) = message.message_id.as_deref().and_then(|id| message_name(message.owner, id)) {
            let at = seconds(message.time);
            messages.entry(name).and_modify(|known| *known = at.max(*known)).or_insert(at);
        }
    }
    (contacts, messages)
}

/// How many addresses that are new to an owner the limits still allow.
#[derive(Debug)]
pub(super) struct Allowance(usize);

impl Allowance {
    /// Counts the rows of an owner. `now` ends the day.
    pub(super) fn new(limits: LearnLimits, now: UnixTime, rows: impl Iterator<Item = Contact>) -> Self {
        // A row of more than a day later is one of a clock that was ahead, and not new.
        let day = seconds(now.plus(-86_400)) + 1..=seconds(now.plus(86_400));
        let (all, new) = rows.fold((0, 0), |(all, new), row| (all + 1, new + usize::from(day.contains(&row.first))));
        Self(limits.addresses.saturating_sub(all).min(limits.per_day.saturating_sub(new)))
    }

    /// Takes one; returns false if none is left.
    pub(super) fn take(&mut self) -> bool {
        let left = self.0 > 0;
        self.0 = self.0.saturating_sub(1);
        left
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
        let of = |id: &str| message_name(Owner::default(), id);
        let name = of("<a@b>");
        assert!(name.is_some());
        assert_eq!(of(" a@b "), name);
        assert_eq!(of("<a@b>\r\n"), name);
        assert_ne!(of("A@b"), name);
        assert_ne!(message_name(Owner::named("alice"), "a@b"), name);
        assert_eq!((of(""), of("< >"), of("<>")), (None, None, None));
    }

    #[test]
    fn the_key_of_a_row_has_its_owner() {
        let (alice, default) = (Owner::named("alice"), Owner::default());
        for owner in [alice, default] {
            let key = row_key(owner, "joe@x.example");
            assert_eq!(row_of(&key), (owner, "joe@x.example"));
            let (first, end) = rows_of(owner);
            assert!(first <= key && key < end);
        }
        assert_eq!(row_key(default, "joe@x.example"), "joe@x.example");
        let (first, end) = rows_of(default);
        assert!(!(first..end).contains(&row_key(alice, "joe@x.example")));
        assert_eq!(row_of("\0x"), (default, "\0x"));
    }

    #[test]
    fn an_address_book_brings_nothing_back() {
        let at = |seconds| Contact::at(UnixTime(seconds));
        let removed = at(5).remove();
        let book = |known| Contact::learn(known, at(9), LearnMode::AddressBook, UnixTime(9));
        assert_eq!((book(None), book(Some(at(5)))), (at(9), at(5).and(at(9))));
        assert_eq!(book(Some(removed)), removed);
        assert!(Contact::learn(Some(removed), at(9), LearnMode::Messages, UnixTime(9)).is_active());
    }

    #[test]
    fn a_removal_in_the_future_is_undone_by_a_message_of_now() {
        let at = |seconds| Contact::at(UnixTime(seconds));
        let (now, ahead) = (1_800_000_000, 2_100_000_000);
        let learn = |known, time| Contact::learn(Some(known), at(time), LearnMode::Messages, UnixTime(now));
        let removed = at(5).and(at(ahead)).remove();
        assert!(learn(removed, now - 60).is_active());
        // Earlier messages bring nothing back, and the next one of now does.
        let corrected = learn(removed, now - 7_200);
        assert!(!corrected.is_active() && learn(corrected, now).is_active());
        let book = Contact::learn(Some(removed), at(now), LearnMode::AddressBook, UnixTime(now));
        assert!(!book.is_active() && learn(book, now).is_active());
        // The clocks of two hosts differ a little, and what is not removed stays as it is.
        let removed = at(now + 600).remove();
        assert_eq!(learn(removed, now), removed.and(at(now)));
        assert_eq!(learn(at(ahead), now), at(ahead).and(at(now)));
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
