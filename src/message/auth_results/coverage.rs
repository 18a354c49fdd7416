//! Coverage of a DKIM signature that a trusted host verified: the fields that it names (RFC 6376 section 3.5). The
//! signature itself is not verified here. The host's result says which of the message's signatures passed, by
//! `header.d` and `header.b` (RFC 6008).

use super::{Outcome, is_plain};
use crate::message::parse::Message;
use std::collections::BTreeMap;

/// The header field of a signature.
const SIGNATURE: &str = "DKIM-Signature";
/// Signatures of a message that are read.
const SIGNATURES: usize = 16;
/// Longest signature that is read, in bytes.
const LONGEST: usize = 16 * 1024;
/// Fewest characters of a signature that identify it (RFC 6008 section 4).
const PREFIX: usize = 8;

/// Returns whether a DKIM signature of `domain`, or of a domain above it, passed.
#[must_use]
pub fn is_signed(outcomes: &[Outcome], domain: &str) -> bool {
    passed(outcomes, domain).next().is_some()
}

/// Returns whether such a signature covers the whole body and each field of `names`.
///
/// The result must say which signature it is about, and only one signature may fit. In a signature, a name covers the
/// lowest field of that name, so the caller must make sure that there is one only.
#[must_use]
pub fn covers(message: &Message<'_>, outcomes: &[Outcome], domain: &str, names: &[&str]) -> bool {
    let signatures: Vec<Signature> = message
        .fields()
        .filter(|field| field.name_is(SIGNATURE))
        .take(SIGNATURES)
        .filter(|field| is_plain(field, SIGNATURE) && field.value().len() <= LONGEST)
        .filter_map(|field| Signature::parse(&field.unfolded()))
        .collect();
    passed(outcomes, domain).any(|outcome| {
        let Some((of, prefix)) = outcome.property("header.d").zip(outcome.property("header.b")) else { return false };
        let mut same = signatures.iter().filter(|own| own.domain.eq_ignore_ascii_case(of) && own.begins(prefix));
        same.next().is_some_and(|own| same.next().is_none() && own.is_whole && own.names_all(names))
    })
}

fn passed<'a>(outcomes: &'a [Outcome], domain: &'a str) -> impl Iterator<Item = &'a Outcome> {
    outcomes.iter().filter(move |outcome| outcome.method == "dkim" && outcome.passes_for(domain))
}

/// What counts of a signature.
struct Signature {
    domain: String,
    signature: String,
    /// In lower case.
    fields: Vec<String>,
    /// Whether it covers the body to its end.
    is_whole: bool,
}

impl Signature {
    /// Parses a list of tags (RFC 6376 section 3.2). `None` if one is there twice, or if one that counts is missing.
    fn parse(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        let mut tags = BTreeMap::new();
        for tag in text.split(';').map(str::trim).filter(|tag| !tag.is_empty()) {
            let (name, value) = tag.split_once('=')?;
            let value: String = value.split_ascii_whitespace().collect();
            if tags.insert(name.trim_end(), value).is_some() {
                return None;
            }
        }
        let is_whole = !tags.contains_key("l");
        let fields = tags.remove("h")?.split(':').map(str::to_ascii_lowercase).collect();
        Some(Self { domain: tags.remove("d")?, signature: tags.remove("b")?, fields, is_whole })
    }

    fn begins(&self, prefix: &str) -> bool {
        prefix.len() >= PREFIX && self.signature.starts_with(prefix)
    }

    fn names_all(&self, names: &[&str]) -> bool {
        names.iter().all(|name| self.fields.iter().any(|own| own.eq_ignore_ascii_case(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::outcomes;
    use super::*;

    const NAMES: [&str; 2] = ["From", "Digital-Stamp-Key"];
    const RESULT: &str = "dkim=pass header.d=y.example header.b=\"AbCd/efg\"";
    const SIGNED: &str = "DKIM-Signature: v=1; a=rsa-sha256; d=y.example; s=x; h=from:to:\n digital-stamp-key; \
                          bh=xx=; b=AbCd/\n efghij==";

    fn covered(result: &str, signatures: &str) -> bool {
        let raw = format!("Authentication-Results: mx.x.example; {result}\n{signatures}\nFrom: bob@y.example\n\n");
        let message = Message::parse(raw.as_bytes());
        let outcomes = outcomes(&message, &["mx.x.example".to_owned()]);
        covers(&message, &outcomes, "y.example", &NAMES)
    }

    #[test]
    fn a_signature_covers_what_it_names() {
        assert!(covered(RESULT, SIGNED));
        assert!(covered(RESULT, &SIGNED.replace("from:to", "FROM : To")));
        assert!(covered(&RESULT.replace('"', ""), SIGNED));
        assert!(covered(&RESULT.replace("y.example", "Y.example"), &SIGNED.replace("y.example", "y.Example")));
        let other = SIGNED.replace("AbCd", "XbCd").replace(":\n digital-stamp-key", "");
        assert!(covered(RESULT, &format!("{other}\n{SIGNED}")));
        for (result, signatures) in [
            (RESULT.to_owned(), SIGNED.replace(":\n digital-stamp-key", "")),
            (RESULT.to_owned(), SIGNED.replace("from:", "")),
            (RESULT.to_owned(), SIGNED.replace("s=x", "s=x; l=10")),
            (RESULT.to_owned(), SIGNED.replace("s=x", "s=x; d=y.example")),
            (RESULT.to_owned(), SIGNED.replace("d=y.example", "d=z.example")),
            (RESULT.to_owned(), SIGNED.replace("AbCd", "abCd")),
            (RESULT.to_owned(), format!("{SIGNED}\n{SIGNED}")),
            (RESULT.to_owned(), String::from("X: y")),
            (RESULT.replace("pass", "fail"), SIGNED.to_owned()),
            (RESULT.replace("AbCd/efg", "AbCd/ef"), SIGNED.to_owned()),
            (RESULT.replace(" header.b=\"AbCd/efg\"", ""), SIGNED.to_owned()),
            (RESULT.replace("y.example", "z.example"), SIGNED.to_owned()),
            ("dmarc=pass header.from=y.example".to_owned(), SIGNED.to_owned()),
            ("spf=pass smtp.mailfrom=y.example".to_owned(), SIGNED.to_owned()),
        ] {
            assert!(!covered(&result, &signatures), "{result} {signatures}");
        }
    }

    #[test]
    fn only_a_signature_of_the_domain_counts_as_signed() {
        let signed = |result: &str, domain: &str| {
            let raw = format!("Authentication-Results: mx.x.example; {result}\nFrom: bob@y.example\n\n");
            let message = Message::parse(raw.as_bytes());
            is_signed(&outcomes(&message, &["mx.x.example".to_owned()]), domain)
        };
        assert!(signed(RESULT, "y.example") && signed(RESULT, "mail.y.example"));
        assert!(!signed(RESULT, "x.example"));
        assert!(!signed("dmarc=pass header.from=y.example; spf=pass smtp.mailfrom=y.example", "y.example"));
    }
}
