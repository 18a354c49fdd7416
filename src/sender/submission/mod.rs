//! `mailstamp sendmail`: one message in, a copy with its own stamp to each recipient. The order is what makes it safe to be
//! killed anywhere and run again.
//!
//! 1. The message is written into the journal, with its envelope, durably.
//! 2. Every recipient who needs a stamp gets one reserved, in the wallet, under a key made of the message's name and
//!    fingerprint, as it stands in the journal, and his address; what is missing is bought, in one request for each vendor.
//!    Run again, the same keys give the same stamps; and what the recipient's software takes for another message has another.
//! 3. If stamps may come back, that is logged, before anybody can let them come back.
//! 4. Each copy is handed to the next program; when that has taken it, this is noted, durably.
//! 5. When it is over for everybody, the stamps are used for good, and the file of the journal goes.
//!
//! A copy can be sent twice in one case: killed after the next program took it and before that was noted. Both are the same
//! message with the same stamp, so that the recipient's software knows the second for what it is.
//!
//! Whoever was told 75 and comes again means the same message; whoever was told 0 and sends the same bytes means another.
//! The journal knows which, as long as the message stands in it. When `-q` was faster it remembers that for the caller, but
//! only of a message with a Message-ID: of two letters with the same bytes and none, better both are sent than one.

pub mod copies;
pub mod outbox;
pub mod parse;
pub mod stamp_choice;
pub mod transport;

use super::error::SupplyError;
use super::stamp_request::{ReservationKey, StampRequest};
use super::stamp_source::StampSource;
use crate::config::sendmail::OnVendorUnavailable;
use crate::engine::error::Deferral;
use crate::engine::judge::Engine;
use crate::grant::{Grant, GrantKind, StampStatus};
use crate::log::syslog::{self, Severity};
use crate::message::address::Address;
use crate::message::fingerprint::Fingerprint;
use crate::message::header::escape_untrusted;
use crate::message::parse::Message;
use crate::stamp::claims::Stamp;
use crate::stamp::token::Token;
use crate::store::{ReturnableStore, StoreError};
use copies::{FOR_RETURN, SourceMessage};
use outbox::{Claimed, Entry, JournalError, Outbox, RecipientOutcome};
use parse::{Recipient, Submission};
use stamp_choice::{StampChoice, choose, returnable};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use transport::Transport;

/// Try again (EX_TEMPFAIL).
const TEMPFAIL: u8 = 75;
/// Not to be sent as it is (EX_DATAERR).
const DATA: u8 = 65;

/// All that sending needs.
pub struct SubmissionAgent<'a> {
    /// The configuration, the places, the time.
    pub engine: &'a Engine,
    /// Wallet and vendors.
    pub supply: &'a StampSource,
    /// Who takes the copies.
    pub transport: &'a Transport,
    /// Told after each copy: how many are over, of how many.
    pub progress: &'a (dyn Fn(usize, usize) + Sync),
}

/// What became of one recipient's copy in this run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The next program took it, now or in an earlier run. If it went without a stamp although one was wanted: why.
    Sent {
        /// Why there is no stamp.
        without: Option<String>,
    },
    /// Not now.
    Deferred(String),
    /// Never, with this status.
    Refused(u8, String),
}

/// What became of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Each recipient with his copy's fate.
    pub each: Vec<(Recipient, Delivery)>,
    /// Whether it ended before, while its caller was away.
    pub ended: bool,
}

/// Nothing was sent in this run.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The user's files.
    #[error(transparent)]
    Undecided(#[from] Deferral),
    /// The log of grants.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another process has it.
    #[error("another process is sending this message")]
    Busy,
}

impl Delivery {
    fn of(end: &RecipientOutcome) -> Self {
        match end {
            RecipientOutcome::Sent => Self::Sent { without: None },
            RecipientOutcome::Refused(status, said) => Self::Refused(*status, said.clone()),
        }
    }
}

