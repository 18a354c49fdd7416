//! Client of a vendor's service (mailstamp-vendor(8); the service describes its API as OpenAPI).
//!
//! An answer is checked against the order: a stamp must name this recipient, this value and this vendor. Its signature
//! is not checked here; the recipient checks it.

use super::account::Account;
use super::error::SupplyError;
use super::stamp_request::{WalletStamp, WalletState};
use super::wallet::{Outcome, PurchaseRow};
use crate::message::address::Address;
use crate::message::header::readable;
use crate::net::http_client::{self, Request, Response};
use crate::stamp::claims::Stamp;
use crate::stamp::strict_json::problem;
use crate::stamp::token::Token;
use crate::time::UnixTime;
use crate::vendor_api::account::AccountStatus;
use crate::vendor_api::meters::{self, Licenses, SignedReceipt};
use crate::vendor_api::operation::Operation;
use crate::vendor_api::prices::Prices;
use crate::vendor_api::problem::ProblemDetails;
use crate::vendor_api::stamps::IssueResponse;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Attempts to send a purchase before the vendor counts as unavailable.
const MAX_ATTEMPTS: u32 = 3;
/// Delay between attempts.
const PAUSE: Duration = Duration::from_millis(200);
/// Longest message of a vendor that is shown, in bytes.
const MAX_DETAIL: usize = 300;
/// Codes of refusals that time does not change, besides those of money, keys and orders.
const FINAL: [&str; 21] = [
    "account-exists",
    "bank-behind",
    "ecash",
    "last-api-key",
    "license-limit",
    "meter-request",
    "meters-off",
    "method",
    "no-account",
    "no-code",
    "no-license",
    "no-voucher",
    "no-work",
    "not-found",
    "other-recipient",
    "paid-otherwise",
    "refunded",
    "stamp",
    "unpaid",
    "work",
    "wrong-code",
];

/// Requests the state of the account.
pub fn standing(account: &Account, time: Duration) -> Result<AccountStatus, SupplyError> {
    let address = format!("{}{}", account.url, Operation::Account.path());
    let ask = Request { address: &address, key: Some(&account.key), idempotency: None, field: None, body: None, time };
    get(&account.name, ask)
}

/// Requests the public prices of the vendor at this address.
///
/// # Errors
/// [`SupplyError`], with `account` as the name of the account.
pub fn prices(account: &str, url: &str, time: Duration) -> Result<Prices, SupplyError> {
    let address = format!("{}{}", url.trim_end_matches('/'), Operation::Prices.path());
    get(account, Request { address: &address, key: None, idempotency: None, field: None, body: None, time })
}

/// Sends a journalled purchase, and repeats it if no answer comes.
///
/// The idempotency key makes the repetition free. A stamp that had ended at the time of the purchase is not what was
/// ordered, as far as that time is `believed`.
///
/// # Errors
/// [`SupplyError`], with [`Outcome::Refused`] when the vendor stated that it charged nothing, and with
/// [`Outcome::Unreadable`] when the answer is none. Without an outcome it is unknown what was charged.
pub(super) fn buy(
    account: &Account,
    purchase: &PurchaseRow,
    believed: Option<UnixTime>,
    time: Duration,
) -> Result<Outcome, (SupplyError, Option<Outcome>)> {
    let address = format!("{}{}", account.url, Operation::Buy.path());
    let ask = Request {
        address: &address,
        key: Some(&account.key),
        idempotency: Some(&purchase.id),
        field: None,
        body: Some(&purchase.body),
        time,
    };
    let reply = send(&account.name, ask).map_err(|error| (error, None))?;
    if reply.status != 200 {
        return Err(refusal(&account.name, &reply));
    }
    let wrong = |detail: String| {
        let outcome = Outcome::Unreadable(detail.clone());
        (SupplyError::Answer { account: account.name.clone(), detail }, Some(outcome))
    };
    let bought: IssueResponse = serde_json::from_slice(&reply.body).map_err(|error| {
        let error = unreadable(&account.name, &reply, &error);
        (error.0, Some(Outcome::Unreadable(error.1)))
    })?;
    if bought.stamps.len() != purchase.orders.len() {
        return Err(wrong(format!("{} stamps for {} orders", bought.stamps.len(), purchase.orders.len())));
    }
    let each = purchase.orders.iter().zip(bought.stamps);
    // An answer that was lost may come again when its stamps have ended since.
    let valid_at = believed.map(|believed| believed.min(UnixTime(purchase.at)));
    let stamps = each.map(|(order, sealed)| {
        let stamp = checked(&sealed.stamp, &purchase.vendor, &order.recipient, order.value, purchase.at)?;
        match stamp.expires.filter(|expires| valid_at.is_some_and(|at| *expires <= at)) {
            Some(expires) => Err(format!("it ended on {expires}, before it was ordered")),
            None => Ok(stamp),
        }
    });
    Ok(Outcome::Arrived(stamps.collect()))
}

