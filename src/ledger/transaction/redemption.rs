//! Redemption: used stamps from recipients, and revocations. An unused stamp is not taken back, since its buyer may
//! have used it: few recipients deposit.
//!
//! Each stamp counts once: one transaction reads and changes its state, and only [`StampState::Issued`] can become
//! another.

use super::LedgerTx;
use crate::accounting::event::Event;
use crate::accounting::redemption::StampProblem;
use crate::accounting::serial_derivation;
use crate::ledger::model::{Presented, RedeemResult, Redemption, StampState};
use crate::ledger::schema::{self, TxError, TxResult};
use crate::stamp::serial::Serial;
use crate::transparency::leaf::{self, LeafKind};
use redb::ReadableTable;
use std::collections::BTreeSet;

/// A stamp that can be redeemed.
struct Good {
    serial: Serial,
    bytes: [u8; 16],
    entry: u64,
    value: u64,
}

impl StampState {
    pub(in crate::ledger) fn from_row(row: u64) -> TxResult<Self> {
        match row & 7 {
            0 => Ok(Self::Issued),
            1 => Ok(Self::Deposited),
            3 => Ok(Self::Revoked),
            other => Err(TxError::Damaged(format!("a serial in state {other}"))),
        }
    }

    pub(in crate::ledger) fn row(self, entry: u64) -> u64 {
        entry << 3
            | match self {
                Self::Issued => 0,
                Self::Deposited => 1,
                Self::Revoked => 3,
            }
    }
}

