//! TXT records of a vendor's keys: an index at `_stamp.<vendor>`, and one record for each key at
//! `<kid>._stamp.<vendor>`. This file parses and formats the texts, and formats the lines of a zone file.
//!
//! The records have no signature of the vendor: only DNSSEC protects them.

use super::document::{KeyEntry, Status};
use std::collections::BTreeMap;

/// Start of every text; other texts belong to other programs.
const VERSION: &str = "stamp1";
/// The longest character-string of a TXT record (RFC 1035 section 3.3).
const STRING: usize = 255;
/// The longest label of a name (RFC 1035 section 2.3.4).
const LABEL: usize = 63;
/// TTL of a record: an hour, in seconds.
const TTL: u32 = 3600;

/// Record at `_stamp.<vendor>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyIndex {
    /// Version of the document with these keys.
    pub version: u64,
    /// Time after which they are stale (RFC 3339).
    pub expires: String,
    /// Names of the keys.
    pub kids: Vec<String>,
}

/// Error of a text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// It does not begin with `v=stamp1`.
    #[error("not a stamp record")]
    Foreign,
    #[error("stamp record: {0:?} is missing or malformed")]
    Part(&'static str),
    /// A key's name is not a label of a domain name.
    #[error("key name {0:?} is not allowed in DNS: a label has at most 63 characters")]
    Label(String),
}

/// Returns the name of the index.
#[must_use]
pub fn index_name(vendor: &str) -> String {
    format!("_stamp.{vendor}.")
}

/// Returns the name of a key's record.
#[must_use]
pub fn key_name(vendor: &str, kid: &str) -> String {
    format!("{kid}._stamp.{vendor}.")
}

impl KeyIndex {
    /// Formats the text of the record.
    #[must_use]
    pub fn text(&self) -> String {
        format!("v={VERSION}; n={}; e={}; keys={}", self.version, self.expires, self.kids.join(","))
    }

    /// Parses a text.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        let parts = parts(text)?;
        let part = |name| parts.get(name).copied().ok_or(TextError::Part(name));
        Ok(Self {
            version: part("n")?.parse().map_err(|_| TextError::Part("n"))?,
            expires: part("e")?.to_owned(),
            kids: parts
                .get("keys")
                .copied()
                .unwrap_or_default()
                .split(',')
                .map(str::trim)
                .filter(|kid| !kid.is_empty())
                .map(str::to_owned)
                .collect(),
        })
    }
}

impl KeyEntry {
    /// Formats the text of the record. The text repeats the key's name, since names of DNS ignore case.
    #[must_use]
    pub fn text(&self) -> String {
        let status = match self.status {
            Status::Active => "active",
            Status::VerifyOnly => "verify-only",
            Status::Revoked => "revoked",
        };
        let mut text = format!("v={VERSION}; kid={}; k={}; s={status}", self.kid, self.key);
        for (name, time) in [("since", &self.since), ("nb", &self.not_before), ("na", &self.not_after)] {
            if let Some(time) = time {
                text.push_str(&format!("; {name}={time}"));
            }
        }
        text
    }

    /// Parses a text.
    pub fn parse_text(text: &str) -> Result<Self, TextError> {
        let parts = parts(text)?;
        let part = |name| parts.get(name).copied().ok_or(TextError::Part(name));
        let time = |name| parts.get(name).copied().map(str::to_owned);
        Ok(Self {
            kid: part("kid")?.to_owned(),
            key: part("k")?.to_owned(),
            status: match parts.get("s").copied() {
                None | Some("active") => Status::Active,
                Some("verify-only") => Status::VerifyOnly,
                Some("revoked") => Status::Revoked,
                Some(_) => return Err(TextError::Part("s")),
            },
            since: time("since"),
            not_before: time("nb"),
            not_after: time("na"),
        })
    }
}

/// Formats the lines of a zone file for these keys, one record each.
///
/// # Errors
/// [`TextError::Label`] for a key with a name that does not fit.
pub fn lines(vendor: &str, index: &KeyIndex, keys: &[KeyEntry]) -> Result<String, TextError> {
    let line = |name: &str, text: &str| format!("{name} {TTL} IN TXT {}\n", quoted(text));
    let mut lines = line(&index_name(vendor), &index.text());
    for key in keys {
        if key.kid.split('.').any(|label| label.is_empty() || label.len() > LABEL) {
            return Err(TextError::Label(key.kid.clone()));
        }
        lines.push_str(&line(&key_name(vendor, &key.kid), &key.text()));
    }
    Ok(lines)
}

