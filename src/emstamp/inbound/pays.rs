//! Lines EMST. Those of a group are looked for in the books at once: a look opens the bank, which takes longer than a
//! signature.

use super::commands::away;
use super::{Away, End, Known, Office, Paid, Recipient, Session, Wires};
use crate::emstamp::token::{PaymentError, Priced};
use crate::emstamp::wire::{LineError, Pay, Verdict};
use crate::stamp::token::Issuer;

/// Most lines that are looked for at once.
const GROUP_MAX: usize = 100;

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
        let (mut known, mut exposures) = (known.into_iter(), Exposures::new());
        let verdict = |line: Result<Pay, LineError>| match line {
            Err(error) => Ok(Verdict::Line(error)),
            Ok(pay) => self.verdict(&pay, known.next().ok_or(Away)?, &mut exposures),
        };
        lines.into_iter().map(verdict).collect()
    }

    fn verdict(&mut self, pay: &Pay, known: (Known, Option<Paid>), exposures: &mut Exposures) -> Result<Verdict, Away> {
        let Some(transaction) = &mut self.transaction else { return Ok(Verdict::Misplaced) };
        let is_open = |it: &&Recipient| it.price > 0 && it.paid.is_none() && !it.is_dropped;
        let open = || transaction.recipients.iter().filter(is_open);
        let priced: Vec<Priced<'_>> =
            open().filter_map(|it| Some(Priced { mailbox: it.mailbox.as_ref()?, price: it.price })).collect();
        // A used ID is known before its end, its signature and its licence are looked at.
        let (paid, verdict) = match known {
            (Known::Other, _) => return Ok(Verdict::Used),
            (Known::Again, Some(paid)) if priced.iter().any(|it| *it.mailbox == paid.mailbox) => (paid, Verdict::Again),
            (Known::Again, Some(_)) => return Ok(Verdict::Refused(PaymentError::Mailbox)),
            _ => match self.office.examine(pay, &priced)? {
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
        if let Some(it) = recipients.find(|it| is_open(&&**it) && it.mailbox.as_ref() == mailbox) {
            it.paid = Some(paid);
        }
        Ok(verdict)
    }
}
