//! Conditions of rules, and their costs. A rule checks the cheapest first, so that files and the log are opened only
//! when all other conditions hold.

use super::context::MessageContext;
use super::regex::{Expression, ExpressionError, Match};
use crate::message::address::{Address, LocalCase, Pattern, PatternError, canonical_domain};
use crate::verdict::class::Class;
use crate::verdict::reason::Reason;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Data outside of the message that rules use.
pub trait Environment {
    /// Error of this host in answering.
    type Trouble;

    /// Returns whether the user wrote to this address.
    ///
    /// # Errors
    /// When the answer is not available now.
    fn wrote_to(&self, address: &Address) -> Result<bool, Self::Trouble>;

    /// Returns whether the user sent the message with this Message-ID.
    ///
    /// # Errors
    /// When the answer is not available now.
    fn sent(&self, message_id: &str) -> Result<bool, Self::Trouble>;

    /// Returns whether the list in this file covers the address.
    ///
    /// # Errors
    /// When the answer is not available now.
    fn listed(&self, file: &Path, address: &Address) -> Result<bool, Self::Trouble>;
}

/// Condition of a rule.
#[derive(Clone, Debug)]
pub struct Condition {
    /// Its key; for a header field with the field's name.
    pub key: String,
    /// Its value, as written.
    pub text: String,
    pub line: usize,
    /// The test. One of several entries has to hold.
    pub test: Test,
}

/// Test of a condition.
#[derive(Clone, Debug)]
pub enum Test {
    /// One of these patterns matches an address.
    Address(AddressOf, Vec<AddressPattern>),
    /// An address is in one of these domains, or below it.
    Domain(AddressOf, Vec<Domain>),
    /// An address is on one of these lists.
    Listed(AddressOf, Vec<PathBuf>),
    /// The message came through one of these mailing lists.
    List(Vec<ListPattern>),
    /// One of these expressions matches a field of this name.
    Field(String, Vec<Expression>),
    /// One of these expressions matches the first text.
    Text(Vec<Expression>),
    /// The message has more bytes than this.
    Larger(u64),
    /// The message has fewer bytes than this.
    Smaller(u64),
    /// The message has one of these classes.
    Class(Vec<Class>),
    /// The message has one of these reasons.
    Reason(Vec<Reason>),
    /// Trusted hosts reported one of these results.
    Authenticated(Vec<Authentication>),
    /// Whether the user wrote to its author.
    Correspondent(bool),
    /// Whether it answers a message from the user.
    ReplyToMine(bool),
}

/// Fields that nearly all mail has.
const USUAL_FIELDS: [&str; 6] = ["From", "To", "Date", "Subject", "Message-ID", "Received"];

/// Address of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressOf {
    /// The first one in From.
    Author,
    /// The envelope sender.
    Sender,
    /// The recipient of this delivery.
    Recipient,
    /// Any in To and Cc.
    Addressee,
}

/// Result of trusted hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// Whether the From field's domain is authenticated.
    Genuine(bool),
    /// This result of this method.
    Outcome {
        /// `dkim`.
        method: String,
        /// `pass`.
        result: String,
    },
}

/// Address pattern. A regular expression is compiled on first use.
#[derive(Clone, Debug)]
pub struct AddressPattern {
    text: String,
    case: LocalCase,
    built: OnceLock<Result<Pattern, PatternError>>,
}

impl AddressPattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// [`PatternError`]; for a regular expression only on first use, or in [`Condition::check`].
    pub fn new(text: &str, case: LocalCase) -> Result<Self, PatternError> {
        let pattern = Self { text: text.to_owned(), case, built: OnceLock::new() };
        // An empty one shows at once, as in other conditions.
        let expression = text.len() > 2 && text.starts_with('/') && text.ends_with('/');
        if !expression {
            pattern.built()?;
        }
        Ok(pattern)
    }

    fn matches(&self, address: &Address) -> Result<bool, PatternError> {
        Ok(self.built()?.matches(address))
    }

    fn built(&self) -> Result<&Pattern, PatternError> {
        self.built.get_or_init(|| Pattern::parse_with(&self.text, self.case)).as_ref().map_err(Clone::clone)
    }
}

