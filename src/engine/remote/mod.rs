//! Judging in the daemon: [`protocol`] has the requests and responses, [`client`] sends a message, [`status`] asks for
//! the daemon's numbers, and [`prices`] for the prices of mailboxes. [`state`] is the daemon's cache of mailboxes.

pub mod client;
pub mod prices;
pub mod protocol;
pub mod state;
pub mod status;
