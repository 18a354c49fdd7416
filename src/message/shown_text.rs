//! Text that a reader is shown: the first plain text, or of a message without one the text of its HTML; in UTF-8, with
//! lines that end with LF. Rules search it, and stamps in HTML are found in it.

use super::mime::{Text, TextPart, first_html, first_text};
use super::parse::Message;
use super::{charset, html};

/// The text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownText {
    /// Its beginning; the whole text if `tail` is `None`.
    pub head: String,
    /// The end of a text that is longer than 1 MiB.
    pub tail: Option<String>,
}

/// Returns the text of a message; `None` if it has none, or exceeds the limits of the walk before it.
#[must_use]
pub fn shown_text(message: &Message<'_>) -> Option<ShownText> {
    match first_text(message) {
        TextPart::Found(text) => Some(of(&text, &lines)),
        TextPart::None => match first_html(message) {
            TextPart::Found(text) => Some(of_html(&text)),
            TextPart::None | TextPart::OverLimit => None,
        },
        TextPart::OverLimit => None,
    }
}

/// Returns the text of a part in HTML.
#[must_use]
pub fn of_html(text: &Text<'_>) -> ShownText {
    of(text, &|decoded| html::to_text(&decoded))
}

fn of(text: &Text<'_>, convert: &dyn Fn(String) -> String) -> ShownText {
    let read = |bytes: &[u8]| convert(charset::decode(&text.charset, bytes));
    ShownText { head: read(&text.head), tail: text.tail.as_deref().map(read) }
}

/// Returns the text with LF as line end.
fn lines(text: String) -> String {
    if !text.contains('\r') {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        match line.strip_suffix('\n') {
            Some(content) => out.extend([content.trim_end_matches('\r'), "\n"]),
            None => out.push_str(line.trim_end_matches('\r')),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(raw: &[u8]) -> Option<String> {
        shown_text(&Message::parse(raw)).map(|text| text.head)
    }

    #[test]
    fn the_text_is_in_utf_8_with_lf() {
        for raw in [
            b"Content-Type: text/plain; charset=utf-8\r\n\r\nM\xc3\xbcller\r\nbye\r\n".as_slice(),
            b"Content-Type: text/plain; charset=\"iso-8859-1\"\n\nM\xfcller\nbye\n",
            b"Content-Transfer-Encoding: quoted-printable\n\nM=C3=BCl=\nler\nbye\n",
            b"Content-Transfer-Encoding: quoted-printable\n\nM\xc3\xbcller\nbye\n",
            b"Content-Transfer-Encoding: 8-bit\n\nM\xc3\xbcller\r\r\nbye\n",
            b"Content-Transfer-Encoding: Quoted_Printable\nContent-Type: text/plain; charset=latin-1\n\nM=FCller\nbye\n",
            b"Content-Transfer-Encoding: \"base-64\"\n\nTcO8bGxlcg0KYnllDQo=\n",
            b"Content-Type: text/html\n\n<style>x</style><p>M&uuml;ller</p>\n<p>bye<br>",
            b"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/html; charset=iso-8859-1\n\n\
              M\xfcller<br>bye<br>\n--b--\n",
        ] {
            assert_eq!(head(raw).as_deref(), Some("M\u{fc}ller\nbye\n"), "{}", String::from_utf8_lossy(raw));
        }
        let both = "Content-Type: multipart/alternative; boundary=b\n\n--b\nContent-Type: text/html\n\n<p>one\n--b\n\ntwo\n--b--\n";
        assert_eq!(head(both.as_bytes()).as_deref(), Some("two"));
        assert_eq!(head(b"Content-Type: image/png\n\nx"), None);
        assert_eq!(head(b"Content-Type: text/html\nContent-Disposition: attachment\n\nx"), None);
    }
}
