//! Trust policy: decides which fetched directories to trust.
//!
//! - A directory needs the signature of a known key: pinned, or listed by a document that was accepted before. If the
//!   user configured that, the channel to the source suffices.
//! - Its version may only grow, and it must not be expired.
//! - A rejected document changes nothing; accepted ones stay.
//!
//! Pure: the fetched document is an argument.

use super::cache::{Accepted, Record};
use super::document::{DocumentError, KeyEntry, Publishes, SignedDirectory, Status, VendorEntry, time};
use super::key_directory::{Directory, DirectoryError, IgnoredReason, LONGEST, Opened, open_under};
use super::publish::Descent;
use crate::accounting::hash::Hash;
use crate::config::directory_sources::{KeyIntroduction, Source};
use crate::stamp::signing::PublicKey;
use crate::stamp::token::Token;
use crate::time::UnixTime;

/// Document of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchedDocument {
    /// One signed directory, as tokens of several keys.
    Signed(Vec<String>),
    /// Keys from DNS.
    Listed {
        /// Version of the document with these keys.
        version: u64,
        /// Time after which they are stale (RFC 3339).
        expires: String,
        /// The publisher's entry with these keys.
        entry: VendorEntry,
    },
}

/// Data by which a document is judged.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The pinned documents.
    pub pinned: &'a Directory,
    /// All known documents: the pinned ones, and those accepted before.
    pub directory: &'a Directory,
    pub now: UnixTime,
}

/// Reason why a document is rejected.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It is malformed.
    #[error("malformed document: {0}")]
    Content(#[from] DirectoryError),
    /// It names a known key as its signer, and the signature is invalid.
    #[error("its signature is invalid under the known key {0}")]
    Forged(String),
    #[error("no known key signed it; if the vendor has new keys, trust the new document by hand")]
    UnknownSigner,
    /// The key that signed it is revoked or has ended.
    #[error("the key that signed it was revoked or has ended")]
    SignerEnded,
    #[error("it is a directory of {0}")]
    Publisher(String),
    #[error("the source went back to version {offered}; {accepted} was accepted from it")]
    Back {
        /// Version that it offers now.
        offered: u64,
        /// Version that was accepted from it.
        accepted: u64,
    },
    #[error("it is version {offered}, and {seen} was seen elsewhere")]
    Behind {
        /// Version that it offers.
        offered: u64,
        /// Highest known version.
        seen: u64,
    },
    #[error("version {0} changed after publication")]
    Changed(u64),
    /// It has expired.
    #[error("it expired at {0}")]
    Expired(String),
}

impl Refusal {
    /// Returns whether it may be an attack. A slow mirror is not.
    #[must_use]
    pub fn alarms(&self) -> bool {
        !matches!(self, Self::Behind { .. })
    }
}

/// A document that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acceptance {
    pub version: u64,
    /// It belongs to another history than the edition that was accepted before.
    pub rewritten: Option<Rewritten>,
}

/// An edition that does not continue the one that was accepted before: a vendor shows two histories, or lost its folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the directory was rewritten: version {version} does not continue version {accepted}, which was accepted before"
)]
pub struct Rewritten {
    pub version: u64,
    /// Highest version accepted before.
    pub accepted: u64,
}

