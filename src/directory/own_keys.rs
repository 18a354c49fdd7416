//! Public halves of the user's own keys, for judging the stamps that the user gave to correspondents. They lie in one
//! file, `peer/own.json` in the folder of the state, beside the files of the secret keys. Judging reads this file, and
//! only when a stamp names an address as its issuer. So no secret key is in a process that reads hostile mail.
//!
//! The file is a JSON object. Its member `addresses` is an object with one member for each address in canonical form,
//! whose value is the list of its keys, the oldest first. The member `lists` has those of the mailing lists that the
//! user runs, and is left out where there are none. A key is an object with
//!
//! - `key`: the public key (PASERK, `k4.public.…`);
//! - `status`: `active`, `retired` (it signs no new stamps) or `revoked`;
//! - `since`: with `revoked` only, when the user revoked it (seconds since 1970). Nothing that it signed is good, whatever
//!   its date: a thief can choose that, and the clock may have been ahead.
//!
//! `{"addresses":{"bob@y.example":[{"key":"k4.public.…","status":"revoked","since":1795219200},
//! {"key":"k4.public.…","status":"active"}]}}`
//!
//! Only the user may be able to write it. A missing file is one without addresses.

use crate::config::file::{self, FileError};
use crate::message::address::Address;
use crate::os::atomic_file::{self, Durability};
use crate::os::{self, file_lock, safe_open};
use crate::peer::key_id;
use crate::stamp::signing::PublicKey;
use crate::stamp::token::Issuer;
use crate::time::UnixTime;
use crate::verdict::facts::{KeyFact, KeyStatus, VendorKey};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The public halves of all own keys, by address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnKeys {
    addresses: BTreeMap<String, Vec<PublicOwnKey>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    lists: BTreeMap<String, Vec<PublicOwnKey>>,
}

/// One of the user's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicOwnKey {
    pub key: PublicKey,
    #[serde(flatten)]
    pub status: OwnKeyStatus,
}

/// The status that the user gave a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "kebab-case")]
pub enum OwnKeyStatus {
    /// It signs stamps.
    Active,
    /// It signs no new stamps; those that it signed are good until they end.
    Retired,
    /// Nothing signed with it is good.
    Revoked { since: UnixTime },
}

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OwnKeysError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{}: not a list of own keys: {reason}", path.display())]
    Form { path: PathBuf, reason: String },
}

/// Returns the folder of the user's own keys in the folder of the state.
#[must_use]
pub fn folder(state: &Path) -> PathBuf {
    state.join("peer")
}

/// Returns the file of their public halves in that folder.
#[must_use]
pub fn path(folder: &Path) -> PathBuf {
    folder.join("own.json")
}

/// Locks the folder of the user's keys for a change, and makes it where it is missing. `None` if another process had the
/// lock for longer than `wait`.
pub fn lock(folder: &Path, wait: Duration) -> io::Result<Option<File>> {
    os::make_folder(folder, 0o700)?;
    let lock = safe_open::file(&folder.join("lock"), OFlags::RDWR | OFlags::CREATE)?;
    file_lock::lock_within(lock, wait)
}

impl OwnKeys {
    /// Reads the file below the folder of the state; a missing one is empty.
    ///
    /// # Errors
    /// [`OwnKeysError`]: whose keys these are is unknown, and mail that needs them has to wait.
    pub fn read(state: &Path) -> Result<Self, OwnKeysError> {
        let path = path(&folder(state));
        let text = match file::read(&path) {
            Err(error) if error.is_absent() => return Ok(Self::default()),
            other => other?,
        };
        serde_json::from_str(&text).map_err(|error| OwnKeysError::Form { path, reason: error.to_string() })
    }

    /// Replaces the file in this folder, which must exist. It is on the disk when this returns.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        let path = path(folder);
        atomic_file::replace(&path, 0o600, Durability::Synced, |file| file.write_all(text.as_bytes()))
    }

    /// Returns what is known of the key that a stamp names. An address that is not the user's is unknown.
    #[must_use]
    pub fn key(&self, issuer: &Issuer) -> KeyFact {
        let keys = self.addresses.get(issuer.vendor()).or_else(|| self.lists.get(issuer.vendor()));
        let Some(keys) = keys else { return KeyFact::UnknownVendor };
        let Some(own) = keys.iter().find(|own| key_id(&own.key) == issuer.key_id()) else {
            return KeyFact::UnknownKey;
        };
        let status = match own.status {
            OwnKeyStatus::Active => KeyStatus::Active,
            OwnKeyStatus::Retired => KeyStatus::VerifyOnly,
            OwnKeyStatus::Revoked { .. } => KeyStatus::Revoked { since: UnixTime(i64::MIN) },
        };
        KeyFact::Known(Box::new(VendorKey { key: own.key, status, not_before: None, not_after: None }))
    }

    /// Whether the address, in canonical form, is that of a list that the user runs.
    #[must_use]
    pub fn is_list(&self, address: &str) -> bool {
        self.lists.contains_key(address)
    }

    /// Whether the address, in canonical form, has keys of its own, and is no list.
    #[must_use]
    pub fn is_personal(&self, address: &str) -> bool {
        self.addresses.contains_key(address)
    }

    /// Returns the keys of a list that the user runs, without those that were revoked.
    pub fn list_keys(&self, address: &Address) -> impl Iterator<Item = PublicKey> {
        let keys = self.lists.get(&address.canonical()).into_iter().flatten();
        keys.filter(|own| !matches!(own.status, OwnKeyStatus::Revoked { .. })).map(|own| own.key)
    }

    /// Adds the keys of a list that the user runs.
    pub fn add_list(&mut self, address: &Address, keys: Vec<PublicOwnKey>) {
        self.lists.insert(address.canonical(), keys);
    }
}

