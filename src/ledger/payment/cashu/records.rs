//! Records of payments by Cashu, in files beside the ledger: what was sent to which mint, and the proofs that came back.
//! Proofs are money, so the files are for this user alone, and each change of one is atomic and durable.
//!
//! - The folder is `cashu` in the folder of the ledger; a record has the name of its purchase and order.
//! - A record is written before anything is sent to a mint.
//! - `secret` is the key from which outputs are derived.
//! - Changes hold a lock, since commands work while the service runs.

use super::token::{Proof, Token};
use crate::accounting::hash::Hash;
use crate::accounting::money::Money;
use crate::ledger::error::LedgerError;
use crate::ledger::files::{LedgerPaths, failed};
use crate::os::atomic_file::{self, Durability};
use crate::os::{self, file_lock, random, safe_open};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use zeroize::Zeroizing;

/// State of a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// The token is sent to its mint, or will be.
    Sent,
    /// The mint has signed the outputs.
    Received,
    /// The proofs are the buyer's again.
    Refunded,
}

/// Payment of a purchase.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Address of the mint.
    pub mint: String,
    /// Unit of the amounts.
    pub unit: String,
    /// Name of the keyset of the outputs.
    pub keyset: String,
    /// Hash of the token that pays.
    pub token: Hash,
    /// Amounts of the outputs, and whether each is the price or the change.
    pub outputs: Vec<(u64, bool)>,
    /// The price.
    pub cost: Money,
    pub state: State,
    /// Proofs of the price that are not spent.
    #[serde(default)]
    pub kept: Vec<Proof>,
    /// Proofs of the change that are not spent.
    #[serde(default)]
    pub change: Vec<Proof>,
}

impl Record {
    /// Returns the name of the payment in the ledger.
    #[must_use]
    pub fn reference(&self) -> String {
        format!("cashu:{}", self.token)
    }

    /// Returns whether its mint has not said what became of it.
    #[must_use]
    pub fn is_sent(&self) -> bool {
        self.state == State::Sent
    }

    /// Makes a token of proofs of this payment; `None` if there are none.
    #[must_use]
    pub fn token_of(&self, proofs: Vec<Proof>) -> Option<Token> {
        (!proofs.is_empty()).then(|| Token { mint: self.mint.clone(), unit: Some(self.unit.clone()), proofs })
    }

    /// Returns what is the buyer's: the change, or all of it if the payment was refunded. The text says which.
    #[must_use]
    pub fn buyers(&self) -> Vec<Proof> {
        match self.state {
            State::Sent => Vec::new(),
            State::Received => self.change.clone(),
            State::Refunded => self.kept.iter().chain(&self.change).cloned().collect(),
        }
    }
}

/// The folder of the records.
#[derive(Clone, Debug)]
pub struct Records {
    folder: PathBuf,
}

impl Records {
    /// Returns the records in the folder of a ledger. Creates nothing.
    #[must_use]
    pub fn of(ledger: &Path) -> Self {
        Self { folder: ledger.join("cashu") }
    }

    fn path(&self, name: &Hash) -> PathBuf {
        self.folder.join(format!("{name}.json"))
    }

