//! Removal of the files of the log that no reader needs any more: partial files whose full ones are there (C2SP
//! tlog-tiles), and what killed publications left.

use super::files::LogFolder;
use crate::ledger::error::LedgerError;
use crate::ledger::files::failed;
use crate::os::atomic_file;
use crate::transparency::merkle;
use crate::transparency::tile::{Level, Tile, WIDTH};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

impl LogFolder {
    /// Removes the partial files whose full ones are there, but not those that a reader of the checkpoint before, with
    /// `before` leaves, may be about to read. Removes temporary files that are more than an hour old.
    pub(super) fn tidy(&self, before: u64) -> Result<(), LedgerError> {
        let mut open = vec![self.path().join("tile")];
        while let Some(folder) = open.pop() {
            self.tidy_folder(&folder, before, &mut open).map_err(|source| failed("tidy", &folder, source))?;
        }
        Ok(())
    }

    fn tidy_folder(&self, folder: &Path, before: u64, open: &mut Vec<PathBuf>) -> io::Result<()> {
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        let mut partial = Vec::new();
        for entry in entries {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                open.push(path);
            } else if atomic_file::is_leftover(&entry) {
                atomic_file::remove(&path)?;
            } else {
                let relative = path.strip_prefix(self.path()).ok().and_then(Path::to_str);
                partial.extend(relative.and_then(Tile::parse).filter(|tile| tile.width < WIDTH));
            }
        }
        let is_over = |tile: &Tile| {
            let full = Tile { width: WIDTH, ..*tile };
            !is_of(*tile, before) && self.path().join(full.to_string()).exists()
        };
        partial.retain(is_over);
        partial.iter().try_for_each(|tile| atomic_file::remove(&self.path().join(tile.to_string())))?;
        if folder.extension().is_some_and(|ending| ending == "p") {
            // Fails while files are in it.
            let _ = fs::remove_dir(folder);
        }
        Ok(())
    }
}

/// Returns whether a partial file is one of the right edge of a tree of this size.
fn is_of(tile: Tile, size: u64) -> bool {
    match tile.level {
        Level::Entries => merkle::last_bundle(size) == Some(tile),
        Level::Hashes(level) => merkle::edge(size, level) == Some(tile),
    }
}
