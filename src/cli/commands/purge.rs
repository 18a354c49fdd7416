//! `mailstamp purge`: forget serials whose stamps have ended, and what was sent long ago. Of the serials deliveries forget a
//! few by themselves; this does the rest.

use crate::cli::ui::exit_status::Failure;
use crate::cli::ui::output;
use crate::config::paths::CliOverrides;
use crate::engine::context;
use crate::engine::retention::PurgeReport;

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

/// Runs the command.
///
/// # Errors
/// A failure when the log cannot be had.
pub fn run(args: &Args, given: &CliOverrides) -> Result<u8, Failure> {
    let PurgeReport { serials: removed, sent, replies, returns } = context::load(given, None)?.forget()?;
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
