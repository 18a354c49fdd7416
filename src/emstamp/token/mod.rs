//! Meter token: what pays for one message to one mailbox. It is a PASETO token as a stamp is, under a purpose of its
//! own, and its footer names an agency and one of the licences that the agency gave out.
//!
//! - The message is bound by its fingerprint, which the receiver checks when it has the message.
//! - Only the payee's account can clear the token, so a token that is copied on the way pays no other account.
//! - A payment is payer, mailbox and message (`accounting::meter`), whatever the ID: a receiver that takes a token and asks
//!   for another one gets one of them cleared.
//! - A token has two forms: text, as on the wire, and the bytes that this text encodes ([`to_bytes`]).
//!
//! Left out: what was used before, and how much a meter may owe (`server`).

use super::id::{IdError, IdKey, check};
use crate::message::address::Address;
use crate::message::fingerprint::Fingerprint;
use crate::stamp::claims::{ClaimError, Claims, ObjectWriter, TIME};
use crate::stamp::holder_proof::{HASH, read_hash};
use crate::stamp::serial::Serial;
use crate::stamp::signing::{PublicKey, SecretKey};
use crate::stamp::token::{Issuer, PAYLOAD_MAX, Purpose, Token, TokenError};
use crate::time::UnixTime;
use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;
use std::str::FromStr;

/// Longest time for which a licence may still count, in seconds: 7 days, and one for the clocks.
pub const LICENSE_MAX: i64 = 8 * 86_400;

/// The claims known here, which may be listed in `crit`.
const KNOWN: [&str; 6] = ["jti", "aud", "val", "msg", "exp", "payee"];
/// Bytes of a signature.
const SIGNATURE_LEN: usize = 64;
/// The first byte of the binary form: the version of PASETO.
const BINARY_VERSION: u8 = 4;

/// Account that is paid, written `account@agency`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Payee {
    account: String,
    agency: String,
}

/// A text is not an account at an agency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an account at an agency: write account@agency.example, the account with a-z, 0-9, '.', '_' and '-'")]
pub struct PayeeError;

impl Payee {
    /// Names an account of an agency: 1 to 64 of `[a-z0-9._-]`, and a domain as vendors have it.
    ///
    /// # Errors
    /// [`PayeeError`] if one of them has another form.
    pub fn new(account: &str, agency: &str) -> Result<Self, PayeeError> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
        let is_account = (1..=64).contains(&account.len()) && account.bytes().all(plain);
        let is_agency = Issuer::new(agency, "any").is_ok_and(|issuer| !issuer.is_address());
        if is_account && is_agency {
            Ok(Self { account: account.to_owned(), agency: agency.to_owned() })
        } else {
            Err(PayeeError)
        }
    }

    /// Returns the name of the account.
    #[must_use]
    pub fn account(&self) -> &str {
        &self.account
    }

    /// Returns the agency's domain.
    #[must_use]
    pub fn agency(&self) -> &str {
        &self.agency
    }
}

impl fmt::Display for Payee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.account, self.agency)
    }
}

impl FromStr for Payee {
    type Err = PayeeError;

    fn from_str(text: &str) -> Result<Self, PayeeError> {
        let (account, agency) = text.split_once('@').ok_or(PayeeError)?;
        Self::new(account, agency)
    }
}

text_form!(Payee);

/// A licensed meter, as its agency's directory lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meter {
    pub key: PublicKey,
    /// Credits for which it may sign, from its beginning to its end.
    pub limit: u64,
    /// Its last second.
    pub not_after: UnixTime,
}

/// A directory's knowledge of one meter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MeterFact {
    Known(Box<Meter>),
    /// The user trusts no agency of this name.
    UnknownAgency,
    /// The agency lists no such licence: it was revoked, has ended, or is newer than the directory.
    Unlisted,
    /// Two directories list different keys under one name.
    Conflict,
    /// The agency's directory has expired.
    Stale,
}

/// The claims of a meter token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// `jti`: the ID of the offer.
    pub id: Serial,
    /// `aud`: the mailbox that is paid for.
    pub mailbox: Address,
    /// `val`: from 1 to 2^53-1.
    pub credits: u64,
    /// `msg`: the fingerprint of the message.
    pub message: Fingerprint,
    /// `exp`: the end of the ID, by the receiver's clock.
    pub expires: UnixTime,
    /// `payee`: whose token it is to clear.
    pub payee: Payee,
}

