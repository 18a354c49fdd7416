//! Books of a gateway's bank: what it holds at its agency, what it may spend, what it paid and what it was paid.
//!
//! - [`event`]: the events, and the transaction of each.
//! - [`books`]: the rule, one function over any rows. [`memory`]: rows in memory.

pub mod books;
pub mod event;
pub mod memory;
