//! A vendor's books on the disk: accounts, credits, stamps sold and taken back, and the chain of entries from which all
//! of it can be counted again. What an event moves is decided in `bank`; how requests come in, by HTTP or by command, is
//! left to the floors above.
//!
//! - [`books`]: the books as callers see them, one method for each thing that can be done; [`trade`]: those by which stamps
//!   are sold, taken back and paid out.
//! - [`request`]: the same things as values, as the writer and the socket take them; [`refusal`]: why one is not done.
//! - `publication.rs`: the signed directory of what they say.
//! - [`audit`]: counting everything again. [`payment`]: ways to pay. [`ownership`]: who owns an address.

pub mod audit;
pub mod books;
mod copy;
mod core;
mod database;
mod desk;
pub mod error;
pub mod ownership;
pub mod payment;
mod place;
mod publication;
mod question;
pub mod refusal;
pub mod request;
mod signing;
mod socket;
mod tables;
pub mod trade;
mod writer;
