//! Affixing a stamp to a message and stripping stamps off: each undoes the other, and no other byte changes.

use super::armor;
use super::extract::{self, Place, STAMP_FIELD};
use crate::message::edit::Edit;
use crate::message::header::slice;
use crate::message::header::{Field, fold};
use crate::message::mime::{self, Text, TextPart};
use crate::message::parse::Message;
use memchr::memmem;

/// The longest line, in octets without its end (RFC 5322 section 2.1.1).
const LINE: usize = 998;

/// Affixes `stamp` (the token, and parameters after `; `) to a part of the message.
/// `None` where that is impossible.
///
/// - A header field can always be added.
/// - A body takes a stamp when its first text is not encoded and no signature covers it. The stamp then comes first,
///   with an empty line after it.
/// - A Subject takes one in brackets at its end, without parameters. It must not be encoded or carry a stamp, and its
///   last line must stay within RFC 5322 section 2.1.1. Some mail programs cut so long a Subject.
#[must_use]
pub fn affix<'a>(message: &Message<'a>, place: Place, stamp: &str) -> Option<Edit<'a>> {
    let newline = message.newline();
    let mut edit = Edit::new(message);
    match place {
        Place::Header => edit.insert_top(fold(STAMP_FIELD, stamp, newline)),
        Place::Body => {
            let text = open_text(message)?;
            edit.insert(text.span.start, armor::armour(stamp, newline) + newline);
        }
        Place::Subject => {
            let subject = message.first("Subject")?;
            let (at, text) = at_end_of(&subject, stamp)?;
            edit.insert(at, text);
        }
    }
    Some(edit)
}

/// A message without its stamps.
#[derive(Clone, Debug)]
pub struct Stripped<'a> {
    /// The edit that strips the stamps.
    pub edit: Edit<'a>,
    /// Where a stamp had to stay: in an encoded or signed text, or in an encoded Subject or one folded inside the
    /// stamp.
    pub left: Vec<Place>,
}

/// Strips every stamp: the `Digital-Stamp` fields, the armoured blocks, and the token in the Subject.
/// From the Subject it also removes the brackets around the token and one blank. What [`affix`] added is removed
/// without a trace.
#[must_use]
pub fn strip<'a>(message: &Message<'a>) -> Stripped<'a> {
    strip_only(message, |_| true)
}

/// As [`strip`], for the stamps of which `is_wanted` says so. It is asked about each token.
#[must_use]
pub fn strip_only<'a>(message: &Message<'a>, is_wanted: impl Fn(&str) -> bool) -> Stripped<'a> {
    let mut edit = Edit::new(message);
    let mut left = Vec::new();
    let is_wanted = |stamp: &str| is_wanted(stamp.split(';').next().unwrap_or_default());
    let stamps = message.fields().filter(|field| field.name_is(STAMP_FIELD));
    let stamps = stamps.filter(|field| is_wanted(&extract::without_white_space(&field.decoded())));
    stamps.for_each(|field| edit.remove(&field));
    let text = mime::first_text(message);
    if extract::shows_html(&text) && extract::in_html(message).0.iter().any(|stamp| is_wanted(stamp)) {
        left.push(Place::Body);
    }
    if let TextPart::Found(text) = text {
        let (mut blocks, _) = extract::blocks(&text);
        blocks.retain(|block| is_wanted(&block.stamp));
        if text.plain && !text.signed {
            for block in blocks {
                let mut end = block.span.end;
                if block.span.start == text.span.start && slice(message.raw(), 0, end).ends_with(b"\n") {
                    // The empty line that affix() puts after its block.
                    match slice(message.raw(), end, message.raw().len()) {
                        [b'\n', ..] => end += 1,
                        [b'\r', b'\n', ..] => end += 2,
                        _ => {}
                    }
                }
                edit.remove_span(block.span.start..end);
            }
        } else if !blocks.is_empty() {
            left.push(Place::Body);
        }
    }
    if let Some(subject) = message.first("Subject")
        && extract::in_subject(&subject).is_some_and(|stamp| is_wanted(&stamp))
    {
        match extract::plain_in_subject(&subject) {
            Some(span) => {
                let raw = message.raw();
                let (mut start, mut end) = (span.start, span.end);
                let at = |at: usize| raw.get(at).copied();
                if start > 0 && at(start - 1) == Some(b'[') && at(end) == Some(b']') {
                    (start, end) = (start - 1, end + 1);
                }
                if at(end) == Some(b' ') {
                    end += 1;
                } else if start > 0 && at(start - 1) == Some(b' ') {
                    start -= 1;
                }
                edit.remove_span(start..end);
            }
            None => left.push(Place::Subject),
        }
    }
    Stripped { edit, left }
}

