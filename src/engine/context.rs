//! The one place that knows which adapters there are: it reads the clock and the configuration.

use super::judge::{Engine, Ready, Rulebook};
use crate::config::paths::{Given, Places, PlacesError};
use crate::os::clock;
use crate::time::UnixTime;
use std::sync::Arc;

/// The engine with the user's configuration, at `now` if the user gives a time, else at the system's.
///
/// # Errors
/// [`PlacesError`] when the configuration cannot be used.
pub fn engine(given: &Given, now: Option<UnixTime>) -> Result<Engine, PlacesError> {
    let (config, places) = Places::read(given)?;
    let (now, pretended) = (now.unwrap_or_else(clock::now), now.is_some());
    let rulebook = Arc::new(Rulebook::default());
    Ok(Engine { config: Arc::new(config), places: Arc::new(places), now, pretended, rulebook, ready: Ready::default() })
}
