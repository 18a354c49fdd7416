//! Meters of an agency: `/v1/licenses`, `/v1/clearings`, `/v1/checkpoints`, and the signatures on both sides.
//!
//! - A request that changes something has the header fields `Idempotency-Key` and [`HEADER`]. The latter is a token that
//!   the meter's key signs over the bytes of the body, the path, the idempotency key, the time, and the head of the
//!   bank's own chain ([`SignedRequest`]).
//! - The answer is a token that the agency signs ([`MeterReceipt`], purpose `digital-stamp-receipt`). A client believes
//!   nothing before the signature holds, and compares `key` and `request` with what it sent.

use super::operation::Operation;
use crate::accounting::hash::Hash;
use crate::accounting::hash_chain::Head;
use crate::accounting::meter::ClearingProblem;
use crate::stamp::signing::{PublicKey, SecretKey};
use crate::stamp::strict_json;
use crate::stamp::token::{Issuer, Purpose, Token};
use crate::time::UnixTime;
use serde::{Deserialize, Serialize};

/// Header field with the signature of a request.
pub const HEADER: &str = "Meter-Request";
/// Most seconds between the clocks of the two sides.
pub const CLOCK_TOLERANCE: i64 = 300;
/// Most tokens, or open payments, in one request.
pub const MAX_TOKENS: usize = 500;
/// Longest receipt, in characters: some 100 for each token of a request.
pub const RECEIPT_MAX: usize = 256 * 1024;

/// A request for a licence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object with a key, a limit and days")]
pub struct LicenseRequest {
    /// Public key of the meter, new for each licence (PASERK). It signs the request.
    #[cfg_attr(test, schemars(regex(pattern = r"^k4\.public\.[A-Za-z0-9_-]{43}$")))]
    pub key: String,
    /// Credits for which the meter may sign, locked until the licence is closed. A licence of 0 only receives.
    pub limit: u64,
    /// Life of the licence.
    #[cfg_attr(test, schemars(range(min = 1, max = 7)))]
    pub days: u32,
    /// Says that the bank was restored from a copy, and has no key that could sign a checkpoint.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub accept_restored: bool,
}

/// Tokens to clear.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object with tokens")]
pub struct ClearingRequest {
    #[cfg_attr(test, schemars(length(min = 1, max = MAX_TOKENS)))]
    pub tokens: Vec<String>,
}

/// A request for a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct CheckpointRequest {
    /// Payments of which the bank does not know whether they were made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(test, schemars(length(max = MAX_TOKENS)))]
    pub open: Vec<OpenPayment>,
    /// Says that the bank was restored from a copy, so that its head may be an earlier one than the agency has seen.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub accept_restored: bool,
}

/// A payment that the bank has reserved credits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object with a payment and its end")]
pub struct OpenPayment {
    /// Hash of the payment: payer's account, mailbox, fingerprint.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9a-f]{64}$")))]
    pub payment: String,
    /// End of the last token that was made for it.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub until: String,
}

/// Licences of the account that are not closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Licenses {
    pub licenses: Vec<LicenseStatus>,
}

/// A licence and what is left of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LicenseStatus {
    /// Name of its key.
    pub kid: String,
    /// Credits for which its meter may sign.
    pub limit: u64,
    /// Credits of these that were not cleared.
    pub rest: u64,
    /// End of the licence.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub until: String,
    /// When the rest returns to the account.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub closes: String,
    /// When it was revoked, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub revoked: Option<String>,
}

/// A signed answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SignedReceipt {
    /// The receipt, whose payload is described as `MeterReceipt`.
    #[cfg_attr(test, schemars(regex(pattern = r"^v4\.public\.")))]
    pub receipt: String,
}

/// Payload of a receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MeterReceipt {
    pub receipt: ReceiptKind,
    /// The agency.
    pub vendor: String,
    /// Time of booking.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub iat: String,
    /// Number of the account.
    pub account: u64,
    /// Name of the account.
    pub name: String,
    /// Credits of the account that are not licensed.
    pub balance: u64,
    /// Licences of the account that are not closed.
    pub licenses: Vec<LicenseStatus>,
    /// Head of the agency's chain.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9]+:[0-9a-f]{64}$")))]
    pub head: String,
    /// Heads of the bank's chain.
    pub bank: BankHeads,
    /// Idempotency key of the request.
    pub key: String,
    /// SHA-256 of the body of the request.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9a-f]{64}$")))]
    pub request: String,
    /// With `license`: the name of the new licence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// With `clearing`: the result for each token, in the order of the request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub each: Vec<ClearingResult>,
    /// With `checkpoint`: the state of each open payment, in the order of the request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<PaymentState>,
}

/// Request that a receipt answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ReceiptKind {
    License,
    Clearing,
    Checkpoint,
}

