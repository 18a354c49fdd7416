//! Payments of one message: what is within the limits of the owner is reserved in one commit, with the token that the
//! server is shown. A payment that was reserved before is shown again, whatever the limits are now.

use crate::accounting::bank::books::{License, PaymentState};
use crate::accounting::hash::Hash;
use crate::accounting::meter::{ID_TTL_MAX, payment_hash};
use crate::bank::error::{BankError, Refusal};
use crate::bank::handle::Bank;
use crate::bank::order::{PaymentOrder, Reservation};
use crate::config::gateway::GatewayOutbound;
use crate::directory::signing_key::SigningKey;
use crate::emstamp::outbound::answer::Answer;
use crate::emstamp::outbound::delivery::{Choice, Question};
use crate::emstamp::token::Payment;
use crate::emstamp::wire::{LineError, Pay};
use crate::message::address::Address;
use crate::message::fingerprint::Fingerprint;
use crate::os::clock;
use crate::server::diagnostics::log_stderr;
use crate::stamp::serial::Serial;
use crate::stamp::token::Token;
use crate::time::UnixTime;
use data_encoding::BASE64URL_NOPAD;
use std::collections::HashMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How far ahead of this clock a server's may be, in seconds: an hour.
const SKEW: i64 = 3_600;
/// How often the operator is told that nothing can be paid.
const TOLD_INTERVAL: Duration = Duration::from_secs(60);

/// Payments from one bank.
pub(super) struct Payments {
    bank: Arc<Bank>,
    max_price: u64,
    max_message: u64,
    max_day: u64,
    /// The account of the bank, which never changes.
    payer: Mutex<Option<Payer>>,
    /// When the operator was last told that nothing can be paid.
    told: Mutex<Option<Instant>>,
}

/// The account that pays.
#[derive(Clone, Debug)]
struct Payer {
    agency: String,
    /// Its number at the agency.
    account: u64,
}

/// A message, and what its recipients cost so far.
pub(super) struct Bill {
    fingerprint: Fingerprint,
    spent: Mutex<Spent>,
    /// Names of the payments by canonical mailbox.
    names: Mutex<HashMap<String, Hash>>,
}

/// Credits by canonical mailbox, and their sum.
#[derive(Default)]
struct Spent {
    each: HashMap<String, u64>,
    sum: u64,
}

impl Bill {
    pub(super) fn new(fingerprint: Fingerprint) -> Self {
        Self { fingerprint, spent: Mutex::default(), names: Mutex::default() }
    }

    /// Returns the name of the payment for a recipient.
    pub(super) fn name(&self, mailbox: &Address) -> Option<Hash> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).get(&mailbox.canonical()).copied()
    }

    /// Takes credits of the message's limit. Returns whether they are within it.
    fn spend(&self, mailbox: &str, credits: u64, max: u64) -> bool {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        // An offer has 2^53 - 1 credits at most, and a message 1,000 recipients.
        let sum = (spent.sum - spent.each.get(mailbox).copied().unwrap_or(0)).saturating_add(credits);
        if sum <= max {
            spent.each.insert(mailbox.to_owned(), credits);
            spent.sum = sum;
        }
        sum <= max
    }
}

/// What becomes of a question before the bank is asked.
enum Checked {
    Order(PaymentOrder),
    /// It is paid only if it was reserved before. Otherwise this is the answer.
    Known(PaymentOrder, Answer),
    Leave(Answer),
}

impl Payments {
    pub(super) fn new(bank: Arc<Bank>, settings: &GatewayOutbound) -> Self {
        let &GatewayOutbound { max_price, max_message, max_day, .. } = settings;
        Self { bank, max_price, max_message, max_day, payer: Mutex::default(), told: Mutex::default() }
    }

