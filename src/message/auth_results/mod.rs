//! What the hosts that the user trusts found out about a message's sender: the outcomes in its `Authentication-Results`
//! fields (RFC 8601). Nothing is verified here; who is trusted, the caller says.
//!
//! Anybody can write such a field, so the boundary must have removed every field that came in under a trusted name
//! (RFC 8601 section 5). Beyond that, in doubt nothing counts: every trusted field must be well formed as a whole, and stand
//! where the boundary's own stand, above the first Received field that follows the topmost trusted one. What stands below
//! was in the header when the boundary got the message.

use super::address::{Address, canonical_domain};
use super::parse::Message;
use super::result_headers::AUTHENTICATION_RESULTS;
use std::borrow::Cow;

/// The longest field that is read, in bytes.
const FIELD: usize = 64 * 1024;
/// The most outcomes that are returned.
const OUTCOMES: usize = 200;
/// How deep comments may stand in one another.
const DEPTH: usize = 50;

/// One finding of a trusted host: `dkim=pass header.d=example.org`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The method, in lower case: `dkim`, `spf`, `dmarc`.
    pub method: String,
    /// What it came to, in lower case: `pass`, `fail`, `none`.
    pub result: String,
    /// What it is about: `header.d`, in lower case, and its value as it was written, quotes gone.
    pub properties: Vec<(String, String)>,
}

impl Outcome {
    /// The value of the property of this name, `header.d`.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// Whether it is this method's pass, and the domain that was verified is `domain`, or above it where that is enough:
    /// a domain may speak for those below it, never the other way round, since without a list of the registries nobody can
    /// tell `shop.example.org` under `example.org` from a stranger under `co.uk`.
    #[must_use]
    pub fn passes_for(&self, domain: &str) -> bool {
        let part = |name: &str| self.property(name).and_then(domain_of);
        let verified = match self.method.as_str() {
            // RFC 7489 section 11.4: the domain of the From field.
            "dmarc" => return self.result == "pass" && part("header.from").is_some_and(|own| own == domain),
            // RFC 8601 section 2.7.1; the domain of `i` is never above that of `d`.
            "dkim" => part("header.d").or_else(|| part("header.i")),
            // RFC 8601 section 2.7.2. What passed for HELO says nothing of an address.
            "spf" => part("smtp.mailfrom"),
            _ => return false,
        };
        self.result == "pass" && verified.is_some_and(|verified| speaks_for(&verified, domain))
    }
}

/// The outcomes in the fields of `message` whose authserv-id is one of `trusted`, from the top.
#[must_use]
pub fn outcomes(message: &Message<'_>, trusted: &[String]) -> Vec<Outcome> {
    let mut found = Vec::new();
    if trusted.is_empty() {
        return found;
    }
    let mut reached = false;
    for field in message.fields() {
        if field.name_is("Received") && reached {
            break;
        }
        if !field.name_is(AUTHENTICATION_RESULTS) {
            continue;
        }
        let value = field.unfolded();
        let text = String::from_utf8_lossy(&value);
        let Some((id, rest)) = identify(&text) else { continue };
        if trusted.iter().any(|own| own.trim_end_matches('.').eq_ignore_ascii_case(id.trim_end_matches('.'))) {
            reached = true;
            match parse(rest).filter(|_| value.len() <= FIELD && matches!(text, Cow::Borrowed(_))) {
                Some(outcomes) => found.extend(outcomes),
                // The sender had a hand in it, and may have hidden there what speaks against him.
                None => return Vec::new(),
            }
        }
    }
    found.truncate(OUTCOMES);
    found
}

/// Whether `outcomes` show that mail from `domain` (its canonical form) is genuine: DMARC passed for it; or a DKIM signature
/// or SPF of its own domain, or of one above it, passed, and DMARC did not fail.
#[must_use]
pub fn authenticates(outcomes: &[Outcome], domain: &str) -> bool {
    let dmarc = || outcomes.iter().filter(|outcome| outcome.method == "dmarc");
    // There is one for a message. Where there are more, a sender may have had a hand in the field.
    if dmarc().next().is_some() && dmarc().all(|outcome| outcome.passes_for(domain)) {
        return true;
    }
    let contradicted = dmarc().any(|outcome| matches!(outcome.result.as_str(), "pass" | "fail"));
    !contradicted && outcomes.iter().any(|outcome| outcome.passes_for(domain))
}

