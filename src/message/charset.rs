//! Charsets (RFC 2978): text in any of them to UTF-8, as tolerantly as mail readers do. For rules and for people;
//! stamps and fingerprints are about bytes.

use encoding_rs::{Decoder, Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

/// Decodes a text in the charset of this name. Without a charset, and in one that is not known, it is UTF-8 if it can
/// be, else Windows-1252. Bytes that are no text become U+FFFD.
#[must_use]
pub fn decode(charset: &str, text: &[u8]) -> String {
    // RFC 2231 section 5: a language may follow.
    let name = charset.split('*').next().unwrap_or_default().trim_matches([' ', '\t', '"', '\'']).to_ascii_lowercase();
    let encoding = match name.as_str() {
        "" | "us-ascii" | "ascii" | "ansi_x3.4-1968" => None,
        name => named(name),
    };
    let encoding = match encoding {
        Some(encoding) => encoding,
        None if std::str::from_utf8(text).is_ok() => UTF_8,
        None => WINDOWS_1252,
    };
    encoding.decode(text).0.into_owned()
}

/// Returns a decoder for a text in UTF-16 (RFC 2781), by its byte order mark or by the zero in its first character. The
/// mark is not removed. `None` for other texts.
#[must_use]
pub fn utf16(text: &[u8]) -> Option<Decoder> {
    let encoding = match text {
        [0xff, 0xfe, ..] | [1..=0x7f, 0, 1..=0xff, ..] => UTF_16LE,
        [0xfe, 0xff, ..] | [0, 1..=0x7f, 0, ..] => UTF_16BE,
        _ => return None,
    };
    Some(encoding.new_decoder_without_bom_handling())
}

/// Returns the encoding of this name, or of one that programs write for it.
fn named(name: &str) -> Option<&'static Encoding> {
    let find = |label: &str| Encoding::for_label_no_replacement(label.as_bytes());
    let number = name.trim_start_matches(|c: char| !c.is_ascii_digit());
    find(name).or_else(|| match name.split(|c: char| c.is_ascii_digit()).next()?.trim_end_matches(['-', '_']) {
        "cp" | "win" | "windows" | "ms" => match number {
            "932" => find("shift_jis"),
            "936" => find("gbk"),
            "949" => find("euc-kr"),
            "950" => find("big5"),
            number => find(&format!("windows-{number}")).or_else(|| find(&format!("ibm{number}"))),
        },
        "latin" => find(&format!("latin{number}")),
        "iso" | "iso-" => find(&format!("iso-{}", number.replace('_', "-"))),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charset_is_known_by_its_names_and_by_wrong_ones() {
        for name in
            ["iso-8859-1", "ISO_8859-1", "latin1", "Latin-1", "windows-1252", "cp1252", "win-1252", "\"iso8859-1\"*en"]
        {
            assert_eq!(decode(name, b"M\xfcller"), "M\u{fc}ller", "{name}");
        }
        for name in ["utf-8", "UTF8", "us-ascii", "", "x-none"] {
            assert_eq!(decode(name, "M\u{fc}ller".as_bytes()), "M\u{fc}ller", "{name}");
        }
        for name in ["us-ascii", "", "x-none"] {
            assert_eq!(decode(name, b"M\xfcller"), "M\u{fc}ller", "{name}");
        }
        assert_eq!(decode("iso-2022-jp", b"\x1b$B$\"\x1b(B"), "\u{3042}");
        assert_eq!(decode("cp932", b"\x82\xa0"), "\u{3042}");
        assert_eq!(decode("koi8-r", b"\xf3"), "\u{421}");
        assert_eq!(decode("utf-8", b"a\xff"), "a\u{fffd}");
        assert_eq!(decode("hz-gb-2312", b"a"), "a");
    }
}
