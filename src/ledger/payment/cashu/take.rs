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
    /// Paid by buyers that have not come back for their stamps.
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

/// Returns the sums by mint and unit, as the files have them. No mint is asked.
///
/// # Errors
/// Those of the ledger and of the system.
pub fn sums(ledger: &Ledger, folder: &Path) -> Result<BTreeMap<(String, String), Sums>, LedgerError> {
    let records = Records::of(folder);
    let mut sums: BTreeMap<_, Sums> = BTreeMap::new();
    for (name, _) in records.all()? {
        let Some(record) = records.load(&name)? else { continue };
        let sold = record.state == State::Received && is_sold(ledger, &record)?;
        let of = sums.entry((record.mint.clone(), record.unit.clone())).or_default();
        let add = |sum: &mut u64, proofs: &[Proof]| *sum = sum.saturating_add(self::sum(proofs).unwrap_or(u64::MAX));
        add(&mut of.buyers, &record.buyers());
        if record.state == State::Received {
            add(if sold { &mut of.sold } else { &mut of.waiting }, &record.kept);
        }
    }
    Ok(sums)
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
    let all = records.all()?;
    let key = if all.is_empty() { None } else { Some(records.secret()?) };
    for (name, age) in all {
        let (Some(record), Some(key)) = (records.load(&name)?, &key) else { continue };
        if away.contains(&record.mint) {
            continue;
        }
        match settled(ledger, &records, key, &name, &record, age) {
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
fn settled(
    ledger: &Ledger,
    records: &Records,
    key: &[u8; 32],
    name: &Hash,
    record: &Record,
    age: Duration,
) -> Result<Vec<Proof>, Trouble> {
    let mint = Mint { url: &record.mint, timeout: TIMEOUT };
    let failed = |error: MintError| Trouble::Mint(error.to_string());
    if record.state == State::Sent {
        let both = super::outputs(key, name, record).ok_or_else(|| Trouble::Mint("no outputs".to_owned()))?;
        let found = mint.restore(&both.1).map_err(failed)?;
        match found {
            Some(signatures) => {
                let keys = mint.keys(&record.keyset).map_err(failed)?;
                super::store(records, name, record, &both.0, &signatures, &keys).map_err(|error| {
                    error.map_or(Trouble::Mint("its signatures are wrong".to_owned()), Trouble::Ledger)
                })?;
            }
            None if age > FORGOTTEN => {
                drop(records.change(name, |stored| stored.filter(|stored| stored.state != State::Sent))?)
            }
            None => {}
        }
        return Ok(Vec::new());
    }
    let sold = record.state == State::Received && is_sold(ledger, record)?;
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
    let old = age > Duration::from_secs(REMEMBERED);
    if kept.is_empty() && change.is_empty() && old {
        records.change(name, |_| None)?;
    } else if !spent.is_empty() {
        records.change(name, |stored| {
            stored.map(|stored| Record { kept: rest(&stored.kept), change: rest(&stored.change), ..stored })
        })?;
    }
    Ok(if sold { kept } else { Vec::new() })
}
