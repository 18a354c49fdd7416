//! Payment by tokens of Cashu: the buyer pastes a token, and its mint swaps it for proofs of the vendor's own.
//!
//! - Only mints that the operator named are asked. The operator trusts them with the money.
//! - What is sent to a mint is recorded before, and follows from a key and that record. After a crash the mint returns the
//!   signatures that it made (NUT-09), and the same form completes.
//! - A record is of one token. Another one for the same purchase and order is not touched.
//! - What is above the price, and the whole payment when the ledger rejects the sale, is a token of the buyer's.
//!
//! `blind`, `cbor` and `token` compute; `mint` is the client; `records` keeps the money; `take` is for the operator.

pub mod blind;
mod cbor;
pub mod mint;
pub mod records;
pub mod take;
pub mod token;

use super::{Begun, Completion, Due, Paid, Payment, PaymentError, Refund};
use crate::accounting::hash::Hash;
use crate::accounting::money::Price;
use crate::ledger::error::LedgerError;
use crate::net::http_client::Secret;
use crate::time::UnixTime;
use blind::{Dleq, Output};
use mint::{BlindSignature, Blinded, Keyset, Mint, MintError};
use records::{Record, Records, State};
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use token::{Proof, Token};
use zeroize::Zeroizing;

/// Settings of payments by Cashu.
#[derive(Clone, Debug)]
pub struct Cashu {
    /// Addresses of the mints, without a slash at the end.
    pub mints: Vec<String>,
    /// Unit of the mints' amounts.
    pub unit: String,
    /// What the unit is worth.
    pub rate: Price,
    /// Timeout of a request to a mint.
    pub timeout: Duration,
}

/// Payment by Cashu.
pub struct CashuPayment {
    settings: Cashu,
    records: Records,
    key: Zeroizing<[u8; 32]>,
    under_way: Mutex<HashSet<Hash>>,
}

impl std::fmt::Debug for CashuPayment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CashuPayment").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The only step of a purchase that is under way, until it is dropped.
#[derive(Debug)]
pub struct Alone<'a> {
    payment: &'a CashuPayment,
    name: Hash,
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.payment.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}

/// What is the buyer's.
#[derive(Clone, Debug)]
pub struct Buyers {
    /// The token.
    pub token: Secret,
    /// Its amount.
    pub amount: u64,
    /// The unit of the amount.
    pub unit: String,
    /// Whether the whole payment was refunded; otherwise it is the change.
    pub refunded: bool,
}

fn refused(text: impl Into<String>) -> PaymentError {
    PaymentError::Evidence("ecash", text.into())
}

fn trouble(mint: &str, what: &dyn std::fmt::Display) -> PaymentError {
    PaymentError::Provider(format!("{mint}: {what}"))
}

impl CashuPayment {
    /// Opens the records in the folder of the ledger, and creates what is missing.
    ///
    /// # Errors
    /// Those of [`Records::secret`].
    pub fn open(settings: Cashu, ledger: &Path) -> Result<Self, LedgerError> {
        let records = Records::of(ledger);
        let key = records.secret()?;
        Ok(Self { settings, records, key, under_way: Mutex::default() })
    }

    /// Returns the settings.
    #[must_use]
    pub fn settings(&self) -> &Cashu {
        &self.settings
    }