/// Why a vendor answered no receipt to the request of a meter.
#[derive(Debug)]
pub struct ReceiptError {
    pub error: Box<SupplyError>,
    /// The vendor's code, if the vendor refused the request and did nothing.
    pub problem: Option<Box<str>>,
    /// What the vendor does not accept, with the code `meter-request`.
    pub reason: Option<Box<str>>,
    /// Head of the bank's chain that the vendor saw last, with the code `bank-behind`.
    pub last: Option<Box<str>>,
    /// Time of the vendor, with the code `meter-request`.
    pub now: Option<UnixTime>,
}

/// Sends the signed request of a meter, and repeats it if no answer comes: its idempotency key makes that free.
///
/// The receipt is not verified here.
pub fn receipt(
    account: &Account,
    operation: Operation,
    idempotency: &str,
    body: &str,
    signature: &str,
    time: Duration,
) -> Result<String, ReceiptError> {
    let address = format!("{}{}", account.url, operation.path());
    let ask = Request {
        address: &address,
        key: Some(&account.key),
        idempotency: Some(idempotency),
        field: Some((meters::HEADER, signature)),
        body: Some(body),
        time,
    };
    let failed = |error| ReceiptError { error: Box::new(error), problem: None, reason: None, last: None, now: None };
    let reply = send(&account.name, ask).map_err(failed)?;
    if reply.status != 200 {
        let said: Option<serde_json::Map<String, serde_json::Value>> = serde_json::from_slice(&reply.body).ok();
        let text = |name: &str| said.as_ref()?.get(name)?.as_str().map(Box::from);
        let problem = text("problem").filter(|_| (400..500).contains(&reply.status));
        let error = Box::new(refusal(&account.name, &reply).0);
        let now = said.as_ref().and_then(|said| said.get("now")?.as_i64()).map(UnixTime);
        return Err(ReceiptError { error, problem, reason: text("reason"), last: text("last"), now });
    }
    let receipt: SignedReceipt =
        serde_json::from_slice(&reply.body).map_err(|error| failed(unreadable(&account.name, &reply, &error).0))?;
    Ok(receipt.receipt)
}

/// Requests the licences of the account that are not closed.
pub fn licenses(account: &Account, time: Duration) -> Result<Licenses, SupplyError> {
    let address = format!("{}{}", account.url, Operation::Licenses.path());
    let ask = Request { address: &address, key: Some(&account.key), idempotency: None, field: None, body: None, time };
    get(&account.name, ask)
}

/// Sends a request whose repetition is free, a few times if no answer comes.
fn send(account: &str, ask: Request<'_>) -> Result<Response, SupplyError> {
    let mut tries = 1;
    loop {
        match http_client::ask(ask) {
            Ok(reply) if reply.status < 500 || tries == MAX_ATTEMPTS => return Ok(reply),
            Err(error) if tries == MAX_ATTEMPTS => return Err(unavailable(account, &error.to_string())),
            _ => std::thread::sleep(PAUSE * tries),
        }
        tries += 1;
    }
}

