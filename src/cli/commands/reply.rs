//! `mailstamp reply`: shows or sends the automatic reply to one message. `test` is for people. `send` runs beside the
//! delivery in procmail, maildrop or Sieve, and never affects the delivery of the message.

use crate::autoreply::suppression::SuppressReason;
use crate::autoreply::template::RetainedAs;
use crate::cli::ui::exit_status::Failure;
use crate::cli::ui::{input, judge, output};
use crate::config::paths::CliOverrides;
use crate::engine::auto_reply::{PreparedReply, ReplyOutcome};
use crate::engine::judge::Engine;
use crate::engine::marking::Mode;
use crate::message::header::readable;
use crate::message::parse::Message;
use crate::policy::decision::Decision;
use crate::time::UnixTime;
use crate::verdict::facts::Envelope;
use serde_json::json;
use std::ffi::OsString;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Show whether a reply would be sent, why not, and its text
    Test(TestArgs),
    /// Send the reply that is due to a message, if one is
    Send(SendArgs),
}

/// Sender and recipient of a message.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Incoming {
    /// Judge for this one recipient; it must be one of the configured addresses
    #[arg(long, value_name = "ADDRESS")]
    recipient: Option<String>,
    /// The envelope sender, empty for the null sender [default: SENDER, else the Return-Path field]
    #[arg(long, value_name = "ADDRESS", allow_hyphen_values = true)]
    sender: Option<OsString>,
    /// Judge as if it were this time (RFC 3339, or seconds since 1970)
    #[arg(long, value_name = "TIME")]
    now: Option<UnixTime>,
}

/// Read a message on standard input and show whether an automatic reply would be sent, why not, and its text.
///
/// Nothing is written, spent or sent.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "mailstamp reply test [OPTIONS] < MESSAGE",
    after_help = "Examples:\n  \
    mailstamp reply test < message\n  \
    mailstamp reply test --sender bob@far.example < message"
)]
pub struct TestArgs {
    #[command(flatten)]
    envelope: Incoming,
    /// Print the answer as a JSON object
    #[arg(long)]
    json: bool,
}

/// Read a message on standard input and send the automatic reply that is due to it, if one is.
///
/// The message is judged again, without spending. The exit status is 0 whether a reply was sent, was not due, or could
/// not be sent, and 75 when no decision was possible.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailstamp reply send < message\n  \
    :0 ci                                in a .procmailrc\n  \
    | mailstamp reply send")]
pub struct SendArgs {
    #[command(flatten)]
    envelope: Incoming,
}

impl Command {
    /// Returns whether the command prints its result; `send` checks for itself, since a message waits.
    #[must_use]
    pub fn prints(&self) -> bool {
        matches!(self, Self::Test(_))
    }

    /// Returns the recipient that the caller names.
    #[must_use]
    pub fn recipient(&self) -> Option<String> {
        match self {
            Self::Test(args) => args.envelope.recipient.clone(),
            Self::Send(args) => args.envelope.recipient.clone(),
        }
    }
}

/// Runs a subcommand.
///
/// # Errors
/// A failure; for `send` always with status 75.
pub fn run(command: &Command, given: &CliOverrides) -> Result<u8, Failure> {
    match command {
        Command::Test(args) => test(args, given),
        Command::Send(args) => judge::run(given, true, || send(args, given)),
    }
}

/// Message that was judged without spending.
struct Judged {
    engine: Engine,
    envelope: Envelope,
    bytes: Vec<u8>,
    decision: Decision,
}

fn judge(args: &Incoming, given: &CliOverrides) -> Result<Judged, Failure> {
    let engine = Engine::load(given, args.now)?;
    let sender = args.sender.as_ref().map(|sender| sender.to_string_lossy().into_owned());
    let sender = sender.or_else(|| given.sender_variable.clone());
    let envelope = judge::envelope(args.recipient.as_deref(), sender.as_deref())?;
    let input = input::message(engine.context.config.largest)?;
    let message = Message::parse(&input.bytes);
    let decision = if input.cut {
        input::rest(&mut std::io::sink())?;
        engine.judge_beginning(&message, &envelope)?
    } else {
        engine.judge(&message, &envelope, Mode::DryRun)?
    };
    Ok(Judged { engine, envelope, bytes: input.bytes, decision })
}

fn send(args: &SendArgs, given: &CliOverrides) -> Result<u8, Failure> {
    let Judged { engine, envelope, bytes, decision } = judge(&args.envelope, given)?;
    match engine.answer(&Message::parse(&bytes), &envelope, &decision, RetainedAs::No) {
        ReplyOutcome::Sent(kind) => output::line(&format!("yes {kind}"))?,
        ReplyOutcome::No(why) => output::line(&format!("no {why}"))?,
        ReplyOutcome::Failed(trouble) => Failure::new(0, readable(trouble.to_string().as_bytes(), 1000)).report(),
    }
    Ok(0)
}

fn test(args: &TestArgs, given: &CliOverrides) -> Result<u8, Failure> {
    let Judged { engine, envelope, bytes, decision } = judge(&args.envelope, given)?;
    let reply = engine.reply(&Message::parse(&bytes), &envelope, &decision, RetainedAs::No).map_err(Failure::from)?;
    let (ready, why) = match reply {
        Err(why) => (None, Some(why)),
        Ok(ready) => {
            let why = engine.rate_limited(&ready.due)?;
            (Some(ready), why)
        }
    };
    if args.json {
        output::line(&object(ready.as_ref(), why, &decision).to_string())?;
        return Ok(0);
    }
    if let Some(why) = why {
        output::line(&format!("no {why} ({})", why.sentence()))?;
    }
    if let Some(PreparedReply { due, letter }) = ready {
        if why.is_none() {
            output::line(&format!("yes {} to {}", due.kind, due.sender.address))?;
        }
        output::line(&format!("\n{}", letter.text.trim_end()))?;
    }
    Ok(0)
}

fn object(ready: Option<&PreparedReply>, why: Option<SuppressReason>, decision: &Decision) -> serde_json::Value {
    json!({
        "schema": output::SCHEMA,
        "reply": why.is_none(),
        "why": why.map(SuppressReason::as_str),
        "kind": ready.map(|ready| ready.due.kind.as_str()),
        "to": ready.map(|ready| ready.letter.to.to_string()),
        "rate_limit_key": ready.map(|ready| ready.due.sender.counted.normalized()),
        "letter": ready.map(|ready| ready.letter.text.as_str()),
        "class": decision.class().as_str(),
        "reason": decision.verdict.reason.as_str(),
        "action": decision.action.as_str(),
    })
}
