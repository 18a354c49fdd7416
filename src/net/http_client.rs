//! Client of a service: over HTTPS with the system's certificates. Bodies are JSON ([`ask`]) or text ([`post_text`]).
//! Without TLS it connects only to this host, for tests and for a vendor on the same machine, and never through a
//! proxy. It follows no redirect, since the API key goes with the request.

use super::failure;
use super::https::{self, Client, Limits};
use super::proxy::{ProxyError, is_loopback};
use std::io::Read;
use std::time::Duration;
use ureq::http::request::Builder;
use ureq::http::{Request as HttpRequest, Uri};
use ureq::{Body, RequestExt, http};

/// Largest answer, in bytes: 16 MiB, about ten thousand stamps.
const LARGEST: u64 = 16 << 20;

/// Request to a service.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The address of the service and the path.
    pub address: &'a str,
    /// The API key, if the request needs it.
    pub key: Option<&'a Secret>,
    /// The key that makes a purchase idempotent (Idempotency-Key).
    pub idempotency: Option<&'a str>,
    /// One more header field: its name and its value.
    pub field: Option<(&'static str, &'a str)>,
    /// The body, in JSON; without one the method is GET.
    pub body: Option<&'a str>,
    /// The timeout of the whole request.
    pub time: Duration,
}

/// Text that is never printed.
#[derive(Clone)]
pub struct Secret(zeroize::Zeroizing<String>);

impl Secret {
    /// Keeps a text secret.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(zeroize::Zeroizing::new(text))
    }

    /// Returns the text, for the one caller that needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// Answer of a service, with any status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status (RFC 9110 section 15).
    pub status: u16,
    /// The media type, without parameters.
    pub media_type: Option<String>,
    pub body: Vec<u8>,
}

/// Failure to get a whole answer. The service may have carried out the request or not.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    #[error("not an address of the form https://… (http:// only on this host)")]
    Address,
    /// A malformed proxy in the environment.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// No connection, a bad certificate, a timeout, or a connection that broke.
    #[error("{0}")]
    Connection(String),
    #[error("the answer is larger than {0} bytes")]
    TooLarge(u64),
}

/// Returns whether a request may go to this address: HTTPS, or this host. It has no user, no query and no fragment.
#[must_use]
pub fn is_allowed(address: &str) -> bool {
    let Ok(uri) = address.parse::<Uri>() else { return false };
    let Some(host) = uri.host().filter(|host| !host.is_empty()) else { return false };
    // A user, or a port that is none, would stand beside the host.
    let plain = uri.port_u16().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let is_plain = uri.authority().is_some_and(|authority| authority.as_str() == plain);
    if !is_plain || uri.query().is_some() || address.contains('#') {
        return false;
    }
    match uri.scheme_str() {
        Some("https") => true,
        Some("http") => is_loopback(host),
        _ => false,
    }
}

/// Sends a request and waits for its answer.
///
/// # Errors
/// [`ServiceError`], whose text never contains the key.
pub fn ask(ask: Request<'_>) -> Result<Response, ServiceError> {
    let limits = Limits { time: ask.time, bytes: LARGEST };
    let body = ask.body.map(|body| ("application/json", body));
    send(ask.address, body, limits, |mut request| {
        request = request.header("Accept", "application/json");
        if let Some(key) = ask.key {
            request = request.header("Authorization", format!("Bearer {}", key.reveal()));
        }
        if let Some(idempotency) = ask.idempotency {
            request = request.header("Idempotency-Key", idempotency);
        }
        if let Some((name, value)) = ask.field {
            request = request.header(name, value);
        }
        request
    })
}

/// Posts a text and waits for the answer, which may be of any type.
///
/// # Errors
/// [`ServiceError`].
pub fn post_text(address: &str, text: &str, limits: Limits) -> Result<Response, ServiceError> {
    send(address, Some(("text/plain; charset=utf-8", text)), limits, |request| request)
}

/// Sends a request with the header fields that `fields` adds: a POST with a body of this media type, or a GET.
fn send(
    address: &str,
    body: Option<(&str, &str)>,
    limits: Limits,
    fields: impl FnOnce(Builder) -> Builder,
) -> Result<Response, ServiceError> {
    if !is_allowed(address) {
        return Err(ServiceError::Address);
    }
    let address: Uri = address.parse().map_err(|_| ServiceError::Address)?;
    let Client { agent, peer } = https::client(&address, address.scheme_str() == Some("https"))?;
    let request = fields(HttpRequest::builder().uri(&address));
    let response = match body {
        Some((media_type, body)) => {
            let request = request.method("POST").header("Content-Type", media_type).body(body.to_owned());
            let request = request.map_err(|_| ServiceError::Address)?.with_agent(&agent);
            request.configure().timeout_global(Some(limits.time)).run()
        }
        None => {
            let request = request.method("GET").body(()).map_err(|_| ServiceError::Address)?.with_agent(&agent);
            request.configure().timeout_global(Some(limits.time)).run()
        }
    };
    let response = response.map_err(|error| ServiceError::Connection(https::told(&error, &peer)))?;
    let (status, media_type) = (response.status().as_u16(), media_type(&response));
    let mut body = Vec::new();
    let mut reader = response.into_body().into_reader().take(limits.bytes.saturating_add(1));
    reader.read_to_end(&mut body).map_err(|error| {
        let why = failure::describe(&error, &peer).unwrap_or_default();
        ServiceError::Connection(format!("the answer broke off: {why}"))
    })?;
    if body.len() as u64 > limits.bytes {
        return Err(ServiceError::TooLarge(limits.bytes));
    }
    Ok(Response { status, media_type, body })
}

/// Returns the media type of an answer, in lower case and without parameters (RFC 9110 section 8.3.1).
fn media_type(response: &http::Response<Body>) -> Option<String> {
    let field = response.headers().get(http::header::CONTENT_TYPE)?.to_str().ok()?;
    field.split(';').next().map(|media_type| media_type.trim().to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_tls_a_request_goes_nowhere_but_to_this_host() {
        for address in ["https://v.example/v1", "http://127.0.0.1:8080/x", "http://[::1]:1/", "http://localhost"] {
            assert!(is_allowed(address), "{address}");
        }
        for address in [
            "http://v.example/",
            "http://127.0.0.1.example/",
            "http://localhost.example/",
            "ftp://127.0.0.1/",
            "/v1",
            "https://",
            "https://a@v.example/",
            "https://v.example/?a",
            "https://v.example/#a",
            "https://v.example#",
            "https://v.example:70000/",
            "https://v.example:/",
            "http://10.0.0.1/",
            "",
        ] {
            assert!(!is_allowed(address), "{address}");
        }
    }

    #[test]
    fn a_server_that_says_nothing_ends_the_request() {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/", server.local_addr().unwrap());
        let limits = Limits { time: Duration::from_millis(50), bytes: 10 };
        let answer = post_text(&address, "text", limits);
        assert!(matches!(answer, Err(ServiceError::Connection(_))), "{answer:?}");
        assert!(matches!(post_text("http://v.example/", "", limits), Err(ServiceError::Address)));
    }

    #[test]
    fn a_secret_does_not_show() {
        assert_eq!(format!("{:?}", Secret::new("xyzzy".to_owned())), "Secret");
    }
}
