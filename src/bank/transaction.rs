//! Write transaction of the bank: all tables open, one request after another. [`BankTx::append`] is the only way to book
//! an event. A request is checked whole before it books the first one, so a refused request leaves nothing.

use super::error::Refusal;
use super::order::{IncomingToken, PaymentOrder, Reservation};
use super::schema;
use crate::accounting::bank::books::{self, AgencyState, DaySum, Fault, Incoming, IncomingState, License};
use crate::accounting::bank::books::{Payment, PaymentState, Rows};
use crate::accounting::bank::event::{BankAccount, Entry, Event};
use crate::accounting::hash::Hash;
use crate::accounting::hash_chain::Head;
use crate::emstamp::inbound::Arrival;
use crate::store::SessionError;
use crate::time::UnixTime;
use redb::{ReadableTable, Table, WriteTransaction};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};

/// Why a request of a batch stops.
pub(super) enum TxError {
    /// It is refused, and has written nothing.
    Refused(Refusal),
    /// The file failed; the whole batch is lost.
    Session(SessionError),
}

pub(super) type TxResult<T> = Result<T, TxError>;

impl<E> From<E> for TxError
where
    SessionError: From<E>,
{
    fn from(error: E) -> Self {
        Self::Session(error.into())
    }
}

/// Makes the token of a payment under a licence, or says why not.
pub type MakeToken = dyn Fn(&License, &PaymentOrder) -> Result<String, String> + Send + Sync;

/// The tables, open for writing.
pub(super) struct Tables<'t> {
    balance: Table<'t, &'static [u8; 9], i64>,
    license: Table<'t, u64, &'static [u8]>,
    /// The licence that was read last: all payments of a message have one, and its key takes long to read.
    last_license: RefCell<Option<(u64, License)>>,
    payment: Table<'t, &'static [u8; 32], &'static [u8]>,
    incoming: Table<'t, &'static str, &'static [u8]>,
    copy: Table<'t, &'static [u8; 32], &'static str>,
    exposure: Table<'t, &'static str, u64>,
    pub(super) report: Table<'t, &'static [u8], &'static [u8]>,
    token: Table<'t, &'static [u8; 32], &'static str>,
    state: Table<'t, &'static str, &'static [u8]>,
}

pub(super) struct BankTx<'t> {
    entry: Table<'t, u64, &'static [u8]>,
    pub(super) tables: Tables<'t>,
    head: Head,
    /// Whether anything was written.
    pub(super) is_changed: bool,
    /// Time of the request.
    pub(super) now: UnixTime,
}

impl<'t> BankTx<'t> {
    pub(super) fn open(tx: &'t WriteTransaction) -> Result<Self, SessionError> {
        let entry = tx.open_table(schema::ENTRY)?;
        let tables = Tables {
            balance: tx.open_table(schema::BALANCE)?,
            license: tx.open_table(schema::LICENSE)?,
            last_license: RefCell::default(),
            payment: tx.open_table(schema::PAYMENT)?,
            incoming: tx.open_table(schema::INCOMING)?,
            copy: tx.open_table(schema::COPY)?,
            exposure: tx.open_table(schema::EXPOSURE)?,
            report: tx.open_table(schema::REPORT)?,
            token: tx.open_table(schema::TOKEN)?,
            state: tx.open_table(schema::STATE)?,
        };
        Ok(Self { head: schema::head_in(&entry)?, entry, tables, is_changed: false, now: UnixTime(0) })
    }

    /// Books an event.
    ///
    /// # Errors
    /// The file is damaged when the books do not allow the event: callers check before.
    pub(super) fn append(&mut self, event: Event) -> Result<Head, SessionError> {
        self.is_changed = true;
        books::apply(&mut self.tables, &event).map_err(|fault| match fault {
            Fault::Illegal(what) => SessionError::damaged(&what),
            Fault::Rows(error) => error,
        })?;
        if event.promised() > 0 {
            let day = DaySum::on(self.day()?, self.now).with(event.promised());
            self.set_state("day", &schema::to_json(&day)?)?;
        }
        let entry = Entry { number: self.head.number + 1, at: self.now, event };
        let bytes = schema::to_json(&entry)?;
        self.head = self.head.after(&bytes);
        self.entry.insert(entry.number, self.head.row(&bytes).as_slice())?;
        Ok(self.head)
    }

