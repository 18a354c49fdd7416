//! SMTP (RFC 5321): from the server's side bytes in and replies out, from the client's side the reverse.
//!
//! - [`client`]: the state of a connection that sends a message.
//! - [`command`]: one line of the client.
//! - [`parameters`]: the parameters of MAIL and RCPT for a message that is handed on.
//! - [`conduct`]: what a client may do before it is disconnected.
//! - [`data`]: the text of a message after DATA.
//! - [`input`]: bytes of a client, in lines or as a text.
//! - [`reply`]: a status with its lines.
//! - [`session`]: the state of a connection, over any number of messages.
//!
//! Every length and count has a limit. Only CRLF ends a line, and only CRLF, dot, CRLF ends a message, so that two
//! programs never disagree about where a message ends (SMTP smuggling, CVE-2023-51764).
//!
//! Pure: `server/submission` and `net/smtp` have the sockets, the time limits and the passwords.

#![deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]

pub mod client;
pub mod command;
pub mod conduct;
pub mod data;
pub mod input;
pub mod parameters;
pub mod reply;
pub mod session;
