//! Edits a message without touching any other byte: inserts fields on top, removes fields and spans. The result is
//! written in pieces, so that a large message is not copied.

use super::header::Field;
use super::header::{fold, slice};
use super::parse::{Message, line_length};
use crate::time::UnixTime;
use data_encoding::HEXLOWER;
use std::ops::Range;

/// Changes to one message, sorted by position.
#[derive(Clone, Debug)]
pub struct Edit<'a> {
    raw: &'a [u8],
    top: Top,
    changes: Vec<Change>,
}

/// Span to remove, and the text to insert there. One of the two is empty.
#[derive(Clone, Debug)]
struct Change {
    span: Range<usize>,
    text: String,
}

impl Change {
    /// Returns the sort key. New text stands before a span that is removed at the same position.
    fn order(&self) -> (usize, bool) {
        (self.span.start, self.text.is_empty())
    }
}

/// Position of a field on top.
#[derive(Clone, Copy, Debug)]
struct Top {
    at: usize,
    /// Lines that begin with a blank stand above it.
    below_blanks: bool,
    /// The message ends there with a line without a line end. The new field must bring one and omit its own.
    unfinished: bool,
}

impl Top {
    /// Returns the position after the envelope line and before the first field. A header that begins with a blank is
    /// special: that line continues nothing, but below an inserted field it would become a part of it. The field then
    /// goes below such lines, and both keep their meaning.
    fn of(message: &Message) -> Self {
        let mut at = message.envelope_line().len();
        let mut rest = message.header();
        let mut unfinished = false;
        while matches!(rest.first(), Some(b' ' | b'\t')) {
            let length = line_length(rest);
            unfinished = slice(rest, 0, length).last() != Some(&b'\n');
            at += length;
            rest = slice(rest, length, rest.len());
        }
        Self { at, below_blanks: at > message.envelope_line().len(), unfinished }
    }
}

impl<'a> Edit<'a> {
    /// Returns no change yet.
    #[must_use]
    pub fn new(message: &Message<'a>) -> Self {
        Self { raw: message.raw(), top: Top::of(message), changes: Vec::new() }
    }

    /// Inserts `field` before the first field: one or more whole fields with their line ends, as
    /// [`super::header::fold`] makes them. Fields stand in the order of their insertion.
    ///
    /// In a message that consists only of lines that begin with a blank, the last without a line end, the field stands
    /// last, after a CRLF and without a line end of its own. [`Self::remove`] removes that CRLF with it.
    pub fn insert_top(&mut self, field: String) {
        let text = if self.top.unfinished { format!("\r\n{}", field.trim_end_matches(['\r', '\n'])) } else { field };
        self.insert(self.top.at, text);
    }

    /// Inserts Date and Message-ID on top, where they are missing (RFC 5322 section 3.6). A mail system that inserted
    /// them later would make another message of it for the fingerprint. `domain` is the right side of the Message-ID.
    pub fn insert_missing(&mut self, message: &Message<'a>, now: UnixTime, random: [u8; 16], domain: &str) {
        if message.first("Message-ID").is_none() {
            let id = format!("<{}@{domain}>", HEXLOWER.encode(&random));
            self.insert_top(fold("Message-ID", &id, message.newline()));
        }
        if message.first("Date").is_none() {
            self.insert_top(fold("Date", &now.to_rfc5322(), message.newline()));
        }
    }

    /// Inserts `text` before the byte at `at`, after earlier text at this position.
    pub fn insert(&mut self, at: usize, text: String) {
        if !text.is_empty() {
            self.change(Change { span: at..at, text });
        }
    }

    /// Removes a field of this message with its continuation lines and its line end.
    pub fn remove(&mut self, field: &Field<'a>) {
        let end = field.start() + field.raw().len();
        let mut start = field.start();
        let last = end == self.raw.len() && field.raw().last() != Some(&b'\n');
        if last && self.top.below_blanks && self.leaves_nothing_before(start) {
            // This is a field of insert_top(): the line end before it belongs to it, and the next insertion adds one
            // again.
            start = self.top.at;
            start -= if slice(self.raw, 0, start).ends_with(b"\r\n") { 2 } else { 1 };
            self.top = Top { at: start, unfinished: true, ..self.top };
        }
        self.remove_span(start..end);
    }