    /// Returns the key from which outputs are derived. Creates the folder and the key if they are missing.
    ///
    /// # Errors
    /// Those of the system, a folder or a file that others may read, a file that is no key, and a key that is missing
    /// although payments are recorded.
    pub fn secret(&self) -> Result<Zeroizing<[u8; 32]>, LedgerError> {
        LedgerPaths::create(&self.folder)?;
        let path = self.folder.join("secret");
        let _lock = self.lock()?;
        // What killed processes left may have proofs, too.
        atomic_file::remove_leftovers(&self.folder).map_err(|source| failed("tidy", &self.folder, source))?;
        let mut secret = Zeroizing::new([0; 32]);
        if let Some(bytes) = read(&path)? {
            let mode = std::fs::metadata(&path).map_err(|source| failed("look at", &path, source))?.mode();
            if mode & 0o077 != 0 {
                let what = format!("unsafe permissions: mode {:04o}, expected 0600; chmod 600", mode & 0o7777);
                return Err(LedgerError::Unsafe { path, what });
            }
            let wrong = || LedgerError::Unsafe { path: path.clone(), what: "not a key of 32 bytes".to_owned() };
            *secret = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| wrong())?;
            return Ok(secret);
        }
        let fail = |source| failed("write", &path, source);
        if !self.all()?.is_empty() {
            let what = "missing, although payments are recorded beside it; put it back from a copy".to_owned();
            return Err(LedgerError::Unsafe { path, what });
        }
        random::fill(secret.as_mut_slice()).map_err(fail)?;
        atomic_file::replace(&path, 0o600, Durability::Synced, |file| file.write_all(&*secret)).map_err(fail)?;
        Ok(secret)
    }

    fn lock(&self) -> Result<std::fs::File, LedgerError> {
        let path = self.folder.join("lock");
        let fail = |source| failed("lock", &path, source);
        let file = safe_open::file(&path, OFlags::RDWR | OFlags::CREATE).map_err(|errno| fail(errno.into()))?;
        file_lock::lock(&file).map_err(fail)?;
        Ok(file)
    }

    /// Returns the record of a purchase.
    pub fn load(&self, name: &Hash) -> Result<Option<Record>, LedgerError> {
        let path = self.path(name);
        let Some(bytes) = read(&path)? else { return Ok(None) };
        // The error of the parser would show a part of the file.
        let wrong = |_| LedgerError::Unsafe { path: path.clone(), what: "not a record of a payment".to_owned() };
        serde_json::from_slice(&bytes).map(Some).map_err(wrong)
    }

    /// Changes the record of a purchase, and returns the new one: `None` where there is none now. `change` is given the
    /// stored one, and returns what to store, or `None` to remove it.
    pub fn change(
        &self,
        name: &Hash,
        change: impl FnOnce(Option<Record>) -> Option<Record>,
    ) -> Result<Option<Record>, LedgerError> {
        let _lock = self.lock()?;
        let path = self.path(name);
        let changed = change(self.load(name)?);
        match &changed {
            Some(record) => {
                // A record can always be serialized as JSON.
                let bytes = Zeroizing::new(serde_json::to_vec(record).unwrap_or_default());
                atomic_file::replace(&path, 0o600, Durability::Synced, |file| file.write_all(&bytes))
            }
            None => atomic_file::remove(&path).and_then(|()| os::sync_folder(&self.folder)),
        }
        .map_err(|source| failed("write", &path, source))?;
        Ok(changed)
    }

    /// Stores the proofs that a mint gave for a record, of the price and of the change, and returns the new record.
    ///
    /// # Errors
    /// Those of the system.
    pub fn receive(
        &self,
        name: &Hash,
        record: &Record,
        (kept, change): (Vec<Proof>, Vec<Proof>),
    ) -> Result<Record, LedgerError> {
        let received = Record { state: State::Received, kept, change, ..record.clone() };
        let stored = self.change(name, |stored| match stored {
            // Another process was faster.
            Some(stored) if !stored.is_sent() => Some(stored),
            _ => Some(received.clone()),
        })?;
        Ok(stored.unwrap_or(received))
    }

    /// Returns the names of all records, and how long ago each was changed.
    pub fn all(&self) -> Result<Vec<(Hash, Duration)>, LedgerError> {
        let fail = |source| failed("list", &self.folder, source);
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(fail)?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(fail)?;
            let name = entry.file_name();
            let name = name.to_str().and_then(|name| name.strip_suffix(".json")).and_then(|name| name.parse().ok());
            let Some(name) = name else { continue };
            let changed = entry.metadata().and_then(|metadata| metadata.modified()).map_err(fail)?;
            found.push((name, changed.elapsed().unwrap_or_default()));
        }
        found.sort();
        Ok(found)
    }
}

