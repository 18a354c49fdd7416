//! Submission in the style of sendmail(8): recipients from arguments and fields, and a message that has a Date, a
//! Message-ID and a From, and no Bcc. Pure: time and random numbers are arguments. `copies` makes each recipient's
//! copy.

use crate::message::address::{Address, addresses, entries};
use crate::message::edit::Edit;
use crate::message::header::{escape_untrusted, fold, obsolete_field_name};
use crate::message::parse::{Message, line_length};
use crate::time::UnixTime;
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fmt;

/// Most recipients of one message; more than that need a mailing list.
pub const RECIPIENTS: usize = 1_000;

/// Longest name without a domain.
const NAME: usize = 64;

/// Recipient of a message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Recipient {
    Address(Address),
    /// A name without a domain, as local programs write (`root`). The next sendmail(8) resolves it.
    Local(String),
}

impl Recipient {
    /// Parses an argument, or an entry of a field.
    ///
    /// # Errors
    /// [`Invalid::Recipient`] for text that is neither an address nor a plain name, or begins with a hyphen.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let wrong = || Invalid::Recipient(escape_untrusted(text.as_bytes(), 200));
        // After `--` it is not an option, but not every program respects that (threat 30).
        if text.starts_with('-') {
            return Err(wrong());
        }
        if let Ok(address) = Address::parse(text) {
            return Ok(Self::Address(address));
        }
        // Not a path, a pipe or an :include:, to which some mail systems deliver.
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'+' | b'-' | b'=');
        let name = !text.is_empty() && text.len() <= NAME && text.bytes().all(plain);
        if name { Ok(Self::Local(text.to_owned())) } else { Err(wrong()) }
    }

    /// Returns the address, if it is one.
    #[must_use]
    pub fn address(&self) -> Option<&Address> {
        match self {
            Self::Address(address) => Some(address),
            Self::Local(_) => None,
        }
    }
}

/// Formats the recipient as an argument after `--`.
impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Local(name) => f.write_str(name),
        }
    }
}

/// Reasons why a submission is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Not a recipient.
    #[error("{0}: not an address")]
    Recipient(String),
    /// Not a sender.
    #[error("-f {0}: not an address")]
    Sender(String),
    #[error("no recipients were given")]
    NoRecipient,
    /// More than [`RECIPIENTS`] recipients.
    #[error("more than {RECIPIENTS} recipients")]
    TooMany,
}

/// Arguments of sendmail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SendmailArgs {
    /// Recipients in the arguments.
    pub recipients: Vec<String>,
    /// `-t`: also take recipients from the fields.
    pub from_fields: bool,
    /// `-f`: the envelope sender; empty or `<>` for the null sender.
    pub sender: Option<String>,
    /// `-F`: the sender's full name, for a From field that is missing.
    pub full_name: Option<String>,
    /// `--return`: every stamp may come back with the answer.
    pub for_return: bool,
    /// Whether it came by SMTP, with the recipients of the envelope.
    pub by_smtp: bool,
}

/// Data of the host.
#[derive(Clone, Copy, Debug)]
pub struct LocalHost<'a> {
    /// The time, for a Date field that is missing.
    pub now: UnixTime,
    /// The user's own address, if it is known: for From, and for the envelope of SMTP.
    pub own: Option<&'a Address>,
    /// Random numbers, for a Message-ID that is missing.
    pub random: [u8; 16],
}

/// A message with its envelope, the same for all recipients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// Its id: the same message to the same recipients, sent again, has the same name.
    pub name: String,
    /// Whether it came with a Message-ID. Without one, the same bytes again most likely mean another message, such as a
    /// daily report.
    pub identified: bool,
    /// The envelope sender: empty for the null sender, `None` if the caller gave none.
    pub sender: Option<String>,
    /// The recipients, without duplicates.
    pub recipients: Vec<Recipient>,
    /// The message without Bcc, with the fields that were missing.
    pub message: Vec<u8>,
    /// Whether every stamp may come back.
    pub for_return: bool,
    /// When it came by SMTP, in Unix time; `None` for a message of a program, which is there until the end.
    pub by_smtp: Option<i64>,
}

