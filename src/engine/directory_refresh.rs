//! Fetching the directories of the vendors whom the user trusts, from the sources that he listed, and saying what is alarming
//! about what came: once by the command, now and then by the resident process.

use super::judge::Engine;
use crate::config::directory_sources::{self, SourcesError};
use crate::config::paths::PlacesError;
use crate::directory::pinned::{self, Folder, FolderError};
use crate::directory::refresh::{self, RefreshError, SourceOutcome};
use crate::log::syslog::{self, Severity};
use crate::message::header::escape_untrusted;
use crate::verdict::facts::KeyFact;

/// The longest piece of a problem that is told.
const LONGEST: usize = 500;

/// What came of it.
#[derive(Debug)]
pub struct Refreshed {
    /// How asking each source went.
    pub outcomes: Vec<SourceOutcome>,
    /// What the user must look at.
    pub alarms: Vec<String>,
}

/// Nothing could be asked.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryRefreshError {
    /// The configuration.
    #[error(transparent)]
    Places(#[from] PlacesError),
    /// The list of sources.
    #[error(transparent)]
    Sources(#[from] SourcesError),
    /// What the user placed.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The cache, or somebody else at it.
    #[error(transparent)]
    Refresh(#[from] RefreshError),
}

impl Engine {
    /// Asks every source, keeps what is believed unless `keep` says otherwise, and tells syslog what is alarming.
    ///
    /// # Errors
    /// [`DirectoryRefreshError`].
    pub fn refresh(&self, keep: bool) -> Result<Refreshed, DirectoryRefreshError> {
        let vendors = self.places.vendors()?;
        let (sources, placed) = (directory_sources::read(vendors)?, pinned::placed(vendors)?);
        let outcomes = refresh::refresh(&sources, &placed, self.places.directories()?, self.now, keep)?;
        let folder = pinned::read(vendors, self.places.directories.as_deref(), self.now)?;
        let mut alarms: Vec<String> = outcomes.iter().filter_map(alert).collect();
        alarms.extend(disagreements(&folder));
        if let (true, Some(socket)) = (keep, &self.config.syslog) {
            for alarm in &alarms {
                // A timer has no reader; and nothing depends on one.
                let _ = syslog::send(socket, Severity::Error, &format!("directory alarm: {alarm}"));
            }
        }
        Ok(Refreshed { outcomes, alarms })
    }
}

/// What went wrong with a source, in one line.
#[must_use]
pub fn problem(outcome: &SourceOutcome) -> Option<String> {
    let problem = outcome.result.as_ref().err()?;
    Some(format!("{}: {}: {}", outcome.publisher, outcome.from, plain(&problem.what)))
}

/// The same, if somebody may be up to something.
#[must_use]
pub fn alert(outcome: &SourceOutcome) -> Option<String> {
    problem(outcome).filter(|_| outcome.result.as_ref().is_err_and(|problem| problem.alarm))
}

/// What a server or a document said may stand in it. The semicolons are ours.
fn plain(what: &str) -> String {
    let pieces = what.split(';').map(|piece| escape_untrusted(piece.as_bytes(), LONGEST));
    pieces.collect::<Vec<_>>().join(";")
}

/// Where what is known now contradicts itself, or is past its date.
fn disagreements(folder: &Folder) -> Vec<String> {
    let mut alarms = Vec::new();
    for (vendor, keys) in folder.directory.vendors() {
        for (kid, fact) in keys {
            match fact {
                KeyFact::Conflict => alarms.push(format!("{vendor}: your sources disagree about key {kid}")),
                KeyFact::Stale => alarms.push(format!("{vendor}: what was fetched about key {kid} is past its date")),
                _ => {}
            }
        }
    }
    alarms
}
