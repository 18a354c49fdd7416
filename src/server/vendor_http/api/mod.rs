//! API for programs, `/v1/`: JSON in, JSON out, an API key in `Authorization: Bearer`. `openapi.json` describes all of
//! it. A unit test generates that file from the types in [`vendor_api`](crate::vendor_api).
//!
//! Decisions:
//!
//! - Every request that spends credits requires an idempotency key. Clients that may leave it out do so, and pay twice.
//! - Payouts are the operator's (`vendor payout`): a person should see money that leaves.

pub mod account;
pub mod deposits;
pub mod directory;
pub mod meters;
#[cfg(test)]
mod openapi_document;
pub mod prices;
pub mod stamps;

use super::Service;
use super::error::Problem;
use crate::stamp::strict_json;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Description of the API (OpenAPI 3.1).
pub const OPENAPI: &str = include_str!("openapi.json");

/// JSON body of a request.
#[derive(Clone, Copy, Debug)]
pub struct Body<T>(pub T);

/// JSON answer. Caches must not store it: it contains stamps and balances.
#[derive(Clone, Copy, Debug)]
pub struct Answer<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Service> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, service: &Service) -> Result<Self, Problem> {
        read(&bytes(request, service).await?).map(Self)
    }
}

/// Returns the bytes of a JSON body.
async fn bytes(request: Request, service: &Service) -> Result<Bytes, Problem> {
    if !is_json(request.headers()) {
        return Err(Problem::new("media-type", "the body must be application/json"));
    }
    Bytes::from_request(request, service).await.map_err(|error| {
        if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
            let most = service.settings().limits.body;
            let mut problem = Problem::new("too-large", format!("the body has more than {most} bytes"));
            problem.more.insert("cap".into(), most.into());
            problem
        } else {
            Problem::new("body", "the body is incomplete")
        }
    })
}

/// Parses a JSON object. Readers disagree about which of two equal names counts, so there must not be two.
fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let parsed = serde_json::from_slice(bytes);
    let parsed = parsed.map_err(|error| Problem::new("body", strict_json::problem(&error)))?;
    match strict_json::object(bytes) {
        Ok(_) => Ok(parsed),
        Err(error) => Err(Problem::new("body", error.to_string())),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = media_type.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    media_type.eq_ignore_ascii_case("application/json")
}

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], body).into_response(),
            Err(error) => Problem::trouble(&error.to_string()).into_response(),
        }
    }
}

/// Returns the idempotency key of a request (draft-ietf-httpapi-idempotency-key-header).
///
/// It has 1 to 128 printable characters, without the quotes around them.
///
/// # Errors
/// When it is missing or malformed.
pub fn idempotency_key(headers: &HeaderMap) -> Result<String, Problem> {
    let wrong = |what| Problem::new("idempotency-key", what);
    let mut fields = headers.get_all("idempotency-key").iter();
    let (Some(field), None) = (fields.next(), fields.next()) else {
        return Err(wrong(
            "the header field Idempotency-Key is required once: new for every purchase, the same for every retry",
        ));
    };
    let text = field.to_str().map_err(|_| wrong("Idempotency-Key is not printable"))?;
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    if (1..=128).contains(&text.len()) {
        Ok(text.to_owned())
    } else {
        Err(wrong("Idempotency-Key must have 1 to 128 characters"))
    }
}

/// Returns whether the client already has the version with this tag (RFC 9110 section 13.1.2).
///
/// Compares tags weakly, since proxies that compress make them weak. The service's own tags contain no comma.
#[must_use]
pub fn has(headers: &HeaderMap, tag: &str) -> bool {
    let fields = headers.get_all(IF_NONE_MATCH).iter().filter_map(|field| field.to_str().ok());
    let mut tags = fields.flat_map(|field| field.split(',')).map(str::trim);
    tags.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

/// `GET /v1/openapi.json`.
pub async fn openapi() -> Response {
    ([(CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

/// Answers a path without a route.
pub async fn nothing() -> Problem {
    Problem::new("not-found", "there is nothing at this address")
}

/// Answers a method that the route does not support.
pub async fn method() -> Problem {
    Problem::new("method", "this address does not support the method")
}
