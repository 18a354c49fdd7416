//! Evidence of a problem, as a folder with copies of what was read: a third person can verify it without this program,
//! its user, or the vendor (mailstamp-log(5)).

use super::editions;
use super::problem::Problem;
use super::state::KnownEdition;
use crate::config::file;
use crate::os;
use crate::os::atomic_file::{self, Durability};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What a problem was found with.
#[derive(Debug)]
pub struct Found<'a> {
    pub vendor: &'a str,
    /// The key of the log.
    pub key: &'a str,
    /// The vendor's signed directory, which names that key.
    pub directory: Option<&'a str>,
    /// The files of the log that were read.
    pub files: &'a BTreeMap<String, Vec<u8>>,
    /// The stamp's token, if its message was found.
    pub stamp: Option<&'a str>,
}

/// Writes the evidence of a problem into a new folder below `above`. Returns the folder.
///
/// # Errors
/// The system's.
pub fn write(above: &Path, problem: &Problem, found: &Found<'_>) -> io::Result<PathBuf> {
    let about = match problem {
        Problem::Missing { serial, .. } | Problem::Value { serial, .. } => format!("-{serial}"),
        Problem::Split { other, .. } => format!("-{}", other.checkpoint.size),
        Problem::Forked { now, .. } => format!("-{}", now.version),
        Problem::RolledBack { .. } | Problem::File(_) | Problem::Unread { .. } | Problem::Unwitnessed(_) => {
            String::new()
        }
    };
    let folder = above.join(format!("{}-{}{about}", found.vendor, problem.word()));
    let mut texts = BTreeMap::new();
    let (serial, day) = match problem {
        Problem::Missing { serial, day, .. } => (Some(serial), *day),
        Problem::Value { serial, .. } => (Some(serial), None),
        Problem::Split { one, other } => {
            texts.insert("checkpoint".to_owned(), one.note.to_string());
            texts.insert("checkpoint.other".to_owned(), other.note.to_string());
            (None, None)
        }
        Problem::RolledBack { known, served } => {
            texts.insert("checkpoint".to_owned(), served.note.to_string());
            texts.insert("checkpoint.other".to_owned(), known.note.to_string());
            (None, None)
        }
        Problem::Forked { known, now, between } => {
            let document = |edition: &KnownEdition| format!("{}\n", json!({ "directory": edition.directory }));
            texts.insert("directory.json".to_owned(), document(now));
            texts.insert("directory.other.json".to_owned(), document(known));
            for (version, text) in between {
                texts.insert(format!("editions/{}", editions::file_name(*version)), text.clone());
            }
            (None, None)
        }
        Problem::File(_) | Problem::Unread { .. } | Problem::Unwitnessed(_) => (None, None),
    };
    let about = json!({
        "vendor": found.vendor, "key": found.key, "problem": problem.word(), "text": problem.to_string(),
        "serial": serial, "day": day,
    });
    texts.insert("problem.json".to_owned(), format!("{about:#}\n"));
    if let Some(directory) = found.directory.filter(|_| !texts.contains_key("directory.json")) {
        texts.insert("directory.json".to_owned(), format!("{}\n", json!({ "directory": directory })));
    }
    if let Some(stamp) = found.stamp {
        texts.insert("stamp".to_owned(), format!("{stamp}\n"));
    }
    for (path, bytes) in found.files {
        let path = folder.join(path);
        os::make_folder(os::above(&path), 0o700)?;
        atomic_file::replace(&path, 0o600, Durability::Cached, |file| file.write_all(bytes))?;
    }
    os::make_folder(&folder, 0o700)?;
    for (name, text) in texts {
        let path = folder.join(name);
        os::make_folder(os::above(&path), 0o700)?;
        file::replace(&path, &text)?;
    }
    Ok(folder)
}
