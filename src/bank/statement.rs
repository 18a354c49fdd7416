//! What the bank has, and what came and went, as rows for people and programs.

use super::schema;
use crate::accounting::bank::books::{AgencyState, Incoming, IncomingState, License, LicenseState, Payment};
use crate::accounting::bank::event::{BankAccount, Event};
use crate::accounting::hash::Hash;
use crate::accounting::hash_chain::Head;
use crate::store::SessionError;
use crate::time::UnixTime;
use redb::{ReadTransaction, ReadableTable};

/// What the bank has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balance {
    pub agency: String,
    /// The user's name of the account.
    pub account: String,
    /// Credits at the agency that no licence has.
    pub held: u64,
    /// Credits that the licences may still spend.
    pub licensed: u64,
    /// Credits of payments whose message was perhaps not delivered.
    pub reserved: u64,
    /// Credits of delivered payments, until the payee clears them.
    pub paid: u64,
    /// Credits that were received, until the agency clears them.
    pub received: u64,
    /// Licences that are not closed.
    pub licenses: Vec<LicenseBalance>,
    /// Last known state of the agency.
    pub contact: Option<AgencyState>,
    pub head: Head,
}

/// What a licence has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LicenseBalance {
    pub number: u64,
    pub license: License,
    /// Credits that it may still spend.
    pub left: u64,
}

/// Line of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub entry: u64,
    pub at: UnixTime,
    /// Name of the event.
    pub event: &'static str,
    /// The other account or licence, if there is one.
    pub peer: Option<String>,
    /// Credits that the event is about.
    pub credits: u64,
    /// What the bank has more after it; negative when it has less.
    pub change: i64,
    /// Credits of payments whose message is known to have been delivered by it; negative if one is taken back.
    pub paid: i64,
    /// Credits that came with a delivered message.
    pub received: u64,
    /// Credits that were bought; negative if they were redeemed.
    pub bought: i64,
}

/// Reads what the bank has.
pub(super) fn balance(tx: &ReadTransaction) -> Result<Balance, SessionError> {
    let entries = tx.open_table(schema::ENTRY)?;
    let first = entries.get(1)?.ok_or_else(|| SessionError::damaged(&"entry 1 is missing"))?;
    let Event::Founded { agency, account } = schema::entry_of(1, first.value())?.1.event else {
        return Err(SessionError::damaged(&"entry 1 does not found a bank"));
    };
    let contact = tx.open_table(schema::STATE)?.get("agency")?.map(|row| schema::from_json(row.value())).transpose()?;
    let head = schema::head_in(&entries)?;
    let (licenses, none) = (Vec::new(), 0);
    let mut balance = Balance {
        agency,
        account,
        held: none,
        licensed: none,
        reserved: none,
        paid: none,
        received: none,
        licenses,
        contact,
        head,
    };
    for row in tx.open_table(schema::BALANCE)?.iter()? {
        let (key, amount) = row?;
        let amount = u64::try_from(amount.value()).unwrap_or(0);
        match schema::account_of(key.value())? {
            BankAccount::World => {}
            BankAccount::Held => balance.held += amount,
            BankAccount::Licensed(_) => balance.licensed += amount,
            BankAccount::Reserved(_) => balance.reserved += amount,
            BankAccount::Paid(_) => balance.paid += amount,
            BankAccount::Received => balance.received += amount,
        }
    }
    let left = tx.open_table(schema::BALANCE)?;
    for row in tx.open_table(schema::LICENSE)?.iter()? {
        let (number, license) = row?;
        let (number, license): (u64, License) = (number.value(), schema::from_json(license.value())?);
        if license.state != LicenseState::Closed {
            let left = left.get(&schema::balance_key(BankAccount::Licensed(number)))?.map_or(0, |row| row.value());
            balance.licenses.push(LicenseBalance { number, license, left: u64::try_from(left).unwrap_or(0) });
        }
    }
    Ok(balance)
}

