//! The folder of the ledger: who may write there, the lock that one process holds, and the names of the files. What
//! stands in the files is left to the others.

use super::error::LedgerError;
use crate::os::random;
use rustix::fs::{Mode, OFlags};
use std::fs::{DirBuilder, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// How often a taken lock is asked for.
const PAUSE: Duration = Duration::from_millis(10);

/// The folder.
#[derive(Clone, Debug)]
pub(super) struct Place {
    folder: PathBuf,
}

impl Place {
    /// A folder that must be there, and safe.
    pub(super) fn existing(folder: &Path) -> Result<Self, LedgerError> {
        let absent = || LedgerError::Absent { path: folder.to_owned() };
        let metadata = match std::fs::metadata(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(absent()),
            other => other.map_err(|source| failed("look at", folder, source))?,
        };
        let own = rustix::process::geteuid().as_raw();
        let what = if !metadata.is_dir() {
            Some("is not a folder".to_owned())
        } else if metadata.uid() != own {
            Some(format!("belongs to user {}, not to user {own}", metadata.uid()))
        } else if metadata.mode() & 0o077 != 0 {
            Some(format!("is open to others (mode {:04o}; chmod 700 would close it)", metadata.mode() & 0o7777))
        } else {
            None
        };
        match what {
            Some(what) => Err(LedgerError::Unsafe { path: folder.to_owned(), what }),
            None => Ok(Self { folder: folder.to_owned() }),
        }
    }

    /// A folder that is made for us alone when it is missing.
    pub(super) fn create(folder: &Path) -> Result<Self, LedgerError> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(folder).map_err(|source| failed("create", folder, source))?;
        Self::existing(folder)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file of the ledger.
    pub(super) fn ledger(&self) -> PathBuf {
        self.folder.join("ledger.redb")
    }

    /// The ledger while they are made.
    pub(super) fn unfinished(&self) -> PathBuf {
        self.folder.join("ledger.redb.new")
    }

    /// The socket of the process that has the ledger.
    pub(super) fn socket(&self) -> PathBuf {
        self.folder.join("ledger.socket")
    }

    /// The file of a signing key. A key's name holds no slash, and cannot begin the path with a dot.
    pub(super) fn key(&self, kid: &str) -> PathBuf {
        self.folder.join("keys").join(format!("key-{kid}.json"))
    }

    /// Makes the folder of the signing keys.
    pub(super) fn make_keys(&self) -> Result<(), LedgerError> {
        let keys = self.folder.join("keys");
        DirBuilder::new().recursive(true).mode(0o700).create(&keys).map_err(|source| failed("create", &keys, source))
    }

    /// Opens a file of ours that is there.
    pub(super) fn open(&self, path: &Path) -> Result<File, LedgerError> {
        open(path, OFlags::empty()).map_err(|source| failed("open", path, source))
    }

    /// Makes an empty file in the place of any other.
    pub(super) fn create_new(&self, path: &Path) -> Result<File, LedgerError> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("remove", path, error)),
            _ => {}
        }
        new_file(path)
    }

    /// Gives the finished ledger its name, and makes that durable.
    pub(super) fn commit_rename(&self) -> Result<(), LedgerError> {
        std::fs::rename(self.unfinished(), self.ledger())
            .and_then(|()| File::open(&self.folder)?.sync_all())
            .map_err(|source| failed("create", &self.ledger(), source))
    }

    /// Takes the lock; `None` while another process has it.
    pub(super) fn try_lock(&self) -> Result<Option<File>, LedgerError> {
        let path = self.folder.join("ledger.lock");
        let file = open(&path, OFlags::CREATE).map_err(|source| failed("open", &path, source))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(failed("lock", &path, source)),
        }
    }

    /// Random bytes that last, in a file of their own: made when it is missing, or was not finished.
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

    /// Waits until `attempt` gives something.
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
            thread::sleep(PAUSE);
        }
    }
}

/// Makes a new file for us alone; one that is there is not written over.
pub(super) fn new_file(path: &Path) -> Result<File, LedgerError> {
    open(path, OFlags::CREATE | OFlags::EXCL).map_err(|source| failed("create", path, source))
}

/// Makes a new file's name durable.
pub(super) fn sync_parent(path: &Path) -> Result<(), LedgerError> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|source| failed("keep", path, source))
}

/// An error of the system about this file.
pub(super) fn failed(doing: &'static str, path: &Path, source: io::Error) -> LedgerError {
    LedgerError::Io { doing, path: path.to_owned(), source }
}

fn open(path: &Path, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    Ok(rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR).map(File::from)?)
}
