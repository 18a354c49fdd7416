//! Events of a bank, as entries of its chain, and the transaction of each. Balances follow from the events alone.
//!
//! An event contains no mailbox and no message. A payment is named by a hash of both, an ID is random, and a peer is an
//! account at the agency, or a licence.

use crate::accounting::double_entry::{BookAccount, Transaction, Unit};
use crate::accounting::hash::Hash;
use crate::accounting::hash_chain::{self, Head};
use crate::stamp::signing::PublicKey;
use crate::time::UnixTime;
use serde::{Deserialize, Serialize};

/// Entry of a bank's chain.
pub type Entry = hash_chain::Entry<Event>;

/// Account of a bank's books. The number is that of a licence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BankAccount {
    /// Everything outside of the bank: negative by what the bank has.
    World,
    /// Credits at the agency that no licence has.
    Held,
    /// Credits that a licence may still spend.
    Licensed(u64),
    /// Credits of payments whose message was perhaps not delivered.
    Reserved(u64),
    /// Credits of payments whose message was delivered, until the payee has cleared them.
    Paid(u64),
    /// Credits that were received, until the agency has cleared them.
    Received,
}

impl BookAccount for BankAccount {
    fn is_solid(self) -> bool {
        self != Self::World
    }
}

/// Kind of an order at the agency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OrderKind {
    Buy,
    Redeem,
}

/// Event. Its credits are at most `i64::MAX`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The bank was created.
    Founded {
        /// Name of the agency, as in its tokens.
        agency: String,
        /// The user's name of the account there.
        account: String,
    },
    /// An answer of the agency was booked. What its balance differs from the books was bought or paid out there.
    Checkpoint {
        /// Head of the agency's chain.
        agency: Head,
        /// Number of the account at the agency.
        account: u64,
        /// Balance of the account.
        balance: u64,
        /// What the books held before.
        before: u64,
        /// Hash of the signed receipt.
        receipt: Hash,
    },
    /// The agency licensed a key.
    Licensed {
        license: u64,
        /// Its name in tokens.
        kid: String,
        key: PublicKey,
        /// Most credits that the key may sign for.
        credits: u64,
        until: UnixTime,
    },
    /// A licence ended before its time: it signs for nothing more.
    LicenseEnded { license: u64 },
    /// The agency gave back what was not cleared.
    LicenseClosed { license: u64, credits: u64 },
    /// Credits were reserved for a payment, and its token was made.
    Reserved {
        /// Name of the payment.
        payment: Hash,
        license: u64,
        credits: u64,
        /// ID that the receiver asked to be named.
        id: String,
        /// End of the ID, which is the token's.
        until: UnixTime,
        /// Account of the payee.
        peer: String,
        /// Hash of the token.
        token: Hash,
    },
    /// A reserved payment has a new ID and a new token, since the receiver wanted none of the old.
    Renewed {
        payment: Hash,
        /// Licence and credits before.
        before: (u64, u64),
        license: u64,
        credits: u64,
        id: String,
        until: UnixTime,
        token: Hash,
    },
    /// The message of a payment was delivered.
    Settled { payment: Hash, license: u64, credits: u64 },
    /// The payee cleared a payment.
    Cleared {
        payment: Hash,
        license: u64,
        credits: u64,
        /// Whether the payment was settled before.
        settled: bool,
    },
    /// The agency declared a payment void, and will pay it no more.
    Released {
        payment: Hash,
        license: u64,
        credits: u64,
        /// Whether the payment was settled before.
        settled: bool,
    },
    /// A token came in, and its message is being handed on.
    Pending {
        id: String,
        /// Hash of the mailbox and of the message.
        copy: Hash,
        /// Licence of the payer.
        peer: String,
        credits: u64,
        until: UnixTime,
        /// Hash of the token.
        token: Hash,
    },
    /// The message of a token was delivered.
    Received { id: String, credits: u64 },
    /// The message of a token was refused.
    Dropped { id: String },
    /// Tokens are being handed in.
    Sent {
        /// Idempotency key.
        request: String,
        ids: Vec<String>,
    },
    /// The agency answered for tokens that were handed in.
    Collected {
        /// Idempotency key.
        request: String,
        /// IDs that were paid, and their credits.
        taken: Vec<(String, u64)>,
        /// IDs that were not, their credits, and the agency's word for the reason.
        refused: Vec<(String, u64, String)>,
    },
    /// Credits were ordered, or money for credits. What comes of it is in a checkpoint.
    Ordered {
        order: OrderKind,
        /// Reference under which the agency books it once.
        reference: String,
        credits: u64,
    },
    /// Closed payments and tokens that ended before this time were removed.
    Forgotten { before: UnixTime },
    /// The file was restored from a copy: what was booked since then is lost.
    Restored {
        /// Head that the agency saw last, if it told.
        seen: Option<Head>,
    },
}

