//! `mailstamp sendmail`: one message in, a copy with its own stamp to each recipient. The order is what makes it safe to be
//! killed anywhere and run again.
//!
//! 1. The message is written into the journal, with its envelope, durably.
//! 2. Every recipient who needs a stamp gets one reserved, in the purse, under a key made of the message's name and his
//!    address; what is missing is bought, in one request for each vendor. Run again, the same keys give the same stamps.
//! 3. If stamps may come back, that is logged, before anybody can let them come back.
//! 4. Each copy is handed to the next program; when that has taken it, this is noted, durably.
//! 5. When it is over for everybody, the stamps are used for good, and the file of the journal goes.
//!
//! A copy can be sent twice in one case: killed after the next program took it and before that was noted. Both have the same
//! Message-ID and the same stamp, so that the recipient's software knows the second for what it is.

pub mod choice;
pub mod copies;
pub mod journal;
pub mod submission;
pub mod transport;

use super::error::SupplyError;
use super::supply::Sender;
use super::want::{ReservationKey, Want};
use crate::config::sendmail::WhenAway;
use crate::filter::engine::{Engine, Undecided};
use crate::grant::{Grant, GrantKind, Standing};
use crate::log::syslog::{self, Severity};
use crate::mail::address::Address;
use crate::mail::field::printable;
use crate::mail::message::Message;
use crate::stamp::claims::Stamp;
use crate::stamp::wire::Token;
use crate::store::{Returns, StoreError};
use choice::{Choice, choose, returnable};
use copies::{FOR_RETURN, Original};
use journal::{End, Entry, Journal, JournalError, Known};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use submission::{Recipient, Submission};
use transport::Transport;

/// Try again (EX_TEMPFAIL).
const TEMPFAIL: u8 = 75;
/// Not to be sent as it is (EX_DATAERR).
const DATA: u8 = 65;

/// All that sending needs.
pub struct Post<'a> {
    /// The configuration, the places, the time.
    pub engine: &'a Engine,
    /// Purse and vendors.
    pub supply: &'a Sender,
    /// Who takes the copies.
    pub transport: &'a Transport,
    /// Told after each copy: how many are over, of how many.
    pub progress: &'a (dyn Fn(usize, usize) + Sync),
}

/// What became of one recipient's copy in this run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
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
pub struct Report {
    /// Each recipient with his copy's fate.
    pub each: Vec<(Recipient, Fate)>,
    /// The status of a message that ended while its caller was away.
    pub ended: Option<u8>,
}

/// Nothing was sent in this run.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The user's files.
    #[error(transparent)]
    Undecided(#[from] Undecided),
    /// The log of grants.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another process has it.
    #[error("another process is sending this message")]
    Busy,
}

impl Report {
    /// The status to exit with: 75 if anything is still to be done, else that of the first refusal.
    #[must_use]
    pub fn status(&self) -> u8 {
        if let Some(status) = self.ended {
            return status;
        }
        let refused = self.each.iter().find_map(|(_, fate)| match fate {
            Fate::Refused(status, _) => Some(*status),
            _ => None,
        });
        let deferred = self.each.iter().any(|(_, fate)| matches!(fate, Fate::Deferred(_)));
        if deferred { TEMPFAIL } else { refused.unwrap_or(0) }
    }
}

/// What is to be put on a copy.
enum Stamped<'a> {
    Plain(Option<String>),
    Own(&'a crate::stamp::locate::Found),
    Put(String),
    Deferred(String),
    Refused(u8, String),
}

