//! Purchase of a stamp in three pages: the order, the price and payment, the stamp.
//!
//! Only the last step changes anything. It carries the purchase id that the first one created. Sent again, after a
//! reload, the back button or a lost answer, it shows the same stamp and charges nothing. The order code, which both
//! last pages show, brings the stamp again later.

use super::csrf::{Fields, Posted, SHOWN_EARLIER};
use super::order_form::{FieldError, OrderForm};
use super::own::{self, Own};
use super::purchase::{Checked, bought, checked, gift_of, purchase, terms};
use super::session::{Session, Shown};
use super::{Layout, Page, show};
use crate::accounting::money::Money;
use crate::accounting::order::DAYS_MAX;
use crate::ledger::payment::Due;
use crate::ledger::trade::REMEMBERED;
use crate::message::address::Address;
use crate::server::vendor_http::auth::record_failed_attempt;
use crate::server::vendor_http::error::Problem;
use crate::server::vendor_http::{Service, Way};
use crate::stamp::claims::USUAL_MAX_WINDOW;
use askama::Template;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use std::iter;

#[derive(Template)]
#[template(path = "form.html")]
struct FormPage {
    frame: Layout,
    wanted: OrderForm,
    faults: Vec<FieldError>,
    price: String,
    thousand: String,
    days: u32,
    longest: u32,
    remembered: u64,
    /// Days that recipients accept unless they configure another limit.
    accepted: i64,
    most: u64,
}

#[derive(Template)]
#[template(path = "pay.html")]
struct PayPage {
    frame: Layout,
    wanted: OrderForm,
    fault: Option<String>,
    recipient: String,
    sender: Option<String>,
    window: String,
    credits: u64,
    cost: Money,
    balance: Option<u64>,
    code: String,
}

#[derive(Template)]
#[template(path = "again.html")]
struct AgainPage {
    frame: Layout,
    code: String,
    wrong: bool,
    remembered: u64,
}

impl FormPage {
    /// Returns the error of a field, to be shown beside it.
    fn fault(&self, field: &str) -> Option<&str> {
        self.faults.iter().find(|fault| fault.field == field).map(|fault| fault.text.as_str())
    }
}

/// `GET /`: the form. A link may fill in recipient and value, as a challenge does: `/?recipient=joe@x.example&value=5`.
/// What is no address and no number is left out.
pub async fn form(
    State(service): State<Service>,
    visitor: Session,
    query: Result<Query<OrderForm>, QueryRejection>,
) -> Result<Response, Page> {
    let linked = query.map(|Query(wanted)| wanted).unwrap_or_default();
    let recipient = Address::parse(&linked.recipient).map(|address| address.to_string()).unwrap_or_default();
    let value = linked.value.parse::<u64>().map(|value| value.to_string()).unwrap_or_default();
    let wanted = OrderForm { recipient, value, ..OrderForm::default() };
    if let Some(own) = Own::of(&service).await? {
        let wanted = own.fixed(wanted);
        return own::form(&service, &visitor, own, wanted, Vec::new(), StatusCode::OK).await;
    }
    form_page(&service, &visitor, wanted, Vec::new(), StatusCode::OK).await
}

async fn form_page(
    service: &Service,
    visitor: &Session,
    wanted: OrderForm,
    faults: Vec<FieldError>,
    status: StatusCode,
) -> Result<Response, Page> {
    let frame = Layout::of(service, visitor).await?;
    let terms = terms(service, visitor).await?;
    let cost = |credits| terms.price.of(credits).map_or_else(|error| error.to_string(), |cost| cost.to_string());
    let page = FormPage {
        frame,
        wanted: wanted.sanitized(purchase),
        faults,
        price: cost(1),
        thousand: cost(1_000),
        days: terms.days,
        longest: terms.caps.days.min(DAYS_MAX),
        remembered: REMEMBERED / 86_400,
        accepted: USUAL_MAX_WINDOW / 86_400,
        most: terms.caps.value,
    };
    Ok(visitor.answer(service, show(status, &page)))
}

