//! Format of a directory document: vendors, their keys with status and time, their revoked serials. The user pins such
//! a document as it is, or a signed token contains it.
//!
//! Unknown members are ignored, so that later versions may add some. Known members must be well formed.

use crate::accounting::hash::Hash;
use crate::accounting::money::Price;
use crate::emstamp::token::Meter;
use crate::stamp::serial::Serial;
use crate::stamp::signing::PublicKey;
use crate::stamp::strict_json;
use crate::stamp::token::{Issuer, IssuerError};
use crate::time::UnixTime;
use crate::verdict::facts::{KeyStatus, VendorKey};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Most meters that one vendor lists. With this many, a directory has space for some thousand revoked serials.
pub const METERS_MAX: usize = 4_096;

/// Longest key of a public log, in bytes.
const VKEY_MAX: usize = 512;
/// Longest checkpoint in a document, in bytes: it has space for the cosignatures of some twenty witnesses.
pub const CHECKPOINT_MAX: usize = 4_096;

/// One vendor in a document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VendorEntry {
    /// The vendor's name, as in the stamps' `iss`.
    pub vendor: String,
    /// The vendor's keys.
    #[serde(default)]
    pub keys: Vec<KeyEntry>,
    /// Revoked serials.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub revoked: BTreeSet<String>,
    /// Address at which stamps are sold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buy: Option<String>,
    /// Prices there, one for each currency.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "prices")]
    pub prices: Vec<Price>,
    /// Meters that the vendor licensed, as an agency (mailstamp-emstamp(5)). They never sign stamps, so they are no
    /// `keys`. Only effective in a directory that the vendor itself signed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub meters: Vec<MeterEntry>,
    /// The vendor's public log (mailstamp-log(5)). Only effective in a directory that the vendor itself signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<Box<LogEntry>>,
    /// Which vendors' keys the directories of this vendor may list. Only effective in a document that the user pinned.
    #[serde(default, skip_serializing_if = "Publishes::is_own")]
    pub publishes: Publishes,
}

/// Which keys a vendor's signed directories may list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Publishes {
    /// The vendor's own keys.
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
    /// Its status.
    #[serde(default)]
    pub status: Status,
    /// With status `revoked`: start of the revocation (RFC 3339); all signatures, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Start of its validity (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<String>,
    /// End of its validity (RFC 3339): the end of the last stamp signed with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<String>,
}

/// One licence of a meter, as a document lists it. A revoked one is no longer listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeterEntry {
    /// Its name, as in the tokens' `kid`.
    pub kid: String,
    /// The meter's key (PASERK `k4.public.…`).
    pub key: String,
    /// Credits for which the meter may sign.
    pub limit: u64,
    /// Its last second (RFC 3339).
    pub not_after: String,
}

/// The public log of a vendor, as a document lists it. Its parts are parsed where the log is checked
/// (`transparency`), never on the path of mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntry {
    /// The key that signs the log's checkpoints.
    pub vkey: String,
    /// The last checkpoint: a signed note with its lines.
    pub checkpoint: String,
}

/// Status of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It signs stamps.
    #[default]
    Active,
    /// No longer signing; its stamps are valid until they expire.
    VerifyOnly,
    /// Nothing signed with it is valid.
    Revoked,
}

/// A signed directory: the payload of a token made for `digital-stamp-directory`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedDirectory {
    /// Version, which grows with every publication.
    pub version: u64,
    /// Time of issue (RFC 3339).
    pub issued: String,
    /// Time after which it is stale (RFC 3339).
    pub expires: String,
    /// The edition before it; none for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<PreviousEdition>,
    /// The vendors it lists.
    pub vendors: Vec<VendorEntry>,
}

/// The edition before another, as that one names it: so editions are a chain, and a rewritten one is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviousEdition {
    pub version: u64,
    /// SHA-256 over its payload.
    pub hash: Hash,
}

/// Content of a file of the folder `vendors/`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Document {
    /// A directory signed by a key that is pinned in another file.
    Signed {
        /// The token.
        directory: String,
        /// The same payload signed by more of the publisher's keys, for readers who know only an older one.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        also: Vec<String>,
    },
    /// A document that the user pinned.
    Pinned(VendorEntry),
}

