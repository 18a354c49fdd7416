//! Next publication of a vendor: the content of the last one with changes, under the next version, signed. Pure except
//! for the keys: the command reads the last publication and writes the next one.

use super::dns_records::{self, KeyIndex};
use super::document::{Document, KeyEntry, LogEntry, PreviousEdition, SignedDirectory, Status, VendorEntry};
use super::key_directory::{LONGEST, LONGEST_FILE};
use super::signing_key::SigningKey;
use crate::accounting::hash::Hash;
use crate::accounting::money::Price;
use crate::stamp::serial::Serial;
use crate::stamp::token::{Purpose, Token};
use crate::time::UnixTime;

/// Changes for the next publication.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Data of the vendor's ledger: keys with their states, revoked serials, prices.
    pub ledger: Option<VendorEntry>,
    /// Public log of the ledger.
    pub log: Option<LogEntry>,
    /// Minimum version.
    pub version: u64,
    /// Keys that no longer sign.
    pub verify_only: Vec<String>,
    /// Keys to revoke, each with the start of the revocation; all signatures, if `None`.
    pub revoke_keys: Vec<(String, Option<UnixTime>)>,
    /// Starts of the keys' validity.
    pub not_before: Vec<(String, UnixTime)>,
    /// Ends of the keys' validity.
    pub not_after: Vec<(String, UnixTime)>,
    pub revoke_serials: Vec<String>,
    /// Revoked serials that need not be listed any more, since their stamps have expired.
    pub ended_serials: Vec<String>,
    /// Address at which stamps are sold.
    pub buy: Option<String>,
    /// Prices; the old ones stay if there are none.
    pub prices: Vec<Price>,
    /// Other vendors, as in a public directory. They replace earlier entries with the same names.
    pub others: Vec<VendorEntry>,
}

/// Reasons why no publication can be built.
#[derive(Debug, thiserror::Error)]
pub enum EditionError {
    #[error("no key to sign with")]
    NoKey,
    #[error("{0} and {1} are two vendors; give the keys of one")]
    Vendors(String, String),
    #[error("there is no key {0:?} in the document")]
    UnknownKey(String),
    #[error("key {0:?} is already listed as another key; give every key a new name")]
    OtherKey(String),
    #[error("key {0:?} is revoked; the first key must be one that recipients can trust")]
    Revoked(String),
    /// Readers would reject it.
    #[error(
        "the directory would have {length} characters, and readers accept {LONGEST}; it lists {serials} revoked serials \
         and {meters} meters"
    )]
    Long {
        /// Its length in characters, signed.
        length: usize,
        /// Number of revoked serials.
        serials: usize,
        /// Number of licensed meters.
        meters: usize,
    },
    /// Readers would reject the file with all signatures.
    #[error("signed by {keys} keys the document would have {length} bytes, and readers accept {LONGEST_FILE}")]
    Signatures {
        /// Number of keys that sign.
        keys: usize,
        /// Its length in bytes.
        length: usize,
    },
    /// The last publication is not one of this vendor.
    #[error("the last edition is not one of {0}")]
    Foreign(String),
    /// A malformed serial.
    #[error("{0:?} is not a serial")]
    Serial(String),
    /// The result cannot be parsed again.
    #[error(transparent)]
    Document(#[from] super::document::DocumentError),
    /// The result is not valid JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// A key's name does not fit into DNS.
    #[error(transparent)]
    Text(#[from] dns_records::TextError),
}

/// A publication.
#[derive(Debug)]
pub struct Publication {
    pub content: SignedDirectory,
    /// The signed document, as served.
    pub document: String,
    /// The lines of a zone file.
    pub zone: String,
}

/// An edition that was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edition {
    pub content: SignedDirectory,
    /// SHA-256 over its payload, by which the next edition names it.
    pub hash: Hash,
}

impl Edition {
    /// Parses the content of a token. Verifies no signature.
    ///
    /// # Errors
    /// The content is malformed.
    pub fn of(token: &Token) -> Result<Self, serde_json::Error> {
        Ok(Self { content: serde_json::from_slice(token.payload())?, hash: Hash::of(token.payload()) })
    }

    /// Returns how it stands to an earlier edition of this version, or to itself. `is_known` tells the hash of that one.
    #[must_use]
    pub fn descent(&self, version: u64, is_known: impl Fn(&Hash) -> bool) -> Descent {
        let continues = |hash| if is_known(hash) { Descent::Continues } else { Descent::Forks };
        match &self.content.previous {
            _ if self.content.version == version => continues(&self.hash),
            Some(previous) if previous.version == version => continues(&previous.hash),
            Some(previous) if previous.version > version => Descent::Through(*previous),
            _ => Descent::Forks,
        }
    }
}