impl Event {
    /// Returns the credits that the event promises to a payee, beyond what was promised before.
    #[must_use]
    pub fn promised(&self) -> u64 {
        match self {
            Self::Reserved { credits, .. } => *credits,
            Self::Renewed { before: (_, before), credits, .. } => credits.saturating_sub(*before),
            _ => 0,
        }
    }

    /// Returns the transaction of the event.
    #[must_use]
    pub fn transaction(&self) -> Transaction<BankAccount> {
        use BankAccount::{Held, Licensed, Paid, Received, Reserved, World};
        let none = Transaction::default();
        let moved = |from, to, credits: u64| Transaction::default().transfer(from, to, Unit::Credits, credits);
        let spent = |license: u64, settled: bool| if settled { Paid(license) } else { Reserved(license) };
        match self {
            Self::Founded { .. }
            | Self::LicenseEnded { .. }
            | Self::Pending { .. }
            | Self::Dropped { .. }
            | Self::Sent { .. }
            | Self::Ordered { .. }
            | Self::Forgotten { .. }
            | Self::Restored { .. } => none,
            Self::Checkpoint { balance, before, .. } => {
                let gain = moved(World, Held, balance.saturating_sub(*before));
                gain.transfer(Held, World, Unit::Credits, before.saturating_sub(*balance))
            }
            Self::Licensed { license, credits, .. } => moved(Held, Licensed(*license), *credits),
            Self::LicenseClosed { license, credits } => moved(Licensed(*license), Held, *credits),
            Self::Reserved { license, credits, .. } => moved(Licensed(*license), Reserved(*license), *credits),
            Self::Renewed { before: (from, credits_before), license, credits, .. } => moved(
                Reserved(*from),
                Licensed(*from),
                *credits_before,
            )
            .transfer(Licensed(*license), Reserved(*license), Unit::Credits, *credits),
            Self::Settled { license, credits, .. } => moved(Reserved(*license), Paid(*license), *credits),
            Self::Cleared { license, credits, settled, .. } => moved(spent(*license, *settled), World, *credits),
            Self::Released { license, credits, settled, .. } => {
                moved(spent(*license, *settled), Licensed(*license), *credits)
            }
            Self::Received { credits, .. } => moved(World, Received, *credits),
            Self::Collected { taken, refused, .. } => {
                let sum = |credits: u64, each: u64| credits.saturating_add(each);
                let paid = taken.iter().map(|(_, credits)| *credits).fold(0, sum);
                let lost = refused.iter().map(|(_, credits, _)| *credits).fold(0, sum);
                moved(Received, Held, paid).transfer(Received, World, Unit::Credits, lost)
            }
        }
    }

    /// Returns its name, as in JSON.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Founded { .. } => "founded",
            Self::Checkpoint { .. } => "checkpoint",
            Self::Licensed { .. } => "licensed",
            Self::LicenseEnded { .. } => "license-ended",
            Self::LicenseClosed { .. } => "license-closed",
            Self::Reserved { .. } => "reserved",
            Self::Renewed { .. } => "renewed",
            Self::Settled { .. } => "settled",
            Self::Cleared { .. } => "cleared",
            Self::Released { .. } => "released",
            Self::Pending { .. } => "pending",
            Self::Received { .. } => "received",
            Self::Dropped { .. } => "dropped",
            Self::Sent { .. } => "sent",
            Self::Collected { .. } => "collected",
            Self::Ordered { .. } => "ordered",
            Self::Forgotten { .. } => "forgotten",
            Self::Restored { .. } => "restored",
        }
    }
}
