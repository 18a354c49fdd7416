//! Public keys of mailing lists whose stamps the user accepts. They lie in one file, `peer/lists.json` in the folder of
//! the state. Judging reads this file, and only when a stamp names an address as its issuer. `mailstamp peer pin` and
//! `peer unpin` write it. The keys of lists that the user runs are in `own.json` ([`super::own_keys`]).
//!
//! The file is a JSON object with one member, `lists`: an object with one member for each list's address in canonical
//! form, whose value is the list of its keys, each an object with
//!
//! - `key`: the public key (PASERK, `k4.public.…`);
//! - `since`: when it was pinned (seconds since 1970).
//!
//! `{"lists":{"talk@lists.example":[{"key":"k4.public.…","since":1795219200}]}}`
//!
//! Only the user may be able to write it. A missing file is one without lists.

use super::own_keys::{self, OwnKeys, OwnKeysError};
use crate::config::file;
use crate::message::address::Address;
use crate::os::atomic_file::{self, Durability};
use crate::peer::key_id;
use crate::stamp::signing::PublicKey;
use crate::stamp::token::Issuer;
use crate::time::UnixTime;
use crate::verdict::facts::{KeyFact, KeyStatus, VendorKey};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Keys of one list that are kept: the present one, and those before it whose stamps are still in use.
pub const KEYS_MAX: usize = 4;

/// The pinned keys, by list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedLists {
    lists: BTreeMap<String, Vec<PinnedKey>>,
}

/// A pinned key of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedKey {
    pub key: PublicKey,
    pub since: UnixTime,
}

/// A list cannot be pinned.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    #[error(transparent)]
    Read(#[from] OwnKeysError),
    #[error("{}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("another process changes your keys; waited {0} s")]
    Busy(u64),
    #[error("{0}: has {KEYS_MAX} pinned keys, which is the limit")]
    TooMany(Address),
}

/// Returns the file below the folder of the state.
#[must_use]
pub fn path(state: &Path) -> PathBuf {
    own_keys::folder(state).join("lists.json")
}

impl PinnedLists {
    /// Reads the file below the folder of the state; a missing one is empty.
    ///
    /// # Errors
    /// [`OwnKeysError`]: which lists the user accepts is unknown, and mail that needs them has to wait.
    pub fn read(state: &Path) -> Result<Self, OwnKeysError> {
        let path = path(state);
        let text = match file::read(&path) {
            Err(error) if error.is_absent() => return Ok(Self::default()),
            other => other?,
        };
        serde_json::from_str(&text).map_err(|error| OwnKeysError::Form { path, reason: error.to_string() })
    }

    /// Returns the lists, by address in canonical form, with their keys in the order in which they were pinned.
    pub fn lists(&self) -> impl Iterator<Item = (&str, &[PinnedKey])> {
        self.lists.iter().map(|(address, keys)| (&**address, &**keys))
    }

    /// Returns the keys that are pinned for a list.
    pub fn keys(&self, list: &Address) -> impl Iterator<Item = PublicKey> {
        self.lists.get(&list.canonical()).into_iter().flatten().map(|pinned| pinned.key)
    }

    /// Whether a key of the address, in canonical form, is pinned.
    #[must_use]
    pub fn contains(&self, address: &str) -> bool {
        self.lists.contains_key(address)
    }

    /// Returns what is known of the key that a stamp names. An address that is no pinned list is unknown.
    #[must_use]
    pub fn key(&self, issuer: &Issuer) -> KeyFact {
        let Some(keys) = self.lists.get(issuer.vendor()) else { return KeyFact::UnknownVendor };
        let Some(pinned) = keys.iter().find(|pinned| key_id(&pinned.key) == issuer.key_id()) else {
            return KeyFact::UnknownKey;
        };
        KeyFact::Known(Box::new(VendorKey {
            key: pinned.key,
            status: KeyStatus::Active,
            not_before: None,
            not_after: None,
        }))
    }

    /// Pins a key of a list, durably. Returns whether it was not pinned before. `wait` is how long to wait for another
    /// process.
    ///
    /// # Errors
    /// [`PinError::TooMany`] beyond [`KEYS_MAX`] keys.
    pub fn pin(state: &Path, wait: Duration, list: &Address, key: PublicKey, now: UnixTime) -> Result<bool, PinError> {
        Self::change(state, wait, |all| {
            let keys = all.lists.entry(list.canonical()).or_default();
            if keys.iter().any(|pinned| pinned.key == key) {
                return Ok(false);
            }
            if keys.len() >= KEYS_MAX {
                return Err(PinError::TooMany(list.clone()));
            }
            keys.push(PinnedKey { key, since: now });
            Ok(true)
        })
    }

