//! Stamps that are bought, revoked and redeemed: `/v1/stamps`, `/v1/revocations`, `/v1/deposits`.

use crate::accounting::order::{Caps, Order};
use crate::accounting::redemption::StampProblem;
use serde::{Deserialize, Serialize};

/// Most serials, or stamps to redeem, in one request.
pub const MAX_STAMPS: usize = 1_000;

/// Orders for several stamps. All of them are filled, or none.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Orders {
    #[cfg_attr(test, schemars(length(min = 1)))]
    pub stamps: Vec<Order>,
}

/// Stamps that were bought.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct IssueResponse {
    /// The stamps, in the order of the orders.
    pub stamps: Vec<IssuedStamp>,
    /// Their price in credits.
    #[serde(skip_deserializing)]
    pub credits: u64,
    /// Balance of the account.
    #[serde(skip_deserializing)]
    pub balance: u64,
    /// Number of the ledger entry.
    #[serde(skip_deserializing)]
    pub entry: u64,
    /// Whether an earlier request with this idempotency key bought them, so that nothing was charged now.
    #[serde(skip_deserializing)]
    pub again: bool,
    /// Caps of the account.
    #[serde(skip_deserializing)]
    pub caps: Caps,
}

/// A stamp with the serial by which it can be revoked.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct IssuedStamp {
    #[cfg_attr(test, schemars(regex(pattern = r"^v4\.public\.")))]
    pub stamp: String,
    #[serde(skip_deserializing)]
    pub serial: String,
}

/// Serials of stamps to revoke.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object with serials")]
pub struct RevocationRequest {
    #[cfg_attr(test, schemars(length(min = 1, max = MAX_STAMPS)))]
    pub serials: Vec<String>,
}

/// Number of stamps that were revoked.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RevocationResponse {
    /// Stamps that were not revoked before.
    pub revoked: u64,
}

/// Stamps to redeem or to return.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object with stamps")]
pub struct DepositRequest {
    #[cfg_attr(test, schemars(length(min = 1, max = MAX_STAMPS)))]
    pub stamps: Vec<DepositedStamp>,
}

/// A stamp to redeem or to return.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object with a member \"stamp\"")]
pub struct DepositedStamp {
    pub stamp: String,
    /// The address that it names, if the stamp hides it and the account has proved only its domain.
    #[serde(default)]
    pub address: Option<String>,
}

/// Result for each stamp, and in total.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DepositResponse {
    /// In the order of the request.
    pub each: Vec<DepositResult>,
    /// Credits added to the account.
    pub credits: u64,
    /// Balance of the account, if credits were added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balance: Option<u64>,
    /// Signed receipt (`digital-stamp-receipt`), if credits were added.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(regex(pattern = r"^v4\.public\.")))]
    pub receipt: Option<String>,
}

/// Result for one stamp: its credits, or why it was not taken.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum DepositResult {
    Taken {
        credits: u64,
    },
    Refused {
        /// Description for people; not stable.
        detail: String,
        problem: StampProblem,
    },
}
