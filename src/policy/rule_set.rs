//! The user's rules in their order: the first that matches says what is done. A rule matches when all its conditions hold,
//! and, where it makes exceptions, not all of those. How rules are written down is the configuration's affair.

use super::condition::{Abort, Authentication, Condition, Environment, Test, TestError};
use super::context::MessageContext;
use super::decision::{Effect, Ruling};
use super::regex::Match;

/// The most rules that are taken.
pub const MOST: usize = 1000;

/// One rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// The line on which it begins.
    pub line: usize,
    /// What has to hold.
    conditions: Vec<Condition>,
    /// What must not hold all together; nothing, if empty.
    exceptions: Vec<Condition>,
    /// What it gives.
    pub effect: Effect,
}

impl Rule {
    /// A rule; its conditions are asked from the cheapest to the dearest.
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

    /// All its conditions and then the exceptions, each kind in the order in which it is asked.
    pub fn conditions(&self) -> impl Iterator<Item = (Clause, &Condition)> {
        let conditions = self.conditions.iter().map(|condition| (Clause::Condition, condition));
        conditions.chain(self.exceptions.iter().map(|condition| (Clause::Exception, condition)))
    }

    /// Whether it looks at more than the header.
    #[must_use]
    pub fn needs_text(&self) -> bool {
        self.conditions().any(|(_, condition)| matches!(condition.test, Test::Text(_)))
    }

    /// Whether it is for genuine senders.
    #[must_use]
    pub fn needs_authentication(&self) -> bool {
        let genuine = |wanted: &[Authentication]| wanted.contains(&Authentication::Genuine(true));
        self.conditions
            .iter()
            .any(|condition| matches!(&condition.test, Test::Authenticated(wanted) if genuine(wanted)))
    }

    /// Whether it matches. What is asked on the way, and the answer, goes to `witness`.
    ///
    /// # Errors
    /// [`RuleError`].
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
        for exception in &self.exceptions {
            match ask(Clause::Exception, exception)? {
                Match::Yes => {}
                Match::No => return Ok(true),
                // What is not known may be an exception.
                Match::Unknown => return Ok(false),
            }
        }
        Ok(self.exceptions.is_empty())
    }

    fn wrong(&self, condition: &Condition, source: TestError) -> WrongRule {
        WrongRule { name: self.name.clone(), line: condition.line, key: condition.key.clone(), source }
    }
}

/// Of which part of a rule a condition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clause {
    /// It has to hold.
    Condition,
    /// It stands under `unless`.
    Exception,
}

/// A rule has a condition that cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("line {line}: rule {name:?}: {key}: {source}")]
pub struct WrongRule {
    /// The rule's name.
    pub name: String,
    /// On which line the condition stands.
    pub line: usize,
    /// Its key.
    pub key: String,
    /// What is wrong.
    pub source: TestError,
}

/// The rules could not be asked.
#[derive(Debug)]
pub enum RuleError<T> {
    /// A condition that cannot be used.
    Wrong(WrongRule),
    /// Our own trouble.
    Trouble(T),
}

/// All rules of a user.
#[derive(Clone, Debug, Default)]
pub struct Rules(Vec<Rule>);

impl Rules {
    /// These rules, in this order.
    #[must_use]
    pub fn new(rules: Vec<Rule>) -> Self {
        Self(rules)
    }

    /// The rules, in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Rule> {
        self.0.iter()
    }

    /// Builds every expression and pattern.
    ///
    /// # Errors
    /// The first that is wrong.
    pub fn check(&self) -> Result<(), WrongRule> {
        let mut all = self.0.iter().flat_map(|rule| rule.conditions().map(move |(_, condition)| (rule, condition)));
        all.try_for_each(|(rule, condition)| condition.check().map_err(|source| rule.wrong(condition, source)))
    }

    /// What the first rule that matches gives.
    ///
    /// # Errors
    /// [`RuleError`]: nothing is known then of the rules that follow.
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
