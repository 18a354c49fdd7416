//! `mailstamp directory refresh`: each source of the user's list is asked, what is believed goes into the cache, and what is
//! wrong is said. A source that is away costs nothing but its own news: the others are asked all the same, and what was
//! accepted before stays until its date.

use super::cache::{self, CacheError, Record};
use super::dns_records::{KeyIndex, TextError, index_name, key_name};
use super::document::{Document, VendorEntry};
use super::key_directory::LONGEST_FILE;
use super::pinned::{FolderError, PinnedDocuments};
use super::trust_policy::{self, FetchedDocument, Known};
use crate::config::directory_sources::{Source, SourceKind, Sources};
use crate::config::file;
use crate::net::dns::{Dns, LookupError};
use crate::net::https::{self, Answer, Conditions, HttpsError, Limits};
use crate::os;
use crate::stamp::token::Issuer;
use crate::time::UnixTime;
use crate::verdict::facts::KeyFact;
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::Path;

/// Keys asked for in DNS.
const MOST_KEYS: usize = 64;

/// How asking one source went.
#[derive(Debug)]
pub struct SourceOutcome {
    /// Whose directory.
    pub publisher: String,
    /// From where.
    pub from: String,
    /// What came of it.
    pub result: Result<RefreshResult, SourceProblem>,
}

/// A source answered as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshResult {
    /// This version was accepted.
    Accepted {
        /// Which.
        version: u64,
        /// Whether it certainly came from the source.
        authentic: bool,
    },
    /// It has nothing new.
    Unchanged,
}

/// A source did not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceProblem {
    /// In words.
    pub what: String,
    /// Whether somebody may be up to something.
    pub alarm: bool,
}

/// Nothing could be asked at all.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// What is known cannot be read.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The cache cannot be read or written.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// Somebody else is at it.
    #[error("another refresh is at work")]
    Busy,
}

/// Asks all sources. With `keep` what is accepted goes into the cache; without it nothing is written.
///
/// # Errors
/// [`RefreshError`]. What is wrong with a source is an [`SourceOutcome`].
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
        // Who is listed no more has nothing more to say; which version of his was seen is not forgotten.
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
        if !records[at].is_current(&placed.pinned) {
            // The user pinned another key: what rested on the last one is forgotten, its versions too.
            records[at] = Record::new(publisher);
        }
        let listed: Vec<&Source> = sources.list.iter().filter(|source| source.publisher == publisher).collect();
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

/// Two at once would write over each other's highest version.
fn lock(cache: &Path) -> Result<File, RefreshError> {
    let failed = |source: io::Error| CacheError::Io { path: cache.to_owned(), source };
    // The state is the user's alone. What is public in it may be shared by several, if their configuration says where.
    os::make_folder(os::above(cache), 0o700).map_err(failed)?;
    os::make_folder(cache, 0o755).map_err(failed)?;
    let file = File::options().create(true).append(true).open(cache.join("lock")).map_err(failed)?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(RefreshError::Busy),
        Err(error) => Err(failed(error.into()).into()),
    }
}

