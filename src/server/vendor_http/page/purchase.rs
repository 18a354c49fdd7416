//! Parts of a purchase that all shops share: the order is checked against the terms, and the stamp is shown.

use super::change::Change;
use super::mailto::MailtoLink;
use super::order_form::{FieldError, OrderForm};
use super::session::{Session, random};
use super::{Layout, Page, sentence, show, unstored};
use crate::accounting::event::Terms;
use crate::accounting::money::Money;
use crate::accounting::order::Order;
use crate::accounting::work::Gift;
use crate::ledger::payment::Due;
use crate::ledger::trade::{IssuedStamps, REMEMBERED};
use crate::message::address::Address;
use crate::message::header::fold;
use crate::server::vendor_http::Service;
use crate::server::vendor_http::error::Problem;
use crate::stamp::claims::Stamp;
use crate::stamp::extract::STAMP_FIELD;
use crate::time::UnixTime;
use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;
use data_encoding::BASE64URL_NOPAD;

#[derive(Template)]
#[template(path = "bought.html")]
struct BoughtPage {
    frame: Layout,
    letter: MailtoLink,
    recipient: String,
    sender: Option<String>,
    window: String,
    credits: u64,
    /// Credits left on the account or the voucher.
    left: Option<u64>,
    from_account: bool,
    field: String,
    mailto: String,
    code: String,
    remembered: u64,
    change: Option<Change>,
}

/// Creates a purchase id that cannot be guessed.
pub(super) fn purchase() -> String {
    // Without random numbers the ledger rejects the purchase later.
    random().map(|bytes| BASE64URL_NOPAD.encode(bytes.get(..18).unwrap_or_default())).unwrap_or_default()
}

/// Returns the terms, with the caps of the account if the visitor is signed in.
pub(super) async fn terms(service: &Service, visitor: &Session) -> Result<Terms, Page> {
    let mut terms = service.ledger(|ledger, _| ledger.profile()).await?.terms;
    if let Some(account) = &visitor.account {
        terms.caps = account.caps(&terms);
    }
    terms.days = terms.days_within(&terms.caps);
    Ok(terms)
}

/// Returns for what the visitor wants a stamp without value.
pub(super) fn gift_of(wanted: &OrderForm) -> Option<Gift> {
    match wanted.pay.as_str() {
        "work" => Some(Gift::Work),
        "code" => Some(Gift::Code),
        _ => None,
    }
}

/// A valid order and its price.
pub(super) struct Checked {
    pub(super) order: Order,
    pub(super) recipient: Address,
    pub(super) window: String,
    pub(super) cost: Money,
}

/// Parses the form and checks it against the terms. Errors are shown on the form itself.
pub(super) async fn checked(
    service: &Service,
    visitor: &Session,
    wanted: &OrderForm,
) -> Result<Checked, Vec<FieldError>> {
    let (order, recipient) = wanted.order()?;
    let whole = |text: String| vec![FieldError { field: "form", text }];
    let terms = terms(service, visitor).await.map_err(|_| whole("The shop has an internal error.".to_owned()))?;
    let now = crate::os::clock::now();
    let orders = std::slice::from_ref(&order);
    let within = match gift_of(wanted) {
        Some(_) => terms.caps.check_given(orders, now, terms.days),
        None => terms.caps.check(orders, now, terms.days),
    };
    within.map_err(|error| {
        let text = error.to_string();
        whole(sentence(text.strip_prefix("order 1: ").unwrap_or(&text)))
    })?;
    let cost = terms.price.of(order.value).map_err(|error| whole(error.to_string()))?;
    let until = order.until.unwrap_or_else(|| order.not_before.unwrap_or(now).plus(i64::from(terms.days) * 86_400));
    let window = window(order.not_before, until);
    Ok(Checked { order, recipient, window, cost })
}

fn window(from: Option<UnixTime>, until: UnixTime) -> String {
    let day = |time: UnixTime| time.to_string().split('T').next().unwrap_or_default().to_owned();
    from.map(|from| format!("from {} to {}", day(from), day(until))).unwrap_or_else(|| format!("until {}", day(until)))
}

/// Shows the stamp of a purchase that was sold before. No payment is looked at for it, and no other host is asked.
pub(super) async fn sold_before(
    service: &Service,
    visitor: &Session,
    due: &Due,
    recipient: &Address,
    code: String,
) -> Result<Option<Response>, Page> {
    let Due { purchase, order, .. } = due.clone();
    match service.ledger(move |ledger, now| ledger.sold(None, &[order], &purchase, now)).await? {
        Some(sold) => bought(service, visitor, &sold, recipient, false, code).await.map(Some),
        None => Ok(None),
    }
}

pub(super) async fn bought(
    service: &Service,
    visitor: &Session,
    IssuedStamps { stamps, sale }: &IssuedStamps,
    recipient: &Address,
    from_account: bool,
    code: String,
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
        #[cfg(feature = "sender")]
        change: super::change::change(service, &code).await?,
        #[cfg(not(feature = "sender"))]
        change: None,
        code,
        remembered: REMEMBERED / 86_400,
    };
    let response = show(StatusCode::OK, &page);
    // The token is money.
    let response = if page.change.is_some() { unstored(response) } else { response };
    Ok(visitor.answer(service, response))
}
