//! The user's own keys for the exchange with correspondents: one file for each address in the folder `peer` of the
//! state, which only the user can read. Retired keys stay: they sign uses of the stamps that are bound to them.
//!
//! Beside them, `own.json` has the public halves of all. Judging reads this file alone, so no secret key is in a process
//! that reads hostile mail ([`crate::directory::own_keys`]). It is written before the file of the secret keys. So a key
//! that signs is always in it. After a crash between the two, it has a key that signs nothing, or a revocation.

use crate::config::file::{self, FileError};
use crate::directory::own_keys::{self, OwnKeyStatus, OwnKeys, PublicOwnKey};
use crate::message::address::Address;
use crate::message::header::percent_encoded;
use crate::os::atomic_file::{self, Durability};
use crate::os::{random, safe_open};
use crate::peer::announcement::{Announcement, AnnouncementError, Keys, Link, STEPS_MAX};
use crate::peer::offer::Holder;
use crate::peer::sealing::SealSecret;
use crate::peer::{issuer, key_id};
use crate::stamp::signing::{PublicKey, SecretKey};
use crate::stamp::token::Token;
use crate::time::UnixTime;
use data_encoding::BASE64URL_NOPAD;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use zeroize::{Zeroize, Zeroizing};

/// Keys of one address that are kept. The oldest retired ones go.
pub const KEYS_MAX: usize = 16;
/// First line of an exported file, as a member: the version of its format.
const EXPORT: u32 = 1;

/// One key pair for signing, and one for sealing.
#[derive(Debug)]
pub struct OwnKey {
    pub secret: SecretKey,
    pub seal: SealSecret,
    pub created: UnixTime,
    pub status: OwnKeyStatus,
    /// The signature by which it names the next key of the address.
    pub next: Option<[u8; 64]>,
}

/// The keys of one address, the newest last.
#[derive(Debug)]
pub struct Identity {
    pub address: Address,
    /// Whether it is the address of a mailing list that the user runs. Its key makes stamps for members, and nothing
    /// else.
    pub is_list: bool,
    pub keys: Vec<OwnKey>,
}

/// The files of one user.
#[derive(Clone, Debug)]
pub struct PeerKeys {
    folder: PathBuf,
    wait: Duration,
}

