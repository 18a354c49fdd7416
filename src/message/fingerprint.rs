//! Fingerprint of a message, which recognises it when it is delivered again or arrives by two ways.
//!
//! It covers what a reader is shown by, byte for byte: one stamp must not pass for two letters. Of what differs between
//! two honest deliveries it leaves out only trace fields, line ends, and empty lines at the end.

use super::header::{field_name, slice};
use super::parse::{Message, line_length};
use super::separator::Separator;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;

/// Fields that count, beside `Content-*`.
const COVERED: [&str; 9] = ["From", "Sender", "Reply-To", "To", "Cc", "Date", "Message-ID", "Subject", "MIME-Version"];

/// Longest line that Postfix sends whole, without its end (smtp_line_length_limit, RFC 5321 4.5.3.1.6).
const LONGEST_LINE: usize = 998;

/// SHA-256 over the parts that stay the same when one message is delivered again, written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// Returns the fingerprint of a message (mailstamp-stamp(5)).
    ///
    /// The hashed text looks like a message. Its lines end with CRLF. First comes each field `name:value` of
    /// `COVERED` and each `Content-*` field but `Content-Length`, in the order of the message: the name in lower case,
    /// the value as it stands, folds included, without blanks at its two ends. Then comes an empty line, unless
    /// the header ends without one, and the body in DKIM's simple form (RFC 6376 3.4.3).
    ///
    /// The header ends before the first line that is empty or is no field (`[!-9;-~]+:`), and before the first field in
    /// which a line contains NUL or a CR that does not end it. All programs read that much as a header. Where they read
    /// on differently, the rest counts byte for byte. A `From ` line of an mbox above a field is skipped. LF comes
    /// before all where the message begins with another line `From `.
    #[must_use]
    pub fn of(message: &Message<'_>) -> Self {
        digest(message.raw(), LongLines::Kept).0
    }

    /// Returns the fingerprint of the message that arrives after Postfix broke its long lines. That message has the
    /// same one.
    #[must_use]
    pub fn of_broken(message: &Message<'_>) -> Self {
        digest(message.raw(), LongLines::Broken).0
    }
}

/// A message as a log keeps it: the first 16 bytes of its fingerprint, and where some line is longer than 998 bytes,
/// those of the message that arrives after Postfix broke such lines. Written as 32 hexadecimal digits, or two such
/// numbers with a slash between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KnownMessage {
    pub whole: [u8; 16],
    pub broken: Option<[u8; 16]>,
}

impl KnownMessage {
    /// Reads the message once, and again if it has long lines.
    #[must_use]
    pub fn of(message: &Message<'_>) -> Self {
        Self::with_fingerprint(message).0
    }

    /// Returns the whole fingerprint, too.
    #[must_use]
    pub fn with_fingerprint(message: &Message<'_>) -> (Self, Fingerprint) {
        let (fingerprint, long) = digest(message.raw(), LongLines::Kept);
        let broken = long.then(|| first_half(&digest(message.raw(), LongLines::Broken).0));
        (Self { whole: first_half(&fingerprint), broken }, fingerprint)
    }

    /// Returns what a log keeps of a message of which this is the fingerprint with broken lines.
    #[must_use]
    pub fn from_broken(fingerprint: &Fingerprint) -> Self {
        first_half(fingerprint).into()
    }

    /// Returns whether `copy` is this message, or what is left of it after its long lines were broken. Not the other
    /// way round: breaking both sides would make many messages the same.
    #[must_use]
    pub fn recognises(&self, copy: &Self) -> bool {
        self.whole == copy.whole || self.broken == Some(copy.whole)
    }
}

impl From<[u8; 16]> for KnownMessage {
    fn from(whole: [u8; 16]) -> Self {
        Self { whole, broken: None }
    }
}

fn first_half(fingerprint: &Fingerprint) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&fingerprint.0[..16]);
    half
}

/// What becomes of lines over 998 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LongLines {
    Kept,
    /// CRLF and a space come after 998 bytes, and then after every 997, as Postfix sends them.
    Broken,
}

