//! `mailstamp trust check`: compares the heads of the vendors' public logs, and looks up the stamps that were accepted
//! here. For a timer; never on the path of mail.

use super::logs::{self, Vendor};
use crate::cli::ui::counts::{counted, grouped};
use crate::cli::ui::exit_status::{CANNOT_CREATE, CONFIG, DATA, Failure, UNAVAILABLE, USAGE};
use crate::cli::ui::output;
use crate::cli::ui::terminal_text::without_controls;
use crate::config::paths::{CliOverrides, Paths};
use crate::directory::public_log::Head;
use crate::directory::public_log::check::{Accepted, Checked, check};
use crate::directory::public_log::editions;
use crate::directory::public_log::evidence::{self, Found};
use crate::directory::public_log::place::{Place, Recorder};
use crate::directory::public_log::problem::Problem;
use crate::directory::public_log::state::{self, AcceptedStamp, LogState};
use crate::log::syslog::{self, Severity};
use crate::log::verdict_log::{Entry, VerdictLog};
use crate::mailbox::walk;
use crate::message::parse::Message;
use crate::os::clock;
use crate::stamp::extract::locate;
use crate::stamp::serial::Serial;
use crate::stamp::token::Token;
use crate::time::UnixTime;
use crate::transparency::witness::Quorum;
use crate::verdict::class::Class;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// Check the public logs of the trusted vendors: that all heads belong to one log, and that the stamps accepted here
/// more than two days ago are in it.
///
/// Whole days are read, so a vendor does not learn which stamps are looked up. The exit status is 0 when all is well, 69
/// when a log could not be read, is late or lacks witnesses, and 65 when a vendor did what an honest one does not. The evidence is written
/// then.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp trust check\n  \
    mailstamp trust check --quiet --mail ~/Maildir\n  \
    mailstamp trust check stamps.example --from /mnt/copy")]
pub struct Args {
    /// The vendors; all that are trusted, if none is given
    #[arg(value_name = "VENDOR")]
    vendors: Vec<String>,
    /// Read the log from a mirror, or a folder with a copy [default: the address in its name]
    #[arg(long, value_name = "PLACE")]
    from: Option<Place>,
    /// Look in this mail for the stamps that are evidence
    #[arg(long, value_name = "PATH")]
    mail: Vec<PathBuf>,
    /// The folder for evidence [default: logs/evidence in the folder of the state]
    #[arg(long, value_name = "FOLDER")]
    evidence: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print only what is wrong
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
}

