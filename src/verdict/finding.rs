//! Findings: one for each stamp of a message, and the verdict, which is the best of them. The order of the checks is
//! here too, so that `explain` can say how far a stamp came.

use super::class::Class;
use super::reason::Reason;
use crate::message::address::Address;
use crate::stamp::extract::Place;
use crate::stamp::serial::Serial;
use crate::stamp::signing::PublicKey;
use crate::time::UnixTime;

/// The result for one stamp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The part of the message that carries it.
    pub place: Place,
    /// The vendor that it names; a claim unless the signature holds.
    pub vendor: Option<String>,
    /// The key that it names.
    pub key_id: Option<String>,
    /// Its serial, once the signature holds.
    pub serial: Option<Serial>,
    /// Its value in credits, once the signature holds.
    pub value: Option<u64>,
    /// End of its window, if it has one, once the signature holds.
    pub expires: Option<UnixTime>,
    /// The key of its holder, if it belongs to one, once the signature holds.
    pub holder: Option<PublicKey>,
    /// The sender whom it names, if it names one, once the signature holds.
    pub sender: Option<Address>,
    /// The result; `None` for a good stamp that was left unspent because another one decided.
    pub reason: Option<Reason>,
}

impl Finding {
    /// Makes the finding of a stamp that was not examined yet.
    #[must_use]
    pub fn of(place: Place) -> Self {
        Self {
            place,
            vendor: None,
            key_id: None,
            serial: None,
            value: None,
            expires: None,
            holder: None,
            sender: None,
            reason: None,
        }
    }
}

/// A sealed result of a boundary that was believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Believed {
    pub host: String,
    /// Offset of its field in the message. `None` where this host came to another result, or a daemon judged.
    pub field: Option<usize>,
}

/// The judgement of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The reason of its class.
    pub reason: Reason,
    /// The stamp that decided, if one did; an index into `findings`.
    pub deciding_stamp: Option<usize>,
    /// The sealed result that was believed, if the stamps were not judged here.
    pub boundary: Option<Believed>,
    /// One finding for each stamp, in their order in the message.
    pub findings: Vec<Finding>,
}

impl Verdict {
    /// The class.
    #[must_use]
    pub fn class(&self) -> Class {
        self.reason.class()
    }

    /// Returns the finding of the stamp that decided.
    #[must_use]
    pub fn stamp(&self) -> Option<&Finding> {
        self.findings.get(self.deciding_stamp?)
    }

    /// Makes the verdict from what a boundary found and sealed.
    #[must_use]
    pub fn believed(boundary: Believed, reason: Reason, finding: Finding) -> Self {
        let finding = Finding { reason: Some(reason), ..finding };
        Self { reason, deciding_stamp: Some(0), boundary: Some(boundary), findings: vec![finding] }
    }

    /// Makes the verdict on a message of which only the beginning was examined.
    #[must_use]
    pub fn too_large() -> Self {
        Self::select(Vec::new(), true)
    }

    /// Makes the verdict on a message that is known to carry no stamp.
    #[must_use]
    pub fn unstamped() -> Self {
        Self::select(Vec::new(), false)
    }

    /// Selects the best finding: first-class, underpaid, revoked, used, invalid, unverified; among equals the first.
    /// `over_limit` says that the message has more than could be examined.
    pub(super) fn select(findings: Vec<Finding>, over_limit: bool) -> Self {
        let reasons = findings.iter().enumerate().filter_map(|(index, finding)| Some((index, finding.reason?)));
        let (reason, deciding_stamp) = match reasons.min_by_key(|(_, reason)| rank(reason.class())) {
            Some((index, reason)) => (reason, Some(index)),
            None if over_limit => (Reason::OverLimit, None),
            None => (Reason::NoStamp, None),
        };
        Self { reason, deciding_stamp, boundary: None, findings }
    }
}

