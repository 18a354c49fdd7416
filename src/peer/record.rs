//! Record of one correspondent, as a store keeps it: contact, keys, and stamps in both directions. A message reads it
//! once and changes it once, whatever it brings.

use super::gift::{self, Announced, Given};
use super::key_ring::{Evidence, KeyRing, NEW_LIFETIME};
use super::offer::{self, Held};
use super::sealing::SEALED_MAX;
use super::{SEALED_FIELD, SEALED_READ, is_default};
use crate::message::parse::Message;
use crate::stamp::extract::without_white_space;
use crate::stamp::signing::PublicKey;
use crate::time::UnixTime;
use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Sealed stamps of one correspondent that wait to be opened.
pub const SEALED_KEPT: usize = 6;
/// Messages to one correspondent alone that are remembered.
pub const PRIVATE_MAX: usize = 4;

/// Time after which a record that has no more than a contact goes, in seconds.
const IDLE_LIFETIME: i64 = 400 * 86_400;

/// What is known of one correspondent of one owner.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PeerRecord {
    /// Since when a contact stands: a message of theirs was first-class, granted, or let through by a rule that asked
    /// for authentication.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact: Option<UnixTime>,
    #[serde(skip_serializing_if = "is_default")]
    pub ring: KeyRing,
    /// Sealed stamps that were not opened yet, the latest last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sealed: Vec<Sealed>,
    /// Stamps that they gave the user.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<Held>,
    /// Stamps that the user gave them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub given: Vec<Given>,
    /// Whether the user asked for a stamp to go with the next message to them.
    #[serde(skip_serializing_if = "is_default")]
    pub asked: bool,
    /// What they were told of the user's keys.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub announced: Vec<Announced>,
    /// Messages that announced the user's key and went to them alone, until one of them is answered with a stamp: names
    /// as [`message_name`] makes them. The answer shows that its sender reads mail to the address.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub private: Vec<String>,
    /// Messages of the user to them since the first gift, counted up to [`gift::CAUTIOUS_UNTIL`].
    #[serde(skip_serializing_if = "is_default")]
    pub wrote: u8,
    /// When the user ended the correspondence. Nothing is learned any more, until the user accepts a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<UnixTime>,
    /// When the record was last used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used: Option<UnixTime>,
}

/// A sealed stamp as it came. It is opened when it is first wanted, so that the programs that read hostile mail need
/// neither the secret key nor its cryptography.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    pub text: String,
    /// Whether the message that brought it answers one of the user's.
    pub is_answer: bool,
    /// Whether it answers one of the messages that went to the correspondent alone.
    #[serde(default, skip_serializing_if = "is_default")]
    pub is_private: bool,
    pub evidence: Evidence,
    pub at: UnixTime,
}

impl Sealed {
    /// Whether the message that brought it shows that its sender reads mail to the address. It was authenticated, and
    /// answers one that went to this address alone: other users of the domain can send from it, and did not read that one.
    #[must_use]
    pub fn is_theirs(&self) -> bool {
        self.is_private && self.evidence >= Evidence::Aligned
    }
}

/// Returns the name of a message in a record: the first 16 bytes of SHA-256 over its Message-ID, in base64url. Angle
/// brackets are optional.
#[must_use]
pub fn message_name(id: &str) -> String {
    let id = id.trim();
    let bare = id.strip_prefix('<').and_then(|id| id.strip_suffix('>')).unwrap_or(id);
    BASE64URL_NOPAD.encode(&Sha256::digest(bare)[..16])
}

/// Returns the names of the messages to a correspondent alone, with one more.
#[must_use]
pub fn with_private(mut all: Vec<String>, new: String) -> Vec<String> {
    if !all.contains(&new) {
        all.push(new);
    }
    let over = all.len().saturating_sub(PRIVATE_MAX);
    all.drain(..over);
    all
}

