//! `mailstamp peer give`: the next message to a correspondent brings them a stamp.

use super::list_gift::{self, Asked};
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
///
/// With --list, the stamp is for posts to a mailing list that you run. It is made at once, and the message that brings
/// it to the member is printed, for sendmail. Such stamps last for peers.list_days.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailstamp peer give joe@y.example\n  \
    mailstamp peer give --owner alice joe@y.example\n  \
    mailstamp peer give --list talk@lists.example --to joe@y.example > gift && sendmail -t < gift")]
pub struct Args {
    /// The correspondent
    #[arg(value_name = "ADDRESS", required_unless_present = "list", conflicts_with = "list")]
    address: Option<Address>,
    /// A mailing list that you run
    #[arg(long, value_name = "LIST", requires = "to")]
    list: Option<Address>,
    /// The member of the list who gets the stamp
    #[arg(long, value_name = "MEMBER", requires = "list")]
    to: Option<Address>,
    /// Only if the member has none, or one of which less than a third is left; else nothing is printed
    #[arg(long, requires = "list")]
    if_due: bool,
    /// The owner who gives it: a name, or an address; needed if the configuration has several
    #[arg(long, value_name = "OWNER")]
    owner: Option<String>,
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<u8, Failure> {
    let owner = owner_named(context, args.owner.as_deref())?;
    let store = context.used_log()?;
    let Some(address) = args.to.as_ref().or(args.address.as_ref()) else { return Ok(0) };
    let record = store.peer(owner, address)?;
    let to = shown(address);
    let refused = |why: &str| Failure::new(NO_PERMISSION, format!("{to}: {why}"));
    if record.ended.is_some() {
        return Err(refused("you ended the exchange").hint("begin it anew with: mailstamp peer accept"));
    }
    if record.contact.is_none() {
        return Err(refused("is no correspondent: no authenticated message of theirs was let through").hint(
            "let one through by a stamp, a grant, or a rule with authenticated = true; or take the announcement that their \
             \"peer key show --json\" prints, with: mailstamp peer accept",
        ));
    }
    if record.ring.takers().next().is_none() {
        return Err(refused("no key of theirs is known, or none that you accepted").hint(
            "see what is known with: mailstamp peer show; or take the announcement that their \"peer key show --json\" \
             prints, with: mailstamp peer accept",
        ));
    }
    if let Some(list) = &args.list {
        drop(store);
        let asked = Asked { list, member: address, if_due: args.if_due, json: args.common.json };
        return list_gift::run(&asked, owner, &record, context);
    }
    store.update_peer(owner, address, &mut |record| PeerRecord { asked: true, ..record.clone() })?;
    if args.common.json {
        output::line(&json!({ "schema": output::SCHEMA, "address": address, "asked": true }).to_string())?;
    } else {
        output::line(&format!("{to}: gets a stamp with your next message"))?;
    }
    if !context.config.peers.enabled || keys(context)?.list()?.is_empty() {
        output::note("nothing is given before peers.enabled is true and you have a key: mailstamp peer key new");
    }
    Ok(0)
}