impl Submission {
    /// Prepares the message `raw`.
    ///
    /// # Errors
    /// [`Invalid`]: it must not be sent to any recipient.
    pub fn prepare(raw: &[u8], asked: &SendmailArgs, here: &LocalHost<'_>) -> Result<Self, Invalid> {
        let raw = end_header(raw);
        let message = Message::parse(&raw);
        let sender = asked.sender.as_deref().map(sender).transpose()?;
        let recipients = recipients(&message, asked)?;
        let name = name(&message, sender.as_deref(), &recipients, asked.by_smtp);
        let own = sender.as_deref().and_then(|text| Address::parse(text).ok()).or_else(|| here.own.cloned());
        let mut edit = Edit::new(&message);
        edit.remove_span(0..message.envelope_line().len());
        let newline = message.newline();
        let domain = own.as_ref().map_or("localhost", |own| own.domain());
        edit.insert_missing(&message, here.now, here.random, domain);
        if let (None, Some(own)) = (message.first("From"), &own) {
            let from = match &asked.full_name {
                Some(full) => format!("{} <{own}>", phrase(full)),
                None => own.to_string(),
            };
            edit.insert_top(fold("From", &from, newline));
        }
        message
            .fields()
            .filter(|field| field.name_is("Bcc") || field.name_is("Resent-Bcc"))
            .for_each(|field| edit.remove(&field));
        let mut ready = edit.to_vec();
        let parsed = Message::parse(&ready);
        if !parsed.has_body() {
            // A header alone needs an end, or the next fields would follow an unfinished line.
            if !ready.is_empty() && !ready.ends_with(b"\n") {
                ready.extend_from_slice(newline.as_bytes());
            }
            ready.extend_from_slice(newline.as_bytes());
        }
        let identified = message_id(&message).is_some();
        let by_smtp = asked.by_smtp.then_some(here.now.0);
        Ok(Self { name, identified, sender, recipients, message: ready, for_return: asked.for_return, by_smtp })
    }

    /// Returns the author's address: the envelope sender for a server, if the caller gave none.
    #[must_use]
    pub fn author(&self) -> Option<Address> {
        let field = Message::parse(&self.message).first("From")?;
        addresses(&field.unfolded()).into_iter().next()
    }
}

/// Parses the envelope sender; empty for the null sender.
fn sender(text: &str) -> Result<String, Invalid> {
    let wrong = || Invalid::Sender(escape_untrusted(text.as_bytes(), 200));
    let inner = text.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).unwrap_or(text);
    if inner.is_empty() {
        return Ok(String::new());
    }
    Recipient::parse(inner).map(|sender| sender.to_string()).map_err(|_| wrong())
}

/// Collects the recipients without duplicates, first from the arguments, then from the fields.
///
/// `Resent-` fields replace the others (RFC 5322 section 3.6.6), as in Postfix and Sendmail.
fn recipients(message: &Message<'_>, asked: &SendmailArgs) -> Result<Vec<Recipient>, Invalid> {
    let mut all: Vec<Recipient> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    let mut add = |recipient: Recipient| {
        if seen.insert(recipient.clone()) {
            all.push(recipient);
        }
    };
    for text in &asked.recipients {
        if text.chars().any(char::is_control) {
            return Err(Invalid::Recipient(escape_untrusted(text.as_bytes(), 200)));
        }
        // One argument may contain several, as in `mail a,b`.
        for entry in entries(text.as_bytes(), RECIPIENTS + 1) {
            add(entry.map_or_else(|text| Recipient::parse(&text), fit)?);
        }
    }
    if asked.from_fields {
        let resent = message.fields().any(|field| field.name().to_ascii_lowercase().starts_with(b"resent-"));
        let names = if resent { ["Resent-To", "Resent-Cc", "Resent-Bcc"] } else { ["To", "Cc", "Bcc"] };
        for field in message.fields().filter(|field| names.iter().any(|name| field.name_is(name))) {
            for entry in entries(&field.unfolded(), RECIPIENTS + 1) {
                add(entry.map_or_else(|text| Recipient::parse(&text), fit)?);
            }
        }
    }
    match all.len() {
        0 => Err(Invalid::NoRecipient),
        1..=RECIPIENTS => Ok(all),
        _ => Err(Invalid::TooMany),
    }
}

