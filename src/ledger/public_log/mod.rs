//! Public log of the vendor: a tree of small leaves beside the chain of entries, which anyone can audit
//! (mailstamp-log(5)). `transparency` has its format.
//!
//! - `leaves.rs`: the leaves of entries. `positions.rs` and `reads.rs`: how far the log is, and its leaves
//!   for callers.
//! - [`publish`]: extends the log and its files. `resume.rs`: takes it over from its files. [`files`], `note_key.rs`:
//!   what is on the disk; `tidy.rs` removes what no reader needs.
//! - [`cosign`]: asks witnesses to cosign the published checkpoint.
//! - `replay.rs`: recomputes the log from the chain, for audits; `check.rs`: reads its files, for audits, too.
//!
//! Invariants:
//!
//! - The log is a function of the chain: an event says up to which entry the log has leaves, and its size and root. What
//!   a restored chain lost is in the published files alone.
//! - That event is durable before any file changes. A publication that was cut off is continued from the chain.
//! - No entry of today has a leaf, and the leaves of a day are in an order that says nothing about their times.

mod check;
#[cfg(feature = "directory")]
pub mod cosign;
pub mod error;
pub mod files;
pub(super) mod leaves;
pub(super) mod note_key;
mod positions;
pub mod publish;
mod reads;
pub(super) mod replay;
pub(super) mod resume;
mod tidy;

pub use positions::{LeafPage, LogBatch, LogState};
pub(super) use positions::{set_state, state_in};
