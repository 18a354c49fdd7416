//! Extraction of the stamps that a message carries: in header fields, armoured in its text, in its Subject. They
//! are found after decoding, despite folding, encoding or list software. The verdict decides whether they are valid: in
//! the parts made for stamps, any text counts.

use super::armor::{self, Lines};
use super::token::TOKEN_MAX;
use crate::message::encoded_word;
use crate::message::header::Field;
use crate::message::header::slice;
use crate::message::mime::{self, Text, TextPart};
use crate::message::parse::Message;
use crate::message::search;
use crate::message::shown_text;
use data_encoding::BASE64URL_NOPAD;
use memchr::memmem;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// The header field that carries a stamp.
pub const STAMP_FIELD: &str = "Digital-Stamp";
/// The header field in which the holder of a stamp signs its use.
pub const USE_FIELD: &str = "Digital-Stamp-Use";

/// Different stamps of one message that are examined at most.
pub const STAMPS: usize = 8;

/// The longest field value that is decoded: a stamp of the longest kind, encoded and folded at its worst.
const VALUE: usize = 4 * TOKEN_MAX;
/// Bytes of a Subject that are searched.
const SUBJECT: usize = 64 * 1024;
/// The shortest payload of a stamp, in characters: a signature alone, 64 bytes. A shorter one in a Subject is plain
/// text.
const PAYLOAD: usize = 86;
/// Bare stamps in a text that are looked at.
const BARE: usize = 4;
/// Blanks over which a stamp in a Subject is joined, before the rest of the line is taken as its part.
const WORDS: usize = 64;

/// The part of a message that carries a stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// In a `Digital-Stamp` field.
    Header,
    /// In the text, between marker lines or bare.
    Body,
    Subject,
}

/// A stamp as found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The part that carries it.
    pub place: Place,
    /// The token: text from outside, without white space, at most 8 KiB.
    pub token: String,
    /// Its parameters, after semicolons (`reuse=return`), names in lower case. A parameter without a value has an empty
    /// one.
    pub parameters: Vec<(String, String)>,
}

/// All stamps of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Located {
    /// At most [`STAMPS`], each token once: those of the header from the top, then of the body, then of the Subject.
    pub stamps: Vec<Found>,
    /// Whether there is, or may be, more than was examined.
    pub over_limit: bool,
}

/// Finds the stamps of a message.
#[must_use]
pub fn locate(message: &Message) -> Located {
    let mut located = Located::default();
    for field in message.fields().filter(|field| field.name_is(STAMP_FIELD)) {
        if located.full() {
            return located;
        }
        if field.value().len() > VALUE {
            located.over_limit = true;
        } else {
            located.add(Place::Header, &without_white_space(&field.decoded()));
        }
    }
    let text = mime::first_text(message);
    match &text {
        TextPart::Found(text) => {
            let (blocks, over_limit) = blocks(text);
            located.over_limit |= over_limit;
            blocks.iter().for_each(|block| located.add(Place::Body, &block.stamp));
        }
        TextPart::None => {}
        TextPart::OverLimit => located.over_limit = true,
    }
    if shows_html(&text) {
        let (stamps, over_limit) = in_html(message);
        located.over_limit |= over_limit;
        stamps.iter().for_each(|stamp| located.add(Place::Body, stamp));
    }
    if let Some(token) = message.first("Subject").and_then(|subject| in_subject(&subject)) {
        located.add(Place::Subject, &token);
    }
    located
}

impl Located {
    /// Whether nothing that follows can matter.
    fn full(&self) -> bool {
        self.over_limit && self.stamps.len() == STAMPS
    }

