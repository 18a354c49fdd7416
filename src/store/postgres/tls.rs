//! TLS of a connection: the server's certificate is verified, and a certificate of our own is shown if there is one.

use super::options::Options;
use crate::os::file_version::FileVersion;
use crate::os::tls;
use rustls::ClientConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use std::fmt::Display;
use std::path::Path;
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
    let files = options.tls.clone().unwrap_or_default();
    let authorities = match &files.ca {
        Some(path) => {
            let text = (options.read_file)(path, false)?;
            tls::authorities(false, Some(&text)).map_err(|error| wrong(path, error))?
        }
        None => tls::authorities(true, None).map_err(|error| error.to_string())?,
    };
    let config = tls::client(authorities).map_err(|error| error.to_string())?;
    let Some((chain, key)) = &files.client else { return Ok(config.with_no_client_auth()) };
    let text = (options.read_file)(key, true)?;
    let secret = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| wrong(key, "contains no private key"))?;
    let certificates = tls::certificates(&(options.read_file)(chain, false)?).map_err(|error| wrong(chain, error))?;
    let own = config.with_client_auth_cert(certificates, secret);
    own.map_err(|_| wrong(key, "not the key of the certificate"))
}

fn wrong(path: &Path, what: impl Display) -> String {
    format!("{}: {what}", path.display())
}