/// Domain, and all domains below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain(String);

impl Domain {
    /// Returns the domain of this name; `None` when it is invalid.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        canonical_domain(text).ok().map(Self)
    }

    fn covers(&self, address: &Address) -> bool {
        address.domain().strip_suffix(self.0.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }
}

/// Mailing list by its identifier, or all lists below one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListPattern {
    /// In lower case; with a leading dot if `below`.
    id: String,
    below: bool,
}

impl ListPattern {
    /// Parses `talk.lists.example`, or `*.lists.example` for all lists below; `None` when it is neither.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let below = text.starts_with("*.");
        let id = text.strip_prefix('*').filter(|_| below).unwrap_or(text).to_ascii_lowercase();
        let plain = id.trim_start_matches('.');
        let good = !plain.is_empty() && plain.len() <= 255 && !plain.contains(['*', '<', '>']);
        (good && !plain.contains(char::is_whitespace)).then_some(Self { id, below })
    }

    fn covers(&self, id: &str) -> bool {
        if self.below { id.strip_suffix(self.id.as_str()).is_some_and(|rest| !rest.is_empty()) } else { id == self.id }
    }
}

/// Reason that a condition cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TestError {
    /// A regular expression.
    #[error(transparent)]
    Expression(#[from] ExpressionError),
    /// A pattern of addresses.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// It holds for all mail that the rule would drop.
    #[error("it matches everything, so the rule would drop all mail; narrow it, or write always = true in its place")]
    Everything,
}

/// A condition that could not be evaluated.
#[derive(Debug)]
pub enum Abort<T> {
    /// The condition itself is wrong.
    Wrong(TestError),
    /// An error of this host.
    Trouble(T),
}

impl<T, E: Into<TestError>> From<E> for Abort<T> {
    fn from(error: E) -> Self {
        Self::Wrong(error.into())
    }
}

impl Condition {
    /// Compiles the parts that are compiled on first use.
    ///
    /// # Errors
    /// The error of the first wrong one.
    pub fn check(&self) -> Result<(), TestError> {
        match &self.test {
            Test::Address(_, patterns) => patterns.iter().try_for_each(|pattern| Ok(pattern.built().map(|_| ())?)),
            Test::Field(_, expressions) | Test::Text(expressions) => {
                expressions.iter().try_for_each(|expression| Ok(expression.check()?))
            }
            _ => Ok(()),
        }
    }

    /// Returns whether an expression in it matches every text, or every address.
    #[must_use]
    pub fn matches_all_texts(&self) -> bool {
        match &self.test {
            Test::Address(_, patterns) => patterns.iter().any(|it| it.built().is_ok_and(Pattern::covers_all)),
            Test::Field(_, expressions) | Test::Text(expressions) => expressions.iter().any(Expression::matches_all),
            _ => false,
        }
    }

    /// Returns whether it holds for all mail, or nearly so.
    #[must_use]
    pub fn holds_for_all(&self) -> bool {
        // With another field, it asks whether the field is there.
        let is_usual = |name: &String| USUAL_FIELDS.iter().any(|usual| usual.eq_ignore_ascii_case(name));
        !matches!(&self.test, Test::Field(name, _) if !is_usual(name)) && self.matches_all_texts()
    }

    /// Returns the files that it uses.
    #[must_use]
    pub fn files(&self) -> &[PathBuf] {
        match &self.test {
            Test::Listed(_, files) => files,
            _ => &[],
        }
    }

