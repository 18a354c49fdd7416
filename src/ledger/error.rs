//! Errors of the ledger. A [`Rejection`] is an answer. Every other variant is an internal error, whose text names the
//! file and the remedy.

use super::public_log::error::PublicLogError;
use super::rejection::Rejection;
use crate::directory::publish::EditionError;
use crate::directory::signing_key::SecretError;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// What [`LedgerError::Io`] was doing when a file cannot be created.
pub const CREATE: &str = "create";

/// Reasons why the ledger did not answer, or a rejection.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The request is rejected; nothing was changed.
    #[error(transparent)]
    Refused(#[from] Rejection),
    /// Another process has the ledger, and does not answer.
    #[error("{}: in use by another process, which does not answer: waited {} ms; try again", path.display(), waited.as_millis())]
    Busy {
        path: PathBuf,
        /// How long the caller waited.
        waited: Duration,
    },
    #[error("{}: already served by another process", path.display())]
    Served { path: PathBuf },
    #[error("{}: no vendor's ledger; `mailstamp vendor init` creates one", path.display())]
    Absent { path: PathBuf },
    /// The keys, the public log or editions are there, and the ledger is not.
    #[error("{}: the vendor's ledger is lost; `mailstamp vendor restore` restores it from a backup", path.display())]
    Lost { path: PathBuf },
    /// A new ledger cannot be created beside these.
    #[error(
        "{}: has the keys or the public log of a lost ledger; restore it (`mailstamp vendor restore`), or take another \
         folder", path.display()
    )]
    Remains { path: PathBuf },
    #[error("{}: already has a vendor's ledger", path.display())]
    Exists { path: PathBuf },
    /// The file is not a vendor's ledger, or is corrupt.
    #[error("{}: damaged, or not a vendor's ledger: {what}; restore it from a backup", path.display())]
    Damaged {
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// The file to restore from is not a backup, or is corrupt.
    #[error("{}: damaged, or not a backup of a vendor's ledger: {what}", path.display())]
    Backup {
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// The file was written by another version of this program.
    #[error("{}: unknown format {found}: this version knows {known}; use a version of mailstamp that knows {found}", path.display())]
    Version {
        path: PathBuf,
        /// The format found.
        found: u32,
        /// The format that this version reads and writes.
        known: u32,
    },
    /// Other users may have changed the folder or its files, or could.
    #[error("{}: {what}", path.display())]
    Unsafe {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The vendor's directory cannot be built.
    #[error(transparent)]
    Edition(#[from] EditionError),
    /// A signing key cannot be read or written.
    #[error(transparent)]
    Key(#[from] SecretError),
    /// The public log cannot be published.
    #[error(transparent)]
    PublicLog(#[from] PublicLogError),
    /// A code could not be mailed, or with `unknown` perhaps.
    #[error("mail server {server}: a code was not accepted: {what}")]
    Mail { server: String, what: String, unknown: bool },
    /// The writer has ended after a failure; a retry opens the ledger again.
    #[error("the ledger was closed after a failure; try again")]
    Left,
    /// The process that has the ledger sent an unexpected answer, or failed.
    #[error("error of the process that has the ledger: {0}")]
    Remote(String),
    /// Any other error of the system.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// The operation, as a verb.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        source: io::Error,
    },
}

impl LedgerError {
    /// Returns whether the disk, or the user's part of it, is full.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        let full = |kind| matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        matches!(self, Self::Io { source, .. } if full(source.kind()))
    }
}
