//! Output of commands: JSON in one versioned form, lines that no text of a message can break, and colour only on a
//! terminal.

use super::exit_status::{Failure, IO};
use crate::mailbox::walk::Skipped;
use crate::message::header::readable;
use crate::os::standard_streams;
use crate::policy::decision::Decision;
#[cfg(feature = "sender")]
use crate::sender::stamp_request::{WalletStamp, WalletState};
use crate::stamp::extract::Place;
use crate::verdict::class::Class;
use crate::verdict::finding::Finding;
use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Version of every JSON object that a command prints. It grows when a member changes its meaning or is removed.
pub const SCHEMA: u32 = 1;

/// Checks that standard output is open for writing.
///
/// # Errors
/// A failure with status 74.
pub fn check() -> Result<(), Failure> {
    standard_streams::check_output().map_err(|error| Failure::output(IO, &error))
}

/// Writes one line to standard output.
pub fn line(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}")?;
    stdout.flush()
}

/// Writes a message to standard output and returns when it has arrived: on the disk, or at the reader of a pipe. The
/// caller deletes its own copy then.
///
/// # Errors
/// A failure with status 74.
pub fn hand_over(message: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(message).and_then(|()| stdout.flush());
    written.and_then(|()| standard_streams::drain_output()).map_err(|error| Failure::output(IO, &error))
}

/// Prints a note, which is no failure, to standard error.
pub fn note(text: &str) {
    // Standard error may be closed by now.
    let _ = writeln!(io::stderr().lock(), "mailstamp: note: {}", super::terminal_text::without_controls(text));
}

/// Prints a warning, which is no failure, to standard error.
pub fn warning(text: &str) {
    // Standard error may be closed by now.
    let _ = writeln!(io::stderr().lock(), "mailstamp: warning: {}", super::terminal_text::without_controls(text));
}

/// Returns a stamp of the wallet as JSON, with the stamp itself or without.
#[cfg(feature = "sender")]
#[must_use]
pub fn held(held: &WalletStamp, whole: bool) -> Value {
    let mut object = json!({
        "schema": SCHEMA,
        "recipient": held.recipient.to_string(),
        "vendor": held.vendor,
        "serial": held.serial.as_str(),
        "value": held.value,
        "not_before": held.not_before.map(|time| time.to_string()),
        "expires": held.expires.map(|time| time.to_string()),
        "bought": held.bought.to_string(),
        "state": held_state(held),
    });
    if let Some(object) = object.as_object_mut().filter(|_| whole) {
        object.insert("stamp".to_owned(), held.token.as_str().into());
    }
    object
}

/// Returns the word for the state of a stamp in the wallet.
#[cfg(feature = "sender")]
#[must_use]
pub fn held_state(held: &WalletStamp) -> &'static str {
    match held.state {
        WalletState::Unused => "unused",
        WalletState::Reserved { .. } => "reserved",
        WalletState::Used { .. } => "used",
    }
}

/// Returns a decision as JSON.
#[must_use]
pub fn decision(decision: &Decision) -> Value {
    let verdict = &decision.verdict;
    json!({
        "schema": SCHEMA,
        "class": verdict.class().as_str(),
        "reason": verdict.reason.as_str(),
        "exit": verdict.class().exit_code(),
        "rule": decision.rule,
        "action": decision.action.as_str(),
        "deciding_stamp": verdict.deciding_stamp,
        "boundary": verdict.boundary.as_ref().map(|it| &it.host),
        "stamps": verdict.findings.iter().map(finding).collect::<Vec<_>>(),
    })
}

fn finding(finding: &Finding) -> Value {
    json!({
        "place": place(finding.place),
        "vendor": finding.vendor,
        "key": finding.key_id,
        "serial": finding.serial.as_ref().map(|serial| serial.as_str()),
        "value": finding.value,
        "reason": finding.reason.map(|reason| reason.as_str()),
    })
}

/// Returns the word for the position of a stamp in the message.
#[must_use]
pub fn place(place: Place) -> &'static str {
    match place {
        Place::Header => "header",
        Place::Body => "body",
        Place::Subject => "subject",
    }
}

/// Returns green for mail that is let through, yellow for an unclear or underpaid stamp, red for a bad stamp.
#[must_use]
pub fn style(class: Class) -> Style {
    let colour = match class {
        Class::FirstClass | Class::Allowed => AnsiColor::Green,
        Class::Unstamped | Class::Underpaid | Class::Unverified => AnsiColor::Yellow,
        Class::Invalid | Class::Used | Class::Revoked => AnsiColor::Red,
    };
    Style::new().fg_color(Some(colour.into()))
}

/// Reports a file that a walk over stored mail passed over; those of a mail server only count.
pub fn skipped(path: &Path, why: Skipped) {
    if why == Skipped::Index {
        return;
    }
    note(&format!("{}: skipped: {why}", readable(path.as_os_str().as_bytes(), 1000)));
}
