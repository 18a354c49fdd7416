//! TLS of the service: the certificate chain and its key. They are read at the start and again on SIGHUP, so that a
//! renewed certificate needs no restart. Clients are not authenticated here.

use super::ServeError;
use crate::server::http::listener::Handshake;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{Error, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_rustls::server::TlsStream;

/// Paths of certificate and key (PEM).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The certificate and its chain to a known authority.
    pub certificate: PathBuf,
    /// Its secret key.
    pub key: PathBuf,
}

/// The certificate in use.
pub struct Tls {
    files: Files,
    config: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    /// Reads certificate and key.
    ///
    /// # Errors
    /// [`ServeError::Tls`] says which file and why.
    pub fn read(files: &Files) -> Result<Self, ServeError> {
        Ok(Self { files: files.clone(), config: RwLock::new(config(files)?) })
    }

    /// Reads them again; on an error the previous ones stay in use.
    pub fn renew(&self) -> Result<(), ServeError> {
        let config = config(&self.files)?;
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    fn acceptor(&self) -> TlsAcceptor {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner)).into()
    }
}

impl Handshake for Arc<Tls> {
    type Stream = TlsStream<TcpStream>;

    /// Accepts with the current certificate.
    async fn handshake(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.acceptor().accept(stream).await
    }
}

fn config(files: &Files) -> Result<Arc<ServerConfig>, ServeError> {
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(|certificates| certificates.collect::<Result<Vec<_>, _>>())
        .map_err(|error| wrong(&files.certificate, &told(error)))?;
    if chain.is_empty() {
        return Err(wrong(&files.certificate, "contains no certificate"));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| wrong(&files.key, &told(error)))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&files.certificate, &error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => wrong(&files.key, "not the key of the certificate"),
            rustls::Error::InvalidCertificate(_) => wrong(&files.certificate, "not a certificate"),
            _ => wrong(&files.key, "not a key for RSA, ECDSA or Ed25519"),
        })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn wrong(path: &Path, what: &str) -> ServeError {
    ServeError::Tls { path: path.to_owned(), what: what.to_owned() }
}

fn told(error: Error) -> String {
    match error {
        Error::NoItemsFound => "contains no PEM block of this kind".to_owned(),
        Error::Io(error) if error.kind() == io::ErrorKind::NotFound => "no such file".to_owned(),
        Error::Io(error) => error.to_string(),
        _ => "malformed PEM".to_owned(),
    }
}
