//! Reads the messages of an mbox file (RFC 4155) one after the other. One message at a time is in memory, and no more
//! of it than the limit. The lengths that some programs add (`Content-Length`) are not trusted.
//!
//! - A message begins with `From `, a sender and a date (RFC 4155 appendix A; Google Takeout puts a zone into it),
//!   after an empty line or not. Without a date, it begins only if a header field follows (`From -` of Thunderbird).
//! - Any other line that begins with `From ` is text. It shows that the program that wrote the file put no `>` before
//!   such lines. Then a message in the file may be the text of another one: [`is_certain`].

use crate::message::header::field_name;
use crate::message::separator::{SEPARATOR, Separator};
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
    lines: Lines<R>,
    largest: u64,
    /// The `From ` line of the next message, already read.
    begun: Vec<u8>,
    ended: bool,
}

impl<R: BufRead> Messages<R> {
    /// Returns the messages of `from`. No more than about `largest` bytes of each are kept.
    pub fn new(from: R, largest: u64) -> Self {
        Self { lines: Lines { from, ahead: None }, largest, begun: Vec::new(), ended: false }
    }

    fn next_message(&mut self) -> io::Result<Option<Piece>> {
        let mut message = Piece { bytes: std::mem::take(&mut self.begun), cut: false, length: 0 };
        message.length = message.bytes.len() as u64;
        let mut begins_line = message.bytes.is_empty() || message.bytes.ends_with(b"\n");
        loop {
            let Some(line) = self.lines.take()? else {
                self.ended = true;
                return Ok((message.length > 0).then_some(message));
            };
            if begins_line && message.length > 0 && line.starts_with(b"From ") && self.begins_message(&line)? {
                self.begun = line;
                return Ok(Some(message));
            }
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

impl<R: BufRead> Messages<R> {
    fn begins_message(&mut self, line: &[u8]) -> io::Result<bool> {
        Ok(is_dated(line) || is_undated(line) && self.lines.peek()?.is_some_and(is_field))
    }
}

/// The lines of a file, a long one in pieces.
#[derive(Debug)]
struct Lines<R> {
    from: R,
    /// A line that was read before its time.
    ahead: Option<Vec<u8>>,
}

impl<R: BufRead> Lines<R> {
    fn take(&mut self) -> io::Result<Option<Vec<u8>>> {
        if let Some(line) = self.ahead.take() {
            return Ok(Some(line));
        }
        let mut line = Vec::new();
        let read = self.from.by_ref().take(PIECE).read_until(b'\n', &mut line)?;
        Ok((read > 0).then_some(line))
    }

    fn peek(&mut self) -> io::Result<Option<&[u8]>> {
        if self.ahead.is_none() {
            self.ahead = self.take()?;
        }
        Ok(self.ahead.as_deref())
    }
}

/// Returns whether it is a whole line with a sender at most.
fn is_undated(line: &[u8]) -> bool {
    let Some(rest) = line.strip_prefix(b"From ") else { return false };
    let words = rest.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    line.len() <= SEPARATOR && line.ends_with(b"\n") && words.count() <= 1
}

/// Returns whether a line begins a header field.
fn is_field(line: &[u8]) -> bool {
    field_name(line.get(..SEPARATOR).unwrap_or(line)).is_some()
}

/// Returns whether a line says when a message was delivered.
fn is_dated(line: &[u8]) -> bool {
    Separator::parse(line).is_some()
}

/// Returns whether a file with these bytes begins like an mbox file.
#[must_use]
pub fn begins(bytes: &[u8]) -> bool {
    let line = bytes.split_inclusive(|&b| b == b'\n').next().unwrap_or_default();
    let rest = bytes.get(line.len()..).unwrap_or_default();
    is_dated(line) || is_undated(line) && (is_field(rest) || matches!(rest, [b'\n' | b'\r', ..] | []))
}

/// Returns whether no text in an mbox file can be taken for a message: each line that begins with `From ` has a date
/// and is the first or follows an empty line. Any other such line shows that the program that wrote the file does not
/// quote them all.
pub fn is_certain(from: impl BufRead) -> io::Result<bool> {
    let mut lines = Lines { from, ahead: None };
    let (mut begins_line, mut after_empty) = (true, true);
    while let Some(line) = lines.take()? {
        if begins_line && line.starts_with(b"From ") && !(after_empty && is_dated(&line)) {
            return Ok(false);
        }
        after_empty = begins_line && matches!(line.as_slice(), b"\n" | b"\r\n");
        begins_line = line.ends_with(b"\n");
    }
    Ok(true)
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
    fn a_message_begins_with_a_date_or_before_a_field() {
        let text = b"From a\nA: 1\n\nx\nFrom here on\n\nFrom b\r\nB: 2\r\n\r\ny\r\n\r\nFrom c\nmore\n";
        let expected = ["From a\nA: 1\n\nx\nFrom here on\n\n", "From b\r\nB: 2\r\n\r\ny\r\n\r\nFrom c\nmore\n"];
        assert_eq!(messages(text, 1000), expected.map(|it| (it.to_owned(), false)));
        assert_eq!(messages(b"", 1000), vec![]);
        // Without an empty line before it, too.
        let begins = |line: &str| messages(format!("From a\nA: 1\n\nx\n{line}").as_bytes(), 1000).len() == 2;
        for line in [
            "From - \nFrom: a@b\n",
            "From b@y.example Sat Nov 21 12:00:00 2026\n\ntext\n",
            "From b Sat Nov  1 12:00:00 2026\n",
            "From 1234567890123456789@xxx Sat Nov 21 12:00:00 +0000 2026\r\nA: b\n",
            "From b Sat Nov 21 12:00:00 CET 2026\n",
            "From b Sat Nov 21 12:00:00 2026 +0100",
            "From b Sat Nov 21 12:00:00 2026 remote from c\n",
            "From Sat Nov 21 12:00:00 2026\n",
        ] {
            assert!(begins(line), "{line}");
        }
        for line in [
            "From there to here\nA: b\n",
            "From here on Sat Nov 21 12:00:00 2026\n",
            "From b Sat Nov 21\nA: b\n",
            "From b Sat Nov 21 12:00:00 2026 it rained\nA: b\n",
            "From Sat to Sun at 12:00:00 2026\n",
            "From b\nno field\n",
            "From b\n",
            ">From b Sat Nov 21 12:00:00 2026\n",
        ] {
            assert!(!begins(line), "{line}");
        }
    }

    #[test]
    fn a_file_is_certain_if_each_such_line_begins_a_message() {
        let one = "From - Sat Nov 28 10:00:00 2026\nA: b\n\ntext\n\n";
        for (text, certain) in [
            (one.repeat(2), true),
            (format!("{one}>From here on\n"), true),
            (format!("{one}From my side\n\n{one}"), false),
            (format!("{one}text\n{one}"), false),
            (format!("{one}From -\nA: b\n"), false),
        ] {
            assert_eq!(is_certain(text.as_bytes()).unwrap(), certain, "{text}");
        }
    }

    #[test]
    fn what_is_beyond_the_limit_is_not_kept_and_hides_nothing_after_it() {
        let mut text = b"From a\n\n".to_vec();
        text.resize(text.len() + 200_000, b'x');
        text.extend(b"\n\nFrom b\nA: b\n\nshort\n");
        let all: Vec<Piece> = Messages::new(text.as_slice(), 1000).map(Result::unwrap).collect();
        assert_eq!(all.len(), 2);
        assert!(all[0].cut && all[0].bytes == b"From a\n\n" && all[0].length == 200_010);
        assert_eq!((all[1].bytes.as_slice(), all[1].cut), (b"From b\nA: b\n\nshort\n".as_slice(), false));
    }

    #[test]
    fn one_sign_is_taken_from_each_quoted_line() {
        assert_eq!(unquoted(b"a\n>From b\n>>From c\n> From d\n").unwrap(), b"a\nFrom b\n>From c\n> From d\n");
        assert_eq!(unquoted(b"From a\nb >From c\n>\n"), None);
    }

    proptest! {
        #[test]
        fn every_byte_is_in_one_message(text in "(From |Sat Nov 21 12:00:00 2026|\r?\n|>|x|:){0,60}", buffer in 1_usize..9) {
            let reader = io::BufReader::with_capacity(buffer, text.as_bytes());
            let all: Vec<Piece> = Messages::new(reader, 1 << 20).map(Result::unwrap).collect();
            let bytes: Vec<u8> = all.iter().flat_map(|it| it.bytes.clone()).collect();
            prop_assert_eq!(bytes, text.as_bytes());
            prop_assert!(all.iter().all(|it| it.length == it.bytes.len() as u64 && it.length > 0));
            prop_assert!(all.iter().skip(1).all(|it| it.bytes.starts_with(b"From ")));
        }
    }
}