/// The member `directory` decides which of the two it is, so that an error can refer to that one.
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
    /// Not JSON, or not of this form. The text may quote the document, with its control characters escaped.
    #[error("not a directory document: {0}")]
    Form(String),
    /// A vendor with an impossible name.
    #[error("{0:?} is {problem}", problem = IssuerError::Vendor)]
    Vendor(String),
    /// An address of sale with characters that no address has.
    #[error("{0:?} is not the address of a shop")]
    Buy(String),
    /// A key that cannot be used.
    #[error("key {kid:?}: {problem}")]
    Key {
        /// The key's name.
        kid: String,
        /// What is wrong with it.
        problem: String,
    },
    #[error("{0:?} is not an RFC 3339 time")]
    Time(String),
    /// A malformed serial.
    #[error("{0:?} is not a serial")]
    Serial(String),
    #[error("two keys are named {0:?}")]
    Twice(String),
    /// Two meters of one name, or a meter with the name of a key.
    #[error("meter {0:?} has the name of another meter or key")]
    MeterTwice(String),
    #[error("{0} meters, and at most {METERS_MAX} may be listed")]
    Meters(usize),
    #[error("the key or the checkpoint of the public log is too long, or has control characters")]
    Log,
}

impl From<serde_json::Error> for DocumentError {
    fn from(error: serde_json::Error) -> Self {
        Self::Form(
            strict_json::problem(&error).chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect(),
        )
    }
}

