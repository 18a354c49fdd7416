//! Composes a reply, header and body (RFC 3834 section 3), ready for sendmail(8), with lines that end with LF. It does
//! not quote the message. From its header it takes the Message-ID, the References and the subject, each only as far as
//! it is harmless.

use super::detect::{OUR_FIELD, OUR_ID};
use super::eligibility::PendingReply;
use super::template::{Template, Values};
use crate::message::address::Address;
use crate::message::header::{Field, fold};
use crate::message::parse::Message;
use crate::time::UnixTime;
use data_encoding::{BASE64, HEXLOWER};

/// Longest Message-ID that is copied.
const ID: usize = 250;
/// Most References that are copied: the first, which begins the thread, and the last.
const REFERENCES: usize = 10;
/// Longest subject that is copied, in characters.
const SUBJECT: usize = 60;
/// Longest word of the subject, in characters.
const WORD: usize = 40;

/// Reply, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyMessage {
    /// The one recipient of the envelope, whose sender is null.
    pub to: Address,
    /// Header and text.
    pub text: String,
}

/// Input of [`compose`]: everything but the message.
#[derive(Clone, Debug)]
pub struct ReplySettings<'a> {
    pub template: &'a Template,
    /// The sender of the reply, if not the address that was written to.
    pub from: Option<&'a Address>,
    /// The values of its fields. Address, price and subject are filled in here.
    pub values: Values,
    /// The date.
    pub now: UnixTime,
    /// Random bytes for the Message-ID.
    pub nonce: [u8; 16],
}

/// Returns the reply to `message`.
#[must_use]
pub fn compose(due: &PendingReply, message: &Message<'_>, with: ReplySettings<'_>) -> ReplyMessage {
    let from = with.from.unwrap_or(&due.mine);
    let subject = subject(message);
    let values = Values { address: Some(due.mine.clone()), price: due.price, subject: subject.clone(), ..with.values };
    let (encoding, charset, body) = encoded(&with.template.fill(&values));
    let mut text = String::new();
    let mut add = |name: &str, value: &str| text.push_str(&format!("{name}: {value}\n"));
    add("From", &from.to_string());
    add("To", &due.sender.address.to_string());
    add("Date", &with.now.to_rfc5322());
    let end = String::from_utf8_lossy(OUR_ID);
    add("Message-ID", &format!("<{}{end}{}>", HEXLOWER.encode(&with.nonce), from.domain()));
    // Section 3.1.6. Each stands on a line of its own, since a cut Message-ID is another one.
    if let Some(id) = message_id(message) {
        add("In-Reply-To", &id);
        let mut references = references(message);
        references.retain(|other| *other != id);
        references.push(id);
        add("References", &references.join("\n "));
    }
    // Section 3.1.7; then the field of mailstamp, and that of Exchange, whose automatic answers ignore the first.
    add("Auto-Submitted", "auto-replied");
    add(OUR_FIELD, due.kind.as_str());
    add("X-Auto-Response-Suppress", "All");
    add("MIME-Version", "1.0");
    add("Content-Type", &format!("text/plain; charset={charset}"));
    add("Content-Transfer-Encoding", encoding);
    text.push_str(&fold("Subject", &words(&format!("Auto: Re: {subject}")), "\n"));
    text.push('\n');
    text.push_str(&body);
    ReplyMessage { to: due.sender.address.clone(), text }
}

/// Returns the Message-ID of the message, if it can be written into a header.
fn message_id(message: &Message<'_>) -> Option<String> {
    let mut fields = message.fields().filter(|field| field.name_is("Message-ID"));
    let ids = ids(&fields.next()?);
    match (fields.next(), ids.as_slice()) {
        (None, [id]) => Some(id.clone()),
        _ => None,
    }
}

/// Returns the thread so far: References or, without it, a single In-Reply-To (RFC 5322 section 3.6.4).
fn references(message: &Message<'_>) -> Vec<String> {
    let field = message.first("References").or_else(|| message.first("In-Reply-To"));
    let mut references = field.map(|field| ids(&field)).unwrap_or_default();
    if references.len() >= REFERENCES {
        references.drain(1..references.len() + 2 - REFERENCES);
    }
    references
}

