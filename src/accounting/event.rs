//! Events of a vendor's ledger, as entries of the chain, and the transaction of each. Balances follow from the events
//! alone: the events are the ledger, and everything else is an index.
//!
//! An event contains no email address and no contact, since the chain never forgets. It contains their salted hashes:
//! the salt is in the row that has the text, and goes with it.

use super::double_entry::{AccountCode, Transaction, Unit};
use super::hash::Hash;
use super::money::{Money, Price};
use super::order::{Caps, DAYS_MAX, OwnCaps};
use super::serial_derivation::Draw;
use super::work::{Gift, WorkTerms};
use crate::stamp::serial::Serial;
use crate::stamp::signing::PublicKey;
use crate::time::UnixTime;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Terms of the vendor's sales.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Price of a credit.
    pub price: Price,
    /// Payout for a credit; its price, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payout: Option<Price>,
    /// Lifetime in days of a stamp without a given end.
    pub days: u32,
    /// Caps of accounts without their own.
    pub caps: Caps,
    /// Highest limit of a meter's licence; no meter is licensed if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meters: Option<u64>,
    /// Salted hash of the one address for which stamps are sold; any address, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<Hash>,
    /// Stamps without value, for work or a code; none, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<WorkTerms>,
}

impl Terms {
    /// Creates terms with a price: any recipient, no meters, no stamps without value.
    #[must_use]
    pub fn new(price: Price, days: u32) -> Self {
        Self { price, payout: None, days, caps: Caps::default(), meters: None, recipient: None, work: None }
    }

    /// Returns the lifetime in days of a stamp without a given end, within these caps.
    #[must_use]
    pub fn days_within(&self, caps: &Caps) -> u32 {
        self.days.min(caps.days).min(DAYS_MAX)
    }
}

/// A claim on a licence: its number, the credits, and the payment ([`payment_hash`](super::meter::payment_hash)).
pub type Claim = (u64, u64, Hash);

/// Head of the chain of a bank: number and hash of its last entry.
pub type Position = (u64, Hash);

/// Buyer of stamps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Buyer {
    Account(u64),
    /// The holder of this voucher, given by the hash of its code.
    Voucher(Hash),
    /// A buyer who paid a provider for exactly these stamps.
    Paid {
        /// The amount.
        cost: Money,
        /// `provider:reference`; each is accepted once.
        reference: String,
    },
    /// A visitor without payment, for a stamp without value.
    Given(Gift),
}

/// State of a vendor's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyState {
    /// Published, but not signing yet.
    Prepared,
    /// Signing. One key is active at a time.
    Active,
    /// No longer signing; its stamps stay valid.
    VerifyOnly,
    /// Nothing that it signed since then is valid.
    Revoked {
        /// Start of the revocation; all signatures, if absent.
        since: Option<UnixTime>,
    },
}