/// How an edition stands to an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Descent {
    Continues,
    /// It belongs to another history.
    Forks,
    /// It continues this one, which is later than the earlier one.
    Through(PreviousEdition),
}

/// Parses the last publication from its document.
///
/// # Errors
/// [`EditionError`] when it is not a publication.
pub fn read(text: &str) -> Result<Edition, EditionError> {
    let foreign = || EditionError::Foreign("this vendor".to_owned());
    let Document::Signed { directory, .. } = serde_json::from_str(text)? else { return Err(foreign()) };
    let token = Token::parse_document(&directory, LONGEST).map_err(|_| foreign())?;
    Ok(Edition::of(&token)?)
}

/// Builds the next publication after `last`, signed by each of `signers`.
///
/// Keys that are not listed yet are listed as active. The version is the current time in seconds, and always above the
/// last one. It therefore grows even if the last publication was lost, or was built by the shop.
///
/// # Errors
/// [`EditionError`] when it would contradict itself, or the last one.
pub fn next(
    last: Option<Edition>,
    signers: &[&SigningKey],
    changes: &Changes,
    now: UnixTime,
    expires: UnixTime,
) -> Result<Publication, EditionError> {
    let first = signers.first().ok_or(EditionError::NoKey)?;
    let vendor = first.issuer.vendor().to_owned();
    if let Some(other) = signers.iter().find(|signer| signer.issuer.vendor() != vendor) {
        return Err(EditionError::Vendors(vendor, other.issuer.vendor().to_owned()));
    }
    let previous = last.as_ref().map(|last| PreviousEdition { version: last.content.version, hash: last.hash });
    let (version, mut vendors) = last.map_or((0, Vec::new()), |last| (last.content.version, last.content.vendors));
    let mut own = match vendors.iter().position(|entry| entry.vendor == vendor) {
        Some(at) => vendors.remove(at),
        None if vendors.is_empty() => VendorEntry { vendor: vendor.clone(), ..VendorEntry::default() },
        None => return Err(EditionError::Foreign(vendor)),
    };
    if let Some(ledger) = &changes.ledger {
        keep_up(&mut own, ledger)?;
    }
    for signer in signers {
        let (kid, key) = (signer.issuer.key_id().to_owned(), signer.key.public().to_string());
        list(&mut own, &KeyEntry { kid, key, status: Status::Active, since: None, not_before: None, not_after: None })?;
    }
    apply(&mut own, changes)?;
    for other in changes.others.iter().filter(|other| other.vendor != vendor) {
        vendors.retain(|entry| entry.vendor != other.vendor);
        vendors.push(other.clone());
    }
    vendors.insert(0, own);
    for entry in &vendors {
        entry.check()?;
    }
    let content = SignedDirectory {
        version: version.saturating_add(1).max(u64::try_from(now.0).unwrap_or(0)).max(changes.version),
        issued: now.to_string(),
        expires: expires.to_string(),
        previous,
        vendors,
    };
    sign(vendor, content, signers)
}

fn sign(vendor: String, content: SignedDirectory, signers: &[&SigningKey]) -> Result<Publication, EditionError> {
    let own = content.vendors.first().cloned().unwrap_or_default();
    // Readers who know of the revocation reject the signature of a revoked key, and others must not trust it.
    let revoked = |signer: &SigningKey| {
        own.keys.iter().any(|key| key.kid == signer.issuer.key_id() && key.status == Status::Revoked)
    };
    if let Some(first) = signers.first().filter(|signer| revoked(signer)) {
        return Err(EditionError::Revoked(first.issuer.key_id().to_owned()));
    }
    let payload = serde_json::to_vec(&content)?;
    let signing = signers.iter().filter(|signer| !revoked(signer));
    let mut tokens = signing
        .map(|signer| signer.key.sign(&payload, &signer.issuer.footer(), Purpose::Directory).as_str().to_owned());
    let directory = tokens.next().ok_or(EditionError::NoKey)?;
    let also: Vec<String> = tokens.collect();
    if let Some(length) = std::iter::once(&directory).chain(&also).map(String::len).max().filter(|it| *it > LONGEST) {
        return Err(EditionError::Long { length, serials: own.revoked.len(), meters: own.meters.len() });
    }
    let keys = also.len() + 1;
    let document = serde_json::to_string(&Document::Signed { directory, also })? + "\n";
    if document.len() as u64 > LONGEST_FILE {
        return Err(EditionError::Signatures { keys, length: document.len() });
    }
    let index = KeyIndex {
        version: content.version,
        expires: content.expires.clone(),
        kids: own.keys.iter().map(|key| key.kid.clone()).collect(),
    };
    let zone = dns_records::lines(&vendor, &index, &own.keys)?;
    Ok(Publication { content, document, zone })
}

