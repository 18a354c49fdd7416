//! Engine from the system's clock and the user's configuration: the only module that knows which adapters there are.

use super::judge::{Engine, Preloaded, RuleCache};
use crate::config::paths::{CliOverrides, Paths, PathsError};
use crate::os::clock;
use crate::time::UnixTime;
use std::sync::Arc;

/// Loads the configuration and makes an engine, at `now` if given, else at the system's time.
///
/// # Errors
/// [`PathsError`] when the configuration cannot be used.
pub fn load(given: &CliOverrides, now: Option<UnixTime>) -> Result<Engine, PathsError> {
    let (config, places) = Paths::read(given)?;
    let (now, pretended) = (now.unwrap_or_else(clock::now), now.is_some());
    let rulebook = Arc::new(RuleCache::default());
    Ok(Engine {
        config: Arc::new(config),
        places: Arc::new(places),
        now,
        now_overridden: pretended,
        rulebook,
        ready: Preloaded::default(),
    })
}
