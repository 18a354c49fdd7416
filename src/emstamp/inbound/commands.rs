//! Commands of the client, up to DATA.

use super::super::fate::Fate;
use super::inner::is_accepted;
use super::{Arrival, End, NullSender, Office, Recipient, Session, Transaction, Wires, hello};
use crate::emstamp::wire::{self, Pay, Verdict};
use crate::message::address::Address;
use crate::smtp::client::reply::ServerReply;
use crate::smtp::command::{Command, CommandError, path_text};
use crate::smtp::conduct::{RECIPIENTS_MAX, ahead, out_of_order, too_many_recipients};
use crate::smtp::data::Fault;
use crate::smtp::reply::Reply;

/// Most lines RCPT that are asked of the inner server at once.
const GROUP_MAX: usize = 50;

/// A line RCPT.
struct Named {
    line: String,
    mailbox: Option<Address>,
}

/// A line MAIL.
struct Mail {
    line: String,
    is_null: bool,
    is_aware: bool,
    size: Option<u64>,
}

impl<W: Wires, O: Office> Session<'_, W, O> {
    /// Answers a command.
    pub(super) fn command(&mut self, line: &str) -> Result<(), End> {
        if self.settings.can_be_paid && Pay::is_verb(line) {
            return self.pays(line);
        }
        if is_verb(line, "MAIL") {
            return self.mail(line);
        }
        if is_verb(line, "RCPT") {
            return self.recipients(line);
        }
        let command = match Command::parse(line) {
            Ok(command) => command,
            Err(error) => return self.refuse(&error.reply()),
        };
        if command.is_idle()
            && let Some(last) = self.conduct.idle_command()
        {
            return Err(End::Reply(last));
        }
        match command {
            Command::Hello { extended } => self.hello(line, extended),
            Command::Data => self.data(),
            Command::Reset => {
                self.transaction = None;
                let reply = self.ask("RSET")?;
                self.pass(reply)
            }
            Command::Noop => {
                self.reply(&Reply::new(250, "2.0.0", "ok"));
                Ok(())
            }
            Command::Verify => {
                self.reply(&Reply::new(252, "2.1.5", "send the message, and see"));
                Ok(())
            }
            Command::Help => {
                self.reply(&Reply::new(214, "2.0.0", "see RFC 5321, and mailstamp-emstamp(5)"));
                Ok(())
            }
            Command::Quit => {
                // It may be gone already.
                let _ = self.ask("QUIT");
                Err(End::Reply(Reply::new(221, "2.0.0", "bye")))
            }
            Command::StartTls => self.start_tls(),
            Command::Foreign => Err(End::Reply(Reply::new(221, "2.7.0", "this is not HTTP"))),
            Command::Auth { .. } | Command::Mail(_) | Command::Recipient(_) => {
                self.refuse(&CommandError::NotOffered.reply())
            }
        }
    }

    fn hello(&mut self, line: &str, extended: bool) -> Result<(), End> {
        self.transaction = None;
        let reply = self.ask(line.trim_end_matches(' '))?;
        self.is_offered = extended && self.settings.can_be_paid && reply.code == 250;
        self.inner_pipelines = hello::offers(&reply, "PIPELINING");
        if extended && reply.code == 250 {
            let offers_tls = self.settings.has_tls && !self.is_protected;
            let filtered = hello::filtered(&reply, self.settings, offers_tls);
            self.reply(&filtered);
            return Ok(());
        }
        self.pass(reply)
    }

    fn start_tls(&mut self) -> Result<(), End> {
        if !self.settings.has_tls || self.is_protected {
            return self.refuse(&CommandError::NotOffered.reply());
        }
        if self.transaction.is_some() {
            return self.refuse(&out_of_order());
        }
        if self.has_unread() {
            return Err(End::Reply(ahead()));
        }
        self.reply(&Reply::new(220, "2.0.0", "begin TLS"));
        self.flush()?;
        self.wires.protect().map_err(super::ended)?;
        (self.is_protected, self.is_offered) = (true, false);
        Ok(())
    }

    fn mail(&mut self, line: &str) -> Result<(), End> {
        if self.transaction.is_some() {
            return self.refuse(&out_of_order());
        }
        let mail = match mail(line, self.is_offered) {
            Ok(mail) => mail,
            Err(error) => return self.refuse(&error.reply()),
        };
        if mail.size.is_some_and(|size| size > self.settings.largest as u64) {
            return self.refuse(&Fault::TooLarge.reply(self.settings.largest));
        }
        let reply = self.ask(&mail.line)?;
        if is_accepted(&reply) {
            let Mail { line, is_null, is_aware, .. } = mail;
            self.transaction = Some(Transaction { mail: line, is_null, is_aware, recipients: Vec::new() });
        }
        self.pass(reply)
    }

    /// Answers this line RCPT, and those behind it that have come already.
    fn recipients(&mut self, first: &str) -> Result<(), End> {
        let mut line = Some(first.to_owned());
        let mut group: Vec<Named> = Vec::new();
        while let Some(text) = line.take() {
            if self.recipient_count() + group.len() >= RECIPIENTS_MAX {
                self.recipient_group(&mut group)?;
            }
            match recipient(&text) {
                _ if self.transaction.is_none() => {
                    self.recipient_group(&mut group)?;
                    self.refuse(&out_of_order())?;
                }
                Err(error) => {
                    self.recipient_group(&mut group)?;
                    self.refuse(&error.reply())?;
                }
                Ok(_) if self.recipient_count() >= RECIPIENTS_MAX => {
                    self.recipient_group(&mut group)?;
                    self.reply(&too_many_recipients());
                }
                Ok(named) => {
                    // A recipient who is named twice is paid once, and is looked for among those that are known.
                    if group.len() == GROUP_MAX || group.iter().any(|it| it.mailbox == named.mailbox) {
                        self.recipient_group(&mut group)?;
                    }
                    group.push(named);
                }
            }
            if self.next_begins(b"RCPT ") {
                line = match self.next_line() {
                    Ok(line) => line,
                    // The recipients before it are answered first.
                    Err(end) => {
                        self.recipient_group(&mut group)?;
                        return Err(end);
                    }
                };
            }
        }
        self.recipient_group(&mut group)
    }

    fn recipient_count(&self) -> usize {
        self.transaction.as_ref().map_or(0, |it| it.recipients.len())
    }

    /// Returns whether the next line has come and begins with this word.
    pub(super) fn next_begins(&self, word: &[u8; 5]) -> bool {
        let unread = self.input.unread();
        unread.get(..5).is_some_and(|begin| begin.eq_ignore_ascii_case(word)) && unread.contains(&b'\n')
    }

    /// Asks the inner server for recipients, and answers each.
    fn recipient_group(&mut self, group: &mut Vec<Named>) -> Result<(), End> {
        let group = std::mem::take(group);
        let again = |named: &Named| {
            let recipients = self.transaction.iter().flat_map(|it| &it.recipients);
            let mut priced = recipients.filter(|it| it.price > 0 && !it.is_dropped);
            priced.any(|it| it.mailbox == named.mailbox)
        };
        // The inner server need not know them twice.
        let asked: Vec<bool> = group.iter().map(|named| !again(named)).collect();
        let lines: Vec<&str> = group.iter().zip(&asked).filter(|it| *it.1).map(|it| it.0.line.as_str()).collect();
        let mut replies = self.ask_all(&lines)?.into_iter();
        for (named, asked) in group.into_iter().zip(asked) {
            if !asked {
                self.recipient_again(&named)?;
            } else if let Some(reply) = replies.next() {
                self.recipient(named, reply)?;
            }
        }
        Ok(())
    }

    /// Answers for a recipient to whom the inner server has said this.
    fn recipient(&mut self, named: Named, reply: ServerReply) -> Result<(), End> {
        let Some(transaction) = &mut self.transaction else { return self.pass(reply) };
        if !is_accepted(&reply) {
            return self.pass(reply);
        }
        let Named { line, mailbox } = named;
        let recipient = Recipient { line, mailbox, price: 0, paid: None, awaits_report: false, is_dropped: false };
        let price = recipient.mailbox.as_ref().map_or(Ok(0), |mailbox| self.office.price(mailbox));
        let null_sender = transaction.is_null.then_some(self.settings.null_sender);
        if let (Some(NullSender::Reports), Ok(price)) = (null_sender, price)
            && transaction.recipients.iter().any(|it| it.is_live() && it.awaits_report != (price > 0))
        {
            transaction.recipients.push(Recipient { price, is_dropped: true, ..recipient });
            self.reply(&Reply::new(452, "4.5.3", "mailboxes with and without a price get no bounce together"));
            return Ok(());
        }
        let (Some(mailbox), is_aware) = (recipient.mailbox.clone(), transaction.is_aware) else {
            transaction.recipients.push(recipient);
            return self.pass(reply);
        };
        match price {
            Ok(0) => {
                transaction.recipients.push(recipient);
                self.pass(reply)
            }
            Ok(_) if null_sender == Some(NullSender::Accept) => {
                transaction.recipients.push(recipient);
                self.pass(reply)
            }
            Ok(price) if null_sender == Some(NullSender::Reports) => {
                transaction.recipients.push(Recipient { price, awaits_report: true, ..recipient });
                self.pass(reply)
            }
            Ok(price) if null_sender.is_some() => {
                transaction.recipients.push(Recipient { price, is_dropped: true, ..recipient });
                let text = format!("<{mailbox}>: this mailbox takes no message without a sender");
                self.reply(&Reply::new(550, "5.7.1", text));
                Ok(())
            }
            Ok(price) if is_aware => {
                let offer = self.office.offer(&mailbox, price);
                let is_dropped = offer.is_err();
                transaction.recipients.push(Recipient { price, is_dropped, ..recipient });
                match offer {
                    Ok(offer) => self.reply(&offer.reply(text_of(&reply))),
                    Err(_) => self.reply(&away()),
                }
                Ok(())
            }
            Ok(price) => {
                transaction.recipients.push(Recipient { price, is_dropped: true, ..recipient });
                self.office.count(Fate::Unpaid, 1);
                let closes = self.settings.closes_unaware;
                let reply = wire::unaware(&mailbox, price, &self.settings.help, closes);
                if closes {
                    return Err(End::Reply(reply));
                }
                self.reply(&reply);
                Ok(())
            }
            Err(_) => {
                transaction.recipients.push(Recipient { price: 1, is_dropped: true, ..recipient });
                self.reply(&away());
                Ok(())
            }
        }
    }

    /// Answers for a recipient with a price who was named before.
    fn recipient_again(&mut self, named: &Named) -> Result<(), End> {
        let recipients = self.transaction.iter().flat_map(|it| &it.recipients);
        let known = recipients.filter(|it| it.price > 0 && !it.is_dropped).find(|it| it.mailbox == named.mailbox);
        let to_pay = known
            .filter(|it| it.paid.is_none() && !it.awaits_report)
            .and_then(|it| Some((it.mailbox.clone()?, it.price)));
        match to_pay.map(|(mailbox, price)| self.office.offer(&mailbox, price)) {
            None => self.reply(&Reply::new(250, "2.1.5", "ok")),
            Some(Ok(offer)) => self.reply(&offer.reply("ok")),
            Some(Err(_)) => self.reply(&away()),
        }
        Ok(())
    }
}

