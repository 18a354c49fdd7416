//! What goes on a copy that the user sends to one recipient: a stamp that the recipient gave, an announcement of the
//! user's keys, stamps for the recipient. The caller makes and signs them, and records them before the copy leaves.

use super::announcement::Keys;
use super::gift::{self, Announced, CAUTIOUS_UNTIL, GIVEN_MAX, Given};
use super::offer::{self, Choice};
use super::record::{PeerRecord, with_private};
use crate::message::address::Address;
use crate::stamp::signing::PublicKey;
use crate::time::UnixTime;
use serde::Deserialize;

/// When stamps are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GiveMode {
    /// With each message to a correspondent who has none.
    Answered,
    /// By command only.
    Ask,
}

/// A copy that is to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Copy<'a> {
    pub now: UnixTime,
    /// The address in From, one of the user's.
    pub from: &'a Address,
    /// The recipient of the envelope. No other address, such as one of Reply-To, is ever given anything.
    pub recipient: &'a Address,
    /// The keys of the recipient that the user pinned, if it is a mailing list. All its readers would see what it is told.
    pub list: Option<&'a [PublicKey]>,
    /// Whether a program sent it, or it has the null sender.
    pub is_automatic: bool,
    /// Whether the message answers another one.
    pub is_answer: bool,
    pub give: GiveMode,
    /// The user's keys for From: the one that signs, and all that were not revoked.
    pub key: Option<&'a PublicKey>,
    pub keys: &'a [PublicKey],
}

/// What goes on the copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan<'a> {
    /// The stamp that the recipient gave.
    pub stamp: Option<Choice<'a>>,
    /// What the recipient was told then, if the announcement goes on the copy.
    pub announce: Option<Announced>,
    /// The keys for which a stamp is due.
    pub give: Vec<&'a Keys>,
}

impl<'a> Plan<'a> {
    /// Plans the copy. `is_bought` says whether a bought stamp goes on it. Without a contact, keys are announced with
    /// one only.
    #[must_use]
    pub fn new(record: &'a PeerRecord, copy: &Copy<'_>, is_bought: bool) -> Self {
        let none = Self { stamp: None, announce: None, give: Vec::new() };
        let Some(key) = copy.key.filter(|_| !copy.is_automatic && record.ended.is_none()) else { return none };
        let issuers = (&record.ring, copy.list.unwrap_or_default());
        let stamp = offer::choose(&record.held, issuers, copy.recipient, copy.keys, copy.now);
        if copy.list.is_some() {
            return Self { stamp, ..none };
        }
        let is_contact = record.contact.is_some();
        let announce = (is_contact || is_bought).then(|| Announced::next(&record.announced, key, copy.now));
        let mut due = match (is_contact, record.asked, copy.give) {
            (true, true, _) => record.ring.takers().map(|own| &own.keys).collect(),
            (true, false, GiveMode::Answered) => {
                gift::due(&record.ring, &record.given, copy.from, copy.keys, (copy.now, copy.is_answer)).collect()
            }
            _ => Vec::new(),
        };
        // All that can be used are known, so that all can be revoked.
        due.truncate(GIVEN_MAX.saturating_sub(record.standing(copy.now).count()));
        Self { stamp, announce: announce.flatten(), give: due }
    }

    /// Whether a stamp has to be bought or taken from the wallet, in place of the recipient's or beside it.
    #[must_use]
    pub fn needs_stamp(&self) -> bool {
        self.stamp.is_none_or(|choice| choice.needs_another)
    }
}

/// Returns the record after these stamps were given, unless they are there. It is written before they leave.
#[must_use]
pub fn gave(record: &PeerRecord, new: &[Given], now: UnixTime) -> Option<PeerRecord> {
    let mut after = record.clone();
    for new in new {
        if after.given.iter().all(|given| given.serial != new.serial) {
            after.given = gift::with(after.given, new.clone(), now);
            after.asked = false;
        }
    }
    (after != *record).then_some(PeerRecord { used: Some(now), ..after })
}

/// Returns the record after a copy has left, unless it stays as it is. `key` is the key that it announced, if it did,
/// and `private` the name of the message, if it went to the correspondent alone.
/// A copy that waits, and is made again and again, uses no announcement up.
#[must_use]
pub fn told(record: &PeerRecord, key: Option<&PublicKey>, private: Option<&str>, now: UnixTime) -> Option<PeerRecord> {
    let mut after = record.clone();
    if let Some(told) = key.and_then(|key| Announced::next(&record.announced, key, now)) {
        after.announced = Announced::with(after.announced, told);
        if let Some(name) = private {
            after.private = with_private(after.private, name.to_owned());
        }
    }
    if !after.given.is_empty() && after.wrote < CAUTIOUS_UNTIL {
        after.wrote += 1;
    }
    (after != *record).then_some(PeerRecord { used: Some(now), ..after })
}

#[cfg(test)]
mod tests {
    use super::super::announcement::tests::{DAY, address, announce, secret};
    use super::super::gift::{Recipient, give};
    use super::super::key_ring::{Evidence, KeyRing, Sighting};
    use super::super::offer::Held;
    use super::*;
    use crate::stamp::serial::Serial;

    const NOW: UnixTime = UnixTime(1_800_000_000);
    const A: &str = "a@x.example";
    const B: &str = "b@y.example";

    /// B's record of A, whose new key is that of seed 1.
    fn record() -> PeerRecord {
        let a = address(A);
        let by =
            Sighting { now: NOW, from: Some(&a), is_contact: true, is_automatic: false, evidence: Evidence::Aligned };
        let ring = KeyRing::default().learn(&announce(A, &[1], None), &by).0.unwrap();
        PeerRecord { contact: Some(NOW), ring, ..PeerRecord::default() }
    }

