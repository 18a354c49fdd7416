//! Armor of a stamp in a body: between two marker lines, at 64 columns, so that no mail program on the way breaks it.
//! `extract` chooses the text and decides what in it is a stamp.

use crate::message::header::slice;
use crate::message::search;
use memchr::memmem;
use std::ops::Range;

/// The line before the stamp.
pub const BEGIN: &str = "-----BEGIN DIGITAL STAMP-----";
/// The line after it.
pub const END: &str = "-----END DIGITAL STAMP-----";

/// The end of both.
const COMMON: &str = "DIGITAL STAMP-----";

/// The width of the lines between.
const COLUMNS: usize = 64;
/// The byte order mark with which some programs begin a text in UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";
/// Bytes of a line that are looked at before a marker.
const LINE: usize = 998;
/// The most bytes from the end of the first marker to the beginning of the second.
const REACH: usize = 16 * 1024;

/// Armors a stamp (and its parameters) between the marker lines.
/// White space in it is dropped.
#[must_use]
pub fn armour(stamp: &str, newline: &str) -> String {
    let mut out = format!("{BEGIN}{newline}");
    for (count, c) in stamp.chars().filter(|c| !c.is_ascii_whitespace()).enumerate() {
        if count > 0 && count % COLUMNS == 0 {
            out.push_str(newline);
        }
        out.push(c);
    }
    out + newline + END + newline
}

/// An armoured stamp in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its bytes: both marker lines, with the blanks before the first and the line end of the last.
    pub span: Range<usize>,
    /// The text between the marker lines, without white space.
    pub stamp: String,
}

/// Where the markers of a block stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// On lines of their own, apart from blanks.
    Own,
    /// Anywhere outside quoted lines: the line breaks are those of a text that was made from HTML.
    Any,
}

/// A marker that counts.
struct Marker {
    begins: bool,
    marker: Range<usize>,
    /// With the blanks before it and the end of its line, where there is nothing else on the line.
    line: Range<usize>,
}

/// Finds the blocks of a text in their order, and returns whether one goes beyond the limit.
///
/// A block is a marker that begins it and the one that ends it, with no other between them. Quoted lines (`>`) hold no
/// block. Line breaks between the markers do not matter: the lines may have been wrapped, indented, flowed or joined.
#[must_use]
pub fn all(text: &[u8], lines: Lines) -> (Vec<Block>, bool) {
    let (mut blocks, mut over_limit) = (Vec::new(), false);
    let mut open = None;
    for end in memmem::find_iter(text, COMMON.as_bytes()).filter_map(|at| Marker::at(text, at, lines)) {
        if end.begins {
            open = Some(end);
            continue;
        }
        let Some(begin) = open.take() else { continue };
        let inner = slice(text, begin.marker.end, end.marker.start);
        let is_quoted = |line: &[u8]| line.trim_ascii_start().starts_with(b">");
        if inner.len() > REACH {
            over_limit = true;
        } else if !inner.split(|&b| b == b'\n').any(is_quoted) {
            let stamp = String::from_utf8_lossy(inner).split_ascii_whitespace().collect();
            blocks.push(Block { span: begin.line.start..end.line.end, stamp });
        }
    }
    (blocks, over_limit)
}

impl Marker {
    /// Returns the marker whose [`COMMON`] end is at `at`, unless it does not count.
    fn at(text: &[u8], at: usize, lines: Lines) -> Option<Self> {
        let end = at + COMMON.len();
        let is = |marker: &str| slice(text, 0, end).ends_with(marker.as_bytes());
        let start = end - [BEGIN, END].into_iter().find(|marker| is(marker))?.len();
        let line = start_of_line(text, start);
        let line = if line == 0 && text.starts_with(MARK) { MARK.len() } else { line };
        let before = slice(text, line, start);
        let rest = slice(text, end, text.len());
        let blanks = rest.iter().take_while(|b| **b != b'\n' && is_blank(b)).count();
        let ends_line = matches!(rest.get(blanks), None | Some(b'\n'));
        let counts = match lines {
            Lines::Own => ends_line && before.iter().all(is_blank),
            Lines::Any => !before.trim_ascii_start().starts_with(b">"),
        };
        let line = if before.iter().all(is_blank) { line } else { start }..if ends_line {
            text.len().min(end + blanks + 1)
        } else {
            end
        };
        counts.then_some(Self { begins: is(BEGIN), marker: start..end, line })
    }
}

/// Returns where the line of the byte at `at` begins. Of a long line only the last part is searched, or a text of one
/// line would be searched again for each marker in it.
pub(super) fn start_of_line(text: &[u8], at: usize) -> usize {
    let from = at.saturating_sub(LINE);
    search::last_byte(b'\n', slice(text, from, at)).map_or(from, |end| from + end + 1)
}

