//! Lines EMST. Those of a group are looked for in the books at once, since a look opens the bank, and their signatures are
//! verified at once, on several processors. Otherwise each line is decided by itself, in its turn.

use super::commands::away;
use super::{Away, End, Known, Office, Paid, Recipient, Session, Wires};
use crate::emstamp::token::{PaymentError, Priced};
use crate::emstamp::wire::{LineError, Pay, Verdict};
use crate::stamp::token::Issuer;

/// Most lines that are looked for at once.
const GROUP_MAX: usize = 100;

/// What is said of a token.
type Examined = Result<Result<Paid, PaymentError>, Away>;

/// Credits of each licence that are not cleared, those of this message among them.
type Exposures = Vec<(Issuer, u64)>;

impl<W: Wires, O: Office> Session<'_, W, O> {
    /// Answers this line EMST, and those behind it that have come already.
    pub(super) fn pays(&mut self, first: &str) -> Result<(), End> {
        let mut lines = vec![Pay::parse(first)];
        let mut end = Ok(());
        while lines.len() < GROUP_MAX && self.next_begins(b"EMST ") {
            match self.next_line() {
                Ok(Some(line)) => lines.push(Pay::parse(&line)),
                Ok(None) => break,
                // The lines before it are answered.
                Err(error) => {
                    end = Err(error);
                    break;
                }
            }
        }
        for verdict in self.verdicts(lines) {
            let reply = verdict.map_or_else(|Away| away(), |verdict| verdict.reply());
            if reply.code >= 500 {
                self.refuse(&reply)?;
            } else {
                self.reply(&reply);
            }
        }
        end
    }

    /// Decides about lines, each by itself, and notes which recipients are paid for.
    fn verdicts(&mut self, lines: Vec<Result<Pay, LineError>>) -> Vec<Result<Verdict, Away>> {
        let pays: Vec<&Pay> = lines.iter().flatten().collect();
        let is_placed = self.transaction.as_ref().is_some_and(|it| it.is_aware && !it.recipients.is_empty());
        if !is_placed {
            return lines.iter().map(|_| Ok(Verdict::Misplaced)).collect();
        }
        let known = if pays.is_empty() { Ok(Vec::new()) } else { self.office.known(&pays) };
        let Ok(known) = known else { return lines.iter().map(|_| Err(Away)).collect() };
        let is_new = |known: &(Known, Option<Paid>)| matches!(known, (Known::New, _) | (Known::Again, None));
        let new: Vec<&Pay> = pays.iter().zip(&known).filter(|it| is_new(it.1)).map(|it| *it.0).collect();
        let mut examined = self.examine_each(&new).into_iter();
        let (mut known, mut exposures) = (known.into_iter(), Exposures::new());
        let verdict = |line: Result<Pay, LineError>| match line {
            Err(error) => Ok(Verdict::Line(error)),
            Ok(pay) => {
                let known = known.next().ok_or(Away)?;
                let examined = if is_new(&known) { examined.next() } else { None };
                self.verdict(&pay, known, examined, &mut exposures)
            }
        };
        lines.into_iter().map(verdict).collect()
    }

    /// Examines tokens for the recipients that are to be paid before the first of these lines.
    fn examine_each(&self, pays: &[&Pay]) -> Vec<Examined> {
        let open = self.transaction.iter().flat_map(|it| it.recipients.iter().filter(|it| it.is_to_pay()));
        self.office.examine_each(pays, &priced(open))
    }

    fn verdict(
        &mut self,
        pay: &Pay,
        known: (Known, Option<Paid>),
        examined: Option<Examined>,
        exposures: &mut Exposures,
    ) -> Result<Verdict, Away> {
        let Some(transaction) = &mut self.transaction else { return Ok(Verdict::Misplaced) };
        let open = || transaction.recipients.iter().filter(|it| it.is_to_pay());
        let is_open = |paid: &Paid| open().any(|it| it.mailbox.as_ref() == Some(&paid.mailbox));
        // A used ID is known before its end, its signature and its licence are looked at.
        let (paid, verdict) = match (known, examined) {
            ((Known::Other, _), _) => return Ok(Verdict::Used),
            ((Known::Again, Some(paid)), _) if is_open(&paid) => (paid, Verdict::Again),
            ((Known::Again, Some(_)), _) => return Ok(Verdict::Refused(PaymentError::Mailbox)),
            (_, Some(Ok(Ok(paid)))) if is_open(&paid) => (paid, Verdict::Paid),
            // An earlier line may have paid the recipient, so the first fault may be another one now.
            _ => match self.office.examine(pay, &priced(open()))? {
                Ok(paid) => (paid, Verdict::Paid),
                Err(error) => return Ok(Verdict::Refused(error)),
            },
        };
        let at = match exposures.iter().position(|(license, _)| *license == paid.license) {
            Some(at) => Some(at),
            None if verdict == Verdict::Paid => {
                // Those of one message count together.
                let others = transaction.recipients.iter().filter_map(|it| it.paid.as_ref());
                let others: u64 = others.filter(|it| it.license == paid.license).map(|it| it.credits).sum();
                let exposed = self.office.exposure(&paid.license)?.saturating_add(others);
                exposures.push((paid.license.clone(), exposed));
                Some(exposures.len() - 1)
            }
            None => None,
        };
        if let Some((_, exposed)) = at.and_then(|at| exposures.get_mut(at)) {
            let sum = exposed.saturating_add(paid.credits);
            if verdict == Verdict::Paid && sum > paid.max_exposure {
                self.office.is_full();
                return Ok(Verdict::Exposed);
            }
            *exposed = sum;
        }
        let mut recipients = transaction.recipients.iter_mut();
        let mailbox = Some(&paid.mailbox);
        if let Some(it) = recipients.find(|it| it.is_to_pay() && it.mailbox.as_ref() == mailbox) {
            it.paid = Some(paid);
        }
        Ok(verdict)
    }
}

fn priced<'r>(recipients: impl Iterator<Item = &'r Recipient>) -> Vec<Priced<'r>> {
    recipients.filter_map(|it| Some(Priced { mailbox: it.mailbox.as_ref()?, price: it.price })).collect()
}
