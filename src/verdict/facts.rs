//! Facts of a judgement: the user's addresses and prices, the policy, the trusted keys. All are passed in as values;
//! the adapters fetch them.

use super::owner::Owner;
use super::spend::Redelivery;
use crate::message::address::{Address, Pattern};
use crate::stamp::claims::USUAL_MAX_WINDOW;
use crate::stamp::serial::Serial;
use crate::stamp::signing::PublicKey;
use crate::stamp::token::Issuer;
use crate::time::UnixTime;

/// The inputs of a judgement beside the message.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// The time at which windows are judged.
    pub now: UnixTime,
    /// The user's own mailboxes.
    pub mailboxes: &'a [Mailbox],
    /// The user's policy.
    pub policy: &'a Policy,
    /// The keys of the vendors that the user trusts.
    pub keys: &'a dyn KeyDirectory,
}

/// The envelope from the delivering program. It is trusted only to narrow the recipient.
#[derive(Clone, Debug, Default)]
pub struct Envelope {
    /// The envelope sender as given; empty for the null sender.
    pub sender: Option<String>,
    /// The one recipient of this delivery. It narrows the user's own addresses and never adds one.
    pub recipient: Option<Address>,
}

/// One of the user's addresses, or a pattern of them, with its price.
#[derive(Clone, Debug)]
pub struct Mailbox {
    /// Which addresses.
    pub pattern: Pattern,
    /// The least value of a stamp, in credits.
    pub price: u64,
    /// The person whose address it is, if the configuration names one.
    pub owner: Option<String>,
}

impl Mailbox {
    /// Returns whether the address has no owner of its own, which mail of several people needs.
    #[must_use]
    pub fn lacks_owner(&self) -> bool {
        self.owner.is_none() && !self.pattern.covers_many()
    }

    /// Returns the owner of `address`, which the mailbox matches. Without a name, all addresses that are written out,
    /// and `name+*@domain`, have one owner, and each address under `*@domain` or `/…/` is an owner of its own.
    #[must_use]
    pub fn owner_of(&self, address: Option<&Address>) -> Owner {
        match (&self.owner, address) {
            (Some(name), _) => Owner::named(name),
            (None, Some(address)) if self.pattern.covers_many() => Owner::of_address(&self.pattern.spelling(address)),
            _ => Owner::default(),
        }
    }
}

/// Returns the owner of an address; `None` for one that is none of these mailboxes.
#[must_use]
pub fn owner_of(mailboxes: &[Mailbox], address: &Address) -> Option<Owner> {
    let mailbox = mailboxes.iter().find(|mailbox| mailbox.pattern.matches(address))?;
    Some(mailbox.owner_of(Some(address)))
}

/// Returns the owner of all mailboxes; `None` if there are several.
#[must_use]
pub fn only_owner(mailboxes: &[Mailbox]) -> Option<Owner> {
    let owner =
        |mailbox: &Mailbox| (mailbox.owner.is_some() || !mailbox.pattern.covers_many()).then(|| mailbox.owner_of(None));
    let (first, rest) = mailboxes.split_first()?;
    owner(first).filter(|first| rest.iter().all(|other| owner(other) == Some(*first)))
}

/// Returns the owner whose name or address this is.
#[must_use]
pub fn owner_named(mailboxes: &[Mailbox], name: &str) -> Option<Owner> {
    if mailboxes.iter().any(|mailbox| mailbox.owner.as_deref() == Some(name)) {
        return Some(Owner::named(name));
    }
    owner_of(mailboxes, &Address::parse(name).ok()?)
}

/// The user's policy. The defaults are those of the manual.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The most seconds by which two clocks may differ.
    pub skew: i64,
    /// The longest window accepted, in seconds.
    pub max_window: i64,
    /// Whether a stamp without an end is accepted; its serial is then kept for ever.
    pub allow_no_expiry: bool,
    /// Seconds after its end while a stamp is still accepted (paper: out of window *may* be rejected).
    pub expiry_grace: i64,
    /// Limits of the redelivery of one message.
    pub redelivery: Redelivery,
    /// How long a use of a correspondent's stamp is good after its holder signed it, in seconds.
    pub nonce_retention: i64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            skew: 5 * 60,
            max_window: USUAL_MAX_WINDOW,
            allow_no_expiry: false,
            expiry_grace: 0,
            // A queue that is tried every 4,000 s for five days, as Postfix does, comes 108 times.
            redelivery: Redelivery { within: 5 * DAY, times: 200 },
            // A mailing list may hold a post for its moderators.
            nonce_retention: 14 * DAY,
        }
    }
}

