//! Signed directory of the vendor, built from the ledger: for the shop, and for `vendor publish`. Both use this module,
//! so they publish the same content under the same keys.

use super::error::LedgerError;
use super::handle::{ANY_TIME, Ledger};
use super::model::{BookedEdition, KeyRecord, License};
use super::ops;
use super::published_keys;
use super::rejection::Rejection;
use crate::accounting::event::KeyState;
use crate::directory::document::{self, KeyEntry, MeterEntry, Status, VendorEntry};
use crate::directory::publish::{self, Changes, Edition, EditionError, Publication};
use crate::directory::signing_key::{SecretError, SigningKey};
use crate::time::UnixTime;
use std::cmp::Reverse;
use std::sync::Arc;

/// Attempts to book an edition, or a part of the public log, while other processes publish, too.
const ATTEMPTS: usize = 3;

/// Attempts a publication anew while another process was faster.
pub(super) fn retried<T>(mut attempt: impl FnMut() -> Result<T, LedgerError>) -> Result<T, LedgerError> {
    for _ in 1..ATTEMPTS {
        match attempt() {
            Err(LedgerError::Refused(Rejection::EditionMoved | Rejection::LogMoved)) => {}
            done => return done,
        }
    }
    attempt()
}

impl Ledger {
    /// Revokes the signing keys that the editions in the folder of the ledger revoke, and returns their names. A ledger
    /// that is an older copy does not know of them.
    ///
    /// # Errors
    /// The newest edition cannot be read, and others.
    pub fn adopt_revocations(&self, now: UnixTime) -> Result<Vec<String>, LedgerError> {
        self.adopt(&self.listed_keys()?, now)
    }

    /// Returns the keys that sign and that the editions in the folder of the ledger revoke, one sentence each.
    ///
    /// # Errors
    /// The newest edition cannot be read, and others.
    pub fn check_keys(&self) -> Result<Vec<String>, LedgerError> {
        let revoked = published_keys::newly_revoked(&self.keys()?, &self.listed_keys()?);
        let told = |key: KeyRecord| format!("key {} is revoked in a published edition, and not in the ledger", key.kid);
        Ok(revoked.into_iter().map(told).collect())
    }

    fn adopt(&self, listed: &[KeyEntry], now: UnixTime) -> Result<Vec<String>, LedgerError> {
        let revoked = published_keys::newly_revoked(&self.keys()?, listed);
        let revoke = |KeyRecord { kid, key, state, .. }: KeyRecord| {
            self.run(ops::SetKey { kid: kid.clone(), key, state }, now).map(|()| kid)
        };
        revoked.into_iter().map(revoke).collect()
    }

    /// Returns the name of a key that can sign in place of a revoked one: the editions list it, its file is there, and
    /// the ledger lacks it.
    pub fn published_key(&self) -> Result<Option<String>, LedgerError> {
        Ok(published_keys::unbooked(self.place(), &self.keys()?, &self.listed_keys()?))
    }

    /// Returns the directory entry of the vendor: keys, revoked serials, price, and the meters that are licensed now.
    /// `buy` and `log` are left empty.
    pub fn published(&self, now: UnixTime) -> Result<VendorEntry, LedgerError> {
        let profile = self.profile()?;
        Ok(VendorEntry {
            vendor: profile.vendor,
            // The document has the same form in three members.
            prices: vec![profile.terms.price],
            keys: profile.keys.into_iter().map(key_entry).collect(),
            meters: self.run(ops::LiveLicenses {}, now)?.into_iter().map(meter_entry).collect(),
            revoked: self.run(ops::RevokedSerials {}, ANY_TIME)?.into_iter().map(String::from).collect(),
            ..VendorEntry::default()
        })
    }

    /// Builds the next edition: the content of the last one, updated from the ledger, with these changes.
    ///
    /// The last one is what the ledger booked, or `in_folder` if that is later, as after a restore. Keys that the last one
    /// revokes are revoked in the ledger. The next one is
    /// booked before it is returned, so that every edition that a reader may have is continued, in whatever folder.
    ///
    /// It is signed with the key that signs stamps, and with the others, for recipients who know only one of those.
    ///
    /// # Errors
    /// [`LedgerError::Edition`] for one that readers would reject, and others.
    pub fn edition(
        &self,
        in_folder: Option<&Edition>,
        changes: &Changes,
        now: UnixTime,
        expires: UnixTime,
    ) -> Result<Publication, LedgerError> {
        retried(|| {
            let booked = self.last_edition()?;
            let last = self.later(booked.as_ref(), in_folder)?;
            if let Some(last) = &last {
                self.adopt(published_keys::own_keys(&last.content.vendors, self.vendor()?), now)?;
            }
            // First, since a document with a higher version must not contain less.
            let version = self.run(ops::NextVersion {}, now)?;
            let made = self.draft(last, &Changes { version, ..changes.clone() }, now, expires)?;
            let edition = BookedEdition { version: made.content.version, document: made.document.clone() };
            self.run(ops::BookEdition { last: booked.map(|booked| booked.version), edition }, now)?;
            Ok(made)
        })
    }

