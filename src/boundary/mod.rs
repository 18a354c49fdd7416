//! Boundary of an organisation: the milter protocol of Postfix and sendmail, and what becomes of a message whose
//! recipients have different decisions.
//!
//! - [`wire`]: bytes of the protocol, version 6. Every length and count has a limit.
//! - [`session`]: the state of a connection, over any number of messages.
//! - [`plan`]: from the recipients' decisions to what is done with the one message that they share.
//! - [`recipient`]: which recipients are judged, and as which address.
//! - [`changes`]: from edits of a message to the changes that a milter may ask for.
//! - [`seal`]: results that hosts behind the boundary believe.
//!
//! Pure: bytes go in and out. `server/milter` has the sockets, the time limits and the engine.

#![deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]

pub mod changes;
pub mod plan;
pub mod recipient;
pub mod seal;
pub mod session;
pub mod wire;
