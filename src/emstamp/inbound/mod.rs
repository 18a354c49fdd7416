//! Session of the inbound gateway, between a client and the mail system behind (`inner`): the client sees the inner
//! server, and prices beside it.
//!
//! - The inner server is asked first: a recipient that it refuses is told no price.
//! - It never sees the parameter EMSTAMP, the verb EMST or a token, and hears of no recipient that is not paid for:
//!   where one was accepted before, the envelope is sent anew before the message.
//! - A message goes to it byte for byte, with `sealed` fields on top. One with a CR or LF that is not CRLF, or a NUL, is
//!   refused: two programs could see two messages in it (SMTP smuggling).
//! - Where messages of the null sender are only taken as reports about own mail, that is decided when they are complete.
//!   Mailboxes with and without a price have no such message together.
//! - The books have a token as pending before the message goes in, and as received before the client hears 250.
//! - Bytes behind STARTTLS, and behind DATA, that come before the reply end the connection.
//!
//! [`Session`] decides; [`Wires`] are the two connections, and [`Office`] has prices, keys and books.

mod commands;
mod data;
mod hello;
mod inner;
mod pays;
mod report;
#[cfg(test)]
mod tests;

use super::fate::Fate;
use super::token::{PaymentError, Priced};
use super::wire::{Offer, Pay};
use crate::message::address::Address;
use crate::message::delivery_report::DeliveryReport;
use crate::message::fingerprint::Fingerprint;
use crate::smtp::client::reply::{Replies, ServerReply};
use crate::smtp::conduct::Conduct;
use crate::smtp::input::Input;
use crate::smtp::reply::Reply;
use crate::stamp::serial::Serial;
use crate::stamp::token::{Issuer, Token};
use crate::time::UnixTime;
use serde::Deserialize;
use std::collections::BTreeSet;

/// Why a connection gives no more bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// It is closed.
    Gone,
    TimedOut,
    /// The gateway ends.
    Over,
}

/// How long the inner server may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    Command,
    /// After the end of a message.
    Message,
}

/// The connections of a session.
pub trait Wires {
    /// Appends bytes of the client.
    fn receive(&mut self, to: &mut Vec<u8>) -> Result<(), Lost>;
    fn send(&mut self, bytes: &[u8]) -> Result<(), Lost>;
    /// Begins TLS with the client.
    fn protect(&mut self) -> Result<(), Lost>;
    /// Takes memory for this many bytes of a message. Returns false if too few are free.
    fn hold(&mut self, bytes: usize) -> bool;
    fn receive_inner(&mut self, to: &mut Replies, patience: Patience) -> Result<(), Lost>;
    fn send_inner(&mut self, bytes: &[u8]) -> Result<(), Lost>;
}

/// A token that is accepted unless its message is another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paid {
    pub mailbox: Address,
    pub id: Serial,
    pub credits: u64,
    pub message: Fingerprint,
    /// End of the token.
    pub expires: UnixTime,
    pub token: Token,
    /// Agency and licence of the payer.
    pub license: Issuer,
    /// Most credits of this licence that may be open.
    pub max_exposure: u64,
}

/// What the books know of the ID of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    New,
    /// It was used for this mailbox and message.
    Again,
    /// It was used for another mailbox or message.
    Other,
}

/// What the books say of a token before its message is handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It is noted now.
    Fresh,
    /// It was noted before, and its message was perhaps not delivered.
    Again,
    /// Its message was delivered.
    Received,
    /// It was used for another message.
    Double,
    /// The payer has too many credits that are not cleared. Nothing is noted.
    Full,
}

/// A report about own mail, as the books have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The ID of the envelope, and its end.
    pub id: Serial,
    pub end: UnixTime,
    /// The recipients that it names, and what became of the message there.
    pub outcomes: BTreeSet<(String, &'static str)>,
    /// The report itself.
    pub message: Fingerprint,
}

/// Why a message is no report about own mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoReport {
    /// It is not about a message that this mailbox sent from here.
    Foreign,
    /// The message was sent too long ago.
    Ended,
}

/// The books, or a file, cannot be used now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Away;

/// Prices, keys and books of the gateway.
pub trait Office {
    /// Holds what was claimed until it is dropped.
    type Claim;