/// Event. Its credits and its money are at most `i64::MAX`; the ledger rejects more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The ledger was created.
    Founded {
        /// The vendor's name.
        vendor: String,
    },
    /// These terms apply from now on.
    Terms { terms: Terms },
    /// A key has this state from now on.
    Key {
        /// Its name.
        kid: String,
        key: PublicKey,
        state: KeyState,
    },
    /// An account was opened.
    Opened {
        account: u64,
        name: String,
        /// The salted hash of its contact.
        contact: Hash,
        /// Its own caps.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        caps: Option<OwnCaps>,
    },
    /// An account was closed.
    Closed { account: u64 },
    /// An account has another contact from now on.
    Contact {
        account: u64,
        /// Its salted hash.
        contact: Hash,
    },
    /// An account has these caps of its own from now on.
    Caps { account: u64, caps: Option<OwnCaps> },
    /// An API key opens the account from now on.
    KeyMade {
        account: u64,
        /// The hash of the API key.
        key: Hash,
    },
    /// An API key opens nothing any more.
    KeyRevoked {
        account: u64,
        /// The hash of the API key.
        key: Hash,
    },
    /// An account owns an address or a domain from now on.
    Owned {
        account: u64,
        /// The salted hash of the address or domain.
        subject: Hash,
    },
    /// An account no longer owns an address or a domain.
    Disowned {
        account: u64,
        /// The salted hash of the address or domain.
        subject: Hash,
    },
    /// Credits were bought.
    Credited {
        account: u64,
        credits: u64,
        /// The amount; zero for a gift.
        cost: Money,
        /// Reference of the purchase; each is accepted once.
        reference: String,
    },
    /// A voucher was sold.
    VoucherMade {
        /// The hash of its code.
        voucher: Hash,
        credits: u64,
        /// The amount; zero for a gift.
        cost: Money,
    },
    /// A voucher was put on an account.
    VoucherTaken {
        /// The hash of its code.
        voucher: Hash,
        account: u64,
        credits: u64,
    },
    /// Stamps were sold.
    Issued {
        buyer: Buyer,
        /// Seed of their serials.
        #[serde(with = "seed")]
        seed: [u8; 32],
        /// Their values in the order of their serials, run-length encoded.
        values: Vec<(u64, u32)>,
        /// The key that signs them.
        kid: String,
        /// End of the last one, after which it need not be listed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<UnixTime>,
    },
    /// Used stamps were taken back.
    Deposited {
        /// Account that owns the addresses that they name.
        account: u64,
        /// Their serials.
        serials: Vec<Serial>,
        /// Their total value in credits.
        credits: u64,
    },
    /// Stamps were revoked for good.
    Revoked {
        /// Their serials.
        serials: Vec<Serial>,
        /// Their total value in credits.
        credits: u64,
    },
    /// Credits were paid out.
    PaidOut {
        account: u64,
        credits: u64,
        sum: Money,
        /// Reference of the payout; each is accepted once.
        reference: String,
    },
    /// A meter may sign for credits of the account, which are locked.
    Licensed {
        account: u64,
        /// Its number, from 1.
        license: u64,
        /// Name of the meter's key.
        kid: String,
        key: PublicKey,
        /// The credits.
        limit: u64,
        /// End of the licence.
        until: UnixTime,
        /// Head of the bank's chain.
        bank: Position,
    },
    /// A licence was revoked; its credits stay locked until it is closed.
    LicenseEnded { account: u64, license: u64 },
    /// Tokens were cleared.
    Cleared {
        /// The payee.
        account: u64,
        /// Head of the payee's bank's chain.
        bank: Position,
        /// Licence, credits and payment of each token.
        each: Vec<Claim>,
        /// Tokens for which their licences had too few credits left: nothing was paid.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        over: Vec<Claim>,
    },
    /// A licence was closed, and its rest returned to the account.
    LicenseClosed {
        account: u64,
        license: u64,
        /// The rest.
        credits: u64,
    },
    /// The owner of an account says that its bank was restored from a copy.
    BankRestored {
        account: u64,
        /// Head of the bank's chain.
        bank: Position,
        /// Head that was seen before.
        last: Position,
    },
    /// The ledger was restored from a backup, which ended with the entry before this one.
    Restored,
    /// The public log got the leaves of all entries after those of the event before, up to and with `through`.
    Logged {
        through: u64,
        /// Highest day in the log's tree, since 1970.
        day: u32,
        /// Leaves of the tree.
        size: u64,
        /// Root of the tree.
        root: Hash,
    },
    /// The public log was taken over from its published files, which were ahead of this chain.
    LogResumed {
        /// The log has the leaves of all entries up to and with this one.
        through: u64,
        /// Highest day in the log's tree, since 1970.
        day: u32,
        /// Leaves of the tree.
        size: u64,
        /// Root of the tree.
        root: Hash,
        /// Hash of what the log has and the entries do not have: stamps and payments that are spent.
        spent: Hash,
    },
}

