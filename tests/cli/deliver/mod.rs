//! `mailstamp deliver` and its held mail: every message ends in one folder, whole, or stays with the mail system. This
//! holds for every message, and for every fault of the program, the disk and the folders.

mod held;
mod killed;
mod messages;
mod troubles;

use crate::support::Home;
use std::fs;
use std::path::{Path, PathBuf};

/// Where mail goes unless a test says otherwise.
fn maildir_of(home: &Home) -> PathBuf {
    home.file("Maildir")
}

/// The files that a reader of this folder sees, each with its content.
fn seen(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = |part: &str| fs::read_dir(folder.join(part)).into_iter().flatten().flatten();
    let files = entries("new").chain(entries("cur"));
    files.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

/// The one message that a reader of this folder sees.
#[track_caller]
fn only(folder: &Path) -> Vec<u8> {
    let mut files = seen(folder);
    assert_eq!(files.len(), 1, "{} holds {:?}", folder.display(), files);
    files.remove(0).1
}
