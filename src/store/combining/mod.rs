//! Combining the spends of many processes into one commit: the leader and its clients.

pub mod client;
pub(super) mod leader;
