//! `mailstamp directory refresh`: fetches from each configured source, puts accepted documents into the cache, and
//! reports errors. The failure of one source affects only that source: the others are fetched, and accepted documents
//! stay until they expire.

use super::cache::{self, CacheError, Record};
use super::dns_records::{KeyIndex, TextError, index_name, key_name};
use super::document::{Document, VendorEntry};
use super::key_directory::LONGEST_FILE;
use super::pinned::{FolderError, PinnedDocuments};
use super::trust_policy::{self, Acceptance, FetchedDocument, Known, Rewritten};
use crate::config::directory_sources::{Source, SourceKind, Sources};
use crate::config::file::{self, FileErrorKind};
use crate::net::dns::{Dns, LookupError};
use crate::net::https::{self, Answer, Conditions, HttpsError, Limits};
use crate::os::{self, file_lock};
use crate::stamp::strict_json;
use crate::stamp::token::Issuer;
use crate::time::UnixTime;
use crate::verdict::facts::KeyFact;
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::Path;

/// Most keys that are looked up in DNS.
const MOST_KEYS: usize = 64;

/// Outcome of one source.
#[derive(Debug)]
pub struct SourceOutcome {
    /// Name of the publisher.
    pub publisher: String,
    pub from: String,
    pub result: Result<RefreshResult, SourceProblem>,
}

/// Valid answer of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshResult {
    /// A new document was accepted.
    Accepted {
        version: u64,
        /// Whether the channel proves that it came from the source.
        authentic: bool,
        /// It does not continue the edition that was accepted before, which may be an attack.
        rewritten: Option<Rewritten>,
    },
    /// The source has nothing new.
    Unchanged,
}

/// Problem of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceProblem {
    /// Description.
    pub what: String,
    pub kind: ProblemKind,
}

/// Kind of a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// There is no answer.
    Away,
    /// The answer is not a directory.
    Malformed,
    /// It may be an attack.
    Alarm,
}

impl SourceProblem {
    /// Returns whether it may be an attack.
    #[must_use]
    pub fn alarms(&self) -> bool {
        self.kind == ProblemKind::Alarm
    }
}

fn alarm_or(alarm: bool, other: ProblemKind) -> ProblemKind {
    if alarm { ProblemKind::Alarm } else { other }
}

/// Errors that stop the whole refresh.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// The known documents cannot be read.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The cache cannot be read or written.
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error("another refresh is running")]
    Busy,
}

/// Fetches from all sources.
///
/// With `keep`, accepted documents go into the cache; without it nothing is written.
///
/// # Errors
/// [`RefreshError`]. The problem of a source is in its [`SourceOutcome`].
pub fn refresh(
    sources: &Sources,
    placed: &PinnedDocuments,
    cache: &Path,
    now: UnixTime,
    keep: bool,
) -> Result<Vec<SourceOutcome>, RefreshError> {
    let _lock = if keep { Some(lock(cache)?) } else { None };
    let mut records = cache::read(cache)?;
    let mut outcomes = Vec::new();
    for record in &mut records {
        // A publisher that is no longer listed loses its sources, but its highest version is kept.
        if !record.sources.is_empty() && sources.list.iter().all(|source| source.publisher != record.publisher) {
            record.sources.clear();
            if keep {
                cache::write(cache, record)?;
            }
        }
    }
    let publishers: BTreeSet<&str> = sources.list.iter().map(|source| source.publisher.as_str()).collect();
    for publisher in publishers {
        let at = records.iter().position(|record| record.publisher == publisher).unwrap_or_else(|| {
            records.push(Record::new(publisher));
            records.len() - 1
        });
        let listed: Vec<&Source> = sources.list.iter().filter(|source| source.publisher == publisher).collect();
        if placed.is_unusable(publisher) {
            // Its pinned key is unknown now; the highest version that was seen must survive that.
            let what = "a document about it in the folder of vendors is malformed; see mailstamp doctor";
            outcomes.extend(listed.iter().map(|source| SourceOutcome {
                publisher: publisher.to_owned(),
                from: source.origin.to_string(),
                result: Err(SourceProblem { what: what.to_owned(), kind: ProblemKind::Away }),
            }));
            continue;
        }
        if !records[at].is_current(&placed.pinned) {
            // The user pinned another key: data that depended on the old one is removed, also the highest version.
            records[at] = Record::new(publisher);
        }
        records[at].sources.retain(|heard| listed.iter().any(|source| source.origin.to_string() == heard.from));
        for source in listed {
            let result = ask(sources, source, placed, &mut records, at, now)?;
            outcomes.push(SourceOutcome { publisher: publisher.to_owned(), from: source.origin.to_string(), result });
        }
        if keep && placed.pinned.trusts(publisher) {
            cache::write(cache, &records[at])?;
        }
    }
    Ok(outcomes)
}

