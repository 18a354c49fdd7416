//! A vendor's books on the disk: accounts, credits, stamps sold and taken back, and the chain of entries from which all
//! of it can be counted again. What an event moves is decided in `bank`; how requests come in, by HTTP or by command, is
//! left to the floors above.
//!
//! - [`handle`]: the books as callers see them, one method for each thing that can be done; [`trade`]: those by which stamps
//!   are sold, taken back and paid out.
//! - [`request`]: the same things as values, as the writer and the socket take them; [`rejection`]: why one is not done.
//! - `publication.rs`: the signed directory of what they say.
//! - [`audit`]: counting everything again. [`payment`]: ways to pay. [`address_proof`]: who owns an address.

pub mod address_proof;
pub mod audit;
mod backend;
mod backup;
mod client;
mod database;
pub mod error;
mod files;
pub mod handle;
pub mod payment;
mod publication;
mod queries;
pub mod rejection;
pub mod request;
mod schema;
mod signing_keys;
pub mod trade;
mod transaction;
mod writer;
