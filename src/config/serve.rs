//! The table `[serve]`: settings of the daemon.

use super::ConfigError;
use super::ranges::{HOUR, Number, Seconds};
use serde::Deserialize;
use std::net::SocketAddr;
use std::time::Duration;

/// Settings of `mailstamp serve`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serve {
    /// The most concurrent connections.
    pub connections: usize,
    /// How often expired serials are removed; `None` is never.
    pub purge: Option<Duration>,
    /// How often the vendors' directories are fetched; `None` is never.
    pub refresh: Option<Duration>,
    /// Whether the mail folders of `[watch]` are watched.
    pub watch: bool,
    /// The address of the metrics for Prometheus, on this machine only; `None` switches them off.
    pub metrics: Option<SocketAddr>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ServeTable {
    connections: Number<1, 65_536>,
    purge: Seconds,
    refresh: Seconds,
    watch: bool,
    metrics: Option<SocketAddr>,
}

impl Default for ServeTable {
    fn default() -> Self {
        Self { connections: Number(256), purge: Seconds(HOUR), refresh: Seconds(6 * HOUR), watch: true, metrics: None }
    }
}

impl Default for Serve {
    /// Returns the settings of an empty table.
    fn default() -> Self {
        ServeTable::default().settings()
    }
}

/// Returns the interval; 0 seconds is never.
fn every(seconds: Seconds) -> Option<Duration> {
    (seconds.0 > 0).then(|| Duration::from_secs(seconds.0.unsigned_abs()))
}

impl ServeTable {
    pub(super) fn settle(self) -> Result<Serve, ConfigError> {
        if self.metrics.is_some_and(|address| !address.ip().is_loopback()) {
            return Err(ConfigError::Serve("metrics: write an address of this machine, as 127.0.0.1:9465"));
        }
        Ok(self.settings())
    }

    fn settings(self) -> Serve {
        Serve {
            connections: usize::try_from(self.connections.0).unwrap_or(usize::MAX),
            purge: every(self.purge),
            refresh: every(self.refresh),
            watch: self.watch,
            metrics: self.metrics,
        }
    }
}
