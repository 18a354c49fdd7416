//! What can go wrong with a Maildir. All of it is our own trouble: the message stays where it was.

use std::io;
use std::path::{Path, PathBuf};

/// A Maildir cannot be used, or not now.
#[derive(Debug, thiserror::Error)]
pub enum MaildirError {
    /// Others could have tampered with it, or could.
    #[error("{} {what}; no mail is put there until that is put right", path.display())]
    Unsafe {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// What the system reported: no room, no permission, a broken disk.
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

impl MaildirError {
    pub(super) fn io(doing: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io { doing, path: path.to_owned(), source: source.into() }
    }

    pub(super) fn unsafe_place(path: &Path, what: impl Into<String>) -> Self {
        Self::Unsafe { path: path.to_owned(), what: what.into() }
    }
}
