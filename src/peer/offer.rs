//! Offers: stamps that correspondents gave the user, and whether one is kept. All who know the user's key can seal a
//! stamp, so an opened one counts only under a key of its issuer that the user knows.

use super::key_ring::{KeyRing, KeyState, PeerKey};
use super::{is_default, issuer, key_id};
use crate::message::address::Address;
use crate::stamp::audience::Audience;
use crate::stamp::claims::{ClaimError, Stamp};
use crate::stamp::serial::Serial;
use crate::stamp::signing::PublicKey;
use crate::stamp::token::{Purpose, Token, TokenError};
use crate::time::UnixTime;
use serde::{Deserialize, Serialize};

/// Longest window of a stamp that is kept, in seconds: 366 days.
pub const WINDOW_MAX: i64 = 366 * 86_400;
/// Stamps of one correspondent, or of one list, that are kept.
pub const HELD_MAX: usize = 4;
/// The most seconds by which two clocks may differ.
const SKEW: i64 = 300;

/// A stamp that a correspondent gave the user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The token.
    pub stamp: String,
    pub serial: Serial,
    /// The address that issued it, and to which it is good.
    pub audience: Address,
    /// The user's key, which has to sign each use.
    pub holder: PublicKey,
    pub issued: UnixTime,
    pub expires: UnixTime,
    /// Whether the message that brought it showed that it comes from that address.
    pub is_proven: bool,
    /// Whether it is for posts to a mailing list, which changes what it is used on.
    #[serde(default, skip_serializing_if = "is_default")]
    pub is_list: bool,
}

impl Held {
    /// Whether the other one is of the same issuer and key, for the same key of the user's.
    #[must_use]
    pub fn is_replaced_by(&self, other: &Self) -> bool {
        self.audience == other.audience && self.holder == other.holder && self.signer() == other.signer()
    }

    /// Whether it is known to come from its issuer, whose keys these are: since it came, or since its key is known. That
    /// of a mailing list needs one of the keys that are `pinned`.
    /// `None` if it must not be used: its key ended, or is gone and was never known, or is pinned no longer.
    #[must_use]
    pub fn is_genuine(&self, ring: &KeyRing, pinned: &[PublicKey]) -> Option<bool> {
        let signer = self.signer();
        if self.is_list {
            return pinned.iter().any(|key| signer.as_deref() == Some(&*key_id(key))).then_some(true);
        }
        let own = ring.keys().iter().find(|own| signer.as_deref() == Some(&*key_id(&own.keys.signing)));
        match own.map(|own| own.state) {
            Some(KeyState::Known | KeyState::Past) => Some(true),
            Some(KeyState::New) => Some(self.is_proven),
            Some(KeyState::Changed) | None => self.is_proven.then_some(true),
            Some(_) => None,
        }
    }

    /// Returns the name of the key that signed it.
    fn signer(&self) -> Option<String> {
        let named = Token::parse(&self.stamp).and_then(|stamp| stamp.issuer());
        named.ok().map(|named| named.key_id().to_owned())
    }
}

/// The issuer that an opened stamp has to have.
#[derive(Clone, Debug)]
pub struct Giver<'a> {
    address: &'a Address,
    /// Each key, and whether what it signed is known to come from the address.
    keys: Vec<(PublicKey, bool)>,
    is_list: bool,
}

impl<'a> Giver<'a> {
    /// The sender of the message with the stamp. `is_answer` says whether it answers a message of the user, and
    /// `is_theirs` whether it shows that its sender reads mail to the address.
    #[must_use]
    pub fn sender(from: &'a Address, ring: &KeyRing, is_answer: bool, is_theirs: bool) -> Self {
        let is_proven = |own: &PeerKey| own.state != KeyState::New || is_theirs;
        let keys = ring.givers(is_answer).map(|own| (own.keys.signing, is_proven(own)));
        Self { address: from, keys: keys.collect(), is_list: false }
    }

    /// A mailing list whose keys the user pinned.
    #[must_use]
    pub fn list(address: &'a Address, keys: &[PublicKey]) -> Self {
        Self { address, keys: keys.iter().map(|key| (*key, true)).collect(), is_list: true }
    }
}

/// The user, as the holder of stamps.
#[derive(Clone, Copy, Debug)]
pub struct Holder<'a> {
    /// The address to which the message came.
    pub address: &'a Address,
    /// The user's keys for that address, those that were not revoked.
    pub keys: &'a [PublicKey],
}