/// Reads a file; `None` if it is missing.
fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, LedgerError> {
    let fail = |source| failed("read", path, source);
    let mut file = match safe_open::regular_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(fail)?,
    };
    let mut bytes = Zeroizing::new(Vec::new());
    file.read_to_end(&mut bytes).map_err(fail)?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn record(state: State) -> Record {
        let proof = |amount| Proof {
            amount,
            id: "00ad268c4d1f5826".into(),
            secret: "s3cret".into(),
            signature: "02".repeat(33),
            witness: None,
        };
        Record {
            mint: "https://mint.example".into(),
            unit: "sat".into(),
            keyset: "00ad268c4d1f5826".into(),
            token: Hash::of(b"token"),
            outputs: vec![(1, false), (4, true)],
            cost: "4 SAT".parse().unwrap(),
            state,
            kept: vec![proof(4)],
            change: vec![proof(1)],
        }
    }

    #[test]
    fn records_are_kept_for_this_user_alone() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::of(folder.path());
        assert!(records.all().unwrap().is_empty());
        let secret = records.secret().unwrap();
        assert_eq!(*records.secret().unwrap(), *secret);
        let name = Hash::of(b"purchase");
        assert!(records.load(&name).unwrap().is_none());
        let stored = records.change(&name, |none| none.is_none().then(|| record(State::Received))).unwrap().unwrap();
        assert_eq!(records.load(&name).unwrap().unwrap().kept, stored.kept);
        assert_eq!(records.all().unwrap()[0].0, name);
        for file in std::fs::read_dir(folder.path().join("cashu")).unwrap() {
            assert_eq!(file.unwrap().metadata().unwrap().permissions().mode() & 0o077, 0);
        }
        assert!(records.change(&name, |_| None).unwrap().is_none());
        assert!(records.all().unwrap().is_empty());
        assert!(!format!("{stored:?}").contains("s3cret"));
    }

    #[test]
    fn a_damaged_file_is_an_error_that_shows_nothing_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::of(folder.path());
        records.secret().unwrap();
        let name = Hash::of(b"purchase");
        std::fs::write(records.path(&name), r#"{"mint": 5, "kept": "s3cret"}"#).unwrap();
        let error = records.load(&name).unwrap_err().to_string();
        assert!(error.contains("not a record of a payment") && !error.contains("s3cret"), "{error}");
        let secret = folder.path().join("cashu/secret");
        std::fs::write(&secret, "short").unwrap();
        assert!(records.secret().unwrap_err().to_string().contains("not a key of 32 bytes"));
    }

    #[test]
    fn what_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::of(folder.path());
        records.secret().unwrap();
        let ours = folder.path().join("cashu");
        let set = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        for mode in [0o640, 0o620, 0o604, 0o602] {
            set(&ours.join("secret"), mode);
            let error = records.secret().unwrap_err().to_string();
            assert!(
                error.contains("cashu/secret: unsafe permissions: mode 06") && error.contains("chmod 600"),
                "{error}"
            );
        }
        set(&ours.join("secret"), 0o600);
        for mode in [0o750, 0o701, 0o770] {
            set(&ours, mode);
            let error = records.secret().unwrap_err().to_string();
            assert!(error.contains("cashu: unsafe permissions: mode 07") && error.contains("chmod 700"), "{error}");
        }
        set(&ours, 0o700);
        records.secret().unwrap();
    }

    #[test]
    fn the_buyer_gets_the_change_or_all() {
        let amounts = |state| record(state).buyers().iter().map(|proof| proof.amount).collect::<Vec<_>>();
        assert_eq!(amounts(State::Sent), Vec::<u64>::new());
        assert_eq!(amounts(State::Received), [1]);
        assert_eq!(amounts(State::Refunded), [4, 1]);
    }
}
