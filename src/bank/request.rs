//! Requests to the agency, in the bank's file: the journal of those that move credits, and the booking of answers.
//!
//! A request that moves credits is journalled, with its idempotency key and its exact body, before it is sent. It is sent
//! again until it is answered, and the answer is booked in the transaction that removes it from the journal. Checkpoints
//! move nothing, so they are not journalled.
//!
//! A clearing that no licence in force can sign, since they ended here or at the agency, is set aside for a request for a
//! licence, and goes on after it.

use super::error::Refusal;
use super::schema;
use super::transaction::{BankTx, TxError, TxResult};
use crate::accounting::bank::books::{IncomingState, LicenseState, PaymentState as Known, Rows};
use crate::accounting::bank::event::{BankAccount, Event, OrderKind};
use crate::accounting::hash::Hash;
use crate::accounting::hash_chain::Head;
use crate::accounting::meter::ClearingProblem;
use crate::stamp::signing::PublicKey;
use crate::stamp::token::Token;
use crate::store::SessionError;
use crate::time::UnixTime;
use crate::vendor_api::meters::{
    CheckpointRequest, ClearingResult, LicenseRequest, LicenseStatus, MeterReceipt, OpenPayment, PaymentState,
    RECEIPT_MAX,
};
use serde::{Deserialize, Serialize};

/// Journalled request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journalled {
    pub kind: Journal,
    /// Idempotency key.
    pub key: String,
    pub body: String,
}

/// Kind of a journalled request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Journal {
    /// A licence for this key.
    License { kid: String, key: PublicKey, limit: u64 },
    /// Tokens with these IDs, in the order of the body.
    Clearing { ids: Vec<String> },
}

impl Journalled {
    /// Returns what is asked for, if it is a licence.
    pub(super) fn license(&self) -> Option<LicenseRequest> {
        let is_license = matches!(self.kind, Journal::License { .. });
        is_license.then(|| serde_json::from_str(&self.body).ok()).flatten()
    }

    /// Returns whether it asks for a licence that accepts a restored bank.
    pub(super) fn accepts_restored(&self) -> bool {
        self.license().is_some_and(|license| license.accept_restored)
    }
}

/// Last order of a kind.
#[derive(Serialize, Deserialize)]
struct Ordered {
    reference: String,
    credits: u64,
    at: UnixTime,
}

/// How long the same order is shown again, in seconds: 30 days.
const ORDER_REMEMBERED: i64 = 30 * 86_400;

/// What an answer of the agency came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Tokens that were cleared, and their credits.
    pub cleared: (u64, u64),
    /// IDs of tokens that were not, their credits, and why.
    pub refused: Vec<(String, u64, String)>,
    /// Own payments that their payees cleared, and their credits.
    pub paid: (u64, u64),
    /// Own payments that are void, and their credits.
    pub void: (u64, u64),
    /// Own payments that are still open.
    pub open: u64,
    /// Licences of which the agency cleared more than this bank paid, so that their keys signed elsewhere.
    pub overdrawn: Vec<String>,
    /// Licences that were in force here, and that the agency revoked or does not list any more.
    pub ended: Vec<String>,
}

impl Outcome {
    /// Adds what another answer came to.
    pub fn add(&mut self, other: Self) {
        let sum = |one: (u64, u64), two: (u64, u64)| (one.0 + two.0, one.1.saturating_add(two.1));
        self.cleared = sum(self.cleared, other.cleared);
        self.paid = sum(self.paid, other.paid);
        self.void = sum(self.void, other.void);
        self.open += other.open;
        self.refused.extend(other.refused);
        self.overdrawn = other.overdrawn;
        self.ended.extend(other.ended);
    }
}

