//! Armor of a stamp in a body: between two marker lines, at 64 columns, so that no mail program on the way breaks it.
//! `extract` chooses the text and decides what in it is a stamp.

use crate::message::header::slice;
use crate::message::parse::line_length;
use crate::message::search;
use memchr::memmem;
use std::ops::Range;

/// The line before the stamp.
pub const BEGIN: &str = "-----BEGIN DIGITAL STAMP-----";
/// The line after it.
pub const END: &str = "-----END DIGITAL STAMP-----";

/// The width of the lines between.
const COLUMNS: usize = 64;
/// The byte order mark with which some programs begin a text in UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";
/// The most bytes between the two marker lines.
const REACH: usize = 16 * 1024;

/// Armors a stamp (and its parameters) between the marker lines.
/// White space in it is dropped.
#[must_use]
pub fn armour(stamp: &str, newline: &str) -> String {
    let mut out = format!("{BEGIN}{newline}");
    for (count, c) in stamp.chars().filter(|c| !c.is_whitespace()).enumerate() {
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
    /// Its bytes, both marker lines with their line ends.
    pub span: Range<usize>,
    /// The text between the marker lines, without white space.
    pub stamp: String,
}

/// The result of a search at one end of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Block(Block),
    /// No block.
    None,
    /// A block begins, but its end is beyond the limit.
    OverLimit,
}

/// Finds the block at the beginning of `text`, after a byte order mark and empty lines.
/// In a flowed text (RFC 3676 4.4) one blank before the marker is allowed.
#[must_use]
pub fn first(text: &[u8], flowed: bool) -> Found {
    let mut at = if text.starts_with(MARK) { MARK.len() } else { 0 };
    loop {
        let line = slice(text, at, at + line_length(slice(text, at, text.len())));
        if line.is_empty() {
            return Found::None;
        }
        if !is_blank(line) {
            return block(text, at, flowed);
        }
        at += line.len();
    }
}

/// Finds the block at the end of `text`.
/// Empty lines may follow, and a signature or a footer such as lists append it. That begins with a line `-- ` or a line
/// of ten or more underscores.
#[must_use]
pub fn last(text: &[u8], flowed: bool) -> Found {
    let Some((inner, end)) = last_end(text) else { return Found::None };
    if !only_a_footer(slice(text, end, text.len())) {
        return Found::None;
    }
    let from = inner.saturating_sub(REACH);
    let Some(begin) = memmem::rfind(slice(text, from, inner), BEGIN.as_bytes()) else { return Found::None };
    let begin = from + begin;
    let stuffed = flowed && begin > 0 && text.get(begin - 1) == Some(&b' ');
    match block(text, begin - usize::from(stuffed), flowed) {
        Found::Block(block) if block.span.end == end => Found::Block(block),
        _ => Found::None,
    }
}

/// Finds the last end marker that ends its line, and where that line ends.
/// Only the last marker of a line can end it, so each line is searched once.
fn last_end(text: &[u8]) -> Option<(usize, usize)> {
    let marker = memmem::FinderRev::new(END);
    let mut before = text.len();
    loop {
        let at = marker.rfind(slice(text, 0, before))?;
        if let Some(end) = end_of_line(text, at + END.len()) {
            return Some((at, end));
        }
        before = search::last_byte(b'\n', slice(text, 0, at))?;
    }
}

/// Parses the block whose begin marker is at `at`.
/// Line breaks between the markers do not matter: the lines may have been wrapped, flowed or joined. A quoted line
/// makes the block invalid.
fn block(text: &[u8], at: usize, flowed: bool) -> Found {
    let before = slice(text, 0, at);
    if !(before.is_empty() || before.ends_with(b"\n") || before == MARK) {
        return Found::None;
    }
    let line = slice(text, at, text.len());
    let unstuffed = if flowed { line.strip_prefix(b" ").unwrap_or(line) } else { line };
    let Some(rest) = unstuffed.strip_prefix(BEGIN.as_bytes()) else { return Found::None };
    let Some(length) = memmem::find(slice(rest, 0, REACH), END.as_bytes()) else {
        return if rest.len() > REACH { Found::OverLimit } else { Found::None };
    };
    let inner = slice(rest, 0, length);
    let Some(end) = end_of_line(text, text.len() - rest.len() + length + END.len()) else { return Found::None };
    if inner.split(|&b| b == b'\n').any(|line| line.trim_ascii_start().starts_with(b">")) {
        return Found::None;
    }
    let stamp = String::from_utf8_lossy(inner).split_whitespace().collect();
    Found::Block(Block { span: at..end, stamp })
}

