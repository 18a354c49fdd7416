//! `mailstamp sendmail`: one message in, a copy with its own stamp to each recipient.
//!
//! The order of the steps makes it safe to kill the process anywhere and run it again:
//!
//! 1. The message and its envelope are written to the outbox, durably.
//! 2. Every recipient who needs a stamp gets one reserved in the wallet; missing stamps are bought in one request for
//!    each vendor. The reservation key contains the name and fingerprint of the message in the outbox, and the
//!    recipient's address. The same keys give the same stamps in a later run, and a message with another fingerprint
//!    gets another stamp.
//! 3. If stamps may come back, that is logged before any recipient can return one.
//! 4. Each copy is handed to the next program. When that has accepted it, this is recorded, durably.
//! 5. When every recipient is done, the stamps are marked as used, and the outbox file is removed. The wallet is not
//!    opened for a message that wants no stamp of it.
//!
//! A copy is sent twice in two cases: the process was killed after the next program accepted it and before that was
//! recorded, or the connection to a server broke between the message and its reply. Both copies are the same message
//! with the same stamp, so the recipient's software recognizes the second.
//!
//! After exit status 75, the next call with the same message means the same message. After exit status 0, the next call
//! with the same bytes means another. The outbox tells the two apart while it holds the message. If `-q` completed the
//! message first, the outbox keeps the result for the caller, but only for a message with a Message-ID. Of two messages
//! with equal bytes and no Message-ID, sending both is better than sending one.
//!
//! A client of SMTP has one reply for all recipients. If no copy has left, the message is not accepted: it is sent only
//! when the client sends it again, and has its stamps until then. Once a copy has left, it is accepted: it is tried
//! until it is sent to the others, and the sender gets a report ([`report`]) of those that refused it. So no recipient
//! gets it twice, and no failure is silent. The result is kept after the end, since the client may not have got the
//! reply.

pub mod copies;
pub mod outbox;
pub mod parse;
pub mod report;
mod reporting;
pub mod stamp_choice;
mod stamping;
pub mod transport;

use super::peers::{Exchange, ExchangeError};
use super::stamp_request::ReservationKey;
use super::stamp_source::StampSource;
use crate::context::Context;
use crate::context::error::Deferral;
use crate::log::syslog::{self, Severity};
use crate::message::address::Address;
use crate::message::delivery_report::is_report;
use crate::message::fingerprint::Fingerprint;
use crate::message::header::{fold, readable};
use crate::message::parse::Message;
use crate::stamp::extract::STAMP_FIELD;
use crate::store::{Store, StoreError};
use copies::SourceMessage;
use outbox::{Claimed, Entry, Outbox, OutboxError, RecipientOutcome};
use parse::{Recipient, Submission};
use stamping::{Put, Stamped};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use transport::Transport;

/// Try again (EX_TEMPFAIL).
const TEMPFAIL: u8 = 75;
/// The message cannot be sent as it is (EX_DATAERR).
const DATA: u8 = 65;
/// The next program does not accept it (EX_UNAVAILABLE).
const UNAVAILABLE: u8 = 69;
/// How long an accepted message of SMTP is tried, in seconds: as long as mail systems retry.
const GIVE_UP: i64 = 5 * 86_400;

/// Sends messages with stamps.
pub struct SubmissionAgent<'a> {
    /// Configuration, paths and time.
    pub context: &'a Context,
    /// Wallet and vendors.
    pub supply: &'a StampSource,
    /// Next program or server, which accepts the copies.
    pub transport: &'a Transport,
    /// Opens the used log, or returns the one that is open.
    pub used_log: &'a (dyn Fn() -> Result<Arc<dyn Store>, Deferral> + Sync),
    /// Called after each copy with the number of copies done, and of all.
    pub progress: &'a (dyn Fn(usize, usize) + Sync),
}

/// Result of one recipient's copy in this run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The next program accepted it, now or in an earlier run. If a requested stamp is missing, with the reason.
    Sent {
        /// Why there is no stamp.
        without: Option<String>,
    },
    /// Not sent yet, for this reason.
    Deferred(String),
    /// Refused for good, with this exit status and reason.
    Refused(u8, String),
}

