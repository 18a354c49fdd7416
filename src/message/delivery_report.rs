//! Report of a mail system about a message that it delivered, or did not (RFC 3464): the ID of the message's envelope,
//! and what became of it for each recipient. Everything in it is the claim of its sender.

use super::header::Field;
use super::mime::{self, TextPart};
use super::parse::Message;
use std::collections::BTreeSet;

/// Most recipients in a report, and most groups of fields, empty ones included.
const RECIPIENTS_MAX: usize = 1_000;
const GROUPS_MAX: usize = 10_000;
/// Longest value that is read, in bytes.
const VALUE_MAX: usize = 1_000;
/// The actions of RFC 3464 section 2.3.3.
const ACTIONS: [&str; 5] = ["failed", "delayed", "delivered", "relayed", "expanded"];

/// A report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryReport {
    /// The ID of the message's envelope (ENVID, RFC 3461), decoded; `None` if the message had none.
    pub envelope_id: Option<String>,
    /// Each recipient, as `rfc822;a@x.example` in lower case, and the action; at least one.
    pub outcomes: BTreeSet<(String, &'static str)>,
}

impl DeliveryReport {
    /// Reads a message. `None` if it is no report, names no recipient, or is beyond the limits: 1 MiB of fields, 1,000
    /// recipients.
    #[must_use]
    pub fn of(message: &Message<'_>) -> Option<Self> {
        let TextPart::Found(text) = is_report(message).then(|| mime::delivery_status(message))? else { return None };
        // The longest ones are cut.
        let text = text.tail.is_none().then_some(text.head)?;
        let mut report = Self { envelope_id: None, outcomes: BTreeSet::new() };
        let (mut rest, mut is_first) = (&*text, true);
        for _ in 0..GROUPS_MAX {
            if rest.is_empty() {
                return Some(report).filter(|it| !it.outcomes.is_empty());
            }
            let group = Message::parse_part(rest);
            rest = group.body();
            if group.header().is_empty() {
                continue;
            }
            let value = |name: &str| group.first(name).and_then(|field| value(&field));
            if std::mem::take(&mut is_first) {
                report.envelope_id = value("Original-Envelope-Id").map(|text| decoded(&text));
                continue;
            }
            let action = value("Action").unwrap_or_default().to_ascii_lowercase();
            let action = ACTIONS.into_iter().find(|word| *word == action);
            if let Some((recipient, action)) = value("Final-Recipient").zip(action) {
                let recipient: String = recipient.chars().filter(|c| !c.is_whitespace()).collect();
                report.outcomes.insert((recipient.to_lowercase(), action));
            }
            if report.outcomes.len() > RECIPIENTS_MAX {
                return None;
            }
        }
        None
    }
}

/// Returns whether a message is a report of a mail system, by its type.
#[must_use]
pub fn is_report(message: &Message<'_>) -> bool {
    let kind =
        message.first("Content-Type").map(|field| String::from_utf8_lossy(&field.unfolded()).to_ascii_lowercase());
    kind.is_some_and(|kind| kind.trim_start().starts_with("multipart/report") && kind.contains("delivery-status"))
}

/// Returns the value of a field as text, without blanks around it.
fn value(field: &Field<'_>) -> Option<String> {
    let text = field.unfolded();
    let text = std::str::from_utf8(&text).ok()?.trim();
    (text.len() <= VALUE_MAX).then(|| text.to_owned())
}

