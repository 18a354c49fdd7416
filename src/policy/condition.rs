//! The conditions of rules, and what it costs to ask each: a rule asks the cheapest first, so that files and the log are
//! opened only when nothing else stands in the way.

use super::context::MessageContext;
use super::regex::{Expression, ExpressionError, Match};
use crate::message::address::{Address, LocalCase, Pattern, PatternError, canonical_domain};
use crate::verdict::class::Class;
use crate::verdict::reason::Reason;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// What the rules ask of the world.
pub trait Environment {
    /// Our own trouble in answering.
    type Trouble;

    /// Whether the user wrote to this address.
    ///
    /// # Errors
    /// When nobody can say now.
    fn wrote_to(&self, address: &Address) -> Result<bool, Self::Trouble>;

    /// Whether the user sent the message with this Message-ID.
    ///
    /// # Errors
    /// When nobody can say now.
    fn sent(&self, message_id: &str) -> Result<bool, Self::Trouble>;

    /// Whether the list in this file covers the address.
    ///
    /// # Errors
    /// When nobody can say now.
    fn listed(&self, file: &Path, address: &Address) -> Result<bool, Self::Trouble>;
}

/// One condition, as it stands in a rule.
#[derive(Clone, Debug)]
pub struct Condition {
    /// The key under which it stands; with the field's name for one on a field.
    pub key: String,
    /// What stands there, as it was written.
    pub text: String,
    /// On which line.
    pub line: usize,
    /// What it asks. Of several entries one has to hold.
    pub test: Test,
}

/// What a condition asks.
#[derive(Clone, Debug)]
pub enum Test {
    /// An address is one of these.
    Address(AddressOf, Vec<AddressPattern>),
    /// An address is in one of these domains, or below it.
    Domain(AddressOf, Vec<Domain>),
    /// An address is on one of these lists.
    Listed(AddressOf, Vec<PathBuf>),
    /// The message comes through one of these mailing lists.
    List(Vec<ListPattern>),
    /// A field of this name has one of these in it.
    Field(String, Vec<Expression>),
    /// The first text has one of these in it.
    Text(Vec<Expression>),
    /// It has more bytes than this.
    Larger(u64),
    /// It has fewer bytes than this.
    Smaller(u64),
    /// It has one of these classes.
    Class(Vec<Class>),
    /// It has one of these reasons.
    Reason(Vec<Reason>),
    /// Trusted hosts found one of these.
    Authenticated(Vec<Authentication>),
    /// Whether the user wrote to its author.
    Correspondent(bool),
    /// Whether it answers a message of the user's.
    ReplyToMine(bool),
}

/// Whose address is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressOf {
    /// The author's: the first in From.
    Author,
    /// The envelope sender's.
    Sender,
    /// That of this delivery.
    Recipient,
    /// Any in To and Cc.
    Addressee,
}

/// What trusted hosts may have found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// Whether the From field's domain is genuine.
    Genuine(bool),
    /// This result of this method.
    Outcome {
        /// `dkim`.
        method: String,
        /// `pass`.
        result: String,
    },
}

/// A pattern of addresses. Regular expressions among them are built when they are first used.
#[derive(Clone, Debug)]
pub struct AddressPattern {
    text: String,
    case: LocalCase,
    built: OnceLock<Result<Pattern, PatternError>>,
}

impl AddressPattern {
    /// The pattern of this text.
    ///
    /// # Errors
    /// [`PatternError`], but for regular expressions only when it is first used, or in [`Condition::check`].
    pub fn new(text: &str, case: LocalCase) -> Result<Self, PatternError> {
        let pattern = Self { text: text.to_owned(), case, built: OnceLock::new() };
        let expression = text.len() > 1 && text.starts_with('/') && text.ends_with('/');
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

/// A domain with all below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain(String);

impl Domain {
    /// The domain of this name; `None` when it is none.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        canonical_domain(text).ok().map(Self)
    }

    fn covers(&self, address: &Address) -> bool {
        address.domain().strip_suffix(self.0.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }
}

/// A mailing list by its identifier, or all below one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListPattern {
    /// In lower case; with a dot in front where `below`.
    id: String,
    below: bool,
}

impl ListPattern {
    /// `talk.lists.example`, or `*.lists.example` for all below that; `None` when it is neither.
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

/// Why a condition cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TestError {
    /// A regular expression.
    #[error(transparent)]
    Expression(#[from] ExpressionError),
    /// A pattern of addresses.
    #[error(transparent)]
    Pattern(#[from] PatternError),
}

/// A condition was not answered.
#[derive(Debug)]
pub enum Abort<T> {
    /// The condition itself is wrong.
    Wrong(TestError),
    /// Our own trouble.
    Trouble(T),
}

impl<T, E: Into<TestError>> From<E> for Abort<T> {
    fn from(error: E) -> Self {
        Self::Wrong(error.into())
    }
}

impl Condition {
    /// Builds what is built on first use only.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), TestError> {
        match &self.test {
            Test::Address(_, patterns) => patterns.iter().try_for_each(|pattern| Ok(pattern.built().map(|_| ())?)),
            Test::Field(_, expressions) | Test::Text(expressions) => {
                expressions.iter().try_for_each(|expression| Ok(expression.check()?))
            }
            _ => Ok(()),
        }
    }

    /// The files that it asks.
    #[must_use]
    pub fn files(&self) -> &[PathBuf] {
        match &self.test {
            Test::Listed(_, files) => files,
            _ => &[],
        }
    }

    /// What it costs to ask, roughly and beside the others: what is known first, files and the log last.
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

    /// Whether it holds for this message.
    ///
    /// # Errors
    /// [`Abort`] when it cannot be answered.
    pub fn holds<A: Environment>(&self, letter: &MessageContext<'_>, world: &A) -> Result<Match, Abort<A::Trouble>> {
        let known = |holds| Ok(if holds { Match::Yes } else { Match::No });
        match &self.test {
            Test::Address(whose, patterns) => {
                // A wrong pattern shows whether there is an address or not.
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

/// Whether `ask` says yes to one of these.
fn any<I, E>(items: &[I], ask: impl Fn(&I) -> Result<bool, E>) -> Result<bool, E> {
    for item in items {
        if ask(item)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Yes when one of these is found; unknown when one is not known, and none is found.
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
