//! Header field: its name, and its value in the forms that readers need. Everything that mailstamp writes into a header
//! goes through the two writers, [`fold`] and [`escape_untrusted`]. `message` finds the fields.

use super::encoded_word;
use super::search;
use data_encoding::HEXLOWER;
use std::borrow::Cow;
use std::fmt::Write as _;

/// Widest line that [`fold`] writes. Software on the way rewrites a longer line as encoded-words.
const COLUMNS: usize = 76;

/// Returns `raw[from..to]`, shortened where the bounds do not fit.
pub(crate) fn slice(raw: &[u8], from: usize, to: usize) -> &[u8] {
    let to = to.min(raw.len());
    raw.get(from.min(to)..to).unwrap_or_default()
}

/// Returns the name of the field with which `text` begins (RFC 5322 2.2); `None` if it begins with none.
#[must_use]
pub fn field_name(text: &[u8]) -> Option<&[u8]> {
    obsolete_field_name(text).filter(|name| text.get(name.len()) == Some(&b':'))
}

/// Returns the same where blanks may come before the colon (RFC 5322 4.5).
#[must_use]
pub fn obsolete_field_name(text: &[u8]) -> Option<&[u8]> {
    let name = slice(text, 0, text.iter().position(|&b| b == b':')?).trim_ascii_end();
    (!name.is_empty() && name.iter().all(u8::is_ascii_graphic)).then_some(name)
}

/// Header field, as a slice of its message.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    name: &'a [u8],
    value: &'a [u8],
    raw: &'a [u8],
    start: usize,
}

impl<'a> Field<'a> {
    /// Returns the field that is all of `raw`, with its colon at `colon` and a value (after blanks) of `length` bytes.
    pub(super) fn new(raw: &'a [u8], colon: usize, length: usize, start: usize) -> Self {
        let name = slice(raw, 0, colon);
        let end = name.iter().rposition(|b| !matches!(b, b' ' | b'\t')).map_or(0, |at| at + 1);
        let rest = slice(raw, colon + 1, raw.len());
        let blanks = rest.iter().take_while(|&&b| b == b' ').count();
        Self { name: slice(name, 0, end), value: slice(rest, blanks, blanks + length), raw, start }
    }

    /// Returns the name, without blanks before the colon (RFC 5322 4.5).
    #[must_use]
    pub fn name(&self) -> &'a [u8] {
        self.name
    }

    /// Returns whether this is the field's name, ignoring the case of ASCII letters.
    #[must_use]
    pub fn name_is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    /// Returns the whole field with its line end, if it has one.
    #[must_use]
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// Returns the offset of [`Self::raw`] in the message.
    #[must_use]
    pub fn start(&self) -> usize {
        self.start
    }

    /// Returns the value as it stands, with folds, but without leading blanks and the line end.
    #[must_use]
    pub fn value(&self) -> &'a [u8] {
        self.value
    }

    /// Returns the value on one line (RFC 5322 2.2.3): every CR and LF is removed, the blanks of the folds stay.
    #[must_use]
    pub fn unfolded(&self) -> Cow<'a, [u8]> {
        if search::either(b'\r', b'\n', self.value).is_none() {
            return Cow::Borrowed(self.value);
        }
        Cow::Owned(self.value.iter().copied().filter(|b| !matches!(b, b'\r' | b'\n')).collect())
    }

    /// Returns the value on one line with its encoded-words decoded (RFC 2047), never longer than the field. It can
    /// contain any byte, line ends included: show it through [`escape_untrusted`].
    #[must_use]
    pub fn decoded(&self) -> Vec<u8> {
        encoded_word::decode(&self.unfolded())
    }

    /// Returns the value on one line as text, its encoded-words decoded from their charsets. Show it through
    /// [`readable`].
    #[must_use]
    pub fn to_text(&self) -> String {
        encoded_word::to_text(&self.unfolded())
    }
}

/// Returns a field for a header: `name: value`, folded into lines of at most 76 columns, with its line end. Folds are
/// at blanks. A word that fits into no line (a stamp) is cut anywhere, since a reader of stamps removes all white
/// space. Runs of white space become one blank, so that no value can begin another field.
#[must_use]
pub fn fold(name: &str, value: &str, newline: &str) -> String {
    let mut field = format!("{name}:");
    let mut column = name.chars().count() + 1;
    for word in value.split_ascii_whitespace() {
        let width = word.chars().count();
        let breaks = width < COLUMNS && column + 1 + width > COLUMNS;
        if breaks || column + 2 > COLUMNS {
            field.push_str(newline);
            column = 0;
        }
        field.push(' ');
        column += 1;
        for c in word.chars() {
            if column == COLUMNS {
                field.push_str(newline);
                field.push(' ');
                column = 1;
            }
            field.push(c);
            column += 1;
        }
    }
    field.push_str(newline);
    field
}

