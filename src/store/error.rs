//! What can go wrong with a store. None of it is about a message: every variant is our own trouble, for which mail is
//! deferred. Each text names the file and says what a person can do about it.

use crate::time::UnixTime;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why a store gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process held the store for longer than we may wait.
    #[error("{path} is in use by another process; waited {} ms for it, try again", .waited.as_millis())]
    Busy {
        /// The store's file.
        path: PathBuf,
        /// For how long we waited.
        waited: Duration,
    },
    /// The disk, or the quota, is full.
    #[error("no room to write {path}; free some space, or raise the quota")]
    Full {
        /// The store's file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file or its folder cannot be written.
    #[error("{path} cannot be written; check who owns it and its folder, and whether the file system is read-only")]
    ReadOnly {
        /// The store's file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not a log of ours, or no longer a sound one.
    #[error("{path} is damaged or is not a used-serial log ({what}); restore it from a backup")]
    Damaged {
        /// The store's file.
        path: PathBuf,
        /// What was seen.
        what: String,
    },
    /// A log was kept here and its file is gone.
    #[error(
        "{path} is gone, though a used-serial log was kept there; restore it from a backup, or remove {lock} to begin \
         an empty one, to which every used stamp is fresh"
    )]
    Missing {
        /// The store's file.
        path: PathBuf,
        /// The lock file that says so.
        lock: PathBuf,
    },
    /// The file was written by another version of this program.
    #[error(
        "{path} has format {found}, and this program knows format {known}; use a version of mailstamp that knows it"
    )]
    Version {
        /// The store's file.
        path: PathBuf,
        /// The format found.
        found: u32,
        /// The format that we read and write.
        known: u32,
    },
    /// Others could have tampered with the file, or could.
    #[error("{path} {what}; it is not used until that is put right")]
    Unsafe {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The log was cleared past this stamp's end, and the clock says that the stamp is still good: the clock is behind,
    /// or was ahead when the log was cleared. Whether the stamp was used cannot be told any more.
    #[error(
        "the clock says {now}, but the used-serial log was cleared of stamps that end before {cleared}; set the clock \
         right (if it was ahead before, such stamps have to be refused by hand)"
    )]
    ClockBehind {
        /// Now, as we were told.
        now: UnixTime,
        /// The end of what was cleared.
        cleared: UnixTime,
    },
    /// The process that had the log has just let it go.
    #[error("{path} is being left by the process that had it; try again")]
    Left {
        /// The store's file.
        path: PathBuf,
    },
    /// What the process that holds the log says of its own trouble.
    #[error("{0}")]
    Told(String),
    /// Anything else that the system reported.
    #[error("cannot {doing} {path}: {source}")]
    Io {
        /// What we were doing, as a verb.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl StoreError {
    /// The same once more, for others who asked together with the one who is told.
    pub(super) fn again(&self) -> Self {
        let io = |source: &io::Error| io::Error::new(source.kind(), source.to_string());
        match self {
            Self::Busy { path, waited } => Self::Busy { path: path.clone(), waited: *waited },
            Self::Full { path, source } => Self::Full { path: path.clone(), source: io(source) },
            Self::ReadOnly { path, source } => Self::ReadOnly { path: path.clone(), source: io(source) },
            Self::Damaged { path, what } => Self::Damaged { path: path.clone(), what: what.clone() },
            Self::Missing { path, lock } => Self::Missing { path: path.clone(), lock: lock.clone() },
            Self::Version { path, found, known } => Self::Version { path: path.clone(), found: *found, known: *known },
            Self::Unsafe { path, what } => Self::Unsafe { path: path.clone(), what: what.clone() },
            Self::ClockBehind { now, cleared } => Self::ClockBehind { now: *now, cleared: *cleared },
            Self::Left { path } => Self::Left { path: path.clone() },
            Self::Told(what) => Self::Told(what.clone()),
            Self::Io { doing, path, source } => Self::Io { doing, path: path.clone(), source: io(source) },
        }
    }

    /// Sorts an error of the system.
    pub(super) fn from_io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::Full { path, source }
            }
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => Self::ReadOnly { path, source },
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                Self::Damaged { path, what: source.to_string() }
            }
            _ => Self::Io { doing, path, source },
        }
    }

    /// Sorts an error of the database.
    pub(super) fn from_redb(path: &Path, error: ::redb::Error) -> Self {
        use ::redb::Error as E;
        match error {
            E::Io(source) => Self::from_io("use", path, source),
            E::DatabaseAlreadyOpen | E::LockProtocolMismatch => {
                Self::Busy { path: path.to_owned(), waited: Duration::ZERO }
            }
            E::PreviousIo => Self::Io { doing: "use", path: path.to_owned(), source: io::Error::other(error) },
            other => Self::Damaged { path: path.to_owned(), what: other.to_string() },
        }
    }
}
