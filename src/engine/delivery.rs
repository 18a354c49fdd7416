//! Delivery: judges a message and stores it as the user's actions say. It goes into a Maildir folder by its class, into
//! the quarantine, or is discarded.
//!
//! The order of steps makes a kill at any moment safe:
//!
//! 1. Room for the message is reserved in the Maildir. A message that cannot be delivered now is neither judged nor
//!    spent, so the mail system can try again as often as it likes.
//! 2. The message is judged and its stamp spent, durably.
//! 3. The message is written, synced and linked into its folder.
//! 4. The delivery is logged. Only a discarded message is logged before it is dropped.
//! 5. The caller gets success last. A delivery that was cut off in between comes again, and its stamp identifies it.

use super::error::RecordError;
use super::judge::Engine;
use super::maildir_write::{WriteError, unique, write};
use super::marking::Mode;
use super::quarantine::{HeldError, Quarantine};
use super::result_header;
use super::result_header::HeaderContext;
use crate::autoreply::template::RetainedAs;
use crate::config::paths::PathsError;
use crate::context::CLEANED;
use crate::context::error::Deferral;
use crate::mailbox::maildir::{Draft, Maildir, MaildirError};
use crate::message::header::escape_untrusted;
use crate::message::parse::Message;
use crate::policy::action::Action;
use crate::verdict::class::Class;
use crate::verdict::facts::Envelope;
use std::io::{self, Read};
use std::path::Path;

/// Bytes reserved for the result fields. A value is cut at 200 characters, of at most four bytes each.
const HEADER_RESERVE: usize = 4096;

/// Held messages that one cleanup expires at most, each with its own sync.
/// A caller that waits for a delivery must not wait long. The next delivery goes on.
const EXPIRE_PER_DELIVERY: usize = 50;

/// A message to be delivered.
pub struct IncomingMessage<'a> {
    /// The message, or its beginning.
    pub bytes: &'a [u8],
    /// The rest of the message, if it was too large to be read.
    pub rest: Option<&'a mut dyn Read>,
    /// The envelope from the delivering program.
    pub envelope: Envelope,
    /// Whether a good stamp is spent.
    pub marking: Mode,
}

/// The destination of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// Delivered into this folder.
    Folder(String),
    /// Held, under this short name.
    Held(String),
    /// Discarded, by the user's action.
    Discarded,
}

