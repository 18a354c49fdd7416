//! Gifts: the stamps that the user makes for a correspondent, and when one is due. The caller draws the serial, records
//! the gift before it leaves, seals and sends it.

use super::announcement::Keys;
use super::key_ring::{KeyRing, KeyState};
use super::{is_default, issuer};
use crate::message::address::Address;
use crate::stamp::audience::Audience;
use crate::stamp::claims::Stamp;
use crate::stamp::issue::{IssueError, issue};
use crate::stamp::serial::Serial;
use crate::stamp::signing::{PublicKey, SecretKey};
use crate::stamp::token::Token;
use crate::time::UnixTime;
use serde::{Deserialize, Serialize};

/// Gifts to one correspondent that are kept.
pub const GIVEN_MAX: usize = 16;
/// Answers that bring a stamp for a key that used none yet.
pub const GIVEN_TIMES: usize = 3;
/// Uses in a day before the user has written to the correspondent [`CAUTIOUS_UNTIL`] times.
pub const CAUTIOUS_USES: u8 = 3;
/// The user's messages after which a correspondent is no longer a stranger.
pub const CAUTIOUS_UNTIL: u8 = 2;
/// Keys of the user's of which is remembered how often they were announced to one correspondent.
pub const ANNOUNCED_MAX: usize = 4;
/// Messages to a correspondent that carry the announcement of one key.
pub const ANNOUNCED_TIMES: u8 = 3;
/// Time after which it is sent once more, in seconds.
pub const ANNOUNCED_AGAIN: i64 = 30 * DAY;

const DAY: i64 = 86_400;
/// The most seconds by which two clocks may differ.
const SKEW: i64 = 300;

/// A stamp that the user gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    pub serial: Serial,
    /// The user's own address, or that of a mailing list. It issued the stamp, which is good for mail to it.
    pub issuer: Address,
    /// The key that signed it.
    pub signer: PublicKey,
    /// The correspondent's key, which has to sign each use.
    pub holder: PublicKey,
    pub issued: UnixTime,
    pub until: UnixTime,
    /// Whether it went with an answer. A correspondent to whom the user's key is new takes it from no other message.
    #[serde(default, skip_serializing_if = "is_default")]
    pub in_answer: bool,
    /// When the user ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<UnixTime>,
}

impl Given {
    /// Returns its lifetime in days.
    #[must_use]
    pub fn days(&self) -> u32 {
        u32::try_from(self.until.since(self.issued) / DAY).unwrap_or_default()
    }
}

/// Whom a gift is for, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Recipient<'a> {
    pub address: &'a Address,
    pub holder: &'a PublicKey,
    pub days: u32,
}

/// A gift cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GiftError {
    /// An address that no stamp can name as its issuer.
    #[error("{0} cannot issue stamps: it needs quotes, or has letters whose case is unknown")]
    Issuer(Address),
    #[error(transparent)]
    Issue(#[from] IssueError),
}

/// Makes a stamp from `from`, signed by `key`, for any number of messages of the recipient to that address.
///
/// # Errors
/// [`GiftError`] when the address cannot issue stamps.
pub fn give(
    from: &Address,
    key: &SecretKey,
    to: &Recipient<'_>,
    serial: Serial,
    now: UnixTime,
) -> Result<(Given, Token), GiftError> {
    let footer = issuer(from, &key.public()).ok_or_else(|| GiftError::Issuer(from.clone()))?;
    let until = now.plus(i64::from(to.days).saturating_mul(DAY));
    let stamp = Stamp {
        sender: Some(to.address.clone()),
        issued: Some(now),
        many: true,
        holder: Some(*to.holder),
        ..Stamp::new(serial.clone(), Audience::Plain(from.clone()), until)
    };
    let token = issue(&stamp, &footer, key)?;
    let (issuer, signer) = (from.clone(), key.public());
    let given = Given { serial, issuer, signer, holder: *to.holder, issued: now, until, in_answer: false, ended: None };
    Ok((given, token))
}

