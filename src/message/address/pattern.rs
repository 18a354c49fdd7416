//! Address patterns: for the user's own mailboxes in the configuration, and for the senders in the user's rules.

use super::{Address, AddressError, LocalCase, canonical_domain};
use regex::{Regex, RegexBuilder};
use std::fmt;
use std::str::FromStr;

/// Addresses that have little in common: an expression that matches all of them matches every address.
const UNLIKE: [&str; 3] = ["q@z.example", "7.x+y@mail-9.test", "\u{e9}-_@0.invalid"];

/// Limit in bytes for a compiled expression, and for the cache that matching fills.
const REGEX_LIMIT: usize = 1 << 20;

/// Pattern of addresses. Matching takes time linear in the address.
///
/// - `joe@example.org`: this address.
/// - `joe+*@example.org`: every tag behind the `+` (or another separator), but not the plain address.
/// - `*@example.org`: every address of the domain.
/// - `/expression/`: a regular expression that matches anywhere in the canonical address. It needs `^` and `$` to match
///   all of it.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    form: Form,
    case: LocalCase,
}

#[derive(Clone, Debug)]
enum Form {
    Exact(Address),
    /// Local parts that begin with the local part of this address.
    Prefix(Address),
    Domain(String),
    Expression(Box<Regex>),
}

/// Part of the text of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatternPart {
    /// The author of the pattern wrote it, so `*` and `/` mean something.
    Written(String),
    /// It came from outside, so it stands for itself.
    Literal {
        /// As it is written in an address.
        text: String,
        /// As [`Pattern::spelling`] has it.
        plain: String,
    },
}

impl PatternPart {
    /// Returns a part that stands for itself.
    #[must_use]
    pub fn literal(text: String) -> Self {
        Self::Literal { plain: text.clone(), text }
    }

    /// Returns a whole address that stands for itself; `local` has no quotes.
    #[must_use]
    pub fn address(local: &str, domain: &str) -> Self {
        let address = Address { local: local.to_owned(), domain: domain.to_owned() };
        Self::Literal { text: address.to_string(), plain: format!("{local}@{domain}") }
    }

    /// Returns the text, as in an address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Written(text) | Self::Literal { text, .. } => text,
        }
    }

    /// Returns a text of the same length, without the characters that would mean something. Only the `@` before a
    /// domain stays.
    fn shape(&self) -> String {
        match self {
            Self::Written(text) => text.clone(),
            Self::Literal { text, .. } => {
                let at = text.rfind('@');
                (0..text.len()).map(|byte| if Some(byte) == at { '@' } else { 'x' }).collect()
            }
        }
    }

    /// Returns the part of a regular expression that matches it. Numbers stand for the characters, and a group is
    /// around them: so it means the same behind a backslash, before a `*`, and with every flag.
    fn in_expression(&self) -> String {
        match self {
            Self::Written(text) => text.clone(),
            Self::Literal { plain, .. } => {
                let numbers: String = plain.chars().map(|c| format!("\\x{{{:x}}}", u32::from(c))).collect();
                format!("(?:{numbers})")
            }
        }
    }
}

/// Reason that a text is not a pattern.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PatternError {
    /// Not an address, apart from the `*`.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// A `*` at the wrong position. (As a character of an address it can be quoted: `"a*b"@example.org`.)
    #[error("a '*' stands for a whole local part, or for a tag behind a separator such as '+'")]
    Star,
    /// An expression without a text.
    #[error("an empty expression matches every address")]
    Empty,
    /// Not a regular expression, or too large when compiled.
    #[error("not a usable regular expression: {}", reason(.0))]
    Expression(#[source] regex::Error),
}

/// Returns the last line of the error, below the picture of the expression.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

