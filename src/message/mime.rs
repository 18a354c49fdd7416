//! Finds the first text of a message: a walk over its MIME parts (RFC 2046), in one pass without recursion, bounded in
//! depth, in parts and in the size of a part's header. `shown_text` decodes it from its charset. Other parts and
//! attached messages are left out.
//!
//! A boundary line must be exactly `--boundary` or `--boundary--`, apart from blanks after it. Some parsers compare
//! only its beginning. A sender could then show mailstamp another text than the recipient's mail reader shows (parser
//! differential).

use super::header::Field;
use super::header::slice;
use super::parse::{Message, line_length};
use super::search;
use super::transfer_encoding;
use memchr::memmem;
use std::borrow::Cow;
use std::ops::Range;

/// Limit on the depth of nested multiparts.
const DEPTH: usize = 20;
/// Limit on the parts.
const PARTS: usize = 1_000;
/// Longest header of a part, in bytes.
const PART_HEADER: usize = 256 * 1024;
/// Longest value of a MIME field, in bytes.
const VALUE: usize = 64 * 1024;
/// Longest text that is read whole, in bytes as it stands in the message.
const WHOLE: usize = 1024 * 1024;
/// Bytes of a longer text that are read, at either end.
const END: usize = 64 * 1024;

/// Result of the walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextPart<'a> {
    /// The first text.
    Found(Text<'a>),
    None,
    /// The message exceeds the limits before its first text.
    OverLimit,
}

/// First text/plain part that is not an attachment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text<'a> {
    /// Its beginning, decoded; the whole text if `tail` is `None`.
    pub head: Cow<'a, [u8]>,
    /// The last 64 KiB of a text that is longer than 1 MiB as it stands in the message; `head` is then its first 64
    /// KiB. Both are cut between two lines.
    pub tail: Option<Cow<'a, [u8]>>,
    /// The range of the part in the message, undecoded, without the line end that belongs to the next boundary.
    pub span: Range<usize>,
    /// Whether the text is unencoded (7bit, 8bit, binary) and in a charset that contains ASCII, so that ASCII lines can
    /// be inserted and removed in place.
    pub plain: bool,
    /// Whether it is `format=flowed` (RFC 3676): a line may have one extra blank in front.
    pub flowed: bool,
    /// Its charset, as named; `us-ascii` without a name.
    pub charset: String,
    /// Whether a part above it is `multipart/signed`, so that any change breaks a signature.
    pub signed: bool,
}

impl<'a> Text<'a> {
    /// Returns the text that contains the last lines.
    #[must_use]
    pub fn end(&self) -> &[u8] {
        self.tail.as_deref().unwrap_or(&self.head)
    }
}

/// Finds the first text of a message, in the order of its parts, at any depth of multiparts. A message without a
/// Content-Type is text. Attached messages are not opened: a stamp in a forwarded message is not for this recipient.
#[must_use]
pub fn first_text<'a>(message: &Message<'a>) -> TextPart<'a> {
    first_of(Media::Plain, message)
}

/// As [`first_text`], of the texts in HTML.
#[must_use]
pub fn first_html<'a>(message: &Message<'a>) -> TextPart<'a> {
    first_of(Media::Html, message)
}

/// As [`first_text`], of the parts of a report that programs read (RFC 3464, RFC 6533).
pub(super) fn delivery_status<'a>(message: &Message<'a>) -> TextPart<'a> {
    first_of(Media::DeliveryStatus, message)
}

fn first_of<'a>(wanted: Media, message: &Message<'a>) -> TextPart<'a> {
    let mut walk = Walk { raw: message.raw(), at: message.body_start(), open: Vec::new() };
    let mut part = Kind::of(message, false);
    for _ in 0..=PARTS {
        match part {
            Kind::OverLimit => return TextPart::OverLimit,
            Kind::Text { media, coding, flowed, charset } if media == wanted => {
                let wide = ["utf-16", "utf-32", "ucs-"].iter().any(|prefix| charset.starts_with(prefix));
                let text = walk.text(coding, flowed);
                return TextPart::Found(Text { plain: text.plain && !wide, charset, ..text });
            }
            Kind::Multipart(_) if walk.open.len() == DEPTH => return TextPart::OverLimit,
            Kind::Multipart(level) => walk.open.push(level),
            Kind::Text { .. } | Kind::Other => {}
        }
        match walk.next_part() {
            Some(next) => part = next,
            None => return TextPart::None,
        }
    }
    TextPart::OverLimit
}

