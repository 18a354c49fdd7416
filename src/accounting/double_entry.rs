//! Double-entry bookkeeping: an amount that leaves one ledger account enters another. A [`Transaction`] consists of
//! transfers only, so the sum of its postings is zero for every unit. The sum of all balances is therefore always zero
//! too.

use super::money::Currency;
use serde::{Deserialize, Serialize};

/// A ledger account, which has a balance for every unit that was ever posted to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccountCode {
    /// Credits of an account. Never below zero.
    Account(u64),
    /// Credits that a licence lets its meter sign for, by the number of the licence. Never below zero.
    License(u64),
    /// Remaining value of vouchers.
    Vouchers,
    /// Stamps that were sold and not taken back.
    Outstanding,
    /// Source of sold credits and target of paid-out ones: negative by the credits in circulation.
    Issue,
    /// Credits of stamps that were revoked for good.
    Forfeited,
    /// The vendor's money.
    Cash,
    /// Money received for credits.
    Sales,
    /// Money paid out for credits.
    Payouts,
}

/// Ledger account, of a vendor's ledger or of other books.
pub trait BookAccount: Copy {
    /// Returns whether its balance is never below zero.
    fn is_solid(self) -> bool;
}

impl BookAccount for AccountCode {
    fn is_solid(self) -> bool {
        matches!(self, Self::Account(_) | Self::License(_) | Self::Vouchers | Self::Outstanding | Self::Forfeited)
    }
}

/// Unit of an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    Credits,
    /// Millionths of a currency.
    Money(Currency),
}

/// One posting of a transaction: added to a ledger account; negative if removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Posting<A = AccountCode> {
    pub account: A,
    pub unit: Unit,
    pub amount: i64,
}

/// Postings that sum to zero for every unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction<A = AccountCode>(Vec<Posting<A>>);

impl<A> Default for Transaction<A> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<A: BookAccount> Transaction<A> {
    /// Adds a transfer from one ledger account to another. An amount of zero posts nothing.
    #[must_use]
    pub fn transfer(mut self, from: A, to: A, unit: Unit, amount: u64) -> Self {
        // No event moves more (see event.rs). Every balance would reject a larger amount as out of range.
        let amount = i64::try_from(amount).unwrap_or(i64::MAX);
        if amount != 0 {
            self.0.push(Posting { account: from, unit, amount: -amount });
            self.0.push(Posting { account: to, unit, amount });
        }
        self
    }

    /// Returns the postings, in pairs.
    #[must_use]
    pub fn postings(&self) -> &[Posting<A>] {
        &self.0
    }
}

/// Returns a balance after a posting.
///
/// `None` when it leaves its range, or when a ledger account that must not be negative would be.
#[must_use]
pub fn posted<A: BookAccount>(balance: i64, posting: &Posting<A>) -> Option<i64> {
    let after = balance.checked_add(posting.amount)?;
    (after >= 0 || !posting.account.is_solid() || after > balance).then_some(after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn ledger() -> impl Strategy<Value = AccountCode> {
        prop_oneof![
            (0_u64..4).prop_map(AccountCode::Account),
            (0_u64..4).prop_map(AccountCode::License),
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
        let take = |account, amount| posted(5, &Posting { account, unit: Unit::Credits, amount });
        assert_eq!(take(AccountCode::Account(1), -5), Some(0));
        assert_eq!(take(AccountCode::Account(1), -6), None);
        assert_eq!(take(AccountCode::License(1), -5), Some(0));
        assert_eq!(take(AccountCode::License(1), -6), None);
        assert_eq!(take(AccountCode::Issue, -6), Some(-1));
        assert_eq!(take(AccountCode::Account(1), i64::MAX), None);
    }
}
