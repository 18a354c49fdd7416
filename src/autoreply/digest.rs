//! Composes the digest of held mail, header and text, for the user alone. What strangers wrote is shown without
//! characters that are invisible or reorder others, and without anything that a mail reader makes a link of.

use super::compose::encoded;
use crate::message::address::Address;
use crate::message::header::{percent_encoded, readable};
use crate::time::UnixTime;
use data_encoding::HEXLOWER;
use std::fmt::Write;

/// Longest Subject that is shown, in characters.
const SUBJECT: usize = 100;

/// A held message, as the digest shows it.
#[derive(Clone, Debug)]
pub struct DigestEntry {
    /// Its short name.
    pub name: String,
    pub since: UnixTime,
    /// Bytes.
    pub size: u64,
    /// Its class and the reason for it.
    pub class: String,
    pub from: Option<Address>,
    /// Decoded, with `\xNN` for invisible characters.
    pub subject: Option<String>,
    /// The words that allow it and refuse it.
    pub words: Option<[String; 2]>,
}

/// Input of [`compose`].
#[derive(Clone, Debug)]
pub struct DigestSettings<'a> {
    /// The user's address, to which the digest goes and to which answers go.
    pub to: &'a Address,
    pub now: UnixTime,
    /// Random bytes for the Message-ID.
    pub nonce: [u8; 16],
    /// The Message-ID that the digest refers to, as a rule with `reply_to_mine` knows it.
    pub reference: &'a str,
    /// New messages that are not listed.
    pub more: usize,
    /// New messages of senders that the user refused.
    pub refused: usize,
}

/// Returns the digest, ready for sendmail(8).
#[must_use]
pub fn compose(entries: &[DigestEntry], with: &DigestSettings<'_>) -> String {
    let (encoding, charset, body) = encoded(&text(entries, with));
    let count = entries.len() + with.more;
    let plural = if count == 1 { "" } else { "s" };
    let to = with.to;
    let mut mail = String::new();
    for (name, value) in [
        ("From", to.to_string()),
        ("To", to.to_string()),
        ("Date", with.now.to_rfc5322()),
        ("Message-ID", format!("<{}.digest@{}>", HEXLOWER.encode(&with.nonce), to.domain())),
        ("References", with.reference.to_owned()),
        ("Subject", format!("Held mail: {count} new message{plural}")),
        ("Auto-Submitted", "auto-generated".to_owned()),
        ("X-Auto-Response-Suppress", "All".to_owned()),
        ("MIME-Version", "1.0".to_owned()),
        ("Content-Type", format!("text/plain; charset={charset}")),
        ("Content-Transfer-Encoding", encoding.to_owned()),
    ] {
        let _ = writeln!(mail, "{name}: {value}");
    }
    mail + "\n" + &body
}

fn text(entries: &[DigestEntry], with: &DigestSettings<'_>) -> String {
    let mut text = String::from(
        "These messages are held. Nothing happens to them until you answer, or until\nthey expire (held.keep). To answer, \
         open a link and send the message as it is,\nor run the command. A word works once, for 14 days.\n",
    );
    for (number, entry) in entries.iter().enumerate() {
        let from = entry.from.as_ref().map_or_else(|| "(no address)".to_owned(), address);
        let subject = entry.subject.as_deref().map_or_else(|| "(none)".to_owned(), unlinked);
        let _ = write!(text, "\n{}. From: {from}\n   Subject: {subject}\n", number + 1);
        let _ = writeln!(text, "   {}, {} bytes, {}", entry.since, entry.size, visible(&entry.class));
        let name = &entry.name;
        let _ = writeln!(text, "   Let the sender through:  mailstamp held allow {name}");
        if let Some([allow, _]) = &entry.words {
            let _ = writeln!(text, "   {}", link(with.to, "allow", allow));
        }
        let _ = writeln!(text, "   Never list the sender:   mailstamp held never {name}");
        if let Some([_, never]) = &entry.words {
            let _ = writeln!(text, "   {}", link(with.to, "never", never));
        }
    }
    if with.more > 0 {
        let _ = write!(text, "\nNot listed here, but in the next digest: {}\n", with.more);
    }
    if with.refused > 0 {
        let _ = write!(text, "\nOf senders that you never want listed: {}\n", with.refused);
    }
    text + "\nAll held mail: mailstamp held list\n"
}

