//! Messages of the null sender to mailboxes with a price: a report about mail that left here is delivered, once.

use super::commands::away;
use super::data::{Answer, Unsent};
use super::inner::is_accepted;
use super::{Arrival, Away, End, NoReport, Office, Recipient, Report, Session, Transaction, Wires};
use crate::emstamp::fate::Fate;
use crate::message::address::Address;
use crate::message::delivery_report::DeliveryReport;
use crate::message::fingerprint::Fingerprint;
use crate::message::parse::Message;
use crate::smtp::reply::Reply;

impl<W: Wires, O: Office> Session<'_, W, O> {
    /// Hands a report on, and refuses any other message.
    pub(super) fn report(&mut self, transaction: &Transaction, raw: &[u8]) -> Result<Answer, End> {
        let live: Vec<&Recipient> = transaction.recipients.iter().filter(|it| it.is_live()).collect();
        let mailboxes: Vec<&Address> = live.iter().filter_map(|it| it.mailbox.as_ref()).collect();
        let (report, arrival) = match self.begin_report(&mailboxes, raw) {
            Ok(Ok(begun)) => begun,
            Ok(Err(why)) => {
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
    fn begin_report(
        &self,
        mailboxes: &[&Address],
        raw: &[u8],
    ) -> Result<Result<(Report, Arrival), &'static str>, Away> {
        let message = Message::parse(raw);
        let Some(read) = DeliveryReport::of(&message) else { return Ok(Err("this is no delivery report")) };
        let fingerprint = Fingerprint::of(&message);
        let mut found = None;
        for mailbox in mailboxes {
            match self.office.report(mailbox, read.clone(), fingerprint)? {
                Ok(report) => found = Some(report),
                Err(NoReport::Foreign) => {
                    return Ok(Err("this report names no message that the mailbox sent from here"));
                }
                Err(NoReport::Ended) => return Ok(Err("this report is about a message of more than 30 days ago")),
            }
        }
        let report = found.ok_or(Away)?;
        Ok(match self.office.begin_report(&report)? {
            Arrival::Double => Err("what this report says was reported before"),
            Arrival::Full => Err("too many reports about the same message came before"),
            arrival => Ok((report, arrival)),
        })
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
