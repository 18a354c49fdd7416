//! One payment at a time for a purchase, whichever way it is paid: another party may have its money already.
//!
//! Both sets are of this process, in which all sales of the page are. What was sent to a mint is recorded besides.

use super::Due;
use crate::accounting::hash::Hash;
use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most purchases that are remembered as begun elsewhere.
const MOST: usize = 10_000;

/// Purchases that are under way, and those that were begun elsewhere.
#[derive(Debug, Default)]
pub struct Purchases {
    under_way: Mutex<HashSet<Hash>>,
    elsewhere: Mutex<HashSet<Hash>>,
}

/// The only step of a purchase that is under way, until it is dropped.
#[derive(Debug)]
pub struct Alone<'a> {
    purchases: &'a Purchases,
    name: Hash,
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        locked(&self.purchases.under_way).remove(&self.name);
    }
}

impl Purchases {
    /// Marks a purchase as under way, from the payment to the sale or the refund; `None` if it is already.
    #[must_use]
    pub fn alone(&self, due: &Due) -> Option<Alone<'_>> {
        let name = due.hash();
        locked(&self.under_way).insert(name).then(|| Alone { purchases: self, name })
    }

    /// Remembers that the buyer was led to a provider of payments.
    pub fn begin_elsewhere(&self, due: &Due) {
        let mut elsewhere = locked(&self.elsewhere);
        if elsewhere.len() >= MOST {
            let any = elsewhere.iter().next().copied();
            any.map(|any| elsewhere.remove(&any));
        }
        elsewhere.insert(due.hash());
    }

    /// Returns whether the buyer was led to a provider of payments.
    #[must_use]
    pub fn is_begun_elsewhere(&self, due: &Due) -> bool {
        locked(&self.elsewhere).contains(&due.hash())
    }
}

fn locked(set: &Mutex<HashSet<Hash>>) -> MutexGuard<'_, HashSet<Hash>> {
    set.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounting::order::Order;
    use crate::stamp::audience::Audience;

    fn due(purchase: &str) -> Due {
        let order = Order::new(Audience::parse("joe@x.example").unwrap());
        Due { purchase: purchase.into(), order, cost: "1 EUR".parse().unwrap() }
    }

    #[test]
    fn a_purchase_is_under_way_once() {
        let purchases = Purchases::default();
        let first = purchases.alone(&due("a")).unwrap();
        assert!(purchases.alone(&due("a")).is_none() && purchases.alone(&due("b")).is_some());
        drop(first);
        assert!(purchases.alone(&due("a")).is_some());
    }

    #[test]
    fn memory_of_what_was_begun_elsewhere_is_bounded() {
        let purchases = Purchases::default();
        for number in 0..MOST + 10 {
            purchases.begin_elsewhere(&due(&number.to_string()));
        }
        assert_eq!(purchases.elsewhere.lock().unwrap().len(), MOST);
        purchases.begin_elsewhere(&due("last"));
        assert!(purchases.is_begun_elsewhere(&due("last")) && !purchases.is_begun_elsewhere(&due("never")));
    }
}
