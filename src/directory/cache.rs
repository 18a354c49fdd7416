//! What was fetched and accepted, in a folder of the state: one file a publisher, replaced whole. The mail path reads it
//! beside what the user pinned. It is as trusted as the used-serial log beside it; even so each signature is checked again,
//! and what rests on a key that the user no longer pins is not heeded.

use super::document::{DocumentError, VendorEntry, time};
use super::key_directory::{Directory, DirectoryError, Statement, Trust, open_under};
use crate::config::file::{self, FileError};
use crate::stamp::signing::PublicKey;
use crate::stamp::token::Token;
use crate::time::UnixTime;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The largest file: every source of a publisher may have a directory of 1 MiB.
const LARGEST: u64 = 16 * 1024 * 1024;

/// What is known of one publisher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// His name.
    pub publisher: String,
    /// The highest version that was accepted from anywhere. A lower one is refused from everywhere.
    pub version: u64,
    /// The pinned key on which all of it rests; none where the source itself was believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<PublicKey>,
    /// What each of his sources said.
    pub sources: Vec<SourceState>,
}

/// What one source said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceState {
    /// Which source.
    pub from: String,
    /// When it last answered as it should (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered: Option<String>,
    /// Until when what it said counts unless it answers again (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// What it called its last answer, so that it need not be sent again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// When it said that its answer had changed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<String>,
    /// What is wrong with it since then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<SourceError>,
    /// What was accepted from it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<Accepted>,
}

/// What is wrong with a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceError {
    /// Since when (RFC 3339).
    pub since: String,
    /// In words.
    pub what: String,
    /// Whether somebody may be up to something.
    pub alarm: bool,
}

/// What was accepted from a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Accepted {
    /// A signed directory.
    Signed {
        /// The token.
        directory: String,
        /// The key under which it was accepted.
        signer: PublicKey,
    },
    /// Keys from DNS.
    Listed {
        /// Their edition.
        version: u64,
        /// From when on they are stale (RFC 3339).
        expires: String,
        /// What was listed.
        entry: VendorEntry,
        /// Whether they may give keys, or only take away.
        gives: bool,
    },
}

/// The cache cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The folder cannot be listed, or a file in it not be written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file in it cannot be read, or must not be.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file in it is wrong.
    #[error("{}: {source}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: DirectoryError,
    },
}

/// The file of a publisher.
#[must_use]
pub fn path(cache: &Path, publisher: &str) -> PathBuf {
    cache.join(format!("{publisher}.json"))
}

/// All records, in the order of their files' names. A folder that is missing has none.
///
/// # Errors
/// [`CacheError`], which names the file.
pub fn read(cache: &Path) -> Result<Vec<Record>, CacheError> {
    let failed = |source| CacheError::Io { path: cache.to_owned(), source };
    let entries = match fs::read_dir(cache) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        // The state itself is no folder: who needs it will say so.
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
    paths.iter().map(|path| read_record(path)).collect()
}

fn read_record(path: &Path) -> Result<Record, CacheError> {
    let text = file::read_up_to(path, LARGEST)?;
    serde_json::from_str(&text)
        .map_err(|error| CacheError::Content { path: path.to_owned(), source: DocumentError::from(error).into() })
}

/// Puts a record in the place of the publisher's last one.
///
/// # Errors
/// [`CacheError::Io`].
pub fn write(cache: &Path, record: &Record) -> Result<(), CacheError> {
    let path = path(cache, &record.publisher);
    let text = serde_json::to_string_pretty(record).map_err(io::Error::from);
    let written = text.and_then(|text| file::replace(&path, &(text + "\n")));
    written.map_err(|source| CacheError::Io { path, source })
}

impl Record {
    /// A publisher of whom nothing was fetched yet.
    #[must_use]
    pub fn new(publisher: &str) -> Self {
        Self { publisher: publisher.to_owned(), version: 0, root: None, sources: Vec::new() }
    }

    /// Whether what it rests on is still there: the vendor is trusted, and the key pinned.
    #[must_use]
    pub fn is_current(&self, pinned: &Directory) -> bool {
        match &self.root {
            Some(root) => pinned.pins(&self.publisher, root),
            None => pinned.trusts(&self.publisher),
        }
    }

    /// What its sources said, each with where it came from. Only to be heeded if it [stands](Self::stands).
    ///
    /// # Errors
    /// [`DirectoryError`] when a signature does not hold, or a content is wrong: nobody but us writes here.
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

    /// What this source said, to be written over.
    pub fn source(&mut self, from: &str) -> &mut SourceState {
        let at = self.sources.iter().position(|heard| heard.from == from).unwrap_or_else(|| {
            self.sources.push(SourceState { from: from.to_owned(), ..SourceState::default() });
            self.sources.len() - 1
        });
        &mut self.sources[at]
    }
}

impl Accepted {
    /// As what the publisher said.
    ///
    /// # Errors
    /// [`DirectoryError`] when the signature does not hold, or the content is wrong.
    pub fn statement(&self, publisher: &str) -> Result<Statement, DirectoryError> {
        match self {
            Self::Signed { directory, signer } => {
                let token = Token::parse_document(directory, super::key_directory::LONGEST)
                    .map_err(|_| DirectoryError::Token)?;
                let statement = open_under(&token, signer)?.statement(Trust::Fetched)?;
                // Whoever signs it, it is filed under the publisher whose source it came from.
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
    /// It answered as it should.
    pub fn record_success(&mut self, now: UnixTime, longest_silence: Option<i64>) {
        self.answered = Some(now.to_string());
        self.until = longest_silence.map(|seconds| now.plus(seconds).to_string());
        self.trouble = None;
    }

    /// It did not. What it said before stays.
    pub fn record_failure(&mut self, now: UnixTime, what: String, alarm: bool) {
        let since = match &self.trouble {
            Some(trouble) if trouble.what == what => trouble.since.clone(),
            _ => now.to_string(),
        };
        self.trouble = Some(SourceError { since, what, alarm });
    }
}
