//! Certificate of a server that speaks TLS: the chain and its key, from files in PEM form. TLS 1.2 and 1.3; clients are
//! not authenticated here.

use crate::config::file::{self, FileError, FileErrorKind};
use crate::config::submission::ServerTls;
use crate::os::clock;
use crate::os::file_version::FileVersion;
use crate::server::diagnostics::log_stderr;
use crate::time::UnixTime;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::ring;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{self, CertificateDer, PrivateKeyDer};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, RootCertStore, ServerConfig};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long before its end a certificate should have been renewed, in seconds: certbot does it after 60 days of 90.
const ENDING: i64 = 14 * 86_400;

/// Paths of certificate and key (PEM).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The certificate and its chain to a known authority.
    pub certificate: PathBuf,
    /// Its secret key, which no other user may read.
    pub key: PathBuf,
}

impl From<&ServerTls> for Files {
    fn from(tls: &ServerTls) -> Self {
        Self { certificate: tls.certificate.clone(), key: tls.key.clone() }
    }
}

/// The certificate or its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{}: {what}", path.display())]
    Content { path: PathBuf, what: &'static str },
    #[error(transparent)]
    File(#[from] FileError),
}

/// Certificate chain with its key, ready for use.
#[derive(Clone, Debug)]
pub struct Certificate {
    pub config: ServerConfig,
    /// When the certificate begins to be valid, and when it ends.
    pub validity: Option<(UnixTime, UnixTime)>,
}

impl Certificate {
    /// Reads certificate and key.
    ///
    /// # Errors
    /// [`TlsError`] says which file and why.
    pub fn read(files: &Files) -> Result<Self, TlsError> {
        let wrong = |path: &Path, what| TlsError::Content { path: path.to_owned(), what };
        let pem = file::read(&files.certificate).map_err(plain)?;
        let chain = CertificateDer::pem_slice_iter(pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| wrong(&files.certificate, told(&error)))?;
        let first = chain.first().ok_or_else(|| wrong(&files.certificate, "contains no certificate"))?;
        let validity = validity(first);
        let pem = file::read_secret(&files.key).map_err(plain)?;
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|error| wrong(&files.key, told(&error)))?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|_| wrong(&files.certificate, "cannot be used by this version of TLS"))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| match error {
                Error::InconsistentKeys(_) => wrong(&files.key, "not the key of the certificate"),
                Error::InvalidCertificate(_) => wrong(&files.certificate, "not a certificate of X.509 version 3"),
                _ => wrong(&files.key, "not a key for RSA, ECDSA or Ed25519"),
            })?;
        Ok(Self { config, validity })
    }
}

/// State of a certificate at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// Until this time.
    Good(UnixTime),
    /// As `Good`, and the time is near.
    Ending(UnixTime),
    /// Not before this time.
    Early(UnixTime),
    /// It ended at this time.
    Over(UnixTime),
    Unknown,
}

impl Certificate {
    /// Returns the state at this time.
    #[must_use]
    pub fn validity_at(&self, now: UnixTime) -> Validity {
        match self.validity {
            None => Validity::Unknown,
            Some((begin, _)) if now < begin => Validity::Early(begin),
            Some((_, end)) if now > end => Validity::Over(end),
            Some((_, end)) if end.since(now) < ENDING => Validity::Ending(end),
            Some((_, end)) => Validity::Good(end),
        }
    }
}

impl fmt::Display for Validity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good(end) => write!(f, "valid until {end}"),
            Self::Ending(end) => write!(f, "expires on {end}"),
            Self::Early(begin) => write!(f, "not valid before {begin}"),
            Self::Over(end) => write!(f, "expired on {end}"),
            Self::Unknown => f.write_str("has no period in which it is valid"),
        }
    }
}

/// Returns the period in which a certificate is valid. The library tells it only in the error of a check at another
/// time.
fn validity(certificate: &CertificateDer<'_>) -> Option<(UnixTime, UnixTime)> {
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    let roots = RootCertStore::empty();
    let algorithms = ring::default_provider().signature_verification_algorithms.all;
    let at = |seconds| {
        let now = pki_types::UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        verify_server_cert_signed_by_trust_anchor(&parsed, &roots, &[], now, algorithms)
    };
    let time = |time: pki_types::UnixTime| Some(UnixTime(i64::try_from(time.as_secs()).ok()?));
    let begin = match at(0) {
        Err(Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. })) => not_before,
        _ => pki_types::UnixTime::since_unix_epoch(Duration::ZERO),
    };
    match at(u64::MAX) {
        Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
            Some((time(begin)?, time(not_after)?))
        }
        _ => None,
    }
}

/// Returns the error of a missing file without the system's words.
fn plain(error: FileError) -> TlsError {
    match error.kind {
        FileErrorKind::Io(_) if error.is_absent() => TlsError::Content { path: error.path, what: "no such file" },
        _ => TlsError::File(error),
    }
}

fn told(error: &PemError) -> &'static str {
    match error {
        PemError::NoItemsFound => "contains no PEM block of this kind",
        _ => "malformed PEM",
    }
}

/// Certificate that is read again when its files change, so that a renewal needs no signal.
#[derive(Debug)]
pub struct RenewedCertificate {
    files: Files,
    current: Mutex<(Arc<ServerConfig>, Seen)>,
}

/// The two files, as they were last read.
type Seen = [Option<FileVersion>; 2];

impl RenewedCertificate {
    /// Reads certificate and key. One that is not valid now is reported and used, since the next one comes without a
    /// start.
    ///
    /// # Errors
    /// [`TlsError`] says which file and why.
    pub fn read(files: &Files) -> Result<Self, TlsError> {
        let seen = seen(files);
        let certificate = Certificate::read(files)?;
        warn(files, &certificate);
        Ok(Self { files: files.clone(), current: Mutex::new((Arc::new(certificate.config), seen)) })
    }

    /// Returns the certificate as the files have it. If they cannot be used, for example between the replacement of the
    /// one and of the other, the last good one stays, and each change of the files is tried and reported once.
    #[must_use]
    pub fn current(&self) -> Arc<ServerConfig> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let now = seen(&self.files);
        if now != current.1 {
            current.1 = now;
            match Certificate::read(&self.files) {
                Ok(certificate) => {
                    warn(&self.files, &certificate);
                    current.0 = Arc::new(certificate.config);
                    log_stderr(&format!("{}: read the new certificate", self.files.certificate.display()));
                }
                Err(error) => log_stderr(&format!("{error}; the previous certificate stays in use")),
            }
        }
        Arc::clone(&current.0)
    }
}

/// Reports a certificate that is not valid now.
fn warn(files: &Files, certificate: &Certificate) {
    let validity = certificate.validity_at(clock::now());
    if !matches!(validity, Validity::Good(_) | Validity::Ending(_)) {
        log_stderr(&format!("warning: {}: {validity}", files.certificate.display()));
    }
}

fn seen(files: &Files) -> Seen {
    [&files.certificate, &files.key].map(|path| FileVersion::of(path))
}
