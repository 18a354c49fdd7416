//! What can go wrong with the ledger. A [`Refusal`] is an answer; every other variant is our own trouble, and each text
//! names the file and says what a person can do about it.

use super::rejection::Rejection;
use crate::directory::publish::EditionError;
use crate::directory::signing_key::SecretError;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why the ledger gave no answer, or a refusal.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// What was asked is refused; nothing was changed.
    #[error(transparent)]
    Refused(#[from] Rejection),
    /// Another process has the ledger, and answers nobody.
    #[error("{} is in use by another process, which does not answer; waited {} ms for it, try again", path.display(), waited.as_millis())]
    Busy {
        /// The folder.
        path: PathBuf,
        /// For how long we waited.
        waited: Duration,
    },
    /// Another process serves the ledger, and answers.
    #[error("a shop serves the ledger in {} already", path.display())]
    Served {
        /// The folder.
        path: PathBuf,
    },
    /// There is no ledger here.
    #[error("{} holds no ledger of a vendor; `mailstamp vendor init` makes them", path.display())]
    Absent {
        /// The folder.
        path: PathBuf,
    },
    /// There is a ledger here already.
    #[error("{} holds ledger of a vendor already", path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// The file is not the ledger of a vendor, or no longer sound.
    #[error("{} is damaged or holds no ledger of a vendor ({what}); restore it from a backup", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was seen.
        what: String,
    },
    /// The file was written by another version of this program.
    #[error("{} has format {found}, and this program knows format {known}; use a version of mailstamp that knows it", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The format found.
        found: u32,
        /// The format that we read and write.
        known: u32,
    },
    /// Others could have tampered with the folder or its files, or could.
    #[error("{} {what}; it is not used until that is put right", path.display())]
    Unsafe {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The vendor's directory cannot be made.
    #[error(transparent)]
    Edition(#[from] EditionError),
    /// A signing key cannot be read or written.
    #[error(transparent)]
    Key(#[from] SecretError),
    /// Mail could not be handed to sendmail(8).
    #[error("{program} did not take the mail: {what}")]
    Mail {
        /// The program.
        program: String,
        /// What it said.
        what: String,
    },
    /// The writer has ended after a failure; open the ledger anew.
    #[error("the ledger was left after a failure; try again")]
    Left,
    /// The process that has the ledger answered something else than was asked for, or failed.
    #[error("the process that has the ledger sayss: {0}")]
    Remote(String),
    /// Anything else that the system reported.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What we were doing, as a verb.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}