/// Prices in the format of documents: `{"amount": "1.00", "currency": "EUR", "credits": 1000}`.
mod prices {
    use crate::accounting::money::{Currency, Money, Price};
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize, Serialize)]
    struct Fields {
        amount: String,
        currency: String,
        #[serde(default = "one")]
        credits: u64,
    }

    fn one() -> u64 {
        1
    }

    pub(super) fn serialize<S: Serializer>(prices: &[Price], serializer: S) -> Result<S::Ok, S::Error> {
        let fields = prices.iter().map(|price| {
            let (sum, credits) = price.parts();
            Fields { amount: sum.amount(), currency: sum.currency.to_string(), credits }
        });
        serializer.collect_seq(fields)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Price>, D::Error> {
        let read = |Fields { amount, currency, credits }| {
            let (whole, decimals) = amount.split_once('.').unwrap_or((&amount, "0"));
            let digits =
                |text: &str, most| (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
            if !digits(whole, 12) || !digits(decimals, 6) {
                return Err(Error::custom("an amount is 1 to 12 digits, and after a point 1 to 6 more"));
            }
            let currency: Currency = currency.parse().map_err(Error::custom)?;
            let sum: Money = format!("{amount} {currency}").parse().map_err(Error::custom)?;
            Price::new(sum, credits).map_err(Error::custom)
        };
        Vec::<Fields>::deserialize(deserializer)?.into_iter().map(read).collect()
    }
}

impl VendorEntry {
    /// Parses the vendor's keys by name, for a judgement. Every entry passes through here before it counts or is shown.
    ///
    /// # Errors
    /// [`DocumentError`] for a malformed name of the vendor or of a key, a weak or malformed key, a malformed time, or
    /// two keys with the same name.
    pub fn parsed_keys(&self) -> Result<BTreeMap<String, VendorKey>, DocumentError> {
        let malformed = |_| DocumentError::Vendor(self.vendor.clone());
        // An entry without keys has a name too.
        Issuer::new(&self.vendor, "any").map_err(malformed)?;
        let mut keys = BTreeMap::new();
        for entry in &self.keys {
            Issuer::new(&self.vendor, &entry.kid)
                .map_err(|error| DocumentError::Key { kid: entry.kid.clone(), problem: error.to_string() })?;
            if keys.insert(entry.kid.clone(), entry.parse()?).is_some() {
                return Err(DocumentError::Twice(entry.kid.clone()));
            }
        }
        Ok(keys)
    }

    /// Parses the meters by the names of their licences.
    ///
    /// # Errors
    /// [`DocumentError`] for too many, a malformed name, key or time, or a name that occurs twice, also among the keys.
    pub fn parsed_meters(&self) -> Result<BTreeMap<String, Meter>, DocumentError> {
        if self.meters.len() > METERS_MAX {
            return Err(DocumentError::Meters(self.meters.len()));
        }
        let mut meters = BTreeMap::new();
        for entry in &self.meters {
            Issuer::new(&self.vendor, &entry.kid)
                .map_err(|error| DocumentError::Key { kid: entry.kid.clone(), problem: error.to_string() })?;
            let is_key = self.keys.iter().any(|key| key.kid == entry.kid);
            if meters.insert(entry.kid.clone(), entry.parse()?).is_some() || is_key {
                return Err(DocumentError::MeterTwice(entry.kid.clone()));
            }
        }
        Ok(meters)
    }

    /// Checks that the whole entry is well formed.
    ///
    /// # Errors
    /// [`DocumentError`] for the first malformed part.
    pub fn check(&self) -> Result<(), DocumentError> {
        self.parsed_keys()?;
        self.parsed_meters()?;
        self.revoked_serials()?;
        if let Some(LogEntry { vkey, checkpoint }) = self.log.as_deref() {
            let odd = |letter: char| letter.is_control() && letter != '\n';
            if vkey.len() > VKEY_MAX || vkey.contains(char::is_control) {
                return Err(DocumentError::Log);
            }
            if checkpoint.len() > CHECKPOINT_MAX || checkpoint.contains(odd) {
                return Err(DocumentError::Log);
            }
        }
        let odd = |letter: char| letter.is_control() || letter.is_whitespace();
        match &self.buy {
            Some(buy) if buy.contains(odd) => Err(DocumentError::Buy(buy.clone())),
            _ => Ok(()),
        }
    }

    /// Parses the revoked serials.
    pub fn revoked_serials(&self) -> Result<Vec<Serial>, DocumentError> {
        let serial = |text: &String| Serial::new(text.as_str()).map_err(|_| DocumentError::Serial(text.clone()));
        self.revoked.iter().map(serial).collect()
    }
}

impl KeyEntry {
    /// Parses the key for a judgement.
    ///
    /// # Errors
    /// [`DocumentError`] for a weak or malformed key, or a malformed time.
    pub fn parse(&self) -> Result<VendorKey, DocumentError> {
        let key = PublicKey::parse(&self.key)
            .map_err(|error| DocumentError::Key { kid: self.kid.clone(), problem: error.to_string() })?;
        let since = optional_time(self.since.as_deref())?;
        let status = match self.status {
            Status::Active => KeyStatus::Active,
            Status::VerifyOnly => KeyStatus::VerifyOnly,
            Status::Revoked => KeyStatus::Revoked { since: since.unwrap_or(UnixTime(i64::MIN)) },
        };
        Ok(VendorKey {
            key,
            status,
            not_before: optional_time(self.not_before.as_deref())?,
            not_after: optional_time(self.not_after.as_deref())?,
        })
    }
}

impl MeterEntry {
    /// Parses the licence for a payment.
    ///
    /// # Errors
    /// [`DocumentError`] for a weak or malformed key, or a malformed time.
    pub fn parse(&self) -> Result<Meter, DocumentError> {
        let key = PublicKey::parse(&self.key)
            .map_err(|error| DocumentError::Key { kid: self.kid.clone(), problem: error.to_string() })?;
        Ok(Meter { key, limit: self.limit, not_after: time(&self.not_after)? })
    }
}

/// Parses a time of a document.
///
/// # Errors
/// [`DocumentError::Time`] when it is malformed.
pub fn time(text: &str) -> Result<UnixTime, DocumentError> {
    UnixTime::from_rfc3339(text).map_err(|_| DocumentError::Time(text.to_owned()))
}

fn optional_time(text: Option<&str>) -> Result<Option<UnixTime>, DocumentError> {
    text.map(time).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::signing::SecretKey;

    fn metered(meters: &[(&str, &str)]) -> VendorEntry {
        let key = SecretKey::from_random(&[1; 32]).public().to_string();
        let meter = |(kid, not_after): &(&str, &str)| MeterEntry {
            kid: (*kid).to_owned(),
            key: key.clone(),
            limit: 5,
            not_after: (*not_after).to_owned(),
        };
        let stamps = KeyEntry {
            kid: "k".to_owned(),
            key: key.clone(),
            status: Status::Active,
            since: None,
            not_before: None,
            not_after: None,
        };
        let meters = meters.iter().map(meter).collect();
        VendorEntry { vendor: "v.example".to_owned(), keys: vec![stamps], meters, ..VendorEntry::default() }
    }

    #[test]
    fn a_log_is_text_of_a_bounded_length() {
        let with = |vkey: &str, checkpoint: &str| VendorEntry {
            log: Some(Box::new(LogEntry { vkey: vkey.to_owned(), checkpoint: checkpoint.to_owned() })),
            ..metered(&[])
        };
        with("v+1+a", "v\n1\nroot\n\n\u{2014} v AAAA\n").check().unwrap();
        for (vkey, checkpoint) in
            [("v\n", ""), ("v", "a\r\n"), ("v", "\0"), (&"v".repeat(513), ""), ("v", &"a".repeat(4_097))]
        {
            assert!(matches!(with(vkey, checkpoint).check(), Err(DocumentError::Log)));
        }
    }

    #[test]
    fn meters_are_listed_apart_from_keys() {
        const END: &str = "2026-12-01T12:00:00Z";
        let entry = metered(&[("m1", END), ("m2", END)]);
        entry.check().unwrap();
        let meters = entry.parsed_meters().unwrap();
        assert_eq!(meters["m2"], Meter { limit: 5, not_after: UnixTime(1_796_126_400), key: meters["m1"].key });
        assert_eq!(entry.parsed_keys().unwrap().into_keys().collect::<Vec<_>>(), ["k"]);
        let text = serde_json::to_string(&entry).unwrap();
        assert_eq!(serde_json::from_str::<VendorEntry>(&text).unwrap(), entry);
        assert!(!serde_json::to_string(&metered(&[])).unwrap().contains("meters"));
        for bad in [&[("m1", END), ("m1", END)][..], &[("k", END)], &[("m/1", END)], &[("m1", "2026")], &[("", END)]] {
            assert!(metered(bad).check().is_err(), "{bad:?}");
        }
        let weak = "k4.public.AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let mut weakened = entry.clone();
        weakened.meters[1].key = weak.to_owned();
        assert!(matches!(weakened.check(), Err(DocumentError::Key { .. })));
        let names: Vec<String> = (0..=METERS_MAX).map(|at| format!("m{at}")).collect();
        let all: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), END)).collect();
        assert!(metered(&all[1..]).check().is_ok());
        assert!(matches!(metered(&all).check(), Err(DocumentError::Meters(4_097))));
    }

    /// mailstamp-directory(5).
    #[test]
    fn an_amount_has_up_to_twelve_digits_and_no_currency() {
        let read = |amount: &str, currency: &str| {
            let prices = serde_json::json!([{ "amount": amount, "currency": currency }]);
            let entry = serde_json::json!({ "vendor": "v.example", "keys": [], "prices": prices });
            serde_json::from_value::<VendorEntry>(entry).map(|entry| serde_json::to_value(entry).unwrap())
        };
        for (amount, written) in [("1", "1.00"), ("0.000001", "0.000001"), ("999999999999.5", "999999999999.50")] {
            assert_eq!(read(amount, "EUR").unwrap()["prices"][0]["amount"], written, "{amount}");
        }
        for (amount, currency) in [
            ("1000000000000", "EUR"),
            ("1 EUR", ""),
            ("1", " EUR"),
            ("1", "eur"),
            (" 1", "EUR"),
            ("1.", "EUR"),
            (".5", "EUR"),
            ("-1", "EUR"),
            ("1.0000001", "EUR"),
            ("", "EUR"),
        ] {
            assert!(read(amount, currency).is_err(), "{amount:?} {currency:?}");
        }
    }
}
