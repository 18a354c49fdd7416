//! Connection of a client of SMTP: bytes in and out, with or without TLS, each read and write within a time limit.

use crate::ipc::memory_budget::Share;
use crate::ipc::server::Client;
use crate::smtp::reply::Reply;
use rustls::{ServerConfig, ServerConnection, Stream};
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Timeout of sending replies.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the client may go on to send when the last reply is on its way, and how many bytes.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
const LINGER_MAX: usize = 1 << 20;
/// Bytes of a read.
const PIECE: usize = 64 * 1024;
/// Bytes that each connection may take without those that all share.
const OWN: usize = 2 * PIECE;

/// A connection.
pub(super) struct Connection<'a> {
    client: &'a Client,
    tls: Option<Box<ServerConnection>>,
    share: Share,
    buffer: Vec<u8>,
    /// Replies that are not sent yet.
    replies: Vec<u8>,
}

impl<'a> Connection<'a> {
    pub(super) fn new(client: &'a Client) -> Self {
        let share = client.memory();
        Self { client, tls: None, share, buffer: vec![0; PIECE], replies: Vec::new() }
    }

    /// Begins TLS, and has it until this time. All replies must have been sent.
    pub(super) fn protect(&mut self, config: Arc<ServerConfig>, until: Instant) -> io::Result<()> {
        let mut tls = ServerConnection::new(config).map_err(io::Error::other)?;
        let mut stream = self.client.until(until);
        self.client.while_idle(|| {
            while tls.is_handshaking() {
                tls.complete_io(&mut stream)?;
            }
            Ok::<_, io::Error>(())
        })?;
        self.tls = Some(Box::new(tls));
        Ok(())
    }

    /// Takes memory for a message of this many bytes. Returns false if too few are free.
    pub(super) fn hold(&mut self, message: usize) -> bool {
        self.share.resize((message + PIECE).saturating_sub(OWN))
    }

    /// Adds bytes of replies to those that are to be sent.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.replies.extend_from_slice(bytes);
    }

    /// Adds a reply to those that are to be sent.
    pub(super) fn reply(&mut self, reply: &Reply) {
        reply.write(&mut self.replies);
    }

    /// Sends the replies.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let mut stream = self.client.within(SEND_TIMEOUT);
        match &mut self.tls {
            None => stream.write_all(&self.replies)?,
            Some(tls) => {
                let mut stream = Stream::new(&mut **tls, &mut stream);
                stream.write_all(&self.replies)?;
                stream.flush()?;
            }
        }
        self.replies.clear();
        Ok(())
    }

    /// Receives bytes until this time. None come when the client closed the connection.
    pub(super) fn receive(&mut self, until: Instant) -> io::Result<&[u8]> {
        let mut stream = self.client.until(until);
        let read = self.client.while_idle(|| match &mut self.tls {
            None => stream.read(&mut self.buffer),
            Some(tls) => Stream::new(&mut **tls, &mut stream).read(&mut self.buffer),
        });
        let count = match read {
            // Many clients do not say in TLS that they go. An end within a message ends no message.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => 0,
            other => other?,
        };
        Ok(self.buffer.get(..count).unwrap_or_default())
    }

    /// Sends the replies, the last of all, and closes the connection. What the client has sent meanwhile is read for a moment:
    /// otherwise the system would reset the connection, and the reply would be lost.
    pub(super) fn close(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.writer().write_all(&self.replies)?;
            tls.send_close_notify();
            self.replies.clear();
        }
        self.flush()?;
        self.client.stream.shutdown(Shutdown::Write)?;
        let mut stream = self.client.within(LINGER_TIMEOUT);
        let mut total = 0;
        while total < LINGER_MAX
            && let Ok(count @ 1..) = self.client.while_idle(|| stream.read(&mut self.buffer))
        {
            total += count;
        }
        Ok(())
    }
}
