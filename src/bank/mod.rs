//! Bank of a gateway: the credits that it may spend on mail that leaves, and those that came with mail. One redb file
//! has the chain of events and what follows from it. `accounting::bank` decides what an event changes.
//!
//! - [`handle`]: the bank for callers. [`order`]: what they ask and get.
//! - [`agency`]: licences, clearing and checkpoints. [`request`]: its requests in the file.
//! - [`audit`]: reads the chain again and compares. [`statement`]: what came and went.
//!
//! Each call opens and locks the file, and closes it when it returns, so commands work while the gateway runs. Calls of
//! one process that wait at once share one commit.
//!
//! - A payment is reserved, with its token, before the token is shown. The same payment gets the same token again,
//!   whatever happened in between.
//! - A received token is noted before its message is handed on, and again after it was delivered.
//! - Nothing is written for a request that is refused, or that was done before.

pub mod agency;
pub mod audit;
pub mod error;
pub mod handle;
mod incoming;
mod keys;
pub mod order;
mod report;
pub mod request;
mod schema;
pub mod statement;
mod transaction;
