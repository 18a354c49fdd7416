//! State of a submission server's connection (RFC 6409): bytes in, steps out, over any number of messages.
//!
//! - No message without a login.
//! - STARTTLS begins a new session (RFC 3207 section 4.2). Bytes behind the command, sent before TLS, close the
//!   connection, since they would be read as if they were protected (CVE-2011-0411).
//! - Commands may come in groups (RFC 2920). DATA and AUTH end a group: bytes behind them, sent before the reply, close
//!   the connection, since they could be the text of a message that is now read as commands.
//! - A client that sends nothing but errors, or commands without effect, is disconnected.

use crate::message::address::Address;
use crate::smtp::command::{Command, CommandError, Mail};
use crate::smtp::conduct::{self, Conduct, RECIPIENTS_MAX, needs_utf8, too_many_recipients};
use crate::smtp::data::{Decoder, Fault};
use crate::smtp::input::Input;
use crate::smtp::reply::Reply;
use data_encoding::BASE64;
use std::fmt;
use std::mem;

/// Failed logins after which the connection is closed.
const LOGINS_MAX: u32 = 3;

/// Protection of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// There is no TLS.
    Plain,
    /// STARTTLS is offered. Before it, only a client on this host may log in.
    Offered { is_local: bool },
    /// TLS has begun.
    Protected,
}

/// What follows.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// More bytes are needed: [`Session::receive`].
    Receive,
    Reply(Reply),
    /// The reply is the last one.
    Close(Reply),
    /// TLS begins after this reply: [`Session::protect`].
    StartTls(Reply),
    /// The client wants to log in: [`Session::log_in`].
    Login(Login),
    /// A message is complete. The reply to the client is that of the caller.
    Submit(Message),
}

/// User name and password.
#[derive(PartialEq, Eq)]
pub struct Login {
    pub user: String,
    pub password: String,
}

/// Without the password.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

/// A message with its envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The envelope sender; `None` for the null sender.
    pub sender: Option<Address>,
    /// Each once.
    pub recipients: Vec<Address>,
    /// The message, with LF at the ends of lines.
    pub raw: Vec<u8>,
}

/// A message whose envelope arrives.
#[derive(Debug)]
struct Transaction {
    mail: Mail,
    recipients: Vec<Address>,
}

/// Input that is expected.
#[derive(Debug)]
enum Phase {
    Command,
    /// The response of AUTH PLAIN.
    Plain,
    /// The user name of AUTH LOGIN.
    LoginUser,
    /// The password of AUTH LOGIN.
    LoginPassword(String),
    Data(Transaction, Decoder),
    Closed,
}

/// A connection.
#[derive(Debug)]
pub struct Session {
    name: String,
    largest: usize,
    channel: Channel,
    input: Input,
    phase: Phase,
    /// EHLO or HELO came.
    is_greeted: bool,
    /// EHLO came.
    is_extended: bool,
    is_logged_in: bool,
    transaction: Option<Transaction>,
    conduct: Conduct,
    failed_logins: u32,
}

impl Session {
    /// Begins a session of the server `name`, which takes messages of at most `largest` bytes.
    #[must_use]
    pub fn new(name: &str, largest: usize, channel: Channel) -> Self {
        Self {
            name: name.to_owned(),
            largest,
            channel,
            input: Input::default(),
            phase: Phase::Command,
            is_greeted: false,
            is_extended: false,
            is_logged_in: false,
            transaction: None,
            conduct: Conduct::default(),
            failed_logins: 0,
        }
    }

    /// Returns the greeting.
    #[must_use]
    pub fn greeting(&self) -> Reply {
        Reply::new(220, "", format!("{} ESMTP mailstamp", self.name))
    }

    /// Returns whether the client has logged in.
    #[must_use]
    pub fn is_logged_in(&self) -> bool {
        self.is_logged_in
    }

    /// Returns whether a message arrives.
    #[must_use]
    pub fn is_in_data(&self) -> bool {
        matches!(self.phase, Phase::Data(..))
    }

    /// Returns how many bytes of memory the input takes.
    #[must_use]
    pub fn memory(&self) -> usize {
        let message = if let Phase::Data(_, decoder) = &self.phase { decoder.memory() } else { 0 };
        self.input.memory() + message
    }

    /// Refuses the message that arrives, for lack of memory.
    pub fn refuse_message(&mut self) {
        if let Phase::Data(_, decoder) = &mut self.phase {
            decoder.refuse(Fault::NoMemory);
        }
    }

