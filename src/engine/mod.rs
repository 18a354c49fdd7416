//! The engine: gathers the facts, asks the core, spends once. Its one fallible step is
//! [`Undecided`](judge::Undecided), our own trouble, which every front end turns into deferral. `context.rs` alone knows
//! which adapters there are. `delivery` puts a judged message where the user wants it, `quarantine` keeps what is kept aside,
//! `allow_list` writes down whom he lets through from then on, and `auto_reply` sends the automatic reply that is due. `rescan`
//! judges mail that was kept before, which `mailbox::walk` and `mailbox::mbox` read; `learn_sent` says what is learned from what the user sends, and
//! `returnable` keeps the stamps that may come back with his answers. `remote::client` has a message judged by the process that
//! stays, in the words of `remote::protocol`, `remote::status` asks it how it is, and `remote::state` is what that process keeps ready.

pub mod allow_list;
pub mod auto_reply;
pub mod context;
pub mod delivery;
#[cfg(feature = "directory")]
pub mod directory_refresh;
pub mod feedback;
pub mod judge;
pub mod learn_sent;
pub mod quarantine;
pub mod remote;
pub mod rescan;
pub mod result_header;
pub mod retention;
pub mod returnable;
pub mod rule_eval;
pub mod self_test;
