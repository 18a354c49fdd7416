//! Rule of a bank's books: what each event needs, and what it changes. One function, [`apply`], decides over any rows:
//! those of the file, when an event is booked, and those in memory, when an audit reads the chain again.

use super::event::{BankAccount, Event};
use crate::accounting::double_entry;
use crate::accounting::hash::Hash;
use crate::accounting::hash_chain::Head;
use crate::stamp::signing::PublicKey;
use crate::time::UnixTime;
use serde::{Deserialize, Serialize};

/// A licence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct License {
    /// Its name in tokens.
    pub kid: String,
    pub key: PublicKey,
    /// Most credits that its key may sign for.
    pub limit: u64,
    pub until: UnixTime,
    pub state: LicenseState,
}

impl License {
    /// Returns whether its key signs at this time.
    #[must_use]
    pub fn signs_at(&self, now: UnixTime) -> bool {
        self.state == LicenseState::Live && self.until > now
    }
}

/// State of a licence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LicenseState {
    Live,
    /// It signs for nothing more. Its tokens may still be cleared.
    Ended,
    Closed,
}

/// A payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    pub state: PaymentState,
    pub license: u64,
    pub credits: u64,
    /// ID that its token names.
    pub id: String,
    /// End of the token.
    pub until: UnixTime,
    /// Account of the payee.
    pub peer: String,
    /// Hash of the token.
    pub token: Hash,
}

/// State of a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PaymentState {
    Reserved,
    Settled,
    /// The payee cleared it.
    Cleared,
    /// The agency declared it void.
    Void,
}

/// A token that was received.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incoming {
    pub state: IncomingState,
    /// Hash of the mailbox and of the message.
    pub copy: Hash,
    /// Licence of the payer.
    pub peer: String,
    pub credits: u64,
    pub until: UnixTime,
    /// Hash of the token.
    pub token: Hash,
}

/// State of a received token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IncomingState {
    /// Its message is being handed on.
    Pending,
    /// Its message was delivered.
    Received,
    /// Its message was refused.
    Dropped,
    /// It is being handed in.
    Sent,
    /// The agency paid it.
    Taken,
    /// The agency did not pay it.
    Refused,
}

impl IncomingState {
    /// Returns whether its credits count as exposure: they may still come, or not.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Received | Self::Sent)
    }
}

/// Rows of the books, in a file or in memory.
pub trait Rows {
    type Error;

    fn balance(&self, account: BankAccount) -> Result<i64, Self::Error>;
    fn set_balance(&mut self, account: BankAccount, balance: i64) -> Result<(), Self::Error>;
    fn license(&self, license: u64) -> Result<Option<License>, Self::Error>;
    fn set_license(&mut self, license: u64, row: &License) -> Result<(), Self::Error>;
    fn payment(&self, payment: &Hash) -> Result<Option<Payment>, Self::Error>;
    fn set_payment(&mut self, payment: &Hash, row: &Payment) -> Result<(), Self::Error>;
    fn incoming(&self, id: &str) -> Result<Option<Incoming>, Self::Error>;
    fn set_incoming(&mut self, id: &str, row: &Incoming) -> Result<(), Self::Error>;
    /// Returns the last ID of a message to a mailbox.
    fn copy(&self, copy: &Hash) -> Result<Option<String>, Self::Error>;
    fn set_copy(&mut self, copy: &Hash, id: &str) -> Result<(), Self::Error>;
    /// Returns the credits of a payer's licence that are not cleared.
    fn exposure(&self, peer: &str) -> Result<u64, Self::Error>;
    fn set_exposure(&mut self, peer: &str, credits: u64) -> Result<(), Self::Error>;
    /// Returns the last known state of the agency.
    fn agency(&self) -> Result<Option<AgencyState>, Self::Error>;
    fn set_agency(&mut self, state: &AgencyState) -> Result<(), Self::Error>;
    /// Removes closed payments and tokens that ended before a time.
    fn forget(&mut self, before: UnixTime) -> Result<(), Self::Error>;
}

/// What the last booked answer of the agency said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgencyState {
    /// Head of the agency's chain.
    pub head: Head,
    /// Number of the account.
    pub account: u64,
    /// Hash of the signed receipt.
    pub receipt: Hash,
}

/// Credits that were promised to payees on one day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaySum {
    /// Days since 1970, UTC.
    pub day: i64,
    pub credits: u64,
}

impl DaySum {
    /// Returns the sum of the day that a time is on: that of before, or nothing yet.
    #[must_use]
    pub fn on(before: Option<Self>, at: UnixTime) -> Self {
        let day = at.0.div_euclid(86_400);
        before.filter(|it| it.day == day).unwrap_or(Self { day, credits: 0 })
    }

