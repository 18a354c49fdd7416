//! Mail addresses in one canonical form, from configuration, claims, envelopes and header fields, so that two spellings
//! of one mailbox are one address. `pattern` has the patterns for the user's own addresses, `list` the lists of
//! mailboxes in header fields. Display names are left out.
//!
//! The canonical form: the local part without quotes, in normalisation form C, ASCII letters in lower case; `@`; the
//! domain as lower-case A-labels without a trailing dot, or a domain literal. Letters beyond ASCII keep their case in
//! the local part, since only the receiving host knows how it folds them.

mod list;
mod pattern;

pub use list::{addresses, addresses_up_to, clear_addresses, entries};
pub use pattern::{Pattern, PatternError, PatternPart};

use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use unicode_normalization::UnicodeNormalization;

/// Longest local part, in octets. RFC 5321 section 4.5.3.1.1 obliges every host to take 64, and discourages any limit.
/// Return paths of lists and forwarders (VERP, SRS) are longer than 64.
pub const LOCAL_MAX: usize = 255;

/// Longest domain, in octets: the limit of the DNS (RFC 1035 section 2.3.4, RFC 5321 section 4.5.3.1.2).
pub const DOMAIN_MAX: usize = 253;

/// Longest text that is parsed. It leaves space for escapes, and for letters that become shorter A-labels.
const TEXT_MAX: usize = 2048;

/// Mailbox, `local@domain`. Two addresses are equal when their canonical forms are. [`Address::same`] can also compare
/// local parts with their case.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address {
    /// Without quotes, in NFC, with its original case (RFC 5321 section 2.4: only the receiving host may fold it).
    local: String,
    domain: String,
}

/// Comparison of local parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LocalCase {
    /// `Joe@` is `joe@`, for ASCII letters: practically every host delivers so.
    #[default]
    Fold,
    /// `Joe@` is not `joe@`.
    Keep,
}

/// Reason that a text is not an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("an address needs an '@'")]
    NoAt,
    /// The local part, the domain, or the whole is too long.
    #[error("the address is too long")]
    TooLong,
    #[error("the address holds a control or invisible character (U+{:04X})", u32::from(*.0))]
    Character(char),
    /// The local part is empty or not well formed (RFC 5321 section 4.1.2, RFC 6531 section 3.3).
    #[error("the part before the '@' is not well formed")]
    Local,
    /// The domain is not well formed (RFC 5321 section 4.1.2, RFC 5890 section 2.3.2).
    #[error("the domain is not well formed")]
    Domain,
}

impl Address {
    /// Parses an address from a configuration, a claim or an envelope, without display name, comment, angle bracket,
    /// route or white space around it.
    ///
    /// # Errors
    /// [`AddressError`], with the reason.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text.len() > TEXT_MAX {
            return Err(AddressError::TooLong);
        }
        if let Some(bad) = text.chars().find(|&c| deceptive(c)) {
            return Err(AddressError::Character(bad));
        }
        // A domain contains no '@'; a quoted local part may.
        let (local, domain) = text.rsplit_once('@').ok_or(AddressError::NoAt)?;
        Ok(Self { local: canonical_local(local)?, domain: canonical_domain(domain)? })
    }

    /// Returns the local part: without quotes, in NFC, in its original case.
    #[must_use]
    pub fn local(&self) -> &str {
        &self.local
    }

    /// Returns the domain: lower-case A-labels, or a literal such as `[192.0.2.1]`.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Returns the canonical form, which hashed audiences and patterns use. The local part is unquoted; the last `@` is
    /// the one before the domain. It is for hashes and comparisons: [`parse`](Self::parse) does not read all of them.
    #[must_use]
    pub fn canonical(&self) -> String {
        format!("{}@{}", self.local.to_ascii_lowercase(), self.domain)
    }

    /// Returns the address with its local part in lower case, and quoted if necessary, to be stored and parsed again.
    #[must_use]
    pub fn normalized(&self) -> String {
        Self { local: self.local.to_ascii_lowercase(), domain: self.domain.clone() }.to_string()
    }

    /// Returns the address without the detail that many hosts allow after a `+` (RFC 5233).
    #[must_use]
    pub fn without_detail(&self) -> Self {
        match self.local.split_once('+') {
            Some((base, _)) if !base.is_empty() => Self { local: base.to_owned(), domain: self.domain.clone() },
            _ => self.clone(),
        }
    }

    /// Returns whether both name the same mailbox, with the local parts compared as `case` says.
    #[must_use]
    pub fn same(&self, other: &Self, case: LocalCase) -> bool {
        let locals = match case {
            LocalCase::Fold => self.local.eq_ignore_ascii_case(&other.local),
            LocalCase::Keep => self.local == other.local,
        };
        locals && self.domain == other.domain
    }
}

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        self.same(other, LocalCase::Fold)
    }
}

impl Eq for Address {}

impl Hash for Address {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for byte in self.local.bytes() {
            state.write_u8(byte.to_ascii_lowercase());
        }
        state.write_u8(b'@');
        self.domain.hash(state);
    }
}

/// Formats the address for a header field or for a command line after `--`: the local part is quoted if necessary, and
/// no character can end a line. Letters beyond ASCII stay as they are (RFC 6532).
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_dot_atom(&self.local) {
            f.write_str(&self.local)?;
        } else {
            f.write_str("\"")?;
            for c in self.local.chars() {
                if matches!(c, '"' | '\\') {
                    f.write_str("\\")?;
                }
                write!(f, "{c}")?;
            }
            f.write_str("\"")?;
        }
        write!(f, "@{}", self.domain)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text)
    }
}

