//! Rule evaluation for a message without a good stamp: `allow` of the configuration, the senders allowed from held
//! mail, then `rules.toml`.
//!
//! - The rules file is read when the first message needs it, a list of addresses when a rule names it. The log is
//!   opened when a rule asks for the user's correspondents. Mail with a good stamp needs none of them.
//! - A file that cannot be read or opened defers the message. It never counts as a condition that does not match.

use super::judge::{Engine, LazyStore, OwnLog};
use super::marking::Mode;
use crate::config::address_list::{self, HELD_ALLOW};
use crate::config::paths::PathsError;
use crate::config::rules::{self, RulesError};
use crate::context::error::Deferral;
use crate::message::address::Address;
use crate::message::parse::Message;
use crate::policy::condition::{Condition, Environment};
use crate::policy::context::{Extent, MessageContext};
use crate::policy::decision::{Decision, Effect, Ruling};
use crate::policy::regex::Match;
use crate::policy::rule_set::{Clause, Rule, RuleError, Rules};
use crate::verdict::class::Class;
use crate::verdict::facts::Envelope;
use crate::verdict::finding::Verdict;
use crate::verdict::owner::Owner;
use std::path::Path;

/// The name under which the list of `mailstamp held allow` appears as a rule.
pub const HELD_ALLOW_NAME: &str = "held-allow";

/// How the rules reached their decision; for `mailstamp rules test`.
#[derive(Debug)]
pub struct RuleTrace<'a> {
    /// The verdict before the rules.
    pub verdict: Verdict,
    /// The resulting decision.
    pub decision: Decision,
    /// The author's address, which most conditions are about.
    pub author: Option<Address>,
    /// The envelope sender.
    pub sender: Option<Address>,
    /// The rules that were evaluated, in order; the last one matches if `decision` has its name.
    pub asked: Vec<RuleStep<'a>>,
    /// The number of rules.
    pub count: usize,
}

/// An evaluated rule.
#[derive(Debug)]
pub struct RuleStep<'a> {
    pub rule: &'a Rule,
    /// Whether it matches.
    pub matches: bool,
    /// Its conditions in the order of evaluation, and the results of those that were needed.
    pub answers: Vec<(Clause, &'a Condition, Option<Match>)>,
}

impl Engine {
    /// Decides on a message of this verdict.
    pub(super) fn decide(
        &self,
        verdict: Verdict,
        message: &Message<'_>,
        envelope: &Envelope,
        seen: Extent,
        log: &LazyStore<'_>,
    ) -> Result<Decision, Deferral> {
        Decision::of(verdict, &self.context.config.actions, |verdict| {
            let letter =
                MessageContext::new(message, envelope, verdict, &self.context.config.trusted_authserv_ids, seen);
            if let Some(ruling) = self.allowed(&letter)? {
                return Ok(Some(ruling));
            }
            self.rules()?
                .ruling(&letter, &EngineEnvironment { engine: self, log, envelope })
                .map_err(|error| self.undecided(error))
        })
    }

