//! How the user's sources of directories stand, as the last refresh left them: for commands that tell people and for the
//! numbers of the resident process, also in a program that cannot fetch.

use super::cache::{self, CacheError, Record, SourceState};
use super::key_directory::Trust;
use crate::config::directory_sources::{self, Source, SourcesError};
use crate::message::header::escape_untrusted;
use crate::time::UnixTime;
use std::path::Path;

/// A source that has not answered for so long is worth a look: three days, in seconds.
const SILENCE: i64 = 3 * 24 * 60 * 60;

/// The longest piece of a problem that is printed.
const LONGEST: usize = 500;

/// One source with what is known of it.
#[derive(Debug)]
pub struct Standing {
    /// As the user lists it.
    pub source: Source,
    /// What it said.
    pub heard: SourceState,
    /// The version that was accepted from it.
    pub version: Option<u64>,
    /// From when on that is stale.
    pub expires: Option<UnixTime>,
    /// Whether it only takes away.
    pub doubtful: bool,
}

/// How a source stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceStatus {
    /// It answers.
    Ok,
    /// It is away, or was never asked.
    Warning,
    /// What it says is wrong, or past its date.
    Error,
}

/// What is wrong with a source, for a line: what a server or a document said may stand in it. The semicolons are ours.
#[must_use]
pub fn sanitized(what: &str) -> String {
    let pieces = what.split(';').map(|piece| escape_untrusted(piece.as_bytes(), LONGEST));
    pieces.collect::<Vec<_>>().join(";")
}

/// Nothing is known of the sources.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// Their list cannot be used.
    #[error(transparent)]
    Sources(#[from] SourcesError),
    /// What was fetched cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// All sources, in the order of the list beside the documents of the vendors; `cache` is where is kept what was fetched.
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
    /// The word for it.
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
    /// Seconds since the source last answered as it should; `None` if it never did.
    #[must_use]
    pub fn age(&self, now: UnixTime) -> Option<i64> {
        let answered = self.heard.answered.as_deref()?.parse::<UnixTime>().ok()?;
        Some(now.since(answered).max(0))
    }

    /// How it stands at `now`, and why in words.
    #[must_use]
    pub fn health(&self, now: UnixTime) -> (SourceStatus, String) {
        let past = self.expires.is_some_and(|expires| now > expires);
        let version = self.version.map(|version| format!("version {version}")).unwrap_or_default();
        if let Some(trouble) = &self.heard.trouble {
            let health = if trouble.alarm || past { SourceStatus::Error } else { SourceStatus::Warning };
            return (health, format!("{}, since {}", sanitized(&trouble.what), trouble.since));
        }
        let Some(answered) = &self.heard.answered else {
            return (SourceStatus::Warning, "never asked; mailstamp directory refresh asks it".to_owned());
        };
        if past {
            return (SourceStatus::Error, format!("{version}, past its date; it answered last at {answered}"));
        }
        if self.age(now).is_some_and(|age| age > SILENCE) {
            return (
                SourceStatus::Warning,
                format!("{version}, not asked since {answered}; let a timer run directory refresh"),
            );
        }
        let weak = if self.doubtful { ", which gives no keys and only takes away" } else { "" };
        (SourceStatus::Ok, format!("{version}{weak}, answered at {answered}"))
    }
}
