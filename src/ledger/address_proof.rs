//! Proof of address ownership: a code is mailed to the address, or to the postmaster of a domain. An account that
//! returns the code reads the mail there. The operator can also assign an address.
//!
//! An address or a domain has one owner at a time; the latest proof wins. Mail goes through sendmail(8) with a null
//! sender, so that no bounce comes back.

use super::error::LedgerError;
use super::rejection::Rejection;
use crate::accounting::hash::Hash;
use crate::message::address::{Address, AddressError, canonical_domain};
use crate::message::header::{escape_untrusted, fold};
use crate::net::sendmail::{self, SendError};
use crate::time::UnixTime;
use std::path::Path;
use std::time::Duration;

/// Characters of a code with its hyphen: 40 bits, and five attempts.
pub(super) const CODE_LENGTH: usize = 9;

/// Top-level domains outside of the public DNS (RFC 2606, RFC 6761, RFC 6762, RFC 8375), but those of documentation.
const LOCAL: [&str; 9] =
    ["local", "localhost", "localdomain", "internal", "intranet", "lan", "invalid", "onion", "arpa"];

/// Timeout of sendmail(8).
const SENDMAIL_TIMEOUT: Duration = Duration::from_secs(60);

/// Returns an address or a domain in its canonical form.
///
/// # Errors
/// [`AddressError`] when the text is neither.
pub fn subject(text: &str) -> Result<String, AddressError> {
    if text.contains('@') { Address::parse(text).map(|address| address.canonical()) } else { canonical_domain(text) }
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
///
/// # Errors
/// [`MailRefused`].
pub(super) fn mailable(owned: &str) -> Result<Address, MailRefused> {
    let to = recipient(owned)?;
    let last = to.domain().rsplit('.').next().unwrap_or_default();
    if to.domain().starts_with('[') {
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
    now: UnixTime,
) -> Result<VerificationMail, LedgerError> {
    let wrong = |error: AddressError| Rejection::Form { what: "address or domain".into(), wanted: error.to_string() };
    let to = recipient(owned).map_err(wrong)?;
    let owned = subject(owned).map_err(wrong)?;
    let mut text = String::new();
    let safe = |value: &str| escape_untrusted(value.as_bytes(), 400);
    for (name, value) in [
        ("From", format!("<postmaster@{}>", safe(vendor))),
        ("To", format!("<{}>", safe(&to.to_string()))),
        ("Subject", format!("{code} is the code for {}", safe(&owned))),
        ("Date", now.to_rfc5322()),
        ("Auto-Submitted", "auto-generated".to_owned()),
        ("MIME-Version", "1.0".to_owned()),
        ("Content-Type", "text/plain; charset=us-ascii".to_owned()),
    ] {
        text.push_str(&fold(name, &value, "\n"));
    }
    let owned = safe(&owned);
    text.push_str(&format!(
        "\nThe holder of an account with {vendor}, a vendor of digital stamps, states\nthat they receive the mail for \
         {owned}\nand would like to be credited for the stamps on it. If that is you, enter this\ncode where you asked \
         for it, within a day:\n\n    {code}\n\nOtherwise, ignore this message.\n"
    ));
    Ok(VerificationMail { to, text })
}

impl VerificationMail {
    /// Sends the message with a program that accepts the options of sendmail(8).
    pub(super) fn send(&self, program: &Path) -> Result<(), SendError> {
        sendmail::send(program, &self.to, &self.text, SENDMAIL_TIMEOUT)
    }
}

/// Converts an error of sendmail(8).
pub(super) fn not_sent(program: &Path, error: &SendError) -> LedgerError {
    let program = escape_untrusted(program.display().to_string().as_bytes(), 200);
    LedgerError::Mail { program, what: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_goes_to_the_address_or_to_the_postmaster() {
        let now = UnixTime(1_795_262_400);
        let letter = |owned: &str| verification_mail("stamps.example", owned, "ABCD-EFGH", now).unwrap();
        assert_eq!(letter("Joe@X.example").to.to_string(), "joe@x.example");
        assert_eq!(letter("x.example").to.to_string(), "postmaster@x.example");
        let text = letter("x.example").text;
        assert!(text.contains("\nAuto-Submitted: auto-generated\n"), "{text}");
        assert!(text.contains("\nDate: Sat, 21 Nov 2026 12:00:00 +0000\n"), "{text}");
        assert!(text.contains("\n\n    ABCD-EFGH\n\n"), "{text}");
        assert!(super::verification_mail("stamps.example", "not an address @", "A", now).is_err());
    }

    #[test]
    fn a_code_is_known_however_it_is_typed() {
        assert_eq!(code_hash("abcd efgh"), code_hash("ABCD-EFGH"));
        assert_ne!(code_hash("abcd-efgi"), code_hash("ABCD-EFGH"));
    }
}
