//! Judgement in two steps, as a state machine without I/O: examine the message, then settle each request that only the
//! used log can answer. `candidate.rs` makes the requests about one stamp.

use super::candidate::{self, Candidate, StoreQuestion, Verified};
use super::class::Class;
use super::facts::{Envelope, Facts, only_owner};
use super::finding::{Finding, Verdict};
use super::owner::Owner;
use super::reason::Reason;
use super::spend::{SpendRequest, SpendResult, Terms};
use crate::grant::GrantKind;
use crate::message::address::Address;
use crate::message::parse::Message;
use crate::stamp::extract::locate;
use crate::stamp::serial::Serial;
use crate::stamp::signing::PublicKey;
use std::collections::VecDeque;

/// The state of a judgement.
#[derive(Debug)]
pub enum Step {
    /// The judgement is complete.
    Done(Verdict),
    /// The used log must be asked.
    Spend(Box<Claim>),
}

/// A request to the used log, with the state of the judgement.
/// Only [`examine`] makes one, and only [`Claim::settle`] consumes it.
#[derive(Debug)]
pub struct Claim {
    question: StoreQuestion,
    waiting: VecDeque<StoreQuestion>,
    findings: Vec<Finding>,
    over_limit: bool,
}

/// A message whose stamps were found and verified once, to be judged for any number of recipients.
pub struct Opened<'a> {
    case: Candidate<'a>,
    stamps: Vec<Verified>,
    over_limit: bool,
}

/// Finds and verifies the stamps of `message`. All keys are read here.
#[must_use]
pub fn open<'a>(message: &'a Message<'a>, facts: &'a Facts<'a>) -> Opened<'a> {
    let located = locate(message);
    let case = Candidate::new(message, facts);
    let stamps = located.stamps.iter().map(|found| candidate::verify(found, &case)).collect();
    Opened { case, stamps, over_limit: located.over_limit }
}

impl Opened<'_> {
    /// Judges the message for this envelope, as far as possible without the used log.
    #[must_use]
    pub fn examine(&self, envelope: &Envelope) -> Step {
        let mut findings = Vec::with_capacity(self.stamps.len());
        let mut waiting = VecDeque::new();
        for stamp in &self.stamps {
            let (finding, question) = candidate::judge(stamp, findings.len(), &self.case, envelope);
            findings.push(finding);
            waiting.extend(question);
        }
        // A stamp that cannot be spent comes first: a grant on it costs the sender nothing.
        waiting.make_contiguous().sort_by_key(|question: &StoreQuestion| question.spend.terms == Terms::Spend);
        next(waiting, findings, self.over_limit)
    }
}

/// Judges `message` as far as possible without the used log.
#[must_use]
pub fn examine(message: &Message<'_>, envelope: &Envelope, facts: &Facts<'_>) -> Step {
    open(message, facts).examine(envelope)
}

/// Returns a finding for each stamp of `message`, without a reason where the signature holds.
/// Nothing is judged. It serves a user who names a message to grant or revoke its stamp.
#[must_use]
pub fn identify(message: &Message<'_>, facts: &Facts<'_>) -> Vec<Finding> {
    locate(message).stamps.iter().map(|found| candidate::identify(found, facts)).collect()
}

/// What the used log may know of one authentic stamp on a received message, for one owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// Which stamp of the message it is.
    pub stamp: usize,
    /// The name under which the log has the stamp's status: its vendor, and of a list's stamp also the owner.
    pub vendor: String,
    pub serial: Serial,
    /// Whether the message was delivered to this owner, if to any. Otherwise it may have been another.
    pub is_owner_known: bool,
    /// The requests that a delivery of the message would have made.
    pub asked: Vec<SpendRequest>,
}

