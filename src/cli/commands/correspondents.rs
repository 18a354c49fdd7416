//! `mailstamp correspondents`: lists and forgets the people to whom the user wrote.

use crate::cli::ui::exit_status::Failure;
use crate::cli::ui::output;
use crate::config::paths::CliOverrides;
use crate::context::Context;
use crate::message::address::Address;
use crate::message::header::escape_untrusted;
use crate::store::Correspondent;
use serde_json::json;
use std::io::{self, Write};
use std::ops::ControlFlow;

/// List the people to whom you wrote, as "learn-sent" and "watch" learned them.
///
/// Addresses are listed without the part from "+" to "@", since a recipient written to as help+4711@ answers as help@.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailstamp correspondents\n  \
    mailstamp correspondents --json far.example\n  \
    mailstamp correspondents --forget joe@y.example")]
pub struct Args {
    /// Only those whose address contains this
    #[arg(value_name = "TEXT", conflicts_with = "forget")]
    text: Option<String>,
    /// Forget that you wrote to this address, until you do so again
    #[arg(long, value_name = "ADDRESS", num_args = 1..)]
    forget: Vec<Address>,
    /// Print JSON lines
    #[arg(long)]
    json: bool,
    /// The user whose state is meant, where the configuration has %u, %n or %d
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// A failure when the state cannot be read or written.
pub fn run(args: &Args, given: &CliOverrides) -> Result<u8, Failure> {
    let context = Context::load(given, None)?;
    let mut stdout = io::stdout().lock();
    if args.forget.is_empty() {
        let rows = listed(args, &context)?;
        for row in &rows {
            writeln!(stdout, "{}", if args.json { to_json(row) } else { to_text(row) })?;
        }
        if rows.is_empty() && !args.json {
            output::note("no such correspondent is known; mailstamp learn-sent learns them");
        }
    }
    for address in &args.forget {
        let forgotten = context.used_log()?.remove(address)?;
        let shown = escape_untrusted(address.to_string().as_bytes(), 600);
        if args.json {
            let object = json!({ "schema": output::SCHEMA, "address": address, "forgotten": forgotten });
            writeln!(stdout, "{object}")?;
        } else {
            let what = if forgotten { ": forgotten" } else { " is not one of your correspondents" };
            writeln!(stdout, "{shown}{what}")?;
        }
    }
    stdout.flush()?;
    Ok(0)
}

/// Returns the rows, collected first: deliveries wait as long as the log is locked.
fn listed(args: &Args, context: &Context) -> Result<Vec<Correspondent>, Failure> {
    let mut rows = Vec::new();
    let wanted = args.text.as_deref().map(str::to_lowercase);
    context.used_log()?.correspondents(&mut |row| {
        if wanted.as_ref().is_none_or(|text| row.address.contains(text.as_str())) {
            rows.push(row);
        }
        ControlFlow::Continue(())
    })?;
    Ok(rows)
}

fn to_text(row: &Correspondent) -> String {
    format!("{}  first {}, last {}", escape_untrusted(row.address.as_bytes(), 600), row.first, row.last)
}

fn to_json(row: &Correspondent) -> String {
    json!({
        "schema": output::SCHEMA,
        "address": row.address,
        "first": row.first.to_string(),
        "last": row.last.to_string(),
    })
    .to_string()
}
