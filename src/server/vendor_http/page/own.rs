//! Pages of a vendor for one recipient. A visitor needs no account, and gets a stamp for work, for a mailed code, or for
//! a voucher. The steps are those of any shop: the form, the ways to pay, the stamp.
//!
//! Stamps for work and for codes have the value 0. A mailbox with a price does not accept them, so they are not offered
//! while the recipient's configuration has one.

use super::csrf::Posted;
use super::order_form::{FieldError, OrderForm};
use super::purchase::{Checked, bought, checked, gift_of, purchase, sold_before};
use super::session::Session;
use super::{Layout, Page, sentence, show};
use crate::accounting::money::Money;
use crate::accounting::work::{Gift, WorkTerms};
use crate::ledger::model::{Profile, SoldOut};
use crate::ledger::ops;
use crate::ledger::payment::work::{MEMORY_KIB, PASSES, PROOF_BITS, RESULT};
use crate::ledger::payment::{Begun, Challenge, Due};
use crate::ledger::trade::REMEMBERED;
use crate::message::address::Address;
use crate::os::clock;
use crate::server::vendor_http::auth::record_failed_attempt;
use crate::server::vendor_http::error::Problem;
use crate::server::vendor_http::own_inbox::{AskedPrice, asked_price};
use crate::server::vendor_http::{Service, Way};
use crate::time::UnixTime;
use askama::Template;
use axum::extract::State;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

/// Policy of the page that works: its worker may also compile WebAssembly.
const WORK_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self' 'wasm-unsafe-eval'; \
                           worker-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; \
                           frame-ancestors 'none'";
/// Policy of the worker itself, which loads one more script, and sends nothing.
const WORKER_POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'";

#[derive(Template)]
#[template(path = "inbox.html")]
struct InboxPage {
    frame: Layout,
    wanted: OrderForm,
    faults: Vec<FieldError>,
    recipient: String,
    is_given: bool,
    price: String,
    days: u32,
    remembered: u64,
}

#[derive(Template)]
#[template(path = "ways.html")]
struct WaysPage {
    frame: Layout,
    wanted: OrderForm,
    fault: Option<String>,
    recipient: String,
    sender: Option<String>,
    window: String,
    asked: u64,
    work: Option<SoldOut>,
    codes: bool,
    mailed: bool,
    credits: u64,
    cost: Money,
}

#[derive(Template)]
#[template(path = "work.html")]
struct WorkPage {
    frame: Layout,
    wanted: OrderForm,
    recipient: String,
    challenge: Challenge,
    memory: u32,
    passes: u32,
    bytes: usize,
    bits: u32,
}

/// Vendor for one recipient, as a request sees it.
pub(super) struct Own {
    /// The recipient.
    pub(super) recipient: String,
    /// The price of the mailbox; 0 where it has none, or none is known.
    pub(super) asked: u64,
    work: Option<WorkTerms>,
    days: u32,
    price: crate::accounting::money::Price,
}

impl Own {
    /// Returns the recipient and the terms; `None` for a vendor for all recipients.
    pub(super) async fn of(service: &Service) -> Result<Option<Self>, Problem> {
        let mailbox = service.settings().mailbox.clone();
        let looked = service.ledger(move |ledger, _| {
            let Profile { terms, recipient, .. } = ledger.profile()?;
            // Where the price cannot be read, nothing is given.
            let asked = recipient.as_ref().map_or(Some(0), |it| match asked_price(&mailbox, it) {
                Ok(AskedPrice::Known(price)) => Some(price),
                Ok(AskedPrice::NoConfiguration) => Some(0),
                Ok(AskedPrice::Foreign) | Err(_) => None,
            });
            Ok((terms, recipient, asked))
        });
        let (terms, recipient, asked) = looked.await?;
        let days = terms.days_within(&terms.caps);
        let work = terms.work.filter(|_| asked.is_some());
        let asked = asked.unwrap_or(0);
        Ok(recipient.map(|recipient| Self { recipient, asked, work, days, price: terms.price }))
    }

    /// Returns the terms of stamps without value, if the mailbox accepts them.
    fn given(&self) -> Option<WorkTerms> {
        self.work.filter(|_| self.asked == 0)
    }

    /// Sets what a visitor does not choose: the recipient, and the value that goes with the way to pay.
    pub(super) fn fixed(&self, wanted: OrderForm) -> OrderForm {
        let recipient = self.recipient.clone();
        if gift_of(&wanted).is_some() {
            // The window is that of the terms, so that none are gathered for later.
            let (value, from, until) = ("0".to_owned(), String::new(), String::new());
            return OrderForm { recipient, value, from, until, ..wanted };
        }
        let value = wanted.value.trim().parse::<u64>().unwrap_or(0).max(self.asked).max(1);
        OrderForm { recipient, value: value.to_string(), ..wanted }
    }
}

/// Formats a time to the minute that begins then or next.
pub(super) fn minute(time: &UnixTime) -> String {
    let text = UnixTime(time.0.saturating_add(59).div_euclid(60) * 60).to_string();
    format!("{} UTC", text.get(..16).unwrap_or(&text).replace('T', " "))
}

