//! `mailstamp peer end` and `peer drop`: the user ends the exchange with a correspondent.

use super::{Correspondent, lists, shown};
use crate::cli::ui::exit_status::Failure;
use crate::cli::ui::output;
use crate::context::Context;
use crate::engine::peers;
use crate::peer::record::PeerRecord;
use serde_json::json;

/// End the exchange with a correspondent: the stamps that you gave are revoked, and theirs are not used any more.
///
/// Nothing is learned of them again until you accept a key. Their messages are judged as any other mail.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp peer end bob@y.example")]
pub struct EndArgs {
    #[command(flatten)]
    pub(super) of: Correspondent,
}

/// Forget a correspondent: the stamps that you gave are revoked, and their keys are no longer known.
///
/// The next message that is let through begins anew.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp peer drop bob@y.example")]
pub struct DropArgs {
    #[command(flatten)]
    pub(super) of: Correspondent,
}

pub(super) fn end(args: &EndArgs, context: &Context) -> Result<u8, Failure> {
    leave(&args.of, context, "ended", &|record| record.end(context.now))
}

pub(super) fn drop(args: &DropArgs, context: &Context) -> Result<u8, Failure> {
    leave(&args.of, context, "forgotten", &|_| PeerRecord::default())
}

fn leave(
    of: &Correspondent,
    context: &Context,
    what: &str,
    change: &dyn Fn(&PeerRecord) -> PeerRecord,
) -> Result<u8, Failure> {
    let owner = of.owner(context)?;
    let log = context.used_log()?;
    let lists = lists(context)?;
    if log.peer(owner, &of.address)? == PeerRecord::default() {
        let is_pinned = lists.is_list(&of.address.canonical()) && !lists.is_own(&of.address);
        let unpin = "it is a mailing list; its posts are accepted no longer after: mailstamp peer unpin";
        return Err(if is_pinned { of.unknown().hint(unpin) } else { of.unknown() });
    }
    let is_list = |address: &str| lists.is_list(address);
    let revoked = peers::end(log.as_ref(), owner, &of.address, context.now, &is_list, change)?;
    output::line(&match of.common.json {
        true => json!({
            "schema": output::SCHEMA,
            "address": of.address.normalized(),
            "result": what,
            "revoked": revoked,
        })
        .to_string(),
        false => format!("{}: {what}; stamps revoked: {revoked}", shown(&of.address)),
    })?;
    Ok(0)
}
