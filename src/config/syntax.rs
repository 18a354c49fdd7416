//! Errors in TOML files, in one line, since logs and mail systems show them: the position, and the problem in terms of
//! configurations.

use crate::stamp::strict_json::unknown_field;
use std::fmt;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Keys of the configuration that are in no table, and have the name of no key in one.
const OF_THE_FILE: [&str; 13] = [
    "addresses",
    "price",
    "allow",
    "case_sensitive",
    "authserv_id",
    "trusted_authserv_ids",
    "syslog",
    "verdict_log",
    "own_mailbox_only",
    "state",
    "vendors",
    "directories",
    "rules",
];

/// Syntax error, or a value of the wrong kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// Line and column, both counted from 1, the column in characters.
    at: Option<(usize, usize)>,
    what: String,
}

impl SyntaxError {
    /// Converts the error of the parser about `text`.
    pub(super) fn new(text: &str, error: &toml::de::Error) -> Self {
        let at = error.span().map(|span| position(text, span.start));
        let what = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
        let plain = unknown_key(&what).or_else(|| wrong_value(&what)).unwrap_or(what);
        Self { at, what: plain }
    }

    /// As [`new`](Self::new), for the configuration. Explains where a key of the whole file stands in a table.
    pub(super) fn of_file(text: &str, error: &toml::de::Error) -> Self {
        let plain = Self::new(text, error);
        match error.span().and_then(|span| swallowed(text, span.start)) {
            Some((table, key, start)) => Self {
                at: Some(position(text, start)),
                what: format!("{key} follows [{table}]: write it above all tables"),
            },
            None => plain,
        }
    }
}

/// Returns the table and the key at a byte, if the key is one of the whole file, and where the key begins. In TOML, a
/// key belongs to the table above it.
fn swallowed(text: &str, at: usize) -> Option<(String, String, usize)> {
    let file = DeTable::parse(text).ok()?;
    file.get_ref().iter().find_map(|(table, item)| {
        let mut inner = item.get_ref().as_table()?.iter();
        let (key, _) = inner.find(|(key, value)| {
            OF_THE_FILE.contains(&key.get_ref().as_ref()) && (key.span().contains(&at) || value.span().contains(&at))
        })?;
        Some((table.get_ref().to_string(), key.get_ref().to_string(), key.span().start))
    })
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((line, column)) = self.at {
            write!(f, "line {line}, column {column}: ")?;
        }
        f.write_str(&self.what)
    }
}

impl std::error::Error for SyntaxError {}

/// Returns line and column of a byte.
pub(super) fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before.get(start..).unwrap_or_default().chars().count() + 1)
}

/// Returns line and column of the value of `key`, which has dots between its parts.
pub(super) fn place_of_key(text: &str, key: &str) -> Option<(usize, usize)> {
    let table = DeTable::parse(text).ok()?;
    let item = value_of(table.get_ref(), key)?;
    Some(position(text, item.span().start))
}

fn value_of<'t, 'i>(table: &'t DeTable<'i>, key: &str) -> Option<&'t Spanned<DeValue<'i>>> {
    let mut keys = key.split('.');
    let mut item = table.get(keys.next()?)?;
    for key in keys {
        item = item.get_ref().as_table()?.get(key)?;
    }
    Some(item)
}

/// Returns line and column of the string `value` in the value of `key`.
pub(super) fn locate(text: &str, key: &str, value: &str) -> Option<(usize, usize)> {
    fn find(item: &Spanned<DeValue<'_>>, value: &str) -> Option<usize> {
        match item.get_ref() {
            DeValue::String(text) => (text == value).then(|| item.span().start),
            DeValue::Array(items) => items.iter().find_map(|item| find(item, value)),
            DeValue::Table(table) => table.values().find_map(|item| find(item, value)),
            _ => None,
        }
    }
    let table = DeTable::parse(text).ok()?;
    // Within a list of tables, only the first part of the key leads on.
    let item = value_of(table.get_ref(), key).or_else(|| value_of(table.get_ref(), key.split('.').next()?))?;
    Some(position(text, find(item, value)?))
}

