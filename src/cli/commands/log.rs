//! `mailstamp log`: the last verdicts, one line each.

use crate::cli::ui::exit_status::Failure;
use crate::cli::ui::output;
use crate::config::paths::{CliOverrides, Paths};
use crate::log::verdict_log::{Entry, VerdictLog};
use crate::message::header::{readable, unescaped};
use std::io::{self, Write};

/// Longest value, in bytes.
const LONGEST: usize = 400;

/// Show the last verdicts, oldest first.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp log\n  mailstamp log -n 1000 --json | jq -r .reason | sort | uniq -c")]
pub struct Args {
    /// The number of verdicts; 0 shows none
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 20)]
    count: usize,
    /// Print JSON lines
    #[arg(long)]
    json: bool,
    /// The user whose log is meant, where the configuration has %u, %n or %d
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
}

pub fn run(args: &Args, given: &CliOverrides) -> Result<u8, Failure> {
    let (_, places) = Paths::read(given)?;
    let mut stdout = io::stdout().lock();
    for entry in VerdictLog::new(places.user_state()?).last(args.count)? {
        if args.json {
            let mut value = serde_json::to_value(&entry).map_err(io::Error::from)?;
            value["schema"] = output::SCHEMA.into();
            writeln!(stdout, "{value}")?;
        } else {
            writeln!(stdout, "{}", row(&entry))?;
        }
    }
    stdout.flush()?;
    Ok(0)
}

/// Formats an entry. Its values were encoded when it was written.
fn row(entry: &Entry) -> String {
    let or_dash = |text: &Option<String>| readable(&unescaped(text.as_deref().unwrap_or("-")), LONGEST);
    // A later event replaces the reason.
    let what = match (&entry.event, entry.held.as_ref().or(entry.reply.as_ref())) {
        (Some(event), Some(detail)) => format!("{event} {detail}"),
        _ => entry.reason.clone(),
    };
    format!(
        "{}  {:<11}  {:<15}  {:<9}  {}  {}  {}",
        entry.time,
        entry.class,
        what,
        or_dash(&entry.action),
        or_dash(&entry.from),
        or_dash(&entry.vendor),
        or_dash(&entry.message_id)
    )
}
