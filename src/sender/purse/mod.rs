//! The purse: stamps bought and not yet used, what they are reserved for, and the journal of purchases, in one redb file
//! that processes take in turns.

use super::want::{Held, ReservationKey};
use crate::mail::time::UnixTime;
use crate::store::StoreError;
use std::path::{Path, PathBuf};

/// The purse.
#[derive(Debug)]
pub struct Purse {
    path: PathBuf,
}

impl Purse {
    /// The purse in the folder of the state. Nothing is opened yet.
    #[must_use]
    pub fn new(state: &Path) -> Self {
        Self { path: state.join("purse.redb") }
    }

    /// What the key holds: reserved for it, or used by it.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub fn held(&self, _key: &ReservationKey) -> Result<Option<Held>, StoreError> {
        Err(self.unfinished())
    }

    /// The message of this key has left: its stamp is used. To say it twice changes nothing; `false` if the key holds
    /// nothing.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub fn commit(&self, _key: &ReservationKey, _now: UnixTime) -> Result<bool, StoreError> {
        Err(self.unfinished())
    }

    /// The message of this key will never leave: its stamp may be had by others. A used stamp stays used; `false` if
    /// nothing was given back.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub fn give_back(&self, _key: &ReservationKey) -> Result<bool, StoreError> {
        Err(self.unfinished())
    }

    fn unfinished(&self) -> StoreError {
        StoreError::Damaged { path: self.path.clone(), what: "not yet".to_owned() }
    }
}