/// Decodes xtext (RFC 3461 section 4). What is no code stays.
fn decoded(text: &str) -> String {
    let mut pieces = text.split('+');
    let mut found = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let code = piece.get(..2).filter(|code| code.bytes().all(|it| matches!(it, b'0'..=b'9' | b'A'..=b'F')));
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()).filter(u8::is_ascii) {
            Some(byte) => {
                found.push(char::from(byte));
                found.push_str(piece.get(2..).unwrap_or_default());
            }
            None => {
                found.push('+');
                found.push_str(piece);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A report with these groups of fields.
    fn report(groups: &str) -> String {
        format!(
            "From: MAILER-DAEMON@y.example\nContent-Type: multipart/report; report-type=delivery-status;\n boundary=b\n\n\
             --b\nContent-Description: Notification\n\nI am sorry.\n\n--b\nContent-Type: message/delivery-status\n\n\
             {groups}\n--b\nContent-Type: text/rfc822-headers\n\nSubject: hello\n\n--b--\n"
        )
    }

    fn read(groups: &str) -> Option<DeliveryReport> {
        DeliveryReport::of(&Message::parse(report(groups).as_bytes()))
    }

    #[test]
    fn a_report_names_the_envelope_and_each_recipient() {
        let groups = "Reporting-MTA: dns; mx.y.example\nOriginal-Envelope-Id: aB-_9\n\n\
                      Final-Recipient: RFC822; Bob@Y.example\nOriginal-Recipient: rfc822;b@y.example\nAction: Failed\n\
                      Status: 5.1.1\n\nFinal-Recipient: rfc822;\n\tcarl@y.example\nAction: delayed\n";
        let read = read(groups).unwrap();
        assert_eq!(read.envelope_id.as_deref(), Some("aB-_9"));
        let expected = [("rfc822;bob@y.example", "failed"), ("rfc822;carl@y.example", "delayed")];
        assert_eq!(read.outcomes, expected.map(|(to, action)| (to.to_owned(), action)).into());
        let crlf = report(groups).replace('\n', "\r\n");
        assert_eq!(DeliveryReport::of(&Message::parse(crlf.as_bytes())), Some(read.clone()));
        let utf8 = report(groups).replace("message/delivery-status", "message/global-delivery-status");
        assert_eq!(DeliveryReport::of(&Message::parse(utf8.as_bytes())), Some(read));
    }

    #[test]
    fn what_is_no_report_is_none() {
        let recipient = "Final-Recipient: rfc822; b@y.example\nAction: failed\n";
        let good = format!("Reporting-MTA: dns; y\n\n{recipient}");
        let read_at = |from: &str, to: &str| {
            let text = report(&good).replace(from, to);
            DeliveryReport::of(&Message::parse(text.as_bytes()))
        };
        assert_eq!(read(&good).unwrap().envelope_id, None);
        for (from, to) in [
            ("multipart/report", "multipart/mixed"),
            ("report-type=delivery-status", "report-type=disposition-notification"),
            ("message/delivery-status", "text/plain"),
            ("boundary=b", "boundary=c"),
            ("Action: failed", "Action: lost"),
            ("Final-Recipient", "Original-Recipient"),
            // The fields of the message, and then none of a recipient.
            ("Reporting-MTA: dns; y\n\n", "Reporting-MTA: dns; y\n"),
        ] {
            assert_eq!(read_at(from, to), None, "{from}");
        }
        // The ID counts among the fields of the message alone.
        let late = format!("Reporting-MTA: dns; y\n\nOriginal-Envelope-Id: a\n{recipient}");
        assert_eq!(read(&late).unwrap().envelope_id, None);
        assert_eq!(read(&format!("A: b\n\n{}", "\n".repeat(GROUPS_MAX))), None);
        let many = |count: usize| {
            let each = |at: usize| format!("\nFinal-Recipient: rfc822; {at}@y.example\nAction: failed\n");
            read(&format!("A: b\n{}", (0..count).map(each).collect::<String>()))
        };
        assert_eq!(many(RECIPIENTS_MAX).map(|it| it.outcomes.len()), Some(RECIPIENTS_MAX));
        assert_eq!(many(RECIPIENTS_MAX + 1), None);
    }

    #[test]
    fn codes_of_xtext_are_decoded() {
        for (text, expected) in
            [("a+2Db", "a-b"), ("+2B+3D", "+="), ("a+", "a+"), ("+2d+G0+F", "+2d+G0+F"), ("+FF", "+FF")]
        {
            assert_eq!(decoded(text), expected);
        }
    }

    proptest! {
        #[test]
        fn any_fields_are_read(pieces in proptest::collection::vec(prop_oneof![
            Just("\n"), Just("\r\n"), Just("Original-Envelope-Id: a+2D\n"), Just("Final-Recipient: rfc822;b\n"),
            Just("Action: failed\n"), Just("Action: relayed\n"), Just(" folded\n"), Just("no field\n"), Just("--b\n"),
        ], 0..40)) {
            if let Some(report) = read(&pieces.concat()) {
                prop_assert!((1..=RECIPIENTS_MAX).contains(&report.outcomes.len()));
                prop_assert!(report.outcomes.iter().all(|(to, action)| !to.contains(' ') && ACTIONS.contains(action)));
            }
        }
    }
}