/// Applies the data of the ledger. Earlier revocations and dates of keys stay.
fn keep_up(own: &mut VendorEntry, ledger: &VendorEntry) -> Result<(), EditionError> {
    for key in &ledger.keys {
        let listed = list(own, key)?;
        if listed.status != Status::Revoked || key.status == Status::Revoked {
            listed.status = key.status;
            listed.since.clone_from(&key.since);
        }
    }
    own.revoked.extend(ledger.revoked.iter().cloned());
    own.prices.clone_from(&ledger.prices);
    // A meter that is no longer licensed is no longer listed.
    own.meters.clone_from(&ledger.meters);
    // A log that was listed stays.
    if ledger.log.is_some() {
        own.log.clone_from(&ledger.log);
    }
    Ok(())
}

/// Returns the listed key, and adds it if it is missing.
fn list<'a>(own: &'a mut VendorEntry, key: &KeyEntry) -> Result<&'a mut KeyEntry, EditionError> {
    let at = own.keys.iter().position(|listed| listed.kid == key.kid).unwrap_or_else(|| {
        own.keys.push(key.clone());
        own.keys.len() - 1
    });
    match own.keys.get_mut(at) {
        Some(listed) if listed.key == key.key => Ok(listed),
        _ => Err(EditionError::OtherKey(key.kid.clone())),
    }
}

fn apply(own: &mut VendorEntry, changes: &Changes) -> Result<(), EditionError> {
    for kid in &changes.verify_only {
        let key = listed(own, kid)?;
        // A revocation is final.
        if key.status == Status::Active {
            key.status = Status::VerifyOnly;
        }
    }
    for (kid, since) in &changes.revoke_keys {
        let key = listed(own, kid)?;
        key.status = Status::Revoked;
        key.since = since.map(|since| since.to_string());
    }
    for (kid, time) in &changes.not_before {
        listed(own, kid)?.not_before = Some(time.to_string());
    }
    for (kid, time) in &changes.not_after {
        listed(own, kid)?.not_after = Some(time.to_string());
    }
    for serial in &changes.revoke_serials {
        Serial::new(serial.as_str()).map_err(|_| EditionError::Serial(serial.clone()))?;
        own.revoked.insert(serial.clone());
    }
    for serial in &changes.ended_serials {
        own.revoked.remove(serial);
    }
    if changes.buy.is_some() {
        own.buy.clone_from(&changes.buy);
    }
    if !changes.prices.is_empty() {
        own.prices.clone_from(&changes.prices);
    }
    Ok(())
}

