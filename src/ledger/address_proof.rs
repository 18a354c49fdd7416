//! Proof of address ownership: a code is mailed to the address, or to the postmaster of a domain. An account that
//! returns the code reads the mail there. The operator can also assign an address.
//!
//! An address or a domain has one owner at a time; the latest proof wins. Mail goes to a server by SMTP, with a null
//! sender, so that no bounce comes back. sendmail(8) would not do: the one of Postfix is setgid, and a service with
//! NoNewPrivileges gets no group.

use super::error::LedgerError;
use super::rejection::Rejection;
use crate::accounting::hash::Hash;
use crate::message::address::{Address, AddressError, canonical_domain};
use crate::message::header::{escape_untrusted, fold};
use crate::net::smtp::{self, HandOverError};
use crate::time::UnixTime;
use std::time::Duration;

/// Characters of a code with its hyphen: 40 bits, and five attempts.
pub(super) const CODE_LENGTH: usize = 9;

/// Top-level domains outside of the public DNS (RFC 2606, RFC 6761, RFC 6762, RFC 8375), but those of documentation.
const LOCAL: [&str; 9] =
    ["local", "localhost", "localdomain", "internal", "intranet", "lan", "invalid", "onion", "arpa"];

/// Mail server that takes the codes.
#[derive(Clone, Debug)]
pub struct MailServer {
    /// Its host and port, as in `127.0.0.1:25`.
    pub address: String,
    /// Timeout of each answer.
    pub timeout: Duration,
}

/// Returns an address or a domain in the form in which the ledger keeps it: [`Address::normalized`], or the canonical
/// domain.
///
/// # Errors
/// [`AddressError`] when the text is neither.
pub fn subject(text: &str) -> Result<String, AddressError> {
    if text.contains('@') { Address::parse(text).map(|address| address.normalized()) } else { canonical_domain(text) }
}

/// Returns the hash of a code. Case, spaces and hyphens do not count.
pub(super) fn code_hash(code: &str) -> Hash {
    let plain: String = code.chars().filter(|c| c.is_ascii_alphanumeric()).collect();
    Hash::of(plain.to_ascii_uppercase().as_bytes())
}

/// Returns the recipient of a code for an address or a domain.
pub(super) fn recipient(owned: &str) -> Result<Address, AddressError> {
    let owned = subject(owned)?;
    Address::parse(&if owned.contains('@') { owned } else { format!("postmaster@{owned}") })
}

/// Returns the recipient of a code for an address or a domain, if mail may go there: to a domain of the public DNS.
pub(super) fn mailable(owned: &str) -> Result<Address, MailRefused> {
    let to = recipient(owned)?;
    let last = to.domain().rsplit('.').next().unwrap_or_default();
    if to.domain().starts_with('[') || last.bytes().all(|b| b.is_ascii_digit()) {
        Err(MailRefused::Literal)
    } else if !to.domain().contains('.') || LOCAL.contains(&last) {
        Err(MailRefused::Local)
    } else {
        Ok(to)
    }
}

/// Reason why no code is mailed to an address.
#[derive(Debug, thiserror::Error)]
pub(super) enum MailRefused {
    #[error(transparent)]
    Address(#[from] AddressError),
    /// It would reach hosts that others do not (RFC 5321 section 4.1.3).
    #[error("a domain, not the number of a host")]
    Literal,
    #[error("a domain of the public DNS")]
    Local,
}

/// Message with a code.
#[derive(Debug)]
pub(super) struct VerificationMail {
    to: Address,
    text: String,
}

/// Builds the message with a code.
pub(super) fn verification_mail(
    vendor: &str,
    owned: &str,
    code: &str,
    id: &str,
    now: UnixTime,
) -> Result<VerificationMail, LedgerError> {
    let wrong = |error: AddressError| Rejection::Form { what: "address or domain".into(), wanted: error.to_string() };
    let to = recipient(owned).map_err(wrong)?;
    let owned = subject(owned).map_err(wrong)?;
    let owned = escape_untrusted(owned.as_bytes(), 400);
    let subject = format!("{code} is the code for {owned}");
    let body = format!(
        "The holder of an account with {vendor}, a vendor of digital stamps, states\nthat they receive the mail for \
         {owned}\nand would like to be credited for the stamps on it. If that is you, enter this\ncode in your \
         account within a day:\n\n    {code}\n\nOtherwise, keep the code to yourself. It proves the address for any account.\n"
    );
    Ok(VerificationMail::new(vendor, to, &subject, &body, id, now))
}

impl VerificationMail {
    /// Builds a message of this vendor; `subject` and `body` have no text of others that is not escaped.
    pub(super) fn new(vendor: &str, to: Address, subject: &str, body: &str, id: &str, now: UnixTime) -> Self {
        let safe = |value: &str| escape_untrusted(value.as_bytes(), 400);
        let mut text = String::new();
        for (name, value) in [
            ("From", format!("<postmaster@{}>", safe(vendor))),
            ("To", format!("<{}>", safe(&to.to_string()))),
            ("Subject", subject.to_owned()),
            ("Date", now.to_rfc5322()),
            ("Message-ID", format!("<{id}@{}>", safe(vendor))),
            ("Auto-Submitted", "auto-generated".to_owned()),
            ("MIME-Version", "1.0".to_owned()),
            ("Content-Type", "text/plain; charset=us-ascii".to_owned()),
        ] {
            text.push_str(&fold(name, &value, "\n"));
        }
        text.push('\n');
        text.push_str(body);
        Self { to, text }
    }

    pub(super) fn send(&self, server: &MailServer) -> Result<(), HandOverError> {
        smtp::hand_over(&server.address, &self.to.to_string(), &self.text, server.timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_goes_to_the_address_or_to_the_postmaster() {
        let now = UnixTime(1_795_262_400);
        let letter = |owned: &str| verification_mail("stamps.example", owned, "ABCD-EFGH", "ID", now).unwrap();
        assert_eq!(letter("Joe@X.example").to.to_string(), "joe@x.example");
        assert_eq!(letter("x.example").to.to_string(), "postmaster@x.example");
        let text = letter("x.example").text;
        assert!(text.contains("\nAuto-Submitted: auto-generated\n"), "{text}");
        assert!(text.contains("\nDate: Sat, 21 Nov 2026 12:00:00 +0000\n"), "{text}");
        assert!(text.contains("\nMessage-ID: <ID@stamps.example>\n"), "{text}");
        assert!(text.contains("\n\n    ABCD-EFGH\n\n"), "{text}");
        assert!(super::verification_mail("stamps.example", "not an address @", "A", "ID", now).is_err());
    }

    #[test]
    fn no_code_goes_to_a_host_of_the_local_network() {
        assert!(mailable("joe@x.example").is_ok() && mailable("joe@127.example").is_ok());
        for wrong in ["joe@[127.0.0.1]", "joe@127.0.0.1", "joe@10.1", "joe@localhost", "joe@host.local"] {
            assert!(mailable(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_code_is_known_however_it_is_typed() {
        assert_eq!(code_hash("abcd efgh"), code_hash("ABCD-EFGH"));
        assert_ne!(code_hash("abcd-efgi"), code_hash("ABCD-EFGH"));
    }
}
