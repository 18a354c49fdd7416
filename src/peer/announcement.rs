//! Announcement: the token in which a correspondent names their own keys, in the header field `Digital-Stamp-Key`.
//!
//! The footer has the 32 bytes of the signing key, which signed the token. Claims: `addr` (the address, in canonical
//! form), `seal` (the key to seal to), `iat` (RFC 3339), and where there were keys before, `prev` and perhaps
//! `revoked` and `stolen`.
//!
//! `prev` is the way from earlier keys, in base64url: of the oldest key its 32 bytes and a signature, then of each
//! later one its 32 bytes, those of its seal key, its `iat` (64 bits, big endian) and a signature. Each signature names
//! the key that followed, and the last one the announced key. A correspondent who missed some rotations finds a known
//! key there.
//!
//! `revoked` says that one of those keys was stolen, from that time on: the one in `stolen` (32 bytes in base64url), or
//! without that the last one. Its thief can write this as well as its owner. So it ends that key and appoints none
//! ([`super::key_ring`]).

use super::sealing::SealKey;
use super::{KEY_FIELD, issuer};
use crate::grant::serde_hex;
use crate::message::address::Address;
use crate::message::parse::Message;
use crate::stamp::claims::{ClaimError, Claims, ObjectWriter, TIME};
use crate::stamp::extract::without_white_space;
use crate::stamp::signing::{PublicKey, SecretKey};
use crate::stamp::token::{Purpose, TOKEN_MAX, Token, TokenError};
use crate::time::UnixTime;
use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Earlier keys that an announcement names.
pub const STEPS_MAX: usize = 4;

/// The known claims.
const KNOWN: [&str; 6] = ["addr", "seal", "iat", "prev", "revoked", "stolen"];

const KEY: usize = 32;
const SIGNATURE: usize = 64;
/// Bytes of the oldest key, and of a later one.
const OLDEST: usize = KEY + SIGNATURE;
const LATER: usize = KEY + KEY + 8 + SIGNATURE;

/// The public keys of a correspondent at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    pub signing: PublicKey,
    pub sealing: SealKey,
    /// When they were made, as their owner says.
    pub issued: UnixTime,
}

/// A signature by which one key names the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The keys that signed.
    pub from: Keys,
    pub signature: [u8; SIGNATURE],
}

/// A step from one signing key to the next, whose signature holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub from: PublicKey,
    pub to: PublicKey,
}

/// The identity of an announcement: the first 16 bytes of SHA-256 over its characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AnnouncementId(#[serde(with = "serde_hex::one")] pub [u8; 16]);

/// An announcement whose signatures hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    pub address: Address,
    pub keys: Keys,
    /// The way from earlier keys, the oldest first. The last step leads to these keys.
    pub steps: Vec<Step>,
    /// Since when a key of the steps is revoked.
    pub revoked: Option<UnixTime>,
    /// That key.
    pub stolen: Option<PublicKey>,
    pub id: AnnouncementId,
}

/// A text is not an announcement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnnouncementError {
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The footer is not a key that can sign.
    #[error("the footer of the announcement is not a key")]
    Key,
    #[error("the signature of the announcement does not hold")]
    Signature,
    #[error("the announcement is not readable: {0}")]
    Claims(#[from] ClaimError),
    /// An address that cannot have keys of its own.
    #[error("the address of the announcement is not in canonical form")]
    Address,
    /// A link is malformed, or was not signed by the key that it names.
    #[error("the way from earlier keys does not hold")]
    Link,
    /// No key of the way was revoked.
    #[error("the announcement revokes a key that it does not have")]
    Revoked,
}

/// What a message has of announcements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    None,
    /// One field, without white space.
    One(String),
    /// More than one field. Which of them a signature covers cannot be said, so none counts.
    Several,
}

/// Finds the announcement of a message.
#[must_use]
pub fn find(message: &Message<'_>) -> Found {
    let mut fields = message.fields().filter(|field| field.name_is(KEY_FIELD));
    match (fields.next(), fields.next()) {
        (None, _) => Found::None,
        (Some(field), None) if field.value().len() <= 2 * TOKEN_MAX => {
            Found::One(without_white_space(&field.decoded()))
        }
        _ => Found::Several,
    }
}

impl Link {
    /// Signs the step from `from` to `next` of one address. `key` is the secret half of `from`.
    #[must_use]
    pub fn sign(address: &Address, from: Keys, next: &Keys, key: &SecretKey) -> Self {
        let signed = key.sign(&succession(address, next), b"", Purpose::Succession);
        Self { from, signature: *signed.signature() }
    }

