//! Records of the ledger, as stored and as callers see them.

use super::payment::Paid;
use crate::accounting::double_entry::{AccountCode, Unit};
use crate::accounting::event::{KeyState, Terms};
use crate::accounting::hash::Hash;
use crate::accounting::hash_chain::Head;
use crate::accounting::money::Money;
use crate::accounting::order::{Caps, OwnCaps};
use crate::accounting::redemption::StampProblem;
use crate::stamp::serial::Serial;
use crate::stamp::signing::PublicKey;
use crate::time::UnixTime;
use serde::{Deserialize, Serialize};

/// An account as stored; its credits are its balance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its number, for ever.
    pub number: u64,
    /// Its name: 1 to 64 of `[a-z0-9._-]`, unique.
    pub name: String,
    /// Contact of its owner, as given.
    pub contact: String,
    /// Salt of the contact's hash in the entries.
    pub salt: Hash,
    /// Whether it is open.
    pub open: bool,
    /// When it was opened.
    pub created: UnixTime,
    /// Its own caps, which precede those of the terms.
    pub caps: Option<OwnCaps>,
}

impl Account {
    /// Returns the caps that apply to it.
    #[must_use]
    pub fn caps(&self, terms: &Terms) -> Caps {
        self.caps.unwrap_or_default().over(terms.caps)
    }
}

/// An account with its balance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    pub account: Account,
    /// Its credits.
    pub balance: u64,
    /// Credits spent on stamps today (UTC).
    pub spent_today: u64,
    /// The caps that apply to it.
    pub caps: Caps,
    /// Addresses (`joe@x.example`) and domains (`x.example`) that it has proved to own.
    pub owns: Vec<String>,
}

/// An API key, without the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// Its id: the first 16 hexadecimal digits of its hash.
    pub id: String,
    pub account: u64,
    /// Label from its owner.
    pub label: String,
    /// When it was made.
    pub created: UnixTime,
    /// Time of its revocation.
    pub revoked: Option<UnixTime>,
}

/// A signing key of the vendor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// Its name.
    pub kid: String,
    pub key: PublicKey,
    pub state: KeyState,
    /// Time at which it was added.
    pub since: UnixTime,
}

/// Profile of the vendor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// The vendor's name, a domain.
    pub vendor: String,
    pub terms: Terms,
    /// The signing keys, the active one among them.
    pub keys: Vec<KeyRecord>,
    /// The one address for which it sells stamps, if there is one.
    #[serde(default)]
    pub recipient: Option<String>,
}

/// The one address for which a vendor sells stamps, as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SoleRecipient {
    /// The address in the form that can be parsed again.
    pub address: String,
    /// Salt of its hash in the terms.
    pub salt: Hash,
}

/// Times from which stamps without value are given again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SoldOut {
    /// For work; `None` while they are given.
    pub work: Option<UnixTime>,
    /// For codes.
    pub codes: Option<UnixTime>,
}

/// Last edition of the directory: what the next one continues, whatever folder it is published in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BookedEdition {
    pub version: u64,
    /// The signed document.
    pub document: String,
}

/// A booked sale of stamps. The stamps can be signed from it and the orders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sale {
    pub entry: u64,
    /// Time of booking, which is the time of issue in the stamps.
    pub at: UnixTime,
    /// Seed of serials and salts.
    pub seed: Hash,
    /// Name of the key that signs.
    pub kid: String,
    /// Lifetime in days of stamps without a given end.
    pub days: u32,
    /// Their price in credits.
    pub credits: u64,
    /// Remaining balance of the account or voucher; `None` for another buyer, who has none.
    pub balance: Option<u64>,
    /// Whether an earlier request with the same idempotency key booked it.
    pub again: bool,
}

/// A booked change of an account's credits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    pub entry: u64,
    /// Head of the chain after it.
    pub head: Head,
    pub at: UnixTime,
    /// Credits moved.
    pub credits: u64,
    /// Money moved, if any.
    pub sum: Option<Money>,
    /// New balance of the account.
    pub balance: u64,
    /// Whether an earlier request with the same reference booked it.
    pub again: bool,
}

/// A stamp in the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StampRecord {
    pub serial: Serial,
    /// The entry of its sale.
    pub entry: u64,
    /// When it was sold.
    pub at: UnixTime,
    /// The account that bought it, if any.
    pub account: Option<u64>,
    /// Its value in credits.
    pub value: u64,
    pub state: StampState,
}

/// State of a stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StampState {
    /// Sold; whether it was used is unknown.
    Issued,
    /// Taken back from its recipient.
    Deposited,
    Revoked,
}

