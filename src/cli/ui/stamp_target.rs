//! Selects stamps: those on a message, those of a Message-ID, or one by its serial.

use super::exit_status::{DATA, Failure, NO_INPUT, USAGE};
use super::input;
use crate::engine::judge::Engine;
use crate::engine::result_header::LONGEST;
use crate::log::verdict_log::{Entry, VerdictLog};
use crate::mailbox::mbox::Messages;
use crate::message::header::{escape_untrusted, readable};
use crate::message::parse::Message;
use crate::stamp::serial::Serial;
use crate::verdict::facts::owner_named;

/// Hint where a Message-ID names no stamp.
const INSTEAD: &str = "pipe the message itself in, or name the stamp with --serial VENDOR/SERIAL";

/// Selection of stamps.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Args {
    /// The stamp with this serial
    #[arg(long, value_name = "VENDOR/SERIAL", conflicts_with = "message_id")]
    serial: Option<String>,
    /// The stamp that decided the class of the message with this Message-ID, as the verdict log has it
    #[arg(long, value_name = "ID")]
    message_id: Option<String>,
    /// The owner for whom a stamp of a mailing list is meant: a name, or an address; needed if the configuration has
    /// several and the message does not tell
    #[arg(long, value_name = "OWNER")]
    owner: Option<String>,
    /// The user whose state is meant, where the configuration has %u, %n or %d
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
}

/// Selected stamp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its vendor.
    pub vendor: String,
    /// Its serial.
    pub serial: Serial,
}

impl Args {
    /// Returns whether the user wrote the serial.
    #[must_use]
    pub fn names_serial(&self) -> bool {
        self.serial.is_some()
    }

    /// Returns the selected stamps: by serial, by Message-ID, or on the message on standard input. On a message, only
    /// stamps with a valid signature count: a forged stamp can carry any serial.
    ///
    /// # Errors
    /// A failure that says why there is none: status 65 for a message without a valid signature on a stamp, and for a
    /// Message-ID of several messages; 66 for a Message-ID that is not in the verdict log.
    pub fn resolve(&self, engine: &Engine) -> Result<Vec<Target>, Failure> {
        if let Some(text) = &self.serial {
            return self.of_owner(vec![named(text)?], None, engine);
        }
        if let Some(id) = &self.message_id {
            return self.of_owner(logged(id, engine)?, None, engine);
        }
        let input = input::message(engine.context.config.largest)?;
        let message = Message::parse(&input.bytes);
        if holds_another(&message) {
            return Err(Failure::new(DATA, "standard input: more than one message")
                .hint("pipe one message at a time, or name the stamp with --serial VENDOR/SERIAL"));
        }
        let findings = engine.identify(&message)?;
        let signed = findings.iter().filter(|finding| finding.reason.is_none());
        let targets: Vec<Target> = signed
            .filter_map(|finding| Some(Target { vendor: finding.vendor.clone()?, serial: finding.serial.clone()? }))
            .collect();
        match (targets.is_empty(), findings.first().and_then(|finding| finding.reason)) {
            (false, _) => self.of_owner(targets, Some(&message), engine),
            (true, None) => {
                Err(Failure::new(DATA, "no stamp in this message").hint("name the stamp with --serial VENDOR/SERIAL"))
            }
            (true, Some(reason)) => {
                Err(Failure::new(DATA, format!("the stamp in this message does not count: {}", reason.sentence()))
                    .hint("name it with --serial VENDOR/SERIAL if you mean it all the same"))
            }
        }
    }
}

impl Args {
    /// Returns the stamps by the names under which the log has their statuses: of a list's stamp, each owner has their
    /// own.
    fn of_owner(
        &self,
        targets: Vec<Target>,
        message: Option<&Message<'_>>,
        engine: &Engine,
    ) -> Result<Vec<Target>, Failure> {
        let unknown = || Failure::new(DATA, "the configuration has several owners").hint("name one with --owner");
        let owner = self.owner.as_deref().map(|name| {
            owner_named(&engine.context.config.mailboxes, name).ok_or_else(|| {
                let shown = readable(name.as_bytes(), 200);
                Failure::new(USAGE, format!("--owner: {shown} is neither an owner nor one of your addresses"))
            })
        });
        let owner = owner.transpose()?;
        let named = targets.into_iter().map(|Target { vendor, serial }| {
            let vendor = engine.status_name(&vendor, message, owner)?.ok_or_else(unknown)?;
            Ok(Target { vendor, serial })
        });
        named.collect()
    }
}

