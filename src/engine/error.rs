//! Error of a line that must be on the disk before a message is dropped.

use crate::config::paths::PathsError;

/// A line that must be on the disk could not be written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The state has no folder.
    #[error(transparent)]
    Places(#[from] PathsError),
    #[error("verdict log: cannot be written: {0}")]
    Io(#[from] std::io::Error),
}
