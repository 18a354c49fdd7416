//! Automatic replies (RFC 3834): decides whether one may go to the sender of a message, and composes it. Pure: the
//! caller hands in earlier replies, vendors and authentication results, and sends the reply.
//!
//! In doubt, no reply is sent. A missing reply costs the sender nothing. A wrong one goes to an address that never
//! wrote, or round in a loop.

#![deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]

pub mod compose;
pub mod detect;
pub mod digest;
pub mod eligibility;
pub mod held_word;
pub mod return_path;
pub mod suppression;
pub mod template;
