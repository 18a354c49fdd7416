//! Metrics of the service for Prometheus, on a separate listener (`--metrics`): clients of the shop must not see what
//! the ledger holds. Routes are counted by their pattern, so that labels contain nothing of a request.

use super::Service;
use crate::accounting::double_entry::Unit;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::fmt;
use std::time::Instant;

/// Upper ends of the buckets of times, in seconds.
const TIMES: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    route: String,
    method: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    account: String,
    unit: String,
}

/// Metrics of the service.
pub struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    times: Family<Route, Histogram, fn() -> Histogram>,
    sold: Counter,
    given: Counter,
    again: Counter,
    connections: Gauge,
    entries: Gauge,
    accounts: Gauge,
    stamps: Gauge,
    bytes: Gauge,
    balances: Family<Of, Gauge>,
    licenses: Gauge,
    licensed: Gauge,
    cleared: Gauge,
    over: Gauge,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Creates the metrics, all zero.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("mailstamp_vendor");
        let times: Family<Route, Histogram, fn() -> Histogram> = Family::new_with_constructor(|| Histogram::new(TIMES));
        let it = Self {
            requests: Family::default(),
            times,
            sold: Counter::default(),
            given: Counter::default(),
            again: Counter::default(),
            connections: Gauge::default(),
            entries: Gauge::default(),
            accounts: Gauge::default(),
            stamps: Gauge::default(),
            bytes: Gauge::default(),
            balances: Family::default(),
            licenses: Gauge::default(),
            licensed: Gauge::default(),
            cleared: Gauge::default(),
            over: Gauge::default(),
            registry: Registry::default(),
        };
        registry.register("requests", "Requests answered", it.requests.clone());
        registry.register("request_seconds", "Time to answer", it.times.clone());
        registry.register("sold_stamps", "Stamps sold since the service started", it.sold.clone());
        registry.register(
            "given_stamps",
            "Stamps without value that were given since the service started",
            it.given.clone(),
        );
        registry.register("repeated_sales", "Sales that were requested again and not charged again", it.again.clone());
        registry.register("connections", "Open connections", it.connections.clone());
        registry.register("ledger_entries", "Entries of the chain", it.entries.clone());
        registry.register("ledger_accounts", "Accounts", it.accounts.clone());
        registry.register("ledger_stamps", "Stamps ever sold", it.stamps.clone());
        registry.register("ledger_bytes", "Size of the ledger file", it.bytes.clone());
        registry.register("ledger_balance", "Balances of the ledger, except those of accounts", it.balances.clone());
        registry.register("ledger_licenses", "Licences that are not closed", it.licenses.clone());
        registry.register("ledger_licensed_credits", "Credits that licences lock", it.licensed.clone());
        registry.register("ledger_cleared_payments", "Payments of meters that were cleared", it.cleared.clone());
        let help = "Payments of meters beyond the limit of their licence, which were not cleared";
        registry.register("ledger_over_limit_payments", help, it.over.clone());
        Self { registry, ..it }
    }

    /// Counts stamps that were sold, or a sale that was requested again.
    pub fn sold(&self, stamps: usize, again: bool) {
        if again {
            self.again.inc();
        } else {
            self.sold.inc_by(stamps as u64);
        }
    }

    /// Counts a stamp without value.
    pub fn gave(&self) {
        self.given.inc();
    }

    /// Returns the gauge of open connections, which the listener updates.
    #[must_use]
    pub fn connections(&self) -> Gauge {
        self.connections.clone()
    }
}

/// Counts a request and its time, as middleware.
pub async fn count(State(service): State<Service>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    // Unknown methods have any length and number.
    let method = match request.method().as_str() {
        method @ ("GET" | "HEAD" | "POST" | "DELETE") => method,
        _ => "other",
    };
    let method = method.to_owned();
    let begin = Instant::now();
    let response = next.run(request).await;
    let metrics = service.metrics();
    metrics.times.get_or_create(&Route { route: route.clone() }).observe(begin.elapsed().as_secs_f64());
    metrics.requests.get_or_create(&Answered { route, method, status: response.status().as_u16() }).inc();
    response
}

/// `GET /metrics`.
pub async fn metrics(State(service): State<Service>) -> Response {
    let summary = match service.ledger(|ledger, _| ledger.summary()).await {
        Ok(summary) => summary,
        Err(problem) => return problem.into_response(),
    };
    let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let numbers = service.metrics();
    numbers.entries.set(whole(summary.head.number));
    numbers.accounts.set(whole(summary.accounts));
    numbers.stamps.set(whole(summary.stamps));
    numbers.bytes.set(whole(summary.bytes));
    numbers.licenses.set(whole(summary.licenses));
    numbers.licensed.set(summary.licensed);
    numbers.cleared.set(whole(summary.cleared));
    numbers.over.set(whole(summary.over));
    for balance in summary.balances {
        let unit = match balance.unit {
            Unit::Credits => "credits".to_owned(),
            Unit::Money(currency) => format!("micro{currency}"),
        };
        let account = format!("{:?}", balance.account).to_ascii_lowercase();
        numbers.balances.get_or_create(&Of { account, unit }).set(balance.amount);
    }
    let mut out = String::new();
    match text::encode(&mut out, &numbers.registry) {
        Ok(()) => {
            let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(CONTENT_TYPE, media_type)], out).into_response()
        }
        Err(error) => super::error::Problem::trouble(&error.to_string()).into_response(),
    }
}

/// `GET /healthz`: whether the ledger answers, stamps can be signed, the last write succeeded, and there is a directory.
pub async fn health(State(service): State<Service>) -> Response {
    let asked = service.clone();
    let checked = service.ledger(move |ledger, now| {
        ledger.well()?;
        Ok(asked.edition().text(&asked, ledger, now).map(drop))
    });
    match checked.await.and_then(|edition| edition.map_err(|error| super::error::Problem::trouble(&error))) {
        Ok(()) => ([(CONTENT_TYPE, "text/plain")], "ok\n").into_response(),
        Err(problem) => problem.into_response(),
    }
}
