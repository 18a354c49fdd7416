//! The form of a directory document: vendors, their keys with status and time, their revoked serials. The same form is
//! pinned by the user as it is, or carried in a signed token. Unknown members are ignored, so that later versions may add
//! to it; what is known must be well formed.

use super::price::{Price, PriceError};
use crate::stamp::serial::Serial;
use crate::stamp::signing::PublicKey;
use crate::stamp::token::Issuer;
use crate::time::UnixTime;
use crate::verdict::facts::{KeyStatus, VendorKey};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// One vendor as a document lists him.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VendorEntry {
    /// His name, as in the stamps' `iss`.
    pub vendor: String,
    /// His keys.
    #[serde(default)]
    pub keys: Vec<KeyEntry>,
    /// Serials that he revoked.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub revoked: BTreeSet<String>,
    /// Where his stamps are to be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buy: Option<String>,
    /// What they cost there, in each currency that he takes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prices: Vec<Price>,
    /// What the directories that he signs may list: his own keys, or those of any vendor whom the user trusts. Only heeded
    /// in what the user pinned.
    #[serde(default, skip_serializing_if = "Publishes::is_own")]
    pub publishes: Publishes,
}

/// What a vendor's signed directories may list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Publishes {
    /// His own keys.
    #[default]
    Own,
    /// Those of any vendor whom the user trusts.
    Any,
}

impl Publishes {
    fn is_own(&self) -> bool {
        *self == Self::Own
    }
}

/// One key as a document lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyEntry {
    /// Its name, as in the stamps' `kid`.
    pub kid: String,
    /// The key (PASERK `k4.public.…`).
    pub key: String,
    /// What the vendor says of it.
    #[serde(default)]
    pub status: Status,
    /// With status `revoked`: since when (RFC 3339); always, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// From when on it holds (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<String>,
    /// Until when it holds (RFC 3339): the end of the last stamp signed with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<String>,
}

/// What a vendor says of one of his keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It signs stamps.
    #[default]
    Active,
    /// It signs no more; its stamps are good until they end.
    VerifyOnly,
    /// Nothing signed with it is good any more.
    Revoked,
}

/// A signed directory: the payload of a token made for `digital-stamp-directory`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedDirectory {
    /// Grows with every edition.
    pub version: u64,
    /// When it was issued (RFC 3339).
    pub issued: String,
    /// From when on it is stale (RFC 3339).
    pub expires: String,
    /// The vendors it lists.
    pub vendors: Vec<VendorEntry>,
}

/// What stands in a file of the folder `vendors/`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Document {
    /// A directory signed by a key that is pinned in another file.
    Signed {
        /// The token.
        directory: String,
        /// The same payload signed by more of its publisher's keys, for readers who know only an older one.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        also: Vec<String>,
    },
    /// What the user pinned.
    Pinned(VendorEntry),
}

/// Which of the two it is, its member `directory` tells; so what is wrong can be said in terms of that one.
impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Signed {
            directory: String,
            #[serde(default)]
            also: Vec<String>,
        }
        let object = Value::Object(Map::deserialize(deserializer)?);
        let wrong = serde::de::Error::custom;
        if object.get("directory").is_some() {
            let Signed { directory, also } = serde_json::from_value(object).map_err(wrong)?;
            Ok(Self::Signed { directory, also })
        } else {
            serde_json::from_value(object).map(Self::Pinned).map_err(wrong)
        }
    }
}

/// A document is not well formed.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Not JSON, or not of this form.
    #[error("not a directory document: {0}")]
    Form(#[from] serde_json::Error),
    /// A key that cannot be used.
    #[error("key {kid:?}: {problem}")]
    Key {
        /// The key's name.
        kid: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A time that is none.
    #[error("{0:?} is not an RFC 3339 time")]
    Time(String),
    /// A serial that is none.
    #[error("{0:?} is not a serial")]
    Serial(String),
    /// A price that is none.
    #[error(transparent)]
    Price(#[from] PriceError),
    /// Two keys of one name.
    #[error("two keys are called {0:?}")]
    Twice(String),
}

impl VendorEntry {
    /// His keys by name, read into what a judgement uses.
    ///
    /// # Errors
    /// [`DocumentError`] for a weak or malformed key, a wrong time, or two keys of one name.
    pub fn parsed_keys(&self) -> Result<BTreeMap<String, VendorKey>, DocumentError> {
        let mut keys = BTreeMap::new();
        for entry in &self.keys {
            if keys.insert(entry.kid.clone(), entry.parse()?).is_some() {
                return Err(DocumentError::Twice(entry.kid.clone()));
            }
        }
        Ok(keys)
    }

    /// Whether all of it is well formed.
    ///
    /// # Errors
    /// [`DocumentError`], for the first part that is not.
    pub fn check(&self) -> Result<(), DocumentError> {
        for kid in self.parsed_keys()?.keys() {
            let named = Issuer::new(&self.vendor, kid);
            named.map_err(|error| DocumentError::Key { kid: kid.clone(), problem: error.to_string() })?;
        }
        self.revoked_serials()?;
        for price in &self.prices {
            price.millionths()?;
        }
        Ok(())
    }

    /// His revoked serials.
    ///
    /// # Errors
    /// [`DocumentError::Serial`].
    pub fn revoked_serials(&self) -> Result<Vec<Serial>, DocumentError> {
        let serial = |text: &String| Serial::new(text.as_str()).map_err(|_| DocumentError::Serial(text.clone()));
        self.revoked.iter().map(serial).collect()
    }
}

impl KeyEntry {
    /// The key as a judgement uses it.
    ///
    /// # Errors
    /// [`DocumentError`] for a weak or malformed key, or a wrong time.
    pub fn parse(&self) -> Result<VendorKey, DocumentError> {
        let key = PublicKey::parse(&self.key)
            .map_err(|error| DocumentError::Key { kid: self.kid.clone(), problem: error.to_string() })?;
        let status = match self.status {
            Status::Active => KeyStatus::Active,
            Status::VerifyOnly => KeyStatus::VerifyOnly,
            Status::Revoked => {
                KeyStatus::Revoked { since: optional_time(self.since.as_deref())?.unwrap_or(UnixTime(i64::MIN)) }
            }
        };
        Ok(VendorKey {
            key,
            status,
            not_before: optional_time(self.not_before.as_deref())?,
            not_after: optional_time(self.not_after.as_deref())?,
        })
    }
}

/// The time in a document.
///
/// # Errors
/// [`DocumentError::Time`] when it is none.
pub fn time(text: &str) -> Result<UnixTime, DocumentError> {
    UnixTime::from_rfc3339(text).map_err(|_| DocumentError::Time(text.to_owned()))
}

fn optional_time(text: Option<&str>) -> Result<Option<UnixTime>, DocumentError> {
    text.map(time).transpose()
}
