//! Changes that a milter may ask for, from edits of the message, and the prefix of a Subject.
//!
//! A mail system names a field by its name and its number among the fields of that name. Fields are changed from the
//! last to the first, so that a removed one changes the number of no other. New fields come after that.

use super::session::Incoming;
use super::wire::Reply;
use crate::message::edit::Edit;
use crate::message::header::{fold, slice};
use crate::message::parse::Message;
use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

/// Most fields that are changed. A mail system reads the whole header for each.
pub const CHANGES: usize = 500;

/// More fields would have to be changed than a mail system does in reasonable time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyChanges;

/// Appends the answers that make `edit` of the message. `new` are fields for its top, each as
/// [`fold`] makes it with LF, the highest first.
///
/// # Errors
/// [`TooManyChanges`] for more than 500 fields.
pub fn write(
    message: &Incoming,
    edit: &Edit<'_>,
    new: &[String],
    has_leading_space: bool,
    out: &mut Vec<u8>,
) -> Result<(), TooManyChanges> {
    for change in changed(message, edit, has_leading_space)?.iter().rev() {
        Reply::ChangeHeader { index: change.index, name: change.name, value: &change.value }.write(out);
    }
    // Each new one comes above the one before it.
    for field in new.iter().rev() {
        if let Some((name, text)) = field.trim_end_matches('\n').split_once(':') {
            let value = if has_leading_space { text } else { text.strip_prefix(' ').unwrap_or(text) };
            Reply::InsertHeader { name, value }.write(out);
        }
    }
    if let Some(body) = edit.within(message.body..message.raw.len()) {
        Reply::ReplaceBody(&body).write(out);
    }
    Ok(())
}

/// Checks that a mail system can make these changes.
///
/// # Errors
/// As [`write()`].
pub fn check(message: &Incoming, edit: &Edit<'_>) -> Result<(), TooManyChanges> {
    changed(message, edit, true).map(drop)
}

/// Returns the message as the mail system has it after these changes, but for the fields that it adds itself.
///
/// # Errors
/// As [`write()`].
pub fn applied<'a>(
    message: &'a Incoming,
    edit: &Edit<'_>,
    new: &[String],
    has_leading_space: bool,
) -> Result<Cow<'a, [u8]>, TooManyChanges> {
    if edit.is_empty() && new.is_empty() {
        return Ok(Cow::Borrowed(&message.raw));
    }
    let changes = changed(message, edit, has_leading_space)?;
    let mut out = Vec::with_capacity(message.raw.len() + 1024);
    new.iter().for_each(|field| put(field.as_bytes(), &mut out));
    let mut at = 0;
    for change in &changes {
        out.extend_from_slice(slice(&message.raw, at, change.span.start));
        at = change.span.end;
        if !change.value.is_empty() {
            let blank: &[u8] = if has_leading_space { b":" } else { b": " };
            [change.name, blank, &change.value, b"\n"].iter().for_each(|part| put(part, &mut out));
        }
    }
    out.extend_from_slice(slice(&message.raw, at, message.body));
    let body = edit.within(message.body..message.raw.len());
    out.extend_from_slice(body.as_deref().unwrap_or(slice(&message.raw, message.body, message.raw.len())));
    Ok(Cow::Owned(out))
}

/// Appends lines that end with LF, with CRLF.
fn put(text: &[u8], out: &mut Vec<u8>) {
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        out.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
        out.extend_from_slice(if line.ends_with(b"\n") { b"\r\n" } else { b"" });
    }
}

/// A field that is changed.
struct Change<'a> {
    span: Range<usize>,
    /// Its number among the fields of its name.
    index: u32,
    name: &'a [u8],
    /// Its new value, with LF between lines. Without one, it is removed.
    value: Vec<u8>,
}

