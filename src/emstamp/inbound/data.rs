//! The message: its text, the books, and the inner server's word.

use super::commands::{away, stops};
use super::inner::{InnerLost, is_accepted};
use super::{Arrival, End, Office, Paid, Patience, Recipient, Session, Transaction, Wires};
use crate::emstamp::fate::Fate;
use crate::emstamp::wire::Verdict;
use crate::message::fingerprint::Fingerprint;
use crate::message::parse::Message;
use crate::smtp::client::reply::ServerReply;
use crate::smtp::conduct::{ahead, out_of_order};
use crate::smtp::data::{Decoder, Fault};
use crate::smtp::reply::Reply;
use memchr::memchr;

/// Bytes that are sent at once.
const PIECE: usize = 64 * 1024;

/// The reply to a message.
pub(super) enum Answer {
    Own(Reply),
    Inner(ServerReply),
}

/// Why a message has no reply of the inner server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsent {
    /// A recipient that was accepted before is not now.
    Changed,
    /// The inner server was lost before the end of the message.
    Lost,
    /// It was lost behind the end, and may have taken the message.
    InDoubt,
}

impl From<InnerLost> for Unsent {
    fn from(_: InnerLost) -> Self {
        Self::Lost
    }
}

impl<W: Wires, O: Office> Session<'_, W, O> {
    /// Answers DATA.
    pub(super) fn data(&mut self) -> Result<(), End> {
        if self.has_unread() {
            return Err(End::Reply(ahead()));
        }
        let Some(transaction) = self.transaction.take() else { return self.refuse(&out_of_order()) };
        let unpaid = transaction.recipients.iter().filter(|it| !it.is_live() && !it.is_dropped).count();
        self.office.count(Fate::Unpaid, unpaid);
        if !transaction.recipients.iter().any(Recipient::is_live) {
            self.transaction = Some(transaction);
            let text = if unpaid > 0 { "no recipient is paid for" } else { "no recipients" };
            return self.refuse(&Reply::new(554, "5.5.1", text));
        }
        self.reply(&Reply::new(354, "", "end with a dot on a line of its own"));
        let raw = self.text()?;
        self.conduct.message();
        let answer = match raw {
            Ok(raw) => self.deliver(transaction, &raw)?,
            Err(fault) => {
                self.reset_inner()?;
                Answer::Own(fault.reply(self.settings.largest))
            }
        };
        self.wires.hold(0);
        match answer {
            Answer::Own(reply) => {
                self.reply(&reply);
                Ok(())
            }
            Answer::Inner(reply) => self.pass(reply),
        }
    }

    /// Receives the text of a message, with LF at the ends of its lines.
    fn text(&mut self) -> Result<Result<Vec<u8>, Fault>, End> {
        let mut decoder = Decoder::new(self.settings.largest);
        loop {
            if self.input.text(&mut decoder) {
                return Ok(decoder.finish());
            }
            if !self.wires.hold(decoder.memory()) {
                decoder.refuse(Fault::NoMemory);
            }
            self.fill()?;
        }
    }

    /// Hands a message on.
    fn deliver(&mut self, transaction: Transaction, raw: &[u8]) -> Result<Answer, End> {
        if transaction.recipients.iter().any(|it| it.is_live() && it.awaits_report) {
            return self.report(&transaction, raw);
        }
        let fingerprint = Fingerprint::of(&Message::parse(raw));
        let mut recipients = transaction.recipients;
        if recipients.iter().any(|it| it.paid.as_ref().is_some_and(|paid| paid.message != fingerprint)) {
            self.reset_inner()?;
            return Ok(Answer::Own(Reply::new(550, "5.7.1", "a token of this message is for another message")));
        }
        let tokens: Vec<Paid> = recipients.iter().filter_map(|it| it.paid.clone()).collect();
        let tokens: Vec<&Paid> = tokens.iter().collect();
        // A copy on a second connection would be delivered as well, since neither is received yet.
        let copies: Vec<_> = tokens.iter().map(|paid| (&paid.mailbox, paid.message)).collect();
        let Some(_claim) = self.office.claim(&copies) else {
            self.reset_inner()?;
            return Ok(Answer::Own(on_its_way()));
        };
        let arrivals = match tokens.is_empty() {
            true => Ok(Vec::new()),
            false => self.office.pending(&tokens),
        };
        let Ok(arrivals) = arrivals else {
            self.reset_inner()?;
            return Ok(Answer::Own(away()));
        };
        let of = |wanted: &[Arrival]| -> Vec<&Paid> {
            let pairs = tokens.iter().zip(&arrivals).filter(|it| wanted.contains(it.1));
            pairs.map(|it| *it.0).collect()
        };
        let fresh = of(&[Arrival::Fresh]);
        if let Some(verdict) = stops(&arrivals) {
            if verdict == Verdict::Exposed {
                self.office.is_full();
            }
            self.drop_tokens(&fresh);
            self.reset_inner()?;
            return Ok(Answer::Own(verdict.reply()));
        }
        // Those that were delivered before are left out now.
        let copies = of(&[Arrival::Received]);
        self.office.count(Fate::Again, copies.len());
        for paid in copies {
            let copies = recipients.iter_mut().filter(|it| it.paid.as_ref() == Some(paid));
            copies.for_each(|it| it.is_dropped = true);
        }
        if !recipients.iter().any(Recipient::is_live) {
            self.reset_inner()?;
            return Ok(Answer::Own(Reply::new(250, "2.0.0", "this message was paid and delivered before")));
        }
        let pending = of(&[Arrival::Fresh, Arrival::Again]);
        let live = recipients.iter().filter(|it| it.is_live()).count();
        let marks = if pending.is_empty() { Vec::new() } else { self.office.marks(raw, &pending, live == 1) };
        match self.hand_on(&transaction.mail, &recipients, &marks, raw) {
            Ok(reply) if is_accepted(&reply) => {
                if !pending.is_empty() && self.office.received(&pending).is_err() {
                    // The next copy finds the tokens pending, and they are noted then.
                    return Ok(Answer::Own(away()));
                }
                self.office.count(Fate::Free, live - pending.len());
                Ok(Answer::Inner(reply))
            }
            Ok(reply) => {
                self.office.count(Fate::of_reply(reply.code), live);
                self.drop_tokens(&pending);
                Ok(Answer::Inner(reply))
            }
            Err(why) => {
                // In doubt, the tokens stay pending.
                if why != Unsent::InDoubt {
                    self.drop_tokens(&fresh);
                }
                self.unsent(why)
            }
        }
    }

    /// Answers for a message that was not handed on.
    pub(super) fn unsent(&mut self, why: Unsent) -> Result<Answer, End> {
        match why {
            Unsent::InDoubt => {
                let text = "the mail system behind this host was lost, try again later";
                Ok(Answer::Own(Reply::new(451, "4.4.2", text)))
            }
            Unsent::Changed => {
                self.reset_inner()?;
                let text = "a recipient is not accepted any more, try again later";
                Ok(Answer::Own(Reply::new(451, "4.3.0", text)))
            }
            Unsent::Lost => Err(InnerLost.into()),
        }
    }

    /// Sends the envelope again, if a recipient was left out, and the message. Returns the reply to the message, or to
    /// DATA.
    pub(super) fn hand_on(
        &mut self,
        mail: &str,
        recipients: &[Recipient],
        marks: &[u8],
        raw: &[u8],
    ) -> Result<ServerReply, Unsent> {
        if !recipients.iter().all(Recipient::is_live) {
            self.reset_inner()?;
            if !is_accepted(&self.ask(mail)?) {
                return Err(Unsent::Changed);
            }
            let live = recipients.iter().filter(|it| it.is_live()).map(|it| it.line.as_str());
            if !self.ask_all(&live.collect::<Vec<_>>())?.iter().all(is_accepted) {
                return Err(Unsent::Changed);
            }
        }
        let reply = self.ask("DATA")?;
        if reply.code != 354 {
            return Ok(reply);
        }
        for part in [marks, raw] {
            send_text(part, &mut |bytes| self.wires.send_inner(bytes)).map_err(InnerLost::from)?;
        }
        self.wires.send_inner(b".\r\n").map_err(|_| Unsent::InDoubt)?;
        self.inner_reply(Patience::Message).map_err(|InnerLost| Unsent::InDoubt)
    }

    fn drop_tokens(&self, tokens: &[&Paid]) {
        if !tokens.is_empty() {
            self.office.refused(tokens);
        }
    }
}

/// Refuses a message for now that another connection is delivering.
pub(super) fn on_its_way() -> Reply {
    Reply::new(451, "4.3.0", "this message is on its way on another connection, try again later")
}

/// Encodes lines for DATA: CRLF at their ends, and a dot more on those that begin with one.
fn send_text<E>(raw: &[u8], send: &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
    let mut piece = Vec::with_capacity(raw.len().min(PIECE) + 1_024);
    let mut rest = raw;
    while !rest.is_empty() {
        let end = memchr(b'\n', rest).unwrap_or(rest.len());
        let line = rest.get(..end).unwrap_or_default();
        if line.starts_with(b".") {
            piece.push(b'.');
        }
        piece.extend_from_slice(line);
        piece.extend_from_slice(b"\r\n");
        rest = rest.get(end + 1..).unwrap_or_default();
        if piece.len() >= PIECE {
            send(&piece)?;
            piece.clear();
        }
    }
    if piece.is_empty() { Ok(()) } else { send(&piece) }
}
