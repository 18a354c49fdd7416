//! Quarantine: held mail until the user decides. It is a Maildir in the folder of the state, and each message has the
//! result fields on top. A message is released, allowed, deleted, or expires.
//!
//! - No message leaves without a line in the verdict log, which is on the disk before.
//! - A released message is in the Maildir before it leaves the quarantine. A kill in between leaves two copies, never
//!   none.

use super::digested::Digested;
use super::error::RecordError;
use super::judge::Engine;
use super::maildir_write::{WriteError, unique, write};
use super::result_header::HeaderContext;
use super::{allow_list, result_header};
use crate::config::address_list;
use crate::config::paths::PathsError;
use crate::context::RELEASE_TIME;
use crate::context::error::Deferral;
use crate::log::verdict_log::Entry;
use crate::mailbox::maildir::{Draft, Folder, Kept, Maildir, MaildirError};
use crate::message::address::{Address, Pattern};
use crate::message::edit::Edit;
use crate::message::header::{escape_untrusted, readable};
use crate::message::parse::Message;
use crate::message::result_headers::CLASS_FIELD;
use crate::os;
use crate::os::clock;
use crate::policy::action::Action;
use crate::policy::decision::Decision;
use crate::time::UnixTime;
use crate::verdict::finding::Verdict;
use crate::verdict::reason::Reason;
use std::io::{self, Read};

/// The quarantine's folder in the folder of the state.
const FOLDER: &str = "held";

/// Bytes that are searched for the header of a held message.
const HEADER: u64 = 1024 * 1024;

/// The rule name in a released message.
const RELEASED: &str = "released";

/// The held messages.
#[derive(Debug)]
pub struct Quarantine<'a> {
    engine: &'a Engine,
    folder: Folder,
}

/// A held message. Texts are encoded: printable ASCII, capped.
#[derive(Clone, Debug)]
pub struct HeldMessage {
    /// Its short name, which it keeps.
    pub id: String,
    pub since: UnixTime,
    /// Bytes.
    pub size: u64,
    /// Its class from the judgement.
    pub class: String,
    pub reason: String,
    /// The user's rule that held it.
    pub rule: Option<String>,
    /// The claimed author, the first of several.
    pub author: Option<Address>,
    /// All claimed authors.
    pub authors: Vec<Address>,
    pub subject: Option<String>,
    pub message_id: Option<String>,
    kept: Kept,
}

/// How a message leaves the quarantine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    Released,
    /// It was released, and its sender is allowed from now on.
    Allowed,
    /// The user deleted it.
    Deleted,
    /// The user deleted it, and its sender is left out of digests from now on.
    Refused,
    /// It was held for the configured time.
    Expired,
}

