//! Folder that a vendor publishes, for any web server: its lock.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// A locked folder. The lock excludes other publishers.
#[derive(Debug)]
pub struct PublicFolder {
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
        Ok(Self { _lock: file })
    }
}