    fn given() -> Given {
        let (a, key) = (address(A), secret(1).public());
        let to = Recipient { address: &a, holder: &key, days: 90 };
        give(&address(B), &secret(2), &to, Serial::from_random([1; 16]), NOW).unwrap().0
    }

    fn held(is_proven: bool) -> Held {
        Held {
            stamp: "v4.public.x".to_owned(),
            serial: Serial::from_random([2; 16]),
            audience: address(A),
            holder: secret(2).public(),
            issued: NOW,
            expires: NOW.plus(90 * DAY),
            is_proven,
            is_list: false,
        }
    }

    /// What goes on a copy from B to A: whether a stamp, the announcement, and how many gifts.
    fn plan(record: &PeerRecord, is_bought: bool, change: impl FnOnce(&mut Copy<'_>)) -> (bool, bool, usize) {
        plan_to(A, record, is_bought, change)
    }

    fn plan_to(
        recipient: &str,
        record: &PeerRecord,
        is_bought: bool,
        change: impl FnOnce(&mut Copy<'_>),
    ) -> (bool, bool, usize) {
        let (from, recipient, key) = (address(B), address(recipient), secret(2).public());
        let mut copy = Copy {
            now: NOW,
            from: &from,
            recipient: &recipient,
            list: None,
            is_automatic: false,
            is_answer: false,
            give: GiveMode::Answered,
            key: Some(&key),
            keys: std::slice::from_ref(&key),
        };
        change(&mut copy);
        let plan = Plan::new(record, &copy, is_bought);
        (!plan.needs_stamp(), plan.announce.is_some(), plan.give.len())
    }

    #[test]
    fn only_contacts_see_a_key() {
        let stranger = PeerRecord::default();
        assert_eq!(plan(&stranger, false, |_| {}), (false, false, 0));
        // A bought stamp names its reader, so its buyer may be named too.
        assert_eq!(plan(&stranger, true, |_| {}), (false, true, 0));
        assert_eq!(plan(&record(), false, |_| {}), (false, true, 1));
        assert_eq!(plan(&record(), false, |copy| copy.key = None), (false, false, 0));
        let ended = PeerRecord { held: vec![held(true)], ..record().end(NOW) };
        assert_eq!(plan(&ended, true, |_| {}), (false, false, 0));
    }

    #[test]
    fn a_list_is_told_nothing() {
        let full = PeerRecord { held: vec![held(true)], ..record() };
        assert_eq!(plan(&full, true, |copy| copy.list = Some(&[])), (true, false, 0));
    }

    #[test]
    fn automatic_mail_neither_announces_nor_gives() {
        let full = PeerRecord { held: vec![held(true)], ..record() };
        assert_eq!(plan(&full, false, |_| {}), (true, true, 1));
        assert_eq!(plan(&full, true, |copy| copy.is_automatic = true), (false, false, 0));
    }

    #[test]
    fn a_gift_takes_the_place_of_a_purchase_once_it_is_proven() {
        let with = |held: Held| PeerRecord { held: vec![held], ..record() };
        assert!(plan(&with(held(true)), false, |_| {}).0);
        assert!(!plan(&with(held(false)), false, |_| {}).0);
        assert!(!plan_to("c@z.example", &with(held(true)), false, |_| {}).0);
    }

    #[test]
    fn a_stamp_is_given_once_and_on_request_only_if_so_set() {
        let told = PeerRecord { given: vec![given()], ..record() };
        assert_eq!(plan(&told, false, |_| {}).2, 0);
        assert_eq!(plan(&told, false, |copy| copy.now = NOW.plus(61 * DAY)).2, 1);
        assert_eq!(plan(&told, false, |copy| copy.is_answer = true).2, 1);
        assert_eq!(plan(&record(), false, |copy| copy.give = GiveMode::Ask).2, 0);
        let asked = PeerRecord { asked: true, ..told.clone() };
        assert_eq!(plan(&asked, false, |copy| copy.give = GiveMode::Ask).2, 1);
        assert_eq!(plan(&PeerRecord { contact: None, ..asked.clone() }, false, |_| {}).2, 0);
        // The stamps of one message are recorded once, and the request ends.
        let another = Given { serial: Serial::from_random([9; 16]), ..given() };
        let after = gave(&asked, std::slice::from_ref(&another), NOW).unwrap();
        assert_eq!((after.asked, after.given.len()), (false, 2));
        assert_eq!(gave(&after, &[another], NOW), None);
    }

    #[test]
    fn a_copy_that_brings_nothing_new_writes_nothing() {
        let (from, recipient, key) = (address(B), address(A), secret(2).public());
        let copy = |now: UnixTime| Copy {
            now,
            from: &from,
            recipient: &recipient,
            list: None,
            is_automatic: false,
            is_answer: false,
            give: GiveMode::Answered,
            key: Some(&key),
            keys: &[],
        };
        let mut record = record();
        let mut writes = (0, 0);
        for minute in 0..20 {
            let now = NOW.plus(minute * 60);
            let plan = Plan::new(&record, &copy(now), false);
            let gifts: Vec<Given> = plan.give.iter().map(|_| given()).collect();
            let announced = plan.announce.map(|_| &key);
            let given = gave(&record, &gifts, now);
            record = given.clone().unwrap_or(record);
            let after = told(&record, announced, None, now);
            writes = (writes.0 + u8::from(given.is_some()), writes.1 + u8::from(after.is_some()));
            record = after.unwrap_or(record);
        }
        // One gift; three announcements, and the count of messages with the first two of them.
        assert_eq!((writes, record.given.len(), record.wrote), ((1, 3), 1, CAUTIOUS_UNTIL));
    }
}