fn ask(
    sources: &Sources,
    source: &Source,
    placed: &PinnedDocuments,
    records: &mut [Record],
    at: usize,
    now: UnixTime,
) -> Result<Result<RefreshResult, SourceProblem>, RefreshError> {
    let folder = placed.with(records, now)?;
    let known = Known { pinned: &placed.pinned, directory: &folder.directory, now };
    let Some(record) = records.get_mut(at) else { return Ok(Ok(RefreshResult::Unchanged)) };
    if !placed.pinned.trusts(&source.publisher) {
        let what = format!("you do not trust {}; mailstamp directory add asks whether you would", source.publisher);
        return Ok(Err(SourceProblem { what, alarm: false }));
    }
    let from = source.origin.to_string();
    let heard = record.source(&from);
    // A server that we believed nothing of must say it again.
    let conditions = match heard.accepted {
        Some(_) => Conditions { etag: heard.etag.clone(), modified: heard.modified.clone() },
        None => Conditions::default(),
    };
    let result = match fetch(sources, source, &conditions, &folder.directory) {
        Ok(None) => Ok(RefreshResult::Unchanged),
        Ok(Some(Fetched { offer, authentic, conditions })) => {
            match trust_policy::accept(offer, authentic, source, record, &known) {
                Ok(version) => {
                    let heard = record.source(&from);
                    (heard.etag, heard.modified) = (conditions.etag, conditions.modified);
                    Ok(RefreshResult::Accepted { version, authentic })
                }
                Err(refusal) => Err(SourceProblem { what: refusal.to_string(), alarm: refusal.alarms() }),
            }
        }
        Err(problem) => Err(problem),
    };
    let heard = record.source(&from);
    match &result {
        Ok(_) => heard.record_success(now, source.longest_silence),
        Err(problem) => heard.record_failure(now, problem.what.clone(), problem.alarm),
    }
    Ok(result)
}

/// What a source has.
#[derive(Debug)]
pub struct Fetched {
    /// What.
    pub offer: FetchedDocument,
    /// Whether it certainly came from the source.
    pub authentic: bool,
    /// What to say next time.
    pub conditions: Conditions,
}

impl From<HttpsError> for SourceProblem {
    fn from(error: HttpsError) -> Self {
        Self { alarm: error.alarms(), what: error.to_string() }
    }
}

impl From<LookupError> for SourceProblem {
    fn from(error: LookupError) -> Self {
        Self { alarm: error.alarms(), what: error.to_string() }
    }
}

impl From<TextError> for SourceProblem {
    fn from(error: TextError) -> Self {
        Self { what: error.to_string(), alarm: false }
    }
}

/// Asks one source; nothing, if it has nothing new. `known` says which keys to ask for in DNS beside those of its index.
///
/// # Errors
/// [`SourceProblem`].
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
            let text = file::read_up_to(path, LONGEST_FILE)
                .map_err(|error| SourceProblem { what: error.to_string(), alarm: false })?;
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

/// A signed directory as it is served.
fn signed(bytes: &[u8]) -> Result<FetchedDocument, SourceProblem> {
    let wrong =
        |what: &dyn std::fmt::Display| SourceProblem { what: format!("not a signed directory: {what}"), alarm: false };
    match serde_json::from_slice(bytes).map_err(|error| wrong(&error))? {
        Document::Signed { directory, also } => Ok(FetchedDocument::Signed([vec![directory], also].concat())),
        Document::Pinned(_) => Err(wrong(&"it is not signed")),
    }
}

/// The keys that DNS has: those of the index, and those known otherwise, if they are there.
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
        // It becomes a part of the name that is asked for.
        Issuer::new(vendor, kid).map_err(|error| SourceProblem { what: format!("{kid:?}: {error}"), alarm: true })?;
        let answer = match dns.texts(&key_name(vendor, kid)) {
            Err(LookupError::None(_)) if !index.kids.contains(kid) => continue,
            other => other?,
        };
        authentic &= answer.authentic;
        let keys = answer.texts.iter().map(|text| super::document::KeyEntry::parse_text(text));
        let key = one(keys)?;
        // Names of DNS know no upper case: this may be the record of another key.
        if key.kid == *kid {
            entry.keys.push(key);
        }
    }
    Ok((FetchedDocument::Listed { version: index.version, expires: index.expires, entry }, authentic))
}

/// The one text that is ours.
fn one<T>(texts: impl Iterator<Item = Result<T, TextError>>) -> Result<T, SourceProblem> {
    let mut ours = texts.filter(|text| !matches!(text, Err(TextError::Foreign)));
    let first = ours.next().unwrap_or(Err(TextError::Foreign))?;
    match ours.next() {
        None => Ok(first),
        Some(_) => Err(SourceProblem { what: "two records of stamps stand at one name in DNS".into(), alarm: true }),
    }
}
