//! Purchase of a stamp in three pages: the order, the price and payment, the stamp.
//!
//! Only the last step changes anything. It carries the purchase id that the first one created. Sent again, after a
//! reload, the back button or a lost answer, it shows the same stamp and charges nothing.

use super::csrf::verify_csrf;
use super::mailto::MailtoLink;
use super::order_form::{FieldError, OrderForm};
use super::session::{Session, random};
use super::{Filled, Layout, Page, show};
use crate::accounting::event::Terms;
use crate::accounting::money::Money;
use crate::accounting::order::{DAYS_MAX, Order};
use crate::ledger::rejection::Rejection;
use crate::ledger::trade::IssuedStamps;
use crate::message::address::Address;
use crate::message::header::fold;
use crate::server::vendor_http::Service;
use crate::server::vendor_http::auth::record_failed_attempt;
use crate::server::vendor_http::error::Problem;
use crate::stamp::claims::{Stamp, USUAL_MAX_WINDOW};
use crate::stamp::extract::STAMP_FIELD;
use crate::time::UnixTime;
use askama::Template;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use data_encoding::BASE64URL_NOPAD;

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
}

#[derive(Template)]
#[template(path = "bought.html")]
struct BoughtPage {
    frame: Layout,
    letter: MailtoLink,
    recipient: String,
    sender: Option<String>,
    window: String,
    credits: u64,
    left: u64,
    from_account: bool,
    field: String,
    mailto: String,
}

impl FormPage {
    /// Returns the error of a field, to be shown beside it.
    fn fault(&self, field: &str) -> Option<&str> {
        self.faults.iter().find(|fault| fault.field == field).map(|fault| fault.text.as_str())
    }
}

/// Creates a purchase id that cannot be guessed.
fn purchase() -> String {
    // Without random numbers the ledger rejects the purchase later.
    random().map(|bytes| BASE64URL_NOPAD.encode(bytes.get(..18).unwrap_or_default())).unwrap_or_default()
}

/// `GET /`: the form. A link may fill in recipient and value, as a challenge does: `/?recipient=joe@x.example&value=5`.
///
/// # Errors
/// When the ledger does not answer.
pub async fn form(
    State(service): State<Service>,
    visitor: Session,
    query: Result<Query<OrderForm>, QueryRejection>,
) -> Result<Response, Page> {
    let linked = query.map(|Query(wanted)| wanted).unwrap_or_default();
    let wanted = OrderForm { recipient: linked.recipient, value: linked.value, ..OrderForm::default() };
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
        accepted: USUAL_MAX_WINDOW / 86_400,
        most: terms.caps.value,
    };
    Ok(visitor.answer(service, show(status, &page)))
}

/// Returns the terms, with the caps of the account if the visitor is signed in.
async fn terms(service: &Service, visitor: &Session) -> Result<Terms, Page> {
    let mut terms = service.ledger(|ledger, _| ledger.profile()).await?.terms;
    if let Some(account) = &visitor.account {
        terms.caps = account.caps(&terms);
    }
    terms.days = terms.days_within(&terms.caps);
    Ok(terms)
}

/// A valid order and its price.
struct Checked {
    order: Order,
    recipient: Address,
    window: String,
    cost: Money,
}

/// Parses the form and checks it against the terms. Errors are shown on the form itself.
async fn checked(service: &Service, visitor: &Session, wanted: &OrderForm) -> Result<Checked, Vec<FieldError>> {
    let (order, recipient) = wanted.order()?;
    let whole = |text: String| vec![FieldError { field: "form", text }];
    let terms = terms(service, visitor).await.map_err(|_| whole("The shop has an internal error.".to_owned()))?;
    let now = crate::os::clock::now();
    terms.caps.check(std::slice::from_ref(&order), now, terms.days).map_err(|error| whole(sentence(&error)))?;
    let cost = terms.price.of(order.value).map_err(|error| whole(error.to_string()))?;
    let until = order.until.unwrap_or_else(|| order.not_before.unwrap_or(now).plus(i64::from(terms.days) * 86_400));
    let window = window(order.not_before, until);
    Ok(Checked { order, recipient, window, cost })
}

/// Formats the error of a single order as a sentence.
fn sentence(error: &crate::accounting::order::OrderError) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("order 1: ").unwrap_or(&text);
    let mut letters = text.chars();
    letters.next().map(|first| format!("{}{}.", first.to_uppercase(), letters.as_str())).unwrap_or_default()
}

fn window(from: Option<UnixTime>, until: UnixTime) -> String {
    let day = |time: UnixTime| time.to_string().split('T').next().unwrap_or_default().to_owned();
    from.map(|from| format!("from {} to {}", day(from), day(until))).unwrap_or_else(|| format!("until {}", day(until)))
}

