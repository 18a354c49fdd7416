//! Why the ledger does not do what was asked. None of it is our own trouble (that is `error.rs`): who asked can do something
//! about it, and nothing was changed.

use crate::accounting::order::OrderError;
use crate::time::UnixTime;
use serde::{Deserialize, Serialize};

/// Why a request is refused. [`word`](Self::word) is stable; the sentences are not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "refusal", rename_all = "kebab-case")]
pub enum Rejection {
    /// There is no such account.
    #[error("there is no account {account}")]
    NoAccount {
        /// Its name or number.
        account: String,
    },
    /// An account of this name exists.
    #[error("there is an account {name} already")]
    AccountExists {
        /// The name.
        name: String,
    },
    /// A name, a contact or a reference does not have its form.
    #[error("{what}: {wanted}")]
    Form {
        /// What it is.
        what: String,
        /// What it has to be.
        wanted: String,
    },
    /// The account is closed.
    #[error("account {account} is closed")]
    AccountClosed {
        /// Its number.
        account: u64,
    },
    /// No account has this API key, or not any more.
    #[error("no account has this key")]
    NoApiKey,
    /// There is not enough to pay with.
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
        /// Which, and how.
        #[from]
        error: OrderError,
    },
    /// The account's cap for one day is met.
    #[error("{asked} credits more today would make {spent}; the cap is {cap} a day")]
    Daily {
        /// Credits that it would cost.
        asked: u64,
        /// Credits spent today, with these.
        spent: u64,
        /// The cap.
        cap: u64,
    },
    /// The idempotency key or reference was used for another request.
    #[error("{key} was used for another request")]
    KeyReused {
        /// The idempotency key, or the reference.
        key: String,
    },
    /// No voucher has this code, or it is spent.
    #[error("no voucher has this code, or it is spent")]
    NoVoucher,
    /// Not a stamp, or not a good one of this vendor.
    #[error("stamp {stamp}: {problem}")]
    Stamp {
        /// Which of those handed in, from 1.
        stamp: u64,
        /// What is wrong.
        problem: StampProblem,
    },
    /// No code was sent for this address, or it has ended, or was tried too often.
    #[error("no code is waiting for {subject}; ask for a new one")]
    NoCode {
        /// The address or domain.
        subject: String,
    },
    /// Not the code that was sent.
    #[error("not the code that was sent to {subject}; {left} tries are left")]
    WrongCode {
        /// The address or domain.
        subject: String,
        /// Tries that are left.
        left: u8,
    },
    /// A code was sent a moment ago, or several were today.
    #[error("a code was sent to {subject} already; another can be sent after {after}")]
    CodeWaiting {
        /// The address or domain.
        subject: String,
        /// When another can be sent.
        after: UnixTime,
    },
    /// The account has asked for many codes today.
    #[error("codes were sent for many addresses already; another can be sent after {after}, or when one was given")]
    ManyCodes {
        /// When another can be sent.
        after: UnixTime,
    },
    /// The vendor takes no unused stamps back.
    #[error("this vendor takes no unused stamps back")]
    NoRefunds,
    /// The directory has no room for more revoked stamps that customers gave back.
    #[error(
        "{listed} revoked stamps are published, and customers can add to no more than {most}; try again when some of them have ended"
    )]
    RevokedFull {
        /// Revoked stamps that are published.
        listed: u64,
        /// How many may be.
        most: u64,
    },
    /// There is no signing key of this name, or it cannot do this.
    #[error("signing key {kid}: {problem}")]
    SigningKey {
        /// Its name.
        kid: String,
        /// What is wrong.
        problem: String,
    },
    /// More than can be counted.
    #[error("more than can be counted")]
    Range,
    /// The other payment was for something else.
    #[error("what was paid is {paid} credits, and this costs {needed}")]
    PaidOtherwise {
        /// Credits paid for.
        paid: u64,
        /// Credits needed.
        needed: u64,
    },
}

/// What is wrong with a stamp that was handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StampProblem {
    /// Not a stamp.
    #[error("not a stamp")]
    Malformed,
    /// Of another vendor, or under a key that this one does not have.
    #[error("not a stamp of this vendor")]
    OtherVendor,
    /// The signature does not hold.
    #[error("its signature does not hold")]
    Forged,
    /// Its key was revoked.
    #[error("its key was revoked")]
    KeyRevoked,
    /// It names nobody whose address the account has proved to own.
    #[error("it names no address that this account has proved to own")]
    NotYours,
    /// The ledger does not know that it was sold.
    #[error("this ledger did not sell it")]
    NotIssued,
    /// It was taken back before.
    #[error("it was taken back before")]
    Deposited,
    /// It was refunded.
    #[error("its buyer was given its credits back")]
    Refunded,
    /// It was revoked.
    #[error("it was revoked")]
    Revoked,
    /// It was handed in twice at once.
    #[error("it was handed in twice")]
    Duplicate,
    /// Somebody else bought it.
    #[error("another account bought it")]
    NotBought,
}

impl Rejection {
    /// One stable word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoAccount { .. } => "no-account",
            Self::AccountExists { .. } => "account-exists",
            Self::Form { .. } => "form",
            Self::AccountClosed { .. } => "account-closed",
            Self::NoApiKey => "no-api-key",
            Self::Funds { .. } => "funds",
            Self::Order { .. } => "order",
            Self::Daily { .. } => "daily",
            Self::KeyReused { .. } => "key-reused",
            Self::NoVoucher => "no-voucher",
            Self::Stamp { .. } => "stamp",
            Self::NoCode { .. } => "no-code",
            Self::WrongCode { .. } => "wrong-code",
            Self::CodeWaiting { .. } | Self::ManyCodes { .. } => "code-waiting",
            Self::NoRefunds => "no-refunds",
            Self::RevokedFull { .. } => "revoked-full",
            Self::SigningKey { .. } => "signing-key",
            Self::Range => "range",
            Self::PaidOtherwise { .. } => "paid-otherwise",
        }
    }
}
