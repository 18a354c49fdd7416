//! Parses the results of trusted hosts about a message's sender, in its `Authentication-Results` fields (RFC 8601). It
//! verifies nothing itself; the caller names the trusted hosts.
//!
//! Anyone can write such a field, so the boundary must have removed every field that came in under a trusted name (RFC
//! 8601 section 5). In doubt no field counts:
//!
//! - It must stand in the trusted zone: the header down to the first Received field below the topmost field of a
//!   trusted host. The fields further down were in the header when that host got the message.
//! - Its name and authserv-id must be written plainly, without comments, quotes or encoded-words.
//! - If one is malformed, none counts.
//! - A field of mailstamp itself is passed over, so that a message is judged alike with and without it.

pub mod coverage;

use super::address::{Address, canonical_domain, clear_addresses};
use super::header::Field;
use super::parse::Message;
use super::tolerant::fields_named;
use std::borrow::Cow;

/// Name of the field of RFC 8601.
pub const AUTHENTICATION_RESULTS: &str = "Authentication-Results";

/// Method of the results that mailstamp writes. It is not registered: RFC 8601 section 2.7.6 leaves such names to sites
/// that agree among themselves.
pub const STAMP_METHOD: &str = "x-digital-stamp";

/// Stands for the missing authserv-id among the trusted ones: Microsoft 365 writes its fields without one.
pub const NO_ID: &str = "-";

/// Longest field that is read, in bytes.
const FIELD: usize = 64 * 1024;
/// Limit on the outcomes returned.
const OUTCOMES: usize = 200;
/// Limit on the depth of nested comments.
const DEPTH: usize = 50;

/// Result of a trusted host: `dkim=pass header.d=example.org`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The method, in lower case: `dkim`, `spf`, `dmarc`.
    pub method: String,
    /// Its result, in lower case: `pass`, `fail`, `none`.
    pub result: String,
    /// Its subject: `header.d`, in lower case, and the value as written, without quotes.
    pub properties: Vec<(String, String)>,
}

impl Outcome {
    /// Returns the value of the property of this name, `header.d`.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// Returns whether this method passed for `domain`, or where that is enough for a domain above it. A domain may
    /// speak for those below it, never the reverse: without a list of the registries, `shop.example.org` under
    /// `example.org` cannot be told from a stranger under `co.uk`.
    #[must_use]
    pub fn passes_for(&self, domain: &str) -> bool {
        let part = |name: &str| self.property(name).and_then(domain_of);
        let verified = match self.method.as_str() {
            // RFC 7489 section 11.4: the domain of the From field.
            "dmarc" => return self.result == "pass" && part("header.from").is_some_and(|own| own == domain),
            // RFC 8601 section 2.7.1; the domain of `i` is never above that of `d`.
            "dkim" => part("header.d").or_else(|| part("header.i")),
            // RFC 8601 section 2.7.2. A pass for HELO says nothing about an address.
            "spf" => part("smtp.mailfrom"),
            _ => return false,
        };
        self.result == "pass" && verified.is_some_and(|verified| speaks_for(&verified, domain))
    }
}

/// Field of a trusted host in the trusted zone.
#[derive(Debug)]
pub struct TrustedField<'a> {
    pub field: Field<'a>,
    /// Its outcomes, unless it is malformed.
    pub outcomes: Option<Vec<Outcome>>,
}

/// Returns the fields of the trusted zone whose authserv-id is one of `trusted`, from the top.
#[must_use]
pub fn trusted_fields<'a>(message: &Message<'a>, trusted: &[String]) -> Vec<TrustedField<'a>> {
    let mut found = Vec::new();
    if trusted.is_empty() {
        return found;
    }
    for field in message.fields() {
        if field.name_is("Received") && !found.is_empty() {
            break;
        }
        if !is_plain(&field, AUTHENTICATION_RESULTS) {
            continue;
        }
        let value = field.unfolded();
        let text = String::from_utf8_lossy(&value);
        let (id, rest) = identify(text.trim_start_matches([' ', '\t']));
        let is_id = |own: &String| own.trim_end_matches('.').eq_ignore_ascii_case(id.trim_end_matches('.'));
        if !trusted.iter().any(is_id) {
            continue;
        }
        let well = value.len() <= FIELD && matches!(text, Cow::Borrowed(_));
        let outcomes = if well { parse(rest, id == NO_ID) } else { None };
        if outcomes.iter().flatten().any(|outcome| outcome.method == STAMP_METHOD) {
            continue;
        }
        found.push(TrustedField { field, outcomes });
    }
    found
}

