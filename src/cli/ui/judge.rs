//! What `classify`, `filter` and `deliver` share: the arguments by which a delivering program says whom a message is for,
//! and the run of the engine on it.

use super::exit_status::{Failure, TEMPFAIL};
use super::input::{self, Input};
use crate::config::SYSLOG;
use crate::config::paths::{CliOverrides, Paths};
use crate::engine::marking::Mode;
use crate::engine::remote::client::{DaemonClient, Logging};
use crate::engine::remote::protocol::{JudgeResponse, LARGEST};
use crate::engine::result_header::HeaderContext;
use crate::engine::{context, result_header};
use crate::log::syslog::{self, Severity};
use crate::message::address::Address;
use crate::message::header::escape_untrusted;
use crate::message::parse::Message;
use crate::policy::decision::Decision;
use crate::time::UnixTime;
use crate::verdict::facts::Envelope;
use std::ffi::OsString;
use std::path::PathBuf;

/// Of an error so many characters go into the system's log.
const LINE: usize = 1000;

/// Whom a message is for, and when it is judged.
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

/// A judged message.
pub struct Delivery {
    /// What was read of it.
    pub input: Input,
    /// The judgement.
    pub decision: Decision,
    /// What of the configuration shows in the message.
    pub marks: HeaderContext,
}

/// Runs a command of the mail path: whatever goes wrong, the message has to wait, and the system's log is told why.
///
/// # Errors
/// A failure with status 75.
pub fn run(given: &CliOverrides, command: impl FnOnce() -> Result<u8, Failure>) -> Result<u8, Failure> {
    command().map_err(|failure| {
        tell(given, &failure.message);
        Failure { code: TEMPFAIL, ..failure }
    })
}

/// Tells the system's log that a message has to wait: at the place that the configuration names, or at the usual one when it
/// is the configuration that cannot be read.
pub fn tell(given: &CliOverrides, why: &str) {
    let socket = Paths::read(given).map_or_else(|_| Some(PathBuf::from(SYSLOG)), |(config, _)| config.syslog);
    if let Some(socket) = socket {
        let why = one_line(why);
        let _ =
            syslog::send(&socket, Severity::Error, &format!("deferred: {}", escape_untrusted(why.as_bytes(), LINE)));
    }
}

/// A text of several lines in one.
#[must_use]
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Reads the message and judges it, or has the resident process judge it; tells syslog and the verdict log.
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
    let engine = context::load(given, args.now)?;
    let envelope = args.envelope()?;
    let input = input::resume(begun, engine.config.largest).map_err(|error| Failure::input(TEMPFAIL, &error))?;
    let message = Message::parse(&input.bytes);
    let marking = args.marking();
    let decision = if input.cut {
        engine.judge_beginning(&message, &envelope)?
    } else {
        engine.judge(&message, &envelope, marking)?
    };
    if marking == Mode::Spend {
        engine.record(&result_header::entry(&decision, &message, &envelope, engine.now));
        engine.keep_return(&message, &decision);
    }
    Ok(Delivery { input, decision, marks: HeaderContext::of(&engine.config) })
}

impl Args {
    /// The envelope as the arguments give it.
    ///
    /// # Errors
    /// A failure when the recipient is no address.
    pub fn envelope(&self) -> Result<Envelope, Failure> {
        // Whoever sends chooses these bytes, and they are for the log only: they need not be text.
        let sender = self.sender.as_ref().map(|sender| sender.to_string_lossy());
        envelope(self.recipient.as_deref(), sender.as_deref())
    }

    /// Whether the stamp is spent.
    #[must_use]
    pub fn marking(&self) -> Mode {
        if self.dry_run { Mode::DryRun } else { Mode::Spend }
    }
}

/// The envelope as the arguments give it.
///
/// # Errors
/// A failure when the recipient is no address.
pub fn envelope(recipient: Option<&str>, sender: Option<&str>) -> Result<Envelope, Failure> {
    let wrong = |error| Failure::new(TEMPFAIL, format!("--recipient {:?}: {error}", recipient.unwrap_or_default()));
    let recipient = recipient.map(Address::parse).transpose().map_err(wrong)?;
    Ok(Envelope { sender: sender.map(str::to_owned), recipient })
}
