//! `/.well-known/digital-stamp`: by which keys the vendor's stamps are known. The document that `vendor publish` left in
//! the folder of the books (`public/.well-known/digital-stamp`) goes out as it is; without one, an edition is made of the
//! books and signed with the active key. Its version is the second in which it was made, so that it grows also when the
//! books were restored from an old backup.

use crate::bank::event::KeyState;
use crate::keys::document::{Document, SignedDirectory, VendorEntry};
use crate::keys::secret::Signer;
use crate::mail::time::UnixTime;
use crate::serve::vendor::Service;
use crate::serve::vendor::caller::Anyone;
use crate::serve::vendor::problem::Problem;
use crate::stamp::wire::Purpose;
use crate::vendor::books::Books;
use crate::vendor::error::BooksError;
use crate::vendor::request::Profile;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// For how long an edition is good, in seconds.
const GOOD: i64 = 30 * 24 * 60 * 60;
/// After how many seconds a new one is made, though nothing changed.
const RENEW: i64 = 24 * 60 * 60;
/// For how many seconds nobody looks whether something changed.
const LOOK: i64 = 10;

/// The edition that was made last.
#[derive(Debug, Default)]
pub struct Edition(Mutex<Option<Made>>);

#[derive(Clone, Debug)]
struct Made {
    of: VendorEntry,
    at: UnixTime,
    looked: UnixTime,
    text: String,
}

/// Where `vendor publish` writes, in the folder of the books.
#[must_use]
pub fn published(folder: &Path) -> PathBuf {
    folder.join("public/.well-known/digital-stamp")
}

/// `GET /.well-known/digital-stamp`. Whoever has the edition already is told so (RFC 9110 section 13.1.2).
///
/// # Errors
/// [`Problem::trouble`].
pub async fn well_known(State(service): State<Service>, _: Anyone, headers: HeaderMap) -> Result<Response, Problem> {
    let asked = service.clone();
    let text = service.books(move |books, now| Ok(asked.edition().text(&asked, books, now))).await?;
    let text = text.map_err(|error| Problem::trouble(&error))?;
    let tag = format!("\"{}\"", HEXLOWER.encode(&Sha256::digest(text.as_bytes())));
    let mut response = if headers.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
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

impl Edition {
    fn text(&self, service: &Service, books: &Books, now: UnixTime) -> Result<String, String> {
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
        let profile = books.profile().map_err(|error| error.to_string())?;
        let mut of = books.published().map_err(|error: BooksError| error.to_string())?;
        of.buy = service.origin().text.clone();
        let text = match last.as_ref().filter(|made| made.of == of && (0..RENEW).contains(&now.since(made.at))) {
            Some(made) => made.text.clone(),
            None => sign(&service.settings().folder, &profile, &of, now)?,
        };
        let at = last.as_ref().filter(|made| made.text == text).map_or(now, |made| made.at);
        *last = Some(Made { of, at, looked: now, text: text.clone() });
        Ok(text)
    }
}

/// An edition of this moment.
fn sign(folder: &Path, profile: &Profile, of: &VendorEntry, now: UnixTime) -> Result<String, String> {
    let active = profile.keys.iter().find(|key| key.state == KeyState::Active).ok_or("the books have no active key")?;
    let signer = Signer::read(&folder.join("keys").join(format!("key-{}.json", active.kid)))
        .map_err(|error| error.to_string())?;
    let directory = SignedDirectory {
        version: u64::try_from(now.0).unwrap_or(0),
        issued: now.to_string(),
        expires: now.plus(GOOD).to_string(),
        vendors: vec![of.clone()],
    };
    let payload = serde_json::to_vec(&directory).map_err(|error| error.to_string())?;
    let token = signer.key.sign(&payload, &signer.issuer.footer(), Purpose::Directory);
    let document = Document::Signed { directory: token.as_str().to_owned(), also: Vec::new() };
    serde_json::to_string_pretty(&document).map(|text| text + "\n").map_err(|error| error.to_string())
}
