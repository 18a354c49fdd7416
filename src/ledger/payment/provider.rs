//! Payment by a provider of payments, through an adapter: a small HTTP service that the operator runs
//! (mailstamp-vendor(8), Payment providers). It takes money; this side only asks.
//!
//! - A payment is named by a hash of its purchase and order, so the adapter makes it once however often it begins, and it
//!   can be asked for later with the order code alone.
//! - The ledger accepts the name of a payment once, for ever.
//! - The ledger compares the sum that was received with the price. A price that has risen since is a reason to refund.

use super::{Begun, Completion, Due, Paid, Payment, PaymentError, Refund};
use crate::accounting::money::Money;
use crate::net::http_client::{self, Request, Response, Secret};
use crate::time::UnixTime;
use serde::Deserialize;
use serde_json::json;
use std::time::Duration;

/// Longest address of a payment page.
const LONGEST: usize = 2_000;

/// Adapter of a provider.
#[derive(Clone, Debug)]
pub struct Provider {
    /// Its name, for people.
    pub name: String,
    /// Its address, without a slash at the end.
    pub url: String,
    /// The key that authenticates this side.
    pub key: Option<Secret>,
    /// Timeout of a request.
    pub timeout: Duration,
}

/// Answer of an adapter. Other members are ignored.
#[derive(Debug, Deserialize)]
struct Answer {
    state: State,
    /// Address of the page on which the buyer pays.
    #[serde(default)]
    pay: Option<String>,
    /// Sum that was received.
    #[serde(default)]
    paid: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    /// Nothing was paid.
    Open,
    /// The money is on its way.
    Pending,
    Paid,
    /// Nothing was paid, and nothing can be.
    Expired,
    Refunded,
}

impl Provider {
    fn ask(&self, path: &str, body: Option<&str>) -> Result<Option<Answer>, PaymentError> {
        // Neither the adapter's text nor the key is shown.
        let trouble = |what: &str| PaymentError::Provider(format!("{}: {what}", self.name));
        let address = format!("{}{path}", self.url);
        let key = self.key.as_ref();
        let ask = Request { address: &address, key, idempotency: None, field: None, body, time: self.timeout };
        let Response { status, body, .. } = http_client::ask(ask).map_err(|error| trouble(&error.to_string()))?;
        match status {
            200 => serde_json::from_slice(&body).map(Some).map_err(|_| trouble("its answer has another form")),
            404 => Ok(None),
            status => Err(trouble(&format!("it answers with status {status}"))),
        }
    }

    fn name(due: &Due) -> String {
        due.hash().to_string()
    }

    /// Returns the name of the payment of a purchase in the ledger.
    #[must_use]
    pub fn reference(&self, due: &Due) -> String {
        format!("{}:{}", self.name, Self::name(due))
    }

    /// Returns whether money was paid for a purchase, or is on its way.
    ///
    /// # Errors
    /// [`PaymentError::Provider`].
    pub fn has_money(&self, due: &Due) -> Result<bool, PaymentError> {
        let answer = self.ask(&format!("/payments/{}", Self::name(due)), None)?;
        Ok(answer.is_some_and(|answer| matches!(answer.state, State::Pending | State::Paid)))
    }
}

impl Payment for Provider {
    fn begin(&self, due: &Due, _: Option<&str>, _: UnixTime) -> Result<Begun, PaymentError> {
        let Due { order, cost, .. } = due;
        let body = json!({
            "reference": Self::name(due), "credits": order.value,
            "amount": cost.amount(), "currency": cost.currency.to_string(),
        });
        let answer = self.ask("/payments", Some(&body.to_string()))?;
        // A page elsewhere: a link and nothing else.
        let web = |url: &String| {
            let scheme = url.starts_with("https://") || url.starts_with("http://");
            scheme && url.len() <= LONGEST && url.bytes().all(|b| b.is_ascii_graphic() && b != b'"')
        };
        let nowhere = || PaymentError::Provider(format!("{}: it names no page", self.name));
        let answer = answer.ok_or_else(nowhere)?;
        match answer.pay.filter(web) {
            Some(page) => Ok(Begun::Pay(page)),
            // It was begun before, and needs no page any more.
            None if answer.state != State::Open => Ok(Begun::Enter),
            None => Err(nowhere()),
        }
    }

    fn complete(&self, due: &Due, _: &str, _: UnixTime) -> Result<Completion, PaymentError> {
        let unpaid = |text: &str| PaymentError::Evidence("unpaid", text.to_owned());
        let name = Self::name(due);
        let answer = self.ask(&format!("/payments/{name}"), None)?;
        let Some(answer) = answer else { return Err(unpaid("No payment was begun for this order.")) };
        match answer.state {
            State::Open | State::Pending => Ok(Completion::Pending),
            State::Expired => Err(unpaid("This payment was not made in time. Nothing was charged.")),
            State::Refunded => Err(unpaid("This payment was refunded.")),
            State::Paid => {
                let cost = answer.paid.and_then(|paid| paid.parse::<Money>().ok());
                let wrong = || PaymentError::Provider(format!("{}: it does not say which sum was paid", self.name));
                let cost = cost.ok_or_else(wrong)?;
                Ok(Completion::Paid(Paid::Elsewhere { reference: self.reference(due), cost }))
            }
        }
    }

    fn refund(&self, due: &Due, _: &Paid) -> Refund {
        match self.ask(&format!("/payments/{}/refund", Self::name(due)), Some("{}")) {
            Ok(Some(Answer { state: State::Refunded, .. })) => Refund::Returned,
            _ => Refund::Later,
        }
    }
}