    fn add(&mut self, place: Place, value: &str) {
        let mut parts = value.split(';');
        let token = parts.next().unwrap_or_default();
        if token.is_empty() || self.stamps.iter().any(|found| found.token == token) {
            return;
        }
        if token.len() > TOKEN_MAX || self.stamps.len() == STAMPS {
            self.over_limit = true;
            return;
        }
        let parameters = parts.filter(|part| !part.is_empty()).map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (name.to_ascii_lowercase(), value.to_owned())
        });
        self.stamps.push(Found { place, token: token.to_owned(), parameters: parameters.collect() });
    }
}

/// Returns the stamps in a text, and whether one goes beyond the limits: armoured blocks or, without any, a bare stamp.
/// Their spans are in the message, if the text is not encoded.
pub(super) fn blocks(text: &Text) -> (Vec<armor::Block>, bool) {
    let end_start = text.span.end.saturating_sub(text.end().len());
    let pieces = [(Some(&text.head), text.span.start), (text.tail.as_ref(), end_start)];
    let (mut all, mut over_limit) = (Vec::new(), false);
    for (piece, start) in pieces.into_iter().filter_map(|(piece, start)| Some((piece?, start))) {
        let (blocks, over) = in_piece(piece, Lines::Own);
        over_limit |= over;
        all.extend(
            blocks.into_iter().map(|block| armor::Block {
                span: start + block.span.start..start + block.span.end,
                stamp: block.stamp,
            }),
        );
    }
    (all, over_limit)
}

/// Returns the stamps in the HTML of a message that shows no other text, and whether one goes beyond the limits. They
/// are found as a reader shows them: the tags removed, quoted text marked.
pub(super) fn in_html(message: &Message) -> (Vec<String>, bool) {
    let TextPart::Found(text) = mime::first_html(message) else { return (Vec::new(), false) };
    // Most HTML has none, and need not be read.
    let pieces = || [Some(&text.head), text.tail.as_ref()].into_iter().flatten();
    let may_have = |piece: &[u8]| memmem::find(piece, b"DIGITAL").or_else(|| memmem::find(piece, b"v4")).is_some();
    if !pieces().any(|piece| may_have(piece)) {
        return (Vec::new(), false);
    }
    let shown = shown_text::of_html(&text);
    let (mut stamps, mut over_limit) = (Vec::new(), false);
    for piece in [Some(&shown.head), shown.tail.as_ref()].into_iter().flatten() {
        let (blocks, over) = in_piece(piece.as_bytes(), Lines::Any);
        over_limit |= over;
        stamps.extend(blocks.into_iter().map(|block| block.stamp));
    }
    (stamps, over_limit)
}

/// Returns whether a reader shows the HTML of a message for want of another text.
pub(super) fn shows_html(text: &TextPart) -> bool {
    match text {
        TextPart::None => true,
        TextPart::Found(text) => text.tail.is_none() && text.head.iter().all(u8::is_ascii_whitespace),
        TextPart::OverLimit => false,
    }
}

fn in_piece(text: &[u8], lines: Lines) -> (Vec<armor::Block>, bool) {
    let (blocks, over_limit) = armor::all(text, lines);
    if blocks.is_empty() && !over_limit { (bare(text).into_iter().collect(), false) } else { (blocks, over_limit) }
}

/// Finds a whole stamp that begins a line, and may go on over the next ones: pasted without the marker lines.
fn bare(text: &[u8]) -> Option<armor::Block> {
    let begins_line =
        |at: &usize| slice(text, armor::start_of_line(text, *at), *at).iter().all(u8::is_ascii_whitespace);
    let candidates = memmem::find_iter(text, b"v4.public.").filter(|at| has_payload(slice(text, at + 10, text.len())));
    candidates.filter(begins_line).take(BARE).find_map(|at| {
        let rest = slice(text, at, text.len());
        let stamp = put_together(rest);
        if !looks_whole(&stamp) {
            return None;
        }
        // The same characters, with the white space among them.
        let mut left = stamp.len();
        let last = rest.iter().position(|b| {
            left -= usize::from(!b.is_ascii_whitespace());
            left == 0
        });
        let length = last.map_or(rest.len(), |at| at + 1);
        Some(armor::Block { span: at..at + length, stamp })
    })
}