/// Encoding of a text (RFC 2045 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Plain,
    QuotedPrintable,
    Base64,
}

/// Kind of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Media {
    Plain,
    Html,
    DeliveryStatus,
}

/// Open multipart.
#[derive(Clone, Debug)]
struct Level {
    boundary: Vec<u8>,
    signed: bool,
    /// Its parts are messages by default (RFC 2046 5.1.5).
    digest: bool,
}

/// Kind of a part, from its header.
enum Kind {
    Text { media: Media, coding: Coding, flowed: bool, charset: String },
    Multipart(Level),
    Other,
    OverLimit,
}

impl Kind {
    fn of(part: &Message, in_digest: bool) -> Self {
        let (mut kind, mut disposition, mut coding) = (None, None, None);
        for field in part.fields() {
            for (name, slot) in [
                ("Content-Type", &mut kind),
                ("Content-Disposition", &mut disposition),
                ("Content-Transfer-Encoding", &mut coding),
            ] {
                if slot.is_none() && field.name_is(name) {
                    if field.value().len() > VALUE {
                        return Self::OverLimit;
                    }
                    *slot = Some(text(&field));
                }
            }
        }
        let kind =
            mailparse::parse_content_type(kind.as_deref().unwrap_or(if in_digest { "message/rfc822" } else { "" }));
        let media = first_word(&kind.mimetype).to_ascii_lowercase();
        if media.starts_with("multipart/") {
            // mailparse keeps charset'language'value of an extended parameter (RFC 2231 4) in a charset unknown to it.
            let extended = || kind.params.get("boundary*").and_then(|value| value.splitn(3, '\'').nth(2));
            let boundary = kind.params.get("boundary").map(String::as_str).or_else(extended).unwrap_or_default();
            let boundary = bytes(boundary.trim_end_matches([' ', '\t']));
            // A boundary with a line end (RFC 2231 can spell it) is on no line, and would be compared with many.
            if boundary.is_empty() || boundary.iter().any(u8::is_ascii_control) {
                return Self::Other;
            }
            return Self::Multipart(Level {
                boundary,
                signed: media == "multipart/signed",
                digest: media == "multipart/digest",
            });
        }
        // Without an empty line there is no text, and no position for a stamp.
        if !part.has_body() {
            return Self::Other;
        }
        // An invalid type counts as text (RFC 2045 5.2).
        let attached = disposition.is_some_and(|value| first_word(&value).eq_ignore_ascii_case("attachment"));
        let media = match media.as_str() {
            "text/html" | "application/xhtml+xml" => Media::Html,
            "message/delivery-status" | "message/global-delivery-status" => Media::DeliveryStatus,
            media if media == "text/plain" || !media.contains('/') => Media::Plain,
            _ => return Self::Other,
        };
        if attached && media != Media::DeliveryStatus {
            return Self::Other;
        }
        // Some programs misspell the names: `8-bit`, `quoted_printable`.
        let letters = |c: &char| c.is_ascii_alphanumeric();
        let name: String = first_word(coding.as_deref().unwrap_or_default()).chars().filter(letters).collect();
        let coding = match name.to_ascii_lowercase().as_str() {
            "" | "7bit" | "8bit" | "7bits" | "8bits" | "binary" | "none" | "plain" => Coding::Plain,
            "quotedprintable" | "qp" => Coding::QuotedPrintable,
            "base64" | "b64" => Coding::Base64,
            // No reader could show it as text (RFC 2045 6.4).
            _ => return Self::Other,
        };
        let flowed = kind.params.get("format").is_some_and(|format| format.eq_ignore_ascii_case("flowed"));
        let charset = kind.charset.to_ascii_lowercase();
        Self::Text { media, coding, flowed, charset }
    }
}

/// Position of the walk in the message.
struct Walk<'a> {
    raw: &'a [u8],
    at: usize,
    open: Vec<Level>,
}

/// Boundary line.
struct Delimiter {
    line: Range<usize>,
    /// The open multipart to which it belongs.
    level: usize,
    /// Whether it is the last one of that multipart.
    close: bool,
}