    /// Claims the copies of a message for these mailboxes, for one delivery. `None` while another connection delivers
    /// one of them.
    fn claim(&self, copies: &[(&Address, Fingerprint)]) -> Option<Self::Claim>;
    /// Returns the price of a mailbox; 0 is free.
    fn price(&self, mailbox: &Address) -> Result<u64, Away>;
    /// Makes an offer with a new ID.
    fn offer(&self, mailbox: &Address, price: u64) -> Result<Offer, Away>;
    /// Examines a token for one of these recipients, of which none is paid for yet.
    ///
    /// # Errors
    /// [`Away`], or why it is not accepted.
    fn examine(&self, pay: &Pay, recipients: &[Priced<'_>]) -> Result<Result<Paid, PaymentError>, Away>;
    /// Examines tokens, each by itself.
    fn examine_each(&self, pays: &[&Pay], recipients: &[Priced<'_>]) -> Vec<Result<Result<Paid, PaymentError>, Away>> {
        pays.iter().map(|pay| self.examine(pay, recipients)).collect()
    }
    /// Returns what is known of each token's ID, by the mailbox and the message that the token names, and what it pays
    /// if it is taken again as it is. Its signature was verified when the ID was used first.
    fn known(&self, pays: &[&Pay]) -> Result<Vec<(Known, Option<Paid>)>, Away>;
    /// Returns the credits of a licence that are not cleared.
    fn exposure(&self, license: &Issuer) -> Result<u64, Away>;
    /// Notes tokens before their message is handed on.
    fn pending(&self, tokens: &[&Paid]) -> Result<Vec<Arrival>, Away>;
    /// Notes that the message of pending tokens was delivered.
    fn received(&self, tokens: &[&Paid]) -> Result<(), Away>;
    /// Notes that the message of pending tokens was refused.
    fn refused(&self, tokens: &[&Paid]);
    /// Finds out whether a report is about mail that this mailbox sent.
    fn report(
        &self,
        mailbox: &Address,
        report: DeliveryReport,
        message: Fingerprint,
    ) -> Result<Result<Report, NoReport>, Away>;
    /// Notes a report before it is handed on. [`Arrival::Double`]: all that it says was said before; [`Arrival::Full`]:
    /// there were too many about the same message.
    fn begin_report(&self, report: &Report) -> Result<Arrival, Away>;
    /// Notes that a report was delivered, or that it was not.
    fn end_report(&self, report: &Report, is_delivered: bool);
    /// Returns header fields that say of a message what was paid for it, each with LF at its end. `is_only` says that
    /// the message has one recipient.
    fn marks(&self, raw: &[u8], tokens: &[&Paid], is_only: bool) -> Vec<u8>;
    /// Says that a token was not taken, since its licence has too much that is not cleared.
    fn is_full(&self) {}
    /// Counts recipients for whom nothing was paid now.
    fn count(&self, _fate: Fate, _recipients: usize) {}
}

/// How the inner server learns the address of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Introduction {
    /// By XCLIENT, with these attributes.
    Xclient(String),
    /// By this line of the PROXY protocol, without CRLF.
    Proxy(String),
    None,
}

/// What becomes of messages of the null sender to mailboxes with a price.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NullSender {
    /// They are free.
    #[default]
    Accept,
    /// Reports about mail that left by this gateway are free, and other messages are refused.
    Reports,
    Refuse,
}

impl NullSender {
    /// Returns the word of the configuration.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Reports => "reports",
            Self::Refuse => "refuse",
        }
    }
}

/// Settings of a session.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name in greetings.
    pub name: String,
    /// The largest message, in bytes.
    pub largest: usize,
    /// What a sender who cannot pay is told to see.
    pub help: String,
    pub closes_unaware: bool,
    /// What becomes of messages of the null sender to mailboxes with a price.
    pub null_sender: NullSender,
    /// Whether STARTTLS is offered.
    pub has_tls: bool,
    /// Whether the extension is offered.
    pub can_be_paid: bool,
}

/// End of a session.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// With a last reply.
    Reply(Reply),
    /// With the inner server's last reply.
    Passed(ServerReply),
    /// The client is gone.
    Gone,
}

/// A recipient that the inner server has accepted.
#[derive(Debug)]
struct Recipient {
    /// The line RCPT, without CRLF.
    line: String,
    /// Not known of `<postmaster>`.
    mailbox: Option<Address>,
    /// 0 where nothing is asked.
    price: u64,
    paid: Option<Paid>,
    /// It has a price, and gets the message if that is a report.
    awaits_report: bool,
    /// The client was told that it is refused.
    is_dropped: bool,
}

impl Recipient {
    /// Returns whether a token for it may come.
    fn is_to_pay(&self) -> bool {
        self.price > 0 && self.paid.is_none() && !self.is_dropped
    }

