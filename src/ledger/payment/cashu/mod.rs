//! Payment by tokens of Cashu: the buyer pastes a token, and its mint swaps it for proofs of the vendor's own.
//!
//! - Only mints that the operator named are asked. The operator trusts them with the money.
//! - What is sent to a mint is recorded before, and follows from a key and that record. After a crash the mint returns the
//!   signatures that it made (NUT-09), and the same form completes.
//! - A record is of one token. Another one for the same purchase and order is not touched.
//! - What is above the price, and the whole payment when the ledger rejects the sale, is a token of the buyer's.
//!
//! `blind`, `cbor` and `token` compute; `mint` is the client, and `keysets` remembers what it said; `records` keeps the
//! money; `take` is for the operator.

pub mod blind;
mod cbor;
pub mod keysets;
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
use keysets::{Keysets, Trust};
use mint::{BlindSignature, Blinded, Keys, Keyset, Mint, MintError};
use records::{Record, Records, State};
use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use token::{Proof, Token};
use zeroize::Zeroizing;

/// Most payments that wait for what their mints say.
const MOST_SENT: usize = 10_000;

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
    keysets: Keysets,
    /// Payments that this process sent, and whose mints have not said what became of them.
    sent: Mutex<HashSet<Hash>>,
}

impl std::fmt::Debug for CashuPayment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CashuPayment").field("settings", &self.settings).finish_non_exhaustive()
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

/// Tells of a mint that did not do its part, where it has taken nothing, or what it took is not lost.
fn trouble(mint: &str, error: &MintError) -> PaymentError {
    let text = match error {
        MintError::Wrong(what) => format!(
            "The mint {mint} is not to be trusted: {what}. Nothing was sold or sent to it now. If you sent this form \
             before, keep the order code."
        ),
        MintError::Refused(_) | MintError::Unknown(_) => {
            "The mint does not answer. Whatever happened, you lose nothing: \
                                                          keep the order code, and send this form again later."
                .to_owned()
        }
    };
    PaymentError::Told { log: format!("{mint}: {error}"), text }
}

/// Tells of a mint that took a token, and what it gave is not worth it.
fn robbed(mint: &str, what: &str) -> PaymentError {
    PaymentError::Told {
        log: format!("{mint}: took a token, and {what}; its buyer is robbed unless the mint makes that right"),
        text: format!(
            "The mint {mint} took the token, and {what}. So nothing was sold. Complain to the mint, and keep the order \
             code: when the mint makes it right, this form brings the stamp."
        ),
    }
}

/// What a mint did with a token.
enum Swap {
    Received(Record),
    /// It refuses, with this code (NUT-00), and has signed none of the outputs.
    Refused(u64),
}

/// Codes of a mint (NUT-00): the token, or the outputs, were taken before, or are at this moment.
const SPENT: u64 = 11_001;
const PENDING: [u64; 2] = [11_002, 11_004];
const TAKEN: std::ops::RangeInclusive<u64> = SPENT..=11_004;
/// Codes of what another list of keysets mends: the fee, and keysets that are unknown or that it signs with no more.
const OUTDATED: [u64; 3] = [11_005, 12_001, 12_002];

impl CashuPayment {
    /// Opens the records in the folder of the ledger, and creates what is missing.
    ///
    /// # Errors
    /// Those of [`Records::secret`].
    pub fn open(settings: Cashu, ledger: &Path) -> Result<Self, LedgerError> {
        let records = Records::of(ledger);
        let key = records.secret()?;
        Ok(Self { settings, records, key, keysets: Keysets::default(), sent: Mutex::default() })
    }