/// `POST /order`: shows the price and the ways to pay. Changes nothing.
///
/// # Errors
/// A form that fails [`verify_csrf`].
pub async fn order(
    State(service): State<Service>,
    visitor: Session,
    headers: HeaderMap,
    Filled(wanted): Filled<OrderForm>,
) -> Result<Response, Page> {
    verify_csrf(&service, &visitor, &wanted.token, &headers)?;
    pay_page(&service, &visitor, wanted, None).await
}

async fn pay_page(
    service: &Service,
    visitor: &Session,
    wanted: OrderForm,
    fault: Option<String>,
) -> Result<Response, Page> {
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
    let status = if fault.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let page = PayPage {
        frame: Layout::of(service, visitor).await?,
        wanted: wanted.sanitized(purchase),
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
/// A form that fails [`verify_csrf`].
pub async fn buy(
    State(service): State<Service>,
    visitor: Session,
    headers: HeaderMap,
    Filled(wanted): Filled<OrderForm>,
) -> Result<Response, Page> {
    verify_csrf(&service, &visitor, &wanted.token, &headers)?;
    let wanted = wanted.sanitized(purchase);
    if wanted.pay == "account" && visitor.account.is_none() {
        let text = "You are not signed in any more, and nothing was charged now. If you sent this form before, sign in \
                    and look at your history first.";
        return pay_page(&service, &visitor, wanted, Some(text.to_owned())).await;
    }
    let Checked { order, recipient, window: _, cost } = match checked(&service, &visitor, &wanted).await {
        Ok(checked) => checked,
        Err(faults) => return form_page(&service, &visitor, wanted, faults, StatusCode::UNPROCESSABLE_ENTITY).await,
    };
    let name = format!("page:{}", wanted.purchase);
    let orders = vec![order];
    let from_account = wanted.pay == "account" && visitor.account.is_some();
    let answer = match visitor.account.as_ref().filter(|_| from_account).map(|account| account.number) {
        Some(number) => service.ledger(move |ledger, now| ledger.issue(number, &orders, Some(&name), now)).await,
        None => {
            let credits = orders.first().map_or(1, |order| order.value);
            match service.payment().accept(wanted.voucher.trim(), credits, cost) {
                Ok(paid) => service.ledger(move |ledger, now| ledger.issue_for(paid, &orders, Some(&name), now)).await,
                Err(_) => Err(Problem::refused(&Rejection::NoVoucher, UnixTime(0))),
            }
        }
    };
    match record_failed_attempt(&service, visitor.address, answer) {
        Ok(sold) => bought(&service, &visitor, &sold, &recipient, from_account).await,
        Err(problem) => {
            let (fault, wanted) = match problem.word {
                "no-voucher" => ("No voucher has this code, or nothing is left on it.".to_owned(), wanted),
                "funds" => (funds(&problem, from_account), wanted),
                // A changed form after the back button orders another stamp, which the visitor confirms again.
                "key-reused" => {
                    let text = "This form has already bought a stamp; nothing was charged now. \
                                To buy this other one, pay again."
                        .to_owned();
                    (text, OrderForm { purchase: purchase(), ..wanted })
                }
                "trouble" => return Err(Page::problem(problem)),
                _ => (problem.detail.clone(), wanted),
            };
            pay_page(&service, &visitor, wanted, Some(fault)).await
        }
    }
}

fn funds(problem: &Problem, from_account: bool) -> String {
    let number = |name: &str| problem.more.get(name).and_then(serde_json::Value::as_u64).unwrap_or(0);
    let place = if from_account { "on your account" } else { "on this voucher" };
    format!("This costs {} credits, and {} are left {place}.", number("needed"), number("balance"))
}

async fn bought(
    service: &Service,
    visitor: &Session,
    IssuedStamps { stamps, sale }: &IssuedStamps,
    recipient: &Address,
    from_account: bool,
) -> Result<Response, Page> {
    service.metrics().sold(stamps.len(), sale.again);
    let nothing = || Page::problem(Problem::trouble("the ledger sold no stamp"));
    let token = stamps.first().ok_or_else(nothing)?;
    let stamp = Stamp::read(token.payload()).map_err(|_| nothing())?;
    let letter = MailtoLink {
        stamp: token.as_str().to_owned(),
        recipient: recipient.to_string(),
        sender: stamp.sender.as_ref().map(Address::to_string).unwrap_or_default(),
        token: service.sessions().token(visitor),
    };
    let page = BoughtPage {
        frame: Layout::of(service, visitor).await?,
        recipient: recipient.to_string(),
        sender: stamp.sender.as_ref().map(Address::to_string),
        window: stamp.expires.map(|until| window(stamp.not_before, until)).unwrap_or_default(),
        credits: sale.credits,
        left: sale.balance,
        from_account,
        field: fold(STAMP_FIELD, token.as_str(), "\n").trim_end().to_owned(),
        mailto: letter.mailto(),
        letter,
    };
    Ok(visitor.answer(service, show(StatusCode::OK, &page)))
}