impl Event {
    /// Returns the transaction of the event.
    #[must_use]
    pub fn transaction(&self) -> Transaction {
        let none = Transaction::<AccountCode>::default();
        let credits = |from, to, credits: u64| none.clone().transfer(from, to, Unit::Credits, credits);
        match self {
            Self::Founded { .. }
            | Self::Terms { .. }
            | Self::Key { .. }
            | Self::Opened { .. }
            | Self::Closed { .. }
            | Self::Contact { .. }
            | Self::Caps { .. }
            | Self::KeyMade { .. }
            | Self::KeyRevoked { .. }
            | Self::Owned { .. }
            | Self::Disowned { .. }
            | Self::LicenseEnded { .. }
            | Self::BankRestored { .. }
            | Self::Restored
            | Self::Logged { .. }
            | Self::LogResumed { .. } => none,
            Self::Credited { account, credits: sold, cost, .. } => {
                sale(credits(AccountCode::Issue, AccountCode::Account(*account), *sold), cost)
            }
            Self::VoucherMade { credits: sold, cost, .. } => {
                sale(credits(AccountCode::Issue, AccountCode::Vouchers, *sold), cost)
            }
            Self::VoucherTaken { account, credits: taken, .. } => {
                credits(AccountCode::Vouchers, AccountCode::Account(*account), *taken)
            }
            Self::Issued { buyer, values, .. } => match buyer {
                Buyer::Account(account) => {
                    credits(AccountCode::Account(*account), AccountCode::Outstanding, sum(values))
                }
                Buyer::Voucher(_) => credits(AccountCode::Vouchers, AccountCode::Outstanding, sum(values)),
                Buyer::Paid { cost, .. } => {
                    sale(credits(AccountCode::Issue, AccountCode::Outstanding, sum(values)), cost)
                }
                Buyer::Given(_) => none,
            },
            Self::Deposited { account, credits: worth, .. } => {
                credits(AccountCode::Outstanding, AccountCode::Account(*account), *worth)
            }
            Self::Licensed { account, license, limit, .. } => {
                credits(AccountCode::Account(*account), AccountCode::License(*license), *limit)
            }
            Self::Cleared { account, each, .. } => {
                // One transfer for each licence.
                let mut sums: BTreeMap<u64, u64> = BTreeMap::new();
                for (license, worth, _) in each {
                    let sum = sums.entry(*license).or_default();
                    *sum = sum.saturating_add(*worth);
                }
                sums.into_iter().fold(none, |moved, (license, sum)| {
                    moved.transfer(AccountCode::License(license), AccountCode::Account(*account), Unit::Credits, sum)
                })
            }
            Self::LicenseClosed { account, license, credits: rest } => {
                credits(AccountCode::License(*license), AccountCode::Account(*account), *rest)
            }
            Self::Revoked { credits: worth, .. } => credits(AccountCode::Outstanding, AccountCode::Forfeited, *worth),
            Self::PaidOut { account, credits: paid, sum, .. } => {
                let unit = Unit::Money(sum.currency);
                credits(AccountCode::Account(*account), AccountCode::Issue, *paid).transfer(
                    AccountCode::Cash,
                    AccountCode::Payouts,
                    unit,
                    sum.micros.unsigned_abs(),
                )
            }
        }
    }

    /// Returns the account that it concerns.
    #[must_use]
    pub fn account(&self) -> Option<u64> {
        match self {
            Self::Opened { account, .. }
            | Self::Closed { account }
            | Self::Contact { account, .. }
            | Self::Caps { account, .. }
            | Self::KeyMade { account, .. }
            | Self::KeyRevoked { account, .. }
            | Self::Owned { account, .. }
            | Self::Disowned { account, .. }
            | Self::Credited { account, .. }
            | Self::VoucherTaken { account, .. }
            | Self::Issued { buyer: Buyer::Account(account), .. }
            | Self::Deposited { account, .. }
            | Self::Licensed { account, .. }
            | Self::LicenseEnded { account, .. }
            | Self::Cleared { account, .. }
            | Self::LicenseClosed { account, .. }
            | Self::BankRestored { account, .. }
            | Self::PaidOut { account, .. } => Some(*account),
            _ => None,
        }
    }

    /// Returns the value at which it sold this serial. The caller knows that it did.
    #[must_use]
    pub fn value_of(&self, serial: &[u8; 16], at: UnixTime) -> Option<u64> {
        match self {
            // Most requests are for stamps of one value; the serials need not be derived again.
            Self::Issued { values, .. } if values.len() == 1 => values.first().map(|&(value, _)| value),
            _ => self.issued(at).find(|(it, _)| it == serial).map(|(_, value)| value),
        }
    }

    /// Returns the stamps that it issued, each with the bytes of its serial and its value; none for other events.
    pub fn issued(&self, at: UnixTime) -> impl Iterator<Item = ([u8; 16], u64)> + '_ {
        let issue = match self {
            Self::Issued { seed, values, .. } => Some((Draw::new(at, *seed), values)),
            _ => None,
        };
        issue.into_iter().flat_map(|(draw, values)| {
            let each = values.iter().flat_map(|&(value, times)| (0..times).map(move |_| value));
            (0..).zip(each).map(move |(index, value)| (draw.serial_bytes(index), value))
        })
    }
}

