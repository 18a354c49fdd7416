//! One document over HTTPS, under the certificates of the system: within a time and a size, not compressed, following
//! redirects only within the origin, and not sent again if it has not changed (RFC 9110 section 13).

use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};
use ureq::http::{Response, Uri};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body};

/// How often a server may point elsewhere.
const REDIRECTS: u32 = 3;
/// Longer names of an answer are not kept.
const LONGEST_NAME: usize = 1024;

/// What the server called the document when it was got last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Its ETag.
    pub etag: Option<String>,
    /// Its Last-Modified.
    pub modified: Option<String>,
}

/// What the server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The document is what it was.
    Unchanged,
    /// The document.
    Document {
        /// Its bytes.
        bytes: Vec<u8>,
        /// What to say next time.
        conditions: Conditions,
    },
}

/// How much patience there is.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For all of it, redirects among it.
    pub time: Duration,
    /// The largest document, in bytes.
    pub bytes: u64,
}

/// The document was not to be had.
#[derive(Debug, thiserror::Error)]
pub enum HttpsError {
    /// Not an address of this kind.
    #[error("not an address of the form https://…")]
    Address,
    /// No connection, no certificate, no time.
    #[error("{0}")]
    Connection(String),
    /// A status that gives no document.
    #[error("the server answered with status {0}")]
    Status(u16),
    /// The server sends to somebody else.
    #[error("the server redirects to {0}, which is not the same origin")]
    Elsewhere(String),
    /// Round and round.
    #[error("the server redirects more than {REDIRECTS} times")]
    Redirects,
    /// Too large.
    #[error("the document is larger than {0} bytes")]
    TooLarge(u64),
    /// The answer broke off.
    #[error("the answer broke off: {0}")]
    Broken(std::io::Error),
}

impl HttpsError {
    /// Whether somebody may be up to something, and not just away.
    #[must_use]
    pub fn alarms(&self) -> bool {
        matches!(self, Self::Elsewhere(_) | Self::TooLarge(_))
            || matches!(self, Self::Connection(what) if what.contains("certificate"))
    }
}

/// Gets the document at `address`.
///
/// # Errors
/// [`HttpsError`].
pub fn get(address: &str, conditions: &Conditions, limits: Limits) -> Result<Answer, HttpsError> {
    let start = Instant::now();
    let agent = agent(true);
    let mut address: Uri = address.parse().map_err(|_| HttpsError::Address)?;
    for _ in 0..=REDIRECTS {
        let left = limits.time.saturating_sub(start.elapsed()).max(Duration::from_millis(1));
        let mut request = agent.get(&address).header("Accept", "application/json");
        for (name, value) in [("If-None-Match", &conditions.etag), ("If-Modified-Since", &conditions.modified)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        let request = request.config().timeout_global(Some(left)).build();
        let response = request.call().map_err(|error| HttpsError::Connection(error.to_string()))?;
        match response.status().as_u16() {
            200 => return document(response, limits.bytes),
            304 if *conditions != Conditions::default() => return Ok(Answer::Unchanged),
            301 | 302 | 303 | 307 | 308 => address = within(&address, &response)?,
            status => return Err(HttpsError::Status(status)),
        }
    }
    Err(HttpsError::Redirects)
}

/// What makes connections, with the certificates of the system; `https_only` unless it may go without TLS.
pub(super) fn agent(https_only: bool) -> Agent {
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::PlatformVerifier)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build();
    let config = Agent::config_builder()
        .tls_config(tls)
        .https_only(https_only)
        // Followed here, where the origin is looked at.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .user_agent(concat!("mailstamp/", env!("CARGO_PKG_VERSION")))
        .build();
    config.into()
}

fn document(response: Response<Body>, largest: u64) -> Result<Answer, HttpsError> {
    let named = |name: &str| {
        let value = response.headers().get(name).and_then(|value| value.to_str().ok());
        value.filter(|value| value.len() <= LONGEST_NAME).map(str::to_owned)
    };
    let conditions = Conditions { etag: named("etag"), modified: named("last-modified") };
    let mut bytes = Vec::new();
    let mut body = response.into_body().into_reader().take(largest + 1);
    body.read_to_end(&mut bytes).map_err(HttpsError::Broken)?;
    if bytes.len() as u64 > largest {
        return Err(HttpsError::TooLarge(largest));
    }
    Ok(Answer::Document { bytes, conditions })
}

/// Where a redirect leads, if that is the same scheme, host and port.
fn within(address: &Uri, response: &Response<Body>) -> Result<Uri, HttpsError> {
    let location = response.headers().get("location").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let elsewhere = || HttpsError::Elsewhere(location.chars().take(200).collect());
    let authority = address.authority().map(|authority| authority.as_str().to_ascii_lowercase()).unwrap_or_default();
    // A path alone stays where it is; two slashes begin a host.
    let absolute = if location.starts_with('/') && !location.starts_with("//") {
        format!("https://{authority}{location}")
    } else {
        location.to_owned()
    };
    let target: Uri = absolute.parse().map_err(|_| elsewhere())?;
    let origin = |uri: &Uri| {
        Some((uri.scheme_str()? == "https", uri.host()?.to_ascii_lowercase(), uri.port_u16().unwrap_or(443)))
    };
    if origin(&target).is_some_and(|there| there.0) && origin(&target) == origin(address) {
        Ok(target)
    } else {
        Err(elsewhere())
    }
}