/// Runs the command.
///
/// # Errors
/// A failure when no log can be checked.
pub fn run(args: &Args, given: &CliOverrides) -> Result<u8, Failure> {
    let (config, places) = Paths::read(given)?;
    let now = clock::now();
    let logs = logs::folder(&places)?;
    let _lock = state::lock(&logs).map_err(|error| logs::failure(&error))?;
    let vendors = logs::each(&places, &args.vendors, now)?;
    if vendors.is_empty() && !args.quiet && !args.json {
        output::line("no vendor is trusted yet")?;
    }
    let with_log = vendors.iter().filter(|(_, vendor)| !matches!(vendor, Ok(None)));
    let names: Vec<&str> = with_log.map(|(name, _)| name.as_str()).collect();
    if args.from.is_some() && names.len() > 1 {
        let text = format!("--from is a copy of one log, and {} would be checked: {}", names.len(), names.join(", "));
        return Err(Failure::new(USAGE, text).hint("name one vendor: mailstamp trust check VENDOR --from PLACE"));
    }
    let accepted = accepted(&VerdictLog::new(places.user_state()?))?;
    let evidence = args.evidence.clone().unwrap_or_else(|| logs.join("evidence"));
    let mut codes = BTreeSet::new();
    let mut reports = Vec::new();
    for (name, vendor) in vendors {
        let Some(vendor) = vendor.transpose() else {
            if !args.quiet && !args.json {
                output::line(&format!("{name}: not checked, no directory names a public log"))?;
            }
            reports.push(json!({ "vendor": name, "status": "unnamed", "problems": [] }));
            continue;
        };
        // The failure of one vendor's log affects only that one.
        let checked = vendor.and_then(|vendor| {
            let place = args.from.clone().unwrap_or_else(|| Place::of(&vendor.key));
            let stamps = accepted.get(&vendor.name).cloned().unwrap_or_default();
            let mut report = one((&vendor, &config.logs), &place, &logs, &stamps, now)?;
            if !args.json {
                report.print(args.quiet)?;
            }
            if report.status() == "alarm" {
                keep_evidence(
                    &mut report,
                    (&vendor, &config.logs),
                    (&place, &stamps),
                    &logs,
                    (&args.mail, &evidence),
                    now,
                )?;
            }
            Ok(report)
        });
        let (code, alarms, json) = match checked {
            Ok(report) => (report.code(), report.alarms(), report.json()),
            Err(failure) => {
                failure.report();
                let text = failure.message.clone();
                let status = if failure.code == DATA { "alarm" } else { "unreadable" };
                let json = json!({
                    "vendor": name, "status": status, "problems": [{ "problem": "failure", "text": text }],
                });
                (failure.code, vec![text], json)
            }
        };
        if let (DATA, Some(socket)) = (code, &config.syslog) {
            for alarm in alarms.iter().take(NAMED) {
                // A timer has no reader of standard error. No result depends on syslog.
                let _ = syslog::send(socket, Severity::Error, &format!("log alarm: {name}: {alarm}"));
            }
        }
        codes.insert(code);
        reports.push(json);
    }
    if args.json {
        output::line(&json!({ "schema": output::SCHEMA, "logs": reports }).to_string())?;
    }
    Ok(if codes.contains(&DATA) { DATA } else { codes.pop_last().unwrap_or(0) })
}

/// Most problems of a vendor that are printed.
const NAMED: usize = 100;
/// Most problems of a vendor for which evidence is written in one run.
const EVIDENCE: usize = 20;

/// What was found about one log.
struct Report {
    vendor: String,
    place: String,
    checked: Checked,
    evidence: Vec<PathBuf>,
}

/// Checks one log, and keeps its state.
fn one(
    (vendor, quorum): (&Vendor, &Quorum),
    place: &Place,
    logs: &Path,
    stamps: &Accepted,
    now: UnixTime,
) -> Result<Report, Failure> {
    let mut known = known(vendor, logs)?;
    let forked = editions::check(&vendor.logs, &mut known.edition, place);
    let (log, heads) = ((vendor.name.as_str(), &vendor.key), (vendor.heads.clone(), quorum));
    let mut checked = check(log, heads, (&place.to_string(), place), &mut known, stamps, now);
    checked.problems.splice(0..0, forked);
    checked.note_trouble(&mut known, now);
    if checked.problems.iter().any(|problem| matches!(problem, Problem::Unread { .. }) && checked.is_alarm(problem)) {
        // Editions that the vendor does not keep any more: the alarm is given once.
        known.edition = editions::newest_of(&vendor.logs);
    }
    state::write(logs, &vendor.name, &known).map_err(|error| logs::failure(&error))?;
    Ok(Report { vendor: vendor.name.clone(), place: place.to_string(), checked, evidence: Vec::new() })
}

/// Returns the state of the log; an empty one if it was never checked.
fn known(vendor: &Vendor, logs: &Path) -> Result<LogState, Failure> {
    let key = vendor.key.to_string();
    let known = state::read(logs, &vendor.name).map_err(|error| logs::failure(&error))?;
    let known = known.unwrap_or_else(|| LogState::new(&key));
    let path = state::path(logs, &vendor.name);
    if known.key == key {
        if !known.checkpoint.is_empty()
            && let Err(error) = Head::open(&known.checkpoint, &vendor.key, "")
        {
            return Err(Failure::new(CONFIG, format!("{}: {error}", path.display())));
        }
        return Ok(known);
    }
    let text = format!("{}: its directory names another key for its log than before", vendor.name);
    Err(Failure::new(DATA, text).hint(format!(
        "ask the vendor, in a way that you trust, why. If the reason is good, remove {} and check again",
        path.display()
    )))
}