/// An opened stamp is not kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("another address issued the stamp than the one that sent it")]
    OtherIssuer,
    #[error("the stamp was signed by a key that is not known to be its issuer's")]
    UnknownKey,
    #[error("the stamp's signature does not hold")]
    Signature,
    #[error("the stamp is not readable: {0}")]
    Claims(#[from] ClaimError),
    #[error("the stamp is for mail of another sender")]
    OtherSender,
    #[error("the stamp is bound to a key that is not yours")]
    OtherHolder,
    #[error("the stamp is for one use, or not for mail to its issuer")]
    Form,
    /// Over, not begun, without an end, or too long.
    #[error("the stamp's window is over, has not begun, or is too long")]
    Window,
    #[error("you have a later stamp of its issuer")]
    Older,
}

/// Checks an opened stamp.
///
/// # Errors
/// [`OfferError`]: the first fault found.
pub fn accept(
    stamp: &Token,
    giver: &Giver<'_>,
    me: &Holder<'_>,
    held: &[Held],
    now: UnixTime,
) -> Result<Held, OfferError> {
    let named = stamp.issuer()?;
    if named.vendor() != giver.address.canonical() {
        return Err(OfferError::OtherIssuer);
    }
    let (key, is_proven) =
        giver.keys.iter().find(|(key, _)| key_id(key) == named.key_id()).ok_or(OfferError::UnknownKey)?;
    if issuer(giver.address, key).is_none_or(|own| own != named) {
        return Err(OfferError::OtherIssuer);
    }
    if !key.verify(stamp, Purpose::Stamp) {
        return Err(OfferError::Signature);
    }
    let claims = Stamp::read(stamp.payload())?;
    if claims.sender.as_ref() != Some(me.address) {
        return Err(OfferError::OtherSender);
    }
    let holder = claims.holder.filter(|holder| me.keys.contains(holder)).ok_or(OfferError::OtherHolder)?;
    if !claims.many || claims.audience != Audience::Plain(giver.address.clone()) {
        return Err(OfferError::Form);
    }
    let (Some(issued), Some(expires)) = (claims.issued, claims.expires) else { return Err(OfferError::Window) };
    let begins = claims.not_before.unwrap_or(issued).max(issued);
    if now < begins.plus(-SKEW) || now > expires || expires.since(begins) > WINDOW_MAX {
        return Err(OfferError::Window);
    }
    // One that is bound to a lost key is in nothing's way, nor is one of an unproven sender. Of two of one second,
    // the one that came last counts.
    let is_later = |own: &&Held| own.issued > issued || own.issued == issued && own.serial == claims.serial;
    let counts = |own: &&Held| own.is_proven || own.signer().as_deref() == Some(named.key_id());
    let usable = held.iter().filter(|own| own.audience == *giver.address && me.keys.contains(&own.holder));
    if usable.filter(counts).any(|own| own.expires >= now && is_later(&own)) {
        return Err(OfferError::Older);
    }
    Ok(Held {
        stamp: stamp.as_str().to_owned(),
        serial: claims.serial,
        audience: giver.address.clone(),
        holder,
        issued,
        expires,
        is_proven: *is_proven,
        is_list: giver.is_list,
    })
}

/// Returns the stamps with one more, in place of an earlier one of the same issuer and key that is bound to the same key
/// of the user's: each address of the user has a key, and a stamp, of its own. Those that are over go, and then the one
/// that ends first.
#[must_use]
pub fn with(mut held: Vec<Held>, new: Held, now: UnixTime) -> Vec<Held> {
    held.retain(|own| !own.is_replaced_by(&new) && own.expires >= now);
    held.push(new);
    held.sort_by_key(|own| own.expires);
    let over = held.len().saturating_sub(HELD_MAX);
    held.drain(..over);
    held
}

/// A stamp of a correspondent for one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice<'a> {
    pub stamp: &'a Held,
    /// Whether a bought stamp has to go beside it: a forged gift must cost the user nothing.
    pub needs_another: bool,
}