impl<'a> Walk<'a> {
    /// Skips the rest of this part, and reads the header of the next one.
    fn next_part(&mut self) -> Option<Kind> {
        loop {
            let delimiter = self.next_delimiter()?;
            self.at = delimiter.line.end;
            self.open.truncate(delimiter.level + usize::from(!delimiter.close));
            if !delimiter.close {
                return Some(self.part_header());
            }
        }
    }

    /// Reads a part's header up to its body. A boundary line ends it, too.
    fn part_header(&mut self) -> Kind {
        let start = self.at;
        loop {
            let rest = slice(self.raw, self.at, self.raw.len());
            let line = slice(rest, 0, line_length(rest));
            if line.is_empty() || self.delimiter(self.at).is_some() {
                break;
            }
            self.at += line.len();
            if matches!(line, b"\n" | b"\r\n") {
                break;
            }
            if self.at - start > PART_HEADER {
                return Kind::OverLimit;
            }
        }
        let in_digest = self.open.last().is_some_and(|level| level.digest);
        Kind::of(&Message::parse_part(slice(self.raw, start, self.at)), in_digest)
    }

    /// Returns the text that begins here.
    fn text(&self, coding: Coding, flowed: bool) -> Text<'a> {
        let end = match self.next_delimiter() {
            Some(delimiter) => {
                // The line end before a boundary belongs to the boundary (RFC 2046 5.1.1).
                let content = slice(self.raw, self.at, delimiter.line.start);
                let content = content.strip_suffix(b"\n").map_or(content, |c| c.strip_suffix(b"\r").unwrap_or(c));
                self.at + content.len()
            }
            None => self.raw.len(),
        };
        let content = slice(self.raw, self.at, end);
        let decode = |content: &'a [u8]| match coding {
            Coding::Plain => Cow::Borrowed(content),
            Coding::QuotedPrintable => Cow::Owned(transfer_encoding::quoted_printable(content)),
            Coding::Base64 => Cow::Owned(transfer_encoding::base64(content)),
        };
        let (head, tail) = if content.len() <= WHOLE {
            (decode(content), None)
        } else {
            let head = slice(content, 0, END);
            let head = slice(head, 0, search::last_byte(b'\n', head).map_or(0, |at| at + 1));
            let tail = slice(content, content.len() - END, content.len());
            let tail = slice(tail, search::byte(b'\n', tail).map_or(tail.len(), |at| at + 1), tail.len());
            (decode(head), Some(decode(tail)))
        };
        let signed = self.open.iter().any(|level| level.signed);
        Text { head, tail, span: self.at..end, plain: coding == Coding::Plain, flowed, charset: String::new(), signed }
    }

    /// Returns the next boundary line from here on, of any open multipart.
    fn next_delimiter(&self) -> Option<Delimiter> {
        if self.open.is_empty() {
            return None;
        }
        if let Some(delimiter) = self.delimiter(self.at) {
            return Some(delimiter);
        }
        let rest = slice(self.raw, self.at, self.raw.len());
        memmem::find_iter(rest, b"\n--").find_map(|at| self.delimiter(self.at + at + 1))
    }

    /// Parses the boundary line at `at`, the beginning of a line. An inner multipart's counts before an outer one's.
    fn delimiter(&self, at: usize) -> Option<Delimiter> {
        let rest = slice(self.raw, at, self.raw.len());
        if !rest.starts_with(b"--") {
            return None;
        }
        let mut open = self.open.iter().enumerate().rev();
        open.find_map(|(level, multipart)| {
            let after = slice(rest, 2, rest.len()).strip_prefix(multipart.boundary.as_slice())?;
            let close = after.starts_with(b"--");
            let after = if close { slice(after, 2, after.len()) } else { after };
            let blanks = after.iter().take_while(|b| matches!(b, b' ' | b'\t' | b'\r')).count();
            let ends = matches!(after.get(blanks), None | Some(b'\n'));
            let length = rest.len() - after.len() + (blanks + 1).min(after.len());
            ends.then_some(Delimiter { line: at..at + length, level, close })
        })
    }
}

/// Returns a field's value as text, each byte one character, so that [`bytes`] can restore the bytes of a boundary.
fn text(field: &Field) -> String {
    field.unfolded().iter().map(|&b| char::from(b)).collect()
}

/// Returns the bytes that [`text`] was made of; for any other text (a decoded RFC 2231 parameter) its UTF-8.
fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(u8::try_from).collect::<Result<_, _>>().unwrap_or_else(|_| text.as_bytes().to_vec())
}

