//! `mailstamp explain`: shows the judgement of a message, check by check. It writes nothing and spends nothing.

use crate::boundary::seal::may_be_sealed;
use crate::cli::ui::exit_status::{Failure, IO};
use crate::cli::ui::judge;
use crate::cli::ui::{input, output};
use crate::config::paths::CliOverrides;
use crate::engine::judge::Engine;
use crate::engine::marking::Mode;
use crate::message::header::readable;
use crate::message::parse::Message;
use crate::policy::decision::Decision;
use crate::time::UnixTime;
use crate::verdict::finding::{CheckStep, Finding, Verdict};
use crate::verdict::reason::Reason;
use anstyle::{AnsiColor, Style};
use std::io::{self, Write};

/// Read a message on standard input and say step by step why it has its class.
///
/// Nothing is written and no stamp is spent: a good stamp is shown as if it were spent now.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "mailstamp explain [OPTIONS] < MESSAGE",
    after_help = "Examples:\n  \
    mailstamp explain < message\n  \
    mailstamp explain --now 2026-12-24T12:00:00Z < message\n  \
    In mutt: <pipe-message>mailstamp explain"
)]
pub struct Args {
    /// Judge for this one recipient; it must be one of the configured addresses
    #[arg(long, value_name = "ADDRESS")]
    pub recipient: Option<String>,
    /// Judge as if it were this time (RFC 3339, or seconds since 1970)
    #[arg(long, value_name = "TIME")]
    now: Option<UnixTime>,
    /// Print the verdict as a JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// A failure when nothing could be decided.
pub fn run(args: &Args, given: &CliOverrides) -> Result<u8, Failure> {
    let engine = Engine::load(given, args.now)?;
    let envelope = judge::envelope(args.recipient.as_deref(), None)?;
    let input = input::message(engine.context.config.largest)?;
    let message = Message::parse(&input.bytes);
    let decision = if input.cut {
        engine.judge_beginning(&message, &envelope)?
    } else {
        engine.judge(&message, &envelope, Mode::DryRun)?
    };
    if args.json {
        let mut object = output::decision(&decision);
        if let Some(object) = object.as_object_mut() {
            object.insert("sentence".to_owned(), why(&decision.verdict).into());
        }
        output::line(&object.to_string())?;
        return Ok(0);
    }
    let mut out = anstream::AutoStream::auto(io::stdout().lock());
    let written = tell(&decision, may_be_sealed(&message), &mut out).and_then(|()| out.flush());
    written.map_err(|error| Failure::output(IO, &error))?;
    Ok(0)
}

fn tell(decision: &Decision, may_be_sealed: bool, out: &mut impl Write) -> io::Result<()> {
    let verdict = &decision.verdict;
    let count = verdict.findings.len();
    if let Some(believed) = &verdict.boundary {
        let host = readable(believed.host.as_bytes(), 200);
        writeln!(out, "the boundary {host} judged it, and its seal holds; the stamps were not judged here")?;
        for finding in &verdict.findings {
            writeln!(out, "stamp {}", describe(finding))?;
        }
    } else {
        if may_be_sealed {
            writeln!(
                out,
                "a seal in the header does not count: it is for another message or recipient, too old, or used too often, \
                 or trusted_boundaries has no such key for its host"
            )?;
        }
        for (index, finding) in verdict.findings.iter().enumerate() {
            writeln!(out, "stamp {} of {count}, {}", index + 1, describe(finding))?;
            checks(finding, out)?;
        }
    }
    if count == 0 {
        writeln!(out, "no stamp was found in the header, at the ends of the first text part, or in the subject")?;
    }
    let style = output::style(verdict.class());
    writeln!(out, "{style}{}{style:#} ({}): {}", verdict.class(), verdict.reason, why(verdict))?;
    if let Some(rule) = &decision.rule {
        writeln!(out, "the rule is {}", readable(rule.as_bytes(), 200))?;
    }
    writeln!(out, "the action is {}", decision.action)
}

/// Returns what the reason of the verdict says.
fn why(verdict: &Verdict) -> &'static str {
    let deciding = verdict.stamp().filter(|finding| finding.reason == Some(verdict.reason));
    deciding.map_or_else(|| verdict.reason.sentence(), |finding| sentence(finding, verdict.reason))
}

fn describe(finding: &Finding) -> String {
    let mut text = format!("in the {}", output::place(finding.place));
    let issuer = if is_from_address(finding) { "issuer" } else { "vendor" };
    for (name, value) in [(issuer, &finding.vendor), ("key", &finding.key_id)] {
        if let Some(value) = value {
            text.push_str(&format!(", {name} {}", readable(value.as_bytes(), 200)));
        }
    }
    if let Some(serial) = &finding.serial {
        text.push_str(&format!(", serial {serial}"));
    }
    if let Some(value) = finding.value {
        text.push_str(&format!(", value {value}"));
    }
    // From may be another address, as of a list that rewrites it.
    if let Some(sender) = finding.sender.as_ref().filter(|_| is_from_address(finding)) {
        text.push_str(&format!(", given to {}", readable(sender.to_string().as_bytes(), 600)));
    }
    text
}

/// Returns what the reason says of this stamp.
fn sentence(finding: &Finding, reason: Reason) -> &'static str {
    match reason {
        Reason::UnknownVendor if is_from_address(finding) => {
            "an address issued it, of which no key is known here; that of a mailing list is accepted by \"peer pin\""
        }
        Reason::UnknownKey if is_from_address(finding) => {
            "an address issued it that has other keys here; a mailing list may have a new one for \"peer pin\""
        }
        _ => reason.sentence(),
    }
}

fn is_from_address(finding: &Finding) -> bool {
    finding.vendor.as_ref().is_some_and(|vendor| vendor.contains('@'))
}

fn checks(finding: &Finding, out: &mut impl Write) -> io::Result<()> {
    let good = Style::new().fg_color(Some(AnsiColor::Green.into()));
    let bad = Style::new().fg_color(Some(AnsiColor::Red.into()));
    let failed = finding.reason.and_then(CheckStep::source_stamp);
    let is_again = finding.reason == Some(Reason::Again);
    let applies = |check: &CheckStep| match check {
        CheckStep::Holder => finding.holder.is_some() || failed == Some(*check),
        // The configuration may have changed since, and the stamp may have ended.
        CheckStep::Recipient | CheckStep::Window | CheckStep::Price => !is_again,
        _ => true,
    };
    for check in CheckStep::ALL.into_iter().filter(applies) {
        if Some(check) == failed {
            let why = finding.reason.map_or("", |reason| sentence(finding, reason));
            return writeln!(out, "  {bad}no {bad:#} {} ({why})", check.question());
        }
        writeln!(out, "  {good}yes{good:#} {}", check.question())?;
    }
    match finding.reason {
        Some(Reason::Again) => {
            writeln!(out, "      {}; address, window and price counted then", Reason::Again.sentence())
        }
        Some(reason) => writeln!(out, "      {}", reason.sentence()),
        None => writeln!(out, "      it is good, and was left unspent because another stamp decided already"),
    }
}
