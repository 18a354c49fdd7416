//! Payment by Cashu: the token goes to its mint, and the page shows the stamp, with the change if there is some. If the
//! stamp cannot be sold, it shows a token with the whole payment.
//!
//! The order code brings both again, since it names the purchase.

use super::change::{self, Change};
use super::due::due;
use super::order_form::OrderForm;
use super::purchase::{bought, checked, sold_before};
use super::session::Session;
use super::{Layout, Page, sentence, show, unstored};
use crate::ledger::payment::Due;
use crate::ledger::trade::IssuedStamps;
use crate::message::address::Address;
use crate::server::vendor_http::auth::record_failed_attempt;
use crate::server::vendor_http::error::Problem;
use crate::server::vendor_http::{Service, Way};
use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

#[derive(Template)]
#[template(path = "refund.html")]
struct RefundPage {
    frame: Layout,
    text: String,
    recipient: String,
    refund: Change,
    code: String,
}

/// Outcome of the last step.
pub(super) enum Taken {
    /// The page of the stamp, or of the refund.
    Page(Response),
    /// Nothing was sold, for this reason; without one the form is wrong.
    Not(Option<(StatusCode, String)>),
}

/// The last step: the mint takes the token, and the stamp is sold.
pub(super) async fn take(service: &Service, visitor: &Session, wanted: &OrderForm) -> Result<Taken, Page> {
    if service.cashu().is_none() {
        return Err(Page::absent());
    }
    let Some((due, recipient)) = due(service, wanted).await? else {
        return Ok(Taken::Not(None));
    };
    if let Some(page) = sold_before(service, visitor, &due, &recipient, wanted.code()).await? {
        return Ok(Taken::Page(page));
    }
    // What was begun is completed or refunded, whatever the caps are now.
    let begun = is_begun(service, &due).await?;
    if !begun {
        if let Err(wait) = service.rates().may_fail(visitor.address) {
            let seconds = wait.as_secs().saturating_add(1);
            let text =
                format!("Too many wrong tokens or codes came from your address. Try again in {seconds} seconds.");
            return Ok(Taken::Not(Some((StatusCode::TOO_MANY_REQUESTS, text))));
        }
        if checked(service, visitor, wanted).await.is_err() {
            return Ok(Taken::Not(None));
        }
    }
    let answer = service.sell_for(Way::Cashu(visitor.address), due.clone(), wanted.ecash.0.clone()).await;
    if answer.as_ref().is_err_and(|problem| !begun && matches!(problem.word, "busy" | "provider")) {
        // Its mint was asked for nothing, too.
        let _ = service.rates().record_failure(visitor.address);
    }
    match record_failed_attempt(service, visitor.address, answer) {
        Ok(sold) => bought(service, visitor, &sold, &recipient, false, wanted.code()).await.map(Taken::Page),
        Err(problem) if problem.word == "refunded" => {
            refunded(service, visitor, &due, &recipient, problem, wanted).await.map(Taken::Page)
        }
        Err(problem) => {
            let kept = "Whatever happened, you lose nothing: keep the order code, and send this form again later.";
            let text = match problem.word {
                "disk-full" => format!("The disk of the shop is full. {kept}"),
                "trouble" => format!("The shop has an internal error. {kept}"),
                "rate" => {
                    "Too many requests at this moment. Nothing was taken now: send this form again in some seconds."
                        .to_owned()
                }
                _ => sentence(&problem.detail),
            };
            Ok(Taken::Not(Some((problem.status, text))))
        }
    }
}

async fn is_begun(service: &Service, due: &Due) -> Result<bool, Problem> {
    let (cashu, due) = (service.clone(), due.clone());
    service.ledger(move |_, _| cashu.cashu().map_or(Ok(false), |cashu| cashu.is_begun(&due))).await
}

/// Shows the token with which the whole payment is given back.
async fn refunded(
    service: &Service,
    visitor: &Session,
    due: &Due,
    recipient: &Address,
    problem: Problem,
    wanted: &OrderForm,
) -> Result<Response, Page> {
    let Some(refund) = change::token(service, due.clone(), true).await? else {
        return Err(problem.into());
    };
    let page = RefundPage {
        frame: Layout::of(service, visitor).await?,
        text: problem.detail,
        recipient: recipient.to_string(),
        refund,
        code: wanted.code(),
    };
    Ok(visitor.answer(service, unstored(show(StatusCode::CONFLICT, &page))))
}

/// Returns the stamp of an order whose token its mint has taken; the error page is that of a refund, too.
pub(super) async fn arrived(
    service: &Service,
    visitor: &Session,
    code: &str,
) -> Result<Option<(IssuedStamps, Address, bool, String)>, Page> {
    let Some(wanted) = OrderForm::from_code(code).filter(|_| service.cashu().is_some()) else { return Ok(None) };
    let Some((due, recipient)) = due(service, &wanted).await? else { return Ok(None) };
    if !is_begun(service, &due).await? {
        return Ok(None);
    }
    match service.sell_for(Way::Cashu(visitor.address), due.clone(), String::new()).await {
        Ok(sold) => Ok(Some((sold, recipient, false, wanted.code()))),
        Err(problem) if problem.word == "unpaid" => Ok(None),
        Err(problem) if problem.word == "refunded" => {
            let response = refunded(service, visitor, &due, &recipient, problem, &wanted).await?;
            Err(Page(Box::new(response)))
        }
        Err(problem) => Err(problem.into()),
    }
}
