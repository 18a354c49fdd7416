//! TLS of a connection: the server's certificate is verified, and a certificate of our own is shown if there is one.

use super::options::Options;
use crate::os::file_version::FileVersion;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::Arc;
use tokio_postgres_rustls::MakeRustlsConnect;

/// The connector that was made last, until one of its files changes.
#[derive(Default)]
pub(super) struct Connector(Option<(Vec<Option<FileVersion>>, MakeRustlsConnect)>);

impl Connector {
    /// Returns the connector; `None` without TLS. An error says which file is wrong, and why.
    pub(super) fn get(&mut self, options: &Options) -> Result<Option<MakeRustlsConnect>, String> {
        let Some(tls) = &options.tls else { return Ok(None) };
        let client = tls.client.iter().flat_map(|(chain, key)| [chain, key]);
        let versions: Vec<_> = tls.ca.iter().chain(client).map(|path| FileVersion::of(path)).collect();
        if let Some((of, connector)) = &self.0
            && *of == versions
        {
            return Ok(Some(connector.clone()));
        }
        let connector = MakeRustlsConnect::new(config(options)?);
        self.0 = Some((versions, connector.clone()));
        Ok(Some(connector))
    }

    /// Reads everything again the next time, also the certificates of the system.
    pub(super) fn forget(&mut self) {
        self.0 = None;
    }
}

fn config(options: &Options) -> Result<ClientConfig, String> {
    let tls = options.tls.clone().unwrap_or_default();
    let mut roots = RootCertStore::empty();
    match &tls.ca {
        Some(path) => {
            for certificate in certificates(options, path)? {
                roots.add(certificate).map_err(|_| wrong(path, "not a certificate of an authority"))?;
            }
        }
        None => {
            // Single files of the system may be unreadable; what is missing is told when a certificate is refused.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let Some((chain, key)) = &tls.client else { return Ok(config.with_no_client_auth()) };
    let text = (options.read_file)(key, true)?;
    let secret = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| wrong(key, "contains no private key"))?;
    let own = config.with_client_auth_cert(certificates(options, chain)?, secret);
    own.map_err(|_| wrong(key, "not the key of the certificate"))
}

fn certificates(options: &Options, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = (options.read_file)(path, false)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match found {
        Ok(found) if found.is_empty() => Err(wrong(path, "contains no certificate")),
        Ok(found) => Ok(found),
        Err(_) => Err(wrong(path, "malformed PEM")),
    }
}

fn wrong(path: &Path, what: &str) -> String {
    format!("{}: {what}", path.display())
}
