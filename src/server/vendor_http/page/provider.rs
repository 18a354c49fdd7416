//! Payment with a provider: the page that leads to it, and the stamp once the payment has arrived.
//!
//! Nothing of a payment is stored here. It is found again by the order, so the buyer can come back later.

use super::csrf::Posted;
use super::due::due;
use super::order_form::OrderForm;
use super::own::Own;
use super::purchase::{Checked, bought, checked, purchase, sold_before};
use super::session::Session;
use super::{Layout, Page, show};
use crate::accounting::money::Money;
use crate::ledger::payment::{Begun, Due};
use crate::ledger::trade::IssuedStamps;
use crate::message::address::Address;
use crate::server::vendor_http::error::Problem;
use crate::server::vendor_http::{Service, Way};
use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

#[derive(Template)]
#[template(path = "provider.html")]
struct ProviderPage {
    frame: Layout,
    wanted: OrderForm,
    fault: Option<String>,
    name: String,
    link: Option<String>,
    recipient: String,
    cost: Money,
    code: String,
}

/// `POST /pay`: begins a payment. The same form begins the same payment.
///
/// # Errors
/// As [`Posted`].
pub async fn begin(
    State(service): State<Service>,
    Posted { visitor, form: wanted, .. }: Posted<OrderForm>,
) -> Result<Response, Page> {
    let wanted = match Own::of(&service).await? {
        Some(own) => own.fixed(OrderForm { pay: "provider".to_owned(), ..wanted }),
        None => wanted,
    };
    leads_there(&service, &visitor, wanted.sanitized(purchase), None).await
}

/// Shows the page that leads to the provider.
async fn leads_there(
    service: &Service,
    visitor: &Session,
    wanted: OrderForm,
    fault: Option<(StatusCode, String)>,
) -> Result<Response, Page> {
    let frame = Layout::of(service, visitor).await?;
    let Some(name) = frame.provider.clone() else {
        return Err(Page::absent());
    };
    let ordered = checked(service, visitor, &wanted).await;
    let Ok(Checked { order, recipient, cost, .. }) = ordered else {
        return Err(Page::problem(Problem::new("form", "This order cannot be sold; go back and change it.")));
    };
    let due = Due { purchase: wanted.idempotency(), order, cost };
    let link = match service.begin(Way::Provider, due, None).await? {
        Begun::Pay(link) => Some(link),
        Begun::Enter => None,
        Begun::Work(_) => return Err(Page::problem(Problem::trouble("a provider of payments names no page"))),
    };
    let (status, fault) = fault.map_or((StatusCode::OK, None), |(status, text)| (status, Some(text)));
    let (recipient, code) = (recipient.to_string(), wanted.code());
    let page = ProviderPage { frame, wanted, fault, name, link, recipient, cost, code };
    Ok(visitor.answer(service, show(status, &page)))
}

/// The last step: the stamp, if the payment has arrived.
pub(super) async fn take(service: &Service, visitor: &Session, wanted: OrderForm) -> Result<Response, Page> {
    if service.settings().provider.is_none() {
        return Err(Page::absent());
    }
    let Some((due, recipient)) = due(service, &wanted).await? else {
        return Err(Page::problem(Problem::new("form", "This is not an order.")));
    };
    if let Some(page) = sold_before(service, visitor, &due, &recipient, wanted.code()).await? {
        // By a voucher perhaps, before the money arrived. An adapter that does not answer is told to the operator.
        let _ = service.give_back(due).await;
        return Ok(page);
    }
    match service.sell_for(Way::Provider, due, String::new()).await {
        Ok(sold) => bought(service, visitor, &sold, &recipient, false, wanted.code()).await,
        Err(problem) if problem.word == "unpaid" => {
            let fault = Some((problem.status, problem.detail));
            leads_there(service, visitor, wanted, fault).await
        }
        Err(problem) => Err(problem.into()),
    }
}

/// Returns the stamp of an order whose payment has arrived since.
pub(super) async fn arrived(
    service: &Service,
    code: &str,
) -> Result<Option<(IssuedStamps, Address, bool, String)>, Page> {
    let Some(wanted) = OrderForm::from_code(code).filter(|_| service.settings().provider.is_some()) else {
        return Ok(None);
    };
    let Some((due, recipient)) = due(service, &wanted).await? else { return Ok(None) };
    match service.sell_for(Way::Provider, due, String::new()).await {
        Ok(sold) => Ok(Some((sold, recipient, false, wanted.code()))),
        Err(problem) if problem.word == "unpaid" => Ok(None),
        Err(problem) => Err(problem.into()),
    }
}
