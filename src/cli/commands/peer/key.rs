//! `mailstamp peer key`: makes, shows and replaces the user's own keys.

use super::{Common, keys, shown};
use crate::cli::ui::exit_status::{CANNOT_CREATE, Failure, USAGE};
use crate::cli::ui::output;
use crate::context::Context;
use crate::directory::own_keys::OwnKeyStatus;
use crate::directory::pinned_lists::PinnedLists;
use crate::message::address::Address;
use crate::peer::announcement::Announcement;
use crate::peer::key_id;
use crate::sender::peer_keys::{Identity, OwnKey, PeerKeyError};
use serde_json::{Value, json};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make the key of an address
    New(NewArgs),
    /// Show your keys
    Show(ShowArgs),
    /// Replace the key of an address by a new one
    Rotate(RotateArgs),
    /// Revoke a retired key that others may have
    Revoke(RevokeArgs),
}

/// Make the key of an address of yours. Your correspondents learn it from your messages.
///
/// Only you can read its file. With --compromised, the present key is revoked: all that it signed counts for nothing,
/// stamps that are bound to it cannot be used, and your correspondents decide anew about the next key.
///
/// With --list, it is the key of a mailing list that you run: members pin it, and "peer give --list" gives them stamps.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailstamp peer key new\n  \
    mailstamp peer key new alice@x.example\n  \
    mailstamp peer key new --list talk@lists.example\n  \
    mailstamp peer key new --compromised alice@x.example")]
pub struct NewArgs {
    /// Your address [default: the only one in the configuration]
    #[arg(value_name = "ADDRESS", conflicts_with = "list")]
    address: Option<Address>,
    /// The address of a mailing list that you run; it need not be one of yours
    #[arg(long, value_name = "LIST", conflicts_with = "compromised")]
    list: Option<Address>,
    /// Replace a key that others may have
    #[arg(long)]
    compromised: bool,
    #[command(flatten)]
    common: Common,
}

/// Show your keys: address, status, date, and the public half. JSON has the announcement of the active key, too.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp peer key show\n  mailstamp peer key show --json alice@x.example")]
pub struct ShowArgs {
    /// Your address [default: all that have keys]
    #[arg(value_name = "ADDRESS")]
    address: Option<Address>,
    #[command(flatten)]
    common: Common,
}

/// Replace the key of an address. The old key names the new one, so that correspondents follow without a question.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp peer key rotate\n  mailstamp peer key rotate alice@x.example")]
pub struct RotateArgs {
    /// Your address [default: the only one that has a key]
    #[arg(value_name = "ADDRESS")]
    address: Option<Address>,
    #[command(flatten)]
    common: Common,
}

/// Revoke a retired key of yours: what it signed counts for nothing, and stamps that are bound to it cannot be used.
///
/// A next key is made, whose announcement tells your correspondents. Your active key is revoked by "peer key new
/// --compromised".
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailstamp peer key revoke rJ2yyXzmT4A\n  \
    mailstamp peer key revoke rJ2yyXzmT4A alice@x.example")]
pub struct RevokeArgs {
    /// The key: its public half as "peer key show" prints it, or the member "id" of its JSON
    // A short name may begin with a hyphen.
    #[arg(value_name = "KEY", allow_hyphen_values = true)]
    key: String,
    /// Your address [default: the only one that has a key]
    #[arg(value_name = "ADDRESS")]
    address: Option<Address>,
    #[command(flatten)]
    common: Common,
}

impl Command {
    pub(super) fn common(&self) -> &Common {
        match self {
            Self::New(args) => &args.common,
            Self::Show(args) => &args.common,
            Self::Rotate(args) => &args.common,
            Self::Revoke(args) => &args.common,
        }
    }
}

