//! `mailstamp peer`: the user's own keys, correspondents and their keys, and the stamps that they give each other.

mod accept;
mod end;
mod extract;
mod give;
mod key;
mod list;
mod list_gift;
mod pin;
mod transfer;

use super::correspondents::owner_named;
use crate::cli::ui::exit_status::{CANNOT_CREATE, DATA, Failure, IO, NO_INPUT, TEMPFAIL};
use crate::config::paths::CliOverrides;
use crate::context::Context;
use crate::directory::pinned_lists::Lists;
use crate::message::address::Address;
use crate::message::header::readable;
use crate::sender::peer_keys::{PeerKeyError, PeerKeys};
use crate::sender::peers::ExchangeError;
use crate::verdict::owner::Owner;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make, show and replace your own keys
    #[command(subcommand)]
    Key(key::Command),
    /// List the correspondents who have keys of their own
    List(list::ListArgs),
    /// Show one of them: keys and stamps
    Show(list::ShowArgs),
    /// Accept a key of a correspondent
    Accept(accept::Args),
    /// End the exchange with a correspondent, until you accept a key again
    End(end::EndArgs),
    /// Forget a correspondent
    Drop(end::DropArgs),
    /// Give a correspondent a stamp with your next message, or a member of your list one for posts to it
    Give(give::Args),
    /// Accept the stamps of a mailing list
    Pin(pin::PinArgs),
    /// Accept the stamps of a mailing list no longer
    Unpin(pin::UnpinArgs),
    /// Print the stamps that a message brought you
    Extract(extract::Args),
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

/// The correspondent that a command is about.
#[derive(Debug, clap::Args)]
#[group(skip)]
struct Correspondent {
    /// The address of the correspondent
    #[arg(value_name = "ADDRESS")]
    address: Address,
    /// Whose correspondent it is, where the configuration has several owners: a name, or an address
    #[arg(long, value_name = "OWNER")]
    owner: Option<String>,
    #[command(flatten)]
    common: Common,
}

impl Correspondent {
    fn owner(&self, context: &Context) -> Result<Owner, Failure> {
        owner_named(context, self.owner.as_deref())
    }

    /// Returns the failure for a correspondent who is not known.
    fn unknown(&self) -> Failure {
        let failure = Failure::new(DATA, format!("{}: no such correspondent is known", shown(&self.address)));
        failure.hint("mailstamp peer list shows those who are")
    }
}

impl Command {
    fn common(&self) -> &Common {
        match self {
            Self::Key(command) => command.common(),
            Self::List(args) => &args.common,
            Self::Show(args) => &args.of.common,
            Self::Accept(args) => &args.of.common,
            Self::End(args) => &args.of.common,
            Self::Drop(args) => &args.of.common,
            Self::Give(args) => &args.common,
            Self::Pin(args) => &args.common,
            Self::Unpin(args) => &args.common,
            Self::Extract(args) => &args.common,
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
        Command::List(args) => list::list(args, &context),
        Command::Show(args) => list::show(args, &context),
        Command::Accept(args) => accept::run(args, &context),
        Command::End(args) => end::end(args, &context),
        Command::Drop(args) => end::drop(args, &context),
        Command::Give(args) => give::run(args, &context),
        Command::Pin(args) => pin::pin(args, &context),
        Command::Unpin(args) => pin::unpin(args, &context),
        Command::Extract(args) => extract::run(args, &context),
        Command::Export(args) => transfer::export(args, &context),
        Command::Import(args) => transfer::import(args, &context),
    }
}

/// Returns the user's keys.
fn keys(context: &Context) -> Result<PeerKeys, Failure> {
    Ok(PeerKeys::new(context.places.state()?, context.config.wait))
}

/// Returns the lists whose stamps count.
fn lists(context: &Context) -> Result<Lists, Failure> {
    Lists::read(context.places.state()?).map_err(|error| Failure::new(NO_INPUT, error))
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
            | PeerKeyError::Active(_)
            | PeerKeyError::Unknown(_)
            | PeerKeyError::Address(_)
            | PeerKeyError::Conflict(_)
            | PeerKeyError::Announcement(_) => DATA,
        };
        let hint = match &error {
            PeerKeyError::Absent(_) => Some("make one with: mailstamp peer key new"),
            PeerKeyError::Exists(_) => Some(
                "replace it with: mailstamp peer key rotate; if others may have it: mailstamp peer key new --compromised",
            ),
            PeerKeyError::Unknown(_) => Some("mailstamp peer key show lists your keys"),
            PeerKeyError::Active(_) => Some("revoke and replace it with: mailstamp peer key new --compromised"),
            PeerKeyError::Conflict(_) => {
                Some("correspondents know only one of them; move the file of the other one away, and import again")
            }
            _ => None,
        };
        let failure = Self::new(code, error);
        hint.into_iter().fold(failure, |failure, hint| failure.hint(hint))
    }
}

impl From<ExchangeError> for Failure {
    fn from(error: ExchangeError) -> Self {
        match error {
            ExchangeError::Keys(error) => error.into(),
            ExchangeError::Lists(error) => Self::new(NO_INPUT, error),
            ExchangeError::Paths(error) => error.into(),
            ExchangeError::Undecided(error) => error.into(),
            ExchangeError::Store(error) => error.into(),
            ExchangeError::Gift(error) => Self::new(DATA, error),
        }
    }
}