fn changed<'a>(
    message: &'a Incoming,
    edit: &Edit<'_>,
    has_leading_space: bool,
) -> Result<Vec<Change<'a>>, TooManyChanges> {
    let value_of = |text: &[u8]| {
        // A lone CR at its end is left of a line that was hidden behind it.
        let end = text.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |last| last + 1);
        let text = slice(text, 0, end);
        let text = if has_leading_space { text } else { text.strip_prefix(b" ").unwrap_or(text) };
        let mut value = Vec::with_capacity(text.len());
        for line in text.split_inclusive(|&byte| byte == b'\n') {
            value.extend_from_slice(line.strip_suffix(b"\r\n").unwrap_or(line));
            value.extend_from_slice(if line.ends_with(b"\r\n") { b"\n" } else { b"" });
        }
        value
    };
    let mut numbers: HashMap<Vec<u8>, u32> = HashMap::new();
    let mut changes = Vec::new();
    for span in &message.fields {
        let raw = slice(&message.raw, span.start, span.end);
        let Some(name) = memchr::memchr(b':', raw).and_then(|colon| raw.get(..colon)) else { continue };
        let number = numbers.entry(name.to_ascii_lowercase()).or_default();
        *number += 1;
        let Some(after) = edit.within(span.clone()) else { continue };
        // Without its name it is no field any more.
        let rest = after.strip_prefix(name).and_then(|rest| rest.strip_prefix(b":"));
        // An empty value would remove the field.
        let value = rest.map(value_of).map(|value| if value.is_empty() { b" ".to_vec() } else { value });
        changes.push(Change { span: span.clone(), index: *number, name, value: value.unwrap_or_default() });
        if changes.len() > CHANGES {
            return Err(TooManyChanges);
        }
    }
    Ok(changes)
}

