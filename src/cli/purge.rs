//! `mailstamp purge`: forget serials whose stamps have ended, and what was sent long ago. Of the serials deliveries forget a
//! few by themselves; this does the rest.

use super::exit::Failure;
use super::output;
use crate::config::places::Given;
use crate::filter::open;
use crate::store::Returns;

/// Forget the serials of stamps that ended long enough ago, and what was sent longer ago than is to be remembered.
///
/// A forgotten serial is not accepted again: its stamp is refused by its date. Of what you sent, Message-IDs are forgotten,
/// and the people to whom you wrote are not. Deliveries go on meanwhile.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp purge\n  @daily mailstamp purge        (in a crontab)")]
pub struct Args {
    /// Whose state, where the configuration has %u, %n or %d
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// Print the result as a JSON object
    #[arg(long)]
    json: bool,
}

/// Rows removed while the log is held; then it is let go, so that a waiting delivery comes in between.
const AT_ONCE: usize = 1000;
/// Seconds for which it is known at least who got an automatic reply.
const REPLIES: i64 = 400 * 86_400;

/// Runs the command.
///
/// # Errors
/// A failure when the log cannot be had.
pub fn run(args: &Args, given: &Given) -> Result<u8, Failure> {
    let engine = open::engine(given, None)?;
    let mut removed = 0;
    loop {
        let log = open::used_log(&engine.config, &engine.places)?;
        let purged = log.purge(engine.now, engine.config.policy.grace(), AT_ONCE)?;
        removed += purged.removed;
        if !purged.left {
            break;
        }
    }
    let log = open::used_log(&engine.config, &engine.places)?;
    let sent = log.purge_sent(engine.now.plus(-engine.config.remember_sent))?;
    let replies = log.purge_replies(engine.now.plus(-REPLIES.max(engine.config.replies.per_sender)))?;
    // As long as an answer to what one received is likely; it costs no more than a stamp.
    let state = engine.places.state()?;
    let returns = Returns::new(state).purge(engine.now.plus(-engine.config.remember_sent));
    if args.json {
        let object = serde_json::json!({
            "schema": output::SCHEMA,
            "removed": removed,
            "sent": sent,
            "replies": replies,
            "returns": returns,
        });
        output::line(&object.to_string())?;
        return Ok(0);
    }
    output::line(&format!("{removed} serials of ended stamps forgotten"))?;
    for (count, what) in
        [(sent, "messages that you sent"), (replies, "automatic replies"), (returns, "stamps for answers")]
    {
        if count > 0 {
            output::line(&format!("{count} {what} forgotten"))?;
        }
    }
    Ok(0)
}
