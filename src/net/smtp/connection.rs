//! Connection to a server: bytes in and out, with or without TLS, each step within the time limit.
//!
//! Every command, and the message with the dot that ends it, is one write. TCP_NODELAY keeps the end of a longer
//! message from waiting for the server's acknowledgement of what came before it, which servers delay by 40 ms and more.

use super::SAID;
use crate::ipc::timed_stream::TimedStream;
use crate::message::header::readable;
use crate::net::failure;
use crate::smtp::client::{Client, ClientError, Conversation, Step};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Stream};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes of the message that get a time limit of their own (RFC 5321 section 4.5.3.2.5).
const PIECE: usize = 64 * 1024;
/// Bytes of a read.
const READ: usize = 4 * 1024;

/// TLS of a connection.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    pub config: Arc<ClientConfig>,
    /// The name that the certificate must have.
    pub host: String,
    /// From the first byte on (RFC 8314), in place of STARTTLS.
    pub is_implicit: bool,
}

/// The message was not accepted.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Protocol(ClientError),
    /// The connection could not be made, or broke before the server could have the whole message.
    #[error(transparent)]
    Connection(io::Error),
    /// The server's word on the message did not arrive.
    #[error(transparent)]
    Undecided(Box<Failure>),
    /// The server's name has no address.
    #[error("no address")]
    NoAddress,
    /// TLS cannot check this name.
    #[error("not a name that a certificate can have")]
    Name,
}

impl Failure {
    /// Returns whether the server will never take the message.
    pub(super) fn is_permanent(&self) -> bool {
        matches!(self, Self::Protocol(error) if error.is_permanent())
    }

    /// Returns whether the server may have accepted the message.
    pub(super) fn is_undecided(&self) -> bool {
        matches!(self, Self::Undecided(_))
    }

    /// Describes the failure, in printable characters: what the server said, or what happened to the connection.
    pub(super) fn describe(&self, peer: &str) -> String {
        let text = match self {
            Self::Undecided(failure) => return failure.describe(peer),
            Self::Protocol(error) => format!("{peer} {error}"),
            Self::Connection(error) => failure::describe(error, peer).unwrap_or_default(),
            Self::NoAddress => failure::no_address(peer),
            Self::Name => format!("{peer}: {self}"),
        };
        readable(text.trim_end_matches(": ").as_bytes(), SAID)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Connection(error)
    }
}

/// Connects to `peer` and sends the client's message. `limit` is the timeout of each step.
pub(super) fn send(
    peer: impl ToSocketAddrs,
    tls: Option<&Tls>,
    mut client: Client<'_>,
    limit: Duration,
) -> Result<(), Failure> {
    let mut connection = Connection::open(peer, limit)?;
    if let Some(tls) = tls.filter(|tls| tls.is_implicit) {
        connection.protect(tls)?;
    }
    let sent = connection.converse(&mut client, tls, None).map_err(|failure| match failure {
        Failure::Protocol(ref error) if error.is_refusal() => failure,
        failure if client.is_undecided() => Failure::Undecided(Box::new(failure)),
        failure => failure,
    });
    if !matches!(sent, Err(Failure::Undecided(_))) {
        let _ = connection.close();
    }
    sent
}

/// Connects to the first address that answers.
fn connect(peer: impl ToSocketAddrs, limit: Duration) -> Result<UnixStream, Failure> {
    let mut failure = Failure::NoAddress;
    for address in peer.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, limit) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                // Any socket is one for `TimedStream`.
                return Ok(OwnedFd::from(stream).into());
            }
            Err(error) => failure = error.into(),
        }
    }
    Err(failure)
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    tls: Option<Box<ClientConnection>>,
    limit: Duration,
}

impl Connection {
    /// Connects to `peer`. `limit` is the timeout of each step.
    pub(super) fn open(peer: impl ToSocketAddrs, limit: Duration) -> Result<Self, Failure> {
        Ok(Self { stream: connect(peer, limit)?, tls: None, limit })
    }

    /// Changes the timeout of each step.
    #[cfg(feature = "sender")]
    pub(super) fn set_limit(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// Sends what the client wants to send, until it has nothing more to say, at most until a time.
    pub(super) fn converse<'a>(
        &mut self,
        client: &mut impl Conversation<'a>,
        tls: Option<&Tls>,
        deadline: Option<Instant>,
    ) -> Result<(), Failure> {
        let next = |limit: Duration| {
            let until = Instant::now() + limit;
            deadline.map_or(until, |deadline| deadline.min(until))
        };
        let mut buffer = [0; READ];
        // The time for each reply begins with the one before it, however slowly its bytes come.
        let (mut count, mut until) = (client.count(), next(self.limit));
        loop {
            match client.step().map_err(Failure::Protocol)? {
                Step::Receive => {
                    if count != client.count() {
                        (count, until) = (client.count(), next(self.limit));
                    }
                    match self.read(&mut buffer, until)? {
                        0 => return Err(io::Error::from(ErrorKind::UnexpectedEof).into()),
                        length => client.receive(buffer.get(..length).unwrap_or_default()),
                    }
                }
                Step::Send(command) => self.write(&command)?,
                Step::SendText(text) => {
                    for piece in text.chunks(PIECE) {
                        self.write(piece)?;
                    }
                    until = next(self.limit);
                }
                Step::StartTls => {
                    if let Some(tls) = tls {
                        self.protect(tls)?;
                    }
                    self.write(&client.protect())?;
                }
                Step::Done => return Ok(()),
            }
        }
    }

    /// Begins TLS.
    fn protect(&mut self, tls: &Tls) -> Result<(), Failure> {
        let name = ServerName::try_from(tls.host.clone()).map_err(|_| Failure::Name)?;
        let mut connection = ClientConnection::new(Arc::clone(&tls.config), name).map_err(io::Error::other)?;
        let mut stream = TimedStream::within(&self.stream, self.limit);
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        self.tls = Some(Box::new(connection));
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8], until: Instant) -> io::Result<usize> {
        let mut stream = TimedStream::new(&self.stream, until);
        match &mut self.tls {
            None => stream.read(buffer),
            Some(tls) => Stream::new(&mut **tls, &mut stream).read(buffer),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut stream = TimedStream::within(&self.stream, self.limit);
        match &mut self.tls {
            None => stream.write_all(bytes),
            Some(tls) => {
                let mut stream = Stream::new(&mut **tls, &mut stream);
                stream.write_all(bytes)?;
                stream.flush()
            }
        }
    }

    /// Says QUIT. The reply is not waited for, since it would delay the record that the message was accepted.
    pub(super) fn close(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.writer().write_all(QUIT)?;
            tls.send_close_notify();
            return self.write(b"");
        }
        self.write(QUIT)
    }
}

const QUIT: &[u8] = b"QUIT\r\n";
