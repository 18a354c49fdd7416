//! Text of a message after DATA (RFC 5321 section 4.5.2): ended by a dot on a line of its own, with a dot more on lines
//! that begin with one.
//!
//! Only CRLF ends a line, and only CRLF, dot, CRLF ends the text. A message with another CR or LF, or a NUL, is read to
//! its end and refused, since the next program may see other lines in it.

use super::reply::Reply;
use memchr::memchr3;

/// Reason why a message is refused, whatever it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A CR or LF that is not a part of CRLF.
    BareLineEnd,
    Nul,
    TooLarge,
    /// The memory that all connections share is used up.
    NoMemory,
}

impl Fault {
    /// Returns the reply to the client of a server that takes messages of at most `largest` bytes.
    #[must_use]
    pub fn reply(self, largest: usize) -> Reply {
        match self {
            Self::TooLarge => Reply::new(552, "5.3.4", format!("the message is larger than {largest} bytes")),
            Self::NoMemory => Reply::new(452, "4.3.1", "not enough memory, try again later"),
            Self::BareLineEnd => Reply::new(550, "5.6.11", "the message has a CR or LF that is not CRLF"),
            Self::Nul => Reply::new(550, "5.6.11", "the message contains a NUL"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    LineStart,
    Text,
    /// After a CR.
    Cr,
    /// After the first dot of a line.
    Dot,
    /// After a CR behind that dot.
    DotCr,
}

/// A message that arrives.
#[derive(Debug)]
pub struct Decoder {
    largest: usize,
    state: State,
    /// Bytes of the message as sent, without the dots that were added.
    size: usize,
    message: Vec<u8>,
    fault: Option<Fault>,
}

impl Decoder {
    /// Begins a message of at most `largest` bytes.
    #[must_use]
    pub fn new(largest: usize) -> Self {
        Self { largest, state: State::LineStart, size: 0, message: Vec::new(), fault: None }
    }

    /// Takes bytes up to the end of the message. Returns their number, and whether the message ended.
    pub fn take(&mut self, input: &[u8]) -> (usize, bool) {
        let mut at = 0;
        while let Some(&byte) = input.get(at) {
            match (self.state, byte) {
                (State::LineStart, b'.') => self.state = State::Dot,
                (State::Dot, b'\r') => self.state = State::DotCr,
                (State::DotCr, b'\n') => return (at + 1, true),
                (State::DotCr, _) => {
                    // The CR behind the dot ends no line.
                    self.refuse(Fault::BareLineEnd);
                    self.state = State::Text;
                    continue;
                }
                (State::Cr, b'\n') => {
                    self.put(b"\n", 2);
                    self.state = State::LineStart;
                }
                (State::Cr, _) => {
                    self.refuse(Fault::BareLineEnd);
                    self.state = State::Text;
                    continue;
                }
                (_, b'\r') => self.state = State::Cr,
                (_, b'\n' | 0) => {
                    self.refuse(if byte == 0 { Fault::Nul } else { Fault::BareLineEnd });
                    self.state = State::Text;
                }
                _ => {
                    let rest = input.get(at..).unwrap_or_default();
                    let length = memchr3(b'\r', b'\n', 0, rest).unwrap_or(rest.len());
                    let text = rest.get(..length).unwrap_or_default();
                    self.put(text, length);
                    self.state = State::Text;
                    at += length;
                    continue;
                }
            }
            at += 1;
        }
        (at, false)
    }

    /// Refuses the message, and forgets what came of it. The first reason counts.
    pub fn refuse(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
        self.message = Vec::new();
    }

    /// Returns how many bytes of memory the message takes.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.message.capacity()
    }

    /// Returns the message, with LF at the ends of its lines, or why it is refused.
    pub fn finish(self) -> Result<Vec<u8>, Fault> {
        self.fault.map_or(Ok(self.message), Err)
    }

    fn put(&mut self, bytes: &[u8], size: usize) {
        if self.fault.is_some() {
            return;
        }
        self.size += size;
        if self.size > self.largest {
            self.refuse(Fault::TooLarge);
        } else {
            self.message.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What becomes of these bytes: the message, and the bytes behind it.
    fn decode(input: &[u8]) -> (Result<Vec<u8>, Fault>, usize) {
        let mut decoder = Decoder::new(1_000);
        let (taken, ended) = decoder.take(input);
        assert!(ended, "{:?}", String::from_utf8_lossy(input));
        (decoder.finish(), input.len() - taken)
    }

    #[test]
    fn only_a_dot_on_a_line_of_its_own_ends_a_message() {
        for (input, message, behind) in [
            (&b".\r\nQUIT\r\n"[..], &b""[..], 6),
            (b"a\r\n.\r\n", b"a\n", 0),
            (b"..\r\n.x\r\n...\r\n.\r\n.\r\n", b".\nx\n..\n", 3),
            (b"a: b\r\n\r\n. .\r\n\xff\x80\r\n.\r\n", b"a: b\n\n .\n\xff\x80\n", 0),
        ] {
            assert_eq!(decode(input), (Ok(message.to_vec()), behind), "{input:?}");
        }
        // SMTP smuggling: each of these ends a message for some server.
        for end in ["\n.\n", "\n.\r\n", "\r.\r", "\r\n.\n", "\r\n.\r", "\r.\r\n", "\r\n.\r\r\n", "\n.\r", "\0\r\n.\n"] {
            let smuggled = format!("a{end}MAIL FROM:<eve@y.example>\r\n.\r\n");
            let (message, behind) = decode(smuggled.as_bytes());
            assert_eq!(behind, 0, "{end:?}");
            assert!(matches!(message, Err(Fault::BareLineEnd | Fault::Nul)), "{end:?}: {message:?}");
        }
        assert_eq!(decode(b"a\0b\r\n.\r\n").0, Err(Fault::Nul));
    }

    #[test]
    fn a_message_has_a_limit() {
        let of = |size: usize| decode(&[&b"x".repeat(size), &b"\r\n.\r\n"[..]].concat()).0.map(|it| it.len());
        assert_eq!((of(998), of(999)), (Ok(999), Err(Fault::TooLarge)));
    }

    /// As a client sends it.
    fn stuffed(message: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for line in message.split_inclusive(|&b| b == b'\n') {
            if line.starts_with(b".") {
                out.push(b'.');
            }
            out.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b".\r\n");
        out
    }

    proptest! {
        #[test]
        fn what_a_client_sends_arrives(message in prop::collection::vec(prop::sample::select(&b".\nab \xe4"[..]), 0..60)) {
            let mut message = message;
            if !message.is_empty() && !message.ends_with(b"\n") {
                message.push(b'\n');
            }
            prop_assert_eq!(decode(&stuffed(&message)), (Ok(message), 0));
        }

        #[test]
        fn pieces_are_as_good_as_the_whole(
            input in prop::collection::vec(prop::sample::select(&b".\r\n\0a"[..]), 0..60), cut in 0_usize..60
        ) {
            let whole = [&input[..], b"\r\n.\r\n"].concat();
            let mut pieces = Decoder::new(1_000);
            let (mut taken, mut ended) = pieces.take(&whole[..cut.min(whole.len())]);
            if !ended {
                let (more, end) = pieces.take(&whole[taken..]);
                (taken, ended) = (taken + more, end);
            }
            prop_assert!(ended);
            let end = &whole[..taken];
            prop_assert!(end == b".\r\n" || end.ends_with(b"\r\n.\r\n"));
            // The first place where a message may end is where it ends.
            let first = whole.windows(5).position(|it| it == b"\r\n.\r\n").map(|at| at + 5);
            prop_assert_eq!(Some(taken), if whole.starts_with(b".\r\n") { Some(3) } else { first });
            prop_assert_eq!((pieces.finish(), whole.len() - taken), decode(&whole));
        }
    }
}