    /// Removes the key of a list, or all of them, durably. Returns how many there were.
    ///
    /// # Errors
    /// [`PinError`] when the file cannot be read or written.
    pub fn unpin(state: &Path, wait: Duration, list: &Address, key: Option<&PublicKey>) -> Result<usize, PinError> {
        Self::change(state, wait, |all| {
            let Some(keys) = all.lists.get_mut(&list.canonical()) else { return Ok(0) };
            let before = keys.len();
            keys.retain(|pinned| key.is_some_and(|key| pinned.key != *key));
            let left = keys.len();
            if left == 0 {
                all.lists.remove(&list.canonical());
            }
            Ok(before - left)
        })
    }

    /// Reads, changes and replaces the file under the lock of the user's keys.
    fn change<T>(
        state: &Path,
        wait: Duration,
        change: impl FnOnce(&mut Self) -> Result<T, PinError>,
    ) -> Result<T, PinError> {
        let path = path(state);
        let failed = |source| PinError::Write { path: path.clone(), source };
        let lock = own_keys::lock(&own_keys::folder(state), wait).map_err(failed)?;
        let _lock = lock.ok_or(PinError::Busy(wait.as_secs()))?;
        let before = Self::read(state)?;
        let mut after = before.clone();
        let done = change(&mut after)?;
        if after != before {
            let mut text = serde_json::to_string_pretty(&after).map_err(|error| failed(error.into()))?;
            text.push('\n');
            atomic_file::replace(&path, 0o600, Durability::Synced, |file| file.write_all(text.as_bytes()))
                .map_err(failed)?;
        }
        Ok(done)
    }
}

/// The lists whose stamps count: those that the user runs, and those that the user pinned.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    own: OwnKeys,
    pinned: PinnedLists,
}

impl Lists {
    /// Reads both files.
    ///
    /// # Errors
    /// [`OwnKeysError`] when one of them cannot be read.
    pub fn read(state: &Path) -> Result<Self, OwnKeysError> {
        Ok(Self { own: OwnKeys::read(state)?, pinned: PinnedLists::read(state)? })
    }

    /// Returns the keys whose stamps of this list count; none if it is no such list.
    #[must_use]
    pub fn keys(&self, list: &Address) -> Vec<PublicKey> {
        self.own.list_keys(list).chain(self.pinned.keys(list)).collect()
    }

    /// Whether the address, in canonical form, is that of such a list. An address with a key of the user's own is none.
    #[must_use]
    pub fn is_list(&self, address: &str) -> bool {
        !self.own.is_personal(address) && (self.own.is_list(address) || self.pinned.contains(address))
    }

    /// Whether the user runs the list.
    #[must_use]
    pub fn is_own(&self, list: &Address) -> bool {
        self.own.is_list(&list.canonical())
    }