    fn holds(&self, address: &Address, next: &Keys) -> bool {
        let text = succession(address, next);
        self.from.signing.verify_parts(&text, b"", &self.signature, Purpose::Succession)
    }
}

/// Returns what the key before `next` signs.
fn succession(address: &Address, next: &Keys) -> Vec<u8> {
    let Keys { signing, sealing, issued } = next;
    format!("digital-stamp-key-next\n{}\n{signing}\n{sealing}\n{issued}", address.canonical()).into_bytes()
}

impl Announcement {
    /// Signs an announcement of these keys. `links` lead to them, the oldest first; the last [`STEPS_MAX`] are sent.
    /// `revoked` is about the key of the last link.
    ///
    /// # Errors
    /// [`AnnouncementError`] when it could not be read back.
    pub fn sign(
        address: &Address,
        keys: &Keys,
        links: &[Link],
        revoked: Option<UnixTime>,
        key: &SecretKey,
    ) -> Result<Token, AnnouncementError> {
        Self::sign_with(address, keys, links, (revoked, None), key)
    }

    /// As [`sign`](Self::sign). `revoked` is about the key beside it, if there is one.
    ///
    /// # Errors
    /// [`AnnouncementError`] when it could not be read back.
    pub fn sign_with(
        address: &Address,
        keys: &Keys,
        links: &[Link],
        (revoked, stolen): (Option<UnixTime>, Option<PublicKey>),
        key: &SecretKey,
    ) -> Result<Token, AnnouncementError> {
        let links = links.get(links.len().saturating_sub(STEPS_MAX)..).unwrap_or_default();
        let mut object = ObjectWriter::new();
        object.get_text("addr", &address.canonical());
        object.get_text("seal", &keys.sealing.to_string());
        object.get_text("iat", &keys.issued.to_string());
        if !links.is_empty() {
            object.get_text("prev", &BASE64URL_NOPAD.encode(&encode(links)));
        }
        if let Some(revoked) = revoked {
            object.get_text("revoked", &revoked.to_string());
        }
        if let Some(stolen) = stolen.filter(|stolen| links.last().is_some_and(|last| last.from.signing != *stolen)) {
            object.get_text("stolen", &BASE64URL_NOPAD.encode(&stolen.to_bytes()));
        }
        let token = key.sign(&object.finish(), &keys.signing.to_bytes(), Purpose::Announcement);
        Self::read(&token)?;
        Ok(token)
    }

    /// Verifies an announcement, from which white space was removed: its own signature first, then that of each step.
    ///
    /// # Errors
    /// [`AnnouncementError`]: the first fault found.
    pub fn parse(text: &str) -> Result<Self, AnnouncementError> {
        Self::read(&Token::parse(text)?)
    }

    fn read(token: &Token) -> Result<Self, AnnouncementError> {
        const HASH: &str = "a key in base64url (43 characters)";
        let signing: &[u8; KEY] = token.footer().try_into().map_err(|_| AnnouncementError::Key)?;
        let signing = PublicKey::from_bytes(signing).map_err(|_| AnnouncementError::Key)?;
        if !signing.verify(token, Purpose::Announcement) {
            return Err(AnnouncementError::Signature);
        }
        let claims = Claims::read(token.payload())?;
        claims.all_critical_known(&KNOWN)?;
        let text = claims.required("addr", "an address", |text| Some(text.to_owned()))?;
        let address = Address::parse(&text).map_err(|_| AnnouncementError::Address)?;
        // One spelling, which the footer of a stamp can name.
        issuer(&address, &signing).filter(|issuer| issuer.vendor() == text).ok_or(AnnouncementError::Address)?;
        let keys = Keys {
            signing,
            sealing: claims.required("seal", HASH, |text| text.parse().ok())?,
            issued: claims.required("iat", TIME, |text| UnixTime::from_rfc3339(text).ok())?,
        };
        let links = claims.get_text("prev", "links in base64url", decode)?.unwrap_or_default();
        let revoked = claims.get_time("revoked")?;
        let stolen = claims.get_text("stolen", HASH, decode_key)?;
        let is_of_way = |key: &PublicKey| links.iter().any(|link| link.from.signing == *key);
        let stolen = match (revoked, stolen) {
            (None, None) => None,
            (Some(_), None) => Some(links.last().ok_or(AnnouncementError::Revoked)?.from.signing),
            (Some(_), Some(key)) if is_of_way(&key) => Some(key),
            _ => return Err(AnnouncementError::Revoked),
        };
        let steps = verified(&address, &links, &keys).ok_or(AnnouncementError::Link)?;
        let digest: [u8; 32] = Sha256::digest(token.as_str()).into();
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        Ok(Self { address, keys, steps, revoked, stolen, id: AnnouncementId(id) })
    }

