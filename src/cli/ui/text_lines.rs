//! Lines of a text file that another program wrote: in UTF-16 or a code that contains ASCII, with LF, CRLF or CR as line
//! ends.

use crate::message::charset;
use encoding_rs::{CoderResult, Decoder};
use std::io::{self, BufRead, BufReader, Cursor, Read};

/// Longest line, in bytes. The rest of a longer one is skipped.
const LINE: u64 = 1 << 20;
/// Bytes in which the first line must end if the lines end with CR.
const HEAD: usize = 64 * 1024;

/// Lines of a file of any length.
pub struct TextLines {
    source: Box<dyn BufRead>,
    /// Last byte of a line.
    end: u8,
}

impl TextLines {
    /// Reads the beginning, which shows what code and what line ends the file has.
    pub fn new(source: Box<dyn BufRead>) -> io::Result<Self> {
        let (head, source) = peek(source, 3)?;
        let source: Box<dyn BufRead> = match charset::utf16(&head) {
            Some(decoder) => Box::new(BufReader::new(Utf16 { source, decoder, ended: false })),
            None => source,
        };
        let (head, source) = peek(source, HEAD)?;
        let first = head.iter().position(|byte| b"\r\n".contains(byte));
        let is_cr = first.is_some_and(|at| head[at] == b'\r' && !head[at + 1..].starts_with(b"\n"));
        // Several CR in front of an LF are one line end.
        let is_cr = is_cr && first.and_then(|at| head.get(at + 1)) != Some(&b'\r');
        Ok(Self { source, end: if is_cr { b'\r' } else { b'\n' } })
    }

    /// Reads the next line with its line end, and returns whether there is one.
    pub fn next(&mut self, line: &mut Vec<u8>) -> io::Result<bool> {
        line.clear();
        Read::take(&mut self.source, LINE).read_until(self.end, line)?;
        if line.len() as u64 == LINE && line.last() != Some(&self.end) {
            self.source.skip_until(self.end)?;
        }
        Ok(!line.is_empty())
    }
}

/// Returns the first `most` bytes, and a source that begins with them.
fn peek(mut source: Box<dyn BufRead>, most: usize) -> io::Result<(Vec<u8>, Box<dyn BufRead>)> {
    let mut head = Vec::new();
    Read::take(&mut source, most as u64).read_to_end(&mut head)?;
    Ok((head.clone(), Box::new(Cursor::new(head).chain(source))))
}

/// UTF-8 of a source in UTF-16.
struct Utf16 {
    source: Box<dyn BufRead>,
    decoder: Decoder,
    ended: bool,
}

impl Read for Utf16 {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while !self.ended {
            let input = self.source.fill_buf()?;
            let is_last = input.is_empty();
            let (result, read, written, _) = self.decoder.decode_to_utf8(input, buf, is_last);
            self.source.consume(read);
            self.ended = is_last && result == CoderResult::InputEmpty;
            if written > 0 {
                return Ok(written);
            }
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8]) -> Vec<String> {
        let mut lines = TextLines::new(Box::new(Cursor::new(bytes.to_vec()))).unwrap();
        let (mut line, mut all) = (Vec::new(), Vec::new());
        while lines.next(&mut line).unwrap() {
            all.push(String::from_utf8(line.clone()).unwrap());
        }
        all
    }

    #[test]
    fn each_line_end_and_each_utf_16_is_read() {
        let long = "\u{e9}\u{1f600}".repeat(10_000);
        for end in ["\n", "\r\n", "\r"] {
            for text in ["", "a", "\u{e9}", &long] {
                let written = [text, end, "b", end, end, "c"].concat();
                let expected = [&[text, end].concat(), &format!("b{end}"), end, "c"];
                assert!(lines(written.as_bytes()) == expected, "{end:?}");
                for mark in ["\u{feff}", "BEGIN:"] {
                    let text = format!("{mark}{written}");
                    let bytes = |of: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(of).collect::<Vec<_>>();
                    for bytes in [bytes(u16::to_le_bytes), bytes(u16::to_be_bytes)] {
                        assert!(lines(&bytes).concat() == text, "{end:?}");
                        assert_eq!(lines(&bytes).len(), 4);
                    }
                }
            }
        }
        assert_eq!(lines(b"a\r\r\n b\r\r\nc"), ["a\r\r\n", " b\r\r\n", "c"]);
        assert_eq!(lines(b"a\nb\rc"), ["a\n", "b\rc"]);
        assert_eq!(lines(b""), Vec::<String>::new());
        // Half a character.
        assert_eq!(lines(b"\xff\xfea\0b"), ["\u{feff}a\u{fffd}"]);
    }

    #[test]
    fn a_long_line_is_cut() {
        let text = [vec![b'a'; 3 << 20], b"\nb\n".to_vec()].concat();
        let read = lines(&text);
        assert_eq!((read[0].len(), &read[1..]), (1 << 20, &["b\n".to_owned()][..]));
    }
}
