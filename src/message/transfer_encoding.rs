//! Content-transfer-encodings (RFC 2045 section 6): base64 and quoted-printable, decoded as tolerantly as mail readers
//! do. Invalid input is dropped and never an error. Time is linear, and the result is not longer than the text, apart
//! from line ends.

use data_encoding::BASE64_MIME_PERMISSIVE;

/// Decodes base64. Every byte outside the alphabet is skipped. After padding, decoding begins anew, as where two
/// encoded texts were joined.
#[must_use]
pub fn base64(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    for run in text.split(|&b| b == b'=') {
        let mut digits: Vec<u8> =
            run.iter().copied().filter(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/')).collect();
        match digits.len() % 4 {
            // Six bits are less than a byte.
            1 => drop(digits.pop()),
            2 => digits.extend(b"=="),
            3 => digits.push(b'='),
            _ => {}
        }
        out.extend(BASE64_MIME_PERMISSIVE.decode(&digits).unwrap_or_default());
    }
    out
}

/// Decodes quoted-printable. Soft line breaks are removed; lines end with CRLF; 8-bit bytes, which are invalid here,
/// are dropped.
#[must_use]
pub fn quoted_printable(text: &[u8]) -> Vec<u8> {
    quoted_printable::decode(text, quoted_printable::ParseMode::Robust).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_through_garbage() {
        assert_eq!(base64(b"aGVs\r\n bG8="), b"hello");
        assert_eq!(base64(b"aGVsbG8"), b"hello");
        assert_eq!(base64(b"aGVs!b-G8=\r\naGVsbG8="), b"hellohello");
        assert_eq!(base64(b"a"), b"");
        assert_eq!(base64(b"===="), b"");
    }

    #[test]
    fn quoted_printable_loses_its_soft_breaks() {
        assert_eq!(quoted_printable(b"v4=2Epub=\r\nlic \r\nb=\nc=zz"), b"v4.public\r\nbc=zz");
        assert_eq!(quoted_printable(b"a\xffb="), b"ab");
    }
}
