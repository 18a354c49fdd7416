//! Screener: a digest of what is newly held, and the answers to it.
//!
//! - Each held message is in one digest. What a digest listed is noted after the mail system has taken it, so a kill in
//!   between sends a digest twice, never none.
//! - An answer is authenticated by its word alone ([`held_word`](crate::autoreply::held_word)). It works once, because
//!   it takes the message out of the held mail. A kill in the middle leaves the message held or released twice.
//! - Answers and digests of one mailbox exclude each other by the lock of the held mail.

use super::digest_route::digest_address;
use super::digested::{Digested, KEY};
use super::judge::Engine;
use super::quarantine::{HeldError, HeldMessage, Quarantine, Removal};
use crate::autoreply::digest::{DigestEntry, DigestSettings, compose};
use crate::autoreply::held_word::{Answer, KEY_LEN, WordError, WordKey, answer_in};
use crate::context::error::Deferral;
use crate::mailbox::maildir::Maildir;
use crate::message::address::Address;
use crate::message::parse::Message;
use crate::net::sendmail::{self, SendError};
use crate::os::atomic_file::{self, Durability};
use crate::os::{random, safe_open};
use crate::store::Sent;
use std::collections::HashSet;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;
use zeroize::Zeroizing;

/// Messages that one digest lists at most.
pub const ENTRIES: usize = 50;
/// Timeout of sendmail(8).
const LIMIT: Duration = Duration::from_secs(60);

/// A digest that is ready.
#[derive(Debug)]
pub struct Digest {
    /// Header and text.
    pub text: String,
    /// How many messages it lists.
    pub entries: usize,
    /// The user's address.
    to: Address,
    /// The Message-ID by which a rule lets it through.
    reference: String,
    /// What was listed once this one is sent.
    listed: Digested,
}

/// What a message answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// It is no answer.
    Nothing,
    /// Its word is not valid.
    Refused(WordError),
    /// The message that it is about is not held any more.
    Gone(String),
    /// It was carried out, on the message of this short name.
    Done(Answer, String),
}

