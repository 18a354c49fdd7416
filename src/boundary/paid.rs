//! Results of messages that were paid for with eMstamp. The token is no part of the message, so a sealed class field
//! tells the hosts behind the gateway that the recipient was paid for ([`seal`]).

use super::seal::{self, NAMED, Visible};
use crate::message::address::{Address, LocalCase};
use crate::message::fingerprint::Fingerprint;
use crate::message::header::fold;
use crate::message::parse::Message;
use crate::message::result_headers::CLASS_FIELD;
use crate::stamp::serial::Serial;
use crate::stamp::signing::SecretKey;
use crate::stamp::token::Issuer;
use crate::time::UnixTime;
use crate::verdict::reason::Reason;

/// A recipient who was paid for.
#[derive(Clone, Copy, Debug)]
pub struct Paid<'a> {
    pub recipient: &'a Address,
    /// Agency and licence.
    pub license: &'a Issuer,
    /// The ID that was paid.
    pub id: &'a Serial,
    pub credits: u64,
}

/// Who seals.
#[derive(Clone, Copy, Debug)]
pub struct Sealer<'a> {
    /// The name under which other hosts trust the key.
    pub host: &'a str,
    pub key: &'a SecretKey,
}

/// Returns a class field for each of these recipients, with CRLF at the ends of lines, to be put on top of the message.
///
/// A recipient who does not stand in To or Cc is named only where `is_alone` says that this copy goes to no other. Of
/// the others, the first [`NAMED`] have fields.
#[must_use]
pub fn fields(
    message: &Message<'_>,
    paid: &[Paid<'_>],
    is_alone: bool,
    case: LocalCase,
    sealer: Sealer<'_>,
    now: UnixTime,
) -> String {
    let mut visible = Visible::of(message, case);
    if let ([only], true) = (paid, is_alone) {
        visible.add(only.recipient);
    }
    let named = paid.iter().filter_map(|paid| Some((paid, visible.name(paid.recipient)?))).take(NAMED);
    let mut fingerprint = None;
    let field = |(Paid { license, id, credits, .. }, name): (&Paid<'_>, String)| {
        let fingerprint = fingerprint.get_or_insert_with(|| Fingerprint::of_broken(message));
        let (reason, vendor, key) = (Reason::Paid, license.vendor(), license.key_id());
        let class = reason.class();
        let result = format!("{class}; reason={reason}; vendor={vendor}; key={key}; serial={id}; value={credits}");
        fold(CLASS_FIELD, &seal::write(&result, sealer.host, &[name], now, fingerprint, sealer.key), "\r\n")
    };
    named.map(field).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boundary::seal::sealed_fields;

    const MESSAGE: &str = "From: ann@y.example\r\nTo: alice@x.example, bob@x.example\r\n\r\ntext\r\n";

    fn sealed(recipients: &[&str], is_alone: bool) -> Vec<(String, u64, String)> {
        let key = SecretKey::from_random(&[3; 32]);
        let license = Issuer::new("agency.example", "m0011223344556677").unwrap();
        let id = Serial::new("anID").unwrap();
        let recipients: Vec<Address> = recipients.iter().map(|it| Address::parse(it).unwrap()).collect();
        let paid = recipients.iter().enumerate();
        let paid: Vec<Paid<'_>> = paid
            .map(|(at, recipient)| Paid { recipient, license: &license, id: &id, credits: at as u64 + 3 })
            .collect();
        let sealer = Sealer { host: "mx.x.example", key: &key };
        let message = Message::parse(MESSAGE.as_bytes());
        let top = fields(&message, &paid, is_alone, LocalCase::Fold, sealer, UnixTime(1_000_000));
        // As it comes behind the inner server: with a trace field on top, and LF.
        let raw = format!("Received: by x\n{top}{MESSAGE}").replace("\r\n", "\n");
        let message = Message::parse(raw.as_bytes());
        let fingerprint = Fingerprint::of_broken(&message);
        let read = sealed_fields(&message).map(|(_, seal)| {
            assert!(seal.holds(&key.public(), &fingerprint));
            assert_eq!((seal.host.as_str(), seal.reason), ("mx.x.example", Reason::Paid));
            assert_eq!(seal.vendor.as_deref(), Some("agency.example"));
            let id = seal.serial.map(|id| id.to_string()).unwrap_or_default();
            (seal.recipients.iter().map(ToString::to_string).collect::<String>(), seal.value.unwrap_or(0), id)
        });
        read.collect()
    }

    #[test]
    fn each_recipient_has_a_result_of_their_own() {
        let of = |name: &str, credits| (name.to_owned(), credits, "anID".to_owned());
        let both = sealed(&["alice@x.example", "Bob@X.example"], false);
        assert_eq!(both, [of("alice@x.example", 3), of("bob@x.example", 4)]);
        assert_eq!(sealed(&[], true), []);
    }

    // Threat: To and Cc say less than the envelope.
    #[test]
    fn a_blind_copy_is_named_to_nobody_else() {
        assert_eq!(sealed(&["carol@x.example"], false), []);
        assert_eq!(sealed(&["carol@x.example", "alice@x.example"], true).len(), 1);
        assert_eq!(sealed(&["carol@x.example"], true).len(), 1);
    }

    #[test]
    fn no_more_fields_are_written_than_read() {
        let recipients = ["alice@x.example"; 30];
        assert_eq!(sealed(&recipients, false).len(), NAMED);
    }
}
