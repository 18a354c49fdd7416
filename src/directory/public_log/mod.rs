//! Public logs of the trusted vendors, as one user sees them. Each vendor's directory names the key and the last
//! checkpoint of its log; what was verified is kept in the folder `logs` of the state. Nothing here is on the path of
//! mail.
//!
//! - [`check`] compares heads, and looks for the stamps that were accepted here.
//! - [`monitor`] reads every leaf.
//! - [`editions`] follows the chain of the directories.
//! - [`evidence`] writes what a third person needs to see a problem.

pub mod check;
pub mod editions;
pub mod evidence;
pub mod monitor;
pub mod place;
pub mod problem;
pub mod state;

use super::cache::{self, Accepted, CacheError};
use super::document::{LogEntry, VendorEntry};
use super::pinned::PinnedDocuments;
use crate::time::UnixTime;
use crate::transparency::checkpoint::{Checkpoint, CheckpointError};
use crate::transparency::leaf::DAY;
use crate::transparency::note::{Note, VerifierKey};
use std::path::Path;

/// The log that one directory of a vendor names.
#[derive(Clone, Debug)]
pub struct NamedLog {
    /// Where the directory is from.
    pub from: String,
    pub log: LogEntry,
    /// The directory itself: a token.
    pub directory: String,
}

/// A checkpoint whose signature was verified, and where it is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub from: String,
    pub note: Note,
    pub checkpoint: Checkpoint,
}

impl Head {
    /// Opens a signed checkpoint.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn open(text: &str, key: &VerifierKey, from: &str) -> Result<Self, CheckpointError> {
        let note: Note = text.parse()?;
        let checkpoint = Checkpoint::open(&note, key)?;
        Ok(Self { from: from.to_owned(), note, checkpoint })
    }
}

/// Returns the logs that the directories of this vendor name: those that the user placed, and the newest of each
/// source.
///
/// # Errors
/// [`CacheError`] when the cache cannot be read.
pub fn named(
    vendor: &str,
    placed: &PinnedDocuments,
    directories: Option<&Path>,
    now: UnixTime,
) -> Result<Vec<NamedLog>, CacheError> {
    let mut logs: Vec<NamedLog> = Vec::new();
    let mut add = |from: String, vendors: Vec<VendorEntry>, directory: &str| {
        let own = vendors.into_iter().find(|entry| entry.vendor == vendor);
        if let Some(log) = own.and_then(|own| own.log).filter(|_| logs.iter().all(|log| log.from != from)) {
            logs.push(NamedLog { from, log: *log, directory: directory.to_owned() });
        }
    };
    for (path, tokens) in &placed.signed {
        for token in tokens {
            // A directory whose key is not pinned, or that is malformed, counts nowhere.
            let Ok(Ok(opened)) = placed.pinned.open(token, now) else { continue };
            if opened.publisher == vendor {
                add(path.display().to_string(), opened.content.vendors, token);
            }
        }
    }
    let records = directories.map(cache::read).transpose()?.unwrap_or_default();
    for record in records.iter().filter(|record| record.publisher == vendor && record.is_current(&placed.pinned)) {
        for source in &record.sources {
            let Some(accepted @ Accepted::Signed { directory, .. }) = &source.accepted else { continue };
            if let Ok(statement) = accepted.statement(vendor) {
                add(source.from.clone(), statement.vendors, directory);
            }
        }
    }
    Ok(logs)
}

/// Returns the date of a day (RFC 3339).
#[must_use]
pub fn date(day: u32) -> String {
    let text = UnixTime(i64::from(day) * DAY).to_string();
    text.split('T').next().unwrap_or_default().to_owned()
}
