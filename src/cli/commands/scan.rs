//! `mailstamp scan`: judges mail that was received before, as at the time of its receipt. It spends and writes nothing.

use crate::cli::ui::counts::{self, Tally, grouped, share};
use crate::cli::ui::exit_status::{self, Failure};
use crate::cli::ui::progress::Progress;
use crate::cli::ui::{judge, output, table};
use crate::config::paths::CliOverrides;
use crate::context::error::Deferral;
use crate::engine::judge::Engine;
use crate::engine::rescan::{JudgedMessage, ReceivedTime, Scan};
use crate::mailbox::walk::{self, Entry, Skipped, StoredMessage};
use crate::message::header::{escape_untrusted, readable};
use crate::message::parse::Message;
use crate::os::without_numbers;
use crate::verdict::class::Class;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Judge the mail in Maildirs and mbox files, each message at the time when it was received.
///
/// Nothing is spent or logged. The exit status is 0 when all mail could be read, and 74 when some could not.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailstamp scan ~/Maildir\n  \
    mailstamp scan --json ~/Mail | jq -r 'select(.class == \"used\") | .path'")]
pub struct Args {
    /// Maildirs, mbox files, folders of them, or single messages
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Judge for this one recipient; it must be one of the configured addresses
    #[arg(long, value_name = "ADDRESS")]
    pub recipient: Option<String>,
    /// Print a JSON line for each message, and one with the sums at the end
    #[arg(long)]
    json: bool,
    /// The user whose state is meant, where the configuration has %u, %n or %d
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
}

/// Why the reading stopped early.
enum Stop {
    Undecided(Deferral),
    Output(io::Error),
}

/// Result so far.
#[derive(Default)]
struct Sums {
    tally: Tally,
    unreadable: u64,
    skipped: u64,
    /// Messages that only the time of their file dates.
    dated_by_file: u64,
    /// First-class messages older than the log.
    unchecked: u64,
}

/// Runs the command.
///
/// # Errors
/// A failure when nothing can be judged.
pub fn run(args: &Args, given: &CliOverrides) -> Result<u8, Failure> {
    let engine = Engine::load(given, None)?;
    let envelope = judge::envelope(args.recipient.as_deref(), None)
        .map_err(|failure| Failure { code: exit_status::USAGE, ..failure })?;
    let used_log = engine.context.config.used_log;
    let mut scan = Scan::new(engine, envelope);
    let mut progress = Progress::new(|| walk::size(&args.paths));
    let mut sums = Sums::default();
    let mut stdout = io::BufWriter::new(io::stdout());
    let stopped = walk::read(&args.paths, scan.largest(), &mut |found| {
        let line = match found {
            Entry::Message(kept) => {
                progress.step(kept.length);
                match scan.judge(&kept) {
                    Ok(judged) => {
                        sums.add(&judged);
                        args.json.then(|| message(&kept, &judged))
                    }
                    Err(error) => return ControlFlow::Break(Stop::Undecided(error)),
                }
            }
            Entry::Skipped(path, why) => {
                sums.skipped += 1;
                progress.clear();
                output::skipped(path, why);
                args.json.then(|| skipped(path, why))
            }
            Entry::Unreadable(path, error) => {
                sums.unreadable += 1;
                progress.clear();
                // Standard error may be closed by now.
                let _ = writeln!(
                    io::stderr(),
                    "mailstamp: error: {}: {}",
                    shown(path),
                    without_numbers(&error.to_string())
                );
                args.json.then(|| unreadable(path, &error))
            }
        };
        match line.map(|line| writeln!(stdout, "{line}")) {
            Some(Err(error)) => ControlFlow::Break(Stop::Output(error)),
            _ => ControlFlow::Continue(()),
        }
    });
    drop(progress);
    match stopped {
        ControlFlow::Continue(()) => {}
        ControlFlow::Break(Stop::Undecided(error)) => return Err(error.into()),
        ControlFlow::Break(Stop::Output(error)) => return Err(Failure::output(exit_status::IO, &error)),
    }
    if args.json {
        let written = writeln!(stdout, "{}", sums.json()).and_then(|()| stdout.flush());
        written.map_err(|error| Failure::output(exit_status::IO, &error))?;
    } else {
        drop(stdout);
        sums.print(used_log).map_err(|error| Failure::output(exit_status::IO, &error))?;
    }
    Ok(if sums.unreadable == 0 { 0 } else { exit_status::IO })
}