/// Whether `outcomes` show that the message is from the domains that its From field names: see [`authenticates`]. Of a
/// message with two From fields (RFC 5322 section 3.6 allows one), or none, nothing is known: readers show either.
#[must_use]
pub fn is_authenticated(message: &Message<'_>, outcomes: &[Outcome]) -> bool {
    authors(message).is_some_and(|authors| authors.iter().all(|author| authenticates(outcomes, author.domain())))
}

/// Whether `outcomes` hold one of this method and result. A `pass` of DKIM, SPF or DMARC has to be one for the domains of
/// the From field, as in [`genuine`]; nothing else names a domain that could be compared.
#[must_use]
pub fn has_result(message: &Message<'_>, outcomes: &[Outcome], method: &str, result: &str) -> bool {
    let mut alike = outcomes.iter().filter(|outcome| outcome.method == method && outcome.result == result);
    if result != "pass" || !matches!(method, "dkim" | "spf" | "dmarc") {
        return alike.next().is_some();
    }
    let alike: Vec<&Outcome> = alike.collect();
    // As in [`authenticates`], every DMARC result has to say the same.
    let contradicted =
        method == "dmarc" && outcomes.iter().any(|outcome| outcome.method == method && outcome.result != result);
    let passes = |author: &Address| !contradicted && alike.iter().any(|outcome| outcome.passes_for(author.domain()));
    authors(message).is_some_and(|authors| authors.iter().all(passes))
}

/// The addresses of the one From field.
fn authors(message: &Message<'_>) -> Option<Vec<Address>> {
    let several = message.fields().filter(|field| field.name_is("From")).nth(1).is_some();
    Some(message.authors()).filter(|authors| !several && !authors.is_empty())
}

/// Whether `verified` is `domain` or above it. No top-level domain speaks for all below it.
fn speaks_for(verified: &str, domain: &str) -> bool {
    let below = || domain.strip_suffix(verified).is_some_and(|rest| rest.ends_with('.'));
    verified == domain || verified.contains('.') && below()
}

/// The domain of `local@domain`, `@domain` or `domain`.
fn domain_of(value: &str) -> Option<String> {
    canonical_domain(value.rsplit_once('@').map_or(value, |(_, domain)| domain)).ok()
}

/// The authserv-id of a field's value, and what follows it (RFC 8601 section 2.2).
fn identify(value: &str) -> Option<(String, Text<'_>)> {
    let mut text = Text { rest: value, found: true };
    text.gap()?;
    let id = text.value(|c| matches!(c, ';' | '=' | ','))?;
    text.gap()?;
    Some((id, text))
}

/// The outcomes behind the authserv-id; `None` unless all of it is well formed.
fn parse(mut text: Text<'_>) -> Option<Vec<Outcome>> {
    if !text.at(';') && !text.rest.is_empty() && text.value(|c| c == ';')? != "1" {
        // A version that is not known.
        return None;
    }
    let mut outcomes = Vec::new();
    text.gap()?;
    while !text.rest.is_empty() {
        text.take(';')?;
        text.gap()?;
        // Some write a semicolon too many.
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

/// What is left to read of a field.
struct Text<'a> {
    rest: &'a str,
    /// Whether the last [`Text::gap`] passed anything.
    found: bool,
}

impl Text<'_> {
    fn at(&self, c: char) -> bool {
        self.rest.starts_with(c)
    }

    /// This character, if it is next.
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

    /// Blanks and comments (RFC 5322 section 3.2.2). `None` for a comment without an end.
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

    /// A keyword, in lower case: letters, digits, hyphens (RFC 5321 section 4.1.2), and the underscores that some use.
    fn word(&mut self) -> Option<String> {
        let end =
            self.rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_').unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at_checked(end).filter(|(word, _)| !word.is_empty())?;
        self.rest = rest;
        Some(word.to_ascii_lowercase())
    }

    /// A value: text and quoted strings up to a blank, a comment, or where `ends` says. A quoted string may also be a part
    /// of it, as in `"a b"@example.org`. `None` when it is empty, without quotes, or has no end.
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
                // Neither a token nor an address has them.
                ')' | '\\' => return None,
                c if c.is_control() => return None,
                c => value.push(c),
            }
        }
        (quoted || !value.is_empty()).then_some(value)
    }

    /// Reason and properties, up to the next semicolon or the end. A name without a type before it (`reason=`, and the
    /// `action=` that some add) says nothing of whom the outcome is about.
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
