//! Outbound half of a gateway: takes messages of the mail system by LMTP, and sends them by SMTP to servers that may ask
//! for credits.
//!
//! - [`lmtp`]: the state of a connection of the mail system.
//! - [`delivery`]: the state of a connection to a server, for one message with any number of recipients.
//! - [`answer`]: what the mail system is told about a recipient.
//!
//! Left out: sockets, limits on credits, and the bank (`server/gateway/outbound`).

pub mod answer;
pub mod delivery;
pub mod lmtp;
