//! What can happen in a vendor's ledger, as an entry of the chain keeps it, and which transaction that is. Balances follow
//! from the events alone, so the events are the ledger and everything else is an index. No address and no contact stands
//! in an event: the chain cannot forget.

use super::double_entry::{AccountCode, Transaction, Unit};
use super::hash::Hash;
use super::money::{Money, Price};
use super::order::Caps;
use super::serial_derivation::Draw;
use crate::stamp::serial::Serial;
use crate::stamp::signing::PublicKey;
use crate::time::UnixTime;
use serde::{Deserialize, Serialize};

/// On what terms the vendor sells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// What a credit costs.
    pub price: Price,
    /// What a credit brings when it is paid out; as much as it costs, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payout: Option<Price>,
    /// For how many days a stamp holds that asks for no end.
    pub days: u32,
    /// The caps, where an account has none of its own.
    pub caps: Caps,
    /// Whether unused stamps are taken back from who bought them.
    pub refunds: bool,
}

impl Terms {
    /// For how many days a stamp holds that asks for no end, within these caps.
    #[must_use]
    pub fn days_within(&self, caps: &Caps) -> u32 {
        self.days.min(caps.days)
    }
}

/// Who pays for stamps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Buyer {
    /// An account.
    Account(u64),
    /// Whoever had this voucher, named by the hash of its code.
    Voucher(Hash),
    /// Whoever paid for exactly these stamps elsewhere: the provider's name and his reference.
    Paid {
        /// For how much.
        cost: Money,
        /// `provider:reference`; each is taken once.
        reference: String,
    },
}

/// What a vendor says of a key of his.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyState {
    /// It is published, and does not sign yet.
    Prepared,
    /// It signs. One key does at a time.
    Active,
    /// It signs no more; its stamps hold.
    VerifyOnly,
    /// Nothing that it signed since then holds any more.
    Revoked {
        /// Since when; always, if absent.
        since: Option<UnixTime>,
    },
}

/// What happened. Credits of one event are at most `i64::MAX`, and its money as well; the ledger refuses more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The ledger was begun.
    Founded {
        /// The vendor's name.
        vendor: String,
    },
    /// These terms hold from now on.
    Terms {
        /// The terms.
        terms: Terms,
    },
    /// A key has this state from now on.
    Key {
        /// Its name.
        kid: String,
        /// The key.
        key: PublicKey,
        /// Its state.
        state: KeyState,
    },
    /// An account was opened.
    Opened {
        /// Its number.
        account: u64,
        /// Its name.
        name: String,
    },
    /// An account was closed.
    Closed {
        /// Its number.
        account: u64,
    },
    /// Credits were bought.
    Credited {
        /// Whose they are.
        account: u64,
        /// How many.
        credits: u64,
        /// For how much; nothing for a gift.
        cost: Money,
        /// What tells this purchase from others; each is taken once.
        reference: String,
    },
    /// A voucher was sold.
    VoucherMade {
        /// The hash of its code.
        voucher: Hash,
        /// What it is worth.
        credits: u64,
        /// For how much; nothing for a gift.
        cost: Money,
    },
    /// A voucher was put on an account.
    VoucherTaken {
        /// The hash of its code.
        voucher: Hash,
        /// Whose credits they are now.
        account: u64,
        /// How many.
        credits: u64,
    },
    /// Stamps were sold.
    Issued {
        /// Who paid.
        buyer: Buyer,
        /// What their serials are drawn from.
        #[serde(with = "seed")]
        seed: [u8; 32],
        /// Their values in the order of their drawing, each with how often it comes one after another.
        values: Vec<(u64, u32)>,
        /// The key that signs them.
        kid: String,
        /// When the last of them ends, so that nobody needs to know of them for ever.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<UnixTime>,
    },
    /// Used stamps were taken back.
    Deposited {
        /// Who owns the addresses that they name.
        account: u64,
        /// Their serials.
        serials: Vec<Serial>,
        /// What they were worth together.
        credits: u64,
    },
    /// Unused stamps were taken back, and are revoked.
    Refunded {
        /// Who bought them.
        account: u64,
        /// Their serials.
        serials: Vec<Serial>,
        /// What they were worth together.
        credits: u64,
    },
    /// Stamps were revoked for good.
    Revoked {
        /// Their serials.
        serials: Vec<Serial>,
        /// What they were worth together.
        credits: u64,
    },
    /// Credits were paid out.
    PaidOut {
        /// Whose they were.
        account: u64,
        /// How many.
        credits: u64,
        /// For how much.
        sum: Money,
        /// What tells this payout from others; each is taken once.
        reference: String,
    },
    /// The ledger was restored from a backup, which ended with the entry before this one.
    Restored,
}

impl Event {
    /// Which sums it moves.
    #[must_use]
    pub fn transaction(&self) -> Transaction {
        let none = Transaction::default();
        let credits = |from, to, credits: u64| none.clone().transfer(from, to, Unit::Credits, credits);
        match self {
            Self::Founded { .. }
            | Self::Terms { .. }
            | Self::Key { .. }
            | Self::Opened { .. }
            | Self::Closed { .. }
            | Self::Restored => none,
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
            },
            Self::Deposited { account, credits: worth, .. } | Self::Refunded { account, credits: worth, .. } => {
                credits(AccountCode::Outstanding, AccountCode::Account(*account), *worth)
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

    /// The account that it concerns.
    #[must_use]
    pub fn account(&self) -> Option<u64> {
        match self {
            Self::Opened { account, .. }
            | Self::Closed { account }
            | Self::Credited { account, .. }
            | Self::VoucherTaken { account, .. }
            | Self::Issued { buyer: Buyer::Account(account), .. }
            | Self::Deposited { account, .. }
            | Self::Refunded { account, .. }
            | Self::PaidOut { account, .. } => Some(*account),
            _ => None,
        }
    }

    /// The value at which it sold this serial, of which the ledger knows that it did.
    #[must_use]
    pub fn value_of(&self, serial: &[u8; 16], at: UnixTime) -> Option<u64> {
        match self {
            // Most requests are for stamps of one value; the serials need not be drawn again.
            Self::Issued { values, .. } if values.len() == 1 => values.first().map(|&(value, _)| value),
            _ => self.issued(at).find(|(it, _)| it == serial).map(|(_, value)| value),
        }
    }

    /// The stamps that it put into the world, each with its serial's bytes and its value; nothing for other events.
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

/// The value of so many stamps.
#[must_use]
pub fn sum(values: &[(u64, u32)]) -> u64 {
    values.iter().fold(0, |sum: u64, &(value, times)| sum.saturating_add(value.saturating_mul(u64::from(times))))
}

/// Equal values one after another, counted.
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
        event.transaction().postings().iter().map(|it| (it.book, it.unit, it.amount)).collect()
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
