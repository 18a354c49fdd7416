//! Decides whether a reply may go to the sender of a message. Left out: the count of earlier replies, which the store
//! keeps.

use super::detect;
use super::return_path::{self, Sender, is_plain};
use super::suppression::SuppressReason;
use crate::message::address::{Address, addresses};
use crate::message::parse::Message;
use crate::policy::action::Action;
use crate::policy::decision::Decision;
use crate::verdict::class::Class;
use crate::verdict::facts::{Envelope, Mailbox};
use crate::verdict::reason::Reason;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Kind of reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Says how to get a stamp and to send the message again.
    Challenge,
    /// Says that the stamp on the message was revoked and a fresh one is needed.
    Compromised,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Challenge, Self::Compromised];

    /// Returns the stable word for the kind.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Challenge => "challenge",
            Self::Compromised => "compromised",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Settings of the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whether mail whose action is `challenge` is answered.
    pub challenge: bool,
    /// Whether mail with a stamp that the user revoked is answered.
    pub compromised: bool,
    /// Whether a trusted host must authenticate the sender.
    pub require_authentication: bool,
}

impl Policy {
    /// Returns the kind of reply that a message with this decision asks for.
    ///
    /// # Errors
    /// [`SuppressReason::Off`] or [`SuppressReason::NotAsked`].
    pub fn kind(&self, decision: &Decision) -> Result<Kind, SuppressReason> {
        if !self.challenge && !self.compromised {
            return Err(SuppressReason::Off);
        }
        // Mail that the user wants removed silently gets no reply.
        let silent = matches!(decision.action, Action::Discard | Action::Reject);
        if matches!(decision.class(), Class::FirstClass | Class::Allowed) || silent {
            return Err(SuppressReason::NotAsked);
        }
        if self.compromised && decision.verdict.reason == Reason::ByRecipient {
            return Ok(Kind::Compromised);
        }
        if decision.action != Action::Challenge {
            return Err(SuppressReason::NotAsked);
        }
        if self.challenge { Ok(Kind::Challenge) } else { Err(SuppressReason::Off) }
    }
}

/// Input beside the message.
pub struct Facts<'a> {
    /// The user's own mailboxes.
    pub mailboxes: &'a [Mailbox],
    /// The settings.
    pub policy: Policy,
    /// Whether a trusted host authenticates mail from this address. Called last, and at most once.
    pub genuine: &'a dyn Fn(&Address) -> bool,
}

/// Reply that may go, as far as the message shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingReply {
    pub kind: Kind,
    /// The recipient of the reply.
    pub sender: Sender,
    /// The user's address to which the message was sent.
    pub mine: Address,
    /// The credits that the address asks.
    pub price: u64,
}

/// Returns the reply that is due to a message.
///
/// # Errors
/// Why there is none.
pub fn check_eligibility(
    message: &Message<'_>,
    envelope: &Envelope,
    decision: &Decision,
    facts: &Facts<'_>,
) -> Result<PendingReply, SuppressReason> {
    let kind = facts.policy.kind(decision)?;
    let sender = return_path::sender(message, envelope.sender.as_deref(), facts.mailboxes)?;
    let own = |address: &Address| facts.mailboxes.iter().find(|mailbox| mailbox.pattern.matches(address));
    if message.authors().iter().any(|author| own(author).is_some()) {
        return Err(SuppressReason::OwnAddress);
    }
    if let Some(why) = detect::auto_submitted_marker(message) {
        return Err(why);
    }
    if detect::answers_our_reply(message) {
        return Err(SuppressReason::AnswersReply);
    }
    let (mine, price) = written_to(message, envelope, &own).ok_or(SuppressReason::NotToMe)?;
    if facts.policy.require_authentication && !(facts.genuine)(&sender.address) {
        return Err(SuppressReason::Unauthenticated);
    }
    Ok(PendingReply { kind, sender, mine, price })
}

