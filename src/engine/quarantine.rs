//! Mail that is kept aside until the user looks: a Maildir in the folder of the state, each message with our result fields
//! on top. It is released, allowed, deleted, or goes when its time is over; nothing leaves without a line in the verdict
//! log, which is on the disk before.
//!
//! A released message is in the Maildir before it goes from here: killed between, there are two, never none.

use super::error::{Deferral, RecordError};
use super::judge::{Engine, RELEASE_TIME};
use super::maildir_write::{WriteError, unique, write};
use super::result_header::HeaderContext;
use super::{allow_list, result_header};
use crate::config::paths::PlacesError;
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

/// The folder in that of the state.
const FOLDER: &str = "held";

/// The header of a held message is looked for in so many bytes.
const HEADER: u64 = 1024 * 1024;

/// The rule that a released message names.
const RELEASED: &str = "released";

/// The messages that are held.
#[derive(Debug)]
pub struct Quarantine<'a> {
    engine: &'a Engine,
    folder: Folder,
}

/// One message that is held. Texts are encoded: printable ASCII, capped.
#[derive(Clone, Debug)]
pub struct HeldMessage {
    /// Its short name, which it keeps.
    pub id: String,
    /// Since when.
    pub since: UnixTime,
    /// Bytes.
    pub size: u64,
    /// Its class, as it was judged.
    pub class: String,
    /// Why.
    pub reason: String,
    /// The user's rule that held it.
    pub rule: Option<String>,
    /// Who claims to have written it.
    pub author: Option<Address>,
    /// Its Subject.
    pub subject: Option<String>,
    /// Its Message-ID.
    pub message_id: Option<String>,
    kept: Kept,
}

/// How a message leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// It was let through.
    Released,
    /// It was let through, and its sender will be.
    Allowed,
    /// The user does not want it.
    Deleted,
    /// It was held for as long as is configured.
    Expired,
}

