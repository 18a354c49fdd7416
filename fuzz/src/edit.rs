//! Edits: a stamp that is put on is found where it was put, changes no other byte and not the fingerprint, and comes
//! off without a trace. The fingerprint does not depend on line ends, nor on empty lines at the end.

use super::{FOOTER, VENDOR_KEY};
use mailstamp::message::fingerprint::Fingerprint;
use mailstamp::message::parse::Message;
use mailstamp::stamp::affix::{affix, strip};
use mailstamp::stamp::extract::{Place, locate};
use mailstamp::stamp::token::Purpose;
use std::sync::LazyLock;

static STAMP: LazyLock<String> =
    LazyLock::new(|| VENDOR_KEY.sign(br#"{"jti":"fuzz"}"#, FOOTER, Purpose::Stamp).as_str().to_owned());

/// Checks one input.
pub fn run(raw: &[u8]) {
    let message = Message::parse(raw);
    let fingerprint = Fingerprint::of(&message);
    let crlf = with_crlf(raw);
    assert_eq!(Fingerprint::of(&Message::parse(&crlf)), fingerprint);
    // After a lone CR, the line end would be a different one.
    if message.has_body() && !raw.ends_with(b"\r") {
        let longer = [raw, b"\n\r\n\n".as_slice()].concat();
        assert_eq!(Fingerprint::of(&Message::parse(&longer)), fingerprint);
    }

    let stripped = strip(&message);
    let bare = stripped.edit.to_vec();
    assert!(bare.len() <= raw.len() && is_part_of(&bare, raw));
    let carries = locate(&message);
    let has_stamps = !stripped.edit.is_empty() || !stripped.left.is_empty() || carries.over_limit;
    if has_stamps || !carries.stamps.is_empty() {
        return;
    }
    assert_eq!(bare, raw);
    for place in [Place::Header, Place::Body, Place::Subject] {
        let Some(edit) = affix(&message, place, &STAMP) else {
            assert_ne!(place, Place::Header);
            continue;
        };
        let stamped = edit.to_vec();
        assert_eq!(edit.pieces().flatten().copied().collect::<Vec<u8>>(), stamped);
        assert!(is_part_of(raw, &stamped));
        let with = Message::parse(&stamped);
        let found = locate(&with);
        assert_eq!(found.stamps.len(), 1, "{place:?}");
        assert_eq!((found.stamps[0].place, &found.stamps[0].token), (place, &*STAMP));
        if place == Place::Header && is_well_formed(&message) {
            assert_eq!(Fingerprint::of(&with), fingerprint, "{place:?}");
        }
        let back = strip(&with);
        assert!(back.left.is_empty());
        assert_eq!(back.edit.to_vec(), raw, "{place:?}");
    }
}

/// Whether every line of the header is a field or continues one. Another line is a part of the body for the
/// fingerprint, and so are the fields below it.
fn is_well_formed(message: &Message<'_>) -> bool {
    let mut lines = message.header().split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let field = |line: &[u8]| {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        name.len() < line.len() && !name.is_empty() && name.iter().all(u8::is_ascii_graphic)
    };
    let first = lines.next().is_some_and(|line| field(line) && !line.contains(&b'\r') && !line.contains(&0));
    let ended = message.header().ends_with(b"\n");
    first
        && ended
        && message.envelope_line().is_empty()
        && lines.all(|line| {
            (line.is_empty() || line.starts_with(b" ") || line.starts_with(b"\t") || field(line))
                && !line.contains(&b'\r')
                && !line.contains(&0)
        })
}

/// The same lines, each ended by CRLF.
fn with_crlf(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    for &byte in raw {
        if byte == b'\n' && out.last() != Some(&b'\r') {
            out.push(b'\r');
        }
        out.push(byte);
    }
    out
}

/// Whether `part` is `whole` with bytes left out.
fn is_part_of(part: &[u8], whole: &[u8]) -> bool {
    let mut whole = whole.iter();
    part.iter().all(|byte| whole.any(|other| other == byte))
}
