//! What the user's documents say together. A vendor is trusted only if the user pinned him, be it with no key at all; a
//! signed directory is heeded only under a pinned key of its publisher, and only its newest edition. Where documents
//! disagree about a key's bytes nobody is believed; where they disagree about its status the stricter one is.

use super::document::{DocumentError, Publishes, SignedDirectory, VendorEntry, time};
use crate::mail::time::UnixTime;
use crate::stamp::serial::Serial;
use crate::stamp::wire::{Issuer, Purpose, Token};
use crate::verdict::facts::{KeyDirectory, KeyFact, KeyStatus, VendorKey};
use std::collections::{BTreeMap, BTreeSet};

/// The longest signed directory, in characters: 1 MiB.
const LONGEST: usize = 1024 * 1024;

/// The trusted vendors with their keys, at one time.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    vendors: BTreeMap<String, Vendor>,
}

#[derive(Clone, Debug, Default)]
struct Vendor {
    keys: BTreeMap<String, KeyFact>,
    revoked: BTreeSet<Serial>,
    publishes: Publishes,
    buy: Option<String>,
}

/// A signed directory that is not heeded, and why; for `doctor` and `vendor list`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unheeded {
    /// The user pinned no vendor, or no key of him, by the name of its signer.
    NotPinned(String),
    /// Its signer's key was revoked or has ended.
    KeyEnded(String),
    /// Another document of the same publisher is newer.
    Superseded(String),
    /// It is past its date; its keys count as stale, its revocations hold.
    Stale(String),
}

/// A signed directory that is wrong: nothing may be judged by half of what the user's files say.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Its token is malformed.
    #[error("its token is malformed")]
    Token,
    /// Its signature does not hold.
    #[error("its signature does not hold under the key that you pinned for {0}")]
    Forged(String),
    /// Its content is wrong.
    #[error(transparent)]
    Content(#[from] DocumentError),
}

impl Directory {
    /// Adds what the user pinned. All that is pinned must be added before the first signed directory.
    ///
    /// # Errors
    /// [`DocumentError`] when an entry is wrong.
    pub fn pin(&mut self, entry: &VendorEntry) -> Result<(), DocumentError> {
        let vendor = self.vendors.entry(entry.vendor.clone()).or_default();
        if entry.publishes == Publishes::Any {
            vendor.publishes = Publishes::Any;
        }
        vendor.add(entry, false)
    }

    /// Adds signed directories, of each publisher the newest edition, and says which were not heeded, by their position in
    /// `tokens`.
    ///
    /// # Errors
    /// [`DirectoryError`] with the position of the token that is wrong.
    pub fn add_signed(
        &mut self,
        tokens: &[&str],
        now: UnixTime,
    ) -> Result<Vec<(usize, Unheeded)>, (usize, DirectoryError)> {
        let mut unheeded = Vec::new();
        let mut opened = Vec::new();
        for (index, text) in tokens.iter().enumerate() {
            match self.open(text, now).map_err(|error| (index, error))? {
                Ok((publisher, edition)) => opened.push((index, publisher, edition)),
                Err(why) => unheeded.push((index, why)),
            }
        }
        for (index, publisher, edition) in &opened {
            // Two documents of the newest version are both heeded: where they differ they are in conflict.
            let newer = |(_, other, theirs): &(usize, String, SignedDirectory)| {
                other == publisher && theirs.version > edition.version
            };
            if opened.iter().any(newer) {
                unheeded.push((*index, Unheeded::Superseded(publisher.clone())));
            } else if !self.merge(publisher, edition, now).map_err(|error| (*index, error.into()))? {
                unheeded.push((*index, Unheeded::Stale(publisher.clone())));
            }
        }
        Ok(unheeded)
    }

    /// The names of the trusted vendors with the facts of their keys, for `vendor list`.
    pub fn vendors(&self) -> impl Iterator<Item = (&str, &BTreeMap<String, KeyFact>)> {
        self.vendors.iter().map(|(name, vendor)| (name.as_str(), &vendor.keys))
    }

    /// The vendors who can sell a stamp now, with where it is to be had: those with a key that signs.
    pub fn sellers(&self, now: UnixTime) -> impl Iterator<Item = (&str, Option<&str>)> {
        let signs = move |fact: &KeyFact| match fact {
            KeyFact::Known(key) => {
                key.status == KeyStatus::Active
                    && key.not_before.is_none_or(|begin| begin <= now)
                    && key.not_after.is_none_or(|end| now < end)
            }
            _ => false,
        };
        let sells = move |(_, vendor): &(&String, &Vendor)| vendor.keys.values().any(signs);
        self.vendors.iter().filter(sells).map(|(name, vendor)| (name.as_str(), vendor.buy.as_deref()))
    }