    /// Takes bytes of the client.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.input.receive().extend_from_slice(bytes);
    }

    /// Says that TLS has begun. What the client said before counts no longer.
    pub fn protect(&mut self) {
        self.channel = Channel::Protected;
        (self.is_greeted, self.is_extended, self.transaction) = (false, false, None);
    }

    /// Says whether the login of the last step is right.
    #[must_use]
    pub fn log_in(&mut self, is_right: bool) -> Step {
        if is_right {
            self.is_logged_in = true;
            self.failed_logins = 0;
            return Step::Reply(Reply::new(235, "2.7.0", "welcome"));
        }
        self.failed_logins += 1;
        let reply = Reply::new(535, "5.7.8", "wrong user name or password");
        if self.failed_logins >= LOGINS_MAX { self.close(reply) } else { Step::Reply(reply) }
    }

    /// Returns the next step.
    pub fn step(&mut self) -> Step {
        match &mut self.phase {
            Phase::Closed => return Step::Receive,
            Phase::Data(_, decoder) => {
                return if self.input.text(decoder) { self.end_of_data() } else { Step::Receive };
            }
            _ => {}
        }
        let line = match self.input.line() {
            Ok(Some(line)) => line,
            Ok(None) => return Step::Receive,
            Err(last) => return self.close(last),
        };
        let step = self.line(&line);
        if let Step::Reply(reply) = &step
            && reply.code >= 500
            && let Some(last) = self.conduct.error()
        {
            return self.close(last);
        }
        step
    }

    fn close(&mut self, reply: Reply) -> Step {
        self.phase = Phase::Closed;
        self.input.clear();
        Step::Close(reply)
    }

    fn line(&mut self, line: &[u8]) -> Step {
        match mem::replace(&mut self.phase, Phase::Command) {
            Phase::Plain => return self.plain(line),
            Phase::LoginUser => {
                return match decode(line) {
                    Ok(user) => self.challenge("Password:", Phase::LoginPassword(user)),
                    Err(reply) => Step::Reply(reply),
                };
            }
            Phase::LoginPassword(user) => {
                return match decode(line) {
                    Ok(password) => Step::Login(Login { user, password }),
                    Err(reply) => Step::Reply(reply),
                };
            }
            Phase::Command | Phase::Data(..) | Phase::Closed => {}
        }
        let command = std::str::from_utf8(line).map_err(|_| CommandError::Syntax).and_then(Command::parse);
        let command = match command {
            Ok(command) => command,
            Err(error) => return Step::Reply(error.reply()),
        };
        if command.is_idle()
            && let Some(last) = self.conduct.idle_command()
        {
            return self.close(last);
        }
        match command {
            Command::Hello { extended } => self.hello(extended),
            Command::Auth { mechanism, initial } => self.auth(mechanism, initial),
            Command::Mail(mail) => Step::Reply(self.mail(mail)),
            Command::Recipient(address) => Step::Reply(self.recipient(address)),
            Command::Data => self.data(),
            Command::Reset => {
                self.transaction = None;
                ok()
            }
            Command::Noop => ok(),
            Command::Quit => self.close(Reply::new(221, "2.0.0", "bye")),
            Command::Verify => Step::Reply(Reply::new(252, "2.1.5", "send the message, and see")),
            Command::Help => Step::Reply(Reply::new(214, "2.0.0", "see mailstamp-submission(8)")),
            Command::StartTls => self.start_tls(),
            Command::Foreign => self.close(Reply::new(221, "2.7.0", "this is not HTTP")),
        }
    }

    fn hello(&mut self, extended: bool) -> Step {
        (self.is_greeted, self.is_extended, self.transaction) = (true, extended, None);
        let mut lines = vec![self.name.clone()];
        if extended {
            lines.push(format!("SIZE {}", self.largest));
            lines.extend(["PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"].map(str::to_owned));
            lines.extend(matches!(self.channel, Channel::Offered { .. }).then(|| "STARTTLS".to_owned()));
            lines.extend(self.may_log_in().then(|| "AUTH PLAIN LOGIN".to_owned()));
        }
        Step::Reply(Reply { code: 250, enhanced: "", lines })
    }

    /// Returns whether a password may go over the connection as it is.
    fn may_log_in(&self) -> bool {
        self.channel != Channel::Offered { is_local: false }
    }

    fn start_tls(&mut self) -> Step {
        if !matches!(self.channel, Channel::Offered { .. }) {
            return Step::Reply(CommandError::NotOffered.reply());
        }
        if self.is_logged_in || self.transaction.is_some() {
            return out_of_order();
        }
        if !self.input.unread().is_empty() {
            return self.ahead();
        }
        Step::StartTls(Reply::new(220, "2.0.0", "begin TLS"))
    }

    fn auth(&mut self, mechanism: &str, initial: Option<&str>) -> Step {
        if !self.is_extended || self.is_logged_in || self.transaction.is_some() {
            return out_of_order();
        }
        if !self.may_log_in() {
            return Step::Reply(Reply::new(538, "5.7.11", "a password needs STARTTLS first"));
        }
        if !self.input.unread().is_empty() {
            return self.ahead();
        }
        match (mechanism.to_ascii_uppercase().as_str(), initial) {
            ("PLAIN", Some(text)) => self.plain(text.as_bytes()),
            ("PLAIN", None) => self.challenge("", Phase::Plain),
            ("LOGIN", None) => self.challenge("Username:", Phase::LoginUser),
            ("LOGIN", Some(text)) => match decode(text.as_bytes()) {
                Ok(user) => self.challenge("Password:", Phase::LoginPassword(user)),
                Err(reply) => Step::Reply(reply),
            },
            _ => Step::Reply(Reply::new(504, "5.5.4", "only PLAIN and LOGIN are offered")),
        }
    }

    fn challenge(&mut self, text: &str, phase: Phase) -> Step {
        self.phase = phase;
        Step::Reply(Reply::new(334, "", BASE64.encode(text.as_bytes())))
    }

    /// Reads the response of PLAIN (RFC 4616): an identity, which must be that of the user or none, and the login.
    fn plain(&mut self, text: &[u8]) -> Step {
        let text = match decode(text) {
            Ok(text) => text,
            Err(reply) => return Step::Reply(reply),
        };
        let mut parts = text.split('\0');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(identity), Some(user), Some(password), None) if identity.is_empty() || identity == user => {
                Step::Login(Login { user: user.to_owned(), password: password.to_owned() })
            }
            _ => Step::Reply(Reply::new(501, "5.5.2", "not a response of PLAIN")),
        }
    }

    fn mail(&mut self, mail: Mail) -> Reply {
        if !self.is_greeted || self.transaction.is_some() {
            return conduct::out_of_order();
        }
        if !self.is_logged_in {
            let first = if self.may_log_in() { "log in first" } else { "STARTTLS first, then log in" };
            return Reply::new(530, "5.7.0", first);
        }
        if mail.size.is_some_and(|size| size > self.largest as u64) {
            return Fault::TooLarge.reply(self.largest);
        }
        if mail.sender.as_ref().is_some_and(|sender| is_wider(sender, &mail)) {
            return needs_utf8();
        }
        self.transaction = Some(Transaction { mail, recipients: Vec::new() });
        Reply::new(250, "2.1.0", "ok")
    }

    fn recipient(&mut self, address: Address) -> Reply {
        let Some(transaction) = &mut self.transaction else { return conduct::out_of_order() };
        if is_wider(&address, &transaction.mail) {
            return needs_utf8();
        }
        if !transaction.recipients.contains(&address) {
            if transaction.recipients.len() >= RECIPIENTS_MAX {
                return too_many_recipients();
            }
            transaction.recipients.push(address);
        }
        Reply::new(250, "2.1.5", "ok")
    }

    fn data(&mut self) -> Step {
        if !self.input.unread().is_empty() {
            return self.ahead();
        }
        match self.transaction.take() {
            None => out_of_order(),
            Some(transaction) if transaction.recipients.is_empty() => {
                self.transaction = Some(transaction);
                Step::Reply(Reply::new(554, "5.5.1", "no recipients"))
            }
            Some(transaction) => {
                self.phase = Phase::Data(transaction, Decoder::new(self.largest));
                Step::Reply(Reply::new(354, "", "end with a dot on a line of its own"))
            }
        }
    }

    fn end_of_data(&mut self) -> Step {
        let Phase::Data(transaction, decoder) = mem::replace(&mut self.phase, Phase::Command) else {
            return Step::Receive;
        };
        self.conduct.message();
        match decoder.finish() {
            Ok(raw) => {
                let Transaction { mail, recipients } = transaction;
                Step::Submit(Message { sender: mail.sender, recipients, raw })
            }
            Err(fault) => Step::Reply(fault.reply(self.largest)),
        }
    }

    /// The client did not wait for a reply that it must wait for.
    fn ahead(&mut self) -> Step {
        self.close(conduct::ahead())
    }
}

fn ok() -> Step {
    Step::Reply(Reply::new(250, "2.0.0", "ok"))
}

fn out_of_order() -> Step {
    Step::Reply(conduct::out_of_order())
}

/// Returns whether an address needs SMTPUTF8, and the client did not ask for it.
fn is_wider(address: &Address, mail: &Mail) -> bool {
    !mail.is_utf8 && !address.to_string().is_ascii()
}

/// Decodes a response of AUTH.
fn decode(text: &[u8]) -> Result<String, Reply> {
    if text == b"*" {
        return Err(Reply::new(501, "5.0.0", "login cancelled"));
    }
    // "=" is an empty first response (RFC 4954 section 4).
    let bytes = if text == b"=" { Ok(Vec::new()) } else { BASE64.decode(text) };
    let wrong = || Reply::new(501, "5.5.2", "not base64 of UTF-8");
    String::from_utf8(bytes.map_err(|_| wrong())?).map_err(|_| wrong())
}

#[cfg(test)]
mod tests;