impl LedgerTx<'_> {
    /// Returns the entry of a serial's sale and its state; `None` if this ledger did not sell it.
    pub(super) fn state(&self, serial: &[u8; 16]) -> TxResult<Option<(u64, StampState)>> {
        match self.serial.get(serial)?.map(|row| row.value()) {
            Some(row) => Ok(Some((row >> 3, StampState::from_row(row)?))),
            None => Ok(None),
        }
    }

    pub(in crate::ledger) fn deposit(&mut self, account: u64, stamps: &[Presented]) -> TxResult<Redemption> {
        self.open_one(account)?;
        let check = |ledger: &Self, stamp: &Presented, _: &Good| {
            for (address, domain) in &stamp.owners {
                // The owner of the domain stands in for addresses without an owner only.
                let owner = match ledger.owner.get(address.as_str())? {
                    None => ledger.owner.get(domain.as_str())?,
                    own => own,
                };
                if owner.is_some_and(|row| row.value().0 == account) {
                    return Ok(Ok(()));
                }
            }
            Ok(Err(StampProblem::NotYours))
        };
        let (each, good) = self.looked_at(stamps, check)?;
        self.take_back(account, each, &good)
    }

    /// Checks each stamp: returns its value or its problem, and the valid stamps.
    fn looked_at(
        &self,
        stamps: &[Presented],
        check: impl Fn(&Self, &Presented, &Good) -> TxResult<Result<(), StampProblem>>,
    ) -> TxResult<(Vec<RedeemResult>, Vec<Good>)> {
        let mut seen = BTreeSet::new();
        let mut good = Vec::new();
        let mut each = Vec::new();
        for stamp in stamps {
            let looked = match self.sold(stamp)? {
                Err(problem) => Err(problem),
                Ok(found) => check(self, stamp, &found)?
                    .and_then(|()| if seen.insert(found.bytes) { Ok(found) } else { Err(StampProblem::Duplicate) }),
            };
            each.push(match looked {
                Err(problem) => RedeemResult::Refused(problem),
                Ok(found) => {
                    let value = found.value;
                    good.push(found);
                    RedeemResult::Taken(value)
                }
            });
        }
        Ok((each, good))
    }

    /// Returns the stamp if it was sold at its value and is still in the state "issued".
    fn sold(&self, stamp: &Presented) -> TxResult<Result<Good, StampProblem>> {
        let Some(bytes) = serial_derivation::bytes_of(&stamp.serial) else { return Ok(Err(StampProblem::NotIssued)) };
        let Some((entry, state)) = self.state(&bytes)? else { return Ok(Err(StampProblem::NotIssued)) };
        match state {
            StampState::Issued => {}
            StampState::Deposited => return Ok(Err(StampProblem::Deposited)),
            StampState::Revoked => return Ok(Err(StampProblem::Revoked)),
        }
        match self.spent_before(|vendor| leaf::stamp(vendor, stamp.serial.as_str()))? {
            None => {}
            Some(LeafKind::Revoked) => return Ok(Err(StampProblem::Revoked)),
            Some(_) => return Ok(Err(StampProblem::Deposited)),
        }
        let sale = schema::entry_in(&self.entry, entry)?;
        let value = sale.event.value_of(&bytes, sale.at);
        // A stamp that was signed outside of the ledger, with the serial of one sold for less, does not belong to it.
        match value {
            Some(0) if stamp.value == 0 => Ok(Err(StampProblem::NoValue)),
            Some(value) if value == stamp.value => Ok(Ok(Good { serial: stamp.serial.clone(), bytes, entry, value })),
            _ => Ok(Err(StampProblem::NotIssued)),
        }
    }

    fn take_back(&mut self, account: u64, each: Vec<RedeemResult>, good: &[Good]) -> TxResult<Redemption> {
        let mut booked = None;
        if !good.is_empty() {
            let credits = good.iter().fold(0_u64, |sum, it| sum.saturating_add(it.value));
            let serials: Vec<Serial> = good.iter().map(|it| it.serial.clone()).collect();
            self.append_event(Event::Deposited { account, serials, credits })?;
            for it in good {
                self.serial.insert(&it.bytes, StampState::Deposited.row(it.entry))?;
            }
            booked = Some(self.booked(credits, None, account)?);
        }
        Ok(Redemption { each, booked })
    }

    /// Revokes stamps, and returns how many were not revoked before. For a customer, `ended` is the number of expired
    /// revoked serials, and the directory must have space for the new ones.
    pub(in crate::ledger) fn revoke(&mut self, serials: &[Serial], ended: Option<u64>) -> TxResult<u64> {
        if let Some(ended) = ended {
            self.room(serials.len(), ended)?;
        }
        let mut sold = Vec::new();
        let mut others = Vec::new();
        let serials: BTreeSet<&Serial> = serials.iter().collect();
        for serial in serials {
            if self.revoked.get(serial.as_str())?.is_some() {
                continue;
            }
            let bytes = serial_derivation::bytes_of(serial);
            let known = bytes.map(|bytes| self.state(&bytes)).transpose()?.flatten();
            match (bytes, known) {
                (Some(bytes), Some((entry, StampState::Issued))) => {
                    let sale = schema::entry_in(&self.entry, entry)?;
                    let value = sale.event.value_of(&bytes, sale.at).unwrap_or(0);
                    sold.push((bytes, value));
                }
                // A deposited stamp keeps its state, since it was paid for.
                _ => others.push(serial.clone()),
            }
        }
        let count = (sold.len() + others.len()) as u64;
        self.revoke_sold(&sold)?;
        if !others.is_empty() {
            self.append_event(Event::Revoked { serials: others.clone(), credits: 0 })?;
            for serial in &others {
                self.revoked.insert(serial.as_str(), self.head.number)?;
            }
        }
        Ok(count)
    }

    /// Revokes stamps that were sold and not taken back.
    pub(super) fn revoke_sold(&mut self, stamps: &[([u8; 16], u64)]) -> TxResult<()> {
        if stamps.is_empty() {
            return Ok(());
        }
        let credits = stamps.iter().fold(0_u64, |sum, (_, value)| sum.saturating_add(*value));
        let serials: Vec<Serial> = stamps.iter().map(|(bytes, _)| Serial::from_random(*bytes)).collect();
        self.append_event(Event::Revoked { serials: serials.clone(), credits })?;
        for ((bytes, _), serial) in stamps.iter().zip(&serials) {
            let entry = self.state(bytes)?.map_or(0, |(entry, _)| entry);
            self.serial.insert(bytes, StampState::Revoked.row(entry))?;
            self.revoked.insert(serial.as_str(), self.head.number)?;
        }
        Ok(())
    }
}
