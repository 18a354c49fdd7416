//! Reads the messages of an mbox file (RFC 4155) one after the other. One message at a time is in memory, and no more
//! of it than the limit. A message begins with `From ` at the beginning of the file or after an empty line, as
//! delivering programs write it. The lengths that some of them add (`Content-Length`) are not trusted.

use std::io::{self, BufRead, Read};

/// Bytes of a line that are read at once. A longer line comes in pieces.
const PIECE: u64 = 64 * 1024;

/// Message of an mbox file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The message with its `From ` line, or as much of it as the limit allows.
    pub bytes: Vec<u8>,
    /// Whether there was more.
    pub cut: bool,
    /// Its size in the file, in bytes.
    pub length: u64,
}

/// Iterator over the messages of an mbox file.
#[derive(Debug)]
pub struct Messages<R> {
    from: R,
    largest: u64,
    /// The `From ` line of the next message, already read.
    begun: Vec<u8>,
    ended: bool,
}

impl<R: BufRead> Messages<R> {
    /// Returns the messages of `from`. No more than about `largest` bytes of each are kept.
    pub fn new(from: R, largest: u64) -> Self {
        Self { from, largest, begun: Vec::new(), ended: false }
    }

    fn next_message(&mut self) -> io::Result<Option<Piece>> {
        let mut message = Piece { bytes: std::mem::take(&mut self.begun), cut: false, length: 0 };
        message.length = message.bytes.len() as u64;
        let mut line = Vec::new();
        // Text before the first message has no empty line after it, so only `From ` can begin the message.
        let (mut begins_line, mut after_empty) = (message.bytes.ends_with(b"\n"), false);
        if message.bytes.is_empty() {
            (begins_line, after_empty) = (true, true);
        }
        loop {
            line.clear();
            if self.from.by_ref().take(PIECE).read_until(b'\n', &mut line)? == 0 {
                self.ended = true;
                return Ok((message.length > 0).then_some(message));
            }
            if begins_line && after_empty && line.starts_with(b"From ") && message.length > 0 {
                std::mem::swap(&mut self.begun, &mut line);
                return Ok(Some(message));
            }
            after_empty = begins_line && matches!(line.as_slice(), b"\n" | b"\r\n");
            begins_line = line.ends_with(b"\n");
            message.length += line.len() as u64;
            if message.bytes.len() as u64 + line.len() as u64 > self.largest {
                message.cut = true;
            }
            if !message.cut {
                message.bytes.extend_from_slice(&line);
            }
        }
    }
}

impl<R: BufRead> Iterator for Messages<R> {
    type Item = io::Result<Piece>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.next_message();
        self.ended |= next.is_err();
        next.transpose()
    }
}

/// Returns the message as it was before a delivering program put a `>` before every `From ` line (and, some of them,
/// before every `>From ` line); `None` if no line looks like that.
#[must_use]
pub fn unquoted(message: &[u8]) -> Option<Vec<u8>> {
    let quoted = |line: &[u8]| {
        let after = line.iter().position(|&b| b != b'>').unwrap_or(line.len());
        after > 0 && line.get(after..).is_some_and(|rest| rest.starts_with(b"From "))
    };
    let lines = || message.split_inclusive(|&b| b == b'\n');
    if !lines().any(quoted) {
        return None;
    }
    Some(
        lines().flat_map(|line| if quoted(line) { line.get(1..).unwrap_or_default() } else { line }).copied().collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn messages(text: &[u8], largest: u64) -> Vec<(String, bool)> {
        let all = Messages::new(text, largest).map(Result::unwrap);
        all.map(|it| (String::from_utf8(it.bytes).unwrap(), it.cut)).collect()
    }

    #[test]
    fn a_message_begins_after_an_empty_line_only() {
        let text = b"From a\nA: 1\n\nx\nFrom here on\n\nFrom b\r\nB: 2\r\n\r\ny\r\n\r\nFrom c\n";
        let expected = ["From a\nA: 1\n\nx\nFrom here on\n\n", "From b\r\nB: 2\r\n\r\ny\r\n\r\n", "From c\n"];
        assert_eq!(messages(text, 1000), expected.map(|it| (it.to_owned(), false)));
        assert_eq!(messages(b"", 1000), vec![]);
    }

    #[test]
    fn what_is_beyond_the_limit_is_not_kept_and_hides_nothing_after_it() {
        let mut text = b"From a\n\n".to_vec();
        text.resize(text.len() + 200_000, b'x');
        text.extend(b"\n\nFrom b\n\nshort\n");
        let all: Vec<Piece> = Messages::new(text.as_slice(), 1000).map(Result::unwrap).collect();
        assert_eq!(all.len(), 2);
        assert!(all[0].cut && all[0].bytes == b"From a\n\n" && all[0].length == 200_010);
        assert_eq!((all[1].bytes.as_slice(), all[1].cut), (b"From b\n\nshort\n".as_slice(), false));
    }

    #[test]
    fn one_sign_is_taken_from_each_quoted_line() {
        assert_eq!(unquoted(b"a\n>From b\n>>From c\n> From d\n").unwrap(), b"a\nFrom b\n>From c\n> From d\n");
        assert_eq!(unquoted(b"From a\nb >From c\n>\n"), None);
    }

    proptest! {
        #[test]
        fn every_byte_is_in_one_message(text in "(From |\r?\n|>|x){0,60}", buffer in 1_usize..9) {
            let reader = io::BufReader::with_capacity(buffer, text.as_bytes());
            let all: Vec<Piece> = Messages::new(reader, 1 << 20).map(Result::unwrap).collect();
            let bytes: Vec<u8> = all.iter().flat_map(|it| it.bytes.clone()).collect();
            prop_assert_eq!(bytes, text.as_bytes());
            prop_assert!(all.iter().all(|it| it.length == it.bytes.len() as u64 && it.length > 0));
            prop_assert!(all.iter().skip(1).all(|it| it.bytes.starts_with(b"From ")));
        }
    }
}