/// Locks the cache: two processes at once would overwrite each other's highest version.
fn lock(cache: &Path) -> Result<File, RefreshError> {
    let failed = |source: io::Error| CacheError::Io { path: cache.to_owned(), source };
    // The state belongs to the user alone. Several users may share its public part, if they configure that.
    os::make_folder(os::above(cache), 0o700).map_err(failed)?;
    os::make_folder(cache, 0o755).map_err(failed)?;
    let file = File::options().create(true).append(true).open(cache.join("lock")).map_err(failed)?;
    if file_lock::try_lock(&file).map_err(failed)? { Ok(file) } else { Err(RefreshError::Busy) }
}

fn ask(
    sources: &Sources,
    source: &Source,
    placed: &PinnedDocuments,
    records: &mut [Record],
    at: usize,
    now: UnixTime,
) -> Result<Result<RefreshResult, SourceProblem>, RefreshError> {
    let folder = placed.with(records, now);
    let known = Known { pinned: &placed.pinned, directory: &folder.directory, now };
    let Some(record) = records.get_mut(at) else { return Ok(Ok(RefreshResult::Unchanged)) };
    if !placed.pinned.trusts(&source.publisher) {
        let what = format!("you do not trust {}; to trust it, run mailstamp directory add", source.publisher);
        return Ok(Err(SourceProblem { what, kind: ProblemKind::Away }));
    }
    let from = source.origin.to_string();
    let heard = record.source(&from);
    // Without an accepted document the server must send it again.
    let conditions = match heard.accepted {
        Some(_) => Conditions { etag: heard.etag.clone(), modified: heard.modified.clone() },
        None => Conditions::default(),
    };
    let result = match fetch(sources, source, &conditions, &folder.directory) {
        Ok(None) => Ok(RefreshResult::Unchanged),
        Ok(Some(Fetched { offer, authentic, conditions })) => {
            match trust_policy::accept(offer, authentic, source, record, &known) {
                Ok(Acceptance { version, rewritten }) => {
                    let heard = record.source(&from);
                    (heard.etag, heard.modified) = (conditions.etag, conditions.modified);
                    Ok(RefreshResult::Accepted { version, authentic, rewritten })
                }
                Err(refusal) => Err(SourceProblem {
                    what: refusal.to_string(),
                    kind: alarm_or(refusal.alarms(), ProblemKind::Malformed),
                }),
            }
        }
        Err(problem) => Err(problem),
    };
    let heard = record.source(&from);
    match &result {
        Ok(_) => heard.record_success(now, source.longest_silence),
        Err(problem) => heard.record_failure(now, problem.what.clone(), problem.alarms()),
    }
    Ok(result)
}

/// Fetched answer of a source.
#[derive(Debug)]
pub struct Fetched {
    pub offer: FetchedDocument,
    /// Whether the channel proves that it came from the source.
    pub authentic: bool,
    /// Conditions of the next request.
    pub conditions: Conditions,
}

impl From<HttpsError> for SourceProblem {
    fn from(error: HttpsError) -> Self {
        Self { kind: alarm_or(error.alarms(), ProblemKind::Away), what: error.to_string() }
    }
}

impl From<LookupError> for SourceProblem {
    fn from(error: LookupError) -> Self {
        Self { kind: alarm_or(error.alarms(), ProblemKind::Away), what: error.to_string() }
    }
}

impl From<TextError> for SourceProblem {
    fn from(error: TextError) -> Self {
        Self { what: error.to_string(), kind: ProblemKind::Malformed }
    }
}

