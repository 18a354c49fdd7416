//! `mailstamp directory`: manages the sources of the trusted vendors' directories, and fetches them. It contacts only
//! the sources that the user listed.

mod add;
mod list;
mod refresh;

use crate::cli::ui::exit_status::{Failure, NO_PERMISSION};
use crate::config::paths::{self, CliOverrides};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Add a source from which a vendor's directory is fetched
    Add(add::Args),
    /// Fetch the directories from all sources
    Refresh(refresh::Args),
    /// List the sources and their last answers
    List(list::Args),
    /// Fetch as refresh does, but store nothing
    Check(refresh::CheckArgs),
}

pub fn run(command: &Command, given: &CliOverrides) -> Result<u8, Failure> {
    if paths::is_setuid() {
        // Certificates and proxy come from the environment, which another user controls.
        return Err(Failure::new(NO_PERMISSION, "a program with the rights of another user does not use the network"));
    }
    match command {
        Command::Add(args) => add::run(args, given),
        Command::Refresh(args) => refresh::run(args, given),
        Command::List(args) => list::run(args, given),
        Command::Check(args) => refresh::check(args, given),
    }
}
