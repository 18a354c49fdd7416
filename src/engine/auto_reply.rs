//! Automatic reply to one message: checks whether one is due, and sends it.
//!
//! - The reply log records the reply durably before it is sent. So of any number of concurrent deliveries one sends,
//!   and a process killed in between sends one reply too few.
//! - The delivery of the message never depends on the reply. There is no error, only a [`ReplyOutcome`].

use super::judge::Engine;
use super::result_header;
use crate::autoreply::compose::{ReplyMessage, ReplySettings, compose};
use crate::autoreply::eligibility::{Facts, Kind, PendingReply, check_eligibility};
use crate::autoreply::suppression::SuppressReason;
use crate::autoreply::template::{RetainedAs, Values, VendorOffer};
use crate::config::auto_reply::TemplateFileError;
use crate::context::error::Deferral;
use crate::log::verdict_log::Entry;
use crate::message::address::Address;
use crate::message::auth_results;
use crate::message::header::escape_untrusted;
use crate::message::parse::Message;
use crate::net::sendmail::{self, SendError};
use crate::os::random;
use crate::policy::decision::Decision;
use crate::store::{ReplyRequest, Reservation};
use crate::verdict::facts::Envelope;
use std::time::Duration;

/// Timeout of sendmail(8): longer than it needs, shorter than callers wait.
const LIMIT: Duration = Duration::from_secs(10);

/// The outcome of a reply.
#[derive(Debug)]
pub enum ReplyOutcome {
    /// The mail system accepted it.
    Sent(Kind),
    /// No reply is due.
    No(SuppressReason),
    /// A reply was due, but failed. It will not be tried again.
    Failed(ReplyError),
}