/// Returns the stamp for a message to `recipient`, of those that one of the user's `keys` can still use: a genuine one
/// first, and then the latest. What a key signed that ended is refused there. `pinned` are the keys of a mailing list.
#[must_use]
pub fn choose<'a>(
    held: &'a [Held],
    (ring, pinned): (&KeyRing, &[PublicKey]),
    recipient: &Address,
    keys: &[PublicKey],
    now: UnixTime,
) -> Option<Choice<'a>> {
    let good = held.iter().filter(|own| own.audience == *recipient && own.expires > now && keys.contains(&own.holder));
    let good = good.filter_map(|own| Some((own.is_genuine(ring, pinned)?, own)));
    let (is_genuine, stamp) = good.max_by_key(|(is_genuine, own)| (*is_genuine, own.issued))?;
    Some(Choice { stamp, needs_another: !is_genuine })
}

#[cfg(test)]
mod tests {
    use super::super::announcement::tests::{DAY, address, announce, secret};
    use super::super::gift::{Recipient, give};
    use super::super::key_ring::{Evidence, Sighting};
    use super::*;
    use crate::stamp::issue::issue;
    use crate::stamp::token::Issuer;

    const NOW: UnixTime = UnixTime(1_800_000_000);
    const A: &str = "a@x.example";
    const B: &str = "b@y.example";

    /// A's ring of B, whose new key is that of seed 2.
    fn ring() -> KeyRing {
        let b = address(B);
        let by =
            Sighting { now: NOW, from: Some(&b), is_contact: true, is_automatic: false, evidence: Evidence::Aligned };
        KeyRing::default().learn(&announce(B, &[2], None), &by).0.unwrap()
    }

    fn known() -> KeyRing {
        ring().confirm(&secret(2).public(), NOW).unwrap()
    }

    fn gift_by(signer: u8, from: &str, to: &str, holder: u8, at: UnixTime) -> Token {
        let (to, holder) = (address(to), secret(holder).public());
        let recipient = Recipient { address: &to, holder: &holder, days: 90 };
        give(&address(from), &secret(signer), &recipient, Serial::from_random([1; 16]), at).unwrap().1
    }

    fn good() -> Token {
        gift_by(2, B, A, 1, NOW)
    }

    fn keep(stamp: &Token, ring: &KeyRing, is_answer: bool, held: &[Held]) -> Result<Held, OfferError> {
        let (a, b) = (address(A), address(B));
        let giver = Giver::sender(&b, ring, is_answer, true);
        accept(stamp, &giver, &Holder { address: &a, keys: &[secret(1).public()] }, held, NOW)
    }

    /// The good stamp as it is kept where nothing shows that its sender reads mail to the address.
    fn kept_of_stranger(ring: &KeyRing) -> Held {
        let (a, b) = (address(A), address(B));
        let giver = Giver::sender(&b, ring, true, false);
        accept(&good(), &giver, &Holder { address: &a, keys: &[secret(1).public()] }, &[], NOW).unwrap()
    }

    #[test]
    fn a_stamp_of_a_known_key_is_kept_and_of_a_new_one_in_an_answer() {
        let held = keep(&good(), &known(), false, &[]).unwrap();
        assert_eq!((held.stamp.as_str(), held.audience.clone()), (good().as_str(), address(B)));
        assert!(held.is_proven);
        assert_eq!(keep(&good(), &ring(), false, &[]), Err(OfferError::UnknownKey));
        assert_eq!(keep(&good(), &ring(), true, &[]), Ok(held));
        // A new key does not show who sealed the stamp.
        assert_eq!((kept_of_stranger(&ring()).is_proven, kept_of_stranger(&known()).is_proven), (false, true));
        let forked = known().drop_all(NOW).unwrap();
        assert_eq!(keep(&good(), &forked, true, &[]), Err(OfferError::UnknownKey));
    }

    // Strangers give themselves, or the user, a stamp "from B".
    #[test]
    fn a_false_gift_is_not_kept() {
        let kept = |stamp: &Token| keep(stamp, &known(), true, &[]);
        assert_eq!(kept(&gift_by(3, B, A, 1, NOW)), Err(OfferError::UnknownKey));
        assert_eq!(kept(&gift_by(2, "c@z.example", A, 1, NOW)), Err(OfferError::OtherIssuer));
        assert_eq!(kept(&gift_by(2, B, "c@z.example", 1, NOW)), Err(OfferError::OtherSender));
        assert_eq!(kept(&gift_by(2, B, A, 3, NOW)), Err(OfferError::OtherHolder));
        // The name of a known key over the signature of another one, and another purpose.
        let named = issuer(&address(B), &secret(2).public()).unwrap().footer();
        let forged = secret(3).sign(good().payload(), &named, Purpose::Stamp);
        assert_eq!(kept(&forged), Err(OfferError::Signature));
        assert_eq!(kept(&secret(2).sign(good().payload(), &named, Purpose::Use)), Err(OfferError::Signature));
        assert!(matches!(kept(&secret(2).sign(b"{}", &named, Purpose::Stamp)), Err(OfferError::Claims(_))));
        assert!(matches!(kept(&secret(2).sign(b"{}", b"{}", Purpose::Stamp)), Err(OfferError::Token(_))));
        // A vendor's stamp has a domain for its issuer.
        let vendor = Issuer::new("y.example", "a").unwrap().footer();
        assert_eq!(kept(&secret(2).sign(good().payload(), &vendor, Purpose::Stamp)), Err(OfferError::OtherIssuer));
    }

