//! Counting: what credits cost, what an order asks for and whether the caps allow it, which sums an event moves between
//! which accounts, and the chain that holds the entries together. Pure: time, random numbers and balances are handed in;
//! where the books are kept is known to the room `vendor`.
//!
//! - [`money`]: sums and prices, integers throughout.
//! - [`double_entry`]: double entry. A [`Transaction`](double_entry::Transaction) is made of transfers, so its sum is zero.
//! - [`event`]: what can happen, and which transaction that is.
//! - [`hash_chain`]: entries, each with the hash of all before it.
//! - [`order`]: what a buyer asks for, and the caps.
//! - [`serial_derivation`]: serials that never repeat.

#![deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]

pub mod double_entry;
pub mod event;
pub mod hash_chain;
pub mod money;
pub mod order;
pub mod serial_derivation;
