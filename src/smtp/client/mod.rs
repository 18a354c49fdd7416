//! SMTP from the client's side (RFC 5321, 6409): a server's replies in, commands and the message out. One connection
//! takes one message to one recipient, since every recipient gets a copy of their own.
//!
//! - [`extensions`]: what the server offers.
//! - [`reply`]: what the server answers.
//! - [`text`]: the message as it is sent after DATA.
//! - STARTTLS begins a new session (RFC 3207 section 4.2). Bytes behind the server's reply to it, sent before TLS, are
//!   an error, since they would be read as if they were protected (CVE-2011-0411).
//! - Where the server offers it, envelope and DATA go together (RFC 2920). The message goes only to a server that has
//!   accepted all of them.

pub mod extensions;
pub mod reply;
pub mod text;

use crate::message::address::Address;
use crate::smtp::session::Login;
use data_encoding::BASE64;
use extensions::Extensions;
use reply::{Replies, ReplyError, ServerReply};
use text::Text;

/// With the address literal of this host (RFC 5321 section 4.1.4), since few computers of users have a name.
const HELLO: &[u8] = b"EHLO [127.0.0.1]\r\n";

/// A message for one recipient.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    /// The envelope sender; `None` for the null sender.
    pub sender: Option<&'a Address>,
    pub recipient: &'a Address,
    pub text: &'a Text,
}

/// What follows.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// More bytes are needed: [`Conversation::receive`].
    Receive,
    Send(Vec<u8>),
    /// TLS begins now: [`Conversation::protect`].
    StartTls,
    /// The message is to be sent, with the dot that ends it.
    SendText(&'a [u8]),
    /// The server accepted the message, or the caller has to decide something. QUIT may follow.
    Done,
}

/// Protocol of a connection, as the sockets see it: replies in, steps out.
pub trait Conversation<'a> {
    /// Takes bytes of the server.
    fn receive(&mut self, bytes: &[u8]);

    /// Returns how many replies were read.
    fn count(&self) -> usize;

    /// Returns whether the server may have the message without having said so.
    fn is_undecided(&self) -> bool;

    /// Says that TLS has begun. What the server said before counts no longer. Returns the bytes to send.
    fn protect(&mut self) -> Vec<u8>;

    /// Reads replies up to one that needs an action.
    ///
    /// # Errors
    /// [`ClientError`]: the connection is over.
    fn step(&mut self) -> Result<Step<'a>, ClientError>;
}

/// The message was not accepted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The server's reply to the connection, to TLS or to the login.
    #[error("answers {}: {}", .0.code, .0.text())]
    Session(ServerReply),
    /// The server's reply to the envelope or the message.
    #[error("answers {}: {}", .0.code, .0.text())]
    Message(ServerReply),
    #[error("sends no reply of SMTP: {0}")]
    Reply(#[from] ReplyError),
    #[error("offers no STARTTLS")]
    NoStartTls,
    #[error("sent more before TLS began")]
    Injected,
    #[error("offers neither AUTH PLAIN nor AUTH LOGIN")]
    NoLogin,
    #[error("takes no message that contains non-ASCII characters: it offers no 8BITMIME")]
    No8BitMime,
    #[error("takes no address that contains non-ASCII characters: it offers no SMTPUTF8")]
    NoSmtpUtf8,
}

impl ClientError {
    /// Returns whether the server will never take the message.
    ///
    /// A code 53x is about the login: once the user has corrected the password, the message is sent.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Message(reply) => (500..600).contains(&reply.code) && !(530..540).contains(&reply.code),
            Self::No8BitMime | Self::NoSmtpUtf8 => true,
            _ => false,
        }
    }

    /// Returns whether it is the server's word that it did not take the message.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Message(reply) if reply.code >= 400)
    }
}

/// The reply that is awaited, named for the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Greeting,
    Hello,
    StartTls,
    /// AUTH LOGIN: the question for the user name.
    LoginUser,
    /// AUTH LOGIN: the question for the password.
    LoginPassword,
    Login,
    Mail,
    Recipient,
    Data,
    Text,
    Closed,
}

/// A connection.
#[derive(Debug)]
pub struct Client<'a> {
    envelope: Envelope<'a>,
    /// Whether STARTTLS is still to come.
    needs_tls: bool,
    login: Option<&'a Login>,
    phase: Phase,
    replies: Replies,
    extensions: Extensions,
    /// Replies that were read.
    count: usize,
}

impl<'a> Client<'a> {
    /// Begins a connection. With `start_tls`, nothing but STARTTLS is sent before TLS.
    #[must_use]
    pub fn new(envelope: Envelope<'a>, start_tls: bool, login: Option<&'a Login>) -> Self {
        Self {
            envelope,
            needs_tls: start_tls,
            login,
            phase: Phase::Greeting,
            replies: Replies::default(),
            extensions: Extensions::default(),
            count: 0,
        }
    }