/// Whether a byte looks empty: white space, or one of a no-break space in UTF-8 or Latin-1.
/// Programs that convert HTML to text make their empty lines of the latter.
fn is_blank(byte: &u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, 0xc2 | 0xa0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stamps(text: &str) -> Vec<String> {
        all(text.as_bytes(), Lines::Own).0.into_iter().map(|block| block.stamp).collect()
    }

    #[test]
    fn the_written_form() {
        let block = armour(&format!("v4.public.{}; reuse=return", "x".repeat(54)), "\r\n");
        let token = format!("v4.public.{}", "x".repeat(54));
        assert_eq!(block, format!("{BEGIN}\r\n{token}\r\n;reuse=return\r\n{END}\r\n"));
    }

    #[test]
    fn anywhere_in_the_text() {
        let block = armour("v4.x", "\n");
        for text in [
            block.clone(),
            format!("\n \r\n{block}\ntext\n"),
            format!("text\n\n{block}\n \n"),
            format!("Hello!\n{block}text\n"),
            format!("hi\n{block}\nSent from my phone\n"),
            format!("hi\n{block}On Saturday you wrote:\n> {}", block.replace('\n', "\n> ")),
            format!("text\n{block}-- \nme\n"),
            format!("text\n{block}\n__________\nlist\n{BEGIN}\n"),
            format!("{END}\n{block}{END}\n"),
            format!("{BEGIN}\nv4.y\nsee {END}\n{block}"),
            format!("{BEGIN}\n{block}"),
            block.trim_end().to_owned(),
            block.lines().map(|line| format!("  \t{line}\n")).collect(),
            format!("\u{feff}\n{block}text\n"),
            format!("\u{feff}{block}"),
            format!("\u{a0}\n{block}\u{a0}\r\n\u{a0} \n"),
        ] {
            assert_eq!(stamps(&text), ["v4.x"], "{text}");
        }
        assert_eq!(stamps(&format!("a\n{block}b\n{}", armour("v4.y", "\r\n"))), ["v4.x", "v4.y"]);
        assert_eq!(stamps(""), [""; 0]);
    }

    #[test]
    fn whatever_breaks_the_lines_is_undone() {
        assert_eq!(stamps(&format!("{BEGIN} \t\r\n v4. \r\nx\t\r\n\r\n{END} \r\n")), ["v4.x"]);
        assert_eq!(stamps(&format!("{BEGIN}\nv4.x\u{b}\u{a0}\n{END}")), ["v4.x\u{b}\u{a0}"]);
        assert_eq!(stamps(&format!("text\n {BEGIN} \n v4. \n x\n {END}\n")), ["v4.x"]);
        let joined = format!("hi {BEGIN} v4.x {END} bye\n> {BEGIN} v4.y {END}");
        let any: Vec<_> = all(joined.as_bytes(), Lines::Any).0.into_iter().map(|block| block.stamp).collect();
        assert_eq!((any, stamps(&joined)), (vec!["v4.x".to_owned()], vec![]));
    }

    #[test]
    fn quoted_and_broken_blocks_do_not_count() {
        let block = armour("v4.x", "\n");
        let quoted: String = block.lines().map(|line| format!("> {line}\n")).collect();
        for text in [
            quoted,
            block.replace("v4", ">v4"),
            block.replace("v4", " > v4"),
            block.replace(END, &format!("> {END}")),
            block.replace(END, ""),
            block.replace(BEGIN, ""),
            block.replace(END, &format!("{END} x")),
            block.replace("-----BEGIN", "x -----BEGIN"),
            format!("{BEGIN} v4.x\n{END}\n"),
            format!("{BEGIN}\nv4.x {END}\n"),
        ] {
            assert_eq!(stamps(&text), [""; 0], "{text}");
        }
        let long = |blanks: usize| format!("{BEGIN}\nv4.x{}\n{END}", " ".repeat(blanks));
        assert_eq!(stamps(&long(REACH - 6)), ["v4.x"]);
        assert_eq!(all(long(REACH - 5).as_bytes(), Lines::Own), (vec![], true));
        for markers in [format!("{END}\n"), format!("{BEGIN}\n"), format!("{BEGIN}\n{END} x\n"), format!("x{BEGIN}")] {
            assert_eq!(all(markers.repeat(100_000).as_bytes(), Lines::Own), (vec![], false));
            let joined = markers.repeat(100_000).replace('\n', " ");
            assert!(all(joined.as_bytes(), Lines::Any).0.len() <= 100_000);
        }
    }

    proptest! {
        #[test]
        fn what_is_put_in_comes_out(stamp in "[A-Za-z0-9._;=-]{1,600}", body in "[a-z\n]{0,40}", crlf: bool) {
            let newline = if crlf { "\r\n" } else { "\n" };
            let block = armour(&stamp, newline);
            prop_assert!(block.lines().all(|line| line.len() <= 64));
            let text = format!("{block}{newline}{body}x{newline}{block}");
            let (blocks, over_limit) = all(text.as_bytes(), Lines::Own);
            prop_assert!(!over_limit && blocks.len() == 2);
            for found in blocks {
                prop_assert_eq!(&text[found.span], &block);
                prop_assert_eq!(&found.stamp, &stamp);
            }
        }
    }
}