/// Returns the stamp, if it is the one that was ordered.
fn checked(text: &str, vendor: &str, recipient: &str, value: u64, bought: i64) -> Result<WalletStamp, String> {
    let token = Token::parse(text).map_err(|error| error.to_string())?;
    let issuer = token.issuer().map_err(|error| error.to_string())?;
    let stamp = Stamp::read(token.payload()).map_err(|error| error.to_string())?;
    let recipient = Address::parse(recipient).map_err(|error| error.to_string())?;
    if issuer.vendor() != vendor {
        return Err(format!("it is of {}, not of {vendor}", issuer.vendor()));
    }
    if !stamp.audience.names(&recipient) {
        return Err("it names another recipient".to_owned());
    }
    if stamp.value < value {
        return Err(format!("it has a value of {}, not of {value}", stamp.value));
    }
    Ok(WalletStamp {
        vendor: vendor.to_owned(),
        serial: stamp.serial,
        recipient,
        value: stamp.value,
        not_before: stamp.not_before,
        expires: stamp.expires,
        bought: UnixTime(bought),
        state: WalletState::Unused,
        token,
    })
}

fn get<T: DeserializeOwned>(account: &str, ask: Request<'_>) -> Result<T, SupplyError> {
    let reply = http_client::ask(ask).map_err(|error| unavailable(account, &error.to_string()))?;
    if reply.status != 200 {
        return Err(refusal(account, &reply).0);
    }
    serde_json::from_slice(&reply.body).map_err(|error| unreadable(account, &reply, &error).0)
}

/// Returns the error of an answer with status 200 that is none of the vendor's API, and what is wrong with the answer.
fn unreadable(account: &str, reply: &Response, error: &serde_json::Error) -> (SupplyError, String) {
    let text = match reply.media_type.as_deref() {
        Some(other) if other != "application/json" => format!("it is {other}, expected application/json"),
        _ => problem(error),
    };
    let detail = readable(text.as_bytes(), MAX_DETAIL);
    (SupplyError::Unreadable { account: account.to_owned(), detail: detail.clone() }, detail)
}

fn unavailable(account: &str, detail: &str) -> SupplyError {
    SupplyError::Away { account: account.to_owned(), detail: readable(detail.as_bytes(), MAX_DETAIL) }
}

