//! The committed seeds of the fuzz targets, and the fixtures, through the checks of each target. Exploring is
//! `fuzz/run`, by hand: it needs a build tree of its own and never ends.

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

#[path = "../../fuzz/src/lib.rs"]
mod targets;

/// Every file below a folder.
fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let (mut open, mut found) = (vec![folder.to_owned()], BTreeSet::new());
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            found.insert(path);
        }
    }
    found
}

fn replay(target: &str, run: fn(&[u8])) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let corpus = root.join("fuzz/corpus").join(target);
    assert!(corpus.is_dir(), "fuzz/corpus/{target} is not there");
    let seeds = files(&corpus);
    assert!(!seeds.is_empty(), "fuzz/corpus/{target} is empty");
    for seed in seeds.into_iter().chain(files(&root.join("fixtures"))) {
        let input = fs::read(&seed).unwrap();
        assert!(catch_unwind(|| run(&input)).is_ok(), "{target} fails on {}", seed.display());
    }
}

/// One test for each target; and the targets that are named here are those of `fuzz/Cargo.toml`.
macro_rules! replayed {
    ($($target:ident)*) => {
        $(#[test] fn $target() { replay(stringify!($target), targets::$target::run); })*

        #[test]
        fn every_target_is_replayed() {
            let manifest = include_str!("../../fuzz/Cargo.toml");
            let targets = manifest.lines().filter_map(|line| line.trim().strip_prefix("{ name = \"")?.split('"').next());
            assert_eq!(targets.collect::<Vec<_>>(), [$(stringify!($target)),*]);
        }
    };
}

replayed! {
    address allow_list announcement authentication claims configuration delivery delivery_report directory edit emstamp_line
    encoding frame judgement lmtp mbox message meter_token milter proof reply result_field row rule seal sealed server_reply stamp
    submission token vcard zone
}