    /// Returns its rough cost relative to others: available data first, files and the log last.
    #[must_use]
    pub fn cost(&self) -> u8 {
        match &self.test {
            Test::Larger(_) | Test::Smaller(_) | Test::Class(_) | Test::Reason(_) => 0,
            Test::Address(..) | Test::Domain(..) | Test::List(_) => 1,
            Test::Authenticated(_) => 2,
            Test::Field(..) => 3,
            Test::Text(_) => 4,
            Test::Listed(..) => 5,
            Test::Correspondent(_) | Test::ReplyToMine(_) => 6,
        }
    }

    /// Returns whether it holds for this message.
    ///
    /// # Errors
    /// [`Abort`] when it cannot be evaluated.
    pub fn holds<A: Environment>(&self, letter: &MessageContext<'_>, world: &A) -> Result<Match, Abort<A::Trouble>> {
        let known = |holds| Ok(if holds { Match::Yes } else { Match::No });
        match &self.test {
            Test::Address(whose, patterns) => {
                // A wrong pattern must show even if there is no address.
                self.check()?;
                let matches = |pattern: &AddressPattern, address| pattern.matches(address).map_err(Abort::from);
                known(any(&whose.of(letter), |address| any(patterns, |pattern| matches(pattern, address)))?)
            }
            Test::Domain(whose, domains) => {
                known(whose.of(letter).iter().any(|address| domains.iter().any(|domain| domain.covers(address))))
            }
            Test::Listed(whose, files) => {
                let listed = |file: &PathBuf, address| world.listed(file, address).map_err(Abort::Trouble);
                known(any(&whose.of(letter), |address| any(files, |file| listed(file, address)))?)
            }
            Test::List(lists) => known(letter.list().is_some_and(|id| lists.iter().any(|list| list.covers(id)))),
            Test::Field(name, expressions) => first(expressions, |one| letter.find_in_fields(name, one)),
            Test::Text(expressions) => first(expressions, |one| letter.find_in_text(one)),
            Test::Larger(size) => known(letter.size() > *size),
            Test::Smaller(size) => known(!letter.is_cut() && letter.size() < *size),
            Test::Class(classes) => known(classes.contains(&letter.verdict.class())),
            Test::Reason(reasons) => known(reasons.contains(&letter.verdict.reason)),
            Test::Authenticated(wanted) => known(wanted.iter().any(|wanted| match wanted {
                Authentication::Genuine(genuine) => letter.is_genuine() == *genuine,
                Authentication::Outcome { method, result } => letter.shows(method, result),
            })),
            Test::Correspondent(wanted) => {
                let wrote = letter.author().map(|author| world.wrote_to(author)).transpose().map_err(Abort::Trouble)?;
                known(wrote.unwrap_or(false) == *wanted)
            }
            Test::ReplyToMine(wanted) => {
                let sent = any(&letter.replies_to(), |id| world.sent(id).map_err(Abort::Trouble))?;
                known(sent == *wanted)
            }
        }
    }
}

impl AddressOf {
    fn of<'a>(self, letter: &'a MessageContext<'_>) -> Vec<&'a Address> {
        match self {
            Self::Author => letter.author().into_iter().collect(),
            Self::Sender => letter.sender().into_iter().collect(),
            Self::Recipient => letter.recipient().into_iter().collect(),
            Self::Addressee => letter.recipients().iter().collect(),
        }
    }
}

/// Returns whether `ask` returns true for one of these.
fn any<I, E>(items: &[I], ask: impl Fn(&I) -> Result<bool, E>) -> Result<bool, E> {
    for item in items {
        if ask(item)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns yes when one of these is found; unknown when one result is unknown and none is found.
fn first<T>(
    expressions: &[Expression],
    find: impl Fn(&Expression) -> Result<Match, ExpressionError>,
) -> Result<Match, Abort<T>> {
    let mut found = Match::No;
    for expression in expressions {
        match find(expression)? {
            Match::Yes => return Ok(Match::Yes),
            Match::Unknown => found = Match::Unknown,
            Match::No => {}
        }
    }
    Ok(found)
}