/// Returns the stamp in a Subject, up to where it is complete.
/// An incomplete one (cut, or of a version that cannot be checked) goes up to the closing bracket around it, or the end
/// of the line.
pub(super) fn in_subject(subject: &Field) -> Option<String> {
    let text = subject_text(subject);
    search::every(b'v', &text).find_map(|at| {
        let rest = slice(&text, at, text.len());
        let prefix = prefix_length(rest)?;
        let before = slice(&text, 0, at);
        let stands_alone = before.last().is_none_or(|&b| !is_token(b));
        if !stands_alone || !has_payload(slice(rest, prefix, rest.len())) {
            return None;
        }
        // The search backwards comes after the cheap tests. It keeps the whole linear: the first match ends the search.
        let bracketed = search::last_of_either(b'[', b']', before).is_some_and(|at| before.get(at) == Some(&b'['));
        let end = if bracketed { search::byte(b']', rest).unwrap_or(rest.len()) } else { rest.len() };
        Some(put_together(slice(rest, 0, end)))
    })
}

/// Returns the decoded Subject, up to the limit.
fn subject_text(subject: &Field) -> Vec<u8> {
    if subject.value().len() <= SUBJECT {
        subject.decoded()
    } else {
        encoded_word::decode(slice(subject.value(), 0, SUBJECT))
    }
}

/// Joins the words of a stamp until it is complete, or all words are used.
fn put_together(text: &[u8]) -> String {
    let mut token = String::new();
    let words = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    for (count, word) in words.enumerate() {
        let end = word.iter().position(|&b| !is_token(b)).unwrap_or(word.len());
        token.extend(slice(word, 0, end).iter().map(|&b| char::from(b)));
        if end < word.len() || token.len() > TOKEN_MAX || count < WORDS && looks_whole(&token) {
            break;
        }
    }
    token
}

/// Returns the length of `v4.public.` or a similar prefix of `text`.
fn prefix_length(text: &[u8]) -> Option<usize> {
    let [b'v', b'1'..=b'9', b'.', rest @ ..] = text else { return None };
    ["public.", "local."].iter().find(|purpose| rest.starts_with(purpose.as_bytes())).map(|purpose| 3 + purpose.len())
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

/// Whether enough for a payload follows, white space aside.
/// Reads no further than the next dot.
fn has_payload(text: &[u8]) -> bool {
    let payload = text.iter().take_while(|&&b| b != b'.' && (is_token(b) || b.is_ascii_whitespace()));
    payload.filter(|b| !b.is_ascii_whitespace()).take(PAYLOAD).count() == PAYLOAD
}

/// Whether a token is complete.
/// In `v4.public`, payload and footer must be JSON objects, as in every stamp. Of other versions, only the payload can
/// be checked.
fn looks_whole(token: &str) -> bool {
    let object = |bytes: &[u8]| bytes.starts_with(b"{") && bytes.ends_with(b"}");
    let mut parts = token.splitn(4, '.');
    let (version, purpose) = (parts.next(), parts.next());
    let Some(payload) = parts.next().filter(|payload| payload.len() >= PAYLOAD) else { return false };
    if (version, purpose) != (Some("v4"), Some("public")) {
        return true;
    }
    let decode = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).unwrap_or_default();
    let signed = decode(payload);
    object(slice(&signed, 0, signed.len().saturating_sub(64)))
        && parts.next().is_some_and(|footer| object(&decode(footer)))
}

/// Returns where an undecoded Subject has its stamp in one piece.
pub(super) fn plain_in_subject(subject: &Field) -> Option<Range<usize>> {
    let token = in_subject(subject)?;
    let at = memmem::find(subject.raw(), token.as_bytes())?;
    Some(subject.start() + at..subject.start() + at + token.len())
}