/// Returns whether another message with a stamp follows the first one: in the form of an mbox file, or behind its text.
/// Mail readers pipe several selected messages so.
fn holds_another(message: &Message<'_>) -> bool {
    let raw = message.raw();
    let count_as_mbox = || Messages::new(raw, u64::MAX).filter(Result::is_ok).take(2).count();
    if raw.starts_with(b"From ") && count_as_mbox() > 1 {
        return true;
    }
    let kind = message.first("Content-Type").map(|field| String::from_utf8_lossy(&field.unfolded()).into_owned());
    let kind = kind.unwrap_or_default();
    let is = |name: &str| kind.trim_start().get(..name.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(name));
    // A field inside an attached message is no second message.
    let end = if is("multipart/") { boundary(&kind).map(|boundary| format!("--{boundary}--")) } else { None };
    if is("message/") || is("multipart/") && end.is_none() {
        return false;
    }
    let mut lines = message.body().split(|&b| b == b'\n').map(<[u8]>::trim_ascii_end);
    if let Some(end) = end {
        let _ = lines.by_ref().find(|line| *line == end.as_bytes());
    }
    let name = b"Digital-Stamp:";
    lines.any(|line| line.get(..name.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(name)))
}

/// Returns the boundary in the value of a Content-Type field, if it stands there in a plain form.
fn boundary(kind: &str) -> Option<&str> {
    let at = kind.to_ascii_lowercase().find("boundary=")? + "boundary=".len();
    let value = kind.get(at..)?;
    match value.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next(),
        None => value.split([';', ' ', '\t']).next(),
    }
    .filter(|boundary| !boundary.is_empty())
}

fn named(text: &str) -> Result<Target, Failure> {
    let wrong = |problem: String| Failure::new(DATA, format!("--serial {text}: {problem}"));
    let (vendor, serial) = text.rsplit_once('/').ok_or_else(|| wrong("write VENDOR/SERIAL".to_owned()))?;
    let serial = Serial::new(serial).map_err(|error| wrong(error.to_string()))?;
    let issuer = crate::stamp::token::Issuer::new(vendor, "any").map_err(|error| wrong(error.to_string()))?;
    Ok(Target { vendor: issuer.vendor().to_owned(), serial })
}

fn logged(id: &str, engine: &Engine) -> Result<Vec<Target>, Failure> {
    let id = id.trim();
    let bracketed = if id.starts_with('<') { id.to_owned() } else { format!("<{id}>") };
    let log = VerdictLog::new(engine.context.places.user_state()?);
    let written = escape_untrusted(bracketed.as_bytes(), LONGEST);
    // Any sender may write any Message-ID. The log keeps its beginning only, so a longer one names no message.
    if written.len() < escape_untrusted(bracketed.as_bytes(), usize::MAX).len() {
        return Err(Failure::new(DATA, format!("Message-ID {written}: longer than {LONGEST} bytes")).hint(INSTEAD));
    }
    let found = log.judgements_of(&written)?;
    let target = |entry: &Entry| {
        let vendor = entry.vendor.clone()?;
        Some(Target { vendor, serial: Serial::new(entry.serial.as_deref()?).ok()? })
    };
    let targets: Vec<Target> = found.iter().filter_map(target).collect();
    if targets.is_empty() {
        return Err(
            Failure::new(NO_INPUT, format!("the verdict log has no stamp for message {bracketed}")).hint(INSTEAD)
        );
    }
    if found.len() > 1 {
        let told = |entry: &Entry| {
            let stamp =
                target(entry).map_or_else(|| "no stamp".to_owned(), |it| format!("{}/{}", it.vendor, it.serial));
            format!("{stamp} from {}", entry.from.as_deref().unwrap_or("-"))
        };
        let list: Vec<String> = found.iter().map(told).collect();
        let text = format!("message {bracketed}: {} messages have this Message-ID: {}", found.len(), list.join(", "));
        return Err(Failure::new(DATA, text).hint(INSTEAD));
    }
    Ok(targets)
}
