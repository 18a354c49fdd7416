//! TLS of a connection: the server's certificate is verified, and a certificate of our own is shown if there is one.

use super::options::Tls;
use rustls::crypto::ring;
use rustls::pki_types::pem::{Error, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio_postgres_rustls::MakeRustlsConnect;

/// Reads the files; the error says which and why.
pub(super) fn connector(tls: &Tls) -> Result<Option<MakeRustlsConnect>, String> {
    let Tls::VerifyFull { ca, client } = tls else { return Ok(None) };
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            for certificate in certificates(path)? {
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
    let config = match client {
        None => config.with_no_client_auth(),
        Some((chain, key)) => {
            let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, &told(error)))?;
            config
                .with_client_auth_cert(certificates(chain)?, secret)
                .map_err(|_| wrong(key, "not the key of the certificate"))?
        }
    };
    Ok(Some(MakeRustlsConnect::new(config)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_file_iter(path).and_then(|all| all.collect::<Result<Vec<_>, _>>());
    match found {
        Ok(found) if found.is_empty() => Err(wrong(path, "contains no certificate")),
        Ok(found) => Ok(found),
        Err(error) => Err(wrong(path, &told(error))),
    }
}

fn wrong(path: &Path, what: &str) -> String {
    format!("{}: {what}", path.display())
}

fn told(error: Error) -> String {
    match error {
        Error::NoItemsFound => "contains no PEM block of this kind".to_owned(),
        Error::Io(error) if error.kind() == io::ErrorKind::NotFound => "no such file".to_owned(),
        Error::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => "may not be read".to_owned(),
        Error::Io(_) => "cannot be read".to_owned(),
        _ => "malformed PEM".to_owned(),
    }
}