/// Judges a document of `source`, and puts it into the publisher's record.
///
/// `authentic` tells whether the channel proves its source: HTTPS, or DNSSEC.
///
/// # Errors
/// [`Refusal`]; the record is unchanged.
pub fn accept(
    offer: FetchedDocument,
    authentic: bool,
    source: &Source,
    record: &mut Record,
    known: &Known<'_>,
) -> Result<Acceptance, Refusal> {
    let vouches = source.accept_weak || authentic && source.new_keys == KeyIntroduction::Channel;
    let (accepted, root) = match offer {
        FetchedDocument::Signed(tokens) => signed(&tokens, vouches, source, record, known)?,
        FetchedDocument::Listed { version, expires, entry } => {
            entry.check().map_err(DirectoryError::from)?;
            (Accepted::Listed { version, expires, entry, gives: vouches }, record.root)
        }
    };
    let statement = accepted.statement(&source.publisher)?;
    for entry in &statement.vendors {
        entry.check().map_err(DirectoryError::from)?;
    }
    let doubtful = matches!(accepted, Accepted::Listed { gives: false, .. });
    let from = source.origin.to_string();
    let last = record.sources.iter().find(|heard| heard.from == from).and_then(|heard| heard.accepted.as_ref());
    if let Some(last) = last {
        let before = last.statement(&source.publisher)?;
        // An unauthenticated version sets no minimum for later ones.
        if statement.version < before.version && !matches!(last, Accepted::Listed { gives: false, .. }) {
            return Err(Refusal::Back { offered: statement.version, accepted: before.version });
        }
        let same = statement.vendors == before.vendors && statement.expires == before.expires;
        if statement.version == before.version && !same && !doubtful {
            return Err(Refusal::Changed(statement.version));
        }
    }
    if statement.version < record.version {
        return Err(Refusal::Behind { offered: statement.version, seen: record.version });
    }
    if known.now > statement.expires {
        return Err(Refusal::Expired(statement.expires.to_string()));
    }
    let rewritten = rewritten(&accepted, record);
    if !doubtful {
        record.version = statement.version;
        record.root = root;
    }
    record.source(&from).accepted = Some(accepted);
    Ok(Acceptance { version: statement.version, rewritten })
}

/// Checks that an edition continues the one that was accepted before: it is the same, or names it, or names a later one.
fn rewritten(offered: &Accepted, record: &Record) -> Option<Rewritten> {
    let edition = offered.edition()?;
    let accepted = record.version;
    let known = record.sources.iter().filter_map(|heard| heard.accepted.as_ref()?.edition());
    let known: Vec<Hash> = known.filter(|known| known.content.version == accepted).map(|known| known.hash).collect();
    // Keys from DNS have no hash to compare with.
    let is_known = |hash: &Hash| known.is_empty() || known.contains(hash);
    let forks = accepted != 0 && edition.descent(accepted, is_known) == Descent::Forks;
    forks.then_some(Rewritten { version: edition.content.version, accepted })
}

/// Returns the first trusted token, and the pinned key on which it depends.
fn signed(
    tokens: &[String],
    vouches: bool,
    source: &Source,
    record: &Record,
    known: &Known<'_>,
) -> Result<(Accepted, Option<PublicKey>), Refusal> {
    let mut refused = Refusal::UnknownSigner;
    for text in tokens {
        let opened = match known.directory.open(text, known.now) {
            Err(DirectoryError::Forged(_)) => return Err(Refusal::Forged(signer_name(text))),
            Err(error) => return Err(error.into()),
            Ok(Err(IgnoredReason::KeyEnded(_))) => {
                refused = Refusal::SignerEnded;
                continue;
            }
            Ok(Err(_)) if vouches => (by_itself(text)?, None),
            Ok(Err(_)) => continue,
            Ok(Ok(opened)) => {
                let pinned = known.pinned.pins(&source.publisher, &opened.key);
                let root = if pinned { Some(opened.key) } else { record.root };
                (opened, root)
            }
        };
        let (opened, root) = opened;
        if opened.publisher != source.publisher {
            return Err(Refusal::Publisher(opened.publisher));
        }
        if own_key(&opened).is_some_and(|key| key.status == Status::Revoked) {
            refused = Refusal::SignerEnded;
            continue;
        }
        return Ok((Accepted::Signed { directory: text.clone(), signer: opened.key }, root));
    }
    Err(refused)
}

/// Verifies a directory with the key that it lists for its own signer.
fn by_itself(text: &str) -> Result<Opened, Refusal> {
    let token = Token::parse_document(text, LONGEST).map_err(|_| DirectoryError::Token)?;
    let issuer = token.issuer().map_err(|_| DirectoryError::Token)?;
    let content: SignedDirectory =
        serde_json::from_slice(token.payload()).map_err(|error| DirectoryError::from(DocumentError::from(error)))?;
    time(&content.expires).map_err(DirectoryError::from)?;
    let own = content.vendors.iter().find(|entry| entry.vendor == issuer.vendor());
    let key = own.and_then(|entry| entry.keys.iter().find(|key| key.kid == issuer.key_id()));
    let key = key.ok_or(Refusal::UnknownSigner)?.parse().map_err(DirectoryError::from)?;
    Ok(open_under(&token, &key.key)?)
}

