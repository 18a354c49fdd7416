//! TLS of the service. Certificate and key are read at the start and again on SIGHUP, so that a renewed certificate
//! needs no restart.

use crate::server::http::listener::Handshake;
use crate::server::tls::{Certificate, Files, TlsError};
use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The certificate in use.
pub struct Tls {
    files: Files,
    acceptor: RwLock<TlsAcceptor>,
}

impl Tls {
    /// Reads certificate and key.
    pub fn read(files: &Files) -> Result<Self, TlsError> {
        Ok(Self { files: files.clone(), acceptor: RwLock::new(acceptor(files)?) })
    }

    /// Reads them again; on an error the previous ones stay in use.
    pub fn renew(&self) -> Result<(), TlsError> {
        let acceptor = acceptor(&self.files)?;
        *self.acceptor.write().unwrap_or_else(PoisonError::into_inner) = acceptor;
        Ok(())
    }
}

impl Handshake for Arc<Tls> {
    type Stream = TlsStream<TcpStream>;

    /// Accepts with the current certificate.
    async fn handshake(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let acceptor = self.acceptor.read().unwrap_or_else(PoisonError::into_inner).clone();
        acceptor.accept(stream).await
    }
}

fn acceptor(files: &Files) -> Result<TlsAcceptor, TlsError> {
    let mut config = Certificate::read(files)?.config;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config).into())
}
