//! Lists of addresses in files: one pattern a line, `#` begins a comment. Tens of thousands of lines are looked through in
//! a millisecond or two without an index: a list is mostly asked about one address, and then forgotten.

use super::file::{self, FileError};
use crate::mail::address::{Address, LocalCase, Pattern, PatternError};
use memchr::memchr;
use std::path::{Path, PathBuf};

/// The list in the folder of the state to which `mailstamp held allow` adds: senders that need no stamp.
pub const HELD_ALLOW: &str = "allow.list";

/// A list of addresses as it stands in its file.
#[derive(Clone, Debug, Default)]
pub struct AddressList {
    text: String,
    case: LocalCase,
}

/// A list that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The file cannot be read, or is not safe to read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A line that is no pattern of addresses.
    #[error("{}: line {line}: {source}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
        /// What is wrong with it.
        source: PatternError,
    },
    /// A regular expression; for those there are rules.
    #[error("{}: line {line}: a list has no regular expressions", path.display())]
    Expression {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
    },
}

impl AddressList {
    /// Reads a list; local parts compare as `case` says.
    ///
    /// # Errors
    /// [`FileError`]. What the lines are is not looked at: see [`Self::check`].
    pub fn read(path: &Path, case: LocalCase) -> Result<Self, FileError> {
        Ok(Self { text: file::read_list(path)?, case })
    }

    /// The list of this text.
    #[must_use]
    pub fn new(text: String, case: LocalCase) -> Self {
        Self { text, case }
    }

    /// Whether a line covers this address. A line that is no pattern covers nobody.
    #[must_use]
    pub fn covers(&self, address: &Address) -> bool {
        let matches = |line: &str| {
            let entry = entry(line);
            let pattern = Pattern::parse_with(entry, self.case).ok().filter(|_| !is_expression(entry));
            pattern.is_some_and(|pattern| pattern.matches(address))
        };
        // Nearly all lines are an address and nothing else, and can be told from this one by their bytes.
        let plain = format!("{}@{}", address.local(), address.domain());
        let text = self.text();
        let mut rest = text;
        loop {
            let (line, after) = match memchr(b'\n', rest.as_bytes()) {
                Some(at) => (rest.get(..at).unwrap_or_default(), rest.get(at + 1..)),
                None => (rest, None),
            };
            let line = line.strip_suffix('\r').unwrap_or(line);
            let worth_reading = line.eq_ignore_ascii_case(&plain)
                || line.ends_with('.')
                || line.bytes().any(|byte| MEANS_MORE[usize::from(byte)]);
            if worth_reading && matches(line) {
                return true;
            }
            match after {
                Some(after) => rest = after,
                None => return false,
            }
        }
    }

    /// How many patterns there are.
    ///
    /// # Errors
    /// The first line that is none; `path` is for the error's text.
    pub fn check(&self, path: &Path) -> Result<usize, ListError> {
        let mut count = 0;
        for (line, entry) in self.entries() {
            if is_expression(entry) {
                return Err(ListError::Expression { path: path.to_owned(), line });
            }
            Pattern::parse_with(entry, self.case).map_err(|source| ListError::Line {
                path: path.to_owned(),
                line,
                source,
            })?;
            count += 1;
        }
        Ok(count)
    }

    /// What stands on the lines, with their numbers.
    fn entries(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text().lines().enumerate().map(|(at, line)| (at + 1, entry(line)));
        lines.filter(|(_, entry)| !entry.is_empty())
    }

    fn text(&self) -> &str {
        self.text.strip_prefix('\u{feff}').unwrap_or(&self.text)
    }
}

/// The bytes in a line by which it can be more than an address as it stands: blanks and other controls, letters beyond
/// ASCII, and the signs of comments, quotes, patterns, domain literals and expressions.
const MEANS_MORE: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = byte <= 0x20 || byte >= 0x7f || matches!(byte as u8, b'#' | b'"' | b'*' | b'[' | b'/');
        byte += 1;
    }
    table
};

/// What a line says: comments and blanks are gone. A `#` inside of an address begins no comment: one needs a blank before
/// it.
fn entry(line: &str) -> &str {
    let mut begins = true;
    for (at, c) in line.char_indices() {
        if c == '#' && begins {
            return line.get(..at).unwrap_or_default().trim();
        }
        begins = c.is_whitespace();
    }
    line.trim()
}

fn is_expression(entry: &str) -> bool {
    entry.len() > 1 && entry.starts_with('/') && entry.ends_with('/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn covers(text: &str, address: &str) -> bool {
        AddressList::new(text.to_owned(), LocalCase::Fold).covers(&Address::parse(address).unwrap())
    }

    #[test]
    fn lines_are_patterns_of_addresses() {
        let list = "\u{feff}# friends\r\nbob@y.example\r\n\r\n  Carol@Y.Example  # from school\n*@z.example\nnews+*@w.example\n\
            \"a b\"@y.example\n#dave@y.example\nerin#1@y.example\nfran@b\u{fc}cher.example\ngus@y.example.\n\
            hal@[192.0.2.1]\nnot an address\n/.*/\n/@y/\n@v.example\nlast@y.example";
        for address in [
            "bob@y.example",
            "BOB@Y.example",
            "carol@y.example",
            "anyone@z.example",
            "news+1@w.example",
            "\"a b\"@y.example",
            "erin#1@y.example",
            "fran@xn--bcher-kva.example",
            "gus@y.example",
            "hal@[192.0.2.1]",
            "last@y.example",
        ] {
            assert!(covers(list, address), "{address}");
        }
        for address in [
            "bo@y.example",
            "bob@y.example.org",
            "bob@in.y.example",
            "dave@y.example",
            "anyone@in.z.example",
            "news@w.example",
            "ab@y.example",
            "erin@y.example",
            "fran@bucher.example",
            "x@v.example",
            // Threat 25: a letter that looks like another.
            "b\u{43e}b@y.example",
        ] {
            assert!(!covers(list, address), "{address}");
        }
        let kept = AddressList::new("Bob@Y.example".into(), LocalCase::Keep);
        assert!(kept.covers(&Address::parse("Bob@y.example").unwrap()));
        assert!(!kept.covers(&Address::parse("bob@y.example").unwrap()));
    }

    #[test]
    fn what_is_no_pattern_is_said_with_its_line() {
        let check = |text: &str| {
            AddressList::new(text.to_owned(), LocalCase::Fold).check(Path::new("f")).map_err(|error| error.to_string())
        };
        assert_eq!(check("# none\n\na@y.example\n*@z.example # all\n"), Ok(2));
        assert_eq!(check(""), Ok(0));
        assert_eq!(check("a@y.example\n\nnobody\n"), Err("f: line 3: an address needs an '@'".into()));
        assert_eq!(check("/x/\n"), Err("f: line 1: a list has no regular expressions".into()));
    }

    proptest! {
        // The short way and the long way say the same.
        #[test]
        fn a_line_covers_what_its_pattern_matches(line in "[abA.+,@\"*é\u{212a}]{1,3}@[aB]{1,2}\\.[cé]{1,2}\\.?", address in "[abAkK.]{1,3}@[ab]{1,2}\\.[cé]{1,2}") {
            if let Ok(address) = Address::parse(&address) {
                let by_pattern = Pattern::parse(&line).is_ok_and(|pattern| pattern.matches(&address));
                prop_assert_eq!(covers(&line, &address.to_string()), by_pattern);
            }
        }
    }
}