/// Interprets an answer other than 200.
///
/// Only the error codes of the vendor's API (RFC 9457) state that nothing was charged. Any other status may come from a
/// proxy, after the vendor sold.
fn refusal(account: &str, reply: &Response) -> (SupplyError, Option<Outcome>) {
    let account = account.to_owned();
    let problem: Option<ProblemDetails> = serde_json::from_slice(&reply.body).ok();
    let Some(ProblemDetails { problem, detail, .. }) = problem else {
        // A 401 or 403 is no exception: proxies and maintenance pages send these, too.
        return (unavailable(&account, &format!("it answers with status {}", reply.status)), None);
    };
    let detail = readable(if detail.is_empty() { problem.as_bytes() } else { detail.as_bytes() }, MAX_DETAIL);
    match problem.as_str() {
        "funds" => (SupplyError::Funds { account, detail }, Some(Outcome::Refused)),
        // An earlier sale under this idempotency key would have been answered, but only with the API key of that time.
        "no-api-key" | "account-closed" => (SupplyError::Key { account, detail }, None),
        "order" | "form" | "range" | "body" | "too-large" | "media-type" | "idempotency-key" | "key-reused" => {
            (SupplyError::Order { account, detail }, Some(Outcome::Refused))
        }
        "daily" => (SupplyError::Later { account, detail }, Some(Outcome::Refused)),
        code if FINAL.contains(&code) => (SupplyError::Refused { account, detail }, None),
        // A code that is newer than this program may be one of these.
        _ => (SupplyError::Later { account, detail }, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vendor_api::problem::CODES;

    fn told(status: u16, body: &str) -> (String, bool, bool) {
        let (error, outcome) = refusal("joe", &Response { status, media_type: None, body: body.into() });
        (error.to_string(), error.passes(), outcome.is_some())
    }

    #[test]
    fn only_the_vendors_own_words_say_that_nothing_was_charged() {
        let problem = |word: &str| format!(r#"{{"type":"/problems#{word}","problem":"{word}","detail":"so it is"}}"#);
        let funds = "joe: not enough credits: so it is".to_owned();
        assert_eq!(told(402, &problem("funds")), (funds, false, true));
        assert!(told(422, &problem("order")).2);
        assert_eq!(told(429, &problem("daily")), ("joe: the vendor cannot do this now: so it is".into(), true, true));
        assert!(!told(429, &problem("rate")).2);
        assert!(!told(401, &problem("no-api-key")).2);
        assert!(!told(402, "pay here").2);
        for status in [401, 403, 502] {
            let away = format!("joe: the vendor cannot be reached now: it answers with status {status}");
            assert_eq!(told(status, "<html>"), (away, true, false));
        }
    }

    #[test]
    fn codes_that_mean_no_charge_are_codes_of_the_api() {
        let refused = |code: &str| told(422, &format!(r#"{{"problem":"{code}"}}"#)).2;
        let refused: Vec<&str> = CODES.iter().map(|(code, ..)| *code).filter(|code| refused(code)).collect();
        let known = ["body", "daily", "form", "funds", "idempotency-key", "key-reused", "media-type", "order", "range"];
        assert_eq!(refused, [&known[..], &["too-large"]].concat());
    }

    // Every code of the API is the vendor's own word: it was reached, and waiting is advised only where it may help
    #[test]
    fn every_code_has_its_own_text_and_says_whether_to_wait() {
        let mut later = Vec::new();
        for (code, status, _) in CODES {
            let (text, passes, _) = told(status, &format!(r#"{{"problem":"{code}","detail":"so it is"}}"#));
            assert!(text.ends_with(": so it is") && !text.contains("reached"), "{code}: {text}");
            if passes {
                later.push(code);
            }
            assert!(status < 500 || passes, "{code}: an error of the vendor");
        }
        let asked_too_often =
            ["code-given", "code-waiting", "daily", "many-licenses", "rate", "revoked-full", "sold-out"];
        let of_the_vendor = ["busy", "disk-full", "mail", "provider", "signing-key", "trouble"];
        let mut expected = [&asked_too_often[..], &of_the_vendor].concat();
        expected.sort_unstable();
        assert_eq!(later, expected);
        assert_eq!(
            told(422, r#"{"problem":"of-2030"}"#),
            ("joe: the vendor cannot do this now: of-2030".into(), true, false)
        );
    }

    #[test]
    fn what_the_client_needs_not_may_be_missing_or_new() {
        let bought = r#"{"stamps":[{"stamp":"v4.public.x","new":1}],"caps":{"new":1},"entry":"new","new":1}"#;
        let bought: IssueResponse = serde_json::from_str(bought).unwrap();
        assert_eq!((bought.stamps.len(), bought.entry), (1, 0));
        let prices: Prices = serde_json::from_str(r#"{"vendor":"v.example","price":"0.01 EUR","days":"new"}"#).unwrap();
        assert_eq!(prices.vendor, "v.example");
        let caps = r#"{"stamps":1,"value":2,"days":3,"credits_a_day":4}"#;
        let status = format!(r#"{{"name":"joe","balance":7,"spent_today":2,"caps":{caps},"owns":0}}"#);
        assert_eq!(serde_json::from_str::<AccountStatus>(&status).unwrap().balance, 7);
        assert!(serde_json::from_str::<AccountStatus>(r#"{"name":"joe"}"#).is_err());
    }

    #[test]
    fn a_vendors_words_reach_no_terminal_as_they_came() {
        let (told, ..) = told(402, r#"{"problem":"funds","detail":"\u001b[31mred\nline"}"#);
        assert!(!told.contains(['\u{1b}', '\n']), "{told:?}");
    }
}