impl BankTx<'_> {
    /// Returns the journalled request.
    pub(super) fn journalled(&self) -> Result<Option<Journalled>, SessionError> {
        self.state("request")?.map(|row| schema::from_json(&row)).transpose()
    }

    /// Journals a request for a licence, unless another request is journalled that can be sent. Returns the one that is.
    ///
    /// A clearing is set aside when no licence is in force, or when `aside` says that no key can sign it. A licence that
    /// accepts a restored bank replaces any other.
    pub(super) fn begin_license(&mut self, request: Journalled, aside: bool) -> TxResult<Journalled> {
        if let Some(before) = self.journalled()? {
            if matches!(before.kind, Journal::Clearing { .. }) {
                if !aside && self.licenses()?.iter().any(|(_, license)| license.signs_at(self.now)) {
                    return Ok(before);
                }
                self.set_state("aside", &schema::to_json(&before)?)?;
            } else if before.accepts_restored() || !request.accepts_restored() {
                return Ok(before);
            }
        }
        self.set_state("request", &schema::to_json(&request)?)?;
        Ok(request)
    }

    /// Removes the journalled request. One that was set aside takes its place.
    fn end_request(&mut self) -> Result<(), SessionError> {
        match self.state("aside")? {
            Some(aside) => {
                self.set_state("request", &aside)?;
                self.remove_state("aside")
            }
            None => self.remove_state("request"),
        }
    }

    /// Journals the clearing of up to `most` received tokens, unless another request is journalled. Returns the one that
    /// is; `None` when there is nothing to clear.
    pub(super) fn begin_clearing(
        &mut self,
        key: String,
        most: usize,
        body: impl FnOnce(Vec<String>) -> String,
    ) -> TxResult<Option<Journalled>> {
        if let Some(before) = self.journalled()? {
            return Ok(Some(before));
        }
        let (ids, tokens): (Vec<String>, Vec<String>) = self.received(most)?.into_iter().unzip();
        if ids.is_empty() {
            return Ok(None);
        }
        self.append(Event::Sent { request: key.clone(), ids: ids.clone() })?;
        let request = Journalled { kind: Journal::Clearing { ids }, key, body: body(tokens) };
        self.set_state("request", &schema::to_json(&request)?)?;
        Ok(Some(request))
    }

    /// Removes a request for a licence that the agency refused.
    pub(super) fn abandon_license(&mut self, key: &str) -> TxResult<()> {
        let license = self.journalled()?.filter(|it| it.key == key && matches!(it.kind, Journal::License { .. }));
        if license.is_some() {
            self.end_request()?;
        }
        Ok(())
    }

    /// Books the answer to a journalled request. `None` when it was booked before.
    ///
    /// # Errors
    /// [`Refusal::Answer`] when it does not answer the request; nothing is booked then.
    pub(super) fn answered(&mut self, key: &str, receipt: &MeterReceipt, text: &str) -> TxResult<Option<Outcome>> {
        let Some(request) = self.journalled()?.filter(|it| it.key == key) else { return Ok(None) };
        let mut outcome = Outcome::default();
        let mut licensed = None;
        let accepts_restored = request.accepts_restored();
        match request.kind {
            Journal::License { kid, key, limit } => {
                let of_it = |it: &&LicenseStatus| it.kid == kid && receipt.license.as_ref() == Some(&it.kid);
                let status = receipt.licenses.iter().find(of_it).filter(|it| it.limit == limit);
                let until = status.and_then(|it| UnixTime::from_rfc3339(&it.until).ok());
                let until = until.ok_or_else(|| wrong("it does not license the key that was sent"))?;
                let license = self.next_license()?;
                licensed = Some(Event::Licensed { license, kid, key, credits: limit, until });
            }
            Journal::Clearing { ids } => {
                let (taken, refused) = self.results(&ids, &receipt.each)?;
                outcome.cleared = (taken.len() as u64, taken.iter().map(|(_, credits)| credits).sum());
                outcome.refused.clone_from(&refused);
                self.append(Event::Collected { request: key.to_owned(), taken, refused })?;
            }
        }
        self.end_request()?;
        if accepts_restored {
            self.book_restored(receipt)?;
        }
        self.book_account(receipt, text, licensed, &mut outcome)?;
        Ok(Some(outcome))
    }

    /// Pairs the results of a clearing with their tokens.
    #[expect(clippy::type_complexity, reason = "the two lists of the event")]
    fn results(
        &self,
        ids: &[String],
        each: &[ClearingResult],
    ) -> TxResult<(Vec<(String, u64)>, Vec<(String, u64, String)>)> {
        if each.len() != ids.len() {
            return Err(wrong(&format!("{} results for {} tokens", each.len(), ids.len())));
        }
        let (mut taken, mut refused) = (Vec::new(), Vec::new());
        for (id, result) in ids.iter().zip(each) {
            let row = self.rows().incoming(id)?.filter(|row| row.state == IncomingState::Sent);
            let row = row.ok_or_else(|| SessionError::damaged(&format!("token {id} was not handed in")))?;
            match result {
                ClearingResult::Cleared { credits } if *credits == row.credits => taken.push((id.clone(), *credits)),
                ClearingResult::Cleared { .. } => return Err(wrong("it clears other credits than those of the token")),
                ClearingResult::Refused(problem) => refused.push((id.clone(), row.credits, word(*problem))),
            }
        }
        Ok((taken, refused))
    }

    /// Books an order, unless there is one like it.
    pub(super) fn order(&mut self, order: OrderKind, credits: u64, new: bool) -> TxResult<(String, bool)> {
        let name = if order == OrderKind::Buy { "order-buy" } else { "order-redeem" };
        let before: Option<Ordered> = self.state(name)?.map(|row| schema::from_json(&row)).transpose()?;
        let is_same = |it: &Ordered| it.credits == credits && self.now.since(it.at) < ORDER_REMEMBERED;
        if let Some(before) = before.filter(|it| !new && is_same(it)) {
            return Ok((before.reference, true));
        }
        let has = self.balance(BankAccount::Held)?;
        if order == OrderKind::Redeem && credits > has {
            return Err(TxError::Refused(Refusal::Held { wanted: credits, has }));
        }
        // The head makes it another one for each bank.
        let hash = self.head().hash.to_string();
        let reference = format!("bank-{}-{}", self.head().number + 1, hash.get(..12).unwrap_or_default());
        self.append(Event::Ordered { order, reference: reference.clone(), credits })?;
        let row = Ordered { reference: reference.clone(), credits, at: self.now };
        self.set_state(name, &schema::to_json(&row)?)?;
        Ok((reference, false))
    }

    /// Removes closed payments and tokens that ended before a time, if there are any, and reports.
    pub(super) fn forget_before(&mut self, before: UnixTime) -> TxResult<()> {
        self.forget_reports(before)?;
        if self.has_forgettable(before)? {
            self.append(Event::Forgotten { before })?;
        }
        Ok(())
    }

    /// Books the answer to a checkpoint.
    ///
    /// # Errors
    /// [`Refusal::Answer`] when it does not answer the request; nothing is booked then.
    pub(super) fn checked(
        &mut self,
        request: &CheckpointRequest,
        receipt: &MeterReceipt,
        text: &str,
    ) -> TxResult<Outcome> {
        if request.open.len() != receipt.open.len() {
            return Err(wrong(&format!("{} states for {} payments", receipt.open.len(), request.open.len())));
        }
        let mut outcome = Outcome::default();
        if request.accept_restored {
            self.book_restored(receipt)?;
        }
        for (asked, state) in request.open.iter().zip(&receipt.open) {
            self.book_payment(asked, *state, receipt, &mut outcome)?;
        }
        self.book_account(receipt, text, None, &mut outcome)?;
        Ok(outcome)
    }

    /// Books that the bank was restored from a copy. What the keys of its licences signed later is not known, and neither
    /// is what became of a request for one.
    fn book_restored(&mut self, receipt: &MeterReceipt) -> TxResult<()> {
        self.append(Event::Restored { seen: receipt.bank.last.as_ref().and_then(|head| head.parse().ok()) })?;
        for (license, row) in self.licenses()? {
            if row.state == LicenseState::Live {
                self.append(Event::LicenseEnded { license })?;
            }
        }
        if self.journalled()?.is_some_and(|it| matches!(it.kind, Journal::License { .. })) {
            self.end_request()?;
        }
        Ok(())
    }

    /// Books what the agency says of one payment. A payment that changed since it was asked for waits for the next time.
    fn book_payment(
        &mut self,
        asked: &OpenPayment,
        state: PaymentState,
        receipt: &MeterReceipt,
        outcome: &mut Outcome,
    ) -> TxResult<()> {
        let payment: Hash = asked.payment.parse().map_err(|_| wrong("it names no payment"))?;
        let Some(row) = self.rows().payment(&payment)? else { return Ok(()) };
        let settled = match row.state {
            Known::Reserved => false,
            Known::Settled => true,
            Known::Cleared | Known::Void => return Ok(()),
        };
        let (license, credits) = (row.license, row.credits);
        let add = |sum: &mut (u64, u64)| *sum = (sum.0 + 1, sum.1.saturating_add(credits));
        let is_same = UnixTime::from_rfc3339(&asked.until) == Ok(row.until);
        // A licence is closed when none of its tokens can be cleared any more.
        let closed =
            self.rows().license(license)?.is_some_and(|row| is_gone(&row.kid, receipt) && row.until < self.now);
        if state == PaymentState::Cleared {
            add(&mut outcome.paid);
            self.append(Event::Cleared { payment, license, credits, settled })?;
        } else if is_same && (state == PaymentState::Void || closed) {
            add(&mut outcome.void);
            self.append(Event::Released { payment, license, credits, settled })?;
        } else {
            outcome.open += 1;
        }
        Ok(())
    }

    /// Books the state of the account and its licences, and a new licence.
    ///
    /// An answer that the agency repeats has the state of the time when it was first given: it ends no licence, and
    /// without a new licence its balance is not booked.
    fn book_account(
        &mut self,
        receipt: &MeterReceipt,
        text: &str,
        licensed: Option<Event>,
        outcome: &mut Outcome,
    ) -> TxResult<()> {
        let agency = receipt.head.parse().map_err(|_| wrong("its head is malformed"))?;
        if self.is_latest(receipt)? {
            self.book_licenses(receipt, outcome)?;
        } else if licensed.is_none() {
            return Ok(());
        }
        let taken = match &licensed {
            Some(Event::Licensed { credits, .. }) => *credits,
            _ => 0,
        };
        let before = self.balance(BankAccount::Held)?;
        let balance = receipt.balance.checked_add(taken).ok_or_else(|| wrong("its balance is out of range"))?;
        let (account, hash) = (receipt.account, Hash::of(text.as_bytes()));
        self.append(Event::Checkpoint { agency, account, balance, before, receipt: hash })?;
        if let Some(licensed) = licensed {
            self.append(licensed)?;
        }
        self.set_state("receipt", text.as_bytes())?;
        Ok(())
    }

    /// Books what became of the licences: those that the agency revoked sign no more, and those that it lists no more are
    /// closed.
    ///
    /// Where a licence was closed at the agency and has open payments here, its rest counts twice until the agency was
    /// asked for them all. It cannot be spent meanwhile.
    fn book_licenses(&mut self, receipt: &MeterReceipt, outcome: &mut Outcome) -> TxResult<()> {
        for (license, row) in self.licenses()? {
            if row.state == LicenseState::Closed {
                continue;
            }
            let left = self.balance(BankAccount::Licensed(license))?;
            let status = receipt.licenses.iter().find(|it| it.kid == row.kid);
            if status.is_some_and(|status| status.rest < left) {
                outcome.overdrawn.push(row.kid.clone());
            }
            if status.is_some_and(|status| status.revoked.is_none()) {
                continue;
            }
            if row.signs_at(self.now) {
                outcome.ended.push(row.kid.clone());
            }
            let open = self.balance(BankAccount::Reserved(license))?.max(self.balance(BankAccount::Paid(license))?);
            if status.is_none() && open == 0 {
                self.append(Event::LicenseClosed { license, credits: left })?;
            } else if row.state == LicenseState::Live {
                self.append(Event::LicenseEnded { license })?;
            }
        }
        Ok(())
    }

    /// Returns whether a receipt is of a later request than the one that was booked last.
    ///
    /// It is not when the agency repeats an answer that was lost, since its idempotency key was used before. The head of
    /// this bank in the receipt is that of the first time: before later requests, or of entries that a copy does not have.
    fn is_latest(&self, receipt: &MeterReceipt) -> TxResult<bool> {
        let sent: Head = receipt.bank.now.parse().map_err(|_| wrong("its head of this bank is malformed"))?;
        let known = self.state("receipt")?.map(|row| receipt_of(&row)).transpose()?;
        let known: Option<Head> = known.and_then(|known| known.bank.now.parse().ok());
        // What is no head of this chain was sent by a bank of which this one is a copy.
        let known = match known {
            Some(known) if self.has_head(known)? => known.number,
            _ => 0,
        };
        Ok(self.has_head(sent)? && known < sent.number)
    }
}

/// Reads a receipt that was verified when it came.
pub(super) fn receipt_of(row: &[u8]) -> Result<MeterReceipt, SessionError> {
    let malformed = |what: &str| SessionError::damaged(&format!("the receipt of the agency {what}"));
    let text = std::str::from_utf8(row).map_err(|_| malformed("is no text"))?;
    let token = Token::parse_document(text, RECEIPT_MAX).map_err(|_| malformed("is malformed"))?;
    schema::from_json(token.payload())
}

/// Returns whether the agency has closed the licence of this name.
fn is_gone(kid: &str, receipt: &MeterReceipt) -> bool {
    !receipt.licenses.iter().any(|it| it.kid == kid)
}

/// Returns the agency's word for a reason.
fn word(problem: ClearingProblem) -> String {
    let object = serde_json::to_value(problem).unwrap_or_default();
    object.get("problem").and_then(|word| word.as_str()).unwrap_or("refused").to_owned()
}

fn wrong(what: &str) -> TxError {
    TxError::Refused(Refusal::Answer(what.to_owned()))
}
