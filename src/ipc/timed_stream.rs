//! Stream with a deadline. A peer that sends single bytes gets no more time than one that sends none.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Reads and writes until a point in time. A connection that the peer has reset is at its end, as a pipe would be.
#[derive(Clone, Copy, Debug)]
pub struct TimedStream<'a> {
    stream: &'a UnixStream,
    until: Instant,
}

impl<'a> TimedStream<'a> {
    /// Returns the stream with this deadline.
    #[must_use]
    pub fn new(stream: &'a UnixStream, until: Instant) -> Self {
        Self { stream, until }
    }

    /// Returns the stream with a deadline from now on.
    #[must_use]
    pub fn within(stream: &'a UnixStream, limit: Duration) -> Self {
        Self::new(stream, Instant::now() + limit)
    }

    /// Calls `act` with what is left of the time as the timeout of the socket.
    fn attempt(
        self,
        set_timeout: fn(&UnixStream, Option<Duration>) -> io::Result<()>,
        mut act: impl FnMut(&UnixStream) -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            let left = self.until.saturating_duration_since(Instant::now());
            // A socket would take zero for no timeout.
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            set_timeout(self.stream, Some(left))?;
            match act(self.stream) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(ErrorKind::TimedOut.into()),
                other => return other,
            }
        }
    }
}

impl Read for TimedStream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.attempt(UnixStream::set_read_timeout, |mut stream| stream.read(buffer)) {
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(0),
            other => other,
        }
    }
}

impl Write for TimedStream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.attempt(UnixStream::set_write_timeout, |mut stream| stream.write(bytes))
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.attempt(UnixStream::set_write_timeout, |mut stream| stream.write_vectored(pieces))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(50);
    /// Longer than any machine takes.
    const LONG: Duration = Duration::from_secs(300);

    #[test]
    fn what_does_not_come_or_go_in_time_is_an_error() {
        let (here, there) = UnixStream::pair().unwrap();
        let mut stream = TimedStream::within(&here, SOON);
        assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut, "the time is up");
        let full = TimedStream::within(&here, SOON).write_all(&vec![0; 16 << 20]).unwrap_err();
        assert_eq!(full.kind(), ErrorKind::TimedOut);
        drop(there);
        assert_eq!(TimedStream::within(&here, LONG).read(&mut [0]).unwrap(), 0);
    }
}
