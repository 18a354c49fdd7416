//! Reports about mail that left, each taken once. They are in the bank's file for its commits; no credits depend on them.

use super::error::BankError;
use super::handle::Bank;
use super::schema;
use super::transaction::{BankTx, TxResult};
use crate::accounting::hash::Hash;
use crate::emstamp::envelope_id::REPORTS_MAX;
use crate::emstamp::inbound::{Arrival, Report};
use crate::store::SessionError;
use crate::time::UnixTime;
use redb::ReadableTable as _;
use serde::{Deserialize, Serialize};

/// A report about a message.
#[derive(Serialize, Deserialize)]
struct Reported {
    /// Hash of the report's fingerprint.
    report: Hash,
    /// Hashes of what it was the first to say.
    outcomes: Vec<Hash>,
    is_delivered: bool,
}

impl Bank {
    /// Notes a report before it is handed on. Nothing is noted where the answer is not [`Arrival::Fresh`].
    pub fn begin_report(&self, report: Report, now: UnixTime) -> Result<Arrival, BankError> {
        self.write(now, move |tx| tx.begin_report(&report))
    }

    /// Notes that a report was delivered, or forgets it: it was not.
    pub fn end_report(&self, report: Report, is_delivered: bool, now: UnixTime) -> Result<(), BankError> {
        self.write(now, move |tx| tx.end_report(&report, is_delivered))
    }
}

impl BankTx<'_> {
    fn begin_report(&mut self, report: &Report) -> TxResult<Arrival> {
        let mut reported = self.reported(report)?;
        let name = name_of(report);
        if let Some(known) = reported.iter().find(|it| it.report == name) {
            return Ok(if known.is_delivered { Arrival::Received } else { Arrival::Again });
        }
        let outcomes = report.outcomes.iter().map(|(to, action)| Hash::of(format!("{to}\0{action}").as_bytes()));
        let is_new = |outcome: &Hash| !reported.iter().any(|it| it.outcomes.contains(outcome));
        let outcomes: Vec<Hash> = outcomes.filter(is_new).collect();
        if outcomes.is_empty() {
            return Ok(Arrival::Double);
        }
        if reported.len() >= REPORTS_MAX {
            return Ok(Arrival::Full);
        }
        reported.push(Reported { report: name, outcomes, is_delivered: false });
        self.set_reported(report, &reported)?;
        Ok(Arrival::Fresh)
    }

    fn end_report(&mut self, report: &Report, is_delivered: bool) -> TxResult<()> {
        let mut reported = self.reported(report)?;
        let name = name_of(report);
        if is_delivered {
            reported.iter_mut().filter(|it| it.report == name).for_each(|it| it.is_delivered = true);
        } else {
            reported.retain(|it| it.report != name || it.is_delivered);
        }
        self.set_reported(report, &reported)?;
        Ok(())
    }

    /// Removes what was reported about messages whose IDs ended before a time.
    pub(super) fn forget_reports(&mut self, before: UnixTime) -> Result<(), SessionError> {
        let end = schema::report_key(before, "");
        let mut gone = Vec::new();
        for row in self.tables.report.range::<&[u8]>(..end.as_slice())? {
            gone.push(row?.0.value().to_vec());
        }
        for key in gone {
            self.is_changed = true;
            self.tables.report.remove(key.as_slice())?;
        }
        Ok(())
    }

    /// Returns what was reported about the message of a report.
    fn reported(&self, report: &Report) -> Result<Vec<Reported>, SessionError> {
        let row = self.tables.report.get(schema::report_key(report.end, report.id.as_str()).as_slice())?;
        Ok(row.map(|row| schema::from_json(row.value())).transpose()?.unwrap_or_default())
    }

    fn set_reported(&mut self, report: &Report, reported: &[Reported]) -> Result<(), SessionError> {
        self.is_changed = true;
        let key = schema::report_key(report.end, report.id.as_str());
        if reported.is_empty() {
            self.tables.report.remove(key.as_slice())?;
        } else {
            self.tables.report.insert(key.as_slice(), schema::to_json(&reported)?.as_slice())?;
        }
        Ok(())
    }
}

fn name_of(report: &Report) -> Hash {
    Hash::of(&report.message.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::fingerprint::Fingerprint;
    use crate::stamp::serial::Serial;
    use std::time::Duration;

    const NOW: UnixTime = UnixTime(1_796_126_400);

    fn bank(folder: &std::path::Path) -> Bank {
        let bank = Bank::new(folder, Duration::ZERO);
        bank.found("stamps.example", "shop", NOW).unwrap();
        bank
    }

    /// The report of this number, which says this about this recipient.
    fn report(number: u8, id: &str, outcomes: &[(&str, &'static str)]) -> Report {
        let outcomes = outcomes.iter().map(|(to, action)| ((*to).to_owned(), *action)).collect();
        Report { id: Serial::new(id).unwrap(), end: NOW.plus(9), outcomes, message: Fingerprint([number; 32]) }
    }

    #[test]
    fn each_outcome_is_reported_once_and_five_reports_at_most() {
        let folder = tempfile::tempdir().unwrap();
        let bank = bank(folder.path());
        let begin = |report: &Report| bank.begin_report(report.clone(), NOW).unwrap();
        let end = |report: &Report, is_delivered| bank.end_report(report.clone(), is_delivered, NOW).unwrap();
        let late = report(1, "a", &[("b", "delayed"), ("c", "delayed")]);
        assert_eq!((begin(&late), begin(&late)), (Arrival::Fresh, Arrival::Again));
        // It was not delivered, and is as if it had never come.
        end(&late, false);
        assert_eq!(begin(&report(2, "a", &[("b", "delayed")])), Arrival::Fresh);
        assert_eq!(begin(&late), Arrival::Fresh);
        end(&late, true);
        assert_eq!(begin(&late), Arrival::Received);
        end(&late, false);
        assert_eq!(begin(&late), Arrival::Received);
        assert_eq!(begin(&report(3, "a", &[("b", "delayed"), ("c", "delayed")])), Arrival::Double);
        assert_eq!(begin(&report(3, "a", &[("b", "delayed"), ("c", "failed")])), Arrival::Fresh);
        assert_eq!(begin(&report(4, "a", &[("b", "failed")])), Arrival::Fresh);
        assert_eq!(begin(&report(5, "a", &[("b", "expanded")])), Arrival::Fresh);
        assert_eq!(begin(&report(6, "a", &[("b", "relayed")])), Arrival::Full);
        // Another message has reports of its own.
        assert_eq!(begin(&report(6, "b", &[("b", "relayed")])), Arrival::Fresh);
        assert_eq!(bank.audit(None).unwrap().problems, Vec::<String>::new());
    }

    #[test]
    fn reports_are_forgotten_after_the_id_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let bank = bank(folder.path());
        let report = report(1, "a", &[("b", "failed")]);
        let again = || bank.begin_report(report.clone(), NOW).unwrap();
        assert_eq!(again(), Arrival::Fresh);
        bank.forget(NOW.plus(9), NOW).unwrap();
        assert_eq!(again(), Arrival::Again);
        bank.forget(NOW.plus(10), NOW).unwrap();
        assert_eq!(again(), Arrival::Fresh);
    }
}
