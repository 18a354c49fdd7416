//! Accounts at vendors: one file each in the state folder, with the API key in it.
//!
//! Only the user may read the file. A file that others can read is rejected, since the key in it can spend. The balance
//! of an account is at the vendor (`vendor_client.rs`).

use super::selection::Offer;
use crate::accounting::money::Price;
use crate::config::file::{self, FileError};
use crate::net::http_client::{Secret, is_allowed};
use crate::os::atomic_file::{self, Durability};
use crate::stamp::token::Issuer;
use serde::{Deserialize, Serialize};
use std::fs::DirBuilder;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use zeroize::{Zeroize, Zeroizing};

/// An account.
#[derive(Clone, Debug)]
pub struct Account {
    /// The user's name for it.
    pub name: String,
    /// The address of the vendor's service.
    pub url: String,
    /// The name of the vendor, as in stamps.
    pub vendor: String,
    /// Price of a credit when the account was added.
    pub price: Option<Price>,
    /// Its API key.
    pub key: Secret,
}

/// The accounts of one user.
#[derive(Clone, Debug)]
pub struct Accounts {
    folder: PathBuf,
}

/// Errors of accounts.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The name cannot be a file name.
    #[error(
        "{0:?} cannot be the name of an account: write up to 64 letters, digits, '-', '_' and '.', a letter or digit first"
    )]
    Name(String),
    /// The address is not that of a vendor's service.
    #[error("{0:?}: write the address of the vendor's service, https://… (http:// only on this host)")]
    Url(String),
    /// The name is not that of a vendor.
    #[error("{0:?} is not the name of a vendor: write a domain in lower case")]
    Vendor(String),
    /// The key cannot be sent in a request.
    #[error("API key is malformed: it is empty, has more than 500 characters, or is not printable ASCII")]
    Key,
    /// An account with this name exists.
    #[error("account {0:?} already exists")]
    Exists(String),
    #[error("there is no account {0:?}")]
    Absent(String),
    /// Its file cannot be read, or has unsafe permissions.
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{}: not an account file", path.display())]
    Form { path: PathBuf },
    /// Its file cannot be written or removed.
    #[error("{}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    url: String,
    vendor: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    price: Option<Price>,
    key: String,
}

impl Account {
    /// Creates an account.
    ///
    /// # Errors
    /// [`AccountError`] names the malformed part.
    pub fn new(name: &str, url: &str, vendor: &str, price: Option<Price>, key: Secret) -> Result<Self, AccountError> {
        check_name(name)?;
        check_url(url)?;
        Issuer::new(vendor, "k").map_err(|_| AccountError::Vendor(vendor.to_owned()))?;
        check_key(&key)?;
        let url = url.trim_end_matches('/').to_owned();
        Ok(Self { name: name.to_owned(), url, vendor: vendor.to_owned(), price, key })
    }

    /// Returns the data that selection needs.
    #[must_use]
    pub fn offer(&self) -> Offer {
        Offer { account: self.name.clone(), vendor: self.vendor.clone(), price: self.price }
    }
}

/// Checks that an account can have this name.
pub fn check_name(name: &str) -> Result<(), AccountError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if first && name.len() <= 64 && name.bytes().all(plain) { Ok(()) } else { Err(AccountError::Name(cut(name))) }
}

/// Checks that a request may be sent to this address.
pub fn check_url(url: &str) -> Result<(), AccountError> {
    if url.len() <= 500 && is_allowed(url) { Ok(()) } else { Err(AccountError::Url(cut(url))) }
}

/// Checks that this key can be sent in a header field.
///
/// # Errors
/// [`AccountError::Key`], which does not show the key.
pub fn check_key(key: &Secret) -> Result<(), AccountError> {
    let text = key.reveal();
    let printable = text.bytes().all(|b| b.is_ascii_graphic());
    if !text.is_empty() && text.len() <= 500 && printable { Ok(()) } else { Err(AccountError::Key) }
}

impl Accounts {
    /// Returns the accounts in the state folder.
    #[must_use]
    pub fn new(state: &Path) -> Self {
        Self { folder: state.join("accounts") }
    }

