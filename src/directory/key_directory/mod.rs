//! Key directory: combines the user's pinned documents and the fetched ones.
//!
//! - A vendor is trusted only if the user pinned it, even without a key.
//! - Of each publisher only the newest publication counts.
//! - If documents disagree about a key's bytes, the key is in conflict. If they disagree about its status, the stricter
//!   one counts.
//! - Meters count only in a directory that their agency signed itself: a revoked one is no longer listed, and another
//!   document would keep it.
//!
//! This file decides which pinned documents count, and `trust_policy.rs` which fetched ones.

use super::document::{DocumentError, Publishes, SignedDirectory, VendorEntry, time};
use crate::emstamp::token::{Meter, MeterFact};
use crate::stamp::serial::Serial;
use crate::stamp::signing::PublicKey;
use crate::stamp::token::{Issuer, Purpose, Token};
use crate::time::UnixTime;
use crate::verdict::facts::{KeyDirectory, KeyFact, KeyStatus, VendorKey};
use std::collections::{BTreeMap, BTreeSet};

/// Longest signed directory, in characters: 1 MiB.
pub const LONGEST: usize = 1024 * 1024;
/// Largest file or answer with a directory, signed by up to four keys: 4 MiB.
pub const LONGEST_FILE: u64 = 4 * 1024 * 1024;

/// Trusted vendors and their keys at one point in time.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    vendors: BTreeMap<String, Vendor>,
}

#[derive(Clone, Debug, Default)]
struct Vendor {
    keys: BTreeMap<String, Held>,
    /// Keys that the user pinned and did not revoke.
    pinned: Vec<PublicKey>,
    revoked: BTreeSet<Serial>,
    meters: BTreeMap<String, MeterFact>,
    publishes: Publishes,
    buy: Option<String>,
    /// Whether a fetched document about the vendor is current; `None` if there is none.
    in_date: Option<bool>,
}

#[derive(Clone, Debug)]
enum Held {
    Known(VendorKey),
    Stale(VendorKey),
    Conflict,
}

/// Content of one trusted document of a publisher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Name of the publisher.
    pub publisher: String,
    pub version: u64,
    /// Time after which it is stale.
    pub expires: UnixTime,
    /// The listed vendors.
    pub vendors: Vec<VendorEntry>,
    /// Its trust level.
    pub weight: Trust,
}

/// Trust level of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trust {
    /// The user placed its file. It adds keys; after it expired it does not affect pinned keys.
    Pinned,
    /// It was fetched. It adds keys; after it expired all keys of its vendors are stale, since a stolen key could have
    /// been revoked meanwhile.
    Fetched,
    /// It was fetched over a channel where others could have changed it. It can only revoke keys, or put them in
    /// conflict.
    RevokeOnly,
}

/// Reason why a document is ignored; for `doctor` and the lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IgnoredReason {
    /// The user pinned no vendor with the name of its signer, or no key of it.
    NotPinned(String),
    /// Its signer's key was revoked or has expired.
    KeyEnded(String),
    /// Another document of the same publisher is newer.
    Superseded(String),
    /// It has expired: its keys are stale, its revocations count.
    Stale(String),
    /// It is malformed, and these vendors are not trusted until it is mended.
    Malformed {
        /// The vendors that it is about.
        vendors: BTreeSet<String>,
        problem: String,
    },
}

/// Error of a signed directory.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    #[error("its token is malformed")]
    Token,
    #[error("its signature is invalid under the key of {0} that it names")]
    Forged(String),
    /// Its content is malformed.
    #[error(transparent)]
    Content(#[from] DocumentError),
}

/// Signed directory with a valid signature.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Name of its publisher.
    pub publisher: String,
    /// Key that signed it.
    pub key: PublicKey,
    pub content: SignedDirectory,
}

impl Directory {
    /// Adds a pinned document. All of them must be added before any signed document.
    ///
    /// # Errors
    /// [`DocumentError`] when an entry is malformed.
    pub fn pin(&mut self, entry: &VendorEntry) -> Result<(), DocumentError> {
        entry.check()?;
        let vendor = self.vendors.entry(entry.vendor.clone()).or_default();
        if entry.publishes == Publishes::Any {
            vendor.publishes = Publishes::Any;
        }
        let keys = entry.parsed_keys()?.into_values();
        vendor.pinned.extend(keys.filter(|key| !matches!(key.status, KeyStatus::Revoked { .. })).map(|key| key.key));
        vendor.add(entry, Trust::Pinned, false)
    }

