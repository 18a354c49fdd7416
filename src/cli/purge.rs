//! `mailstamp purge`: forget serials whose stamps have ended. Deliveries do a little of it by themselves; this does the rest.

use super::exit::Failure;
use super::output;
use crate::config::places::Given;
use crate::filter::open;

/// Forget the serials of stamps that ended long enough ago.
///
/// A forgotten serial is not accepted again: its stamp is refused by its date. Deliveries go on meanwhile.
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
    if args.json {
        output::line(&serde_json::json!({ "schema": output::SCHEMA, "removed": removed }).to_string())?;
    } else {
        output::line(&format!("{removed} serials of ended stamps forgotten"))?;
    }
    Ok(0)
}