    /// Returns the sum with more credits.
    #[must_use]
    pub fn with(self, credits: u64) -> Self {
        Self { credits: self.credits.saturating_add(credits), ..self }
    }
}

/// Why an event is not booked.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault<E> {
    /// The books do not allow it.
    Illegal(String),
    /// The rows failed.
    Rows(E),
}

impl<E> From<E> for Fault<E> {
    fn from(error: E) -> Self {
        Self::Rows(error)
    }
}

fn illegal<T, E>(what: impl Into<String>) -> Result<T, Fault<E>> {
    Err(Fault::Illegal(what.into()))
}

/// Books an event.
///
/// # Errors
/// [`Fault::Illegal`] when the books do not allow it. The rows may then have changed in part.
pub fn apply<R: Rows>(rows: &mut R, event: &Event) -> Result<(), Fault<R::Error>> {
    check_and_set(rows, event)?;
    for posting in event.transaction().postings() {
        let before = rows.balance(posting.account)?;
        match double_entry::posted(before, posting) {
            Some(after) => rows.set_balance(posting.account, after)?,
            None => return illegal(format!("{:?} has {before}, and {} is posted", posting.account, posting.amount)),
        }
    }
    Ok(())
}

fn check_and_set<R: Rows>(rows: &mut R, event: &Event) -> Result<(), Fault<R::Error>> {
    match event {
        Event::Founded { .. } | Event::Ordered { .. } | Event::Restored { .. } => {}
        Event::Checkpoint { agency, account, before, receipt, .. } => {
            if rows.balance(BankAccount::Held)? != i64::try_from(*before).unwrap_or(-1) {
                return illegal(format!("a checkpoint counts from {before}, which is not what is held"));
            }
            if rows.agency()?.is_some_and(|known| known.account != *account) {
                return illegal(format!("a checkpoint of another account: {account}"));
            }
            rows.set_agency(&AgencyState { head: *agency, account: *account, receipt: *receipt })?;
        }
        Event::Licensed { license, kid, key, credits, until } => {
            if rows.license(*license)?.is_some() {
                return illegal(format!("licence {license} exists"));
            }
            let (kid, state) = (kid.clone(), LicenseState::Live);
            rows.set_license(*license, &License { kid, key: *key, limit: *credits, until: *until, state })?;
        }
        Event::LicenseEnded { license } => set_license(rows, *license, LicenseState::Ended)?,
        Event::LicenseClosed { license, credits } => {
            let rest = rows.balance(BankAccount::Licensed(*license))?;
            let open = [BankAccount::Reserved(*license), BankAccount::Paid(*license)];
            for account in open {
                if rows.balance(account)? != 0 {
                    return illegal(format!("licence {license} is closed, and has open payments"));
                }
            }
            if i64::try_from(*credits) != Ok(rest) {
                return illegal(format!("licence {license} has {rest}, and gave back {credits}"));
            }
            set_license(rows, *license, LicenseState::Closed)?;
        }
        Event::Forgotten { before } => rows.forget(*before)?,
        Event::Reserved { payment, .. }
        | Event::Renewed { payment, .. }
        | Event::Settled { payment, .. }
        | Event::Cleared { payment, .. }
        | Event::Released { payment, .. } => {
            let before = rows.payment(payment)?;
            let license = match event {
                Event::Reserved { license, .. } | Event::Renewed { license, .. } => rows.license(*license)?,
                _ => None,
            };
            match paid(before, event, license.as_ref()) {
                Ok(after) => rows.set_payment(payment, &after)?,
                Err(what) => return illegal(format!("payment {payment}: {what}")),
            }
        }
        Event::Pending { id, copy, .. } => {
            receive(rows, id, event)?;
            rows.set_copy(copy, id)?;
        }
        Event::Received { id, .. } | Event::Dropped { id } => receive(rows, id, event)?,
        Event::Sent { ids, .. } => ids.iter().try_for_each(|id| receive(rows, id, event))?,
        Event::Collected { taken, refused, .. } => {
            let ids = taken.iter().map(|(id, _)| id).chain(refused.iter().map(|(id, ..)| id));
            ids.into_iter().try_for_each(|id| receive(rows, id, event))?;
        }
    }
    Ok(())
}

fn set_license<R: Rows>(rows: &mut R, number: u64, state: LicenseState) -> Result<(), Fault<R::Error>> {
    match rows.license(number)? {
        Some(license) if license.state != LicenseState::Closed && license.state != state => {
            Ok(rows.set_license(number, &License { state, ..license })?)
        }
        _ => illegal(format!("licence {number} does not exist, or has ended")),
    }
}

