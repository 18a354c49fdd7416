//! No password in clear text, and none as MD5: over a connection without TLS it is not known who listens at the socket
//! or the port. The client library sends a password in the form that the server asks for. So this reads along until the
//! server is content, and ends the connection before the library sees such a request (PostgreSQL 15, 55.7). With SCRAM
//! a server learns nothing that would open another one.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The sentence about a server that asks for the password itself.
const REFUSED: &str = "it asks for the password in clear text or as MD5, and this connection is not encrypted; write \
                       scram-sha-256 into its pg_hba.conf and set the password anew, or use TLS";

/// A connection over which no password goes.
pub(super) struct ScramOnly<S> {
    stream: S,
    /// `None` once the server is content.
    reader: Option<Reader>,
}

/// Reads the server's messages, of which any part may come at a time.
#[derive(Default)]
struct Reader {
    /// Type, length, and for requests of authentication their code.
    head: Vec<u8>,
    /// Bytes of the message that are left.
    rest: usize,
}

impl<S> ScramOnly<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, reader: Some(Reader::default()) }
    }
}

impl Reader {
    /// Takes bytes in; returns whether the server is content.
    fn take(&mut self, mut bytes: &[u8]) -> io::Result<bool> {
        while !bytes.is_empty() {
            if self.rest > 0 {
                let passed = self.rest.min(bytes.len());
                (self.rest, bytes) = (self.rest - passed, &bytes[passed..]);
                continue;
            }
            self.head.push(bytes[0]);
            bytes = &bytes[1..];
            let (kind, length, code) = match *self.head.as_slice() {
                [kind, a, b, c, d] if kind != b'R' => (kind, [a, b, c, d], [0; 4]),
                [kind, a, b, c, d, e, f, g, h] => (kind, [a, b, c, d], [e, f, g, h]),
                _ => continue,
            };
            let passed = self.head.len() - 1;
            self.head.clear();
            self.rest = (u32::from_be_bytes(length) as usize).saturating_sub(passed);
            match (kind, u32::from_be_bytes(code)) {
                (b'R', 0) => return Ok(true),
                // AuthenticationSASL, and the two steps after it.
                (b'R', 10..=12) => {}
                (b'R', _) => return Err(io::Error::other(REFUSED)),
                _ => {}
            }
        }
        Ok(false)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ScramOnly<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if let Some(reader) = &mut self.reader
            && reader.take(&buffer.filled()[before..])?
        {
            self.reader = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ScramOnly<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(code: u32, more: &[u8]) -> Vec<u8> {
        let length = u32::try_from(8 + more.len()).unwrap();
        [b"R".as_slice(), &length.to_be_bytes(), &code.to_be_bytes(), more].concat()
    }

    #[test]
    fn only_scram_and_no_question_pass_in_any_pieces() {
        let notice = [b"N".as_slice(), &6_u32.to_be_bytes(), b"R\0"].concat();
        let scram = [request(10, b"SCRAM-SHA-256\0\0"), request(11, b"r=1"), request(12, b"v=1")].concat();
        for (code, is_taken) in [(0, true), (2, false), (3, false), (5, false), (7, false), (9, false)] {
            for before in [Vec::new(), notice.clone(), scram.clone()] {
                let bytes = [before, request(code, if code == 5 { b"salt" } else { b"" })].concat();
                for step in 1..=bytes.len() {
                    let mut reader = Reader::default();
                    let said: io::Result<Vec<bool>> = bytes.chunks(step).map(|piece| reader.take(piece)).collect();
                    assert_eq!(said.is_ok_and(|said| said.ends_with(&[true])), is_taken, "{code} {step}");
                }
            }
        }
    }
}
