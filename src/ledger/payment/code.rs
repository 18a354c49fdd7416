//! Payment by a code that is mailed to the visitor, for browsers that cannot work: a stamp without value.
//!
//! - A code is a hash of a secret, the address, the purchase and the day. Nothing but the count of it is stored.
//! - It is valid on the day (UTC) on which it was mailed and on the next, for its purchase alone.
//! - It is counted before it is mailed: once a day for an address without its detail and dots.

use super::{Begun, Completion, Due, Paid, Payment, PaymentError, Refund};
use crate::accounting::work::Gift;
use crate::ledger::address_proof::{MailServer, VerificationMail};
use crate::ledger::error::LedgerError;
use crate::ledger::handle::Ledger;
use crate::ledger::ops;
use crate::ledger::payment;
use crate::message::address::Address;
use crate::message::header::escape_untrusted;
use crate::net::smtp::HandOverError;
use crate::time::UnixTime;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

const DAY: i64 = 86_400;
/// Characters of a code without its hyphens: 60 bits.
const LENGTH: usize = 12;

/// Payment by mailed codes. Evidence is `address code`.
#[derive(Debug)]
pub struct MailedCodes<'a> {
    pub ledger: &'a Ledger,
    pub server: &'a MailServer,
    /// The secret of the service.
    pub secret: &'a [u8; 32],
}

impl MailedCodes<'_> {
    /// Returns the code of an address for a purchase, as it is mailed on a day.
    fn code(&self, to: &Address, due: &Due, day: i64) -> Zeroizing<String> {
        let hash = Sha256::new().chain_update(self.secret).chain_update(*b"mailed code for a stamp without ");
        let hash = hash.chain_update(due.hash().0).chain_update(day.to_be_bytes());
        let hash = Zeroizing::new(<[u8; 32]>::from(hash.chain_update(Sha256::digest(to.canonical())).finalize()));
        let text = Zeroizing::new(data_encoding::BASE32_NOPAD.encode(&hash[..]));
        payment::in_groups(text.get(..LENGTH).unwrap_or_default())
    }
}

impl Payment for MailedCodes<'_> {
    fn begin(&self, due: &Due, contact: Option<&str>, now: UnixTime) -> Result<Begun, PaymentError> {
        let to = contact.and_then(|text| Address::parse(text.trim()).ok());
        let to = to.ok_or_else(|| PaymentError::Evidence("form", "This is not an address.".to_owned()))?;
        let name = to.to_string();
        self.ledger.run(ops::ReserveCode { to: name.clone() }, now)?;
        let code = self.code(&to, due, now.0.div_euclid(DAY));
        let (id, _) = payment::new_code()?;
        let mail = letter(self.ledger.vendor()?, &to, &due.order.recipient.to_string(), &code, &id, now);
        let Err(error) = mail.send(self.server) else { return Ok(Begun::Enter) };
        let unknown = matches!(error, HandOverError::Unknown(_));
        if !unknown {
            self.ledger.run(ops::ReleaseCode { to: name, at: now }, now)?;
        }
        Err(LedgerError::Mail { server: self.server.address.clone(), what: error.to_string(), unknown }.into())
    }

    fn complete(&self, due: &Due, evidence: &str, now: UnixTime) -> Result<Completion, PaymentError> {
        let wrong = || PaymentError::Evidence("wrong-code", "Not the code that was mailed.".to_owned());
        // A quoted local part may have spaces, too.
        let (to, code) = address_and_code(evidence.trim()).ok_or_else(wrong)?;
        let plain = |text: &str| {
            let letters = text.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_uppercase());
            // Comparing hashes leaks nothing about the code through time.
            Sha256::digest(Zeroizing::new(letters.collect::<String>()).as_bytes())
        };
        let day = now.0.div_euclid(DAY);
        let given = plain(code);
        if [day, day - 1].into_iter().any(|day| plain(&self.code(&to, due, day)) == given) {
            Ok(Completion::Paid(Paid::Given(Gift::Code)))
        } else {
            Err(wrong())
        }
    }

    fn refund(&self, _: &Due, _: &Paid) -> Refund {
        // The code stays valid for its purchase.
        Refund::NothingTaken
    }
}

/// Splits evidence at the first space behind an address.
fn address_and_code(evidence: &str) -> Option<(Address, &str)> {
    let mut spaces = evidence.match_indices(' ').map(|(at, _)| evidence.split_at(at));
    spaces.find_map(|(address, code)| Some((Address::parse(address).ok()?, code)))
}

/// Builds the message with a code.
fn letter(vendor: &str, to: &Address, recipient: &str, code: &str, id: &str, now: UnixTime) -> VerificationMail {
    let recipient = escape_untrusted(recipient.as_bytes(), 400);
    let body = format!(
        "A visitor of {vendor} asks for a digital stamp, to write to\n{recipient}. If that is you, enter this code on the \
         page that is\nstill open in your browser:\n\n    {code}\n\nOtherwise ignore this message. The next one comes in a \
         day at the earliest.\n"
    );
    let subject = format!("{code} is the code for your stamp");
    VerificationMail::new(vendor, to.clone(), &subject, &body, id, now)
}
