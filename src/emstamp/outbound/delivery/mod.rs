//! State of a connection to a server, for one message with any number of recipients: the server's replies in, commands
//! and the message out.
//!
//! - The parameter of MAIL and the verb of the extension are sent only where the last reply to EHLO offered version 1.
//! - After the replies to RCPT the caller decides what is paid ([`Delivery::questions`], [`Delivery::decide`]), and once
//!   more for each recipient whose ID the server no longer wants. DATA comes after that.
//! - Where the server offers it, commands go in groups (RFC 2920). At most [`WINDOW`] replies are open, so that neither
//!   side waits for the other to read.
//! - STARTTLS begins a new session (RFC 3207 section 4.2).

use super::answer::Answer;
use crate::emstamp::wire::{self, Offer, Pay};
use crate::message::address::Address;
use crate::smtp::client::extensions::Extensions;
use crate::smtp::client::reply::{Replies, ServerReply};
use crate::smtp::client::text::Text;
use crate::smtp::client::{ClientError, Conversation, Step};
use crate::smtp::parameters::MailParameters;
use crate::stamp::serial::Serial;
use std::collections::VecDeque;

/// Most commands in a group that are not answered.
pub const WINDOW: usize = 100;

/// A message, and where it goes.
#[derive(Clone, Debug)]
pub struct Envelope<'a> {
    /// The name of the gateway.
    pub name: &'a str,
    /// The server, as answers name it.
    pub host: &'a str,
    /// The envelope sender; `None` for the null sender.
    pub sender: Option<&'a Address>,
    pub parameters: &'a MailParameters,
    /// The ID by which a report about the message is known, unless the parameters have one.
    pub id: Option<Serial>,
    /// Whether the header needs SMTPUTF8.
    pub is_utf8_header: bool,
    pub recipients: Vec<Recipient<'a>>,
    pub text: &'a Text,
}

/// A recipient.
#[derive(Clone, Copy, Debug)]
pub struct Recipient<'a> {
    pub address: &'a Address,
    /// Parameters of RCPT, each with a blank before it.
    pub notifications: &'a str,
}

/// A recipient for whom the server asks credits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Its number in the envelope.
    pub recipient: usize,
    /// The newest offer.
    pub offer: Offer,
    /// Whether the server refused the ID of a token that it was shown, so that this offer takes its place.
    pub renews: bool,
}

/// What is to be done about a recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    Pay(Pay),
    /// The recipient is left unpaid, and this is the answer.
    Leave(Answer),
}

/// The command whose reply is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    Greeting,
    Hello,
    StartTls,
    Mail,
    /// With the number of the recipient.
    Recipient(usize),
    Pay(usize),
    Data,
    Text,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Replies are awaited, or commands wait to be sent.
    Talk,
    /// The caller decides.
    Ask,
    Over,
}

/// A recipient on its way.
#[derive(Debug, Default)]
struct Progress {
    /// Set when nothing more is to be done.
    answer: Option<Answer>,
    /// The server accepted it.
    is_accepted: bool,
    offer: Option<Offer>,
    /// The ID that the server was shown last, and the credits of its token.
    shown: Option<(Serial, u64)>,
    /// The credits that the server took, or had taken before.
    paid: Option<u64>,
    /// The server wants another ID.
    renews: bool,
}

impl Progress {
    /// Returns whether the recipient gets the message that DATA sends.
    fn is_live(&self) -> bool {
        self.answer.is_none() && self.is_accepted && (self.offer.is_none() || self.paid.is_some())
    }
}

/// A connection.
#[derive(Debug)]
pub struct Delivery<'a> {
    envelope: Envelope<'a>,
    /// Whether STARTTLS is still to come.
    needs_tls: bool,
    phase: Phase,
    replies: Replies,
    extensions: Extensions,
    /// Whether the server offers the extension.
    is_aware: bool,
    /// Commands that wait to be sent.
    queue: VecDeque<(Awaited, Vec<u8>)>,
    awaited: VecDeque<Awaited>,
    /// Replies that were read.
    count: usize,
    each: Vec<Progress>,
}