    #[test]
    fn form_and_window_are_checked() {
        let stamp = Stamp::read(good().payload()).unwrap();
        let kept = |stamp: Stamp| {
            let named = issuer(&address(B), &secret(2).public()).unwrap();
            keep(&issue(&stamp, &named, &secret(2)).unwrap(), &known(), false, &[]).map(drop)
        };
        assert_eq!(kept(stamp.clone()), Ok(()));
        let salted = Audience::hashed(&address(B), [1; 16]);
        for (other, error) in [
            (Stamp { many: false, ..stamp.clone() }, OfferError::Form),
            (Stamp { audience: Audience::Plain(address("c@y.example")), ..stamp.clone() }, OfferError::Form),
            (Stamp { audience: salted, ..stamp.clone() }, OfferError::Form),
            (Stamp { holder: None, ..stamp.clone() }, OfferError::OtherHolder),
            (Stamp { sender: None, ..stamp.clone() }, OfferError::OtherSender),
            (Stamp { issued: None, ..stamp.clone() }, OfferError::Window),
            (Stamp { expires: None, ..stamp.clone() }, OfferError::Window),
            (Stamp { expires: Some(NOW.plus(-1)), ..stamp.clone() }, OfferError::Window),
            (Stamp { expires: Some(NOW.plus(WINDOW_MAX + 1)), ..stamp.clone() }, OfferError::Window),
            (Stamp { issued: Some(NOW.plus(SKEW + 1)), ..stamp.clone() }, OfferError::Window),
            (Stamp { not_before: Some(NOW.plus(SKEW + 1)), ..stamp.clone() }, OfferError::Window),
        ] {
            assert_eq!(kept(other), Err(error));
        }
        assert_eq!(kept(Stamp { expires: Some(NOW.plus(WINDOW_MAX)), ..stamp }), Ok(()));
    }

    #[test]
    fn the_newest_stamp_of_an_issuer_wins() {
        let first = keep(&good(), &known(), false, &[]).unwrap();
        let of = |at: UnixTime| keep(&gift_by(2, B, A, 1, at), &known(), false, std::slice::from_ref(&first));
        assert_eq!(of(NOW), Err(OfferError::Older));
        assert_eq!(of(NOW.plus(-DAY)), Err(OfferError::Older));
        // Bound to a key that the user has no more.
        let lost = Held { holder: secret(3).public(), ..first.clone() };
        assert!(keep(&gift_by(2, B, A, 1, NOW.plus(-DAY)), &known(), false, std::slice::from_ref(&lost)).is_ok());
        let second = of(NOW.plus(60)).unwrap();
        assert_eq!(with(vec![first.clone()], second.clone(), NOW), std::slice::from_ref(&second));
        // That for another address of the user's stays.
        assert_eq!(with(vec![lost.clone()], second.clone(), NOW), [lost.clone(), second.clone()]);
        // One that is over does not stand in the way.
        let over = Held { expires: NOW.plus(-1), ..first.clone() };
        assert!(keep(&gift_by(2, B, A, 1, NOW.plus(-DAY)), &known(), false, &[over]).is_ok());
        let of_list = |number: u8| Held {
            audience: address(&format!("l{number}@lists.example")),
            expires: NOW.plus(i64::from(number)),
            ..first.clone()
        };
        let all = (1..7).fold(vec![first.clone()], |held, number| with(held, of_list(number), NOW));
        assert_eq!(all, [of_list(4), of_list(5), of_list(6), first]);
    }

