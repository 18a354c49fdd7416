//! What is kept of a vendor's log: its key, the last checkpoint that was verified, how far stamps were looked up, and
//! which were not found. One file for each vendor in the folder `logs` of the state.

use crate::accounting::hash::Hash;
use crate::config::file::{self, FileError};
use crate::os::{self, file_lock};
use crate::time::UnixTime;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Largest file in bytes.
const LARGEST: u64 = 16 * 1024 * 1024;

/// What is kept of one log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogState {
    /// The key of its checkpoints.
    pub key: String,
    /// The last verified checkpoint, signed.
    pub checkpoint: String,
    /// The newest edition of the vendor's directory that was checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edition: Option<KnownEdition>,
    /// The first leaf of each day, as far as leaves were read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub days: BTreeMap<u32, u64>,
    /// Leaves up to this number are of this day or earlier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<(u64, u32)>,
    /// Stamps that were accepted up to this time were looked up (seconds since 1970).
    pub checked: UnixTime,
    /// Since when the log is behind or away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<UnixTime>,
    /// Stamps that were not found, by their serials.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub missing: BTreeMap<String, AcceptedStamp>,
}

/// An edition of which a check knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownEdition {
    pub version: u64,
    pub hash: Hash,
    /// The directory: a token.
    pub directory: String,
}

/// A stamp that was accepted here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedStamp {
    pub accepted: UnixTime,
    /// Its value in credits, if it was logged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<u64>,
    /// The Message-ID of its message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
}

impl LogState {
    /// Returns the state of a log that was never checked.
    #[must_use]
    pub fn new(key: &str) -> Self {
        Self {
            key: key.to_owned(),
            checkpoint: String::new(),
            edition: None,
            days: BTreeMap::new(),
            read: None,
            checked: UnixTime(0),
            trouble: None,
            missing: BTreeMap::new(),
        }
    }
}

/// The state of a log cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: not the state of a log: {problem}", path.display())]
    Content { path: PathBuf, problem: String },
    #[error("another check is running")]
    Busy,
}

/// Returns the path of a vendor's file.
#[must_use]
pub fn path(logs: &Path, vendor: &str) -> PathBuf {
    logs.join(format!("{vendor}.json"))
}

/// Reads the state of a vendor's log; `None` if it was never checked.
///
/// # Errors
/// [`StateError`].
pub fn read(logs: &Path, vendor: &str) -> Result<Option<LogState>, StateError> {
    let path = path(logs, vendor);
    let text = match file::read_up_to(&path, LARGEST) {
        Err(error) if error.is_absent() => return Ok(None),
        other => other?,
    };
    let state = serde_json::from_str(&text);
    state.map(Some).map_err(|error| StateError::Content { path, problem: error.to_string() })
}

/// Replaces the state of a vendor's log.
///
/// # Errors
/// [`StateError`].
pub fn write(logs: &Path, vendor: &str, state: &LogState) -> Result<(), StateError> {
    let path = path(logs, vendor);
    let text = serde_json::to_string_pretty(state).map_err(io::Error::from);
    let written = text.and_then(|text| file::replace(&path, &(text + "\n")));
    written.map_err(|source| StateError::Io { path, source })
}

/// Locks the folder against another check. Creates it if it is missing.
///
/// # Errors
/// [`StateError::Busy`] while another process has it, and others.
pub fn lock(logs: &Path) -> Result<File, StateError> {
    let failed = |source| StateError::Io { path: logs.to_owned(), source };
    os::make_folder(logs, 0o700).map_err(failed)?;
    let file = File::options().create(true).truncate(false).write(true).open(logs.join(".lock")).map_err(failed)?;
    if file_lock::try_lock(&file).map_err(failed)? { Ok(file) } else { Err(StateError::Busy) }
}