impl Summary {
    /// The status to exit with: 75 if anything is still to be done, else that of the first refusal.
    #[must_use]
    pub fn status(&self) -> u8 {
        let refused = self.each.iter().find_map(|(_, fate)| match fate {
            Delivery::Refused(status, _) => Some(*status),
            _ => None,
        });
        let deferred = self.each.iter().any(|(_, fate)| matches!(fate, Delivery::Deferred(_)));
        if deferred { TEMPFAIL } else { refused.unwrap_or(0) }
    }
}

/// What is to be put on a copy.
enum Stamped<'a> {
    Plain(Option<String>),
    Own(&'a crate::stamp::extract::Found),
    Put(String),
    Deferred(String),
    Refused(u8, String),
}

impl SubmissionAgent<'_> {
    /// Sends a message, or goes on with it.
    ///
    /// # Errors
    /// [`PostError`]: nothing was sent now, and it can be tried again.
    pub fn submit(&self, submission: Submission) -> Result<Summary, PostError> {
        match self.journal()?.claim(submission, self.engine.now.0)? {
            Claimed::Open(entry) => self.send(*entry, false),
            Claimed::Done(ends) => {
                let each = ends.into_iter().map(|(recipient, end)| (recipient, Delivery::of(&end))).collect();
                Ok(Summary { each, ended: true })
            }
            Claimed::Busy => Err(PostError::Busy),
        }
    }

    /// Goes on with all that waits. What can be said of each message.
    ///
    /// # Errors
    /// [`PostError`] when the journal cannot be read.
    pub fn resume(&self) -> Result<Vec<Result<Summary, PostError>>, PostError> {
        let journal = self.journal()?;
        journal.sweep(self.engine.now.0);
        let waiting = journal.pending()?;
        let mut reports: Vec<_> = waiting.into_iter().map(|entry| self.send(entry?, true)).collect();
        // Afterwards: what waits may have wanted it.
        reports.extend(self.supply.collect(self.engine.now).err().map(|error| Err(error.into())));
        Ok(reports)
    }

    /// Forgets a message that waits: whoever has not got it will not, and the stamps for them are free again. `false` if
    /// there is none of this name.
    ///
    /// # Errors
    /// [`PostError`]: it still waits.
    pub fn discard(&self, name: &str) -> Result<bool, PostError> {
        match self.journal()?.find(name)? {
            Some(Claimed::Open(entry)) => {
                self.settle_stamps(&entry)?;
                entry.remove(false)?;
                Ok(true)
            }
            Some(Claimed::Busy) => Err(PostError::Busy),
            Some(Claimed::Done(_)) | None => Ok(false),
        }
    }

    fn journal(&self) -> Result<Outbox, PostError> {
        Ok(Outbox::new(self.engine.places.state().map_err(Deferral::from)?))
    }

    /// Sends what is not yet sent of a message. `resumed` says that its caller is not there to be told.
    fn send(&self, mut entry: Entry, resumed: bool) -> Result<Summary, PostError> {
        let submission = entry.submission.clone();
        let original = SourceMessage::new(Message::parse(&submission.message));
        // A stamp that cannot be had until somebody does something stops the whole message while nothing of it has left and
        // its caller listens: he will send it again when he has seen to that, and to everybody. Otherwise it is with us, and
        // waits until then.
        let refuses = !resumed && entry.ends.iter().all(Option::is_none);
        let stamped = self.stamps(&entry, &original, refuses)?;
        if stamped.iter().any(|stamped| matches!(stamped, Some(Stamped::Refused(..)))) {
            return self.refuse_all(entry, &stamped);
        }
        self.allow_return(&submission, &stamped)?;
        let before = entry.ends.clone();
        let (fates, trouble) = self.send_copies(&mut entry, &submission, &original, &stamped);
        let each: Vec<(Recipient, Delivery)> = submission.recipients.iter().cloned().zip(fates).collect();
        each.iter().for_each(|(recipient, fate)| self.log(recipient, fate));
        let report = Summary { each, ended: false };
        if let Some(error) = trouble {
            return Err(error.into());
        }
        if self.engine.config.sendmail.learn
            && let Err(error) = self.learn(&original.message(), &before, &report)
        {
            self.engine.log_error(&format!("sendmail: not learned to whom it went: {error}"));
        }
        if entry.is_done() {
            self.settle_stamps(&entry)?;
            entry.remove(resumed && submission.identified)?;
        }
        Ok(report)
    }

    /// What goes on each copy that is still to be sent. With `refuses`, a stamp for which waiting alone does not help is
    /// none.
    fn stamps<'a>(
        &self,
        entry: &Entry,
        original: &'a SourceMessage<'_>,
        refuses: bool,
    ) -> Result<Vec<Option<Stamped<'a>>>, PostError> {
        let submission = &entry.submission;
        let state = self.engine.places.state().map_err(Deferral::from)?;
        let returns = returnable(&original.message(), &ReturnableStore::new(state));
        let identity = identity(submission);
        let mut wants: Vec<(usize, StampRequest)> = Vec::new();
        let mut stamped: Vec<Option<Stamped<'a>>> = Vec::new();
        let for_return = if self.for_return(submission) { FOR_RETURN } else { "" };
        for (at, (recipient, end)) in submission.recipients.iter().zip(&entry.ends).enumerate() {
            if end.is_some() {
                stamped.push(None);
                continue;
            }
            stamped.push(match choose(original, recipient, &self.engine.config, &returns) {
                StampChoice::None => Some(Stamped::Plain(None)),
                StampChoice::Own(found) => Some(Stamped::Own(found)),
                StampChoice::Return(stamp) => Some(Stamped::Put(format!("{stamp}{for_return}"))),
                StampChoice::Supply(address) => {
                    wants.push((at, StampRequest::new(ReservationKey::of(&identity, &address), address)));
                    None
                }
            });
        }
        let asked: Vec<StampRequest> = wants.iter().map(|(_, want)| want.clone()).collect();
        let answers = if asked.is_empty() { Vec::new() } else { self.supply.acquire(&asked, self.engine.now) };
        for ((at, _), answer) in wants.iter().zip(answers) {
            let put = match answer {
                Ok(held) => Stamped::Put(format!("{}{for_return}", held.token.as_str())),
                Err(error) => match self.engine.config.sendmail.when_away {
                    OnVendorUnavailable::Plain => Stamped::Plain(Some(told(&error))),
                    OnVendorUnavailable::Defer if refuses && !error.passes() => {
                        Stamped::Refused(status(&error), told(&error))
                    }
                    OnVendorUnavailable::Defer => Stamped::Deferred(told(&error)),
                },
            };
            if let Some(slot) = stamped.get_mut(*at) {
                *slot = Some(put);
            }
        }
        Ok(stamped)
    }

    /// Nothing is sent: somebody's stamp cannot be had, and the caller hears it.
    fn refuse_all(&self, entry: Entry, stamped: &[Option<Stamped<'_>>]) -> Result<Summary, PostError> {
        let each = entry.submission.recipients.iter().zip(stamped).map(|(recipient, stamped)| {
            let fate = match stamped {
                Some(Stamped::Refused(status, said)) => Delivery::Refused(*status, said.clone()),
                _ => Delivery::Refused(DATA, "not sent, because of the others".to_owned()),
            };
            (recipient.clone(), fate)
        });
        let mut report = Summary { each: each.collect(), ended: false };
        // What speaks is the status of the one that is to blame.
        report.each.sort_by_key(|(_, fate)| matches!(fate, Delivery::Refused(DATA, _)));
        report.each.iter().for_each(|(recipient, fate)| self.log(recipient, fate));
        self.settle_stamps(&entry)?;
        entry.remove(false)?;
        Ok(report)
    }

    fn for_return(&self, submission: &Submission) -> bool {
        submission.for_return || self.engine.config.sendmail.for_return
    }

    /// Logs that the stamps may come back. The grant is what the log says; the mark beside the stamp gives nothing (paper,
    /// protocol step 3).
    fn allow_return(&self, submission: &Submission, stamped: &[Option<Stamped<'_>>]) -> Result<(), PostError> {
        if !self.for_return(submission) {
            return Ok(());
        }
        let put = submission.recipients.iter().zip(stamped).filter_map(|(recipient, stamped)| match stamped {
            Some(Stamped::Put(text)) => Some((recipient.address()?, text.split(';').next()?)),
            _ => None,
        });
        let mut log = None;
        for (recipient, stamp) in put {
            let Ok(token) = Token::parse(stamp) else { continue };
            let (Ok(issuer), Ok(claims)) = (token.issuer(), Stamp::read(token.payload())) else { continue };
            let log = match &mut log {
                Some(log) => log,
                none => none.insert(self.engine.used_log().map_err(Deferral::from)?),
            };
            // One that names the recipient was sent to him and comes back; one that he let come back goes to him again.
            let kind = if claims.audience.names(recipient) { GrantKind::Return } else { GrantKind::MultiUse };
            let granted = |before: &StampStatus| match &before.grant {
                Some(_) => before.clone(),
                None => StampStatus { grant: Some(Grant::new(kind, self.engine.now)), ..before.clone() },
            };
            if log.standing(issuer.vendor(), &claims.serial)?.grant.is_none() {
                log.update_status(issuer.vendor(), &claims.serial, &mut |before| granted(before))?;
            }
        }
        Ok(())
    }

    /// Hands the copies over, several at once, and notes what becomes of each as soon as it is known.
    fn send_copies(
        &self,
        entry: &mut Entry,
        submission: &Submission,
        original: &SourceMessage<'_>,
        stamped: &[Option<Stamped<'_>>],
    ) -> (Vec<Delivery>, Option<JournalError>) {
        let whole = submission.recipients.len();
        let ended = entry.ends.clone();
        let otherwise = submission.author().or_else(|| own_address(self.engine)).map(|address| address.to_string());
        let (next, over) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let fates: Mutex<Vec<Option<Delivery>>> = Mutex::new(vec![None; whole]);
        let noted = Mutex::new((entry, None));
        let work = || {
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(recipient) = submission.recipients.get(at) else { return };
                let fate = match (ended.get(at).and_then(Option::as_ref), stamped.get(at).and_then(Option::as_ref)) {
                    (Some(end), _) => Delivery::of(end),
                    // What cannot be noted would be sent again and again.
                    (None, _) if failed(&noted) => Delivery::Deferred("nothing can be noted".to_owned()),
                    (None, Some(stamped)) => {
                        let fate = self.hand_one(submission, original, recipient, stamped, otherwise.as_deref());
                        note(&noted, at, &fate);
                        fate
                    }
                    (None, None) => Delivery::Deferred("no stamp was looked for".to_owned()),
                };
                if let Some(slot) = fates.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get_mut(at) {
                    *slot = Some(fate);
                }
                (self.progress)(over.fetch_add(1, Ordering::Relaxed) + 1, whole);
            }
        };
        match self.engine.config.sendmail.at_once.min(whole) {
            0 | 1 => work(),
            threads => std::thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(work);
                }
            }),
        }
        let fates = fates.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        let missing = || Delivery::Deferred("it was not handed over".to_owned());
        let trouble = noted.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).1;
        (fates.into_iter().map(|fate| fate.unwrap_or_else(missing)).collect(), trouble)
    }

    fn hand_one(
        &self,
        submission: &Submission,
        original: &SourceMessage<'_>,
        recipient: &Recipient,
        stamped: &Stamped<'_>,
        otherwise: Option<&str>,
    ) -> Delivery {
        let (keep, put, without) = match stamped {
            Stamped::Plain(without) => (None, None, without.clone()),
            Stamped::Own(found) => (Some(*found), None, None),
            Stamped::Put(text) => (None, Some(text.as_str()), None),
            Stamped::Deferred(said) => return Delivery::Deferred(said.clone()),
            Stamped::Refused(status, said) => return Delivery::Refused(*status, said.clone()),
        };
        let copy = match original.copy(keep, put) {
            Ok(copy) => copy,
            Err(error) => return Delivery::Refused(DATA, error.to_string()),
        };
        match self.transport.send(submission.sender.as_deref(), otherwise, recipient, &copy) {
            Ok(()) => Delivery::Sent { without },
            Err(error) => match error.never {
                Some(status) => Delivery::Refused(status, error.said),
                None => Delivery::Deferred(error.said),
            },
        }
    }

    /// Learns to whom the user writes, when that was taken.
    fn learn(
        &self,
        message: &Message<'_>,
        before: &[Option<RecipientOutcome>],
        report: &Summary,
    ) -> Result<(), Deferral> {
        let taken = report.each.iter().zip(before).filter_map(|((recipient, fate), before)| match (before, fate) {
            (None, Delivery::Sent { .. }) => recipient.address().cloned(),
            _ => None,
        });
        let taken: Vec<Address> = taken.collect();
        if !taken.is_empty()
            && let Ok(sent) = self.engine.learnable_of(message, taken, self.engine.now)?
        {
            self.engine.used_log()?.learn(&[sent])?;
        }
        Ok(())
    }

    /// The stamps of what was sent are used; those of what never will be are free again.
    fn settle_stamps(&self, entry: &Entry) -> Result<(), PostError> {
        let identity = identity(&entry.submission);
        for (recipient, end) in entry.submission.recipients.iter().zip(&entry.ends) {
            let Some(address) = recipient.address() else { continue };
            let key = ReservationKey::of(&identity, address);
            match end {
                Some(RecipientOutcome::Sent) => self.supply.wallet().commit(&key, self.engine.now)?,
                Some(RecipientOutcome::Refused(..)) | None => self.supply.wallet().give_back(&key)?,
            };
        }
        Ok(())
    }

    /// One line a copy, for syslog.
    fn log(&self, recipient: &Recipient, fate: &Delivery) {
        let to = escape_untrusted(recipient.to_string().as_bytes(), 300);
        let (severity, line) = match fate {
            Delivery::Sent { without: None } => (Severity::Info, format!("sendmail: to={to}: sent")),
            Delivery::Sent { without: Some(why) } => {
                (Severity::Error, format!("sendmail: to={to}: sent unstamped: {why}"))
            }
            Delivery::Deferred(said) => (Severity::Error, format!("sendmail: to={to}: deferred: {said}")),
            Delivery::Refused(status, said) => {
                (Severity::Error, format!("sendmail: to={to}: refused ({status}): {said}"))
            }
        };
        if let Some(socket) = &self.engine.config.syslog {
            let _ = syslog::send(socket, severity, &line);
        }
    }
}