    /// Marks a purchase as under way, from the payment to the sale or the refund; `None` if it is already.
    #[must_use]
    pub fn alone(&self, due: &Due) -> Option<Alone<'_>> {
        let name = due.hash();
        let new = self.under_way.lock().unwrap_or_else(PoisonError::into_inner).insert(name);
        new.then_some(Alone { payment: self, name })
    }

    /// Returns whether a payment of this purchase was begun.
    ///
    /// # Errors
    /// Those of the system.
    pub fn is_begun(&self, due: &Due) -> Result<bool, LedgerError> {
        Ok(self.records.load(&due.hash())?.is_some())
    }

    /// Returns what is the buyer's of a purchase.
    ///
    /// # Errors
    /// Those of the system.
    pub fn buyers(&self, due: &Due) -> Result<Option<Buyers>, LedgerError> {
        let Some(record) = self.records.load(&due.hash())? else { return Ok(None) };
        let refunded = record.state == State::Refunded;
        let token = record.token_of(record.buyers());
        Ok(token.map(|token| Buyers {
            amount: token.sum().unwrap_or(u64::MAX),
            token: Secret::new(token.text().to_string()),
            unit: record.unit.clone(),
            refunded,
        }))
    }

    fn mint<'a>(&self, url: &'a str) -> Mint<'a> {
        Mint { url, timeout: self.settings.timeout }
    }

    /// Checks a token, and plans its swap. Nothing is sent but questions for the mint's keys.
    fn plan(&self, due: &Due, token: &Token) -> Result<Record, PaymentError> {
        let Cashu { mints, unit, rate, .. } = &self.settings;
        let mint = mints.iter().find(|mint| mint.eq_ignore_ascii_case(&token.mint)).ok_or_else(|| {
            refused(format!("This shop accepts tokens of {} only. Nothing was taken.", mints.join(", ")))
        })?;
        let other_unit = || refused(format!("This token is not in the unit {unit}. Nothing was taken."));
        if token.unit.as_ref().is_some_and(|given| given != unit) {
            return Err(other_unit());
        }
        let client = self.mint(mint);
        let away = |error: MintError| trouble(mint, &error);
        let keysets = client.keysets().map_err(away)?;
        let inputs = resolved(&token.proofs, &keysets)
            .ok_or_else(|| refused("The mint does not know the keys of this token. Nothing was taken."))?;
        if inputs.iter().any(|keyset| keyset.unit != *unit) {
            return Err(other_unit());
        }
        let large = || refused("The amounts of this token are out of range. Nothing was taken.");
        let sum = token.sum().ok_or_else(large)?;
        let fees = inputs.iter().try_fold(0_u64, |fees, keyset| fees.checked_add(keyset.fee.unwrap_or(0)));
        let fee = fees.ok_or_else(large)?.div_ceil(1_000);
        let price = rate.units_for(due.cost).filter(|price| *price > 0);
        let price = price.ok_or_else(|| trouble(mint, &"the price is out of range"))?;
        let Some(change) = sum.checked_sub(fee).and_then(|left| left.checked_sub(price)) else {
            return Err(refused(format!(
                "This token is worth {sum} {unit}, of which the mint keeps a fee of {fee}. The stamp costs {price} \
                 {unit}. Nothing was taken."
            )));
        };
        let active = keysets.iter().filter(|keyset| keyset.active && keyset.unit == *unit);
        let cheapest = active.min_by_key(|keyset| (keyset.fee.unwrap_or(0), &keyset.id));
        let keyset = cheapest.ok_or_else(|| trouble(mint, &"it has no active keys"))?;
        let keys = client.keys(&keyset.id).map_err(away)?;
        let amounts: Vec<u64> = keys.into_keys().collect();
        let split = |sum| split(sum, &amounts).ok_or_else(|| trouble(mint, &"it has no keys for this sum"));
        let kept = split(price)?.into_iter().map(|amount| (amount, true));
        let change = split(change)?.into_iter().map(|amount| (amount, false));
        // In ascending order, so that the mint does not see which are the price (NUT-03).
        let mut outputs: Vec<(u64, bool)> = kept.chain(change).collect();
        outputs.sort_unstable();
        Ok(Record {
            mint: mint.clone(),
            unit: unit.clone(),
            keyset: keyset.id.clone(),
            token: token.hash(),
            outputs,
            cost: due.cost,
            state: State::Sent,
            kept: Vec::new(),
            change: Vec::new(),
        })
    }

    /// Completes a record that was sent. `fresh` says that nothing was sent for it before.
    fn swap(&self, name: &Hash, record: &Record, token: Option<&Token>, fresh: bool) -> Result<Record, PaymentError> {
        let client = self.mint(&record.mint);
        let outputs = outputs(&self.key, name, record).ok_or_else(|| trouble(&record.mint, &"no outputs"))?;
        let restored = || {
            let signatures = client.restore(&outputs.1).map_err(|error| trouble(&record.mint, &error))?;
            signatures.map(|signatures| self.receive(name, record, &outputs.0, &signatures)).transpose()
        };
        if !fresh && let Some(received) = restored()? {
            return Ok(received);
        }
        let Some(token) = token.filter(|token| token.hash() == record.token) else {
            let text = "The mint did not take the token that was sent for this order before. Send that token again, or \
                        begin a new order for another one. Nothing was taken now.";
            return Err(PaymentError::Evidence("unpaid", text.to_owned()));
        };
        let keysets = client.keysets().map_err(|error| trouble(&record.mint, &error))?;
        let inputs = resolved(&token.proofs, &keysets).map(|keysets| {
            let named = token.proofs.iter().zip(keysets);
            named.map(|(proof, keyset)| Proof { id: keyset.id.clone(), ..proof.clone() }).collect::<Vec<_>>()
        });
        let inputs = inputs.ok_or_else(|| trouble(&record.mint, &"it does not know its keys any more"))?;
        match client.swap(&inputs, &outputs.1) {
            Ok(signatures) => self.receive(name, record, &outputs.0, &signatures),
            Err(MintError::Refused(code)) => {
                // Perhaps it took this token for this purchase, and the answer was lost.
                if let Some(received) = restored()? {
                    return Ok(received);
                }
                let waits = matches!(code, 11002 | 11004);
                if fresh && !waits {
                    self.records.change(name, |_| None)?;
                }
                Err(match code {
                    11002 | 11004 => PaymentError::Evidence(
                        "busy",
                        "The mint is still working on this token. Send this form again in a moment.".to_owned(),
                    ),
                    11001 if fresh => refused("This token was spent before. Nothing was taken now."),
                    // It may have been spent for this order, by a mint that does not return its signatures.
                    11001 => PaymentError::Evidence(
                        "unpaid",
                        "The mint says that this token is spent, and has no signatures for this order. If you spent it \
                         here, keep the order code, and try again later."
                            .to_owned(),
                    ),
                    _ => refused(format!(
                        "The mint refuses this token: it is not valid, or locked to one wallet (code {code}). Nothing was \
                         taken."
                    )),
                })
            }
            Err(error) => Err(trouble(&record.mint, &error)),
        }
    }

    /// Verifies the signatures of a mint, and stores the proofs.
    fn receive(
        &self,
        name: &Hash,
        record: &Record,
        outputs: &[Output],
        signatures: &[BlindSignature],
    ) -> Result<Record, PaymentError> {
        let client = self.mint(&record.mint);
        let keys = client.keys(&record.keyset).map_err(|error| trouble(&record.mint, &error))?;
        store(&self.records, name, record, outputs, signatures, &keys).map_err(|error| match error {
            Some(error) => error.into(),
            None => trouble(&record.mint, &"its signatures are wrong; the token is spent"),
        })
    }
}

