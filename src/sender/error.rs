//! What can go wrong on the sender's side, sorted by what helps: wait, pay, correct something, or tell the vendor.

use super::budget::LimitExceeded;
use crate::store::StoreError;

/// Why there is no stamp.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SupplyError {
    /// There is no account, or none at the vendor that is wanted.
    #[error("{0}")]
    NoAccount(String),
    /// The file of an account cannot be used: it is open to others, or damaged.
    #[error("{0}")]
    Account(String),
    /// A cap of the user's own is met.
    #[error(transparent)]
    Capped(#[from] LimitExceeded),
    /// The vendor says that the account has too few credits.
    #[error("{account}: not enough credits: {detail}")]
    Funds {
        /// The account.
        account: String,
        /// The vendor's words, made harmless.
        detail: String,
    },
    /// The vendor refuses the API key, or the account is closed.
    #[error("{account}: the vendor refuses the API key: {detail}")]
    Key {
        /// The account.
        account: String,
        /// The vendor's words, made harmless.
        detail: String,
    },
    /// The vendor refuses the order: a recipient without the right form, a value beyond his caps.
    #[error("{account}: the vendor refuses the order: {detail}")]
    Order {
        /// The account.
        account: String,
        /// The vendor's words, made harmless.
        detail: String,
    },
    /// No answer, or trouble of the vendor's own. What was ordered is journalled: to ask again with the same reservation
    /// key costs nothing twice.
    #[error("{account}: the vendor cannot be reached now: {detail}")]
    Away {
        /// The account.
        account: String,
        /// What was seen, made harmless.
        detail: String,
    },
    /// The vendor sent what was not ordered.
    #[error("{account}: the vendor's answer is not what was ordered: {detail}")]
    Answer {
        /// The account.
        account: String,
        /// What is wrong.
        detail: String,
    },
    /// Trouble of our own: the wallet, the account's file. Try again.
    #[error("{0}")]
    Ours(String),
}

impl SupplyError {
    /// Whether it may go well later without anybody doing anything: status 75.
    #[must_use]
    pub fn passes(&self) -> bool {
        match self {
            Self::Away { .. } | Self::Ours(_) => true,
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