/// Returns the text of the first line without the enhanced status.
fn text_of(reply: &ServerReply) -> &str {
    let line = reply.lines.first().map_or("", String::as_str);
    let rest = reply.enhanced().and_then(|status| line.strip_prefix(status));
    let text = rest.unwrap_or(line).trim_start();
    if text.is_empty() { "ok" } else { text }
}

/// The reply where the books, or a price, cannot be read.
pub(super) fn away() -> Reply {
    Reply::new(451, "4.3.0", "the prices or the books of this gateway cannot be read, try again later")
}

/// Returns the arrival that stops a message, if there is one: the worst.
pub(super) fn stops(arrivals: &[Arrival]) -> Option<Verdict> {
    if arrivals.contains(&Arrival::Double) {
        Some(Verdict::Used)
    } else {
        arrivals.contains(&Arrival::Full).then_some(Verdict::Exposed)
    }
}

fn is_verb(line: &str, verb: &str) -> bool {
    line.split(' ').next().is_some_and(|word| word.eq_ignore_ascii_case(verb))
}

/// Returns what follows the verb of a line, which has no control character.
fn arguments(line: &str) -> Result<&str, CommandError> {
    if line.contains(char::is_control) {
        return Err(CommandError::Syntax);
    }
    let line = line.trim_end_matches(' ');
    Ok(line.split_once(' ').ok_or(CommandError::Syntax)?.1.trim_start_matches(' '))
}

