//! Connection of the milter: whole frames, each within a time limit. Memory is allocated for received bytes, never for
//! an announced length.

use crate::boundary::wire::{self, WireError};
use crate::ipc::memory_budget::Share;
use crate::ipc::server::Client;
use crate::ipc::timed_stream::TimedStream;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Idle timeout: that of libmilter. Between two commands, the mail system may wait for a slow client.
const IDLE_TIMEOUT: Duration = Duration::from_secs(7_210);
/// Timeout of the rest of a frame, and of sending an answer.
const FRAME_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of the prefix of a frame.
const PREFIX: usize = 4;
/// Bytes of a read, at least.
const PIECE: usize = 64 * 1024;
/// Bytes that each connection may take without those that all share.
const OWN: usize = 2 * PIECE;

/// The connection ended in the middle of something.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// A connection.
pub(super) struct Connection<'a> {
    client: &'a Client,
    share: Share,
    buffer: Vec<u8>,
    /// The bytes that were received and not yet returned.
    unread: Range<usize>,
}

impl<'a> Connection<'a> {
    pub(super) fn new(client: &'a Client) -> Self {
        Self { client, share: client.memory(), buffer: Vec::new(), unread: 0..0 }
    }

    /// Takes memory for a message of this many bytes, of what all connections share, which is at least `whole`. Returns
    /// false if too few are free.
    pub(super) fn hold(&mut self, message: usize, whole: usize) -> bool {
        self.share.grow(whole);
        self.share.resize((message + self.buffer.capacity()).saturating_sub(OWN))
    }

    /// Receives the next frame, without its prefix; `None` when the mail system closed the connection between two.
    pub(super) fn receive(&mut self) -> Result<Option<&[u8]>, ConnectionError> {
        let mut until = None;
        if self.unread.is_empty() {
            self.unread = 0..0;
            if self.buffer.len() > PIECE {
                self.buffer = Vec::new();
            }
            if self.client.while_idle(|| self.read(Instant::now() + IDLE_TIMEOUT))? == 0 {
                return Ok(None);
            }
        }
        loop {
            let bytes = self.buffer.get(self.unread.clone()).unwrap_or_default();
            let needed = match bytes.first_chunk::<PREFIX>() {
                Some(prefix) => PREFIX + wire::length(*prefix)?,
                None => PREFIX,
            };
            if needed > PREFIX && bytes.len() >= needed {
                let start = self.unread.start + PREFIX;
                self.unread.start += needed;
                return Ok(self.buffer.get(start..self.unread.start));
            }
            let until = *until.get_or_insert_with(|| Instant::now() + FRAME_TIMEOUT);
            if self.client.while_idle(|| self.read(until))? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }

    /// Sends what `write` appends.
    pub(super) fn send(&self, write: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let mut out = Vec::new();
        write(&mut out);
        self.client.while_sending(|| send(&self.client.stream, &out))
    }

    /// Receives more bytes behind those that are unread.
    fn read(&mut self, until: Instant) -> io::Result<usize> {
        self.buffer.copy_within(self.unread.clone(), 0);
        self.unread = 0..self.unread.len();
        if self.buffer.len() - self.unread.end < PIECE / 2 {
            self.buffer.resize(self.unread.end + PIECE, 0);
        }
        let space = self.buffer.get_mut(self.unread.end..).unwrap_or_default();
        let count = self.client.until(until).read(space)?;
        self.unread.end += count;
        Ok(count)
    }
}

/// Sends these bytes, within the time limit.
pub(super) fn send(stream: &UnixStream, bytes: &[u8]) -> io::Result<()> {
    TimedStream::within(stream, FRAME_TIMEOUT).write_all(bytes)
}
