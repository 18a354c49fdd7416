//! Errors in TOML files, in one line, since logs and mail systems show them: the position, and the problem in terms of
//! configurations.

use std::fmt;

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
        Self { at, what: unknown_key(&what).unwrap_or(what) }
    }
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

/// Replaces serde's list of all keys with the most similar key, if one is near.
fn unknown_key(message: &str) -> Option<String> {
    let mut quoted = message.strip_prefix("unknown field `")?.split('`').step_by(2);
    let (key, known) = (quoted.next()?, quoted.filter(|known| !known.is_empty()));
    let near = known.map(|known| (distance(key, known), known)).min();
    let meant = near.filter(|(distance, known)| distance * 3 <= known.len()).map(|(_, known)| known);
    Some(match meant {
        Some(known) => format!("unknown key {key:?}; did you mean {known:?}?"),
        None => message.replacen("unknown field", "unknown key", 1),
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
        assert_eq!(said("vendor"), "unknown key `vendor`, expected one of `price`, `allow`");
        assert_eq!(
            unknown_key("unknown field `x`, there are no fields"),
            Some("unknown key `x`, there are no fields".into())
        );
        assert_eq!(unknown_key("missing field `address`"), None);
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
