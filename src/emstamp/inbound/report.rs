//! Messages of the null sender to mailboxes with a price: a report about mail that left here is delivered, once.

use super::commands::away;
use super::data::{Answer, Unsent, on_its_way};
use super::inner::is_accepted;
use super::{Arrival, Away, End, NoReport, Office, Recipient, Report, Session, Transaction, Wires};
use crate::emstamp::fate::Fate;
use crate::message::address::Address;
use crate::message::delivery_report::DeliveryReport;
use crate::message::fingerprint::Fingerprint;
use crate::message::parse::Message;
use crate::smtp::reply::Reply;

/// A report that was noted, and the claim on its copies.
type Begun<C> = (Report, Arrival, C);

/// Why a message is not handed on as a report.
enum Refused {
    /// It is none that the mailbox gets, for this reason.
    For(&'static str),
    /// Another connection is delivering it.
    OnItsWay,
}

impl<W: Wires, O: Office> Session<'_, W, O> {
    /// Hands a report on, and refuses any other message.
    pub(super) fn report(&mut self, transaction: &Transaction, raw: &[u8]) -> Result<Answer, End> {
        let live: Vec<&Recipient> = transaction.recipients.iter().filter(|it| it.is_live()).collect();
        let mailboxes: Vec<&Address> = live.iter().filter_map(|it| it.mailbox.as_ref()).collect();
        let (report, arrival, _claim) = match self.begin_report(&mailboxes, raw) {
            Ok(Ok(begun)) => begun,
            Ok(Err(Refused::OnItsWay)) => {
                self.reset_inner()?;
                return Ok(Answer::Own(on_its_way()));
            }
            Ok(Err(Refused::For(why))) => {
                self.office.count(Fate::Unpaid, live.len());
                self.reset_inner()?;
                return Ok(Answer::Own(self.no_report(&mailboxes, why)));
            }
            Err(Away) => {
                self.reset_inner()?;
                return Ok(Answer::Own(away()));
            }
        };
        if arrival == Arrival::Received {
            self.office.count(Fate::Again, live.len());
            self.reset_inner()?;
            return Ok(Answer::Own(Reply::new(250, "2.0.0", "this report was delivered before")));
        }
        match self.hand_on(&transaction.mail, &transaction.recipients, &[], raw) {
            Ok(reply) => {
                self.office.count(Fate::of_reply(reply.code), live.len());
                self.office.end_report(&report, is_accepted(&reply));
                Ok(Answer::Inner(reply))
            }
            Err(why) => {
                // In doubt, it stays noted. So does one that came before: that copy may have been in doubt.
                if why != Unsent::InDoubt && arrival == Arrival::Fresh {
                    self.office.end_report(&report, false);
                }
                self.unsent(why)
            }
        }
    }

    /// Notes a report to these mailboxes, or says why the message is none that they get.
    fn begin_report(&self, mailboxes: &[&Address], raw: &[u8]) -> Result<Result<Begun<O::Claim>, Refused>, Away> {
        let message = Message::parse(raw);
        let refused = |why| Ok(Err(Refused::For(why)));
        let Some(read) = DeliveryReport::of(&message) else { return refused("this is no delivery report") };
        let fingerprint = Fingerprint::of(&message);
        let mut found = None;
        for mailbox in mailboxes {
            match self.office.report(mailbox, read.clone(), fingerprint)? {
                Ok(report) => found = Some(report),
                Err(NoReport::Foreign) => {
                    return refused("this report names no message that the mailbox sent from here");
                }
                Err(NoReport::Ended) => return refused("this report is about a message of more than 30 days ago"),
            }
        }
        let report = found.ok_or(Away)?;
        let copies: Vec<_> = mailboxes.iter().map(|mailbox| (*mailbox, fingerprint)).collect();
        let Some(claim) = self.office.claim(&copies) else { return Ok(Err(Refused::OnItsWay)) };
        match self.office.begin_report(&report)? {
            Arrival::Double => refused("what this report says was reported before"),
            Arrival::Full => refused("too many reports about the same message came before"),
            arrival => Ok(Ok((report, arrival, claim))),
        }
    }

    fn no_report(&self, mailboxes: &[&Address], why: &str) -> Reply {
        let mailbox = mailboxes.first().map(|mailbox| format!("<{mailbox}>: ")).unwrap_or_default();
        let lines = vec![
            format!("{mailbox}this mailbox takes no message without a sender but reports about its own mail"),
            why.to_owned(),
            format!("write with the address of a sender, and see {}", self.settings.help),
        ];
        Reply { code: 550, enhanced: "5.7.1", lines }
    }
}
