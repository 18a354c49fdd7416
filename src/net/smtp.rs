//! SMTP client: hands a message to a submission server (RFC 6409), over one connection for each message. It trusts the
//! system's certificates. The configuration ensures that a password goes over a protected connection only.

use super::failure;
use crate::message::header::readable;
use lettre::address::Envelope;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, SmtpConnection, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Address, SmtpTransport, Transport};
use memchr::memchr;
use std::time::Duration;

/// Bytes of a server's reply that are kept.
const SAID: usize = 300;

/// Server, and the user's login there.
#[derive(Debug)]
pub struct Server {
    transport: SmtpTransport,
    /// Its name, for messages.
    host: String,
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
    /// Returns a server without connecting to it. `certificates` (PEM) are trusted in addition to the system's.
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
        let later = |error: Error| SmtpError::Later(told(&error, host));
        let parameters = || -> Result<TlsParameters, SmtpError> {
            let mut builder = TlsParameters::builder(host.to_owned());
            if let Some(pem) = certificates {
                // Any other text counts as a list of no certificates.
                if !pem.contains("-----BEGIN CERTIFICATE-----") {
                    return Err(SmtpError::Later("not certificates in PEM form".to_owned()));
                }
                builder = builder.add_root_certificate(Certificate::from_pem(pem.as_bytes()).map_err(later)?);
            }
            builder.build_rustls().map_err(later)
        };
        let tls = match protection {
            Protection::Implicit => Tls::Wrapper(parameters()?),
            Protection::Starttls => Tls::Required(parameters()?),
            Protection::None => Tls::None,
        };
        let mut builder = SmtpTransport::builder_dangerous(host).port(port).tls(tls).timeout(Some(limit));
        if let Some((user, password)) = login {
            builder = builder.credentials(Credentials::new(user, password));
        }
        Ok(Self { transport: builder.build(), host: host.to_owned() })
    }

    /// Sends a message from `sender` (`None` is the null sender) to one recipient.
    pub fn send(
        &self,
        sender: Option<&str>,
        to: &str,
        pieces: &mut dyn Iterator<Item = &[u8]>,
    ) -> Result<(), SmtpError> {
        let envelope = envelope(sender, to).map_err(SmtpError::Refused)?;
        let letter = with_crlf(pieces);
        let Err(error) = self.transport.send_raw(&envelope, &letter) else { return Ok(()) };
        let text = told(&error, &self.host);
        // 53x is about the login, not about the message: once the user has corrected the password, it is sent.
        let is_login = error.status().is_some_and(|code| (530..540).contains(&u16::from(code)));
        // A server without 8BITMIME or SMTPUTF8 never takes a message that needs it. No other error of lettre's own is
        // about the message.
        let is_unfit = error.is_client() && text.contains("contains non-ascii");
        let is_refused = error.is_permanent() && !is_login || is_unfit;
        Err(if is_refused { SmtpError::Refused(text) } else { SmtpError::Later(text) })
    }
}

/// Failure of [`hand_over`].
#[derive(Debug, thiserror::Error)]
pub enum HandOverError {
    /// The message was not sent.
    #[error("{0}")]
    Unsent(String),
    /// The server stopped answering when it had a part of the message or all of it.
    #[error("{0}")]
    Unknown(String),
}

/// Hands a message from the null sender to the mail server at `server` (`host:port`), over plain SMTP. `limit` is the
/// timeout of each answer.
pub fn hand_over(server: &str, to: &str, message: &str, limit: Duration) -> Result<(), HandOverError> {
    let envelope = envelope(None, to).map_err(HandOverError::Unsent)?;
    let unsent = |error: Error| HandOverError::Unsent(told(&error, server));
    let mut connection =
        SmtpConnection::connect(server, Some(limit), &ClientId::default(), None, None).map_err(unsent)?;
    match connection.send(&envelope, &with_crlf(&mut std::iter::once(message.as_bytes()))) {
        Ok(_) => {
            // It was taken, whatever comes now.
            let _ = connection.quit();
            Ok(())
        }
        Err(error) if error.status().is_some() || error.is_client() => Err(unsent(error)),
        Err(error) => Err(HandOverError::Unknown(told(&error, server))),
    }
}

fn envelope(sender: Option<&str>, to: &str) -> Result<Envelope, String> {
    let address =
        |text: &str| text.parse::<Address>().map_err(|error| format!("{}: {error}", readable(text.as_bytes(), SAID)));
    Envelope::new(sender.map(address).transpose()?, vec![address(to)?]).map_err(|error| error.to_string())
}

/// Describes the error, in printable characters: what the server said, what happened to the connection, or what is
/// missing.
fn told(error: &Error, host: &str) -> String {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    let text = match error.status() {
        Some(code) => format!("{host} answers {code}: {cause}"),
        None => failure::describe(error, host).unwrap_or_else(|| format!("{host}: {cause}")),
    };
    readable(text.trim_end_matches(": ").as_bytes(), SAID)
}

/// Converts a message to the line ends of SMTP (RFC 5321 section 2.3.8). It omits the last one, which the transport
/// writes before the dot that ends the message.
fn with_crlf(pieces: &mut dyn Iterator<Item = &[u8]>) -> Vec<u8> {
    let mut letter: Vec<u8> = Vec::new();
    for piece in pieces {
        let mut rest = piece;
        while let Some(at) = memchr(b'\n', rest) {
            let (line, after) = rest.split_at(at);
            letter.extend_from_slice(line);
            if letter.last() != Some(&b'\r') {
                letter.push(b'\r');
            }
            letter.push(b'\n');
            rest = after.get(1..).unwrap_or_default();
        }
        letter.extend_from_slice(rest);
    }
    if letter.ends_with(b"\r\n") {
        letter.truncate(letter.len() - 2);
    }
    letter
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType};
    use std::net::{Ipv4Addr, SocketAddrV4};

    #[test]
    fn lines_end_as_smtp_wants_them() {
        let sent =
            |pieces: &[&str]| String::from_utf8(with_crlf(&mut pieces.iter().map(|piece| piece.as_bytes()))).unwrap();
        assert_eq!(sent(&["A: b\nC: d\r", "\n\n.\nend"]), "A: b\r\nC: d\r\n\r\n.\r\nend");
        assert_eq!(sent(&["a\r\n"]), "a");
        assert_eq!(sent(&["A: b\n\n"]), "A: b\r\n");
    }

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
