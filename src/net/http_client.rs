//! Client of a JSON service: over HTTPS with the system's certificates. Without TLS it connects only to this host, for
//! tests and for a vendor on the same machine, and never through a proxy. It follows no redirect, since the API key
//! goes with the request.

use super::failure;
use super::https::{self, Client};
use super::proxy::{ProxyError, is_loopback};
use std::io::Read;
use std::time::Duration;
use ureq::RequestExt;
use ureq::http::{Request as HttpRequest, Uri};

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
    #[error("the answer is larger than {} MiB", LARGEST >> 20)]
    TooLarge,
}

/// Returns whether a request may go to this address: HTTPS, or this host.
#[must_use]
pub fn is_allowed(address: &str) -> bool {
    let Ok(uri) = address.parse::<Uri>() else { return false };
    let Some(host) = uri.host().filter(|host| !host.is_empty()) else { return false };
    let user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
    if user || uri.query().is_some() {
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
    if !is_allowed(ask.address) {
        return Err(ServiceError::Address);
    }
    let address: Uri = ask.address.parse().map_err(|_| ServiceError::Address)?;
    let Client { agent, peer } = https::client(&address, address.scheme_str() == Some("https"))?;
    let mut request = HttpRequest::builder().uri(&address).header("Accept", "application/json");
    if let Some(key) = ask.key {
        request = request.header("Authorization", format!("Bearer {}", key.reveal()));
    }
    if let Some(idempotency) = ask.idempotency {
        request = request.header("Idempotency-Key", idempotency);
    }
    if let Some((name, value)) = ask.field {
        request = request.header(name, value);
    }
    let response = match ask.body {
        Some(body) => {
            let request = request.method("POST").header("Content-Type", "application/json").body(body.to_owned());
            let request = request.map_err(|_| ServiceError::Address)?.with_agent(&agent);
            request.configure().timeout_global(Some(ask.time)).run()
        }
        None => {
            let request = request.method("GET").body(()).map_err(|_| ServiceError::Address)?.with_agent(&agent);
            request.configure().timeout_global(Some(ask.time)).run()
        }
    };
    let response = response.map_err(|error| ServiceError::Connection(https::told(&error, &peer)))?;
    let status = response.status().as_u16();
    let mut body = Vec::new();
    let mut reader = response.into_body().into_reader().take(LARGEST + 1);
    reader.read_to_end(&mut body).map_err(|error| {
        let why = failure::describe(&error, &peer).unwrap_or_default();
        ServiceError::Connection(format!("the answer broke off: {why}"))
    })?;
    if body.len() as u64 > LARGEST {
        return Err(ServiceError::TooLarge);
    }
    Ok(Response { status, body })
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
            "http://10.0.0.1/",
            "",
        ] {
            assert!(!is_allowed(address), "{address}");
        }
    }

    #[test]
    fn a_secret_does_not_show() {
        assert_eq!(format!("{:?}", Secret::new("xyzzy".to_owned())), "Secret");
    }
}
