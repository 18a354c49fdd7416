//! Connection of the mail system: bytes in and out, each read and write within a time limit.

use crate::emstamp::outbound::lmtp::Session;
use crate::ipc::memory_budget::Share;
use crate::ipc::server::Client;
use crate::smtp::reply::Reply;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

/// Idle timeout between commands, and between the parts of a message (RFC 5321 section 4.5.3.2: 5 and 3 minutes).
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
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
    share: Share,
    buffer: Vec<u8>,
    /// Replies that are not sent yet.
    replies: Vec<u8>,
}

impl<'a> Connection<'a> {
    pub(super) fn new(client: &'a Client) -> Self {
        Self { client, share: client.memory(), buffer: vec![0; PIECE], replies: Vec::new() }
    }

    /// Takes memory for a message of this many bytes. Returns false if too few are free.
    pub(super) fn hold(&mut self, message: usize) -> bool {
        self.share.resize((message + PIECE).saturating_sub(OWN))
    }

    /// Adds a reply to those that are to be sent.
    pub(super) fn reply(&mut self, reply: &Reply) {
        reply.write(&mut self.replies);
    }

    /// Sends the replies.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.client.within(SEND_TIMEOUT).write_all(&self.replies)?;
        self.replies.clear();
        Ok(())
    }

    /// Receives bytes for the session. Returns false when the client closed the connection.
    pub(super) fn receive(&mut self, session: &mut Session) -> io::Result<bool> {
        let mut stream = self.client.within(IDLE_TIMEOUT);
        let count = self.client.while_idle(|| stream.read(&mut self.buffer))?;
        session.receive(self.buffer.get(..count).unwrap_or_default());
        Ok(count > 0)
    }

    /// Sends a last reply, and closes the connection. What the client has sent meanwhile is read for a moment:
    /// otherwise the system would reset the connection, and the reply would be lost.
    pub(super) fn close(&mut self, reply: &Reply) -> io::Result<()> {
        self.reply(reply);
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