impl Payment {
    /// Reads the claims of a payload whose signature holds. All are required. Unknown claims are ignored unless listed
    /// in `crit`.
    ///
    /// # Errors
    /// [`ClaimError`]: the first fault found.
    pub fn read(payload: &[u8]) -> Result<Self, ClaimError> {
        let claims = Claims::read(payload)?;
        claims.all_critical_known(&KNOWN)?;
        Ok(Self {
            id: claims.required("jti", "an ID (1 to 64 letters, digits, '_' or '-')", |s| Serial::new(s).ok())?,
            mailbox: claims.required("aud", "an address", |s| Address::parse(s).ok())?,
            credits: match claims.credits()? {
                None => Err(ClaimError::Missing("val")),
                Some(0) => Err(ClaimError::Wrong { claim: "val", wanted: "a whole number from 1 to 2^53-1" }),
                Some(credits) => Ok(credits),
            }?,
            message: Fingerprint(claims.required("msg", HASH, read_hash)?),
            expires: claims.required("exp", TIME, |s| UnixTime::from_rfc3339(s).ok())?,
            payee: claims.required("payee", "an account 'account@agency'", |s| s.parse().ok())?,
        })
    }

    /// Encodes the claims, in the order of the page.
    fn payload(&self) -> Vec<u8> {
        let mut object = ObjectWriter::new();
        object.get_text("jti", self.id.as_str());
        object.get_text("aud", &self.mailbox.to_string());
        object.insert("val", &Value::from(self.credits));
        object.get_text("msg", &BASE64URL_NOPAD.encode(&self.message.0));
        object.get_text("exp", &self.expires.to_string());
        object.get_text("payee", &self.payee.to_string());
        object.finish()
    }

    /// Signs the payment with a meter's key; `license` names the agency and the licence. The same arguments give the
    /// same token, so that a retry needs no stored copy.
    ///
    /// # Errors
    /// [`ClaimError`] if the token could not be read: credits or a time out of range, or too long.
    pub fn sign(&self, license: &Issuer, key: &SecretKey) -> Result<Token, ClaimError> {
        let payload = self.payload();
        Self::read(&payload)?;
        Ok(key.sign(&payload, &license.footer(), Purpose::Meter))
    }
}

/// Encodes a token in binary: a byte 4, the length of payload and signature in two bytes (big-endian), the payload, the
/// signature in 64 bytes, the footer.
///
/// # Errors
/// [`TokenError::TooLong`] if the payload is longer than a stamp's.
pub fn to_bytes(token: &Token) -> Result<Vec<u8>, TokenError> {
    let length = token.payload().len() + SIGNATURE_LEN;
    let length = u16::try_from(length).ok().filter(|_| token.payload().len() <= PAYLOAD_MAX);
    let head = length.ok_or(TokenError::TooLong)?.to_be_bytes();
    Ok([&[BINARY_VERSION], &head[..], token.payload(), token.signature(), token.footer()].concat())
}

/// Decodes the binary form. Each token has one.
///
/// # Errors
/// [`TokenError`]: another version, cut short, or beyond the limits of a stamp.
pub fn from_bytes(bytes: &[u8]) -> Result<Token, TokenError> {
    const SHORT: TokenError = TokenError::Malformed("it ends before its signature");
    let (head, rest) = bytes.split_first_chunk::<3>().ok_or(SHORT)?;
    let [version, length @ ..] = *head;
    if version != BINARY_VERSION {
        return Err(TokenError::UnknownVersion);
    }
    let (body, footer) = rest.split_at_checked(u16::from_be_bytes(length).into()).ok_or(SHORT)?;
    let dot = if footer.is_empty() { "" } else { "." };
    let (body, footer) = (BASE64URL_NOPAD.encode(body), BASE64URL_NOPAD.encode(footer));
    Token::parse(&format!("v4.public.{body}{dot}{footer}"))
}

/// A recipient whose mailbox has a price, and who has not been paid for yet.
#[derive(Clone, Copy, Debug)]
pub struct Priced<'a> {
    pub mailbox: &'a Address,
    pub price: u64,
}

/// What a receiver knows when it examines a payment.
#[derive(Clone, Copy, Debug)]
pub struct Receiver<'a> {
    /// Its own account.
    pub payee: &'a Payee,
    /// The keys of its IDs, newest first.
    pub id_keys: &'a [IdKey],
    /// The recipients of this message that are still to be paid.
    pub recipients: &'a [Priced<'a>],
    pub now: UnixTime,
}