fn listed<'a>(own: &'a mut VendorEntry, kid: &str) -> Result<&'a mut KeyEntry, EditionError> {
    own.keys.iter_mut().find(|key| key.kid == kid).ok_or_else(|| EditionError::UnknownKey(kid.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::signing::SecretKey;
    use crate::stamp::token::Issuer;

    const NOW: UnixTime = UnixTime(1_800_000_000);

    fn signer(kid: &str, seed: u8) -> SigningKey {
        SigningKey { issuer: Issuer::new("v.example", kid).unwrap(), key: SecretKey::from_random(&[seed; 32]) }
    }

    fn next_after(
        last: Option<Edition>,
        signers: &[SigningKey],
        changes: &Changes,
    ) -> Result<Publication, EditionError> {
        next(last, &signers.iter().collect::<Vec<_>>(), changes, NOW, NOW.plus(86_400))
    }

    #[test]
    fn versions_grow_and_what_was_said_stays() {
        let changes =
            Changes { revoke_serials: vec!["s1".into()], buy: Some("https://v.example/".into()), ..Changes::default() };
        let one = next_after(None, &[signer("a", 1)], &changes).unwrap();
        assert_eq!(one.content.version, 1_800_000_000);
        let changes = Changes { verify_only: vec!["a".into()], ..Changes::default() };
        let two = next_after(Some(read(&one.document).unwrap()), &[signer("b", 2), signer("a", 1)], &changes).unwrap();
        assert_eq!(two.content.version, 1_800_000_001);
        assert_eq!(one.content.previous, None);
        let Document::Signed { directory, .. } = serde_json::from_str(&one.document).unwrap() else { panic!() };
        let hash = Hash::of(Token::parse_document(&directory, LONGEST).unwrap().payload());
        assert_eq!(two.content.previous, Some(PreviousEdition { version: 1_800_000_000, hash }));
        let own = &two.content.vendors[0];
        let keys: Vec<_> = own.keys.iter().map(|key| (key.kid.as_str(), key.status)).collect();
        assert_eq!(keys, [("a", Status::VerifyOnly), ("b", Status::Active)]);
        assert!(own.revoked.contains("s1") && own.buy.as_deref() == Some("https://v.example/"));
        assert!(
            matches!(serde_json::from_str(&two.document).unwrap(), Document::Signed { also, .. } if also.len() == 1)
        );
        assert_eq!(two.zone.lines().count(), 3);
    }

    #[test]
    fn a_revoked_key_signs_nothing_and_stays_revoked() {
        let one = next_after(None, &[signer("a", 1), signer("b", 2)], &Changes::default()).unwrap();
        let changes =
            Changes { revoke_keys: vec![("a".into(), Some(NOW))], verify_only: vec!["a".into()], ..Changes::default() };
        let two = next_after(Some(read(&one.document).unwrap()), &[signer("b", 2), signer("a", 1)], &changes).unwrap();
        assert!(
            matches!(serde_json::from_str(&two.document).unwrap(), Document::Signed { also, .. } if also.is_empty())
        );
        let again = Changes { verify_only: vec!["a".into()], ..Changes::default() };
        let three = next_after(Some(read(&two.document).unwrap()), &[signer("b", 2)], &again).unwrap();
        assert_eq!(three.content.vendors[0].keys[0].status, Status::Revoked);
        assert!(matches!(
            next_after(Some(read(&three.document).unwrap()), &[signer("a", 1)], &Changes::default()),
            Err(EditionError::Revoked(_))
        ));
    }

    #[test]
    fn contradictions_are_refused() {
        let one = next_after(None, &[signer("a", 1)], &Changes::default()).unwrap();
        let refused = |signers: &[SigningKey], changes: &Changes| {
            next_after(Some(read(&one.document).unwrap()), signers, changes).unwrap_err()
        };
        assert!(matches!(refused(&[signer("a", 2)], &Changes::default()), EditionError::OtherKey(_)));
        assert!(matches!(refused(&[], &Changes::default()), EditionError::NoKey));
        let changes = Changes { verify_only: vec!["b".into()], ..Changes::default() };
        assert!(matches!(refused(&[signer("a", 1)], &changes), EditionError::UnknownKey(_)));
        let changes = Changes { revoke_serials: vec!["a b".into()], ..Changes::default() };
        assert!(matches!(refused(&[signer("a", 1)], &changes), EditionError::Serial(_)));
        let other =
            SigningKey { issuer: Issuer::new("w.example", "a").unwrap(), key: SecretKey::from_random(&[1; 32]) };
        assert!(matches!(refused(&[other], &Changes::default()), EditionError::Foreign(_)));
    }

    #[test]
    fn what_the_ledger_says_is_taken_over_and_a_revocation_stays() {
        let revoke = Changes { revoke_keys: vec![("a".into(), None)], ..Changes::default() };
        let dated = Changes { not_after: vec![("b".into(), NOW)], revoke_serials: vec!["s1".into()], ..revoke };
        let one = next_after(None, &[signer("b", 2), signer("a", 1)], &dated).unwrap();
        let key = |kid: &str, seed, status| KeyEntry {
            status,
            not_after: None,
            ..next_after(None, &[signer(kid, seed)], &Changes::default()).unwrap().content.vendors[0].keys[0].clone()
        };
        let ledger = VendorEntry {
            keys: vec![key("a", 1, Status::Active), key("b", 2, Status::VerifyOnly), key("c", 3, Status::Active)],
            revoked: ["s2".to_owned(), "s3".to_owned()].into(),
            ..VendorEntry::default()
        };
        let changes =
            Changes { ledger: Some(ledger), ended_serials: vec!["s1".into(), "s3".into()], ..Changes::default() };
        let last = read(&one.document).unwrap();
        let two = next_after(Some(last), &[signer("c", 3), signer("b", 2)], &changes).unwrap();
        let own = &two.content.vendors[0];
        let keys: Vec<_> = own.keys.iter().map(|key| (key.kid.as_str(), key.status, key.not_after.is_some())).collect();
        let expected = [("b", Status::VerifyOnly, true), ("a", Status::Revoked, false), ("c", Status::Active, false)];
        assert_eq!(keys, expected);
        assert_eq!(own.revoked.iter().collect::<Vec<_>>(), ["s2"]);
    }

    #[test]
    fn what_readers_would_refuse_is_not_made() {
        let many = |count| Changes {
            revoke_serials: (0..count).map(|number| format!("{number:0>22}")).collect(),
            ..Changes::default()
        };
        let keys: Vec<SigningKey> = (1..=5).map(|seed| signer(&format!("k{seed}"), seed)).collect();
        let error = next_after(None, &keys[..1], &many(40_000)).unwrap_err();
        assert!(matches!(error, EditionError::Long { serials: 40_000, .. }), "{error}");
        assert!(next_after(None, &keys[..1], &many(30_000)).is_ok());
        let error = next_after(None, &keys, &many(30_000)).unwrap_err();
        assert!(matches!(error, EditionError::Signatures { keys: 5, .. }), "{error}");
    }
}