/// Percent-encodes text for the query of a URI (RFC 3986 section 2.1). `@` needs no encoding there.
#[must_use]
pub fn percent_encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing into a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// Encodes a value from outside for header fields and logs, and is the only encoder for them. Printable ASCII stays.
/// Every other byte becomes `\xNN`, as do the backslash and the semicolon, which would end a parameter. At most `cap`
/// bytes; never a part of an escape.
#[must_use]
pub fn escape_untrusted(text: &[u8], cap: usize) -> String {
    let mut out = String::new();
    for &byte in text {
        let plain = matches!(byte, b' '..=b'~') && byte != b'\\' && byte != b';';
        if out.len() + if plain { 1 } else { 4 } > cap {
            break;
        }
        if plain {
            out.push(char::from(byte));
        } else {
            // Writing into a String cannot fail.
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// Decodes what [`escape_untrusted`] encoded, so that no text is encoded twice. Other text stays as it is.
#[must_use]
pub fn unescaped(text: &str) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((&first, more)) = rest.split_first() {
        let digits = rest.strip_prefix(b"\\x").and_then(|rest| rest.get(..2));
        let byte = digits.and_then(|digits| Some(HEXLOWER.decode(digits).ok()?[0]));
        out.push(byte.unwrap_or(first));
        rest = if byte.is_some() { &rest[4..] } else { more };
    }
    out
}

/// Encodes text from outside for people. Visible characters of any script stay. Bytes that are no UTF-8, and characters
/// that are invisible or reorder others (controls, format characters, unassigned ones), become `\xNN`. To encode the
/// result again changes nothing. At most `cap` bytes; never a part of a character or escape.
#[must_use]
pub fn readable(text: &[u8], cap: usize) -> String {
    let mut out = String::new();
    // Returns whether a piece fitted.
    let mut put = |piece: &str| {
        let fits = out.len() + piece.len() <= cap;
        if fits {
            out.push_str(piece);
        }
        fits
    };
    let escaped = |bytes: &[u8]| bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>();
    for chunk in text.utf8_chunks() {
        let pieces = chunk.valid().chars().map(|c| {
            let mut bytes = [0; 4];
            let piece = &*c.encode_utf8(&mut bytes);
            if is_visible(c) { piece.to_owned() } else { escaped(piece.as_bytes()) }
        });
        if !pieces.chain([escaped(chunk.invalid())]).all(|piece| put(&piece)) {
            break;
        }
    }
    out
}

/// Returns a structured value without its comments (RFC 5322 section 3.2.2), a blank for each. A comment without an end
/// goes up to the end; text in quotes stays.
#[must_use]
pub fn without_comments(value: &[u8]) -> Vec<u8> {
    let (mut out, mut depth, mut quoted) = (Vec::with_capacity(value.len()), 0_usize, false);
    let mut bytes = value.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' if quoted || depth > 0 => {
                let next = bytes.next();
                if depth == 0 {
                    out.push(byte);
                    out.extend(next);
                }
            }
            b'"' if depth == 0 => {
                quoted = !quoted;
                out.push(byte);
            }
            b'(' if !quoted => {
                depth += 1;
                out.push(b' ');
            }
            b')' if depth > 0 => depth -= 1,
            byte if depth == 0 => out.push(byte),
            _ => {}
        }
    }
    out
}

