//! Errors of the sender's side, sorted by remedy: wait, pay, correct something, or tell the vendor.

use super::budget::LimitExceeded;
use crate::store::StoreError;

/// Reasons why no stamp is available.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SupplyError {
    /// No account exists, or none at the requested vendor.
    #[error("{0}")]
    NoAccount(String),
    /// The file of an account cannot be used: others can read it, or it is damaged.
    #[error("{0}")]
    Account(String),
    /// A spending limit of the user is reached.
    #[error(transparent)]
    Capped(#[from] LimitExceeded),
    /// The account has too few credits.
    #[error("{account}: not enough credits: {detail}")]
    Funds {
        account: String,
        /// Message of the vendor, escaped.
        detail: String,
    },
    /// The vendor refuses the API key, or the account is closed.
    #[error("{account}: the vendor refuses the API key: {detail}")]
    Key {
        account: String,
        /// Message of the vendor, escaped.
        detail: String,
    },
    /// The vendor rejects the order: a malformed recipient, or a value beyond its caps.
    #[error("{account}: the vendor refuses the order: {detail}")]
    Order {
        account: String,
        /// Message of the vendor, escaped.
        detail: String,
    },
    /// The vendor refuses the request for another reason, which time does not change.
    #[error("{account}: the vendor refuses the request: {detail}")]
    Refused {
        account: String,
        /// Message of the vendor, escaped.
        detail: String,
    },
    /// The vendor answers that it cannot do this now: a cap for one day, too many requests, an internal error.
    #[error("{account}: the vendor cannot do this now: {detail}")]
    Later {
        account: String,
        /// Message of the vendor, escaped.
        detail: String,
    },
    /// The vendor does not answer, or something in between does. The purchase is journalled, so a retry with the same
    /// reservation key costs nothing twice.
    #[error("{account}: the vendor cannot be reached now: {detail}")]
    Away {
        account: String,
        /// What happened, escaped.
        detail: String,
    },
    /// The answer is none of the vendor's API, for example the page of a proxy or of a captive portal. A purchase stays
    /// journalled, and a retry may succeed.
    #[error("{account}: cannot read the vendor's answer: {detail}")]
    Unreadable {
        account: String,
        /// What is wrong with it, escaped.
        detail: String,
    },
    /// The vendor sent something that was not ordered.
    #[error("{account}: the vendor's answer is not what was ordered: {detail}")]
    Answer { account: String, detail: String },
    /// An internal error of the wallet or the account file; a retry may succeed.
    #[error("{0}")]
    Ours(String),
}

impl SupplyError {
    /// Returns whether the order alone is the cause, so that another order of the same account may succeed.
    #[must_use]
    pub fn is_of_order(&self) -> bool {
        matches!(self, Self::Answer { .. } | Self::Unreadable { .. } | Self::Order { .. } | Self::Funds { .. })
    }

    /// Returns whether a retry may succeed without anything being corrected: exit status 75.
    #[must_use]
    pub fn passes(&self) -> bool {
        match self {
            Self::Later { .. } | Self::Away { .. } | Self::Unreadable { .. } | Self::Ours(_) => true,
            Self::Capped(capped) => capped.free.is_some(),
            _ => false,
        }
    }
}

impl From<StoreError> for SupplyError {
    fn from(error: StoreError) -> Self {
        Self::Ours(error.to_string())
    }
}
