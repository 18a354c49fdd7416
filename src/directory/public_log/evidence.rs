//! Evidence of a problem, as a folder with copies of what was read: a third person can verify it without this program,
//! its user, or the vendor (mailstamp-log(5)).

use super::check::Problem;
use crate::config::file;
use crate::os;
use serde_json::json;
use std::collections::BTreeMap;
use std::io;
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
        Problem::RolledBack { .. } | Problem::File(_) => String::new(),
    };
    let folder = above.join(format!("{}-{}{about}", found.vendor, problem.word()));
    let mut texts = BTreeMap::new();
    let (serial, day) = match problem {
        Problem::Missing { serial, day, .. } => (Some(serial), *day),
        Problem::Value { serial, .. } => (Some(serial), None),
        Problem::Split { one, other } => {
            texts.insert("checkpoint", one.note.to_string());
            texts.insert("checkpoint.other", other.note.to_string());
            (None, None)
        }
        Problem::RolledBack { known, served } => {
            texts.insert("checkpoint", served.note.to_string());
            texts.insert("checkpoint.other", known.note.to_string());
            (None, None)
        }
        Problem::File(_) => (None, None),
    };
    let about = json!({
        "vendor": found.vendor, "key": found.key, "problem": problem.word(), "text": problem.to_string(),
        "serial": serial, "day": day,
    });
    texts.insert("problem.json", format!("{about:#}\n"));
    if let Some(directory) = found.directory {
        texts.insert("directory.json", format!("{}\n", json!({ "directory": directory })));
    }
    if let Some(stamp) = found.stamp {
        texts.insert("stamp", format!("{stamp}\n"));
    }
    for (path, bytes) in found.files {
        let path = folder.join(path);
        os::make_folder(os::above(&path), 0o700)?;
        std::fs::write(path, bytes)?;
    }
    os::make_folder(&folder, 0o700)?;
    for (name, text) in texts {
        file::replace(&folder.join(name), &text)?;
    }
    Ok(folder)
}
