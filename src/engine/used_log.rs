//! Opening the used log: which store a user has, and with which options.

use crate::config::Config;
use crate::config::paths::{Paths, PlacesError};
use crate::store::redb::{Options, Redb};
use crate::store::resident::ResidentLog;
use crate::store::{AnswerCounters, Store, StoreError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Memory for pages of a log that stays open, in bytes.
const CACHE: usize = 8 << 20;

/// The used-serial log, with the grants beside it. It is opened and locked by the first question, until it is dropped.
///
/// # Errors
/// [`PlacesError::Nowhere`].
pub fn used_log(config: &Config, places: &Paths) -> Result<Box<dyn Store>, PlacesError> {
    let options = Options { wait: config.wait, grace: config.policy.grace(), ..Options::default() };
    Ok(Box::new(Redb::new(used_log_path(places.state()?), options)))
}

/// The used-serial log in the file `path`, opened and locked now, for a process that stays; what it does is counted.
///
/// # Errors
/// Any [`StoreError`].
pub fn resident_log(config: &Config, path: &Path, attended: Arc<AnswerCounters>) -> Result<ResidentLog, StoreError> {
    let options = Options { wait: config.wait, grace: config.policy.grace(), cache: CACHE };
    ResidentLog::counting(path, options, attended)
}

/// The file of the used-serial log in the folder `state`.
#[must_use]
pub fn used_log_path(state: &Path) -> PathBuf {
    state.join("used.redb")
}