    fn is_live(&self) -> bool {
        !self.is_dropped && (self.price == 0 || self.paid.is_some() || self.awaits_report)
    }
}

/// A message whose envelope arrives.
#[derive(Debug)]
struct Transaction {
    /// The line MAIL as the inner server has it, without CRLF.
    mail: String,
    is_null: bool,
    /// The client can pay.
    is_aware: bool,
    recipients: Vec<Recipient>,
}

/// A session.
pub struct Session<'a, W, O> {
    settings: &'a Settings,
    wires: &'a mut W,
    office: &'a O,
    /// Bytes of the client.
    input: Input,
    /// Replies that are not sent yet.
    out: Vec<u8>,
    replies: Replies,
    /// The inner server takes commands in groups.
    inner_pipelines: bool,
    is_protected: bool,
    /// The reply to EHLO offered the extension.
    is_offered: bool,
    transaction: Option<Transaction>,
    conduct: Conduct,
}

impl<'a, W: Wires, O: Office> Session<'a, W, O> {
    pub fn new(settings: &'a Settings, wires: &'a mut W, office: &'a O) -> Self {
        Self {
            settings,
            wires,
            office,
            input: Input::default(),
            out: Vec::new(),
            replies: Replies::default(),
            inner_pipelines: false,
            is_protected: false,
            is_offered: false,
            transaction: None,
            conduct: Conduct::default(),
        }
    }

    /// Serves the client to the end. Returns the last bytes for the client, which ends the connection; `None` where it
    /// is gone.
    pub fn run(mut self, introduction: &Introduction) -> Option<Vec<u8>> {
        let end = self.introduce(introduction).and_then(|()| self.converse());
        match end {
            Ok(never) => match never {},
            Err(End::Gone) => None,
            Err(End::Reply(reply)) => {
                reply.write(&mut self.out);
                Some(self.out)
            }
            Err(End::Passed(reply)) => {
                hello::pass(&reply, &mut self.out);
                Some(self.out)
            }
        }
    }

    fn converse(&mut self) -> Result<std::convert::Infallible, End> {
        let greeting = format!("{} ESMTP", self.settings.name);
        self.reply(&Reply::new(220, "", greeting));
        loop {
            let line = self.line()?;
            self.command(&line)?;
        }
    }

    fn reply(&mut self, reply: &Reply) {
        reply.write(&mut self.out);
    }

    /// Refuses a command. Too many refusals end the connection.
    fn refuse(&mut self, reply: &Reply) -> Result<(), End> {
        if let Some(last) = self.conduct.error() {
            return Err(End::Reply(last));
        }
        self.reply(reply);
        Ok(())
    }

    /// Passes a reply of the inner server on. With 421 it has closed the connection.
    fn pass(&mut self, reply: ServerReply) -> Result<(), End> {
        if reply.code == 421 {
            return Err(End::Passed(reply));
        }
        hello::pass(&reply, &mut self.out);
        Ok(())
    }

    /// Returns the next line without CRLF.
    fn line(&mut self) -> Result<String, End> {
        loop {
            if let Some(line) = self.next_line()? {
                return Ok(line);
            }
            self.fill()?;
        }
    }

    /// Returns the next line without CRLF, if it is there.
    fn next_line(&mut self) -> Result<Option<String>, End> {
        let Some(line) = self.input.line().map_err(End::Reply)? else { return Ok(None) };
        // A line that is no UTF-8 has a character that no command has.
        Ok(Some(String::from_utf8_lossy(&line).replace(char::REPLACEMENT_CHARACTER, "\0")))
    }

    fn has_unread(&self) -> bool {
        !self.input.unread().is_empty()
    }

    /// Sends the replies, and receives bytes of the client.
    fn fill(&mut self) -> Result<(), End> {
        self.flush()?;
        self.wires.receive(self.input.receive()).map_err(ended)
    }

    fn flush(&mut self) -> Result<(), End> {
        if !self.out.is_empty() {
            self.wires.send(&self.out).map_err(ended)?;
            self.out.clear();
        }
        Ok(())
    }
}

/// What a lost client means.
fn ended(lost: Lost) -> End {
    match lost {
        Lost::Gone => End::Gone,
        Lost::TimedOut => End::Reply(Reply::new(421, "4.4.2", "nothing came for too long")),
        Lost::Over => End::Reply(Reply::new(421, "4.3.2", "shutting down")),
    }
}