/// Fetches from one source; `None` if it has nothing new.
///
/// `known` are keys to look up in DNS besides those of the index.
pub fn fetch(
    sources: &Sources,
    source: &Source,
    conditions: &Conditions,
    known: &super::key_directory::Directory,
) -> Result<Option<Fetched>, SourceProblem> {
    let offer = |offer, authentic, conditions| Some(Fetched { offer, authentic, conditions });
    match &source.origin {
        SourceKind::Https(address) => {
            let limits = Limits { time: sources.timeout, bytes: LONGEST_FILE };
            match https::get(address, conditions, limits)? {
                Answer::Unchanged => Ok(None),
                Answer::Document { bytes, conditions } => Ok(offer(signed(&bytes)?, true, conditions)),
            }
        }
        SourceKind::File(path) => {
            let text = file::read_up_to(path, LONGEST_FILE).map_err(|error| SourceProblem {
                kind: match error.kind {
                    FileErrorKind::Encoding | FileErrorKind::TooLarge(_) => ProblemKind::Malformed,
                    _ => ProblemKind::Away,
                },
                what: error.kind.to_string(),
            })?;
            Ok(offer(signed(text.as_bytes())?, true, Conditions::default()))
        }
        SourceKind::Dns => {
            let dns = Dns::new(sources.resolver, sources.trust_anchor.as_deref(), sources.timeout)?;
            let facts = known.vendors().find(|(vendor, _)| *vendor == source.publisher).map(|(_, facts)| facts);
            let kids = facts.unwrap_or_default().into_iter().filter(|(_, fact)| !matches!(fact, KeyFact::Conflict));
            let (listed, authentic) = listed(&dns, &source.publisher, kids.map(|(kid, _)| kid.to_owned()))?;
            Ok(offer(listed, authentic, Conditions::default()))
        }
    }
}

/// Parses a signed directory.
fn signed(bytes: &[u8]) -> Result<FetchedDocument, SourceProblem> {
    let wrong = |what: &dyn std::fmt::Display| SourceProblem {
        what: format!("not a signed directory: {what}"),
        kind: ProblemKind::Malformed,
    };
    match serde_json::from_slice(bytes).map_err(|error| wrong(&strict_json::problem(&error)))? {
        Document::Signed { directory, also } => Ok(FetchedDocument::Signed([vec![directory], also].concat())),
        Document::Pinned(_) => Err(wrong(&"it is not signed")),
    }
}

/// Looks up the keys in DNS: those of the index, and other known ones if they exist.
fn listed(
    dns: &Dns,
    vendor: &str,
    known: impl Iterator<Item = String>,
) -> Result<(FetchedDocument, bool), SourceProblem> {
    let answer = dns.texts(&index_name(vendor))?;
    let mut authentic = answer.authentic;
    let index = one(answer.texts.iter().map(|text| KeyIndex::parse(text)))?;
    let mut entry = VendorEntry { vendor: vendor.to_owned(), ..VendorEntry::default() };
    let mut kids: Vec<String> = index.kids.clone();
    kids.extend(known.filter(|kid| !index.kids.contains(kid)));
    for kid in kids.iter().take(MOST_KEYS) {
        // The name becomes part of the looked-up domain name.
        Issuer::new(vendor, kid)
            .map_err(|error| SourceProblem { what: format!("{kid:?}: {error}"), kind: ProblemKind::Alarm })?;
        let answer = match dns.texts(&key_name(vendor, kid)) {
            Err(LookupError::None(_)) if !index.kids.contains(kid) => continue,
            other => other?,
        };
        authentic &= answer.authentic;
        let keys = answer.texts.iter().map(|text| super::document::KeyEntry::parse_text(text));
        let key = one(keys)?;
        // Names of DNS ignore case: this may be the record of another key.
        if key.kid == *kid {
            entry.keys.push(key);
        }
    }
    Ok((FetchedDocument::Listed { version: index.version, expires: index.expires, entry }, authentic))
}

/// Returns the single text that is a stamp record.
fn one<T>(texts: impl Iterator<Item = Result<T, TextError>>) -> Result<T, SourceProblem> {
    let mut ours = texts.filter(|text| !matches!(text, Err(TextError::Foreign)));
    let first = ours.next().unwrap_or(Err(TextError::Foreign))?;
    match ours.next() {
        None => Ok(first),
        Some(_) => {
            let what = "DNS has two stamp records under one name".into();
            Err(SourceProblem { what, kind: ProblemKind::Alarm })
        }
    }
}