    /// Returns the settings.
    #[must_use]
    pub fn settings(&self) -> &Cashu {
        &self.settings
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

    /// Checks a token, and plans its swap. Its mint is asked for its keysets, at most.
    fn plan(&self, due: &Due, token: &Token, trust: Trust) -> Result<Record, PaymentError> {
        let Cashu { mints, unit, rate, .. } = &self.settings;
        let mint = mints.iter().find(|mint| mint.eq_ignore_ascii_case(&token.mint)).ok_or_else(|| {
            refused(format!("This shop accepts tokens of {} only. Nothing was taken.", mints.join(", ")))
        })?;
        let other_unit = || refused(format!("This token is not in the unit {unit}. Nothing was taken."));
        if token.unit.as_ref().is_some_and(|given| given != unit) {
            return Err(other_unit());
        }
        let sum =
            token.sum().ok_or_else(|| refused("The amounts of this token are out of range. Nothing was taken."))?;
        let odd = |what: &str| trouble(mint, &MintError::Unknown(what.to_owned()));
        let price =
            rate.units_for(due.cost).filter(|price| *price > 0).ok_or_else(|| odd("the price is out of range"))?;
        let little = |fee: u64| {
            refused(format!(
                "This token is worth {sum} {unit}, of which the mint keeps a fee of {fee}. The stamp costs {price} \
                 {unit}. Nothing was taken."
            ))
        };
        // Whatever the fee is.
        if sum < price {
            return Err(little(0));
        }
        let client = self.mint(mint);
        let (keysets, inputs) = self.resolve(client, token, trust)?;
        let inputs: Vec<&Keyset> = inputs.iter().filter_map(|at| keysets.get(*at)).collect();
        if inputs.iter().any(|keyset| keyset.unit != *unit) {
            return Err(other_unit());
        }
        let fees = inputs.iter().try_fold(0_u64, |fees, keyset| fees.checked_add(keyset.fee.unwrap_or(0)));
        let fee = fees.unwrap_or(u64::MAX).div_ceil(1_000);
        let change = sum.checked_sub(fee).and_then(|left| left.checked_sub(price)).ok_or_else(|| little(fee))?;
        let active = keysets.iter().filter(|keyset| keyset.active && keyset.unit == *unit);
        let cheapest = active.min_by_key(|keyset| (keyset.fee.unwrap_or(0), &keyset.id));
        let keyset = cheapest.ok_or_else(|| odd("it has no active keys"))?;
        let keys = self.keysets.keys(client, &keyset.id).map_err(|error| trouble(mint, &error))?;
        let amounts: Vec<u64> = keys.keys().copied().collect();
        let split = |sum| split(sum, &amounts).ok_or_else(|| odd("it has no keys for this sum"));
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

    /// Returns the keysets of a mint, and at which place of them that of each proof is.
    fn resolve(
        &self,
        mint: Mint<'_>,
        token: &Token,
        trust: Trust,
    ) -> Result<(Arc<Vec<Keyset>>, Vec<usize>), PaymentError> {
        let list = |trust| self.keysets.list(mint, trust).map_err(|error| trouble(mint.url, &error));
        let known = list(trust)?;
        if let Some(places) = resolved(&token.proofs, &known) {
            return Ok((known, places));
        }
        let newer = list(Trust::Doubted)?;
        let places = resolved(&token.proofs, &newer)
            .ok_or_else(|| refused("The mint does not know the keys of this token. Nothing was taken."))?;
        Ok((newer, places))
    }

    /// Sends a token for which nothing was sent before. What its mint refuses leaves no record.
    fn send(&self, due: &Due, name: &Hash, token: &Token) -> Result<Record, PaymentError> {
        let mut trust = Trust::Kept;
        loop {
            let planned = self.plan(due, token, trust)?;
            self.begin_one(name)?;
            self.records.change(name, |_| Some(planned.clone()))?;
            match self.swap(name, &planned, token)? {
                Swap::Received(record) => return Ok(record),
                Swap::Refused(code) => {
                    self.forget(name)?;
                    if trust == Trust::Doubted || !OUTDATED.contains(&code) {
                        return Err(refusal(code, true));
                    }
                    trust = Trust::Doubted;
                }
            }
        }
    }

    /// Completes a payment whose record says that it was sent.
    fn complete_sent(
        &self,
        due: &Due,
        name: &Hash,
        record: &Record,
        token: Option<&Token>,
    ) -> Result<Record, PaymentError> {
        let outputs = outputs(&self.key, name, record);
        if let Some(received) = self.restore(name, record, &outputs)? {
            return Ok(received);
        }
        let Some(token) = token.filter(|token| token.hash() == record.token) else {
            let text = "The mint did not take the token that was sent for this order before. Send that token again, or \
                        begin a new order for another one. Nothing was taken now.";
            return Err(PaymentError::Evidence("unpaid", text.to_owned()));
        };
        match self.swap(name, record, token)? {
            Swap::Received(received) => Ok(received),
            Swap::Refused(code) if OUTDATED.contains(&code) => {
                self.forget(name)?;
                self.send(due, name, token)
            }
            Swap::Refused(code) => {
                if !TAKEN.contains(&code) {
                    self.forget(name)?;
                }
                Err(refusal(code, false))
            }
        }
    }

    fn swap(&self, name: &Hash, record: &Record, token: &Token) -> Result<Swap, PaymentError> {
        let client = self.mint(&record.mint);
        let outputs = outputs(&self.key, name, record);
        let (keysets, places) = self.resolve(client, token, Trust::Kept)?;
        // With the whole names of their keysets.
        let named = |(proof, at): (&Proof, &usize)| {
            let id = keysets.get(*at).map_or_else(|| proof.id.clone(), |keyset| keyset.id.clone());
            Proof { id, ..proof.clone() }
        };
        let inputs: Vec<Proof> = token.proofs.iter().zip(&places).map(named).collect();
        match client.swap(&inputs, &outputs.1) {
            Ok(signatures) => self.receive(name, record, &outputs.0, &signatures).map(Swap::Received),
            // Perhaps it took this token for this purchase, and the answer or the record was lost.
            Err(MintError::Refused(code)) if TAKEN.contains(&code) => {
                Ok(self.restore(name, record, &outputs)?.map_or(Swap::Refused(code), Swap::Received))
            }
            Err(MintError::Refused(code)) => Ok(Swap::Refused(code)),
            Err(error) => Err(trouble(&record.mint, &error)),
        }
    }

    /// Receives what the mint signed before; `None` if it has signed none of the outputs.
    fn restore(
        &self,
        name: &Hash,
        record: &Record,
        outputs: &(Vec<Output>, Vec<Blinded>),
    ) -> Result<Option<Record>, PaymentError> {
        let signatures = self.mint(&record.mint).restore(&outputs.1).map_err(|error| trouble(&record.mint, &error))?;
        if signatures.iter().all(Option::is_none) {
            return Ok(None);
        }
        let signatures: Vec<BlindSignature> = signatures.into_iter().flatten().collect();
        self.receive(name, record, &outputs.0, &signatures).map(Some)
    }

    /// Verifies the signatures of a mint, and stores the proofs.
    fn receive(
        &self,
        name: &Hash,
        record: &Record,
        outputs: &[Output],
        signatures: &[BlindSignature],
    ) -> Result<Record, PaymentError> {
        let keys = self.keysets.keys(self.mint(&record.mint), &record.keyset);
        let keys = keys.map_err(|error| trouble(&record.mint, &error))?;
        let received = proofs(record, outputs, signatures, &keys).map_err(|what| robbed(&record.mint, what))?;
        let stored = self.records.receive(name, record, received)?;
        self.end_one(name);
        Ok(stored)
    }

    /// Counts a payment that is sent.
    fn begin_one(&self, name: &Hash) -> Result<(), PaymentError> {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        if sent.len() >= MOST_SENT {
            // A command may have settled some.
            let waits = |name: &Hash| self.records.load(name).is_ok_and(|record| record.is_some_and(|it| it.is_sent()));
            sent.retain(waits);
        }
        if sent.len() >= MOST_SENT {
            return Err(PaymentError::Told {
                log: format!("{MOST_SENT} payments by Cashu wait for their mints; run `mailstamp vendor cashu --take`"),
                text: "Too many payments wait for their mints. Nothing was taken. Try again later.".to_owned(),
            });
        }
        sent.insert(*name);
        Ok(())
    }

    fn end_one(&self, name: &Hash) {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    fn forget(&self, name: &Hash) -> Result<(), LedgerError> {
        self.records.change(name, |_| None)?;
        self.end_one(name);
        Ok(())
    }
}

/// Tells the buyer why a mint refuses a token. `first` says that it was sent for the first time.
fn refusal(code: u64, first: bool) -> PaymentError {
    match code {
        code if PENDING.contains(&code) => PaymentError::Evidence(
            "busy",
            "The mint is still working on this token. Send this form again in a moment.".to_owned(),
        ),
        SPENT if first => refused("This token was spent before. Nothing was taken now."),
        // It may have been spent for this order, by a mint that does not return its signatures.
        SPENT => PaymentError::Evidence(
            "unpaid",
            "The mint says that this token is spent, and has no signatures for this order. If you spent it here, keep the \
             order code, and try again later."
                .to_owned(),
        ),
        code if OUTDATED.contains(&code) => refused(format!(
            "The mint takes this token no more: it is of an old keyset (code {code}). Renew it in your wallet, and send \
             the new one. Nothing was taken."
        )),
        code => refused(format!(
            "The mint refuses this token: it is not valid, or locked to one wallet (code {code}). Nothing was taken."
        )),
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
            Some(record) if record.is_sent() => self.complete_sent(due, &name, &record, token.as_ref().ok())?,
            Some(record) => record,
            None => {
                let token = token.map_err(|error| refused(format!("{error}. Nothing was taken.")))?;
                self.send(due, &name, &token)?
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

/// Returns at which place the keyset of each proof is. A token may have the first 16 digits of a name of 66.
fn resolved(proofs: &[Proof], keysets: &[Keyset]) -> Option<Vec<usize>> {
    let of = |proof: &Proof| {
        let id = proof.id.to_ascii_lowercase();
        if let Some(exact) = keysets.iter().position(|keyset| keyset.id == id) {
            return Some(exact);
        }
        let is_it = |keyset: &Keyset| id.len() == 16 && keyset.id.starts_with(&id);
        let first = keysets.iter().position(is_it)?;
        (keysets.iter().filter(|keyset| is_it(keyset)).count() == 1).then_some(first)
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
fn outputs(key: &[u8; 32], name: &Hash, record: &Record) -> (Vec<Output>, Vec<Blinded>) {
    let derive = |(place, (amount, _)): (usize, &(u64, bool))| {
        // One of 2^65536 secrets has no point.
        let output = Output::derive(key, name, &record.token, &record.keyset, place)?;
        let blinded = Blinded { amount: *amount, id: record.keyset.clone(), point: output.blinded.hex() };
        Some((output, blinded))
    };
    record.outputs.iter().enumerate().filter_map(derive).unzip()
}

/// Makes proofs of the signatures, the price first and then the change.
///
/// # Errors
/// What the mint did, if not all of them are those of its keys for these outputs.
fn proofs(
    record: &Record,
    outputs: &[Output],
    signatures: &[BlindSignature],
    keys: &Keys,
) -> Result<(Vec<Proof>, Vec<Proof>), &'static str> {
    let for_less = signatures.iter().zip(&record.outputs).any(|(signature, (amount, _))| signature.amount != *amount);
    if for_less || [signatures.len(), outputs.len()] != [record.outputs.len(); 2] {
        return Err("signed for another sum than it took");
    }
    let of = |((output, (amount, _)), signature): ((&Output, &(u64, bool)), &BlindSignature)| {
        let dleq = signature.dleq.as_ref().filter(|_| signature.id == record.keyset)?;
        let proof = Dleq { challenge: &dleq.e, response: &dleq.s };
        let plain = output.unblind(blind::Point::parse(&signature.point)?, *keys.get(amount)?, proof)?;
        let (id, secret) = (record.keyset.clone(), output.secret.to_string());
        Some(Proof { amount: *amount, id, secret, signature: plain.hex(), witness: None })
    };
    let all: Option<Vec<Proof>> = outputs.iter().zip(&record.outputs).zip(signatures).map(of).collect();
    let all = all.ok_or("signed with other keys than it has published")?;
    let (kept, change): (Vec<_>, Vec<_>) = all.into_iter().zip(&record.outputs).partition(|(_, (_, is_kept))| *is_kept);
    let plain = |proofs: Vec<(Proof, &(u64, bool))>| proofs.into_iter().map(|(proof, _)| proof).collect();
    Ok((plain(kept), plain(change)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyset(id: &str) -> Keyset {
        Keyset { id: id.into(), unit: "sat".into(), active: true, fee: None, end: None }
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