/// A local failure of a reply.
#[derive(Debug, thiserror::Error)]
pub enum ReplyError {
    /// The vendors' directories or the store failed.
    #[error(transparent)]
    Undecided(#[from] Deferral),
    /// The user's template cannot be used.
    #[error(transparent)]
    Template(#[from] TemplateFileError),
    /// The system has no random numbers.
    #[error("no random numbers: {0}")]
    Random(#[source] std::io::Error),
    /// The mail system refused it.
    #[error("{program}: {source}")]
    Send {
        /// The sendmail program.
        program: String,
        /// What went wrong.
        source: SendError,
    },
}

/// A reply that is due, before the reply log is asked.
#[derive(Debug)]
pub struct PreparedReply {
    /// Its recipient and kind.
    pub due: PendingReply,
    /// Its text.
    pub letter: ReplyMessage,
}

impl Engine {
    /// Sends the reply to a message of this decision, if one is due, and logs it.
    /// `kept` says how the message is retained. With replies switched off, no file is read or opened.
    pub fn answer(
        &self,
        message: &Message<'_>,
        envelope: &Envelope,
        decision: &Decision,
        kept: RetainedAs,
    ) -> ReplyOutcome {
        // Most mail gets no reply, and no log line about one.
        if let Err(why) = self.context.config.replies.policy.kind(decision) {
            return ReplyOutcome::No(why);
        }
        let answer = match self.reply(message, envelope, decision, kept) {
            Ok(Err(why)) => ReplyOutcome::No(why),
            Ok(Ok(ready)) => self.reserve_and_send(&ready),
            Err(trouble) => ReplyOutcome::Failed(trouble),
        };
        self.tell(&answer, message, envelope, decision);
        answer
    }

    /// Prepares the reply to a message, without sending, writing or asking the reply log.
    ///
    /// # Errors
    /// [`ReplyError`] of the vendors or the templates. The inner error says why no reply is due.
    pub fn reply(
        &self,
        message: &Message<'_>,
        envelope: &Envelope,
        decision: &Decision,
        kept: RetainedAs,
    ) -> Result<Result<PreparedReply, SuppressReason>, ReplyError> {
        let genuine = |sender: &Address| {
            let outcomes = auth_results::outcomes(message, &self.context.config.trusted_authserv_ids);
            auth_results::authenticates(&outcomes, sender.domain())
        };
        let replies = &self.context.config.replies;
        let facts = Facts { mailboxes: &self.context.config.mailboxes, policy: replies.policy, genuine: &genuine };
        let due = match check_eligibility(message, envelope, decision, &facts) {
            Ok(due) => due,
            Err(why) => return Ok(Err(why)),
        };
        let vendors = self.offers()?;
        if vendors.is_empty() {
            return Ok(Err(SuppressReason::NoVendor));
        }
        let template = replies.template(due.kind)?;
        let mut nonce = [0; 16];
        random::fill(&mut nonce).map_err(ReplyError::Random)?;
        let settings = ReplySettings {
            template: &template,
            from: replies.from.as_ref(),
            values: Values { vendors, kept, ..Values::default() },
            now: self.context.now,
            nonce,
        };
        let letter = compose(&due, message, settings);
        Ok(Ok(PreparedReply { due, letter }))
    }

    /// Returns why the store would refuse this reply now. Changes nothing.
    ///
    /// # Errors
    /// [`Deferral`] when the store cannot be read.
    pub fn rate_limited(&self, due: &PendingReply) -> Result<Option<SuppressReason>, Deferral> {
        let store = self.used_log()?;
        Ok(refusal(store.peek_reply(&self.ask_for(due))?))
    }

    fn reserve_and_send(&self, ready: &PreparedReply) -> ReplyOutcome {
        match self.reserve(&ready.due) {
            Ok(None) => {}
            Ok(Some(why)) => return ReplyOutcome::No(why),
            Err(trouble) => return ReplyOutcome::Failed(trouble.into()),
        }
        let ReplyMessage { to, text } = &ready.letter;
        let program = &self.context.config.replies.sendmail;
        match sendmail::send(program, to, text, LIMIT) {
            Ok(()) => ReplyOutcome::Sent(ready.due.kind),
            Err(source) => ReplyOutcome::Failed(ReplyError::Send { program: program.display().to_string(), source }),
        }
    }

    /// Records the reply as sent.
    /// The store is closed again before sendmail(8) starts, which may be slow.
    fn reserve(&self, due: &PendingReply) -> Result<Option<SuppressReason>, Deferral> {
        self.context.preflight()?;
        let store = self.used_log()?;
        Ok(refusal(store.reserve_reply(&self.ask_for(due))?))
    }

    fn ask_for(&self, due: &PendingReply) -> ReplyRequest {
        let replies = &self.context.config.replies;
        ReplyRequest {
            kind: due.kind,
            sender: due.sender.counted.canonical(),
            author: due.sender.author.as_ref().map(Address::canonical),
            now: self.context.now,
            per_sender: replies.per_sender,
            per_day: replies.per_day,
        }
    }

    /// Returns the vendors that the user trusts and that can sell a stamp now.
    pub fn offers(&self) -> Result<Vec<VendorOffer>, Deferral> {
        let directory = self.read_keys()?;
        let offer = |(vendor, buy): (&str, Option<&str>)| VendorOffer {
            vendor: vendor.to_owned(),
            buy: buy.map(str::to_owned),
        };
        Ok(directory.vendors_for_sale(self.context.now).map(offer).collect())
    }

    /// Logs one line for each reply that was considered.
    fn tell(&self, answer: &ReplyOutcome, message: &Message<'_>, envelope: &Envelope, decision: &Decision) {
        let (event, reply) = match answer {
            ReplyOutcome::Sent(kind) => ("replied", kind.to_string()),
            ReplyOutcome::No(why) => ("not-replied", why.to_string()),
            ReplyOutcome::Failed(trouble) => {
                let trouble = trouble.to_string();
                self.context
                    .log_error(&format!("reply: {}", escape_untrusted(trouble.as_bytes(), result_header::LONGEST)));
                ("reply-failed", escape_untrusted(trouble.as_bytes(), result_header::LONGEST))
            }
        };
        let entry = result_header::entry(decision, message, envelope, self.context.now);
        self.record(&Entry { event: Some(event.to_owned()), reply: Some(reply), ..entry });
    }
}

fn refusal(reserved: Reservation) -> Option<SuppressReason> {
    match reserved {
        Reservation::Yes => None,
        Reservation::Lately { .. } => Some(SuppressReason::Lately),
        Reservation::Ceiling { .. } => Some(SuppressReason::Ceiling),
    }
}
