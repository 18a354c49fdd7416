//! What the operator has at mints, and how it is taken out: as tokens, which are shown until a wallet has received them.
//!
//! Nothing is marked as taken. The mint says which proofs are spent, and only then are they removed. So a command that is
//! killed loses nothing, and a token that was printed twice is received once.

use super::keysets::Keysets;
use super::mint::{Mint, MintError};
use super::records::{Record, Records, State};
use super::token::{Proof, Token, sum};
use crate::accounting::hash::Hash;
use crate::ledger::error::LedgerError;
use crate::ledger::handle::Ledger;
use crate::ledger::ops;
use crate::ledger::trade::REMEMBERED;
use crate::net::http_client::Secret;
use crate::os::clock;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::time::Duration;

/// Timeout of a request to a mint.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Most proofs of a token that is printed, and of a question; about as many outputs.
const MOST: usize = 100;
/// Age at which a payment that its mint did not take is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(86_400);

/// Sums at a mint, in a unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Paid for stamps that were sold.
    pub sold: u64,
    /// Paid by buyers who have not come back for their stamps.
    pub waiting: u64,
    /// Change and refunds of buyers.
    pub buyers: u64,
}

/// Token of the operator's.
#[derive(Debug)]
pub struct TakenToken {
    pub mint: String,
    pub unit: String,
    pub amount: u64,
    pub text: Secret,
}

/// What was taken out, and what could not be.
#[derive(Debug, Default)]
pub struct Taken {
    /// A token for each mint and unit.
    pub tokens: Vec<TakenToken>,
    /// What each mint did not do.
    pub troubles: Vec<String>,
}

fn is_sold(ledger: &Ledger, record: &Record) -> Result<bool, LedgerError> {
    ledger.run(ops::IsPaid { reference: record.reference() }, clock::now())
}

/// Record of a payment, as a command finds it.
struct Found {
    name: Hash,
    record: Record,
    age: Duration,
    /// Whether a stamp was sold for it.
    sold: bool,
}

/// Reads all records. What cannot be read is told, and stops no other.
fn read(ledger: &Ledger, records: &Records, troubles: &mut Vec<String>) -> Result<Vec<Found>, LedgerError> {
    let mut found = Vec::new();
    for (name, age) in records.all()? {
        match records.load(&name) {
            Ok(Some(record)) => {
                let sold = record.state == State::Received && is_sold(ledger, &record)?;
                found.push(Found { name, record, age, sold });
            }
            // Another process has just removed it.
            Ok(None) => {}
            Err(error) => troubles.push(error.to_string()),
        }
    }
    Ok(found)
}

/// Returns the sums by mint and unit, as the files have them, and what could not be read. No mint is asked.
///
/// # Errors
/// Those of the ledger and of the system.
#[expect(clippy::type_complexity, reason = "the sums, and what could not be read")]
pub fn sums(ledger: &Ledger, folder: &Path) -> Result<(BTreeMap<(String, String), Sums>, Vec<String>), LedgerError> {
    let records = Records::of(folder);
    let (mut sums, mut troubles) = (BTreeMap::<_, Sums>::new(), Vec::new());
    for Found { record, sold, .. } in read(ledger, &records, &mut troubles)? {
        let of = sums.entry((record.mint.clone(), record.unit.clone())).or_default();
        let add = |sum: &mut u64, proofs: &[Proof]| *sum = sum.saturating_add(self::sum(proofs).unwrap_or(u64::MAX));
        add(&mut of.buyers, &record.buyers());
        if record.state == State::Received {
            add(if sold { &mut of.sold } else { &mut of.waiting }, &record.kept);
        }
    }
    Ok((sums, troubles))
}

/// Settles what was cut off, forgets what is spent, and returns tokens of what was paid for stamps that were sold.
///
/// # Errors
/// Those of the ledger and of the system.
pub fn take(ledger: &Ledger, folder: &Path) -> Result<Taken, LedgerError> {
    let records = Records::of(folder);
    let mut taken = Taken::default();
    let mut all = read(ledger, &records, &mut taken.troubles)?;
    let Some(key) = (!all.is_empty()).then(|| records.secret()).transpose()? else { return Ok(taken) };
    // The operator's money first: a mint may answer few questions a minute, and buyers may leave their change for ever.
    all.sort_by_key(|found| !found.sold || found.record.kept.is_empty());
    let mut mints: BTreeMap<String, Vec<Found>> = BTreeMap::new();
    for found in all {
        mints.entry(found.record.mint.clone()).or_default().push(found);
    }
    for (url, found) in &mints {
        let mint = Mint { url, timeout: TIMEOUT };
        let asked = Asked { records: &records, key: &key, mint, keysets: Keysets::default() };
        let (sent, received): (Vec<_>, Vec<_>) = found.iter().partition(|found| found.record.is_sent());
        let mut tokens: BTreeMap<&str, Vec<Proof>> = BTreeMap::new();
        let mut troubles = Vec::new();
        let settled = asked.forget_spent(&received, &mut tokens).and_then(|()| asked.restore(&sent, &mut troubles));
        match settled {
            Ok(()) => {}
            Err(Trouble::Ledger(error)) => return Err(error),
            Err(Trouble::Mint(error)) => troubles.push(error.to_string()),
        }
        taken.troubles.extend(troubles.iter().map(|what| format!("{url}: {what}")));
        for (unit, mut proofs) in tokens {
            proofs.truncate(MOST);
            let amount = sum(&proofs).unwrap_or(u64::MAX);
            if amount > 0 {
                let (mint, unit) = (url.clone(), unit.to_owned());
                let text = Token { mint: mint.clone(), unit: Some(unit.clone()), proofs }.text();
                taken.tokens.push(TakenToken { mint, unit, amount, text: Secret::new(text.as_str().to_owned()) });
            }
        }
    }
    Ok(taken)
}

