//! Lists of addresses in files, which are searched by their bytes wherever that will do. A list covers an address
//! exactly when one of its lines, read as a pattern, does; and a list that passes the check has a pattern on every line
//! that is neither empty nor a comment.

use mailstamp::config::address_list::{check, covers};
use mailstamp::message::address::{Address, LocalCase, Pattern};
use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

/// One for each process.
static FILE: LazyLock<PathBuf> = LazyLock::new(|| std::env::temp_dir().join(format!("{}.list", std::process::id())));

static WANTED: LazyLock<Vec<Address>> = LazyLock::new(|| {
    ["Alice@x.example", "bob+a@y.example", "é@xn--bcher-kva.example", "\"a#b\"@[192.0.2.1]"]
        .map(|text| Address::parse(text).expect("an address"))
        .into()
});

/// Checks one input.
pub fn run(text: &[u8]) {
    fs::write(&*FILE, text).expect("a folder for temporary files");
    for case in [LocalCase::Fold, LocalCase::Keep] {
        let lines = || text.split(|&b| b == b'\n').filter_map(|line| std::str::from_utf8(line).ok()).map(entry);
        let patterns: Vec<Pattern> = lines().filter_map(|line| pattern(line, case)).collect();
        for address in WANTED.iter() {
            let covered = covers(&FILE, address, case).expect("a list");
            assert_eq!(covered, patterns.iter().any(|pattern| pattern.matches(address)), "{address} {case:?}");
        }
        if let Ok(count) = check(&FILE, case) {
            assert_eq!(count, patterns.len());
            assert!(lines().all(|line| line.is_empty() || pattern(line, case).is_some()));
        }
    }
}

/// A line without its comment, which begins with `#` at its beginning or after a blank.
fn entry(line: &str) -> &str {
    let line = line.trim();
    let line = line.strip_prefix('\u{feff}').unwrap_or(line);
    let begins = |at: &usize| line[..*at].chars().next_back().is_none_or(char::is_whitespace);
    let comment = line.match_indices('#').map(|(at, _)| at).find(begins);
    line[..comment.unwrap_or(line.len())].trim()
}

/// Returns the pattern of a line. A list has no regular expressions.
fn pattern(line: &str, case: LocalCase) -> Option<Pattern> {
    let expression = line.len() > 1 && line.starts_with('/') && line.ends_with('/');
    Pattern::parse_with(line, case).ok().filter(|_| !expression)
}
