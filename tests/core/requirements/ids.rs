//! Every requirement of a part that has landed is named by a test that checks it. The statements are those of T. P.
//! Baker's *digital stamps*: BC are its numbered constraints, BP the steps of its protocol, BK its section on key
//! pairs, BX its other text. E are those of ImagineNation's *eMstamp*.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The requirements of the filter, the boundary, the sender's side, the vendor's service, directories, grants,
/// revocations, automatic replies, the ledger, correspondents' own keys, and a gateway with its bank.
const LANDED: &[&str] = &[
    "BC1", "BC2", "BC3", "BC4", "BC5", "BC6a", "BC6b", "BC7", "BC8", "BC9", "BC9.1", "BC9.2", "BC9.3", "BC10a",
    "BC10b", "BC11", "BC12a", "BC12b", "BC13", "BC14", "BC15a", "BC15b", "BC15c", "BC15d", "BC15e", "BC16", "BC17",
    "BC18", "BP1a", "BP1b", "BP1c", "BP2a", "BP2b", "BP2c", "BP2d", "BP2e", "BP2f", "BP3a", "BP3b", "BP3c", "BP3d",
    "BP3e", "BP3f", "BP4a", "BP4b", "BP4c", "BP4d", "BP4e", "BP4f", "BP4g", "BP4h", "BP4i", "BP4j", "BP4k", "BP4l",
    "BP5a", "BP5b", "BP5c", "BK1", "BK2", "BK3", "BK4", "BK5", "BK6", "BK7", "BX1", "BX2", "BX3", "BX4", "E1", "E2",
    "E3", "E4", "E5", "E6", "E7", "E8", "E9", "E10", "E11", "E12", "E13", "E14", "E15", "E16", "E17", "E18", "E19",
    "E20", "E21", "E22",
];

/// Returns the files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Returns the ids of requirements that the comments of a test file name.
fn ids(text: &str) -> impl Iterator<Item = &str> {
    let comments = text.lines().filter_map(|line| line.split_once("//").map(|(_, comment)| comment));
    let words = comments.flat_map(|comment| comment.split(|c: char| !c.is_ascii_alphanumeric() && c != '.'));
    words.map(|word| word.trim_end_matches('.')).filter(|word| {
        let begins = ["BC", "BP", "BK", "BX"].iter().find_map(|part| word.strip_prefix(part));
        let number = word.strip_prefix('E').filter(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()));
        number.is_some() || begins.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    })
}

#[test]
fn every_requirement_of_a_landed_part_has_a_test() {
    let tests = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"));
    let this = Path::new(file!()).file_name();
    let texts: Vec<String> = tests
        .iter()
        .filter(|path| path.extension().is_some_and(|it| it == "rs") && path.file_name() != this)
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let named: BTreeSet<&str> = texts.iter().flat_map(|text| ids(text)).collect();
    let missing: Vec<_> = LANDED.iter().filter(|id| !named.contains(*id)).collect();
    assert!(missing.is_empty(), "no test names {missing:?}");
    let unknown: Vec<_> = named.iter().filter(|id| !LANDED.contains(*id)).collect();
    assert!(unknown.is_empty(), "there is no requirement {unknown:?}");
}

#[test]
fn ids_are_read_from_comments_alone() {
    let text = "// BC9.1: a, BP4b, E14. See RFC 2047, BKx, E, E2E, EHLO.\n    /// (BX2)\nlet it = \"BC1\"; // BC6a\n";
    assert_eq!(ids(text).collect::<Vec<_>>(), ["BC9.1", "BP4b", "E14", "BX2", "BC6a"]);
}