    pub(super) fn head(&self) -> Head {
        self.head
    }

    /// Returns whether the chain had this head.
    pub(super) fn has_head(&self, head: Head) -> Result<bool, SessionError> {
        let row = self.entry.get(head.number)?;
        row.map_or(Ok(false), |row| Ok(schema::entry_of(head.number, row.value())?.0 == head))
    }

    pub(super) fn balance(&self, account: BankAccount) -> Result<u64, SessionError> {
        Ok(u64::try_from(self.tables.balance(account)?).unwrap_or(0))
    }

    /// Keeps the text of a token or of a receipt; the events have its hash.
    fn keep(&mut self, text: &str) -> Result<Hash, SessionError> {
        let hash = Hash::of(text.as_bytes());
        self.tables.token.insert(&hash.0, text)?;
        Ok(hash)
    }

    fn text(&self, token: &Hash) -> Result<String, SessionError> {
        let lost = || SessionError::damaged(&format!("the token {token} is missing"));
        Ok(self.tables.token.get(&token.0)?.ok_or_else(lost)?.value().to_owned())
    }

    /// Reserves the payments of one message, each by itself. A payment that is reserved gets the same token again.
    pub(super) fn reserve(
        &mut self,
        orders: &[PaymentOrder],
        make: &MakeToken,
        max_day: u64,
    ) -> TxResult<Vec<Result<Reservation, Refusal>>> {
        let mut licenses = self.licenses()?;
        licenses.retain(|(_, license)| license.signs_at(self.now));
        orders.iter().map(|order| self.reserve_one(order, &licenses, make, max_day)).collect()
    }

    /// Returns what was reserved on the last day on which anything was.
    fn day(&self) -> Result<Option<DaySum>, SessionError> {
        self.state("day")?.map(|row| schema::from_json(&row)).transpose()
    }

    fn reserve_one(
        &mut self,
        order: &PaymentOrder,
        licenses: &[(u64, License)],
        make: &MakeToken,
        max_day: u64,
    ) -> TxResult<Result<Reservation, Refusal>> {
        let known = self.tables.payment(&order.payment)?;
        if let Some(row) = &known {
            let renews = order.renew && row.state == PaymentState::Reserved && row.id != order.id;
            if row.state == PaymentState::Void {
                return Ok(Err(Refusal::Void));
            }
            if !renews {
                return Ok(Ok(self.reservation(order.payment, row, true)?));
            }
        }
        if order.until <= self.now {
            return Ok(Err(Refusal::Ended { until: order.until, now: self.now }));
        }
        // A payment that is renewed counts by what it costs more than before.
        let more = order.credits.saturating_sub(known.as_ref().map_or(0, |row| row.credits));
        let spent = DaySum::on(self.day()?, self.now).credits;
        if spent.saturating_add(more) > max_day {
            return Ok(Err(Refusal::Day { wanted: more, left: max_day.saturating_sub(spent) }));
        }
        let chosen = match self.choose(order, licenses, known.as_ref())? {
            Ok(chosen) => chosen,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let (license, row) = chosen;
        let text = match make(row, order) {
            Ok(text) => text,
            Err(what) => return Ok(Err(Refusal::Token(what))),
        };
        let token = self.keep(&text)?;
        let (payment, credits, id, until) = (order.payment, order.credits, order.id.clone(), order.until);
        self.append(match &known {
            None => Event::Reserved { payment, license, credits, id, until, peer: order.peer.clone(), token },
            Some(row) => {
                let before = (row.license, row.credits);
                Event::Renewed { payment, before, license, credits, id, until, token }
            }
        })?;
        let row = self.tables.payment(&payment)?.ok_or_else(|| SessionError::damaged(&"a payment is missing"))?;
        Ok(Ok(self.reservation(payment, &row, false)?))
    }

    /// Chooses the licence of a payment: one that has the credits, and best one that lasts as long as the ID.
    fn choose<'l>(
        &self,
        order: &PaymentOrder,
        licenses: &'l [(u64, License)],
        known: Option<&Payment>,
    ) -> Result<Result<(u64, &'l License), Refusal>, SessionError> {
        let (mut best, mut most): (Option<(bool, i64, u64, &License)>, u64) = (None, 0);
        for (number, license) in licenses {
            let own = known.filter(|row| row.license == *number).map_or(0, |row| row.credits);
            let has = self.balance(BankAccount::Licensed(*number))?.saturating_add(own);
            most = most.max(has);
            // Of those that last as long as the ID the first to end, else the last to end.
            let lasts = license.until >= order.until;
            let rank = (lasts, if lasts { -license.until.0 } else { license.until.0 });
            if has >= order.credits && best.is_none_or(|(lasts, rest, ..)| rank > (lasts, rest)) {
                best = Some((rank.0, rank.1, *number, license));
            }
        }
        Ok(match best {
            Some((_, _, number, license)) => Ok((number, license)),
            None if licenses.is_empty() => Err(Refusal::NoLicense),
            None => Err(Refusal::Funds { wanted: order.credits, has: most }),
        })
    }

