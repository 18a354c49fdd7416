//! The engine: gathers the facts, asks the core, spends once. Its one fallible step is
//! [`Undecided`](engine::Undecided), our own trouble, which every front end turns into deferral. `open.rs` alone knows
//! which adapters there are. `deliver` puts a judged message where the user wants it, `held` keeps what is kept aside,
//! `allow_list` writes down whom he lets through from then on, and `answer` sends the automatic reply that is due. `scan`
//! judges mail that was kept before, which `mailboxes` and `mbox` read; `sent` says what is learned from what the user sends, and
//! `returns` keeps the stamps that may come back with his answers. `resident` has a message judged by the process that
//! stays, in the words of `question`, `status` asks it how it is, and `warm` is what that process keeps ready.

pub mod allow_list;
pub mod answer;
pub mod deliver;
pub mod engine;
pub mod examination;
pub mod forget;
pub mod held;
pub mod mailboxes;
pub mod mbox;
pub mod moved;
pub mod open;
pub mod question;
#[cfg(feature = "directory")]
pub mod refresh;
pub mod report;
pub mod resident;
pub mod returns;
pub mod ruling;
pub mod scan;
pub mod sent;
pub mod status;
pub mod warm;
