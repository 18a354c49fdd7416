//! Connection: sends and receives whole frames, each within a time limit. A client that sends single bytes gets no more
//! time than one that sends none. Memory is allocated for received bytes, never for an announced length.

use super::frame::{self, Frame, FrameError, Kind, Limits, PREFIX, Prefix};
use super::memory_budget::Share;
use super::timed_stream::TimedStream;
use std::io::{self, IoSlice, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Bytes of the first read: enough for most messages.
const FIRST: usize = 16 * 1024;
/// Bytes of each further read, at least. A frame up to this length takes nothing of the shared memory.
const PIECE: usize = 64 * 1024;

/// How long a peer may take to read an answer before its connection counts as idle.
const SEND_GRACE: Duration = Duration::from_secs(1);

/// A connection.
#[derive(Debug)]
pub struct Connection {
    stream: Arc<UnixStream>,
    /// This connection's share of the memory that connections share.
    share: Option<Share>,
    idle: Arc<IdleClock>,
}

/// Since when a connection is idle, and may be closed for another one.
#[derive(Debug, Default)]
pub struct IdleClock(Mutex<Option<Instant>>);

impl IdleClock {
    /// Returns since when the connection is idle; `None` while a request is answered.
    #[must_use]
    pub fn since(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `receive`; the connection is idle meanwhile.
    pub fn while_receiving<T>(&self, receive: impl FnOnce() -> T) -> T {
        self.idle_after(Duration::ZERO, receive)
    }

    /// Runs `send`; the connection is idle if that takes long.
    pub fn while_sending<T>(&self, send: impl FnOnce() -> T) -> T {
        self.idle_after(SEND_GRACE, send)
    }

    fn idle_after<T>(&self, delay: Duration, wait: impl FnOnce() -> T) -> T {
        let set = |since| *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
        set(Some(Instant::now() + delay));
        let result = wait();
        set(None);
        result
    }
}

/// The peer sent no valid frame in time.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// It timed out, or the connection is closed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It sent an invalid frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("no memory left for a frame of this length")]
    NoRoom,
}

impl Connection {
    /// Makes a connection over a stream.
    #[must_use]
    pub fn new(stream: impl Into<Arc<UnixStream>>) -> Self {
        Self { stream: stream.into(), share: None, idle: Arc::default() }
    }

    /// As `new`, where long frames take from the shared memory, and the clock tells when the connection is idle.
    /// A frame holds its share until the next one is received.
    #[must_use]
    pub fn sharing(stream: Arc<UnixStream>, share: Share, idle: Arc<IdleClock>) -> Self {
        Self { stream, share: Some(share), idle }
    }

    /// Returns the stream.
    #[must_use]
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Sends a frame, with a timeout of `within`.
    pub fn send(&mut self, kind: Kind, head: &[u8], body: &[u8], within: Duration) -> Result<(), ChannelError> {
        self.idle.while_sending(|| self.send_frame(kind, head, body, within))
    }

    fn send_frame(&self, kind: Kind, head: &[u8], body: &[u8], within: Duration) -> Result<(), ChannelError> {
        let bytes = frame::begin(kind, head, body.len())?;
        let mut stream = TimedStream::within(&self.stream, within);
        let mut pieces = [IoSlice::new(&bytes), IoSlice::new(body)];
        let mut pieces = &mut pieces[..];
        IoSlice::advance_slices(&mut pieces, 0);
        while !pieces.is_empty() {
            match stream.write_vectored(pieces)? {
                0 => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                count => IoSlice::advance_slices(&mut pieces, count),
            }
        }
        Ok(())
    }

    /// Receives the next frame; `None` when the peer closed the connection before one.
    /// It must begin within `idle`, and be complete `within` after that.
    pub fn receive(&mut self, limits: Limits, idle: Duration, within: Duration) -> Result<Option<Frame>, ChannelError> {
        let clock = Arc::clone(&self.idle);
        clock.while_receiving(|| self.receive_frame(limits, idle, within))
    }

    fn receive_frame(
        &mut self,
        limits: Limits,
        idle: Duration,
        within: Duration,
    ) -> Result<Option<Frame>, ChannelError> {
        self.hold(0)?;
        let mut buffer = vec![0; FIRST];
        let mut count = TimedStream::within(&self.stream, idle).read(&mut buffer)?;
        if count == 0 {
            return Ok(None);
        }
        let until = Instant::now() + within;
        while count < PREFIX {
            count += self.more(&mut buffer[count..], until)?;
        }
        let prefix = match buffer.first_chunk::<PREFIX>() {
            Some(first) => Prefix::read(first, limits)?,
            None => return Ok(None),
        };
        // One request at a time: no byte may follow before the answer.
        let whole = PREFIX + prefix.rest();
        if count > whole {
            return Err(FrameError::TooLong(count as u64).into());
        }
        while count < whole {
            let length = buffer.len().max((2 * count).min(whole)).max((count + PIECE).min(whole));
            self.hold(length)?;
            buffer.reserve_exact(length - buffer.len());
            buffer.resize(length, 0);
            let end = length.min(whole);
            count += self.more(&mut buffer[count..end], until)?;
        }
        buffer.truncate(whole);
        Ok(Some(prefix.frame(buffer)))
    }

    /// Takes memory for this many bytes of a frame, and releases the rest.
    fn hold(&mut self, bytes: usize) -> Result<(), ChannelError> {
        let holds = self.share.as_mut().is_none_or(|share| share.resize(bytes.saturating_sub(PIECE)));
        if holds { Ok(()) } else { Err(ChannelError::NoRoom) }
    }

    fn more(&self, buffer: &mut [u8], until: Instant) -> Result<usize, ChannelError> {
        match TimedStream::new(&self.stream, until).read(buffer)? {
            0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            count => Ok(count),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    const SOON: Duration = Duration::from_millis(80);
    /// Longer than any machine takes.
    const LONG: Duration = Duration::from_secs(300);
    const LIMITS: Limits = Limits { head: 1_000, body: 10 << 20 };

    fn pair() -> (Connection, UnixStream) {
        let (one, other) = UnixStream::pair().unwrap();
        (Connection::new(one), other)
    }

    #[test]
    fn a_large_frame_arrives_whole() {
        let (mut here, there) = pair();
        let body: Vec<u8> = (0..5_000_000_u32).map(|number| number.to_le_bytes()[0]).collect();
        let sent = body.clone();
        let sender = thread::spawn(move || Connection::new(there).send(Kind::Judge, b"{}", &sent, LONG));
        let frame = here.receive(LIMITS, LONG, LONG).unwrap().unwrap();
        assert_eq!((frame.kind, frame.head.as_slice()), (Kind::Judge, &b"{}"[..]));
        assert!(frame.body == body);
        sender.join().unwrap().unwrap();
        assert!(here.receive(LIMITS, SOON, SOON).unwrap().is_none(), "it has hung up");
    }

    /// Threat 27: bytes that come one by one do not buy time.
    #[test]
    fn a_frame_that_trickles_in_is_not_waited_for() {
        let (mut here, mut there) = pair();
        let trickle = thread::spawn(move || {
            // The frame never ends: the announced body takes days.
            let beginning = frame::begin(Kind::Judge, b"{}", LIMITS.body).unwrap();
            for byte in beginning.into_iter().chain(std::iter::repeat(b'x')) {
                thread::sleep(SOON / 4);
                if there.write_all(&[byte]).is_err() {
                    return;
                }
            }
        });
        let error = here.receive(LIMITS, LONG, SOON).unwrap_err();
        assert!(matches!(error, ChannelError::Io(_)), "{error:?}");
        drop(here);
        trickle.join().unwrap();
    }

    #[test]
    fn half_a_frame_and_two_at_once_are_errors() {
        let (mut here, mut there) = pair();
        let whole = frame::begin(Kind::Status, b"{}", 0).unwrap();
        there.write_all(&[&whole[..], &whole[..]].concat()).unwrap();
        assert!(matches!(here.receive(LIMITS, SOON, SOON), Err(ChannelError::Frame(FrameError::TooLong(_)))));
        let (mut here, mut there) = pair();
        there.write_all(&whole[..13]).unwrap();
        drop(there);
        assert!(matches!(here.receive(LIMITS, SOON, SOON), Err(ChannelError::Io(_))));
    }
}