    fn reservation(&self, payment: Hash, row: &Payment, again: bool) -> Result<Reservation, SessionError> {
        let (credits, until, state) = (row.credits, row.until, row.state);
        Ok(Reservation { payment, id: row.id.clone(), credits, until, token: self.text(&row.token)?, state, again })
    }

    pub(super) fn rows(&self) -> &impl Rows<Error = SessionError> {
        &self.tables
    }

    pub(super) fn state(&self, name: &str) -> Result<Option<Vec<u8>>, SessionError> {
        Ok(self.tables.state.get(name)?.map(|row| row.value().to_vec()))
    }

    pub(super) fn set_state(&mut self, name: &str, row: &[u8]) -> Result<(), SessionError> {
        self.is_changed = true;
        self.tables.state.insert(name, row)?;
        Ok(())
    }

    pub(super) fn remove_state(&mut self, name: &str) -> Result<(), SessionError> {
        self.is_changed = true;
        self.tables.state.remove(name)?;
        Ok(())
    }

    pub(super) fn licenses(&self) -> Result<Vec<(u64, License)>, SessionError> {
        let rows = self.tables.license.iter()?;
        rows.map(|row| row.map(|(number, row)| Ok((number.value(), schema::from_json(row.value())?)))?).collect()
    }

    pub(super) fn next_license(&self) -> Result<u64, SessionError> {
        Ok(self.tables.license.last()?.map_or(1, |(number, _)| number.value() + 1))
    }

