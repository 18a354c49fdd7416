//! The records of the ledger, as it keeps them and as callers see them.

use super::payment::Paid;
use super::rejection::StampProblem;
use crate::accounting::double_entry::{AccountCode, Unit};
use crate::accounting::event::{KeyState, Terms};
use crate::accounting::hash::Hash;
use crate::accounting::hash_chain::Head;
use crate::accounting::money::Money;
use crate::accounting::order::{Caps, OwnCaps};
use crate::stamp::serial::Serial;
use crate::stamp::signing::PublicKey;
use crate::time::UnixTime;
use serde::{Deserialize, Serialize};

/// An account as the ledger keeps it. What it has is its balance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its number, for ever.
    pub number: u64,
    /// Its name: 1 to 64 of `[a-z0-9._-]`, unique.
    pub name: String,
    /// Where its owner can be reached; as he gave it.
    pub contact: String,
    /// Whether it is open.
    pub open: bool,
    /// When it was opened.
    pub created: UnixTime,
    /// Its own caps, before those of the terms.
    pub caps: Option<OwnCaps>,
}

impl Account {
    /// The caps that hold for it.
    #[must_use]
    pub fn caps(&self, terms: &Terms) -> Caps {
        self.caps.unwrap_or_default().over(terms.caps)
    }
}

/// An account with what it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The account.
    pub account: Account,
    /// Its credits.
    pub balance: u64,
    /// Credits spent on stamps today (UTC).
    pub spent_today: u64,
    /// The caps that hold for it.
    pub caps: Caps,
    /// The addresses (`joe@x.example`) and domains (`x.example`) that it has proved to own.
    pub owns: Vec<String>,
}

/// An API key, without the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// What it is called by: the first 16 hexadecimal digits of its hash.
    pub id: String,
    /// Whose it is.
    pub account: u64,
    /// What its owner calls it.
    pub label: String,
    /// When it was made.
    pub created: UnixTime,
    /// Since when it no longer opens anything.
    pub revoked: Option<UnixTime>,
}

/// A signing key of the vendor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// Its name.
    pub kid: String,
    /// The key.
    pub key: PublicKey,
    /// Its state.
    pub state: KeyState,
    /// Since when it has been known.
    pub since: UnixTime,
}

/// What the vendor is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// His name, a domain.
    pub vendor: String,
    /// His terms.
    pub terms: Terms,
    /// His signing keys, the active one among them.
    pub keys: Vec<KeyRecord>,
}

/// A sale of stamps as it was booked. The stamps can be signed from it and the orders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sale {
    /// The entry.
    pub entry: u64,
    /// When it was booked; the stamps say that they were issued then.
    pub at: UnixTime,
    /// What serials and salts are drawn from.
    pub seed: Hash,
    /// The key that signs.
    pub kid: String,
    /// For how many days stamps hold that ask for no end.
    pub days: u32,
    /// What they cost.
    pub credits: u64,
    /// What is left on the account or the voucher.
    pub balance: u64,
    /// Whether it had been booked before under the same idempotency key.
    pub again: bool,
}

/// Something that moved credits of an account, as it was booked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The entry.
    pub entry: u64,
    /// How far the chain goes with it.
    pub head: Head,
    /// When.
    pub at: UnixTime,
    /// Credits moved.
    pub credits: u64,
    /// Money moved, if any was.
    pub sum: Option<Money>,
    /// What the account has now.
    pub balance: u64,
    /// Whether it had been booked before under the same reference.
    pub again: bool,
}

/// A stamp as the ledger knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StampRecord {
    /// Its serial.
    pub serial: Serial,
    /// The entry of its sale.
    pub entry: u64,
    /// When it was sold.
    pub at: UnixTime,
    /// The account that bought it, if one did.
    pub account: Option<u64>,
    /// Its value in credits.
    pub value: u64,
    /// What became of it.
    pub state: StampState,
}

/// What became of a stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StampState {
    /// Sold; whether it was used is not known.
    Issued,
    /// Taken back from its recipient.
    Deposited,
    /// Taken back from its buyer, and revoked.
    Refunded,
    /// Revoked.
    Revoked,
}

/// A balance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    /// The book.
    pub book: AccountCode,
    /// What is counted.
    pub unit: Unit,
    /// How much.
    pub amount: i64,
}

/// How large the ledger is, and what it comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// How far the chain goes.
    pub head: Head,
    /// Accounts.
    pub accounts: u64,
    /// Stamps sold.
    pub stamps: u64,
    /// Balances but those of accounts.
    pub balances: Vec<Balance>,
    /// Bytes of the file.
    pub bytes: u64,
}

/// What an account did on one day (UTC).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Day {
    /// Days since 1970.
    pub day: i64,
    /// Stamps bought.
    pub bought: u64,
    /// Stamps deposited.
    pub deposited: u64,
    /// What the account had at its beginning.
    pub before: i64,
    /// What the account had at its end.
    pub balance: i64,
}

/// Who pays for stamps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Payer {
    /// An account, out of its credits.
    Account(u64),
    /// Somebody without one.
    Guest(Paid),
}

/// A stamp that was handed in and holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presented {
    /// Its serial.
    pub serial: Serial,
    /// The value that it carries.
    pub value: u64,
    /// The addresses and domains any of which has to be owned by who deposits it.
    pub owners: Vec<String>,
}

/// What became of one stamp that was handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RedeemResult {
    /// It was taken, and is worth so much.
    Taken(u64),
    /// It was not.
    Refused(StampProblem),
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