enum Trouble {
    Ledger(LedgerError),
    Mint(MintError),
}

impl From<LedgerError> for Trouble {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}

impl From<MintError> for Trouble {
    fn from(error: MintError) -> Self {
        Self::Mint(error)
    }
}

/// Mint that is asked about many records at once.
struct Asked<'a> {
    records: &'a Records,
    key: &'a [u8; 32],
    mint: Mint<'a>,
    keysets: Keysets,
}

impl Asked<'_> {
    /// Removes spent proofs of payments that are complete, and collects those that are the operator's, by their unit.
    fn forget_spent<'a>(
        &self,
        received: &[&'a Found],
        tokens: &mut BTreeMap<&'a str, Vec<Proof>>,
    ) -> Result<(), Trouble> {
        // Of the others, a buyer may be on the way to the stamp.
        let complete: Vec<&Found> =
            received.iter().copied().filter(|found| found.sold || found.record.state == State::Refunded).collect();
        let proofs_of = |found: &&'a Found| found.record.kept.iter().chain(&found.record.change);
        let proofs: Vec<&Proof> = complete.iter().flat_map(proofs_of).collect();
        let (mut spent, mut known, mut failed) = (HashSet::new(), 0, None);
        for some in proofs.chunks(MOST) {
            match self.mint.spent(some) {
                Ok(states) => {
                    let both = some.iter().zip(states);
                    spent.extend(both.filter(|(_, spent)| *spent).map(|(proof, _)| proof.secret.as_str()));
                    known += some.len();
                }
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        for found in complete {
            // As far as the mint has answered.
            let count = proofs_of(&found).count();
            let Some(rest) = known.checked_sub(count) else { break };
            known = rest;
            let kept = self.forget(found, &spent)?;
            if found.sold {
                tokens.entry(&found.record.unit).or_default().extend(kept);
            }
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Removes spent proofs of a record, and returns those of the price that are left.
    fn forget(
        &self,
        Found { name, record, age, .. }: &Found,
        spent: &HashSet<&str>,
    ) -> Result<Vec<Proof>, LedgerError> {
        let rest = |proofs: &[Proof]| -> Vec<Proof> {
            proofs.iter().filter(|proof| !spent.contains(proof.secret.as_str())).cloned().collect()
        };
        let (kept, change) = (rest(&record.kept), rest(&record.change));
        let old = *age > Duration::from_secs(REMEMBERED);
        if kept.is_empty() && change.is_empty() && old {
            self.records.change(name, |_| None)?;
        } else if kept.len() + change.len() < record.kept.len() + record.change.len() {
            self.records.change(name, |stored| {
                stored.map(|stored| Record { kept: rest(&stored.kept), change: rest(&stored.change), ..stored })
            })?;
        }
        Ok(kept)
    }

    /// Completes payments whose mint has signed, and forgets old ones that it did not take.
    fn restore(&self, sent: &[&Found], troubles: &mut Vec<String>) -> Result<(), Trouble> {
        let mut rest = sent.iter().map(|found| (*found, super::outputs(self.key, &found.name, &found.record)));
        loop {
            let (mut some, mut blinded) = (Vec::new(), Vec::new());
            while blinded.len() < MOST
                && let Some((found, (outputs, its))) = rest.next()
            {
                blinded.extend(its);
                some.push((found, outputs));
            }
            if some.is_empty() {
                return Ok(());
            }
            let mut signatures = self.mint.restore(&blinded)?.into_iter();
            for (Found { name, record, age, .. }, outputs) in some {
                let its: Vec<_> = signatures.by_ref().take(outputs.len()).collect();
                if its.iter().any(Option::is_some) {
                    let its: Vec<_> = its.into_iter().flatten().collect();
                    let keys = self.keysets.keys(self.mint, &record.keyset)?;
                    match super::proofs(record, &outputs, &its, &keys) {
                        Ok(received) => drop(self.records.receive(name, record, received)?),
                        Err(what) => troubles.push(format!("took a token, and {what}")),
                    }
                } else if *age > FORGOTTEN {
                    self.records.change(name, |stored| stored.filter(|stored| !stored.is_sent()))?;
                }
            }
        }
    }
}