/// Returns the user's address in To or Cc, and its price: the one of this delivery if it is there, else the first.
fn written_to<'a>(
    message: &Message<'_>,
    envelope: &Envelope,
    own: &dyn Fn(&Address) -> Option<&'a Mailbox>,
) -> Option<(Address, u64)> {
    let mut first = None;
    for name in ["To", "Cc"] {
        for field in message.fields().filter(|field| field.name_is(name)) {
            // Not decoded: an encoded-word holds no address (RFC 2047 section 5), whatever it decodes to.
            for address in addresses(&field.unfolded()) {
                // A pattern can match an address that the sender made up.
                let Some(mailbox) = own(&address).filter(|_| is_plain(&address)) else { continue };
                if envelope.recipient.as_ref() == Some(&address) {
                    return Some((address, mailbox.price));
                }
                first.get_or_insert((address, mailbox.price));
            }
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::address::Pattern;
    use crate::policy::action::Actions;
    use crate::policy::decision::{Effect, Ruling};
    use crate::verdict::finding::Verdict;
    use std::cell::Cell;
    use std::convert::Infallible;

    const ON: Policy = Policy { challenge: true, compromised: true, require_authentication: true };

    fn decision(reason: Reason, action: Action) -> Decision {
        let verdict = Verdict { reason, deciding_stamp: None, boundary: None, findings: Vec::new() };
        let ruling = Ruling { name: "r".into(), effect: Effect::Act(action) };
        Decision::of(verdict, &Actions::default(), |_| Ok::<_, Infallible>(Some(ruling))).unwrap()
    }

    #[test]
    fn class_action_and_switches_make_the_kind() {
        let off = Policy { challenge: false, compromised: false, ..ON };
        let challenge = Policy { compromised: false, ..ON };
        let compromised = Policy { challenge: false, ..ON };
        for (policy, reason, action, wanted) in [
            (ON, Reason::NoStamp, Action::Challenge, Ok(Kind::Challenge)),
            (ON, Reason::Used, Action::Challenge, Ok(Kind::Challenge)),
            (ON, Reason::ByVendor, Action::Challenge, Ok(Kind::Challenge)),
            (ON, Reason::ByRecipient, Action::Challenge, Ok(Kind::Compromised)),
            (ON, Reason::ByRecipient, Action::Deliver, Ok(Kind::Compromised)),
            (ON, Reason::ByRecipient, Action::Discard, Err(SuppressReason::NotAsked)),
            (ON, Reason::ByRecipient, Action::Reject, Err(SuppressReason::NotAsked)),
            (ON, Reason::NoStamp, Action::Hold, Err(SuppressReason::NotAsked)),
            (ON, Reason::Paid, Action::Challenge, Err(SuppressReason::NotAsked)),
            (ON, Reason::Rule, Action::Challenge, Err(SuppressReason::NotAsked)),
            (challenge, Reason::ByRecipient, Action::Deliver, Err(SuppressReason::NotAsked)),
            (challenge, Reason::ByRecipient, Action::Challenge, Ok(Kind::Challenge)),
            (compromised, Reason::NoStamp, Action::Challenge, Err(SuppressReason::Off)),
            (compromised, Reason::NoStamp, Action::Hold, Err(SuppressReason::NotAsked)),
            (off, Reason::ByRecipient, Action::Challenge, Err(SuppressReason::Off)),
        ] {
            assert_eq!(policy.kind(&decision(reason, action)), wanted, "{policy:?} {reason} {action}");
        }
    }

    #[test]
    fn the_sender_is_looked_up_last_and_once() {
        let mailboxes = [Mailbox { pattern: Pattern::parse("alice@x.example").unwrap(), price: 3, owner: None }];
        let asked = Cell::new(0);
        let genuine = |sender: &Address| {
            asked.set(asked.get() + 1);
            sender.domain() == "y.example"
        };
        let of = |header: &str, policy: Policy| {
            let raw = format!("{header}\n\n");
            let facts = Facts { mailboxes: &mailboxes, policy, genuine: &genuine };
            let decision = decision(Reason::NoStamp, Action::Challenge);
            check_eligibility(&Message::parse(raw.as_bytes()), &Envelope::default(), &decision, &facts)
        };
        let trusting = Policy { require_authentication: false, ..ON };
        assert_eq!(of("Return-Path: <bob@y.example>\nTo: carol@z.example", ON), Err(SuppressReason::NotToMe));
        assert_eq!(of("Return-Path: <bob@y.example>\nTo: alice@x.example\nList-Id: x", ON), Err(SuppressReason::List));
        assert_eq!(of("Return-Path: <bob@z.example>\nTo: alice@x.example", trusting).map(|due| due.price), Ok(3));
        assert_eq!(asked.get(), 0);
        assert_eq!(of("Return-Path: <bob@z.example>\nTo: alice@x.example", ON), Err(SuppressReason::Unauthenticated));
        let due = of("Return-Path: <bob@y.example>\nCc: (me) alice@X.example", ON).unwrap();
        assert_eq!((due.mine.to_string(), due.kind, asked.get()), ("alice@x.example".into(), Kind::Challenge, 2));
    }
}
