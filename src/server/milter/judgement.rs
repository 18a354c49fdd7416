//! Judgement of a message by the milter: once for each recipient, then the plan for all, and the answer that carries it
//! out.

use super::edits::{self, Edits, Recipients};
use crate::boundary::changes::TooManyChanges;
use crate::boundary::plan::{Fate, Plan, Shared, act, plan, shared};
use crate::boundary::recipient::{address, judged_as, without_brackets};
use crate::boundary::seal::Visible;
use crate::boundary::session::{Incoming, Session};
use crate::boundary::wire::Reply;
use crate::config::boundary::Boundary;
use crate::directory::signing_key::SigningKey;
use crate::engine::judge::Engine;
use crate::engine::marking::Mode;
use crate::engine::remote::state::DaemonState;
use crate::engine::result_header;
use crate::log::verdict_log::Entry;
use crate::message::address::Address;
use crate::message::header::escape_untrusted;
use crate::message::parse::Message;
use crate::policy::action::Action;
use crate::policy::decision::Decision;
use crate::server::daemon::metrics::{LearnResult, MilterAnswer};
use crate::server::milter::learning;
use crate::verdict::facts::Envelope;
use crate::verdict::reason::Reason;
use std::borrow::Cow;

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

/// Judges the message of a session. Good stamps are spent, durably, and a line for each recipient that gets nothing is
/// on the disk, before this returns. With a key, results are sealed.
///
/// # Errors
/// Why it must be tried again.
pub(super) fn judge(state: &DaemonState, key: Option<&SigningKey>, session: &Session) -> Result<Judged, String> {
    let incoming = session.message();
    let engine = state.engine().map_err(|error| error.to_string())?;
    let boundary = engine.context.config.boundary.clone().ok_or("[boundary] is no longer in the configuration")?;
    let milter = boundary.milter.as_ref().ok_or("boundary.listen is no longer in the configuration")?;
    let message = Message::parse(&incoming.raw);
    // Before any stamp is spent.
    if edits::check(&engine, &boundary, incoming, &message).is_err() {
        let mut answer = Vec::new();
        TOO_MANY_CHANGES.write(&mut answer);
        let (kind, reasons, entries) = (MilterAnswer::Reject, Vec::new(), Vec::new());
        return Ok(Judged { kind, answer, reasons, learned: None, engine, entries });
    }
    let envelopes = envelopes(incoming, &engine);
    let sealing = key.map(|key| (key, Visible::of(&message, engine.context.config.local_case)));
    let sealing = sealing.as_ref().map(|(key, visible)| (*key, visible));
    // Under a seal, the recipients of To and Cc alone decide on what all get. A copy then tells nothing of Bcc.
    let counts = |recipient| sealing.is_none_or(|(_, visible)| address(recipient).is_some_and(|it| visible.has(&it)));
    let mut counts: Vec<bool> = incoming.recipients.iter().map(counts).collect();
    // Otherwise leaving the recipient out of To and Cc would be a way around the prefix.
    let all_hidden = !counts.contains(&true);
    if all_hidden {
        counts.fill(true);
    }
    let those = |are: bool| {
        let envelopes = envelopes.iter().zip(&counts);
        envelopes.map(move |(envelope, counts)| envelope.as_ref().filter(|_| *counts == are))
    };
    // They come first: their results must not depend on what was spent for the others.
    let mut decisions = decide(&engine, incoming.is_cut, &message, those(true))?;
    let counted = decisions.iter().zip(&counts).filter(|(_, counts)| **counts);
    let mut counted: Vec<Option<Decision>> = counted.map(|(decision, _)| decision.clone()).collect();
    counted.iter_mut().flatten().for_each(|decision| act(decision, boundary.mixed));
    let mut shared = shared(&counted);
    if sealing.is_some() && all_hidden {
        // A result would tell them of each other, and no seal would stand for a stripped stamp.
        shared = Shared { is_prefixed: shared.is_prefixed, ..Shared::default() };
    }
    let believed = decisions.iter().map(|decision| decision.as_ref()?.verdict.boundary.as_ref()?.field).collect();
    let edits = Edits::new(&engine, &boundary, session, &message, &shared, believed);
    if counts.contains(&false) {
        // A host behind must know the message again for which a stamp of the others was spent.
        let after = edits.applied().unwrap_or(Cow::Borrowed(&incoming.raw));
        let others = decide(&engine, incoming.is_cut, &Message::parse(&after), those(false))?;
        decisions.iter_mut().zip(others).for_each(|(decision, other)| *decision = decision.take().or(other));
    }
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
            Action::Hold => entry.held = Some(milter.held_address.to_string()),
            _ => {}
        }
        entries.push(entry);
    }
    let mut answer = Vec::new();
    let kind = match &plan {
        Plan::Reject => {
            let lines = refusal(&boundary, &decisions, &engine);
            let last = lines.len().saturating_sub(1);
            let line = |(at, line)| format!("550{}5.7.1 {line}", if at == last { " " } else { "-" });
            let text = lines.iter().enumerate().map(line).collect::<Vec<_>>().join("\r\n");
            Reply::Code(&text).write(&mut answer);
            MilterAnswer::Reject
        }
        Plan::Discard => {
            Reply::Discard.write(&mut answer);
            MilterAnswer::Discard
        }
        Plan::Deliver(fates) => {
            let recipients = Recipients { envelopes: &envelopes, decisions: &decisions, fates };
            let written = edits.write(&engine, sealing, &shared, &recipients, &mut answer);
            written.map_err(|TooManyChanges| "more changes than were counted")?;
            change_recipients(incoming, fates, &milter.held_address, &mut answer);
            Reply::Accept.write(&mut answer);
            MilterAnswer::Accept
        }
    };
    let is_own = boundary.learns_sent && kind == MilterAnswer::Accept;
    let login = incoming.login.as_deref().filter(|_| is_own);
    let learned = login.map(|login| learning::learn(&engine, login, incoming, &message));
    Ok(Judged { kind, answer, reasons, learned, engine, entries })
}