/// `POST /order`: shows the price and the ways to pay, or with `edit` the form again. Changes nothing.
///
/// # Errors
/// As [`Posted`].
pub async fn order(
    State(service): State<Service>,
    Posted { visitor, form: wanted, .. }: Posted<OrderForm>,
) -> Result<Response, Page> {
    if let Some(own) = Own::of(&service).await? {
        let wanted = own.fixed(wanted);
        return match wanted.edit.is_empty() {
            true => own::ways(&service, &visitor, own, wanted, None, false).await,
            false => own::form(&service, &visitor, own, wanted, Vec::new(), StatusCode::OK).await,
        };
    }
    if !wanted.edit.is_empty() {
        return form_page(&service, &visitor, wanted, Vec::new(), StatusCode::OK).await;
    }
    pay_page(&service, &visitor, wanted, None).await
}

async fn pay_page(
    service: &Service,
    visitor: &Session,
    wanted: OrderForm,
    fault: Option<(StatusCode, String)>,
) -> Result<Response, Page> {
    if let Some(own) = Own::of(service).await? {
        return own::ways(service, visitor, own, wanted, fault, false).await;
    }
    let Checked { order, recipient, window, cost } = match checked(service, visitor, &wanted).await {
        Ok(checked) => checked,
        Err(faults) => {
            return form_page(service, visitor, wanted, faults, StatusCode::UNPROCESSABLE_ENTITY).await;
        }
    };
    let balance = match visitor.account.as_ref().map(|account| account.number) {
        Some(number) => Some(service.ledger(move |ledger, now| ledger.account(number, now)).await?.balance),
        None => None,
    };
    let (status, fault) = fault.map_or((StatusCode::OK, None), |(status, text)| (status, Some(text)));
    let wanted = wanted.sanitized(purchase);
    let page = PayPage {
        frame: Layout::of(service, visitor).await?,
        code: wanted.code(),
        wanted,
        fault,
        recipient: recipient.to_string(),
        sender: order.sender.as_ref().map(Address::to_string),
        window,
        credits: order.value,
        cost,
        balance,
    };
    Ok(visitor.answer(service, show(status, &page)))
}

/// `POST /buy`: the purchase.
///
/// # Errors
/// As [`Posted`].
pub async fn buy(
    State(service): State<Service>,
    Posted { visitor, form: wanted, shown }: Posted<OrderForm>,
) -> Result<Response, Page> {
    let wanted = wanted.sanitized(purchase);
    let wanted = match Own::of(&service).await? {
        Some(own) => {
            let wanted = own.fixed(wanted);
            if let Some(gift) = gift_of(&wanted) {
                return own::take(&service, &visitor, own, wanted, gift).await;
            }
            wanted
        }
        None => wanted,
    };
    #[cfg(feature = "sender")]
    if wanted.pay == "provider" {
        return super::provider::take(&service, &visitor, wanted).await;
    }
    #[cfg(feature = "sender")]
    if wanted.pay == "cashu" {
        return match super::cashu::take(&service, &visitor, &wanted).await? {
            super::cashu::Taken::Page(page) => Ok(page),
            super::cashu::Taken::Not(fault) => pay_page(&service, &visitor, wanted, fault).await,
        };
    }
    let fault = |text: &str| Some((StatusCode::UNPROCESSABLE_ENTITY, text.to_owned()));
    if wanted.pay == "account" && visitor.account.is_none() {
        let text = "You are not signed in any more, and nothing was charged now. If you sent this form before, sign in \
                    and look at your history first.";
        return pay_page(&service, &visitor, wanted, fault(text)).await;
    }
    if wanted.pay == "account" && shown == Shown::Earlier {
        return pay_page(&service, &visitor, wanted, fault(SHOWN_EARLIER)).await;
    }
    let Checked { order, recipient, window: _, cost } = match checked(&service, &visitor, &wanted).await {
        Ok(checked) => checked,
        Err(faults) => return form_page(&service, &visitor, wanted, faults, StatusCode::UNPROCESSABLE_ENTITY).await,
    };
    let due = Due { purchase: wanted.idempotency(), order, cost };
    let from_account = wanted.pay == "account" && visitor.account.is_some();
    let answer = match visitor.account.as_ref().filter(|_| from_account).map(|account| account.number) {
        Some(number) => service.sell_to(number, due).await,
        None => service.sell_for(Way::Voucher, due, wanted.voucher.trim().to_owned()).await,
    };
    match record_failed_attempt(&service, visitor.address, answer) {
        Ok(sold) => bought(&service, &visitor, &sold, &recipient, from_account, wanted.code()).await,
        Err(problem) => {
            let status = match problem.status {
                StatusCode::TOO_MANY_REQUESTS => StatusCode::TOO_MANY_REQUESTS,
                _ => StatusCode::UNPROCESSABLE_ENTITY,
            };
            let (text, wanted) = match problem.word {
                "no-voucher" => ("No voucher has this code, or nothing is left on it.".to_owned(), wanted),
                "funds" => (funds(&problem, from_account), wanted),
                // A changed form after the back button orders another stamp, which the visitor confirms again.
                "key-reused" => {
                    let text = "This form has already bought a stamp; nothing was charged now. \
                                To buy this other one, pay again."
                        .to_owned();
                    (text, OrderForm { purchase: purchase(), ..wanted })
                }
                "trouble" | "disk-full" => {
                    let what = if problem.word == "trouble" {
                        "The shop has an internal error"
                    } else {
                        "The disk of the shop is full"
                    };
                    let text = format!(
                        "{what}. Wait a minute, and send this form again: whatever happened, it is charged once."
                    );
                    return pay_page(&service, &visitor, wanted, Some((problem.status, text))).await;
                }
                _ => (problem.detail.clone(), wanted),
            };
            pay_page(&service, &visitor, wanted, Some((status, text))).await
        }
    }
}