    /// Reads a reply. `None` if the next one is awaited.
    fn read(&mut self, reply: ServerReply) -> Result<Option<Step<'a>>, ClientError> {
        let is_of_message = matches!(self.phase, Phase::Mail | Phase::Recipient | Phase::Data | Phase::Text);
        let is_expected = match self.phase {
            Phase::LoginUser | Phase::LoginPassword => reply.code == 334,
            Phase::Data => reply.code == 354,
            _ => (200..300).contains(&reply.code),
        };
        if !is_expected {
            return Err(if is_of_message { ClientError::Message(reply) } else { ClientError::Session(reply) });
        }
        let send = |bytes: Vec<u8>| Ok(Some(Step::Send(bytes)));
        match self.phase {
            Phase::Greeting => {
                self.phase = Phase::Hello;
                send(HELLO.to_vec())
            }
            Phase::Hello => {
                self.extensions = Extensions::of(&reply);
                self.begin().map(|bytes| Some(Step::Send(bytes)))
            }
            Phase::StartTls if !self.replies.is_empty() => Err(ClientError::Injected),
            Phase::StartTls => Ok(Some(Step::StartTls)),
            Phase::LoginUser => {
                self.phase = Phase::LoginPassword;
                send(self.encoded(|login| login.user.as_bytes()))
            }
            Phase::LoginPassword => {
                self.phase = Phase::Login;
                send(self.encoded(|login| login.password.as_bytes()))
            }
            Phase::Login => self.mail().map(|bytes| Some(Step::Send(bytes))),
            Phase::Mail => {
                self.phase = Phase::Recipient;
                Ok((!self.extensions.pipelining).then(|| Step::Send(self.recipient())))
            }
            Phase::Recipient => {
                self.phase = Phase::Data;
                Ok((!self.extensions.pipelining).then(|| Step::Send(DATA.to_vec())))
            }
            Phase::Data => {
                self.phase = Phase::Text;
                Ok(Some(Step::SendText(self.envelope.text.bytes())))
            }
            Phase::Text | Phase::Closed => {
                self.phase = Phase::Closed;
                Ok(None)
            }
        }
    }

    /// Returns the command after EHLO.
    fn begin(&mut self) -> Result<Vec<u8>, ClientError> {
        if self.needs_tls {
            self.phase = Phase::StartTls;
            return if self.extensions.start_tls { Ok(b"STARTTLS\r\n".to_vec()) } else { Err(ClientError::NoStartTls) };
        }
        let Some(login) = self.login else { return self.mail() };
        if self.extensions.plain {
            self.phase = Phase::Login;
            let response = BASE64.encode(format!("\0{}\0{}", login.user, login.password).as_bytes());
            Ok(format!("AUTH PLAIN {response}\r\n").into_bytes())
        } else if self.extensions.login {
            self.phase = Phase::LoginUser;
            Ok(b"AUTH LOGIN\r\n".to_vec())
        } else {
            Err(ClientError::NoLogin)
        }
    }

    fn encoded(&self, part: fn(&Login) -> &[u8]) -> Vec<u8> {
        (BASE64.encode(self.login.map(part).unwrap_or_default()) + "\r\n").into_bytes()
    }

    /// Returns the envelope: MAIL, and what may go with it.
    fn mail(&mut self) -> Result<Vec<u8>, ClientError> {
        let Envelope { sender, recipient, text } = self.envelope;
        let command = self.extensions.mail(sender, text, !recipient.to_string().is_ascii())? + "\r\n";
        self.phase = Phase::Mail;
        let mut command = command.into_bytes();
        if self.extensions.pipelining {
            command.extend(self.recipient());
            command.extend_from_slice(DATA);
        }
        Ok(command)
    }

    fn recipient(&self) -> Vec<u8> {
        format!("RCPT TO:<{}>\r\n", self.envelope.recipient).into_bytes()
    }
}

impl<'a> Conversation<'a> for Client<'a> {
    fn receive(&mut self, bytes: &[u8]) {
        self.replies.receive(bytes);
    }

    fn count(&self) -> usize {
        self.count
    }

    fn is_undecided(&self) -> bool {
        self.phase == Phase::Text
    }

    fn protect(&mut self) -> Vec<u8> {
        self.needs_tls = false;
        self.phase = Phase::Hello;
        HELLO.to_vec()
    }

    fn step(&mut self) -> Result<Step<'a>, ClientError> {
        while self.phase != Phase::Closed {
            let Some(reply) = self.replies.next_reply()? else { return Ok(Step::Receive) };
            self.count += 1;
            if let Some(step) = self.read(reply)? {
                return Ok(step);
            }
        }
        Ok(Step::Done)
    }
}

const DATA: &[u8] = b"DATA\r\n";

#[cfg(test)]
mod tests;
