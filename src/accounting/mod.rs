//! Accounting of credits: prices, orders and their caps, events and their transactions, and the hash chain of entries.
//! Pure: time, random numbers and balances are arguments. The ledger (`ledger/`) keeps the entries on the disk.
//!
//! - [`bank`]: the books of a gateway's bank.
//! - [`money`]: sums and prices, integers throughout.
//! - [`double_entry`]: a [`Transaction`](double_entry::Transaction) consists of transfers, so its sum is zero.
//! - [`event`]: the events of a ledger, and the transaction of each.
//! - [`hash`]: SHA-256 hashes. [`hash_chain`]: entries, each with the hash of all before it.
//! - [`meter`]: payments by meters: limits of licences, and why a token is not cleared.
//! - [`order`]: orders of buyers, and the caps.
//! - [`redemption`]: why a stamp is neither taken back nor revoked.
//! - [`serial_derivation`]: serials that never repeat.
//! - [`work`]: stamps without value, and their caps.

#![deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]

pub mod bank;
pub mod double_entry;
pub mod event;
pub mod hash;
pub mod hash_chain;
pub mod meter;
pub mod money;
pub mod order;
pub mod redemption;
pub mod serial_derivation;
pub mod work;
