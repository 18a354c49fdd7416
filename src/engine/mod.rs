//! The engine: gathers the facts, calls the pure core, spends once. Its one error is
//! [`Deferral`](crate::context::error::Deferral), a local failure, and every command then defers the message.
//!
//! - [`judge`]: one message, from bytes to decision. [`rule_eval`] answers the rules' conditions, [`result_header`]
//!   writes the class field. `sealed` takes the result of a trusted boundary in place of the spend.
//! - [`delivery`]: stores a judged message by the user's actions. [`quarantine`] keeps held mail, [`screener`] lists it in digests, [`allow_list`] adds
//!   its senders, [`returnable`] keeps stamps that may go back with an answer, [`auto_reply`] sends the reply that is
//!   due.
//! - [`peers`]: what a message teaches of its sender's own keys. [`feedback`]: revocations from moved mail. [`rescan`]: judges stored mail
//!   again. [`retention`]: removes what has ended.
//! - [`prices`]: prices that users set for their mailboxes. [`remote`]: judging in the daemon.

pub mod allow_list;
pub mod auto_reply;
pub mod delivery;
pub mod digest_route;
pub mod digested;
#[cfg(feature = "directory")]
pub mod directory_refresh;
pub mod error;
pub mod feedback;
pub mod judge;
pub mod maildir_write;
pub mod marking;
pub mod peers;
pub mod prices;
pub mod quarantine;
pub mod remote;
pub mod rescan;
pub mod result_header;
pub mod retention;
pub mod returnable;
pub mod rule_eval;
pub mod screener;
mod sealed;
pub mod self_test;
