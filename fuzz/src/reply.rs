//! Automatic replies: the user's template, and the message that may be answered. The input is a message; or, before a
//! NUL, a template, and the message behind it. A reply goes only to the return path, its header has the fields that we
//! write and no other, and none of its lines is too long.

use super::{MAILBOXES, NOW};
use mailstamp::autoreply::compose::{ReplySettings, compose};
use mailstamp::autoreply::detect::OUR_FIELD;
use mailstamp::autoreply::eligibility::{Facts, Kind, Policy, check_eligibility};
use mailstamp::autoreply::return_path::is_plain;
use mailstamp::autoreply::template::{Template, Values};
use mailstamp::message::address::Address;
use mailstamp::message::parse::Message;
use mailstamp::policy::action::Action;
use mailstamp::policy::decision::Decision;
use mailstamp::store::memory::Memory;
use mailstamp::verdict::facts::Envelope;

const FIELDS: [&str; 13] = [
    "From",
    "To",
    "Date",
    "Message-ID",
    "In-Reply-To",
    "References",
    "Auto-Submitted",
    OUR_FIELD,
    "X-Auto-Response-Suppress",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "Subject",
];

/// Checks one input.
pub fn run(input: &[u8]) {
    let (template, raw) = if input.contains(&0) { super::two(input) } else { (&b""[..], input) };
    let template = std::str::from_utf8(template).ok().and_then(|text| Template::parse(text).ok());
    let template = template.unwrap_or_else(|| Template::default_of(Kind::Challenge));
    assert!(template.fill(&Values::default()).ends_with('\n'));

    let message = Message::parse(raw);
    let Some(verdict) = super::judge(&message, &Memory::new()) else { return };
    let decision = Decision { verdict, rule: None, action: Action::Challenge };
    let policy = Policy { challenge: true, compromised: true, require_authentication: false };
    let facts = Facts { mailboxes: &MAILBOXES, policy, genuine: &|_| true };
    let Ok(due) = check_eligibility(&message, &Envelope::default(), &decision, &facts) else { return };
    assert!(is_plain(&due.sender.address) && is_plain(&due.mine));
    assert!(MAILBOXES[0].pattern.matches(&due.mine) && !MAILBOXES[0].pattern.matches(&due.sender.address));
    let path = message.first("Return-Path").expect("no reply without a return path").unfolded();
    let path = String::from_utf8_lossy(&path);
    let path = path.trim().trim_start_matches('<').trim_end_matches('>').trim();
    assert_eq!(Address::parse(path).as_ref(), Ok(&due.sender.address));

    let stationery =
        ReplySettings { template: &template, from: None, values: Values::default(), now: NOW, nonce: [3; 16] };
    let letter = compose(&due, &message, stationery);
    assert_eq!(letter.to, due.sender.address);
    let reply = Message::parse(letter.text.as_bytes());
    assert!(reply.header().is_ascii() && reply.has_body() && !letter.text.contains('\r'));
    let mut seen = Vec::new();
    for field in reply.fields() {
        let name = FIELDS.iter().position(|name| field.name_is(name));
        let name = name.unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(field.raw())));
        assert!(!seen.contains(&name));
        seen.push(name);
    }
    let fields: usize = reply.fields().map(|field| field.raw().len()).sum();
    assert_eq!(fields, reply.header().len());
    assert!(letter.text.lines().all(|line| line.len() <= 998));
    assert_eq!(reply.authors(), [due.mine]);
}
