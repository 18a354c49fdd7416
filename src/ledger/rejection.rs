//! Rejections of the ledger: the caller can correct the request, and nothing was changed. Internal errors are in
//! `error.rs`.

use crate::accounting::money::Money;
use crate::accounting::order::OrderError;
use crate::accounting::redemption::StampProblem;
use crate::time::UnixTime;
use crate::vendor_api::meters::RequestProblem;
use serde::{Deserialize, Serialize};

/// Reason why a request is rejected. [`code`](Self::code) is stable; the sentences are not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "refusal", rename_all = "kebab-case")]
pub enum Rejection {
    #[error("there is no account {account}")]
    NoAccount {
        /// Its name or number.
        account: String,
    },
    /// An account of this name exists.
    #[error("account {name} already exists")]
    AccountExists { name: String },
    /// A name, a contact or a reference is malformed.
    #[error("{what}: {wanted}")]
    Form {
        /// The field.
        what: String,
        /// The required form.
        wanted: String,
    },
    /// The account is closed.
    #[error("account {account} is closed")]
    AccountClosed { account: u64 },
    /// No account has this API key, or it was revoked.
    #[error("no account has this key")]
    NoApiKey,
    /// The account has no other active API key.
    #[error("this is the account's last active API key; create another before revoking it")]
    LastApiKey,
    #[error("this costs {needed} credits, and there are {balance}")]
    Funds {
        /// Credits that it costs.
        needed: u64,
        /// Credits that are there.
        balance: u64,
    },
    /// An order is outside the caps.
    #[error(transparent)]
    Order {
        /// The order and its error.
        #[from]
        error: OrderError,
    },
    /// The account's cap for one day is reached.
    #[error("{asked} more credits would make {spent} today; the cap is {cap} a day")]
    Daily {
        /// Credits that it would cost.
        asked: u64,
        /// Credits spent today, including these.
        spent: u64,
        cap: u64,
    },
    /// The idempotency key or reference was used for another request.
    #[error("{key} was already used for another request")]
    KeyReused {
        /// The idempotency key, or the reference.
        key: String,
    },
    /// No voucher has this code, or it is spent.
    #[error("no voucher has this code, or it is spent")]
    NoVoucher,
    /// Not a stamp, or not a valid one of this vendor.
    #[error("stamp {stamp}: {problem}")]
    Stamp {
        /// Position in the request, from 1.
        stamp: u64,
        problem: StampProblem,
    },
    /// No code was sent for this address, or it has expired, or was tried too often.
    #[error("no valid code for {subject}; ask for a new one")]
    NoCode { subject: String },
    #[error("wrong code for {subject}: {left} attempts are left")]
    WrongCode {
        subject: String,
        /// Remaining attempts.
        left: u8,
    },
    /// A code was sent recently, or several were sent today.
    #[error(
        "a code was already sent to {subject} and is valid for any account; enter it, or have another sent after {after}"
    )]
    CodeWaiting {
        subject: String,
        /// Time after which another can be sent.
        after: UnixTime,
    },
    #[error("codes were already sent for many addresses; another can be sent after {after}, or when one was entered")]
    ManyCodes {
        /// Time after which another can be sent.
        after: UnixTime,
    },
    /// The directory is full for stamps that customers revoke.
    #[error(
        "{listed} revoked stamps are published, and customers can add to at most {most}; try again when some of them have expired"
    )]
    RevokedFull {
        /// Revoked stamps that are published.
        listed: u64,
        /// The limit for customers.
        most: u64,
    },
    /// The vendor licenses no meters.
    #[error("this vendor licenses no meters")]
    MetersOff,
    #[error("a licence has a limit of at most {most} credits, and {asked} were requested")]
    LicenseLimit {
        /// The limit that was requested.
        asked: u64,
        most: u64,
    },
    /// The account, or the vendor, has as many licences as it may.
    #[error("{live} licences are live, the most allowed {of}; try again when one of them has ended")]
    ManyLicenses {
        /// Licences that have not ended, also revoked ones.
        live: u64,
        /// `for one account` or `in the directory`.
        of: String,
    },
    /// The account has no licence of this name.
    #[error("there is no licence {kid}")]
    NoLicense {
        /// Its name.
        kid: String,
    },
    /// The signature of a meter's request is not accepted.
    #[error("signed request: {problem}")]
    MeterRequest {
        problem: RequestProblem,
        /// Time of the agency.
        now: UnixTime,
    },
    /// The bank's chain ends before, or beside, the head that was seen last.
    #[error("the bank is at {sent}, and was at {last}: it was restored from a copy, or is another one")]
    BankBehind {
        /// Head that was seen last, `number:hash`.
        last: String,
        /// Head of this request.
        sent: String,
    },
    /// No signing key has this name, or it cannot do this.
    #[error("signing key {kid}: {problem}")]
    SigningKey {
        /// Its name.
        kid: String,
        problem: String,
    },
    /// Another publication of the public log was quicker.
    #[error("the public log was extended by another process; try again")]
    LogMoved,
    /// Another publication of the directory was quicker.
    #[error("the directory was published by another process; try again")]
    EditionMoved,
    /// The vendor sells stamps for one recipient, and this order names another.
    #[error("this vendor sells stamps for {recipient} only")]
    OtherRecipient { recipient: String },
    /// The vendor gives no stamps for work.
    #[error("this vendor gives no stamps for work")]
    NoWork,
    /// No more stamps without value are given for now.
    #[error("sold out for now; more stamps are given after {after}")]
    SoldOut { after: UnixTime },
    /// A code was mailed to this address, or to as many of its domain as may get one, within a day.
    #[error(
        "a code was mailed to this address within the last day, or to many at its domain; the next one after {after}"
    )]
    CodeGiven { after: UnixTime },
    #[error("amount out of range (at most 9,223,372,036,854,775,807)")]
    Range,
    /// A provider received less than the price, or another currency.
    #[error("the payment is {paid}, and this costs {price}")]
    PaidOtherwise { paid: Money, price: Money },
}

impl Rejection {
    /// Returns the stable code for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoAccount { .. } => "no-account",
            Self::AccountExists { .. } => "account-exists",
            Self::Form { .. } => "form",
            Self::AccountClosed { .. } => "account-closed",
            Self::NoApiKey => "no-api-key",
            Self::LastApiKey => "last-api-key",
            Self::Funds { .. } => "funds",
            Self::Order { .. } => "order",
            Self::Daily { .. } => "daily",
            Self::KeyReused { .. } => "key-reused",
            Self::NoVoucher => "no-voucher",
            Self::Stamp { .. } => "stamp",
            Self::NoCode { .. } => "no-code",
            Self::WrongCode { .. } => "wrong-code",
            Self::CodeWaiting { .. } | Self::ManyCodes { .. } => "code-waiting",
            Self::RevokedFull { .. } => "revoked-full",
            Self::MetersOff => "meters-off",
            Self::LicenseLimit { .. } => "license-limit",
            Self::ManyLicenses { .. } => "many-licenses",
            Self::NoLicense { .. } => "no-license",
            Self::MeterRequest { .. } => "meter-request",
            Self::BankBehind { .. } => "bank-behind",
            Self::SigningKey { .. } => "signing-key",
            Self::LogMoved => "log-moved",
            Self::EditionMoved => "edition-moved",
            Self::OtherRecipient { .. } => "other-recipient",
            Self::NoWork => "no-work",
            Self::SoldOut { .. } => "sold-out",
            Self::CodeGiven { .. } => "code-given",
            Self::Range => "range",
            Self::PaidOtherwise { .. } => "paid-otherwise",
        }
    }
}