/// An operation on the quarantine failed.
#[derive(Debug, thiserror::Error)]
pub enum HeldError {
    /// The state has no folder.
    #[error(transparent)]
    Places(#[from] PathsError),
    /// The clock cannot be right.
    #[error(transparent)]
    Undecided(#[from] Deferral),
    /// A folder failed.
    #[error(transparent)]
    Maildir(#[from] MaildirError),
    /// A message failed.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The log line without which no message leaves could not be written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The folder of the state failed, or the system has no random numbers.
    #[error("cannot hold a message: {0}")]
    Io(#[from] io::Error),
    /// A list of senders failed.
    #[error("{list}: {source}")]
    List { list: &'static str, source: io::Error },
    /// The message has no sender that could be on a list.
    #[error("{0}: no sender for the list: the author is missing, or is not one plain address")]
    NoSender(String),
}

impl Removal {
    /// The stable word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::Allowed => "allowed",
            Self::Deleted => "deleted",
            Self::Refused => "refused",
            Self::Expired => "expired",
        }
    }
}

impl<'a> Quarantine<'a> {
    /// Returns the engine whose held mail this is.
    pub(super) fn engine(&self) -> &'a Engine {
        self.engine
    }

    /// Opens the quarantine; creates its folder if it is missing.
    pub fn open(engine: &'a Engine) -> Result<Self, HeldError> {
        let state = engine.context.places.user_state()?;
        os::make_folder(state, 0o700)?;
        Ok(Self { engine, folder: Maildir::open(&state.join(FOLDER))?.inbox() })
    }

    /// Opens the quarantine, if a message was ever held.
    pub fn existing(engine: &'a Engine) -> Result<Option<Self>, HeldError> {
        let maildir = Maildir::existing(&engine.context.places.user_state()?.join(FOLDER))?;
        Ok(maildir.map(|maildir| Self { engine, folder: maildir.inbox() }))
    }

    /// Holds a message, `edit` and then `rest`, durably, and returns its short name.
    ///
    /// # Errors
    /// [`HeldError`]; no message is held then.
    pub fn add(&self, edit: &Edit<'_>, rest: Option<&mut dyn Read>) -> Result<String, HeldError> {
        Ok(write(self.draft()?, edit, rest)?)
    }

    /// Begins a message to hold. Fails while the clock cannot be right.
    /// Once the clock is set, such a message would seem years old, and expire.
    pub(super) fn draft(&self) -> Result<Draft<'_>, HeldError> {
        let clock = clock::now();
        if clock < RELEASE_TIME {
            return Err(Deferral::Clock(clock).into());
        }
        Ok(Draft::begin(&self.folder, unique()?)?)
    }

    /// Lists the messages, the oldest first.
    /// One that cannot be read appears without its content.
    pub fn list(&self) -> Result<Vec<HeldMessage>, HeldError> {
        let messages = self.folder.messages()?;
        Ok(messages.into_iter().map(|kept| self.look(kept)).collect())
    }

    /// Returns the count of messages, and the time of the oldest.
    pub fn count(&self) -> Result<(usize, Option<UnixTime>), HeldError> {
        let messages = self.folder.messages()?;
        Ok((messages.len(), messages.first().map(|kept| UnixTime(kept.since.seconds))))
    }

    /// Reads a whole message.
    pub fn read(&self, message: &HeldMessage) -> Result<Vec<u8>, HeldError> {
        Ok(self.folder.read(&message.kept, u64::MAX)?.0)
    }

    /// Reads a whole message as it is released: the result fields say `allowed`, `rule=released`.
    pub fn read_released(&self, message: &HeldMessage) -> Result<Vec<u8>, HeldError> {
        let bytes = self.read(message)?;
        Ok(self.marked(&Message::parse(&bytes)).to_vec())
    }

    /// Moves a message into the inbox of a Maildir.
    ///
    /// # Errors
    /// [`HeldError`]; the message may then be in both.
    pub fn release(&self, message: &HeldMessage, into: &Maildir, how: Removal) -> Result<(), HeldError> {
        let bytes = self.read(message)?;
        let inbox = into.folder(None)?;
        let edit = self.marked(&Message::parse(&bytes));
        write(Draft::begin(&inbox, unique()?)?, &edit, None)?;
        self.remove(message, how)
    }

    /// Allows the sender of a message from now on: its first author, as it counts when mail is judged.
    /// Returns whether the sender was not allowed before.
    ///
    /// # Errors
    /// [`HeldError`]; the list is then unchanged.
    pub fn allow_sender(&self, message: &HeldMessage) -> Result<bool, HeldError> {
        let author = message.author.as_ref().ok_or_else(|| HeldError::NoSender(message.id.clone()))?;
        self.list_sender(message, author, allow_list::ALLOWED)
    }

    /// Leaves the senders of a message, all its authors, out of digests from now on. Their later mail is still held and
    /// can be released: anyone can forge a sender, and nothing is lost to a refusal.
    /// Returns these senders.
    ///
    /// # Errors
    /// As [`allow_sender`](Self::allow_sender).
    pub fn refuse_sender<'m>(&self, message: &'m HeldMessage) -> Result<Vec<&'m Address>, HeldError> {
        let mut listed = Vec::new();
        for author in &message.authors {
            match self.list_sender(message, author, allow_list::REFUSED) {
                // Another author can be on a list.
                Err(HeldError::NoSender(_)) => {}
                Err(error) => return Err(error),
                Ok(_) => listed.push(author),
            }
        }
        if listed.is_empty() { Err(HeldError::NoSender(message.id.clone())) } else { Ok(listed) }
    }

    fn list_sender(&self, message: &HeldMessage, address: &Address, list: &'static str) -> Result<bool, HeldError> {
        let no_sender = || HeldError::NoSender(message.id.clone());
        // An author may use the address `*@y.example`. The written line must mean this one address to every reader.
        let text = address.to_string();
        let alone = Pattern::parse(&text).is_ok_and(|pattern| pattern.exact() == Some(address));
        if !alone || text.contains(['#', '"']) {
            return Err(no_sender());
        }
        let state = self.engine.context.places.user_state()?;
        allow_list::add(state, list, &text).map_err(|source| HeldError::List { list, source })
    }

    /// Returns whether the user refused an author of a message, and did not allow the first.
    pub(super) fn is_refused(&self, message: &HeldMessage) -> Result<bool, HeldError> {
        let Some(first) = &message.author else { return Ok(false) };
        let state = self.engine.context.places.user_state()?;
        let case = self.engine.context.config.local_case;
        let on = |list: &'static str, author| match address_list::covers(&state.join(list), author, case) {
            Err(error) if error.is_absent() => Ok(false),
            other => other.map_err(|error| HeldError::List { list, source: io::Error::other(error) }),
        };
        for author in &message.authors {
            if on(allow_list::REFUSED, author)? {
                return Ok(!on(allow_list::ALLOWED, first)?);
            }
        }
        Ok(false)
    }

    /// Returns how many messages have waited for a digest since before a time, and since when the oldest of them; none
    /// where no digest was ever made.
    pub fn waiting(&self, before: UnixTime) -> Result<(usize, Option<UnixTime>), HeldError> {
        let Some(digested) = Digested::if_used(self.engine.context.places.user_state()?)? else { return Ok((0, None)) };
        let mut waiting = Vec::new();
        for message in self.list()?.into_iter().filter(|it| it.since < before && !digested.0.contains_key(&it.id)) {
            if !self.is_refused(&message)? {
                waiting.push(message.since);
            }
        }
        Ok((waiting.len(), waiting.first().copied()))
    }

    /// Removes a message, after a log line about it.
    ///
    /// # Errors
    /// [`HeldError`]; the message is still held, or at worst comes back after a crash.
    pub fn remove(&self, message: &HeldMessage, how: Removal) -> Result<(), HeldError> {
        self.engine.record_durably(&Entry {
            time: self.engine.context.now.to_string(),
            class: message.class.clone(),
            reason: message.reason.clone(),
            rule: message.rule.clone(),
            event: Some(how.as_str().to_owned()),
            held: Some(message.id.clone()),
            from: message
                .author
                .as_ref()
                .map(|author| escape_untrusted(author.to_string().as_bytes(), result_header::LONGEST)),
            message_id: message.message_id.clone(),
            ..Entry::default()
        })?;
        Ok(self.folder.remove(&message.kept)?)
    }

    /// Removes messages held for longer than the configured time at `now`, up to `most`, and returns them.
    /// Where digests are made, a message stays until it was in one and its answers have ended, unless its sender was
    /// refused. Removes nothing while another process has the lock.
    ///
    /// # Errors
    /// [`HeldError`]; some messages may be gone, each with its log line.
    pub fn expire(&self, most: usize, now: UnixTime) -> Result<Vec<HeldMessage>, HeldError> {
        let keep = self.engine.context.config.held_keep;
        if keep == 0 {
            return Ok(Vec::new());
        }
        let mut gone = Vec::new();
        // The lock holder may wait for the user. The next day's cleanup comes anyway.
        let Some(_lock) = self.folder.try_lock()? else { return Ok(gone) };
        let digested = Digested::if_used(self.engine.context.places.user_state()?)?;
        for kept in self.folder.messages()? {
            if gone.len() == most || now.since(UnixTime(kept.since.seconds)) <= keep {
                continue;
            }
            let was_shown = digested.as_ref().is_none_or(|digested| digested.is_answered_for(&kept.id, now));
            let message = self.look(kept);
            if was_shown || self.is_refused(&message)? {
                self.remove(&message, Removal::Expired)?;
                gone.push(message);
            }
        }
        Ok(gone)
    }

    /// Keeps other processes from removing messages until the guard is dropped.
    pub fn lock(&self) -> Result<impl Drop + use<>, HeldError> {
        Ok(self.folder.lock()?)
    }

    /// Removes what killed deliveries left, if it is old enough at `now`.
    pub(super) fn sweep(&self, now: UnixTime) -> Result<(), HeldError> {
        self.folder.sweep(now.0)?;
        Ok(())
    }

    fn look(&self, kept: Kept) -> HeldMessage {
        let (bytes, size) = self.folder.read(&kept, HEADER).unwrap_or_default();
        let message = Message::parse(&bytes);
        let shown = |text: &[u8]| escape_untrusted(text.trim_ascii(), result_header::LONGEST);
        let authors = message.authors();
        let result = message.first(CLASS_FIELD).map(|field| shown_result(&field.unfolded())).unwrap_or_default();
        let [class, reason, rule] = result;
        HeldMessage {
            id: kept.id.clone(),
            since: UnixTime(kept.since.seconds),
            size,
            class: class.unwrap_or_else(|| "-".to_owned()),
            reason: reason.unwrap_or_else(|| "-".to_owned()),
            rule,
            author: authors.first().cloned(),
            authors,
            subject: message
                .first("Subject")
                .map(|field| readable(field.to_text().trim().as_bytes(), result_header::LONGEST)),
            message_id: message.first("Message-ID").map(|field| shown(&field.unfolded())),
            kept,
        }
    }

    fn marked<'m>(&self, message: &Message<'m>) -> Edit<'m> {
        let verdict = Verdict { reason: Reason::Rule, deciding_stamp: None, boundary: None, findings: Vec::new() };
        let decision = Decision { verdict, rule: Some(RELEASED.to_owned()), action: Action::Deliver };
        result_header::with_result_headers(message, &decision, &HeaderContext::of(&self.engine.context.config))
    }
}

/// Parses class, reason and rule of a result field that this program wrote, with its values encoded.
fn shown_result(value: &[u8]) -> [Option<String>; 3] {
    let text = String::from_utf8_lossy(value);
    // Only the user can write into this folder. Even so, text for the terminal must be printable.
    if !text.bytes().all(|b| matches!(b, b' '..=b'~')) {
        return [None, None, None];
    }
    let mut parts = text.split(';').map(str::trim);
    let class = parts.next().filter(|class| !class.is_empty()).map(str::to_owned);
    let (mut reason, mut rule) = (None, None);
    for part in parts {
        match part.split_once('=') {
            Some(("reason", value)) => reason = Some(value.to_owned()),
            Some(("rule", value)) => rule = Some(value.to_owned()),
            _ => {}
        }
    }
    [class, reason, rule]
}
