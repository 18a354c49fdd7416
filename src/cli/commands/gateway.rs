//! `mailstamp gateway`: runs the mail gateway.

use crate::cli::ui::exit_status::{CONFIG, Failure, TEMPFAIL, USAGE};
use crate::config::paths::CliOverrides;
use crate::server::gateway::{self, GatewayError};
use std::io::{self, Write};

/// Run the mail gateway beside your mail system: it names prices for mail that comes, and pays for mail that leaves.
///
/// SIGTERM ends it when the messages under way are answered.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp gateway\n  mailstamp gateway --config /etc/mailstamp/gateway.toml")]
pub struct Args {}

/// Runs the command.
///
/// # Errors
/// A failure when it cannot start.
pub fn run(_: &Args, given: &CliOverrides) -> Result<u8, Failure> {
    let told = |places: &str| {
        // Standard error may be closed.
        let _ = writeln!(io::stderr(), "mailstamp: gateway: {places}");
    };
    gateway::run(given, told)?;
    Ok(0)
}

impl From<GatewayError> for Failure {
    fn from(error: GatewayError) -> Self {
        match error {
            GatewayError::Paths(error) => error.into(),
            GatewayError::Bank(error) => error.into(),
            GatewayError::SetId => Self::new(USAGE, error),
            GatewayError::Agency(error) => error.into(),
            GatewayError::Missing | GatewayError::ByUser | GatewayError::Inbound(_) | GatewayError::Listen { .. } => {
                Self::new(CONFIG, error)
            }
            GatewayError::Io(_) => Self::new(TEMPFAIL, error),
        }
    }
}