    /// Returns what is known of the key that a stamp from an address names. A pin says nothing of an address of the
    /// user's own, and what the user says of an own list's key stands above it.
    #[must_use]
    pub fn key(&self, issuer: &Issuer) -> KeyFact {
        match self.own.key(issuer) {
            KeyFact::UnknownVendor => self.pinned.key(issuer),
            KeyFact::UnknownKey if self.own.is_list(issuer.vendor()) => match self.pinned.key(issuer) {
                KeyFact::UnknownVendor => KeyFact::UnknownKey,
                pinned => pinned,
            },
            known => known,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::own_keys::{OwnKeyStatus, PublicOwnKey};
    use super::*;
    use crate::peer::issuer;
    use crate::stamp::signing::SecretKey;
    use std::os::unix::fs::PermissionsExt;

    const NOW: UnixTime = UnixTime(1_795_219_200);
    const WAIT: Duration = Duration::from_secs(60);

    fn public(seed: u8) -> PublicKey {
        SecretKey::from_random(&[seed; 32]).public()
    }

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    fn read(state: &Path) -> PinnedLists {
        PinnedLists::read(state).unwrap()
    }

    #[test]
    fn keys_are_pinned_and_unpinned() {
        let state = tempfile::tempdir().unwrap();
        let (state, list) = (state.path(), address("Talk@lists.example"));
        assert_eq!(read(state), PinnedLists::default());
        let pin = |seed| PinnedLists::pin(state, WAIT, &list, public(seed), NOW);
        assert!(pin(1).unwrap() && !pin(1).unwrap() && pin(2).unwrap());
        assert_eq!(read(state).keys(&list).collect::<Vec<_>>(), [public(1), public(2)]);
        assert!(read(state).contains("talk@lists.example") && !read(state).contains("other@lists.example"));
        assert_eq!(std::fs::metadata(path(state)).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(pin(3).unwrap() && pin(4).unwrap());
        assert!(matches!(pin(5), Err(PinError::TooMany(_))));
        let unpin = |key: Option<&PublicKey>| PinnedLists::unpin(state, WAIT, &list, key).unwrap();
        assert_eq!((unpin(Some(&public(9))), unpin(Some(&public(2))), unpin(None), unpin(None)), (0, 1, 3, 0));
        assert_eq!(read(state), PinnedLists::default());
        // The format of the module's comment.
        let key = public(1);
        pin(1).unwrap();
        let text = format!(r#"{{"lists":{{"talk@lists.example":[{{"key":"{key}","since":1795219200}}]}}}}"#);
        assert_eq!(serde_json::from_str::<PinnedLists>(&text).unwrap(), read(state));
        assert_eq!(serde_json::to_string(&read(state)).unwrap(), text);
    }

    #[test]
    fn a_pinned_key_speaks_for_its_list_alone() {
        let state = tempfile::tempdir().unwrap();
        let state = state.path();
        let (list, own, me) = (address("l@lists.example"), address("own@lists.example"), address("me@x.example"));
        for (list, seed) in [(&list, 1), (&me, 2), (&own, 3)] {
            PinnedLists::pin(state, WAIT, list, public(seed), NOW).unwrap();
        }
        let key = |seed, status| PublicOwnKey { key: public(seed), status };
        let mut keys: OwnKeys = [(me.clone(), vec![key(5, OwnKeyStatus::Active)])].into_iter().collect();
        keys.add_list(&own, vec![key(6, OwnKeyStatus::Revoked { since: NOW }), key(7, OwnKeyStatus::Active)]);
        keys.write(&own_keys::folder(state)).unwrap();
        let lists = Lists::read(state).unwrap();
        let known = |of: &Address, seed: u8| lists.key(&issuer(of, &public(seed)).unwrap());
        let is_known = |of: &Address, seed: u8| matches!(known(of, seed), KeyFact::Known(_));
        assert!(is_known(&list, 1) && is_known(&me, 5) && is_known(&own, 3) && is_known(&own, 7));
        assert_eq!(known(&list, 5), KeyFact::UnknownKey);
        assert_eq!(known(&address("m@lists.example"), 1), KeyFact::UnknownVendor);
        // No pin speaks for an address of the user's own, or makes a list of it.
        assert_eq!(known(&me, 2), KeyFact::UnknownKey);
        assert!(lists.is_list("l@lists.example") && lists.is_list("own@lists.example"));
        assert!(!lists.is_list("me@x.example") && !lists.is_list("m@lists.example"));
        assert_eq!((lists.keys(&own), lists.keys(&list)), (vec![public(7), public(3)], vec![public(1)]));
        assert!(lists.is_own(&own) && !lists.is_own(&list));
    }

    #[test]
    fn a_file_that_others_can_write_or_that_is_damaged_is_an_error() {
        let state = tempfile::tempdir().unwrap();
        let state = state.path();
        PinnedLists::pin(state, WAIT, &address("l@lists.example"), public(1), NOW).unwrap();
        std::fs::set_permissions(path(state), std::fs::Permissions::from_mode(0o666)).unwrap();
        assert!(matches!(Lists::read(state), Err(OwnKeysError::File(_))));
        std::fs::remove_file(path(state)).unwrap();
        for text in ["", "{}", "[]", r#"{"lists":{"l@lists.example":[{"key":"k4.public.x","since":0}]}}"#] {
            std::fs::write(path(state), text).unwrap();
            assert!(matches!(PinnedLists::read(state), Err(OwnKeysError::Form { .. })), "{text}");
            assert!(PinnedLists::pin(state, WAIT, &address("m@lists.example"), public(1), NOW).is_err(), "{text}");
        }
    }
}