    /// Decides about recipients of a message. The choices are in the same order.
    pub(super) fn decide(&self, bill: &Bill, asked: &[(&Address, Question)]) -> Vec<Choice> {
        if asked.is_empty() {
            return Vec::new();
        }
        let now = clock::now();
        let payer = match self.payer() {
            Ok(payer) => payer,
            Err(error) => return asked.iter().map(|(mailbox, _)| self.unpaid(mailbox, &error)).collect(),
        };
        let mut checked: Vec<Checked> =
            asked.iter().map(|(mailbox, question)| self.check(bill, &payer, mailbox, question, now)).collect();
        if let Err(error) = self.look_up(&mut checked) {
            return asked.iter().map(|(mailbox, _)| self.unpaid(mailbox, &error)).collect();
        }
        let orders: Vec<PaymentOrder> = checked.iter().filter_map(Checked::order).cloned().collect();
        let make = Arc::new(make_token(Arc::clone(&self.bank)));
        let reserved = match orders.is_empty() {
            true => Ok(Vec::new()),
            false => self.bank.reserve_within(orders, make, self.max_day, now),
        };
        let mut reserved = match reserved {
            Ok(reserved) => reserved.into_iter(),
            Err(error) => return asked.iter().map(|(mailbox, _)| self.unpaid(mailbox, &error)).collect(),
        };
        let choose = |((mailbox, question), checked): (&(&Address, Question), Checked)| match checked {
            Checked::Leave(answer) | Checked::Known(_, answer) => Choice::Leave(answer),
            Checked::Order(_) => match reserved.next() {
                Some(Ok(reservation)) => shown(mailbox, question, reservation),
                Some(Err(refusal)) => self.refused(mailbox, question, &refusal),
                None => Choice::Leave(later(mailbox)),
            },
        };
        asked.iter().zip(checked).map(choose).collect()
    }

    /// Compares an offer with the limits.
    fn check(
        &self,
        bill: &Bill,
        payer: &Payer,
        mailbox: &Address,
        Question { offer, renews, .. }: &Question,
        now: UnixTime,
    ) -> Checked {
        let (price, canonical) = (offer.price, mailbox.canonical());
        if offer.payee.agency() != payer.agency {
            let text = format!("<{mailbox}>: asks credits of another agency, {}", offer.payee.agency());
            return Checked::Leave(Answer::own(550, "5.7.1", text));
        }
        if offer.end.since(now) > ID_TTL_MAX + SKEW {
            let text =
                format!("<{mailbox}>: the offer is good for more than a day: the server's clock or this one is wrong");
            return Checked::Leave(Answer::own(451, "4.7.1", text));
        }
        let payment = payment_hash(payer.account, &canonical, &bill.fingerprint.0);
        bill.names.lock().unwrap_or_else(PoisonError::into_inner).insert(canonical.clone(), payment);
        let order = PaymentOrder {
            payment,
            mailbox: mailbox.to_string(),
            fingerprint: BASE64URL_NOPAD.encode(&bill.fingerprint.0),
            id: offer.id.to_string(),
            credits: price,
            until: offer.end,
            peer: offer.payee.to_string(),
            renew: *renews,
        };
        let over = |limit: &str, max: u64, more: &str| {
            let text = format!(
                "<{mailbox}>: asks {}{more}, more than {limit} = {max} of this gateway (mailstamp-gateway(8))",
                credits(price)
            );
            Answer::own(550, "5.7.1", text)
        };
        let answer = if price > self.max_price {
            over("max_price", self.max_price, "")
        } else if !bill.spend(&canonical, price, self.max_message) {
            over("max_message", self.max_message, " beside the other recipients")
        } else {
            return Checked::Order(order);
        };
        if *renews { Checked::Leave(answer) } else { Checked::Known(order, answer) }
    }

    /// Finds payments beyond the limits that were reserved before.
    fn look_up(&self, checked: &mut [Checked]) -> Result<(), BankError> {
        let unsure = |it: &Checked| matches!(it, Checked::Known(..));
        let names: Vec<Hash> = checked
            .iter()
            .filter_map(|it| if let Checked::Known(order, _) = it { Some(order.payment) } else { None })
            .collect();
        if names.is_empty() {
            return Ok(());
        }
        let known = self.bank.payments(&names)?;
        for (it, row) in checked.iter_mut().filter(|it| unsure(it)).zip(known) {
            if let Checked::Known(order, _) = it
                && row.is_some_and(|row| row.state != PaymentState::Void)
            {
                *it = Checked::Order(order.clone());
            }
        }
        Ok(())
    }

    /// Returns the account of the bank.
    fn payer(&self) -> Result<Payer, BankError> {
        let mut payer = self.payer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(payer) = &*payer {
            return Ok(payer.clone());
        }
        let balance = self.bank.balance()?;
        // The agency's first answer has the number, and comes before the first licence.
        let account = balance.contact.ok_or(Refusal::NoLicense)?.account;
        Ok(payer.insert(Payer { agency: balance.agency, account }).clone())
    }