/// Puts `prefix` before the Subject, unless the text that a reader sees begins with it. The rest of the field stays as
/// it is, encoded-words included. Returns a new field, where there is no Subject.
#[must_use]
pub fn prefix_subject<'a>(message: &Message<'a>, prefix: &str, edit: &mut Edit<'a>) -> Option<String> {
    let Some(subject) = message.first("Subject") else { return Some(fold("Subject", prefix, "\n")) };
    if !subject.to_text().trim_start().starts_with(prefix) {
        let raw = subject.raw();
        let colon = memchr::memchr(b':', raw).unwrap_or_default();
        let blanks = slice(raw, colon + 1, raw.len()).iter().take_while(|&&byte| byte == b' ').count();
        let before = if blanks == 0 { " " } else { "" };
        edit.insert(subject.start() + colon + 1 + blanks, format!("{before}{prefix} "));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boundary::session::{Next, Session};
    use crate::boundary::wire::{VERSION, protocol};
    use crate::message::result_headers::result_fields;

    /// Negotiates, and sends a message with these fields and this body.
    pub(in crate::boundary) fn received(fields: &[(&str, &str)], body: &str, leading: u32) -> Session {
        let mut session = Session::new(1 << 20);
        let offer = [VERSION, 0x1ff, protocol::SKIP | leading].map(u32::to_be_bytes);
        let mut frames = vec![[b"O", offer.as_flattened()].concat(), b"M<bob@y.example>\0".to_vec()];
        frames.push(b"R<alice@x.example>\0".to_vec());
        frames.extend(fields.iter().map(|(name, value)| format!("L{name}\0{value}\0").into_bytes()));
        frames.extend([b"N".to_vec(), format!("B{body}").into_bytes(), b"E".to_vec()]);
        let last = frames.iter().fold(Next::Close, |_, frame| session.receive(frame).unwrap());
        assert_eq!(last, Next::Judge);
        session
    }

    /// Applies these changes as a mail system does, and returns the message, which is the one that is expected.
    fn carried_out(session: &Session, edit: &Edit<'_>, new: &[String]) -> String {
        let mut answers = Vec::new();
        write(session.message(), edit, new, session.has_leading_space(), &mut answers).unwrap();
        let expected = applied(session.message(), edit, new, session.has_leading_space()).unwrap();
        let message = as_a_mail_system(session, &answers);
        assert_eq!(String::from_utf8_lossy(&expected).replace("\r\n", "\n"), message);
        message
    }

    fn as_a_mail_system(session: &Session, answers: &[u8]) -> String {
        let message = session.message();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut fields: Vec<(String, String)> = Vec::new();
        for span in &message.fields {
            let raw = text(&message.raw[span.clone()]);
            let (name, value) = raw.trim_end_matches("\r\n").split_once(':').unwrap();
            fields.push((name.to_owned(), value.replace("\r\n", "\n")));
        }
        let (mut body, mut is_new, mut rest) = (text(&message.raw[message.body..]), false, answers);
        let leading = |value: &str| if session.has_leading_space() { value.to_owned() } else { format!(" {value}") };
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let (frame, after) = after.split_at(u32::from_be_bytes(*length) as usize);
            rest = after;
            let pair = || {
                let mut parts = frame[5..].split(|&byte| byte == 0).map(text);
                (parts.next().unwrap(), parts.next().unwrap())
            };
            match frame[0] {
                b'm' => {
                    let (index, (name, value)) = (u32::from_be_bytes(frame[1..5].try_into().unwrap()), pair());
                    let of_name = fields.iter().enumerate().filter(|(_, field)| field.0.eq_ignore_ascii_case(&name));
                    let (at, _) = of_name.map(|(at, _)| (at, ())).nth(index as usize - 1).unwrap();
                    if value.is_empty() { drop(fields.remove(at)) } else { fields[at].1 = leading(&value) }
                }
                b'i' => fields.insert(0, (pair().0, leading(&pair().1))),
                b'b' => {
                    body = if is_new { body + &text(&frame[1..]) } else { text(&frame[1..]) };
                    is_new = true;
                }
                other => panic!("{}", char::from(other)),
            }
        }
        let header: String = fields.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        format!("{header}\n{body}")
    }

    #[test]
    fn forged_fields_are_removed_by_their_numbers() {
        let fields = [
            ("Digital-Stamp-Class", " first-class"),
            ("Subject", " a\rDigital-Stamp-Class: x"),
            ("subject", " second\n folded"),
            ("DIGITAL-STAMP-CLASS", " a"),
            ("Digital-Stamp-Class", ""),
            ("Authentication-Results", " other.example; none"),
            ("Authentication-Results", " mx.example; spf=pass"),
        ];
        for leading in [0, protocol::HEADER_LEADING_SPACE] {
            let session = received(&fields, "text", leading);
            let message = Message::parse(&session.message().raw);
            let mut edit = Edit::new(&message);
            result_fields(&message, Some("mx.example"), &[]).for_each(|field| edit.remove(&field));
            let new = [fold("Digital-Stamp-Class", &"word ".repeat(30), "\n"), "X-Second: y\n".to_owned()];
            // Without the option, the mail system adds a blank, and so does the session.
            let blank = if leading == 0 { "  " } else { " " };
            let rest = format!(
                "Subject:{blank}a\nsubject:{blank}second\n folded\nAuthentication-Results:{blank}other.example; none\n\ntext"
            );
            assert_eq!(carried_out(&session, &edit, &new), new.concat() + &rest);
        }
    }

    #[test]
    fn very_many_forged_fields_are_not_removed_one_by_one() {
        let forged = |count: usize| {
            let fields = [("Digital-Stamp-Class", " x"), ("A", " 1")].repeat(count);
            let session = received(&fields, "x", protocol::HEADER_LEADING_SPACE);
            let message = Message::parse(&session.message().raw);
            let mut edit = Edit::new(&message);
            result_fields(&message, None, &[]).for_each(|field| edit.remove(&field));
            write(session.message(), &edit, &[], true, &mut Vec::new())
        };
        assert_eq!((forged(CHANGES), forged(CHANGES + 1)), (Ok(()), Err(TooManyChanges)));
        assert_eq!(forged(20_000), Err(TooManyChanges));
    }

    #[test]
    fn a_prefix_comes_once_and_leaves_the_rest() {
        for (subject, prefixed) in [
            (" hello", " [unstamped] hello"),
            ("hello", " [unstamped] hello"),
            ("", " [unstamped] "),
            (" =?utf-8?q?h=C3=A9?=\n =?utf-8?q?llo?=", " [unstamped] =?utf-8?q?h=C3=A9?=\n =?utf-8?q?llo?="),
            (" [unstamped] hello", " [unstamped] hello"),
            (" =?utf-8?q?=5Bunstamped=5D?= hello", " =?utf-8?q?=5Bunstamped=5D?= hello"),
            (" Re: [unstamped] hello", " [unstamped] Re: [unstamped] hello"),
        ] {
            let mut now = subject.to_owned();
            for _ in 0..3 {
                let session = received(&[("Subject", &now)], "x", protocol::HEADER_LEADING_SPACE);
                let message = Message::parse(&session.message().raw);
                let mut edit = Edit::new(&message);
                assert_eq!(prefix_subject(&message, "[unstamped]", &mut edit), None);
                let text = carried_out(&session, &edit, &[]);
                text.strip_prefix("Subject:").unwrap().strip_suffix("\n\nx").unwrap().clone_into(&mut now);
                assert_eq!(now, prefixed);
            }
        }
        let message = Message::parse(b"A: b\r\n\r\n");
        let new = prefix_subject(&message, "[unstamped]", &mut Edit::new(&message));
        assert_eq!(new.as_deref(), Some("Subject: [unstamped]\n"));
    }

    #[test]
    fn a_body_is_replaced_and_an_emptied_field_stays() {
        let session = received(&[("Subject", " S"), ("A", " 1")], "one two", protocol::HEADER_LEADING_SPACE);
        let message = Message::parse(&session.message().raw);
        let mut edit = Edit::new(&message);
        edit.remove_span(8..10);
        edit.remove_span(message.body_start()..message.body_start() + 4);
        assert_eq!(carried_out(&session, &edit, &[]), "Subject: \nA: 1\n\ntwo");
    }
}