/// Returns a link that opens a new message with this answer.
fn link(to: &Address, answer: &str, word: &str) -> String {
    format!("mailto:{}?subject={answer}%20{word}", percent_encoded(&to.to_string()))
}

/// Returns text of a stranger: cut, in one line, without what becomes a link.
fn unlinked(text: &str) -> String {
    let text = visible(text);
    let mut shown = String::new();
    let mut characters = text.chars().take(SUBJECT).peekable();
    while let Some(c) = characters.next() {
        shown.push(c);
        let breaks = matches!(c, '.' | ':' | '/' | '@');
        if breaks && characters.peek().is_some_and(|next| !next.is_whitespace()) {
            shown.push(' ');
        }
    }
    if text.chars().count() > SUBJECT {
        shown.push_str(" ...");
    }
    shown
}

/// Returns the address of a stranger. It has no scheme and no path of a link.
fn address(address: &Address) -> String {
    let text = visible(&readable(address.to_string().as_bytes(), 4 * SUBJECT));
    if text.contains(['/', ':']) { unlinked(&text) } else { text.chars().take(2 * SUBJECT).collect() }
}

/// Removes the escapes of invisible characters, and what is left of controls.
fn visible(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("\\x") {
        let (before, escape) = rest.split_at(at);
        shown.push_str(before);
        let is_escape = escape.as_bytes().get(2..4).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit));
        let length = if is_escape { 4 } else { 2 };
        if !is_escape {
            shown.push_str("\\x");
        }
        rest = escape.get(length..).unwrap_or_default();
    }
    shown.push_str(rest);
    shown.split_whitespace().collect::<Vec<_>>().join(" ").replace(char::is_control, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(from: &str, subject: &str) -> DigestEntry {
        DigestEntry {
            name: "jaqxtm5i".into(),
            since: UnixTime(1_795_262_400),
            size: 812,
            class: "unstamped no-stamp".into(),
            from: Address::parse(from).ok(),
            subject: Some(subject.into()),
            words: Some(["jaqxtm5i-aa".into(), "jaqxtm5i-bb".into()]),
        }
    }

    fn digest(entries: &[DigestEntry]) -> String {
        let to = Address::parse("alice+a@x.example").unwrap();
        let with = DigestSettings {
            to: &to,
            now: UnixTime(1_795_262_400),
            nonce: [0xab; 16],
            reference: "<r@x.example>",
            more: 2,
            refused: 1,
        };
        compose(entries, &with)
    }

    #[test]
    fn each_message_has_two_links_and_two_commands() {
        let mail = digest(&[entry("bob@y.example", "a serious matter")]);
        for line in [
            "To: alice+a@x.example",
            "References: <r@x.example>",
            "Subject: Held mail: 3 new messages",
            "Auto-Submitted: auto-generated",
            "1. From: bob@y.example",
            "   Subject: a serious matter",
            "   2026-11-21T12:00:00Z, 812 bytes, unstamped no-stamp",
            "   mailto:alice%2Ba@x.example?subject=allow%20jaqxtm5i-aa",
            "   mailto:alice%2Ba@x.example?subject=never%20jaqxtm5i-bb",
            "Not listed here, but in the next digest: 2",
            "Of senders that you never want listed: 1",
        ] {
            assert!(mail.lines().any(|shown| shown == line), "{line}:\n{mail}");
        }
        assert!(mail.contains("\n   Let the sender through:  mailstamp held allow jaqxtm5i\n"), "{mail}");
    }

    #[test]
    fn a_strangers_text_is_one_line_without_links() {
        for (subject, shown) in [
            ("see http://evil.example/x now", "see http: / / evil. example/ x now"),
            ("www.evil.example", "www. evil. example"),
            ("a\\xe2\\x80\\xaeb\\x0ac \\x1b[2J", "abc [2J"),
            ("mailto:x@evil.example?subject=allow", "mailto: x@ evil. example?subject=allow"),
            ("line\r\nTo: x", "line To: x"),
            ("\\xzz \\x", "\\xzz \\x"),
        ] {
            assert_eq!(unlinked(subject), shown);
        }
        let long = unlinked(&"\u{e4}".repeat(500));
        assert_eq!(long.chars().count(), SUBJECT + 4);
        let mail = digest(&[entry("\"http://evil.example/x\"@y.example", "\u{e4}")]);
        assert!(!mail.contains("http:/") && mail.contains("charset=utf-8"), "{mail}");
    }
}