impl Pattern {
    /// Parses a pattern; local parts compare without case.
    ///
    /// # Errors
    /// [`PatternError`], with the reason.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        Self::parse_with(text, LocalCase::Fold)
    }

    /// Parses a pattern; local parts compare as `case` says. Expressions are compiled here and not on first use: a
    /// broken one must show when the configuration is read, and not become "no match" on the mail path.
    ///
    /// # Errors
    /// [`PatternError`], with the reason.
    pub fn parse_with(text: &str, case: LocalCase) -> Result<Self, PatternError> {
        Self::from_parts(&[PatternPart::Written(text.to_owned())], case)
    }

    /// Parses a pattern of which parts came from outside. Only the written parts decide what kind of pattern it is; the
    /// others stand for themselves.
    ///
    /// # Errors
    /// [`PatternError`], with the reason.
    pub fn from_parts(parts: &[PatternPart], case: LocalCase) -> Result<Self, PatternError> {
        let text: String = parts.iter().map(PatternPart::as_str).collect();
        let shape: String = parts.iter().map(PatternPart::shape).collect();
        let form = if is_expression(&shape) {
            expression(&parts.iter().map(PatternPart::in_expression).collect::<String>(), case)?
        } else {
            form(&text, &shape)?
        };
        Ok(Self { text, form, case })
    }

    /// Returns whether the pattern matches the address.
    #[must_use]
    pub fn matches(&self, address: &Address) -> bool {
        match &self.form {
            Form::Exact(own) => own.same(address, self.case),
            Form::Domain(domain) => address.domain == *domain,
            Form::Prefix(prefix) => {
                let begin = address.local.as_bytes().get(..prefix.local.len());
                address.domain == prefix.domain
                    && begin.is_some_and(|begin| match self.case {
                        LocalCase::Fold => begin.eq_ignore_ascii_case(prefix.local.as_bytes()),
                        LocalCase::Keep => begin == prefix.local.as_bytes(),
                    })
            }
            Form::Expression(expression) => expression.is_match(&self.spelling(address)),
        }
    }

    /// Returns the address as the pattern compares it: without case in the local part, unless case counts.
    #[must_use]
    pub fn spelling(&self, address: &Address) -> String {
        match self.case {
            LocalCase::Fold => address.canonical(),
            LocalCase::Keep => format!("{}@{}", address.local, address.domain),
        }
    }

    /// Returns whether it is an expression that matches every address.
    #[must_use]
    pub fn covers_all(&self) -> bool {
        let Form::Expression(expression) = &self.form else { return false };
        UNLIKE.iter().all(|address| expression.is_match(address))
    }

    /// Returns whether it matches addresses of many people: a whole domain, or an expression.
    #[must_use]
    pub fn covers_many(&self) -> bool {
        matches!(self.form, Form::Domain(_) | Form::Expression(_))
    }

    /// Returns the address, when the pattern is exactly one. Hashed audiences can be checked against such patterns
    /// only.
    #[must_use]
    pub fn exact(&self) -> Option<&Address> {
        match &self.form {
            Form::Exact(address) => Some(address),
            _ => None,
        }
    }

    /// Returns the domain of the addresses that it matches, unless it is an expression.
    #[must_use]
    pub fn domain(&self) -> Option<&str> {
        match &self.form {
            Form::Exact(address) | Form::Prefix(address) => Some(&address.domain),
            Form::Domain(domain) => Some(domain),
            Form::Expression(_) => None,
        }
    }

    /// Returns the pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        Self::parse(text)
    }
}

fn is_expression(text: &str) -> bool {
    text.len() > 1 && text.starts_with('/') && text.ends_with('/')
}

fn expression(text: &str, case: LocalCase) -> Result<Form, PatternError> {
    if text == "//" {
        return Err(PatternError::Empty);
    }
    RegexBuilder::new(text.get(1..text.len() - 1).unwrap_or_default())
        .case_insensitive(case == LocalCase::Fold)
        .size_limit(REGEX_LIMIT)
        .dfa_size_limit(REGEX_LIMIT)
        .build()
        .map(|regex| Form::Expression(Box::new(regex)))
        .map_err(PatternError::Expression)
}