    /// Lists all accounts by name.
    ///
    /// # Errors
    /// [`AccountError`] when one of them cannot be read.
    pub fn list(&self) -> Result<Vec<Account>, AccountError> {
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(|source| AccountError::Write { path: self.folder.clone(), source })?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|source| AccountError::Write { path: self.folder.clone(), source })?;
            let name = entry.file_name();
            let name = name.to_str().and_then(|name| name.strip_suffix(".json"));
            names.extend(name.filter(|name| check_name(name).is_ok()).map(str::to_owned));
        }
        names.sort();
        names.iter().map(|name| self.get(name)).collect()
    }

    /// Reads the account with this name.
    pub fn get(&self, name: &str) -> Result<Account, AccountError> {
        check_name(name)?;
        let path = self.path(name);
        let text = match file::read_secret(&path) {
            Err(error) if error.is_absent() => return Err(AccountError::Absent(name.to_owned())),
            other => Zeroizing::new(other?),
        };
        let form = || AccountError::Form { path: path.clone() };
        let Kept { url, vendor, price, key } = serde_json::from_str(&text).map_err(|_| form())?;
        Account::new(name, &url, &vendor, price, Secret::new(key)).map_err(|_| form())
    }

    /// Stores an account durably. Replaces one of the same name if `replace` is set.
    pub fn put(&self, account: &Account, replace: bool) -> Result<(), AccountError> {
        let path = self.path(&account.name);
        if !replace && path.exists() {
            return Err(AccountError::Exists(account.name.clone()));
        }
        let mut kept = Kept {
            url: account.url.clone(),
            vendor: account.vendor.clone(),
            price: account.price,
            key: account.key.reveal().to_owned(),
        };
        let written = (|| {
            DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
            let text = Zeroizing::new(serde_json::to_string_pretty(&kept)? + "\n");
            atomic_file::replace(&path, 0o600, Durability::Synced, |file| file.write_all(text.as_bytes()))
        })();
        kept.key.zeroize();
        written.map_err(|source| AccountError::Write { path, source })
    }

    /// Removes an account.
    pub fn remove(&self, name: &str) -> Result<(), AccountError> {
        check_name(name)?;
        let path = self.path(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(AccountError::Absent(name.to_owned())),
            other => other.map_err(|source| AccountError::Write { path, source }),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.json"))
    }
}

fn cut(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn account(name: &str) -> Account {
        let key = Secret::new("msk_secret".into());
        Account::new(name, "https://v.example/", "v.example", "0.001 EUR".parse().ok(), key).unwrap()
    }

    #[test]
    fn an_account_comes_back_and_is_nobody_elses() {
        let state = tempfile::tempdir().unwrap();
        let accounts = Accounts::new(state.path());
        assert!(accounts.list().unwrap().is_empty());
        accounts.put(&account("joe"), false).unwrap();
        assert!(matches!(accounts.put(&account("joe"), false), Err(AccountError::Exists(_))));
        accounts.put(&account("joe"), true).unwrap();
        accounts.put(&account("ann"), false).unwrap();
        let list = accounts.list().unwrap();
        assert_eq!(list.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["ann", "joe"]);
        assert_eq!((list[1].url.as_str(), list[1].key.reveal()), ("https://v.example", "msk_secret"));
        assert!(!format!("{list:?}").contains("msk_secret"));
        let path = state.path().join("accounts/joe.json");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(std::fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o7777, 0o700);
        for mode in [0o640, 0o604, 0o644, 0o660] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let told = accounts.list().unwrap_err().to_string();
            assert!(told.ends_with("joe.json: others may read it; chmod 600 would close it"), "{told}");
        }
        accounts.remove("joe").unwrap();
        assert!(matches!(accounts.remove("joe"), Err(AccountError::Absent(_))));
        assert_eq!(std::fs::read_dir(state.path().join("accounts")).unwrap().count(), 1);
    }

    #[test]
    fn what_has_not_its_form_is_refused() {
        let new = |name: &str, url: &str, vendor: &str, key: &str| {
            Account::new(name, url, vendor, None, Secret::new(key.to_owned()))
        };
        assert!(new("a", "https://v.example", "v.example", "k").is_ok());
        for name in ["", "../x", ".x", "a/b", "ä", &"a".repeat(65)] {
            assert!(matches!(new(name, "https://v.example", "v.example", "k"), Err(AccountError::Name(_))), "{name}");
        }
        assert!(matches!(new("a", "http://v.example", "v.example", "k"), Err(AccountError::Url(_))));
        assert!(matches!(new("a", "https://v.example", "V example", "k"), Err(AccountError::Vendor(_))));
        for key in ["", "a b", "a\nb", "ä", &"a".repeat(501)] {
            assert!(matches!(new("a", "https://v.example", "v.example", key), Err(AccountError::Key)));
        }
    }
}
