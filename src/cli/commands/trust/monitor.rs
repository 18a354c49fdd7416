//! `mailstamp trust monitor`: reads a whole public log, and compares what was sold with what was taken back.

use super::logs;
use crate::cli::ui::counts::grouped;
use crate::cli::ui::exit_status::{DATA, Failure, NO_INPUT, UNAVAILABLE};
use crate::cli::ui::output;
use crate::cli::ui::table::Table;
use crate::cli::ui::terminal_text::without_controls;
use crate::config::paths::{CliOverrides, Paths};
use crate::directory::public_log::monitor::{self, Totals};
use crate::directory::public_log::place::{self, Place};
use crate::directory::public_log::problem::Problem;
use crate::directory::public_log::{Head, date};
use crate::os::clock;
use crate::transparency::leaf::LeafKind;
use crate::transparency::note::{Note, VerifierKey};
use crate::transparency::reader::{LogError, VerifiedLog};
use serde_json::{Map, Value, json};
use std::io::{self, Write};

/// Read a whole public log: verify every file against its signed head, and look for stamps that were taken back twice,
/// or never sold.
///
/// The exit status is 0 for a sound log, 69 when it cannot be read or lacks witnesses, and 65 for any other.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailstamp trust monitor https://stamps.example/.well-known/digital-stamp-log\n  \
    mailstamp trust monitor /mnt/copy --key 'stamps.example/.well-known/digital-stamp-log+8d2b1f0a+Aa…'")]
pub struct Args {
    /// The log: an address https://…, or a folder with a copy
    #[arg(value_name = "PLACE")]
    place: Place,
    /// The key of the log [default: the one that the directory of a trusted vendor names]
    #[arg(long, value_name = "KEY")]
    key: Option<VerifierKey>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// A failure when the log cannot be read.
pub fn run(args: &Args, given: &CliOverrides) -> Result<u8, Failure> {
    let (config, places) = Paths::read(given)?;
    let text = place::checkpoint(&args.place)
        .map_err(|error| Failure::new(UNAVAILABLE, format!("{}: the checkpoint: {error}", args.place)))?;
    // An empty file names no log; it is that of a copy under way.
    text.parse::<Note>()
        .map_err(|error| Failure::new(UNAVAILABLE, format!("{}: the checkpoint: {error}", args.place)))?;
    let key = match &args.key {
        Some(key) => key.clone(),
        None => known_key(text.lines().next().unwrap_or_default(), &places)?,
    };
    let wrong = |error: &dyn std::fmt::Display| Failure::new(DATA, format!("{}: {error}", args.place));
    let head = Head::open(&text, &key, "").map_err(|error| wrong(&error))?;
    let mut log = VerifiedLog::open(&args.place, head.checkpoint.size, &head.checkpoint.root)
        .map_err(|error| unread(&args.place, &error))?;
    let totals = monitor::read(&mut log).map_err(|error| unread(&args.place, &error))?;
    if args.json {
        output::line(&as_json(&head, &totals, config.logs.count(&head.note)).to_string())?;
    } else {
        print(&head, &totals)?;
    }
    let mut stderr = io::stderr().lock();
    for problem in &totals.problems {
        // Standard error may be closed by now.
        let _ = writeln!(stderr, "mailstamp: alarm: {problem}");
    }
    if totals.wrong > totals.problems.len() as u64 {
        let _ = writeln!(stderr, "mailstamp: alarm: {} problems in all", totals.wrong);
    }
    let shortfall = config.logs.check(&head.note, head.checkpoint.size).err();
    for odd in config.logs.odd_times(&head.note, clock::now()) {
        let _ = writeln!(stderr, "mailstamp: warning: {odd}");
    }
    if let Some(shortfall) = &shortfall {
        let _ = writeln!(stderr, "mailstamp: warning: {shortfall}");
    }
    Ok(match (totals.wrong, shortfall) {
        (0, None) => 0,
        (0, Some(_)) => UNAVAILABLE,
        _ => DATA,
    })
}

/// Returns the key of the log with this origin, from the directories of the trusted vendors.
fn known_key(origin: &str, places: &Paths) -> Result<VerifierKey, Failure> {
    let vendors = logs::vendors(places, &[], clock::now())?;
    let known = vendors.into_iter().find(|vendor| vendor.key.name() == origin);
    known.map(|vendor| vendor.key).ok_or_else(|| {
        let text = format!("no trusted vendor names the log {:?}", without_controls(origin));
        Failure::new(NO_INPUT, text).hint("give the key of the log with --key")
    })
}

/// Returns the failure of a log that cannot be read: 69 for what may pass, as `trust check` counts it.
fn unread(place: &Place, error: &LogError) -> Failure {
    let passes = Problem::File(error.clone()).patience().is_some();
    Failure::new(if passes { UNAVAILABLE } else { DATA }, format!("{place}: {error}"))
}

fn as_json(head: &Head, totals: &Totals, witnesses: usize) -> Value {
    let kinds: Map<String, Value> = LeafKind::ALL
        .iter()
        .map(|(kind, word)| {
            let (leaves, credits) = totals.of(*kind);
            ((*word).to_owned(), json!({ "leaves": leaves, "credits": credits }))
        })
        .collect();
    json!({
        "schema": output::SCHEMA, "origin": head.checkpoint.origin, "size": head.checkpoint.size,
        "witnesses": witnesses, "kinds": kinds,
        "outstanding": totals.outstanding(), "unknown": totals.unknown,
        "first_day": totals.days.map(|(first, _)| date(first)), "last_day": totals.days.map(|(_, last)| date(last)),
        "wrong": totals.wrong, "problems": totals.problems,
    })
}

fn print(head: &Head, totals: &Totals) -> io::Result<()> {
    let days = totals.days.map(|(first, last)| format!(", {} to {}", date(first), date(last))).unwrap_or_default();
    output::line(&format!("{}: {} leaves{days}", head.checkpoint.origin, grouped(head.checkpoint.size)))?;
    let mut table = Table::new(&["what", "leaves", "credits"], 1);
    for (kind, word) in LeafKind::ALL {
        let (leaves, credits) = totals.of(kind);
        if leaves > 0 {
            table.row([word.to_owned(), grouped(leaves), grouped(credits)]);
        }
    }
    if totals.unknown > 0 {
        table.row(["of an unknown kind".to_owned(), grouped(totals.unknown), String::new()]);
    }
    table.row(["outstanding".to_owned(), String::new(), grouped(totals.outstanding())]);
    output::line(&table.lines().join("\n"))
}