    /// Verifies a signed directory with the known key of its publisher.
    ///
    /// # Errors
    /// [`DirectoryError`] when it is malformed or forged. An unknown or expired key is not an error of the document.
    pub fn open(&self, text: &str, now: UnixTime) -> Result<Result<Opened, IgnoredReason>, DirectoryError> {
        let token = Token::parse_document(text, LONGEST).map_err(|_| DirectoryError::Token)?;
        let issuer = token.issuer().map_err(|_| DirectoryError::Token)?;
        let publisher = issuer.vendor().to_owned();
        let held = self.vendors.get(&publisher).and_then(|vendor| vendor.keys.get(issuer.key_id()));
        // A stale key may sign the document that ends its staleness.
        let Some(Held::Known(key) | Held::Stale(key)) = held else {
            return Ok(Err(IgnoredReason::NotPinned(publisher)));
        };
        let opened = open_under(&token, &key.key)?;
        let revoked = matches!(key.status, KeyStatus::Revoked { since } if since <= now);
        if revoked || key.not_after.is_some_and(|end| now > end) {
            return Ok(Err(IgnoredReason::KeyEnded(publisher)));
        }
        Ok(Ok(opened))
    }

    /// Adds the newest statement of each publisher, and returns the ignored ones by position.
    ///
    /// `newest` are versions that were seen before: a lower one is ignored, whatever its source. Malformed entries are
    /// left out; the caller has checked them.
    pub fn add_statement(
        &mut self,
        statements: &[Statement],
        newest: &BTreeMap<String, u64>,
        now: UnixTime,
    ) -> Vec<(usize, IgnoredReason)> {
        let mut unheeded = Vec::new();
        let mut heeded = Vec::new();
        for (index, statement) in statements.iter().enumerate() {
            // Two statements of the newest version both count: where they differ they are in conflict. An untrusted
            // statement may have any version.
            let newer = |other: &Statement| {
                other.publisher == statement.publisher
                    && other.version > statement.version
                    && other.weight != Trust::RevokeOnly
            };
            let seen = newest.get(&statement.publisher).is_some_and(|seen| *seen > statement.version);
            if seen || statements.iter().any(newer) {
                unheeded.push((index, IgnoredReason::Superseded(statement.publisher.clone())));
            } else {
                heeded.push((index, statement, now > statement.expires));
            }
        }
        // Statements that only revoke come last, when the keys are known; current ones come before expired ones.
        heeded.sort_by_key(|(_, statement, stale)| (statement.weight == Trust::RevokeOnly, *stale));
        for (index, statement, stale) in heeded {
            self.merge(statement, stale);
            if stale {
                unheeded.push((index, IgnoredReason::Stale(statement.publisher.clone())));
            }
        }
        self.vendors.values_mut().for_each(Vendor::age);
        unheeded.sort_by_key(|(index, _)| *index);
        unheeded
    }

    /// Returns whether the directories of a publisher may list a vendor.
    #[must_use]
    pub fn may_list(&self, publisher: &str, vendor: &str) -> bool {
        vendor == publisher || self.vendors.get(publisher).is_some_and(|it| it.publishes == Publishes::Any)
    }

    /// Removes a vendor, as if the user did not trust it.
    pub fn forget(&mut self, vendor: &str) {
        self.vendors.remove(vendor);
    }

    /// Returns the trusted vendors and the facts of their keys, for the lists.
    pub fn vendors(&self) -> impl Iterator<Item = (&str, BTreeMap<&str, KeyFact>)> {
        self.vendors.iter().map(|(name, vendor)| {
            (name.as_str(), vendor.keys.iter().map(|(kid, held)| (kid.as_str(), held.fact())).collect())
        })
    }

    /// Returns the vendors with a key that signs now, and the address at which each sells stamps.
    pub fn vendors_for_sale(&self, now: UnixTime) -> impl Iterator<Item = (&str, Option<&str>)> {
        let signs = move |held: &Held| match held {
            Held::Known(key) => {
                key.status == KeyStatus::Active
                    && key.not_before.is_none_or(|begin| begin <= now)
                    && key.not_after.is_none_or(|end| now < end)
            }
            _ => false,
        };
        let sells = move |(_, vendor): &(&String, &Vendor)| vendor.keys.values().any(signs);
        self.vendors.iter().filter(sells).map(|(name, vendor)| (name.as_str(), vendor.buy.as_deref()))
    }

    /// Returns what is known of a licensed meter. A meter is no key of stamps, and the reverse.
    #[must_use]
    pub fn meter(&self, license: &Issuer) -> MeterFact {
        match self.vendors.get(license.vendor()).filter(|_| !license.is_address()) {
            None => MeterFact::UnknownAgency,
            Some(agency) => agency.meters.get(license.key_id()).cloned().unwrap_or(match agency.in_date {
                Some(false) => MeterFact::Stale,
                _ => MeterFact::Unlisted,
            }),
        }
    }

    /// Returns whether the user trusts a vendor with this name.
    #[must_use]
    pub fn trusts(&self, vendor: &str) -> bool {
        self.vendors.contains_key(vendor)
    }

    /// Returns whether the user pinned this key of the vendor and did not revoke it.
    #[must_use]
    pub fn pins(&self, vendor: &str, key: &PublicKey) -> bool {
        self.vendors.get(vendor).is_some_and(|vendor| vendor.pinned.contains(key))
    }

