//! Folder of the ledger: its permissions, the lock that one process holds, and the names of the files. Other modules
//! define their contents.

use super::error::{CREATE, LedgerError};
use crate::directory::public_log::editions;
use crate::os::{self, atomic_file, file_lock, random, safe_open};
use crate::transparency;
use rustix::fs::OFlags;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// Delay between attempts to get the lock.
const RETRY_DELAY: Duration = Duration::from_millis(10);

/// The folder.
#[derive(Clone, Debug)]
pub(super) struct LedgerPaths {
    folder: PathBuf,
}

impl LedgerPaths {
    /// Returns an existing folder with safe permissions.
    pub(super) fn existing(folder: &Path) -> Result<Self, LedgerError> {
        let absent = || LedgerError::Absent { path: folder.to_owned() };
        let metadata = match fs::metadata(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(absent()),
            other => other.map_err(|source| failed("look at", folder, source))?,
        };
        let own = rustix::process::geteuid().as_raw();
        let what = if !metadata.is_dir() {
            Some("not a folder".to_owned())
        } else if metadata.uid() != own {
            Some(format!("belongs to user {}, expected {own}", metadata.uid()))
        } else if metadata.mode() & 0o077 != 0 {
            Some(format!("unsafe permissions: mode {:04o}, expected 0700; chmod 700", metadata.mode() & 0o7777))
        } else {
            None
        };
        match what {
            Some(what) => Err(LedgerError::Unsafe { path: folder.to_owned(), what }),
            None => Ok(Self { folder: folder.to_owned() }),
        }
    }

    /// Creates the folder for this user alone if it is missing.
    pub(super) fn create(folder: &Path) -> Result<Self, LedgerError> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(folder).map_err(|source| failed(CREATE, folder, source))?;
        Self::existing(folder)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the path of the ledger's file.
    pub(super) fn ledger(&self) -> PathBuf {
        self.folder.join("ledger.redb")
    }

    /// Returns the folder of the published directory and log.
    pub(super) fn public(&self) -> PathBuf {
        self.folder.join("public")
    }

    /// Returns the folder of what a web server publishes at known paths (RFC 8615).
    pub(super) fn well_known(&self) -> PathBuf {
        self.public().join(".well-known")
    }

    /// Returns the path of the file while the ledger is created.
    pub(super) fn unfinished(&self) -> PathBuf {
        self.folder.join("ledger.redb.new")
    }

    /// Returns the path of the file while the ledger is restored.
    pub(super) fn unrestored(&self) -> PathBuf {
        self.folder.join("ledger.redb.restored")
    }

    /// Returns whether the ledger was lost: keys, a public log or editions are here, and nothing began to create them.
    pub(super) fn has_remains(&self) -> bool {
        let has_keys = fs::read_dir(self.folder.join("keys")).is_ok_and(|mut files| files.next().is_some());
        let has_log = self.public().join(transparency::PATH).exists();
        let is_left = has_keys || has_log || self.well_known().join(editions::FOLDER).exists();
        is_left && !self.ledger().exists() && !self.unfinished().exists()
    }

    /// Returns the path of the socket of the process that has the ledger.
    pub(super) fn socket(&self) -> PathBuf {
        self.folder.join("ledger.socket")
    }

    /// Returns the path of a signing key's file.
    ///
    /// A key's name contains no slash, so the path stays in the folder.
    pub(super) fn key(&self, kid: &str) -> PathBuf {
        self.folder.join("keys").join(format!("key-{kid}.json"))
    }

    /// Returns the path of the key that signs the checkpoints of the public log.
    pub(super) fn log_key(&self) -> PathBuf {
        self.folder.join("keys").join("log-key.txt")
    }

    /// Creates the folder of the signing keys.
    pub(super) fn make_keys(&self) -> Result<(), LedgerError> {
        let keys = self.folder.join("keys");
        DirBuilder::new().recursive(true).mode(0o700).create(&keys).map_err(|source| failed(CREATE, &keys, source))
    }

    /// Opens an existing file.
    pub(super) fn open(&self, path: &Path) -> Result<File, LedgerError> {
        open(path, OFlags::empty()).map_err(|source| failed("open", path, source))
    }

    /// Creates an empty file, and replaces any other at this path.
    pub(super) fn create_new(&self, path: &Path) -> Result<File, LedgerError> {
        self.remove(path)?;
        new_file(path)
    }

    /// Removes a file, if it is there.
    pub(super) fn remove(&self, path: &Path) -> Result<(), LedgerError> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path, error)),
            _ => Ok(()),
        }
    }

    /// Renames the finished ledger to its name, durably.
    pub(super) fn commit_rename(&self, finished: &Path) -> Result<(), LedgerError> {
        atomic_file::rename(finished, &self.ledger())
            .and_then(|()| os::sync_folder(&self.folder))
            .map_err(|source| failed(CREATE, &self.ledger(), source))
    }

    /// Acquires the lock; `None` while another process has it.
    pub(super) fn try_lock(&self) -> Result<Option<File>, LedgerError> {
        let path = self.folder.join("ledger.lock");
        let file = open(&path, OFlags::CREATE).map_err(|source| failed("open", &path, source))?;
        let locked = file_lock::try_lock(&file).map_err(|source| failed("lock", &path, source))?;
        Ok(locked.then_some(file))
    }

    /// Returns the stored secret; creates it if its file is missing or incomplete.
    pub(super) fn secret(&self) -> Result<[u8; 32], LedgerError> {
        let path = self.folder.join("forms.secret");
        let mut secret = [0; 32];
        if open(&path, OFlags::empty()).is_ok_and(|mut file| file.read_exact(&mut secret).is_ok()) {
            return Ok(secret);
        }
        let fail = |source| failed("write", &path, source);
        random::fill(&mut secret).map_err(fail)?;
        let mut file = self.create_new(&path)?;
        file.write_all(&secret).and_then(|()| file.sync_all()).map_err(fail)?;
        Ok(secret)
    }

    /// Repeats `attempt` until it returns a value, at most for `wait`.
    pub(super) fn wait<T>(
        &self,
        wait: Duration,
        mut attempt: impl FnMut() -> Result<Option<T>, LedgerError>,
    ) -> Result<T, LedgerError> {
        let began = Instant::now();
        loop {
            if let Some(got) = attempt()? {
                return Ok(got);
            }
            if began.elapsed() >= wait {
                return Err(LedgerError::Busy { path: self.folder.clone(), waited: began.elapsed() });
            }
            thread::sleep(RETRY_DELAY);
        }
    }
}

/// Creates a file for this user alone; never overwrites one.
pub(super) fn new_file(path: &Path) -> Result<File, LedgerError> {
    open(path, OFlags::CREATE | OFlags::EXCL).map_err(|source| failed(CREATE, path, source))
}

/// Makes the name of a new file durable.
pub(super) fn sync_parent(path: &Path) -> Result<(), LedgerError> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    os::sync_folder(folder).map_err(|source| failed("keep", path, source))
}

/// Wraps an error of the system about this file.
pub(super) fn failed(doing: &'static str, path: &Path, source: io::Error) -> LedgerError {
    LedgerError::Io { doing, path: path.to_owned(), source }
}

fn open(path: &Path, flags: OFlags) -> io::Result<File> {
    Ok(safe_open::file(path, OFlags::RDWR | flags)?)
}
