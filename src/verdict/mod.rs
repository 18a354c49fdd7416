//! Deciding: which class a message has, and why. Pure: all facts are handed in, time among them, and a bad message is a
//! value, never an error.
//!
//! Two steps without I/O. [`examine::examine`] looks at the message and either is done, or makes a [`examine::Claim`]: a
//! question that only the used-serial log can answer. The engine asks it, and [`examine::Claim::settle`] turns the answer
//! into the verdict, or into the next question when the message carries another stamp that may yet be good. Nothing is
//! spent before all that needs no writing has passed.

#![deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]

mod candidate;
pub mod class;
pub mod examine;
pub mod facts;
pub mod finding;
pub mod reason;
pub mod spend;
#[cfg(test)]
mod tests;