/// Returns the traces that a delivery of `message` would have left in the used log, by stamp. Nothing is judged.
#[must_use]
pub fn traces(message: &Message<'_>, facts: &Facts<'_>) -> Vec<Trace> {
    let case = Candidate::new(message, facts);
    let mut traces = Vec::new();
    for (stamp, found) in locate(message).stamps.iter().enumerate() {
        for (question, is_owner_known) in candidate::asked(found, &case) {
            let (vendor, serial) = (question.spend.vendor.clone(), question.spend.serial.clone());
            let asked = std::iter::once(question.spend).chain(question.then.map(|then| then.spend)).collect();
            traces.push(Trace { stamp, vendor, serial, is_owner_known, asked });
        }
    }
    traces
}

/// Returns the name under which the log has the status of an issuer's stamps for the owner of this message, or for
/// `owner` if one is named. `None` if that is not known.
#[must_use]
pub fn status_name(
    issuer: &str,
    message: Option<&Message<'_>>,
    owner: Option<Owner>,
    facts: &Facts<'_>,
) -> Option<String> {
    if !issuer.contains('@') || !facts.keys.is_list(issuer) {
        return Some(issuer.to_owned());
    }
    let owner = owner.or_else(|| message.and_then(|message| candidate::delivered_to(message, facts)));
    owner.or_else(|| only_owner(facts.mailboxes)).map(|owner| owner.status_name(issuer))
}

impl Claim {
    /// Returns the request to the used log.
    #[must_use]
    pub fn request(&self) -> &SpendRequest {
        &self.question.spend
    }

    /// Returns the correspondent whose uses the request counts, with the key that signed this one, and the owner who
    /// gave them the stamp.
    #[must_use]
    pub fn correspondent(&self) -> Option<(Owner, &Address, &PublicKey)> {
        let holder = self.findings.get(self.question.finding)?.holder.as_ref()?;
        Some((self.question.spend.owner, self.question.correspondent.as_ref()?, holder))
    }

    /// Sets how many uses of the correspondent's stamp a day has.
    pub fn allow_uses(&mut self, most: u8) {
        if let Some(cap) = &mut self.question.spend.cap {
            cap.most = most;
        }
    }

    /// Applies the log's answer: the judgement is complete, or has another request.
    #[must_use]
    pub fn settle(mut self, answer: SpendResult) -> Step {
        let Some(finding) = self.findings.get_mut(self.question.finding) else {
            return next(self.waiting, self.findings, self.over_limit);
        };
        match (answer, self.question.spend.terms) {
            (SpendResult::Revoked { .. }, _) => finding.reason = Some(Reason::ByRecipient),
            (SpendResult::Granted(GrantKind::Return), _) => finding.reason = Some(Reason::Return),
            (SpendResult::Granted(GrantKind::MultiUse), _) => finding.reason = Some(Reason::MultiUse),
            (SpendResult::OtherOwner, _) => finding.reason = Some(Reason::NotForMe),
            (SpendResult::Redelivery { .. }, _) => finding.reason = Some(Reason::Again),
            (SpendResult::Fresh, Terms::Spend) => finding.reason = Some(self.question.accepted),
            (SpendResult::TooOften, _) => {
                let is_ended = self.question.spend.cap.as_ref().is_some_and(|cap| cap.most == 0);
                finding.reason = Some(if is_ended { Reason::ByRecipient } else { Reason::TooOften });
            }
            (SpendResult::DoubleSpend { .. }, Terms::Spend) => finding.reason = Some(Reason::Used),
            (SpendResult::Ended, Terms::Spend) => finding.reason = Some(Reason::Expired),
            (SpendResult::Fresh | SpendResult::DoubleSpend { .. } | SpendResult::Ended, Terms::LookUp) => {
                // The stamp's flaw was found before; only a standing stamp has a second request.
                self.waiting.extend(self.question.then.take().map(|then| *then));
            }
        }
        if finding.reason.is_some_and(|reason| reason.class() == Class::FirstClass) {
            self.waiting.clear();
        }
        next(self.waiting, self.findings, self.over_limit)
    }
}

fn next(mut waiting: VecDeque<StoreQuestion>, findings: Vec<Finding>, over_limit: bool) -> Step {
    match waiting.pop_front() {
        Some(question) => Step::Spend(Box::new(Claim { question, waiting, findings, over_limit })),
        None => Step::Done(Verdict::select(findings, over_limit)),
    }
}