/// The message was not delivered, and has to be tried again.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// It could not be judged.
    #[error(transparent)]
    Undecided(#[from] Deferral),
    /// It could not be put into the Maildir.
    #[error(transparent)]
    Maildir(#[from] MaildirError),
    /// It could not be held.
    #[error(transparent)]
    Held(#[from] HeldError),
    /// The log line of its discarding could not be written, so it was not discarded.
    #[error("not discarded: {0}")]
    Record(#[from] RecordError),
    /// Its rest could not be read or written, or the system has no random numbers.
    #[error("cannot deliver: {0}")]
    Io(#[from] io::Error),
}

impl DeliveryError {
    /// Returns what the user can do about it, where that is not plain from the error.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Undecided(error) | Self::Held(HeldError::Undecided(error)) => error.hint(),
            _ => None,
        }
    }
}

impl Engine {
    /// Delivers a message into the Maildir at `maildir`.
    /// When this returns, the message is in its folder and on the disk.
    ///
    /// # Errors
    /// [`DeliveryError`]: the message is in no folder, and must be tried again.
    pub fn deliver(&self, arrival: IncomingMessage<'_>, maildir: &Path) -> Result<DeliveryOutcome, DeliveryError> {
        let IncomingMessage { bytes, mut rest, envelope, marking } = arrival;
        let message = Message::parse(bytes);
        let maildir = Maildir::open(maildir)?;
        let folders = &self.context.config.deliver.folders;
        // A spent stamp leads to this folder or the quarantine, whatever the other classes lead to.
        let first = folders.of(Class::FirstClass);
        let inbox = maildir.folder(first.on_disk().as_deref())?;
        let aside =
            keeps(self.context.config.actions.of(Class::FirstClass)).then(|| Quarantine::open(self)).transpose()?;
        let mut draft = match &aside {
            Some(held) => held.draft()?,
            None => Draft::begin(&inbox, unique()?)?,
        };
        draft.reserve(bytes, HEADER_RESERVE)?;

        let decision = match rest {
            None => self.judge(&message, &envelope, marking)?,
            Some(_) => self.judge_beginning(&message, &envelope)?,
        };
        let mut entry = result_header::entry(&decision, &message, &envelope, self.context.now);
        let mut edit =
            result_header::with_result_headers(&message, &decision, &HeaderContext::of(&self.context.config));
        // The envelope line of an mbox is not part of the message.
        edit.remove_span(0..message.envelope_line().len());
        let delivered = match decision.action {
            Action::Deliver | Action::Tag => {
                let name = folders.of(decision.class());
                if name == first && aside.is_none() {
                    write(draft, &edit, rest)?;
                } else {
                    drop(draft);
                    let folder = maildir.folder(name.on_disk().as_deref())?;
                    write(Draft::begin(&folder, unique()?)?, &edit, rest)?;
                }
                DeliveryOutcome::Folder(escape_untrusted(name.as_str().as_bytes(), result_header::LONGEST))
            }
            Action::Hold | Action::Challenge | Action::Reject => DeliveryOutcome::Held(if aside.is_some() {
                write(draft, &edit, rest)?
            } else {
                drop(draft);
                Quarantine::open(self)?.add(&edit, rest)?
            }),
            Action::Discard => {
                drop(draft);
                if let Some(rest) = &mut rest {
                    io::copy(rest, &mut io::sink())?;
                }
                self.record_durably(&entry)?;
                return Ok(DeliveryOutcome::Discarded);
            }
        };
        match &delivered {
            DeliveryOutcome::Folder(name) => entry.folder = Some(name.clone()),
            DeliveryOutcome::Held(id) => entry.held = Some(id.clone()),
            DeliveryOutcome::Discarded => {}
        }
        if marking == Mode::Spend {
            self.record(&entry);
            self.keep_return(&message, &decision);
            // The reply comes last: the message is delivered by then, whatever becomes of the reply.
            self.answer(&message, &envelope, &decision, self.kept(&delivered));
        }
        Ok(delivered)
    }

    /// Returns how long a message delivered there is retained.
    fn kept(&self, delivered: &DeliveryOutcome) -> RetainedAs {
        match (delivered, self.context.config.held_keep) {
            (DeliveryOutcome::Held(_), 0) => RetainedAs::ForGood,
            (DeliveryOutcome::Held(_), keep) => RetainedAs::Until(self.context.now.plus(keep)),
            _ => RetainedAs::No,
        }
    }

    /// Runs the daily cleanup: expires held messages, and removes what killed deliveries left in the Maildir.
    /// The Maildir is `maildir`, or that of the configuration. Errors go to syslog and fail no delivery. With an
    /// overridden time nothing is removed.
    pub fn run_daily_cleanup(&self, maildir: Option<&Path>) {
        if !self.context.now_overridden
            && let Err(error) = self.tidy_once_a_day(maildir.or(self.context.places.maildir.as_deref()))
        {
            self.context.log_error(&format!("daily cleanup: {error}"));
        }
    }

    fn tidy_once_a_day(&self, maildir: Option<&Path>) -> Result<(), DeliveryError> {
        let mark = self.context.places.user_state().map_err(Deferral::from)?.join(CLEANED);
        // Each delivery reads the clock, so that a jump is noticed.
        let Some(limit) = self.context.forget_limit() else { return Ok(()) };
        let last = std::fs::read_to_string(&mark).ok().and_then(|text| text.trim().parse::<i64>().ok());
        // A time in the future was written by a clock that was wrong.
        if last.is_some_and(|last| (0..86_400).contains(&self.context.now.0.saturating_sub(last))) {
            return Ok(());
        }
        let mut done = true;
        if let Some(held) = Quarantine::existing(self)? {
            done = held.expire(EXPIRE_PER_DELIVERY, limit)?.len() < EXPIRE_PER_DELIVERY;
            held.sweep(limit)?;
        }
        if let Some(maildir) = maildir.map(Maildir::existing).transpose()?.flatten() {
            for class in Class::ALL {
                let name = self.context.config.deliver.folders.of(class).on_disk();
                if name.as_deref().is_none_or(|name| maildir.has(name)) {
                    maildir.folder(name.as_deref())?.sweep(limit.0)?;
                }
            }
        }
        if done {
            std::fs::write(&mark, format!("{}\n", self.context.now.0))?;
        }
        Ok(())
    }
}

/// Whether this action holds a message.
fn keeps(action: Action) -> bool {
    matches!(action, Action::Hold | Action::Challenge | Action::Reject)
}

impl From<WriteError> for DeliveryError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Copy(error) => Self::Io(error),
            WriteError::Maildir(error) => Self::Maildir(error),
        }
    }
}

impl From<PathsError> for DeliveryError {
    fn from(error: PathsError) -> Self {
        Self::Undecided(error.into())
    }
}
