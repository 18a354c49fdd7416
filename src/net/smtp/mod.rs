//! SMTP client: hands a message to a submission server (RFC 6409) or a mail server, over one connection for each
//! message.
//!
//! - `connection`: TCP and TLS, within time limits. The protocol is in `smtp::client`.
//! - `server`: a submission server, with TLS and the user's login.
//! - [`route`]: a mail server that may ask for credits, for all recipients of a message.

mod connection;
#[cfg(feature = "sender")]
pub mod route;
mod server;

pub use server::{Protection, Server, SmtpError};

use crate::message::address::Address;
use crate::message::header::readable;
use crate::smtp::client::text::Text;
use crate::smtp::client::{Client, Envelope};
use std::time::Duration;

/// Bytes of a server's reply that are kept.
const SAID: usize = 300;

/// Failure of [`hand_over`].
#[derive(Debug, thiserror::Error)]
pub enum HandOverError {
    /// The message was not sent.
    #[error("{0}")]
    Unsent(String),
    /// The server stopped answering when it had a part of the message or all of it.
    #[error("{0}")]
    Unknown(String),
}

/// Hands a message from the null sender to the mail server at `server` (`host:port`), over plain SMTP. `limit` is the
/// timeout of each answer.
pub fn hand_over(server: &str, to: &str, message: &str, limit: Duration) -> Result<(), HandOverError> {
    let recipient = address(to).map_err(HandOverError::Unsent)?;
    let text = Text::of(&mut std::iter::once(message.as_bytes()));
    let client = Client::new(Envelope { sender: None, recipient: &recipient, text: &text }, false, None);
    connection::send(server, None, client, limit).map_err(|failure| match failure.is_undecided() {
        true => HandOverError::Unknown(failure.describe(server)),
        false => HandOverError::Unsent(failure.describe(server)),
    })
}

/// Parses an address of the envelope.
fn address(text: &str) -> Result<Address, String> {
    Address::parse(text).map_err(|error| format!("{}: {error}", readable(text.as_bytes(), SAID)))
}