impl<'a> Delivery<'a> {
    /// Begins a connection. With `start_tls`, nothing but STARTTLS is sent before TLS.
    #[must_use]
    pub fn new(envelope: Envelope<'a>, start_tls: bool) -> Self {
        let each = envelope.recipients.iter().map(|_| Progress::default()).collect();
        Self {
            envelope,
            needs_tls: start_tls,
            phase: Phase::Talk,
            replies: Replies::default(),
            extensions: Extensions::default(),
            is_aware: false,
            queue: VecDeque::new(),
            awaited: VecDeque::from([Awaited::Greeting]),
            count: 0,
            each,
        }
    }

    /// Returns whether nothing more is to be sent or awaited.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Returns the recipients about whom the caller decides now, after [`Step::Done`]. There may be none.
    #[must_use]
    pub fn questions(&self) -> Vec<Question> {
        if self.phase != Phase::Ask {
            return Vec::new();
        }
        let each = self.each.iter().enumerate().filter(|(_, it)| it.answer.is_none() && it.paid.is_none());
        let asked = each.filter(|(_, it)| it.shown.is_none() || it.renews);
        let question = |(recipient, it): (usize, &Progress)| {
            Some(Question { recipient, offer: it.offer.clone()?, renews: it.renews })
        };
        asked.filter_map(question).collect()
    }

    /// Takes the decisions about [`questions`](Self::questions), by the numbers of the recipients. A recipient without
    /// one is left for later.
    pub fn decide(&mut self, choices: Vec<(usize, Choice)>) {
        let asked: Vec<usize> = self.questions().iter().map(|it| it.recipient).collect();
        for (number, choice) in choices.into_iter().filter(|(number, _)| asked.contains(number)) {
            let Some(it) = self.each.get_mut(number) else { continue };
            let pay = match choice {
                Choice::Pay(pay) => pay,
                Choice::Leave(answer) => {
                    it.answer = Some(answer);
                    continue;
                }
            };
            match pay.line() {
                Ok(line) => {
                    (it.shown, it.renews) = (Some((pay.id, pay.credits)), false);
                    self.queue.push_back((Awaited::Pay(number), format!("{line}\r\n").into_bytes()));
                }
                Err(error) => it.answer = Some(Answer::own(550, "5.7.1", error.to_string())),
            }
        }
        for number in asked {
            if let Some(it) = self.each.get_mut(number)
                && it.answer.is_none()
                && (it.shown.is_none() || it.renews)
            {
                it.answer = Some(Answer::own(451, "4.7.1", "not paid for now"));
            }
        }
        if self.phase == Phase::Ask {
            self.phase = Phase::Talk;
            if self.queue.is_empty() {
                self.data();
            }
        }
    }

    /// Ends the connection with an answer for each recipient that has none.
    pub fn fail(&mut self, answer: &Answer) {
        self.phase = Phase::Over;
        self.end(answer);
    }

    /// Returns the number of each recipient whom the server took credits for, now or before, and the answer about each.
    #[must_use]
    pub fn outcome(self) -> Vec<(Answer, Option<u64>)> {
        let lost = || Answer::own(451, "4.4.2", "the connection ended");
        self.each.into_iter().map(|it| (it.answer.unwrap_or_else(lost), it.paid)).collect()
    }

    fn end(&mut self, answer: &Answer) {
        for it in &mut self.each {
            it.answer.get_or_insert_with(|| answer.clone());
        }
    }

    /// Ends the connection with the reply to DATA. Without 354, the message was not sent.
    fn refused(&mut self, reply: &ServerReply) {
        self.phase = Phase::Over;
        let mut answer = self.answer(reply);
        if answer.is_success() {
            (answer.code, answer.enhanced) = (451, "4.0.0".to_owned());
        }
        self.end(&answer);
    }

    fn answer(&self, reply: &ServerReply) -> Answer {
        Answer::of_server(self.envelope.host, reply)
    }

    /// Returns the next group of commands, if it may be sent.
    fn flush(&mut self) -> Option<Vec<u8>> {
        let (most, low) = if self.extensions.pipelining { (WINDOW, WINDOW / 2) } else { (1, 0) };
        if self.queue.is_empty() || self.awaited.len() > low {
            return None;
        }
        let mut group = Vec::new();
        while self.awaited.len() < most
            && let Some((awaited, command)) = self.queue.pop_front()
        {
            self.awaited.push_back(awaited);
            group.extend(command);
        }
        Some(group)
    }

