//! A vendor's next edition: what his last one said, with the changes that he asks for, under the next version, signed. Pure
//! but for the keys: where the last edition is read and the next one written, the command knows.

use super::document::{Document, KeyEntry, SignedDirectory, Status, VendorEntry};
use super::price::Price;
use super::secret::Signer;
use super::zone::{self, Index};
use crate::mail::time::UnixTime;
use crate::stamp::serial::Serial;
use crate::stamp::wire::{Purpose, Token};

/// What is to change.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Keys that sign no more.
    pub verify_only: Vec<String>,
    /// Keys whose stamps are no good any more, each with the time since when; always, if there is none.
    pub revoke_keys: Vec<(String, Option<UnixTime>)>,
    /// From when on keys hold.
    pub not_before: Vec<(String, UnixTime)>,
    /// Until when keys hold.
    pub not_after: Vec<(String, UnixTime)>,
    /// Serials that are no good any more.
    pub revoke_serials: Vec<String>,
    /// Where stamps are to be had.
    pub buy: Option<String>,
    /// What they cost; the old prices stay if there are none.
    pub prices: Vec<Price>,
    /// Other vendors, as a public directory lists them; in the place of what was listed under their names.
    pub others: Vec<VendorEntry>,
}

/// No edition can be made of this.
#[derive(Debug, thiserror::Error)]
pub enum EditionError {
    /// Nobody signs.
    #[error("no key to sign with")]
    NoKey,
    /// The keys are of different vendors.
    #[error("{0} and {1} are two vendors; give the keys of one")]
    Vendors(String, String),
    /// A key is not in the document.
    #[error("there is no key {0:?} in the document")]
    UnknownKey(String),
    /// Two different keys of one name.
    #[error("key {0:?} is listed already, and it is another key; give every key a new name")]
    OtherKey(String),
    /// The first key does not sign.
    #[error("key {0:?} is listed as verify-only or revoked; the first key must be an active one")]
    Inactive(String),
    /// The last edition is not one of this vendor's.
    #[error("the last edition is not one of {0}")]
    Foreign(String),
    /// A serial that is none.
    #[error("{0:?} is not a serial")]
    Serial(String),
    /// The result does not read back.
    #[error(transparent)]
    Document(#[from] super::document::DocumentError),
    /// The result is no JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// A key's name does not fit into DNS.
    #[error(transparent)]
    Text(#[from] zone::TextError),
}

/// What is published.
#[derive(Debug)]
pub struct Edition {
    /// Whose it is.
    pub vendor: String,
    /// What it says.
    pub content: SignedDirectory,
    /// As it is served: signed.
    pub document: String,
    /// As lines of a zone file.
    pub zone: String,
}

/// The last edition, read from what was served.
///
/// # Errors
/// [`EditionError`] when it is none.
pub fn read(text: &str) -> Result<SignedDirectory, EditionError> {
    let foreign = || EditionError::Foreign("this vendor".to_owned());
    let Document::Signed { directory, .. } = serde_json::from_str(text)? else { return Err(foreign()) };
    let token = Token::parse_document(&directory, super::directory::LONGEST).map_err(|_| foreign())?;
    Ok(serde_json::from_slice(token.payload())?)
}

/// The next edition after `last`, signed by each of `signers`. Keys that are not listed yet are listed as active.
///
/// # Errors
/// [`EditionError`] when it would contradict itself, or the last.
pub fn next(
    last: Option<SignedDirectory>,
    signers: &[Signer],
    changes: &Changes,
    now: UnixTime,
    expires: UnixTime,
) -> Result<Edition, EditionError> {
    let first = signers.first().ok_or(EditionError::NoKey)?;
    let vendor = first.issuer.vendor().to_owned();
    if let Some(other) = signers.iter().find(|signer| signer.issuer.vendor() != vendor) {
        return Err(EditionError::Vendors(vendor, other.issuer.vendor().to_owned()));
    }
    let (version, mut vendors) = last.map_or((0, Vec::new()), |last| (last.version, last.vendors));
    let mut own = match vendors.iter().position(|entry| entry.vendor == vendor) {
        Some(at) => vendors.remove(at),
        None if vendors.is_empty() => VendorEntry { vendor: vendor.clone(), ..VendorEntry::default() },
        None => return Err(EditionError::Foreign(vendor)),
    };
    for signer in signers {
        list(&mut own, signer)?;
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
        version: version.saturating_add(1),
        issued: now.to_string(),
        expires: expires.to_string(),
        vendors,
    };
    sign(vendor, content, signers)
}

fn sign(vendor: String, content: SignedDirectory, signers: &[Signer]) -> Result<Edition, EditionError> {
    let own = content.vendors.first().cloned().unwrap_or_default();
    let status = |signer: &&Signer| own.keys.iter().find(|key| key.kid == signer.issuer.key_id()).map(|key| key.status);
    if let Some(first) = signers.first().filter(|signer| status(signer) != Some(Status::Active)) {
        return Err(EditionError::Inactive(first.issuer.key_id().to_owned()));
    }
    let payload = serde_json::to_vec(&content)?;
    // What a revoked key signs is believed by nobody who knows, and must be by nobody else.
    let signing = signers.iter().filter(|signer| status(signer) != Some(Status::Revoked));
    let mut tokens = signing
        .map(|signer| signer.key.sign(&payload, &signer.issuer.footer(), Purpose::Directory).as_str().to_owned());
    let directory = tokens.next().ok_or(EditionError::NoKey)?;
    let document = serde_json::to_string(&Document::Signed { directory, also: tokens.collect() })? + "\n";
    let index = Index {
        version: content.version,
        expires: content.expires.clone(),
        kids: own.keys.iter().map(|key| key.kid.clone()).collect(),
    };
    let zone = zone::lines(&vendor, &index, &own.keys)?;
    Ok(Edition { vendor, content, document, zone })
}

/// Lists the signer's key unless it is listed.
fn list(own: &mut VendorEntry, signer: &Signer) -> Result<(), EditionError> {
    let (kid, key) = (signer.issuer.key_id(), signer.key.public().to_string());
    match own.keys.iter().find(|listed| listed.kid == kid) {
        Some(listed) if listed.key == key => {}
        Some(_) => return Err(EditionError::OtherKey(kid.to_owned())),
        None => own.keys.push(KeyEntry {
            kid: kid.to_owned(),
            key,
            status: Status::Active,
            since: None,
            not_before: None,
            not_after: None,
        }),
    }
    Ok(())
}

fn apply(own: &mut VendorEntry, changes: &Changes) -> Result<(), EditionError> {
    for kid in &changes.verify_only {
        let key = listed(own, kid)?;
        // A revocation is never taken back.
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
    use crate::stamp::signature::SecretKey;
    use crate::stamp::wire::Issuer;

    const NOW: UnixTime = UnixTime(1_800_000_000);

    fn signer(kid: &str, seed: u8) -> Signer {
        Signer { issuer: Issuer::new("v.example", kid).unwrap(), key: SecretKey::from_random(&[seed; 32]) }
    }

    fn next_after(
        last: Option<SignedDirectory>,
        signers: &[Signer],
        changes: &Changes,
    ) -> Result<Edition, EditionError> {
        next(last, signers, changes, NOW, NOW.plus(86_400))
    }

    #[test]
    fn versions_grow_and_what_was_said_stays() {
        let changes =
            Changes { revoke_serials: vec!["s1".into()], buy: Some("https://v.example/".into()), ..Changes::default() };
        let one = next_after(None, &[signer("a", 1)], &changes).unwrap();
        assert_eq!(one.content.version, 1);
        let changes = Changes { verify_only: vec!["a".into()], ..Changes::default() };
        let two = next_after(Some(read(&one.document).unwrap()), &[signer("b", 2), signer("a", 1)], &changes).unwrap();
        assert_eq!(two.content.version, 2);
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
        let two = next_after(Some(one.content), &[signer("b", 2), signer("a", 1)], &changes).unwrap();
        assert!(
            matches!(serde_json::from_str(&two.document).unwrap(), Document::Signed { also, .. } if also.is_empty())
        );
        let again = Changes { verify_only: vec!["a".into()], ..Changes::default() };
        let three = next_after(Some(two.content), &[signer("b", 2)], &again).unwrap();
        assert_eq!(three.content.vendors[0].keys[0].status, Status::Revoked);
        assert!(matches!(
            next_after(Some(three.content), &[signer("a", 1)], &Changes::default()),
            Err(EditionError::Inactive(_))
        ));
    }

    #[test]
    fn contradictions_are_refused() {
        let one = next_after(None, &[signer("a", 1)], &Changes::default()).unwrap();
        let refused = |signers: &[Signer], changes: &Changes| {
            next_after(Some(one.content.clone()), signers, changes).unwrap_err()
        };
        assert!(matches!(refused(&[signer("a", 2)], &Changes::default()), EditionError::OtherKey(_)));
        assert!(matches!(refused(&[], &Changes::default()), EditionError::NoKey));
        let changes = Changes { verify_only: vec!["b".into()], ..Changes::default() };
        assert!(matches!(refused(&[signer("a", 1)], &changes), EditionError::UnknownKey(_)));
        let changes = Changes { revoke_serials: vec!["a b".into()], ..Changes::default() };
        assert!(matches!(refused(&[signer("a", 1)], &changes), EditionError::Serial(_)));
        let other = Signer { issuer: Issuer::new("w.example", "a").unwrap(), key: SecretKey::from_random(&[1; 32]) };
        assert!(matches!(refused(&[other], &Changes::default()), EditionError::Foreign(_)));
    }
}
