//! Address lists in files: one pattern a line; `#` begins a comment. Each query reads the file block by block without
//! an index. Tens of thousands of lines take less than a millisecond this way, and the memory of one block.

use super::file::{self, FileError};
use crate::message::address::{Address, LocalCase, Pattern, PatternError};
use memchr::{memchr, memrchr};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Name of the list in the folder of the state to which `mailstamp held allow` adds senders that need no stamp.
pub const HELD_ALLOW: &str = "allow.list";

/// Bytes that are read at once. A longer line is no address.
const BLOCK: usize = 64 * 1024;

/// Error in a list.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The file cannot be read, or is not safe to read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A line that is no address pattern.
    #[error("{}: line {line}: {source}", path.display())]
    Line {
        path: PathBuf,
        line: usize,
        /// What is wrong with it.
        source: PatternError,
    },
    /// A regular expression, which only rules may have.
    #[error("{}: line {line}: a list has no regular expressions", path.display())]
    Expression { path: PathBuf, line: usize },
}

/// Returns whether a line of the list covers this address; local parts compare as `case` says. An invalid line covers
/// no address.
///
/// # Errors
/// [`FileError`] when the file cannot be read, or is not safe to read.
pub fn covers(path: &Path, address: &Address, case: LocalCase) -> Result<bool, FileError> {
    let mut list = file::open_list(path)?;
    let wanted = Wanted::new(address, case);
    let mut block = Vec::with_capacity(BLOCK);
    loop {
        let space = (BLOCK - block.len()) as u64;
        let read = list.by_ref().take(space).read_to_end(&mut block);
        let read = read.map_err(|error| FileError { path: path.to_owned(), kind: error.into() })?;
        if read == 0 {
            return Ok(wanted.is_in(&block));
        }
        let end = memrchr(b'\n', &block).map_or(0, |at| at + 1);
        if wanted.is_in(block.get(..end).unwrap_or_default()) {
            return Ok(true);
        }
        block.drain(..end);
        if block.len() == BLOCK {
            // The rest of the line is no address either: it follows a character that no address has.
            block.clear();
            block.push(0);
        }
    }
}

/// Checks a whole list, and returns the number of its patterns.
///
/// # Errors
/// [`ListError`], for the first invalid line among others.
pub fn check(path: &Path, case: LocalCase) -> Result<usize, ListError> {
    let text = file::read_list(path)?;
    let mut count = 0;
    for (line, entry) in text.lines().enumerate().map(|(at, line)| (at + 1, entry(line))) {
        if entry.is_empty() {
            continue;
        }
        if is_expression(entry) {
            return Err(ListError::Expression { path: path.to_owned(), line });
        }
        let pattern = Pattern::parse_with(entry, case);
        pattern.map_err(|source| ListError::Line { path: path.to_owned(), line, source })?;
        count += 1;
    }
    Ok(count)
}

/// Address to look for.
struct Wanted<'a> {
    address: &'a Address,
    /// As it appears on a line of its own.
    plain: String,
    case: LocalCase,
}

impl<'a> Wanted<'a> {
    fn new(address: &'a Address, case: LocalCase) -> Self {
        Self { address, plain: format!("{}@{}", address.local(), address.domain()), case }
    }

    /// Returns whether one of these lines covers the address. Nearly all lines are a plain address, which comparing the
    /// bytes can tell from this one.
    fn is_in(&self, lines: &[u8]) -> bool {
        let (mut rest, mut means_more) = (lines, false);
        let mut at = 0;
        while let Some(&byte) = rest.get(at) {
            at += 1;
            if !MEANS_MORE[usize::from(byte)] {
                continue;
            }
            if byte != b'\n' {
                means_more = true;
                continue;
            }
            let (line, after) = rest.split_at(at);
            if self.is_on(line, means_more) {
                return true;
            }
            (rest, at, means_more) = (after, 0, false);
        }
        self.is_on(rest, means_more)
    }

    fn is_on(&self, line: &[u8], means_more: bool) -> bool {
        // A file converted twice can have more than one CR before the line end.
        let line = line.trim_ascii();
        if !means_more && !line.eq_ignore_ascii_case(self.plain.as_bytes()) && !line.ends_with(b".") {
            return false;
        }
        let Ok(line) = std::str::from_utf8(line) else { return false };
        let entry = entry(line);
        !is_expression(entry)
            && Pattern::parse_with(entry, self.case).is_ok_and(|pattern| pattern.matches(self.address))
    }
}

