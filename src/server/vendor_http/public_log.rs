//! `/.well-known/digital-stamp-log/`: the files of the public log, from the folder that is published. Beside it,
//! `digital-stamp-editions/`: the editions of the directory, as they were.
//!
//! No limit on requests applies: a reader of a day asks for some hundred files, and each is small. The limits on
//! connections do.

use super::error::Problem;
use super::{Service, api, log_publisher};
use crate::directory::public_log::editions;
use crate::transparency;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::fs;
use std::io::ErrorKind;

/// Returns the route of the files.
pub fn routes() -> Router<Service> {
    Router::new()
        .route(&format!("/{}/{{*path}}", transparency::PATH), get(file))
        .route(&format!("/.well-known/{}/{{name}}", editions::FOLDER), get(edition))
}

async fn edition(State(service): State<Service>, Path(name): Path<String>) -> Result<Response, Problem> {
    let version = name.strip_suffix(".json").and_then(|version| version.parse::<u64>().ok());
    let Some(version) = version.filter(|version| editions::file_name(*version) == name) else {
        return Ok(api::nothing().await.into_response());
    };
    let folder = service.settings().folder.join("public/.well-known").join(editions::FOLDER);
    let text = service.ledger(move |_, _| Ok(fs::read(folder.join(editions::file_name(version))))).await?;
    match text {
        Ok(text) => {
            let fields = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "public, max-age=31536000, immutable")];
            Ok((fields, text).into_response())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(api::nothing().await.into_response()),
        Err(error) => Err(Problem::trouble(&format!("edition {version}: {error}"))),
    }
}

async fn file(State(service): State<Service>, Path(path): Path<String>) -> Result<Response, Problem> {
    let folder = log_publisher::folder(&service);
    let file = service.ledger(move |_, _| Ok(folder.file(&path))).await?;
    match file.map_err(|error| Problem::trouble(&format!("public log: {error}")))? {
        None => Ok(api::nothing().await.into_response()),
        Some(file) if file.is_final => {
            let fields =
                [(CONTENT_TYPE, "application/octet-stream"), (CACHE_CONTROL, "public, max-age=31536000, immutable")];
            Ok((fields, file.bytes).into_response())
        }
        Some(file) => {
            let fields = [(CONTENT_TYPE, "text/plain; charset=utf-8"), (CACHE_CONTROL, "no-cache")];
            Ok((fields, file.bytes).into_response())
        }
    }
}
