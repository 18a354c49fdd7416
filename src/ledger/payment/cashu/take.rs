//! What the operator has at mints, and how it is taken out: as tokens, which are shown until a wallet has received them.
//!
//! Nothing is marked as taken. The mint says which proofs are spent, and only then are they removed. So a command that is
//! killed loses nothing, and a token that was printed twice is received once.

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
/// Most proofs of a token that is printed, and of a question.
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
    let mut tokens: BTreeMap<(String, String), Vec<Proof>> = BTreeMap::new();
    let mut away: HashSet<String> = HashSet::new();
    let mut all = read(ledger, &records, &mut taken.troubles)?;
    let Some(key) = (!all.is_empty()).then(|| records.secret()).transpose()? else { return Ok(taken) };
    // The operator's money first: a mint may answer few questions a minute, and buyers may leave their change for ever.
    all.sort_by_key(|found| !found.sold || found.record.kept.is_empty());
    for found in all {
        if away.contains(&found.record.mint) {
            continue;
        }
        let settled = settled(&records, &key, &found);
        let record = found.record;
        match settled {
            Ok(kept) => tokens.entry((record.mint, record.unit)).or_default().extend(kept),
            Err(Trouble::Ledger(error)) => return Err(error),
            Err(Trouble::Mint(what)) => {
                taken.troubles.push(format!("{}: {what}", record.mint));
                away.insert(record.mint);
            }
        }
    }
    for ((mint, unit), mut proofs) in tokens {
        proofs.truncate(MOST);
        let amount = sum(&proofs).unwrap_or(u64::MAX);
        if amount > 0 {
            let text = Token { mint: mint.clone(), unit: Some(unit.clone()), proofs }.text();
            taken.tokens.push(TakenToken { mint, unit, amount, text: Secret::new(text.as_str().to_owned()) });
        }
    }
    Ok(taken)
}

enum Trouble {
    Ledger(LedgerError),
    Mint(String),
}

impl From<LedgerError> for Trouble {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}

/// Brings a record up to date with its mint, and returns its proofs that are the operator's.
fn settled(records: &Records, key: &[u8; 32], found: &Found) -> Result<Vec<Proof>, Trouble> {
    let Found { name, record, age, sold } = found;
    let mint = Mint { url: &record.mint, timeout: TIMEOUT };
    let failed = |error: MintError| Trouble::Mint(error.to_string());
    if record.state == State::Sent {
        let both = super::outputs(key, name, record).ok_or_else(|| Trouble::Mint("no outputs".to_owned()))?;
        match mint.restore(&both.1).map_err(failed)? {
            Some(signatures) => {
                let keys = mint.keys(&record.keyset).map_err(failed)?;
                super::store(records, name, record, &both.0, &signatures, &keys).map_err(|error| {
                    error.map_or(Trouble::Mint("its signatures are wrong".to_owned()), Trouble::Ledger)
                })?;
            }
            None if *age > FORGOTTEN => {
                drop(records.change(name, |stored| stored.filter(|stored| stored.state != State::Sent))?)
            }
            None => {}
        }
        return Ok(Vec::new());
    }
    if record.state == State::Received && !sold {
        // A buyer may be on the way to the stamp.
        return Ok(Vec::new());
    }
    let all: Vec<&Proof> = record.kept.iter().chain(&record.change).collect();
    let mut spent: HashSet<&str> = HashSet::new();
    for some in all.chunks(MOST) {
        let states = mint.spent(some).map_err(failed)?;
        spent.extend(some.iter().zip(states).filter(|(_, spent)| *spent).map(|(proof, _)| proof.secret.as_str()));
    }
    let rest = |proofs: &[Proof]| -> Vec<Proof> {
        proofs.iter().filter(|proof| !spent.contains(proof.secret.as_str())).cloned().collect()
    };
    let (kept, change) = (rest(&record.kept), rest(&record.change));
    let old = *age > Duration::from_secs(REMEMBERED);
    if kept.is_empty() && change.is_empty() && old {
        records.change(name, |_| None)?;
    } else if !spent.is_empty() {
        records.change(name, |stored| {
            stored.map(|stored| Record { kept: rest(&stored.kept), change: rest(&stored.change), ..stored })
        })?;
    }
    Ok(if *sold { kept } else { Vec::new() })
}