    // Another user of the domain made a key and a stamp first.
    #[test]
    fn a_stamp_of_a_stranger_is_in_no_other_ones_way() {
        let (b, own) = (address(B), [secret(1).public()]);
        let by =
            Sighting { now: NOW, from: Some(&b), is_contact: true, is_automatic: false, evidence: Evidence::Covered };
        let both = ring().learn(&announce(B, &[3], None), &by).0.unwrap();
        let (a, me) = (address(A), [secret(1).public()]);
        let take = |stamp: &Token, held: &[Held], is_theirs| {
            let giver = Giver::sender(&b, &both, true, is_theirs);
            let held_now = accept(stamp, &giver, &Holder { address: &a, keys: &me }, held, NOW).unwrap();
            with(held.to_vec(), held_now, NOW)
        };
        let false_one = take(&gift_by(3, B, A, 1, NOW.plus(SKEW)), &[], false);
        let all = take(&good(), &false_one, true);
        assert_eq!(all.len(), 2);
        let choice = choose(&all, (&both, &[]), &b, &own, NOW).unwrap();
        assert_eq!((choice.stamp.stamp.as_str(), choice.needs_another), (good().as_str(), false));
        // The owner of the address is known once they used a stamp, and the other key is gone.
        let all = take(&good(), &false_one, false);
        assert!(choose(&all, (&both, &[]), &b, &own, NOW).unwrap().needs_another);
        let known = both.confirm(&secret(2).public(), NOW).unwrap();
        let choice = choose(&all, (&known, &[]), &b, &own, NOW).unwrap();
        assert_eq!((choice.stamp.stamp.as_str(), choice.needs_another), (good().as_str(), false));
        assert_eq!(choose(&false_one, (&known, &[]), &b, &own, NOW), None);
    }

    #[test]
    fn a_stamp_is_chosen_for_its_issuer_and_an_unproven_one_does_not_go_alone() {
        let held = [kept_of_stranger(&ring())];
        let choice = choose(&held, (&ring(), &[]), &address(B), &[secret(1).public()], NOW).unwrap();
        assert_eq!((choice.stamp, choice.needs_another), (&held[0], true));
        let (b, own, other) = (address(B), [secret(1).public()], [secret(3).public()]);
        let choice = choose(&held, (&known(), &[]), &b, &own, NOW).unwrap();
        assert_eq!((choice.stamp, choice.needs_another), (&held[0], false));
        assert_eq!(choose(&held, (&known(), &[]), &address(A), &own, NOW), None);
        assert_eq!(choose(&held, (&known(), &[]), &b, &other, NOW), None);
        assert_eq!(choose(&held, (&known(), &[]), &b, &own, held[0].expires), None);
        assert_eq!(choose(&held, (&known().drop_all(NOW).unwrap(), &[]), &b, &own, NOW), None);
    }

    #[test]
    fn a_pinned_list_gives_its_members_stamps() {
        let (list, a, pinned) = (address("l@lists.example"), address(A), [secret(5).public()]);
        let kept = |signer: u8| {
            let stamp = gift_by(signer, "l@lists.example", A, 1, NOW);
            let me = Holder { address: &a, keys: &[secret(1).public()] };
            accept(&stamp, &Giver::list(&list, &pinned), &me, &[], NOW).map(|held| (held.is_list, held.is_proven))
        };
        assert_eq!((kept(5), kept(2)), (Ok((true, true)), Err(OfferError::UnknownKey)));
    }

    // The list has two keys: the user holds a stamp of each, and unpins one of them, and then the other.
    #[test]
    fn a_stamp_of_a_list_is_used_while_its_key_is_pinned() {
        let (list, a, own) = (address("l@lists.example"), address(A), [secret(1).public()]);
        let (old, new) = (secret(5).public(), secret(6).public());
        let take = |held: Vec<Held>, signer: u8, at: UnixTime| {
            let stamp = gift_by(signer, "l@lists.example", A, 1, at);
            let giver = [old, new];
            let one = accept(&stamp, &Giver::list(&list, &giver), &Holder { address: &a, keys: &own }, &held, NOW);
            with(held, one.unwrap(), NOW)
        };
        let held = take(take(Vec::new(), 5, NOW.plus(-60)), 6, NOW);
        let ring = KeyRing::default();
        let signer = |pinned: &[PublicKey]| choose(&held, (&ring, pinned), &list, &own, NOW)?.stamp.signer();
        assert_eq!(signer(&[old, new]), Some(key_id(&new)));
        assert_eq!(signer(&[old]), Some(key_id(&old)));
        assert_eq!((signer(&[]), signer(&own)), (None, None));
    }
}