pub(super) fn run(command: &Command, context: &Context) -> Result<u8, Failure> {
    let keys = keys(context)?;
    let identities = match command {
        Command::New(NewArgs { list: Some(list), .. }) => {
            if PinnedLists::read(context.places.state()?).is_ok_and(|pinned| pinned.contains(&list.canonical())) {
                let failure = Failure::new(CANNOT_CREATE, format!("{}: a key of this list is pinned", shown(list)));
                return Err(failure.hint("if you run it, first: mailstamp peer unpin"));
            }
            vec![keys.create(list, true, context.now)?]
        }
        Command::New(NewArgs { address, compromised: false, .. }) => {
            let address = configured(address.as_ref(), context)?;
            vec![keys.create(&address, false, context.now)?]
        }
        Command::New(NewArgs { address, .. }) => {
            vec![keys.rotate(&with_keys(address.as_ref(), &keys.list()?)?, true, context.now)?]
        }
        Command::Rotate(RotateArgs { address, .. }) => {
            vec![keys.rotate(&with_keys(address.as_ref(), &keys.list()?)?, false, context.now)?]
        }
        Command::Revoke(RevokeArgs { key, address, .. }) => {
            let identity = keys.revoke(&with_keys(address.as_ref(), &keys.list()?)?, key, context.now)?;
            note_untold(&identity, key)?;
            vec![identity]
        }
        Command::Show(ShowArgs { address: Some(address), .. }) => vec![keys.get(address)?],
        Command::Show(ShowArgs { address: None, .. }) => keys.list()?,
    };
    let is_new = !matches!(command, Command::Show(_));
    for identity in &identities {
        // A new key is shown alone.
        let first = if is_new { identity.keys.len().saturating_sub(1) } else { 0 };
        for key in identity.keys.iter().skip(first) {
            let line = if command.common().json { object(identity, key)?.to_string() } else { text(identity, key) };
            output::line(&line)?;
        }
    }
    if identities.is_empty() && !command.common().json {
        output::note("you have no key; make one with: mailstamp peer key new");
    }
    let is_list = matches!(command, Command::New(NewArgs { list: Some(_), .. }));
    if is_list && !command.common().json {
        output::note("members accept its stamps after: mailstamp peer pin LIST KEY");
    }
    if is_new && !is_list && !context.config.peers.enabled {
        output::note("it is neither announced nor used until the configuration has: [peers] enabled = true");
    }
    Ok(0)
}

/// Tells when no announcement says that the key was revoked.
fn note_untold(identity: &Identity, name: &str) -> Result<(), Failure> {
    let announced = Announcement::parse(identity.announcement()?.as_str()).map_err(PeerKeyError::from)?;
    if announced.stolen != identity.named(name).map(|key| key.secret.public()) {
        output::note(
            "correspondents do not hear of it: an announcement names the last four keys before the active one, and of those \
             one that was revoked; end what you gave with: mailstamp peer end",
        );
    }
    Ok(())
}

/// Returns the address for a new key: one of the configuration.
fn configured(address: Option<&Address>, context: &Context) -> Result<Address, Failure> {
    if let Some(address) = address {
        if context.is_mine(address) {
            return Ok(address.clone());
        }
        let failure = Failure::new(USAGE, format!("{}: not one of your addresses", shown(address)));
        return Err(failure.hint("the configuration lists yours: addresses = [\"…\"]"));
    }
    let mut exact = context.config.mailboxes.iter().filter_map(|mailbox| mailbox.pattern.exact());
    match (exact.next(), exact.next()) {
        (Some(only), None) => Ok(only.clone()),
        (None, _) => Err(Failure::new(USAGE, "the configuration names no address of yours")
            .hint("write into it: addresses = [\"you@your.example\"]")),
        _ => Err(Failure::new(USAGE, "you have several addresses").hint("name the one that gets a key")),
    }
}

/// Returns the address whose key is replaced.
fn with_keys(address: Option<&Address>, identities: &[Identity]) -> Result<Address, Failure> {
    match (address, identities) {
        (Some(address), _) => Ok(address.clone()),
        (None, [only]) => Ok(only.address.clone()),
        (None, []) => Err(Failure::new(USAGE, "you have no key").hint("make one with: mailstamp peer key new")),
        (None, _) => Err(Failure::new(USAGE, "several addresses have keys").hint("name one of them")),
    }
}

fn word(status: OwnKeyStatus) -> &'static str {
    match status {
        OwnKeyStatus::Active => "active",
        OwnKeyStatus::Retired => "retired",
        OwnKeyStatus::Revoked { .. } => "revoked",
    }
}

fn text(identity: &Identity, key: &OwnKey) -> String {
    let public = key.secret.public();
    format!("{}  {:<7}  {}  {public}", shown(&identity.address), word(key.status), key.created)
}

fn object(identity: &Identity, key: &OwnKey) -> Result<Value, Failure> {
    let public = key.public();
    let is_active = key.status == OwnKeyStatus::Active;
    // The key of a list is pinned, and never announced.
    let announcement =
        if is_active && !identity.is_list { Some(identity.announcement()?.as_str().to_owned()) } else { None };
    let since = match key.status {
        OwnKeyStatus::Revoked { since } => Some(since.to_string()),
        OwnKeyStatus::Active | OwnKeyStatus::Retired => None,
    };
    Ok(json!({
        "schema": output::SCHEMA,
        "address": identity.address,
        "list": identity.is_list,
        "status": word(key.status),
        "created": key.created.to_string(),
        "revoked": since,
        "id": key_id(&public.signing),
        "key": public.signing,
        "seal": public.sealing,
        "announcement": announcement,
    }))
}
