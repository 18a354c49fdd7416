//! `mailstamp peer extract`: opens the stamps in a message that were sealed to the user.

use super::{Common, keys};
use crate::cli::ui::exit_status::{DATA, Failure};
use crate::cli::ui::{input, output};
use crate::context::Context;
use crate::message::parse::Message;
use crate::peer::record::sealed_texts;
use crate::sender::peers::{only_author, open_one};
use crate::stamp::claims::Stamp;
use serde_json::json;

/// Read a message on standard input, and print the stamps in it that its sender sealed to you, one a line.
///
/// "sendmail", "affix --buy" and the submission server use them by themselves. Nothing is stored here, and whether
/// the sender's key is known is not asked.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailstamp peer extract < message\n  \
    mailstamp peer extract --json < message\n  \
    mailstamp peer extract < message > stamp; mailstamp affix --stamp-file stamp < answer")]
pub struct Args {
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<u8, Failure> {
    let input = input::message(u64::MAX)?;
    let message = Message::parse(&input.bytes);
    let from = only_author(&message).ok_or_else(|| Failure::new(DATA, "From does not name exactly one address"))?;
    let identities = keys(context)?.list()?;
    let opened: Vec<_> = sealed_texts(&message).iter().filter_map(|text| open_one(text, &from, &identities)).collect();
    for (identity, token) in &opened {
        if !args.common.json {
            output::line(token.as_str())?;
            continue;
        }
        let stamp = Stamp::read(token.payload()).ok();
        output::line(
            &json!({
                "schema": output::SCHEMA,
                "from": from,
                "address": identity.address,
                "stamp": token.as_str(),
                "serial": stamp.as_ref().map(|stamp| stamp.serial.as_str().to_owned()),
                "expires": stamp.and_then(|stamp| stamp.expires).map(|time| time.to_string()),
            })
            .to_string(),
        )?;
    }
    if opened.is_empty() {
        return Err(Failure::new(DATA, "the message has no stamp that is sealed to a key of yours"));
    }
    Ok(0)
}
