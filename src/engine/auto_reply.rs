//! The automatic reply to one message: whether it is due, and then sending it. What was sent is written down, durably,
//! before it is sent; so of any number of deliveries at once, one sends, and who is killed between has sent one too few.
//! The fate of the message that is answered never depends on any of this: there is no error, only an [`ReplyOutcome`].

use super::error::Deferral;
use super::judge::Engine;
use super::result_header;
use crate::autoreply::compose::{ReplyMessage, ReplySettings, compose};
use crate::autoreply::eligibility::{Facts, Kind, PendingReply, check_eligibility};
use crate::autoreply::suppression::SuppressReason;
use crate::autoreply::template::{RetainedAs, Values, VendorOffer};
use crate::config::auto_reply::TemplateFileError;
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

/// How long sendmail(8) may take. Longer than it needs, shorter than callers wait.
const LIMIT: Duration = Duration::from_secs(10);

/// What became of a reply.
#[derive(Debug)]
pub enum ReplyOutcome {
    /// The mail system took it.
    Sent(Kind),
    /// None goes.
    No(SuppressReason),
    /// One would have gone; it will not be tried again.
    Failed(ReplyError),
}

/// Our own trouble with a reply.
#[derive(Debug, thiserror::Error)]
pub enum ReplyError {
    /// The vendors or the store.
    #[error(transparent)]
    Undecided(#[from] Deferral),
    /// The user's words.
    #[error(transparent)]
    Template(#[from] TemplateFileError),
    /// No random numbers.
    #[error("no random numbers: {0}")]
    Random(#[source] std::io::Error),
    /// The mail system.
    #[error("{program}: {source}")]
    Send {
        /// Its program.
        program: String,
        /// What went wrong.
        source: SendError,
    },
}

/// A reply that is due, as far as can be said without asking what was sent before.
#[derive(Debug)]
pub struct PreparedReply {
    /// To whom, and which.
    pub due: PendingReply,
    /// What it says.
    pub letter: ReplyMessage,
}

impl Engine {
    /// Sends the reply that is due to a message of this decision, if one is, and tells the logs. `kept` says what becomes
    /// of the message. With replies switched off nothing is looked at, and nothing opened.
    pub fn answer(
        &self,
        message: &Message<'_>,
        envelope: &Envelope,
        decision: &Decision,
        kept: RetainedAs,
    ) -> ReplyOutcome {
        // Most mail is not asked about, and its log says nothing of replies.
        if let Err(why) = self.config.replies.policy.kind(decision) {
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

    /// The reply to a message of this decision. It writes nothing, sends nothing, and does not ask what was sent before.
    ///
    /// # Errors
    /// [`ReplyError`] with the vendors or the templates; within it, why no reply is due.
    pub fn reply(
        &self,
        message: &Message<'_>,
        envelope: &Envelope,
        decision: &Decision,
        kept: RetainedAs,
    ) -> Result<Result<PreparedReply, SuppressReason>, ReplyError> {
        let genuine = |sender: &Address| {
            let outcomes = auth_results::outcomes(message, &self.config.trusted_authserv_ids);
            auth_results::authenticates(&outcomes, sender.domain())
        };
        let replies = &self.config.replies;
        let facts = Facts { mailboxes: &self.config.mailboxes, policy: replies.policy, genuine: &genuine };
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
        let stationery = ReplySettings {
            template: &template,
            from: replies.from.as_ref(),
            values: Values { vendors, kept, ..Values::default() },
            now: self.now,
            nonce,
        };
        let letter = compose(&due, message, stationery);
        Ok(Ok(PreparedReply { due, letter }))
    }

    /// Why the store would refuse this reply now; it is only asked.
    ///
    /// # Errors
    /// [`Undecided`] when the store cannot be read.
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
        let program = &self.config.replies.sendmail;
        match sendmail::send(program, to, text, LIMIT) {
            Ok(()) => ReplyOutcome::Sent(ready.due.kind),
            Err(source) => ReplyOutcome::Failed(ReplyError::Send { program: program.display().to_string(), source }),
        }
    }

    /// Writes the reply down as sent. The store is open no longer than that: sendmail(8) takes its time.
    fn reserve(&self, due: &PendingReply) -> Result<Option<SuppressReason>, Deferral> {
        self.preflight()?;
        let store = self.used_log()?;
        Ok(refusal(store.reserve_reply(&self.ask_for(due))?))
    }

    fn ask_for(&self, due: &PendingReply) -> ReplyRequest {
        let replies = &self.config.replies;
        ReplyRequest {
            kind: due.kind,
            sender: due.sender.counted.canonical(),
            now: self.now,
            per_sender: replies.per_sender,
            per_day: replies.per_day,
        }
    }

    /// The vendors whom the user trusts and who can sell a stamp now.
    fn offers(&self) -> Result<Vec<VendorOffer>, Deferral> {
        let directory = self.read_keys()?;
        let offer = |(vendor, buy): (&str, Option<&str>)| VendorOffer {
            vendor: vendor.to_owned(),
            buy: buy.map(str::to_owned),
        };
        Ok(directory.vendors_for_sale(self.now).map(offer).collect())
    }

    /// One line in the logs for each reply that was asked for.
    fn tell(&self, answer: &ReplyOutcome, message: &Message<'_>, envelope: &Envelope, decision: &Decision) {
        let (event, reply) = match answer {
            ReplyOutcome::Sent(kind) => ("replied", kind.to_string()),
            ReplyOutcome::No(why) => ("not-replied", why.to_string()),
            ReplyOutcome::Failed(trouble) => {
                let trouble = trouble.to_string();
                self.log_error(&format!("reply: {}", escape_untrusted(trouble.as_bytes(), result_header::LONGEST)));
                ("reply-failed", escape_untrusted(trouble.as_bytes(), result_header::LONGEST))
            }
        };
        let entry = result_header::entry(decision, message, envelope, self.now);
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
