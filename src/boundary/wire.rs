//! Bytes of the milter protocol: a frame is a length of four bytes, a command byte, and data. The names of the
//! constants are those of libmilter (`mfdef.h`, `mfapi.h`), without their prefix.

use std::fmt;

/// Version of the protocol that is spoken.
pub const VERSION: u32 = 6;
/// Oldest version that is understood: sendmail 8.12.
const OLDEST: u32 = 2;
/// Longest frame, command byte included. Postfix sends a header field in one frame (header_size_limit, 100 KiB), and
/// 64 KiB of a body at most.
pub const FRAME_MAX: usize = 1 << 20;
/// Most macros in one frame that are looked at.
const MACROS: usize = 64;
/// Most bytes of a body in one frame.
const CHUNK: usize = 65_535;

/// Changes that a filter may ask for (`SMFIF_…`).
pub mod action {
    pub const ADD_HEADERS: u32 = 0x01;
    pub const CHANGE_BODY: u32 = 0x02;
    pub const ADD_RECIPIENTS: u32 = 0x04;
    pub const DELETE_RECIPIENTS: u32 = 0x08;
    pub const CHANGE_HEADERS: u32 = 0x10;
}

/// Parts of the protocol that are left out or added (`SMFIP_…`).
pub mod protocol {
    pub const NO_CONNECT: u32 = 0x01;
    pub const NO_HELO: u32 = 0x02;
    pub const NO_REPLY_HEADER: u32 = 0x80;
    pub const NO_UNKNOWN: u32 = 0x100;
    pub const NO_DATA: u32 = 0x200;
    pub const SKIP: u32 = 0x400;
    pub const NO_REPLY_CONNECT: u32 = 0x1000;
    pub const NO_REPLY_HELO: u32 = 0x2000;
    pub const NO_REPLY_MAIL: u32 = 0x4000;
    pub const NO_REPLY_RECIPIENT: u32 = 0x8000;
    pub const NO_REPLY_DATA: u32 = 0x1_0000;
    pub const NO_REPLY_UNKNOWN: u32 = 0x2_0000;
    pub const NO_REPLY_END_OF_HEADER: u32 = 0x4_0000;
    pub const NO_REPLY_BODY: u32 = 0x8_0000;
    /// The blanks after the colon of a field are a part of its value.
    pub const HEADER_LEADING_SPACE: u32 = 0x10_0000;
}

/// The peer does not speak the protocol. The connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// No command byte, or more bytes than any frame needs.
    #[error("milter: frame of {0} bytes, expected 1 to {FRAME_MAX}")]
    Length(u32),
    /// Data of another form.
    #[error("milter: malformed data of command {}", Letter(*.0))]
    Malformed(u8),
    /// No such command.
    #[error("milter: unknown command {}", Letter(*.0))]
    Unknown(u8),
    /// A command that may not come now.
    #[error("milter: command {} out of order", Letter(*.0))]
    OutOfOrder(u8),
    #[error("milter: protocol version {0}, expected {OLDEST} or later")]
    Version(u32),
    /// The MTA does not offer a change that may be needed.
    #[error("milter: the mail system offers the actions {offered:#x}, expected at least {needed:#x}")]
    Actions {
        /// What it offers.
        offered: u32,
        /// What is needed.
        needed: u32,
    },
}

/// A command byte in a message.
struct Letter(u8);

impl fmt::Display for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_ascii_graphic() { write!(f, "{}", char::from(self.0)) } else { write!(f, "{:#04x}", self.0) }
    }
}

/// Options that one side offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub version: u32,
    /// Bits of [`action`].
    pub actions: u32,
    /// Bits of [`protocol`].
    pub protocol: u32,
}

