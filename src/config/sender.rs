//! The table `[sender]`: price and limits of the user's own stamps, and the vendors for each recipient. The accounts
//! hold secrets and are not here; `mailstamp account` manages them.

use super::ConfigError;
use super::ranges::{HOUR, Number, Seconds};
use crate::message::address::{LocalCase, Pattern};
use crate::stamp::claims::VALUE_MAX;
use serde::Deserialize;
use std::time::Duration;

/// The settings.
#[derive(Clone, Debug)]
pub struct SenderSettings {
    /// The account that is used unless another is preferred.
    pub account: Option<String>,
    /// The credits of a stamp, unless a higher price is known.
    pub value: u64,
    /// The days of validity of a stamp; the vendor's choice, if `None`.
    pub days: Option<u32>,
    /// Whether stamps name their recipients by a salted hash only.
    pub hashed: bool,
    /// The most credits in an hour.
    pub credits_per_hour: u64,
    /// The most credits in a day.
    pub credits_per_day: u64,
    /// The most credits in a day for one recipient.
    pub credits_per_recipient: u64,
    /// The timeout of one request to a vendor.
    pub timeout: Duration,
    /// The preferences of single recipients, in the order of the file.
    pub prefer: Vec<Preference>,
}

/// Preferences of some recipients.
#[derive(Clone, Debug)]
pub struct Preference {
    pub recipients: Vec<Pattern>,
    /// The vendors or accounts whose stamps they take, the best first; any, if empty.
    pub vendors: Vec<String>,
    /// Credits of a stamp.
    pub value: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SenderTable {
    account: Option<String>,
    value: Value,
    days: Option<Number<1, 366>>,
    hashed: bool,
    credits_per_hour: Credits,
    credits_per_day: Credits,
    credits_per_recipient: Credits,
    timeout: Seconds<1, HOUR>,
    prefer: Vec<PreferenceTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PreferenceTable {
    recipients: Vec<String>,
    #[serde(default)]
    vendors: Vec<String>,
    value: Option<Value>,
}

/// Credits of a stamp that is bought.
type Value = Number<1, VALUE_MAX>;
/// Limit on spending.
type Credits = Number<0, VALUE_MAX>;

impl Default for SenderTable {
    fn default() -> Self {
        Self {
            account: None,
            value: Number(1),
            days: None,
            hashed: false,
            credits_per_hour: Number(100),
            credits_per_day: Number(500),
            credits_per_recipient: Number(50),
            timeout: Seconds(30),
            prefer: Vec::new(),
        }
    }
}

impl SenderTable {
    /// Returns the settings.
    pub(super) fn settle(self, case: LocalCase) -> Result<SenderSettings, ConfigError> {
        let mut prefer = Vec::with_capacity(self.prefer.len());
        for table in self.prefer {
            let pattern = |text: &String| {
                Pattern::parse_with(text, case).map_err(|source| ConfigError::Pattern {
                    key: "sender.prefer.recipients",
                    text: text.clone(),
                    source,
                })
            };
            prefer.push(Preference {
                recipients: table.recipients.iter().map(pattern).collect::<Result<_, _>>()?,
                vendors: table.vendors,
                value: table.value.map(|value| value.0),
            });
        }
        Ok(SenderSettings {
            account: self.account,
            value: self.value.0,
            days: self.days.and_then(|days| u32::try_from(days.0).ok()),
            hashed: self.hashed,
            credits_per_hour: self.credits_per_hour.0,
            credits_per_day: self.credits_per_day.0,
            credits_per_recipient: self.credits_per_recipient.0,
            timeout: Duration::from_secs(self.timeout.0.unsigned_abs()),
            prefer,
        })
    }
}