/// Returns the plain identifiers in a field: `<…@…>`, visible ASCII, not too long.
fn ids(field: &Field<'_>) -> Vec<String> {
    let value = String::from_utf8_lossy(&field.unfolded()).into_owned();
    let inner = |id: &str| {
        let (left, right) = id.strip_prefix('<')?.strip_suffix('>')?.split_once('@')?;
        let plain = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_graphic() && !b"<>@()\\\",:;".contains(&b))
        };
        (plain(left) && plain(right) && id.len() <= ID).then(|| id.to_owned())
    };
    value.split_ascii_whitespace().filter_map(inner).collect()
}

/// Returns the subject without the prefixes of answers, without stamps, and without invisible characters.
fn subject(message: &Message<'_>) -> String {
    let decoded = message.first("Subject").map(|field| field.to_text()).unwrap_or_default();
    let text: String = decoded
        .chars()
        .take(16 * SUBJECT)
        .map(|c| if c.is_ascii_graphic() || !c.is_ascii() && c.is_alphanumeric() { c } else { ' ' })
        .collect();
    let mut words = text.split_ascii_whitespace().filter(|word| !word.contains("v4.public.")).peekable();
    while words.next_if(|word| ["re:", "auto:", "aw:"].iter().any(|prefix| word.eq_ignore_ascii_case(prefix))).is_some()
    {
    }
    let mut subject = String::new();
    for word in words {
        let word: String = word.chars().take(WORD).collect();
        if subject.chars().count() + 1 + word.chars().count() > SUBJECT {
            subject.push_str(" ...");
            break;
        }
        if !subject.is_empty() {
            subject.push(' ');
        }
        subject.push_str(&word);
    }
    if subject.is_empty() { "your message".to_owned() } else { subject }
}

/// Encodes a text for a field: as it is, or in encoded-words (RFC 2047) of at most 75 characters.
fn words(text: &str) -> String {
    if text.is_ascii() && !text.contains("=?") {
        return text.to_owned();
    }
    let mut words: Vec<String> = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = (1..=rest.len().min(39)).rev().find(|end| rest.is_char_boundary(*end)).unwrap_or(rest.len());
        let (chunk, after) = rest.split_at(end);
        words.push(format!("=?utf-8?b?{}?=", BASE64.encode(chunk.as_bytes())));
        rest = after;
    }
    words.join(" ")
}

