//! The one place that knows which adapters there are: it reads the clock and the configuration, and opens the store.

use super::judge::{Engine, Ready};
use super::rule_eval::Rulebook;
use crate::config::Config;
use crate::config::paths::{Given, Places, PlacesError};
use crate::store::redb::{Options, Redb};
use crate::store::resident::Resident;
use crate::store::{Attended, Store, StoreError};
use crate::time::UnixTime;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Memory for pages of a log that stays open, in bytes.
const CACHE: usize = 8 << 20;

/// The engine with the user's configuration, at `now` if the user gives a time, else at the system's.
///
/// # Errors
/// [`PlacesError`] when the configuration cannot be used.
pub fn engine(given: &Given, now: Option<UnixTime>) -> Result<Engine, PlacesError> {
    let (config, places) = Places::read(given)?;
    let (now, pretended) = (now.unwrap_or_else(clock), now.is_some());
    let rulebook = Arc::new(Rulebook::default());
    Ok(Engine { config: Arc::new(config), places: Arc::new(places), now, pretended, rulebook, ready: Ready::default() })
}

/// The used-serial log, with the grants beside it. It is opened and locked by the first question, until it is dropped.
///
/// # Errors
/// [`PlacesError::Nowhere`].
pub fn used_log(config: &Config, places: &Places) -> Result<Box<dyn Store>, PlacesError> {
    let options = Options { wait: config.wait, grace: config.policy.grace(), ..Options::default() };
    Ok(Box::new(Redb::new(used_log_path(places.state()?), options)))
}

/// The used-serial log in the file `path`, opened and locked now, for a process that stays; what it does is counted.
///
/// # Errors
/// Any [`StoreError`].
pub fn resident_log(config: &Config, path: &Path, attended: Arc<Attended>) -> Result<Resident, StoreError> {
    let options = Options { wait: config.wait, grace: config.policy.grace(), cache: CACHE };
    Resident::counting(path, options, attended)
}

/// The file of the used-serial log in the folder `state`.
#[must_use]
pub fn used_log_path(state: &Path) -> PathBuf {
    state.join("used.redb")
}

/// The system's clock. One that reads less than 1970 reads as 1970, which is refused where time matters.
#[must_use]
pub fn clock() -> UnixTime {
    UnixTime(i64::try_from(since_1970().as_secs()).unwrap_or(i64::MAX))
}

/// The same, as exactly as the system has it.
#[must_use]
pub fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
