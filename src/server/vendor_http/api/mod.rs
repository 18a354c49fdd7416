//! The interface for programs, `/v1/`: JSON in, JSON out, an API key in `Authorization: Bearer`. `openapi.json` describes
//! all of it, and a test holds that file against the routes and against real answers.
//!
//! Decided: whatever spends credits wants an idempotency key, because a client that may leave it out will, and pay twice.
//! Payouts are the operator's (`vendor payout`): money that leaves should be seen by somebody.

pub mod account;
pub mod deposits;
pub mod directory;
pub mod prices;
pub mod stamps;

use super::Service;
use super::error::Problem;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The description of the interface (OpenAPI 3.1).
pub const OPENAPI: &str = include_str!("openapi.json");

/// A body of JSON that was read.
#[derive(Clone, Copy, Debug)]
pub struct Body<T>(pub T);

/// An answer of JSON. Nobody on the way may keep it: it holds stamps and balances.
#[derive(Clone, Copy, Debug)]
pub struct Answer<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Service> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, service: &Service) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::new("media-type", "the body has to be application/json"));
        }
        let bytes = Bytes::from_request(request, service).await.map_err(|error| {
            if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
                let most = service.settings().limits.body;
                let mut problem = Problem::new("too-large", format!("the body has more than {most} bytes"));
                problem.more.insert("cap".into(), most.into());
                problem
            } else {
                Problem::new("body", "the body did not come whole")
            }
        })?;
        serde_json::from_slice(&bytes).map(Self).map_err(|error| Problem::new("body", error.to_string()))
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

/// The key of a request that must not be done twice (draft-ietf-httpapi-idempotency-key-header): 1 to 128 printable
/// characters, quotes around them not counted.
///
/// # Errors
/// When it is missing or malformed.
pub fn idempotency_key(headers: &HeaderMap) -> Result<String, Problem> {
    let wrong = |what| Problem::new("idempotency-key", what);
    let mut fields = headers.get_all("idempotency-key").iter();
    let (Some(field), None) = (fields.next(), fields.next()) else {
        return Err(wrong(
            "the header field Idempotency-Key has to be there once: new for every purchase, the same for every retry",
        ));
    };
    let text = field.to_str().map_err(|_| wrong("Idempotency-Key is not printable"))?;
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    if (1..=128).contains(&text.len()) {
        Ok(text.to_owned())
    } else {
        Err(wrong("Idempotency-Key is 1 to 128 characters"))
    }
}

/// Whether the caller has already what this tag stands for (RFC 9110 section 13.1.2): tags are compared weakly, since
/// proxies that compress make them weak. There is no comma in a tag of ours.
#[must_use]
pub fn has(headers: &HeaderMap, tag: &str) -> bool {
    let fields = headers.get_all(IF_NONE_MATCH).iter().filter_map(|field| field.to_str().ok());
    let mut tags = fields.flat_map(|field| field.split(',')).map(str::trim);
    tags.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

/// `/v1/openapi.json`.
pub async fn openapi() -> Response {
    ([(CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

/// What no other route takes.
pub async fn nothing() -> Problem {
    Problem::new("not-found", "there is nothing at this address")
}

/// A route that takes other methods.
pub async fn method() -> Problem {
    Problem::new("method", "this address does not know the method")
}