/// The bytes by which a line ends, or that make it more than a plain address: blanks and other controls, letters beyond
/// ASCII, and the signs of comments, quotes, patterns, domain literals and expressions.
const MEANS_MORE: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let sign = matches!(byte as u8, b'#' | b'"' | b'*' | b'[' | b'/');
        table[byte] = byte <= 0x20 && byte as u8 != b'\r' || byte >= 0x7f || sign;
        byte += 1;
    }
    table
};

/// Returns the content of a line, without comment, blanks, and the byte order mark with which some programs begin a
/// file. A comment needs a blank before its `#`, so a `#` inside an address begins none.
fn entry(line: &str) -> &str {
    let line = line.trim();
    let line = line.strip_prefix('\u{feff}').unwrap_or(line);
    if memchr(b'#', line.as_bytes()).is_none() {
        return line.trim();
    }
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
        Wanted::new(&Address::parse(address).unwrap(), LocalCase::Fold).is_in(text.as_bytes())
    }

    fn file(text: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn lines_are_patterns_of_addresses() {
        let list = "\u{feff}# friends\r\nbob@y.example\r\n\r\n  Carol@Y.Example  # from school\n*@z.example\nnews+*@w.example\n\
            \"a b\"@y.example\n#dave@y.example\nerin#1@y.example\nfran@b\u{fc}cher.example\ngus@y.example.\n\
            hal@[192.0.2.1]\nida@y.example\r\r\nnot an address\n/.*/\n/@y/\n@v.example\nlast@y.example";
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
            "ida@y.example",
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
        let keeps =
            |address: &str| Wanted::new(&Address::parse(address).unwrap(), LocalCase::Keep).is_in(b"Bob@Y.example");
        assert!(keeps("Bob@y.example") && !keeps("bob@y.example"));
    }

    #[test]
    fn a_file_is_read_block_by_block() {
        let mut text: Vec<u8> = (0..20_000).flat_map(|n| format!("person{n}@y.example\r\n").into_bytes()).collect();
        // This line is no address. It fills a block, and the rest of it, read by itself, would be one.
        text.extend(vec![b'x'; BLOCK]);
        text.extend(b"end@y.example\n\xff@y.example\nlast@y.example");
        let list = file(&text);
        let covers =
            |address: &str| super::covers(list.path(), &Address::parse(address).unwrap(), LocalCase::Fold).unwrap();
        for address in (0..20_000).step_by(97).map(|n| format!("person{n}@y.example")) {
            assert!(covers(&address), "{address}");
        }
        assert!(covers("last@y.example"));
        for address in ["person20000@y.example", "end@y.example", "xend@y.example", "n1@y.example"] {
            assert!(!covers(address), "{address}");
        }
        assert!(matches!(check(list.path(), LocalCase::Fold), Err(ListError::File(_))));
        assert!(!super::covers(file(b"").path(), &Address::parse("a@b").unwrap(), LocalCase::Fold).unwrap());
        let absent = super::covers(Path::new("/nowhere/list"), &Address::parse("a@b").unwrap(), LocalCase::Fold);
        assert!(absent.unwrap_err().is_absent());
    }

    #[test]
    fn what_is_no_pattern_is_said_with_its_line() {
        let check = |text: &str| {
            let list = file(text.as_bytes());
            let name = list.path().display().to_string();
            check(list.path(), LocalCase::Fold).map_err(|error| error.to_string().replace(&name, "f"))
        };
        assert_eq!(check("# none\n\na@y.example\n*@z.example # all\n"), Ok(2));
        assert_eq!(check(""), Ok(0));
        // Like a query, which strips blanks first.
        assert_eq!(check("\r\u{feff}a@y.example\n"), Ok(1));
        assert_eq!(check("a@y.example\n\nnobody\n"), Err("f: line 3: an address needs an '@'".into()));
        assert_eq!(check("/x/\n"), Err("f: line 1: a list has no regular expressions".into()));
    }

    proptest! {
        // The fast and the slow comparison agree.
        #[test]
        fn a_line_covers_what_its_pattern_matches(line in "[abA.+,@\"*é\u{212a}]{1,3}@[aB]{1,2}\\.[cé]{1,2}\\.?", address in "[abAkK.]{1,3}@[ab]{1,2}\\.[cé]{1,2}") {
            if let Ok(address) = Address::parse(&address) {
                let by_pattern = Pattern::parse(&line).is_ok_and(|pattern| pattern.matches(&address));
                prop_assert_eq!(covers(&line, &address.to_string()), by_pattern);
            }
        }
    }
}
