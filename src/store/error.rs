//! Errors of a store. No variant is about a message: each is a local failure, and mail is deferred. Each text names the
//! file and what the user can do.

use crate::os::safe_dir::PathError;
use crate::time::UnixTime;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why a store gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process held the store for longer than the wait limit.
    #[error("{path}: in use by another process: waited {} ms; try again", .waited.as_millis())]
    Busy {
        /// The store's file.
        path: PathBuf,
        /// How long the caller waited.
        waited: Duration,
    },
    /// The disk, or the quota, is full.
    #[error("no room to write {path}; free some space, or raise the quota or the file size limit (ulimit -f)")]
    Full {
        /// The store's file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file or its folder cannot be written.
    #[error("{path}: cannot be written; check who owns it and its folder, and whether the file system is read-only")]
    ReadOnly {
        /// The store's file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file is not a used log, or is corrupt.
    #[error(
        "{path}: damaged, or not a file of mailstamp: {what}; restore it from a backup, or remove it and {path}.lock \
         to begin an empty one, which forgets every stamp"
    )]
    Damaged {
        /// The store's file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// The file of an existing log is gone.
    #[error(
        "{path}: missing, though a used log was kept there; restore it from a backup, or remove {lock} to begin an \
         empty one, to which every used stamp is fresh"
    )]
    Missing {
        /// The store's file.
        path: PathBuf,
        /// The lock file, which records that there was a log.
        lock: PathBuf,
    },
    /// The file was written by another version of this program.
    #[error(
        "{path}: unknown format {found}: this version knows {known}; use a version of mailstamp that knows {found}"
    )]
    Version {
        /// The store's file.
        path: PathBuf,
        /// The format found.
        found: u32,
        /// The format that this version reads and writes.
        known: u32,
    },
    /// Another user could write to the file, or has its place.
    #[error("{path}: {what}")]
    Unsafe {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The log was purged past this stamp's end, but by the clock the stamp is still valid.
    /// The clock is behind now, or was ahead when the log was purged. Whether the stamp was used is no longer known.
    #[error(
        "system clock is wrong: it reads {now}, but the used log was purged of stamps that end before {cleared}; set \
         the clock; if it is right now and was ahead before, run mailstamp purge --lift-mark"
    )]
    ClockBehind {
        /// The current time, as passed in.
        now: UnixTime,
        /// The end of what was purged.
        cleared: UnixTime,
    },
    /// The lock holder is shutting down.
    #[error("{path}: lock holder is shutting down; try again")]
    Left {
        /// The store's file.
        path: PathBuf,
    },
    /// The lock holder's own error.
    #[error("{0}")]
    Told(String),
    /// No server answered, or none was free; nothing was written.
    #[error("PostgreSQL at {server}: {what}")]
    Unreachable {
        /// The server's address.
        server: String,
        /// What is wrong, and what can be done.
        what: String,
    },
    /// The server answered, and cannot be used as it is; nothing was written.
    #[error("PostgreSQL at {server}: {what}")]
    Refused {
        /// The server's address.
        server: String,
        /// What is wrong, and what can be done.
        what: String,
    },
    /// The connection broke, or the deadline passed, after a request was sent.
    #[error(
        "PostgreSQL at {server}: not known whether it was written: {what}; the next try finds out; if this lasts, look \
         at its standbys and its log"
    )]
    Undecided {
        /// The server's address.
        server: String,
        /// What happened.
        what: String,
    },
    /// The server may know less than this host has seen.
    #[error(
        "PostgreSQL at {server}: may have lost used stamps: {what}; if it was restored or replaced on purpose, run \
         mailstamp store accept-restored on each host"
    )]
    Restored {
        /// The server's address.
        server: String,
        /// What is lower or another.
        what: String,
    },
    /// Any other error of the system.
    #[error("cannot {doing} {path}: {source}")]
    Io {
        /// The operation, as a verb.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl StoreError {
    /// Copies the error, one copy for each request of a failed batch.
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
            Self::Unreachable { server, what } => Self::Unreachable { server: server.clone(), what: what.clone() },
            Self::Refused { server, what } => Self::Refused { server: server.clone(), what: what.clone() },
            Self::Undecided { server, what } => Self::Undecided { server: server.clone(), what: what.clone() },
            Self::Restored { server, what } => Self::Restored { server: server.clone(), what: what.clone() },
            Self::Io { doing, path, source } => Self::Io { doing, path: path.clone(), source: io(source) },
        }
    }

    /// Classifies an error of the system.
    pub(super) fn from_io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::Full { path, source }
            }
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => Self::ReadOnly { path, source },
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                Self::Damaged { path, what: damage(&::redb::Error::Io(source)).to_owned() }
            }
            _ => Self::Io { doing, path, source },
        }
    }

    /// Classifies an error of the database.
    pub(super) fn from_redb(path: &Path, error: ::redb::Error) -> Self {
        use ::redb::Error as E;
        match error {
            E::Io(source) => Self::from_io("use", path, source),
            E::DatabaseAlreadyOpen | E::LockProtocolMismatch => {
                Self::Busy { path: path.to_owned(), waited: Duration::ZERO }
            }
            E::PreviousIo => Self::Io { doing: "use", path: path.to_owned(), source: io::Error::other(error) },
            other => Self::Damaged { path: path.to_owned(), what: damage(&other).to_owned() },
        }
    }
}

/// Describes the damage of a database file, in other words than those of the database's programmers.
pub(crate) fn damage(error: &::redb::Error) -> &'static str {
    use ::redb::Error as E;
    match error {
        E::Io(source) if source.kind() == io::ErrorKind::InvalidData => "it is not a database",
        E::Io(_) => "it is incomplete",
        E::Corrupted(what) if what.contains("magic number") => "it is not a database",
        E::UpgradeRequired(_) => "it is a database of another format",
        E::TableDoesNotExist(_)
        | E::TableTypeMismatch { .. }
        | E::TypeDefinitionChanged { .. }
        | E::TableIsMultimap(_)
        | E::TableIsNotMultimap(_) => "it is a database of another kind",
        _ => "database is corrupt",
    }
}

impl From<PathError> for StoreError {
    fn from(error: PathError) -> Self {
        match error {
            PathError::Insecure { path, what } => Self::Unsafe { path, what },
            PathError::Io { doing, path, source } => Self::from_io(doing, &path, source),
        }
    }
}
