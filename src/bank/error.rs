//! Errors of the bank. A [`Refusal`] is an answer; every other variant is a local failure.

use crate::store::{SessionError, StoreError};
use crate::time::UnixTime;
use std::path::{Path, PathBuf};

/// Reasons why the bank did not do something.
#[derive(Debug, thiserror::Error)]
pub enum BankError {
    /// The request is refused; nothing was written.
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("{}: no bank; `mailstamp bank init` creates one", path.display())]
    Absent { path: PathBuf },
    #[error("{}: already has a bank", path.display())]
    Exists { path: PathBuf },
    /// The file is not a bank, or is corrupt.
    #[error("{}: damaged, or not a bank: {what}; restore it from a backup, then run mailstamp bank accept-restored", path.display())]
    Damaged { path: PathBuf, what: String },
    /// The file is gone.
    #[error("{}: missing, though a bank was kept there; restore it from a backup, then run mailstamp bank accept-restored", path.display())]
    Missing { path: PathBuf },
    /// The file cannot be used now.
    #[error(transparent)]
    Store(StoreError),
    /// The batch that the request was in failed; a retry finds out whether it was done.
    #[error("the bank was closed after a failure; try again")]
    Left,
}

/// Reasons why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("no licence is in force: run mailstamp bank license")]
    NoLicense,
    /// No licence has the credits.
    #[error("{wanted} credits are asked, and a licence has {has} left: run mailstamp bank license")]
    Funds { wanted: u64, has: u64 },
    /// More is to be redeemed than is held.
    #[error("{wanted} credits are to be redeemed, and {has} are held at the agency")]
    Held { wanted: u64, has: u64 },
    /// The limit of a day.
    #[error("{wanted} credits are asked, and {left} are left for this day")]
    Day { wanted: u64, left: u64 },
    /// The agency will never pay this payment, since it was declared void.
    #[error("payment is void: it was not cleared in time, and the agency pays it no more")]
    Void,
    /// The payment is unknown, or not open.
    #[error("payment is not reserved")]
    NotReserved,
    /// The ID has ended, or ends too late.
    #[error("ID ends at {until}, and it is {now}")]
    Ended { until: UnixTime, now: UnixTime },
    /// The token cannot be made.
    #[error("token cannot be made: {0}")]
    Token(String),
    /// The agency's answer does not answer the request; nothing was booked.
    #[error("answer of the agency: {0}")]
    Answer(String),
    /// The ID is unknown, or not pending.
    #[error("ID {0:?} is not pending")]
    NotPending(String),
}

impl BankError {
    /// Replaces what the errors of a store say of a used log.
    pub(super) fn of_store(error: StoreError) -> Self {
        match error {
            StoreError::Damaged { path, what } => Self::Damaged { path, what },
            StoreError::Missing { path, .. } => Self::Missing { path },
            other => Self::Store(other),
        }
    }

    pub(super) fn of_session(error: SessionError, path: &Path) -> Self {
        Self::of_store(error.at(path))
    }
}

impl From<StoreError> for BankError {
    fn from(error: StoreError) -> Self {
        Self::of_store(error)
    }
}