/// Something with the held messages failed.
#[derive(Debug, thiserror::Error)]
pub enum HeldError {
    /// There is no place for them.
    #[error(transparent)]
    Places(#[from] PlacesError),
    /// The clock cannot be right.
    #[error(transparent)]
    Undecided(#[from] Deferral),
    /// A folder.
    #[error(transparent)]
    Maildir(#[from] MaildirError),
    /// A message.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A line without which no message goes.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The folder of the state, or random numbers.
    #[error("cannot hold a message: {0}")]
    Io(#[from] io::Error),
    /// The list of senders who are let through.
    #[error("allow.list: {0}")]
    AllowList(io::Error),
    /// Nobody to be let through from now on.
    #[error("{0}: its sender cannot be told, or not be written as an address alone")]
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
            Self::Expired => "expired",
        }
    }
}

impl<'a> Quarantine<'a> {
    /// The held messages; the folder is made if it is missing.
    ///
    /// # Errors
    /// [`HeldError`].
    pub fn open(engine: &'a Engine) -> Result<Self, HeldError> {
        let state = engine.places.state()?;
        os::make_folder(state, 0o700)?;
        Ok(Self { engine, folder: Maildir::open(&state.join(FOLDER))?.inbox() })
    }

    /// The held messages, if anything was ever held.
    ///
    /// # Errors
    /// [`HeldError`].
    pub fn existing(engine: &'a Engine) -> Result<Option<Self>, HeldError> {
        let maildir = Maildir::existing(&engine.places.state()?.join(FOLDER))?;
        Ok(maildir.map(|maildir| Self { engine, folder: maildir.inbox() }))
    }

    /// Keeps a message, `edit` and then `rest`, and returns its short name. It is on the disk then.
    ///
    /// # Errors
    /// [`HeldError`]; nothing is kept then.
    pub fn add(&self, edit: &Edit<'_>, rest: Option<&mut dyn Read>) -> Result<String, HeldError> {
        Ok(write(self.draft()?, edit, rest)?)
    }

    /// Begins a message that is to be kept. Not while the clock cannot be right: when it is set, the message would seem to
    /// have been here for years, and go.
    ///
    /// # Errors
    /// [`HeldError`].
    pub(super) fn draft(&self) -> Result<Draft<'_>, HeldError> {
        let clock = clock::now();
        if clock < RELEASE_TIME {
            return Err(Deferral::Clock(clock).into());
        }
        Ok(Draft::begin(&self.folder, unique()?)?)
    }

    /// All of them, the oldest first. One that cannot be read is shown without what it says.
    ///
    /// # Errors
    /// [`HeldError`].
    pub fn list(&self) -> Result<Vec<HeldMessage>, HeldError> {
        let messages = self.folder.messages()?;
        Ok(messages.into_iter().map(|kept| self.look(kept)).collect())
    }

    /// How many, and since when the oldest.
    ///
    /// # Errors
    /// [`HeldError`].
    pub fn count(&self) -> Result<(usize, Option<UnixTime>), HeldError> {
        let messages = self.folder.messages()?;
        Ok((messages.len(), messages.first().map(|kept| UnixTime(kept.since.seconds))))
    }

    /// The whole of a message.
    ///
    /// # Errors
    /// [`HeldError`].
    pub fn read(&self, message: &HeldMessage) -> Result<Vec<u8>, HeldError> {
        Ok(self.folder.read(&message.kept, u64::MAX)?.0)
    }

    /// The whole of a message as it is let through: the result fields say `allowed`, `rule=released`.
    ///
    /// # Errors
    /// [`HeldError`].
    pub fn read_released(&self, message: &HeldMessage) -> Result<Vec<u8>, HeldError> {
        let bytes = self.read(message)?;
        Ok(self.marked(&Message::parse(&bytes)).to_vec())
    }

    /// Puts a message into the inbox of a Maildir, and takes it from here.
    ///
    /// # Errors
    /// [`HeldError`]; it may be in both then.
    pub fn release(&self, message: &HeldMessage, into: &Maildir, how: Removal) -> Result<(), HeldError> {
        let bytes = self.read(message)?;
        let inbox = into.folder(None)?;
        let edit = self.marked(&Message::parse(&bytes));
        write(Draft::begin(&inbox, unique()?)?, &edit, None)?;
        self.remove(message, how)
    }

    /// Lets the sender of a message through from now on. Whether he was not before.
    ///
    /// # Errors
    /// [`HeldError`]; the list is as it was, then.
    pub fn allow_sender(&self, message: &HeldMessage) -> Result<bool, HeldError> {
        let nobody = || HeldError::NoSender(message.id.clone());
        let address = message.author.as_ref().ok_or_else(nobody)?;
        // An author may call himself `*@y.example`. What is written down must mean him alone to whoever reads it.
        let text = address.to_string();
        let alone = Pattern::parse(&text).is_ok_and(|pattern| pattern.exact() == Some(address));
        if !alone || text.contains(['#', '"']) {
            return Err(nobody());
        }
        allow_list::add(self.engine.places.state()?, &text).map_err(HeldError::AllowList)
    }

    /// Takes a message away, after a line in the log says so.
    ///
    /// # Errors
    /// [`HeldError`]; it is still held then, or at worst comes back after a crash.
    pub fn remove(&self, message: &HeldMessage, how: Removal) -> Result<(), HeldError> {
        self.engine.record_durably(&Entry {
            time: self.engine.now.to_string(),
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

    /// Takes away what was held for longer than is configured at `now`, no more than `most` messages, and nothing while
    /// another process is at it. Those that were.
    ///
    /// # Errors
    /// [`HeldError`]; some may be gone, and each has its line.
    pub fn expire(&self, most: usize, now: UnixTime) -> Result<Vec<HeldMessage>, HeldError> {
        let keep = self.engine.config.held_keep;
        if keep == 0 {
            return Ok(Vec::new());
        }
        let mut gone = Vec::new();
        // Who has it may be waiting for a person; there is another day.
        let Some(_lock) = self.folder.try_lock()? else { return Ok(gone) };
        for kept in self.folder.messages()? {
            if gone.len() < most && now.since(UnixTime(kept.since.seconds)) > keep {
                let message = self.look(kept);
                self.remove(&message, Removal::Expired)?;
                gone.push(message);
            }
        }
        Ok(gone)
    }

    /// Keeps others from taking messages away until what is returned is dropped.
    ///
    /// # Errors
    /// [`HeldError`].
    pub fn lock(&self) -> Result<impl Drop + use<>, HeldError> {
        Ok(self.folder.lock()?)
    }

    pub(super) fn expire_some(&self) -> Result<(), HeldError> {
        self.folder.sweep(self.engine.now.0)?;
        Ok(())
    }

    fn look(&self, kept: Kept) -> HeldMessage {
        let (bytes, size) = self.folder.read(&kept, HEADER).unwrap_or_default();
        let message = Message::parse(&bytes);
        let shown = |text: &[u8]| escape_untrusted(text.trim_ascii(), result_header::LONGEST);
        let result = message.first(CLASS_FIELD).map(|field| shown_result(&field.unfolded())).unwrap_or_default();
        let [class, reason, rule] = result;
        HeldMessage {
            id: kept.id.clone(),
            since: UnixTime(kept.since.seconds),
            size,
            class: class.unwrap_or_else(|| "-".to_owned()),
            reason: reason.unwrap_or_else(|| "-".to_owned()),
            rule,
            author: message.authors().into_iter().next(),
            subject: message
                .first("Subject")
                .map(|field| readable(field.decoded().trim_ascii(), result_header::LONGEST)),
            message_id: message.first("Message-ID").map(|field| shown(&field.unfolded())),
            kept,
        }
    }

    fn marked<'m>(&self, message: &Message<'m>) -> Edit<'m> {
        let verdict = Verdict { reason: Reason::Rule, deciding_stamp: None, findings: Vec::new() };
        let decision = Decision { verdict, rule: Some(RELEASED.to_owned()), action: Action::Deliver };
        result_header::with_result_headers(message, &decision, &HeaderContext::of(&self.engine.config))
    }
}

/// Class, reason and rule of a result field that we wrote; its values were encoded then.
fn shown_result(value: &[u8]) -> [Option<String>; 3] {
    let text = String::from_utf8_lossy(value);
    // Whoever may write into the folder is the user; what he shows his terminal by that is still only text.
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
