//! Requests to the ledger and its answers, as values: for the queue of the writer, and for commands over the socket.
//! They contain no secrets: only the hashes of API keys, vouchers and codes.

use super::model::{
    Account, ApiKey, Day, Payer, Presented, Profile, Receipt, RedeemResult, Sale, StampRecord, Standing, Summary,
};
use crate::accounting::event::{KeyState, Terms};
use crate::accounting::hash::Hash;
use crate::accounting::hash_chain::{Entry, Head};
use crate::accounting::money::Money;
use crate::accounting::order::{Order, OwnCaps};
use crate::stamp::serial::Serial;
use crate::stamp::signing::PublicKey;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Request. Those before `Profile` write.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub enum Request {
    SetTerms { terms: Terms },
    SetKey { kid: String, key: PublicKey, state: KeyState },
    OpenAccount { name: String, contact: String, caps: Option<OwnCaps> },
    SetContact { account: u64, contact: String },
    SetCaps { account: u64, caps: Option<OwnCaps> },
    CloseAccount { account: u64, revoke: bool },
    AddApiKey { account: u64, label: String, hash: Hash },
    RevokeApiKey { account: u64, id: String },
    AskCode { account: u64, subject: String, hash: Hash },
    TakeBackCode { account: u64, subject: String, hash: Hash },
    TellCode { account: u64, subject: String, hash: Hash },
    Own { account: u64, subject: String },
    Disown { account: u64, subject: String },
    Credit { account: u64, credits: u64, cost: Option<Money>, reference: String },
    MakeVoucher { voucher: Hash, credits: u64, cost: Option<Money> },
    TakeVoucher { account: u64, voucher: Hash },
    Issue { buyer: Payer, orders: Vec<Order>, idempotency: Option<String> },
    Deposit { account: u64, stamps: Vec<Presented> },
    Refund { account: u64, stamps: Vec<Presented> },
    Revoke { serials: Vec<Serial>, customer: bool },
    NextVersion,
    PayOut { account: u64, credits: u64, reference: String },
    Profile,
    Account { account: u64 },
    AccountNamed { name: String },
    Accounts { after: u64, most: u32 },
    ApiKeys { account: u64 },
    Opens { hash: Hash },
    Voucher { voucher: Hash },
    Stamp { serial: Serial },
    RevokedSerials,
    EndedSerials,
    History { account: u64, before: u64, most: u32 },
    Days { account: u64, from: i64 },
    Entries { after: u64, most: u32 },
    Summary,
    Audit { since: Option<Head> },
    Backup { to: PathBuf },
}

impl Request {
    /// Returns whether it changes nothing and can run concurrently with the writer.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        matches!(
            self,
            Self::Profile
                | Self::Account { .. }
                | Self::AccountNamed { .. }
                | Self::Accounts { .. }
                | Self::ApiKeys { .. }
                | Self::Opens { .. }
                | Self::Voucher { .. }
                | Self::Stamp { .. }
                | Self::RevokedSerials
                | Self::EndedSerials
                | Self::History { .. }
                | Self::Days { .. }
                | Self::Entries { .. }
                | Self::Summary
                | Self::Audit { .. }
                | Self::Backup { .. }
        )
    }
}

/// Answer of the ledger.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Response {
    Done,
    Account(Account),
    Standing(Box<Standing>),
    Accounts { accounts: Vec<Standing> },
    ApiKey(ApiKey),
    ApiKeys { keys: Vec<ApiKey> },
    Booked(Receipt),
    Returned { each: Vec<RedeemResult>, booked: Option<Receipt> },
    Sale(Sale),
    Count { count: u64 },
    Profile(Box<Profile>),
    Stamp { stamp: Option<StampRecord> },
    Serials { serials: Vec<Serial> },
    Entries { entries: Vec<Entry> },
    Days { days: Vec<Day> },
    Summary(Summary),
    Audit(super::audit::Report),
    Head(Head),
}
