//! Refresh of the key directories of trusted vendors, from the sources in the configuration. The command runs it once,
//! the daemon regularly. It also reports alarms.

use super::judge::Engine;
use crate::config::directory_sources::{self, SourcesError};
use crate::config::paths::PathsError;
use crate::directory::pinned::{self, Folder, FolderError};
use crate::directory::refresh::{self, RefreshError, RefreshResult, SourceOutcome};
use crate::log::syslog::{self, Severity};
use crate::message::header::escape_untrusted;
use crate::verdict::facts::KeyFact;

/// The longest problem text, in characters.
const LONGEST: usize = 500;

/// The result of a refresh.
#[derive(Debug)]
pub struct Refreshed {
    pub outcomes: Vec<SourceOutcome>,
    /// Alarms for the user.
    pub alarms: Vec<String>,
}

/// No source could be asked.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryRefreshError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Places(#[from] PathsError),
    /// The list of sources cannot be used.
    #[error(transparent)]
    Sources(#[from] SourcesError),
    /// The pinned documents cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The cache cannot be used, or another process uses it.
    #[error(transparent)]
    Refresh(#[from] RefreshError),
}

impl Engine {
    /// Fetches every source, stores accepted documents unless `keep` forbids it, and sends alarms to syslog.
    pub fn refresh(&self, keep: bool) -> Result<Refreshed, DirectoryRefreshError> {
        let vendors = self.context.places.vendors()?;
        let (sources, placed) = (directory_sources::read(vendors)?, pinned::placed(vendors)?);
        let outcomes = refresh::refresh(&sources, &placed, self.context.places.directories()?, self.context.now, keep)?;
        let folder = pinned::read(vendors, self.context.places.directories.as_deref(), self.context.now)?;
        let mut alarms: Vec<String> = outcomes.iter().filter_map(alert).collect();
        alarms.extend(disagreements(&folder));
        if let (true, Some(socket)) = (keep, &self.context.config.syslog) {
            for alarm in &alarms {
                // A timer has no reader of standard error. No result depends on syslog.
                let _ = syslog::send(socket, Severity::Error, &format!("directory alarm: {alarm}"));
            }
        }
        Ok(Refreshed { outcomes, alarms })
    }
}

/// Returns the problem of a source as one line.
#[must_use]
pub fn problem(outcome: &SourceOutcome) -> Option<String> {
    let problem = outcome.result.as_ref().err()?;
    Some(format!("{}: {}: {}", outcome.publisher, outcome.from, plain(&problem.what)))
}

/// Returns the problem of a source or of the document that was accepted from it, if it may be an attack.
#[must_use]
pub fn alert(outcome: &SourceOutcome) -> Option<String> {
    match &outcome.result {
        Ok(RefreshResult::Accepted { rewritten: Some(rewritten), .. }) => {
            Some(format!("{}: {}: {rewritten}", outcome.publisher, outcome.from))
        }
        Ok(_) => None,
        Err(found) => problem(outcome).filter(|_| found.alarms()),
    }
}

/// Sanitizes text from a server or a document.
/// Semicolons are reserved for this program's own text.
fn plain(what: &str) -> String {
    let pieces = what.split(';').map(|piece| escape_untrusted(piece.as_bytes(), LONGEST));
    pieces.collect::<Vec<_>>().join(";")
}

/// Returns alarms for conflicting and expired keys.
fn disagreements(folder: &Folder) -> Vec<String> {
    let mut alarms = Vec::new();
    for (vendor, keys) in folder.directory.vendors() {
        for (kid, fact) in keys {
            match fact {
                KeyFact::Conflict => alarms.push(format!("{vendor}: your sources disagree about key {kid}")),
                KeyFact::Stale => alarms.push(format!("{vendor}: the fetched directory of key {kid} has expired")),
                _ => {}
            }
        }
    }
    alarms
}