/// Returns the text before the first blank, comment or parameter.
fn first_word(value: &str) -> &str {
    value.trim_start().split([' ', '\t', '(', ';']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head(raw: &str) -> Option<String> {
        match first_text(&Message::parse(raw.as_bytes())) {
            TextPart::Found(text) => Some(String::from_utf8_lossy(&text.head).into_owned()),
            TextPart::None => None,
            TextPart::OverLimit => panic!("over a limit"),
        }
    }

    fn over(raw: &[u8]) -> bool {
        first_text(&Message::parse(raw)) == TextPart::OverLimit
    }

    fn multipart(kind: &str, parts: &[&str]) -> String {
        let parts: String = parts.iter().map(|part| format!("--b\n{part}\n")).collect();
        format!("Content-Type: multipart/{kind}; boundary=\"b\"\n\npreamble\n{parts}--b--\nepilogue\n")
    }

    #[test]
    fn a_message_of_one_part_is_its_body() {
        assert_eq!(head("A: b\n\ntext\n").as_deref(), Some("text\n"));
        assert_eq!(head("content-type: TEXT/Plain (yes); charset=x\r\n\r\ntext").as_deref(), Some("text"));
        assert_eq!(head("Content-Type: text\n\nx").as_deref(), Some("x"));
        assert_eq!(head("Content-Type: text/html\n\nx"), None);
        assert_eq!(head("Content-Type: message/rfc822\n\nA: b\n\nx"), None);
        assert_eq!(head("Content-Disposition: Attachment; filename=x\n\nx"), None);
        assert_eq!(head("Content-Transfer-Encoding: x-uuencode\n\nx"), None);
        assert_eq!(head("A: b\n"), None);
    }

    #[test]
    fn encodings_are_decoded() {
        assert_eq!(head("Content-Transfer-Encoding: Quoted-Printable \n\na=3Db=\nc\n").as_deref(), Some("a=bc\n"));
        assert_eq!(head("Content-Transfer-Encoding: base64\n\naGVs\nbG8=\n").as_deref(), Some("hello"));
        let raw = b"Content-Type: text/plain; Format=Flowed; delsp=yes\n\nx";
        let TextPart::Found(text) = first_text(&Message::parse(raw)) else { panic!("no text") };
        assert!(text.flowed && text.plain && !text.signed);
        assert_eq!(&raw[text.span], b"x");
    }

    #[test]
    fn the_first_text_stands_wherever_it_stands() {
        let plain = "Content-Type: text/plain\n\nthe text\n";
        let html = "Content-Type: text/html\n\n<p>\n";
        assert_eq!(head(&multipart("alternative", &[html, plain])).as_deref(), Some("the text\n"));
        assert_eq!(head(&multipart("mixed", &["\nno header", plain])).as_deref(), Some("no header"));
        assert_eq!(head(&multipart("mixed", &[html, "A: b", plain])).as_deref(), Some("the text\n"));
        let attached = format!("Content-Disposition: attachment\n{plain}");
        assert_eq!(head(&multipart("mixed", &[&attached, plain])).as_deref(), Some("the text\n"));
        assert_eq!(head(&multipart("mixed", &[&format!("Content-Type: message/rfc822\n\n{plain}"), html])), None);
        assert_eq!(head(&multipart("digest", &["\nA: b\n\nx", plain])).as_deref(), Some("the text\n"));
        let inner = multipart("alternative", &[html, plain]).replace("--b", "--i").replace("\"b\"", "i");
        assert_eq!(head(&multipart("signed", &[&inner, html])).as_deref(), Some("the text\n"));
        let message = multipart("signed", &[&inner]);
        assert!(matches!(first_text(&Message::parse(message.as_bytes())), TextPart::Found(text) if text.signed));
        // The inner multipart is never closed; the outer boundary ends it.
        let unclosed = "Content-Type: multipart/mixed; boundary=i\n\n--i\nContent-Type: text/html\n\n";
        assert_eq!(head(&multipart("mixed", &[unclosed, plain])).as_deref(), Some("the text\n"));
        assert_eq!(
            head(&multipart("mixed", &[html]).replace("--b--\n", "--b\n\nlast")).as_deref(),
            Some("lastepilogue\n")
        );
        assert_eq!(head("Content-Type: multipart/mixed\n\n--\n\nx"), None);
    }

    // Threat 36.
    #[test]
    fn boundary_lines_are_exact() {
        let raw = "Content-Type: multipart/mixed; boundary=foo\n\n--foobar\n\nwrong\n--foo-\n\nwrong\n--foo \t\r\n\nright\n--foo--x\n x\n--foo--";
        assert_eq!(head(raw).as_deref(), Some("right\n--foo--x\n x"));
        let raw = "Content-Type: multipart/mixed; boundary=\"a bé\"\r\n\r\n--a bé\r\n\r\nx\r\n--a bé--";
        assert_eq!(head(raw).as_deref(), Some("x"));
        let raw =
            "Content-Type: multipart/mixed;\r\n\tboundary*0=fo;\r\n boundary*1=o\r\n\r\n--foo\r\n\r\nx\r\n--foo--";
        assert_eq!(head(raw).as_deref(), Some("x"));
    }

    #[test]
    fn of_a_long_text_both_ends_are_seen() {
        let lines: String = (0..200_000).map(|n| format!("{n:06}\n")).collect();
        let raw = format!("\n{lines}");
        let TextPart::Found(text) = first_text(&Message::parse(raw.as_bytes())) else { panic!("no text") };
        assert!(text.head.starts_with(b"000000\n") && text.head.ends_with(b"\n") && text.head.len() <= END);
        assert!(text.end().ends_with(b"199999\n") && text.end().len() <= END && text.end().len() % 7 == 0);
        assert_eq!(text.span, 1..raw.len());
    }

    // Threats 12 and 13: the result is the limit, and it is found without walking the rest.
    #[test]
    fn bombs_end_at_the_limits() {
        let parts = |n: usize| {
            let head = b"Content-Type: multipart/mixed; boundary=b\n\n".to_vec();
            [head, b"--b\nContent-Type: a/b\n\n".repeat(n), b"--b\n\nend".to_vec()].concat()
        };
        assert!(
            matches!(first_text(&Message::parse(&parts(PARTS - 1))), TextPart::Found(text) if &*text.head == b"end")
        );
        assert!(over(&parts(PARTS)));
        assert!(over(&parts(200_000)));

        let deep = |n: usize| {
            let level = |n| format!("Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n");
            (0..n).map(level).chain(["\nend".to_owned()]).collect::<String>()
        };
        assert!(
            matches!(first_text(&Message::parse(deep(DEPTH).as_bytes())), TextPart::Found(text) if &*text.head == b"end")
        );
        assert!(over(deep(DEPTH + 1).as_bytes()));
        assert!(over(deep(10_000).as_bytes()));

        let words = format!("Content-Type: {}{}\n\nx", "(=?".repeat(7_000), "?=a".repeat(7_000));
        assert_eq!(head(&words).as_deref(), Some("x"));
        assert!(over(format!("Content-Type: {}\n\nx", "=?".repeat(40_000)).as_bytes()));
        let parameters: String = (0..6_000).map(|n| format!(";a*{n}=b")).collect();
        assert_eq!(head(&format!("Content-Type: text/plain{parameters}\n\nx")).as_deref(), Some("x"));
        assert_eq!(head(&format!("{}\nx", "a: b\n".repeat(100_000))).as_deref(), Some("x"));
        let fields = "a: b\n".repeat(PART_HEADER / 5 + 1);
        assert!(over(format!("Content-Type: multipart/mixed; boundary=b\n\n--b\n{fields}\nx").as_bytes()));
    }

    proptest! {
        #[test]
        fn any_text_is_walked(pieces in proptest::collection::vec(prop_oneof![
            Just("\n"), Just("\r\n"), Just("--b"), Just("--"), Just("--c\n"), Just("\n\n"), Just("x"),
            Just("\nContent-Type: multipart/mixed; boundary=b\n\n"), Just("\nContent-Type: multipart/mixed; boundary=c\n"),
            Just("Content-Transfer-Encoding: base64\n"), Just("Content-Type: text/plain\n"),
        ], 0..40)) {
            let raw = format!("Content-Type: multipart/mixed; boundary=b\n\n{}", pieces.concat());
            if let TextPart::Found(text) = first_text(&Message::parse(raw.as_bytes())) {
                prop_assert!(text.span.end <= raw.len() && text.span.start <= text.span.end);
                prop_assert!(!text.plain || *text.head == raw.as_bytes()[text.span]);
            }
        }
    }
}