/// Returns the fingerprint of a message, and whether a line that counts is too long.
fn digest(raw: &[u8], long_lines: LongLines) -> (Fingerprint, bool) {
    let mut text = Text { hash: Buffered::new(), long_lines, any_long: false };
    let separator = envelope(raw);
    if separator == 0 && raw.starts_with(b"From ") {
        // Some programs show such a line and others do not, but only at the beginning: no other text begins with LF.
        text.hash.write(b"\n");
    }
    let mut rest = slice(raw, separator, raw.len());
    loop {
        let length = field_length(rest);
        if length == 0 {
            break;
        }
        let (field, after) = rest.split_at(length);
        text.field(field);
        rest = after;
    }
    match rest {
        [] => text.end_line(),
        [b'\n', body @ ..] | [b'\r', b'\n', body @ ..] => {
            text.end_line();
            rest = body;
        }
        _ => {}
    }
    text.body(rest);
    (Fingerprint(text.hash.finish()), text.any_long)
}

/// Returns the length of an mbox separator: `From `, a sender, and a date that ends with the year. Any other line is
/// shown to a reader.
fn envelope(raw: &[u8]) -> usize {
    let line = slice(raw, 0, line_length(raw));
    let (text, end) = without_end(line);
    let plain = !end.is_empty()
        && !is_read_differently(text)
        && Separator::parse(text).is_some_and(|separator| separator.has_sender && separator.ends_with_year);
    // Above another line mutt takes the separator for a part of what it shows.
    if plain && field_length(slice(raw, line.len(), raw.len())) > 0 { line.len() } else { 0 }
}

/// Returns the length of the field with which `text` begins, its continuation lines included; 0 if it begins with none.
fn field_length(text: &[u8]) -> usize {
    let first = line_length(text);
    let (line, _) = without_end(slice(text, 0, first));
    if field_name(line).is_none() || is_read_differently(line) {
        return 0;
    }
    let mut length = first;
    loop {
        let rest = slice(text, length, text.len());
        let next = line_length(rest);
        if !matches!(rest, [b' ' | b'\t', ..]) {
            return length;
        }
        // The whole field is left to the body then: which one is continued makes a difference.
        if is_read_differently(without_end(slice(rest, 0, next)).0) {
            return 0;
        }
        length += next;
    }
}

/// Returns whether programs disagree where the line ends: some end it at a CR, and mutt joins a line that contains NUL
/// and the next one.
fn is_read_differently(line: &[u8]) -> bool {
    line.iter().any(|byte| matches!(byte, b'\r' | 0))
}

/// Splits a line into its text and its end: LF, CRLF or nothing.
fn without_end(line: &[u8]) -> (&[u8], &[u8]) {
    let end = match line {
        [.., b'\r', b'\n'] => 2,
        [.., b'\n'] => 1,
        _ => 0,
    };
    line.split_at(line.len() - end)
}

/// Writes the hashed text.
struct Text {
    hash: Buffered,
    long_lines: LongLines,
    any_long: bool,
}

impl Text {
    fn end_line(&mut self) {
        self.hash.write(b"\r\n");
    }

    /// Writes a field, if it counts.
    fn field(&mut self, raw: &[u8]) {
        let name = field_name(raw).unwrap_or_default();
        let content = |name: &[u8]| {
            name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case(b"Content-"))
                && !name.eq_ignore_ascii_case(b"Content-Length")
        };
        if !content(name) && !COVERED.iter().any(|covered| name.eq_ignore_ascii_case(covered.as_bytes())) {
            return;
        }
        // Broken first, since that may put a line end into the blanks at an end of the value.
        let mut text = Vec::with_capacity(raw.len());
        for (number, line) in without_end(raw).0.split(|b| *b == b'\n').enumerate() {
            if number > 0 {
                text.extend(b"\r\n");
            }
            self.line(line.strip_suffix(b"\r").unwrap_or(line), |_, piece| text.extend(piece));
        }
        let value = slice(&text, name.len() + 1, text.len());
        let blank = |b: &u8| matches!(b, b' ' | b'\t');
        let from = value.iter().position(|b| !blank(b)).unwrap_or(value.len());
        let to = match value.iter().rposition(|b| !blank(b)) {
            // A last line of nothing but blanks stays, or it would look like the end of the header.
            Some(at) if value.get(at) == Some(&b'\n') => value.len(),
            last => last.map_or(from, |at| at + 1),
        };
        self.hash.write(&name.to_ascii_lowercase());
        self.hash.write(b":");
        self.hash.write(slice(value, from, to));
        self.end_line();
    }

    /// Hands out a line without its end, broken where it is too long.
    fn line(&mut self, line: &[u8], mut to: impl FnMut(&mut Buffered, &[u8])) {
        self.any_long |= line.len() > LONGEST_LINE;
        let mut rest = line;
        let mut room = if self.long_lines == LongLines::Broken { LONGEST_LINE } else { usize::MAX };
        while rest.len() > room {
            let (piece, after) = rest.split_at(room);
            to(&mut self.hash, piece);
            to(&mut self.hash, b"\r\n ");
            rest = after;
            room = LONGEST_LINE - 1;
        }
        to(&mut self.hash, rest);
    }

    /// Writes the body in simple form: empty lines at the end are left out, and an empty body is one line end.
    fn body(&mut self, raw: &[u8]) {
        let (mut start, mut empty_lines) = (0, 0_usize);
        let mut empty = true;
        while start < raw.len() {
            let length = line_length(slice(raw, start, raw.len()));
            let end = start + without_end(slice(raw, start, start + length)).0.len();
            if end == start {
                empty_lines += 1;
            } else {
                (0..std::mem::take(&mut empty_lines)).for_each(|_| self.end_line());
                self.line(slice(raw, start, end), Buffered::write);
                self.end_line();
                empty = false;
            }
            start += length;
        }
        if empty {
            self.end_line();
        }
    }
}

