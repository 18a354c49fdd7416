//! The view of a message: every part of it lies where it says, the parts are all of it, fields never overlap, and the
//! first text is bounded. What stands in fields is decoded, and never grows.

use mailstamp::message::header::{escape_untrusted, fold};
use mailstamp::message::mime::{TextPart, first_text};
use mailstamp::message::parse::Message;

/// Checks one input.
pub fn run(raw: &[u8]) {
    let message = Message::parse(raw);
    let (envelope, header, body) = (message.envelope_line(), message.header(), message.body());
    let empty_line = message.body_start() - envelope.len() - header.len();
    assert!(matches!(&raw[envelope.len() + header.len()..][..empty_line], b"" | b"\n" | b"\r\n"));
    assert_eq!(message.has_body(), empty_line > 0);
    assert_eq!(&raw[message.body_start()..], body);

    let mut at = envelope.len();
    for field in message.fields() {
        assert!(field.start() >= at && !field.raw().is_empty());
        at = field.start() + field.raw().len();
        assert_eq!(&raw[field.start()..at], field.raw());
        assert!(at <= envelope.len() + header.len());
        let value = field.unfolded();
        assert!(!value.iter().any(|b| matches!(b, b'\r' | b'\n')));
        assert!(field.decoded().len() <= value.len().max(1) && value.len() <= field.raw().len());

        let shown = escape_untrusted(&value, 100);
        assert!(shown.len() <= 100 && shown.bytes().all(|b| matches!(b, b' '..=b'~') && b != b';'));
        // A value that goes through both writers is one field again, with the same value except its blanks.
        let again = fold("X", &shown, message.newline());
        assert!(again.lines().all(|line| line.len() <= 76));
        let folded = Message::parse(again.as_bytes());
        let fields: Vec<_> = folded.fields().collect();
        assert_eq!(fields.len(), 1);
        assert!(fields[0].raw() == again.as_bytes() && fields[0].name_is("x"));
        let words = |text: &[u8]| text.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect::<Vec<_>>();
        assert_eq!(words(fields[0].value()), words(shown.as_bytes()));
    }

    if let TextPart::Found(text) = first_text(&message) {
        assert!(text.span.start >= message.body_start() && text.span.end <= raw.len());
        let content = &raw[text.span.clone()];
        let tail = text.tail.as_deref().unwrap_or_default();
        // Quoted-printable ends every line with CRLF; nothing else makes a text longer.
        let lines = content.iter().filter(|&&b| b == b'\n').count();
        assert!(text.head.len() + tail.len() <= content.len() + lines);
        assert!(!text.plain || text.tail.is_some() || *text.head == *content);
    }
}