    /// Returns whether nothing remains between the top and `at`, and nothing was inserted.
    fn leaves_nothing_before(&self, at: usize) -> bool {
        let gone = self.changes.last().is_some_and(|change| change.span == (self.top.at..at));
        (gone || at == self.top.at) && self.changes.iter().all(|change| change.text.is_empty())
    }

    /// Removes a span of the message.
    pub fn remove_span(&mut self, span: Range<usize>) {
        if span.is_empty() {
            return;
        }
        match self.changes.last_mut() {
            // A million adjacent fields to remove are one span.
            Some(last) if last.text.is_empty() && last.span.start <= span.start && span.start <= last.span.end => {
                last.span.end = last.span.end.max(span.end);
            }
            _ => self.change(Change { span, text: String::new() }),
        }
    }

    /// Returns whether nothing is changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Returns the changed message, as pieces of the original and of the insertions, in order.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let end = Change { span: self.raw.len()..self.raw.len(), text: String::new() };
        let tail = std::iter::once((end.span, ""));
        let changes = self.changes.iter().map(|change| (change.span.clone(), change.text.as_str())).chain(tail);
        changes
            .scan(0, |at, (span, text)| {
                let kept = slice(self.raw, *at, span.start);
                *at = span.end.max(*at);
                Some([kept, text.as_bytes()])
            })
            .flatten()
            .filter(|piece| !piece.is_empty())
    }

    /// Returns what becomes of this span of the message: of its bytes, and of text inserted before any of them. `None`
    /// where nothing changes.
    #[must_use]
    pub fn within(&self, span: Range<usize>) -> Option<Vec<u8>> {
        let end = |change: &Change| change.span.end.max(change.span.start + 1);
        let first = self.changes.partition_point(|change| end(change) <= span.start);
        let changes = self.changes.get(first..).unwrap_or_default();
        let mut changes = changes.iter().take_while(|change| change.span.start < span.end).peekable();
        changes.peek()?;
        let (mut text, mut at) = (Vec::new(), span.start);
        for change in changes {
            text.extend_from_slice(slice(self.raw, at, change.span.start));
            if change.span.start >= span.start {
                text.extend_from_slice(change.text.as_bytes());
            }
            at = at.max(change.span.end);
        }
        text.extend_from_slice(slice(self.raw, at, span.end));
        Some(text)
    }

    /// Returns the changed message in one piece.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        self.pieces().fold(Vec::with_capacity(self.raw.len()), |mut all, piece| {
            all.extend_from_slice(piece);
            all
        })
    }

    fn change(&mut self, change: Change) {
        let at = match self.changes.last() {
            Some(last) if last.order() > change.order() => {
                self.changes.partition_point(|other| other.order() <= change.order())
            }
            _ => self.changes.len(),
        };
        self.changes.insert(at, change);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::header::fold;
    use proptest::prelude::*;

    fn stamped(raw: &[u8]) -> Vec<u8> {
        let message = Message::parse(raw);
        let token = format!("v4.public.{}; reuse=return", "Ab-_".repeat(100));
        let mut edit = Edit::new(&message);
        edit.insert_top(fold("Digital-Stamp", &token, message.newline()));
        edit.to_vec()
    }

    fn unstamped(raw: &[u8]) -> Vec<u8> {
        let message = Message::parse(raw);
        let mut edit = Edit::new(&message);
        let field = message.first("Digital-Stamp").unwrap();
        let value: String = String::from_utf8_lossy(field.value()).split_whitespace().collect();
        assert_eq!(value, format!("v4.public.{};reuse=return", "Ab-_".repeat(100)));
        edit.remove(&field);
        edit.to_vec()
    }

    #[test]
    fn odd_beginnings_and_ends_survive_a_stamp() {
        let cases: [&[u8]; 17] = [
            b"",
            b"\n",
            b"\r\n",
            b"\r",
            b"a",
            b"A: b",
            b"A: b\r",
            b"\n body",
            b"From a\n",
            b"From a",
            b"From a\n>From b\nA: b\n\nx",
            b"From a\n b\n",
            b" a",
            b" a\r",
            b"\ta\n \nB: c\n",
            b" a\r\n\r\nx",
            b"\x00\n.\n",
        ];
        for raw in cases {
            assert_eq!(unstamped(&stamped(raw)), raw, "{:?}", String::from_utf8_lossy(raw));
        }
    }

    #[test]
    fn fields_at_an_unfinished_end_go_and_come_with_their_line_end() {
        for gone in ["\r\nA: 1", "\nA: 1", "\r\nA: 1\r\nB: 2", "\r\nA: 1\n b\nB: 2\n c"] {
            let raw = format!(" a{gone}");
            let message = Message::parse(raw.as_bytes());
            let mut edit = Edit::new(&message);
            message.fields().for_each(|field| edit.remove(&field));
            assert_eq!(edit.to_vec(), b" a", "{raw:?}");
            edit.insert_top("X: 1\n".into());
            assert_eq!(edit.to_vec(), b" a\r\nX: 1", "{raw:?}");
        }
        // A field that stays keeps its position, and the new field its line end.
        let message = Message::parse(b" a\nA: 1\nB: 2");
        let mut edit = Edit::new(&message);
        edit.remove(&message.first("B").unwrap());
        edit.insert_top("X: 1\n".into());
        assert_eq!(edit.to_vec(), b" a\nX: 1\nA: 1\n");
    }

    #[test]
    fn a_blank_in_front_stays_out_of_our_field() {
        let raw = b" first-class\nA: b\n\n";
        let message = Message::parse(raw);
        let mut edit = Edit::new(&message);
        edit.insert_top("X: 1\n".into());
        assert_eq!(edit.to_vec(), b" first-class\nX: 1\nA: b\n\n");
    }

    #[test]
    fn changes_stand_in_the_order_of_their_places() {
        let message = Message::parse(b"From a\nA: 1\nB: 2\nC: 3\n\nbody");
        let mut edit = Edit::new(&message);
        assert!(edit.is_empty());
        edit.remove(&message.first("C").unwrap());
        edit.remove(&message.first("A").unwrap());
        edit.insert_top("X: 1\n".into());
        edit.insert_top("Y: 1\n".into());
        assert_eq!(edit.to_vec(), b"From a\nX: 1\nY: 1\nB: 2\n\nbody");
    }

    #[test]
    fn a_million_fields_that_go_are_one_span() {
        let raw = [b"X:\n".repeat(1_000_000), b"Y:\n\n".to_vec()].concat();
        let message = Message::parse(&raw);
        let mut edit = Edit::new(&message);
        message.fields().filter(|f| f.name_is("x")).for_each(|f| edit.remove(&f));
        assert_eq!(edit.changes.len(), 1);
        assert_eq!(edit.to_vec(), b"Y:\n\n");
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(b"\n".to_vec()),
            Just(b"\r\n".to_vec()),
            Just(b"\r".to_vec()),
            Just(b"\n.\n".to_vec()),
            Just(b"\nFrom x\n".to_vec()),
            Just(b"From x\n".to_vec()),
            Just(b">From x\n".to_vec()),
            Just(b"Subject: a\n".to_vec()),
            Just(b" \t".to_vec()),
            Just(b"\0".to_vec()),
            Just(vec![b'x'; 998]),
            proptest::collection::vec(any::<u8>(), 0..20),
        ];
        proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        // BC8: from any message, the stamp is removed without a trace.
        #[test]
        fn a_stamp_put_on_and_taken_off_leaves_every_byte(raw in bytes()) {
            let with = stamped(&raw);
            let (before, after) = (Message::parse(&raw), Message::parse(&with));
            prop_assert_eq!(after.fields().count(), before.fields().count() + 1);
            prop_assert_eq!(after.body(), before.body());
            prop_assert_eq!(after.envelope_line(), before.envelope_line());
            prop_assert_eq!(unstamped(&with), raw);
        }
    }
}