/// Checks the log once more, keeps the files that are read, and writes a folder for each problem.
fn keep_evidence(
    report: &mut Report,
    (vendor, quorum): (&Vendor, &Quorum),
    (place, stamps): (&Place, &Accepted),
    logs: &Path,
    (mail, folder): (&[PathBuf], &Path),
    now: UnixTime,
) -> Result<(), Failure> {
    let recorder = Recorder::new(place);
    // The state without what this check found. Its problems are the same, unless the log has changed since.
    let mut known = known(vendor, logs)?;
    known.missing.clear();
    // Without what is known of days, the files before a day are read, too, and show where it begins.
    known.days.clear();
    known.read = None;
    let problems = &report.checked.problems;
    let wanted: Accepted = match problems.iter().any(|problem| matches!(problem, Problem::File(_))) {
        // The file was read for one of them.
        true => stamps.clone(),
        false => problems.iter().filter_map(|problem| stamp_of(problem, stamps)).collect(),
    };
    known.checked = UnixTime(i64::MIN);
    let (log, heads) = ((vendor.name.as_str(), &vendor.key), (vendor.heads.clone(), quorum));
    check(log, heads, (&report.place, &recorder), &mut known, &wanted, now);
    let found = in_mail(mail, &vendor.name, &wanted);
    let key = vendor.key.to_string();
    for problem in report.checked.problems.iter().filter(|problem| report.checked.is_alarm(problem)).take(EVIDENCE) {
        let stamp = stamp_of(problem, stamps).and_then(|(serial, _)| found.get(&serial));
        let found = Found {
            vendor: &vendor.name,
            key: &key,
            directory: vendor.logs.first().map(|log| log.directory.as_str()),
            files: &recorder.files.borrow(),
            stamp: stamp.map(String::as_str),
        };
        let written = evidence::write(folder, problem, &found)
            .map_err(|error| Failure::new(CANNOT_CREATE, format!("{}: {error}", folder.display())))?;
        tell(&format!("note: the evidence is in {}", written.display()));
        report.evidence.push(written);
    }
    if wanted.len() > found.len() && problems_of_stamps(&report.checked) {
        tell("note: without its stamp, evidence proves nothing: give --mail, where the message is");
    }
    Ok(())
}

/// Returns whether a problem is about a stamp.
fn problems_of_stamps(checked: &Checked) -> bool {
    checked.problems.iter().any(|problem| matches!(problem, Problem::Missing { .. }))
}

/// Prints a line to standard error.
fn tell(line: &str) {
    // Standard error may be closed by now, and there is no better channel.
    let _ = writeln!(io::stderr().lock(), "mailstamp: {}", without_controls(line));
}

/// Returns the stamp that a problem is about.
fn stamp_of(problem: &Problem, stamps: &Accepted) -> Option<(String, AcceptedStamp)> {
    match problem {
        Problem::Missing { serial, stamp, .. } => Some((serial.clone(), stamp.clone())),
        Problem::Value { serial, .. } => stamps.get(serial).map(|stamp| (serial.clone(), stamp.clone())),
        _ => None,
    }
}

/// Returns the stamps that the verdict log says were accepted, by vendor.
fn accepted(log: &VerdictLog) -> Result<BTreeMap<String, Accepted>, Failure> {
    let mut vendors: BTreeMap<String, Accepted> = BTreeMap::new();
    let read = log.each(&mut |entry: Entry| {
        let first_class = entry.event.is_none() && entry.class == Class::FirstClass.to_string();
        // A boundary looks up the stamps that it spent, and what a gateway was paid with is no stamp.
        if !first_class || entry.boundary.is_some() {
            return;
        }
        let (Some(vendor), Some(serial)) = (entry.vendor, entry.serial) else { return };
        let (Ok(accepted), Ok(_)) = (UnixTime::from_rfc3339(&entry.time), Serial::new(serial.as_str())) else { return };
        let stamp = AcceptedStamp { accepted, value: entry.value, message_id: entry.message_id };
        vendors.entry(vendor).or_default().entry(serial).or_insert(stamp);
    });
    read.map_err(|error| Failure::new(CONFIG, format!("the verdict log: {error}")))?;
    Ok(vendors)
}