impl Post<'_> {
    /// Sends a message, or goes on with it.
    ///
    /// # Errors
    /// [`PostError`]: nothing was sent now, and it can be tried again.
    pub fn submit(&self, submission: Submission) -> Result<Report, PostError> {
        match self.journal()?.take(submission)? {
            Known::Open(entry) => self.send(*entry, false),
            Known::Done(status) => Ok(Report { ended: Some(status), ..Report::default() }),
            Known::Busy => Err(PostError::Busy),
        }
    }

    /// Goes on with all that waits. What can be said of each message.
    ///
    /// # Errors
    /// [`PostError`] when the journal cannot be read.
    pub fn resume(&self) -> Result<Vec<Result<Report, PostError>>, PostError> {
        let journal = self.journal()?;
        journal.sweep(self.engine.now.0);
        let waiting = journal.waiting()?;
        Ok(waiting.into_iter().map(|entry| self.send(entry?, true)).collect())
    }

    fn journal(&self) -> Result<Journal, PostError> {
        Ok(Journal::new(self.engine.places.state().map_err(Undecided::from)?))
    }

    /// Sends what is not yet sent of a message. `resumed` says that its caller is not there to be told.
    fn send(&self, mut entry: Entry, resumed: bool) -> Result<Report, PostError> {
        let submission = entry.submission.clone();
        let original = Original::new(Message::parse(&submission.message));
        let stamped = self.stamps(&entry, &original)?;
        let fresh = entry.ends.iter().all(Option::is_none);
        // A stamp that never can be had stops the whole message while nothing of it has left: the user will send it again
        // when he has seen to that, and to everybody.
        let wrong = stamped.iter().any(|stamped| matches!(stamped, Some(Stamped::Refused(..))));
        if wrong && fresh {
            return self.refuse_all(entry, &stamped, resumed);
        }
        self.allow_return(&submission, &stamped)?;
        let (fates, trouble) = self.hand_over(&mut entry, &submission, &original, &stamped);
        let each: Vec<(Recipient, Fate)> = submission.recipients.iter().cloned().zip(fates).collect();
        each.iter().for_each(|(recipient, fate)| self.log(recipient, fate));
        let report = Report { each, ended: None };
        if let Some(error) = trouble {
            return Err(error.into());
        }
        if entry.is_done() {
            self.settle_stamps(&entry)?;
            entry.remove(resumed.then(|| report.status()))?;
        }
        Ok(report)
    }

    /// What goes on each copy that is still to be sent.
    fn stamps<'a>(&self, entry: &Entry, original: &'a Original<'_>) -> Result<Vec<Option<Stamped<'a>>>, PostError> {
        let submission = &entry.submission;
        let state = self.engine.places.state().map_err(Undecided::from)?;
        let returns = returnable(&original.message(), &Returns::new(state));
        let mut wants: Vec<(usize, Want)> = Vec::new();
        let mut stamped: Vec<Option<Stamped<'a>>> = Vec::new();
        let for_return = if self.for_return(submission) { FOR_RETURN } else { "" };
        for (at, (recipient, end)) in submission.recipients.iter().zip(&entry.ends).enumerate() {
            if end.is_some() {
                stamped.push(None);
                continue;
            }
            stamped.push(match choose(original, recipient, &self.engine.config, &returns) {
                Choice::None => Some(Stamped::Plain(None)),
                Choice::Own(found) => Some(Stamped::Own(found)),
                Choice::Return(stamp) => Some(Stamped::Put(format!("{stamp}{for_return}"))),
                Choice::Supply(address) => {
                    wants.push((at, Want::new(key(submission, &address), address)));
                    None
                }
            });
        }
        let asked: Vec<Want> = wants.iter().map(|(_, want)| want.clone()).collect();
        let answers = if asked.is_empty() { Vec::new() } else { self.supply.supply(&asked, self.engine.now) };
        for ((at, _), answer) in wants.iter().zip(answers) {
            let put = match answer {
                Ok(held) => Stamped::Put(format!("{}{for_return}", held.token.as_str())),
                Err(error) => match self.engine.config.sendmail.when_away {
                    WhenAway::Plain => Stamped::Plain(Some(told(&error))),
                    WhenAway::Defer if error.passes() => Stamped::Deferred(told(&error)),
                    WhenAway::Defer => Stamped::Refused(status(&error), told(&error)),
                },
            };
            if let Some(slot) = stamped.get_mut(*at) {
                *slot = Some(put);
            }
        }
        Ok(stamped)
    }

    /// Nothing is sent: somebody's stamp can never be had.
    fn refuse_all(&self, entry: Entry, stamped: &[Option<Stamped<'_>>], resumed: bool) -> Result<Report, PostError> {
        let each = entry.submission.recipients.iter().zip(stamped).map(|(recipient, stamped)| {
            let fate = match stamped {
                Some(Stamped::Refused(status, said)) => Fate::Refused(*status, said.clone()),
                _ => Fate::Refused(DATA, "not sent, because of the others".to_owned()),
            };
            (recipient.clone(), fate)
        });
        let mut report = Report { each: each.collect(), ended: None };
        // What speaks is the status of the one that is to blame.
        report.each.sort_by_key(|(_, fate)| matches!(fate, Fate::Refused(DATA, _)));
        report.each.iter().for_each(|(recipient, fate)| self.log(recipient, fate));
        self.give_back(&entry)?;
        entry.remove(resumed.then(|| report.status()))?;
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
                none => none.insert(self.engine.used_log().map_err(Undecided::from)?),
            };
            // One that names the recipient was sent to him and comes back; one that he let come back goes to him again.
            let kind = if claims.audience.names(recipient) { GrantKind::Return } else { GrantKind::MultiUse };
            let granted = |before: &Standing| match &before.grant {
                Some(_) => before.clone(),
                None => Standing { grant: Some(Grant::new(kind, self.engine.now)), ..before.clone() },
            };
            if log.standing(issuer.vendor(), &claims.serial)?.grant.is_none() {
                log.change_standing(issuer.vendor(), &claims.serial, &mut |before| granted(before))?;
            }
        }
        Ok(())
    }

    /// Hands the copies over, several at once, and notes what becomes of each as soon as it is known.
    fn hand_over(
        &self,
        entry: &mut Entry,
        submission: &Submission,
        original: &Original<'_>,
        stamped: &[Option<Stamped<'_>>],
    ) -> (Vec<Fate>, Option<JournalError>) {
        let whole = submission.recipients.len();
        let ended = entry.ends.clone();
        let otherwise = submission.author().or_else(|| own_address(self.engine)).map(|address| address.to_string());
        let (next, over) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let fates: Mutex<Vec<Option<Fate>>> = Mutex::new(vec![None; whole]);
        let noted = Mutex::new((entry, None));
        let work = || {
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(recipient) = submission.recipients.get(at) else { return };
                let fate = match (ended.get(at).and_then(Option::as_ref), stamped.get(at).and_then(Option::as_ref)) {
                    (Some(End::Sent), _) => Fate::Sent { without: None },
                    (Some(End::Refused(status, said)), _) => Fate::Refused(*status, said.clone()),
                    (None, Some(stamped)) => {
                        let fate = self.hand_one(submission, original, recipient, stamped, otherwise.as_deref());
                        note(&noted, at, &fate);
                        fate
                    }
                    (None, None) => Fate::Deferred("no stamp was looked for".to_owned()),
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
        let missing = || Fate::Deferred("it was not handed over".to_owned());
        let trouble = noted.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).1;
        (fates.into_iter().map(|fate| fate.unwrap_or_else(missing)).collect(), trouble)
    }

    fn hand_one(
        &self,
        submission: &Submission,
        original: &Original<'_>,
        recipient: &Recipient,
        stamped: &Stamped<'_>,
        otherwise: Option<&str>,
    ) -> Fate {
        let (keep, put, without) = match stamped {
            Stamped::Plain(without) => (None, None, without.clone()),
            Stamped::Own(found) => (Some(*found), None, None),
            Stamped::Put(text) => (None, Some(text.as_str()), None),
            Stamped::Deferred(said) => return Fate::Deferred(said.clone()),
            Stamped::Refused(status, said) => return Fate::Refused(*status, said.clone()),
        };
        let copy = match original.copy(keep, put) {
            Ok(copy) => copy,
            Err(error) => return Fate::Refused(DATA, error.to_string()),
        };
        match self.transport.hand_over(submission.sender.as_deref(), otherwise, recipient, &copy) {
            Ok(()) => Fate::Sent { without },
            Err(error) => match error.never {
                Some(status) => Fate::Refused(status, error.said),
                None => Fate::Deferred(error.said),
            },
        }
    }

    /// The stamps of what was sent are used; those of what never will be are free again.
    fn settle_stamps(&self, entry: &Entry) -> Result<(), PostError> {
        for (recipient, end) in entry.submission.recipients.iter().zip(&entry.ends) {
            let Some(address) = recipient.address() else { continue };
            let key = key(&entry.submission, address);
            match end {
                Some(End::Sent) => self.supply.purse().commit(&key, self.engine.now)?,
                Some(End::Refused(..)) => self.supply.purse().give_back(&key)?,
                None => false,
            };
        }
        Ok(())
    }

    fn give_back(&self, entry: &Entry) -> Result<(), PostError> {
        for address in entry.submission.recipients.iter().filter_map(Recipient::address) {
            self.supply.purse().give_back(&key(&entry.submission, address))?;
        }
        Ok(())
    }

    /// One line a copy, for syslog.
    fn log(&self, recipient: &Recipient, fate: &Fate) {
        let to = printable(recipient.to_string().as_bytes(), 300);
        let (severity, line) = match fate {
            Fate::Sent { without: None } => (Severity::Info, format!("sendmail: to={to}: sent")),
            Fate::Sent { without: Some(why) } => (Severity::Error, format!("sendmail: to={to}: sent unstamped: {why}")),
            Fate::Deferred(said) => (Severity::Error, format!("sendmail: to={to}: deferred: {said}")),
            Fate::Refused(status, said) => (Severity::Error, format!("sendmail: to={to}: refused ({status}): {said}")),
        };
        if let Some(socket) = &self.engine.config.syslog {
            let _ = syslog::send(socket, severity, &line);
        }
    }
}

/// What a stamp is reserved for.
fn key(submission: &Submission, recipient: &Address) -> ReservationKey {
    ReservationKey::of(submission.name.as_bytes(), recipient)
}

/// The first of the user's own addresses that is one and not a pattern.
#[must_use]
pub fn own_address(engine: &Engine) -> Option<Address> {
    engine.config.mailboxes.iter().find_map(|mailbox| mailbox.pattern.exact()).cloned()
}

/// Notes what is over for good.
fn note(noted: &Mutex<(&mut Entry, Option<JournalError>)>, at: usize, fate: &Fate) {
    let end = match fate {
        Fate::Sent { .. } => End::Sent,
        Fate::Refused(status, said) => End::Refused(*status, said.clone()),
        Fate::Deferred(_) => return,
    };
    let mut noted = noted.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Err(error) = noted.0.note(at, end) {
        noted.1 = Some(error);
    }
}

fn told(error: &SupplyError) -> String {
    printable(format!("no stamp: {error}").as_bytes(), 400)
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
