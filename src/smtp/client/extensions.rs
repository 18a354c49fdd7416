//! Extensions that a server offers in its reply to EHLO, and the command MAIL with the parameters that they allow.

use super::ClientError;
use super::reply::ServerReply;
use super::text::Text;
use crate::message::address::Address;

/// Extensions that the server offers. All are off before EHLO.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    pub pipelining: bool,
    pub size: bool,
    pub eight_bit: bool,
    pub utf8: bool,
    /// Notifications about the delivery (RFC 3461).
    pub dsn: bool,
    pub start_tls: bool,
    pub plain: bool,
    pub login: bool,
}

impl Extensions {
    /// Reads the reply to EHLO.
    #[must_use]
    pub fn of(reply: &ServerReply) -> Self {
        let mut found = Self::default();
        // The first line has the server's name.
        for line in reply.lines.iter().skip(1).map(|line| line.to_ascii_uppercase()) {
            // Some old servers write AUTH=LOGIN.
            let mut words = line.split([' ', '=']).filter(|word| !word.is_empty());
            match words.next() {
                Some("PIPELINING") => found.pipelining = true,
                Some("SIZE") => found.size = true,
                Some("8BITMIME") => found.eight_bit = true,
                Some("SMTPUTF8") => found.utf8 = true,
                Some("DSN") => found.dsn = true,
                Some("STARTTLS") => found.start_tls = true,
                Some("AUTH") => words.for_each(|word| match word {
                    "PLAIN" => found.plain = true,
                    "LOGIN" => found.login = true,
                    _ => {}
                }),
                _ => {}
            }
        }
        found
    }

    /// Returns the command MAIL, without CRLF, for a message whose addresses or header need SMTPUTF8 if `needs_utf8`.
    ///
    /// # Errors
    /// [`ClientError::No8BitMime`], [`ClientError::NoSmtpUtf8`].
    pub fn mail(&self, sender: Option<&Address>, text: &Text, needs_utf8: bool) -> Result<String, ClientError> {
        let sender = sender.map(ToString::to_string).unwrap_or_default();
        let mut command = format!("MAIL FROM:<{sender}>");
        if self.size {
            command += &format!(" SIZE={}", text.size());
        }
        if !text.is_ascii() {
            if !self.eight_bit {
                return Err(ClientError::No8BitMime);
            }
            command += " BODY=8BITMIME";
        }
        if needs_utf8 || !sender.is_ascii() {
            if !self.utf8 {
                return Err(ClientError::NoSmtpUtf8);
            }
            command += " SMTPUTF8";
        }
        Ok(command)
    }
}
