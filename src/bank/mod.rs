//! Counting: what credits cost, what an order asks for and whether the caps allow it, which sums an event moves between
//! which accounts, and the chain that holds the entries together. Pure: time, random numbers and balances are handed in;
//! where the books are kept is known to the room `vendor`.
//!
//! - [`money`]: sums and prices, integers throughout.
//! - [`ledger`]: double entry. A [`Transaction`](ledger::Transaction) is made of transfers, so its sum is zero.
//! - [`event`]: what can happen, and which transaction that is.
//! - [`chain`]: entries, each with the hash of all before it.
//! - [`order`]: what a buyer asks for, and the caps.
//! - [`draw`]: serials that never repeat.

#![deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]

pub mod chain;
pub mod draw;
pub mod event;
pub mod ledger;
pub mod money;
pub mod order;
