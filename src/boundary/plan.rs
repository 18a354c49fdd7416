//! Plan for a message: what is done with it, when each of its recipients has a decision of their own.
//!
//! The recipients share one message, so a change of it reaches them all. Hence:
//!
//! - Only recipients differ at will: one may be removed, or replaced with the address that holds mail.
//! - A message is refused when this is the decision for every recipient. Otherwise `mixed` says what becomes of the
//!   recipients that refuse it.
//! - A change is made where every copy that is delivered wants it.

use crate::policy::action::Action;
use crate::policy::decision::Decision;
use crate::stamp::serial::Serial;
use crate::verdict::class::Class;
use serde::Deserialize;

/// What becomes of a recipient that refuses a message, when another one does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mixed {
    #[default]
    Hold,
    Deliver,
    Discard,
}

/// What is done with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// It is refused, for all recipients.
    Reject,
    /// It is accepted, and dropped for all recipients.
    Discard,
    /// It goes on. For each recipient, in their order, what becomes of them.
    Deliver(Vec<Fate>),
}

/// What becomes of one recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Gets the message.
    Deliver,
    /// The address for held mail gets it instead.
    Hold,
    /// Gets nothing.
    Discard,
}

/// Makes the plan. `decisions` are those of the recipients, `None` for a recipient that was not judged, and afterwards
/// have the actions that are taken.
#[must_use]
pub fn plan(decisions: &mut [Option<Decision>], mixed: Mixed) -> Plan {
    let refuses = |decision: &Option<Decision>| decision.as_ref().is_some_and(|it| it.action == Action::Reject);
    if !decisions.is_empty() && decisions.iter().all(refuses) {
        return Plan::Reject;
    }
    decisions.iter_mut().flatten().for_each(|decision| act(decision, mixed));
    let fates: Vec<Fate> = decisions.iter().map(|decision| fate(decision.as_ref())).collect();
    if !fates.is_empty() && fates.iter().all(|fate| *fate == Fate::Discard) {
        return Plan::Discard;
    }
    Plan::Deliver(fates)
}

/// What is changed of the message that recipients share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shared {
    /// The decision that the result fields show: that of every copy. `None` where copies differ, or where a recipient
    /// was not judged.
    pub result: Option<Decision>,
    /// Whether the Subject gets its prefix.
    pub is_prefixed: bool,
    /// The stamps to strip, by vendor and serial: those that were accepted, if every copy has one.
    pub accepted: Vec<(String, Serial)>,
}

/// Returns what the copies of these recipients want alike. Their decisions have the actions that are taken.
#[must_use]
pub fn shared(decisions: &[Option<Decision>]) -> Shared {
    let copies = decisions.iter().filter(|decision| fate(decision.as_ref()) != Fate::Discard);
    // Without one that was not judged.
    let copies: Option<Vec<&Decision>> = copies.map(Option::as_ref).collect();
    let copies = copies.unwrap_or_default();
    let all = |wants: &dyn Fn(&Decision) -> bool| !copies.is_empty() && copies.iter().all(|it| wants(it));
    // A host behind this one must find the message as it was when its stamp was spent.
    let is_prefixed = all(&|it| it.action == Action::Tag && it.class() != Class::FirstClass);
    let accepted: Option<Vec<_>> = copies.iter().map(|it| accepted(it)).collect();
    Shared { result: common(&copies), is_prefixed, accepted: accepted.unwrap_or_default() }
}

/// Takes the action for a recipient of a message that goes on.
pub fn act(decision: &mut Decision, mixed: Mixed) {
    decision.action = match (decision.action, mixed) {
        (Action::Reject, Mixed::Hold) | (Action::Challenge, _) => Action::Hold,
        (Action::Reject, Mixed::Deliver) => Action::Deliver,
        (Action::Reject, Mixed::Discard) => Action::Discard,
        (action, _) => action,
    };
}

