//! Decision on a message: combines the verdict and the matching rule into an action.

use super::action::{Action, Actions};
use crate::verdict::class::Class;
use crate::verdict::finding::Verdict;
use crate::verdict::reason::Reason;

/// Effect of a rule on the messages that it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The class `allowed`, and its action.
    Allow,
    /// This action; the class stays.
    Act(Action),
    /// Only ends the search: the action of the class applies.
    Nothing,
}

/// Rule that matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// The rule's name.
    pub name: String,
    /// What it gives.
    pub effect: Effect,
}

/// Verdict on a message, and the action for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub verdict: Verdict,
    /// The name of the user's rule that matched, if one did.
    pub rule: Option<String>,
    /// What is to be done.
    pub action: Action,
}

impl Decision {
    /// Returns the decision on a message with this verdict. `ask` evaluates the rules, only when no stamp let the
    /// message through.
    ///
    /// # Errors
    /// The error of `ask`.
    pub fn of<E>(
        verdict: Verdict,
        actions: &Actions,
        ask: impl FnOnce(&Verdict) -> Result<Option<Ruling>, E>,
    ) -> Result<Self, E> {
        let ruling = if verdict.class() == Class::FirstClass { None } else { ask(&verdict)? };
        let (rule, effect) = ruling.map_or((None, Effect::Nothing), |ruling| (Some(ruling.name), ruling.effect));
        let verdict = match effect {
            Effect::Allow => Verdict { reason: Reason::Rule, ..verdict },
            Effect::Act(_) | Effect::Nothing => verdict,
        };
        let action = match effect {
            Effect::Act(action) => action,
            Effect::Allow | Effect::Nothing => actions.of(verdict.class()),
        };
        Ok(Self { verdict, rule, action })
    }

    /// Returns the class.
    #[must_use]
    pub fn class(&self) -> Class {
        self.verdict.class()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::extract::Place;
    use crate::verdict::finding::Finding;
    use std::convert::Infallible;

    fn verdict(reason: Reason) -> Verdict {
        let finding = Finding { reason: Some(reason), ..Finding::of(Place::Header) };
        Verdict { reason, deciding_stamp: Some(0), boundary: None, findings: vec![finding] }
    }

    fn decide(reason: Reason, effect: Option<Effect>) -> Decision {
        let actions: Actions = toml::from_str("unstamped = \"hold\"\nallowed = \"tag\"").unwrap();
        let ruling = effect.map(|effect| Ruling { name: "friends".into(), effect });
        Decision::of(verdict(reason), &actions, |_| Ok::<_, Infallible>(ruling)).unwrap()
    }

    #[test]
    fn a_rule_is_not_even_asked_for_first_class_mail() {
        let first =
            Decision::of(verdict(Reason::Paid), &Actions::default(), |_| -> Result<_, Infallible> { unreachable!() });
        let first = first.unwrap();
        assert_eq!((first.verdict.reason, first.rule, first.action), (Reason::Paid, None, Action::Deliver));
    }

    #[test]
    fn a_rule_that_allows_makes_the_class() {
        let allowed = decide(Reason::Forged, Some(Effect::Allow));
        assert_eq!((allowed.class(), allowed.verdict.reason), (Class::Allowed, Reason::Rule));
        assert_eq!((allowed.rule.as_deref(), allowed.action), (Some("friends"), Action::Tag));
    }

    #[test]
    fn any_other_rule_leaves_the_class() {
        let discarded = decide(Reason::Forged, Some(Effect::Act(Action::Discard)));
        assert_eq!((discarded.class(), discarded.action), (Class::Invalid, Action::Discard));
        assert_eq!(discarded.rule.as_deref(), Some("friends"));
        let nothing = decide(Reason::NoStamp, Some(Effect::Nothing));
        assert_eq!((nothing.class(), nothing.action), (Class::Unstamped, Action::Hold));
        let none = decide(Reason::NoStamp, None);
        assert_eq!((none.rule, none.action), (None, Action::Hold));
    }
}
