//! What a program is told when a request is not done: `application/problem+json` (RFC 9457). The `type` and the word in
//! `problem` are stable; a refusal of the ledger carries its numbers (the cap that was met, the credits that are missing)
//! beside them. `/problems` explains every word to people.

use crate::ledger::error::LedgerError;
use crate::ledger::rejection::Rejection;
use crate::server::diagnostics::warn_stderr;
use crate::time::UnixTime;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// The media type (RFC 9457 section 3).
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Why a request was not done.
#[derive(Clone, Debug)]
pub struct Problem {
    /// The status of the answer.
    pub status: StatusCode,
    /// The stable word.
    pub word: &'static str,
    /// What happened, for people; not stable.
    pub detail: String,
    /// After how many seconds it may be worth another try.
    pub retry_after: Option<u64>,
    /// Members beside those of the RFC.
    pub more: Map<String, Value>,
}

/// Every word with its status and what it means.
pub const WORDS: [(&str, u16, &str); 27] = [
    ("account-closed", 403, "The account is closed. Its credits can still be paid out by the vendor."),
    ("account-exists", 409, "There is an account of this name already."),
    ("body", 400, "The body of the request is not JSON of the form that is asked for."),
    ("code-waiting", 429, "Codes were mailed to this address, or for this account, not long ago; look there, or wait."),
    ("daily", 429, "The account's cap of credits for one day is met. It begins anew at midnight, UTC."),
    ("form", 422, "A name, an address or a code does not have its form."),
    ("funds", 402, "There are not enough credits to pay with."),
    (
        "idempotency-key",
        400,
        "The header field Idempotency-Key is missing or malformed: 1 to 128 printable characters, new for every purchase and the same for every retry.",
    ),
    ("key-reused", 422, "The idempotency key was used for another request. Nothing was charged."),
    ("media-type", 415, "The body of the request has to be application/json."),
    ("method", 405, "This address does not know the method."),
    ("no-account", 404, "There is no such account."),
    ("no-api-key", 401, "No account is opened by the API key that was sent, or none was sent."),
    ("no-code", 422, "No code is waiting for this address; ask for a new one."),
    ("no-refunds", 403, "This vendor takes no unused stamps back."),
    ("no-voucher", 422, "No voucher has this code, or it is spent."),
    ("not-found", 404, "There is nothing at this address."),
    ("order", 422, "An order is outside the caps; which order and which cap is said."),
    ("paid-otherwise", 402, "What was paid is less than this costs."),
    ("range", 422, "More than can be counted."),
    ("rate", 429, "Too many requests; wait for as many seconds as Retry-After says."),
    (
        "revoked-full",
        403,
        "As many stamps were given back or revoked as the vendor can publish. Try again in some days.",
    ),
    ("signing-key", 409, "The vendor's signing key cannot do this."),
    ("stamp", 422, "A stamp cannot be taken or revoked; which one and why is said."),
    ("too-large", 413, "The body of the request is larger than is read."),
    (
        "trouble",
        503,
        "The vendor has trouble of his own. Try again: with the same idempotency key nothing is charged twice.",
    ),
    ("wrong-code", 422, "Not the code that was mailed."),
];

impl Problem {
    /// A problem of this word. Its status is that of [`WORDS`].
    #[must_use]
    pub fn new(word: &'static str, detail: impl Into<String>) -> Self {
        let status = WORDS.iter().find(|(known, ..)| *known == word).map_or(500, |(_, status, _)| *status);
        Self {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            word,
            detail: detail.into(),
            retry_after: None,
            more: Map::new(),
        }
    }

    /// The problem that the ledger had. Trouble of our own is told to the operator, and to nobody else what it was.
    #[must_use]
    pub fn of(error: &LedgerError, now: UnixTime) -> Self {
        match error {
            LedgerError::Refused(refusal) => {
                if matches!(refusal, Rejection::RevokedFull { .. }) {
                    warn_stderr(&refusal.to_string());
                }
                Self::refused(refusal, now)
            }
            other => Self::trouble(&other.to_string()),
        }
    }

    /// The ledger refused.
    #[must_use]
    pub fn refused(refusal: &Rejection, now: UnixTime) -> Self {
        let mut problem = Self::new(refusal.code(), refusal.to_string());
        if let Ok(Value::Object(mut members)) = serde_json::to_value(refusal) {
            members.remove("refusal");
            // What is wrong with an order or a stamp says so under a name of its own.
            for (name, value) in members {
                match (name.as_str(), value) {
                    ("error", Value::Object(order)) => {
                        for (name, value) in order {
                            let name = if name == "problem" { "reason".to_owned() } else { name };
                            problem.more.insert(name, value);
                        }
                    }
                    ("problem", reason) => drop(problem.more.insert("reason".to_owned(), reason)),
                    (_, value) => drop(problem.more.insert(name, value)),
                }
            }
        }
        problem.retry_after = match refusal {
            Rejection::Daily { .. } => Some(seconds(86_400 - now.0.rem_euclid(86_400))),
            Rejection::CodeWaiting { after, .. } | Rejection::ManyCodes { after } => Some(seconds(after.since(now))),
            _ => None,
        };
        problem
    }

