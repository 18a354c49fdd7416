//! Account of a buyer: `/v1/account`, `/v1/history`, `/v1/keys`, `/v1/addresses`, `/v1/vouchers`.

use crate::accounting::order::Caps;
use serde::{Deserialize, Serialize};

/// State of an account.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AccountStatus {
    #[serde(skip_deserializing)]
    pub number: u64,
    /// Its name at the vendor.
    pub name: String,
    /// Credits that are left.
    pub balance: u64,
    /// Credits spent since midnight, UTC.
    pub spent_today: u64,
    pub caps: Caps,
    /// Addresses and domains that it has proved to own.
    #[serde(skip_deserializing)]
    pub owns: Vec<String>,
}

/// Query of a part of the history.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HistoryQuery {
    /// Entries with numbers below this.
    pub before: Option<u64>,
    /// Most entries to return.
    #[cfg_attr(test, schemars(range(min = 1, max = HistoryQuery::MAX)))]
    pub most: Option<u32>,
}

impl HistoryQuery {
    /// Most entries in one answer.
    pub const MAX: u32 = 100;
}

/// Part of the history, newest entry first.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct History {
    /// `before` of the next part; null at the end.
    pub before: Option<u64>,
    pub entries: Vec<HistoryEntry>,
}

/// Entry of the ledger that concerns the account.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HistoryEntry {
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub at: String,
    /// Credits added; negative when removed.
    pub credits: i64,
    /// Number of the entry.
    pub entry: u64,
    pub event: HistoryEvent,
    /// Stamps that were bought, redeemed or returned, or tokens that were cleared.
    pub stamps: u64,
}

/// Event of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum HistoryEvent {
    Bought,
    Credited,
    Voucher,
    Deposited,
    PaidOut,
    Opened,
    Closed,
    /// An API key was made.
    KeyMade,
    /// An API key was revoked.
    KeyRevoked,
    /// An address or a domain was proved.
    Owned,
    /// An address or a domain was removed, or proved by another account.
    Disowned,
    /// The vendor changed the contact or the limits.
    Changed,
    /// A meter may sign for credits, which are locked.
    Licensed,
    /// A licence was revoked.
    LicenseEnded,
    /// A licence was closed, and its rest returned.
    LicenseClosed,
    /// Tokens of meters were cleared.
    Cleared,
    /// The bank was restored from a copy.
    BankRestored,
    Other,
}

/// API keys of the account, without the keys themselves.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ApiKeys {
    pub keys: Vec<ApiKeyInfo>,
}

/// An API key, without the key itself.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ApiKeyInfo {
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub created: String,
    pub id: String,
    pub label: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub revoked: Option<String>,
}

/// Label of a new API key.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object with a label")]
pub struct NewApiKeyRequest {
    #[cfg_attr(test, schemars(length(min = 1, max = 64)))]
    pub label: String,
}

/// A new API key.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NewApiKey {
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub created: String,
    pub id: String,
    /// The key. No other answer contains it.
    #[cfg_attr(test, schemars(regex(pattern = "^msk_[A-Za-z0-9_-]{43}$")))]
    pub key: String,
    pub label: String,
}

/// An address or a domain to which a code is to be mailed.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object with an address")]
pub struct CodeRequest {
    /// An address, or a domain, whose postmaster gets the code.
    pub address: String,
}

/// The address to which a code was mailed.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CodeSent {
    pub address: String,
    pub sent: bool,
}

/// An address or a domain, and the code that was mailed to it.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object with an address and a code")]
pub struct CodeConfirmation {
    pub address: String,
    pub code: String,
}

/// Addresses and domains that the account has proved to own.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Ownership {
    pub owns: Vec<String>,
}

/// The code of a voucher.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object with a code")]
pub struct VoucherRequest {
    pub code: String,
}

/// Credits that a voucher added.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct VoucherResponse {
    /// Balance of the account.
    pub balance: u64,
    /// Credits added to the account.
    pub credits: u64,
    /// Number of the ledger entry.
    pub entry: u64,
}
