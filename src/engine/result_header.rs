//! Result fields and log entries of a verdict: the result field of a filtered message, the Authentication-Results
//! field, the syslog line, the entry of the verdict log. Every value from outside passes through one encoder.

use crate::config::Config;
use crate::log::verdict_log::Entry;
use crate::message::auth_results::{AUTHENTICATION_RESULTS, STAMP_METHOD};
use crate::message::edit::Edit;
use crate::message::header::{escape_untrusted, fold};
use crate::message::parse::Message;
use crate::message::result_headers::{self, CLASS_FIELD};
use crate::policy::decision::Decision;
use crate::time::UnixTime;
use crate::verdict::class::Class;
use crate::verdict::facts::Envelope;
use crate::verdict::finding::Verdict;
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// The longest value from outside that is shown, in characters.
pub const LONGEST: usize = 200;

/// The settings that show in the result fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderContext {
    /// The authserv-id of the Authentication-Results field, if one is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authserv_id: Option<String>,
    /// The hosts whose Authentication-Results fields stay in the trusted zone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trusted_authserv_ids: Vec<String>,
    /// Whether used serials are recorded.
    pub used_log: bool,
}

impl HeaderContext {
    /// As configured.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self {
            authserv_id: config.authserv_id.clone(),
            trusted_authserv_ids: config.trusted_authserv_ids.clone(),
            used_log: config.used_log,
        }
    }
}

/// Returns the message with its result fields on top: `Digital-Stamp-Class`, and `Authentication-Results` with an
/// `authserv_id`.
/// Fields of the message that could pass for them are removed. No other byte changes.
#[must_use]
pub fn with_result_headers<'a>(message: &Message<'a>, decision: &Decision, marks: &HeaderContext) -> Edit<'a> {
    let newline = message.newline();
    let mut fields = result_field(decision, marks.used_log, newline);
    if let Some(id) = &marks.authserv_id {
        fields.push_str(&authentication_results(&decision.verdict, id, newline));
    }
    let mut edit = without_result_headers(message, marks);
    edit.insert_top(fields);
    edit
}

/// Returns the message without the fields that could pass for result fields of ours. No other byte changes.
#[must_use]
pub fn without_result_headers<'a>(message: &Message<'a>, marks: &HeaderContext) -> Edit<'a> {
    let mut edit = Edit::new(message);
    for field in result_headers::result_fields(message, marks.authserv_id.as_deref(), &marks.trusted_authserv_ids) {
        edit.remove(&field);
    }
    edit
}

/// Returns the result field, folded, with its line end.
#[must_use]
pub fn result_field(decision: &Decision, used_log: bool, newline: &str) -> String {
    fold(CLASS_FIELD, &result(decision, used_log), newline)
}

/// Returns class, reason and what is known of the stamp, as parameters.
#[must_use]
pub fn result(decision: &Decision, used_log: bool) -> String {
    let verdict = &decision.verdict;
    let mut text = format!("{}; reason={}", verdict.class(), verdict.reason);
    let mut add = |name: &str, value: &str| {
        let _ = write!(text, "; {name}={}", escape_untrusted(value.as_bytes(), LONGEST));
    };
    if let Some(rule) = &decision.rule {
        add("rule", rule);
    }
    if let Some(stamp) = verdict.stamp() {
        for (name, value) in [("vendor", &stamp.vendor), ("key", &stamp.key_id)] {
            if let Some(value) = value {
                add(name, value);
            }
        }
        if let Some(serial) = &stamp.serial {
            add("serial", serial.as_str());
        }
        if let Some(value) = stamp.value {
            add("value", &value.to_string());
        }
    }
    if !used_log && verdict.class() == Class::FirstClass {
        add("reuse", "not-checked");
    }
    add("action", decision.action.as_str());
    text
}

/// Returns the Authentication-Results field (RFC 8601) for a site that writes such fields as `authserv_id`.
#[must_use]
pub fn authentication_results(verdict: &Verdict, authserv_id: &str, newline: &str) -> String {
    let result = match verdict.class() {
        Class::FirstClass => "pass",
        Class::Unstamped | Class::Allowed => "none",
        Class::Underpaid => "policy",
        Class::Unverified => "neutral",
        Class::Invalid | Class::Used | Class::Revoked => "fail",
    };
    let mut text = format!("{authserv_id}; {STAMP_METHOD}={result} reason=\"{}\"", verdict.reason);
    if let Some(vendor) = verdict.stamp().and_then(|stamp| stamp.vendor.as_deref()) {
        let vendor = escape_untrusted(vendor.as_bytes(), LONGEST);
        let is_token = vendor.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
        let quoted = || format!("\"{}\"", vendor.replace('\\', "\\\\").replace('"', "\\\""));
        let _ = write!(text, " header.vendor={}", if is_token { vendor.clone() } else { quoted() });
    }
    fold(AUTHENTICATION_RESULTS, &text, newline)
}

/// Returns the entry for the verdict log.
#[must_use]
pub fn entry(decision: &Decision, message: &Message<'_>, envelope: &Envelope, now: UnixTime) -> Entry {
    let shown = |text: &str| escape_untrusted(text.as_bytes(), LONGEST);
    let verdict = &decision.verdict;
    let stamp = verdict.stamp();
    let sender = message.authors().into_iter().next();
    Entry {
        time: now.to_string(),
        class: verdict.class().to_string(),
        reason: verdict.reason.to_string(),
        rule: decision.rule.as_deref().map(shown),
        action: Some(decision.action.to_string()),
        event: None,
        reply: None,
        folder: None,
        held: None,
        vendor: stamp.and_then(|stamp| stamp.vendor.as_deref()).map(shown),
        serial: stamp.and_then(|stamp| stamp.serial.as_ref()).map(|serial| shown(serial.as_str())),
        value: stamp.and_then(|stamp| stamp.value),
        boundary: verdict.boundary.as_ref().map(|boundary| shown(&boundary.host)),
        from: sender.map(|sender| shown(&sender.to_string())),
        sender: envelope.sender.as_deref().map(shown),
        message_id: message.first("Message-ID").map(|field| escape_untrusted(field.unfolded().trim_ascii(), LONGEST)),
        recipient: envelope.recipient.as_ref().map(|recipient| shown(&recipient.to_string())),
    }
}

/// Returns the syslog line: the entry's members as `name=value`, without the time, which syslog adds.
#[must_use]
pub fn line(entry: &Entry) -> String {
    let value = entry.value.map(|value| value.to_string());
    let members = [
        ("class", Some(entry.class.as_str())),
        ("reason", Some(entry.reason.as_str())),
        ("rule", entry.rule.as_deref()),
        ("action", entry.action.as_deref()),
        ("event", entry.event.as_deref()),
        ("reply", entry.reply.as_deref()),
        ("folder", entry.folder.as_deref()),
        ("held", entry.held.as_deref()),
        ("vendor", entry.vendor.as_deref()),
        ("serial", entry.serial.as_deref()),
        ("value", value.as_deref()),
        ("boundary", entry.boundary.as_deref()),
        ("from", entry.from.as_deref()),
        ("sender", entry.sender.as_deref()),
        ("msgid", entry.message_id.as_deref()),
        ("rcpt", entry.recipient.as_deref()),
    ];
    let members = members.iter().filter_map(|(name, value)| value.map(|value| format!("{name}={value}")));
    members.collect::<Vec<_>>().join(" ")
}