/// Returns the total value of stamps.
#[must_use]
pub fn sum(values: &[(u64, u32)]) -> u64 {
    values.iter().fold(0, |sum: u64, &(value, times)| sum.saturating_add(value.saturating_mul(u64::from(times))))
}

/// Encodes values as runs of equal ones.
#[must_use]
pub fn runs(values: impl IntoIterator<Item = u64>) -> Vec<(u64, u32)> {
    let mut runs: Vec<(u64, u32)> = Vec::new();
    for value in values {
        match runs.last_mut() {
            Some((last, times)) if *last == value && *times < u32::MAX => *times += 1,
            _ => runs.push((value, 1)),
        }
    }
    runs
}

fn sale(transaction: Transaction, cost: &Money) -> Transaction {
    let unit = Unit::Money(cost.currency);
    transaction.transfer(AccountCode::Sales, AccountCode::Cash, unit, cost.micros.unsigned_abs())
}

/// A seed as base64url.
mod seed {
    use data_encoding::BASE64URL_NOPAD;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8; 32], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&BASE64URL_NOPAD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(from)?;
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(D::Error::custom)?;
        bytes.try_into().map_err(|_| D::Error::custom("not 32 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eur(text: &str) -> Money {
        text.parse().unwrap()
    }

    fn postings(event: &Event) -> Vec<(AccountCode, Unit, i64)> {
        event.transaction().postings().iter().map(|it| (it.account, it.unit, it.amount)).collect()
    }

    // BC2: the debit is n times the value
    #[test]
    fn stamps_are_debited_at_their_value() {
        let issued =
            |values| Event::Issued { buyer: Buyer::Account(7), seed: [1; 32], values, kid: "a".into(), until: None };
        for (values, debit) in
            [(vec![(1, 1)], 1), (vec![(1, 10)], 10), (vec![(1, 1000)], 1000), (vec![(5, 2), (1, 3)], 13)]
        {
            let event = issued(values);
            let expected =
                [(AccountCode::Account(7), Unit::Credits, -debit), (AccountCode::Outstanding, Unit::Credits, debit)];
            assert_eq!(postings(&event), expected);
            let each: Vec<_> = event.issued(UnixTime(9)).collect();
            assert_eq!(each.iter().map(|(_, value)| i64::try_from(*value).unwrap()).sum::<i64>(), debit);
            let draw = Draw::new(UnixTime(9), [1; 32]);
            assert!((0..).zip(&each).all(|(index, (serial, _))| *serial == draw.serial_bytes(index)));
        }
    }

    #[test]
    fn money_and_credits_move_side_by_side() {
        let money = Unit::Money("EUR".parse().unwrap());
        let bought =
            Event::Credited { account: 1, credits: 1_000_000, cost: eur("1000.00 EUR"), reference: "r".into() };
        let expected = [
            (AccountCode::Issue, Unit::Credits, -1_000_000),
            (AccountCode::Account(1), Unit::Credits, 1_000_000),
            (AccountCode::Sales, money, -1_000_000_000),
            (AccountCode::Cash, money, 1_000_000_000),
        ];
        assert_eq!(postings(&bought), expected);
        let gift = Event::Credited { account: 1, credits: 5, cost: eur("0 EUR"), reference: "r".into() };
        assert_eq!(postings(&gift).len(), 2);
    }

    #[test]
    fn runs_are_the_values() {
        assert_eq!(runs([1, 1, 5, 1]), [(1, 2), (5, 1), (1, 1)]);
        assert_eq!(sum(&runs([1, 1, 5, 1])), 8);
        assert!(runs([]).is_empty());
    }

    #[test]
    fn an_event_is_read_as_it_was_written() {
        let event = Event::Issued {
            buyer: Buyer::Paid { cost: eur("0.005 EUR"), reference: "p:1".into() },
            seed: [3; 32],
            values: vec![(5, 1)],
            kid: "2026q4".into(),
            until: Some(UnixTime(9)),
        };
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
    }
}