/// Shows the first page.
pub(super) async fn form(
    service: &Service,
    visitor: &Session,
    own: Own,
    wanted: OrderForm,
    faults: Vec<FieldError>,
    status: StatusCode,
) -> Result<Response, Page> {
    let price = own.price.of(1).map_or_else(|error| error.to_string(), |cost| cost.to_string());
    let page = InboxPage {
        frame: Layout::of(service, visitor).await?,
        is_given: own.given().is_some(),
        wanted: wanted.sanitized(purchase),
        faults,
        recipient: own.recipient,
        price,
        days: own.days,
        remembered: REMEMBERED / 86_400,
    };
    Ok(visitor.answer(service, show(status, &page)))
}

/// Shows the ways to pay; after a code was mailed, the field for it.
pub(super) async fn ways(
    service: &Service,
    visitor: &Session,
    own: Own,
    wanted: OrderForm,
    fault: Option<(StatusCode, String)>,
    mailed: bool,
) -> Result<Response, Page> {
    // The price below is that of a voucher.
    let wanted = own.fixed(OrderForm { pay: String::new(), ..wanted }).sanitized(purchase);
    let Checked { order, recipient, window, cost } = match checked(service, visitor, &wanted).await {
        Ok(checked) => checked,
        Err(faults) => return form(service, visitor, own, wanted, faults, StatusCode::UNPROCESSABLE_ENTITY).await,
    };
    let work = match own.given() {
        Some(terms) => Some(when_given(service, visitor, terms).await?),
        None => None,
    };
    let (status, fault) = fault.map_or((StatusCode::OK, None), |(status, text)| (status, Some(text)));
    let page = WaysPage {
        frame: Layout::of(service, visitor).await?,
        fault,
        recipient: recipient.to_string(),
        sender: order.sender.as_ref().map(Address::to_string),
        window,
        asked: own.asked,
        codes: own.work.is_some_and(|work| work.codes_per_day > 0),
        work,
        mailed,
        credits: order.value,
        cost,
        wanted,
    };
    Ok(visitor.answer(service, show(status, &page)))
}

/// Returns from when the visitor gets stamps without value: by the caps, and by the part of the visitor's network.
async fn when_given(service: &Service, visitor: &Session, terms: WorkTerms) -> Result<SoldOut, Page> {
    let sold_out = service.ledger(|ledger, now| ledger.run(ops::WhenGiven {}, now)).await?;
    let now = clock::now();
    let used_up = |gift, cap| service.shares().used_up(gift, visitor.address, cap, now);
    Ok(SoldOut {
        work: sold_out.work.max(used_up(Gift::Work, terms.per_day)),
        codes: sold_out.codes.max(used_up(Gift::Code, terms.codes_per_day)),
    })
}

fn due(wanted: &OrderForm, Checked { order, cost, .. }: &Checked) -> Due {
    Due { purchase: wanted.idempotency(), order: order.clone(), cost: *cost }
}

/// `POST /work`: a challenge, on which the browser works.
///
/// # Errors
/// As [`Posted`].
pub async fn work(
    State(service): State<Service>,
    Posted { visitor, form: wanted, .. }: Posted<OrderForm>,
) -> Result<Response, Page> {
    let own = Own::of(&service).await?.ok_or_else(Page::absent)?;
    let wanted = own.fixed(OrderForm { pay: "work".to_owned(), ..wanted }).sanitized(purchase);
    let Some(terms) = own.given() else {
        return ways(&service, &visitor, own, wanted, None, false).await;
    };
    let ordered = match checked(&service, &visitor, &wanted).await {
        Ok(ordered) => ordered,
        Err(faults) => return form(&service, &visitor, own, wanted, faults, StatusCode::UNPROCESSABLE_ENTITY).await,
    };
    if when_given(&service, &visitor, terms).await?.work.is_some() {
        return ways(&service, &visitor, own, wanted, None, false).await;
    }
    let challenge = match service.begin(Way::Work(terms.rounds), due(&wanted, &ordered), None).await? {
        Begun::Work(challenge) => challenge,
        Begun::Enter | Begun::Pay(_) => return Err(Page::problem(Problem::trouble("work began without a challenge"))),
    };
    let page = WorkPage {
        frame: Layout::of(&service, &visitor).await?,
        recipient: ordered.recipient.to_string(),
        wanted,
        challenge,
        memory: MEMORY_KIB,
        passes: PASSES,
        bytes: RESULT,
        bits: PROOF_BITS,
    };
    let mut response = visitor.answer(&service, show(StatusCode::OK, &page));
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(WORK_POLICY));
    Ok(response)
}