    /// Returns whether a payment or a token is closed and ended before a time.
    pub(super) fn has_forgettable(&self, before: UnixTime) -> Result<bool, SessionError> {
        for row in self.tables.payment.iter()? {
            if books::is_forgotten_payment(&schema::from_json(row?.1.value())?, before) {
                return Ok(true);
            }
        }
        for row in self.tables.incoming.iter()? {
            if books::is_forgotten_token(&schema::from_json(row?.1.value())?, before) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns up to `most` received tokens that were not handed in: IDs and texts.
    pub(super) fn received(&self, most: usize) -> Result<Vec<(String, String)>, SessionError> {
        let mut found = Vec::new();
        for row in self.tables.incoming.iter()? {
            if found.len() == most {
                break;
            }
            let (id, row) = row?;
            let row: Incoming = schema::from_json(row.value())?;
            if row.state == IncomingState::Received {
                found.push((id.value().to_owned(), self.text(&row.token)?));
            }
        }
        Ok(found)
    }

    /// Notes that the messages of payments were delivered. Those that were noted before change nothing.
    pub(super) fn settle(&mut self, payments: &[Hash]) -> TxResult<u64> {
        let mut rows = Vec::new();
        for payment in payments {
            match self.tables.payment(payment)? {
                Some(row) if row.state == PaymentState::Reserved => rows.push((*payment, row)),
                Some(row) if row.state != PaymentState::Void => {}
                _ => return Err(TxError::Refused(Refusal::NotReserved)),
            }
        }
        let mut seen = HashSet::new();
        rows.retain(|(payment, _)| seen.insert(*payment));
        for (payment, row) in &rows {
            let (license, credits) = (row.license, row.credits);
            self.append(Event::Settled { payment: *payment, license, credits })?;
        }
        Ok(rows.len() as u64)
    }

    /// Notes tokens before their message is handed on, each by itself.
    pub(super) fn pend(&mut self, tokens: &[IncomingToken]) -> TxResult<Vec<Arrival>> {
        tokens.iter().map(|token| Ok(self.pend_one(token)?)).collect()
    }

    fn pend_one(&mut self, token: &IncomingToken) -> Result<Arrival, SessionError> {
        let own = self.tables.incoming(&token.id)?;
        match own.as_ref().map(|row| row.state) {
            Some(_) if own.as_ref().is_some_and(|row| row.copy != token.copy) => return Ok(Arrival::Double),
            Some(IncomingState::Pending) => return Ok(Arrival::Again),
            Some(IncomingState::Dropped) | None => {}
            Some(_) => return Ok(Arrival::Received),
        }
        let mut superseded = None;
        if let Some(id) = self.tables.copy(&token.copy)?.filter(|id| *id != token.id) {
            match self.tables.incoming(&id)?.map(|row| (row.state, row.peer, row.credits)) {
                Some((IncomingState::Pending, peer, credits)) => superseded = Some((id, peer, credits)),
                Some((IncomingState::Dropped, ..)) | None => {}
                Some(_) => return Ok(Arrival::Received),
            }
        }
        let freed = superseded.as_ref().filter(|(_, peer, _)| *peer == token.peer).map_or(0, |(.., credits)| *credits);
        let exposed = self.tables.exposure(&token.peer)?.saturating_sub(freed).saturating_add(token.credits);
        if exposed > token.max_exposure {
            return Ok(Arrival::Full);
        }
        // The payer has a new ID for the message: only one of both is received.
        if let Some((id, ..)) = superseded {
            self.append(Event::Dropped { id })?;
        }
        let hash = self.keep(&token.token)?;
        let IncomingToken { id, copy, peer, credits, until, .. } = token.clone();
        self.append(Event::Pending { id, copy, peer, credits, until, token: hash })?;
        Ok(Arrival::Fresh)
    }

    /// Notes that the message of pending tokens was delivered. Those that were noted before change nothing.
    pub(super) fn receive(&mut self, ids: &[String]) -> TxResult<u64> {
        let mut events = BTreeMap::new();
        for id in ids {
            match self.tables.incoming(id)? {
                Some(row) if row.state == IncomingState::Pending => {
                    events.insert(id, Event::Received { id: id.clone(), credits: row.credits });
                }
                Some(row) if row.state != IncomingState::Dropped => {}
                _ => return Err(TxError::Refused(Refusal::NotPending(id.clone()))),
            }
        }
        self.append_each(events)
    }

    /// Notes that the message of pending tokens was refused. Those that were noted before change nothing.
    pub(super) fn drop_pending(&mut self, ids: &[String]) -> TxResult<u64> {
        let mut events = BTreeMap::new();
        for id in ids {
            match self.tables.incoming(id)?.map(|row| row.state) {
                Some(IncomingState::Pending) => drop(events.insert(id, Event::Dropped { id: id.clone() })),
                Some(IncomingState::Dropped) => {}
                _ => return Err(TxError::Refused(Refusal::NotPending(id.clone()))),
            }
        }
        self.append_each(events)
    }

    /// Books events about tokens, each ID once. Returns how many.
    fn append_each(&mut self, events: BTreeMap<&String, Event>) -> TxResult<u64> {
        let count = events.len() as u64;
        for event in events.into_values() {
            self.append(event)?;
        }
        Ok(count)
    }
}

impl Rows for Tables<'_> {
    type Error = SessionError;

    fn balance(&self, account: BankAccount) -> Result<i64, SessionError> {
        Ok(self.balance.get(&schema::balance_key(account))?.map_or(0, |row| row.value()))
    }

    fn set_balance(&mut self, account: BankAccount, balance: i64) -> Result<(), SessionError> {
        self.balance.insert(&schema::balance_key(account), balance)?;
        Ok(())
    }

    fn license(&self, license: u64) -> Result<Option<License>, SessionError> {
        if let Some((_, row)) = self.last_license.borrow().as_ref().filter(|(number, _)| *number == license) {
            return Ok(Some(row.clone()));
        }
        let row: Option<License> = self.license.get(license)?.map(|row| schema::from_json(row.value())).transpose()?;
        *self.last_license.borrow_mut() = row.clone().map(|row| (license, row));
        Ok(row)
    }

    fn set_license(&mut self, license: u64, row: &License) -> Result<(), SessionError> {
        *self.last_license.borrow_mut() = None;
        self.license.insert(license, schema::to_json(row)?.as_slice())?;
        Ok(())
    }

    fn payment(&self, payment: &Hash) -> Result<Option<Payment>, SessionError> {
        self.payment.get(&payment.0)?.map(|row| schema::from_json(row.value())).transpose()
    }

    fn set_payment(&mut self, payment: &Hash, row: &Payment) -> Result<(), SessionError> {
        self.payment.insert(&payment.0, schema::to_json(row)?.as_slice())?;
        Ok(())
    }

    fn incoming(&self, id: &str) -> Result<Option<Incoming>, SessionError> {
        self.incoming.get(id)?.map(|row| schema::from_json(row.value())).transpose()
    }

    fn set_incoming(&mut self, id: &str, row: &Incoming) -> Result<(), SessionError> {
        self.incoming.insert(id, schema::to_json(row)?.as_slice())?;
        Ok(())
    }

    fn copy(&self, copy: &Hash) -> Result<Option<String>, SessionError> {
        Ok(self.copy.get(&copy.0)?.map(|row| row.value().to_owned()))
    }

    fn set_copy(&mut self, copy: &Hash, id: &str) -> Result<(), SessionError> {
        self.copy.insert(&copy.0, id)?;
        Ok(())
    }

    fn exposure(&self, peer: &str) -> Result<u64, SessionError> {
        Ok(self.exposure.get(peer)?.map_or(0, |row| row.value()))
    }

    fn set_exposure(&mut self, peer: &str, credits: u64) -> Result<(), SessionError> {
        self.exposure.insert(peer, credits)?;
        Ok(())
    }

    fn agency(&self) -> Result<Option<AgencyState>, SessionError> {
        self.state.get("agency")?.map(|row| schema::from_json(row.value())).transpose()
    }

    fn set_agency(&mut self, state: &AgencyState) -> Result<(), SessionError> {
        self.state.insert("agency", schema::to_json(state)?.as_slice())?;
        Ok(())
    }

    fn forget(&mut self, before: UnixTime) -> Result<(), SessionError> {
        let mut payments = Vec::new();
        for row in self.payment.iter()? {
            let (name, row) = row?;
            let row: Payment = schema::from_json(row.value())?;
            if books::is_forgotten_payment(&row, before) {
                payments.push((*name.value(), row.token));
            }
        }
        let mut tokens = Vec::new();
        for row in self.incoming.iter()? {
            let (id, row) = row?;
            let row: Incoming = schema::from_json(row.value())?;
            if books::is_forgotten_token(&row, before) {
                tokens.push((id.value().to_owned(), row));
            }
        }
        for (name, token) in payments {
            self.payment.remove(&name)?;
            self.token.remove(&token.0)?;
        }
        for (id, row) in tokens {
            self.incoming.remove(id.as_str())?;
            self.token.remove(&row.token.0)?;
            if self.copy(&row.copy)?.as_ref() == Some(&id) {
                self.copy.remove(&row.copy.0)?;
            }
        }
        Ok(())
    }
}