    /// Evaluates the rules for this message and returns every step.
    /// Nothing is spent or written.
    pub fn consult(&self, message: &Message<'_>, envelope: &Envelope, cut: bool) -> Result<RuleTrace<'_>, Deferral> {
        let log = LazyStore::new(self);
        let verdict = if cut {
            Verdict::too_large()
        } else {
            self.verdicts(message, &OwnLog { log: &log, marking: Mode::DryRun }, |verdict| verdict(envelope))?
        };
        let seen = if cut { Extent::Beginning } else { Extent::Whole };
        let letter = MessageContext::new(message, envelope, &verdict, &self.context.config.trusted_authserv_ids, seen);
        let rules = self.rules()?;
        let (mut asked, mut ruling) = (Vec::new(), None);
        if verdict.class() != Class::FirstClass {
            ruling = self.allowed(&letter)?;
            let world = EngineEnvironment { engine: self, log: &log, envelope };
            let mut rest = rules.iter();
            while ruling.is_none()
                && let Some(rule) = rest.next()
            {
                let one = self.asked(rule, &letter, &world)?;
                if one.matches {
                    ruling = Some(Ruling { name: rule.name.clone(), effect: rule.effect });
                }
                asked.push(one);
            }
        }
        let (author, sender) = (letter.author().cloned(), letter.sender().cloned());
        let decision = Decision::of(verdict.clone(), &self.context.config.actions, |_| Ok::<_, Deferral>(ruling))?;
        Ok(RuleTrace { author, sender, decision, asked, count: rules.iter().len(), verdict })
    }

    fn asked<'a>(
        &self,
        rule: &'a Rule,
        letter: &MessageContext<'_>,
        world: &EngineEnvironment<'_>,
    ) -> Result<RuleStep<'a>, Deferral> {
        let mut found = Vec::new();
        let matches = rule.matches(letter, world, &mut |_, _, answer| found.push(answer));
        let matches = matches.map_err(|error| self.undecided(error))?;
        // The evaluated ones come first: conditions, and exceptions once all conditions held.
        let mut answers = found.into_iter();
        let answers = rule.conditions().map(|(part, condition)| (part, condition, answers.next())).collect();
        Ok(RuleStep { rule, matches, answers })
    }

    /// Returns the rules, read on first use.
    ///
    /// # Errors
    /// [`RulesError`] when they cannot be used.
    pub(super) fn rules(&self) -> Result<&Rules, RulesError> {
        if let Some(rules) = self.rulebook.rules.get() {
            return Ok(rules);
        }
        let read = rules::in_force(&self.context.config, &self.context.places)?;
        Ok(self.rulebook.rules.get_or_init(|| read))
    }

    /// Returns the entry of `allow`, or of the list beside the log, that allows the author without a stamp.
    fn allowed(&self, letter: &MessageContext<'_>) -> Result<Option<Ruling>, Deferral> {
        let Some(author) = letter.author() else { return Ok(None) };
        let allow = |name: &str| Some(Ruling { name: name.to_owned(), effect: Effect::Allow });
        if let Some(allowed) = self.context.config.allow.iter().find(|allowed| allowed.pattern.matches(author)) {
            return Ok(allow(&allowed.name));
        }
        Ok(if self.held_allow(author)? { allow(HELD_ALLOW_NAME) } else { None })
    }

    /// Applies the list of `mailstamp held allow` to a decision of the system's daemon, which cannot read it.
    pub(super) fn allowed_here(&self, decision: Decision, message: &Message<'_>) -> Result<Decision, Deferral> {
        let is_let_through = matches!(decision.class(), Class::FirstClass | Class::Allowed);
        if is_let_through || self.context.places.own_state.is_none() {
            return Ok(decision);
        }
        match message.authors().first() {
            Some(author) if self.held_allow(author)? => {
                let ruling = Ruling { name: HELD_ALLOW_NAME.to_owned(), effect: Effect::Allow };
                Decision::of(decision.verdict, &self.context.config.actions, |_| Ok(Some(ruling)))
            }
            _ => Ok(decision),
        }
    }

    fn held_allow(&self, author: &Address) -> Result<bool, Deferral> {
        let state = match self.context.places.user_state() {
            // Without a folder for the state no message was ever held.
            Err(PathsError::Nowhere(_)) => return Ok(false),
            other => other?,
        };
        match address_list::covers(&state.join(HELD_ALLOW), author, self.context.config.local_case) {
            Err(error) if error.is_absent() => Ok(false),
            other => Ok(other.map_err(RulesError::from)?),
        }
    }

    fn undecided(&self, error: RuleError<Deferral>) -> Deferral {
        match error {
            RuleError::Trouble(trouble) => trouble,
            RuleError::Wrong(source) => {
                let path = self.context.places.rules.clone().unwrap_or_default();
                RulesError::Rule { path, source: Box::new(source) }.into()
            }
        }
    }
}

/// What rules may ask for beside the message.
struct EngineEnvironment<'a> {
    engine: &'a Engine,
    log: &'a LazyStore<'a>,
    envelope: &'a Envelope,
}

impl EngineEnvironment<'_> {
    /// Returns the owner for whom the message is delivered.
    fn owner(&self) -> Option<Owner> {
        self.engine.context.owner_of_recipient(self.envelope.recipient.as_ref())
    }
}

impl Environment for EngineEnvironment<'_> {
    type Trouble = Deferral;

    fn wrote_to(&self, address: &Address) -> Result<bool, Deferral> {
        let Some(owner) = self.owner() else { return Ok(false) };
        let context = &self.engine.context;
        Ok(self.log.store()?.wrote_to(owner, address, context.correspondents_since(context.now))?)
    }

    fn sent(&self, message_id: &str) -> Result<bool, Deferral> {
        let Some(owner) = self.owner() else { return Ok(false) };
        Ok(self.log.store()?.sent(owner, message_id)?)
    }

    fn listed(&self, file: &Path, address: &Address) -> Result<bool, Deferral> {
        Ok(address_list::covers(file, address, self.engine.context.config.local_case).map_err(RulesError::from)?)
    }
}
