//! Reasons why the public log is not published. No file was changed.

use crate::transparency::checkpoint::CheckpointError;
use crate::transparency::note::KeyError;
use crate::transparency::reader::LogError;
use std::path::PathBuf;

/// Problem of the published files, or of their key.
#[derive(Debug, thiserror::Error)]
pub enum PublicLogError {
    #[error("{}: {problem}; restore it from the copy of the keys", path.display())]
    Key { path: PathBuf, problem: KeyError },
    /// The key of a log that was published before.
    #[error("{}: the key of the public log is missing; restore it from the copy of the keys", path.display())]
    KeyAbsent { path: PathBuf },
    #[error("{}: the key belongs to {name:?}, another log; move it away", path.display())]
    KeyName { path: PathBuf, name: String },
    #[error("{}: {problem}; restore the public log from a copy", path.display())]
    Checkpoint { path: PathBuf, problem: CheckpointError },
    #[error("{}: the public log is damaged: {problem}; restore it from a copy", path.display())]
    Damaged { path: PathBuf, problem: String },
    #[error("{}: no public log yet; publish it first: mailstamp vendor publish", path.display())]
    Unpublished { path: PathBuf },
    /// The ledger is older than the published log.
    #[error(
        "{}: the public log has {files} leaves, and this ledger made {known} of them: it is an older copy; \
         to take the log over, run mailstamp vendor publish --resume-log", path.display())]
    Ahead {
        path: PathBuf,
        /// Leaves of the published log.
        files: u64,
        /// Leaves that the ledger knows.
        known: u64,
    },
    /// The ledger was restored without the published log.
    #[error(
        "{}: the ledger was restored from a backup, and its public log was not taken over; \
         put the newest copy of the log there and run mailstamp vendor publish --resume-log", path.display())]
    Unsure { path: PathBuf },
    /// Leaves that the chain lost are missing from the files.
    #[error(
        "{}: the public log is missing or too old there, and the ledger lost a part of it when it was restored; \
         copy the published files there", path.display())]
    Lost { path: PathBuf },
    /// The files are not of this ledger.
    #[error("{}: the public log of another ledger: {what}", path.display())]
    Other { path: PathBuf, what: String },
}

impl PublicLogError {
    pub(super) fn damaged(path: PathBuf, problem: &impl ToString) -> Self {
        Self::Damaged { path, problem: problem.to_string() }
    }

    pub(super) fn files(path: PathBuf) -> impl FnOnce(LogError) -> Self {
        move |problem| Self::damaged(path, &problem)
    }
}