/// Returns the transfer encoding, the charset and the encoded text (RFC 2045 section 6).
pub(super) fn encoded(text: &str) -> (&'static str, &'static str, String) {
    let charset = if text.is_ascii() { "us-ascii" } else { "utf-8" };
    // Programs that write an mbox put a `>` before such a line.
    let plain = |line: &str| line.len() <= 78 && !line.starts_with("From ") && !line.ends_with([' ', '\t']);
    if text.is_ascii() && text.lines().all(plain) {
        return ("7bit", charset, text.to_owned());
    }
    let lines = |line: &str| {
        let encode = |text: &str| quoted_printable::encode_to_str(text).replace("\r\n", "\n") + "\n";
        match line.strip_prefix('F') {
            Some(rest) if rest.starts_with("rom ") => "=46=\n".to_owned() + &encode(rest),
            _ => encode(line),
        }
    };
    ("quoted-printable", charset, text.lines().map(lines).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autoreply::eligibility::Kind;
    use crate::autoreply::return_path::Sender;
    use crate::message::encoded_word;
    use proptest::prelude::*;

    fn letter(header: &str, template: &str) -> String {
        let bob = Address::parse("prvs=12=Bob@y.example").unwrap();
        let sender = Sender { counted: bob.clone(), address: bob, author: None };
        let due = PendingReply {
            kind: Kind::Challenge,
            sender,
            mine: Address::parse("alice+a@x.example").unwrap(),
            price: 1,
        };
        let raw = format!("{header}\n\nbody\n");
        let template = Template::parse(template).unwrap();
        let with = ReplySettings {
            template: &template,
            from: None,
            values: Values::default(),
            now: UnixTime(1_795_262_400),
            nonce: [0xab; 16],
        };
        let letter = compose(&due, &Message::parse(raw.as_bytes()), with);
        assert_eq!(letter.to, due.sender.address);
        letter.text
    }

    fn field(letter: &str, name: &str) -> Option<String> {
        let field = Message::parse(letter.as_bytes()).first(name)?;
        Some(String::from_utf8(encoded_word::decode(&field.unfolded())).unwrap())
    }

    #[test]
    fn every_field_of_rfc_3834_is_there() {
        let text = letter("Message-ID: <1@y.example>\nSubject: Re: a serious matter", "Get one.\n");
        assert_eq!(
            text,
            "From: alice+a@x.example\nTo: prvs=12=Bob@y.example\nDate: Sat, 21 Nov 2026 12:00:00 +0000\n\
             Message-ID: <abababababababababababababababab.reply@x.example>\nIn-Reply-To: <1@y.example>\n\
             References: <1@y.example>\nAuto-Submitted: auto-replied\nDigital-Stamp-Reply: challenge\n\
             X-Auto-Response-Suppress: All\nMIME-Version: 1.0\nContent-Type: text/plain; charset=us-ascii\n\
             Content-Transfer-Encoding: 7bit\nSubject: Auto: Re: a serious matter\n\nGet one.\n"
        );
    }

    #[test]
    fn no_identifier_is_believed_that_is_not_plain() {
        for id in [
            "",
            "x",
            "<x>",
            "<a b@c>",
            "<a@b> <c@d>",
            "<a@b>\nMessage-ID: <c@d>",
            "<a\u{e4}@b>",
            "<a@b\0>",
            "<a@b\r>",
            "<a@<b>",
        ] {
            let text = letter(&format!("Message-ID: {id}"), "x");
            let lenient = ["<a@b\r>"].contains(&id);
            assert_eq!(field(&text, "In-Reply-To").is_some(), lenient, "{id:?}: {text}");
        }
        assert_eq!(field(&letter(&format!("Message-ID: <{}@b>", "a".repeat(ID)), "x"), "In-Reply-To"), None);
        let long = format!("<{}@b>", "a".repeat(ID - 4));
        assert_eq!(field(&letter(&format!("Message-ID: {long}"), "x"), "In-Reply-To"), Some(long));
    }

    #[test]
    fn references_are_bounded_and_keep_both_ends() {
        let many: String = (0..5000).map(|n| format!(" <{n}@y.example>")).collect();
        let text = letter(&format!("Message-ID: <m@y.example>\nReferences:{many} junk <bad\u{1}@x>"), "x");
        let references = field(&text, "References").unwrap();
        let ids: Vec<&str> = references.split_whitespace().collect();
        assert_eq!(ids.len(), REFERENCES);
        assert_eq!(
            (ids[0], ids[1], ids[8], ids[9]),
            ("<0@y.example>", "<4992@y.example>", "<4999@y.example>", "<m@y.example>")
        );
        let text = letter("Message-ID: <m@y>\nIn-Reply-To: <p@y>", "x");
        assert_eq!(field(&text, "References").unwrap(), "<p@y> <m@y>");
    }

    #[test]
    fn nothing_in_a_subject_becomes_a_field() {
        for (subject, wanted) in [
            ("hello", "Auto: Re: hello"),
            ("Re: AUTO: re: hello", "Auto: Re: hello"),
            ("", "Auto: Re: your message"),
            ("=?utf-8?q?a=0D=0ABcc:_eve=40z.example=0A=0Abody?=", "Auto: Re: a Bcc: eve@z.example body"),
            ("a\rBcc: eve@z.example", "Auto: Re: aBcc: eve@z.example"),
            ("=?utf-8?q?gr=C3=BC=C3=9Fe?=", "Auto: Re: gr\u{fc}\u{df}e"),
            ("=?iso-8859-1?q?gr=FC?=", "Auto: Re: gr\u{fc}"),
            ("=?utf-8?q?=E2=80=AEevil?= \u{1b}[31m", "Auto: Re: evil [31m"),
            ("v4.public.eyJh stamped", "Auto: Re: stamped"),
            ("=?utf-8?q?=3D=3Futf-8=3Fq=3Fa=3D0ab=3F=3D?=", "Auto: Re: =?utf-8?q?a=0ab?="),
        ] {
            let text = letter(&format!("Subject: {subject}"), "x");
            let names: Vec<_> = Message::parse(text.as_bytes()).fields().map(|f| f.name().to_owned()).collect();
            assert_eq!(names.len(), 11, "{subject:?}: {text}");
            assert_eq!(field(&text, "Subject").unwrap(), wanted, "{subject:?}");
        }
        let long = letter(&format!("Subject: {} {}", "\u{4e00}".repeat(30), "b".repeat(5000)), "x");
        assert!(long.lines().all(|line| line.len() <= 78), "{long}");
        assert!(field(&long, "Subject").unwrap().ends_with(" ..."), "{long}");
    }

    #[test]
    fn a_text_of_any_letters_travels_whole() {
        let template = format!("Gr\u{fc}\u{df}e  \nFrom here {}\n.\n", "long ".repeat(40));
        let text = letter("Subject: x", &template);
        assert!(text.contains("charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n"), "{text}");
        assert!(text.is_ascii() && text.lines().all(|line| line.len() <= 76), "{text}");
        assert!(!text.contains("\nFrom here"));
        let (_, body) = text.split_once("\n\n").unwrap();
        let decoded = quoted_printable::decode(body, quoted_printable::ParseMode::Robust).unwrap();
        assert_eq!(String::from_utf8(decoded).unwrap().replace("\r\n", "\n"), template);
    }

    proptest! {
        // Threat 10.
        #[test]
        fn whatever_stands_in_a_message_the_letter_has_its_own_fields_only(
            subject in hostile(), id in hostile(), references in hostile(), other in hostile()
        ) {
            let header = [b"Subject: ".as_slice(), &subject, b"\nMessage-ID: ", &id, b"\nReferences: ", &references, b"\n", &other];
            let header = String::from_utf8_lossy(&header.concat()).into_owned();
            let text = letter(&header, "{subject}");
            prop_assert!(text.bytes().all(|b| b == b'\n' || matches!(b, b' '..=b'~')), "{:?}", text);
            let message = Message::parse(text.as_bytes());
            let names: Vec<_> = message.fields().map(|field| String::from_utf8_lossy(field.name()).into_owned()).collect();
            let own: Vec<&str> = names.iter().map(String::as_str).filter(|n| !["In-Reply-To", "References"].contains(n)).collect();
            prop_assert_eq!(own.len(), 11, "{}", text);
            prop_assert!(names.len() == 11 || names.len() == 13, "{}", text);
            let header = String::from_utf8_lossy(message.header());
            prop_assert!(header.lines().all(|line| !line.trim().is_empty() && line.len() <= 300));
        }
    }

    /// Bytes of headers, more often than others.
    fn hostile() -> impl Strategy<Value = Vec<u8>> {
        let parts = [
            "\n",
            "\r",
            "\r\n ",
            ":",
            " ",
            "<",
            ">",
            "@",
            "a@b",
            "<a@b> ",
            "=?utf-8?q?",
            "=0A",
            "=0D",
            "?=",
            "Bcc: x",
            "\0",
        ];
        let part = prop_oneof![
            4 => proptest::sample::select(parts.to_vec()).prop_map(|part| part.as_bytes().to_vec()),
            1 => any::<u8>().prop_map(|byte| vec![byte]),
        ];
        proptest::collection::vec(part, 0..40).prop_map(|parts| parts.concat())
    }
}