/// Returns the outcomes in the fields of trusted hosts. There are none when one of the fields is malformed: the sender
/// influenced it, and may have hidden an unfavourable result in it.
#[must_use]
pub fn outcomes(message: &Message<'_>, trusted: &[String]) -> Vec<Outcome> {
    let read: Option<Vec<_>> = trusted_fields(message, trusted).into_iter().map(|field| field.outcomes).collect();
    read.into_iter().flatten().flatten().take(OUTCOMES).collect()
}

/// Returns whether `outcomes` authenticate mail from `domain` (its canonical form). DMARC must have passed for it. Or a
/// DKIM signature or SPF of this domain, or of one above it, passed, and DMARC did not fail.
#[must_use]
pub fn authenticates(outcomes: &[Outcome], domain: &str) -> bool {
    let dmarc = || outcomes.iter().filter(|outcome| outcome.method == "dmarc");
    // A message has one. Where there are more, a sender may have influenced the field.
    if dmarc().next().is_some() && dmarc().all(|outcome| outcome.passes_for(domain)) {
        return true;
    }
    let contradicted = dmarc().any(|outcome| matches!(outcome.result.as_str(), "pass" | "fail"));
    !contradicted && outcomes.iter().any(|outcome| outcome.passes_for(domain))
}

/// Returns whether `outcomes` authenticate the domains in the From field: see [`authenticates`]. With two
/// From fields (RFC 5322 section 3.6 allows one), or none, the answer is no, since readers show either.
#[must_use]
pub fn is_authenticated(message: &Message<'_>, outcomes: &[Outcome]) -> bool {
    authors(message).is_some_and(|authors| authors.iter().all(|author| authenticates(outcomes, author.domain())))
}

/// Returns whether `outcomes` have one with this method and result. A `pass` of DKIM, SPF or DMARC must be for the
/// domains of the From field, as in [`is_authenticated`]; other methods name no domain to compare.
#[must_use]
pub fn has_result(message: &Message<'_>, outcomes: &[Outcome], method: &str, result: &str) -> bool {
    let mut alike = outcomes.iter().filter(|outcome| outcome.method == method && outcome.result == result);
    if result != "pass" || !matches!(method, "dkim" | "spf" | "dmarc") {
        return alike.next().is_some();
    }
    let alike: Vec<&Outcome> = alike.collect();
    // Every DMARC result must say the same, as above.
    let contradicted =
        method == "dmarc" && outcomes.iter().any(|outcome| outcome.method == method && outcome.result != result);
    let passes = |author: &Address| !contradicted && alike.iter().any(|outcome| outcome.passes_for(author.domain()));
    authors(message).is_some_and(|authors| authors.iter().all(passes))
}

/// Returns the addresses of the only From field, unless other programs may read an author whom no result covers, in
/// this field or behind a lone CR in another.
#[must_use]
pub fn authors(message: &Message<'_>) -> Option<Vec<Address>> {
    let mut fields = fields_named(message, "From");
    let (field, several) = (fields.next()?, fields.next().is_some());
    let authors = clear_addresses(&field.unfolded()).filter(|authors| !several && !authors.is_empty())?;
    is_plain(&field, "From").then_some(authors)
}

/// Returns whether `verified` is `domain` or above it. No top-level domain speaks for the domains below it.
fn speaks_for(verified: &str, domain: &str) -> bool {
    let below = || domain.strip_suffix(verified).is_some_and(|rest| rest.ends_with('.'));
    verified == domain || verified.contains('.') && below()
}

/// Returns the domain of `local@domain`, `@domain` or `domain`.
fn domain_of(value: &str) -> Option<String> {
    canonical_domain(value.rsplit_once('@').map_or(value, |(_, domain)| domain)).ok()
}

/// Returns whether this is a field of this name in the spelling that every program reads alike.
fn is_plain(field: &Field<'_>, name: &str) -> bool {
    let mut bytes = field.raw().iter().peekable();
    let mut has_lone_cr = || {
        while let Some(byte) = bytes.next() {
            if *byte == b'\r' && bytes.peek() != Some(&&b'\n') {
                return true;
            }
        }
        false
    };
    field.name_is(name) && field.raw().get(name.len()) == Some(&b':') && !has_lone_cr()
}

/// Returns the authserv-id with which a field's value begins (RFC 8601 section 2.2), or [`NO_ID`] where a result stands
/// in its place, and the text to [`parse`].
fn identify(value: &str) -> (&str, Text<'_>) {
    let end = value.find([';', ' ', '\t', '(']).unwrap_or(value.len());
    let (id, rest) = value.split_at(end);
    let is_method =
        |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_/".contains(&b));
    if id.split_once('=').is_some_and(|(method, _)| is_method(method)) {
        return (NO_ID, Text { rest: value, found: true });
    }
    // An id that is spelled like the sign for none is an unknown one.
    (if id == NO_ID { "" } else { id }, Text { rest, found: false })
}

