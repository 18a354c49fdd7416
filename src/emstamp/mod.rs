//! eMstamp: a mail server that pays another one for each message, by an extension of SMTP (mailstamp-emstamp(5)).
//!
//! - [`envelope_id`]: the ID that mail leaves with, and that reports about it come back with.
//! - [`id`]: the ID that a server gives out for a recipient, and knows again without having kept it.
//! - [`inbound`]: the session of a gateway that is paid, between a client and the mail system behind.
//! - [`outbound`]: mail that leaves: LMTP of the mail system, and SMTP to servers that may ask for credits.
//! - [`fate`]: what became of a message, in numbers.
//! - [`token`]: what pays, signed by a meter that an agency licensed.
//! - [`wire`]: keyword, offers, the line EMST, and the replies to it, for both sides.
//!
//! Left out: which meters are licensed (`directory`), what was paid (`store`, `ledger`), sockets and time limits.

#![deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]

pub mod envelope_id;
pub mod fate;
pub mod id;
pub mod inbound;
pub mod outbound;
pub mod token;
pub mod wire;
