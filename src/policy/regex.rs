//! Regular expressions over the bytes of a message, with limits for any expression and any message: on the size of a
//! compiled expression, on the memory of a search, and on the steps that all searches in one message may take.
//!
//! The module uses regex-automata instead of regex, since most expressions are compiled for one message and used once.
//! A lazy automaton takes a tenth of the time to build that a Regex with all its engines takes. When a message makes
//! the automaton grow beyond its memory, which a sender can cause, a slower engine takes over, and there the steps
//! count.

use regex_automata::hybrid::dfa::{Config, DFA};
use regex_automata::nfa::thompson;
use regex_automata::nfa::thompson::pikevm::PikeVM;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input};
use std::cell::Cell;
use std::sync::OnceLock;

/// Longest expression, in bytes.
pub const LONGEST: usize = 4096;
/// Largest size of a compiled expression, in bytes.
const SIZE: usize = 1 << 20;
/// Memory of one search, in bytes. Nearly all searches need a hundredth.
const MEMORY: usize = 1 << 20;
/// Steps of all searches in one message; a byte read is one. About two seconds at worst.
const STEPS: u64 = 1 << 30;
/// Steps to begin a search: many small fields cost more than one large field.
const START: u64 = 1 << 13;
/// Texts that have nothing in common: an expression that matches all of them matches every text.
const UNLIKE: [&[u8]; 5] = [b"", b"q", b"Z9 0", b" -\t.", b"\xc3\xa9\n:"];
/// Steps of the slower engine for a byte and a state of the expression.
const SLOW: u64 = 4;

/// Regular expression; compiled on first use.
#[derive(Clone, Debug)]
pub struct Expression {
    text: String,
    unicode: bool,
    built: OnceLock<Result<DFA, ExpressionError>>,
}

/// Reason that an expression cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// Not a regular expression.
    #[error("not a regular expression: {0}")]
    Syntax(String),
    /// Longer than [`LONGEST`].
    #[error("the expression is longer than {LONGEST} bytes")]
    Long,
    #[error("the expression would grow beyond 1 MiB; repeat less")]
    Large,
}

/// Result of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// The expression is somewhere in the text.
    Yes,
    /// No match was found.
    No,
    /// The steps ran out before a result was known.
    Unknown,
}

/// Remaining steps for one message.
#[derive(Debug)]
pub struct StepBudget(Cell<u64>);

impl Default for StepBudget {
    fn default() -> Self {
        Self(Cell::new(STEPS))
    }
}

impl StepBudget {
    /// Takes this many steps, and returns whether there were enough.
    pub(super) fn take(&self, steps: u64) -> bool {
        let left = self.0.get().checked_sub(steps);
        self.0.set(left.unwrap_or_default());
        left.is_some()
    }
}

impl Expression {
    /// Returns the expression of this text. With `unicode`, `.`, `\w` and the like match characters in UTF-8 instead of
    /// bytes.
    #[must_use]
    pub fn new(text: &str, unicode: bool) -> Self {
        Self { text: text.to_owned(), unicode, built: OnceLock::new() }
    }

    /// Compiles it, if that was not done yet.
    pub fn check(&self) -> Result<(), ExpressionError> {
        self.built().map(|_| ())
    }

    /// Searches `text` for the expression.
    ///
    /// # Errors
    /// [`ExpressionError`] when it cannot be compiled.
    pub fn find(&self, text: &[u8], budget: &StepBudget) -> Result<Match, ExpressionError> {
        let automaton = self.built()?;
        let length = text.len() as u64;
        if !budget.take(START + length) {
            return Ok(Match::Unknown);
        }
        let found = |found| if found { Match::Yes } else { Match::No };
        let input = Input::new(text).anchored(Anchored::No).earliest(true);
        if let Ok(end) = automaton.try_search_fwd(&mut automaton.create_cache(), &input) {
            return Ok(found(end.is_some()));
        }
        // The engine ran out of memory, or met a byte that it does not support (a word boundary in Unicode).
        let states = automaton.get_nfa().states().len() as u64;
        if !budget.take(length.saturating_mul(states).saturating_mul(SLOW)) {
            return Ok(Match::Unknown);
        }
        let machine = PikeVM::new_from_nfa(automaton.get_nfa().clone()).map_err(|error| refused(&error))?;
        Ok(found(machine.is_match(&mut machine.create_cache(), input)))
    }