/// Returns the keys of the ring for which a stamp from `from` is due: those without one of which a third is left, signed
/// by one of the user's `keys`, which are not revoked. With an answer, one that went with another message does not count,
/// and one is due [`GIVEN_TIMES`] times to a key that used none yet: what is an answer here may be none there.
pub fn due<'a>(
    ring: &'a KeyRing,
    given: &[Given],
    from: &Address,
    keys: &[PublicKey],
    (now, is_answer): (UnixTime, bool),
) -> impl Iterator<Item = &'a Keys> {
    let takers = ring.takers().filter(move |own| {
        let of_key = given.iter().filter(|given| given.issuer == *from && given.holder == own.keys.signing);
        let good = of_key.filter(|given| given.ended.is_none() && keys.contains(&given.signer) && is_fresh(given, now));
        let (all, in_answers) = good.fold((0, 0), |(all, of), given| (all + 1, of + usize::from(given.in_answer)));
        let enough = if own.state == KeyState::New { GIVEN_TIMES } else { 1 };
        all == 0 || is_answer && in_answers < enough
    });
    takers.map(|own| &own.keys)
}

/// Whether at least a third of its time is left. One that was made by a clock ahead is not good yet, for the
/// correspondent.
fn is_fresh(given: &Given, now: UnixTime) -> bool {
    let (whole, left) = (given.until.since(given.issued), given.until.since(now));
    left.saturating_mul(3) >= whole && left > 0 && given.issued <= now.plus(SKEW)
}

/// Whether it can still be used.
#[must_use]
pub fn is_standing(given: &Given, now: UnixTime) -> bool {
    given.ended.is_none() && given.until >= now
}

/// Returns the gifts with one more. The oldest of those that can no longer be used go. All others stay, so that each can
/// be revoked.
#[must_use]
pub fn with(mut given: Vec<Given>, new: Given, now: UnixTime) -> Vec<Given> {
    given.push(new);
    let mut over = given.len().saturating_sub(GIVEN_MAX);
    given.retain(|given| {
        let goes = over > 0 && !is_standing(given, now);
        over -= usize::from(goes);
        !goes
    });
    given
}

/// What a correspondent was told of the user's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    pub key: PublicKey,
    pub times: u8,
    pub last: UnixTime,
}

impl Announced {
    /// Returns what the correspondent was told after another message with the announcement of `key`, if one is due.
    #[must_use]
    pub fn next(before: &[Self], key: &PublicKey, now: UnixTime) -> Option<Self> {
        let times = match before.iter().find(|before| before.key == *key) {
            None => 1,
            Some(before) if before.times < ANNOUNCED_TIMES => before.times + 1,
            // A clock that was ahead delays nothing.
            Some(before) if now.since(before.last) >= ANNOUNCED_AGAIN || now < before.last => before.times,
            Some(_) => return None,
        };
        Some(Self { key: *key, times, last: now })
    }

    /// Returns what the correspondent was told, with this about one key: each address of the user has one. The key that
    /// was announced last stays longest.
    #[must_use]
    pub fn with(mut all: Vec<Self>, new: Self) -> Vec<Self> {
        let is_older = all.iter().any(|told| told.key == new.key && told.last >= new.last);
        if !is_older {
            all.retain(|told| told.key != new.key);
            all.push(new);
            all.sort_by_key(|told| told.last);
            let over = all.len().saturating_sub(ANNOUNCED_MAX);
            all.drain(..over);
        }
        all
    }
}

/// Returns how many uses of a stamp in a day are accepted, of a correspondent to whom the user wrote `wrote` times.
#[must_use]
pub fn uses_per_day(wrote: u8, most: u8) -> u8 {
    if wrote < CAUTIOUS_UNTIL { most.min(CAUTIOUS_USES) } else { most }
}

