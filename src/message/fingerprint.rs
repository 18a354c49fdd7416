//! Fingerprint of a message, which recognises it when it is delivered again or arrives by two ways.

use super::header::Field;
use super::header::slice;
use super::parse::{Message, line_length};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;

/// SHA-256 over the parts that stay the same when one message is delivered again, written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// Returns the fingerprint of a message: its first From, Date and Message-ID with normalised white space, and its
    /// body in DKIM's relaxed form (RFC 6376 3.4.4). It ignores the Subject, trace fields, the fields of mailstamp, the
    /// kind of line ends and the empty lines at the end. Nothing is copied beyond a small buffer.
    ///
    /// The hashed text looks like a message: three lines `name:value`, an empty line, the body, each ended by CRLF. No
    /// value can contain a line end, so no two messages look alike. A missing field is an empty one.
    #[must_use]
    pub fn of(message: &Message) -> Self {
        let mut hash = Buffered::new();
        let (mut from, mut date, mut id) = (None, None, None);
        for field in message.fields() {
            for (name, slot) in [("From", &mut from), ("Date", &mut date), ("Message-ID", &mut id)] {
                if slot.is_none() && field.name_is(name) {
                    *slot = Some(field);
                }
            }
        }
        for (name, field) in [("from:", from), ("date:", date), ("message-id:", id)] {
            hash.write(name.as_bytes());
            words(field.as_ref().map_or(&[], Field::value), &mut hash);
            hash.write(b"\r\n");
        }
        hash.write(b"\r\n");
        relaxed_body(message.body(), &mut hash);
        Self(hash.finish())
    }
}

/// Hashes `text` with each run of white space as one blank, and none at either end.
fn words(text: &[u8], hash: &mut Buffered) {
    let mut rest = text.trim_ascii();
    while !rest.is_empty() {
        let end = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        hash.write(word);
        rest = after.trim_ascii_start();
        if !rest.is_empty() {
            hash.write(b" ");
        }
    }
}

/// Hashes the body in relaxed form (RFC 6376 3.4.4): blanks at line ends are removed, runs of blanks become one, empty
/// lines at the end are removed; LF counts as CRLF.
fn relaxed_body(body: &[u8], hash: &mut Buffered) {
    let mut rest = body;
    let mut empty_lines = 0_usize;
    while !rest.is_empty() {
        let (line, after) = rest.split_at(line_length(rest));
        rest = after;
        let line = line.strip_suffix(b"\n").map_or(line, |line| line.strip_suffix(b"\r").unwrap_or(line));
        let Some(last) = line.iter().rposition(|b| !blank(b)) else {
            empty_lines += 1;
            continue;
        };
        for _ in 0..std::mem::take(&mut empty_lines) {
            hash.write(b"\r\n");
        }
        let mut line = slice(line, 0, last + 1);
        // Single spaces between words stay as they are, so most lines are hashed in one piece.
        while let Some(at) = odd_blank(line) {
            let (before, blanks) = line.split_at(at);
            hash.write(before);
            hash.write(b" ");
            let after = blanks.iter().position(|b| !blank(b)).unwrap_or(blanks.len());
            line = slice(blanks, after, blanks.len());
        }
        hash.write(line);
        hash.write(b"\r\n");
    }
}

fn blank(b: &u8) -> bool {
    matches!(b, b' ' | b'\t')
}

