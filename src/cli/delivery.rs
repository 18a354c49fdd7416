//! What `classify`, `filter` and `deliver` share: the arguments by which a delivering program says whom a message is for, and the run
//! of the engine on it.

use super::exit::{Failure, TEMPFAIL};
use super::input::{self, Input};
use crate::config::places::Given;
use crate::filter::engine::Marking;
use crate::filter::question::{Answer, LARGEST};
use crate::filter::report::Marks;
use crate::filter::resident::{Elsewhere, Telling};
use crate::filter::{open, report};
use crate::mail::address::Address;
use crate::mail::message::Message;
use crate::mail::time::UnixTime;
use crate::rule::decision::Decision;
use crate::verdict::facts::Envelope;
use std::ffi::OsString;

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
    pub no_mark: bool,
}

/// A judged message.
pub struct Delivery {
    /// What was read of it.
    pub input: Input,
    /// The judgement.
    pub decision: Decision,
    /// What of the configuration shows in the message.
    pub marks: Marks,
}

/// Reads the message and judges it, or has the resident process judge it; tells syslog and the verdict log.
///
/// # Errors
/// A failure with status 75, whatever went wrong: the message has to wait.
pub fn judge(args: &Args, given: &Given) -> Result<Delivery, Failure> {
    let deferred = |failure: Failure| Failure { code: TEMPFAIL, ..failure };
    let mut begun = None;
    if let Some(elsewhere) = Elsewhere::find(given, args.now) {
        let envelope = args.envelope()?;
        let input = input::read(LARGEST as u64).map_err(|error| Failure::input(TEMPFAIL, &error))?;
        let telling = if args.no_mark { Telling::Nothing } else { Telling::Verdict };
        if !input.cut
            && let Some(Answer { decision, marks }) =
                elsewhere.judge(&Message::parse(&input.bytes), &envelope, args.marking(), telling)?
        {
            return Ok(Delivery { input, decision, marks });
        }
        begun = Some(input);
    }
    let engine = open::engine(given, args.now).map_err(|error| deferred(error.into()))?;
    let judged = || -> Result<(Input, Decision), Failure> {
        let envelope = args.envelope()?;
        let input = input::go_on(begun, engine.config.largest).map_err(|error| Failure::input(TEMPFAIL, &error))?;
        let message = Message::parse(&input.bytes);
        let marking = args.marking();
        let decision = if input.cut {
            engine.judge_beginning(&message, &envelope)?
        } else {
            engine.judge(&message, &envelope, marking)?
        };
        if marking == Marking::Spend {
            engine.record(&report::entry(&decision, &message, &envelope, engine.now));
            engine.keep_return(&message, &decision);
        }
        Ok((input, decision))
    };
    match judged() {
        Ok((input, decision)) => Ok(Delivery { input, decision, marks: Marks::of(&engine.config) }),
        Err(failure) => {
            engine.complain(&format!("deferred: {}", failure.message));
            Err(deferred(failure))
        }
    }
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
    pub fn marking(&self) -> Marking {
        if self.no_mark { Marking::Leave } else { Marking::Spend }
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