/// Whether a Subject carries a stamp.
pub(super) fn is_in_subject(subject: &Field) -> bool {
    in_subject(subject).is_some()
}

/// Returns the text without white space (blank, tab, LF, FF, CR), which undoes any folding of a token.
#[must_use]
pub fn without_white_space(text: &[u8]) -> String {
    String::from_utf8_lossy(text).split_ascii_whitespace().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::header::fold;
    use proptest::prelude::*;

    /// Looks like a stamp; nothing here verifies one.
    fn token(text: &str) -> String {
        let payload = [format!("{{\"jti\":\"{text}\"}}").as_bytes(), &[7; 64]].concat();
        format!("v4.public.{}.{}", BASE64URL_NOPAD.encode(&payload), BASE64URL_NOPAD.encode(b"{\"kid\":\"1\"}"))
    }

    fn tokens(raw: &str) -> Vec<(Place, String)> {
        let located = locate(&Message::parse(raw.as_bytes()));
        assert!(!located.over_limit, "{raw}");
        located.stamps.into_iter().map(|found| (found.place, found.token)).collect()
    }

    #[test]
    fn a_header_field_however_it_was_folded_or_encoded() {
        let stamp = token("a");
        let (front, back) = stamp.split_at(40);
        let base64 = data_encoding::BASE64.encode(back.as_bytes());
        for value in [
            stamp.clone(),
            format!("\n {stamp}"),
            format!("{front}\r\n\t{back} \r\n \r\n"),
            format!("=?utf-8?q?{}?=", stamp.replace('_', "=5F")),
            format!("=?utf-8?q?{}?=\r\n =?us-ascii?b?{base64}?=", front.replace('_', "=5F")),
        ] {
            let raw = format!("A: b\nDIGITAL-stamp :{value}\n\nbody");
            assert_eq!(tokens(&raw), [(Place::Header, stamp.clone())], "{raw}");
        }
        let raw = format!("{}\n", fold(STAMP_FIELD, &format!("{stamp}; Reuse=return;;x; y = 1"), "\r\n"));
        let found = &locate(&Message::parse(raw.as_bytes())).stamps[0];
        let parameters: Vec<_> = found.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(parameters, [("reuse", "return"), ("x", ""), ("y", "1")]);
    }

    #[test]
    fn in_the_field_anything_counts_but_nothing() {
        assert_eq!(tokens("Digital-Stamp: gar bage\n\n"), [(Place::Header, "garbage".into())]);
        assert_eq!(tokens("Digital-Stamp: v9.public.x\n\n"), [(Place::Header, "v9.public.x".into())]);
        assert_eq!(tokens("Digital-Stamp: \nDigital-Stamp: ;reuse=return\nDigital-Stamp-X: a\n\n"), []);
        assert_eq!(tokens("A: b\n\nDigital-Stamp: x\n"), []);
    }

    #[test]
    fn a_body_encoded_in_parts_or_quoted() {
        let stamp = token("a");
        let block = armor::armour(&stamp, "\n");
        let here = [(Place::Body, stamp.clone())];
        assert_eq!(tokens(&format!("A: b\n\n\n{block}text\n")), here);
        assert_eq!(tokens(&format!("A: b\n\ntext\n{block}\n_______________\nlist\n")), here);
        let base64 = data_encoding::BASE64.encode(format!("text\n\n{block}").as_bytes());
        assert_eq!(tokens(&format!("Content-Transfer-Encoding: base64\n\n{base64}\n")), here);
        let quoted = block.replace('_', "=5F").replace("v4.", "v4=\n.");
        assert_eq!(tokens(&format!("Content-Transfer-Encoding: quoted-printable\n\n{quoted}=20\n")), here);
        let parts = format!("--b\nContent-Type: text/html\n\n<p>\n--b\nContent-Type: text/plain\n\n{block}\n--b--\n");
        assert_eq!(tokens(&format!("Content-Type: multipart/alternative; boundary=b\n\n{parts}")), here);
        assert_eq!(
            tokens(
                &format!("Content-Type: multipart/mixed; boundary=b\n\n{parts}")
                    .replace("text/plain", "message/rfc822")
            ),
            []
        );
        assert_eq!(tokens(&format!("A: b\n\n> {}", block.replace('\n', "\n> "))), []);
        assert_eq!(tokens(&format!("A: b\n\nhello\n{block}\nSent from my phone\n")), here);
        // Without the marker lines, too.
        let (front, back) = stamp.split_at(60);
        assert_eq!(tokens(&format!("A: b\n\nhi\n\n{stamp}\n\nbye\n")), here);
        assert_eq!(tokens(&format!("A: b\n\nhi\n  {front}\n  {back}\nbye\n")), here);
        for none in [format!("> {stamp}"), format!("it is {stamp}"), "v4.public.x".repeat(100), front.to_owned()] {
            assert_eq!(tokens(&format!("A: b\n\nhi\n{none}\n")), []);
        }
        let other = token("b");
        let long = format!("{block}{}{}", "line\n".repeat(300_000), armor::armour(&other, "\n"));
        assert_eq!(tokens(&format!("A: b\n\n{long}")), [(Place::Body, stamp), (Place::Body, other)]);
    }

    #[test]
    fn a_text_in_html_alone() {
        let stamp = token("a");
        let here = [(Place::Body, stamp.clone())];
        let block = armor::armour(&stamp, "\n");
        let html = |body: &str| format!("Content-Type: text/html; charset=utf-8\n\n<html><body>{body}</body></html>\n");
        for body in [
            format!("<p>hi</p><p>{block}</p>"),
            format!("<p>hi {block} bye</p>"),
            format!("<div>{}</div>", block.trim_end().replace('\n', "</div><div>")),
            format!("hi<br>{}sent by a phone", block.replace('\n', "<br>\n").replace("v4", "<span>v</span>4")),
            format!("<p>{stamp}</p>"),
        ] {
            assert_eq!(tokens(&html(&body)), here, "{body}");
            let empty = format!("--b\n\n \n--b\n{}--b--\n", html(&body));
            assert_eq!(tokens(&format!("Content-Type: multipart/alternative; boundary=b\n\n{empty}")), here);
            let other = empty.replace("\n\n \n", "\n\nhello\n");
            assert_eq!(tokens(&format!("Content-Type: multipart/alternative; boundary=b\n\n{other}")), []);
        }
        assert_eq!(tokens(&html(&format!("<blockquote>{block}</blockquote>"))), []);
        assert_eq!(tokens(&html(&format!("<!-- {block} -->"))), []);
    }

    #[test]
    fn a_subject_ends_its_stamp_where_it_is_whole() {
        let stamp = token("a");
        let (front, back) = stamp.split_at(90);
        let (back, tail) = back.split_at(20);
        for subject in [
            stamp.clone(),
            format!("Re: {stamp} hello there"),
            format!("hello ({stamp})"),
            format!("[{stamp}] hello"),
            format!("[list] [{front} {back}\n\t{tail}] hello"),
            format!("hello {front}\n {back} {tail}"),
            format!("hello {front}\n {back} {tail} there"),
            format!("=?utf-8?q?hello_{}?=", stamp.replace('_', "=5F")),
        ] {
            assert_eq!(tokens(&format!("Subject: {subject}\n\n")), [(Place::Subject, stamp.clone())], "{subject}");
        }
        let strange = format!("v7.local.{}", "A".repeat(100));
        assert_eq!(tokens(&format!("Subject: a {strange} b\n\n")), [(Place::Subject, strange)]);
        let cut = &stamp[..stamp.len() - 8];
        assert_eq!(tokens(&format!("Subject: {cut} x\n\n")), [(Place::Subject, format!("{cut}x"))]);
        assert_eq!(tokens(&format!("Subject: [{cut} x] y\n\n")), [(Place::Subject, format!("{cut}x"))]);
        assert_eq!(tokens("Subject: what does v4.public.foo mean, and v4.public.?\n\n"), []);
        assert_eq!(tokens(&format!("Subject: x{stamp}\n\n")), []);
    }

    #[test]
    fn eight_count_each_once_in_order() {
        let fields = |count: usize| {
            (0..count).map(|n| format!("Digital-Stamp: s{n}\nDigital-Stamp: s{n}\n")).collect::<String>()
        };
        let block = armor::armour("body", "\n");
        let raw = format!("Subject: {}\n{}\n{block}", token("s"), fields(6));
        let places: Vec<_> = tokens(&raw).into_iter().map(|(place, _)| place).collect();
        assert_eq!(places[5..], [Place::Header, Place::Body, Place::Subject]);
        let located = locate(&Message::parse(format!("{}\n{block}", fields(8)).as_bytes()));
        assert!(located.over_limit && located.stamps.len() == 8);
        assert!(locate(&Message::parse(fields(9).as_bytes())).over_limit);
    }

    // Threats 12 and 13.
    #[test]
    fn what_goes_beyond_the_limits_is_said() {
        let over = |raw: &str| {
            let located = locate(&Message::parse(raw.as_bytes()));
            located.over_limit && located.stamps.is_empty()
        };
        assert!(over(&format!("Digital-Stamp: {}\n\n", "x".repeat(TOKEN_MAX + 1))));
        assert!(over(&format!("Digital-Stamp: {}\n\n", "x ".repeat(VALUE))));
        assert!(over(&format!("A: b\n\n{}", armor::armour(&"x".repeat(TOKEN_MAX + 1), "\n"))));
        assert!(over(&format!("A: b\n\n{}", armor::armour(&"x".repeat(20_000), "\n"))));
        assert!(over(&format!("Subject: v4.public.{}\n\n", "x".repeat(TOKEN_MAX))));
        assert!(over(&format!(
            "Content-Type: multipart/mixed; boundary=b\n\n{}",
            "--b\nContent-Type: a/b\n\n".repeat(2_000)
        )));
        assert_eq!(tokens(&format!("Digital-Stamp: {}\n\n", "x".repeat(TOKEN_MAX)))[0].1.len(), TOKEN_MAX);
        assert_eq!(tokens(&format!("Subject: {}\n\n", "v4.public. ".repeat(100_000))), []);
        assert_eq!(tokens(&format!("Subject: {}{}\n\n", "(=?".repeat(100_000), "?=a".repeat(100_000))), []);
        assert_eq!(tokens(&format!("{}\n", "Digital-Stamp: x\n".repeat(100_000))).len(), 1);
    }

    proptest! {
        #[test]
        fn a_folded_stamp_is_found_whole(text in "[a-z]{0,400}", crlf: bool) {
            let raw = fold(STAMP_FIELD, &token(&text), if crlf { "\r\n" } else { "\n" });
            prop_assert_eq!(tokens(&raw), [(Place::Header, token(&text))]);
        }

        #[test]
        fn a_stamp_in_a_subject_survives_any_fold(text in "[a-z]{0,60}", at in proptest::collection::btree_set(10_usize..120, 0..4)) {
            let mut subject = token(&text);
            at.iter().rev().for_each(|&at| subject.insert_str(at, "\n "));
            prop_assert_eq!(tokens(&format!("Subject: hello {subject} there\n\n")), [(Place::Subject, token(&text))]);
        }

        #[test]
        fn any_bytes_are_searched(raw in proptest::collection::vec(any::<u8>(), 0..300)) {
            let raw = [b"Digital-Stamp:".as_slice(), &raw].concat();
            prop_assert!(locate(&Message::parse(&raw)).stamps.len() <= STAMPS);
        }
    }
}