/// `POST /code`: mails a code to the visitor.
///
/// # Errors
/// As [`Posted`].
pub async fn mail_code(
    State(service): State<Service>,
    Posted { visitor, form: wanted, .. }: Posted<OrderForm>,
) -> Result<Response, Page> {
    let own = Own::of(&service).await?.ok_or_else(Page::absent)?;
    let wanted = own.fixed(OrderForm { pay: "code".to_owned(), ..wanted }).sanitized(purchase);
    let Some(terms) = own.given().filter(|terms| terms.codes_per_day > 0) else {
        return ways(&service, &visitor, own, wanted, None, false).await;
    };
    let ordered = match checked(&service, &visitor, &wanted).await {
        Ok(ordered) => ordered,
        Err(faults) => return form(&service, &visitor, own, wanted, faults, StatusCode::UNPROCESSABLE_ENTITY).await,
    };
    let now = clock::now();
    if let Err(after) = service.shares().take(Gift::Code, visitor.address, terms.codes_per_day, now) {
        let after = when_given(&service, &visitor, terms).await?.codes.map_or(after, |all| all.max(after));
        return ways(&service, &visitor, own, wanted, Some(sold_out(after)), false).await;
    }
    match service.begin(Way::Code, due(&wanted, &ordered), Some(wanted.mail.clone())).await {
        Ok(_) => ways(&service, &visitor, own, wanted, None, true).await,
        Err(problem) => {
            service.shares().give_back(Gift::Code, visitor.address, now);
            let fault = (problem.status, sentence(&problem.detail));
            ways(&service, &visitor, own, wanted, Some(fault), false).await
        }
    }
}

fn sold_out(after: UnixTime) -> (StatusCode, String) {
    let text = format!("Sold out for now. More are given after {}.", minute(&after));
    (StatusCode::TOO_MANY_REQUESTS, text)
}

/// The last step of a purchase for work or a code.
pub(super) async fn take(
    service: &Service,
    visitor: &Session,
    own: Own,
    wanted: OrderForm,
    gift: Gift,
) -> Result<Response, Page> {
    let ordered = match checked(service, visitor, &wanted).await {
        Ok(ordered) => ordered,
        Err(faults) => return form(service, visitor, own, wanted, faults, StatusCode::UNPROCESSABLE_ENTITY).await,
    };
    let due = due(&wanted, &ordered);
    // A form that is sent again has spent its challenge.
    if let Some(page) = sold_before(service, visitor, &due, &ordered.recipient, wanted.code()).await? {
        return Ok(page);
    }
    let Some(terms) = own.given() else {
        let wanted = OrderForm { proof: String::new(), ..wanted };
        return ways(service, visitor, own, wanted, None, false).await;
    };
    let now = clock::now();
    let (way, evidence) = match gift {
        Gift::Work => (Way::Work(terms.rounds), wanted.proof.clone()),
        Gift::Code => (Way::Code, format!("{} {}", wanted.mail.trim(), wanted.mailed.trim())),
    };
    // A code was counted when it was mailed.
    if gift == Gift::Work
        && let Err(after) = service.shares().take(gift, visitor.address, terms.per_day, now)
    {
        let after = when_given(service, visitor, terms).await?.work.map_or(after, |all| all.max(after));
        let wanted = OrderForm { proof: String::new(), ..wanted };
        return ways(service, visitor, own, wanted, Some(sold_out(after)), false).await;
    }
    let answer = service.sell_for(way, due, evidence).await;
    if gift == Gift::Work && answer.as_ref().map_or(true, |sold| sold.sale.again) {
        service.shares().give_back(gift, visitor.address, now);
    }
    match record_failed_attempt(service, visitor.address, answer) {
        Ok(sold) => {
            if !sold.sale.again {
                service.metrics().gave();
            }
            bought(service, visitor, &sold, &ordered.recipient, false, wanted.code()).await
        }
        Err(problem) => {
            let fault = (problem.status, sentence(&problem.detail));
            let again = gift == Gift::Code && problem.word == "wrong-code";
            // Results that were not looked at can be sent again.
            let proof = if problem.word == "busy" { wanted.proof } else { String::new() };
            let wanted = OrderForm { proof, ..wanted };
            ways(service, visitor, own, wanted, Some(fault), again).await
        }
    }
}

/// Serves the worker of the proof of work, which may compile WebAssembly.
pub(super) async fn worker() -> Response {
    let fields = [
        (CONTENT_TYPE, "text/javascript; charset=utf-8"),
        (axum::http::header::CACHE_CONTROL, "public, max-age=3600"),
        (CONTENT_SECURITY_POLICY, WORKER_POLICY),
    ];
    (fields, include_str!("work-worker.js")).into_response()
}

#[cfg(test)]
mod tests {
    use super::minute;
    use crate::accounting::hash::Hash;
    use crate::time::UnixTime;

    #[test]
    fn a_minute_that_is_shown_is_not_too_early() {
        for (time, shown) in [(1_795_262_400, "12:00"), (1_795_262_401, "12:01"), (1_795_262_459, "12:01")] {
            assert!(minute(&UnixTime(time)).ends_with(&format!("{shown} UTC")), "{}", minute(&UnixTime(time)));
        }
    }

    #[test]
    fn the_library_of_others_is_unchanged() {
        let file = include_bytes!("hash-wasm/argon2.umd.min.js");
        assert!(include_str!("hash-wasm/ORIGIN.md").contains(&Hash::of(file).to_string()));
    }
}
