//! Verdict: decides the class of a message, and why. Pure: all facts are passed in, time among them, and a bad message
//! is a value, never an error.
//!
//! There are two steps without I/O. [`examine::examine`] checks the message. It is then done, or makes a
//! [`examine::Claim`]: a request that only the used log can answer. The engine asks the log, and
//! [`examine::Claim::settle`] turns the answer into the verdict. If the message carries another stamp that may be good,
//! it makes the next request instead. No stamp is spent before all checks that need no writing have passed.

#![deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]

mod candidate;
pub mod class;
pub mod examine;
pub mod facts;
pub mod finding;
pub mod owner;
#[cfg(test)]
mod peer_tests;
pub mod reason;
pub mod spend;
#[cfg(test)]
mod tests;