    /// Returns the steps from `key` on; empty if the way does not lead over it.
    #[must_use]
    pub fn steps_from(&self, key: &PublicKey) -> &[Step] {
        let start = self.steps.iter().position(|step| step.from == *key);
        start.and_then(|start| self.steps.get(start..)).unwrap_or_default()
    }
}

/// Returns the steps if each signature holds and no key is there twice.
fn verified(address: &Address, links: &[Link], keys: &Keys) -> Option<Vec<Step>> {
    let mut seen = vec![keys.signing];
    let mut steps = Vec::with_capacity(links.len());
    for (at, link) in links.iter().enumerate() {
        let next = links.get(at + 1).map_or(keys, |next| &next.from);
        let from = link.from.signing;
        if seen.contains(&from) || !link.holds(address, next) {
            return None;
        }
        seen.push(from);
        steps.push(Step { from, to: next.signing });
    }
    Some(steps)
}

fn encode(links: &[Link]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(links.len() * LATER);
    for (at, link) in links.iter().enumerate() {
        bytes.extend_from_slice(&link.from.signing.to_bytes());
        if at > 0 {
            bytes.extend_from_slice(&link.from.sealing.0);
            bytes.extend_from_slice(&link.from.issued.0.to_be_bytes());
        }
        bytes.extend_from_slice(&link.signature);
    }
    bytes
}

fn decode_key(text: &str) -> Option<PublicKey> {
    PublicKey::from_bytes(BASE64URL_NOPAD.decode(text.as_bytes()).ok()?.as_slice().try_into().ok()?).ok()
}