fn rank(class: Class) -> u8 {
    match class {
        Class::FirstClass => 0,
        Class::Underpaid => 1,
        Class::Revoked => 2,
        Class::Used => 3,
        Class::Invalid => 4,
        Class::Unverified => 5,
        Class::Allowed | Class::Unstamped => 6,
    }
}

/// One check of a stamp; they are in the order of the judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CheckStep {
    /// It is a stamp of a version that is known here.
    Form,
    /// The key of its vendor, or of the user's address that issued it, is known.
    Key,
    /// Its signature holds.
    Signature,
    /// The key is in force.
    KeyStatus,
    /// Its holder signed this use.
    Holder,
    /// Neither vendor nor recipient revoked it.
    Revocation,
    /// It names one of the user's addresses.
    Recipient,
    /// Its window is open.
    Window,
    /// Its value reaches the price.
    Price,
    /// It was not used by another message.
    Used,
}

impl CheckStep {
    /// Every check, in order.
    pub const ALL: [Self; 10] = [
        Self::Form,
        Self::Key,
        Self::Signature,
        Self::KeyStatus,
        Self::Holder,
        Self::Revocation,
        Self::Recipient,
        Self::Window,
        Self::Price,
        Self::Used,
    ];

    /// Returns the check that gave this reason.
    /// `None` when every check was passed, or was not needed.
    #[must_use]
    pub fn source_stamp(reason: Reason) -> Option<Self> {
        match reason {
            Reason::Paid | Reason::Again | Reason::Return | Reason::MultiUse | Reason::Peer => None,
            Reason::Rule | Reason::NoStamp => None,
            Reason::Malformed | Reason::UnknownVersion | Reason::OverLimit => Some(Self::Form),
            Reason::UnknownVendor | Reason::UnknownKey | Reason::KeyConflict | Reason::StaleDirectory => {
                Some(Self::Key)
            }
            Reason::Forged => Some(Self::Signature),
            Reason::KeyRevoked => Some(Self::KeyStatus),
            Reason::NoHolderProof | Reason::BadHolderProof => Some(Self::Holder),
            Reason::ByRecipient | Reason::ByVendor => Some(Self::Revocation),
            Reason::NotForMe => Some(Self::Recipient),
            Reason::NotYetValid | Reason::Expired | Reason::NoWindow | Reason::WindowTooLong => Some(Self::Window),
            Reason::BelowPrice => Some(Self::Price),
            Reason::Used | Reason::TooOften => Some(Self::Used),
        }
    }

    /// Returns the check as a question, for `explain`.
    #[must_use]
    pub fn question(self) -> &'static str {
        match self {
            Self::Form => "is it a well-formed stamp of a known version?",
            Self::Key => "is its issuer's key known and trusted?",
            Self::Signature => "does its signature hold?",
            Self::KeyStatus => "is that key in force?",
            Self::Holder => "did its holder sign this use?",
            Self::Revocation => "is it free of revocations?",
            Self::Recipient => "does it name one of your addresses?",
            Self::Window => "is its window open?",
            Self::Price => "is it worth what this mailbox asks?",
            Self::Used => "is it unused by other messages?",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(reason: Reason) -> Finding {
        Finding { reason: Some(reason), ..Finding::of(Place::Header) }
    }

    #[test]
    fn the_best_finding_speaks() {
        let reasons = [Reason::UnknownKey, Reason::Forged, Reason::Used, Reason::ByVendor, Reason::BelowPrice];
        for count in 1..=reasons.len() {
            let verdict = Verdict::select(reasons[..count].iter().map(|r| finding(*r)).collect(), true);
            assert_eq!(verdict.reason, reasons[count - 1]);
            assert_eq!(verdict.deciding_stamp, Some(count - 1));
        }
    }

    #[test]
    fn nothing_found_is_unstamped_only_if_all_was_looked_at() {
        assert_eq!(Verdict::select(vec![], false).reason, Reason::NoStamp);
        assert_eq!(Verdict::select(vec![], true).reason, Reason::OverLimit);
    }
}
