//! Judgement of a message by the milter: once for each recipient, then the plan for all, and the answer that carries it
//! out.

use crate::boundary::changes::{self, TooManyChanges, prefix_subject};
use crate::boundary::plan::{Delivery, Fate, Plan, plan};
use crate::boundary::recipient::{judged_as, without_brackets};
use crate::boundary::session::{Incoming, Session};
use crate::boundary::wire::Reply;
use crate::config::boundary::Boundary;
use crate::engine::judge::Engine;
use crate::engine::marking::Mode;
use crate::engine::remote::state::DaemonState;
use crate::engine::result_header;
use crate::log::verdict_log::Entry;
use crate::message::header::escape_untrusted;
use crate::message::parse::Message;
use crate::message::result_headers::result_fields;
use crate::policy::action::Action;
use crate::policy::decision::Decision;
use crate::server::daemon::metrics::{LearnResult, MilterAnswer};
use crate::server::milter::learning;
use crate::stamp::affix::strip_only;
use crate::stamp::claims::Stamp;
use crate::stamp::serial::Serial;
use crate::stamp::token::Token;
use crate::verdict::facts::Envelope;
use crate::verdict::reason::Reason;

/// Longest line of a refusal, in characters.
const LINE: usize = 400;

/// What the sender of a message with very many forged results or copies of a stamp is told.
const TOO_MANY_CHANGES: Reply<'static> = Reply::Code("550 5.6.0 too many fields of digital stamps");

/// An answer, before it is sent.
pub(super) struct Judged {
    pub(super) kind: MilterAnswer,
    /// Its frames.
    pub(super) answer: Vec<u8>,
    /// The verdicts' reasons.
    pub(super) reasons: Vec<Reason>,
    /// What was learned, if the message is one to learn from.
    pub(super) learned: Option<LearnResult>,
    engine: Engine,
    /// The log lines that are still to be written.
    entries: Vec<Entry>,
}

impl Judged {
    /// Writes the log.
    pub(super) fn record(&self) {
        self.entries.iter().for_each(|entry| self.engine.record(entry));
    }
}

/// Judges the message of a session. Good stamps are spent, durably, and a line for each recipient that gets nothing is on
/// the disk, before this returns.
///
/// # Errors
/// Why it must be tried again.
pub(super) fn judge(state: &DaemonState, session: &Session) -> Result<Judged, String> {
    let incoming = session.message();
    let engine = state.engine().map_err(|error| error.to_string())?;
    let boundary = engine.context.config.boundary.clone().ok_or("[boundary] is no longer in the configuration")?;
    let message = Message::parse(&incoming.raw);
    let envelopes = envelopes(incoming, &engine);
    let each: Vec<Envelope> = envelopes.iter().flatten().cloned().collect();
    let decided = if incoming.is_cut {
        each.iter().map(|envelope| engine.judge_beginning(&message, envelope)).collect()
    } else {
        engine.judge_each(&message, &each, Mode::Spend)
    };
    let mut decided = decided.map_err(|error| error.to_string())?.into_iter();
    let mut decisions: Vec<Option<Decision>> =
        envelopes.iter().map(|envelope| envelope.as_ref().and_then(|_| decided.next())).collect();
    let reasons = decisions.iter().flatten().map(|decision| decision.verdict.reason).collect();
    let plan = plan(&mut decisions, boundary.mixed);

    let mut entries = Vec::new();
    for (decision, envelope) in decisions.iter().zip(&envelopes).filter_map(|(it, to)| it.as_ref().zip(to.as_ref())) {
        let mut entry = result_header::entry(decision, &message, envelope, engine.context.now);
        match decision.action {
            Action::Discard => {
                engine.record_durably(&entry).map_err(|error| format!("not discarded: {error}"))?;
                continue;
            }
            Action::Hold => entry.held = Some(boundary.held_address.to_string()),
            _ => {}
        }
        entries.push(entry);
    }
    let mut answer = Vec::new();
    let kind = match &plan {
        Plan::Reject => {
            Reply::Code(&refusal(&boundary, &decisions, &engine)).write(&mut answer);
            MilterAnswer::Reject
        }
        Plan::Discard => {
            Reply::Discard.write(&mut answer);
            MilterAnswer::Discard
        }
        Plan::Deliver(delivery) => {
            if deliver(delivery, session, &message, &boundary, &engine, &mut answer).is_err() {
                answer.clear();
                TOO_MANY_CHANGES.write(&mut answer);
                MilterAnswer::Reject
            } else {
                MilterAnswer::Accept
            }
        }
    };
    let is_own = boundary.learns_sent && kind == MilterAnswer::Accept;
    let login = incoming.login.as_deref().filter(|_| is_own);
    let learned = login.map(|login| learning::learn(&engine, login, incoming, &message));
    Ok(Judged { kind, answer, reasons, learned, engine, entries })
}