    /// Returns whether it matches every text, as one with an empty alternative does. Not so `^$`, which matches the
    /// empty text alone, nor an expression that cannot be compiled.
    #[must_use]
    pub fn matches_all(&self) -> bool {
        UNLIKE.iter().all(|text| self.find(text, &StepBudget::default()) == Ok(Match::Yes))
    }

    fn built(&self) -> Result<&DFA, ExpressionError> {
        self.built.get_or_init(|| self.build()).as_ref().map_err(Clone::clone)
    }

    fn build(&self) -> Result<DFA, ExpressionError> {
        if self.text.len() > LONGEST {
            return Err(ExpressionError::Long);
        }
        let syntax = syntax::Config::new().unicode(self.unicode).utf8(false);
        let limits =
            thompson::Config::new().utf8(false).shrink(false).nfa_size_limit(Some(SIZE)).which_captures(NO_CAPTURES);
        let states = thompson::Compiler::new().syntax(syntax).configure(limits).build(&self.text);
        let config = Config::new()
            .unicode_word_boundary(true)
            .cache_capacity(MEMORY)
            // The memory is at least as large as a large expression needs.
            .skip_cache_capacity_check(true)
            // One full cache is enough: a text that fills it would fill it again.
            .minimum_cache_clear_count(Some(0));
        let states = states.map_err(|error| refused(&error))?;
        DFA::builder().configure(config).build_from_nfa(states).map_err(|_| ExpressionError::Large)
    }
}

const NO_CAPTURES: thompson::WhichCaptures = thompson::WhichCaptures::None;