const DAY: i64 = 24 * 60 * 60;

impl Policy {
    /// Returns the retention of a serial after its stamp's end, in seconds.
    /// It lasts while the stamp may be accepted, and then while the message may come again.
    #[must_use]
    pub fn grace(&self) -> i64 {
        self.skew.saturating_add(self.expiry_grace).saturating_add(self.redelivery.within)
    }
}

/// The trusted keys, as read before the judgement began.
pub trait KeyDirectory {
    /// Returns what is known of the issuer's key. A vendor's key never speaks for an address, nor the reverse: an
    /// address is known only if it is the user's own, or that of a mailing list whose key the user pinned.
    fn key(&self, issuer: &Issuer) -> KeyFact;

    /// Whether the address is that of such a mailing list.
    fn is_list(&self, _address: &str) -> bool {
        false
    }

    /// Whether the vendor has revoked this serial.
    fn revoked(&self, vendor: &str, serial: &Serial) -> bool;
}

/// A directory's knowledge of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyFact {
    /// The key, from sources that agree and are in date.
    Known(Box<VendorKey>),
    /// The user trusts no vendor of this name.
    UnknownVendor,
    /// The vendor is trusted, and has no key of this name.
    UnknownKey,
    /// Sources disagree.
    Conflict,
    /// The only document that lists the key has expired.
    Stale,
}

/// One key of a vendor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VendorKey {
    /// The key itself.
    pub key: PublicKey,
    pub status: KeyStatus,
    /// The time from which it is valid.
    pub not_before: Option<UnixTime>,
    /// The time until which it is valid.
    pub not_after: Option<UnixTime>,
}

/// The status that a vendor gives a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyStatus {
    /// It signs stamps.
    Active,
    /// It signs no more stamps; those that it signed are good until they end.
    VerifyOnly,
    /// From this time on, nothing signed with it is good.
    Revoked { since: UnixTime },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mailboxes(all: &[(&str, Option<&str>)]) -> Vec<Mailbox> {
        let mailbox = |(pattern, owner): &(&str, Option<&str>)| Mailbox {
            pattern: Pattern::parse(pattern).unwrap(),
            price: 1,
            owner: owner.map(str::to_owned),
        };
        all.iter().map(mailbox).collect()
    }

    #[test]
    fn an_owner_is_known_by_name_and_by_address() {
        let all = mailboxes(&[
            ("*@x.example", None),
            ("a.smith@y.example", Some("alice")),
            ("alice+*@y.example", Some("alice")),
            ("carol@y.example", None),
        ]);
        let (alice, of_bob) = (Some(Owner::named("alice")), Some(Owner::of_address("bob@x.example")));
        for (name, owner) in [
            ("alice", alice),
            ("A.Smith@Y.example", alice),
            ("alice+news@y.example", alice),
            ("bob@x.example", of_bob),
            ("BOB@X.example.", of_bob),
            ("alice@x.example", Some(Owner::of_address("alice@x.example"))),
            ("carol@y.example", Some(Owner::default())),
            ("bob", None),
            ("Alice", None),
            ("", None),
            ("bob@y.example", None),
        ] {
            assert_eq!(owner_named(&all, name), owner, "{name}");
        }
    }

    #[test]
    fn one_owner_is_that_of_all_addresses() {
        let only = |all: &[(&str, Option<&str>)]| only_owner(&mailboxes(all));
        assert_eq!(only(&[("a@x.example", None), ("a+*@x.example", None)]), Some(Owner::default()));
        assert_eq!(only(&[("*@x.example", Some("a")), ("b@x.example", Some("a"))]), Some(Owner::named("a")));
        assert_eq!(only(&[("a@x.example", None), ("b@x.example", Some("b"))]), None);
        assert_eq!((only(&[("*@x.example", None)]), only(&[])), (None, None));
    }
}