impl Sums {
    fn add(&mut self, judged: &JudgedMessage) {
        let vendor = judged.decision.verdict.stamp().and_then(|stamp| stamp.vendor.as_deref()).map(counts::tame);
        self.tally.add(judged.decision.verdict.reason, vendor.as_deref());
        self.dated_by_file += u64::from(judged.clue == ReceivedTime::File);
        self.unchecked += u64::from(!judged.reuse_checked && judged.decision.verdict.class() == Class::FirstClass);
    }

    fn json(&self) -> Value {
        let mut sums = self.tally.json();
        sums["schema"] = output::SCHEMA.into();
        sums["row"] = "sums".into();
        sums["unreadable"] = self.unreadable.into();
        sums["skipped"] = self.skipped.into();
        sums["dated_by_file"] = self.dated_by_file.into();
        sums["reuse_not_checked"] = self.unchecked.into();
        sums
    }

    fn print(&self, used_log: bool) -> io::Result<()> {
        use anstream::stdout;
        let messages = self.tally.classes.sum();
        let mut out = stdout().lock();
        writeln!(out, "{}", table::classes(&self.tally))?;
        if !self.tally.vendors().is_empty() {
            writeln!(out, "{}", table::vendors(&self.tally))?;
        }
        writeln!(out, "messages: {}", grouped(messages))?;
        if self.unreadable > 0 {
            writeln!(out, "could not be read: {}", grouped(self.unreadable))?;
        }
        if self.skipped > 0 {
            writeln!(out, "skipped, since they are no mail: {}", grouped(self.skipped))?;
        }
        if self.dated_by_file > 0 {
            let (count, part) = (grouped(self.dated_by_file), share(self.dated_by_file, messages));
            writeln!(out, "judged at the time of their file, for want of a Received field: {count} ({part})")?;
        }
        if self.unchecked > 0 {
            let why = if used_log { "the log does not reach back so far" } else { "the log is switched off" };
            writeln!(out, "first-class, but not looked up: {} ({why})", grouped(self.unchecked))?;
        }
        out.flush()
    }
}

fn shown(path: &Path) -> String {
    readable(path.as_os_str().as_bytes(), 1000)
}

fn message(kept: &StoredMessage<'_>, judged: &JudgedMessage) -> Value {
    let message = Message::parse(kept.bytes);
    let verdict = &judged.decision.verdict;
    let stamp = verdict.stamp();
    json!({
        "schema": output::SCHEMA,
        "row": "message",
        "path": kept.path.to_string_lossy(),
        "number": kept.number,
        "message_id": message.first("Message-ID").map(|field| escape_untrusted(field.unfolded().trim_ascii(), 200)),
        "received": judged.received.to_string(),
        "received_by": judged.clue.as_str(),
        "class": verdict.class().as_str(),
        "reason": verdict.reason.as_str(),
        "rule": judged.decision.rule,
        "action": judged.decision.action.as_str(),
        "vendor": stamp.and_then(|stamp| stamp.vendor.as_deref()),
        "serial": stamp.and_then(|stamp| stamp.serial.as_ref()).map(|serial| serial.as_str()),
        "value": stamp.and_then(|stamp| stamp.value),
        "reuse_checked": judged.reuse_checked,
    })
}

fn skipped(path: &Path, why: Skipped) -> Value {
    json!({
        "schema": output::SCHEMA,
        "row": "skipped",
        "path": path.to_string_lossy(),
        "why": why.to_string(),
    })
}

fn unreadable(path: &Path, error: &io::Error) -> Value {
    json!({
        "schema": output::SCHEMA,
        "row": "unreadable",
        "path": path.to_string_lossy(),
        "error": without_numbers(&error.to_string()),
    })
}
