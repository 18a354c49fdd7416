//! `mailstamp purge`: removes serials of expired stamps, and old records of sent messages and replies. Deliveries
//! remove a few serials themselves; this command removes the rest.

use crate::cli::ui::exit_status::Failure;
use crate::cli::ui::output;
use crate::config::paths::CliOverrides;
use crate::engine::judge::Engine;
use crate::engine::retention::PurgeReport;

/// Remove the serials of stamps that expired long enough ago, and records of sent mail older than their retention.
///
/// A removed serial is not accepted again: its stamp is refused by its date. Of your sent mail, Message-IDs are
/// removed; the people to whom you wrote are kept. Deliveries continue meanwhile.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp purge\n  @daily mailstamp purge        (in a crontab)")]
pub struct Args {
    /// The user whose state is meant, where the configuration has %u, %n or %d
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// Print the result as a JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// A failure when the log cannot be opened.
pub fn run(args: &Args, given: &CliOverrides) -> Result<u8, Failure> {
    let PurgeReport { serials: removed, sent, replies, returns } = Engine::load(given, None)?.forget()?;
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
