//! Report to the sender of a message that was accepted by SMTP and then refused for some recipients (RFC 3464). Pure.

use super::outbox::RecipientOutcome;
use super::parse::Submission;
use crate::message::header::{Field, escape_untrusted, fold, unescaped};
use crate::message::parse::Message;
use crate::time::UnixTime;
use std::fmt::Write;

/// Longest reason of a refusal, in bytes.
const REASON: usize = 300;
/// Line between the parts. The text of none can begin with it: the first has fixed lines and lines with two blanks in
/// front, and the others have fields.
const BOUNDARY: &str = "=_report";
/// Fields of the message that the report repeats.
const FIELDS: [&str; 5] = ["Date", "From", "To", "Subject", "Message-ID"];

/// Returns the report, with LF at the ends of its lines; `None` if no recipient refused the message.
#[must_use]
pub fn compose(
    submission: &Submission,
    ends: &[Option<RecipientOutcome>],
    sender: &str,
    now: UnixTime,
) -> Option<String> {
    let refused: Vec<(String, String)> = submission
        .recipients
        .iter()
        .zip(ends)
        .filter_map(|(recipient, end)| match end {
            Some(RecipientOutcome::Refused(_, said)) => Some((
                escape_untrusted(recipient.to_string().as_bytes(), REASON),
                escape_untrusted(&unescaped(said), REASON),
            )),
            _ => None,
        })
        .collect();
    if refused.is_empty() {
        return None;
    }
    let domain = sender.rsplit_once('@').map_or("localhost", |(_, domain)| domain);
    let mut text = String::new();
    for (name, value) in [
        ("Date", now.to_rfc5322()),
        ("From", format!("Mail delivery <{sender}>")),
        ("To", sender.to_owned()),
        ("Message-ID", format!("<{}.report@{domain}>", submission.name)),
        ("Subject", "Your message was not delivered to all recipients".to_owned()),
        ("Auto-Submitted", "auto-replied".to_owned()),
        ("MIME-Version", "1.0".to_owned()),
        ("Content-Type", format!("multipart/report; report-type=delivery-status; boundary=\"{BOUNDARY}\"")),
    ] {
        text.push_str(&fold(name, &value, "\n"));
    }
    let mut people = String::new();
    let mut machines = "Reporting-MTA: dns; localhost\n".to_owned();
    for (recipient, said) in &refused {
        // Writing into a String cannot fail.
        let _ = write!(people, "\n  {recipient}\n  {said}\n");
        let _ = write!(
            machines,
            "\nFinal-Recipient: rfc822; {recipient}\nAction: failed\nStatus: 5.0.0\nDiagnostic-Code: x-mailstamp; {said}\n"
        );
    }
    let message = Message::parse(&submission.message);
    let is_repeated = |field: &Field<'_>| FIELDS.iter().any(|name| field.name_is(name));
    let fields: String = message
        .fields()
        .filter(is_repeated)
        .map(|field| String::from_utf8_lossy(field.raw()).trim_end().to_owned() + "\n")
        .collect();
    // RFC 6522 section 4 allows this encoding for header text that is not ASCII.
    let (encoding, fields) = match fields.is_ascii() {
        true => ("", fields),
        false => {
            let lines = fields.lines().map(|line| quoted_printable::encode_to_str(line).replace("\r\n", "\n") + "\n");
            ("; charset=utf-8\nContent-Transfer-Encoding: quoted-printable", lines.collect())
        }
    };
    let _ = write!(
        text,
        "\n--{BOUNDARY}\nContent-Type: text/plain; charset=us-ascii\n\n\
         mailstamp sent your message, but these recipients did not get it:\n{people}\n\
         The other recipients got it.\n\
         \n--{BOUNDARY}\nContent-Type: message/delivery-status\n\n{machines}\
         \n--{BOUNDARY}\nContent-Type: text/rfc822-headers{encoding}\n\n{fields}\n--{BOUNDARY}--\n"
    );
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::delivery_report::{DeliveryReport, is_report};
    use crate::sender::submission::parse::{LocalHost, SendmailArgs};

    #[test]
    fn a_report_names_those_who_refused_and_no_other() {
        let recipients = vec!["a@y.example".into(), "b@y.example".into(), "c@y.example".into()];
        let asked = SendmailArgs { recipients, sender: Some("me@x.example".into()), ..SendmailArgs::default() };
        let here = LocalHost { now: UnixTime(0), own: None, random: [1; 16] };
        let raw = b"Message-ID: <1@x>\nFrom: me@x.example\nSubject: a\n b\nDate: d\n\nbody\n";
        let submission = Submission::prepare(raw, &asked, &here).unwrap();
        let refused = |said: &str| Some(RecipientOutcome::Refused(69, said.to_owned()));
        let ends = [Some(RecipientOutcome::Sent), refused("550 no\n--=_report \\x0d größe; x"), None];
        let text = compose(&submission, &ends, "me@x.example", UnixTime(1_795_262_400)).unwrap();
        assert!(
            text.contains("\n\n  b@y.example\n  550 no\\x0a--=_report \\x0d gr\\xc3\\xb6\\xc3\\x9fe\\x3b x\n"),
            "{text}"
        );
        assert!(text.contains("\nFinal-Recipient: rfc822; b@y.example\nAction: failed\n"), "{text}");
        assert!(text.contains("\nSubject: a\n b\n") && !text.contains("a@y") && !text.contains("body"), "{text}");
        assert_eq!(text.matches("\n--=_report").count(), 4, "{text}");
        assert!(is_report(&Message::parse(text.as_bytes())) && !is_report(&Message::parse(raw)));
        let read = DeliveryReport::of(&Message::parse(text.as_bytes())).unwrap();
        assert_eq!(read.outcomes, [("rfc822;b@y.example".to_owned(), "failed")].into());
        assert_eq!(
            compose(&submission, &[Some(RecipientOutcome::Sent), None, None], "me@x.example", UnixTime(0)),
            None
        );
    }

    #[test]
    fn a_header_beyond_ascii_is_encoded() {
        let asked = SendmailArgs { recipients: vec!["a@y.example".into()], ..SendmailArgs::default() };
        let here = LocalHost { now: UnixTime(0), own: None, random: [1; 16] };
        let long = "ö".repeat(100);
        let raw = format!("Message-ID: <1@x>\nFrom: Zoë <me@x.example>\nSubject: {long}\n =_report\nDate: d\n\nbody\n");
        let submission = Submission::prepare(raw.as_bytes(), &asked, &here).unwrap();
        let ends = [Some(RecipientOutcome::Refused(69, "no".into()))];
        let text = compose(&submission, &ends, "me@x.example", UnixTime(0)).unwrap();
        assert!(text.is_ascii() && text.lines().all(|line| line.len() <= 998), "{text}");
        let (_, part) = text.split_once("Content-Type: text/rfc822-headers").unwrap();
        let (head, part) = part.split_once("\n\n").unwrap();
        assert_eq!(head, "; charset=utf-8\nContent-Transfer-Encoding: quoted-printable");
        let encoded = part.split_once("\n\n--=_report--").unwrap().0;
        let decoded = quoted_printable::decode(encoded, quoted_printable::ParseMode::Robust).unwrap();
        let decoded = String::from_utf8(decoded).unwrap().replace("\r\n", "\n");
        assert!(raw.starts_with(&decoded), "{decoded}");
    }
}
