//! Shared parts of `classify`, `filter` and `deliver`: the arguments by which a delivering program names the recipient,
//! and the run of the engine.

use super::exit_status::{Failure, TEMPFAIL};
use super::input::{self, Input};
use super::output;
use crate::config::SYSLOG;
use crate::config::paths::{CliOverrides, Paths};
use crate::context::used_log;
use crate::engine::judge::Engine;
use crate::engine::marking::Mode;
use crate::engine::remote::client::{DaemonClient, Logging};
use crate::engine::remote::protocol::{JudgeResponse, LARGEST};
use crate::engine::result_header;
use crate::engine::result_header::HeaderContext;
use crate::log::syslog::{self, Severity};
use crate::message::address::Address;
use crate::message::header::escape_untrusted;
use crate::message::parse::Message;
use crate::os::{standard_streams, without_numbers};
use crate::policy::decision::Decision;
use crate::time::UnixTime;
use crate::verdict::facts::Envelope;
use std::ffi::OsString;
use std::path::PathBuf;

/// Longest error text that is written to syslog, in bytes.
const LINE: usize = 1000;

/// The recipient, and the time of the judgement.
#[derive(Debug, Default, clap::Args)]
#[group(skip)]
pub struct Args {
    /// Judge for this one recipient; it must be one of the configured addresses
    #[arg(long, value_name = "ADDRESS")]
    pub recipient: Option<String>,
    /// The envelope sender, for the log
    #[arg(long, value_name = "ADDRESS", allow_hyphen_values = true)]
    pub sender: Option<OsString>,
    /// Judge as if it were this time (RFC 3339, or seconds since 1970)
    #[arg(long, value_name = "TIME")]
    pub now: Option<UnixTime>,
    /// Spend nothing and log nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Judged message.
pub struct Delivery {
    /// The message as it was read.
    pub input: Input,
    /// The judgement.
    pub decision: Decision,
    /// The settings that affect the header fields that are written.
    pub marks: HeaderContext,
}

/// Runs a command of the mail path. On any failure the message has to wait, and the reason goes to syslog. Before
/// anything is read or spent, standard input is checked, and standard output if the command prints.
///
/// # Errors
/// A failure with status 75.
pub fn run(given: &CliOverrides, prints: bool, command: impl FnOnce() -> Result<u8, Failure>) -> Result<u8, Failure> {
    let input = standard_streams::check_input().map_err(|error| Failure::input(TEMPFAIL, &error));
    let streams = input.and_then(|()| if prints { output::check() } else { Ok(()) });
    streams.and_then(|()| command()).map_err(|failure| {
        tell(given, &failure.message);
        Failure { code: TEMPFAIL, ..failure }
    })
}

/// Writes to syslog that a message has to wait. Uses the socket that the configuration names, or the usual one when the
/// configuration cannot be read.
pub fn tell(given: &CliOverrides, why: &str) {
    let socket = Paths::read(given).map_or_else(|_| Some(PathBuf::from(SYSLOG)), |(config, _)| config.syslog);
    if let Some(socket) = socket {
        let why = one_line(&without_numbers(why));
        let _ =
            syslog::send(&socket, Severity::Error, &format!("deferred: {}", escape_untrusted(why.as_bytes(), LINE)));
    }
}

/// Joins the lines of a text.
#[must_use]
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Reads the message and judges it, or has the daemon judge it. Writes to syslog and the verdict log.
///
/// # Errors
/// A failure: the message has to wait.
pub fn judge(args: &Args, given: &CliOverrides) -> Result<Delivery, Failure> {
    let mut begun = None;
    if let Some(elsewhere) = DaemonClient::connect(given, args.now) {
        let envelope = args.envelope()?;
        let input = input::read(LARGEST as u64).map_err(|error| Failure::input(TEMPFAIL, &error))?;
        let telling = if args.dry_run { Logging::ByCaller } else { Logging::Verdict };
        if !input.cut
            && let Some(JudgeResponse { decision, marks }) =
                elsewhere.judge(&Message::parse(&input.bytes), &envelope, args.marking(), telling)?
        {
            return Ok(Delivery { input, decision, marks });
        }
        begun = Some(input);
    }
    let mut engine = Engine::load(given, args.now)?;
    if !used_log::has_client(&engine.context.config) {
        let put_back = begun.map_or(Ok(()), |input| standard_streams::put_back_input(&input.bytes));
        put_back.map_err(|error| Failure::input(TEMPFAIL, &error))?;
        return Err(Failure::for_tools());
    }
    if engine.context.places.own_state.is_some() {
        // Only the daemon has the log; a large message is judged there by its header.
        engine.ask_resident(given);
    }
    let envelope = args.envelope()?;
    let input =
        input::resume(begun, engine.context.config.largest).map_err(|error| Failure::input(TEMPFAIL, &error))?;
    let message = Message::parse(&input.bytes);
    let marking = args.marking();
    let decision = if input.cut {
        engine.judge_beginning(&message, &envelope)?
    } else {
        engine.judge(&message, &envelope, marking)?
    };
    if marking == Mode::Spend {
        engine.record(&result_header::entry(&decision, &message, &envelope, engine.context.now));
        engine.keep_return(&message, &decision);
    }
    Ok(Delivery { input, decision, marks: HeaderContext::of(&engine.context.config) })
}

impl Args {
    /// Returns the envelope that the arguments name.
    ///
    /// # Errors
    /// A failure when the recipient is no address.
    pub fn envelope(&self) -> Result<Envelope, Failure> {
        // The sender's host chooses these bytes. They are for the log only, so they need not be text.
        let sender = self.sender.as_ref().map(|sender| sender.to_string_lossy());
        envelope(self.recipient.as_deref(), sender.as_deref())
    }

    /// Returns whether the stamp is spent.
    #[must_use]
    pub fn marking(&self) -> Mode {
        if self.dry_run { Mode::DryRun } else { Mode::Spend }
    }
}

/// Returns the envelope that the arguments name.
///
/// # Errors
/// A failure when the recipient is no address.
pub fn envelope(recipient: Option<&str>, sender: Option<&str>) -> Result<Envelope, Failure> {
    let wrong = |error| Failure::new(TEMPFAIL, format!("--recipient {:?}: {error}", recipient.unwrap_or_default()));
    let recipient = recipient.map(Address::parse).transpose().map_err(wrong)?;
    Ok(Envelope { sender: sender.map(str::to_owned), recipient })
}