/// Returns the envelope of each recipient, `None` for one that is not judged: mail that a user sends after a login, or
/// for another domain.
fn envelopes(incoming: &Incoming, engine: &Engine) -> Vec<Option<Envelope>> {
    let sender = String::from_utf8_lossy(without_brackets(&incoming.sender)).into_owned();
    let envelope = |recipient| {
        let address = judged_as(recipient, &engine.context.config.mailboxes).filter(|_| incoming.login.is_none())?;
        Some(Envelope { sender: Some(sender.clone()), recipient: Some(address) })
    };
    incoming.recipients.iter().map(envelope).collect()
}

/// Appends the changes of a delivery, and the acceptance.
fn deliver(
    delivery: &Delivery,
    session: &Session,
    message: &Message<'_>,
    boundary: &Boundary,
    engine: &Engine,
    answer: &mut Vec<u8>,
) -> Result<(), TooManyChanges> {
    let config = &engine.context.config;
    let is_accepted = |token: &str| boundary.strips_stamps && names_one_of(&delivery.accepted, token);
    let mut edit = strip_only(message, is_accepted).edit;
    // From outside, no host is trusted.
    result_fields(message, config.authserv_id.as_deref(), &[]).for_each(|field| edit.remove(&field));
    let mut new = Vec::new();
    if let Some(decision) = &delivery.result {
        new.push(result_header::result_field(decision, config.used_log, "\n"));
        let authserv_id = config.authserv_id.as_deref();
        new.extend(authserv_id.map(|id| result_header::authentication_results(&decision.verdict, id, "\n")));
    }
    if let Some(prefix) = boundary.subject_prefix.as_deref().filter(|_| delivery.is_prefixed) {
        new.extend(prefix_subject(message, prefix, &mut edit));
    }
    let incoming = session.message();
    changes::write(incoming, &edit, &new, session.has_leading_space(), answer)?;
    let recipients = incoming.recipients.iter().zip(&delivery.fates);
    for (recipient, _) in recipients.filter(|(_, fate)| **fate != Fate::Deliver) {
        Reply::DeleteRecipient(&recipient.given).write(answer);
    }
    if delivery.fates.contains(&Fate::Hold) {
        Reply::AddRecipient(&boundary.held_address.to_string()).write(answer);
    }
    Reply::Accept.write(answer);
    Ok(())
}

/// Returns whether a token is one of these stamps.
fn names_one_of(stamps: &[(String, Serial)], token: &str) -> bool {
    let read = || {
        let token = Token::parse(token).ok()?;
        let serial = Stamp::read(token.payload()).ok()?.serial;
        Some((token.issuer().ok()?.vendor().to_owned(), serial))
    };
    !stamps.is_empty() && read().is_some_and(|stamp| stamps.contains(&stamp))
}

/// Returns the SMTP reply of a refusal: the configured text, the class and the price, and where stamps are sold.
fn refusal(boundary: &Boundary, decisions: &[Option<Decision>], engine: &Engine) -> String {
    let mut lines = boundary.reject_text.clone();
    let verdicts: Vec<_> = decisions.iter().flatten().map(|decision| decision.verdict.reason).collect();
    if let Some((reason, rest)) = verdicts.split_first()
        && rest.iter().all(|other| other == reason)
    {
        lines.push(format!("The message is {} ({reason}).", reason.class()));
    }
    // Without the vendors, the answer is as good.
    for offer in engine.offers().unwrap_or_default().into_iter().take(3) {
        if let Some(page) = offer.buy {
            lines.push(format!("Stamps of {}: {page}", offer.vendor));
        }
    }
    let lines = lines.iter().map(|line| escape_untrusted(line.as_bytes(), LINE));
    // Mail systems that fill in a format take '%' for a sign.
    let lines: Vec<String> = lines.filter(|line| !line.contains('%')).collect();
    let last = lines.len().saturating_sub(1);
    let line = |(at, line): (usize, &String)| format!("550{}5.7.1 {line}", if at == last { " " } else { "-" });
    lines.iter().enumerate().map(line).collect::<Vec<_>>().join("\r\n")
}