    fn refused(&self, mailbox: &Address, question: &Question, refusal: &Refusal) -> Choice {
        let price = credits(question.offer.price);
        Choice::Leave(match refusal {
            Refusal::Day { .. } => {
                let text = format!("<{mailbox}>: asks {price}, more than this gateway may still spend today (max_day)");
                Answer::own(451, "4.7.1", text)
            }
            Refusal::Void => {
                let text = format!("<{mailbox}>: the payment of this message is void; send the message anew");
                Answer::own(550, "5.7.1", text)
            }
            Refusal::Ended { .. } => {
                let text = format!("<{mailbox}>: the offer has ended: the server's clock or this one is wrong");
                Answer::own(451, "4.7.1", text)
            }
            Refusal::Token(what) if *what == LineError::TooLong.to_string() => {
                Answer::own(550, "5.7.1", format!("<{mailbox}>: the address is too long to be paid for"))
            }
            other => return self.unpaid(mailbox, other),
        })
    }

    /// Tells the operator why nothing is paid now, and the sender only that.
    fn unpaid(&self, mailbox: &Address, why: &impl Display) -> Choice {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() >= TOLD_INTERVAL) {
            log_stderr(&format!("gateway: mail to servers that ask credits is deferred: {why}"));
            *told = Some(Instant::now());
        }
        Choice::Leave(later(mailbox))
    }
}

impl Checked {
    fn order(&self) -> Option<&PaymentOrder> {
        if let Self::Order(order) = self { Some(order) } else { None }
    }
}

fn later(mailbox: &Address) -> Answer {
    Answer::own(451, "4.7.1", format!("<{mailbox}>: asks credits, and this gateway cannot pay now"))
}

/// Returns the token of a reservation as the server is shown it.
fn shown(mailbox: &Address, question: &Question, reservation: Reservation) -> Choice {
    let Reservation { id, credits, token, .. } = reservation;
    if question.renews && id != question.offer.id.as_str() {
        let text =
            format!("<{mailbox}>: the payment of this message was delivered before, and the server has forgotten it");
        return Choice::Leave(Answer::own(451, "4.7.1", text));
    }
    match (Serial::new(id), Token::parse(&token)) {
        (Ok(id), Ok(token)) => Choice::Pay(Pay { id, credits, token }),
        _ => Choice::Leave(later(mailbox)),
    }
}

fn credits(count: u64) -> String {
    format!("{count} {}", if count == 1 { "credit" } else { "credits" })
}

/// Returns the function that signs the token of an order with the key of a licence. Keys are read once.
fn make_token(bank: Arc<Bank>) -> impl Fn(&License, &PaymentOrder) -> Result<String, String> + Send + Sync {
    let keys: Mutex<HashMap<String, SigningKey>> = Mutex::default();
    move |license, order| {
        let mut keys = keys.lock().unwrap_or_else(PoisonError::into_inner);
        if !keys.contains_key(&license.kid) {
            let key = bank.license_key(&license.kid).map_err(|error| error.to_string())?;
            keys.insert(license.kid.clone(), key);
        }
        let signer = keys.get(&license.kid).ok_or_else(|| "no key of the licence".to_owned())?;
        let fingerprint = BASE64URL_NOPAD.decode(order.fingerprint.as_bytes()).ok();
        let fingerprint = fingerprint.and_then(|bytes| bytes.try_into().ok()).ok_or("not a fingerprint")?;
        let payment = Payment {
            id: Serial::new(order.id.clone()).map_err(|error| error.to_string())?,
            mailbox: Address::parse(&order.mailbox).map_err(|error| error.to_string())?,
            credits: order.credits,
            message: Fingerprint(fingerprint),
            expires: order.until,
            payee: order.peer.parse().map_err(|error: crate::emstamp::token::PayeeError| error.to_string())?,
        };
        let token = payment.sign(&signer.issuer, &signer.key).map_err(|error| error.to_string())?;
        let pay = Pay { id: payment.id, credits: payment.credits, token };
        pay.line().map_err(|error| error.to_string())?;
        Ok(pay.token.as_str().to_owned())
    }
}