/// Checks that no program can mistake the address for an option.
fn fit(address: Address) -> Result<Recipient, Invalid> {
    Recipient::parse(&address.to_string())
}

/// Puts an empty line before the first line that is no field and continues none, where the caller forgot it. The header
/// ends there for Postfix and Exim too. A field of that name in the text behind it is text.
fn end_header(raw: &[u8]) -> Cow<'_, [u8]> {
    let message = Message::parse(raw);
    let mut at = message.envelope_line().len();
    let begins = at;
    while let Some(rest) = raw.get(at..).filter(|rest| !rest.is_empty()) {
        let line = rest.get(..line_length(rest)).unwrap_or(rest);
        if matches!(line, b"\n" | b"\r\n") {
            break;
        }
        let continues = at > begins && matches!(line.first(), Some(b' ' | b'\t'));
        if !continues && obsolete_field_name(line).is_none() {
            let (header, text) = raw.split_at(at);
            return Cow::Owned([header, message.newline().as_bytes(), text].concat());
        }
        at += line.len();
    }
    Cow::Borrowed(raw)
}

/// Computes the name of a submission.
///
/// A message with a Message-ID is identified by all of it but its Date: mail programs write a new Date when they retry,
/// and a corrected message often keeps its Message-ID. A message without one is identified by all its bytes.
///
/// A message that came by SMTP is another one than the same message of a program: their results are kept for different
/// times.
fn name(message: &Message<'_>, sender: Option<&str>, recipients: &[Recipient], by_smtp: bool) -> String {
    let mut hash = Sha256::new();
    let mut add = |part: &[u8]| {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    };
    if by_smtp {
        add(b"smtp");
    }
    match message_id(message) {
        Some(_) => {
            add(b"identified");
            message.fields().filter(|field| !field.name_is("Date")).for_each(|field| add(field.raw()));
            add(b"");
            add(message.body());
        }
        None => {
            add(b"bytes");
            add(message.raw());
        }
    }
    add(sender.map_or(&b"?"[..], str::as_bytes));
    let mut names: Vec<String> = recipients.iter().map(Recipient::to_string).collect();
    names.sort();
    names.iter().for_each(|name| add(name.as_bytes()));
    HEXLOWER.encode(hash.finalize().get(..20).unwrap_or_default())
}

/// Returns the Message-ID, if it is not empty.
fn message_id(message: &Message<'_>) -> Option<Vec<u8>> {
    let field = message.first("Message-ID")?;
    Some(field.unfolded().trim_ascii().to_vec()).filter(|id| !id.is_empty())
}

/// Formats a full name before an address: quoted, without characters that would end the quotes.
fn phrase(name: &str) -> String {
    let inner: String = name.chars().filter(|c| !c.is_control() && !matches!(c, '"' | '\\')).collect();
    format!("\"{inner}\"")
}

