//! State of a connection of the mail system (LMTP, RFC 2033): bytes in, steps out, over any number of messages. After the
//! text of a message, each recipient that was accepted gets a reply.
//!
//! - A recipient whose domain has no route is refused.
//! - Commands may come in groups (RFC 2920). DATA ends a group: bytes behind it, sent before the reply, close the
//!   connection, since they could be the text of a message that is now read as commands.
//! - A client that sends nothing but errors, or commands without effect, is disconnected.

use crate::message::address::Address;
use crate::smtp::command::{Command, CommandError, path};
use crate::smtp::conduct::{Conduct, RECIPIENTS_MAX, ahead, needs_utf8, out_of_order, too_many_recipients};
use crate::smtp::data::{Decoder, Fault};
use crate::smtp::input::Input;
use crate::smtp::parameters::{self, MailParameters};
use crate::smtp::reply::Reply;
use std::collections::BTreeSet;
use std::mem;
use std::sync::Arc;

/// What follows.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// More bytes are needed: [`Session::receive`].
    Receive,
    Reply(Reply),
    /// The reply is the last one.
    Close(Reply),
    /// This reply is sent so many times: once for each recipient.
    Each(Reply, usize),
    /// A message is complete. The replies, one for each recipient in their order, are those of the caller.
    Submit(Message),
}

/// A message with its envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The envelope sender; `None` for the null sender.
    pub sender: Option<Address>,
    pub parameters: MailParameters,
    /// At least one. The same may occur twice.
    pub recipients: Vec<Recipient>,
    /// The message, with LF at the ends of lines.
    pub raw: Vec<u8>,
}

/// A recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    pub address: Address,
    /// Parameters of RCPT, each with a blank before it.
    pub notifications: String,
}

/// Input that is expected.
#[derive(Debug)]
enum Phase {
    Command,
    Data(Decoder),
    Closed,
}

/// A connection.
#[derive(Debug)]
pub struct Session {
    name: String,
    largest: usize,
    /// Domains that have a route.
    domains: Arc<BTreeSet<String>>,
    input: Input,
    phase: Phase,
    /// LHLO came.
    is_greeted: bool,
    /// A message whose envelope arrives.
    transaction: Option<Message>,
    conduct: Conduct,
}

impl Session {
    /// Begins a session of the gateway `name`, which takes messages of at most `largest` bytes to these domains.
    #[must_use]
    pub fn new(name: &str, largest: usize, domains: Arc<BTreeSet<String>>) -> Self {
        Self {
            name: name.to_owned(),
            largest,
            domains,
            input: Input::default(),
            phase: Phase::Command,
            is_greeted: false,
            transaction: None,
            conduct: Conduct::default(),
        }
    }

    /// Returns the greeting.
    #[must_use]
    pub fn greeting(&self) -> Reply {
        Reply::new(220, "", format!("{} LMTP mailstamp", self.name))
    }

    /// Returns how many bytes of memory the input takes.
    #[must_use]
    pub fn memory(&self) -> usize {
        let message = if let Phase::Data(decoder) = &self.phase { decoder.memory() } else { 0 };
        self.input.memory() + message
    }

    /// Refuses the message that arrives, for lack of memory.
    pub fn refuse_message(&mut self) {
        if let Phase::Data(decoder) = &mut self.phase {
            decoder.refuse(Fault::NoMemory);
        }
    }