/// Decodes the links. The oldest keys come without those to seal to, which are not needed.
fn decode(text: &str) -> Option<Vec<Link>> {
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
    let (oldest, rest) = bytes.split_first_chunk::<OLDEST>()?;
    let (later, left) = rest.as_chunks::<LATER>();
    if !left.is_empty() || later.len() >= STEPS_MAX {
        return None;
    }
    let link = |signing: &[u8], sealing: [u8; KEY], issued: i64, signature: &[u8]| {
        let signing = PublicKey::from_bytes(signing.try_into().ok()?).ok()?;
        let from = Keys { signing, sealing: SealKey(sealing), issued: UnixTime(issued) };
        Some(Link { from, signature: signature.try_into().ok()? })
    };
    let (signing, signature) = oldest.split_at(KEY);
    let mut links = vec![link(signing, [0; KEY], 0, signature)?];
    for bytes in later {
        let (signing, rest) = bytes.split_at(KEY);
        let (sealing, rest) = rest.split_at(KEY);
        let (issued, signature) = rest.split_first_chunk()?;
        links.push(link(signing, sealing.try_into().ok()?, i64::from_be_bytes(*issued), signature)?);
    }
    Some(links)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(in super::super) const DAY: i64 = 86_400;
    pub(in super::super) const MADE: UnixTime = UnixTime(1_795_219_200);

    pub(in super::super) fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    pub(in super::super) fn secret(seed: u8) -> SecretKey {
        SecretKey::from_random(&[seed; 32])
    }

    /// The keys of this seed, made `seed` days after the first.
    pub(in super::super) fn keys(seed: u8) -> Keys {
        let issued = MADE.plus(i64::from(seed) * DAY);
        Keys { signing: secret(seed).public(), sealing: SealKey([seed; 32]), issued }
    }

    /// The links over the keys of these seeds.
    pub(in super::super) fn links(of: &Address, seeds: &[u8]) -> Vec<Link> {
        seeds.windows(2).map(|pair| Link::sign(of, keys(pair[0]), &keys(pair[1]), &secret(pair[0]))).collect()
    }

    /// The announcement of the last of these keys, with the way over the others.
    pub(in super::super) fn announce(of: &str, seeds: &[u8], revoked: Option<UnixTime>) -> Announcement {
        let (of, last) = (address(of), *seeds.last().unwrap());
        let token = Announcement::sign(&of, &keys(last), &links(&of, seeds), revoked, &secret(last)).unwrap();
        Announcement::parse(token.as_str()).unwrap()
    }

    const A: &str = "alice@x.example";

    fn step(from: u8, to: u8) -> Step {
        Step { from: secret(from).public(), to: secret(to).public() }
    }

    #[test]
    fn an_announcement_comes_back_as_it_was_signed() {
        let one = announce("Alice@X.example", &[1], None);
        assert_eq!((one.address, one.keys, one.steps, one.revoked), (address(A), keys(1), vec![], None));
        let far = announce(A, &[1, 2, 3, 4, 5, 6], Some(MADE));
        assert_eq!(far.steps, [step(2, 3), step(3, 4), step(4, 5), step(5, 6)]);
        assert_eq!((far.keys, far.revoked), (keys(6), Some(MADE)));
        assert_eq!(far.steps_from(&secret(4).public()), [step(4, 5), step(5, 6)]);
        assert!(far.steps_from(&secret(1).public()).is_empty() && far.steps_from(&secret(6).public()).is_empty());
        assert_ne!(far.id, announce(A, &[2, 3, 4, 5, 6], None).id);
    }

    // A retired key was stolen, and another one followed it since.
    #[test]
    fn an_announcement_revokes_any_key_of_its_way() {
        let (of, way) = (address(A), links(&address(A), &[1, 2, 3]));
        let sign = |stolen: Option<u8>| {
            let stolen = stolen.map(|seed| secret(seed).public());
            Announcement::sign_with(&of, &keys(3), &way, (Some(MADE), stolen), &secret(3))
        };
        let read = |stolen: Option<u8>| Announcement::parse(sign(stolen).unwrap().as_str()).unwrap();
        assert_eq!(read(Some(1)).stolen, Some(secret(1).public()));
        assert_eq!((read(None).stolen, read(Some(2)).id), (Some(secret(2).public()), read(None).id));
        for other in [3, 9] {
            assert_eq!(sign(Some(other)), Err(AnnouncementError::Revoked));
        }
    }

    // The issue: announcement and seal together add at most 2 kB.
    #[test]
    fn it_is_short() {
        let length = |seeds: &[u8]| {
            let last = *seeds.last().unwrap();
            let of = address(A);
            let token = Announcement::sign(&of, &keys(last), &links(&of, seeds), None, &secret(last)).unwrap();
            token.as_str().len()
        };
        assert!(length(&[1]) <= 350, "{}", length(&[1]));
        assert!(length(&[1, 2]) <= 550, "{}", length(&[1, 2]));
        assert!(length(&[1, 2, 3, 4, 5]) <= 1_300, "{}", length(&[1, 2, 3, 4, 5]));
    }

    #[test]
    fn only_its_own_key_signs_it() {
        let signed = |key: &SecretKey, footer: &[u8], purpose: Purpose, payload: &str| {
            Announcement::parse(key.sign(payload.as_bytes(), footer, purpose).as_str())
        };
        let seal = "A".repeat(43);
        let good = format!(r#"{{"addr":"{A}","seal":"{seal}","iat":"2026-11-21T12:00:00Z"}}"#);
        let own = secret(1).public().to_bytes();
        let put = |payload: &str| signed(&secret(1), &own, Purpose::Announcement, payload);
        assert_eq!(put(&good).unwrap().address, address(A));
        let stranger = signed(&secret(2), &own, Purpose::Announcement, &good);
        assert_eq!(stranger, Err(AnnouncementError::Signature));
        for purpose in Purpose::ALL.into_iter().filter(|purpose| *purpose != Purpose::Announcement) {
            assert_eq!(signed(&secret(1), &own, purpose, &good), Err(AnnouncementError::Signature));
        }
        for footer in [&b""[..], b"{}", &[0; 32], &[1; 33]] {
            assert_eq!(signed(&secret(1), footer, Purpose::Announcement, &good), Err(AnnouncementError::Key));
        }
        for other in ["Alice@x.example", "alice@X.example", "alice", "\\\"a b\\\"@x.example", "alice@x.example.", ""] {
            assert_eq!(put(&good.replace(A, other)), Err(AnnouncementError::Address), "{other}");
        }
        let revoked = good.replace(r#""iat""#, r#""revoked":"2026-11-21T12:00:00Z","iat""#);
        assert_eq!(put(&revoked), Err(AnnouncementError::Revoked));
        let named = BASE64URL_NOPAD.encode(&secret(2).public().to_bytes());
        assert_eq!(
            put(&good.replace(r#""iat""#, &format!(r#""stolen":"{named}","iat""#))),
            Err(AnnouncementError::Revoked)
        );
        for bad in [
            "{}".to_owned(),
            good.replace(&seal, "AAAA"),
            good.replace("2026", "26"),
            good.replace("addr", "addrs"),
            good.replace(r#""iat""#, r#""prev":"","iat""#),
            good.replace(r#""iat""#, &format!(r#""prev":"{}","iat""#, "A".repeat(128))),
            good.replace(r#""iat""#, r#""crit":["x"],"iat""#),
            good.replace('}', &format!(r#","x":"{}"}}"#, "x".repeat(2_000))),
        ] {
            let read = put(&bad);
            assert!(matches!(read, Err(AnnouncementError::Claims(_) | AnnouncementError::Token(_))), "{bad} {read:?}");
        }
        assert!(put(&good.replace('}', r#","x":1}"#)).is_ok());
    }

    #[test]
    fn a_link_holds_for_its_address_and_the_next_keys_only() {
        let of = address(A);
        let sign =
            |links: &[Link], last: u8| Announcement::sign(&of, &keys(last), links, None, &secret(last)).map(drop);
        let way = links(&of, &[1, 2, 3]);
        assert_eq!(sign(&way, 3), Ok(()));
        assert_eq!(sign(&way[1..], 3), Ok(()));
        // Without the last link, in another order, to other keys, for another address.
        assert_eq!(sign(&way[..1], 3), Err(AnnouncementError::Link));
        assert_eq!(sign(&[way[1], way[0]], 3), Err(AnnouncementError::Link));
        assert_eq!(sign(&way, 4), Err(AnnouncementError::Link));
        assert_eq!(sign(&links(&address("bob@x.example"), &[1, 2, 3]), 3), Err(AnnouncementError::Link));
        let other_seal = Keys { sealing: SealKey([9; 32]), ..keys(3) };
        assert_eq!(sign(&[Link::sign(&of, keys(2), &other_seal, &secret(2))], 3), Err(AnnouncementError::Link));
        let later = Keys { issued: keys(3).issued.plus(1), ..keys(3) };
        assert_eq!(sign(&[Link::sign(&of, keys(2), &later, &secret(2))], 3), Err(AnnouncementError::Link));
        // Signed by another key than the one that it names.
        assert_eq!(sign(&[Link::sign(&of, keys(2), &keys(3), &secret(4))], 3), Err(AnnouncementError::Link));
        // In a circle.
        assert_eq!(sign(&links(&of, &[3, 2, 3]), 3), Err(AnnouncementError::Link));
        assert_eq!(sign(&links(&of, &[2, 1, 2, 3]), 3), Err(AnnouncementError::Link));
    }

    #[test]
    fn two_announcements_are_none() {
        let found = |raw: &str| find(&Message::parse(raw.as_bytes()));
        assert_eq!(found("From: a@x\n\n"), Found::None);
        assert_eq!(found("digital-stamp-key: v4.pub\n lic.A B\n\n"), Found::One("v4.public.AB".into()));
        assert_eq!(found("Digital-Stamp-Key: a\nDigital-Stamp-Key: a\n\n"), Found::Several);
        assert_eq!(found("Digital-Stamp-Key: a\nX: y\nDigital-Stamp-Key:\n\n"), Found::Several);
        assert_eq!(found(&format!("Digital-Stamp-Key: {}\n\n", "a".repeat(3 * TOKEN_MAX))), Found::Several);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_changed_character_is_believed(at in any::<proptest::sample::Index>(), to in "[A-Za-z0-9_.-]") {
            let of = address(A);
            let token = Announcement::sign(&of, &keys(3), &links(&of, &[1, 2, 3]), None, &secret(3)).unwrap();
            let at = at.index(token.as_str().len());
            let mut changed = token.as_str().to_owned();
            changed.replace_range(at..=at, &to);
            prop_assert_eq!(Announcement::parse(&changed).is_ok(), changed == token.as_str());
        }

        #[test]
        fn any_way_comes_back(seeds in proptest::collection::btree_set(1_u8..40, 1..7), revoked: bool) {
            let seeds: Vec<u8> = seeds.into_iter().collect();
            let revoked = (revoked && seeds.len() > 1).then_some(MADE);
            let read = announce(A, &seeds, revoked);
            let steps: Vec<Step> = seeds.windows(2).map(|pair| step(pair[0], pair[1])).collect();
            prop_assert_eq!(&read.steps[..], &steps[steps.len().saturating_sub(STEPS_MAX)..]);
            prop_assert_eq!((read.keys, read.revoked), (keys(*seeds.last().unwrap()), revoked));
        }

        #[test]
        fn any_text_is_read_without_panic(text in ".{0,200}", links in "[A-Za-z0-9_-]{0,900}") {
            prop_assert!(Announcement::parse(&text).is_err());
            let _ = decode(&links);
        }
    }
}
