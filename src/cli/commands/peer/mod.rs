//! `mailstamp peer`: the user's own keys, correspondents and their keys, and the stamps that they give each other.

mod key;
mod transfer;

use crate::cli::ui::exit_status::{CANNOT_CREATE, DATA, Failure, IO, NO_INPUT, TEMPFAIL};
use crate::config::paths::CliOverrides;
use crate::context::Context;
use crate::message::address::Address;
use crate::message::header::readable;
use crate::sender::peer_keys::{PeerKeyError, PeerKeys};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make, show and replace your own keys
    #[command(subcommand)]
    Key(key::Command),
    /// Write your keys to a file, for your other host
    Export(transfer::ExportArgs),
    /// Read keys from a file
    Import(transfer::ImportArgs),
}

/// Options of every command here.
#[derive(Debug, clap::Args)]
#[group(skip)]
struct Common {
    /// Print JSON lines
    #[arg(long)]
    json: bool,
    /// The user whose keys and state are meant, where the configuration has %u, %n or %d
    #[arg(long, value_name = "USER")]
    user: Option<String>,
}

impl Command {
    fn common(&self) -> &Common {
        match self {
            Self::Key(command) => command.common(),
            Self::Export(args) => &args.common,
            Self::Import(args) => &args.common,
        }
    }

    /// Returns the user whose keys are meant.
    #[must_use]
    pub fn user(&self) -> Option<String> {
        self.common().user.clone()
    }
}

/// Runs a subcommand.
///
/// # Errors
/// A failure with a status of sysexits(3).
pub fn run(command: &Command, given: &CliOverrides) -> Result<u8, Failure> {
    let context = Context::load(given, None)?;
    match command {
        Command::Key(command) => key::run(command, &context),
        Command::Export(args) => transfer::export(args, &context),
        Command::Import(args) => transfer::import(args, &context),
    }
}

/// Returns the user's keys.
fn keys(context: &Context) -> Result<PeerKeys, Failure> {
    Ok(PeerKeys::new(context.places.state()?, context.config.wait))
}

/// Returns an address as text for a terminal.
fn shown(address: &Address) -> String {
    readable(address.to_string().as_bytes(), 600)
}

impl From<PeerKeyError> for Failure {
    fn from(error: PeerKeyError) -> Self {
        let code = match &error {
            PeerKeyError::File(_) => NO_INPUT,
            PeerKeyError::Write { .. } | PeerKeyError::Random(_) => IO,
            PeerKeyError::Busy(_) => TEMPFAIL,
            PeerKeyError::Exists(_) => CANNOT_CREATE,
            PeerKeyError::Form { .. }
            | PeerKeyError::Absent(_)
            | PeerKeyError::Address(_)
            | PeerKeyError::Conflict(_)
            | PeerKeyError::Announcement(_) => DATA,
        };
        let hint = match &error {
            PeerKeyError::Absent(_) => Some("make one with: mailstamp peer key new"),
            PeerKeyError::Exists(_) => Some(
                "replace it with: mailstamp peer key rotate; if others may have it: mailstamp peer key new --compromised",
            ),
            PeerKeyError::Conflict(_) => {
                Some("correspondents know only one of them; move the file of the other one away, and import again")
            }
            _ => None,
        };
        let failure = Self::new(code, error);
        hint.into_iter().fold(failure, |failure, hint| failure.hint(hint))
    }
}