    fn merge(&mut self, statement: &Statement, stale: bool) {
        let Statement { publisher, weight, .. } = statement;
        for entry in &statement.vendors {
            // A vendor that the user did not name is not trusted, whichever document lists it.
            if self.may_list(publisher, &entry.vendor)
                && let Some(vendor) = self.vendors.get_mut(&entry.vendor)
                && vendor.add(entry, *weight, stale).is_ok()
            {
                if *weight == Trust::Fetched {
                    vendor.in_date = Some(vendor.in_date.unwrap_or(false) || !stale);
                }
                if *weight != Trust::RevokeOnly && entry.vendor == *publisher {
                    vendor.add_meters(entry, stale);
                }
            }
        }
    }
}

/// Verifies a token with this key.
pub fn open_under(token: &Token, key: &PublicKey) -> Result<Opened, DirectoryError> {
    let issuer = token.issuer().map_err(|_| DirectoryError::Token)?;
    let publisher = issuer.vendor().to_owned();
    if !key.verify(token, Purpose::Directory) {
        return Err(DirectoryError::Forged(publisher));
    }
    let content = serde_json::from_slice(token.payload()).map_err(DocumentError::from)?;
    Ok(Opened { publisher, key: *key, content })
}

impl Opened {
    /// Converts it to a statement with this trust level.
    ///
    /// # Errors
    /// [`DocumentError`] when its date is malformed.
    pub fn statement(self, weight: Trust) -> Result<Statement, DocumentError> {
        let expires = time(&self.content.expires)?;
        let SignedDirectory { version, vendors, .. } = self.content;
        Ok(Statement { publisher: self.publisher, version, expires, vendors, weight })
    }
}

impl Vendor {
    fn add(&mut self, entry: &VendorEntry, weight: Trust, stale: bool) -> Result<(), DocumentError> {
        entry.check()?;
        let gives = weight != Trust::RevokeOnly;
        // The first value stays: that of a pinned document.
        if self.buy.is_none() && gives && !stale {
            self.buy.clone_from(&entry.buy);
        }
        // A revocation does not expire.
        self.revoked.extend(entry.revoked_serials()?);
        for (kid, key) in entry.parsed_keys()? {
            let held = match self.keys.remove(&kid) {
                None if !gives => continue,
                None => Held::new(key, stale),
                Some(Held::Conflict) => Held::Conflict,
                Some(Held::Known(known)) => agree(known, key).map_or(Held::Conflict, Held::Known),
                Some(Held::Stale(known)) => match agree(known, key) {
                    None => Held::Conflict,
                    Some(key) => Held::new(key, stale || !gives),
                },
            };
            self.keys.insert(kid, held);
        }
        Ok(())
    }

    /// Adds the meters of the vendor's own directory. A licence that two of them list has the stricter limit and end.
    fn add_meters(&mut self, entry: &VendorEntry, stale: bool) {
        for (license, meter) in entry.parsed_meters().unwrap_or_default() {
            let fact = match self.meters.remove(&license) {
                None if stale => MeterFact::Stale,
                None => MeterFact::Known(Box::new(meter)),
                Some(MeterFact::Known(known)) if known.key == meter.key => MeterFact::Known(Box::new(Meter {
                    limit: known.limit.min(meter.limit),
                    not_after: known.not_after.min(meter.not_after),
                    ..meter
                })),
                Some(MeterFact::Known(_)) => MeterFact::Conflict,
                Some(other) => other,
            };
            self.meters.insert(license, fact);
        }
    }

    /// Makes keys and meters stale when all fetched documents about the vendor have expired.
    fn age(&mut self) {
        if self.in_date == Some(false) {
            self.meters.values_mut().for_each(|meter| *meter = MeterFact::Stale);
            for held in self.keys.values_mut() {
                if let Held::Known(key) = held {
                    *held = Held::new(key.clone(), true);
                }
            }
        }
    }
}

impl Held {
    fn new(key: VendorKey, stale: bool) -> Self {
        if stale && !matches!(key.status, KeyStatus::Revoked { .. }) { Self::Stale(key) } else { Self::Known(key) }
    }

    fn fact(&self) -> KeyFact {
        match self {
            Self::Known(key) => KeyFact::Known(Box::new(key.clone())),
            Self::Stale(_) => KeyFact::Stale,
            Self::Conflict => KeyFact::Conflict,
        }
    }
}

/// Returns the stricter of two descriptions of one key; `None` if the keys differ.
fn agree(one: VendorKey, other: VendorKey) -> Option<VendorKey> {
    if one.key != other.key {
        return None;
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
    Some(VendorKey {
        key: one.key,
        status,
        not_before: one.not_before.max(other.not_before),
        not_after: earliest(one.not_after, other.not_after),
    })
}

impl KeyDirectory for Directory {
    fn key(&self, issuer: &Issuer) -> KeyFact {
        match self.vendors.get(issuer.vendor()).filter(|_| !issuer.is_address()) {
            None => KeyFact::UnknownVendor,
            Some(vendor) => vendor.keys.get(issuer.key_id()).map_or(KeyFact::UnknownKey, Held::fact),
        }
    }

    fn revoked(&self, vendor: &str, serial: &Serial) -> bool {
        self.vendors.get(vendor).is_some_and(|vendor| vendor.revoked.contains(serial))
    }
}

#[cfg(test)]
mod tests;