/// Returns the offset of the first run of blanks that is not one space.
fn odd_blank(line: &[u8]) -> Option<usize> {
    let next = line.iter().skip(1).map(Some).chain([None]);
    line.iter().zip(next).position(|(b, next)| *b == b'\t' || *b == b' ' && next.is_some_and(blank))
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEADER: &str =
        "From: Alice  <a@b>\nDate: Sat, 21 Nov 2026 12:00:00 +0000\nMessage-ID: <1@b>\nSubject: s\nTo: t\n\n";

    fn of(raw: &str) -> Fingerprint {
        Fingerprint::of(&Message::parse(raw.as_bytes()))
    }

    #[test]
    fn the_hashed_form_is_the_documented_one() {
        let hashed =
            "from:Alice <a@b>\r\ndate:Sat, 21 Nov 2026 12:00:00 +0000\r\nmessage-id:<1@b>\r\n\r\n C\r\nD E\r\n";
        assert_eq!(of(&format!("{HEADER} C \nD \t E\n\n\n")).0, <[u8; 32]>::from(Sha256::digest(hashed)));
        let nothing = "from:\r\ndate:\r\nmessage-id:\r\n\r\n";
        assert_eq!(of("").0, <[u8; 32]>::from(Sha256::digest(nothing)));
        assert_eq!(of("").to_string().len(), 64);
    }

    #[test]
    fn a_delivery_leaves_it_alone() {
        let plain = of(&format!("{HEADER}one  two\n\nthree"));
        for other in [
            format!("From a@b Sat Nov 21 12:00:00 2026\n{HEADER}one  two\n\nthree\n"),
            format!("Received: from x\n by y\nDelivered-To: z\nDigital-Stamp-Class: used\n{HEADER}one two\n\nthree\n"),
            format!("{HEADER}one  two \n\t\nthree\n \n\n\n"),
            format!("{HEADER}one  two\n\nthree\n").replace('\n', "\r\n"),
            format!(
                "{}one two\n\nthree\n",
                HEADER.replace("<1@b>", "\n\t<1@b> ").replace("Subject: s", "Subject: [l] s")
            ),
        ] {
            assert_eq!(of(&other), plain, "{other}");
        }
    }

    #[test]
    fn another_message_has_another() {
        let plain = of(&format!("{HEADER}one two\n"));
        for other in [
            format!("{HEADER}one tw o\n"),
            format!("{HEADER}onetwo\n"),
            format!("{HEADER}one\ntwo\n"),
            format!("{HEADER}\none two\n"),
            format!("{HEADER} one two\n"),
            format!("From: x\n{HEADER}one two\n"),
            format!("{}one two\n", HEADER.replace("12:00:00", "12:00:01")),
            format!("{}one two\n", HEADER.replace("<1@b>", "<2@b>")),
            format!("{}one two\n", HEADER.replace("Message-ID", "X-Id")),
        ] {
            assert_ne!(of(&other), plain, "{other}");
        }
        assert_ne!(of("From: a\n\n"), of("Date: a\n\n"));
    }

    fn text() -> impl Strategy<Value = String> {
        proptest::collection::vec("[a-c \t]{0,6}", 0..12).prop_map(|lines| lines.join("\n"))
    }

    proptest! {
        #[test]
        fn line_ends_trace_fields_and_empty_lines_do_not_count(body in text(), extra in 0_usize..4) {
            let plain = format!("{HEADER}{body}\n");
            let other = format!("Received: x\nDigital-Stamp-Class: used\n{plain}{}", "\n".repeat(extra)).replace('\n', "\r\n");
            prop_assert_eq!(of(&plain), of(&format!("From x\n{other}")));
        }

        #[test]
        fn every_word_counts(body in text(), word in "[d-f]{1,4}", at in any::<proptest::sample::Index>()) {
            let mut changed = body.clone();
            changed.insert_str(at.index(body.len() + 1), &word);
            prop_assert_ne!(of(&format!("{HEADER}{body}")), of(&format!("{HEADER}{changed}")));
        }

        #[test]
        fn large_and_small_pieces_hash_alike(sizes in proptest::collection::vec(1_usize..20_000, 1..6)) {
            let body: Vec<String> = sizes.iter().map(|&n| "w".repeat(n)).collect();
            let expected = format!("from:\r\ndate:\r\nmessage-id:\r\n\r\n{}\r\n", body.join(" "));
            prop_assert_eq!(of(&format!("\n{}", body.join("  "))).0, <[u8; 32]>::from(Sha256::digest(expected)));
        }
    }
}
