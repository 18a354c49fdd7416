//! Delivery: a message is judged and put where the user wants it, into a folder of his Maildir by its class, or aside, or
//! nowhere.
//!
//! The order is what makes it safe to be killed anywhere. Room for the message is taken in the Maildir first: what cannot
//! be delivered now is neither judged nor spent, so that it can be tried again as often as the mail system likes. Then it
//! is judged, and its stamp spent, durably. Then it is written, synced and linked in; then it is told. Whoever calls is
//! told success last, so what is cut off between comes again, and is known again by its stamp. Only what is discarded is
//! told first.

use super::error::{Deferral, RecordError};
use super::judge::Engine;
use super::maildir_write::{WriteError, unique, write};
use super::marking::Mode;
use super::quarantine::{HeldError, Quarantine};
use super::result_header;
use super::result_header::HeaderContext;
use crate::autoreply::template::RetainedAs;
use crate::config::paths::PlacesError;
use crate::mailbox::maildir::{Draft, Maildir, MaildirError};
use crate::message::header::escape_untrusted;
use crate::message::parse::Message;
use crate::policy::action::Action;
use crate::time::UnixTime;
use crate::verdict::class::Class;
use crate::verdict::facts::Envelope;
use std::io::{self, Read};
use std::path::Path;

/// Our fields on top are never longer than this: a value is cut at 200 characters, each at most four wide.
const HEADER_RESERVE: usize = 4096;

/// So many held messages go in one tidying, each with a sync of its own: whoever waits for a delivery must not wait long.
/// The next delivery goes on.
const EXPIRE_PER_DELIVERY: usize = 50;

/// A message to be delivered.
pub struct IncomingMessage<'a> {
    /// The message, or its beginning.
    pub bytes: &'a [u8],
    /// What follows the beginning, if it was too large to be read.
    pub rest: Option<&'a mut dyn Read>,
    /// What the delivering program says of it.
    pub envelope: Envelope,
    /// Whether a good stamp is spent.
    pub marking: Mode,
}

/// Where a message went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// Into this folder.
    Folder(String),
    /// Aside, under this short name.
    Held(String),
    /// Nowhere, as the user wants it.
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
    /// It could not be put aside.
    #[error(transparent)]
    Held(#[from] HeldError),
    /// That it is discarded could not be written down, so it is not.
    #[error("not discarded: {0}")]
    Record(#[from] RecordError),
    /// Its end could not be read or written, or the system has no random numbers.
    #[error("cannot deliver: {0}")]
    Io(#[from] io::Error),
}

impl DeliveryError {
    /// What the user can do about it, where that is not plain from the error.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Undecided(error) | Self::Held(HeldError::Undecided(error)) => error.hint(),
            _ => None,
        }
    }
}

impl Engine {
    /// Delivers a message into the Maildir at `maildir`. When this returns, the message is where it belongs and on the
    /// disk.
    ///
    /// # Errors
    /// [`DeliveryError`]: it is in no folder, and must be tried again.
    pub fn deliver(&self, arrival: IncomingMessage<'_>, maildir: &Path) -> Result<DeliveryOutcome, DeliveryError> {
        let IncomingMessage { bytes, mut rest, envelope, marking } = arrival;
        let message = Message::parse(bytes);
        let maildir = Maildir::open(maildir)?;
        let folders = &self.config.deliver.folders;
        // A stamp that is spent leads to this folder, or aside, whatever else a class leads to.
        let first = folders.of(Class::FirstClass);
        let inbox = maildir.folder(first.on_disk().as_deref())?;
        let aside = keeps(self.config.actions.of(Class::FirstClass)).then(|| Quarantine::open(self)).transpose()?;
        let mut draft = match &aside {
            Some(held) => held.draft()?,
            None => Draft::begin(&inbox, unique()?)?,
        };
        draft.reserve(bytes, HEADER_RESERVE)?;

        let decision = match rest {
            None => self.judge(&message, &envelope, marking)?,
            Some(_) => self.judge_beginning(&message, &envelope)?,
        };
        let mut entry = result_header::entry(&decision, &message, &envelope, self.now);
        let mut edit = result_header::with_result_headers(&message, &decision, &HeaderContext::of(&self.config));
        // The envelope line of an mbox is no part of the message.
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
            // Last, when the message can no more be lost: whatever becomes of the reply, it is where it belongs.
            self.answer(&message, &envelope, &decision, self.kept(&delivered));
        }
        Ok(delivered)
    }

    /// How long what was delivered there is kept aside.
    fn kept(&self, delivered: &DeliveryOutcome) -> RetainedAs {
        match (delivered, self.config.held_keep) {
            (DeliveryOutcome::Held(_), 0) => RetainedAs::ForGood,
            (DeliveryOutcome::Held(_), keep) => RetainedAs::Until(self.now.plus(keep)),
            _ => RetainedAs::No,
        }
    }

    /// What is to be done now and then, once a day: messages that were held for too long go, and what killed deliveries
    /// left in `maildir`, or in the Maildir of the configuration. Trouble with it is told to syslog and is no delivery's.
    /// Nothing is removed because of a time that is pretended.
    pub fn run_daily_cleanup(&self, maildir: Option<&Path>) {
        if !self.now_overridden
            && let Err(error) = self.tidy_once_a_day(maildir.or(self.places.maildir.as_deref()))
        {
            self.log_error(&format!("tidying up: {error}"));
        }
    }

    fn tidy_once_a_day(&self, maildir: Option<&Path>) -> Result<(), DeliveryError> {
        let mark = self.places.state().map_err(Deferral::from)?.join("tidied");
        let last = std::fs::read_to_string(&mark).ok().and_then(|text| text.trim().parse::<i64>().ok());
        // A mark of the future was left by a clock that was wrong.
        if last.is_some_and(|last| (0..86_400).contains(&self.now.0.saturating_sub(last))) {
            return Ok(());
        }
        // What is too old by this look at the clock alone may be so because the clock has jumped: it must have been by the
        // last one, too. So a message may stay a day longer.
        let sure = UnixTime(last.unwrap_or(0).min(self.now.0));
        let mut done = true;
        if let Some(held) = Quarantine::existing(self)? {
            done = held.expire(EXPIRE_PER_DELIVERY, sure)?.len() < EXPIRE_PER_DELIVERY;
            held.expire_some()?;
        }
        if let Some(maildir) = maildir.map(Maildir::existing).transpose()?.flatten() {
            for class in Class::ALL {
                let name = self.config.deliver.folders.of(class).on_disk();
                if name.as_deref().is_none_or(|name| maildir.has(name)) {
                    maildir.folder(name.as_deref())?.sweep(self.now.0)?;
                }
            }
        }
        if done {
            std::fs::write(&mark, format!("{}\n", self.now.0))?;
        }
        Ok(())
    }
}

/// Whether a message is kept aside.
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

impl From<PlacesError> for DeliveryError {
    fn from(error: PlacesError) -> Self {
        Self::Undecided(error.into())
    }
}