/// Returns the end of the line, if only blanks are left of it at `at`.
fn end_of_line(text: &[u8], at: usize) -> Option<usize> {
    let rest = slice(text, at, text.len());
    let length = line_length(rest);
    is_blank(slice(rest, 0, length)).then_some(at + length)
}

/// Whether the line looks empty: blanks, and no-break spaces in UTF-8 or Latin-1.
/// Programs that convert HTML to text make their empty lines of the latter.
fn is_blank(line: &[u8]) -> bool {
    line.iter().all(|b| b.is_ascii_whitespace() || matches!(b, 0xc2 | 0xa0))
}

fn only_a_footer(text: &[u8]) -> bool {
    let mut lines = text.split(|&b| b == b'\n').map(<[u8]>::trim_ascii_end).filter(|line| !is_blank(line));
    lines.next().is_none_or(|line| line == b"--" || line.len() >= 10 && line.iter().all(|&b| b == b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stamp_of(found: Found) -> Option<String> {
        match found {
            Found::Block(block) => Some(block.stamp),
            Found::None | Found::OverLimit => None,
        }
    }

    fn both(text: &str) -> (Option<String>, Option<String>) {
        (stamp_of(first(text.as_bytes(), false)), stamp_of(last(text.as_bytes(), false)))
    }

    #[test]
    fn the_written_form() {
        let block = armour(&format!("v4.public.{}; reuse=return", "x".repeat(54)), "\r\n");
        let token = format!("v4.public.{}", "x".repeat(54));
        assert_eq!(block, format!("{BEGIN}\r\n{token}\r\n;reuse=return\r\n{END}\r\n"));
    }

    #[test]
    fn first_or_last_but_not_between() {
        let block = armour("v4.x", "\n");
        let stamp = || Some("v4.x".to_owned());
        assert_eq!(both(&block), (stamp(), stamp()));
        assert_eq!(both(&format!("\n \r\n{block}\ntext\n")), (stamp(), None));
        assert_eq!(both(&format!("text\n\n{block}\n \n")), (None, stamp()));
        assert_eq!(both(&format!("text\n{block}text\n")), (None, None));
        assert_eq!(both(&format!("text\n{block}-- \nme\n")), (None, stamp()));
        assert_eq!(both(&format!("text\n{block}\n__________\nlist\n{BEGIN}\n")), (None, stamp()));
        assert_eq!(both(&format!("text\n{block}_________\nlist\n")), (None, None));
        assert_eq!(both(block.trim_end()), (stamp(), stamp()));
        assert_eq!(both(&format!("\u{feff}\n{block}text\n")), (stamp(), None));
        assert_eq!(both(&format!("\u{feff}{block}")), (stamp(), stamp()));
        assert_eq!(both(&format!("\u{a0}\n{block}\u{a0}\r\n\u{a0} \n")), (stamp(), stamp()));
        assert_eq!(both(&format!("text\n{block}text {END}\n{END} text\n-- \n")), (None, None));
        assert_eq!(both(""), (None, None));
    }

    #[test]
    fn whatever_breaks_the_lines_is_undone() {
        assert_eq!(both(&format!("{BEGIN} \t\r\n v4. \r\nx\t\r\n\r\n{END} \r\n")).0.as_deref(), Some("v4.x"));
        assert_eq!(both(&format!("{BEGIN} v4.x {END}")).1.as_deref(), Some("v4.x"));
        let flowed = format!("text\n {BEGIN} \n v4. \n x\n {END}\n");
        assert_eq!(stamp_of(last(flowed.as_bytes(), true)).as_deref(), Some("v4.x"));
        assert_eq!(stamp_of(last(flowed.as_bytes(), false)), None);
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
        ] {
            assert_eq!(both(&text), (None, None), "{text}");
        }
        let long = armour(&"x".repeat(REACH), "\n");
        assert_eq!(first(long.as_bytes(), false), Found::OverLimit);
        assert_eq!(last(format!("{END}\n").repeat(100_000).as_bytes(), false), Found::None);
    }

    proptest! {
        #[test]
        fn what_is_put_in_comes_out(stamp in "[A-Za-z0-9._;=-]{1,600}", body in "[a-z\n]{0,40}", crlf: bool) {
            let newline = if crlf { "\r\n" } else { "\n" };
            let block = armour(&stamp, newline);
            prop_assert!(block.lines().all(|line| line.len() <= 64));
            let text = format!("{block}{newline}{body}x{newline}{block}");
            let Found::Block(top) = first(text.as_bytes(), crlf) else { panic!("none on top") };
            let Found::Block(end) = last(text.as_bytes(), crlf) else { panic!("none at the end") };
            prop_assert_eq!(&text[top.span], &block);
            prop_assert_eq!(&text[end.span], &block);
            prop_assert_eq!((top.stamp, end.stamp), (stamp.clone(), stamp));
        }
    }
}