/// Heads of the bank's chain that the agency has seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BankHeads {
    /// At the last request before this one, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9]+:[0-9a-f]{64}$")))]
    pub last: Option<String>,
    /// At this request.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9]+:[0-9a-f]{64}$")))]
    pub now: String,
}

/// Result for one token: its credits, or why it was not cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum ClearingResult {
    Cleared { credits: u64 },
    Refused(ClearingProblem),
}

/// State of a payment at the agency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum PaymentState {
    /// A token was cleared.
    Cleared,
    /// None was cleared, and none will be: its end is more than 7 days and an hour ago.
    Void,
    /// A token can still be cleared.
    Open,
}

/// Reason why the signature of a request is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RequestProblem {
    /// The header field is absent or there twice.
    #[error("the header field Meter-Request is required once")]
    Missing,
    /// Not a token of the required form.
    #[error("not a token v4.public with the members of a signed request")]
    Malformed,
    /// It names another agency.
    #[error("signed for another agency")]
    OtherAgency,
    /// The account has no live licence with this key.
    #[error("its key belongs to no live licence of this account")]
    Key,
    /// The signature is invalid.
    #[error("its signature is invalid")]
    Forged,
    /// It was signed for another operation.
    #[error("signed for another operation")]
    Path,
    /// It was signed for another body.
    #[error("signed for another body")]
    Body,
    /// It was signed for another idempotency key.
    #[error("signed for another idempotency key")]
    IdempotencyKey,
    /// Its time is more than 5 minutes from that of the agency.
    #[error("its time is more than 5 minutes from that of the agency")]
    Time,
}

/// What a meter's key signs for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedRequest {
    /// SHA-256 of the bytes of the body.
    pub body: Hash,
    /// Idempotency key.
    pub key: String,
    /// Time of the request.
    pub at: UnixTime,
    /// Head of the bank's chain.
    pub bank: Head,
}

/// Payload of the token.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    bank: String,
    body: Hash,
    iat: String,
    key: String,
    path: String,
}

impl SignedRequest {
    /// Signs the request to an agency. `issuer` has the agency's name and that of the key
    /// ([`key_name`](crate::accounting::meter::key_name)).
    #[must_use]
    pub fn sign(&self, operation: Operation, issuer: &Issuer, key: &SecretKey) -> Token {
        let payload = Payload {
            bank: self.bank.to_string(),
            body: self.body,
            iat: self.at.to_string(),
            key: self.key.clone(),
            path: path(operation),
        };
        // An object of texts can be serialized.
        let payload = serde_json::to_vec(&payload).unwrap_or_default();
        key.sign(&payload, &issuer.footer(), Purpose::MeterRequest)
    }

    /// Verifies the token and reads the request.
    ///
    /// # Errors
    /// [`RequestProblem::Forged`], [`RequestProblem::Malformed`], [`RequestProblem::Path`].
    pub fn verify(token: &Token, operation: Operation, key: &PublicKey) -> Result<Self, RequestProblem> {
        if !key.verify(token, Purpose::MeterRequest) {
            return Err(RequestProblem::Forged);
        }
        let malformed = |_| RequestProblem::Malformed;
        let payload: Payload = serde_json::from_slice(token.payload()).map_err(malformed)?;
        if payload.path != path(operation) {
            return Err(RequestProblem::Path);
        }
        Ok(Self {
            body: payload.body,
            key: payload.key,
            at: UnixTime::from_rfc3339(&payload.iat).map_err(|_| RequestProblem::Malformed)?,
            bank: payload.bank.parse().map_err(|_| RequestProblem::Malformed)?,
        })
    }

    /// Checks the request against what arrived.
    ///
    /// # Errors
    /// [`RequestProblem::Body`], [`RequestProblem::IdempotencyKey`], [`RequestProblem::Time`].
    pub fn check(&self, body: &Hash, key: &str, now: UnixTime) -> Result<(), RequestProblem> {
        if self.body != *body {
            return Err(RequestProblem::Body);
        }
        if self.key != key {
            return Err(RequestProblem::IdempotencyKey);
        }
        let apart = now.since(self.at).unsigned_abs();
        if apart > CLOCK_TOLERANCE.unsigned_abs() { Err(RequestProblem::Time) } else { Ok(()) }
    }
}

impl MeterReceipt {
    /// Verifies a receipt of the agency and reads it.
    ///
    /// `None` when it is not a receipt with this key's signature, or not of this form.
    #[must_use]
    pub fn verify(text: &str, key: &PublicKey) -> Option<Self> {
        let token = Token::parse_document(text, RECEIPT_MAX).ok()?;
        let object = key.verify(&token, Purpose::Receipt).then(|| strict_json::object(token.payload()).ok())??;
        serde_json::from_value(object.into()).ok()
    }
}

/// Returns the method and path that are signed.
fn path(operation: Operation) -> String {
    format!("{} {}", operation.method().as_str(), operation.path())
}