/// Replaces the names of Rust's types in serde's messages about a value.
fn wrong_value(message: &str) -> Option<String> {
    if let Some(rest) = message.strip_prefix("unknown variant `") {
        let (word, known) = rest.split_once("`, expected ")?;
        let known = known.strip_prefix("one of ").unwrap_or(known).replace('`', "\"").replace("\" or \"", "\", \"");
        return Some(format!("{word:?} is none of {known}"));
    }
    if let Some(key) = message.strip_prefix("missing field `") {
        return Some(format!("the key {:?} is missing", key.trim_end_matches('`')));
    }
    if message == "wanted string or table" {
        return Some("write a word in quotes".to_owned());
    }
    let rest = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "))?;
    let (found, expected) = rest.split_once(", expected ")?;
    let expected = match expected {
        "a boolean" => "true or false",
        "a string" | "string" => "text in quotes",
        "a sequence" => "a list, in brackets: [\"...\"]",
        "a map" => "a table: { key = value }",
        "socket address" => "an address with its port in quotes, as \"127.0.0.1:9465\"",
        other if other.starts_with("struct ") => "a table: { key = value }",
        other => other,
    };
    let found = match found {
        "map" => "a table or a date",
        "sequence" => "a list",
        other => match other.split_once(' ') {
            Some(("string", text)) => text,
            Some((_, text)) if text.contains('`') => text.split('`').nth(1)?,
            _ => other,
        },
    };
    Some(format!("write {expected}; {found} is not"))
}

/// Replaces serde's list of all keys with the most similar key, if one is near.
fn unknown_key(message: &str) -> Option<String> {
    let (key, known) = unknown_field(message)?;
    let near = known.into_iter().map(|known| (distance(key, known), known)).min();
    let meant = near.filter(|(distance, known)| distance * 3 <= known.len()).map(|(_, known)| known);
    Some(match meant {
        Some(known) => format!("unknown key {key:?}; did you mean {known:?}?"),
        None => message.replacen("unknown field", "unknown key", 1).replace('`', "\""),
    })
}

/// Returns the edit distance of two words: the letters to insert, remove or change.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.chars().count()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut before = i;
        let mut left = i + 1;
        for (cell, b) in row.iter_mut().skip(1).zip(other.chars()) {
            let here = (before + usize::from(a != b)).min(left + 1).min(*cell + 1);
            before = std::mem::replace(cell, here);
            left = here;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_that_was_meant_is_named() {
        let said =
            |key: &str| unknown_key(&format!("unknown field `{key}`, expected one of `price`, `allow`")).unwrap();
        assert_eq!(said("prize"), "unknown key \"prize\"; did you mean \"price\"?");
        assert_eq!(said("alow"), "unknown key \"alow\"; did you mean \"allow\"?");
        assert_eq!(said("vendor"), "unknown key \"vendor\", expected one of \"price\", \"allow\"");
        assert_eq!(
            unknown_key("unknown field `x`, there are no fields"),
            Some("unknown key \"x\", there are no fields".into())
        );
        assert_eq!(unknown_key("missing field `address`"), None);
    }

    #[test]
    fn values_are_described_without_names_of_types() {
        for (said, plain) in [
            ("invalid value: integer `300`, expected a whole number", "write a whole number; 300 is not"),
            ("invalid type: integer `9` as i128, expected a whole number", "write a whole number; 9 is not"),
            ("invalid type: string \"x\", expected a boolean", "write true or false; \"x\" is not"),
            ("invalid type: map, expected struct Rust", "write a table: { key = value }; a table or a date is not"),
            ("unknown variant `x`, expected `a` or `b`", "\"x\" is none of \"a\", \"b\""),
            ("unknown variant `x`, expected one of `a`, `b`", "\"x\" is none of \"a\", \"b\""),
            ("missing field `address`", "the key \"address\" is missing"),
        ] {
            assert_eq!(wrong_value(said).as_deref(), Some(plain));
        }
    }

    #[test]
    fn a_distance_counts_letters() {
        for (one, other, letters) in
            [("", "", 0), ("", "ab", 2), ("ab", "", 2), ("kitten", "sitting", 3), ("\u{e4}b", "ab", 1)]
        {
            assert_eq!(distance(one, other), letters, "{one} {other}");
        }
    }
}
