//! Text of an HTML document, as a reader sees it and as far as rules and stamps need it: without tags, comments, styles
//! and scripts, and with its character references decoded. It builds no tree, takes one pass, and never fails.
//!
//! - A tag of a block begins a new line. Any other tag is nothing, so `vi<b>ag</b>ra` is one word.
//! - Blanks are joined, except in `pre`.
//! - Text that a style hides is not left out.

use memchr::{memchr, memmem};

/// Elements that begin a new line.
const BLOCKS: [&str; 33] = [
    "address",
    "article",
    "aside",
    "blockquote",
    "body",
    "br",
    "center",
    "dd",
    "div",
    "dl",
    "dt",
    "fieldset",
    "footer",
    "form",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "hr",
    "html",
    "li",
    "main",
    "ol",
    "p",
    "pre",
    "section",
    "table",
    "title",
    "tr",
    "ul",
];
/// Elements whose content is no text.
const SILENT: [&str; 4] = ["script", "style", "template", "noembed"];

/// The named character references that mail uses; any other stays as it is.
const NAMED: [(&str, &str); 36] = [
    ("amp", "&"),
    ("lt", "<"),
    ("gt", ">"),
    ("quot", "\""),
    ("apos", "'"),
    ("nbsp", " "),
    ("ensp", " "),
    ("emsp", " "),
    ("shy", ""),
    ("zwnj", ""),
    ("zwj", ""),
    ("ndash", "\u{2013}"),
    ("mdash", "\u{2014}"),
    ("lsquo", "\u{2018}"),
    ("rsquo", "\u{2019}"),
    ("ldquo", "\u{201c}"),
    ("rdquo", "\u{201d}"),
    ("bdquo", "\u{201e}"),
    ("hellip", "\u{2026}"),
    ("bull", "\u{2022}"),
    ("middot", "\u{b7}"),
    ("euro", "\u{20ac}"),
    ("pound", "\u{a3}"),
    ("copy", "\u{a9}"),
    ("reg", "\u{ae}"),
    ("trade", "\u{2122}"),
    ("auml", "\u{e4}"),
    ("ouml", "\u{f6}"),
    ("uuml", "\u{fc}"),
    ("Auml", "\u{c4}"),
    ("Ouml", "\u{d6}"),
    ("Uuml", "\u{dc}"),
    ("szlig", "\u{df}"),
    ("eacute", "\u{e9}"),
    ("egrave", "\u{e8}"),
    ("agrave", "\u{e0}"),
];

/// Returns the text of an HTML document, or of a part of one, at most four times as long.
#[must_use]
pub fn to_text(html: &str) -> String {
    let mut out = Text { out: String::with_capacity(html.len() / 2), preformatted: 0, quoted: 0, blank: false };
    let mut rest = html;
    while let Some(at) = memchr(b'<', rest.as_bytes()) {
        let (text, from) = rest.split_at(at);
        out.add(text);
        rest = match tag(from) {
            Some((tag, after)) => out.tag(&tag, after),
            None => {
                out.add("<");
                from.get(1..).unwrap_or_default()
            }
        };
    }
    out.add(rest);
    out.out
}

struct Text {
    out: String,
    /// How many `pre` elements are open.
    preformatted: usize,
    /// How many `blockquote` elements are open; each line in them is marked as quoted.
    quoted: usize,
    /// Whether a blank is due before the next character.
    blank: bool,
}

/// A tag, or something else in angle brackets that is no text.
enum Tag {
    Open(String),
    Close(String),
    /// A comment, a declaration, or an instruction.
    Nothing,
}

impl Text {
    fn add(&mut self, text: &str) {
        let mut rest = text;
        while let Some(at) = memchr(b'&', rest.as_bytes()) {
            let (before, from) = rest.split_at(at);
            self.plain(before);
            match reference(from) {
                Some((decoded, length)) => {
                    self.plain(&decoded);
                    rest = from.get(length..).unwrap_or_default();
                }
                None => {
                    self.plain("&");
                    rest = from.get(1..).unwrap_or_default();
                }
            }
        }
        self.plain(rest);
    }

    fn plain(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                '\n' if self.preformatted > 0 => self.line(),
                ' ' | '\t' if self.preformatted > 0 && !self.is_at_begin() => self.out.push(c),
                ' ' | '\t' | '\n' | '\r' | '\u{c}' | '\u{a0}' => self.blank = true,
                // Invisible: they would hide a word.
                '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}' => {}
                c => {
                    if self.is_at_begin() {
                        (0..self.quoted).for_each(|_| self.out.push_str("> "));
                    } else if self.blank {
                        self.out.push(' ');
                    }
                    self.blank = false;
                    self.out.push(c);
                }
            }
        }
    }

    fn is_at_begin(&self) -> bool {
        self.out.is_empty() || self.out.ends_with('\n')
    }

    fn line(&mut self) {
        self.blank = false;
        if !self.is_at_begin() {
            self.out.push('\n');
        }
    }

    /// Takes a tag in, and returns where the document goes on.
    fn tag<'a>(&mut self, tag: &Tag, after: &'a str) -> &'a str {
        match tag {
            Tag::Open(name) if SILENT.contains(&name.as_str()) => return behind(name, after),
            Tag::Open(name) | Tag::Close(name) if BLOCKS.contains(&name.as_str()) => {
                self.line();
                let opens = matches!(tag, Tag::Open(_));
                let depth = match name.as_str() {
                    "pre" => &mut self.preformatted,
                    "blockquote" => &mut self.quoted,
                    _ => return after,
                };
                *depth = if opens { (*depth + 1).min(8) } else { depth.saturating_sub(1) };
            }
            // Cells stand beside each other.
            Tag::Open(name) if name == "td" || name == "th" => self.blank = true,
            Tag::Open(_) | Tag::Close(_) | Tag::Nothing => {}
        }
        after
    }
}

