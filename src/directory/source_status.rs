//! Status of the user's directory sources after the last refresh: for commands and for the metrics of the daemon. Also
//! in a build without the code that fetches.

use super::cache::{self, CacheError, Record, SourceState};
use super::key_directory::Trust;
use crate::config::directory_sources::{self, Source, SourcesError};
use crate::message::header::escape_untrusted;
use crate::time::UnixTime;
use std::path::Path;

/// Time without an answer after which a source gets a warning: three days, in seconds.
const SILENCE: i64 = 3 * 24 * 60 * 60;

/// Longest part of a problem that is shown, in bytes.
const LONGEST: usize = 500;

/// One source and its state.
#[derive(Debug)]
pub struct Standing {
    /// The configured source.
    pub source: Source,
    /// Its cached state.
    pub heard: SourceState,
    /// Version that was accepted from it.
    pub version: Option<u64>,
    /// Time after which that version is stale.
    pub expires: Option<UnixTime>,
    /// Whether it can only revoke.
    pub doubtful: bool,
}

/// Status of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceStatus {
    /// It answers.
    Ok,
    /// It does not answer, or was never fetched.
    Warning,
    /// Its answer is wrong or expired.
    Error,
}

/// Escapes the problem of a source for a line: it may contain text of a server or a document. Semicolons separate the
/// program's own parts.
#[must_use]
pub fn sanitized(what: &str) -> String {
    let pieces = what.split(';').map(|piece| escape_untrusted(piece.as_bytes(), LONGEST));
    pieces.collect::<Vec<_>>().join(";")
}

/// Errors that prevent the status of all sources.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// The list of sources cannot be used.
    #[error(transparent)]
    Sources(#[from] SourcesError),
    /// The cache cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// Returns the state of all sources, in the order of the list in the folder `vendors`.
///
/// `cache` is the folder of fetched documents.
///
/// # Errors
/// [`HealthError`], which names the file.
pub fn standings(vendors: &Path, cache: Option<&Path>) -> Result<Vec<Standing>, HealthError> {
    let list = directory_sources::read(vendors)?.list;
    let records = cache.map_or_else(|| Ok(Vec::new()), cache::read)?;
    Ok(list.into_iter().map(|source| standing(source, &records)).collect())
}

fn standing(source: Source, records: &[Record]) -> Standing {
    let from = source.origin.to_string();
    let record = records.iter().find(|record| record.publisher == source.publisher);
    let heard = record.and_then(|record| record.sources.iter().find(|heard| heard.from == from)).cloned();
    let heard = heard.unwrap_or_default();
    let said = heard.accepted.as_ref().and_then(|accepted| accepted.statement(&source.publisher).ok());
    let until = heard.until.as_deref().and_then(|until| until.parse::<UnixTime>().ok());
    Standing {
        version: said.as_ref().map(|said| said.version),
        expires: said.as_ref().map(|said| until.map_or(said.expires, |until| until.min(said.expires))),
        doubtful: said.is_some_and(|said| said.weight == Trust::RevokeOnly),
        source,
        heard,
    }
}

impl SourceStatus {
    /// Returns the name of the status.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl Standing {
    /// Returns the seconds since the last valid answer of the source; `None` if there was none.
    #[must_use]
    pub fn age(&self, now: UnixTime) -> Option<i64> {
        let answered = self.heard.answered.as_deref()?.parse::<UnixTime>().ok()?;
        Some(now.since(answered).max(0))
    }

    /// Returns the status at `now`, and its reason as text.
    #[must_use]
    pub fn health(&self, now: UnixTime) -> (SourceStatus, String) {
        let past = self.expires.is_some_and(|expires| now > expires);
        let version = self.version.map(|version| format!("version {version}")).unwrap_or_default();
        if let Some(trouble) = &self.heard.trouble {
            let health = if trouble.alarm || past { SourceStatus::Error } else { SourceStatus::Warning };
            return (health, format!("{}, since {}", sanitized(&trouble.what), trouble.since));
        }
        let Some(answered) = &self.heard.answered else {
            return (SourceStatus::Warning, "never fetched; run mailstamp directory refresh".to_owned());
        };
        if past {
            return (SourceStatus::Error, format!("{version}, expired; it last answered at {answered}"));
        }
        if self.age(now).is_some_and(|age| age > SILENCE) {
            return (
                SourceStatus::Warning,
                format!("{version}, not fetched since {answered}; let a timer run directory refresh"),
            );
        }
        let weak = if self.doubtful { ", which gives no keys and only takes away" } else { "" };
        (SourceStatus::Ok, format!("{version}{weak}, answered at {answered}"))
    }
}
