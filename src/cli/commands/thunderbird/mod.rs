//! `mailstamp thunderbird`: the program behind the add-on in `contrib/thunderbird`.

mod host;
mod install;

use crate::cli::ui::exit_status::Failure;
use crate::config::paths::CliOverrides;
use std::ffi::OsString;

/// The name under which the add-on asks for this program.
const HOST: &str = "mailstamp";
/// The add-on; no other one may ask.
const ADD_ON: &str = "mailstamp@mailstamp.example";

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Let the add-on for Thunderbird ask mailstamp
    Install(Install),
    /// Undo install
    Remove(Remove),
    /// Answer the add-on
    Host(Host),
}

/// Let the add-on for Thunderbird ask mailstamp, for you alone. Install the add-on in Thunderbird itself.
///
/// Two files are written: .mozilla/native-messaging-hosts/mailstamp.json in your home, where Thunderbird looks, and a
/// script beside it, which Thunderbird starts. The options --config and --state, if given, become part of the script.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp thunderbird install")]
pub struct Install {}

/// Remove the files that install wrote. The add-on stays in Thunderbird, and can do nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp thunderbird remove")]
pub struct Remove {}

/// Answer the requests of the add-on on standard input. Thunderbird starts this command.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "mailstamp thunderbird host [MANIFEST ADD-ON]",
    after_help = "Examples:\n  mailstamp thunderbird host < request > answer"
)]
pub struct Host {
    /// The arguments of Thunderbird: a file, and the add-on that asks
    #[arg(value_name = "ARGUMENT", num_args = 0..=2)]
    arguments: Vec<OsString>,
}

impl Command {
    /// Returns whether the command prints its result.
    #[must_use]
    pub fn prints(&self) -> bool {
        !matches!(self, Self::Host(_))
    }
}

/// Runs the command.
///
/// # Errors
/// A failure when there is no home, a file cannot be written, or a request is malformed.
pub fn run(command: &Command, given: &CliOverrides) -> Result<u8, Failure> {
    match command {
        Command::Install(_) => install::install(given),
        Command::Remove(_) => install::remove(),
        Command::Host(args) => host::run(&args.arguments, given),
    }
}
