//! `mailstamp directory`: from where the directories of the trusted vendors are fetched, and fetching them. The one place of
//! the program that goes to the network, and only to the sources that the user listed.

mod add;
mod list;
mod refresh;

use crate::cli::ui::exit_status::{Failure, NO_PERMISSION};
use crate::config::paths::{self, CliOverrides};

/// The subcommands.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List a source from which a vendor's directory is fetched
    Add(add::Args),
    /// Fetch the directories from all sources
    Refresh(refresh::Args),
    /// List the sources and what they said
    List(list::Args),
    /// Fetch as refresh does, and keep nothing
    Check(refresh::CheckArgs),
}

/// Runs a subcommand.
///
/// # Errors
/// A failure that says what was wrong.
pub fn run(command: &Command, given: &CliOverrides) -> Result<u8, Failure> {
    if paths::is_setuid() {
        // The environment says which certificates hold and which proxy is asked, and it is somebody else's.
        return Err(Failure::new(
            NO_PERMISSION,
            "a program with the rights of another user does not go to the network",
        ));
    }
    match command {
        Command::Add(args) => add::run(args, given),
        Command::Refresh(args) => refresh::run(args, given),
        Command::List(args) => list::run(args, given),
        Command::Check(args) => refresh::check(args, given),
    }
}