/// Result of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Each recipient with the result of the copy.
    pub each: Vec<(Recipient, Delivery)>,
    /// Whether it was completed earlier, by `sendmail -q`.
    pub ended: bool,
}

/// Nothing was sent in this run.
#[derive(Debug, thiserror::Error)]
pub enum SubmissionError {
    /// The outbox.
    #[error(transparent)]
    Journal(#[from] OutboxError),
    /// Configuration or state.
    #[error(transparent)]
    Undecided(#[from] Deferral),
    /// The used log.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The exchange with correspondents.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
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
    /// Returns the exit status: 75 if a copy is still to be sent, else that of the first refusal.
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

impl SubmissionAgent<'_> {
    /// Sends a message, or continues it.
    ///
    /// # Errors
    /// [`SubmissionError`]: nothing was sent now, and a retry is safe.
    pub fn submit(&self, submission: Submission) -> Result<Summary, SubmissionError> {
        match self.journal()?.claim(submission, self.context.now.0)? {
            Claimed::Open(entry) => self.send(*entry, false),
            Claimed::Done(ends) => {
                let each = ends.into_iter().map(|(recipient, end)| (recipient, Delivery::of(&end))).collect();
                Ok(Summary { each, ended: true })
            }
            Claimed::Busy => Err(SubmissionError::Busy),
        }
    }

    /// Continues all pending messages, and returns the result of each.
    ///
    /// # Errors
    /// [`SubmissionError`] when the outbox cannot be read.
    pub fn resume(&self) -> Result<Vec<Result<Summary, SubmissionError>>, SubmissionError> {
        let journal = self.journal()?;
        if let Some(limit) = self.context.forget_limit() {
            journal.sweep(limit.0);
        }
        let mut reports: Vec<_> = journal.pending()?.map(|entry| self.resume_one(entry?)).collect();
        // Last, since a pending message may have used an orphaned purchase.
        reports.extend(self.supply.collect(self.context.now).err().map(|error| Err(error.into())));
        Ok(reports)
    }

    fn resume_one(&self, mut entry: Entry) -> Result<Summary, SubmissionError> {
        let Some(came) = entry.submission.by_smtp else {
            self.give_up_report(&mut entry)?;
            return self.send(entry, true);
        };
        let is_old = self.context.forget_limit().is_some_and(|now| now.0.saturating_sub(came) > GIVE_UP);
        if !is_sent(&entry.ends) {
            // It was not accepted. The client may send it again, and then needs its stamps.
            if is_old {
                self.settle_stamps(&entry)?;
                entry.remove(false)?;
            }
            return Ok(Summary::default());
        }
        if is_old {
            refuse_open(&mut entry)?;
        }
        self.send(entry, true)
    }

    /// Removes a pending message. Recipients without a copy get none, and their stamps are free again.
    ///
    /// Returns `false` if no message has this name.
    ///
    /// # Errors
    /// [`SubmissionError`]: the message is still pending.
    pub fn discard(&self, name: &str) -> Result<bool, SubmissionError> {
        match self.journal()?.find(name)? {
            Some(Claimed::Open(entry)) => {
                self.settle_stamps(&entry)?;
                entry.remove(false)?;
                Ok(true)
            }
            Some(Claimed::Busy) => Err(SubmissionError::Busy),
            Some(Claimed::Done(_)) | None => Ok(false),
        }
    }

    fn journal(&self) -> Result<Outbox, SubmissionError> {
        Ok(Outbox::new(self.context.places.state().map_err(Deferral::from)?))
    }

    /// Sends the copies that are not yet sent. `resumed` means that the caller is not there to get the result.
    fn send(&self, mut entry: Entry, resumed: bool) -> Result<Summary, SubmissionError> {
        let submission = entry.submission.clone();
        let original = SourceMessage::new(Message::parse(&submission.message));
        // If a stamp is unavailable until the user corrects something, the whole message is refused while no copy has
        // left and the caller is there. The caller then sends it again, to every recipient. Otherwise the message stays
        // in the outbox.
        let refuses = !resumed && entry.ends.iter().all(Option::is_none);
        let exchange = self.exchange(&submission, &original)?;
        let (stamped, has_asked) = self.stamps(&entry, &original, exchange.as_ref(), refuses)?;
        if stamped.iter().any(|stamped| matches!(stamped, Some(Stamped::Refused(..)))) {
            return self.refuse_all(entry, &stamped);
        }
        self.allow_return(&submission, &stamped)?;
        let before = entry.ends.clone();
        let (fates, trouble) = self.send_copies(&mut entry, &submission, &original, exchange.as_ref(), &stamped);
        let each: Vec<(Recipient, Delivery)> = submission.recipients.iter().cloned().zip(fates).collect();
        each.iter().for_each(|(recipient, fate)| self.log(recipient, fate));
        let report = Summary { each, ended: false };
        if let Some(error) = trouble {
            return Err(error.into());
        }
        if let Err(error) = exchange.iter().try_for_each(|exchange| self.told(exchange, &before, &stamped, &report)) {
            self.context.log_error(&format!("sendmail: peers not recorded: {error}"));
        }
        if self.context.config.sendmail.learn
            && let Err(error) = self.learn(&original.message(), &before, &report)
        {
            self.context.log_error(&format!("sendmail: recipients not learned: {error}"));
        }
        if entry.is_done() {
            let is_accepted = submission.by_smtp.is_some() && is_sent(&entry.ends);
            if is_accepted {
                self.report(&entry)?;
            } else if is_report(&original.message()) {
                self.insist(&entry)?;
            }
            // A message that wants no stamp doesn't need the wallet.
            if has_asked || !entry.is_new {
                self.settle_stamps(&entry)?;
            }
            entry.remove((resumed || is_accepted) && submission.identified)?;
        }
        Ok(report)
    }

    /// Sends nothing: a stamp is unavailable, and the caller gets the reason.
    fn refuse_all(&self, entry: Entry, stamped: &[Option<Stamped<'_>>]) -> Result<Summary, SubmissionError> {
        let each = entry.submission.recipients.iter().zip(stamped).map(|(recipient, stamped)| {
            let fate = match stamped {
                Some(Stamped::Refused(status, said)) => Delivery::Refused(*status, said.clone()),
                _ => Delivery::Refused(DATA, "not sent, because another recipient was refused".to_owned()),
            };
            (recipient.clone(), fate)
        });
        let mut report = Summary { each: each.collect(), ended: false };
        // The first entry sets the exit status, so the recipient that was refused comes first.
        report.each.sort_by_key(|(_, fate)| matches!(fate, Delivery::Refused(DATA, _)));
        report.each.iter().for_each(|(recipient, fate)| self.log(recipient, fate));
        self.settle_stamps(&entry)?;
        entry.remove(false)?;
        Ok(report)
    }

    /// Hands the copies over, several at once, and records each result as soon as it is known.
    fn send_copies(
        &self,
        entry: &mut Entry,
        submission: &Submission,
        original: &SourceMessage<'_>,
        exchange: Option<&Exchange<'_>>,
        stamped: &[Option<Stamped<'_>>],
    ) -> (Vec<Delivery>, Option<OutboxError>) {
        let whole = submission.recipients.len();
        let ended = entry.ends.clone();
        let otherwise = submission.author().or_else(|| own_address(self.context)).map(|address| address.to_string());
        let (next, over) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let fates: Mutex<Vec<Option<Delivery>>> = Mutex::new(vec![None; whole]);
        let noted = Mutex::new((entry, None));
        let work = || {
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(recipient) = submission.recipients.get(at) else { return };
                let fate = match (ended.get(at).and_then(Option::as_ref), stamped.get(at).and_then(Option::as_ref)) {
                    (Some(end), _) => Delivery::of(end),
                    // A copy whose result cannot be recorded would be sent again and again.
                    (None, _) if failed(&noted) => Delivery::Deferred("the outbox cannot be written".to_owned()),
                    (None, Some(stamped)) => {
                        let fate =
                            self.hand_one(submission, original, exchange, recipient, stamped, otherwise.as_deref());
                        note(&noted, at, &fate);
                        fate
                    }
                    (None, None) => Delivery::Deferred("no stamp was requested".to_owned()),
                };
                if let Some(slot) = fates.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get_mut(at) {
                    *slot = Some(fate);
                }
                (self.progress)(over.fetch_add(1, Ordering::Relaxed) + 1, whole);
            }
        };
        match self.context.config.sendmail.at_once.min(whole) {
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
        exchange: Option<&Exchange<'_>>,
        recipient: &Recipient,
        stamped: &Stamped<'_>,
        otherwise: Option<&str>,
    ) -> Delivery {
        let Put { keep, stamp, fields, without } = match stamped {
            Stamped::Copy(put) => put,
            Stamped::Deferred(said) => return Delivery::Deferred(said.clone()),
            Stamped::Refused(status, said) => return Delivery::Refused(*status, said.clone()),
        };
        let newline = original.message().newline();
        let copy = original.copy(*keep, |edit| {
            stamp.iter().for_each(|stamp| edit.insert_top(fold(STAMP_FIELD, stamp, newline)));
            if let (Some(exchange), Some(fields), Some(to)) = (exchange, fields, recipient.address()) {
                exchange.put(edit, fields, to, newline);
            }
        });
        let copy = match copy {
            Ok(copy) => copy,
            Err(error) => return Delivery::Refused(DATA, error.to_string()),
        };
        match self.transport.send(submission.sender.as_deref(), otherwise, recipient, &copy) {
            Ok(()) => Delivery::Sent { without: without.clone() },
            Err(error) => match error.never {
                Some(status) => Delivery::Refused(status, error.said),
                None => Delivery::Deferred(error.said),
            },
        }
    }

    /// Learns the recipients whose copies were accepted.
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
            && let Ok(sent) = self.context.learnable_of(message, taken, self.context.now)?
        {
            (self.used_log)()?.learn(&[sent])?;
        }
        Ok(())
    }

    /// Marks the stamps of sent copies as used, and frees those of copies that will not be sent.
    fn settle_stamps(&self, entry: &Entry) -> Result<(), SubmissionError> {
        let identity = identity(&entry.submission);
        let keys = entry.submission.recipients.iter().zip(&entry.ends).filter_map(|(recipient, end)| {
            let key = ReservationKey::of(&identity, recipient.address()?);
            Some((key, matches!(end, Some(RecipientOutcome::Sent))))
        });
        Ok(self.supply.wallet().close(&keys.collect::<Vec<_>>(), self.context.now)?)
    }

    /// Writes one line for each copy to syslog.
    fn log(&self, recipient: &Recipient, fate: &Delivery) {
        let to = readable(recipient.to_string().as_bytes(), 300);
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
        if let Some(socket) = &self.context.config.syslog {
            let _ = syslog::send(socket, severity, &line);
        }
    }
}

/// Refuses the message for the recipients that have no result.
fn refuse_open(entry: &mut Entry) -> Result<(), OutboxError> {
    for at in 0..entry.ends.len() {
        if entry.ends.get(at).is_some_and(Option::is_none) {
            entry.note(at, RecipientOutcome::Refused(UNAVAILABLE, "not accepted for 5 days".to_owned()))?;
        }
    }
    Ok(())
}

/// Returns whether a copy has left.
fn is_sent(ends: &[Option<RecipientOutcome>]) -> bool {
    ends.iter().any(|end| matches!(end, Some(RecipientOutcome::Sent)))
}

/// Identifies the use of stamps: this message, as its recipients distinguish it, to this set of recipients. Sent to
/// others too, it is another use.
fn identity(submission: &Submission) -> Vec<u8> {
    [submission.name.as_bytes(), &Fingerprint::of(&Message::parse(&submission.message)).0].concat()
}

/// Returns the first of the user's addresses that is not a pattern.
#[must_use]
pub fn own_address(context: &Context) -> Option<Address> {
    context.config.mailboxes.iter().find_map(|mailbox| mailbox.pattern.exact()).cloned()
}

/// The outbox entry, and the error after which nothing can be recorded in it.
type Noted<'a> = Mutex<(&'a mut Entry, Option<OutboxError>)>;

fn failed(noted: &Noted<'_>) -> bool {
    noted.lock().unwrap_or_else(std::sync::PoisonError::into_inner).1.is_some()
}

/// Records a final result.
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