/// Formats quoted character-strings, split at the maximum length.
fn quoted(text: &str) -> String {
    let strings = text.as_bytes().chunks(STRING).map(|chunk| {
        let text = String::from_utf8_lossy(chunk).replace('\\', "\\\\").replace('"', "\\\"");
        format!("\"{text}\"")
    });
    strings.collect::<Vec<_>>().join(" ")
}

/// Parses the parts `name=value` between semicolons.
fn parts(text: &str) -> Result<BTreeMap<&str, &str>, TextError> {
    let mut pieces = text.split(';').map(str::trim).filter(|piece| !piece.is_empty());
    if pieces.next().and_then(|first| first.strip_prefix("v=")) != Some(VERSION) {
        return Err(TextError::Foreign);
    }
    let mut parts = BTreeMap::new();
    for piece in pieces {
        let (name, value) = piece.split_once('=').ok_or(TextError::Part("="))?;
        if parts.insert(name.trim(), value.trim()).is_some() {
            return Err(TextError::Part("="));
        }
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> KeyEntry {
        KeyEntry {
            kid: "2026q4".into(),
            key: "k4.public.A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg".into(),
            status: Status::Revoked,
            since: Some("2026-12-01T00:00:00Z".into()),
            not_before: None,
            not_after: Some("2027-04-01T00:00:00Z".into()),
        }
    }

    #[test]
    fn texts_come_back_as_they_were() {
        assert_eq!(KeyEntry::parse_text(&key().text()).unwrap(), key());
        let index =
            KeyIndex { version: 7, expires: "2027-01-01T00:00:00Z".into(), kids: vec!["a".into(), "b.c".into()] };
        assert_eq!(KeyIndex::parse(&index.text()).unwrap(), index);
        let later = "v=stamp1;kid=a;k=x;later=1;";
        assert_eq!(KeyEntry::parse_text(later).unwrap().status, Status::Active);
    }

    #[test]
    fn wrong_texts_are_told_from_foreign_ones() {
        assert_eq!(KeyEntry::parse_text("v=spf1 -all"), Err(TextError::Foreign));
        assert_eq!(KeyEntry::parse_text(""), Err(TextError::Foreign));
        assert_eq!(KeyEntry::parse_text("v=stamp1; kid=a"), Err(TextError::Part("k")));
        assert_eq!(KeyEntry::parse_text("v=stamp1; kid=a; k=x; s=new"), Err(TextError::Part("s")));
        assert_eq!(KeyEntry::parse_text("v=stamp1; kid=a; kid=b; k=x"), Err(TextError::Part("=")));
        assert_eq!(KeyIndex::parse("v=stamp1; n=x; e=y"), Err(TextError::Part("n")));
    }

    #[test]
    fn lines_are_quoted_and_split_at_255() {
        let kids: Vec<String> = (0..60).map(|n| format!("key{n:03}")).collect();
        let index = KeyIndex { version: 1, expires: "2027-01-01T00:00:00Z".into(), kids: kids.clone() };
        let lines = lines("v.example", &index, &[key()]).unwrap();
        let (first, second) = lines.trim_end().split_once('\n').unwrap();
        let strings: Vec<&str> = first.split('"').skip(1).step_by(2).collect();
        assert!(first.starts_with("_stamp.v.example. 3600 IN TXT \"v=stamp1; n=1;"), "{first}");
        assert_eq!(strings.iter().map(|s| s.len()).collect::<Vec<_>>(), [255, index.text().len() - 255]);
        assert_eq!(KeyIndex::parse(&strings.concat()).unwrap().kids, kids);
        assert_eq!(second, format!("2026q4._stamp.v.example. 3600 IN TXT \"{}\"", key().text()));
        let long = KeyEntry { kid: "k".repeat(64), ..key() };
        assert!(matches!(super::lines("v.example", &index, &[long]), Err(TextError::Label(_))));
    }
}
