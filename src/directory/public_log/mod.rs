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

use super::cache::{self, Accepted};
use super::document::{LogEntry, VendorEntry};
use super::pinned::{FolderError, PinnedDocuments};
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
/// source. Without any of these, the log of the directory from which the vendor came to be trusted.
///
/// # Errors
/// [`FolderError`] when the cache, or that directory, cannot be read.
pub fn named(
    vendor: &str,
    placed: &PinnedDocuments,
    directories: Option<&Path>,
    now: UnixTime,
) -> Result<Vec<NamedLog>, FolderError> {
    let mut found = Naming { vendor, placed, is_known: false, logs: Vec::new() };
    placed.signed.iter().for_each(|(path, tokens)| found.add_file(path, tokens, now));
    let records = directories.map(cache::read).transpose()?.unwrap_or_default();
    for record in records.iter().filter(|record| record.publisher == vendor && record.is_current(&placed.pinned)) {
        for source in &record.sources {
            let Some(accepted @ Accepted::Signed { directory, .. }) = &source.accepted else { continue };
            if let Ok(statement) = accepted.statement(vendor) {
                found.add(source.from.clone(), statement.vendors, directory);
            }
        }
    }
    if !found.is_known
        && let Some((path, tokens)) = placed.origin(vendor)?
    {
        // A key that signed it may have ended since.
        found.add_file(&path, &tokens, UnixTime(i64::MIN));
    }
    Ok(found.logs)
}

/// The directories of a vendor, while they are read.
struct Naming<'a> {
    vendor: &'a str,
    placed: &'a PinnedDocuments,
    /// Whether there is a directory of the vendor.
    is_known: bool,
    logs: Vec<NamedLog>,
}

impl Naming<'_> {
    fn add_file(&mut self, path: &Path, tokens: &[String], now: UnixTime) {
        for token in tokens {
            // A directory whose key is not pinned, or that is malformed, counts nowhere.
            let Ok(Ok(opened)) = self.placed.pinned.open(token, now) else { continue };
            if opened.publisher == self.vendor {
                self.add(path.display().to_string(), opened.content.vendors, token);
            }
        }
    }

    fn add(&mut self, from: String, vendors: Vec<VendorEntry>, directory: &str) {
        self.is_known = true;
        let own = vendors.into_iter().find(|entry| entry.vendor == self.vendor);
        if let Some(log) = own.and_then(|own| own.log).filter(|_| self.logs.iter().all(|log| log.from != from)) {
            self.logs.push(NamedLog { from, log: *log, directory: directory.to_owned() });
        }
    }
}

/// Returns the date of a day (RFC 3339).
#[must_use]
pub fn date(day: u32) -> String {
    let text = UnixTime(i64::from(day) * DAY).to_string();
    text.split('T').next().unwrap_or_default().to_owned()
}
