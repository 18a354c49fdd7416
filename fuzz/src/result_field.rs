//! The filtered message: whatever could pass for a result of ours is gone, ours stands on top, a second pass changes
//! nothing else, and no other byte is touched.

use mailstamp::engine::result_header::{HeaderContext, with_result_headers};
use mailstamp::message::auth_results::AUTHENTICATION_RESULTS;
use mailstamp::message::edit::Edit;
use mailstamp::message::parse::Message;
use mailstamp::message::result_headers::{CLASS_FIELD, result_fields};
use mailstamp::policy::action::Action;
use mailstamp::policy::decision::Decision;
use mailstamp::store::memory::Memory;
use std::sync::LazyLock;

const ID: &str = "mx.example";

static MARKS: LazyLock<HeaderContext> = LazyLock::new(|| HeaderContext {
    authserv_id: Some(ID.to_owned()),
    trusted_authserv_ids: Vec::new(),
    used_log: true,
});

/// Checks one input.
pub fn run(raw: &[u8]) {
    let message = Message::parse(raw);
    let Some(verdict) = super::judge(&message, &Memory::new()) else { return };
    let decision = Decision { verdict, rule: None, action: Action::Deliver };
    let out = with_result_headers(&message, &decision, &MARKS).to_vec();

    let filtered = Message::parse(&out);
    let ours: Vec<_> = result_fields(&filtered, Some(ID), &[]).collect();
    assert_eq!(ours.len(), 2, "{}", String::from_utf8_lossy(&out));
    assert!(ours[0].name_is(CLASS_FIELD) && ours[1].name_is(AUTHENTICATION_RESULTS));
    let reason = format!("reason={}", decision.verdict.reason);
    assert!(String::from_utf8_lossy(&ours[0].unfolded()).contains(&reason));
    assert_eq!(forged(&out), 1);

    // Without our fields, this is the message as it came, without the fields that imitated ours.
    assert_eq!(bare(&out), bare(raw));
    let again = with_result_headers(&filtered, &decision, &MARKS).to_vec();
    assert_eq!(bare(&again), bare(&out));
    assert_eq!(filtered.body(), message.body());
    assert_eq!(filtered.envelope_line(), message.envelope_line());
}

fn bare(raw: &[u8]) -> Vec<u8> {
    let message = Message::parse(raw);
    let mut edit = Edit::new(&message);
    result_fields(&message, Some(ID), &[]).for_each(|field| edit.remove(&field));
    edit.to_vec()
}

/// How many lines of the header, ended by LF or by a lone CR, begin with the name of our field, case and invisible
/// characters in it aside: what a forgiving reader would take for it.
fn forged(raw: &[u8]) -> usize {
    let header = Message::parse(raw).header();
    let lines = header.split(|b| matches!(b, b'\r' | b'\n')).filter(|line| !line.starts_with(b" "));
    let named = lines.filter(|line| {
        let Some(colon) = line.iter().position(|&b| b == b':') else { return false };
        let name: Vec<u8> = line[..colon].iter().copied().filter(u8::is_ascii_graphic).collect();
        !line.starts_with(b"\t") && name.eq_ignore_ascii_case(CLASS_FIELD.as_bytes())
    });
    named.count()
}
