//! Recipients of the organisation: which of a message's recipients are judged, and as which address.
//!
//! Mail systems accept more spellings of an address than this program reads, and no spelling may evade the judgement.
//! So only a recipient of another domain is left out.

use super::session::Recipient;
use crate::message::address::Address;
use crate::verdict::facts::Mailbox;

/// Returns the address as which a recipient is judged; `None` for a recipient of another domain.
///
/// A recipient that is no address, or has no domain, is judged as an address that no stamp names.
#[must_use]
pub fn judged_as(recipient: &Recipient, mailboxes: &[Mailbox]) -> Option<Address> {
    let Some(address) = address(recipient) else { return Address::parse("unknown@invalid").ok() };
    let is_ours = |mailbox: &Mailbox| {
        mailbox.pattern.matches(&address) || mailbox.pattern.domain().is_some_and(|domain| domain == address.domain())
    };
    // A literal may be this host.
    (address.domain().starts_with('[') || mailboxes.iter().any(is_ours)).then_some(address)
}

/// Returns the address of a recipient, as far as it is one.
#[must_use]
pub fn address(recipient: &Recipient) -> Option<Address> {
    recipient.resolved.iter().chain([&recipient.given]).find_map(|text| parse(text))
}

/// Returns what stands between the angle brackets, without a route (RFC 5321 appendix C).
#[must_use]
pub fn without_brackets(text: &[u8]) -> &[u8] {
    let text = text.strip_prefix(b"<").map_or(text, |text| text.strip_suffix(b">").unwrap_or(text));
    match text.first() {
        Some(b'@') => memchr::memchr(b':', text).and_then(|colon| text.get(colon + 1..)).unwrap_or(text),
        _ => text,
    }
}

/// Returns the address between the angle brackets, as far as it is one.
#[must_use]
pub fn parse(text: &[u8]) -> Option<Address> {
    Address::parse(std::str::from_utf8(without_brackets(text)).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::address::Pattern;

    #[test]
    fn no_spelling_of_an_own_address_evades_the_judgement() {
        let mailboxes = ["*@x.example", "alice@w.example", "/@(a|b)\\.example$/"].map(|pattern| Mailbox {
            pattern: Pattern::parse(pattern).unwrap(),
            price: 1,
            owner: None,
        });
        let judged = |given: &str, resolved: Option<&str>| {
            let resolved = resolved.map(|text| text.as_bytes().to_vec());
            let recipient = Recipient { given: given.as_bytes().to_vec(), resolved };
            judged_as(&recipient, &mailboxes).map(|address| address.to_string())
        };
        for (given, address) in [
            ("<alice@x.example>", "alice@x.example"),
            ("alice@X.EXAMPLE.", "alice@x.example"),
            ("<\"alice\"@x.example>", "alice@x.example"),
            ("<@relay.example,@b:alice@x.example>", "alice@x.example"),
            ("<carol%y.example@x.example>", "carol%y.example@x.example"),
            ("<bob@w.example>", "bob@w.example"),
            ("<bob@a.example>", "bob@a.example"),
            ("<alice@[192.0.2.1]>", "alice@[192.0.2.1]"),
            ("<alice>", "unknown@invalid"),
            ("<postmaster>", "unknown@invalid"),
            ("<@x.example>", "unknown@invalid"),
            ("<\u{202e}@x.example>", "unknown@invalid"),
            ("", "unknown@invalid"),
        ] {
            assert_eq!(judged(given, None).as_deref(), Some(address), "{given}");
        }
        assert_eq!(judged("<alice>", Some("alice@x.example")).as_deref(), Some("alice@x.example"));
        // sendmail gives a local user.
        assert_eq!(judged("<alice@x.example>", Some("alice")).as_deref(), Some("alice@x.example"));
        assert_eq!(judged("<bob@y.example>", None), None);
        assert_eq!(judged("<bob@in.x.example>", None), None);
    }
}