/// Returns what to insert where at the end of a Subject, so that [`strip`] finds the stamp and removes exactly that.
fn at_end_of(subject: &Field, stamp: &str) -> Option<(usize, String)> {
    let raw = subject.raw();
    let content = raw.strip_suffix(b"\n").map_or(raw, |line| line.strip_suffix(b"\r").unwrap_or(line));
    let last_line = content.rsplit(|&b| b == b'\n').next().unwrap_or_default();
    let text = format!(" [{stamp}]");
    // An encoded-word beside the token is one more part that mail programs rewrite.
    let encoded = memmem::find(content, b"=?").is_some();
    if encoded || last_line.len() + text.len() > LINE || extract::is_in_subject(subject) {
        return None;
    }
    let changed = [content, text.as_bytes(), b"\n"].concat();
    let token = content.len() + 2..content.len() + text.len() - 1;
    let found = extract::plain_in_subject(&Message::parse(&changed).first("Subject")?)?;
    (found == token).then(|| (subject.start() + content.len(), text))
}

/// Returns the first text, if it can be changed in place.
fn open_text<'a>(message: &Message<'a>) -> Option<Text<'a>> {
    match mime::first_text(message) {
        TextPart::Found(text) if text.plain && !text.signed => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::BASE64URL_NOPAD;
    use proptest::prelude::*;

    fn token() -> String {
        let payload = [b"{\"jti\":\"1\"}".as_slice(), &[7; 64], &[]].concat();
        format!("v4.public.{}.{}", BASE64URL_NOPAD.encode(&payload), BASE64URL_NOPAD.encode(b"{\"kid\":\"1\"}"))
    }

    fn stripped(raw: &[u8]) -> (String, Vec<Place>) {
        let stripped = strip(&Message::parse(raw));
        (String::from_utf8_lossy(&stripped.edit.to_vec()).into_owned(), stripped.left)
    }

    #[test]
    fn what_cannot_be_changed_is_left_and_said() {
        let block = armor::armour(&token(), "\n");
        let encoded = format!("Content-Transfer-Encoding: quoted-printable\n\n{block}");
        assert_eq!(stripped(encoded.as_bytes()), (encoded.clone(), vec![Place::Body]));
        assert!(affix(&Message::parse(encoded.as_bytes()), Place::Body, "x").is_none());
        let signed = format!("Content-Type: multipart/signed; boundary=b\n\n--b\n\n{block}\n--b--\n");
        assert_eq!(stripped(signed.as_bytes()), (signed.clone(), vec![Place::Body]));
        let wide = "Content-Type: text/plain; charset=UTF-16\n\nx";
        assert!(affix(&Message::parse(wide.as_bytes()), Place::Body, "x").is_none());
        assert!(affix(&Message::parse(b"A: no body\n"), Place::Body, "x").is_none());
        let (front, back) = (&token()[..90], &token()[90..]);
        let folded = format!("Subject: {front}\n {back}\n\n");
        assert_eq!(stripped(folded.as_bytes()), (folded.clone(), vec![Place::Subject]));
    }

    #[test]
    fn one_of_two_stamps_goes() {
        let (stamp, other) = (token(), token().replacen(".ey", ".ez", 1));
        let raw =
            format!("Digital-Stamp: {other}\nDigital-Stamp: {stamp}; reuse=return\nSubject: [{stamp}] x\n\ntext\n");
        let message = Message::parse(raw.as_bytes());
        let left = strip_only(&message, |token| token == stamp).edit.to_vec();
        assert_eq!(String::from_utf8(left).unwrap(), format!("Digital-Stamp: {other}\nSubject: x\n\ntext\n"));
        assert!(strip_only(&message, |_| false).edit.is_empty());
    }

    #[test]
    fn stamps_go_from_every_place() {
        let stamp = token();
        let block = armor::armour(&stamp, "\n");
        for (subject, rest) in [
            (" [S] hello", " hello"),
            (" hello S", " hello"),
            (" hello S there", " hello there"),
            (" hello (S)", " hello ()"),
            (" Re: [S]", " Re:"),
            (" S", ""),
        ] {
            let subject = subject.replace('S', &stamp);
            let raw = format!("Digital-Stamp: x\nSubject:{subject}\ndigital-STAMP:\n y\n\ntext\n{block}-- \nme\n");
            assert_eq!(stripped(raw.as_bytes()), (format!("Subject:{rest}\n\ntext\n-- \nme\n"), vec![]), "{subject}");
        }
    }

    #[test]
    fn a_part_without_content_takes_a_stamp_and_gives_it_back() {
        for raw in [
            "Content-Type: multipart/mixed; boundary=b\n\n--b\n\n--b--\n",
            "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n\r\n--b--",
            "Content-Type: multipart/mixed; boundary=b\n\n--b\n\n\n\nx\n--b\n\ny\n--b--\n",
            "A: b\n\n",
        ] {
            let with = affix(&Message::parse(raw.as_bytes()), Place::Body, &token()).unwrap().to_vec();
            let located = extract::locate(&Message::parse(&with));
            assert_eq!((located.stamps[0].place, located.stamps[0].token.as_str()), (Place::Body, token().as_str()));
            assert_eq!(stripped(&with), (raw.to_owned(), vec![]));
        }
    }

    #[test]
    fn a_subject_takes_a_stamp_where_it_can_hold_one() {
        let affixed = |raw: &str, stamp: &str| {
            let edit = affix(&Message::parse(raw.as_bytes()), Place::Subject, stamp)?;
            Some(String::from_utf8(edit.to_vec()).unwrap())
        };
        let (stamp, room) = (token(), LINE - token().len() - " []".len());
        assert_eq!(affixed("subject:\r\n\r\n", &stamp), Some(format!("subject: [{stamp}]\r\n\r\n")));
        assert_eq!(affixed("Subject: a\n b\nA: b\n\n", &stamp), Some(format!("Subject: a\n b [{stamp}]\nA: b\n\n")));
        let long = |length: usize| format!("Subject: {}\n\n", "x".repeat(length - "Subject: ".len()));
        assert!(affixed(&long(room), &stamp).is_some());
        for (raw, stamp) in [
            (long(room + 1), stamp.clone()),
            ("A: b\n\nSubject: a\n".into(), stamp.clone()),
            ("Subject: =?utf-8?q?a?=\n\n".into(), stamp.clone()),
            (format!("Subject: {stamp}\n\n"), stamp.clone()),
            ("Subject: a\n\n".into(), format!("{stamp}; reuse=return")),
            ("Subject: a\n\n".into(), "v4.public.short".into()),
        ] {
            assert_eq!(affixed(&raw, &stamp), None, "{raw}");
        }
    }

    fn body() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(b"\n".to_vec()),
            Just(b"\r\n".to_vec()),
            Just(b"\r".to_vec()),
            Just(b" ".to_vec()),
            Just(b"\n.\n".to_vec()),
            Just(b"\nFrom x\n".to_vec()),
            Just(b"\n-- \n".to_vec()),
            Just(b"\n> x".to_vec()),
            Just(b"\n--b\n".to_vec()),
            Just(b"\n--b--\n".to_vec()),
            Just(b"Content-Type: text/html\n\n".to_vec()),
            Just(vec![b'x'; 998]),
            proptest::collection::vec(any::<u8>(), 0..20),
        ];
        proptest::collection::vec(piece, 0..10).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        // BC8, BP3b: at either place a stamp is found, and goes without a trace.
        #[test]
        fn a_stamp_put_on_is_found_and_goes_without_a_trace(body in body(), flowed: bool, parts: bool, crlf: bool) {
            let newline = if crlf { "\r\n" } else { "\n" };
            let kind = match (parts, flowed) {
                (true, _) => "Content-Type: multipart/mixed; boundary=b",
                (false, true) => "Content-Type: text/plain; format=flowed",
                (false, false) => "A: b",
            };
            let raw = [kind.as_bytes(), newline.as_bytes(), newline.as_bytes(), &body].concat();
            for place in [Place::Header, Place::Body] {
                let Some(edit) = affix(&Message::parse(&raw), place, &token()) else { continue };
                let with = edit.to_vec();
                let message = Message::parse(&with);
                let located = extract::locate(&message);
                prop_assert_eq!(located.stamps.len(), 1);
                prop_assert_eq!((located.stamps[0].place, &located.stamps[0].token), (place, &token()));
                let stripped = strip(&message);
                prop_assert_eq!(stripped.edit.to_vec(), raw.clone());
                prop_assert!(stripped.left.is_empty());
            }
        }

        // BC8, BP3b: the same for a Subject of whatever kind.
        #[test]
        fn a_stamp_in_a_subject_goes_without_a_trace(
            name in "(?i)subject[ \t]{0,2}", value in "([ -~éß\t\\[\\]]|v4\\.public\\.|\n |\r\n\t|\r){0,60}", crlf: bool, end: bool,
        ) {
            let newline = if crlf { "\r\n" } else { "\n" };
            let rest = if end { String::new() } else { format!("{newline}To: b{newline}{newline}text") };
            let raw = format!("From: a{newline}{name}:{value}{rest}");
            let Some(edit) = affix(&Message::parse(raw.as_bytes()), Place::Subject, &token()) else { return Ok(()) };
            let with = edit.to_vec();
            let located = extract::locate(&Message::parse(&with));
            prop_assert_eq!(located.stamps.len(), 1);
            prop_assert_eq!((located.stamps[0].place, &located.stamps[0].token), (Place::Subject, &token()));
            prop_assert_eq!(stripped(&with), (raw, vec![]));
        }
    }
}