/// Looks for stamps in stored mail. Returns their tokens by their serials.
fn in_mail(mail: &[PathBuf], vendor: &str, wanted: &Accepted) -> BTreeMap<String, String> {
    const LARGEST: u64 = 1024 * 1024;
    let mut found = BTreeMap::new();
    if wanted.is_empty() {
        return found;
    }
    let _ = walk::read(mail, LARGEST, &mut |entry| {
        if let walk::Entry::Unreadable(path, error) = &entry {
            tell(&format!("warning: {}: {error}", path.display()));
        }
        if let walk::Entry::Message(kept) = entry {
            for stamp in locate(&Message::parse(kept.bytes)).stamps {
                let Ok(token) = Token::parse(&stamp.token) else { continue };
                let of_vendor = token.issuer().is_ok_and(|issuer| issuer.vendor() == vendor);
                let claims: Option<Value> = serde_json::from_slice(token.payload()).ok();
                let serial = claims.as_ref().and_then(|claims| claims["jti"].as_str());
                if let Some(serial) = serial.filter(|serial| of_vendor && wanted.contains_key(*serial)) {
                    found.insert(serial.to_owned(), stamp.token.clone());
                }
            }
        }
        if found.len() == wanted.len() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    found
}

impl Report {
    fn status(&self) -> &'static str {
        if self.checked.problems.iter().any(|problem| self.checked.is_alarm(problem)) {
            "alarm"
        } else if self.checked.problems.iter().any(|problem| !matches!(problem, Problem::Unwitnessed(_))) {
            "unreadable"
        } else if !self.checked.problems.is_empty() {
            "unwitnessed"
        } else if self.checked.late > 0 {
            "late"
        } else {
            "good"
        }
    }

    fn code(&self) -> u8 {
        match self.status() {
            "good" => 0,
            "alarm" => DATA,
            _ => UNAVAILABLE,
        }
    }

    fn alarms(&self) -> Vec<String> {
        let alarms = self.checked.problems.iter().filter(|problem| self.checked.is_alarm(problem));
        alarms.map(ToString::to_string).collect()
    }

    fn print(&self, quiet: bool) -> io::Result<()> {
        let Self { vendor, place, checked, .. } = self;
        if self.status() == "good" && !quiet {
            let fresh = match checked.fresh {
                0 => String::new(),
                fresh => format!(", {} too fresh to look up", grouped(fresh)),
            };
            let (size, added) = (grouped(checked.size), grouped(checked.added));
            output::line(&format!(
                "{vendor}: {size} leaves, {added} new; {} found{fresh}",
                counted(checked.found, "stamp")
            ))?;
        }
        for problem in checked.problems.iter().take(NAMED) {
            let word = if checked.is_alarm(problem) { "alarm" } else { "warning" };
            tell(&format!("{word}: {vendor}: {problem}"));
        }
        if checked.problems.len() > NAMED {
            tell(&format!("alarm: {vendor}: {} problems in all", grouped(checked.problems.len() as u64)));
        }
        for odd in &checked.odd_times {
            tell(&format!("warning: {vendor}: {odd}"));
        }
        if checked.late > 0 {
            let late = counted(checked.late, "stamp");
            tell(&format!("warning: {vendor}: the log at {place} is late: {late} cannot be looked up yet"));
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let Self { vendor, place, checked, evidence } = self;
        let problems: Vec<Value> = checked
            .problems
            .iter()
            .map(|problem| {
                let is_alarm = checked.is_alarm(problem);
                json!({ "problem": problem.word(), "alarm": is_alarm, "text": problem.to_string() })
            })
            .collect();
        let odd_times: Vec<String> = checked.odd_times.iter().map(ToString::to_string).collect();
        json!({
            "vendor": vendor, "from": place, "status": self.status(), "size": checked.size, "added": checked.added,
            "heads": checked.heads, "witnesses": checked.witnesses, "odd_times": odd_times,
            "found": checked.found, "fresh": checked.fresh, "late": checked.late,
            "problems": problems, "evidence": evidence,
        })
    }
}
