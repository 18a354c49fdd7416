//! Vendor's ledger on the disk: accounts, credits, stamps sold and taken back, and the chain of entries from which all
//! of it can be recomputed. `accounting` defines what an event moves. The layers above receive the requests, by HTTP or
//! by command.
//!
//! - [`handle`]: the ledger for callers; [`trade`]: its methods that sell stamps, take them back and pay out;
//!   [`meters`]: those that license meters and clear their tokens.
//! - [`ops`]: the operations, each with its fields and its output. [`model`]: records; [`rejection`]: reasons why an
//!   operation is rejected.
//! - `publication.rs`: the signed directory of the vendor; `published_keys.rs`: what earlier editions say of its keys. [`public_log`]: the log that anyone can audit.
//! - [`audit`]: recomputes the ledger. [`payment`]: ways to pay. [`address_proof`]: proof that an account owns an
//!   address.

pub mod address_proof;
pub mod audit;
mod backend;
mod backup;
mod client;
mod database;
pub mod error;
mod expected;
mod expected_meters;
mod files;
pub mod handle;
mod ledger_clock;
pub mod meters;
pub mod model;
pub mod ops;
pub mod payment;
pub mod public_log;
mod publication;
mod published_keys;
mod queries;
pub mod rejection;

mod schema;
mod signing_keys;
pub mod trade;
mod transaction;
mod writer;
