//! Content-transfer-encodings (RFC 2045 section 6): base64 and quoted-printable, decoded as tolerantly as mail readers
//! do. Invalid input is dropped and never an error. Time is linear, and the result is not longer than the text.

use data_encoding::BASE64_MIME_PERMISSIVE;
use memchr::memchr;

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

/// Decodes quoted-printable. Soft line breaks and blanks before a line end are removed. What is invalid, 8-bit bytes
/// among it, stays.
#[must_use]
pub fn quoted_printable(text: &[u8]) -> Vec<u8> {
    let digit = |byte: Option<&u8>| byte.and_then(|&b| char::from(b).to_digit(16)).and_then(|d| u8::try_from(d).ok());
    let mut out = Vec::with_capacity(text.len());
    for line in text.split_inclusive(|&b| b == b'\n') {
        let content = line.trim_ascii_end();
        let (mut rest, soft) = content.strip_suffix(b"=").map_or((content, false), |content| (content, true));
        while let Some(at) = memchr(b'=', rest) {
            let (before, from) = rest.split_at(at);
            out.extend_from_slice(before);
            let length = match (digit(from.get(1)), digit(from.get(2))) {
                (Some(high), Some(low)) => {
                    out.push(high << 4 | low);
                    3
                }
                _ => {
                    out.push(b'=');
                    1
                }
            };
            rest = from.get(length..).unwrap_or_default();
        }
        out.extend_from_slice(rest);
        if !soft {
            let end: &[u8] = if line.ends_with(b"\r\n") { b"\r\n" } else { b"\n" };
            out.extend_from_slice(if line.ends_with(b"\n") { end } else { b"" });
        }
    }
    out
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
        assert_eq!(quoted_printable(b"a\xffb= \n=e4=E=4"), b"a\xffb\xe4=E=4");
        assert_eq!(quoted_printable(b"a \t\nb=3D=\r\n=\n \nc"), b"a\nb=\nc");
    }
}