impl Payment for CashuPayment {
    fn begin(&self, _: &Due, _: Option<&str>, _: UnixTime) -> Result<Begun, PaymentError> {
        Ok(Begun::Enter)
    }

    fn complete(&self, due: &Due, evidence: &str, _: UnixTime) -> Result<Completion, PaymentError> {
        let name = due.hash();
        let token = Token::parse(evidence);
        let record = match self.records.load(&name)? {
            Some(record) if record.state == State::Sent => self.swap(&name, &record, token.as_ref().ok(), false)?,
            Some(record) => record,
            None => {
                let token = token.map_err(|error| refused(format!("{error}. Nothing was taken.")))?;
                let planned = self.plan(due, &token)?;
                self.records.change(&name, |_| Some(planned.clone()))?;
                self.swap(&name, &planned, Some(&token), true)?
            }
        };
        match record.state {
            State::Received => {
                let reference = record.reference();
                Ok(Completion::Paid(Paid::Elsewhere { reference, cost: record.cost }))
            }
            State::Refunded => Err(PaymentError::Evidence("refunded", "This payment was refunded.".to_owned())),
            State::Sent => Ok(Completion::Pending),
        }
    }

    fn refund(&self, due: &Due, _: &Paid) -> Refund {
        let marked = self.records.change(&due.hash(), |record| {
            record.map(|record| match record.state {
                State::Received => Record { state: State::Refunded, ..record },
                State::Sent | State::Refunded => record,
            })
        });
        match marked {
            Ok(Some(Record { state: State::Refunded, .. })) => Refund::Returned,
            Ok(_) => Refund::Never,
            Err(_) => Refund::Later,
        }
    }
}

/// Verifies the signatures of a mint, and stores the proofs. The error is `None` if the signatures are wrong.
fn store(
    records: &Records,
    name: &Hash,
    record: &Record,
    outputs: &[Output],
    signatures: &[BlindSignature],
    keys: &BTreeMap<u64, blind::Point>,
) -> Result<Record, Option<LedgerError>> {
    let proofs = proofs(record, outputs, signatures, keys).ok_or(None)?;
    let (kept, change): (Vec<_>, Vec<_>) =
        proofs.into_iter().zip(&record.outputs).partition(|(_, (_, is_kept))| *is_kept);
    let plain = |proofs: Vec<(Proof, &(u64, bool))>| proofs.into_iter().map(|(proof, _)| proof).collect();
    let received = Record { state: State::Received, kept: plain(kept), change: plain(change), ..record.clone() };
    let changed = records.change(name, |stored| match stored {
        // Another process was faster.
        Some(stored) if stored.state != State::Sent => Some(stored),
        _ => Some(received.clone()),
    });
    Ok(changed?.unwrap_or(received))
}

