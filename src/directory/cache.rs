//! Cache of fetched and accepted documents, in a folder of the state: one file for each publisher, replaced as a whole.
//! The mail path reads it together with the pinned documents.
//!
//! The cache is as trusted as the used log beside it. Even so, each signature is verified again, and documents that
//! depend on a key that the user no longer pins are ignored.

use super::document::{DocumentError, VendorEntry, time};
use super::key_directory::{Directory, DirectoryError, Statement, Trust, open_under};
use super::publish::Edition;
use crate::config::file::{self, FileError};
use crate::stamp::signing::PublicKey;
use crate::stamp::token::Token;
use crate::time::UnixTime;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Largest file: every source of a publisher may have a directory of 1 MiB.
const LARGEST: u64 = 16 * 1024 * 1024;

/// Cached data of one publisher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The publisher's name.
    pub publisher: String,
    /// Highest version accepted from any source. A lower one is rejected from every source.
    pub version: u64,
    /// Pinned key on which all of it depends; none where the source itself was trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<PublicKey>,
    pub sources: Vec<SourceState>,
}

/// State of one source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceState {
    pub from: String,
    /// Time of its last valid answer (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered: Option<String>,
    /// Time until which its document counts unless it answers again (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// ETag of its last answer, for conditional requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// Last-Modified of its last answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<String>,
    /// Its current error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<SourceError>,
    /// Document accepted from it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<Accepted>,
}

/// Error of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceError {
    /// Time of the first occurrence (RFC 3339).
    pub since: String,
    /// Description.
    pub what: String,
    /// Whether it may be an attack.
    pub alarm: bool,
}

/// Accepted document of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Accepted {
    /// A signed directory.
    Signed {
        /// The token.
        directory: String,
        /// Key that verified it.
        signer: PublicKey,
    },
    /// Keys from DNS.
    Listed {
        /// Version of the document with these keys.
        version: u64,
        /// Time after which they are stale (RFC 3339).
        expires: String,
        /// The listed keys.
        entry: VendorEntry,
        /// Whether they may add keys, or only revoke.
        gives: bool,
    },
}

/// The cache cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The folder cannot be listed, or a file in it cannot be written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The folder or file.
        path: PathBuf,
        source: io::Error,
    },
    /// A file in it cannot be read, or has unsafe permissions.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file in it is malformed.
    #[error("{}: {source}", path.display())]
    Content { path: PathBuf, source: DirectoryError },
}

/// Returns the path of a publisher's file.
#[must_use]
pub fn path(cache: &Path, publisher: &str) -> PathBuf {
    cache.join(format!("{publisher}.json"))
}

/// Reads all records, ordered by file name. A missing folder has none.
///
/// # Errors
/// [`CacheError`], which names the file.
pub fn read(cache: &Path) -> Result<Vec<Record>, CacheError> {
    read_each(cache)?.into_iter().collect()
}

/// As [`read`], with the error of each file by itself.
///
/// # Errors
/// [`CacheError`] when the folder cannot be listed.
pub fn read_each(cache: &Path) -> Result<Vec<Result<Record, CacheError>>, CacheError> {
    let failed = |source| CacheError::Io { path: cache.to_owned(), source };
    let entries = match fs::read_dir(cache) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        // The state itself is not a folder, which code that needs it will report.
        Err(_) if fs::symlink_metadata(cache).is_err_and(|error| error.kind() == io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        other => other.map_err(failed)?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|ending| ending == "json") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths.iter().map(|path| read_record(path)).collect())
}

fn read_record(path: &Path) -> Result<Record, CacheError> {
    let text = file::read_up_to(path, LARGEST)?;
    serde_json::from_str(&text)
        .map_err(|error| CacheError::Content { path: path.to_owned(), source: DocumentError::from(error).into() })
}

/// Replaces the record of a publisher.
pub fn write(cache: &Path, record: &Record) -> Result<(), CacheError> {
    let path = path(cache, &record.publisher);
    let text = serde_json::to_string_pretty(record).map_err(io::Error::from);
    let written = text.and_then(|text| file::replace(&path, &(text + "\n")));
    written.map_err(|source| CacheError::Io { path, source })
}

impl Record {
    /// Creates the record of a publisher without fetched documents.
    #[must_use]
    pub fn new(publisher: &str) -> Self {
        Self { publisher: publisher.to_owned(), version: 0, root: None, sources: Vec::new() }
    }

    /// Returns whether its basis still exists: the vendor is trusted, and the key is pinned.
    #[must_use]
    pub fn is_current(&self, pinned: &Directory) -> bool {
        match &self.root {
            Some(root) => pinned.pins(&self.publisher, root),
            None => pinned.trusts(&self.publisher),
        }
    }

    /// Returns the statement of each source. They only count if the record [is current](Self::is_current).
    ///
    /// # Errors
    /// [`DirectoryError`] when a signature is invalid, or the content malformed: only mailstamp writes here.
    pub fn statements(&self) -> Result<Vec<(&str, Statement)>, DirectoryError> {
        let mut statements = Vec::new();
        for heard in &self.sources {
            let Some(accepted) = &heard.accepted else { continue };
            let mut statement = accepted.statement(&self.publisher)?;
            if let Some(until) = &heard.until {
                statement.expires = statement.expires.min(time(until)?);
            }
            statements.push((heard.from.as_str(), statement));
        }
        Ok(statements)
    }

    /// Returns the state of this source for changes.
    pub fn source(&mut self, from: &str) -> &mut SourceState {
        let at = self.sources.iter().position(|heard| heard.from == from).unwrap_or_else(|| {
            self.sources.push(SourceState { from: from.to_owned(), ..SourceState::default() });
            self.sources.len() - 1
        });
        &mut self.sources[at]
    }
}

impl Accepted {
    /// Returns the edition that a signed directory is.
    #[must_use]
    pub fn edition(&self) -> Option<Edition> {
        let Self::Signed { directory, .. } = self else { return None };
        let token = Token::parse_document(directory, super::key_directory::LONGEST).ok()?;
        Edition::of(&token).ok()
    }

    /// Converts it to a statement of the publisher.
    ///
    /// # Errors
    /// [`DirectoryError`] when the signature is invalid, or the content malformed.
    pub fn statement(&self, publisher: &str) -> Result<Statement, DirectoryError> {
        match self {
            Self::Signed { directory, signer } => {
                let token = Token::parse_document(directory, super::key_directory::LONGEST)
                    .map_err(|_| DirectoryError::Token)?;
                let statement = open_under(&token, signer)?.statement(Trust::Fetched)?;
                // It must be signed by the publisher under whose sources it is filed.
                if statement.publisher == publisher { Ok(statement) } else { Err(DirectoryError::Token) }
            }
            Self::Listed { version, expires, entry, gives } => Ok(Statement {
                publisher: publisher.to_owned(),
                version: *version,
                expires: time(expires)?,
                vendors: vec![entry.clone()],
                weight: if *gives { Trust::Fetched } else { Trust::RevokeOnly },
            }),
        }
    }
}

impl SourceState {
    /// Records a valid answer.
    pub fn record_success(&mut self, now: UnixTime, longest_silence: Option<i64>) {
        self.answered = Some(now.to_string());
        self.until = longest_silence.map(|seconds| now.plus(seconds).to_string());
        self.trouble = None;
    }

    /// Records an error. The accepted document stays.
    pub fn record_failure(&mut self, now: UnixTime, what: String, alarm: bool) {
        let since = match &self.trouble {
            Some(trouble) if trouble.what == what => trouble.since.clone(),
            _ => now.to_string(),
        };
        self.trouble = Some(SourceError { since, what, alarm });
    }
}