    /// Returns the last edition and its time of issue, if one with these changes would say the same. It must be younger
    /// than `age` seconds, and expire less than these before `expires`.
    pub fn current_edition(
        &self,
        in_folder: Option<&Edition>,
        changes: &Changes,
        now: UnixTime,
        expires: UnixTime,
        age: i64,
    ) -> Result<Option<(BookedEdition, UnixTime)>, LedgerError> {
        let Some(booked) = self.last_edition()? else { return Ok(None) };
        let Some(last) = self.later(Some(&booked), in_folder)? else { return Ok(None) };
        let listed = published_keys::own_keys(&last.content.vendors, self.vendor()?);
        if !published_keys::newly_revoked(&self.keys()?, listed).is_empty() {
            return Ok(None);
        }
        let issued = document::time(&last.content.issued).map_err(EditionError::from)?;
        let ends = document::time(&last.content.expires).map_err(EditionError::from)?;
        let is_young = (0..age).contains(&now.since(issued)) && expires.since(ends) < age;
        if last.content.version != booked.version || !is_young {
            return Ok(None);
        }
        let vendors = last.content.vendors.clone();
        let same = self.draft(Some(last), changes, now, expires)?.content.vendors == vendors;
        Ok(same.then_some((booked, issued)))
    }

    /// Returns the edition that was booked last. A crash may have prevented its publication.
    pub fn last_edition(&self) -> Result<Option<BookedEdition>, LedgerError> {
        self.run(ops::LastEdition {}, ANY_TIME)
    }

    /// Returns the later of two editions.
    fn later(
        &self,
        booked: Option<&BookedEdition>,
        in_folder: Option<&Edition>,
    ) -> Result<Option<Edition>, LedgerError> {
        let vendor = self.vendor()?;
        let vendors = in_folder.map_or(&[][..], |edition| &edition.content.vendors);
        if !vendors.is_empty() && vendors.iter().all(|entry| entry.vendor != vendor) {
            return Err(EditionError::Foreign(vendor.to_owned()).into());
        }
        let booked = booked.map(|booked| publish::read(&booked.document)).transpose()?;
        // The one that was booked, of two with one version.
        Ok(in_folder.cloned().into_iter().chain(booked).max_by_key(|edition| edition.content.version))
    }

    fn draft(
        &self,
        last: Option<Edition>,
        changes: &Changes,
        now: UnixTime,
        expires: UnixTime,
    ) -> Result<Publication, LedgerError> {
        let changes = Changes {
            ledger: Some(VendorEntry { log: changes.log.clone().map(Box::new), ..self.published(now)? }),
            ended_serials: self.run(ops::EndedSerials {}, now)?.into_iter().map(String::from).collect(),
            ..changes.clone()
        };
        let signers = self.publishers()?;
        let mut signers: Vec<&SigningKey> = signers.iter().map(|signer| &**signer).collect();
        loop {
            match publish::next(last.clone(), &signers, &changes, now, expires) {
                // The oldest key is dropped: fewest recipients know no newer one.
                Err(EditionError::Signatures { .. }) => drop(signers.pop()),
                made => return Ok(made?),
            }
        }
    }

    /// Returns the keys that sign the directory.
    ///
    /// First the one that signs stamps, then prepared ones, then earlier ones, the newest first. The files of all but
    /// the first may be missing, since a vendor may keep them elsewhere.
    fn publishers(&self) -> Result<Vec<Arc<SigningKey>>, LedgerError> {
        let mut keys = self.keys()?;
        keys.retain(|key| !matches!(key.state, KeyState::Revoked { .. }));
        keys.sort_by_key(|key| {
            let rank = match key.state {
                KeyState::Active => 0,
                KeyState::Prepared => 1,
                KeyState::VerifyOnly | KeyState::Revoked { .. } => 2,
            };
            (rank, Reverse(key.since))
        });
        let mut signers = Vec::new();
        for key in keys {
            match self.signer(&key.kid) {
                Ok(signer) => signers.push(signer),
                Err(LedgerError::Key(SecretError::File(error)))
                    if error.is_absent() && key.state != KeyState::Active => {}
                Err(error) => return Err(error),
            }
        }
        if signers.is_empty() {
            let problem = "no key is left that recipients know; rotate to a new one".to_owned();
            return Err(Rejection::SigningKey { kid: "(none)".to_owned(), problem }.into());
        }
        Ok(signers)
    }
}

fn meter_entry(license: License) -> MeterEntry {
    let License { kid, key, limit, until, .. } = license;
    // The licence ends with this second.
    MeterEntry { kid, key: key.to_string(), limit, not_after: until.plus(-1).to_string() }
}

fn key_entry(key: KeyRecord) -> KeyEntry {
    let (status, since) = match key.state {
        // A prepared key may sign any day.
        KeyState::Active | KeyState::Prepared => (Status::Active, None),
        KeyState::VerifyOnly => (Status::VerifyOnly, None),
        KeyState::Revoked { since } => (Status::Revoked, since.map(|since| since.to_string())),
    };
    KeyEntry { kid: key.kid, key: key.key.to_string(), status, since, not_before: None, not_after: None }
}