/// Returns the outcomes after the authserv-id, or of the whole value if `whole`; `None` unless all is well formed.
fn parse(mut text: Text<'_>, whole: bool) -> Option<Vec<Outcome>> {
    text.gap()?;
    if !whole && !text.at(';') && !text.rest.is_empty() && text.value(|c| c == ';')? != "1" {
        // An unknown version.
        return None;
    }
    let mut outcomes = Vec::new();
    text.gap()?;
    let mut is_first = whole;
    while !text.rest.is_empty() {
        if !std::mem::take(&mut is_first) {
            text.take(';')?;
        }
        text.gap()?;
        // Some hosts write an extra semicolon.
        if text.rest.is_empty() || text.at(';') {
            continue;
        }
        let method = text.word()?;
        text.gap()?;
        if method == "none" && (text.rest.is_empty() || text.at(';')) {
            continue;
        }
        if text.take('/').is_some() {
            text.gap()?;
            // RFC 8601 section 2.2: a version other than 1 is another method.
            if text.word()? != "1" {
                return None;
            }
            text.gap()?;
        }
        text.take('=')?;
        text.gap()?;
        let result = text.word()?;
        outcomes.push(Outcome { method, result, properties: text.properties()? });
    }
    Some(outcomes)
}

/// Rest of a field to parse.
struct Text<'a> {
    rest: &'a str,
    /// Whether the last [`Text::gap`] passed anything.
    found: bool,
}

impl Text<'_> {
    fn at(&self, c: char) -> bool {
        self.rest.starts_with(c)
    }

    /// Takes this character, if it is next.
    fn take(&mut self, c: char) -> Option<()> {
        self.rest = self.rest.strip_prefix(c)?;
        Some(())
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next()?;
        self.rest = chars.as_str();
        Some(c)
    }

    /// Skips blanks and comments (RFC 5322 section 3.2.2). `None` for a comment without an end.
    fn gap(&mut self) -> Option<()> {
        let before = self.rest.len();
        loop {
            self.rest = self.rest.trim_start_matches([' ', '\t']);
            if self.take('(').is_none() {
                self.found = self.rest.len() < before;
                return Some(());
            }
            let mut depth = 1;
            while depth > 0 {
                match self.next()? {
                    '\\' => drop(self.next()?),
                    '(' if depth == DEPTH => return None,
                    '(' => depth += 1,
                    ')' => depth -= 1,
                    _ => {}
                }
            }
        }
    }

    /// Parses a keyword, in lower case: letters, digits, hyphens (RFC 5321 section 4.1.2), and the underscores that
    /// some use.
    fn word(&mut self) -> Option<String> {
        let end =
            self.rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_').unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at_checked(end).filter(|(word, _)| !word.is_empty())?;
        self.rest = rest;
        Some(word.to_ascii_lowercase())
    }

    /// Parses a value: text and quoted strings up to a blank, a comment, or where `ends` says. A quoted string may also
    /// be a part of it, as in `"a b"@example.org`. `None` when it is empty without quotes, or has no end.
    fn value(&mut self, ends: impl Fn(char) -> bool) -> Option<String> {
        let mut value = String::new();
        let mut quoted = false;
        while let Some(c) = self.rest.chars().next() {
            if matches!(c, ' ' | '\t' | '(') || ends(c) {
                break;
            }
            self.next();
            match c {
                '"' => {
                    quoted = true;
                    loop {
                        match self.next()? {
                            '"' => break,
                            '\\' => value.push(self.next()?),
                            c => value.push(c),
                        }
                    }
                }
                // Neither a token nor an address contains them.
                ')' | '\\' => return None,
                c if c.is_control() => return None,
                c => value.push(c),
            }
        }
        (quoted || !value.is_empty()).then_some(value)
    }

    /// Parses reason and properties, up to the next semicolon or the end. A name without a type before it (`reason=`,
    /// and the `action=` that some add) does not say about whom the outcome is.
    fn properties(&mut self) -> Option<Vec<(String, String)>> {
        let mut properties = Vec::new();
        loop {
            self.gap()?;
            if self.rest.is_empty() || self.at(';') {
                return Some(properties);
            }
            if !self.found {
                return None;
            }
            let mut name = self.word()?;
            self.gap()?;
            let typed = self.take('.').is_some();
            if typed {
                self.gap()?;
                name = format!("{name}.{}", self.word()?);
                self.gap()?;
            }
            self.take('=')?;
            self.gap()?;
            let value = self.value(|c| c == ';')?;
            if typed {
                properties.push((name, value));
            }
        }
    }
}

#[cfg(test)]
mod tests;