fn funds(problem: &Problem, from_account: bool) -> String {
    let number = |name: &str| problem.more.get(name).and_then(serde_json::Value::as_u64).unwrap_or(0);
    let place = if from_account { "on your account" } else { "on this voucher" };
    format!("This costs {} credits, and {} are left {place}.", number("needed"), number("balance"))
}

/// Form with an order code.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct OrderCode {
    token: String,
    code: String,
}

impl Fields for OrderCode {
    fn token(&self) -> &str {
        &self.token
    }
}

/// `GET /stamp`: asks for an order code.
pub async fn again_form(State(service): State<Service>, visitor: Session) -> Result<Response, Page> {
    again_page(&service, &visitor, String::new(), false).await
}

async fn again_page(service: &Service, visitor: &Session, code: String, wrong: bool) -> Result<Response, Page> {
    let status = if wrong { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let frame = Layout::of(service, visitor).await?;
    Ok(visitor.answer(service, show(status, &AgainPage { frame, code, wrong, remembered: REMEMBERED / 86_400 })))
}

/// `POST /stamp`: shows the stamp of an order code again. Sells nothing.
///
/// # Errors
/// As [`Posted`]; too many wrong codes.
pub async fn again(
    State(service): State<Service>,
    Posted { visitor, form: OrderCode { code, .. }, .. }: Posted<OrderCode>,
) -> Result<Response, Page> {
    let ordered = OrderForm::from_code(&code).and_then(|wanted| Some((wanted.order().ok()?, wanted)));
    let found = match ordered {
        Some(((order, recipient), wanted)) => {
            let name = wanted.idempotency();
            let account = visitor.account.as_ref().map(|account| account.number);
            let ask = service.ledger(move |ledger, now| {
                let orders = [order];
                let payers = iter::once(None).chain(account.map(Some));
                let each = payers.map(|payer| Ok(ledger.sold(payer, &orders, &name, now)?.map(|sold| (sold, payer))));
                each.filter_map(Result::transpose).next().transpose()
            });
            ask.await?.map(|(sold, payer)| (sold, recipient, payer.is_some(), wanted.code()))
        }
        None => None,
    };
    let found = match found {
        Some(found) => Some(found),
        #[cfg(feature = "sender")]
        None => match super::cashu::arrived(&service, &visitor, &code).await? {
            None => super::provider::arrived(&service, &code).await?,
            found => found,
        },
        #[cfg(not(feature = "sender"))]
        None => None,
    };
    let answer = found.ok_or_else(|| Problem::new("wrong-code", "No stamp has this order code."));
    match record_failed_attempt(&service, visitor.address, answer) {
        Ok((sold, recipient, from_account, code)) => {
            bought(&service, &visitor, &sold, &recipient, from_account, code).await
        }
        Err(problem) if problem.word == "wrong-code" => again_page(&service, &visitor, code, true).await,
        Err(problem) => Err(problem.into()),
    }
}
