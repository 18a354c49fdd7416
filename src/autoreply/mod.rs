//! Automatic replies: may one go to the sender of this message, and what does it say (RFC 3834)? Pure: what was sent
//! before, which vendors there are and whether the sender is genuine is handed in, and sending is an adapter's affair.
//!
//! In doubt the answer is no. A reply that is not sent costs a sender nothing that he had; one that is sent wrongly goes to
//! somebody who never wrote, or round in a loop.

#![deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]

pub mod compose;
pub mod detect;
pub mod eligibility;
pub mod return_path;
pub mod suppression;
pub mod template;
