//! Sales of credits, vouchers and stamps; and payouts.

use super::{LedgerTx, REMEMBERED, bytes, form, printable};
use crate::accounting::event::{self, Buyer, Event};
use crate::accounting::hash::Hash;
use crate::accounting::money::Money;
use crate::accounting::order::Order;
use crate::accounting::serial_derivation::Draw;
use crate::accounting::work::Gift;
use crate::ledger::model::{Payer, Receipt, Sale, StampState};
use crate::ledger::payment::Paid;
use crate::ledger::rejection::Rejection;
use crate::ledger::schema::{self, IdempotencyRecord, TxError, TxResult, done_key};
use crate::os::random;
use redb::ReadableTable;

const DAY: i64 = 86_400;

impl LedgerTx<'_> {
    pub(in crate::ledger) fn credit(
        &mut self,
        account: u64,
        credits: u64,
        cost: Option<Money>,
        reference: String,
        digest: [u8; 32],
    ) -> TxResult<Receipt> {
        printable("reference", &reference, 128)?;
        let key = done_key("credit", b"", &reference);
        if let Some(done) = self.done_before(&key, digest, &reference)? {
            return self.booked_before(done, account);
        }
        self.open_one(account)?;
        let cost = self.cost(credits, cost)?;
        self.append_event(Event::Credited { account, credits, cost, reference })?;
        self.store_idempotency_key(key, digest, 0, None)?;
        self.booked(credits, Some(cost), account)
    }

    /// Returns the price of credits, unless it is given; rejects amounts out of range.
    fn cost(&self, credits: u64, said: Option<Money>) -> TxResult<Money> {
        if credits == 0 {
            return Err(form("credits", "at least 1"));
        }
        if i64::try_from(credits).is_err() || said.is_some_and(|money| money.micros < 0) {
            return Err(TxError::Refused(Rejection::Range));
        }
        match said {
            Some(money) => Ok(money),
            None => self.terms()?.price.of(credits).map_err(|_| TxError::Refused(Rejection::Range)),
        }
    }

    pub(in crate::ledger) fn pay_out(
        &mut self,
        account: u64,
        credits: u64,
        reference: String,
        digest: [u8; 32],
    ) -> TxResult<Receipt> {
        printable("reference", &reference, 128)?;
        let key = done_key("payout", b"", &reference);
        if let Some(done) = self.done_before(&key, digest, &reference)? {
            return self.booked_before(done, account);
        }
        // A closed account is still paid out.
        self.account(account)?;
        self.cost(credits, None)?;
        self.enough(credits, self.has(account)?)?;
        let terms = self.terms()?;
        let sum =
            terms.payout.unwrap_or(terms.price).payout_of(credits).map_err(|_| TxError::Refused(Rejection::Range))?;
        self.append_event(Event::PaidOut { account, credits, sum, reference })?;
        self.store_idempotency_key(key, digest, 0, None)?;
        self.booked(credits, Some(sum), account)
    }

    pub(in crate::ledger) fn make_voucher(&mut self, voucher: Hash, credits: u64, cost: Option<Money>) -> TxResult<()> {
        let cost = self.cost(credits, cost)?;
        if self.voucher.get(bytes(&voucher))?.is_some() {
            return Err(TxError::Refused(Rejection::KeyReused { key: voucher.to_string() }));
        }
        self.append_event(Event::VoucherMade { voucher, credits, cost })?;
        self.voucher.insert(bytes(&voucher), credits)?;
        Ok(())
    }

    fn worth(&self, voucher: &Hash) -> TxResult<u64> {
        let worth = self.voucher.get(bytes(voucher))?.map(|row| row.value());
        worth.ok_or(TxError::Refused(Rejection::NoVoucher))
    }

    pub(in crate::ledger) fn take_voucher(&mut self, account: u64, voucher: Hash) -> TxResult<Receipt> {
        self.open_one(account)?;
        let credits = self.worth(&voucher)?;
        if credits == 0 {
            return Err(TxError::Refused(Rejection::NoVoucher));
        }
        self.append_event(Event::VoucherTaken { voucher, account, credits })?;
        self.voucher.insert(bytes(&voucher), 0)?;
        self.booked(credits, None, account)
    }

    /// Sells stamps. The caller has checked the orders against all caps except the daily one.
    pub(in crate::ledger) fn issue(
        &mut self,
        payer: &Payer,
        orders: &[Order],
        (idempotency, digest): (Option<&str>, [u8; 32]),
        refused: Option<Rejection>,
    ) -> TxResult<Sale> {
        let now = self.now;
        let key = match idempotency {
            Some(key) => {
                printable("idempotency key", key, 128)?;
                Some(scope(payer, key))
            }
            None => reference(payer),
        };
        if let Some(key) = key
            && let Some(done) = self.done_before(&key, digest, idempotency.unwrap_or("this payment"))?
        {
            return self.sold_before(done);
        }
        if let Some(refusal) = refused {
            return Err(TxError::Refused(refusal));
        }
        self.for_recipient(orders)?;
        if let Payer::Guest(Paid::Given(gift)) = payer {
            self.given(*gift)?;
        }
        let terms = self.terms()?;
        let caps = match payer {
            Payer::Account(account) => self.account(*account)?.caps(terms),
            Payer::Guest(_) => terms.caps,
        };
        let days = terms.days_within(&caps);
        let values = event::runs(orders.iter().map(|order| order.value));
        let credits = event::sum(&values);
        if i64::try_from(credits).is_err() {
            return Err(TxError::Refused(Rejection::Range));
        }
        let spent = match payer {
            Payer::Account(account) => Some(self.within_day(*account, credits)?),
            Payer::Guest(_) => None,
        };
        let buyer = self.payable(payer, credits)?;
        let kid = self.active_key()?.ok_or_else(no_key)?.kid;
        let (seed, serials) = self.draw(orders.len())?;

        let until = orders.iter().map(|order| order.end(now, days)).max();
        self.append_event(Event::Issued { buyer, seed, values, kid: kid.clone(), until })?;
        let row = StampState::Issued.row(self.head.number);
        for serial in &serials {
            self.serial.insert(serial, row)?;
        }
        let mut balance = None;
        match payer {
            Payer::Account(account) => {
                if let Some(spent) = spent {
                    self.spent.insert(*account, spent)?;
                }
                balance = Some(self.has(*account)?);
            }
            Payer::Guest(Paid::Voucher(voucher)) => {
                let left = self.worth(voucher)? - credits;
                self.voucher.insert(bytes(voucher), left)?;
                balance = Some(left);
            }
            Payer::Guest(Paid::Given(Gift::Work)) => self.count_work()?,
            Payer::Guest(Paid::Elsewhere { .. } | Paid::Given(Gift::Code)) => {}
        }
        if let Some(key) = key {
            let until = idempotency.map(|_| now.plus(i64::try_from(REMEMBERED).unwrap_or(0)));
            // A provider's payment is accepted once, for ever.
            let until = if matches!(payer, Payer::Guest(Paid::Elsewhere { .. })) { None } else { until };
            self.store_idempotency_key(key, digest, days, until)?;
        }
        if let (Some(name), Payer::Guest(Paid::Elsewhere { .. })) = (idempotency, payer) {
            // The order code finds the sale, as after any purchase of a guest.
            let until = now.plus(i64::try_from(REMEMBERED).unwrap_or(0));
            self.store_idempotency_key(schema::sale_key(None, name), digest, days, Some(until))?;
        }
        let entry = self.head.number;
        Ok(Sale { entry, at: now, seed: Hash(seed), kid, days, credits, balance, again: false })
    }

    /// Draws until no serial is known. A second draw will hardly ever be needed, but two stamps never get the same
    /// serial.
    fn draw(&self, count: usize) -> TxResult<([u8; 32], Vec<[u8; 16]>)> {
        let count = u32::try_from(count).map_err(|_| TxError::Refused(Rejection::Range))?;
        loop {
            let mut seed = [0; 32];
            random::fill(&mut seed).map_err(|error| TxError::Damaged(format!("no random numbers: {error}")))?;
            let draw = Draw::new(self.now, seed);
            let serials: Vec<_> = (0..count).map(|index| draw.serial_bytes(index)).collect();
            let mut known = false;
            for serial in &serials {
                known |= self.serial.get(serial)?.is_some();
            }
            if !known {
                return Ok((seed, serials));
            }
        }
    }

    /// Returns the day and the credits that the account has spent on it, including these.
    fn within_day(&self, account: u64, credits: u64) -> TxResult<(u64, u64)> {
        let account = self.open_one(account)?;
        let cap = account.caps(self.terms()?).credits_a_day;
        let today = u64::try_from(self.now.0.div_euclid(DAY)).unwrap_or(0);
        let before = match self.spent.get(account.number)?.map(|row| row.value()) {
            Some((day, spent)) if day == today => spent,
            _ => 0,
        };
        let spent = before.saturating_add(credits);
        if spent > cap {
            return Err(TxError::Refused(Rejection::Daily { asked: credits, spent, cap }));
        }
        Ok((today, spent))
    }

    fn payable(&self, payer: &Payer, credits: u64) -> TxResult<Buyer> {
        match payer {
            Payer::Account(account) => {
                self.enough(credits, self.has(*account)?)?;
                Ok(Buyer::Account(*account))
            }
            Payer::Guest(Paid::Voucher(voucher)) => {
                let worth = self.worth(voucher)?;
                if worth == 0 {
                    return Err(TxError::Refused(Rejection::NoVoucher));
                }
                self.enough(credits, worth)?;
                Ok(Buyer::Voucher(*voucher))
            }
            Payer::Guest(Paid::Elsewhere { reference, cost: paid }) => {
                printable("reference", reference, 256)?;
                let price = self.cost(credits, None)?;
                if paid.currency != price.currency || paid.micros < price.micros {
                    return Err(TxError::Refused(Rejection::PaidOtherwise { paid: *paid, price }));
                }
                let cost = *paid;
                // The same payment, under another idempotency key or none.
                if self.idempotency.get(&done_key("paid", b"", reference))?.is_some() {
                    return Err(TxError::Refused(Rejection::KeyReused { key: reference.clone() }));
                }
                Ok(Buyer::Paid { cost, reference: reference.clone() })
            }
            Payer::Guest(Paid::Given(gift)) => Ok(Buyer::Given(*gift)),
        }
    }

    pub(super) fn enough(&self, needed: u64, balance: u64) -> TxResult<()> {
        if needed > balance { Err(TxError::Refused(Rejection::Funds { needed, balance })) } else { Ok(()) }
    }

    fn sold_before(&self, done: IdempotencyRecord) -> TxResult<Sale> {
        let (mut sale, buyer) = done.sale(&self.entry)?;
        sale.balance = match &buyer {
            Buyer::Account(account) => Some(self.has(*account)?),
            Buyer::Voucher(voucher) => Some(self.worth(voucher)?),
            Buyer::Paid { .. } | Buyer::Given(_) => None,
        };
        Ok(sale)
    }
}

/// Computes the key of a sale. A provider's payment is its own key.
fn scope(payer: &Payer, key: &str) -> [u8; 32] {
    match payer {
        Payer::Guest(Paid::Elsewhere { reference, .. }) => done_key("paid", b"", reference),
        _ => schema::sale_key(payer.account(), key),
    }
}

fn reference(payer: &Payer) -> Option<[u8; 32]> {
    match payer {
        Payer::Guest(Paid::Elsewhere { .. }) => Some(scope(payer, "")),
        _ => None,
    }
}

fn no_key() -> TxError {
    TxError::Refused(Rejection::SigningKey {
        kid: "(none)".into(),
        problem: "no key signs; rotate to a new one".into(),
    })
}