fn refused(error: &thompson::BuildError) -> ExpressionError {
    if error.size_limit().is_some() {
        return ExpressionError::Large;
    }
    let cause = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    // The parser's message shows the position in several lines; the problem is on the last line.
    let last = cause.lines().last().unwrap_or_default();
    ExpressionError::Syntax(last.strip_prefix("error: ").unwrap_or(last).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn find(text: &str, haystack: &[u8]) -> Match {
        Expression::new(text, false).find(haystack, &StepBudget::default()).unwrap()
    }

    #[test]
    fn expressions_are_about_bytes_as_they_are_written() {
        for (expression, haystack, found) in [
            ("pills", "cheap pills", Match::Yes),
            ("Pills", "cheap pills", Match::No),
            ("(?i)Pills", "cheap pIlls", Match::Yes),
            ("^pills", "cheap pills", Match::No),
            ("(?m)^pills$", "cheap\npills\n", Match::Yes),
            ("^$", "", Match::Yes),
            ("a.c", "a\nc", Match::No),
            ("(?s)a.c", "a\nc", Match::Yes),
            (r"\bpills\b", "cheap pillsbury", Match::No),
            ("Gr\u{fc}\u{df}e", "sch\u{f6}ne Gr\u{fc}\u{df}e", Match::Yes),
            // A letter of two bytes.
            ("^a.b$", "a\u{fc}b", Match::No),
            (r"^a\wb$", "a\u{fc}b", Match::No),
        ] {
            assert_eq!(find(expression, haystack.as_bytes()), found, "{expression} in {haystack:?}");
        }
        assert_eq!(find(r"\xff\x00", b"a\xff\0b"), Match::Yes);
    }

    #[test]
    fn an_expression_that_matches_every_text_is_known() {
        let matches_all = |text: &str| Expression::new(text, false).matches_all();
        for text in ["spam|", "|", "^", "$", "(?s).*", ".*", "x?", "^.*", "[a-z]*", "(?:)", "(spam|)|x"] {
            assert!(matches_all(text), "{text}");
        }
        for text in ["^$", "spam", ".", "^.*$", r"^\s*$", r"\b", "(", "^[a-z]*$"] {
            assert!(!matches_all(text), "{text}");
        }
    }

    #[test]
    fn characters_are_asked_for() {
        let find = |text, haystack: &[u8]| Expression::new(text, true).find(haystack, &StepBudget::default()).unwrap();
        assert_eq!(find("^a.b$", "a\u{fc}b".as_bytes()), Match::Yes);
        assert_eq!(find("(?i)\u{fc}ber", "\u{dc}BER".as_bytes()), Match::Yes);
        assert_eq!(find(r"^\w+$", "gr\u{fc}n".as_bytes()), Match::Yes);
        // The fast engine cannot say what a word is here.
        assert_eq!(find(r"\bgr\u{fc}n\b", "so gr\u{fc}n!".as_bytes()), Match::Yes);
        assert_eq!(find(r"\bgr\b", "so gr\u{fc}n!".as_bytes()), Match::No);
        assert_eq!(find(r"\w", b"\xff\xfe"), Match::No);
    }

    // Threat 14.
    #[test]
    fn what_would_be_too_large_is_refused() {
        let check = |text: &str| Expression::new(text, false).check();
        for text in ["(?:a{1,1000}){1,1000}", "(((a{100}){100}){100}){100}", r"(\w{1000}){1000}"] {
            assert_eq!(check(text), Err(ExpressionError::Large), "{text}");
        }
        assert_eq!(check(&"a".repeat(LONGEST + 1)), Err(ExpressionError::Long));
        assert_eq!(check(&"a".repeat(LONGEST)), Ok(()));
        assert_eq!(check("(a"), Err(ExpressionError::Syntax("unclosed group".into())));
        assert!(matches!(check(r"(a)\1"), Err(ExpressionError::Syntax(why)) if why.contains("backreferences")));
        assert!(matches!(check(&"(".repeat(2000)), Err(ExpressionError::Syntax(_))));
        assert!(matches!(
            Expression::new("(", false).find(b"", &StepBudget::default()),
            Err(ExpressionError::Syntax(_))
        ));
    }

    #[test]
    fn a_text_made_to_be_hard_costs_no_more_than_the_budget() {
        // Each x may begin a match: the fast engine would need a state for every set of them.
        let mut random = 88_172_645_463_325_252_u64;
        let mut next = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            if random.is_multiple_of(2) { b'x' } else { b'z' }
        };
        let hostile: Vec<u8> = (0..1 << 16).map(|_| next()).collect();
        let expression = Expression::new("(?s)x.{500}y", false);
        assert_eq!(expression.find(&hostile, &StepBudget::default()).unwrap(), Match::No);
        let small = StepBudget(Cell::new(1 << 20));
        assert_eq!(expression.find(&hostile, &small).unwrap(), Match::Unknown);
        // No step is left for the next search.
        assert_eq!(Expression::new("x", false).find(b"x", &small).unwrap(), Match::Unknown);
        let with_match = [hostile.as_slice(), b"x", &[b'z'; 500], b"y"].concat();
        assert_eq!(expression.find(&with_match, &StepBudget::default()).unwrap(), Match::Yes);
    }

    proptest! {
        #[test]
        fn both_engines_say_what_regex_says(text in "[ab.*+?()|^$\\[\\]{}12]{0,12}", haystack in "[ab\n]{0,20}") {
            let expression = Expression::new(&text, false);
            let theirs = regex::bytes::RegexBuilder::new(&text).unicode(false).build();
            prop_assert_eq!(expression.check().is_ok(), theirs.is_ok());
            if let Ok(theirs) = theirs {
                let found = if theirs.is_match(haystack.as_bytes()) { Match::Yes } else { Match::No };
                prop_assert_eq!(expression.find(haystack.as_bytes(), &StepBudget::default()), Ok(found));
                let machine = PikeVM::new_from_nfa(expression.built().unwrap().get_nfa().clone()).unwrap();
                prop_assert_eq!(machine.is_match(&mut machine.create_cache(), haystack.as_bytes()), found == Match::Yes);
            }
        }
    }
}
