//! Rules of the user in their order: the first that matches determines the effect. A rule matches when all its
//! conditions hold and not all of its exceptions do. Left out: the syntax of rules, which `config` parses.

use super::action::Action;
use super::condition::{Abort, Authentication, Condition, Environment, Test, TestError};
use super::context::MessageContext;
use super::decision::{Effect, Ruling};
use super::regex::Match;

/// Most rules in a file.
pub const MOST: usize = 1000;

/// Rule of the user.
#[derive(Clone, Debug)]
pub struct Rule {
    pub name: String,
    /// The line on which it begins.
    pub line: usize,
    /// The conditions, all of which must hold.
    conditions: Vec<Condition>,
    /// The exceptions, which must not all hold; none, if empty.
    exceptions: Vec<Condition>,
    pub effect: Effect,
}

impl Rule {
    /// Returns a rule. Its conditions are checked from the cheapest to the most expensive.
    #[must_use]
    pub fn new(
        name: String,
        line: usize,
        mut conditions: Vec<Condition>,
        mut exceptions: Vec<Condition>,
        effect: Effect,
    ) -> Self {
        conditions.sort_by_key(Condition::cost);
        exceptions.sort_by_key(Condition::cost);
        Self { name, line, conditions, exceptions, effect }
    }

    /// Returns all conditions and then the exceptions, each kind in the order of checking.
    pub fn conditions(&self) -> impl Iterator<Item = (Clause, &Condition)> {
        let conditions = self.conditions.iter().map(|condition| (Clause::Condition, condition));
        conditions.chain(self.exceptions.iter().map(|condition| (Clause::Exception, condition)))
    }

    /// Returns whether it needs more than the header.
    #[must_use]
    pub fn needs_text(&self) -> bool {
        self.conditions().any(|(_, condition)| matches!(condition.test, Test::Text(_)))
    }

    /// Returns whether it applies to authenticated senders only.
    #[must_use]
    pub fn needs_authentication(&self) -> bool {
        let genuine = |wanted: &[Authentication]| wanted.contains(&Authentication::Genuine(true));
        self.conditions
            .iter()
            .any(|condition| matches!(&condition.test, Test::Authenticated(wanted) if genuine(wanted)))
    }

    /// Returns whether it applies only to mail of the user's correspondents, or to answers to sent messages.
    #[must_use]
    pub fn needs_correspondents(&self) -> bool {
        let asks = |test: &Test| matches!(test, Test::Correspondent(true) | Test::ReplyToMine(true));
        self.conditions.iter().any(|condition| asks(&condition.test))
    }

    /// Returns whether it drops the mail that it matches.
    #[must_use]
    pub fn drops(&self) -> bool {
        matches!(self.effect, Effect::Act(Action::Discard | Action::Reject))
    }

    /// Returns the condition that shows that the rule drops all mail: none of its conditions leaves any out.
    fn drops_all(&self) -> Option<&Condition> {
        self.conditions.first().filter(|_| self.drops() && self.conditions.iter().all(Condition::holds_for_all))
    }

    /// Returns whether it matches. Each checked condition goes to `witness` with its result.
    ///
    /// # Errors
    /// [`RuleError`]; also for a rule that would drop all mail by a mistake in its expressions.
    pub fn matches<'r, A: Environment>(
        &'r self,
        letter: &MessageContext<'_>,
        world: &A,
        witness: &mut dyn FnMut(Clause, &'r Condition, Match),
    ) -> Result<bool, RuleError<A::Trouble>> {
        let mut ask = |part, condition: &'r Condition| -> Result<Match, RuleError<A::Trouble>> {
            let found = condition.holds(letter, world).map_err(|stop| match stop {
                Abort::Wrong(source) => RuleError::Wrong(self.wrong(condition, source)),
                Abort::Trouble(trouble) => RuleError::Trouble(trouble),
            })?;
            witness(part, condition, found);
            Ok(found)
        };
        for condition in &self.conditions {
            if ask(Clause::Condition, condition)? != Match::Yes {
                return Ok(false);
            }
        }
        if let Some(condition) = self.drops_all() {
            return Err(RuleError::Wrong(self.wrong(condition, TestError::Everything)));
        }
        for exception in &self.exceptions {
            match ask(Clause::Exception, exception)? {
                Match::Yes => {}
                Match::No => return Ok(true),
                // The exception may hold.
                Match::Unknown => return Ok(false),
            }
        }
        Ok(self.exceptions.is_empty())
    }

    fn wrong(&self, condition: &Condition, source: TestError) -> WrongRule {
        WrongRule { name: self.name.clone(), line: condition.line, key: condition.key.clone(), source }
    }
}

/// Part of a rule that a condition belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clause {
    /// It must hold.
    Condition,
    /// It is under `unless`.
    Exception,
}

/// A rule with a condition that cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("line {line}: rule {name:?}: {key}: {source}")]
pub struct WrongRule {
    /// The rule's name.
    pub name: String,
    /// The line of the condition.
    pub line: usize,
    pub key: String,
    pub source: TestError,
}

/// Failure to evaluate the rules.
#[derive(Debug)]
pub enum RuleError<T> {
    /// A condition that cannot be used.
    Wrong(WrongRule),
    /// An error of this host.
    Trouble(T),
}

/// All rules of a user.
#[derive(Clone, Debug, Default)]
pub struct Rules(Vec<Rule>);

impl Rules {
    /// Returns these rules, in this order.
    #[must_use]
    pub fn new(rules: Vec<Rule>) -> Self {
        Self(rules)
    }

    /// Returns the rules, in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Rule> {
        self.0.iter()
    }

    /// Compiles every expression and pattern, and looks for rules that would drop all mail.
    ///
    /// # Errors
    /// The first error.
    pub fn check(&self) -> Result<(), WrongRule> {
        let mut all = self.0.iter().flat_map(|rule| rule.conditions().map(move |(_, condition)| (rule, condition)));
        all.try_for_each(|(rule, condition)| condition.check().map_err(|source| rule.wrong(condition, source)))?;
        let wrong = |rule: &Rule| rule.drops_all().map(|condition| rule.wrong(condition, TestError::Everything));
        self.0.iter().find_map(wrong).map_or(Ok(()), Err)
    }

    /// Returns the rules that drop mail, with each condition of theirs that leaves no text out.
    pub fn doubtful(&self) -> impl Iterator<Item = (&Rule, &Condition)> {
        let dropping = self.0.iter().filter(|rule| rule.drops());
        let conditions = dropping.flat_map(|rule| rule.conditions.iter().map(move |condition| (rule, condition)));
        conditions.filter(|(_, condition)| condition.matches_all_texts())
    }

    /// Returns the effect of the first rule that matches.
    ///
    /// # Errors
    /// [`RuleError`]: the rules that follow are not evaluated then.
    pub fn ruling<A: Environment>(
        &self,
        letter: &MessageContext<'_>,
        world: &A,
    ) -> Result<Option<Ruling>, RuleError<A::Trouble>> {
        for rule in &self.0 {
            if rule.matches(letter, world, &mut |_, _, _| ())? {
                return Ok(Some(Ruling { name: rule.name.clone(), effect: rule.effect }));
            }
        }
        Ok(None)
    }
}