/// Returns a payment after an event, or why the event is not allowed.
fn paid(before: Option<Payment>, event: &Event, license: Option<&License>) -> Result<Payment, &'static str> {
    let live = license.is_some_and(|license| license.state == LicenseState::Live);
    match (event, before) {
        (Event::Reserved { license, credits, id, until, peer, token, .. }, None) if live => Ok(Payment {
            state: PaymentState::Reserved,
            license: *license,
            credits: *credits,
            id: id.clone(),
            until: *until,
            peer: peer.clone(),
            token: *token,
        }),
        (Event::Reserved { .. } | Event::Renewed { .. }, _) if !live => Err("its licence is not in force"),
        (Event::Reserved { .. }, _) => Err("reserved twice"),
        (_, None) => Err("never reserved"),
        (Event::Renewed { before, license, credits, id, until, token, .. }, Some(row)) => {
            if row.state != PaymentState::Reserved || *before != (row.license, row.credits) {
                return Err("renewed, and was not reserved so");
            }
            let (license, credits, until, token) = (*license, *credits, *until, *token);
            Ok(Payment { license, credits, id: id.clone(), until, token, ..row })
        }
        (Event::Settled { license, credits, .. }, Some(row)) => {
            let fits = row.state == PaymentState::Reserved && (*license, *credits) == (row.license, row.credits);
            let after = Payment { state: PaymentState::Settled, ..row };
            if fits { Ok(after) } else { Err("settled, and was not reserved so") }
        }
        (
            Event::Cleared { license, credits, settled, .. } | Event::Released { license, credits, settled, .. },
            Some(row),
        ) => {
            let was = if *settled { PaymentState::Settled } else { PaymentState::Reserved };
            let state = if matches!(event, Event::Cleared { .. }) { PaymentState::Cleared } else { PaymentState::Void };
            let fits = row.state == was && (*license, *credits) == (row.license, row.credits);
            if fits { Ok(Payment { state, ..row }) } else { Err("closed, and was not open so") }
        }
        _ => Err("another event"),
    }
}

/// Changes the row of a received token, and the exposure of its payer.
fn receive<R: Rows>(rows: &mut R, id: &str, event: &Event) -> Result<(), Fault<R::Error>> {
    let before = rows.incoming(id)?;
    let was = before.as_ref().map(|row| row.state);
    let has = |credits: u64| before.as_ref().is_some_and(|row| row.credits == credits);
    let is_in = |ids: &[(String, u64)]| ids.iter().any(|(it, credits)| it == id && has(*credits));
    let state = match (event, was) {
        (Event::Pending { .. }, None | Some(IncomingState::Dropped)) => IncomingState::Pending,
        (Event::Received { credits, .. }, Some(IncomingState::Pending)) if has(*credits) => IncomingState::Received,
        (Event::Dropped { .. }, Some(IncomingState::Pending)) => IncomingState::Dropped,
        (Event::Sent { .. }, Some(IncomingState::Received)) => IncomingState::Sent,
        (Event::Collected { taken, .. }, Some(IncomingState::Sent)) if is_in(taken) => IncomingState::Taken,
        (Event::Collected { refused, .. }, Some(IncomingState::Sent))
            if refused.iter().any(|(it, credits, _)| it == id && has(*credits)) =>
        {
            IncomingState::Refused
        }
        _ => return illegal(format!("token {id}: {} is not what follows {was:?}", event.name())),
    };
    let row = match (event, before) {
        (Event::Pending { copy, peer, credits, until, token, .. }, before) => {
            if before.is_some_and(|row| row.copy != *copy) {
                return illegal(format!("token {id}: pending for another message"));
            }
            Incoming { state, copy: *copy, peer: peer.clone(), credits: *credits, until: *until, token: *token }
        }
        (_, Some(row)) => Incoming { state, ..row },
        (_, None) => return illegal(format!("token {id}: unknown")),
    };
    let (counted, counts) = (was.is_some_and(IncomingState::is_open), state.is_open());
    if counted != counts {
        let exposed = rows.exposure(&row.peer)?;
        let change = if counts { exposed.checked_add(row.credits) } else { exposed.checked_sub(row.credits) };
        match change {
            Some(change) => rows.set_exposure(&row.peer, change)?,
            None => return illegal(format!("token {id}: exposure out of range")),
        }
    }
    Ok(rows.set_incoming(id, &row)?)
}

/// Returns whether a payment is closed and ended before a time.
#[must_use]
pub fn is_forgotten_payment(row: &Payment, before: UnixTime) -> bool {
    matches!(row.state, PaymentState::Cleared | PaymentState::Void) && row.until < before
}

/// Returns whether a token is closed and ended before a time.
#[must_use]
pub fn is_forgotten_token(row: &Incoming, before: UnixTime) -> bool {
    !row.state.is_open() && row.until < before
}