/// SHA-256 with a buffer, since the pieces are small.
struct Buffered {
    hash: Sha256,
    waiting: Vec<u8>,
}

impl Buffered {
    const SIZE: usize = 8192;

    fn new() -> Self {
        Self { hash: Sha256::new(), waiting: Vec::with_capacity(Self::SIZE) }
    }

    fn write(&mut self, piece: &[u8]) {
        if self.waiting.len() + piece.len() > Self::SIZE {
            self.hash.update(&self.waiting);
            self.waiting.clear();
        }
        if piece.len() > Self::SIZE {
            self.hash.update(piece);
        } else {
            self.waiting.extend_from_slice(piece);
        }
    }

    fn finish(mut self) -> [u8; 32] {
        self.hash.update(&self.waiting);
        self.hash.finalize().into()
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes = HEXLOWER.decode(text.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or("a fingerprint has 64 hexadecimal digits")
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn decode_half(text: &str) -> Option<[u8; 16]> {
    HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
}

impl TryFrom<String> for KnownMessage {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let known = match text.split_once('/') {
            None => decode_half(&text).map(Self::from),
            Some((whole, broken)) => {
                decode_half(whole).zip(decode_half(broken)).map(|(whole, broken)| Self { whole, broken: Some(broken) })
            }
        };
        known.ok_or("not 32 hexadecimal digits, nor two such numbers with a slash between")
    }
}

impl From<KnownMessage> for String {
    fn from(known: KnownMessage) -> Self {
        let whole = HEXLOWER.encode(&known.whole);
        known.broken.map_or_else(|| whole.clone(), |broken| format!("{whole}/{}", HEXLOWER.encode(&broken)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEADER: &str =
        "From: Alice  <a@b>\nDate: Sat, 21 Nov 2026 12:00:00 +0000\nMessage-ID: <1@b>\nSubject: s\nTo: t\n\n";

    fn of(raw: &str) -> Fingerprint {
        Fingerprint::of(&Message::parse(raw.as_bytes()))
    }

    fn known(raw: &str) -> KnownMessage {
        KnownMessage::of(&Message::parse(raw.as_bytes()))
    }

    fn hash(text: &str) -> Fingerprint {
        Fingerprint(Sha256::digest(text).into())
    }

    #[test]
    fn the_hashed_form_is_the_documented_one() {
        let hashed = "from:Alice  <a@b>\r\ndate:Sat, 21 Nov 2026\r\n 12:00:00 +0000\r\nmessage-id:<1@b>\r\n\
            subject:s \r\n \t\r\nto:t\r\n\r\n C \r\nD \t E\r\n";
        let header = HEADER
            .replace("2026 ", "2026\n ")
            .replace("Subject: s", "X-A: b\nSUBJECT : \t s \n \t")
            .replace(" : ", ": ");
        assert_eq!(of(&format!("{header} C \nD \t E\n\n\n")), hash(hashed));
        assert_eq!(of("").to_string(), hash("\r\n\r\n").to_string());
        assert_eq!(
            of("Content-Length: 5\ncontent-X-y:  z\nReply-To:\nCc: a\n\tb\n\n"),
            hash("content-x-y:z\r\nreply-to:\r\ncc:a\r\n\tb\r\n\r\n\r\n")
        );
        // A line that is no field, and a CR in one, end the header without an empty line.
        assert_eq!(of("To: a\nSubject : b\nFrom: c\n"), hash("to:a\r\nSubject : b\r\nFrom: c\r\n"));
        assert_eq!(of("To: a\nX: b\rSubject: c\n\n\n"), hash("to:a\r\nX: b\rSubject: c\r\n"));
        assert_eq!(of("Cc: e\nTo: a\n b\r c\nX: d\n"), hash("cc:e\r\nTo: a\r\n b\r c\r\nX: d\r\n"));
        assert_eq!(of(" a\nTo: b\n"), hash(" a\r\nTo: b\r\n"));
        assert_eq!(of(": a\nTo: b\n"), hash(": a\r\nTo: b\r\n"));
        assert_eq!(of("From a\nTo: b\n"), hash("\nFrom a\r\nTo: b\r\n"));
        assert_eq!(of("X: a\nFrom a\nTo: b\n"), hash("From a\r\nTo: b\r\n"));
    }

    #[test]
    fn a_delivery_leaves_it_alone() {
        let plain = of(&format!("{HEADER}one  two\n\nthree"));
        for other in [
            format!("From a@b Sat Nov 21 12:00:00 2026\n{HEADER}one  two\n\nthree\n"),
            format!("From 17@xxx Sat Nov  1 12:00:00 +0000 2026\r\n{HEADER}one  two\n\nthree\n"),
            format!("Received: from x\n by y\nDelivered-To: z\nDigital-Stamp-Class: used\n{HEADER}one  two\n\nthree\n"),
            format!("{HEADER}one  two\n\nthree\n\n\r\n\n"),
            format!("{HEADER}one  two\n\nthree\n").replace('\n', "\r\n"),
            format!("{}one  two\n\nthree\n", HEADER.replace("<1@b>", "\t <1@b> ")),
        ] {
            assert_eq!(of(&other), plain, "{other}");
        }
    }

    #[test]
    fn another_message_has_another() {
        let plain = of(&format!("{HEADER}one two\n"));
        let field = |field: &str| format!("{}\n{field}\n\none two\n", HEADER.trim_end());
        for other in [
            format!("{HEADER}one tw o\n"),
            format!("{HEADER}one  two\n"),
            format!("{HEADER}one two \n"),
            format!("{HEADER}one\ntwo\n"),
            format!("{HEADER}\none two\n"),
            format!("From: x\n{HEADER}one two\n"),
            format!("From Alice, hello\n{HEADER}one two\n"),
            format!("From hello Alice Sat Nov 21 12:00:00 2026\n{HEADER}one two\n"),
            format!(">From a@b Sat Nov 21 12:00:00 2026\n{HEADER}one two\n"),
            format!("{}one two\n", HEADER.replace("12:00:00", "12:00:01")),
            format!("{}one two\n", HEADER.replace("<1@b>", "<2@b>")),
            format!("{}one two\n", HEADER.replace("Alice  <", "Alice <")),
            format!("{}one two\n", HEADER.replace("Message-ID", "X-Id")),
            format!("{}one two\n", HEADER.replace("Subject: s", "Subject: [l] s")),
            format!("{}one two\n", HEADER.trim_end()),
            field("Content-Type: text/plain; boundary=a b"),
            field("content-disposition: attachment"),
            field("MIME-Version: 1.0"),
            field("Reply-To: eve@y.example"),
            field("Sender: eve@y.example"),
            field("Cc: eve@y.example"),
            field("To: t"),
            format!("{}one two\n", HEADER.replace("<1@b>", "\n\t<1@b>")),
            format!("{}one two\n", HEADER.replace("<1@b>", "<1@b>\n ")),
            format!("{}\none two\n", HEADER.replace("To: t\n", "To: t\n \n")),
            field("X-A: b\rc"),
            field("X-A: b\0c"),
            format!("From a@b Sat Nov 21 12:00:00 2026\n c\n{HEADER}one two\n"),
        ] {
            assert_ne!(of(&other), plain, "{other}");
        }
        assert_ne!(of("From: a\n\n"), of("Date: a\n\n"));
        assert_ne!(of("To: a\nTo: b\n\n"), of("To: b\nTo: a\n\n"));
    }

    /// As Postfix 3.7 sends them.
    fn broken(raw: &str) -> String {
        let mut out = String::new();
        for line in raw.split_inclusive('\n') {
            let (text, end) = line.strip_suffix('\n').map_or((line, ""), |text| (text, "\n"));
            let mut rest = text;
            let mut room = 998;
            while rest.len() > room {
                out.push_str(&rest[..room]);
                out.push_str("\n ");
                rest = &rest[room..];
                room = 997;
            }
            out.push_str(rest);
            out.push_str(end);
        }
        out
    }

    #[test]
    fn a_message_is_known_by_its_broken_lines_too() {
        for raw in [
            format!("{HEADER}{}\nend\n", "x".repeat(5_000)),
            format!("{HEADER}a\n{}\n{}", "y ".repeat(499), "z".repeat(999)),
            format!("Subject: {}\n{HEADER}a\n", "long ".repeat(900)),
            format!("To:{}a\n{HEADER}a\n", " ".repeat(1_500)),
            format!("To: a{}\n b\n{HEADER}a\n", " ".repeat(3_000)),
        ] {
            let (sent, arrived) = (known(&raw), known(&broken(&raw)));
            assert_eq!(arrived.broken, None);
            assert!(sent.recognises(&sent) && sent.recognises(&arrived), "{}", &raw[..200]);
            assert!(sent.whole == arrived.whole || !arrived.recognises(&sent));
            // The same over CRLF.
            assert_eq!(known(&raw.replace('\n', "\r\n")), sent);
        }
        assert_eq!(known(&format!("{HEADER}{}\n{}", "x".repeat(998), "y".repeat(998))).broken, None);
        assert_eq!(known(&format!("X-A: {}\n{HEADER}a\n", "x".repeat(5_000))).broken, None, "does not count");
    }

    #[test]
    fn what_is_kept_of_a_message_is_written_as_hexadecimal_digits() {
        for (known, text) in [
            (KnownMessage::from([1; 16]), "01".repeat(16)),
            (
                KnownMessage { whole: [1; 16], broken: Some([2; 16]) },
                format!("{}/{}", "01".repeat(16), "02".repeat(16)),
            ),
        ] {
            assert_eq!(String::from(known), text);
            assert_eq!(KnownMessage::try_from(text), Ok(known));
        }
        for wrong in ["", "01", "/", &"0x".repeat(16), &format!("{}/", "01".repeat(16)), &"01".repeat(17)] {
            assert!(KnownMessage::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }

    fn text() -> impl Strategy<Value = String> {
        proptest::collection::vec("[a-c \t]{0,6}", 0..12).prop_map(|lines| lines.join("\n"))
    }

    proptest! {
        #[test]
        fn line_ends_trace_fields_and_empty_lines_do_not_count(body in text(), extra in 0_usize..4) {
            let plain = format!("{HEADER}{body}\n");
            let other = format!("Received: x\nDigital-Stamp-Class: used\n{plain}{}", "\n".repeat(extra)).replace('\n', "\r\n");
            prop_assert_eq!(of(&plain), of(&format!("From x Sat Nov 21 12:00:00 2026\n{other}")));
        }

        #[test]
        fn every_byte_counts(body in text(), more in "[a-f \t]{1,4}", at in any::<proptest::sample::Index>()) {
            let mut changed = body.clone();
            changed.insert_str(at.index(body.len() + 1), &more);
            prop_assert_ne!(of(&format!("{HEADER}{body}")), of(&format!("{HEADER}{changed}")));
        }

        #[test]
        fn large_and_small_pieces_hash_alike(sizes in proptest::collection::vec(1_usize..20_000, 1..6)) {
            let body: Vec<String> = sizes.iter().map(|&n| "w".repeat(n)).collect();
            let expected = format!("\r\n{}\r\n", body.join("\r\n"));
            prop_assert_eq!(of(&format!("\n{}", body.join("\n"))), hash(&expected));
        }

        /// No panic, and what arrives broken is recognised.
        #[test]
        fn any_bytes_have_one(raw in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b':'), Just(b' '), Just(b'T'), any::<u8>()], 0..300)) {
            let known = KnownMessage::of(&Message::parse(&raw));
            prop_assert!(known.recognises(&known));
        }
    }
}