/// Returns the sealed stamps of a message, without white space.
#[must_use]
pub fn sealed_texts(message: &Message<'_>) -> Vec<String> {
    let is_base64url = |text: &String| {
        (1..=SEALED_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let fields = message.fields().filter(|field| field.name_is(SEALED_FIELD)).take(SEALED_READ);
    let short = fields.filter(|field| field.value().len() <= 2 * SEALED_MAX);
    short.map(|field| without_white_space(&field.decoded())).filter(is_base64url).collect()
}

impl PeerRecord {
    /// Returns the record with these sealed stamps, if one of them is kept that was not there.
    /// They count from a correspondent only, and never from a message that a program sent. Where there are too many, one
    /// of an unproven sender never takes the place of another.
    #[must_use]
    pub fn with_sealed(&self, new: Vec<Sealed>) -> Option<Self> {
        self.with_sealed_of_list(new).filter(|_| self.contact.is_some())
    }

    /// The same for what came in the name of a mailing list. The list's key is pinned, so no contact is needed.
    #[must_use]
    pub fn with_sealed_of_list(&self, new: Vec<Sealed>) -> Option<Self> {
        let mut after = self.clone();
        for new in new {
            if after.sealed.iter().any(|own| own.text == new.text) {
                continue;
            }
            if after.sealed.len() >= SEALED_KEPT {
                let worst = after.sealed.iter().map(|own| own.evidence).min().unwrap_or(Evidence::None);
                if new.evidence < worst || new.evidence == Evidence::None {
                    continue;
                }
                if let Some(at) = after.sealed.iter().position(|own| own.evidence == worst) {
                    after.sealed.remove(at);
                }
            }
            after.sealed.push(new);
        }
        (self.ended.is_none() && after.sealed != self.sealed).then_some(after)
    }

    /// Returns how many uses of a stamp that the user gave to this key a day has, where `most` is what the user allows:
    /// none after the correspondence or the key ended, and few while they are a stranger.
    #[must_use]
    pub fn uses_per_day(&self, holder: &PublicKey, most: u8) -> u8 {
        let is_ended = self.ring.keys().iter().any(|own| own.keys.signing == *holder && own.state.is_ended());
        if self.ended.is_some() || is_ended { 0 } else { gift::uses_per_day(self.wrote, most) }
    }

    /// Whether the record may go when there are too many: no key is known, and no stamp was given that is still good.
    #[must_use]
    pub fn is_dispensable(&self, now: UnixTime) -> bool {
        self.ring.known().is_none() && !self.given.iter().any(|given| given.ended.is_none() && given.until >= now)
    }

    /// Returns the serials of the stamps that were given and can still be used, with their issuers.
    pub fn standing(&self, now: UnixTime) -> impl Iterator<Item = &Given> {
        self.given.iter().filter(move |given| given.ended.is_none() && given.until >= now)
    }

    /// Returns the record after the user ended it: its keys, and the stamps in both directions. The caller revokes the
    /// stamps of [`standing`](Self::standing) first.
    #[must_use]
    pub fn end(&self, now: UnixTime) -> Self {
        let mut after = self.clone();
        after.given.iter_mut().filter(|given| given.ended.is_none()).for_each(|given| given.ended = Some(now));
        after.ring = self.ring.drop_all(now).unwrap_or(after.ring);
        (after.contact, after.sealed, after.held, after.asked) = (None, Vec::new(), Vec::new(), false);
        after.private.clear();
        after.ended = self.ended.or(Some(now));
        after
    }

    /// Returns the latest time in the record at which something had happened. The ends of stamps are no such times.
    #[must_use]
    pub fn written_at(&self) -> Option<UnixTime> {
        let keys = self.ring.keys().iter().map(|own| own.since).chain(self.ring.forked());
        let stamps = self.held.iter().map(|own| own.issued).chain(self.sealed.iter().map(|own| own.at));
        let given = self.given.iter().flat_map(|given| [Some(given.issued), given.ended]).flatten();
        let told = self.announced.iter().map(|told| told.last);
        let own = [self.contact, self.ended, self.used].into_iter().flatten().chain(told);
        keys.chain(stamps).chain(given).chain(own).max()
    }

    /// Returns the record without what has ended: stamps past their windows, sealed ones that were not opened for as
    /// long as a new key is kept, new keys that were never used. A record that was unused for long and has no more than
    /// a contact becomes the default. `None` if it stays as it is.
    #[must_use]
    pub fn expire(&self, now: UnixTime) -> Option<Self> {
        let mut after = self.clone();
        after.ring = self.ring.expire(now).unwrap_or(after.ring);
        after.given.retain(|given| given.until >= now);
        after.held.retain(|held| held.expires >= now);
        after.sealed.retain(|sealed| now.since(sealed.at) <= NEW_LIFETIME);
        let is_bare = after.ring == KeyRing::default() && after.given.is_empty() && after.held.is_empty();
        let is_idle = after.used.is_none_or(|used| now.since(used) > IDLE_LIFETIME);
        if is_bare && is_idle && after.sealed.is_empty() && after.ended.is_none() {
            after = Self::default();
        }
        (after != *self).then_some(after)
    }

    /// Merges the record of another store. Nothing that is known here is weakened: keys are taken over only where none
    /// are known, and a stamp that one side ended is ended. An end counts here if nothing here is later, such as a key that
    /// the user accepted since. The same record once more changes nothing.
    #[must_use]
    pub fn merge(&self, other: &Self) -> Self {
        let earlier = |a: Option<UnixTime>, b: Option<UnixTime>| a.into_iter().chain(b).min();
        // No clock is asked: what had ended when the later one was written is over.
        let now = self.written_at().max(other.written_at()).unwrap_or(UnixTime(0));
        let mut after = self.clone();
        for new in &other.given {
            match after.given.iter_mut().find(|own| own.serial == new.serial) {
                Some(own) => own.ended = earlier(own.ended, new.ended),
                None => after.given.push(new.clone()),
            }
        }
        after.given.sort_by(|a, b| (a.issued, a.serial.as_str()).cmp(&(b.issued, b.serial.as_str())));
        let over = after.given.len().saturating_sub(gift::GIVEN_MAX);
        after.given.drain(..over);
        if self.ended.is_some() {
            return after;
        }
        // The user ended it on the other host after all that is known here, or in the same second.
        let is_later = |ended: &UnixTime| self.ring != KeyRing::default() && Some(*ended) >= self.written_at();
        if let Some(ended) = other.ended.filter(is_later) {
            return after.end(ended);
        }
        after.contact = earlier(self.contact, other.contact);
        after.used = self.used.max(other.used);
        after.wrote = self.wrote.max(other.wrote);
        after.announced = other.announced.iter().fold(after.announced, |all, told| Announced::with(all, *told));
        after.private = other.private.iter().fold(after.private, |all, name| with_private(all, name.clone()));
        if self.ring == KeyRing::default() {
            (after.ring, after.ended) = (other.ring.clone(), other.ended);
        }
        for new in &other.held {
            let is_later = after.held.iter().all(|own| !own.is_replaced_by(new) || own.issued < new.issued);
            if is_later && new.expires >= now {
                after.held = offer::with(after.held, new.clone(), now);
            }
        }
        after.with_sealed(other.sealed.clone()).unwrap_or(after)
    }
}

#[cfg(test)]
mod tests {
    use super::super::announcement::tests::{DAY, address, announce, secret};
    use super::super::gift::{Recipient, give};
    use super::super::key_ring::Sighting;
    use super::*;
    use crate::stamp::serial::Serial;

    const NOW: UnixTime = UnixTime(1_800_000_000);

    fn sealed(text: &str) -> Sealed {
        Sealed { text: text.to_owned(), is_answer: false, is_private: false, evidence: Evidence::Aligned, at: NOW }
    }

    fn given(number: u8) -> Given {
        let (a, key) = (address("a@x.example"), secret(1).public());
        let to = Recipient { address: &a, holder: &key, days: 90 };
        give(&address("b@y.example"), &secret(9), &to, Serial::from_random([number; 16]), NOW).unwrap().0
    }

    fn held(number: u8) -> Held {
        Held {
            stamp: "v4.public.x".to_owned(),
            serial: Serial::from_random([number; 16]),
            audience: address("a@x.example"),
            holder: secret(9).public(),
            issued: NOW.plus(i64::from(number)),
            expires: NOW.plus(90 * DAY),
            is_proven: true,
            is_list: false,
        }
    }

    fn record() -> PeerRecord {
        let a = address("a@x.example");
        let by =
            Sighting { now: NOW, from: Some(&a), is_contact: true, is_automatic: false, evidence: Evidence::Aligned };
        let ring = KeyRing::default().learn(&announce("a@x.example", &[1], None), &by).0.unwrap();
        let ring = ring.confirm(&secret(1).public(), NOW).unwrap();
        PeerRecord { contact: Some(NOW), ring, given: vec![given(1)], held: vec![held(1)], ..PeerRecord::default() }
    }

    #[test]
    fn a_record_is_written_and_read() {
        let full = PeerRecord { sealed: vec![sealed("AAAA")], wrote: 2, used: Some(NOW), ..record() };
        let text = serde_json::to_string(&full).unwrap();
        assert_eq!(serde_json::from_str::<PeerRecord>(&text).unwrap(), full);
        assert_eq!(serde_json::to_string(&PeerRecord::default()).unwrap(), "{}");
        assert!(serde_json::from_str::<PeerRecord>("{\"x\":1}").is_err());
    }

    // A row of a correspondent with all that is kept must fit into a row of any store.
    #[test]
    fn a_full_record_is_small() {
        let long = sealed(&"A".repeat(1_000));
        let stamp = Held { stamp: "x".repeat(700), ..held(1) };
        let full = PeerRecord {
            sealed: vec![long; SEALED_KEPT],
            held: vec![stamp; offer::HELD_MAX],
            given: vec![given(1); gift::GIVEN_MAX],
            ..record()
        };
        let length = serde_json::to_vec(&full).unwrap().len();
        assert!(length < 16 * 1024, "{length}");
    }

    #[test]
    fn sealed_stamps_are_kept_from_correspondents_only_and_once() {
        let none = PeerRecord::default();
        assert_eq!(none.with_sealed(vec![sealed("AAAA")]), None);
        // Those of a pinned list need no contact.
        let of_list = none.with_sealed_of_list(vec![sealed("AAAA")]).unwrap();
        assert_eq!((of_list.contact, of_list.sealed.len()), (None, 1));
        assert_eq!(of_list.end(NOW).with_sealed_of_list(vec![sealed("AAAA")]), None);
        let after = record().with_sealed(vec![sealed("AAAA"), sealed("BBBB")]).unwrap();
        assert_eq!(after.with_sealed(vec![sealed("BBBB")]), None);
        let many = (0..9).fold(after, |record, at| record.with_sealed(vec![sealed(&format!("C{at}"))]).unwrap());
        assert_eq!((many.sealed.len(), many.sealed[0].text.as_str()), (SEALED_KEPT, "C3"));
        // Who forges From fills what is empty, and displaces nothing; a good stamp displaces what they sent.
        let forged = |text: &str| Sealed { evidence: Evidence::None, ..sealed(text) };
        assert_eq!(many.with_sealed(vec![forged("DDDD")]), None);
        let flooded = record().with_sealed((0..9).map(|at| forged(&format!("D{at}"))).collect()).unwrap();
        assert_eq!((flooded.sealed.len(), flooded.with_sealed(vec![forged("EEEE")])), (SEALED_KEPT, None));
        let good = flooded.with_sealed(vec![sealed("AAAA")]).unwrap();
        assert_eq!((good.sealed.len(), good.sealed[5].text.as_str()), (SEALED_KEPT, "AAAA"));
        let texts = |raw: &str| sealed_texts(&Message::parse(raw.as_bytes()));
        assert_eq!(texts("Digital-Stamp-Sealed: AA\n AA\ndigital-stamp-sealed: B_-B\n\n"), ["AAAA", "B_-B"]);
        assert_eq!(texts("Digital-Stamp-Sealed:\nDigital-Stamp-Sealed: A+A\nX: y\n\n"), [""; 0]);
        assert_eq!(texts(&"Digital-Stamp-Sealed: A\n".repeat(9)).len(), SEALED_READ);
        assert_eq!(texts(&format!("Digital-Stamp-Sealed: {}\n\n", "A".repeat(SEALED_MAX + 1))), [""; 0]);
    }

    #[test]
    fn either_side_ends_all() {
        let ended = record().end(NOW);
        assert_eq!((ended.standing(NOW).count(), ended.held.len(), ended.contact), (0, 0, None));
        assert_eq!(ended.ring.takers().count() + ended.ring.givers(true).count(), 0);
        assert_eq!(ended.end(NOW.plus(5)), ended);
        assert!(!record().is_dispensable(NOW) && ended.is_dispensable(NOW));
        let of_stranger = PeerRecord { given: vec![given(1)], ..PeerRecord::default() };
        assert!(!of_stranger.is_dispensable(NOW) && of_stranger.is_dispensable(NOW.plus(91 * DAY)));
    }

    // Who has a stolen key has the stamps that were given to it.
    #[test]
    fn a_key_that_ended_uses_no_stamp_any_more() {
        let (one, key, other) = (record(), secret(1).public(), secret(2).public());
        assert_eq!((one.uses_per_day(&key, 50), one.uses_per_day(&other, 50)), (3, 3));
        let known = PeerRecord { wrote: 2, ..one.clone() };
        assert_eq!((known.uses_per_day(&key, 50), known.uses_per_day(&key, 0)), (50, 0));
        assert_eq!(known.end(NOW).uses_per_day(&other, 50), 0);
        let dropped = PeerRecord { ring: known.ring.drop_all(NOW).unwrap(), ..known };
        assert_eq!((dropped.uses_per_day(&key, 50), dropped.uses_per_day(&other, 50)), (0, 50));
    }

    #[test]
    fn what_has_ended_goes_and_then_the_record() {
        let one = PeerRecord { sealed: vec![sealed("AAAA")], used: Some(NOW), ..record() };
        assert_eq!(one.expire(NOW.plus(90 * DAY)), None);
        let later = one.expire(NOW.plus(91 * DAY)).unwrap();
        assert_eq!((later.given.len(), later.held.len(), later.sealed.len()), (0, 0, 0));
        // A known key stays.
        assert_eq!((later.ring.clone(), later.expire(NOW.plus(9_000 * DAY))), (one.ring, None));
        let bare = PeerRecord { contact: Some(NOW), used: Some(NOW), ..PeerRecord::default() };
        assert_eq!(bare.expire(NOW.plus(400 * DAY)), None);
        assert_eq!(bare.expire(NOW.plus(401 * DAY)), Some(PeerRecord::default()));
        let ended = bare.end(NOW);
        assert_eq!(ended.expire(NOW.plus(9_000 * DAY)), None);
    }

    #[test]
    fn a_merge_weakens_nothing() {
        let (one, ended) = (record(), record().end(NOW));
        assert_eq!(one.merge(&one), one);
        assert_eq!(PeerRecord::default().merge(&one), one);
        assert_eq!(one.merge(&PeerRecord::default()), one);
        // What was ended here stays so, and a stamp that was ended there is ended here.
        assert_eq!(ended.merge(&one), ended);
        assert_eq!(PeerRecord::default().merge(&ended), ended);
        assert_eq!(ended.merge(&one).standing(NOW).count(), 0);
        assert_eq!(one.merge(&ended).standing(NOW).count(), 0);
        // An end of another host counts if it is the latest that is known.
        let later = one.end(NOW.plus(60));
        let both = one.merge(&later);
        assert_eq!((both.ended, both.contact, both.held.len()), (Some(NOW.plus(60)), None, 0));
        assert_eq!((both.ring.takers().count(), both.merge(&later)), (0, both.clone()));
        let accepted = PeerRecord { used: Some(NOW.plus(61)), ..one.clone() };
        assert_eq!((accepted.merge(&later).ended, accepted.merge(&later).standing(NOW).count()), (None, 0));
        let later = PeerRecord { held: vec![held(2)], given: vec![given(2)], ..one.clone() };
        let both = one.merge(&later);
        assert_eq!((both.held, both.given), (vec![held(2)], vec![given(1), given(2)]));
        assert_eq!(later.merge(&one).held, [held(2)]);
    }
}