    /// Our own trouble. `what` is told to the operator only.
    #[must_use]
    pub fn trouble(what: &str) -> Self {
        warn_stderr(what);
        let detail =
            "the vendor has trouble of his own; try again, with the same idempotency key nothing is charged twice";
        Self { retry_after: Some(5), ..Self::new("trouble", detail) }
    }

    /// Too many requests.
    #[must_use]
    pub fn rate(wait: Duration) -> Self {
        let wait = wait.as_secs_f64().ceil().clamp(1.0, 86_400.0) as u64;
        Self { retry_after: Some(wait), ..Self::new("rate", "too many requests; wait a moment") }
    }

    /// What an API key that opens nothing is answered, whatever the reason.
    #[must_use]
    pub fn no_api_key() -> Self {
        Self::new(Rejection::NoApiKey.code(), Rejection::NoApiKey.to_string())
    }

    /// The JSON of it.
    #[must_use]
    pub fn json(&self) -> Value {
        let mut members = self.more.clone();
        let own = json!({
            "type": format!("/problems#{}", self.word),
            "title": self.status.canonical_reason(),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "problem": self.word,
        });
        if let Value::Object(own) = own {
            members.extend(own);
        }
        Value::Object(members)
    }

    /// Adds the field `Retry-After` and what goes with the status.
    pub fn mark(&self, response: &mut Response) {
        let fields = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            fields.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            // RFC 9110 section 11.6.1
            fields.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let media_type = [(header::CONTENT_TYPE, MEDIA_TYPE)];
        let mut response = (self.status, media_type, self.json().to_string()).into_response();
        self.mark(&mut response);
        response
    }
}

fn seconds(from: i64) -> u64 {
    u64::try_from(from).unwrap_or(0).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounting::order::OrderError;
    use crate::ledger::rejection::StampProblem;

    const NOW: UnixTime = UnixTime(1_795_600_000);

    #[test]
    fn words_are_sorted_and_each_once() {
        assert!(WORDS.windows(2).all(|pair| pair[0].0 < pair[1].0), "{WORDS:?}");
    }

    #[test]
    fn every_refusal_has_a_status_and_a_sentence() {
        let text = String::new;
        for refusal in [
            Rejection::NoAccount { account: text() },
            Rejection::AccountExists { name: text() },
            Rejection::Form { what: text(), wanted: text() },
            Rejection::AccountClosed { account: 1 },
            Rejection::NoApiKey,
            Rejection::Funds { needed: 2, balance: 1 },
            Rejection::Order { error: OrderError::None },
            Rejection::Daily { asked: 1, spent: 2, cap: 1 },
            Rejection::KeyReused { key: text() },
            Rejection::NoVoucher,
            Rejection::Stamp { stamp: 1, problem: StampProblem::Forged },
            Rejection::NoCode { subject: text() },
            Rejection::WrongCode { subject: text(), left: 1 },
            Rejection::CodeWaiting { subject: text(), after: NOW },
            Rejection::ManyCodes { after: NOW },
            Rejection::NoRefunds,
            Rejection::RevokedFull { listed: 1, most: 1 },
            Rejection::SigningKey { kid: text(), problem: text() },
            Rejection::Range,
            Rejection::PaidOtherwise { paid: 1, needed: 2 },
        ] {
            let problem = Problem::refused(&refusal, NOW);
            assert!(WORDS.iter().any(|(word, ..)| *word == refusal.code()), "{} is not explained", refusal.code());
            assert!(problem.status.is_client_error(), "{refusal:?}");
        }
    }

    // BP1c: caps are stated
    #[test]
    fn the_numbers_of_a_refusal_stand_beside_its_word() {
        let error = OrderError::Value { order: 3, asked: 2_000, cap: 1_000 };
        let problem = Problem::refused(&Rejection::Order { error }, NOW).json();
        assert_eq!(problem["problem"], "order");
        assert_eq!(problem["type"], "/problems#order");
        assert_eq!((&problem["reason"], &problem["order"]), (&json!("value"), &json!(3)));
        assert_eq!((&problem["asked"], &problem["cap"]), (&json!(2_000), &json!(1_000)));
        let problem =
            Problem::refused(&Rejection::Daily { asked: 5, spent: 12, cap: 10 }, UnixTime(86_400 * 3 + 86_390));
        assert_eq!(problem.retry_after, Some(10));
        assert_eq!(problem.json()["cap"], 10);
    }
}
