//! Folder that a vendor publishes, for any web server: its lock, and what killed publishers left in it.

use super::public_log::editions;
use crate::os::atomic_file;
use crate::transparency;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// A locked folder. The lock excludes other publishers.
#[derive(Debug)]
pub struct PublicFolder {
    path: PathBuf,
    _lock: File,
}

impl PublicFolder {
    /// Locks the folder, waiting for other publishers. Creates it if it is missing.
    ///
    /// # Errors
    /// The system's.
    pub fn lock(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        let file = File::options().create(true).truncate(false).write(true).open(path.join(".lock"))?;
        file.lock()?;
        Ok(Self { path: path.to_owned(), _lock: file })
    }

    /// Removes the temporary files that killed publishers left more than an hour ago. Those between the files of the
    /// public log go with its next checkpoint.
    ///
    /// # Errors
    /// The system's.
    pub fn remove_leftovers(&self) -> io::Result<()> {
        let well_known = self.path.join(".well-known");
        atomic_file::remove_leftovers(&self.path)?;
        atomic_file::remove_leftovers(&well_known)?;
        atomic_file::remove_leftovers(&well_known.join(editions::FOLDER))?;
        atomic_file::remove_leftovers(&self.path.join(transparency::PATH))
    }
}