/// Returns the vendor of a directory that is not trusted yet, as it describes itself, for a person to confirm.
///
/// It gets no permission to list other vendors, which a vendor cannot grant to itself. Its meters are left out: they
/// count in signed directories only.
///
/// # Errors
/// [`Refusal`] when it contradicts itself.
pub fn first_contact(tokens: &[String]) -> Result<VendorEntry, Refusal> {
    let Opened { publisher, content, .. } = by_itself(tokens.first().ok_or(Refusal::UnknownSigner)?)?;
    let own = content.vendors.into_iter().find(|entry| entry.vendor == publisher).ok_or(Refusal::UnknownSigner)?;
    own.check().map_err(DirectoryError::from)?;
    Ok(VendorEntry { publishes: Publishes::Own, meters: Vec::new(), ..own })
}

/// Returns the entry of the key that signed a directory.
fn own_key(opened: &Opened) -> Option<&KeyEntry> {
    let own = opened.content.vendors.iter().find(|entry| entry.vendor == opened.publisher)?;
    own.keys.iter().find(|key| key.key == opened.key.to_string())
}

fn signer_name(text: &str) -> String {
    let issuer = Token::parse_document(text, LONGEST).ok().and_then(|token| token.issuer().ok());
    issuer.map(|issuer| issuer.key_id().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::directory_sources::SourceKind;
    use crate::directory::document::PreviousEdition;
    use crate::directory::key_directory::Trust;
    use crate::directory::publish::Edition;
    use crate::stamp::signing::SecretKey;
    use crate::stamp::token::Purpose;
    use std::collections::BTreeMap;

    const NOW: UnixTime = UnixTime(1_800_000_000);

    fn secret(seed: u8) -> SecretKey {
        SecretKey::from_random(&[seed; 32])
    }

    fn entry(keys: &[(&str, u8, Status)]) -> VendorEntry {
        let key = |(kid, seed, status): &(&str, u8, Status)| KeyEntry {
            kid: (*kid).to_owned(),
            key: secret(*seed).public().to_string(),
            status: *status,
            since: None,
            not_before: None,
            not_after: None,
        };
        VendorEntry { vendor: "v.example".to_owned(), keys: keys.iter().map(key).collect(), ..VendorEntry::default() }
    }

    /// A directory of `v.example` with these keys, signed by the key `kid` of this seed.
    fn directory(version: u64, signer: (&str, u8), keys: &[(&str, u8, Status)]) -> String {
        edition(version, None, signer, keys)
    }

    /// The same, after another edition.
    fn edition(version: u64, previous: Option<&str>, (kid, seed): (&str, u8), keys: &[(&str, u8, Status)]) -> String {
        let previous = previous.map(|text| {
            let Edition { content, hash } = Edition::of(&Token::parse_document(text, LONGEST).unwrap()).unwrap();
            PreviousEdition { version: content.version, hash }
        });
        let content = SignedDirectory {
            version,
            issued: NOW.to_string(),
            expires: NOW.plus(86_400).to_string(),
            previous,
            vendors: vec![entry(keys)],
        };
        let footer = format!(r#"{{"iss":"v.example","kid":"{kid}"}}"#);
        let payload = serde_json::to_vec(&content).unwrap();
        secret(seed).sign(&payload, footer.as_bytes(), Purpose::Directory).as_str().to_owned()
    }

    fn source(new_keys: KeyIntroduction) -> Source {
        let origin = SourceKind::Https("https://v.example/".to_owned());
        Source { publisher: "v.example".to_owned(), origin, new_keys, accept_weak: false, longest_silence: None }
    }

    /// A user who pinned key `a` of seed 1, and the documents accepted so far.
    struct User {
        pinned: Directory,
        record: Record,
        /// The version that the last document did not continue.
        rewritten: Option<u64>,
    }

    impl User {
        fn new() -> Self {
            let mut pinned = Directory::default();
            pinned.pin(&entry(&[("a", 1, Status::Active)])).unwrap();
            Self { pinned, record: Record::new("v.example"), rewritten: None }
        }

        fn offered_at(
            &mut self,
            offer: FetchedDocument,
            authentic: bool,
            source: &Source,
            now: UnixTime,
        ) -> Result<u64, Refusal> {
            let statements = self.record.statements().unwrap().into_iter();
            let statements: Vec<_> = statements.map(|(_, statement)| statement).collect();
            let mut directory = self.pinned.clone();
            directory.add_statement(&statements, &BTreeMap::new(), now);
            let known = Known { pinned: &self.pinned, directory: &directory, now };
            accept(offer, authentic, source, &mut self.record, &known).map(|accepted| {
                self.rewritten = accepted.rewritten.map(|it| it.accepted);
                accepted.version
            })
        }

        fn offered(&mut self, token: String, new_keys: KeyIntroduction) -> Result<u64, Refusal> {
            self.offered_at(FetchedDocument::Signed(vec![token]), true, &source(new_keys), NOW)
        }
    }

    const A: (&str, u8, Status) = ("a", 1, Status::Active);
    const B: (&str, u8, Status) = ("b", 2, Status::Active);
    const C: (&str, u8, Status) = ("c", 3, Status::Active);

    #[test]
    fn each_edition_is_signed_by_a_key_of_the_one_before() {
        let mut user = User::new();
        let signed = KeyIntroduction::Signed;
        assert!(matches!(user.offered(directory(2, ("b", 2), &[A, B]), signed), Err(Refusal::UnknownSigner)));
        assert_eq!(user.offered(directory(1, ("a", 1), &[A, B]), signed).unwrap(), 1);
        assert_eq!(user.offered(directory(2, ("b", 2), &[B, C]), signed).unwrap(), 2);
        assert_eq!(user.offered(directory(3, ("c", 3), &[C]), signed).unwrap(), 3);
        assert_eq!(user.record.root, Some(secret(1).public()));
        // All of it is invalid without the pin on which it depends.
        let mut other = Directory::default();
        other.pin(&entry(&[("z", 9, Status::Active)])).unwrap();
        assert!(user.record.is_current(&user.pinned) && !user.record.is_current(&other));
    }

    #[test]
    fn a_new_key_that_nobody_signed_for_needs_a_source_that_may_vouch_and_is_proved() {
        let offer = || FetchedDocument::Signed(vec![directory(1, ("b", 2), &[A, B])]);
        let weak = Source { accept_weak: true, ..source(KeyIntroduction::Signed) };
        for (source, authentic, believed) in [
            (source(KeyIntroduction::Signed), true, false),
            (source(KeyIntroduction::Channel), false, false),
            (source(KeyIntroduction::Channel), true, true),
            (weak, false, true),
        ] {
            assert_eq!(User::new().offered_at(offer(), authentic, &source, NOW).is_ok(), believed, "{source:?}");
        }
        // It vouches for a new name, and never against a known key.
        let forged = directory(1, ("a", 7), &[("a", 7, Status::Active)]);
        assert!(
            matches!(User::new().offered(forged, KeyIntroduction::Channel), Err(Refusal::Forged(kid)) if kid == "a")
        );
        // A directory must list the key that signed it.
        let unlisted = directory(1, ("b", 2), &[A]);
        assert!(matches!(User::new().offered(unlisted, KeyIntroduction::Channel), Err(Refusal::UnknownSigner)));
    }

    #[test]
    fn versions_only_grow_and_mean_one_thing() {
        let mut user = User::new();
        let signed = KeyIntroduction::Signed;
        let two = directory(2, ("a", 1), &[A, B]);
        user.offered(two.clone(), signed).unwrap();
        let before = user.record.clone();
        let back = user.offered(directory(1, ("a", 1), &[A]), signed).unwrap_err();
        assert!(matches!(back, Refusal::Back { offered: 1, accepted: 2 }) && back.alarms());
        let changed = user.offered(directory(2, ("a", 1), &[A]), signed).unwrap_err();
        assert!(matches!(changed, Refusal::Changed(2)) && changed.alarms());
        let mirror = Source { origin: SourceKind::File("/mirror".into()), ..source(signed) };
        let slow = FetchedDocument::Signed(vec![directory(1, ("a", 1), &[A])]);
        let behind = user.offered_at(slow, true, &mirror, NOW).unwrap_err();
        assert!(matches!(behind, Refusal::Behind { offered: 1, seen: 2 }) && !behind.alarms());
        let late = user.offered_at(FetchedDocument::Signed(vec![two.clone()]), true, &source(signed), NOW.plus(90_000));
        assert!(matches!(late, Err(Refusal::Expired(_))));
        assert_eq!(user.record, before);
        assert_eq!(user.offered(two, signed).unwrap(), 2);
    }

    #[test]
    fn an_edition_of_another_history_is_accepted_with_an_alarm() {
        let (signer, signed) = (("a", 1), KeyIntroduction::Signed);
        let after = |version, previous: Option<&str>, keys: &[_]| edition(version, previous, signer, keys);
        let first = after(1, None, &[A]);
        let second = after(2, Some(&first), &[A, B]);
        let third = after(3, Some(&second), &[A]);
        let fourth = after(4, Some(&third), &[A]);
        let other = after(2, Some(&first), &[A, C]);
        // The first that is seen, the next one, and one after some that were missed continue it.
        let mut user = User::new();
        for token in [&first, &second, &second, &fourth] {
            user.offered(token.clone(), signed).unwrap();
            assert_eq!(user.rewritten, None);
        }
        let mirror = Source { origin: SourceKind::File("/mirror".into()), ..source(signed) };
        for (text, from, version) in [
            (after(3, Some(&other), &[A, C]), source(signed), 3),
            (after(5, Some(&first), &[A]), source(signed), 5),
            (after(5, None, &[A]), source(signed), 5),
            // One source never changes what it said of a version; another may say something else.
            (other, mirror, 2),
        ] {
            let mut user = User::new();
            assert_eq!(user.offered(second.clone(), signed).unwrap(), 2);
            for rewritten in [Some(2), None] {
                let offer = FetchedDocument::Signed(vec![text.clone()]);
                assert_eq!(user.offered_at(offer, true, &from, NOW).unwrap(), version);
                assert_eq!(user.rewritten, rewritten);
            }
            assert_eq!(user.record.version, version);
        }
    }

    #[test]
    fn a_revoked_key_brings_nothing_new_and_another_signature_may() {
        let mut user = User::new();
        let revoked = ("a", 1, Status::Revoked);
        user.offered(directory(1, ("a", 1), &[A, B]), KeyIntroduction::Signed).unwrap();
        user.offered(directory(2, ("b", 2), &[revoked, B]), KeyIntroduction::Signed).unwrap();
        for new_keys in [KeyIntroduction::Signed, KeyIntroduction::Channel] {
            let thief = user.offered(directory(9, ("a", 1), &[A]), new_keys);
            assert!(matches!(thief, Err(Refusal::SignerEnded)), "{thief:?}");
        }
        // A directory that revokes its own signer is not valid either.
        let own = User::new().offered(directory(1, ("a", 1), &[revoked, B]), KeyIntroduction::Signed);
        assert!(matches!(own, Err(Refusal::SignerEnded)));
        let both = vec![directory(1, ("b", 2), &[A, B]), directory(1, ("a", 1), &[A, B])];
        assert_eq!(
            User::new().offered_at(FetchedDocument::Signed(both), true, &source(KeyIntroduction::Signed), NOW).unwrap(),
            1
        );
    }

    #[test]
    fn unsigned_keys_weigh_what_their_channel_weighs_and_a_doubtful_version_binds_nobody() {
        let listed = |version, keys: &[(&str, u8, Status)]| FetchedDocument::Listed {
            version,
            expires: NOW.plus(86_400).to_string(),
            entry: entry(keys),
        };
        let dns = |new_keys| Source { origin: SourceKind::Dns, ..source(new_keys) };
        let weight =
            |record: &Record| record.sources[0].accepted.as_ref().unwrap().statement("v.example").unwrap().weight;
        let mut user = User::new();
        assert_eq!(
            user.offered_at(listed(u64::MAX, &[B]), false, &dns(KeyIntroduction::Channel), NOW).unwrap(),
            u64::MAX
        );
        assert_eq!((weight(&user.record), user.record.version), (Trust::RevokeOnly, 0));
        user.offered_at(listed(3, &[B]), true, &dns(KeyIntroduction::Channel), NOW).unwrap();
        assert_eq!((weight(&user.record), user.record.version), (Trust::Fetched, 3));
        let strange = FetchedDocument::Listed {
            version: 4,
            expires: NOW.plus(9).to_string(),
            entry: entry(&[("a b", 1, Status::Active)]),
        };
        assert!(matches!(
            user.offered_at(strange, true, &dns(KeyIntroduction::Channel), NOW),
            Err(Refusal::Content(_))
        ));
    }
}