    fn open(&self, text: &str, now: UnixTime) -> Result<Result<(String, SignedDirectory), Unheeded>, DirectoryError> {
        let token = Token::parse_document(text, LONGEST).map_err(|_| DirectoryError::Token)?;
        let issuer = token.issuer().map_err(|_| DirectoryError::Token)?;
        let KeyFact::Known(key) = self.key(&issuer) else {
            return Ok(Err(Unheeded::NotPinned(issuer.vendor().to_owned())));
        };
        if !key.key.verify(&token, Purpose::Directory) {
            return Err(DirectoryError::Forged(issuer.vendor().to_owned()));
        }
        let revoked = matches!(key.status, KeyStatus::Revoked { since } if since <= now);
        if revoked || key.not_after.is_some_and(|end| now > end) {
            return Ok(Err(Unheeded::KeyEnded(issuer.vendor().to_owned())));
        }
        let edition = serde_json::from_slice(token.payload()).map_err(DocumentError::from)?;
        Ok(Ok((issuer.vendor().to_owned(), edition)))
    }

    /// Whether the edition is fresh.
    fn merge(&mut self, publisher: &str, edition: &SignedDirectory, now: UnixTime) -> Result<bool, DocumentError> {
        let stale = now > time(&edition.expires)?;
        let any = self.vendors.get(publisher).is_some_and(|vendor| vendor.publishes == Publishes::Any);
        for entry in &edition.vendors {
            // Whom the user did not name is not trusted, whoever lists him.
            if (entry.vendor == publisher || any)
                && let Some(vendor) = self.vendors.get_mut(&entry.vendor)
            {
                vendor.add(entry, stale)?;
            }
        }
        Ok(!stale)
    }
}

impl Vendor {
    fn add(&mut self, entry: &VendorEntry, stale: bool) -> Result<(), DocumentError> {
        // What was read first stays: what the user pinned himself.
        if self.buy.is_none() && !stale {
            self.buy.clone_from(&entry.buy);
        }
        // A revocation does not become untrue by age.
        self.revoked.extend(entry.revoked_serials()?);
        for (kid, key) in entry.parsed_keys()? {
            let fact = match self.keys.remove(&kid) {
                None if stale && !matches!(key.status, KeyStatus::Revoked { .. }) => KeyFact::Stale,
                None => KeyFact::Known(Box::new(key)),
                Some(KeyFact::Known(known)) => agree(*known, key),
                Some(KeyFact::Stale) if !stale => KeyFact::Known(Box::new(key)),
                Some(other) => other,
            };
            self.keys.insert(kid, fact);
        }
        Ok(())
    }
}

fn agree(one: VendorKey, other: VendorKey) -> KeyFact {
    if one.key != other.key {
        return KeyFact::Conflict;
    }
    let status = match (one.status, other.status) {
        (KeyStatus::Revoked { since: a }, KeyStatus::Revoked { since: b }) => KeyStatus::Revoked { since: a.min(b) },
        (revoked @ KeyStatus::Revoked { .. }, _) | (_, revoked @ KeyStatus::Revoked { .. }) => revoked,
        (KeyStatus::VerifyOnly, _) | (_, KeyStatus::VerifyOnly) => KeyStatus::VerifyOnly,
        (KeyStatus::Active, KeyStatus::Active) => KeyStatus::Active,
    };
    let earliest = |a: Option<UnixTime>, b: Option<UnixTime>| match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    };
    KeyFact::Known(Box::new(VendorKey {
        key: one.key,
        status,
        not_before: one.not_before.max(other.not_before),
        not_after: earliest(one.not_after, other.not_after),
    }))
}

impl KeyDirectory for Directory {
    fn key(&self, issuer: &Issuer) -> KeyFact {
        match self.vendors.get(issuer.vendor()) {
            None => KeyFact::UnknownVendor,
            Some(vendor) => vendor.keys.get(issuer.key_id()).cloned().unwrap_or(KeyFact::UnknownKey),
        }
    }

    fn revoked(&self, vendor: &str, serial: &Serial) -> bool {
        self.vendors.get(vendor).is_some_and(|vendor| vendor.revoked.contains(serial))
    }
}

#[cfg(test)]
mod tests {
    use super::super::document::{KeyEntry, Status};
    use super::*;
    use crate::stamp::signature::SecretKey;

    const NOW: UnixTime = UnixTime(1_800_000_000);

    fn secret(seed: u8) -> SecretKey {
        SecretKey::from_random(&[seed; 32])
    }

