//! Decodes encoded-words (RFC 2047), into which other software may rewrite a long or 8-bit field. [`decode`] ignores
//! the charset, since stamps are ASCII; [`to_text`] is for rules and for people. One pass, for any input.

use super::charset;
use super::search;
use super::transfer_encoding;
use memchr::memmem;

/// Decodes the encoded-words in `text` and keeps all else. White space between two of them is dropped (RFC 2047 6.2).
/// It is more tolerant than the RFC, as mail readers are: encoded-words need no white space around them, may be of any
/// length, and may contain blanks.
#[must_use]
pub fn decode(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    pieces(text, &mut |_, piece| out.extend_from_slice(piece));
    out
}

/// As [`decode`], in UTF-8. Words of one charset that follow each other are one text: some programs cut inside a
/// character. Text without a charset is as in `charset::decode`.
#[must_use]
pub fn to_text(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut open: (&[u8], Vec<u8>) = (b"", Vec::new());
    pieces(text, &mut |name, piece| {
        if !open.0.eq_ignore_ascii_case(name) {
            out.push_str(&charset::decode(&String::from_utf8_lossy(open.0), &open.1));
            open = (name, Vec::new());
        }
        open.1.extend_from_slice(piece);
    });
    out + &charset::decode(&String::from_utf8_lossy(open.0), &open.1)
}

/// Calls `to` with the pieces of `text`, each decoded and with its charset; that is empty for other text.
fn pieces<'a>(text: &'a [u8], to: &mut dyn FnMut(&'a [u8], &[u8])) {
    let mut rest = text;
    let mut after_word = false;
    while let Some(at) = memmem::find(rest, b"=?") {
        let (before, from) = rest.split_at(at);
        if let Some((charset, decoded, after)) = word(from) {
            if !(before.is_empty() || after_word && before.iter().all(u8::is_ascii_whitespace)) {
                to(b"", before);
            }
            to(charset, &decoded);
            after_word = true;
            rest = after;
        } else {
            to(b"", before);
            to(b"", b"=?");
            after_word = false;
            rest = from.get(2..).unwrap_or_default();
        }
    }
    to(b"", rest);
}

/// Decodes the encoded-word at the beginning of `text`; returns its charset too, and the rest. Each of its three parts
/// ends at the next question mark, so a failed attempt reads up to three of them at most, and all attempts together are
/// linear.
fn word(text: &[u8]) -> Option<(&[u8], Vec<u8>, &[u8])> {
    let (charset, rest) = until_mark(text.strip_prefix(b"=?")?)?;
    let (encoding, rest) = until_mark(rest)?;
    if charset.is_empty() || !charset.iter().all(u8::is_ascii_graphic) {
        return None;
    }
    let &[encoding] = encoding else { return None };
    let (encoded, rest) = until_mark(rest)?;
    let after = rest.strip_prefix(b"=")?;
    let decoded = match encoding.to_ascii_lowercase() {
        b'b' => transfer_encoding::base64(encoded),
        b'q' => q(encoded),
        _ => return None,
    };
    Some((charset, decoded, after))
}

/// Splits the text at the next question mark.
fn until_mark(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = search::byte(b'?', text)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// Decodes the Q encoding (RFC 2047 4.2).
fn q(text: &[u8]) -> Vec<u8> {
    let digit = |byte: Option<&u8>| byte.and_then(|&b| char::from(b).to_digit(16)).and_then(|d| u8::try_from(d).ok());
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match (byte, digit(after.first()), digit(after.get(1))) {
            (b'=', Some(high), Some(low)) => {
                out.push(high << 4 | low);
                rest = after.get(2..).unwrap_or_default();
            }
            (b'_', ..) => out.push(b' '),
            _ => out.push(byte),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_encodings_in_any_charset() {
        assert_eq!(decode(b"=?utf-8?q?v4=2Epublic=5F_x?="), b"v4.public_ x");
        assert_eq!(decode(b"=?x-none*en?B?aGVsbG8=?= there"), b"hello there");
        assert_eq!(decode(b"=?utf-8?q??="), b"");
    }

    #[test]
    fn words_become_text_by_their_charset() {
        for (field, text) in [
            ("=?iso-8859-1?q?M=FCller?=", "M\u{fc}ller"),
            ("=?KOI8-R?B?8/DBzQ==?=, =?utf-8?q?M=C3=BC?=", "\u{421}\u{41f}\u{430}\u{43c}, M\u{fc}"),
            ("=?utf-8?q?M=C3?=\r\n =?UTF-8?q?=BCller?=", "M\u{fc}ller"),
            ("=?iso-8859-1*de?q?M=FC?= =?utf-8?q?=C3=BC?=", "M\u{fc}\u{fc}"),
            ("=?x-none?q?M=FC?=", "M\u{fc}"),
            ("M\u{fc}ller", "M\u{fc}ller"),
        ] {
            assert_eq!(to_text(field.as_bytes()), text, "{field}");
        }
        assert_eq!(to_text(b"M\xfcller =?"), "M\u{fc}ller =?");
    }

    #[test]
    fn white_space_between_words_is_dropped_and_kept_elsewhere() {
        assert_eq!(decode(b"=?utf-8?q?a?= \t =?utf-8?q?b?= c =?utf-8?q?d?="), b"ab c d");
        assert_eq!(decode(b"  =?utf-8?q?a?=b=?utf-8?q?c?=  "), b"  abc  ");
    }

    #[test]
    fn what_is_no_word_stays() {
        for text in
            ["=?", "=?utf-8?q?a", "=?utf-8?x?a?=", "=?a b?q?c?=", "=?utf-8?q?a?b", "=?=?=?=", "a = ? b", "=??q?a?="]
        {
            assert_eq!(decode(text.as_bytes()), text.as_bytes(), "{text}");
        }
        assert_eq!(decode(b"=?=?utf-8?q?a?="), b"=?a");
        assert_eq!(decode(b"=?utf-8?q?a=4?="), b"a=4");
    }

    // Threat 13: the text for which mailparse's own decoder is cubic (86 s at 40 kB there).
    #[test]
    fn openings_and_closings_without_end_are_linear() {
        let hostile = [b"(=?".repeat(500_000), b"?=a".repeat(500_000)].concat();
        assert_eq!(decode(&hostile), hostile);
        let marks = b"=?".repeat(1_000_000);
        assert_eq!(decode(&marks), marks);
    }

    proptest! {
        #[test]
        fn the_result_is_never_longer(text in "[=?qQbBa4_ ]{0,80}") {
            prop_assert!(decode(text.as_bytes()).len() <= text.len());
        }
    }
}
