//! `mailstamp peer give`: the next message to a correspondent brings them a stamp.

use super::{Common, keys, owner_named, shown};
use crate::cli::ui::exit_status::{Failure, NO_PERMISSION};
use crate::cli::ui::output;
use crate::context::Context;
use crate::message::address::Address;
use crate::peer::record::PeerRecord;
use serde_json::json;

/// Give a correspondent a stamp for mail to you with your next message to them, also where peers.give is "ask" and
/// where they have one.
///
/// Strangers get none: a message of theirs must have been first-class, granted, or allowed by a rule that asks for
/// authentication, and must have brought their key.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  mailstamp peer give joe@y.example\n  mailstamp peer give --owner alice joe@y.example"
)]
pub struct Args {
    /// The correspondent
    #[arg(value_name = "ADDRESS")]
    address: Address,
    /// The owner who gives it: a name, or an address; needed if the configuration has several
    #[arg(long, value_name = "OWNER")]
    owner: Option<String>,
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<u8, Failure> {
    let owner = owner_named(context, args.owner.as_deref())?;
    let store = context.used_log()?;
    let record = store.peer(owner, &args.address)?;
    let to = shown(&args.address);
    let refused = |why: &str| Failure::new(NO_PERMISSION, format!("{to}: {why}"));
    if record.ended.is_some() {
        return Err(refused("you ended the exchange").hint("begin it anew with: mailstamp peer accept"));
    }
    if record.contact.is_none() {
        return Err(refused("is no correspondent: no authenticated message of theirs was let through")
            .hint("let one through by a stamp, a grant, or a rule with authenticated = true"));
    }
    if record.ring.takers().next().is_none() {
        return Err(refused("no key of theirs is known, or none that you accepted")
            .hint("see what is known with: mailstamp peer show"));
    }
    store.update_peer(owner, &args.address, &mut |record| PeerRecord { asked: true, ..record.clone() })?;
    if args.common.json {
        output::line(&json!({ "schema": output::SCHEMA, "address": args.address, "asked": true }).to_string())?;
    } else {
        output::line(&format!("{to}: gets a stamp with your next message"))?;
    }
    if !context.config.peers.enabled || keys(context)?.list()?.is_empty() {
        output::note("nothing is given before peers.enabled is true and you have a key: mailstamp peer key new");
    }
    Ok(0)
}
