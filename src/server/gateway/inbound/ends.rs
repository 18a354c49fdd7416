//! The two connections of a session: that of the client, and that to the mail system behind.

use crate::emstamp::inbound::{Lost, Patience, Wires};
use crate::ipc::server::Client;
use crate::ipc::timed_stream::TimedStream;
use crate::server::diagnostics::log_stderr;
use crate::server::smtp_connection::Connection;
use crate::server::tls::RenewedCertificate;
use crate::smtp::client::reply::Replies;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Idle timeout between commands, and between the parts of a message (RFC 5321 section 4.5.3.2: 5 and 3 minutes).
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// Timeout of the handshake of TLS.
const TLS_TIMEOUT: Duration = Duration::from_secs(60);
/// Timeouts of the mail system behind: for its connection, its replies, and its reply to a message (RFC 5321 section
/// 4.5.3.2: 5 and 10 minutes).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
const REPLY_TIMEOUT: Duration = Duration::from_secs(300);
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(600);
/// Bytes of a read of replies.
const PIECE: usize = 8 * 1024;

/// The connections.
pub(super) struct Ends<'a> {
    client: &'a Client,
    connection: Connection<'a>,
    certificate: Option<Arc<RenewedCertificate>>,
    /// The mail system behind, if it can be reached. The type is that of other streams, as with clients.
    inner: Option<UnixStream>,
}

impl<'a> Ends<'a> {
    pub(super) fn new(client: &'a Client, certificate: Option<Arc<RenewedCertificate>>) -> Self {
        Self { client, connection: Connection::new(client), certificate, inner: None }
    }

    /// Connects to the mail system behind.
    pub(super) fn connect(&mut self, inner: SocketAddr) -> io::Result<()> {
        let stream = TcpStream::connect_timeout(&inner, CONNECT_TIMEOUT)?;
        stream.set_nodelay(true)?;
        self.inner = Some(OwnedFd::from(stream).into());
        Ok(())
    }

    /// Sends last bytes to the client, unless it is gone, and closes the connection.
    pub(super) fn close(&mut self, last: Option<Vec<u8>>) -> io::Result<()> {
        let Some(last) = last else { return Ok(()) };
        self.connection.write(&last);
        match self.connection.close() {
            // Many clients are gone before the reply to QUIT.
            Err(error) if is_gone(&error) => Ok(()),
            other => other,
        }
    }

    fn lost(&self, error: &io::Error) -> Lost {
        if self.client.is_over() {
            Lost::Over
        } else if error.kind() == ErrorKind::TimedOut {
            Lost::TimedOut
        } else {
            Lost::Gone
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionReset, NotConnected, TimedOut};
    matches!(error.kind(), BrokenPipe | ConnectionReset | NotConnected | TimedOut)
}

impl Wires for Ends<'_> {
    fn receive(&mut self, to: &mut Vec<u8>) -> Result<(), Lost> {
        match self.connection.receive(Instant::now() + IDLE_TIMEOUT) {
            Ok([]) => Err(if self.client.is_over() { Lost::Over } else { Lost::Gone }),
            Ok(bytes) => {
                to.extend_from_slice(bytes);
                Ok(())
            }
            Err(error) => Err(self.lost(&error)),
        }
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Lost> {
        self.connection.write(bytes);
        self.connection.flush().map_err(|_| Lost::Gone)
    }

    fn protect(&mut self) -> Result<(), Lost> {
        let config = self.certificate.as_ref().ok_or(Lost::Gone)?.current();
        self.connection.protect(config, Instant::now() + TLS_TIMEOUT).map_err(|error| {
            log_stderr(&format!("gateway: no TLS with {}: {error}", self.client.peer));
            Lost::Gone
        })
    }

    fn hold(&mut self, bytes: usize) -> bool {
        self.connection.hold(bytes)
    }

    fn receive_inner(&mut self, to: &mut Replies, patience: Patience) -> Result<(), Lost> {
        let inner = self.inner.as_ref().ok_or(Lost::Gone)?;
        let limit = if patience == Patience::Message { MESSAGE_TIMEOUT } else { REPLY_TIMEOUT };
        let mut bytes = [0; PIECE];
        let count = TimedStream::within(inner, limit).read(&mut bytes).map_err(|_| Lost::TimedOut)?;
        to.receive(bytes.get(..count).unwrap_or_default());
        if count == 0 { Err(Lost::Gone) } else { Ok(()) }
    }

    fn send_inner(&mut self, bytes: &[u8]) -> Result<(), Lost> {
        let inner = self.inner.as_ref().ok_or(Lost::Gone)?;
        TimedStream::within(inner, REPLY_TIMEOUT).write_all(bytes).map_err(|_| Lost::Gone)
    }
}
