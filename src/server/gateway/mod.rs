//! `mailstamp gateway`: the program beside a mail system that is paid for mail, and pays for mail (mailstamp-gateway(8)).
//!
//! - [`inbound`]: takes mail of other hosts, in front of the mail system.
//! - [`outbound`]: takes mail of the mail system, and sends it.
//! - `id_keys`: keys of the IDs in offers.
//!
//! The protocol is in `emstamp`, and the credits are in `bank`. The configuration is read once, at the start.

mod id_keys;
pub mod inbound;
pub mod outbound;

use crate::bank::error::BankError;
use crate::bank::handle::Bank;
use crate::config::gateway::Gateway;
use crate::config::paths::{CliOverrides, PathsError, is_setuid};
use crate::context::Context;
use inbound::Inbound;
use outbound::Outbound;
use sd_notify::NotifyState;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

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
    #[error("no gateway is configured: write [gateway.inbound] or [gateway.outbound]")]
    Missing,
    /// Each user has a configuration of their own, and a gateway serves all.
    #[error("gateway: the configuration has %u, %n or %d, and a gateway serves all users")]
    ByUser,
    /// The inbound half cannot be used: a setting, and why.
    #[error("gateway.inbound.{0}")]
    Inbound(String),
    #[error(transparent)]
    Bank(#[from] BankError),
    #[error("gateway.{half}: cannot listen at {at}: {source}")]
    Listen { half: &'static str, at: String, source: io::Error },
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
    let Some(Gateway { name, inbound, outbound }) = context.config.gateway.clone() else {
        return Err(GatewayError::Missing);
    };
    let host = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    let name = name.unwrap_or_else(host);
    let bank = Arc::new(Bank::new(context.places.state()?, context.config.wait));
    if outbound.is_some() {
        // Whether there is one.
        bank.balance()?;
    }
    let inbound = inbound.map(|settings| Inbound::begin(&settings, &name, &context, &bank)).transpose()?;
    let outbound = outbound.map(|settings| {
        let begun = Outbound::begin(&settings, &name, &bank);
        begun.map_err(|source| GatewayError::Listen { half: "outbound", at: settings.listen.to_string(), source })
    });
    let outbound = outbound.transpose()?;
    let inbound_at = inbound.iter().map(|it| format!("inbound at {}", it.address));
    let outbound_at = outbound.iter().map(|it| format!("outbound at {}", it.address));
    let places: Vec<String> = inbound_at.chain(outbound_at).collect();
    told(&places.join(", "));
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    signals.forever().next();
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    // Both at once would need a thread; the mail system keeps what the second half does not answer in time.
    let until = Instant::now() + DRAIN_TIMEOUT;
    inbound.into_iter().for_each(|it| it.end(DRAIN_TIMEOUT));
    outbound.into_iter().for_each(|it| it.end(until.saturating_duration_since(Instant::now())));
    Ok(())
}