/// Reads the entries that moved credits.
pub(super) fn lines(
    tx: &ReadTransaction,
    since: Option<UnixTime>,
    to: &mut dyn FnMut(Line) -> bool,
) -> Result<(), SessionError> {
    let payments = tx.open_table(schema::PAYMENT)?;
    let incoming = tx.open_table(schema::INCOMING)?;
    let paid = |name: &Hash| -> Result<Option<String>, SessionError> {
        let row: Option<Payment> = payments.get(&name.0)?.map(|row| schema::from_json(row.value())).transpose()?;
        Ok(row.map(|row| row.peer))
    };
    for row in tx.open_table(schema::ENTRY)?.iter()? {
        let (number, row) = row?;
        let entry = schema::entry_of(number.value(), row.value())?.1;
        if since.is_some_and(|since| entry.at < since) {
            continue;
        }
        let transaction = entry.event.transaction();
        let postings = transaction.postings();
        if postings.is_empty() {
            continue;
        }
        let world = postings.iter().filter(|posting| posting.account == BankAccount::World);
        let change = -world.map(|posting| posting.amount).sum::<i64>();
        let credits = postings.iter().map(|posting| posting.amount.max(0).unsigned_abs()).sum();
        let peer = match &entry.event {
            Event::Reserved { peer, .. } => Some(peer.clone()),
            Event::Settled { payment, .. }
            | Event::Renewed { payment, .. }
            | Event::Cleared { payment, .. }
            | Event::Released { payment, .. } => paid(payment)?,
            Event::Received { id, .. } => {
                let row: Option<Incoming> =
                    incoming.get(id.as_str())?.map(|row| schema::from_json(row.value())).transpose()?;
                row.map(|row| row.peer)
            }
            _ => None,
        };
        let signed = i64::try_from(credits).unwrap_or(i64::MAX);
        let (paid, received) = match &entry.event {
            // The payee delivers a message before it clears its token.
            Event::Settled { .. } | Event::Cleared { settled: false, .. } => (signed, 0),
            Event::Released { settled: true, .. } => (-signed, 0),
            Event::Received { .. } => (0, credits),
            _ => (0, 0),
        };
        let bought = if matches!(entry.event, Event::Checkpoint { .. }) { change } else { 0 };
        let (entry, at, event) = (entry.number, entry.at, entry.event.name());
        if !to(Line { entry, at, event, peer, credits, change, paid, received, bought }) {
            break;
        }
    }
    Ok(())
}

/// Lists the payments that `wanted` picks, and the ends of their tokens.
pub(super) fn payments(
    tx: &ReadTransaction,
    wanted: impl Fn(&Payment) -> bool,
) -> Result<Vec<(Hash, UnixTime)>, SessionError> {
    let mut found = Vec::new();
    for row in tx.open_table(schema::PAYMENT)?.iter()? {
        let (name, row) = row?;
        let row: Payment = schema::from_json(row.value())?;
        if wanted(&row) {
            found.push((Hash(*name.value()), row.until));
        }
    }
    Ok(found)
}

/// Lists up to `most` received tokens in a state: IDs and tokens.
pub(super) fn tokens(
    tx: &ReadTransaction,
    state: IncomingState,
    most: usize,
) -> Result<Vec<(String, String)>, SessionError> {
    let texts = tx.open_table(schema::TOKEN)?;
    let mut found = Vec::new();
    for row in tx.open_table(schema::INCOMING)?.iter()? {
        let (id, row) = row?;
        let row: Incoming = schema::from_json(row.value())?;
        if row.state == state {
            let lost = || SessionError::damaged(&format!("the token {} is missing", row.token));
            let text = texts.get(&row.token.0)?.ok_or_else(lost)?;
            found.push((id.value().to_owned(), text.value().to_owned()));
        }
        if found.len() == most {
            break;
        }
    }
    Ok(found)
}
