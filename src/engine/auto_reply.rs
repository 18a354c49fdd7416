//! The automatic reply to one message: whether it is due, and then sending it. What was sent is written down, durably,
//! before it is sent; so of any number of deliveries at once, one sends, and who is killed between has sent one too few.
//! The fate of the message that is answered never depends on any of this: there is no error, only an [`Answer`].

use super::error::Undecided;
use super::judge::Engine;
use super::result_header;
use crate::autoreply::compose::{Letter, Stationery, compose};
use crate::autoreply::eligibility::{Due, Facts, Kind, may};
use crate::autoreply::suppression::Why;
use crate::autoreply::template::{Kept, Offer, Values};
use crate::config::auto_reply::TemplateFileError;
use crate::log::verdict_log::Entry;
use crate::message::address::Address;
use crate::message::auth_results;
use crate::message::header::printable;
use crate::message::parse::Message;
use crate::net::sendmail::{self, SendError};
use crate::os::random;
use crate::policy::decision::Decision;
use crate::store::{ReplyAsk, Reserved};
use crate::verdict::facts::Envelope;
use std::time::Duration;

/// How long sendmail(8) may take. Longer than it needs, shorter than callers wait.
const LIMIT: Duration = Duration::from_secs(10);

/// What became of a reply.
#[derive(Debug)]
pub enum Answer {
    /// The mail system took it.
    Sent(Kind),
    /// None goes.
    No(Why),
    /// One would have gone; it will not be tried again.
    Failed(Trouble),
}

/// Our own trouble with a reply.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The vendors or the store.
    #[error(transparent)]
    Undecided(#[from] Undecided),
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
pub struct Ready {
    /// To whom, and which.
    pub due: Due,
    /// What it says.
    pub letter: Letter,
}

impl Engine {
    /// Sends the reply that is due to a message of this decision, if one is, and tells the logs. `kept` says what becomes
    /// of the message. With replies switched off nothing is looked at, and nothing opened.
    pub fn answer(&self, message: &Message<'_>, envelope: &Envelope, decision: &Decision, kept: Kept) -> Answer {
        // Most mail is not asked about, and its log says nothing of replies.
        if let Err(why) = self.config.replies.policy.kind(decision) {
            return Answer::No(why);
        }
        let answer = match self.reply(message, envelope, decision, kept) {
            Ok(Err(why)) => Answer::No(why),
            Ok(Ok(ready)) => self.reserve_and_send(&ready),
            Err(trouble) => Answer::Failed(trouble),
        };
        self.tell(&answer, message, envelope, decision);
        answer
    }

    /// The reply to a message of this decision. It writes nothing, sends nothing, and does not ask what was sent before.
    ///
    /// # Errors
    /// [`Trouble`] with the vendors or the templates; within it, why no reply is due.
    pub fn reply(
        &self,
        message: &Message<'_>,
        envelope: &Envelope,
        decision: &Decision,
        kept: Kept,
    ) -> Result<Result<Ready, Why>, Trouble> {
        let genuine = |sender: &Address| {
            let outcomes = auth_results::outcomes(message, &self.config.trusted_authserv_ids);
            auth_results::authenticates(&outcomes, sender.domain())
        };
        let replies = &self.config.replies;
        let facts = Facts { mailboxes: &self.config.mailboxes, policy: replies.policy, genuine: &genuine };
        let due = match may(message, envelope, decision, &facts) {
            Ok(due) => due,
            Err(why) => return Ok(Err(why)),
        };
        let vendors = self.offers()?;
        if vendors.is_empty() {
            return Ok(Err(Why::NoVendor));
        }
        let template = replies.template(due.kind)?;
        let mut nonce = [0; 16];
        random::fill(&mut nonce).map_err(Trouble::Random)?;
        let stationery = Stationery {
            template: &template,
            from: replies.from.as_ref(),
            values: Values { vendors, kept, ..Values::default() },
            now: self.now,
            nonce,
        };
        let letter = compose(&due, message, stationery);
        Ok(Ok(Ready { due, letter }))
    }

    /// Why the store would refuse this reply now; it is only asked.
    ///
    /// # Errors
    /// [`Undecided`] when the store cannot be read.
    pub fn refused_by_count(&self, due: &Due) -> Result<Option<Why>, Undecided> {
        let store = self.used_log()?;
        Ok(refusal(store.peek_reply(&self.ask_for(due))?))
    }

    fn reserve_and_send(&self, ready: &Ready) -> Answer {
        match self.reserve(&ready.due) {
            Ok(None) => {}
            Ok(Some(why)) => return Answer::No(why),
            Err(trouble) => return Answer::Failed(trouble.into()),
        }
        let Letter { to, text } = &ready.letter;
        let program = &self.config.replies.sendmail;
        match sendmail::send(program, to, text, LIMIT) {
            Ok(()) => Answer::Sent(ready.due.kind),
            Err(source) => Answer::Failed(Trouble::Send { program: program.display().to_string(), source }),
        }
    }

    /// Writes the reply down as sent. The store is open no longer than that: sendmail(8) takes its time.
    fn reserve(&self, due: &Due) -> Result<Option<Why>, Undecided> {
        self.is_sane()?;
        let store = self.used_log()?;
        Ok(refusal(store.reserve_reply(&self.ask_for(due))?))
    }

    fn ask_for(&self, due: &Due) -> ReplyAsk {
        let replies = &self.config.replies;
        ReplyAsk {
            kind: due.kind,
            sender: due.sender.counted.canonical(),
            now: self.now,
            per_sender: replies.per_sender,
            per_day: replies.per_day,
        }
    }

    /// The vendors whom the user trusts and who can sell a stamp now.
    fn offers(&self) -> Result<Vec<Offer>, Undecided> {
        let directory = self.read_keys()?;
        let offer =
            |(vendor, buy): (&str, Option<&str>)| Offer { vendor: vendor.to_owned(), buy: buy.map(str::to_owned) };
        Ok(directory.sellers(self.now).map(offer).collect())
    }

    /// One line in the logs for each reply that was asked for.
    fn tell(&self, answer: &Answer, message: &Message<'_>, envelope: &Envelope, decision: &Decision) {
        let (event, reply) = match answer {
            Answer::Sent(kind) => ("replied", kind.to_string()),
            Answer::No(why) => ("not-replied", why.to_string()),
            Answer::Failed(trouble) => {
                let trouble = trouble.to_string();
                self.complain(&format!("reply: {}", printable(trouble.as_bytes(), result_header::LONGEST)));
                ("reply-failed", printable(trouble.as_bytes(), result_header::LONGEST))
            }
        };
        let entry = result_header::entry(decision, message, envelope, self.now);
        self.record(&Entry { event: Some(event.to_owned()), reply: Some(reply), ..entry });
    }
}

fn refusal(reserved: Reserved) -> Option<Why> {
    match reserved {
        Reserved::Yes => None,
        Reserved::Lately { .. } => Some(Why::Lately),
        Reserved::Ceiling { .. } => Some(Why::Ceiling),
    }
}