/// What stamps are reserved for: this message as its recipients tell it from others, sent to these recipients; sent to others
/// too, it is on its own.
fn identity(submission: &Submission) -> Vec<u8> {
    [submission.name.as_bytes(), &Fingerprint::of(&Message::parse(&submission.message)).0].concat()
}

/// The first of the user's own addresses that is one and not a pattern.
#[must_use]
pub fn own_address(engine: &Engine) -> Option<Address> {
    engine.config.mailboxes.iter().find_map(|mailbox| mailbox.pattern.exact()).cloned()
}

/// The journal's entry, and why nothing can be noted in it any more.
type Noted<'a> = Mutex<(&'a mut Entry, Option<JournalError>)>;

fn failed(noted: &Noted<'_>) -> bool {
    noted.lock().unwrap_or_else(std::sync::PoisonError::into_inner).1.is_some()
}

/// Notes what is over for good.
fn note(noted: &Noted<'_>, at: usize, fate: &Delivery) {
    let end = match fate {
        Delivery::Sent { .. } => RecipientOutcome::Sent,
        Delivery::Refused(status, said) => RecipientOutcome::Refused(*status, said.clone()),
        Delivery::Deferred(_) => return,
    };
    let mut noted = noted.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Err(error) = noted.0.note(at, end) {
        noted.1 = Some(error);
    }
}

fn told(error: &SupplyError) -> String {
    escape_untrusted(format!("no stamp: {error}").as_bytes(), 400)
}

/// The status of a stamp that cannot be had until somebody does something.
fn status(error: &SupplyError) -> u8 {
    match error {
        SupplyError::NoAccount(_) | SupplyError::Account(_) | SupplyError::Key { .. } => 78,
        SupplyError::Capped(_) | SupplyError::Funds { .. } => 77,
        SupplyError::Order { .. } => DATA,
        SupplyError::Answer { .. } => 76,
        SupplyError::Away { .. } | SupplyError::Ours(_) => TEMPFAIL,
    }
}
