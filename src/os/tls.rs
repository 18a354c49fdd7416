//! TLS of clients: trusted authorities, and the configuration that verifies a server's certificate.

use rustls::client::WantsClientCert;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};
use std::sync::Arc;

/// The certificates in a text in PEM form cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    #[error("contains no certificate")]
    Missing,
    #[error("malformed PEM")]
    Pem,
    #[error("not a certificate of an authority")]
    Authority,
}

/// Returns the certificates in a text in PEM form, at least one.
pub fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let found = found.map_err(|_| CertificateError::Pem)?;
    if found.is_empty() { Err(CertificateError::Missing) } else { Ok(found) }
}

/// Returns the authorities of the system with these (PEM), if `with_system`, or these alone.
pub fn authorities(with_system: bool, own: Option<&str>) -> Result<RootCertStore, CertificateError> {
    let mut roots = RootCertStore::empty();
    if with_system {
        // Single files of the system may be unreadable; what is missing is told when a certificate is refused.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    for certificate in own.map(certificates).transpose()?.into_iter().flatten() {
        roots.add(certificate).map_err(|_| CertificateError::Authority)?;
    }
    Ok(roots)
}

/// Returns a configuration for TLS 1.2 and 1.3 that trusts these authorities, without the client's own certificate yet.
pub fn client(authorities: RootCertStore) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, rustls::Error> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    Ok(config.with_safe_default_protocol_versions()?.with_root_certificates(authorities))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_no_certificate_is_refused_by_name() {
        let block = |content: &str| format!("-----BEGIN CERTIFICATE-----\n{content}\n-----END CERTIFICATE-----\n");
        for (text, error) in [
            (String::new(), CertificateError::Missing),
            ("x".to_owned(), CertificateError::Missing),
            (block("?"), CertificateError::Pem),
            (block("AAAA"), CertificateError::Authority),
        ] {
            assert_eq!(authorities(false, Some(&text)).map(|roots| roots.len()), Err(error), "{text}");
        }
        assert_eq!(authorities(false, None).unwrap().len(), 0);
        assert!(client(authorities(true, None).unwrap()).is_ok());
    }
}