/// Why a payment is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PaymentError {
    #[error("the token is malformed: {0}")]
    Token(#[from] TokenError),
    #[error("the token's signature is not that of its meter")]
    Signature,
    #[error("the token is malformed: {0}")]
    Claims(#[from] ClaimError),
    /// The line says another ID or another number of credits than the token.
    #[error("the token has another ID or value than the command")]
    Line,
    #[error("the token is for another payee")]
    Payee,
    /// No recipient of this message, or one who needs no payment.
    #[error("the token is for a mailbox that is not to be paid here")]
    Mailbox,
    #[error("{given} credits, and the mailbox asks {price}")]
    TooFew { given: u64, price: u64 },
    #[error("{given} credits, and the licence's limit is {limit}")]
    OverLimit { given: u64, limit: u64 },
    #[error("the token's end is not that of its ID")]
    End,
    #[error("agency {0} is not accepted here")]
    Agency(String),
    #[error("{0}")]
    Id(#[from] IdError),
    #[error("the licence has ended")]
    LicenseEnded,
    #[error("the licence is not listed in the directory of its agency that is known here")]
    Unlisted,
    #[error("the directory of the agency is not usable: it has expired, contradicts itself, or is ahead of this clock")]
    Directory,
}

/// Examines a payment for an ID that was not used before: the signature under the licensed key, then the claims, the
/// recipient, the value, and the ID. Where the licence is not listed, the ID alone is looked at. `meter` is asked once, for
/// the licence that the token's footer names. Returns which of the recipients it pays, with its claims.
///
/// The message is compared later ([`Payment::message`]). A used ID is recognised before, by the used log alone.
///
/// # Errors
/// [`PaymentError`]: the first fault found.
pub fn examine_payment(
    (id, credits, token): (&Serial, u64, &Token),
    receiver: &Receiver<'_>,
    meter: impl FnOnce(&Issuer) -> MeterFact,
) -> Result<(usize, Payment), PaymentError> {
    let issuer = token.issuer()?;
    let meter = match meter(&issuer) {
        MeterFact::Known(meter) => meter,
        MeterFact::UnknownAgency => return Err(PaymentError::Agency(issuer.vendor().to_owned())),
        // A licence that has ended is not listed, too: where the ID has ended, the client pays anew.
        MeterFact::Unlisted => return Err(ended(token, receiver).map_or(PaymentError::Unlisted, PaymentError::Id)),
        MeterFact::Conflict | MeterFact::Stale => return Err(PaymentError::Directory),
    };
    if !meter.key.verify(token, Purpose::Meter) {
        return Err(PaymentError::Signature);
    }
    if receiver.now > meter.not_after {
        return Err(PaymentError::LicenseEnded);
    }
    if meter.not_after.since(receiver.now) > LICENSE_MAX {
        return Err(PaymentError::Directory);
    }
    let payment = Payment::read(token.payload())?;
    if (&payment.id, payment.credits) != (id, credits) {
        return Err(PaymentError::Line);
    }
    if payment.payee != *receiver.payee || receiver.payee.agency() != issuer.vendor() {
        return Err(PaymentError::Payee);
    }
    let recipients = receiver.recipients.iter().enumerate();
    let (at, Priced { price, .. }) =
        recipients.clone().find(|(_, it)| *it.mailbox == payment.mailbox).ok_or(PaymentError::Mailbox)?;
    let end = check(id, receiver.id_keys, &payment.mailbox, *price, receiver.now)?;
    if payment.expires != end {
        return Err(PaymentError::End);
    }
    if credits < *price {
        return Err(PaymentError::TooFew { given: credits, price: *price });
    }
    if credits > meter.limit {
        return Err(PaymentError::OverLimit { given: credits, limit: meter.limit });
    }
    Ok((at, payment))
}

/// Returns what is wrong with the ID that a token names, without a look at its signature.
fn ended(token: &Token, receiver: &Receiver<'_>) -> Option<IdError> {
    let payment = Payment::read(token.payload()).ok()?;
    let recipient = receiver.recipients.iter().find(|it| *it.mailbox == payment.mailbox)?;
    check(&payment.id, receiver.id_keys, &payment.mailbox, recipient.price, receiver.now).err()
}

#[cfg(test)]
mod tests;