/// Makes the plan where a message goes to all its recipients or to none. What would be dropped is held, and what is
/// held goes on, for the host behind to hold.
#[must_use]
pub fn plan_for_all(decisions: &mut [Option<Decision>], mixed: Mixed) -> Plan {
    for decision in decisions.iter_mut().flatten().filter(|it| it.action == Action::Discard) {
        decision.action = Action::Hold;
    }
    plan(decisions, if mixed == Mixed::Discard { Mixed::Hold } else { mixed })
}

fn fate(decision: Option<&Decision>) -> Fate {
    match decision.map(|decision| decision.action) {
        None | Some(Action::Deliver | Action::Tag) => Fate::Deliver,
        Some(Action::Hold | Action::Challenge | Action::Reject) => Fate::Hold,
        Some(Action::Discard) => Fate::Discard,
    }
}

/// Returns the stamp that made the message first-class.
fn accepted(decision: &Decision) -> Option<(String, Serial)> {
    let stamp = decision.verdict.stamp().filter(|_| decision.class() == Class::FirstClass)?;
    Some((stamp.vendor.clone()?, stamp.serial.clone()?))
}

/// Returns the decision that all copies share. Where only their stamps differ, it names none.
fn common(copies: &[&Decision]) -> Option<Decision> {
    let (first, rest) = copies.split_first()?;
    let shown = |it: &Decision| (it.verdict.reason, it.rule.clone(), it.action);
    if rest.iter().any(|other| shown(other) != shown(first)) {
        return None;
    }
    let mut decision = (*first).clone();
    if rest.iter().any(|other| other.verdict != first.verdict) {
        decision.verdict.deciding_stamp = None;
        decision.verdict.findings.clear();
    }
    Some(decision)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::extract::Place;
    use crate::verdict::finding::{Finding, Verdict};
    use crate::verdict::reason::Reason;

    fn decision(reason: Reason, serial: &str, action: Action) -> Option<Decision> {
        let finding = Finding {
            vendor: Some("stamps.example".to_owned()),
            serial: Serial::new(serial).ok(),
            reason: Some(reason),
            ..Finding::of(Place::Header)
        };
        let has_stamp = !serial.is_empty();
        let findings = if has_stamp { vec![finding] } else { Vec::new() };
        let verdict = Verdict { reason, deciding_stamp: has_stamp.then_some(0), boundary: None, findings };
        Some(Decision { verdict, rule: None, action })
    }

    fn unstamped(action: Action) -> Option<Decision> {
        decision(Reason::NoStamp, "", action)
    }

    fn paid(serial: &str) -> Option<Decision> {
        decision(Reason::Paid, serial, Action::Deliver)
    }

    #[track_caller]
    fn fates(decisions: &mut [Option<Decision>], mixed: Mixed) -> Vec<Fate> {
        match plan(decisions, mixed) {
            Plan::Deliver(fates) => fates,
            other => panic!("{other:?}"),
        }
    }

    /// What is changed of a message that goes on.
    #[track_caller]
    fn made(decisions: &mut [Option<Decision>]) -> Shared {
        fates(decisions, Mixed::Hold);
        shared(decisions)
    }

    #[test]
    fn a_message_is_refused_or_dropped_for_all_or_for_none() {
        let (reject, discard) = (unstamped(Action::Reject), unstamped(Action::Discard));
        for mixed in [Mixed::Hold, Mixed::Deliver, Mixed::Discard] {
            assert_eq!(plan(&mut [reject.clone(), reject.clone()], mixed), Plan::Reject);
            assert_eq!(plan(&mut [discard.clone(), discard.clone()], mixed), Plan::Discard);
            let of_reject =
                [(Mixed::Hold, Fate::Hold), (Mixed::Deliver, Fate::Deliver), (Mixed::Discard, Fate::Discard)];
            let (_, of_reject) = of_reject.into_iter().find(|(it, _)| *it == mixed).unwrap();
            // A recipient that was not judged refuses nothing.
            let mut decisions = [reject.clone(), None, paid("a"), discard.clone()];
            assert_eq!(fates(&mut decisions, mixed), [of_reject, Fate::Deliver, Fate::Deliver, Fate::Discard]);
            assert!(decisions.iter().flatten().all(|it| it.action != Action::Reject));
        }
        let mut both = [reject, discard];
        assert_eq!(plan(&mut both, Mixed::Discard), Plan::Discard);
        assert_eq!(fates(&mut [], Mixed::Hold), []);
    }

    #[test]
    fn a_message_for_all_is_refused_by_all_or_goes_on() {
        let (reject, discard) = (unstamped(Action::Reject), unstamped(Action::Discard));
        for mixed in [Mixed::Hold, Mixed::Deliver, Mixed::Discard] {
            assert_eq!(plan_for_all(&mut [reject.clone(), reject.clone()], mixed), Plan::Reject);
            for mut decisions in [vec![discard.clone()], vec![discard.clone(), reject.clone()]] {
                assert!(matches!(plan_for_all(&mut decisions, mixed), Plan::Deliver(_)));
                let shown = (mixed != Mixed::Deliver || decisions.len() == 1).then(|| unstamped(Action::Hold).unwrap());
                assert_eq!(shared(&decisions).result, shown);
            }
            // A recipient that would get nothing reads the result of no other.
            let mut decisions = [paid("a"), discard.clone()];
            assert!(matches!(plan_for_all(&mut decisions, mixed), Plan::Deliver(_)));
            assert_eq!(shared(&decisions), Shared::default());
        }
    }

    #[test]
    fn the_result_is_shown_where_it_is_that_of_every_copy() {
        let shown = |decisions: &mut [Option<Decision>]| made(decisions).result;
        assert_eq!(shown(&mut [paid("a")]), paid("a"));
        assert_eq!(shown(&mut [unstamped(Action::Tag), unstamped(Action::Tag)]), unstamped(Action::Tag));
        assert_eq!(shown(&mut [paid("a"), unstamped(Action::Tag)]), None);
        assert_eq!(shown(&mut [paid("a"), None]), None);
        assert_eq!(shown(&mut [unstamped(Action::Tag), unstamped(Action::Hold)]), None);
        // A recipient that gets nothing reads nothing.
        assert_eq!(shown(&mut [paid("a"), unstamped(Action::Discard)]), paid("a"));
        // Of two stamps none is shown, since each is another recipient's.
        let both = shown(&mut [paid("a"), paid("b")]).unwrap();
        assert_eq!((both.class(), both.verdict.stamp()), (Class::FirstClass, None));
        // What was refused and is held says so.
        let mut held = [unstamped(Action::Reject), unstamped(Action::Hold)];
        assert_eq!(shown(&mut held), unstamped(Action::Hold));
    }

    #[test]
    fn a_change_is_made_where_every_copy_wants_it() {
        let tagged = unstamped(Action::Tag);
        assert!(made(&mut [tagged.clone(), tagged.clone()]).is_prefixed);
        for other in [None, paid("a"), unstamped(Action::Hold), unstamped(Action::Deliver)] {
            assert!(!made(&mut [tagged.clone(), other]).is_prefixed);
        }
        assert!(made(&mut [tagged.clone(), unstamped(Action::Discard)]).is_prefixed);
        assert!(!made(&mut [decision(Reason::Paid, "a", Action::Tag)]).is_prefixed);
        let accepted = |decisions: &mut [Option<Decision>]| made(decisions).accepted.len();
        assert_eq!(accepted(&mut [paid("a"), paid("b")]), 2);
        assert_eq!(accepted(&mut [paid("a"), None]), 0);
        assert_eq!(accepted(&mut [paid("a"), decision(Reason::NotForMe, "a", Action::Deliver)]), 0);
    }
}
