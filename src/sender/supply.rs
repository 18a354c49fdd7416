//! A stamp for each recipient: from what the key holds, from the purse, or bought. One request goes to each vendor, however
//! many recipients there are.

use super::error::SupplyError;
use super::purse::Purse;
use super::want::{Held, Want};
use crate::config::Config;
use crate::config::places::{Places, PlacesError};
use crate::mail::time::UnixTime;

/// The sender's side of one user.
#[derive(Debug)]
pub struct Sender {
    purse: Purse,
}

impl Sender {
    /// The sender's side with this configuration.
    ///
    /// # Errors
    /// [`PlacesError::Nowhere`] when there is no folder for the state.
    pub fn new(_config: &Config, places: &Places) -> Result<Self, PlacesError> {
        Ok(Self { purse: Purse::new(places.state()?) })
    }

    /// The purse.
    #[must_use]
    pub fn purse(&self) -> &Purse {
        &self.purse
    }

    /// A stamp for each want, in the same order: reserved for its key, durably, before this returns. What is missing is bought
    /// in one request for each vendor; all of a vendor's are sold or none. The answers are single: one vendor may be away
    /// while another sells.
    ///
    /// Say [`Purse::commit`] when the message has left and [`Purse::give_back`] when it never will; say neither when that is
    /// not known, and ask again with the same key.
    pub fn supply(&self, wants: &[Want], _now: UnixTime) -> Vec<Result<Held, SupplyError>> {
        wants.iter().map(|_| Err(SupplyError::Ours("not yet".to_owned()))).collect()
    }

    /// What [`supply`](Self::supply) finds without buying: what each key holds already, else an unused stamp of the purse,
    /// reserved for the key; `None` where there is none.
    pub fn from_purse(&self, wants: &[Want], _now: UnixTime) -> Vec<Result<Option<Held>, SupplyError>> {
        wants.iter().map(|_| Err(SupplyError::Ours("not yet".to_owned()))).collect()
    }
}