/// Reads MAIL. The sender goes to the inner server as it came.
fn mail(line: &str, is_offered: bool) -> Result<Mail, CommandError> {
    let (sender, parameters) = path_text(arguments(line)?, "FROM:")?;
    let mut mail =
        Mail { line: format!("MAIL FROM:<{sender}>"), is_null: sender.is_empty(), is_aware: false, size: None };
    for parameter in parameters.split(' ').filter(|text| !text.is_empty()) {
        if wire::is_parameter(parameter) && is_offered {
            mail.is_aware = true;
            continue;
        }
        let (key, value) = parameter.split_once('=').map_or((parameter, None), |(key, value)| (key, Some(value)));
        match (key.to_ascii_uppercase().as_str(), value) {
            ("SIZE", Some(value)) if (1..=20).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_digit()) => {
                mail.size = Some(value.parse().unwrap_or(u64::MAX));
            }
            ("BODY", Some(value)) if ["7BIT", "8BITMIME"].iter().any(|it| it.eq_ignore_ascii_case(value)) => {}
            ("RET" | "ENVID", Some(value)) if !value.is_empty() => {}
            ("SMTPUTF8", None) => {}
            ("SIZE" | "BODY" | "RET" | "ENVID" | "SMTPUTF8", _) => return Err(CommandError::Syntax),
            _ => return Err(CommandError::Parameter),
        }
        mail.line.push(' ');
        mail.line.push_str(parameter);
    }
    Ok(mail)
}

/// Reads RCPT.
fn recipient(line: &str) -> Result<Named, CommandError> {
    let (path, parameters) = path_text(arguments(line)?, "TO:")?;
    let is_postmaster = path.eq_ignore_ascii_case("postmaster");
    let mailbox = if is_postmaster { None } else { Some(Address::parse(path).map_err(|_| CommandError::Address)?) };
    let mut line = format!("RCPT TO:<{path}>");
    for parameter in parameters.split(' ').filter(|text| !text.is_empty()) {
        let key = parameter.split_once('=').map_or(parameter, |(key, _)| key);
        if !["NOTIFY", "ORCPT"].iter().any(|it| it.eq_ignore_ascii_case(key)) {
            return Err(CommandError::Parameter);
        }
        line.push(' ');
        line.push_str(parameter);
    }
    Ok(Named { line, mailbox })
}
