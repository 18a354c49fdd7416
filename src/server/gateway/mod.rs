//! `mailstamp gateway`: the program beside a mail system that is paid for mail, and pays (mailstamp-gateway(8)).
//!
//! - [`inbound`]: takes mail of other hosts, in front of the mail system. `id_keys`: keys of the IDs in offers, and of
//!   mail that leaves.
//! - [`outbound`]: takes mail of the mail system, and sends it.
//! - `clearing`: the contact with the agency. `metrics`: numbers for Prometheus.
//!
//! The protocol is in `emstamp`, and the credits are in `bank`. The configuration is read once, at the start.

mod clearing;
mod id_keys;
pub mod inbound;
mod metrics;
pub mod outbound;

use super::diagnostics::log_stderr;
use super::http::metrics_endpoint::MetricsEndpoint;
use crate::bank::agency::AgencyError;
use crate::bank::error::BankError;
use crate::bank::handle::Bank;
use crate::config::gateway::Gateway;
use crate::config::paths::{CliOverrides, PathsError, is_setuid};
use crate::context::Context;
use clearing::Clearing;
use id_keys::IdKeys;
use inbound::Inbound;
use metrics::Metrics;
use outbound::Outbound;
use sd_notify::NotifyState;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// How long messages under way may take at shutdown. systemd waits for 90 s.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);

/// Reasons why the gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    #[error(transparent)]
    Paths(#[from] PathsError),
    /// The process runs set-id. It would spend what belongs to another user.
    #[error("mailstamp gateway must not run set-id")]
    SetId,
    #[error("no gateway is configured: write [gateway.inbound], [gateway.outbound], or both")]
    Missing,
    /// Each user has a configuration of their own, and a gateway serves all.
    #[error("gateway: the configuration has %u, %n or %d, and a gateway serves all users")]
    ByUser,
    /// The inbound half cannot be used: a setting, and why.
    #[error("gateway.inbound.{0}")]
    Inbound(String),
    #[error(transparent)]
    Bank(#[from] BankError),
    /// The bank is new, and its agency cannot be asked for the first time.
    #[error("the agency of the bank: {0}")]
    Agency(#[from] AgencyError),
    #[error("gateway.{key}: cannot listen at {at}: {source}")]
    Listen { key: &'static str, at: String, source: io::Error },
    /// Threads or signals cannot be set up.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Serves until SIGTERM or SIGINT. Messages under way are finished then.
///
/// Calls `told` once, with the addresses at which the gateway listens.
///
/// # Errors
/// [`GatewayError`] when it cannot start.
pub fn run(given: &CliOverrides, told: impl FnOnce(&str)) -> Result<(), GatewayError> {
    if is_setuid() {
        return Err(GatewayError::SetId);
    }
    // Before the sockets, so that no signal is missed.
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let context = Context::load(given, None)?;
    if context.places.by_user {
        return Err(GatewayError::ByUser);
    }
    let Some(Gateway { name, clearing, metrics: scraped, inbound, outbound }) = context.config.gateway.clone() else {
        return Err(GatewayError::Missing);
    };
    let host = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    let name = name.unwrap_or_else(host);
    let bank = Arc::new(Bank::new(context.places.state()?, context.config.wait));
    let is_known = match bank.payee() {
        Ok(payee) => Some(payee.is_some()),
        // The inbound half can do without.
        Err(BankError::Absent { .. }) if outbound.is_none() => None,
        Err(error) => return Err(error.into()),
    };
    let numbers = Arc::new(Metrics::new(Arc::clone(&bank)));
    let listen = |key, at: String| move |source| GatewayError::Listen { key, at, source };
    // Mail that leaves is marked, so that reports about it are known.
    let folder = bank.path().with_file_name("");
    let keys = outbound.as_ref().map(|_| IdKeys::open(&folder, &id_keys::ENVELOPES).map(Arc::new)).transpose()?;
    let outbound = outbound.zip(keys.as_ref()).map(|(settings, keys)| {
        let begun = Outbound::begin(&settings, &name, &bank, keys, &numbers);
        begun.map_err(listen("outbound", settings.listen.to_string()))
    });
    let outbound = outbound.transpose()?;
    if is_known == Some(false) {
        // The name of the account, which offers contain, is the agency's.
        match clearing::contact(given, clearing, &bank) {
            // The account is known, though it has too few credits for the licence.
            Err(error) if bank.payee()?.is_some() => log_stderr(&format!("clearing: {error}")),
            contacted => contacted?,
        }
    }
    let clearing = Clearing::begin(given, clearing, is_known.map(|_| &bank), &numbers)?;
    let parts = || (&numbers, clearing.due());
    let begin = |settings| Inbound::begin(&settings, &name, &context, &bank, keys.as_ref(), parts());
    let inbound = inbound.map(begin).transpose()?;
    let endpoint = scraped.map(|address| {
        let begun = MetricsEndpoint::begin(address, Arc::clone(&numbers) as Arc<_>);
        begun.map_err(listen("metrics", address.to_string()))
    });
    let endpoint = endpoint.transpose()?;
    let places = inbound.iter().map(|it| format!("inbound at {}", it.address));
    let places = places.chain(outbound.iter().map(|it| format!("outbound at {}", it.address)));
    let places = places.chain(endpoint.iter().map(|it| format!("metrics at http://{}/metrics", it.address)));
    told(&places.collect::<Vec<_>>().join(", "));
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    signals.forever().next();
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    inbound.into_iter().for_each(|it| it.end(DRAIN_TIMEOUT));
    outbound.into_iter().for_each(|it| it.end(DRAIN_TIMEOUT));
    clearing.end();
    endpoint.into_iter().for_each(MetricsEndpoint::end);
    Ok(())
}
