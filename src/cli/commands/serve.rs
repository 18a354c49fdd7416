//! `mailstamp serve`: runs the daemon.

use crate::cli::ui::exit_status::{CONFIG, Failure, TEMPFAIL, USAGE};
use crate::config::paths::CliOverrides;
use crate::context::error::Deferral;
use crate::server::daemon::{self, Options, ServeError};
use std::io::{self, Write};
use std::path::PathBuf;

/// Run as a daemon that judges messages for classify, filter and deliver, with everything loaded and the log open.
///
/// Those commands find the daemon by themselves; without it, they judge with the same verdict. It also watches folders,
/// removes expired serials and fetches directories, as configured. SIGHUP reloads the configuration. SIGTERM ends the
/// daemon when all requests under way are answered.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailstamp serve                                   for yourself\n  \
    systemctl --user enable --now mailstamp.socket    the same by systemd (rules/mailstamp.socket)\n  \
    mailstamp serve --system                          for every user, with /etc/mailstamp/config.toml")]
pub struct Args {
    /// Listen at this socket [default: the socket that the commands look for]
    #[arg(long, value_name = "FILE")]
    socket: Option<PathBuf>,
    /// Serve all users who have no configuration of their own, each for their own mailbox
    #[arg(long)]
    system: bool,
}

/// Runs the command.
///
/// # Errors
/// A failure when it cannot start.
pub fn run(args: &Args, given: &CliOverrides) -> Result<u8, Failure> {
    let options = Options { socket: args.socket.clone(), system: args.system };
    let told = |place: &str| {
        // Standard error may be closed.
        let _ = writeln!(io::stderr(), "mailstamp: serving at {place}");
    };
    daemon::run(given, &options, told).map_err(failure)?;
    Ok(0)
}

fn failure(error: ServeError) -> Failure {
    match error {
        ServeError::Undecided(Deferral::Places(error)) => error.into(),
        ServeError::Undecided(error @ (Deferral::Rules(_) | Deferral::Keys(_) | Deferral::StateNotConfigured)) => {
            Failure { code: CONFIG, ..error.into() }
        }
        ServeError::Undecided(error) => error.into(),
        ServeError::Nowhere | ServeError::SetId => Failure::new(USAGE, error),
        ServeError::Running(_) => Failure::new(CONFIG, error).hint("mailstamp status shows its state"),
        ServeError::Listen { .. }
        | ServeError::Milter { .. }
        | ServeError::Seal(_)
        | ServeError::BoundaryByUser
        | ServeError::Submission { .. }
        | ServeError::SubmissionByUser
        | ServeError::NoSender => Failure::new(CONFIG, error),
        ServeError::Io(_) => Failure::new(TEMPFAIL, error),
    }
}
