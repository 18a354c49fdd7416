//! Boundary of an organisation: the protocols of Postfix, sendmail and OpenSMTPD, and what becomes of a message whose
//! recipients have different decisions.
//!
//! - [`wire`]: bytes of the milter protocol, version 6. Every length and count has a limit.
//! - [`session`]: the state of a connection, over any number of messages.
//! - [`plan`]: from the recipients' decisions to what is done with the one message that they share.
//! - [`recipient`]: which recipients are judged, and as which address.
//! - [`changes`]: from edits of a message to the changes that a milter may ask for.
//! - [`seal`]: results that hosts behind the boundary believe. [`paid`]: those of messages that were paid for.
//! - [`opensmtpd`]: the filter protocol of OpenSMTPD, for all sessions of a mail system.
//!
//! Pure: bytes go in and out. `server/milter` and `server/opensmtpd.rs` have sockets, threads, time limits and the
//! engine.

#![deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]

pub mod changes;
pub mod opensmtpd;
pub mod paid;
pub mod plan;
pub mod recipient;
pub mod seal;
pub mod session;
pub mod wire;