/// Errors of the user's own keys.
#[derive(Debug, thiserror::Error)]
pub enum PeerKeyError {
    /// A file cannot be read, or others can read it.
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{}: not a key file of mailstamp", path.display())]
    Form { path: PathBuf },
    #[error("{}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("another process changes your keys; waited {0} s")]
    Busy(u64),
    #[error("no random numbers from the system: {0}")]
    Random(io::Error),
    #[error("{0}: there is no key for this address")]
    Absent(Address),
    #[error("{0}: this address has a key")]
    Exists(Address),
    #[error("{0}: no such key")]
    Unknown(Address),
    #[error("{0}: this key is the active one")]
    Active(Address),
    /// No token can name it as an issuer.
    #[error("{0}: needs quotes, or has letters whose case is unknown, so it cannot have keys")]
    Address(Address),
    #[error("{0}: its keys here and those in the file have different histories")]
    Conflict(Address),
    #[error(transparent)]
    Announcement(#[from] AnnouncementError),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    address: Address,
    #[serde(default, skip_serializing_if = "is_false")]
    list: bool,
    keys: Vec<KeptKey>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // The signature that serde wants.
fn is_false(value: &bool) -> bool {
    !*value
}

#[derive(Serialize, Deserialize)]
struct KeptKey {
    secret: String,
    seal: String,
    created: UnixTime,
    #[serde(flatten)]
    status: OwnKeyStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl Drop for KeptKey {
    fn drop(&mut self) {
        self.secret.zeroize();
        self.seal.zeroize();
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exported {
    peer_keys: u32,
    addresses: Vec<Kept>,
}

impl OwnKey {
    fn generate(now: UnixTime) -> Result<Self, PeerKeyError> {
        let mut seeds = Zeroizing::new([[0; 32]; 2]);
        seeds.iter_mut().try_for_each(|seed| random::fill(seed)).map_err(PeerKeyError::Random)?;
        let [signing, sealing] = &*seeds;
        Ok(Self {
            secret: SecretKey::from_random(signing),
            seal: SealSecret::from_random(sealing),
            created: now,
            status: OwnKeyStatus::Active,
            next: None,
        })
    }

    /// Returns the public halves.
    #[must_use]
    pub fn public(&self) -> Keys {
        Keys { signing: self.secret.public(), sealing: self.seal.public(), issued: self.created }
    }

    /// Whether stamps that are bound to it can be used.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        !matches!(self.status, OwnKeyStatus::Revoked { .. })
    }
}

impl Identity {
    /// Returns the key that signs.
    #[must_use]
    pub fn active(&self) -> Option<&OwnKey> {
        self.keys.last().filter(|key| key.status == OwnKeyStatus::Active)
    }

    /// Returns the key whose public half this is, if stamps that are bound to it can be used.
    #[must_use]
    pub fn usable(&self, holder: &PublicKey) -> Option<&OwnKey> {
        self.keys.iter().find(|key| key.is_usable() && key.secret.public() == *holder)
    }

    /// Returns the public halves of the keys to which stamps may be bound.
    #[must_use]
    pub fn holders(&self) -> Vec<PublicKey> {
        self.keys.iter().filter(|key| key.is_usable()).map(|key| key.secret.public()).collect()
    }

    /// Returns the address and its keys as a holder of stamps.
    #[must_use]
    pub fn holder<'a>(&'a self, keys: &'a [PublicKey]) -> Holder<'a> {
        Holder { address: &self.address, keys }
    }

    /// Returns the announcement of the active key: the same token for as long as nothing changes.
    pub fn announcement(&self) -> Result<Token, PeerKeyError> {
        let active = self.active().ok_or_else(|| PeerKeyError::Absent(self.address.clone()))?;
        let earlier = self.keys.split_last().map(|(_, earlier)| earlier).unwrap_or_default();
        // The steps that lead to it without a gap.
        let mut links: Vec<Link> = earlier
            .iter()
            .rev()
            .map_while(|key| key.next.map(|signature| Link { from: key.public(), signature }))
            .collect();
        links.reverse();
        let told = earlier.iter().rev().take(links.len().min(STEPS_MAX)).find_map(|key| match key.status {
            OwnKeyStatus::Revoked { since } => Some((since, key.secret.public())),
            OwnKeyStatus::Active | OwnKeyStatus::Retired => None,
        });
        Ok(Announcement::sign_with(&self.address, &active.public(), &links, told.unzip(), &active.secret)?)
    }

    /// Returns the key with this short name or public half.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&OwnKey> {
        self.keys.iter().find(|key| {
            let public = key.secret.public();
            key_id(&public) == name || public.to_string() == name
        })
    }

    /// Adds a key. The active one retires, and names it unless `is_linked` is false.
    fn add(&mut self, new: OwnKey, old: OwnKeyStatus, is_linked: bool) {
        if let Some(last) = self.keys.last_mut().filter(|last| last.status == OwnKeyStatus::Active) {
            let link = Link::sign(&self.address, last.public(), &new.public(), &last.secret);
            last.next = is_linked.then_some(link.signature);
            last.status = old;
        }
        self.keys.push(new);
        let over = self.keys.len().saturating_sub(KEYS_MAX);
        self.keys.drain(..over);
    }

    /// Merges the keys of another host. Of two states of a key, the later one counts.
    fn merge(&mut self, mut other: Self) -> Result<(), PeerKeyError> {
        let place = |keys: &[OwnKey], first: Option<&OwnKey>| {
            let first = first?.secret.public();
            keys.iter().position(|key| key.secret.public() == first)
        };
        // Each host may have forgotten the oldest ones.
        let (own, theirs) = (place(&self.keys, other.keys.first()), place(&other.keys, self.keys.first()));
        let start = match (own, theirs) {
            (Some(start), _) => start,
            (None, Some(start)) => {
                other.keys.drain(..start);
                0
            }
            (None, None) => return Err(PeerKeyError::Conflict(self.address.clone())),
        };
        let mut pairs = self.keys.iter().skip(start).zip(&other.keys);
        if !pairs.all(|(own, other)| own.secret.public() == other.secret.public()) {
            return Err(PeerKeyError::Conflict(self.address.clone()));
        }
        for (at, new) in other.keys.into_iter().enumerate() {
            match self.keys.get_mut(start + at) {
                None => self.keys.push(new),
                Some(own) => {
                    own.next = own.next.or(new.next);
                    own.status = match (own.status, new.status) {
                        (OwnKeyStatus::Revoked { since }, OwnKeyStatus::Revoked { since: other }) => {
                            OwnKeyStatus::Revoked { since: since.min(other) }
                        }
                        (revoked @ OwnKeyStatus::Revoked { .. }, _) | (OwnKeyStatus::Active, revoked) => revoked,
                        (_, revoked @ OwnKeyStatus::Revoked { .. }) => revoked,
                        (retired, _) => retired,
                    };
                }
            }
        }
        let over = self.keys.len().saturating_sub(KEYS_MAX);
        self.keys.drain(..over);
        Ok(())
    }

    fn to_kept(&self) -> Kept {
        let keys = self.keys.iter().map(|key| KeptKey {
            secret: key.secret.to_paserk().to_string(),
            seal: key.seal.to_text().to_string(),
            created: key.created,
            status: key.status,
            next: key.next.map(|signature| BASE64URL_NOPAD.encode(&signature)),
        });
        Kept { address: self.address.clone(), list: self.is_list, keys: keys.collect() }
    }

    /// `None` if the text is malformed, or no address could have such keys.
    fn from_kept(kept: Kept) -> Option<Self> {
        let mut keys = Vec::with_capacity(kept.keys.len());
        for key in &kept.keys {
            let next = key.next.as_ref().map(|text| BASE64URL_NOPAD.decode(text.as_bytes()).ok()?.try_into().ok());
            keys.push(OwnKey {
                secret: SecretKey::parse(&key.secret).ok()?,
                seal: SealSecret::parse(&key.seal).ok()?,
                created: key.created,
                status: key.status,
                next: next.map_or(Some(None), |next| next.map(Some))?,
            });
        }
        let active = keys.iter().filter(|key| key.status == OwnKeyStatus::Active).count();
        let identity = Self { address: kept.address, is_list: kept.list, keys };
        let last = identity.active()?;
        issuer(&identity.address, &last.secret.public())?;
        (active == 1 && identity.keys.len() <= KEYS_MAX).then_some(identity)
    }

    fn public(&self) -> Vec<PublicOwnKey> {
        self.keys.iter().map(|key| PublicOwnKey { key: key.secret.public(), status: key.status }).collect()
    }
}

impl PeerKeys {
    /// Returns the keys in the folder of the state. `wait` is how long a change waits for another process.
    #[must_use]
    pub fn new(state: &Path, wait: Duration) -> Self {
        Self { folder: own_keys::folder(state), wait }
    }

    /// Returns the file of an address's keys.
    #[must_use]
    pub fn path(&self, address: &Address) -> PathBuf {
        self.folder.join(format!("{}.json", percent_encoded(&address.canonical())))
    }

    /// Reads the keys of an address.
    ///
    /// # Errors
    /// [`PeerKeyError::Absent`] when it has none.
    pub fn get(&self, address: &Address) -> Result<Identity, PeerKeyError> {
        let path = self.path(address);
        let text = match file::read_secret(&path) {
            Err(error) if error.is_absent() => return Err(PeerKeyError::Absent(address.clone())),
            other => Zeroizing::new(other?),
        };
        let kept = serde_json::from_str(&text).ok().and_then(Identity::from_kept);
        // A file under another name would speak for another address.
        kept.filter(|identity| identity.address == *address).ok_or(PeerKeyError::Form { path })
    }

    /// Reads the keys of an address, if it has some.
    pub fn find(&self, address: &Address) -> Result<Option<Identity>, PeerKeyError> {
        match self.get(address) {
            Err(PeerKeyError::Absent(_)) => Ok(None),
            other => other.map(Some),
        }
    }

    /// Reads all keys, by address.
    pub fn list(&self) -> Result<Vec<Identity>, PeerKeyError> {
        let failed = |source| PeerKeyError::Write { path: self.folder.clone(), source };
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(failed)?,
        };
        let mut addresses = Vec::new();
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            let name = name.to_str().and_then(|name| name.strip_suffix(".json")).filter(|name| !name.starts_with('.'));
            addresses.extend(name.and_then(decoded).and_then(|text| Address::parse(&text).ok()));
        }
        addresses.sort_by_key(Address::canonical);
        addresses.iter().map(|address| self.get(address)).collect()
    }

    /// Makes the first key of an address, or of a mailing list that the user runs.
    ///
    /// # Errors
    /// [`PeerKeyError::Exists`] when it has one.
    pub fn create(&self, address: &Address, is_list: bool, now: UnixTime) -> Result<Identity, PeerKeyError> {
        self.change(|| {
            if self.find(address)?.is_some() {
                return Err(PeerKeyError::Exists(address.clone()));
            }
            let new = OwnKey::generate(now)?;
            issuer(address, &new.secret.public()).ok_or_else(|| PeerKeyError::Address(address.clone()))?;
            Ok(Identity { address: address.clone(), is_list, keys: vec![new] })
        })
    }

    /// Makes the next key of an address. The one before it names it and stays for what is bound to it. With
    /// `is_compromised` it is revoked.
    pub fn rotate(&self, address: &Address, is_compromised: bool, now: UnixTime) -> Result<Identity, PeerKeyError> {
        self.change(|| {
            let mut identity = self.get(address)?;
            let old = match is_compromised {
                true => OwnKeyStatus::Revoked { since: now },
                false => OwnKeyStatus::Retired,
            };
            identity.add(OwnKey::generate(now)?, old, true);
            Ok(identity)
        })
    }

    /// Revokes a retired key of an address, by short name or public half. A next key is made, so that correspondents hear
    /// of it in the announcements.
    ///
    /// # Errors
    /// [`PeerKeyError::Unknown`] when there is no such key, [`PeerKeyError::Active`] when it is the active one.
    pub fn revoke(&self, address: &Address, name: &str, now: UnixTime) -> Result<Identity, PeerKeyError> {
        self.change(|| {
            let mut identity = self.get(address)?;
            let key = identity.named(name).ok_or_else(|| PeerKeyError::Unknown(address.clone()))?.secret.public();
            let own = identity.keys.iter_mut().find(|own| own.secret.public() == key);
            match own.map(|own| (own.status, own)) {
                Some((OwnKeyStatus::Active, _)) => return Err(PeerKeyError::Active(address.clone())),
                Some((OwnKeyStatus::Retired, own)) => own.status = OwnKeyStatus::Revoked { since: now },
                _ => return Ok(identity),
            }
            identity.add(OwnKey::generate(now)?, OwnKeyStatus::Retired, true);
            Ok(identity)
        })
    }

    /// Writes all keys to a new file, which only the user can read. Returns the addresses.
    pub fn export(&self, to: &Path) -> Result<Vec<Address>, PeerKeyError> {
        let failed = |source| PeerKeyError::Write { path: to.to_owned(), source };
        let all = self.list()?;
        let exported = Exported { peer_keys: EXPORT, addresses: all.iter().map(Identity::to_kept).collect() };
        let mut text = Zeroizing::new(serde_json::to_string_pretty(&exported).map_err(|error| failed(error.into()))?);
        text.push('\n');
        let file = safe_open::file(to, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL);
        let mut file = file.map_err(|errno| failed(errno.into()))?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        Ok(all.into_iter().map(|identity| identity.address).collect())
    }

    /// Merges the keys of an exported file. Returns the addresses.
    ///
    /// # Errors
    /// [`PeerKeyError::Conflict`] when an address has other keys here. Nothing is changed then.
    pub fn import(&self, from: &Path) -> Result<Vec<Address>, PeerKeyError> {
        let text = Zeroizing::new(file::read_secret(from)?);
        let form = || PeerKeyError::Form { path: from.to_owned() };
        let exported: Exported = serde_json::from_str(&text).map_err(|_| form())?;
        if exported.peer_keys != EXPORT {
            return Err(form());
        }
        let new: Option<Vec<_>> = exported.addresses.into_iter().map(Identity::from_kept).collect();
        let _lock = self.lock()?;
        let mut merged = Vec::new();
        for new in new.ok_or_else(form)? {
            merged.push(match self.find(&new.address)? {
                None => new,
                Some(own) if own.is_list != new.is_list => return Err(PeerKeyError::Conflict(new.address)),
                Some(mut own) => {
                    own.merge(new)?;
                    own
                }
            });
        }
        self.publish(&merged)?;
        merged.iter().try_for_each(|identity| self.write(identity))?;
        Ok(merged.into_iter().map(|identity| identity.address).collect())
    }

    fn change(&self, make: impl FnOnce() -> Result<Identity, PeerKeyError>) -> Result<Identity, PeerKeyError> {
        let _lock = self.lock()?;
        let identity = make()?;
        self.publish(std::slice::from_ref(&identity))?;
        self.write(&identity)?;
        Ok(identity)
    }

    fn lock(&self) -> Result<File, PeerKeyError> {
        let path = self.folder.join("lock");
        let failed = |source| PeerKeyError::Write { path: path.clone(), source };
        let lock = own_keys::lock(&self.folder, self.wait).map_err(failed)?;
        lock.ok_or(PeerKeyError::Busy(self.wait.as_secs()))
    }

    fn write(&self, identity: &Identity) -> Result<(), PeerKeyError> {
        let path = self.path(&identity.address);
        let failed = |source| PeerKeyError::Write { path: path.clone(), source };
        let text = serde_json::to_string_pretty(&identity.to_kept()).map(Zeroizing::new);
        let text = text.map_err(|error| failed(error.into()))?;
        atomic_file::replace(&path, 0o600, Durability::Synced, |file| {
            file.write_all(text.as_bytes())?;
            file.write_all(b"\n")
        })
        .map_err(failed)
    }

    /// Writes the public halves of all keys, those of `new` in the place of what their files have.
    fn publish(&self, new: &[Identity]) -> Result<(), PeerKeyError> {
        let old = self.list()?;
        // The later one of an address counts.
        let all: BTreeMap<String, &Identity> =
            old.iter().chain(new).map(|own| (own.address.canonical(), own)).collect();
        let (lists, addresses): (Vec<&Identity>, _) = all.into_values().partition(|own| own.is_list);
        let mut public: OwnKeys = addresses.into_iter().map(|own| (own.address.clone(), own.public())).collect();
        lists.into_iter().for_each(|list| public.add_list(&list.address, list.public()));
        let failed = |source| PeerKeyError::Write { path: own_keys::path(&self.folder), source };
        public.write(&self.folder).map_err(failed)
    }
}

/// Decodes a name that [`percent_encoded`] made.
fn decoded(name: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((&first, more)) = rest.split_first() {
        if first == b'%' {
            let (digits, more) = more.split_first_chunk::<2>()?;
            bytes.extend(data_encoding::HEXUPPER.decode(digits).ok()?);
            rest = more;
        } else {
            bytes.push(first);
            rest = more;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests;