/// Cuts a message off before a line that is a single dot, as sendmail without `-i` does.
#[must_use]
pub fn read_dot_terminated(raw: &[u8]) -> &[u8] {
    let mut start = 0;
    for line in raw.split_inclusive(|&b| b == b'\n') {
        if matches!(line, b".\n" | b".\r\n" | b".") {
            return raw.get(..start).unwrap_or_default();
        }
        start += line.len();
    }
    raw
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime(1_795_262_400);

    fn prepared(raw: &str, asked: &SendmailArgs) -> Result<Submission, Invalid> {
        let own = Address::parse("me@x.example").unwrap();
        Submission::prepare(raw.as_bytes(), asked, &LocalHost { now: NOW, own: Some(&own), random: [7; 16] })
    }

    fn asked(recipients: &[&str]) -> SendmailArgs {
        SendmailArgs { recipients: recipients.iter().map(|&text| text.to_owned()).collect(), ..SendmailArgs::default() }
    }

    fn names(submission: &Submission) -> Vec<String> {
        submission.recipients.iter().map(Recipient::to_string).collect()
    }

    fn text_of(submission: &Submission) -> String {
        String::from_utf8(submission.message.clone()).unwrap()
    }

    #[test]
    fn recipients_come_from_arguments_and_fields_each_once() {
        let raw = "From: a@x.example\nTo: Bob <bob@y.example>, root\nCc: BOB@y.example\nBcc: eve@z.example\n\nx\n";
        let with = SendmailArgs { from_fields: true, ..asked(&["carol@y.example,dave@y.example", "bob@y.example"]) };
        let list = ["carol@y.example", "dave@y.example", "bob@y.example", "root", "eve@z.example"];
        assert_eq!(names(&prepared(raw, &with).unwrap()), list);
        assert_eq!(names(&prepared(raw, &asked(&["root"])).unwrap()), ["root"]);
        // Encoded text in a name is not an address.
        let encoded = "From: =?utf-8?Q?ceo=40y.example=2C_J?= <me@x.example>\nMessage-ID: <1@x>\n\
                       To: =?utf-8?Q?Meier=2C_J=C3=BCrg?= <jm@y.example>, =?utf-8?Q?old=40y.example=2C_=3A=28?= <b@y.example>\n\n";
        let submission = prepared(encoded, &SendmailArgs { from_fields: true, ..SendmailArgs::default() }).unwrap();
        assert_eq!(names(&submission), ["jm@y.example", "b@y.example"]);
        assert_eq!(submission.author().unwrap().to_string(), "me@x.example");
        let resent = format!("Resent-To: z@z.example\nResent-Bcc: y@z.example\n{raw}");
        let fields = SendmailArgs { from_fields: true, ..SendmailArgs::default() };
        let submission = prepared(&resent, &fields).unwrap();
        assert_eq!(names(&submission), ["z@z.example", "y@z.example"]);
        assert!(!text_of(&submission).contains("eve@") && !text_of(&submission).contains("y@z.example"));
    }

    #[test]
    fn who_cannot_be_written_to_is_said_and_nobody_is_passed_over() {
        // Threat 30.
        for bad in [
            "-Ctmp@x.example",
            "-oQ/tmp@x.example",
            "a@x.example\nBcc: b",
            "|/bin/sh",
            "/etc/passwd",
            ":include:/x",
            "a b",
        ] {
            assert!(matches!(prepared("A: b\n\n", &asked(&[bad])), Err(Invalid::Recipient(_))), "{bad}");
        }
        let fields = SendmailArgs { from_fields: true, ..SendmailArgs::default() };
        for broken in ["<broken", "Ann (home <ann@y.example>, b@y.example", "b@y.example:"] {
            let raw = format!("To: bob@y.example, {broken}\n\n");
            assert!(matches!(prepared(&raw, &fields), Err(Invalid::Recipient(_))), "{broken}");
        }
        assert_eq!(prepared("Subject: x\n\n", &fields), Err(Invalid::NoRecipient));
        let many: Vec<String> = (0..=RECIPIENTS).map(|n| format!("p{n}@y.example")).collect();
        assert_eq!(prepared(&format!("To: {}\n\n", many.join(",\n ")), &fields), Err(Invalid::TooMany));
        let wide = " ".repeat(300);
        assert_eq!(
            prepared(&format!("To: b@y.example\nBcc: {}\n\n", many.join(&format!(",\n{wide}"))), &fields),
            Err(Invalid::TooMany)
        );
        let sender = |text: &str| {
            prepared("A: b\n\n", &SendmailArgs { sender: Some(text.to_owned()), ..asked(&["b@y.example"]) })
                .map(|it| it.sender)
        };
        assert_eq!(sender("<>"), Ok(Some(String::new())));
        assert_eq!(sender("<a@x.example>"), Ok(Some("a@x.example".into())));
        assert!(sender("-X@x.example").is_err() && sender("a@x.example\nb").is_err());
    }

    #[test]
    fn what_is_missing_is_put_on_once_and_bcc_goes() {
        let raw =
            "From x Sat Nov 21 12:00:00 2026\nSubject: s\nBcc: eve@z.example,\n f@z.example\nTo: b@y.example\n\n.\nx";
        let submission =
            prepared(raw, &SendmailArgs { full_name: Some("M. \"E\"\n".into()), ..asked(&["b@y.example"]) }).unwrap();
        assert_eq!(
            text_of(&submission),
            "Message-ID: <07070707070707070707070707070707@x.example>\nDate: Sat, 21 Nov 2026 12:00:00 +0000\n\
             From: \"M. E\" <me@x.example>\nSubject: s\nTo: b@y.example\n\n.\nx"
        );
        let whole = "From: a@x.example\r\nDate: x\r\nMessage-ID: <1@x>\r\n\r\nbody";
        assert_eq!(text_of(&prepared(whole, &asked(&["b@y.example"])).unwrap()), whole);
        let bare =
            text_of(&prepared("From: a@x.example\nDate: x\nMessage-ID: <1@x>", &asked(&["b@y.example"])).unwrap());
        assert_eq!(bare, "From: a@x.example\nDate: x\nMessage-ID: <1@x>\n\n");
    }

    #[test]
    fn a_header_ends_at_the_first_line_that_is_no_field() {
        let fields = SendmailArgs { from_fields: true, ..SendmailArgs::default() };
        let head = "From: a@x.example\nDate: x\nMessage-ID: <1@x>\n";
        for (header, text) in [
            ("To: b@y.example\n", "the report follows\nBcc: eve@z.example\nresult: ok\n\nend\n"),
            ("To: b@y.example\n", "two words: x\nBcc: eve@z.example\n"),
            ("To: b@y.example\nSubject : s\n\tmore\n", ": x\nBcc: eve@z.example\n"),
            ("To: b@y.example\n \n", "\u{e4}: x\nBcc: eve@z.example"),
        ] {
            let submission = prepared(&format!("{head}{header}{text}"), &fields).unwrap();
            assert_eq!(names(&submission), ["b@y.example"], "{text}");
            assert_eq!(text_of(&submission), format!("{head}{header}\n{text}"));
        }
        for raw in ["disk full\n", " Bcc: eve@z.example\n", "From x Sat Nov 21 12:00:00 2026\nBcc; x\nBcc: eve\n"] {
            let submission = prepared(raw, &asked(&["b@y.example"])).unwrap();
            let text = raw.strip_prefix("From x Sat Nov 21 12:00:00 2026\n").unwrap_or(raw);
            assert!(text_of(&submission).ends_with(&format!("From: me@x.example\n\n{text}")), "{raw}");
        }
        let crlf = text_of(&prepared("To: b@y.example\r\nhello\r\n", &fields).unwrap());
        assert!(crlf.ends_with("To: b@y.example\r\n\r\nhello\r\n"), "{crlf:?}");
    }

    #[test]
    fn the_same_message_sent_again_has_the_same_name() {
        let name = |raw: &str, to: &[&str]| prepared(raw, &asked(to)).unwrap().name;
        let (a, b) = ("a@y.example", "b@y.example");
        let first = name("Message-ID: <1@x>\nDate: one\n\nx\n", &[a, b]);
        assert_eq!(name("Message-ID: <1@x>\nDate: two\n\nx\n", &[b, a]), first);
        // A corrected message often keeps its Message-ID.
        for corrected in ["Subject: s\n", "Cc: c@y.example\n", "Content-Type: text/html\n"] {
            assert_ne!(name(&format!("Message-ID: <1@x>\nDate: two\n{corrected}\nx\n"), &[a, b]), first);
        }
        assert_ne!(name("Message-ID: <1@x>\n\ny\n", &[a, b]), first);
        assert_ne!(name("Message-ID: <2@x>\n\nx\n", &[a, b]), first);
        assert_ne!(name("Message-ID: <1@x>\n\nx\n", &[a]), first);
        assert_ne!(name("Subject: 1\n\nx\n", &[a]), name("Subject: 2\n\nx\n", &[a]));
    }

    #[test]
    fn a_lone_dot_ends_a_message() {
        for (raw, read) in [
            ("a\n.\nb\n", "a\n"),
            ("a\r\n.\r\nb", "a\r\n"),
            (".\n", ""),
            ("a\n..\n .\n.x\n", "a\n..\n .\n.x\n"),
            ("a\n.", "a\n"),
            ("", ""),
        ] {
            assert_eq!(read_dot_terminated(raw.as_bytes()), read.as_bytes(), "{raw:?}");
        }
    }
}
