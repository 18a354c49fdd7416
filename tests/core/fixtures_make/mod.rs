//! The fixtures, made anew and compared with those in `fixtures/` byte for byte, so that they cannot rot. With
//! `MAILSTAMP_WRITE_FIXTURES=1` in the environment they are written instead. The files beside this one say what each of
//! them shows. `tests/core/fixtures.rs` tests that the program judges them as they say.

mod accepted;
mod case;
mod fetched;
mod lists;
mod own;
mod refused;
mod ruled;
mod sealed;
mod stamps;
mod unjudged;

use case::Case;
use mailstamp::verdict::class::Class;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn cases() -> Vec<Case> {
    [
        accepted::cases(),
        unjudged::cases(),
        refused::cases(),
        fetched::cases(),
        ruled::cases(),
        sealed::cases(),
        own::cases(),
        lists::cases(),
    ]
    .concat()
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// Every file in the folders of the classes, by its path below `fixtures/`.
fn committed() -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for class in Class::ALL {
        let Ok(entries) = fs::read_dir(fixtures().join(class.as_str())) else { continue };
        for entry in entries {
            let entry = entry.unwrap();
            let name = format!("{class}/{}", entry.file_name().to_str().unwrap());
            files.insert(name, fs::read(entry.path()).unwrap());
        }
    }
    files
}

fn made() -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for case in cases() {
        let message = files.insert(format!("{}.eml", case.name()), case.message.clone());
        assert!(message.is_none(), "{} is made twice", case.name());
        files.insert(format!("{}.toml", case.name()), case.to_toml().into_bytes());
    }
    files
}

fn write(made: &BTreeMap<String, Vec<u8>>, committed: &BTreeMap<String, Vec<u8>>) {
    for name in committed.keys().filter(|name| !made.contains_key(*name)) {
        fs::remove_file(fixtures().join(name)).unwrap();
    }
    for (name, bytes) in made.iter().filter(|(name, bytes)| committed.get(*name) != Some(*bytes)) {
        let path = fixtures().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

#[test]
fn the_fixtures_are_those_that_are_made_here() {
    let made = made();
    if std::env::var_os("MAILSTAMP_WRITE_FIXTURES").is_some() {
        write(&made, &committed());
    }
    let committed = committed();
    let differ: Vec<&String> =
        made.keys().chain(committed.keys()).filter(|name| made.get(*name) != committed.get(*name)).collect();
    assert!(
        differ.is_empty(),
        "{differ:#?} differ; if that is meant, MAILSTAMP_WRITE_FIXTURES=1 cargo test --test core fixtures_make writes them"
    );
}
