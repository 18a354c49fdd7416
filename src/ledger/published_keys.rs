//! Signing keys as the vendor's published editions list them. A ledger that was restored from a copy, or an older file
//! put in its place, lacks what was published since. A published revocation is final, so the ledger books it again.
//!
//! No signature is verified: the next edition continues the one in the folder in the same way.

use super::error::LedgerError;
use super::files::{LedgerPaths, failed};
use super::model::KeyRecord;
use crate::accounting::event::KeyState;
use crate::config::file;
use crate::directory::document::{self, KeyEntry, Status, VendorEntry};
use crate::directory::key_directory::LONGEST_FILE;
use crate::directory::public_log::editions;
use crate::directory::publish;
use crate::directory::signing_key::SigningKey;
use std::io;
use std::path::Path;

/// Returns the keys that the newest edition in a folder `.well-known` and the document beside it list for this vendor.
///
/// # Errors
/// The newest edition cannot be read: a revocation in it would be missed.
pub(super) fn listed(vendor: &str, well_known: &Path) -> Result<Vec<KeyEntry>, LedgerError> {
    let folder = well_known.join(editions::FOLDER);
    let wrong = |source| failed("read the newest edition in", &folder, source);
    let newest = editions::newest(well_known).map_err(wrong)?;
    let newest = newest.map(|text| publish::read(&text)).transpose();
    let newest = newest.map_err(|error| wrong(io::Error::new(io::ErrorKind::InvalidData, error)))?;
    // The web server of another may have any document there.
    let served = file::read_up_to(&well_known.join("digital-stamp"), LONGEST_FILE).ok();
    let served = served.and_then(|text| publish::read(&text).ok());
    let entries = newest.into_iter().chain(served).flat_map(|edition| edition.content.vendors);
    Ok(entries.filter(|entry| entry.vendor == vendor).flat_map(|entry| entry.keys).collect())
}

/// Returns the keys of the ledger that the editions revoke and the ledger does not, in their new state.
pub(super) fn newly_revoked(own: &[KeyRecord], listed: &[KeyEntry]) -> Vec<KeyRecord> {
    let is_good = |key: &&KeyRecord| !matches!(key.state, KeyState::Revoked { .. });
    let revoked = own.iter().filter(is_good).filter_map(|key| {
        let entry = listed.iter().find(|entry| entry.status == Status::Revoked && is_same(entry, key))?;
        let since = entry.since.as_deref().and_then(|since| document::time(since).ok());
        Some(KeyRecord { state: KeyState::Revoked { since }, ..key.clone() })
    });
    revoked.collect()
}

/// Returns the name of a key that the editions list as active, whose file is there, and that the ledger lacks.
pub(super) fn unbooked(place: &LedgerPaths, own: &[KeyRecord], listed: &[KeyEntry]) -> Option<String> {
    let is_revoked = |kid: &str| listed.iter().any(|entry| entry.kid == kid && entry.status == Status::Revoked);
    let is_free = |entry: &&KeyEntry| own.iter().all(|key| key.kid != entry.kid) && !is_revoked(&entry.kid);
    let mut active = listed.iter().rev().filter(|entry| entry.status == Status::Active).filter(is_free);
    active.find(|entry| has_file(place, entry)).map(|entry| entry.kid.clone())
}

/// Returns why no new key may get this name: readers know it as another key, or as a revoked one.
pub(super) fn problem(place: &LedgerPaths, listed: &[KeyEntry], kid: &str) -> Option<String> {
    let mut named = listed.iter().filter(|entry| entry.kid == kid);
    named.find_map(|entry| match entry.status {
        Status::Revoked => Some("a published edition revokes the key of this name; choose another name".to_owned()),
        _ if has_file(place, entry) => None,
        _ => Some("a published edition lists another key of this name; choose another name".to_owned()),
    })
}

/// Returns the vendor's entry of a directory.
pub(super) fn own_keys<'a>(vendors: &'a [VendorEntry], vendor: &str) -> &'a [KeyEntry] {
    vendors.iter().find(|entry| entry.vendor == vendor).map_or(&[], |entry| &entry.keys)
}

fn is_same(entry: &KeyEntry, key: &KeyRecord) -> bool {
    entry.kid == key.kid && entry.key == key.key.to_string()
}

fn has_file(place: &LedgerPaths, entry: &KeyEntry) -> bool {
    // A name of an edition that was not verified might leave the folder.
    let is_name = !entry.kid.contains('/');
    is_name && SigningKey::read(&place.key(&entry.kid)).is_ok_and(|file| file.key.public().to_string() == entry.key)
}
