//! Submission server that a user has an account with. The system's certificates are trusted. The configuration ensures
//! that a password goes over a protected connection only.

use super::address;
use super::connection::{self, Tls};
use crate::os::tls;
use crate::smtp::client::text::Text;
use crate::smtp::client::{Client, Envelope};
use crate::smtp::session::Login;
use rustls::ClientConfig;
use std::sync::Arc;
use std::time::Duration;

/// Server, and the user's login there.
#[derive(Debug)]
pub struct Server {
    host: String,
    port: u16,
    tls: Option<Tls>,
    login: Option<Login>,
    limit: Duration,
}

/// How a connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// From the first byte on (RFC 8314).
    Implicit,
    /// By STARTTLS (RFC 3207).
    Starttls,
    None,
}

/// Failure to send a message.
#[derive(Debug, thiserror::Error)]
pub enum SmtpError {
    /// Permanent: the server will never take it (a status of 5xx).
    #[error("{0}")]
    Refused(String),
    /// Temporary: the server refuses it for now, could not be reached, or has a wrong certificate.
    #[error("{0}")]
    Later(String),
}

impl Server {
    /// Returns a server without connecting to it. `certificates` (PEM) are trusted in addition to the system's. `limit`
    /// is the timeout of each step.
    ///
    /// # Errors
    /// [`SmtpError::Later`] when the certificates cannot be used.
    pub fn new(
        host: &str,
        port: u16,
        protection: Protection,
        login: Option<(String, String)>,
        certificates: Option<&str>,
        limit: Duration,
    ) -> Result<Self, SmtpError> {
        let tls = match protection {
            Protection::None => None,
            Protection::Implicit | Protection::Starttls => Some(Tls {
                config: Arc::new(tls_config(certificates).map_err(SmtpError::Later)?),
                host: host.to_owned(),
                is_implicit: protection == Protection::Implicit,
            }),
        };
        let login = login.map(|(user, password)| Login { user, password });
        Ok(Self { host: host.to_owned(), port, tls, login, limit })
    }

    /// Sends a message from `sender` (`None` is the null sender) to one recipient.
    pub fn send(
        &self,
        sender: Option<&str>,
        to: &str,
        pieces: &mut dyn Iterator<Item = &[u8]>,
    ) -> Result<(), SmtpError> {
        let sender = sender.map(address).transpose().map_err(SmtpError::Refused)?;
        let recipient = address(to).map_err(SmtpError::Refused)?;
        let text = Text::of(pieces);
        let envelope = Envelope { sender: sender.as_ref(), recipient: &recipient, text: &text };
        let tls = self.tls.as_ref();
        let client = Client::new(envelope, tls.is_some_and(|tls| !tls.is_implicit), self.login.as_ref());
        connection::send((self.host.as_str(), self.port), tls, client, self.limit).map_err(|failure| {
            let text = failure.describe(&self.host);
            if failure.is_permanent() { SmtpError::Refused(text) } else { SmtpError::Later(text) }
        })
    }
}

fn tls_config(certificates: Option<&str>) -> Result<ClientConfig, String> {
    let authorities = tls::authorities(true, certificates).map_err(|error| error.to_string())?;
    Ok(tls::client(authorities).map_err(|error| error.to_string())?.with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType};
    use std::net::{Ipv4Addr, SocketAddrV4};

    #[test]
    fn who_does_not_answer_is_asked_later() {
        // The bound port is taken by no other program; as it does not listen, connections are refused.
        let flags = SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap();
        rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = SocketAddrV4::try_from(rustix::net::getsockname(&socket).unwrap()).unwrap().port();
        let server = Server::new("127.0.0.1", port, Protection::None, None, None, Duration::from_secs(60)).unwrap();
        let error = server.send(Some("a@x.example"), "b@y.example", &mut std::iter::once(&b"x\n"[..])).unwrap_err();
        assert!(matches!(error, SmtpError::Later(_)), "{error}");
        let error = server.send(None, "no address", &mut std::iter::once(&b"x\n"[..])).unwrap_err();
        assert!(matches!(error, SmtpError::Refused(_)), "{error}");
    }
}