/// Parses a pattern that is no expression. `shape` is the text with other characters where it is literal.
fn form(text: &str, shape: &str) -> Result<Form, PatternError> {
    let (local_shape, _) = shape.rsplit_once('@').ok_or(AddressError::NoAt)?;
    if local_shape.starts_with('"') || !shape.contains('*') {
        return Ok(Form::Exact(Address::parse(text)?));
    }
    let local = text.get(..local_shape.len()).unwrap_or_default();
    let domain = text.get(local_shape.len() + 1..).unwrap_or_default();
    match (local_shape.strip_suffix('*'), local.strip_suffix('*')) {
        (Some(""), _) => Ok(Form::Domain(canonical_domain(domain)?)),
        // Without a separator, `joe*@` would match the neighbour `joey@`.
        (Some(shape), Some(tagged)) if shape.ends_with(['+', '-', '=', '.', '_']) && !shape.contains('*') => {
            Ok(Form::Prefix(Address::parse(&format!("{tagged}@{domain}"))?))
        }
        _ => Err(PatternError::Star),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, address: &str) -> bool {
        Pattern::parse(pattern).unwrap().matches(&Address::parse(address).unwrap())
    }

    // BP4d
    #[test]
    fn each_form_matches_what_it_says_and_nothing_else() {
        for (pattern, hits, misses) in [
            (
                "joe@example.org",
                &["JOE@EXAMPLE.ORG", "\"joe\"@example.org."][..],
                &["joe+x@example.org", "joe@sub.example.org", "xjoe@example.org"][..],
            ),
            (
                "joe+*@example.org",
                &["joe+x@example.org", "Joe+@example.org", "\"joe+a b\"@example.org"],
                &["joe@example.org", "joey@example.org", "joe+x@example.com", "jo@example.org"],
            ),
            ("joe-*@example.org", &["joe-x@example.org"], &["joe+x@example.org"]),
            (
                "*@Bücher.example",
                &["a@xn--bcher-kva.example", "\"a@b\"@BÜCHER.example"],
                &["a@sub.xn--bcher-kva.example", "a@bucher.example"],
            ),
            ("/^(joe|jim)@example\\.org$/", &["Jim@Example.ORG"], &["jima@example.org", "jim@example.org.evil.test"]),
            ("\"a*b\"@example.org", &["a*b@example.org"], &["axb@example.org"]),
        ] {
            for hit in hits {
                assert!(matches(pattern, hit), "{pattern} {hit}");
            }
            for miss in misses {
                assert!(!matches(pattern, miss), "{pattern} {miss}");
            }
        }
    }

    #[test]
    fn what_came_from_outside_is_literal() {
        let written = |text: &str| PatternPart::Written(text.to_owned());
        let literal = |text: &str| PatternPart::literal(text.to_owned());
        let build = |parts: &[PatternPart]| Pattern::from_parts(parts, LocalCase::Fold);
        let victim = Address::parse("victim@y.example").unwrap();
        for name in ["vict.m", ".*", "victim|x", "v{1}ictim", "(?i)VICTIM", "\\w+", "vic tim", "[a-z]*", "*"] {
            for (before, after) in [("/^", "@y\\.example$/"), ("/(?x)^", "@y\\.example$/"), ("", "@y.example")] {
                // Refused is as good.
                let pattern = build(&[written(before), literal(name), written(after)]);
                assert!(pattern.is_ok_and(|pattern| !pattern.matches(&victim)) || before.is_empty(), "{before}{name}");
            }
        }
        assert!(!build(&[PatternPart::address("*", "y.example")]).unwrap().matches(&victim));
        assert!(!build(&[PatternPart::literal("/victim@y.example/".to_owned())]).is_ok_and(|it| it.matches(&victim)));
        // The separator and the star are the author's.
        assert_eq!(build(&[literal("a-"), written("*@y.example")]).unwrap_err(), PatternError::Star);
        let tags = build(&[literal("a"), written("+*@"), literal("y.example")]).unwrap();
        assert!(tags.matches(&Address::parse("a+x@y.example").unwrap()) && !tags.matches(&victim));
        let own = build(&[written("/^"), PatternPart::address("a b", "y.example"), written("$/")]).unwrap();
        assert!(own.matches(&Address::parse("\"A b\"@y.example").unwrap()));
        assert!(build(&[written("/^\\"), literal("d"), written("/")]).is_err(), "half an escape");
    }

    #[test]
    fn the_case_of_local_parts_can_be_kept() {
        for pattern in ["Joe@example.org", "Joe+*@example.org", "/^Joe.*@example.org$/"] {
            let pattern = Pattern::parse_with(pattern, LocalCase::Keep).unwrap();
            let at = |local: &str| Address::parse(&format!("{local}@Example.org")).unwrap();
            let tag = if pattern.exact().is_some() { "" } else { "+x" };
            assert!(pattern.matches(&at(&format!("Joe{tag}"))), "{pattern}");
            assert!(!pattern.matches(&at(&format!("joe{tag}"))), "{pattern}");
        }
    }

    #[test]
    fn an_expression_for_every_address_is_known() {
        let covers_all = |text: &str| Pattern::parse(text).unwrap().covers_all();
        assert!(["/.*/", "/@/", "/spam|/", "/^/", "/./"].map(covers_all).iter().all(|all| *all));
        assert!(
            ["/@z[.]example$/", "/^$/", "/q/", "*@z.example", "q@z.example"].map(covers_all).iter().all(|all| !*all)
        );
    }

    #[test]
    fn bad_patterns_are_refused() {
        for bad in ["joe*@example.org", "*joe@example.org", "j*e+*@example.org", "joe@*", "joe@*.example.org", "**@a.b"]
        {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
        assert!(matches!(Pattern::parse("joe"), Err(PatternError::Address(AddressError::NoAt))));
        assert!(matches!(Pattern::parse("/(/"), Err(PatternError::Expression(_))));
        assert!(matches!(Pattern::parse("//"), Err(PatternError::Empty)));
        assert!(matches!(Pattern::parse("/(?:a{1,1000}){1,1000}/"), Err(PatternError::Expression(_))));
    }
}
