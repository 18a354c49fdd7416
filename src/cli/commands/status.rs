//! `mailstamp status`: shows the status that the daemon reports. This side counts nothing.

use crate::cli::ui::counts::{Tally, counted, grouped, tame};
use crate::cli::ui::exit_status::{Failure, UNAVAILABLE};
use crate::cli::ui::{output, table};
use crate::config::paths::CliOverrides;
use crate::engine::remote::status::{self, Status, StatusOutcome};
use crate::verdict::reason::Reason;
use anstyle::{AnsiColor, Style};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{self, Write};

/// Show the state of the daemon that judges your mail (mailstamp serve).
///
/// The exit status is 0 when the daemon answers, and 69 when no daemon runs or answers.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp status\n  mailstamp status --json | jq .classes")]
pub struct Args {
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// A failure when no daemon answers.
pub fn run(args: &Args, given: &CliOverrides) -> Result<u8, Failure> {
    let (status, mut members) = match status::ask(given) {
        StatusOutcome::Well(status, members) => (status, members),
        StatusOutcome::NotRunning => {
            return Err(Failure::new(UNAVAILABLE, "no daemon is running")
                .hint("start one with mailstamp serve; without it each message is judged by a process of its own"));
        }
        StatusOutcome::Silent(socket) => {
            let what = format!("the process listening at {} does not answer", socket.display());
            return Err(
                Failure::new(UNAVAILABLE, what).hint("it may serve another user, or hang; see its own messages")
            );
        }
    };
    if args.json {
        members.insert("schema".to_owned(), output::SCHEMA.into());
        output::line(&Value::Object(members).to_string())?;
    } else {
        let mut out = anstream::AutoStream::auto(io::stdout().lock());
        out.write_all(text(&status).as_bytes())?;
        out.flush()?;
    }
    Ok(0)
}

/// Formats the status as text.
fn text(status: &Status) -> String {
    let none = Style::new();
    let warning = Style::new().fg_color(Some(AnsiColor::Yellow.into()));
    let Status { version, pid, since, .. } = status;
    let mut lines: Vec<(&str, Style, String)> = Vec::new();
    let running = format!("since {}, {}, version {}, process {pid}", tame(since), long(status.uptime), tame(version));
    lines.push(("running", none, running));
    if status.same_files == Some(false) {
        lines.push(("files", warning, "others than yours: it judges none of your messages".to_owned()));
    }
    lines.push(("connections", none, grouped(status.connections)));
    let waiting = if status.deferred > 0 { warning } else { none };
    let judged = format!("{} judged, {} deferred", grouped(status.messages), grouped(status.deferred));
    lines.push(("messages", waiting, judged));
    if let (Some(median), Some(p99)) = (status.latency.median, status.latency.p99) {
        lines.push(("latency", none, format!("median {}, 99 % within {}", short(median), short(p99))));
    }
    lines.push(match (status.log.answers, status.log.serials, status.log.bytes) {
        (true, Some(serials), Some(bytes)) => {
            let waiting = status.log.waiting.filter(|rows| *rows > 0);
            let waiting = waiting.map(|rows| format!(", {} in its journal", grouped(rows))).unwrap_or_default();
            let place = if status.store == "postgres" { " in PostgreSQL" } else { "" };
            ("log", none, format!("{} in {}{waiting}{place}", counted(serials, "serial"), counted(bytes, "byte")))
        }
        _ => ("log", warning, "does not answer now".to_owned()),
    });
    let answers: Vec<String> = answers(&status.log_answers);
    if !answers.is_empty() {
        lines.push(("others", none, format!("answered by the log: {}", answers.join(", "))));
    }
    if let Some(replies) = status.replies {
        lines.push(("replies", none, format!("{} in 24 hours", grouped(replies))));
    }
    for directory in &status.directories {
        let style = if directory.health == "ok" { none } else { warning };
        let source = format!("{}: {}", tame(&directory.vendor), tame(&directory.source));
        lines.push(("directory", style, format!("{source}: {}: {}", tame(&directory.health), tame(&directory.text))));
    }
    let lines = lines.into_iter().map(|(what, style, text)| format!("{what:<11}  {style}{text}{style:#}\n"));
    let mut text: String = lines.collect();
    if status.messages > 0 {
        text = text + "\n" + &table::classes(&tally(&status.reasons));
    }
    text
}

/// Returns the answers that occurred, with their counts.
fn answers(counts: &BTreeMap<String, u64>) -> Vec<String> {
    let counts = counts.iter().filter(|(_, count)| **count > 0);
    counts.map(|(answer, count)| format!("{} {}", grouped(*count), tame(answer))).collect()
}

/// Counts the reasons, without those that only a later version knows.
fn tally(reasons: &BTreeMap<String, u64>) -> Tally {
    let mut tally = Tally::default();
    for reason in Reason::ALL {
        if let Some(count) = reasons.get(reason.as_str()) {
            tally.add_many(*reason, *count);
        }
    }
    tally
}

/// Formats a duration in its largest unit.
fn long(seconds: u64) -> String {
    let (count, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3_600 => (seconds / 60, "minute"),
        3_600..86_400 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("for {} {unit}{}", grouped(count), if count == 1 { "" } else { "s" })
}

/// Formats a duration below a minute.
fn short(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.2} ms", seconds * 1_000.0) } else { format!("{seconds:.1} s") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::remote::status::{Directory, Latency, Log};

    #[test]
    fn a_status_reads_as_lines_and_a_table() {
        let directory = Directory {
            vendor: "stamps.example".into(),
            source: "https://stamps.example/".into(),
            health: "error".into(),
            text: "went back\n".into(),
            age: Some(60),
        };
        let status = Status {
            version: "9.9".into(),
            pid: 7,
            since: "2026-11-22T00:00:00Z".into(),
            uptime: 90_000,
            messages: 1_003,
            deferred: 1,
            reasons: BTreeMap::from([("paid".into(), 1_000), ("no-stamp".into(), 2), ("unheard-of".into(), 1)]),
            latency: Latency { median: Some(0.000_052), p99: Some(1.25) },
            log: Log { answers: true, bytes: Some(1_600_000), serials: Some(1_000), waiting: Some(3) },
            log_answers: BTreeMap::from([("fresh".into(), 4), ("double-spend".into(), 0)]),
            replies: Some(0),
            directories: vec![directory],
            ..Status::default()
        };
        let text = anstream::adapter::strip_str(&super::text(&status)).to_string();
        let expected = "running      since 2026-11-22T00:00:00Z, for 1 day, version 9.9, process 7\n\
            connections  0\n\
            messages     1,003 judged, 1 deferred\n\
            latency      median 0.05 ms, 99 % within 1.2 s\n\
            log          1,000 serials in 1,600,000 bytes, 3 in its journal\n\
            others       answered by the log: 4 fresh\n\
            replies      0 in 24 hours\n\
            directory    stamps.example: https://stamps.example/: error: went back\\x0a\n\n\
            class        reason    messages   share\n\
            first-class               1,000  99.8 %\n";
        assert!(text.starts_with(expected), "{text}");
        let dumb = Status { same_files: Some(false), ..Status::default() };
        let text = anstream::adapter::strip_str(&super::text(&dumb)).to_string();
        assert!(
            text.contains("\nfiles        others than yours") && text.contains("\nlog          does not"),
            "{text}"
        );
    }
}
