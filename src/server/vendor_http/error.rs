//! Problem details of failed requests: `application/problem+json` (RFC 9457).
//!
//! The `type` and the code in `problem` are stable. A rejection of the ledger adds its numbers, such as the cap that
//! was exceeded or the credits that are missing. `/problems` explains every code to people.

use crate::ledger::error::LedgerError;
use crate::ledger::rejection::Rejection;
use crate::server::diagnostics::warn_stderr;
use crate::time::UnixTime;
use crate::vendor_api::problem::{CODES, ProblemDetails};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// The media type (RFC 9457 section 3).
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Problem details of a failed request.
#[derive(Clone, Debug)]
pub struct Problem {
    /// HTTP status of the answer.
    pub status: StatusCode,
    /// Stable code.
    pub word: &'static str,
    /// Description for people; not stable.
    pub detail: String,
    /// Seconds after which a retry may succeed.
    pub retry_after: Option<u64>,
    /// Members beyond those of the RFC.
    pub more: Map<String, Value>,
}

impl Problem {
    /// Creates a problem with this code, with the status from [`CODES`].
    #[must_use]
    pub fn new(word: &'static str, detail: impl Into<String>) -> Self {
        let status = CODES.iter().find(|(known, ..)| *known == word).map_or(500, |(_, status, _)| *status);
        Self {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            word,
            detail: detail.into(),
            retry_after: None,
            more: Map::new(),
        }
    }

    /// Converts an error of the ledger. Details of internal errors go to the operator only.
    #[must_use]
    pub fn of(error: &LedgerError, now: UnixTime) -> Self {
        match error {
            LedgerError::Refused(refusal) => {
                if matches!(refusal, Rejection::RevokedFull { .. }) {
                    warn_stderr(&refusal.to_string());
                }
                Self::refused(refusal, now)
            }
            LedgerError::Mail { unknown, .. } => {
                warn_stderr(&error.to_string());
                let detail = if *unknown {
                    "the vendor's mail server stopped answering; the code may still come, and holds for a day"
                } else {
                    "the vendor's mail server did not take the code; this one does not count, try again later"
                };
                Self { retry_after: Some(60), ..Self::new("mail", detail) }
            }
            other if other.is_disk_full() => {
                let detail = "the vendor's disk is full; try again later, with the same idempotency key nothing is \
                              charged twice";
                warn_stderr(&other.to_string());
                Self { retry_after: Some(60), ..Self::new("disk-full", detail) }
            }
            other => Self::trouble(&other.to_string()),
        }
    }

    /// Converts a rejection of the ledger.
    #[must_use]
    pub fn refused(refusal: &Rejection, now: UnixTime) -> Self {
        let mut problem = Self::new(refusal.code(), refusal.to_string());
        if let Ok(Value::Object(mut members)) = serde_json::to_value(refusal) {
            members.remove("refusal");
            // An error of an order or a stamp has its own member, `reason`.
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
            Rejection::CodeWaiting { after, .. }
            | Rejection::ManyCodes { after }
            | Rejection::SoldOut { after }
            | Rejection::CodeGiven { after } => Some(seconds(after.since(now))),
            _ => None,
        };
        problem
    }

    /// Creates the problem of an internal error. `what` goes to the operator only.
    #[must_use]
    pub fn trouble(what: &str) -> Self {
        warn_stderr(what);
        let detail = "internal error of the vendor; try again, with the same idempotency key nothing is charged twice";
        Self { retry_after: Some(5), ..Self::new("trouble", detail) }
    }

    /// Creates the problem of too many requests.
    #[must_use]
    pub fn rate(wait: Duration) -> Self {
        let wait = wait.as_secs_f64().ceil().clamp(1.0, 86_400.0) as u64;
        Self { retry_after: Some(wait), ..Self::new("rate", "too many requests; wait a moment") }
    }

    /// Creates the problem of a provider of payments. `what` goes to the operator only.
    #[must_use]
    pub fn provider(what: &str) -> Self {
        Self::told(
            what,
            "the payment provider does not answer; whatever you paid is not lost: try again later".to_owned(),
        )
    }

    /// Creates the problem of another party. `what` goes to the operator only.
    #[must_use]
    pub fn told(what: &str, detail: String) -> Self {
        warn_stderr(what);
        Self { retry_after: Some(60), ..Self::new("provider", detail) }
    }

    /// Creates the problem of a full queue.
    #[must_use]
    pub fn busy(detail: &str) -> Self {
        Self { retry_after: Some(5), ..Self::new("busy", detail) }
    }

    /// Formats the problem as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        let mut members = self.more.clone();
        let own = ProblemDetails {
            kind: format!("/problems#{}", self.word),
            title: self.status.canonical_reason().unwrap_or_default().to_owned(),
            status: self.status.as_u16(),
            detail: self.detail.clone(),
            problem: self.word.to_owned(),
        };
        if let Value::Object(own) = json!(own) {
            members.extend(own);
        }
        Value::Object(members)
    }

    /// Adds the fields `Retry-After` and `WWW-Authenticate` where they apply.
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
    use crate::accounting::money::Money;
    use crate::accounting::order::OrderError;
    use crate::accounting::redemption::StampProblem;
    use crate::vendor_api::meters::RequestProblem;

    const NOW: UnixTime = UnixTime(1_795_600_000);

    #[test]
    fn every_refusal_has_a_status_and_a_sentence() {
        let text = String::new;
        let sum: Money = "1 EUR".parse().unwrap();
        for refusal in [
            Rejection::NoAccount { account: text() },
            Rejection::AccountExists { name: text() },
            Rejection::Form { what: text(), wanted: text() },
            Rejection::AccountClosed { account: 1 },
            Rejection::NoApiKey,
            Rejection::LastApiKey,
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
            Rejection::RevokedFull { listed: 1, most: 1 },
            Rejection::SigningKey { kid: text(), problem: text() },
            Rejection::MetersOff,
            Rejection::LicenseLimit { asked: 2, most: 1 },
            Rejection::ManyLicenses { live: 1, of: text() },
            Rejection::NoLicense { kid: text() },
            Rejection::MeterRequest { problem: RequestProblem::Missing, now: NOW },
            Rejection::BankBehind { last: text(), sent: text() },
            Rejection::OtherRecipient { recipient: text() },
            Rejection::NoWork,
            Rejection::SoldOut { after: NOW },
            Rejection::CodeGiven { after: NOW },
            Rejection::Range,
            Rejection::PaidOtherwise { paid: sum, price: sum },
        ] {
            let problem = Problem::refused(&refusal, NOW);
            assert!(CODES.iter().any(|(word, ..)| *word == refusal.code()), "{} is not explained", refusal.code());
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