#[cfg(test)]
mod tests {
    use super::super::announcement::tests::{address, announce, secret};
    use super::super::key_ring::{Evidence, Sighting};
    use super::*;
    use crate::stamp::token::Purpose;

    const NOW: UnixTime = UnixTime(1_800_000_000);

    fn serial(number: u8) -> Serial {
        Serial::from_random([number; 16])
    }

    fn gift(number: u8, to: u8, now: UnixTime) -> (Given, Token) {
        let (a, key) = (address("a@x.example"), secret(to).public());
        let to = Recipient { address: &a, holder: &key, days: 90 };
        give(&address("b@y.example"), &secret(9), &to, serial(number), now).unwrap()
    }

    fn ring(seeds: &[u8]) -> KeyRing {
        let a = address("a@x.example");
        let by =
            Sighting { now: NOW, from: Some(&a), is_contact: true, is_automatic: false, evidence: Evidence::Aligned };
        seeds
            .iter()
            .fold(KeyRing::default(), |ring, seed| ring.learn(&announce("a@x.example", &[*seed], None), &by).0.unwrap())
    }

    // BK3: B's own id, a unique identifier, A's address; signed with B's key.
    #[test]
    fn a_gift_names_both_and_is_bound_to_the_holder() {
        let (given, token) = gift(1, 1, NOW);
        let issuer = token.issuer().unwrap();
        assert_eq!((issuer.vendor(), issuer.key_id()), ("b@y.example", &*super::super::key_id(&secret(9).public())));
        assert!(secret(9).public().verify(&token, Purpose::Stamp));
        let stamp = Stamp::read(token.payload()).unwrap();
        assert_eq!((stamp.serial, stamp.sender), (serial(1), Some(address("a@x.example"))));
        assert_eq!(stamp.audience, Audience::Plain(address("b@y.example")));
        assert_eq!((stamp.holder, stamp.many, stamp.issued), (Some(secret(1).public()), true, Some(NOW)));
        assert_eq!((stamp.expires, given.until, given.days()), (Some(NOW.plus(90 * DAY)), NOW.plus(90 * DAY), 90));
        let quoted = address("\"b b\"@y.example");
        let (a, key) = (address("a@x.example"), secret(1).public());
        let to = Recipient { address: &a, holder: &key, days: 90 };
        assert_eq!(give(&quoted, &secret(9), &to, serial(1), NOW), Err(GiftError::Issuer(quoted)));
    }

    #[test]
    fn a_gift_is_due_until_two_thirds_are_over() {
        let from = address("b@y.example");
        let of = |keys: &[PublicKey], ring: &KeyRing, given: &[Given], now| -> Vec<PublicKey> {
            due(ring, given, &from, keys, (now, false)).map(|keys| keys.signing).collect()
        };
        let due = |ring: &KeyRing, given: &[Given], now| of(&[secret(9).public()], ring, given, now);
        let (one, two) = (secret(1).public(), secret(2).public());
        assert_eq!(due(&KeyRing::default(), &[], NOW), []);
        // A stamp for each new key, and for the known one alone.
        let both = ring(&[1, 2]);
        assert_eq!(due(&both, &[], NOW), [one, two]);
        let given = [gift(1, 1, NOW).0];
        assert_eq!(due(&both, &given, NOW), [two]);
        let known = both.confirm(&one, NOW).unwrap();
        assert_eq!(due(&known, &given, NOW.plus(60 * DAY)), []);
        assert_eq!(due(&known, &given, NOW.plus(60 * DAY + 1)), [one]);
        assert_eq!(due(&known, &given, NOW.plus(200 * DAY)), [one]);
        assert_eq!(due(&known, &given, NOW.plus(-SKEW)), []);
        assert_eq!(due(&known, &given, NOW.plus(-SKEW - 1)), [one]);
        let ended = [Given { ended: Some(NOW), ..given[0].clone() }];
        assert_eq!(due(&known, &ended, NOW), [one]);
        let of_list = [Given { issuer: address("l@lists.example"), ..given[0].clone() }];
        assert_eq!(due(&known, &of_list, NOW), [one]);
        // What a key signed that the user revoked since is no stamp any more.
        assert_eq!(of(&[secret(8).public()], &known, &given, NOW), [one]);
        assert_eq!(of(&[secret(8).public(), secret(9).public()], &known, &given, NOW), []);
        // The answer brings one if the earlier one went with another message, and the next answer brings none.
        let with_answer = |given: &[Given]| {
            super::due(&known, given, &from, &[secret(9).public()], (NOW, true))
                .map(|keys| keys.signing)
                .collect::<Vec<_>>()
        };
        assert_eq!(with_answer(&given), [one]);
        let answered = Given { in_answer: true, ..gift(2, 1, NOW).0 };
        assert_eq!(with_answer(&[given[0].clone(), answered.clone()]), []);
        // A key that used none yet gets three.
        let with_answer = |given: &[Given]| {
            super::due(&both, given, &from, &[secret(9).public()], (NOW, true))
                .filter(|keys| keys.signing == one)
                .count()
        };
        let counts = [2, 3].map(|times| with_answer(&vec![answered.clone(); times]));
        assert_eq!(counts, [1, 0]);
    }

