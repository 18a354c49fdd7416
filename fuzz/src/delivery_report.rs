//! A report about a message: what it names is bounded, and written again it is read alike.

use mailstamp::message::delivery_report::{DeliveryReport, is_report};
use mailstamp::message::parse::Message;

/// Checks one input.
pub fn run(raw: &[u8]) {
    let message = Message::parse(raw);
    let Some(report) = DeliveryReport::of(&message) else { return };
    assert!(is_report(&message) && (1..=1_000).contains(&report.outcomes.len()));
    let mut again = "Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\n\
                     Content-Type: message/delivery-status\n\nReporting-MTA: dns; x\n"
        .to_owned();
    if let Some(id) = &report.envelope_id {
        assert!(id.len() <= 1_000);
        // As xtext.
        let code = |byte: u8| if byte.is_ascii() { format!("+{byte:02X}") } else { String::new() };
        again += &format!("Original-Envelope-Id: {}\n", id.bytes().map(code).collect::<String>());
    }
    for (recipient, action) in &report.outcomes {
        assert!(!recipient.contains(char::is_whitespace));
        again += &format!("\nFinal-Recipient: {recipient}\nAction: {action}\n");
    }
    let read = DeliveryReport::of(&Message::parse(again.as_bytes()));
    // Codes of xtext are three times as long, and lower case may be longer.
    let is_short = report.envelope_id.as_ref().is_none_or(|id| id.is_ascii() && id.len() <= 300);
    if is_short && report.outcomes.iter().all(|(to, _)| to.is_ascii() && to.bytes().all(|it| (33..127).contains(&it))) {
        assert_eq!(read, Some(report));
    }
}
