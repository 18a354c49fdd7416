//! Finds the envelope line, the header fields and the body of a received message. It copies nothing, keeps nothing per
//! field, and never fails. `mime` handles MIME parts, `edit` changes.
//!
//! A line ends with LF or CRLF; a lone CR ends nothing. The header ends with the first empty line, whatever stands
//! before it. Other parsers may end it earlier (at a line without a colon, say). So this one sees more fields than they
//! do, never fewer, and misses no forged field.

use super::address::{Address, addresses};
use super::header::{Field, slice};
use super::search;

/// View of one message. Creating it costs one pass over the header; it owns nothing.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    raw: &'a [u8],
    /// The end of the envelope lines.
    header: usize,
    /// The end of the header: the empty line, or the end of the message.
    header_end: usize,
    /// The beginning of the body.
    body: usize,
}

impl<'a> Message<'a> {
    /// Parses `raw`. A leading `From ` line of an mbox is not a field, nor is the `>From ` line right after it, which
    /// Exim's deliveries through procmail have.
    #[must_use]
    pub fn parse(raw: &'a [u8]) -> Self {
        let header = envelope(raw);
        let (header_end, body) = header_end(raw, header);
        Self { raw, header, header_end, body }
    }

    /// Parses the header of a MIME part, where `From ` has no special meaning.
    pub(super) fn parse_part(raw: &'a [u8]) -> Self {
        let (header_end, body) = header_end(raw, 0);
        Self { raw, header: 0, header_end, body }
    }

    /// Returns the whole message.
    #[must_use]
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// Returns the envelope line or lines with their line ends; mostly empty.
    #[must_use]
    pub fn envelope_line(&self) -> &'a [u8] {
        slice(self.raw, 0, self.header)
    }

    /// Returns the header without the envelope lines and without the empty line that ends it.
    #[must_use]
    pub fn header(&self) -> &'a [u8] {
        slice(self.raw, self.header, self.header_end)
    }

    /// Returns the header fields from the top, each parsed on demand.
    #[must_use]
    pub fn fields(&self) -> Fields<'a> {
        Fields { rest: self.header(), start: self.header }
    }

    /// Returns the fields that stand between an empty line with CRLF, which ends the header here, and one with LF
    /// alone, if LF alone ends the first or the last line of the header. A program that ends the header at two LFs, as
    /// procmail does, takes them for fields of the header.
    pub(super) fn fields_below(&self) -> Fields<'a> {
        let is_mixed = slice(self.raw, self.header_end, self.body) == b"\r\n"
            && (self.newline() == "\n" || !self.header().ends_with(b"\r\n"));
        let rest = if is_mixed { self.body() } else { b"" };
        let end = match rest {
            [b'\n', ..] => 0,
            _ => memchr::memmem::find(rest, b"\n\n").map_or(rest.len(), |at| at + 1),
        };
        Fields { rest: slice(rest, 0, end), start: self.body }
    }

    /// Returns the first field of this name.
    #[must_use]
    pub fn first(&self, name: &str) -> Option<Field<'a>> {
        self.fields().find(|field| field.name_is(name))
    }

    /// Returns the addresses of its From field (RFC 5322 section 3.6.2), its claimed authors.
    #[must_use]
    pub fn authors(&self) -> Vec<Address> {
        self.first("From").map(|field| addresses(&field.unfolded())).unwrap_or_default()
    }

    /// Returns everything after the first empty line; empty when there is none.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        slice(self.raw, self.body, self.raw.len())
    }

    /// Returns the offset of [`Self::body`] in [`Self::raw`].
    #[must_use]
    pub fn body_start(&self) -> usize {
        self.body
    }

    /// Returns whether an empty line ends the header, so that text can be inserted into the body.
    #[must_use]
    pub fn has_body(&self) -> bool {
        self.header_end < self.body
    }

    /// Returns the end of the first header line, which a new line must have too. The envelope line counts only when
    /// there is no other, since procmail puts one that ends with LF before a message with CRLF.
    #[must_use]
    pub fn newline(&self) -> &'static str {
        let ends_with_crlf =
            |text: &[u8]| Some(search::byte(b'\n', text)?.checked_sub(1).and_then(|at| text.get(at)) == Some(&b'\r'));
        match ends_with_crlf(slice(self.raw, self.header, self.raw.len())).or_else(|| ends_with_crlf(self.raw)) {
            Some(true) => "\r\n",
            _ => "\n",
        }
    }
}

/// Iterator over the fields of a header. Lines that are no fields (no colon, or a leading blank and nothing to
/// continue) are skipped one by one.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
    start: usize,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        while let Some(first) = self.rest.first() {
            let start = self.start;
            if matches!(first, b' ' | b'\t') {
                self.advance(line_length(self.rest));
                continue;
            }
            // parse_headers() would reject the whole header at the first bad line; parsing by fields rejects only that
            // line.
            let Ok((header, length)) = mailparse::parse_header(self.rest) else {
                self.advance(line_length(self.rest));
                continue;
            };
            let (name, value) = (header.get_key_raw().len(), header.get_value_raw().len());
            let raw = self.advance(length);
            if raw.get(name) == Some(&b':') {
                return Some(Field::new(raw, name, value, start));
            }
        }
        None
    }
}

