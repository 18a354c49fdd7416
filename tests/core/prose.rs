//! The prose of comments, manual, messages and pages for contributors: sentences have a noun as their subject
//! (CONTRIBUTING.md). What a reader cannot see, the messages of the fixtures, is left out.

use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Words that stand where a noun should.
const PRONOUNS: [&str; 7] = ["he", "him", "his", "himself", "whoever", "nobody", "somebody"];

/// What is read. `tests/core/prose.rs` itself names the words.
const READ: [&str; 18] = [
    "src",
    "tests",
    "benches",
    "fuzz/src",
    "docs",
    "man",
    "rules",
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "RELEASING.md",
    "debian",
    "packaging",
    "CHANGELOG.md",
    "Cargo.toml",
    "fixtures/README.md",
    "fixtures/state/README.md",
];

/// Lines with the Unix user `nobody`, and texts of others that are quoted.
fn is_quotation(line: &str) -> bool {
    ["NOBODY", "whoever@x.example", "User=nobody", "\"nobody\"", "`nobody`", "user nobody", "nobody:"]
        .iter()
        .any(|quoted| line.contains(quoted))
}

/// The pronouns of a line, as whole words in any case.
fn pronouns(line: &str) -> Vec<String> {
    let words = line.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '-');
    words.map(str::to_lowercase).filter(|word| PRONOUNS.contains(&word.as_str())).collect()
}

#[test]
fn sentences_have_a_noun_as_their_subject() {
    let mut open: Vec<PathBuf> = READ.iter().map(|name| Path::new(ROOT).join(name)).collect();
    let (mut found, mut files) = (Vec::new(), 0);
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let Ok(text) = fs::read_to_string(&path) else { continue };
        if path.ends_with(file!()) {
            continue;
        }
        files += 1;
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !is_quotation(line)) {
            found.extend(pronouns(line).iter().map(|word| format!("{}:{}: {word}", path.display(), at + 1)));
        }
    }
    assert!(files > 500, "only {files} files were read");
    assert!(found.is_empty(), "{} pronouns:\n{}", found.len(), found.join("\n"));
}

#[test]
fn pronouns_are_found_as_whole_words() {
    assert_eq!(pronouns("/// Nobody, and whoever he is."), ["nobody", "whoever", "he"]);
    assert_eq!(pronouns("fn a_test_that_nobody_reads(); // this, the, history"), Vec::<String>::new());
}