    fn key(kid: &str, seed: u8, status: Status) -> KeyEntry {
        let key = secret(seed).public().to_string();
        KeyEntry { kid: kid.into(), key, status, since: None, not_before: None, not_after: None }
    }

    fn entry(vendor: &str, keys: Vec<KeyEntry>) -> VendorEntry {
        VendorEntry { vendor: vendor.into(), keys, revoked: BTreeSet::new(), buy: None, publishes: Publishes::Own }
    }

    fn signed(vendor: &str, seed: u8, version: u64, expires: &str, vendors: Vec<VendorEntry>) -> String {
        let edition =
            SignedDirectory { version, issued: "2026-01-01T00:00:00Z".into(), expires: expires.into(), vendors };
        let footer = format!(r#"{{"iss":"{vendor}","kid":"a"}}"#);
        let payload = serde_json::to_vec(&edition).unwrap();
        secret(seed).sign(&payload, footer.as_bytes(), Purpose::Directory).as_str().to_owned()
    }

    const FRESH: &str = "2099-01-01T00:00:00Z";
    const PAST: &str = "2020-01-01T00:00:00Z";

    fn fact(directory: &Directory, vendor: &str, kid: &str) -> KeyFact {
        directory.key(&Issuer::new(vendor, kid).unwrap())
    }

    fn pinned(entries: &[VendorEntry]) -> Directory {
        let mut directory = Directory::default();
        for entry in entries {
            directory.pin(entry).unwrap();
        }
        directory
    }

    fn status(fact: KeyFact) -> KeyStatus {
        match fact {
            KeyFact::Known(key) => key.status,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_named_vendors_and_listed_keys_are_known() {
        let directory = pinned(&[entry("v.example", vec![key("a", 1, Status::Active)])]);
        assert_eq!(status(fact(&directory, "v.example", "a")), KeyStatus::Active);
        assert_eq!(fact(&directory, "v.example", "b"), KeyFact::UnknownKey);
        assert_eq!(fact(&directory, "w.example", "a"), KeyFact::UnknownVendor);
    }

    #[test]
    fn different_bytes_under_one_name_are_a_conflict_for_good() {
        let mut directory = pinned(&[entry("v.example", vec![key("a", 1, Status::Active)])]);
        directory.pin(&entry("v.example", vec![key("a", 2, Status::Active)])).unwrap();
        assert_eq!(fact(&directory, "v.example", "a"), KeyFact::Conflict);
        directory.pin(&entry("v.example", vec![key("a", 1, Status::Active)])).unwrap();
        assert_eq!(fact(&directory, "v.example", "a"), KeyFact::Conflict);
    }

    #[test]
    fn the_stricter_status_counts() {
        for (one, other) in [(Status::Active, Status::Revoked), (Status::Revoked, Status::Active)] {
            let entries = [one, other].map(|status| entry("v.example", vec![key("a", 1, status)]));
            let revoked = KeyStatus::Revoked { since: UnixTime(i64::MIN) };
            assert_eq!(status(fact(&pinned(&entries), "v.example", "a")), revoked);
        }
        let entries = [Status::VerifyOnly, Status::Active].map(|s| entry("v.example", vec![key("a", 1, s)]));
        assert_eq!(status(fact(&pinned(&entries), "v.example", "a")), KeyStatus::VerifyOnly);
    }

    #[test]
    fn a_signed_directory_adds_keys_of_its_publisher_only() {
        let mut directory =
            pinned(&[entry("v.example", vec![key("a", 1, Status::Active)]), entry("w.example", vec![])]);
        let lists = vec![
            entry("v.example", vec![key("b", 2, Status::Active)]),
            entry("w.example", vec![key("c", 3, Status::Active)]),
        ];
        let token = signed("v.example", 1, 1, FRESH, lists.clone());
        assert_eq!(directory.add_signed(&[&token], NOW).unwrap(), vec![]);
        assert_eq!(status(fact(&directory, "v.example", "b")), KeyStatus::Active);
        assert_eq!(fact(&directory, "w.example", "c"), KeyFact::UnknownKey);
        // A directory that may list others lists those whom the user named, and nobody else.
        let mut directory = pinned(&[
            VendorEntry { publishes: Publishes::Any, ..entry("v.example", vec![key("a", 1, Status::Active)]) },
            entry("w.example", vec![]),
        ]);
        let mut lists = lists;
        lists.push(entry("x.example", vec![key("d", 4, Status::Active)]));
        directory.add_signed(&[&signed("v.example", 1, 1, FRESH, lists)], NOW).unwrap();
        assert_eq!(status(fact(&directory, "w.example", "c")), KeyStatus::Active);
        assert_eq!(fact(&directory, "x.example", "d"), KeyFact::UnknownVendor);
    }

    #[test]
    fn the_newest_edition_speaks_and_equal_ones_conflict() {
        let old = signed("v.example", 1, 1, FRESH, vec![entry("v.example", vec![key("b", 2, Status::Active)])]);
        let new = signed("v.example", 1, 2, FRESH, vec![entry("v.example", vec![key("b", 3, Status::Active)])]);
        let other = signed("v.example", 1, 2, FRESH, vec![entry("v.example", vec![key("b", 4, Status::Active)])]);
        let pin = entry("v.example", vec![key("a", 1, Status::Active)]);
        for tokens in [[old.as_str(), new.as_str()], [new.as_str(), old.as_str()]] {
            let mut directory = pinned(std::slice::from_ref(&pin));
            let unheeded = directory.add_signed(&tokens, NOW).unwrap();
            assert_eq!(unheeded.len(), 1);
            assert_eq!(unheeded[0].1, Unheeded::Superseded("v.example".into()));
            let KeyFact::Known(known) = fact(&directory, "v.example", "b") else { panic!() };
            assert_eq!(known.key, secret(3).public());
        }
        let mut directory = pinned(&[pin]);
        directory.add_signed(&[&new, &other], NOW).unwrap();
        assert_eq!(fact(&directory, "v.example", "b"), KeyFact::Conflict);
    }

    #[test]
    fn a_stale_directory_gives_no_keys_but_its_revocations_hold() {
        let mut lists = entry("v.example", vec![key("b", 2, Status::Active), key("c", 3, Status::Revoked)]);
        lists.revoked.insert("s1".into());
        let token = signed("v.example", 1, 1, PAST, vec![lists]);
        let mut directory = pinned(&[entry("v.example", vec![key("a", 1, Status::Active)])]);
        let unheeded = directory.add_signed(&[&token], NOW).unwrap();
        assert_eq!(unheeded, vec![(0, Unheeded::Stale("v.example".into()))]);
        assert_eq!(fact(&directory, "v.example", "b"), KeyFact::Stale);
        assert!(matches!(status(fact(&directory, "v.example", "c")), KeyStatus::Revoked { .. }));
        assert!(directory.revoked("v.example", &Serial::new("s1").unwrap()));
        assert!(!directory.revoked("w.example", &Serial::new("s1").unwrap()));
    }

    #[test]
    fn who_can_sell_says_where() {
        let told = |at: &str, entry: VendorEntry| VendorEntry { buy: Some(format!("https://{at}/")), ..entry };
        let active = || vec![key("a", 1, Status::Active)];
        let mut ended = key("a", 1, Status::Active);
        ended.not_after = Some("2020-01-01T00:00:00Z".into());
        let mut directory = pinned(&[
            told("pinned", entry("v.example", active())),
            entry("w.example", active()),
            told("revoked", entry("x.example", vec![key("a", 1, Status::Revoked)])),
            told("ended", entry("y.example", vec![ended])),
            told("no-key", entry("z.example", vec![])),
        ]);
        for (vendor, expires) in [("v.example", FRESH), ("w.example", PAST)] {
            let token = signed(vendor, 1, 1, expires, vec![told("signed", entry(vendor, active()))]);
            directory.add_signed(&[&token], NOW).unwrap();
        }
        let sellers: Vec<_> = directory.sellers(NOW).collect();
        assert_eq!(sellers, [("v.example", Some("https://pinned/")), ("w.example", None)]);
        let token = signed("w.example", 1, 2, FRESH, vec![told("signed", entry("w.example", active()))]);
        directory.add_signed(&[&token], NOW).unwrap();
        assert_eq!(directory.sellers(NOW).nth(1), Some(("w.example", Some("https://signed/"))));
    }

    #[test]
    fn a_directory_nobody_vouches_for_is_left_aside_and_a_forged_one_stops_everything() {
        let token = signed("w.example", 9, 1, FRESH, vec![]);
        let mut directory = pinned(&[entry("v.example", vec![key("a", 1, Status::Active)])]);
        let unheeded = directory.add_signed(&[&token], NOW).unwrap();
        assert_eq!(unheeded, vec![(0, Unheeded::NotPinned("w.example".into()))]);
        let forged = signed("v.example", 9, 1, FRESH, vec![]);
        let (index, error) = directory.add_signed(&[&token, &forged], NOW).unwrap_err();
        assert!(index == 1 && matches!(error, DirectoryError::Forged(_)));
    }
}