    #[test]
    fn the_oldest_gifts_go_that_cannot_be_used() {
        let mut all = Vec::new();
        for number in 0..u8::try_from(GIVEN_MAX).unwrap() {
            all = with(all, gift(number, 1, NOW.plus(i64::from(number))).0, NOW);
        }
        assert_eq!(all.len(), GIVEN_MAX);
        // One that can be used is not lost.
        assert_eq!(with(all.clone(), gift(99, 1, NOW).0, NOW).len(), GIVEN_MAX + 1);
        all[5].ended = Some(NOW);
        let more = with(all.clone(), gift(99, 1, NOW).0, NOW);
        assert_eq!((more.len(), &more[5].serial, &more[GIVEN_MAX - 1].serial), (GIVEN_MAX, &serial(6), &serial(99)));
        let later = NOW.plus(91 * DAY);
        let left = with(all, gift(99, 1, later).0, later);
        assert_eq!((left.len(), &left[0].serial), (GIVEN_MAX, &serial(1)));
    }

    #[test]
    fn a_key_is_announced_three_times_and_then_once_a_month() {
        let (one, two) = (secret(1).public(), secret(2).public());
        let mut told = Vec::new();
        let mut sent = Vec::new();
        for day in 0..100 {
            if let Some(after) = Announced::next(&told, &one, NOW.plus(day * DAY)) {
                told = Announced::with(told, after);
                sent.push(day);
            }
        }
        assert_eq!(sent, [0, 1, 2, 32, 62, 92]);
        assert_eq!(Announced::next(&told, &one, NOW.plus(91 * DAY)).unwrap().last, NOW.plus(91 * DAY));
        // The key of another address is counted by itself.
        let both = Announced::with(told, Announced::next(&[], &two, NOW.plus(93 * DAY)).unwrap());
        assert_eq!((both.len(), Announced::next(&both, &one, NOW.plus(94 * DAY))), (2, None));
        assert_eq!(Announced::next(&both, &two, NOW.plus(94 * DAY)).unwrap().times, 2);
        let many = (3..9).fold(both, |all, seed| {
            Announced::with(all, Announced { key: secret(seed).public(), times: 1, last: NOW.plus(100 * DAY) })
        });
        assert_eq!((many.len(), many[3].key), (ANNOUNCED_MAX, secret(8).public()));
    }

    #[test]
    fn a_stranger_is_held_to_three_uses_a_day() {
        assert_eq!([0, 1, 2, 255].map(|wrote| uses_per_day(wrote, 50)), [3, 3, 50, 50]);
        assert_eq!(uses_per_day(0, 1), 1);
    }
}
