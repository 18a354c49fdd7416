//! Judging in the daemon: the protocol, its client, and the state that the daemon keeps per mailbox.

pub mod client;
pub mod protocol;
pub mod state;
pub mod status;
