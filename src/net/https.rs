//! HTTPS client for one document, with the system's certificates. It limits time and size, refuses compression, follows
//! redirects only within the origin, and does not fetch an unchanged document again (RFC 9110 section 13).

use super::failure;
use super::proxy::{self, ProxyError};
use super::redirect;
use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};
use ureq::http::{Response, Uri};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body, Error};

/// Limit on redirects.
const REDIRECTS: u32 = 3;
/// Longest ETag or Last-Modified that is kept.
const LONGEST_NAME: usize = 1024;

/// Validators of the document from the last fetch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    pub etag: Option<String>,
    /// Its Last-Modified.
    pub modified: Option<String>,
}

/// Answer of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The document has not changed.
    Unchanged,
    Document {
        bytes: Vec<u8>,
        /// The validators for the next fetch.
        conditions: Conditions,
    },
}

/// Limits of a fetch.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The timeout of the whole fetch, redirects included.
    pub time: Duration,
    /// The largest document, in bytes.
    pub bytes: u64,
}

/// Failure to get the document.
#[derive(Debug, thiserror::Error)]
pub enum HttpsError {
    #[error("not an address of the form https://…")]
    Address,
    /// A malformed proxy in the environment.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// No connection, a bad certificate, or a timeout.
    #[error("{0}")]
    Connection(String),
    #[error("the server answered with status {0}")]
    Status(u16),
    #[error("the server redirects to {0}, which is not the same origin")]
    Elsewhere(String),
    #[error("the server redirects to no valid address")]
    Location,
    #[error("the server redirects more than {REDIRECTS} times")]
    Redirects,
    #[error("the document is larger than {0} bytes")]
    TooLarge(u64),
    #[error("the answer broke off: {0}")]
    Broken(String),
}

impl HttpsError {
    /// Returns whether the error may be an attack, and not just an outage.
    #[must_use]
    pub fn alarms(&self) -> bool {
        matches!(self, Self::Elsewhere(_) | Self::TooLarge(_))
            || matches!(self, Self::Connection(what) if what.contains("certificate"))
    }
}

/// Gets the document at `address`.
pub fn get(address: &str, conditions: &Conditions, limits: Limits) -> Result<Answer, HttpsError> {
    let start = Instant::now();
    let mut address: Uri = address.parse().map_err(|_| HttpsError::Address)?;
    // Redirects keep the origin, so that the proxy is the same for all of them.
    let Client { agent, peer } = client(&address, true)?;
    for _ in 0..=REDIRECTS {
        let left = limits.time.saturating_sub(start.elapsed()).max(Duration::from_millis(1));
        let mut request = agent.get(&address).header("Accept", "application/json");
        for (name, value) in [("If-None-Match", &conditions.etag), ("If-Modified-Since", &conditions.modified)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        let request = request.config().timeout_global(Some(left)).build();
        let response = request.call().map_err(|error| HttpsError::Connection(told(&error, &peer)))?;
        match response.status().as_u16() {
            200 => return document(response, limits.bytes, &peer),
            304 if *conditions != Conditions::default() => return Ok(Answer::Unchanged),
            301 | 302 | 303 | 307 | 308 => address = within(&address, &response)?,
            status => return Err(HttpsError::Status(status)),
        }
    }
    Err(HttpsError::Redirects)
}

/// HTTP client, and the name of the host for messages.
pub(super) struct Client {
    pub(super) agent: Agent,
    pub(super) peer: String,
}

/// Returns a client for requests to the host of `address`, with the system's certificates; `https_only` refuses
/// connections without TLS.
pub(super) fn client(address: &Uri, https_only: bool) -> Result<Client, ProxyError> {
    let proxy = proxy::of(address)?;
    let host = address.authority().map_or("", |authority| authority.as_str());
    let peer = match &proxy {
        Some(proxy) => format!("{host} (by the proxy {}:{})", proxy.host(), proxy.port()),
        None => host.to_owned(),
    };
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::PlatformVerifier)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build();
    let config = Agent::config_builder()
        .tls_config(tls)
        .https_only(https_only)
        // Without this line ureq reads more variables than the manual names, and uses the proxy without TLS too.
        .proxy(proxy)
        // Followed below, where the origin is checked.
        .max_redirects(0)
        .max_redirects_will_error(false)
        // The server may close a kept connection just when the next request goes out (RFC 9112 section 9.3.1), so each
        // request has a connection of its own.
        .max_idle_connections(0)
        .http_status_as_error(false)
        .user_agent(concat!("mailstamp/", env!("CARGO_PKG_VERSION")))
        .build();
    Ok(Client { agent: config.into(), peer })
}

/// Describes the failure of a request.
pub(super) fn told(error: &Error, peer: &str) -> String {
    match error {
        Error::Io(error) => failure::describe(error, peer).unwrap_or_default(),
        Error::Rustls(error) => failure::describe(error, peer).unwrap_or_default(),
        Error::Timeout(_) => failure::too_slow(peer),
        Error::HostNotFound => failure::no_address(peer),
        Error::ConnectionFailed => format!("no connection to {peer}"),
        Error::Protocol(_) | Error::LargeResponseHeader(..) => format!("the answer of {peer} is not HTTP"),
        // Its text may quote a field.
        Error::Http(_) => "the request could not be made".to_owned(),
        error => format!("no answer of {peer}: {error}"),
    }
}

fn document(response: Response<Body>, largest: u64, peer: &str) -> Result<Answer, HttpsError> {
    let named = |name: &str| {
        let value = response.headers().get(name).and_then(|value| value.to_str().ok());
        value.filter(|value| value.len() <= LONGEST_NAME).map(str::to_owned)
    };
    let conditions = Conditions { etag: named("etag"), modified: named("last-modified") };
    let mut bytes = Vec::new();
    let mut body = response.into_body().into_reader().take(largest + 1);
    let broken = |error| HttpsError::Broken(failure::describe(&error, peer).unwrap_or_default());
    body.read_to_end(&mut bytes).map_err(broken)?;
    if bytes.len() as u64 > largest {
        return Err(HttpsError::TooLarge(largest));
    }
    Ok(Answer::Document { bytes, conditions })
}

/// Returns the target of a redirect, if it has the same scheme, host and port.
fn within(address: &Uri, response: &Response<Body>) -> Result<Uri, HttpsError> {
    let location = response.headers().get("location").and_then(|value| value.to_str().ok());
    let target = location.and_then(|location| redirect::target(address, location)).ok_or(HttpsError::Location)?;
    let origin = |uri: &Uri| {
        Some((uri.scheme_str()? == "https", uri.host()?.to_ascii_lowercase(), uri.port_u16().unwrap_or(443)))
    };
    if origin(&target).is_some_and(|there| there.0) && origin(&target) == origin(address) {
        Ok(target)
    } else {
        Err(HttpsError::Elsewhere(target.to_string().chars().take(200).collect()))
    }
}