/// Returns the keyset of each proof. A token may have the first 16 digits of a name of 66.
fn resolved<'a>(proofs: &[Proof], keysets: &'a [Keyset]) -> Option<Vec<&'a Keyset>> {
    let of = |proof: &Proof| {
        let id = proof.id.to_ascii_lowercase();
        if let Some(exact) = keysets.iter().find(|keyset| keyset.id == id) {
            return Some(exact);
        }
        let mut long = keysets.iter().filter(|keyset| id.len() == 16 && keyset.id.starts_with(&id));
        long.next().filter(|_| long.next().is_none())
    };
    proofs.iter().map(of).collect()
}

/// Splits a sum into amounts that the mint has keys for, which are in ascending order; `None` if that is impossible.
fn split(mut sum: u64, amounts: &[u64]) -> Option<Vec<u64>> {
    let mut parts = Vec::new();
    for amount in amounts.iter().rev().filter(|amount| **amount > 0) {
        while sum >= *amount && parts.len() < 128 {
            parts.push(*amount);
            sum -= amount;
        }
    }
    (sum == 0).then_some(parts)
}

/// Derives the outputs of a record, and what the mint sees of them.
fn outputs(key: &[u8; 32], name: &Hash, record: &Record) -> Option<(Vec<Output>, Vec<Blinded>)> {
    let derive = |(place, (amount, _)): (usize, &(u64, bool))| {
        let output = Output::derive(key, name, &record.token, &record.keyset, place)?;
        let blinded = Blinded { amount: *amount, id: record.keyset.clone(), point: output.blinded.hex() };
        Some((output, blinded))
    };
    let both: Option<Vec<_>> = record.outputs.iter().enumerate().map(derive).collect();
    Some(both?.into_iter().unzip())
}

/// Makes proofs of the signatures; `None` unless all of them are those of the mint's keys for these outputs.
fn proofs(
    record: &Record,
    outputs: &[Output],
    signatures: &[BlindSignature],
    keys: &BTreeMap<u64, blind::Point>,
) -> Option<Vec<Proof>> {
    if signatures.len() != outputs.len() {
        return None;
    }
    let of = |((output, (amount, _)), signature): ((&Output, &(u64, bool)), &BlindSignature)| {
        if signature.amount != *amount || signature.id != record.keyset {
            return None;
        }
        let dleq = signature.dleq.as_ref()?;
        let proof = Dleq { challenge: &dleq.e, response: &dleq.s };
        let plain = output.unblind(blind::Point::parse(&signature.point)?, *keys.get(amount)?, proof)?;
        let (id, secret) = (record.keyset.clone(), output.secret.to_string());
        Some(Proof { amount: *amount, id, secret, signature: plain.hex(), witness: None })
    };
    outputs.iter().zip(&record.outputs).zip(signatures).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyset(id: &str) -> Keyset {
        Keyset { id: id.into(), unit: "sat".into(), active: true, fee: None }
    }

    #[test]
    fn a_sum_is_split_into_the_amounts_of_the_keys() {
        let powers: Vec<u64> = (0..64).map(|bit| 1 << bit).collect();
        assert_eq!(split(13, &powers), Some(vec![8, 4, 1]));
        assert_eq!(split(0, &powers), Some(vec![]));
        assert_eq!(split(u64::MAX, &powers).unwrap().len(), 64);
        assert_eq!(split(5, &[2, 4]), None);
        assert_eq!(split(5, &[]), None);
        assert_eq!(split(u64::MAX, &[0, 1]), None);
    }

    #[test]
    fn short_names_of_keysets_are_resolved_unless_ambiguous() {
        let long = |end: &str| format!("014c3f4e45473176{}{end}", "0".repeat(49));
        let proof = |id: &str| Proof {
            amount: 1,
            id: id.into(),
            secret: String::new(),
            signature: String::new(),
            witness: None,
        };
        let known = [keyset(&long("a")), keyset("00ad268c4d1f5826")];
        for id in ["014c3f4e45473176", &long("a"), "00AD268C4D1F5826"] {
            assert!(resolved(&[proof(id)], &known).is_some(), "{id}");
        }
        for id in ["014c3f4e45473177", "014c", ""] {
            assert!(resolved(&[proof(id)], &known).is_none(), "{id}");
        }
        let two = [keyset(&long("a")), keyset(&long("b"))];
        assert!(resolved(&[proof("014c3f4e45473176")], &two).is_none());
        assert!(resolved(&[proof(&long("b"))], &two).is_some());
    }
}
