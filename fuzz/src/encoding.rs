//! Encoded-words and content-transfer-encodings: what is decoded is not longer than what was there, plain text stays as
//! it is, and what a correct program encodes comes back.

use data_encoding::BASE64;
use mailstamp::message::encoded_word::decode;
use mailstamp::message::transfer_encoding::{base64, quoted_printable};

/// Checks one input.
pub fn run(text: &[u8]) {
    assert!(decode(text).len() <= text.len());
    assert!(base64(text).len() <= text.len());
    let _ = quoted_printable(text);
    if !text.windows(2).any(|pair| pair == b"=?") {
        assert_eq!(decode(text), text);
    }

    let encoded = BASE64.encode(text);
    assert_eq!(base64(encoded.as_bytes()), text);
    let lines: Vec<&[u8]> = encoded.as_bytes().chunks(76).collect();
    assert_eq!(base64(&lines.join(&b"\r\n"[..])), text);
    assert_eq!(decode(format!("=?utf-8?B?{encoded}?=").as_bytes()), text);
    let escaped: String = text.iter().map(|byte| format!("={byte:02X}")).collect();
    assert_eq!(decode(format!("=?utf-8?q?{escaped}?=").as_bytes()), text);
    assert_eq!(quoted_printable(escaped.as_bytes()), text);
    // Between two encoded-words white space does not count (RFC 2047 section 6.2).
    let (left, right) = text.split_at(text.len() / 2);
    let words = format!("=?utf-8?b?{}?= \t=?utf-8?b?{}?=", BASE64.encode(left), BASE64.encode(right));
    assert_eq!(decode(words.as_bytes()), text);
}