/// A balance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    pub account: AccountCode,
    /// What is counted.
    pub unit: Unit,
    pub amount: i64,
}

/// Sizes and balances of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Head of the chain.
    pub head: Head,
    pub accounts: u64,
    /// Stamps sold.
    pub stamps: u64,
    /// Balances, except those of accounts and licences.
    pub balances: Vec<Balance>,
    /// Credits of all licences.
    pub licensed: i64,
    /// Licences that are not closed.
    pub licenses: u64,
    /// Payments that were cleared.
    pub cleared: u64,
    /// Payments for which a licence had too few credits left.
    pub over: u64,
    /// Size of the file in bytes.
    pub bytes: u64,
}

/// Activity of an account on one day (UTC).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Day {
    /// Days since 1970.
    pub day: i64,
    /// Stamps bought.
    pub bought: u64,
    /// Stamps deposited.
    pub deposited: u64,
    /// Balance at its start.
    pub before: i64,
    /// Balance at its end.
    pub balance: i64,
}

/// Licence of a meter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct License {
    /// Its number, for ever.
    pub number: u64,
    pub account: u64,
    /// Name of its key.
    pub kid: String,
    pub key: PublicKey,
    /// Credits for which the meter may sign.
    pub limit: u64,
    /// When it was issued.
    pub created: UnixTime,
    /// End of the licence.
    pub until: UnixTime,
    /// When it was revoked.
    pub revoked: Option<UnixTime>,
    /// When it was closed, and its rest returned.
    pub closed: Option<UnixTime>,
    /// Credits that returned to the account when it was closed.
    pub returned: u64,
    /// Credits of tokens that were handed in beyond the limit, and not paid.
    pub over: u64,
}

impl License {
    /// Returns whether its meter may sign.
    #[must_use]
    pub fn is_live(&self, now: UnixTime) -> bool {
        self.revoked.is_none() && self.closed.is_none() && now < self.until
    }
}

/// A licence with what is left of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LicenseStanding {
    pub license: License,
    /// Name of its account.
    pub name: String,
    /// Credits that were not cleared.
    pub rest: u64,
    /// Last contact of the account's bank.
    pub contact: Option<BankContact>,
}

/// Last contact of an account's bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BankContact {
    /// Head of the bank's chain.
    pub head: Head,
    pub at: UnixTime,
}

/// A request of a meter, with a valid signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeterContact {
    pub account: u64,
    /// Name of the key that signed.
    pub kid: String,
    /// Idempotency key.
    pub idempotency: String,
    /// Hash of the body.
    pub body: Hash,
    /// Head of the bank's chain.
    pub bank: Head,
}

/// A token to clear, with a valid signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenClaim {
    /// Number of its licence.
    pub license: u64,
    pub credits: u64,
    /// Hash of its payment.
    pub payment: Hash,
    /// End of the token.
    pub until: UnixTime,
}

/// A payment of which a bank does not know whether it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenClaim {
    /// Hash of the payment.
    pub payment: Hash,
    /// End of the last token for it.
    pub until: UnixTime,
}

/// Payer of stamps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Payer {
    /// An account, from its credits.
    Account(u64),
    /// A buyer without an account.
    Guest(Paid),
}

impl Payer {
    /// Returns the account that pays, if one does.
    #[must_use]
    pub fn account(&self) -> Option<u64> {
        match self {
            Self::Account(account) => Some(*account),
            Self::Guest(_) => None,
        }
    }
}

/// A stamp to redeem, with a valid signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presented {
    pub serial: Serial,
    /// Its value in credits.
    pub value: u64,
    /// Addresses that it names, each with its domain; the depositor must own one of them.
    pub owners: Vec<(String, String)>,
}

/// Result for one stamp to redeem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RedeemResult {
    /// Accepted, with its value.
    Taken(u64),
    /// Rejected, for this reason.
    Refused(StampProblem),
}

/// Results of one request to redeem stamps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redemption {
    /// One for each stamp, in the order of the request.
    pub each: Vec<RedeemResult>,
    /// Booking of the accepted ones; `None` if there are none.
    pub booked: Option<Receipt>,
}

impl From<Result<u64, StampProblem>> for RedeemResult {
    fn from(result: Result<u64, StampProblem>) -> Self {
        result.map_or_else(Self::Refused, Self::Taken)
    }
}

impl From<RedeemResult> for Result<u64, StampProblem> {
    fn from(returned: RedeemResult) -> Self {
        match returned {
            RedeemResult::Taken(value) => Ok(value),
            RedeemResult::Refused(problem) => Err(problem),
        }
    }
}