/// Command of the mail system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    Negotiate(Options),
    /// Values of macros for the command with this byte, which follows.
    Macros {
        /// The command.
        of: u8,
        /// Name and value.
        values: Vec<(&'a [u8], &'a [u8])>,
    },
    Connect,
    Helo,
    /// The envelope sender, in angle brackets. Its parameters are left out.
    Mail(&'a [u8]),
    /// A recipient, in angle brackets.
    Recipient(&'a [u8]),
    Data,
    Header {
        name: &'a [u8],
        /// Without the line end at its end. Its lines end with LF.
        value: &'a [u8],
    },
    EndOfHeader,
    /// A piece of the body.
    Body(&'a [u8]),
    /// The end of the message, perhaps with the last piece of the body.
    EndOfMessage(&'a [u8]),
    Abort,
    Quit,
    /// The connection goes on with another client.
    QuitForNext,
    /// An SMTP command that the mail system does not know.
    UnknownCommand,
}

/// Returns the length of a frame without its prefix.
///
/// # Errors
/// [`WireError::Length`] when it is 0 or too large.
pub fn length(prefix: [u8; 4]) -> Result<usize, WireError> {
    let length = u32::from_be_bytes(prefix);
    usize::try_from(length).ok().filter(|length| (1..=FRAME_MAX).contains(length)).ok_or(WireError::Length(length))
}

impl<'a> Command<'a> {
    /// Parses a frame without its prefix.
    ///
    /// # Errors
    /// [`WireError`]: the connection must be closed.
    pub fn parse(frame: &'a [u8]) -> Result<Self, WireError> {
        let (&letter, data) = frame.split_first().ok_or(WireError::Length(0))?;
        let malformed = WireError::Malformed(letter);
        let text = |data| text(data).map(|(text, _)| text).ok_or(malformed);
        Ok(match letter {
            b'O' => Self::Negotiate(Options::parse(data).ok_or(malformed)?),
            b'D' => {
                let (&of, mut rest) = data.split_first().ok_or(malformed)?;
                let mut values = Vec::new();
                while !rest.is_empty() && values.len() < MACROS {
                    let (name, after) = self::text(rest).ok_or(malformed)?;
                    let (value, after) = self::text(after).ok_or(malformed)?;
                    values.push((name, value));
                    rest = after;
                }
                Self::Macros { of, values }
            }
            b'C' => Self::Connect,
            b'H' => Self::Helo,
            b'M' => Self::Mail(text(data)?),
            b'R' => Self::Recipient(text(data)?),
            b'T' => Self::Data,
            b'L' => {
                let (name, rest) = self::text(data).ok_or(malformed)?;
                // A NUL in the value would only cut it.
                Self::Header { name, value: rest.strip_suffix(b"\0").ok_or(malformed)? }
            }
            b'N' => Self::EndOfHeader,
            b'B' => Self::Body(data),
            b'E' => Self::EndOfMessage(data),
            b'A' => Self::Abort,
            b'Q' => Self::Quit,
            b'K' => Self::QuitForNext,
            b'U' => Self::UnknownCommand,
            _ => return Err(WireError::Unknown(letter)),
        })
    }
}

/// Splits off a text that ends with NUL.
fn text(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(0, data)?;
    Some((data.get(..end)?, data.get(end + 1..)?))
}

impl Options {
    fn parse(data: &[u8]) -> Option<Self> {
        let (numbers, []) = data.as_chunks::<4>() else { return None };
        let &[version, actions, protocol] = numbers else { return None };
        let [version, actions, protocol] = [version, actions, protocol].map(u32::from_be_bytes);
        Some(Self { version, actions, protocol })
    }

    /// Returns whether the command with this byte has an answer.
    #[must_use]
    pub fn answers(&self, letter: u8) -> bool {
        let no_reply = match letter {
            b'D' | b'A' | b'Q' | b'K' => return false,
            b'C' => protocol::NO_REPLY_CONNECT,
            b'H' => protocol::NO_REPLY_HELO,
            b'M' => protocol::NO_REPLY_MAIL,
            b'R' => protocol::NO_REPLY_RECIPIENT,
            b'T' => protocol::NO_REPLY_DATA,
            b'L' => protocol::NO_REPLY_HEADER,
            b'N' => protocol::NO_REPLY_END_OF_HEADER,
            b'B' => protocol::NO_REPLY_BODY,
            b'U' => protocol::NO_REPLY_UNKNOWN,
            _ => return true,
        };
        self.protocol & no_reply == 0
    }

    /// Returns the answer to an offer of the mail system: all `needed` actions, and of the `wanted` parts of the
    /// protocol those that it offers.
    ///
    /// # Errors
    /// [`WireError`] when it is too old, or does not offer an action.
    pub fn agree(self, needed: u32, wanted: u32) -> Result<Self, WireError> {
        if self.version < OLDEST {
            return Err(WireError::Version(self.version));
        }
        if self.actions & needed != needed {
            return Err(WireError::Actions { offered: self.actions, needed });
        }
        Ok(Self { version: self.version.min(VERSION), actions: needed, protocol: self.protocol & wanted })
    }
}

/// Answer to the mail system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    Negotiate(Options),
    Continue,
    /// The message is accepted, with the changes that were sent before.
    Accept,
    /// The message is accepted and dropped.
    Discard,
    /// No more of the body is needed.
    Skip,
    /// The answer takes longer.
    Progress,
    /// An SMTP reply of one or several lines, `550 5.7.1 text`, with CRLF between them.
    Code(&'a str),
    AddRecipient(&'a str),
    /// As it came with [`Command::Recipient`].
    DeleteRecipient(&'a [u8]),
    /// Replaces the value of the field that has this number among those of its name, from 1 on. An empty value removes
    /// the field.
    ChangeHeader {
        index: u32,
        name: &'a [u8],
        value: &'a [u8],
    },
    /// Inserts a field above all others.
    InsertHeader {
        name: &'a str,
        value: &'a str,
    },
    ReplaceBody(&'a [u8]),
}

impl Reply<'_> {
    /// Appends the frame of this answer; of a long body, its frames.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Negotiate(options) => {
                let numbers = [options.version, options.actions, options.protocol].map(u32::to_be_bytes);
                frame(out, b'O', &[numbers.as_flattened()]);
            }
            Self::Continue => frame(out, b'c', &[]),
            Self::Accept => frame(out, b'a', &[]),
            Self::Discard => frame(out, b'd', &[]),
            Self::Skip => frame(out, b's', &[]),
            Self::Progress => frame(out, b'p', &[]),
            Self::Code(text) => frame(out, b'y', &[text.as_bytes(), b"\0"]),
            Self::AddRecipient(address) => frame(out, b'+', &[b"<", address.as_bytes(), b">\0"]),
            Self::DeleteRecipient(address) => frame(out, b'-', &[address, b"\0"]),
            Self::ChangeHeader { index, name, value } => {
                frame(out, b'm', &[&index.to_be_bytes(), name, b"\0", value, b"\0"]);
            }
            Self::InsertHeader { name, value } => {
                frame(out, b'i', &[&[0; 4], name.as_bytes(), b"\0", value.as_bytes(), b"\0"]);
            }
            Self::ReplaceBody([]) => frame(out, b'b', &[]),
            Self::ReplaceBody(body) => body.chunks(CHUNK).for_each(|chunk| frame(out, b'b', &[chunk])),
        }
    }
}

fn frame(out: &mut Vec<u8>, letter: u8, data: &[&[u8]]) {
    let length = 1 + data.iter().map(|part| part.len()).sum::<usize>();
    // No answer is longer than a message, which is far below 4 GiB.
    out.extend(u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    out.push(letter);
    data.iter().for_each(|part| out.extend_from_slice(part));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(reply: &Reply<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        reply.write(&mut out);
        out
    }

    #[test]
    fn commands_are_parsed() {
        let offer = Options { version: 6, actions: 0x1ff, protocol: 0x1f_ffff };
        for (frame, command) in [
            (&b"O\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xff"[..], Command::Negotiate(offer)),
            (
                b"DMi\x00123\0{auth_authen}\0bob\0",
                Command::Macros { of: b'M', values: vec![(b"i", b"123"), (b"{auth_authen}", b"bob")] },
            ),
            (b"DC", Command::Macros { of: b'C', values: vec![] }),
            (b"Cmx.y.example\x004\0\x19192.0.2.1\0", Command::Connect),
            (b"M<bob@y.example>\0SIZE=5\0", Command::Mail(b"<bob@y.example>")),
            (b"R<a@x.example>\0", Command::Recipient(b"<a@x.example>")),
            (b"LSubject\0 a\n b\0", Command::Header { name: b"Subject", value: b" a\n b" }),
            (b"Bhello\0", Command::Body(b"hello\0")),
            (b"E", Command::EndOfMessage(b"")),
        ] {
            assert_eq!(Command::parse(frame), Ok(command));
        }
        for (frame, error) in [
            (&b""[..], WireError::Length(0)),
            (b"O\0\0\0\x06", WireError::Malformed(b'O')),
            (b"D", WireError::Malformed(b'D')),
            (b"DMi\x00123", WireError::Malformed(b'D')),
            (b"M<bob@y.example>", WireError::Malformed(b'M')),
            (b"LSubject\0 a", WireError::Malformed(b'L')),
            (b"\x01", WireError::Unknown(1)),
        ] {
            assert_eq!(Command::parse(frame), Err(error));
        }
        assert_eq!(WireError::Unknown(b'x').to_string(), "milter: unknown command x");
    }

    #[test]
    fn a_frame_has_a_limit() {
        assert_eq!(length([0, 0, 0, 1]), Ok(1));
        assert_eq!(length([0, 0x10, 0, 0]), Ok(FRAME_MAX));
        for bad in [[0; 4], [0, 0x10, 0, 1], [0xff; 4]] {
            assert_eq!(length(bad), Err(WireError::Length(u32::from_be_bytes(bad))));
        }
    }

    #[test]
    fn more_macros_than_any_mail_system_sends_are_left_out() {
        let frame = [&b"DM"[..], &b"i\x001\0".repeat(10_000)].concat();
        let Ok(Command::Macros { values, .. }) = Command::parse(&frame) else { panic!() };
        assert_eq!(values.len(), MACROS);
    }

    #[test]
    fn answers_are_written() {
        for (reply, bytes) in [
            (Reply::Continue, &b"\0\0\0\x01c"[..]),
            (Reply::Code("550 5.7.1 no"), b"\0\0\0\x0ey550 5.7.1 no\0"),
            (Reply::AddRecipient("held@x"), b"\0\0\0\x0a+<held@x>\0"),
            (Reply::DeleteRecipient(b"<a@x>"), b"\0\0\0\x07-<a@x>\0"),
            (Reply::ChangeHeader { index: 2, name: b"X", value: b"" }, b"\0\0\0\x08m\0\0\0\x02X\0\0"),
            (Reply::InsertHeader { name: "X", value: " a" }, b"\0\0\0\x0ai\0\0\0\0X\0 a\0"),
            (Reply::ReplaceBody(b""), b"\0\0\0\x01b"),
        ] {
            assert_eq!(written(&reply), bytes, "{reply:?}");
        }
        let body = vec![b'x'; CHUNK + 1];
        let frames = written(&Reply::ReplaceBody(&body));
        assert_eq!((frames.len(), &frames[frames.len() - 6..]), (CHUNK + 1 + 10, &b"\0\0\0\x02bx"[..]));
    }

    #[test]
    fn what_is_not_offered_is_not_agreed() {
        let offer = Options { version: 9, actions: 0x1f, protocol: 0x480 };
        let agreed = offer.agree(0x11, protocol::SKIP | protocol::NO_HELO);
        assert_eq!(agreed, Ok(Options { version: VERSION, actions: 0x11, protocol: protocol::SKIP }));
        assert_eq!(offer.agree(0x20, 0), Err(WireError::Actions { offered: 0x1f, needed: 0x20 }));
        assert_eq!(Options { version: 1, ..offer }.agree(0, 0), Err(WireError::Version(1)));
    }
}