impl<'a> Fields<'a> {
    fn advance(&mut self, length: usize) -> &'a [u8] {
        let length = length.clamp(1, self.rest.len());
        let (passed, rest) = self.rest.split_at(length);
        self.rest = rest;
        self.start += length;
        passed
    }
}

/// Returns the length of the first line with its line end.
pub(crate) fn line_length(text: &[u8]) -> usize {
    search::byte(b'\n', text).map_or(text.len(), |at| at + 1)
}

/// Returns the length of the envelope lines. `From : someone` is an old form of the field, not an envelope line. A line
/// without its end is no envelope line either, since no field could follow it.
fn envelope(raw: &[u8]) -> usize {
    let complete = |line: &[u8]| line.last() == Some(&b'\n');
    let Some(after) = raw.strip_prefix(b"From ") else { return 0 };
    let first = slice(raw, 0, line_length(raw));
    let is_field = after.iter().find(|b| !matches!(b, b' ' | b'\t')) == Some(&b':');
    if is_field || !complete(first) {
        return 0;
    }
    let rest = slice(raw, first.len(), raw.len());
    let second = slice(rest, 0, line_length(rest));
    if second.starts_with(b">From ") && complete(second) { first.len() + second.len() } else { first.len() }
}

/// Returns the end of the header that begins at `from`, and the beginning of the body.
fn header_end(raw: &[u8], from: usize) -> (usize, usize) {
    let mut at = from;
    loop {
        match slice(raw, at, raw.len()) {
            [b'\n', ..] => return (at, at + 1),
            [b'\r', b'\n', ..] => return (at, at + 2),
            [] => return (raw.len(), raw.len()),
            rest => at += line_length(rest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(raw: &[u8]) -> Vec<String> {
        Message::parse(raw).fields().map(|f| String::from_utf8_lossy(f.name()).into_owned()).collect()
    }

    #[test]
    fn a_plain_message_is_taken_apart() {
        let message = Message::parse(b"Subject: a\r\n b\r\nTo: c\r\n\r\nbody\r\n");
        let fields: Vec<_> = message.fields().collect();
        assert_eq!(fields.len(), 2);
        assert_eq!(fields[0].raw(), b"Subject: a\r\n b\r\n");
        assert_eq!(fields[0].value(), b"a\r\n b");
        assert_eq!(fields[1].start(), 16);
        assert_eq!(message.body(), b"body\r\n");
        assert_eq!(message.newline(), "\r\n");
        assert!(message.first("SUBJECT").is_some());
        assert!(message.first("Cc").is_none());
    }

    #[test]
    fn envelope_lines_are_no_fields() {
        let raw = b"From a@b Sat Nov 21 12:00:00 2026\n>From alice Sat Nov 21 12:00:00 2026\nTo: c\r\n\r\nx";
        let message = Message::parse(raw);
        assert_eq!(names(raw), ["To"]);
        assert!(message.envelope_line().ends_with(b">From alice Sat Nov 21 12:00:00 2026\n"));
        assert_eq!(message.newline(), "\r\n");
        assert_eq!(names(b"From : a@b\nTo: c\n"), ["From", "To"]);
        assert_eq!(Message::parse(b"From a@b").envelope_line(), b"");
        assert_eq!(Message::parse(b"To: c\n\nFrom a\n").body(), b"From a\n");
    }

    #[test]
    fn a_bad_line_costs_only_itself() {
        assert_eq!(names(b" lead\n\ttab: x\nA: 1\nno colon\n cont: 2\nB: 3\n\nC: 4\n"), ["A", "B"]);
        assert_eq!(names(b"A: 1\rB: 2\nC: 3\n"), ["A", "C"]);
        assert_eq!(names(b"A\0B: 1\0\n: 2\nC \t: 3"), ["A\0B", "", "C"]);
        assert_eq!(names(b""), [""; 0]);
        assert_eq!(names(b"\nA: 1\n"), [""; 0]);
        assert_eq!(names(b"A: 1\r\nB: 2\n \r\nC: 3\r\n\nD: 4\n"), ["A", "B", "C"]);
        assert!(!Message::parse(b"A: 1\n").has_body());
        assert!(Message::parse(b"\n").has_body());
    }

    #[test]
    fn a_header_of_a_million_tiny_fields_is_walked() {
        let raw = b"a:\n".repeat(1_000_000);
        assert_eq!(Message::parse(&raw).fields().count(), 1_000_000);
    }

    proptest! {
        #[test]
        fn the_parts_are_the_whole(raw in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b':'), Just(b' '), any::<u8>()], 0..200)) {
            let message = Message::parse(&raw);
            let mut end = message.envelope_line().len();
            for field in message.fields() {
                prop_assert!(field.start() >= end);
                end = field.start() + field.raw().len();
                prop_assert_eq!(&raw[field.start()..end], field.raw());
                prop_assert!(!matches!(field.raw()[0], b' ' | b'\t'));
            }
            prop_assert!(end <= message.body_start());
            prop_assert_eq!(message.body(), &raw[message.body_start()..]);
        }
    }
}
