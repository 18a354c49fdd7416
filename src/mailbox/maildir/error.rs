//! Errors of a Maildir. On all of them the message stays where it was.

use std::io;
use std::path::{Path, PathBuf};

/// Failure to use a Maildir.
#[derive(Debug, thiserror::Error)]
pub enum MaildirError {
    /// Other users can tamper with it, or may have done so.
    #[error("{}: unsafe Maildir: {what}", path.display())]
    Unsafe {
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// An error of the system: no space, no permission, a broken disk.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// The failed action, as a verb.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl MaildirError {
    pub(super) fn io(doing: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io { doing, path: path.to_owned(), source: source.into() }
    }

    pub(super) fn insecure_path(path: &Path, what: impl Into<String>) -> Self {
        Self::Unsafe { path: path.to_owned(), what: what.into() }
    }
}