text_form!(Address);

/// Returns a domain in its canonical form: lower-case A-labels (UTS 46, non-transitional, for labels beyond ASCII)
/// without the trailing dot; or a domain literal with its address in the shortest spelling.
///
/// # Errors
/// [`AddressError`] when it is invalid, too long, or contains a deceptive character.
pub fn canonical_domain(text: &str) -> Result<String, AddressError> {
    if text.len() > TEXT_MAX {
        return Err(AddressError::TooLong);
    }
    if let Some(bad) = text.chars().find(|&c| deceptive(c)) {
        return Err(AddressError::Character(bad));
    }
    if let Some(literal) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return canonical_literal(literal);
    }
    let ascii: Cow<'_, str> = if text.is_ascii() {
        Cow::Borrowed(text)
    } else {
        idna::domain_to_ascii_cow(text.as_bytes(), idna::AsciiDenyList::EMPTY).map_err(|_| AddressError::Domain)?
    };
    let domain = ascii.strip_suffix('.').unwrap_or(&ascii).to_ascii_lowercase();
    if domain.len() > DOMAIN_MAX {
        return Err(AddressError::TooLong);
    }
    if domain.split('.').all(is_label) { Ok(domain) } else { Err(AddressError::Domain) }
}

/// Returns a domain with the letters that its A-labels stand for (RFC 5891 section 5). It is for comparison: letters can
/// look like others.
#[must_use]
pub fn in_letters(domain: &str) -> Cow<'_, str> {
    if domain.contains("xn--") { idna::domain_to_unicode(domain).0.into() } else { domain.into() }
}

/// Returns whether it has only letters, digits and inner hyphens (RFC 5321 section 4.1.2), or the underscore, which
/// some hosts use.
fn is_label(label: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    (1..=63).contains(&label.len()) && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
}

/// Parses a literal: `192.0.2.1` or `IPv6:2001:db8::1` (RFC 5321 section 4.1.3).
fn canonical_literal(text: &str) -> Result<String, AddressError> {
    if let Ok(v4) = text.parse::<Ipv4Addr>() {
        return Ok(format!("[{v4}]"));
    }
    let (tag, rest) = text.split_once(':').ok_or(AddressError::Domain)?;
    match rest.parse::<Ipv6Addr>() {
        Ok(v6) if tag.eq_ignore_ascii_case("IPv6") => Ok(format!("[IPv6:{v6}]")),
        _ => Err(AddressError::Domain),
    }
}

/// Parses words and quoted strings joined by dots (RFC 5322 section 4.4, `obs-local-part`), and unquotes them. A dot
/// needs no atom beside it: such mailboxes exist (`joe..b@`, `joe.@`) and can be written with quotes anyway.
fn canonical_local(text: &str) -> Result<String, AddressError> {
    // NFC comes first, since it turns some letters into ASCII (U+037E into ';', U+212A into 'K').
    let text: Cow<'_, str> = if text.is_ascii() { Cow::Borrowed(text) } else { Cow::Owned(text.nfc().collect()) };
    let mut local = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    let mut word_may_begin = true;
    while let Some(c) = chars.next() {
        match c {
            '"' if word_may_begin => {
                quoted_string(&mut chars, &mut local)?;
                word_may_begin = false;
                // A quoted string is a word by itself, so only a dot or the end may follow.
                if chars.peek().is_some_and(|&next| next != '.') {
                    return Err(AddressError::Local);
                }
            }
            '.' => {
                local.push('.');
                word_may_begin = true;
            }
            c if is_atext(c) => {
                local.push(c);
                word_may_begin = false;
            }
            _ => return Err(AddressError::Local),
        }
    }
    if local.is_empty() {
        return Err(AddressError::Local);
    }
    // Quotes can have separated letters that compose.
    if !local.is_ascii() {
        local = local.nfc().collect();
    }
    if local.len() > LOCAL_MAX { Err(AddressError::TooLong) } else { Ok(local) }
}

/// Reads the rest of a quoted string after its opening quote (RFC 5322 section 3.2.4).
fn quoted_string(chars: &mut impl Iterator<Item = char>, local: &mut String) -> Result<(), AddressError> {
    while let Some(c) = chars.next() {
        match c {
            '"' => return Ok(()),
            '\\' => local.push(chars.next().ok_or(AddressError::Local)?),
            c => local.push(c),
        }
    }
    Err(AddressError::Local)
}

/// Returns whether a character is atext: RFC 5322 section 3.2.3, with RFC 6532 section 3.2.
fn is_atext(c: char) -> bool {
    !c.is_ascii() || c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c)
}

fn is_dot_atom(local: &str) -> bool {
    local.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atext))
}

/// Returns whether a character is deceptive in an address, because a reader cannot see it or takes it for another:
/// controls, every white space but the blank, bidirectional controls, zero-width and filler characters, variation
/// selectors, tags, the two other `@`, and the character for undecodable bytes. Domains that need a joiner between
/// their letters can be written as A-labels.
fn deceptive(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    c.is_control()
        || c.is_whitespace()
        || matches!(c,
            '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}'
            | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
            | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FE6B}' | '\u{FEFF}' | '\u{FF20}' | '\u{FFA0}'
            | '\u{FFF0}'..='\u{FFFF}' | '\u{E0000}'..='\u{E0FFF}')
}

#[cfg(test)]
mod tests;
