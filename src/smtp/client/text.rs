//! Text of a message for DATA (RFC 5321 section 4.5.2), as `smtp::data` reads it.
//!
//! Every line ends with CRLF, a dot is added to lines that begin with one, and a dot on a line of its own ends the
//! text. A CR that ends no line stays, but no dot behind one can end the text for a server that takes CR for a line end
//! (SMTP smuggling, CVE-2023-51764).

use memchr::{memchr, memchr_iter};

/// A message, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    bytes: Vec<u8>,
    size: usize,
    is_ascii: bool,
}

impl Text {
    /// Encodes the message that these pieces are.
    #[must_use]
    pub fn of(pieces: &mut dyn Iterator<Item = &[u8]>) -> Self {
        let message = with_crlf(pieces);
        let mut bytes = Vec::with_capacity(message.len() + 64);
        let mut written = 0;
        for at in memchr_iter(b'.', &message) {
            let begins_line = match at.checked_sub(1).and_then(|before| message.get(before)) {
                None | Some(b'\n') => true,
                Some(b'\r') => matches!(message.get(at + 1), None | Some(b'\r' | b'\n')),
                Some(_) => false,
            };
            if begins_line {
                bytes.extend_from_slice(message.get(written..=at).unwrap_or_default());
                written = at;
            }
        }
        bytes.extend_from_slice(message.get(written..).unwrap_or_default());
        bytes.extend_from_slice(b".\r\n");
        Self { bytes, size: message.len(), is_ascii: message.is_ascii() }
    }

    /// Returns the bytes to send, with the dot that ends them.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the size of the message, without the dots that were added (RFC 1870 section 3).
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// Returns whether the message needs no 8BITMIME.
    #[must_use]
    pub fn is_ascii(&self) -> bool {
        self.is_ascii
    }
}

/// Joins the pieces, with the line ends of SMTP (RFC 5321 section 2.3.8), also at the end.
fn with_crlf(pieces: &mut dyn Iterator<Item = &[u8]>) -> Vec<u8> {
    let mut message: Vec<u8> = Vec::new();
    for piece in pieces {
        let mut rest = piece;
        while let Some(at) = memchr(b'\n', rest) {
            let (line, after) = rest.split_at(at);
            message.extend_from_slice(line);
            if message.last() != Some(&b'\r') {
                message.push(b'\r');
            }
            message.push(b'\n');
            rest = after.get(1..).unwrap_or_default();
        }
        message.extend_from_slice(rest);
    }
    if !message.is_empty() && !message.ends_with(b"\r\n") {
        message.extend_from_slice(b"\r\n");
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::data::Decoder;
    use proptest::prelude::*;

    fn sent(pieces: &[&str]) -> String {
        let text = Text::of(&mut pieces.iter().map(|piece| piece.as_bytes()));
        String::from_utf8(text.bytes().to_vec()).unwrap()
    }

    #[test]
    fn lines_end_as_smtp_wants_them() {
        assert_eq!(sent(&["A: b\nC: d\r", "\n\n.\nend"]), "A: b\r\nC: d\r\n\r\n..\r\nend\r\n.\r\n");
        assert_eq!(sent(&["a\r\n"]), "a\r\n.\r\n");
        assert_eq!(sent(&["A: b\n\n"]), "A: b\r\n\r\n.\r\n");
        assert_eq!(sent(&[".", ".a.\n.."]), "...a.\r\n...\r\n.\r\n");
        assert_eq!(sent(&[]), ".\r\n");
        assert_eq!(sent(&["a\rb\r.c\r"]), "a\rb\r.c\r\r\n.\r\n");
        let text = Text::of(&mut [&b"a\n.\n"[..]].into_iter());
        assert_eq!((text.size(), text.is_ascii()), (6, true));
        assert!(!Text::of(&mut ["ä".as_bytes()].into_iter()).is_ascii());
    }

    #[test]
    fn no_text_ends_early_for_any_server() {
        for end in ["\n.\n", "\n.\r\n", "\r.\r", "\r\n.\n", "\r\n.\r", "\r.\r\n", "\r\n.\r\r\n", "\n.\r", "\r.\n"] {
            let sent = sent(&["a", end, "MAIL FROM:<eve@y.example>\n"]);
            let text = sent.strip_suffix("\r\n.\r\n").unwrap();
            // Whatever a server takes for line ends, no line is a dot.
            assert!(text.split(['\r', '\n']).all(|line| line != "."), "{end:?}: {sent:?}");
        }
    }

    proptest! {
        /// Our own server reads what was written, unless it refuses a CR that ends no line.
        #[test]
        fn a_server_reads_what_was_written(message in "[a.\r\nä]{0,12}", at in any::<prop::sample::Index>()) {
            let (first, second) = message.as_bytes().split_at(at.index(message.len() + 1));
            let text = Text::of(&mut [first, second].into_iter());
            let mut decoder = Decoder::new(1_000);
            prop_assert_eq!(decoder.take(text.bytes()), (text.bytes().len(), true));
            let plain = message.replace("\r\n", "\n");
            if plain.contains('\r') {
                prop_assert!(decoder.finish().is_err());
            } else {
                let plain = if plain.is_empty() || plain.ends_with('\n') { plain } else { plain + "\n" };
                prop_assert_eq!(decoder.finish(), Ok(plain.into_bytes()));
            }
        }
    }
}
