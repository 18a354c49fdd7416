//! Opening the used log: which store a user has, and with which options.

use crate::config::Config;
use crate::config::paths::{Paths, PathsError};
use crate::store::redb::{Options, Redb};
use crate::store::resident::ResidentLog;
use crate::store::{AnswerCounters, Store, StoreError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Page cache of a log that stays open, in bytes.
const CACHE: usize = 8 << 20;

/// Returns the used log, with the grants beside it.
/// The first request opens and locks it, until it is dropped.
pub fn used_log(config: &Config, places: &Paths) -> Result<Box<dyn Store>, PathsError> {
    let options = Options { wait: config.wait, grace: config.policy.grace(), ..Options::default() };
    Ok(Box::new(Redb::new(used_log_path(places.state()?), options)))
}

/// Opens and locks the used log in the file `path`, for the daemon.
/// Answers are counted in `attended`.
///
/// # Errors
/// Any [`StoreError`].
pub fn resident_log(config: &Config, path: &Path, attended: Arc<AnswerCounters>) -> Result<ResidentLog, StoreError> {
    let options = Options { wait: config.wait, grace: config.policy.grace(), cache: CACHE };
    ResidentLog::counting(path, options, attended)
}

/// Returns the file of the used log in the folder `state`.
#[must_use]
pub fn used_log_path(state: &Path) -> PathBuf {
    state.join("used.redb")
}