impl FromIterator<(Address, Vec<PublicOwnKey>)> for OwnKeys {
    fn from_iter<T: IntoIterator<Item = (Address, Vec<PublicOwnKey>)>>(all: T) -> Self {
        let addresses = all.into_iter().map(|(address, keys)| (address.canonical(), keys)).collect();
        Self { addresses, lists: BTreeMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::issuer;
    use crate::stamp::signing::SecretKey;
    use std::os::unix::fs::PermissionsExt;

    const SINCE: UnixTime = UnixTime(1_795_219_200);

    fn public(seed: u8) -> PublicKey {
        SecretKey::from_random(&[seed; 32]).public()
    }

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    fn keys() -> OwnKeys {
        let key = |seed, status| PublicOwnKey { key: public(seed), status };
        let bob = vec![
            key(1, OwnKeyStatus::Revoked { since: SINCE }),
            key(2, OwnKeyStatus::Retired),
            key(3, OwnKeyStatus::Active),
        ];
        [(address("Bob@Y.example"), bob), (address("b@z.example"), vec![key(4, OwnKeyStatus::Active)])]
            .into_iter()
            .collect()
    }

    #[test]
    fn keys_are_written_and_read() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(OwnKeys::read(state.path()).unwrap(), OwnKeys::default());
        let folder = folder(state.path());
        std::fs::create_dir(&folder).unwrap();
        keys().write(&folder).unwrap();
        assert_eq!(OwnKeys::read(state.path()).unwrap(), keys());
        let mode = std::fs::metadata(path(&folder)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // The format of the module's comment.
        let key = public(1);
        let text =
            format!(r#"{{"addresses":{{"bob@y.example":[{{"key":"{key}","status":"revoked","since":1795219200}}]}}}}"#);
        let revoked = PublicOwnKey { key, status: OwnKeyStatus::Revoked { since: SINCE } };
        let one: OwnKeys = [(address("bob@y.example"), vec![revoked])].into_iter().collect();
        assert_eq!(serde_json::from_str::<OwnKeys>(&text).unwrap(), one);
        assert_eq!(serde_json::to_string(&one).unwrap(), text);
    }

    #[test]
    fn a_key_speaks_for_its_own_address() {
        let status = |of: &str, seed: u8| match keys().key(&issuer(&address(of), &public(seed)).unwrap()) {
            KeyFact::Known(known) => Ok((known.key == public(seed), known.status)),
            other => Err(other),
        };
        assert_eq!(status("bob@y.example", 3), Ok((true, KeyStatus::Active)));
        assert_eq!(status("BOB@y.example", 2), Ok((true, KeyStatus::VerifyOnly)));
        // Revoked at any time, also one to come: the clock was ahead then.
        assert_eq!(status("bob@y.example", 1), Ok((true, KeyStatus::Revoked { since: UnixTime(i64::MIN) })));
        assert_eq!(status("bob@y.example", 4), Err(KeyFact::UnknownKey));
        assert_eq!(status("b@z.example", 3), Err(KeyFact::UnknownKey));
        assert_eq!(status("eve@y.example", 3), Err(KeyFact::UnknownVendor));
        // The name in the footer is that of the key.
        assert_eq!(keys().key(&Issuer::new("bob@y.example", "k").unwrap()), KeyFact::UnknownKey);
    }

    #[test]
    fn the_keys_of_a_list_stand_apart() {
        let mut own = keys();
        let list = address("L@lists.example");
        let key = |seed, status| PublicOwnKey { key: public(seed), status };
        own.add_list(&list, vec![key(7, OwnKeyStatus::Revoked { since: SINCE }), key(8, OwnKeyStatus::Active)]);
        assert!(own.is_list("l@lists.example") && !own.is_list("bob@y.example"));
        assert!(own.is_personal("bob@y.example") && !own.is_personal("l@lists.example"));
        assert_eq!(own.list_keys(&list).collect::<Vec<_>>(), [public(8)]);
        assert_eq!(own.list_keys(&address("bob@y.example")).count(), 0);
        assert!(matches!(own.key(&issuer(&list, &public(7)).unwrap()), KeyFact::Known(_)));
        assert_eq!(own.key(&issuer(&list, &public(3)).unwrap()), KeyFact::UnknownKey);
        let text = serde_json::to_string(&own).unwrap();
        assert_eq!(serde_json::from_str::<OwnKeys>(&text).unwrap(), own);
        assert!(!serde_json::to_string(&keys()).unwrap().contains("lists"));
    }

    #[test]
    fn a_file_that_others_can_write_or_that_is_damaged_is_an_error() {
        let state = tempfile::tempdir().unwrap();
        let folder = folder(state.path());
        std::fs::create_dir(&folder).unwrap();
        keys().write(&folder).unwrap();
        std::fs::set_permissions(path(&folder), std::fs::Permissions::from_mode(0o666)).unwrap();
        assert!(matches!(OwnKeys::read(state.path()), Err(OwnKeysError::File(_))));
        std::fs::remove_file(path(&folder)).unwrap();
        for text in ["", "{}", "[]", r#"{"addresses":{"b@z.example":[{"key":"k4.public.x","status":"active"}]}}"#] {
            std::fs::write(path(&folder), text).unwrap();
            let read = OwnKeys::read(state.path());
            assert!(matches!(read, Err(OwnKeysError::Form { .. })), "{text} {read:?}");
        }
    }
}