    /// Takes bytes of the client.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.input.receive().extend_from_slice(bytes);
    }

    /// Returns the next step.
    pub fn step(&mut self) -> Step {
        match &mut self.phase {
            Phase::Closed => return Step::Receive,
            Phase::Data(decoder) => {
                return if self.input.text(decoder) { self.end_of_data() } else { Step::Receive };
            }
            Phase::Command => {}
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
        let line = match std::str::from_utf8(line) {
            Ok(line) if !line.contains(char::is_control) => line.trim_end_matches(' '),
            _ => return Step::Reply(CommandError::Syntax.reply()),
        };
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let rest = rest.trim_start_matches(' ');
        match word.to_ascii_uppercase().as_str() {
            "LHLO" => return self.hello(rest),
            "MAIL" => return Step::Reply(self.mail(rest).unwrap_or_else(CommandError::reply)),
            "RCPT" => return Step::Reply(self.recipient(rest).unwrap_or_else(CommandError::reply)),
            _ => {}
        }
        let command = match Command::parse(line) {
            Ok(command) => command,
            Err(error) => return Step::Reply(error.reply()),
        };
        if command.is_idle()
            && let Some(last) = self.conduct.idle_command()
        {
            return self.close(last);
        }
        match command {
            // RFC 2033 section 4.1.
            Command::Hello { .. } => Step::Reply(Reply::new(500, "5.5.1", "this is LMTP: begin with LHLO")),
            Command::Data => self.data(),
            Command::Reset => {
                self.transaction = None;
                Step::Reply(Reply::new(250, "2.0.0", "ok"))
            }
            Command::Noop => Step::Reply(Reply::new(250, "2.0.0", "ok")),
            Command::Quit => self.close(Reply::new(221, "2.0.0", "bye")),
            Command::Verify => Step::Reply(Reply::new(252, "2.1.5", "send the message, and see")),
            Command::Help => Step::Reply(Reply::new(214, "2.0.0", "see mailstamp-gateway(8)")),
            Command::Foreign => self.close(Reply::new(221, "2.7.0", "this is not HTTP")),
            Command::Mail(_) | Command::Recipient(_) | Command::Auth { .. } | Command::StartTls => {
                Step::Reply(CommandError::NotOffered.reply())
            }
        }
    }

    fn hello(&mut self, name: &str) -> Step {
        if name.is_empty() {
            return Step::Reply(CommandError::Syntax.reply());
        }
        if let Some(last) = self.conduct.idle_command() {
            return self.close(last);
        }
        (self.is_greeted, self.transaction) = (true, None);
        let mut lines = vec![self.name.clone(), format!("SIZE {}", self.largest)];
        lines.extend(["PIPELINING", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES"].map(str::to_owned));
        Step::Reply(Reply { code: 250, enhanced: "", lines })
    }

    fn mail(&mut self, rest: &str) -> Result<Reply, CommandError> {
        if !self.is_greeted || self.transaction.is_some() {
            return Ok(out_of_order());
        }
        let (sender, rest) = path(rest, "FROM:")?;
        let parameters = MailParameters::parse(rest)?;
        if parameters.size.is_some_and(|size| size > self.largest as u64) {
            return Ok(Fault::TooLarge.reply(self.largest));
        }
        if sender.as_ref().is_some_and(|sender| is_wider(sender, &parameters)) {
            return Ok(needs_utf8());
        }
        self.transaction = Some(Message { sender, parameters, recipients: Vec::new(), raw: Vec::new() });
        Ok(Reply::new(250, "2.1.0", "ok"))
    }

    fn recipient(&mut self, rest: &str) -> Result<Reply, CommandError> {
        let Some(transaction) = &mut self.transaction else { return Ok(out_of_order()) };
        let (address, rest) = path(rest, "TO:")?;
        let address = address.ok_or(CommandError::Address)?;
        let notifications = parameters::recipient(rest)?;
        if is_wider(&address, &transaction.parameters) {
            return Ok(needs_utf8());
        }
        if !self.domains.contains(address.domain()) {
            let text = format!("<{address}>: gateway.outbound.routes has no route to {}", address.domain());
            let hint = "send it by the mail system itself, or add a route (mailstamp-gateway(8))".to_owned();
            return Ok(Reply { code: 550, enhanced: "5.1.2", lines: vec![text, hint] });
        }
        if transaction.recipients.len() >= RECIPIENTS_MAX {
            return Ok(too_many_recipients());
        }
        transaction.recipients.push(Recipient { address, notifications });
        Ok(Reply::new(250, "2.1.5", "ok"))
    }

    fn data(&mut self) -> Step {
        if !self.input.unread().is_empty() {
            return self.close(ahead());
        }
        // RFC 2033 section 4.2: 503 where no recipient was accepted.
        if self.transaction.as_ref().is_none_or(|it| it.recipients.is_empty()) {
            return Step::Reply(out_of_order());
        }
        self.phase = Phase::Data(Decoder::new(self.largest));
        Step::Reply(Reply::new(354, "", "end with a dot on a line of its own"))
    }

    fn end_of_data(&mut self) -> Step {
        let (phase, message) = (mem::replace(&mut self.phase, Phase::Command), self.transaction.take());
        let (Phase::Data(decoder), Some(mut message)) = (phase, message) else { return Step::Receive };
        self.conduct.message();
        let refused = match decoder.finish() {
            Ok(raw) => {
                message.raw = raw;
                return Step::Submit(message);
            }
            Err(fault) => fault.reply(self.largest),
        };
        Step::Each(refused, message.recipients.len())
    }
}

/// Returns whether an address needs SMTPUTF8, and the client did not ask for it.
fn is_wider(address: &Address, parameters: &MailParameters) -> bool {
    !parameters.is_utf8 && !address.to_string().is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::input::LINE_MAX;
    use proptest::prelude::*;

    const LARGEST: usize = 200;

    fn session() -> Session {
        let domains = BTreeSet::from(["y.example".to_owned(), "xn--bcher-kva.example".to_owned()]);
        Session::new("mx.x.example", LARGEST, Arc::new(domains))
    }

    /// What the session says to pieces of input: the codes of its replies, and the messages.
    fn told(pieces: &[&[u8]]) -> (Vec<String>, Vec<Message>) {
        let (mut session, mut said, mut messages) = (session(), Vec::new(), Vec::new());
        let short = |reply: &Reply| format!("{} {}", reply.code, reply.enhanced);
        for piece in pieces {
            session.receive(piece);
            loop {
                match session.step() {
                    Step::Receive => break,
                    Step::Reply(reply) => said.push(short(&reply)),
                    Step::Close(reply) => said.push(format!("close {}", short(&reply))),
                    Step::Each(reply, count) => said.push(format!("{count} x {}", short(&reply))),
                    Step::Submit(message) => messages.push(message),
                }
            }
        }
        (said, messages)
    }

    const OPEN: &[u8] =
        b"LHLO mta\r\nMAIL FROM:<a@x.example> SIZE=9 RET=HDRS\r\nRCPT TO:<b@y.example> NOTIFY=NEVER\r\n";

    #[test]
    fn a_message_has_its_envelope_as_it_came() {
        let more = b"RCPT TO:<B@Y.example>\r\nDATA\r\n".as_slice();
        let (said, messages) = told(&[OPEN, more, b"A: b\r\n\r\n..x\r\n.\r\nQUIT\r\n"]);
        assert_eq!(said, ["250 ", "250 2.1.0", "250 2.1.5", "250 2.1.5", "354 ", "close 221 2.0.0"]);
        let [message] = &messages[..] else { panic!("{messages:?}") };
        assert_eq!((&message.raw[..], message.recipients.len()), (&b"A: b\n\n.x\n"[..], 2));
        assert_eq!(message.parameters.notifications, " RET=HDRS");
        assert_eq!(message.recipients[0].notifications, " NOTIFY=NEVER");
        let null = b"MAIL FROM:<>\r\nRCPT TO:<b@y.example>\r\nDATA\r\n";
        assert_eq!(told(&[b"LHLO mta\r\n", null, b"\r\n.\r\n"]).1[0].sender, None);
    }

    #[test]
    fn each_recipient_of_a_refused_text_gets_the_reply() {
        let open = [OPEN, b"RCPT TO:<c@y.example>\r\nDATA\r\n"].concat();
        for (text, reply) in [
            (b"a\nb\r\n.\r\n".to_vec(), "2 x 550 5.6.11"),
            (b"a\0b\r\n.\r\n".to_vec(), "2 x 550 5.6.11"),
            ([&[b'x'; LARGEST][..], b"\r\n.\r\n"].concat(), "2 x 552 5.3.4"),
        ] {
            let (said, messages) = told(&[&open, &text, b"NOOP\r\n"]);
            assert_eq!((said[5].as_str(), said[6].as_str(), messages.len()), (reply, "250 2.0.0", 0));
        }
        let mut session = session();
        session.receive(&open);
        while session.step() != Step::Receive {}
        session.refuse_message();
        session.receive(b".\r\n");
        assert_eq!(session.step(), Step::Each(Fault::NoMemory.reply(LARGEST), 2));
    }

    #[test]
    fn what_is_wrong_is_refused() {
        let after = |line: &str| {
            let (said, _) = told(&[b"LHLO mta\r\nMAIL FROM:<a@x.example>\r\n", line.as_bytes(), b"\r\n"]);
            said[2..].join(", ")
        };
        for (line, reply) in [
            ("EHLO mta", "500 5.5.1"),
            ("HELO mta", "500 5.5.1"),
            ("LHLO", "501 5.5.4"),
            ("XYZZY", "500 5.5.2"),
            ("STARTTLS", "502 5.5.1"),
            ("AUTH PLAIN", "502 5.5.1"),
            ("BDAT 1 LAST", "502 5.5.1"),
            ("MAIL FROM:<a@x.example>", "503 5.5.1"),
            ("RCPT TO:<b@z.example>", "550 5.1.2"),
            ("RCPT TO:<b@[192.0.2.1]>", "550 5.1.2"),
            ("RCPT TO:<>", "553 5.1.3"),
            ("RCPT TO:<b@y.example> X=1", "555 5.5.4"),
            ("RCPT TO:<b@y.example> NOTIFY=NO", "501 5.5.4"),
            ("RCPT TO:<zoë@y.example>", "553 5.6.7"),
            ("RCPT TO:<b@bücher.example>", "250 2.1.5"),
            ("NOOP\0", "501 5.5.4"),
            ("DATA", "503 5.5.1"),
            ("DATA\r\nx", "close 503 5.5.0"),
            ("GET / HTTP/1.1", "close 221 2.7.0"),
            ("NOOP\nx", "close 500 5.5.2"),
            ("VRFY b", "252 2.1.5"),
            ("HELP", "214 2.0.0"),
            ("RSET", "250 2.0.0"),
        ] {
            assert_eq!(after(line), reply, "{line}");
        }
        for (line, reply) in [
            ("MAIL FROM:<a@x.example> SIZE=201", "552 5.3.4"),
            ("MAIL FROM:<a@x.example> EMSTAMP", "555 5.5.4"),
            ("MAIL FROM:<zoë@x.example>", "553 5.6.7"),
            ("MAIL FROM:<zoë@x.example> SMTPUTF8", "250 2.1.0"),
            ("RCPT TO:<b@y.example>", "503 5.5.1"),
        ] {
            let (said, _) = told(&[b"LHLO mta\r\n", line.as_bytes(), b"\r\n"]);
            assert_eq!(said[1..], [reply], "{line}");
        }
        assert_eq!(told(&[b"MAIL FROM:<a@x.example>\r\n"]).0, ["503 5.5.1"]);
        assert_eq!(told(&[&[b'x'; LINE_MAX]]).0, ["close 500 5.5.6"]);
        assert_eq!(told(&[&b"X\r\n".repeat(30)]).0.last().unwrap(), "close 421 4.7.0");
        assert_eq!(told(&[&b"NOOP\r\n".repeat(200)]).0.len(), 101);
        assert_eq!(told(&[&b"LHLO x\r\n".repeat(200)]).0.len(), 101);
    }

    #[test]
    fn a_message_has_so_many_recipients_at_most() {
        let recipients = b"RCPT TO:<b@y.example>\r\n".repeat(RECIPIENTS_MAX);
        let (said, _) = told(&[OPEN, &recipients]);
        assert_eq!(said.iter().filter(|it| *it == "250 2.1.5").count(), RECIPIENTS_MAX);
        assert_eq!(said.last().unwrap(), "452 4.5.3");
    }

    const LINE: &str =
        "(LHLO a|MAIL FROM:<a@x\\.example>|RCPT TO:<b@(y|z)\\.example>|DATA|RSET|\\.|a|\\.\\.|QUIT|\r|)(\r\n|\n)?";

    proptest! {
        #[test]
        fn pieces_are_read_as_the_whole(
            lines in prop::collection::vec(LINE, 0..12), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        ) {
            // DATA ends a group, so no cut may change what comes with it: each line comes by itself, or in pieces.
            let mut pieces: Vec<&[u8]> = Vec::new();
            for line in &lines {
                pieces.push(line.as_bytes());
            }
            let whole = told(&pieces);
            let mut cut_pieces: Vec<&[u8]> = Vec::new();
            for (at, line) in lines.iter().enumerate() {
                let mut rest = line.as_bytes();
                for cut in cuts.iter().skip(at % 2) {
                    let (first, second) = rest.split_at(cut.index(rest.len() + 1));
                    cut_pieces.push(first);
                    rest = second;
                }
                cut_pieces.push(rest);
            }
            prop_assert_eq!(told(&cut_pieces), whole);
        }
    }
}
