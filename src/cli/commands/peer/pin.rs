//! `mailstamp peer pin` and `peer unpin`: the keys of mailing lists whose stamps count.

use super::{Common, lists, shown};
use crate::cli::ui::exit_status::{CANNOT_CREATE, DATA, Failure, IO, NO_INPUT, TEMPFAIL};
use crate::cli::ui::output;
use crate::context::Context;
use crate::directory::own_keys::OwnKeys;
use crate::directory::pinned_lists::{PinError, PinnedLists};
use crate::message::address::Address;
use crate::message::header::readable;
use crate::peer::{can_have_keys, key_id};
use crate::stamp::signing::PublicKey;
use serde_json::json;
use std::ops::ControlFlow;

/// Accept the stamps of a mailing list: posts that use one are first-class, also when the list changed them.
///
/// The owner of the list prints the key with "peer key show". Compare it with the welcome text of the list.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp peer pin talk@lists.example k4.public.…")]
pub struct PinArgs {
    /// The address of the list
    #[arg(value_name = "LIST")]
    list: Address,
    /// The list's key: the public half
    #[arg(value_name = "KEY")]
    key: PublicKey,
    #[command(flatten)]
    pub(super) common: Common,
}

/// Accept the stamps of a mailing list no longer.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailstamp peer unpin talk@lists.example\n  \
    mailstamp peer unpin talk@lists.example k4.public.…")]
pub struct UnpinArgs {
    /// The address of the list
    #[arg(value_name = "LIST")]
    list: Address,
    /// The key, as "peer list" prints it: its short name or public half [default: all]
    // A short name may begin with a hyphen.
    #[arg(value_name = "KEY", allow_hyphen_values = true)]
    key: Option<String>,
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) fn pin(args: &PinArgs, context: &Context) -> Result<u8, Failure> {
    let list = &args.list;
    if !can_have_keys(list) {
        return Err(Failure::new(DATA, format!("{}: cannot issue stamps, so it has no key", shown(list))));
    }
    let state = context.places.state()?;
    let own = OwnKeys::read(state).map_err(|error| Failure::new(NO_INPUT, error))?;
    if own.is_personal(&list.canonical()) {
        let failure = Failure::new(DATA, format!("{}: has a key of yours, so it is no list", shown(list)));
        return Err(failure.hint("the key of a list that you run is made with: mailstamp peer key new --list"));
    }
    if has_key(context, list)? {
        let failure =
            Failure::new(DATA, format!("{}: is a correspondent whose key is known, so it is no list", shown(list)));
        return Err(
            failure.hint("their key is accepted by: mailstamp peer accept; or forget it with: mailstamp peer drop")
        );
    }
    let is_new = PinnedLists::pin(state, context.config.wait, list, args.key, context.now)?;
    print(&args.common, list, &key_id(&args.key), if is_new { "pinned" } else { "was pinned already" })?;
    if is_new && !context.config.peers.enabled {
        output::note("posts with its stamps are accepted; your own use none until peers.enabled is true");
    }
    Ok(0)
}

/// Whether a key of this address is known to any owner, by an announcement. A list announces none.
fn has_key(context: &Context, address: &Address) -> Result<bool, Failure> {
    let mut has_key = false;
    context.used_log()?.peers(&mut |peer| {
        has_key = peer.address == *address && !peer.record.ring.keys().is_empty();
        if has_key { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(has_key)
}

pub(super) fn unpin(args: &UnpinArgs, context: &Context) -> Result<u8, Failure> {
    let (list, state) = (&args.list, context.places.state()?);
    let pinned = PinnedLists::read(state).map_err(|error| Failure::new(NO_INPUT, error))?;
    let keys: Vec<PublicKey> = pinned.keys(list).collect();
    let is_named =
        |key: &PublicKey| args.key.as_ref().is_none_or(|name| key_id(key) == *name || key.to_string() == *name);
    let gone: Vec<PublicKey> = keys.into_iter().filter(is_named).collect();
    if gone.is_empty() {
        let what = match &args.key {
            Some(name) => format!("{}: the key {} is not pinned", shown(list), readable(name.as_bytes(), 100)),
            None => format!("{}: no key of this list is pinned", shown(list)),
        };
        let failure = Failure::new(DATA, what);
        return Err(match lists(context)?.is_own(list) {
            true => failure.hint("you run this list; its key ends with: mailstamp peer key new --compromised"),
            false => failure.hint("mailstamp peer list shows those that are"),
        });
    }
    for key in &gone {
        PinnedLists::unpin(state, context.config.wait, list, Some(key))?;
        print(&args.common, list, &key_id(key), "unpinned")?;
    }
    Ok(0)
}

fn print(common: &Common, list: &Address, id: &str, what: &str) -> Result<(), Failure> {
    output::line(&match common.json {
        true => json!({ "schema": output::SCHEMA, "list": list.normalized(), "id": id, "result": what }).to_string(),
        false => format!("{}: key {id} {what}", shown(list)),
    })?;
    Ok(())
}

impl From<PinError> for Failure {
    fn from(error: PinError) -> Self {
        let code = match &error {
            PinError::Read(_) => NO_INPUT,
            PinError::Write { .. } => IO,
            PinError::Busy(_) => TEMPFAIL,
            PinError::TooMany(_) => CANNOT_CREATE,
        };
        let hint = matches!(error, PinError::TooMany(_)).then_some("remove one with: mailstamp peer unpin");
        let failure = Self::new(code, error);
        hint.into_iter().fold(failure, |failure, hint| failure.hint(hint))
    }
}
