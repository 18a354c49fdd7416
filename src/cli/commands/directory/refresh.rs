//! `mailstamp directory refresh` and `check`: query all sources, report the results, and raise an alarm where sources
//! contradict each other or themselves.

use crate::cli::ui::exit_status::{CONFIG, DATA, Failure, TEMPFAIL, UNAVAILABLE};
use crate::cli::ui::output;
use crate::config::directory_sources;
use crate::config::paths::CliOverrides;
use crate::directory::refresh::{RefreshError, RefreshResult, SourceOutcome};
use crate::engine::directory_refresh::{DirectoryRefreshError, Refreshed, alert, problem};
use crate::engine::judge::Engine;
use crate::os::without_numbers;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{self, Write};

/// Fetch the directories from all sources that you listed, and from nowhere else, and store those that are accepted.
///
/// The exit status is 0 when each publisher's directory was fetched from one of its sources, 69 when one was not, and
/// 65 when something fetched is wrong.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp directory refresh\n  mailstamp directory refresh --quiet")]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print only what is wrong
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
}

/// Fetch the directories as refresh does, report what would be accepted, and store nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp directory check\n  mailstamp directory check --json")]
pub struct CheckArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs `refresh`.
///
/// # Errors
/// A failure when no source could be queried.
pub fn run(args: &Args, given: &CliOverrides) -> Result<u8, Failure> {
    refreshed(given, args.json, args.quiet, true)
}

/// Runs `check`.
///
/// # Errors
/// A failure when no source could be queried.
pub fn check(args: &CheckArgs, given: &CliOverrides) -> Result<u8, Failure> {
    refreshed(given, args.json, false, false)
}

fn refreshed(given: &CliOverrides, as_json: bool, quiet: bool, keep: bool) -> Result<u8, Failure> {
    let engine = Engine::load(given, None)?;
    let wrong = |error: &dyn std::fmt::Display| Failure::new(CONFIG, error);
    let sources = directory_sources::read(engine.context.places.vendors()?).map_err(|error| wrong(&error))?;
    if sources.list.is_empty() && !quiet && !as_json {
        output::line("no source is listed yet; mailstamp directory add lists one")?;
    }
    let Refreshed { outcomes, alarms } = engine.refresh(keep).map_err(|error| match error {
        DirectoryRefreshError::Refresh(RefreshError::Busy) => Failure::new(TEMPFAIL, error),
        _ => Failure::new(CONFIG, error),
    })?;
    if as_json {
        let sources: Vec<Value> = outcomes.iter().map(json).collect();
        output::line(&json!({ "schema": output::SCHEMA, "sources": sources, "alarms": alarms }).to_string())?;
    } else if !quiet {
        outcomes.iter().filter_map(good).try_for_each(|line| output::line(&line))?;
    }
    tell(&outcomes, &alarms);
    let had: BTreeSet<&str> = outcomes.iter().filter(|it| it.result.is_ok()).map(|it| it.publisher.as_str()).collect();
    let missing = outcomes.iter().any(|outcome| !had.contains(outcome.publisher.as_str()));
    Ok(if !alarms.is_empty() {
        DATA
    } else if missing {
        UNAVAILABLE
    } else {
        0
    })
}

/// Formats a success.
fn good(outcome: &SourceOutcome) -> Option<String> {
    let news = match outcome.result.as_ref().ok()? {
        RefreshResult::Unchanged => "nothing new".to_owned(),
        RefreshResult::Accepted { version, authentic, .. } => {
            format!("version {version}{}", if *authentic { "" } else { ", not authenticated" })
        }
    };
    Some(format!("{}  {}  {news}", outcome.publisher, outcome.from))
}

fn json(outcome: &SourceOutcome) -> Value {
    let (version, unchanged, authentic, problem) = match &outcome.result {
        Ok(RefreshResult::Unchanged) => (None, true, None, None),
        Ok(RefreshResult::Accepted { version, authentic, .. }) => (Some(version), false, Some(authentic), None),
        Err(problem) => (None, false, None, Some(json!({ "text": problem.what, "alarm": problem.alarms() }))),
    };
    json!({
        "publisher": outcome.publisher,
        "from": outcome.from,
        "version": version,
        "unchanged": unchanged,
        "authentic": authentic,
        "problem": problem,
    })
}

/// Prints problems to standard error. Alarms are in syslog already.
fn tell(outcomes: &[SourceOutcome], alarms: &[String]) {
    let mut stderr = io::stderr().lock();
    for outcome in outcomes {
        if let Some(problem) = problem(outcome).filter(|_| alert(outcome).is_none()) {
            // Standard error may be closed by now, and there is no better channel.
            let _ = writeln!(stderr, "mailstamp: warning: {}", without_numbers(&problem));
        }
    }
    for alarm in alarms {
        let _ = writeln!(stderr, "mailstamp: alarm: {alarm}");
    }
}
