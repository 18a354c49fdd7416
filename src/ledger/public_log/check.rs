//! Audit of the published files: every file of the log is read, verified, and compared with the chain.

use super::error::PublicLogError;
use super::files::LogFolder;
use super::note_key;
use crate::ledger::error::LedgerError;
use crate::ledger::handle::Ledger;
use crate::transparency;
use crate::transparency::reader::{BUNDLE, LogError, Source};
use std::path::Path;

impl Ledger {
    /// Returns what is wrong with the log below `public`, one sentence each; nothing where there is none.
    ///
    /// Files that are behind the chain are no fault: the next publication writes the rest.
    ///
    /// # Errors
    /// Errors of the ledger, and of reading its key.
    pub fn check_log_files(&self, public: &Path) -> Result<Vec<String>, LedgerError> {
        let folder = LogFolder::below(public);
        if !folder.checkpoint_path().exists() {
            return Ok(Vec::new());
        }
        match self.check_files(&folder) {
            Err(LedgerError::PublicLog(problem)) => Ok(vec![problem.to_string()]),
            other => other.map(|()| Vec::new()),
        }
    }

    fn check_files(&self, folder: &LogFolder) -> Result<(), LedgerError> {
        let origin = transparency::origin(self.vendor()?);
        let missing = || PublicLogError::KeyAbsent { path: self.place().log_key() };
        let key = note_key::read(self.place(), &origin)?.ok_or_else(missing)?;
        let Some((_, checkpoint)) = folder.checkpoint(&key.verifier())? else { return Ok(()) };
        self.knows(folder, &checkpoint)?;
        let wrong = |error| PublicLogError::files(folder.path().to_owned())(error).into();
        // The tree of the entries, tile by tile: a reader of bundles alone reads no tile of level 0.
        folder.rebuild(&checkpoint, &mut |tile, bytes| {
            let path = tile.to_string();
            match folder.get(&path, BUNDLE) {
                Ok(found) if found == bytes => Ok(()),
                Ok(_) => Err(wrong(LogError::Changed { path })),
                Err(problem) => Err(wrong(LogError::Read { path, problem })),
            }
        })
    }
}
