//! `/.well-known/digital-stamp`: the vendor's directory document. The service sends the document that `vendor publish`
//! wrote into the folder of the ledger (`public/.well-known/digital-stamp`). Without one it builds a publication from
//! the ledger, as `vendor publish` would.

use crate::directory::document::VendorEntry;
use crate::directory::public_folder::PublicFolder;
use crate::directory::public_log::editions;
use crate::directory::publish::{self, Changes};
use crate::ledger::error::LedgerError;
use crate::ledger::handle::Ledger;
use crate::server::diagnostics::warn_stderr;
use crate::server::vendor_http::Service;
use crate::server::vendor_http::auth::Unauthenticated;
use crate::server::vendor_http::error::Problem;
use crate::time::UnixTime;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Lifetime of a publication, in seconds.
const GOOD: i64 = 30 * 24 * 60 * 60;
/// Age at which a new one is made though nothing changed, in seconds.
const RENEW: i64 = 24 * 60 * 60;
/// Seconds between checks whether something changed.
const LOOK: i64 = 10;

/// The last publication.
#[derive(Debug, Default)]
pub struct DirectoryCache(Mutex<Option<CachedDirectory>>);

#[derive(Clone, Debug)]
struct CachedDirectory {
    of: VendorEntry,
    at: UnixTime,
    looked: UnixTime,
    text: String,
}

/// Returns the path at which `vendor publish` writes, in the folder of the ledger.
#[must_use]
pub fn published(folder: &Path) -> PathBuf {
    folder.join("public/.well-known/digital-stamp")
}

/// `GET /.well-known/digital-stamp`. Answers "not modified" to a client that has it (RFC 9110 section 13.1.2).
pub async fn well_known(
    State(service): State<Service>,
    _: Unauthenticated,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let asked = service.clone();
    let text = service.ledger(move |ledger, now| Ok(asked.edition().text(&asked, ledger, now))).await?;
    let text = text.map_err(|error| Problem::trouble(&error))?;
    let tag = format!("\"{}\"", HEXLOWER.encode(&Sha256::digest(text.as_bytes())));
    let mut response = if super::has(&headers, &tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(CONTENT_TYPE, "application/json")], text).into_response()
    };
    let fields = response.headers_mut();
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    if let Ok(tag) = tag.parse() {
        fields.insert(ETAG, tag);
    }
    Ok(response)
}

/// Returns the last edition if it still holds, else makes the next one, with its time of issue. Keeps it in the
/// published folder.
fn current(ledger: &Ledger, public: &Path, changes: &Changes, now: UnixTime) -> Result<(String, UnixTime), String> {
    let failed = |error: LedgerError| error.to_string();
    let folder = public.join(".well-known");
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", folder.display());
    let _lock = PublicFolder::lock(public).map_err(|error| wrong(&error))?;
    let last = editions::newest(&folder).map_err(|error| wrong(&error))?;
    let last = last.map(|text| publish::read(&text)).transpose().map_err(|error| wrong(&error))?;
    // One that was booked by a process that crashed, or that is published elsewhere.
    if let Some(booked) = ledger.last_edition().map_err(failed)? {
        editions::keep_missing(&folder, booked.version, &booked.document).map_err(|error| wrong(&error))?;
    }
    let expires = now.plus(GOOD);
    if let Some((booked, issued)) =
        ledger.current_edition(last.as_ref(), changes, now, expires, RENEW).map_err(failed)?
    {
        return Ok((booked.document, issued));
    }
    let next = ledger.edition(last.as_ref(), changes, now, expires).map_err(failed)?;
    editions::keep(&folder, next.content.version, &next.document).map_err(|error| wrong(&error))?;
    Ok((next.document, now))
}

impl DirectoryCache {
    /// Builds the document anew at the next request, if something changed.
    pub fn look_again(&self) {
        if let Some(made) = self.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            made.looked = UnixTime(0);
        }
    }

    /// Returns the document: the published one, or one that holds.
    ///
    /// # Errors
    /// What is wrong, for the operator: there is no document.
    pub fn text(&self, service: &Service, ledger: &Ledger, now: UnixTime) -> Result<String, String> {
        let path = published(&service.settings().folder);
        match fs::read_to_string(&path) {
            Ok(text) => return Ok(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("{}: {error}", path.display())),
        }
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = last.as_ref().filter(|made| (0..LOOK).contains(&now.since(made.looked))) {
            return Ok(made.text.clone());
        }
        let failed = |error: LedgerError| error.to_string();
        let public = service.settings().folder.join("public");
        let log = ledger.log_entry(&public).map_err(failed)?;
        let of = VendorEntry { log: log.clone().map(Box::new), ..ledger.published(now).map_err(failed)? };
        let (text, at) = match last.as_ref().filter(|made| made.of == of && (0..RENEW).contains(&now.since(made.at))) {
            Some(made) => (made.text.clone(), made.at),
            None => {
                let changes = Changes { buy: service.origin().text.clone(), log, ..Changes::default() };
                match current(ledger, &public, &changes, now) {
                    Ok(made) => made,
                    // An edition that is not kept must not be served: the next one could not name it.
                    Err(error) => match last.as_ref() {
                        Some(made) => {
                            warn_stderr(&error);
                            (made.text.clone(), made.at)
                        }
                        None => return Err(error),
                    },
                }
            }
        };
        *last = Some(CachedDirectory { of, at, looked: now, text: text.clone() });
        Ok(text)
    }
}
