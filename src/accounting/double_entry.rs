//! Double entry. What moves leaves one book and comes into another: a [`Transaction`] can be made of transfers only, so
//! the sum of its postings is zero for every unit, and so is the sum of all balances at all times.

use super::money::Currency;
use serde::{Deserialize, Serialize};

/// A book, which has a balance for every unit that was ever posted to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccountCode {
    /// What an account has. Never below zero.
    Account(u64),
    /// What vouchers are still worth.
    Vouchers,
    /// Stamps that were sold and not taken back.
    Outstanding,
    /// Where credits come from when they are sold, and go to when they are paid out: below zero by what is in
    /// circulation.
    Issue,
    /// Credits of stamps that were revoked for good.
    Forfeited,
    /// The vendor's money.
    Cash,
    /// What was taken for credits.
    Sales,
    /// What was paid for credits.
    Payouts,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Credits.
    Credits,
    /// Millionths of a currency.
    Money(Currency),
}

/// One line of a transaction: a book gets so much, or gives it when negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Posting {
    /// The book.
    pub book: AccountCode,
    /// What is counted.
    pub unit: Unit,
    /// How much.
    pub amount: i64,
}

/// Postings whose sum is zero for every unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction(Vec<Posting>);

impl Transaction {
    /// Moves so much from one book to another as well. Nothing is posted for an amount of zero.
    #[must_use]
    pub fn transfer(mut self, from: AccountCode, to: AccountCode, unit: Unit, amount: u64) -> Self {
        // No event carries more (see event.rs); what did would be refused as out of range by every balance.
        let amount = i64::try_from(amount).unwrap_or(i64::MAX);
        if amount != 0 {
            self.0.push(Posting { book: from, unit, amount: -amount });
            self.0.push(Posting { book: to, unit, amount });
        }
        self
    }

    /// The postings, in pairs.
    #[must_use]
    pub fn postings(&self) -> &[Posting] {
        &self.0
    }
}

/// A balance after a posting; `None` when it leaves the range, or when a book that may not be below zero would be.
#[must_use]
pub fn posted(balance: i64, posting: &Posting) -> Option<i64> {
    let after = balance.checked_add(posting.amount)?;
    let solid = matches!(
        posting.book,
        AccountCode::Account(_) | AccountCode::Vouchers | AccountCode::Outstanding | AccountCode::Forfeited
    );
    (after >= 0 || !solid || after > balance).then_some(after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn ledger() -> impl Strategy<Value = AccountCode> {
        prop_oneof![
            (0_u64..4).prop_map(AccountCode::Account),
            Just(AccountCode::Outstanding),
            Just(AccountCode::Issue),
            Just(AccountCode::Cash)
        ]
    }

    proptest! {
        // E7: the sum is zero whatever is moved
        #[test]
        fn sums_are_zero_by_construction(moves in prop::collection::vec((ledger(), ledger(), 0..u64::MAX, any::<bool>()), 0..40)) {
            let mut sums: BTreeMap<Unit, i128> = BTreeMap::new();
            for (from, to, amount, money) in moves {
                let unit = if money { Unit::Money("EUR".parse().unwrap()) } else { Unit::Credits };
                for posting in Transaction::default().transfer(from, to, unit, amount).postings() {
                    *sums.entry(posting.unit).or_default() += i128::from(posting.amount);
                }
            }
            prop_assert!(sums.values().all(|&sum| sum == 0));
        }
    }

    #[test]
    fn what_an_account_has_never_goes_below_zero() {
        let take = |book, amount| posted(5, &Posting { book, unit: Unit::Credits, amount });
        assert_eq!(take(AccountCode::Account(1), -5), Some(0));
        assert_eq!(take(AccountCode::Account(1), -6), None);
        assert_eq!(take(AccountCode::Issue, -6), Some(-1));
        assert_eq!(take(AccountCode::Account(1), i64::MAX), None);
    }
}
