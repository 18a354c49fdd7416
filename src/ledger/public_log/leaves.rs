//! Leaves of the public log that an entry has.

use crate::accounting::event::Event;
use crate::accounting::hash_chain::Entry;
use crate::accounting::serial_derivation;
use crate::ledger::schema::{self, TxError, TxResult};
use crate::stamp::serial::Serial;
use crate::time::UnixTime;
use crate::transparency::leaf::{self, DAY, LENGTH, Leaf, LeafKind, day_of};
use redb::ReadableTable;

/// Returns whether no later entry may be in the log yet: this one is of today.
///
/// An entry that lies more than a day in the future is of a clock that was ahead.
pub(super) fn is_too_new(entry: &Entry, now: UnixTime) -> bool {
    day_of(entry.at) >= day_of(now) && entry.at.since(now) <= DAY
}

/// Bytes of a leaf in the order of the log: by day, then by the bytes themselves.
pub(in crate::ledger) type LeafBytes = [u8; LENGTH];

/// Sorts the leaves of a batch.
pub(in crate::ledger) fn sort(leaves: &mut [LeafBytes]) {
    leaves.sort_unstable_by(|one, other| (&one[41..], &one[..]).cmp(&(&other[41..], &other[..])));
}

/// Returns the day of a leaf.
pub(in crate::ledger) fn leaf_day(leaf: &LeafBytes) -> u32 {
    let [.., a, b, c, d] = *leaf;
    u32::from_be_bytes([a, b, c, d])
}

/// Makes the leaves of entries. It needs the sales of stamps that came back, for their values.
pub(in crate::ledger) struct LeafMaker<'a, S, E> {
    pub(in crate::ledger) vendor: &'a str,
    pub(in crate::ledger) serials: &'a S,
    pub(in crate::ledger) entries: &'a E,
    /// The sale that was read last: stamps of one sale often come back together.
    sale: Option<Entry>,
}

impl<'a, S, E> LeafMaker<'a, S, E>
where
    S: ReadableTable<&'static [u8; 16], u64>,
    E: ReadableTable<u64, &'static [u8]>,
{
    pub(in crate::ledger) fn new(vendor: &'a str, serials: &'a S, entries: &'a E) -> Self {
        Self { vendor, serials, entries, sale: None }
    }

    /// Returns the leaves of an entry, whose days are not below the first and not above the last of `days`.
    pub(in crate::ledger) fn leaves(&mut self, entry: &Entry, days: (u32, u32)) -> TxResult<Vec<LeafBytes>> {
        let day = day_of(entry.at).min(days.1).max(days.0);
        let vendor = self.vendor;
        let made = |kind, subject, value| Leaf { kind, subject, value, day }.to_bytes();
        let of_serial = |kind, serial: &Serial, value| made(kind, leaf::stamp(vendor, serial.as_str()), value);
        match &entry.event {
            Event::Issued { .. } => {
                let issued = entry.event.issued(entry.at);
                let issued = issued.map(|(bytes, value)| (Serial::from_random(bytes), value));
                Ok(issued.map(|(serial, value)| of_serial(LeafKind::Issued, &serial, value)).collect())
            }
            Event::Deposited { serials, credits, .. } | Event::Revoked { serials, credits } => {
                let kind = match entry.event {
                    Event::Deposited { .. } => LeafKind::Deposited,
                    _ => LeafKind::Revoked,
                };
                let values = self.values(serials, *credits)?;
                Ok(serials.iter().zip(values).map(|(serial, value)| of_serial(kind, serial, value)).collect())
            }
            Event::Cleared { each, .. } => {
                let cleared = each.iter().map(|(_, credits, payment)| {
                    made(LeafKind::Cleared, leaf::payment(vendor, &payment.to_string()), *credits)
                });
                Ok(cleared.collect())
            }
            Event::Licensed { kid, limit, .. } => {
                Ok(vec![made(LeafKind::Licensed, leaf::license(vendor, kid), *limit)])
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Returns the values of stamps that came back, for `credits` in total; zero for those that moved no credits.
    fn values(&mut self, serials: &[Serial], credits: u64) -> TxResult<Vec<u64>> {
        if credits == 0 || serials.len() == 1 {
            return Ok(vec![credits; serials.len()]);
        }
        serials.iter().map(|serial| self.value(serial)).collect()
    }

    /// Returns the value at which a stamp was sold. One that is unknown has none, and an audit reports it.
    fn value(&mut self, serial: &Serial) -> TxResult<u64> {
        let Some(bytes) = serial_derivation::bytes_of(serial) else { return Ok(0) };
        let Some(row) = self.serials.get(&bytes)?.map(|row| row.value()) else { return Ok(0) };
        if self.sale.as_ref().is_none_or(|sale| sale.number != row >> 3) {
            self.sale = match schema::entry_in(self.entries, row >> 3) {
                Err(TxError::Damaged(_)) => None,
                sale => Some(sale?),
            };
        }
        Ok(self.sale.as_ref().and_then(|sale| sale.event.value_of(&bytes, sale.at)).unwrap_or(0))
    }
}