/// Reads what begins with `<`, if it is no text, and returns the rest of the document.
fn tag(from: &str) -> Option<(Tag, &str)> {
    if let Some(comment) = from.strip_prefix("<!--") {
        // A comment without an end goes up to the end (HTML, 13.2.5.45).
        let end = memmem::find(comment.as_bytes(), b"-->").map_or(comment.len(), |at| at + 3);
        return Some((Tag::Nothing, comment.get(end..).unwrap_or_default()));
    }
    let inner = from.get(1..)?;
    if inner.starts_with(['!', '?']) {
        let end = memchr(b'>', inner.as_bytes()).map_or(inner.len(), |at| at + 1);
        return Some((Tag::Nothing, inner.get(end..).unwrap_or_default()));
    }
    let (closes, inner) = inner.strip_prefix('/').map_or((false, inner), |inner| (true, inner));
    if !inner.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return None;
    }
    let length = inner.find(|c: char| c.is_ascii_whitespace() || matches!(c, '/' | '>')).unwrap_or(inner.len());
    let name = inner.get(..length.min(20)).unwrap_or_default().to_ascii_lowercase();
    let rest = inner.get(end_of_tag(inner, length)..).unwrap_or_default();
    Some((if closes { Tag::Close(name) } else { Tag::Open(name) }, rest))
}

/// Returns the end of a tag whose attributes begin at `from`: a `>` in the quotes of a value does not end it.
fn end_of_tag(tag: &str, from: usize) -> usize {
    let bytes = tag.as_bytes();
    let (mut at, mut after_equals) = (from, false);
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'>' => return at + 1,
            b'"' | b'\'' if after_equals => {
                let value = bytes.get(at + 1..).unwrap_or_default();
                // A quote without an end is a character, or one sign would hide the rest.
                at += memchr(byte, value).map_or(0, |end| end + 1);
                after_equals = false;
            }
            b'=' => after_equals = true,
            b' ' | b'\t' | b'\r' | b'\n' => {}
            _ => after_equals = false,
        }
        at += 1;
    }
    bytes.len()
}

/// Returns what follows the end tag of an element without text.
fn behind<'a>(name: &str, content: &'a str) -> &'a str {
    let mut from = 0;
    while let Some(at) = memmem::find(content.as_bytes().get(from..).unwrap_or_default(), b"</") {
        let start = from + at + 2;
        let rest = content.get(start..).unwrap_or_default();
        if rest.get(..name.len()).is_some_and(|it| it.eq_ignore_ascii_case(name)) {
            return rest.get(end_of_tag(rest, name.len())..).unwrap_or_default();
        }
        from = start;
    }
    ""
}

/// Decodes the character reference at the beginning of `text`; returns its length too.
fn reference(text: &str) -> Option<(String, usize)> {
    let length = text.bytes().skip(1).take(12).take_while(|b| b.is_ascii_alphanumeric() || *b == b'#').count();
    let name = text.get(1..=length)?;
    // The semicolon may be missing.
    let whole = 1 + length + usize::from(text.as_bytes().get(1 + length) == Some(&b';'));
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(digits) => u32::from_str_radix(digits, 16).ok()?,
            None => number.parse().ok()?,
        };
        return Some((char::from_u32(code).unwrap_or('\u{fffd}').to_string(), whole));
    }
    let (_, decoded) = NAMED.iter().find(|(known, _)| *known == name)?;
    Some(((*decoded).to_owned(), whole))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_text_is_what_a_reader_sees() {
        for (html, text) in [
            ("<p>cheap <b>pills</b></p><p>now", "cheap pills\nnow"),
            ("vi<b>ag</b>ra, ca<!-- x -->sino, s\u{200b}ex, p&shy;ill", "viagra, casino, sex, pill"),
            ("<style>p { x: 'a' }</style><script>if (a < b) '</p>'</SCRIPT >text", "text"),
            ("a<br>b<BR/>c\n d\t&nbsp; e", "a\nb\nc d e"),
            ("<a href=\"x>y\" title='<b>'>link</a>", "link"),
            (
                "M&uuml;ller &#x4d;&#252;ller &amp;amp; &lt;b&gt; &unknown; &",
                "M\u{fc}ller M\u{fc}ller &amp; <b> &unknown; &",
            ),
            ("1 < 2 <3 </>", "1 < 2 <3 </>"),
            ("<pre>a\n  b\n\nc</pre>d", "a\nb\nc\nd"),
            ("<blockquote>a<br>b<blockquote>c</blockquote></blockquote>d", "> a\n> b\n> > c\nd"),
            ("<td>a</td><td>b</td>", "a b"),
            ("text <!-- no end", "text"),
            ("<p title=\"no end>text", "text"),
        ] {
            assert_eq!(to_text(html).trim_end(), text, "{html}");
        }
    }

    // Threat 13.
    #[test]
    fn hostile_documents_are_linear() {
        for part in ["<", "<a", "<a b='", "&", "&#", "<!--", "</", "<script>", "<blockquote>", "<pre>\n"] {
            let text = to_text(&part.repeat(200_000));
            assert!(text.len() <= 4 * 200_000 * part.len(), "{part}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read(html in "([<>/!&;#='\" a-c\n-]|<p>|<b |<!--|\u{fc}){0,80}") {
            prop_assert!(to_text(&html).len() <= 4 * html.len());
        }
    }
}
