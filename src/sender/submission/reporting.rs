//! Sending of reports: each is another message in the outbox, takes no stamp, and causes no report.

use super::outbox::{Entry, RecipientOutcome};
use super::parse::{LocalHost, SendmailArgs, Submission};
use super::{GIVE_UP, SubmissionAgent, SubmissionError, refuse_open, report};
use crate::message::delivery_report::is_report;
use crate::message::header::without_comments;
use crate::message::parse::Message;
use crate::time::UnixTime;

impl SubmissionAgent<'_> {
    /// Sends the sender a report of the recipients that refused an accepted message, if there are any.
    ///
    /// It is another message in the outbox, with a name that follows from the message: a second call continues the
    /// first report.
    pub(super) fn report(&self, entry: &Entry) -> Result<(), SubmissionError> {
        let submission = &entry.submission;
        let Some(sender) = submission.sender.as_ref().filter(|sender| !sender.is_empty()) else { return Ok(()) };
        let Some(raw) = report::compose(submission, &entry.ends, sender, self.context.now) else { return Ok(()) };
        self.send_report(raw.as_bytes(), sender, "")
    }

    /// Sends a report that was refused once more with an envelope sender, since some servers take none without one from
    /// a user who has logged in. If this is refused too, the system's log has it.
    pub(super) fn insist(&self, entry: &Entry) -> Result<(), SubmissionError> {
        let Submission { recipients, sender, message, .. } = &entry.submission;
        for (recipient, end) in recipients.iter().zip(&entry.ends) {
            let Some(RecipientOutcome::Refused(_, said)) = end else { continue };
            if sender.as_deref() == Some("") {
                let to = recipient.to_string();
                self.send_report(message, &to, &to)?;
            } else {
                self.context.log_error(&format!("sendmail: report to {recipient} refused: {said}"));
            }
        }
        Ok(())
    }

    /// Sends a report. The null sender is empty.
    fn send_report(&self, raw: &[u8], to: &str, sender: &str) -> Result<(), SubmissionError> {
        let (recipients, sender) = (vec![to.to_owned()], Some(sender.to_owned()));
        let asked = SendmailArgs { recipients, sender, ..SendmailArgs::default() };
        let here = LocalHost { now: self.context.now, own: None, random: [0; 16] };
        match Submission::prepare(raw, &asked, &here) {
            Ok(report) => self.submit(report).map(drop),
            Err(error) => {
                self.context.log_error(&format!("sendmail: no report to the sender: {error}"));
                Ok(())
            }
        }
    }

    /// Gives a report up that was not accepted for as long as its message was tried.
    pub(super) fn give_up_report(&self, entry: &mut Entry) -> Result<(), SubmissionError> {
        let message = Message::parse(&entry.submission.message);
        let date = message.first("Date").and_then(|field| UnixTime::from_rfc5322(&without_comments(&field.unfolded())));
        let is_old = date.zip(self.context.forget_limit()).is_some_and(|(date, now)| now.since(date) > GIVE_UP);
        if is_old && is_report(&message) {
            refuse_open(entry)?;
        }
        Ok(())
    }
}