/// Returns the envelope of each recipient, `None` for one that is not judged: mail that a user sends after a login, or
/// for another domain.
pub(in crate::server) fn envelopes(incoming: &Incoming, engine: &Engine) -> Vec<Option<Envelope>> {
    let sender = String::from_utf8_lossy(without_brackets(&incoming.sender)).into_owned();
    let envelope = |recipient| {
        let address = judged_as(recipient, &engine.context.config.mailboxes).filter(|_| incoming.login.is_none())?;
        Some(Envelope { sender: Some(sender.clone()), recipient: Some(address) })
    };
    incoming.recipients.iter().map(envelope).collect()
}

/// Judges a message for each recipient that has an envelope.
///
/// # Errors
/// Why it must be tried again.
pub(in crate::server) fn decide<'e>(
    engine: &Engine,
    is_cut: bool,
    message: &Message<'_>,
    envelopes: impl Iterator<Item = Option<&'e Envelope>>,
) -> Result<Vec<Option<Decision>>, String> {
    let envelopes: Vec<Option<&Envelope>> = envelopes.collect();
    let each: Vec<Envelope> = envelopes.iter().flatten().map(|envelope| (*envelope).clone()).collect();
    let decided = if is_cut {
        each.iter().map(|envelope| engine.judge_beginning(message, envelope)).collect()
    } else {
        engine.judge_each(message, &each, Mode::Spend)
    };
    let mut decided = decided.map_err(|error| error.to_string())?.into_iter();
    Ok(envelopes.iter().map(|envelope| envelope.and_then(|_| decided.next())).collect())
}

/// Appends what removes and adds recipients.
fn change_recipients(incoming: &Incoming, fates: &[Fate], held_address: &Address, answer: &mut Vec<u8>) {
    let recipients = incoming.recipients.iter().zip(fates);
    for (recipient, _) in recipients.filter(|(_, fate)| **fate != Fate::Deliver) {
        Reply::DeleteRecipient(&recipient.given).write(answer);
    }
    // A mail system would deliver twice to one who is a recipient already.
    let recipients = incoming.recipients.iter().zip(fates);
    let mut delivered = recipients.filter(|(_, fate)| **fate == Fate::Deliver).filter_map(|(it, _)| address(it));
    if fates.contains(&Fate::Hold) && !delivered.any(|it| it == *held_address) {
        Reply::AddRecipient(&held_address.to_string()).write(answer);
    }
}

/// Returns what a refused sender is told: the configured text, the class and its reason, and where stamps are sold.
pub(in crate::server) fn refusal(boundary: &Boundary, decisions: &[Option<Decision>], engine: &Engine) -> Vec<String> {
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
    lines.filter(|line| !line.contains('%')).collect()
}
