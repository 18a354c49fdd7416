//! `mailstamp grants`: lists grants and revocations, and the senders that presented a revoked stamp again.

use super::correspondents::StatusName;
use crate::cli::ui::exit_status::Failure;
use crate::cli::ui::output;
use crate::config::paths::CliOverrides;
use crate::context::Context;
use crate::grant::StampStatus;
use crate::message::header::readable;
use crate::stamp::serial::Serial;
use crate::time::UnixTime;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::ops::ControlFlow;

/// List grants and revocations.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  mailstamp grants\n  mailstamp grants --refused\n  mailstamp grants --json stamps.example"
)]
pub struct Args {
    /// Only those whose vendor, serial or note contains this
    #[arg(value_name = "TEXT")]
    text: Option<String>,
    /// Only grants in force
    #[arg(long, conflicts_with = "revoked")]
    active: bool,
    /// Only revoked stamps
    #[arg(long)]
    revoked: bool,
    /// Only revoked stamps that were presented again
    #[arg(long)]
    refused: bool,
    /// Print JSON lines
    #[arg(long)]
    json: bool,
    /// The user whose state is meant, where the configuration has %u, %n or %d
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
}

pub fn run(args: &Args, given: &CliOverrides) -> Result<u8, Failure> {
    let context = Context::load(given, None)?;
    let mut rows = Vec::new();
    {
        // Collected first: deliveries wait as long as the log is locked.
        let log = context.used_log()?;
        log.standings(&mut |vendor, serial, standing| {
            if args.wants(&vendor, &serial, &standing, context.now) {
                rows.push((vendor, serial, standing));
            }
            ControlFlow::Continue(())
        })?;
    }
    rows.sort_by_key(|(_, _, standing)| standing.grant.as_ref().map(|grant| grant.since).max(standing.revoked));
    let mut stdout = io::stdout().lock();
    for (vendor, serial, standing) in &rows {
        if args.json {
            writeln!(stdout, "{}", to_json(&StatusName::of(vendor, &context), serial, standing, context.now))?;
        } else {
            writeln!(stdout, "{}", to_text(&StatusName::of(vendor, &context), serial, standing, context.now))?;
        }
    }
    stdout.flush()?;
    if rows.is_empty() && !args.json {
        output::note("there is no such grant or revocation");
    }
    Ok(0)
}

impl Args {
    fn wants(&self, vendor: &str, serial: &Serial, standing: &StampStatus, now: UnixTime) -> bool {
        let note = standing.grant.as_ref().and_then(|grant| grant.note.as_deref()).unwrap_or_default();
        let named = |text: &String| [vendor, serial.as_str(), note].iter().any(|part| part.contains(text.as_str()));
        self.text.as_ref().is_none_or(named)
            && (!self.active || state(standing, now) == "active")
            && (!self.revoked || standing.revoked.is_some())
            && (!self.refused || standing.refused.is_some())
    }
}

fn state(standing: &StampStatus, now: UnixTime) -> &'static str {
    match (standing.revoked, &standing.grant) {
        (Some(_), _) => "revoked",
        (None, Some(grant)) if grant.suspended.is_some() => "suspended",
        (None, Some(grant)) if grant.active(now) => "active",
        (None, Some(_)) => "ended",
        (None, None) => "none",
    }
}

fn to_text(name: &StatusName<'_>, serial: &Serial, standing: &StampStatus, now: UnixTime) -> String {
    let shown = |text: &str| readable(text.as_bytes(), 600);
    let mut text = format!("{:<9}  {}", state(standing, now), name.with_serial(serial));
    if let Some(grant) = &standing.grant {
        text.push_str(&format!("  {} since {}", grant.kind, UnixTime(grant.since)));
        if let Some(until) = grant.until {
            text.push_str(&format!(" until {}", UnixTime(until)));
        }
        if let Some(uses) = grant.uses {
            text.push_str(&format!(", used {} of {uses} times", grant.used_for.len()));
        }
        if let Some(at) = grant.suspended {
            text.push_str(&format!(", suspended {}: a third sender came under it", UnixTime(at)));
        }
        if let Some(note) = &grant.note {
            text.push_str(&format!(" ({})", shown(note)));
        }
    }
    if let Some(since) = standing.revoked {
        text.push_str(&format!("  revoked {}", UnixTime(since)));
    }
    if let Some(refused) = &standing.refused {
        let from = refused.from.as_deref().map_or("an unknown sender".to_owned(), shown);
        text.push_str(&format!(
            ", presented while revoked: {}, last {} by {from}",
            refused.times,
            UnixTime(refused.last)
        ));
    }
    text
}

fn to_json(name: &StatusName<'_>, serial: &Serial, standing: &StampStatus, now: UnixTime) -> Value {
    let time = |seconds: i64| UnixTime(seconds).to_string();
    let grant = standing.grant.as_ref();
    json!({
        "schema": output::SCHEMA,
        "vendor": name.issuer,
        "owner": name.owner,
        "serial": serial.as_str(),
        "state": state(standing, now),
        "kind": grant.map(|grant| grant.kind.as_str()),
        "since": grant.map(|grant| time(grant.since)),
        "until": grant.and_then(|grant| grant.until).map(time),
        "uses": grant.and_then(|grant| grant.uses),
        "used": grant.map(|grant| grant.used_for.len()),
        "note": grant.and_then(|grant| grant.note.as_deref()),
        "suspended": grant.and_then(|grant| grant.suspended).map(time),
        "senders": grant.map(|grant| &grant.senders),
        "revoked": standing.revoked.map(time),
        "refused": standing.refused.as_ref().map(|refused| json!({
            "times": refused.times,
            "last": time(refused.last),
            "from": refused.from,
        })),
    })
}