/// No digest could be made or sent.
#[derive(Debug, thiserror::Error)]
pub enum DigestError {
    #[error(transparent)]
    Held(#[from] HeldError),
    #[error(transparent)]
    Undecided(#[from] Deferral),
    #[error("{program}: {source}")]
    Send { program: String, source: SendError },
    /// The configuration has only patterns of addresses.
    #[error("no address to send the digest to: the configuration names none but patterns")]
    NoAddress,
    /// The address is not the user's.
    #[error("{0}: none of your addresses")]
    Foreign(Address),
}

impl<'a> Quarantine<'a> {
    /// Makes the digest of the messages that no digest has listed yet; `None` if there are none. `to` must be an address
    /// of the user; by default it is `replies.from` or the first one of the configuration.
    ///
    /// # Errors
    /// [`DigestError`]; nothing is changed.
    pub fn digest(&self, to: Option<Address>) -> Result<Option<Digest>, DigestError> {
        let engine = self.engine();
        let to = recipient(engine, to)?;
        let state = engine.context.places.user_state().map_err(HeldError::from)?;
        let mut listed = Digested::load(state).map_err(HeldError::from)?;
        let held = self.list()?;
        let now = engine.context.now;
        let (mut new, mut refused, mut left) = (Vec::new(), 0, Vec::new());
        for message in held.iter().filter(|message| !listed.0.contains_key(&message.id)) {
            if self.is_refused(message)? {
                refused += 1;
                left.push(message);
            } else {
                new.push(message);
            }
        }
        if new.is_empty() {
            return Ok(None);
        }
        let more = new.len().saturating_sub(ENTRIES);
        new.truncate(ENTRIES);
        // What has left the held mail is forgotten.
        let here: HashSet<&String> = held.iter().map(|message| &message.id).collect();
        listed.0.retain(|name, _| here.contains(name));
        listed.0.extend(left.iter().chain(&new).map(|message| (message.id.clone(), now)));
        let key = key_or_new(state).map_err(HeldError::from)?;
        let entry = |message: &&HeldMessage| DigestEntry {
            name: message.id.clone(),
            since: message.since,
            size: message.size,
            class: format!("{} {}", message.class, message.rule.as_ref().unwrap_or(&message.reason)),
            from: message.author.clone(),
            subject: message.subject.clone(),
            words: key
                .seal(Answer::Allow, &message.id, now)
                .zip(key.seal(Answer::Never, &message.id, now))
                .map(<[_; 2]>::from),
        };
        let entries: Vec<DigestEntry> = new.iter().map(entry).collect();
        let mut random = [[0; 16]; 2];
        random.iter_mut().try_for_each(|bytes| random::fill(bytes)).map_err(HeldError::from)?;
        let [nonce, secret] = random;
        let reference = format!("<{}@{}>", data_encoding::HEXLOWER.encode(&secret), to.domain());
        let with = DigestSettings { to: &to, now, nonce, reference: &reference, more, refused };
        let text = compose(&entries, &with);
        Ok(Some(Digest { text, entries: entries.len(), to, reference, listed }))
    }

    /// Sends a digest to the user, and notes what it listed.
    ///
    /// # Errors
    /// [`DigestError`]; the messages come again in the next digest.
    pub fn send(&self, digest: &Digest) -> Result<(), DigestError> {
        let context = &self.engine().context;
        // A rule with reply_to_mine lets the digest through: it refers to a Message-ID that strangers do not know.
        if let Some(owner) = context.owner_of(&digest.to) {
            let message_id = Some(digest.reference.clone());
            let now = context.now;
            let sent = Sent { owner, recipients: Vec::new(), message_id, time: now, now };
            context.used_log().map_err(Deferral::from)?.learn(&[sent]).map_err(Deferral::from)?;
        }
        let program = &context.config.replies.sendmail;
        sendmail::send(program, &digest.to, &digest.text, LIMIT)
            .map_err(|source| DigestError::Send { program: program.display().to_string(), source })?;
        let state = context.places.user_state().map_err(HeldError::from)?;
        Ok(digest.listed.save(state).map_err(HeldError::from)?)
    }
}

impl Engine {
    /// Carries out the answer that a message gives, if it gives one.
    ///
    /// # Errors
    /// [`HeldError`]; the answer must be tried again.
    pub fn answer_held(&self, message: &Message<'_>, maildir: &Path) -> Result<Answered, HeldError> {
        let Some((answer, word)) = answer_in(message) else { return Ok(Answered::Nothing) };
        let Some(key) = key(self.context.places.user_state()?)? else { return Ok(Answered::Nothing) };
        let name = match key.open(answer, &word, self.context.now) {
            Ok(name) => name.to_owned(),
            Err(why) => return Ok(Answered::Refused(why)),
        };
        let Some(held) = Quarantine::existing(self)? else { return Ok(Answered::Gone(name)) };
        let _lock = held.lock()?;
        let Some(about) = held.list()?.into_iter().find(|about| about.id == name) else {
            return Ok(Answered::Gone(name));
        };
        match answer {
            Answer::Allow => {
                unless_no_sender(held.allow_sender(&about).map(drop))?;
                held.release(&about, &Maildir::open(maildir)?, Removal::Allowed)?;
            }
            Answer::Never => {
                unless_no_sender(held.refuse_sender(&about).map(drop))?;
                held.remove(&about, Removal::Refused)?;
            }
        }
        Ok(Answered::Done(answer, name))
    }
}

/// A message without a sender is released or deleted all the same.
fn unless_no_sender(listed: Result<(), HeldError>) -> Result<(), HeldError> {
    match listed {
        Ok(()) | Err(HeldError::NoSender(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Returns the address of the digest.
fn recipient(engine: &Engine, to: Option<Address>) -> Result<Address, DigestError> {
    let context = &engine.context;
    if let Some(to) = to {
        return if context.is_mine(&to) { Ok(to) } else { Err(DigestError::Foreign(to)) };
    }
    digest_address(&context.config).ok_or(DigestError::NoAddress)
}

/// Reads the key of the words; `None` if there never was a digest. Other users must not be able to read it.
fn key(state: &Path) -> io::Result<Option<WordKey>> {
    let file = match safe_open::regular_file(&state.join(KEY)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let metadata = file.metadata()?;
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(KEY_LEN as u64 + 1).read_to_end(&mut bytes)?;
    match <&[u8; KEY_LEN]>::try_from(bytes.as_slice()) {
        Ok(bytes) if metadata.mode() & 0o077 == 0 => Ok(Some(WordKey::from_random(bytes))),
        Ok(_) => Err(io::Error::other(format!("{KEY}: mode {:04o}, expected 0600", metadata.mode() & 0o7777))),
        Err(_) => Err(io::Error::other(format!("{KEY}: not {KEY_LEN} bytes long"))),
    }
}

/// Reads the key of the words, or makes it. The caller has the lock.
fn key_or_new(state: &Path) -> io::Result<WordKey> {
    if let Some(key) = key(state)? {
        return Ok(key);
    }
    let mut bytes = Zeroizing::new([0; KEY_LEN]);
    random::fill(&mut *bytes)?;
    atomic_file::replace(&state.join(KEY), 0o600, Durability::Synced, |file| file.write_all(&*bytes))?;
    Ok(WordKey::from_random(&bytes))
}