fn is_visible(c: char) -> bool {
    // The standard library knows which characters can be printed. Behind a letter, a combining mark can be too.
    matches!(c, ' '..='~') || !c.is_ascii() && ['a', c].iter().collect::<String>().escape_debug().count() == 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::parse::Message;
    use proptest::prelude::*;

    #[test]
    fn the_forms_of_a_value() {
        let message = Message::parse(b"Subject \t:  =?utf-8?q?a=0A?=\r\n =?utf-8?q?b?=\r\n\tc\rd\r\n\r\n");
        let field = message.first("subject").unwrap();
        assert_eq!(field.name(), b"Subject");
        assert_eq!(field.value(), b"=?utf-8?q?a=0A?=\r\n =?utf-8?q?b?=\r\n\tc\rd");
        assert_eq!(&*field.unfolded(), b"=?utf-8?q?a=0A?= =?utf-8?q?b?=\tcd");
        assert_eq!(field.decoded(), b"a\nb\tcd");
    }

    #[test]
    fn comments_go_and_quoted_text_stays() {
        for (value, without) in [
            ("a (b (c) d) e", "a   e"),
            ("\"(a)\" (\\) \") b", "\"(a)\"   b"),
            ("a (b", "a  "),
            ("a) b", "a) b"),
            ("\"a\\\"(\" b", "\"a\\\"(\" b"),
        ] {
            let got = String::from_utf8(without_comments(value.as_bytes())).unwrap();
            let blanks = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(blanks(&got), blanks(without), "{value}");
        }
    }

    #[test]
    fn a_long_token_is_cut_and_parameters_stand_after_it() {
        let token = format!("v4.public.{}", "x".repeat(400));
        let field = fold("Digital-Stamp", &format!("{token}; reuse=return"), "\r\n");
        assert!(field.lines().all(|line| line.len() <= 76), "{field}");
        assert!(field.starts_with("Digital-Stamp: v4.public.xx"));
        assert_eq!(
            field.split_once(':').unwrap().1.split_whitespace().collect::<String>(),
            format!("{token};reuse=return")
        );
    }

    #[test]
    fn words_move_to_the_next_line_whole() {
        let field = fold("Digital-Stamp-Class", &format!("first-class; vendor={}; x=1", "v".repeat(60)), "\n");
        assert_eq!(field, format!("Digital-Stamp-Class: first-class;\n vendor={}; x=1\n", "v".repeat(60)));
        assert_eq!(fold("A", "", "\n"), "A:\n");
        assert_eq!(fold("A", "b\r\nC: d", "\n"), "A: b C: d\n");
    }

    #[test]
    fn people_read_their_own_script_and_nothing_that_deceives() {
        for text in [
            "Gr\u{fc}\u{df}e, \"a\"; 'b'",
            "\u{41f}\u{440}\u{438}\u{432}\u{435}\u{442}",
            "\u{65e5}\u{672c}\u{8a9e} \u{1f600}",
            "e\u{301}",
        ] {
            assert_eq!(readable(text.as_bytes(), 100), text);
        }
        assert_eq!(readable(b"a\n\x1b[0m\0\\\xff\x7f", 100), "a\\x0a\\x1b[0m\\x00\\\\xff\\x7f");
        assert_eq!(readable("\u{202e}\u{200b}\u{2028}\u{feff}\u{9b}".as_bytes(), 100).len(), 14 * 4);
        assert_eq!(readable("a\u{fc}\u{fc}".as_bytes(), 4), "a\u{fc}");
        assert_eq!(readable(b"a\xff\xff", 8), "a\\xff");
    }

    #[test]
    fn outside_values_are_tamed() {
        assert_eq!(escape_untrusted(b"a\r\nX: \x1b[0m\0;\\\xff", 100), "a\\x0d\\x0aX: \\x1b[0m\\x00\\x3b\\x5c\\xff");
        assert_eq!(escape_untrusted(b"aaaa\n", 7), "aaaa");
        assert_eq!(escape_untrusted(b"aaaa", 2), "aa");
        for text in ["a\\x0g\\x0\\x+1\\", "\u{e9}"] {
            assert_eq!(unescaped(text), text.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn no_text_is_encoded_twice(text in any::<Vec<u8>>(), visible: String) {
            prop_assert_eq!(unescaped(&escape_untrusted(&text, usize::MAX)), &*text);
            let shown = readable(visible.as_bytes(), usize::MAX);
            prop_assert_eq!(readable(shown.as_bytes(), usize::MAX), shown);
        }

        // Threat 10: for any input, the output is exactly one field.
        #[test]
        fn a_folded_field_is_one_field(value in any::<String>(), long in "[a-z]{0,300}", crlf: bool) {
            let value = format!("{} {long} {value}", escape_untrusted(value.as_bytes(), 200));
            let raw = fold("X-Test", &value, if crlf { "\r\n" } else { "\n" }) + "\n";
            let message = Message::parse(raw.as_bytes());
            prop_assert_eq!(message.fields().count(), 1);
            prop_assert_eq!(message.body(), b"");
            prop_assert!(message.fields().all(|f| f.name_is("X-Test") && f.raw().len() == message.header().len()));
            prop_assert!(raw.lines().all(|line| line.chars().count() <= 76));
            prop_assert!(raw.split('\n').skip(1).all(|line| line.is_empty() || !line.trim().is_empty()));
        }
    }
}