    fn send(&mut self, awaited: Awaited, command: String) {
        self.queue.push_back((awaited, command.into_bytes()));
    }

    fn hello(&mut self) {
        let hello = format!("EHLO {}\r\n", self.envelope.name);
        self.send(Awaited::Hello, hello);
    }

    /// Reads a reply. `None` if the next one is awaited.
    fn read(&mut self, reply: ServerReply) -> Result<Option<Step<'a>>, ClientError> {
        let is_positive = (200..300).contains(&reply.code);
        let Some(awaited) = self.awaited.pop_front() else { return Ok(None) };
        match awaited {
            Awaited::Greeting | Awaited::Hello | Awaited::StartTls if !is_positive => {
                return Err(ClientError::Session(reply));
            }
            Awaited::Greeting => self.hello(),
            Awaited::Hello => {
                self.extensions = Extensions::of(&reply);
                self.is_aware = wire::is_offered(&reply);
                self.greeted()?;
            }
            Awaited::StartTls if !self.replies.is_empty() => return Err(ClientError::Injected),
            Awaited::StartTls => return Ok(Some(Step::StartTls)),
            Awaited::Mail if !is_positive => {
                // What was sent with it is refused, too.
                self.queue.clear();
                let answer = self.answer(&reply);
                self.end(&answer);
            }
            Awaited::Mail => {}
            Awaited::Recipient(number) => self.recipient(number, &reply),
            Awaited::Pay(number) => self.paid(number, &reply),
            Awaited::Data if reply.code != 354 => self.refused(&reply),
            Awaited::Data => {
                self.awaited.push_back(Awaited::Text);
                return Ok(Some(Step::SendText(self.envelope.text.bytes())));
            }
            Awaited::Text => {
                let answer = self.answer(&reply);
                for it in self.each.iter_mut().filter(|it| it.is_live()) {
                    let mut answer = answer.clone();
                    if let Some(credits) = it.paid.filter(|_| answer.is_success()) {
                        let unit = if credits == 1 { "credit" } else { "credits" };
                        answer.lines.push(format!("paid {credits} {unit}"));
                    }
                    it.answer = Some(answer);
                }
                self.phase = Phase::Over;
            }
        }
        if self.phase == Phase::Talk && self.queue.is_empty() && self.awaited.is_empty() {
            self.advance(awaited);
        }
        Ok(None)
    }

    /// Goes on when all replies of a group were read.
    fn advance(&mut self, last: Awaited) {
        let is_asked = match last {
            Awaited::Mail | Awaited::Recipient(_) => true,
            Awaited::Pay(_) => self.each.iter().any(|it| it.renews && it.answer.is_none()),
            _ => return,
        };
        if self.each.iter().all(|it| it.answer.is_some()) {
            self.phase = Phase::Over;
        } else if is_asked {
            self.phase = Phase::Ask;
        } else {
            self.data();
        }
    }

    /// Continues after EHLO.
    fn greeted(&mut self) -> Result<(), ClientError> {
        if self.needs_tls {
            if !self.extensions.start_tls {
                return Err(ClientError::NoStartTls);
            }
            self.send(Awaited::StartTls, "STARTTLS\r\n".to_owned());
            return Ok(());
        }
        let Envelope { sender, parameters, text, .. } = self.envelope;
        let is_plain = |address: &Address| address.to_string().is_ascii();
        let needs_utf8 = self.envelope.is_utf8_header
            || self.extensions.utf8 && !self.envelope.recipients.iter().all(|it| is_plain(it.address));
        let mut mail = match self.extensions.mail(sender, text, needs_utf8) {
            Ok(mail) => mail,
            Err(error) => {
                let enhanced = if error == ClientError::No8BitMime { "5.6.3" } else { "5.6.7" };
                self.fail(&Answer::own(554, enhanced, format!("{} {error}", self.envelope.host)));
                return Ok(());
            }
        };
        if self.extensions.dsn {
            mail += &parameters.notifications;
            if let Some(id) = self.envelope.id.as_ref().filter(|_| !parameters.has_envelope_id()) {
                // The header suffices to know the message again.
                mail += if parameters.has_return() { "" } else { " RET=HDRS" };
                mail += &format!(" ENVID={id}");
            }
        }
        if self.is_aware {
            mail = format!("{mail} {}", wire::KEYWORD);
        }
        self.send(Awaited::Mail, mail + "\r\n");
        for number in 0..self.each.len() {
            let Some(recipient) = self.envelope.recipients.get(number).copied() else { continue };
            if !self.extensions.utf8 && !is_plain(recipient.address) {
                let text = format!("{} {}", self.envelope.host, ClientError::NoSmtpUtf8);
                if let Some(it) = self.each.get_mut(number) {
                    it.answer = Some(Answer::own(550, "5.6.7", text));
                }
                continue;
            }
            let notifications = recipient.notifications;
            let is_sent = self.extensions.dsn && (self.extensions.utf8 || notifications.is_ascii());
            let notifications = if is_sent { notifications } else { "" };
            self.send(Awaited::Recipient(number), format!("RCPT TO:<{}>{notifications}\r\n", recipient.address));
        }
        if self.each.iter().all(|it| it.answer.is_some()) {
            self.queue.clear();
            self.phase = Phase::Over;
        }
        Ok(())
    }

    fn recipient(&mut self, number: usize, reply: &ServerReply) {
        let (answer, offer) = (self.answer(reply), Offer::of_reply(reply));
        let is_aware = self.is_aware;
        let Some(it) = self.each.get_mut(number).filter(|it| it.answer.is_none()) else { return };
        match offer {
            _ if !answer.is_success() => it.answer = Some(answer),
            Err(_) if is_aware => it.answer = Some(Answer::own(451, "4.5.0", "the offer of the server is malformed")),
            Ok(offer) if is_aware => (it.is_accepted, it.offer) = (true, offer),
            // A server that does not offer the extension makes no offers.
            _ => it.is_accepted = true,
        }
    }

    fn paid(&mut self, number: usize, reply: &ServerReply) {
        let answer = self.answer(reply);
        let Some(it) = self.each.get_mut(number).filter(|it| it.answer.is_none()) else { return };
        let newest = it.offer.as_ref().map(|offer| &offer.id);
        match wire::Answer::of(reply) {
            wire::Answer::Paid => it.paid = it.shown.as_ref().map(|(_, credits)| *credits),
            wire::Answer::Renew if it.shown.as_ref().map(|(id, _)| id) != newest => it.renews = true,
            wire::Answer::Renew | wire::Answer::Deferred => {
                it.answer = Some(Answer { code: 451, enhanced: "4.7.1".to_owned(), ..answer });
            }
            wire::Answer::Refused => it.answer = Some(answer),
        }
    }

    fn data(&mut self) {
        if self.each.iter().any(Progress::is_live) {
            self.send(Awaited::Data, "DATA\r\n".to_owned());
        } else {
            self.phase = Phase::Over;
        }
    }
}

impl<'a> Conversation<'a> for Delivery<'a> {
    fn receive(&mut self, bytes: &[u8]) {
        self.replies.receive(bytes);
    }

    fn count(&self) -> usize {
        self.count
    }

    fn is_undecided(&self) -> bool {
        self.awaited.front() == Some(&Awaited::Text)
    }

    fn protect(&mut self) -> Vec<u8> {
        self.needs_tls = false;
        (self.extensions, self.is_aware) = (Extensions::default(), false);
        self.hello();
        self.flush().unwrap_or_default()
    }

    fn step(&mut self) -> Result<Step<'a>, ClientError> {
        loop {
            if self.phase != Phase::Talk {
                return Ok(Step::Done);
            }
            if let Some(group) = self.flush() {
                return Ok(Step::Send(group));
            }
            let Some(reply) = self.replies.next_reply()? else { return Ok(Step::Receive) };
            self.count += 1;
            if let Some(step) = self.read(reply)? {
                return Ok(step);
            }
        }
    }
}

#[cfg(test)]
mod tests;
