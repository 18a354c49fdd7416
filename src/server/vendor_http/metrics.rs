//! The numbers of the service for Prometheus, on a listener of their own (`--metrics`): what the ledger holds is nobody's
//! affair who can only reach the shop. Routes are counted by their pattern, so that nothing of a request stands in a label.

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

/// The upper ends of the classes of times, in seconds.
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
    book: String,
    unit: String,
}

/// The numbers.
pub struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    times: Family<Route, Histogram, fn() -> Histogram>,
    sold: Counter,
    again: Counter,
    connections: Gauge,
    entries: Gauge,
    accounts: Gauge,
    stamps: Gauge,
    bytes: Gauge,
    balances: Family<Of, Gauge>,
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
    /// All of them at nothing.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("mailstamp_vendor");
        let times: Family<Route, Histogram, fn() -> Histogram> = Family::new_with_constructor(|| Histogram::new(TIMES));
        let it = Self {
            requests: Family::default(),
            times,
            sold: Counter::default(),
            again: Counter::default(),
            connections: Gauge::default(),
            entries: Gauge::default(),
            accounts: Gauge::default(),
            stamps: Gauge::default(),
            bytes: Gauge::default(),
            balances: Family::default(),
            registry: Registry::default(),
        };
        registry.register("requests", "Requests answered", it.requests.clone());
        registry.register("request_seconds", "Time to answer", it.times.clone());
        registry.register("sold_stamps", "Stamps sold since the service began", it.sold.clone());
        registry.register("repeated_sales", "Sales that were asked for again and not charged again", it.again.clone());
        registry.register("connections", "Connections open now", it.connections.clone());
        registry.register("ledger_entries", "Entries of the chain", it.entries.clone());
        registry.register("ledger_accounts", "Accounts", it.accounts.clone());
        registry.register("ledger_stamps", "Stamps ever sold", it.stamps.clone());
        registry.register("ledger_bytes", "Size of the file of the ledger", it.bytes.clone());
        registry.register("ledger_balance", "Balances of the ledger but those of accounts", it.balances.clone());
        Self { registry, ..it }
    }

    /// Stamps were sold, or had been before.
    pub fn sold(&self, stamps: usize, again: bool) {
        if again {
            self.again.inc();
        } else {
            self.sold.inc_by(stamps as u64);
        }
    }

    /// The number of connections, to be kept by who opens them.
    #[must_use]
    pub fn connections(&self) -> Gauge {
        self.connections.clone()
    }
}

/// Counts a request, and how long it took.
pub async fn count(State(service): State<Service>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    // Methods that nobody knows are of any length and number.
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
    for balance in summary.balances {
        let unit = match balance.unit {
            Unit::Credits => "credits".to_owned(),
            Unit::Money(currency) => format!("micro{currency}"),
        };
        let book = format!("{:?}", balance.book).to_ascii_lowercase();
        numbers.balances.get_or_create(&Of { book, unit }).set(balance.amount);
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

/// `GET /healthz`: whether the ledger answers, what is sold can be signed, and what was written last could be.
pub async fn health(State(service): State<Service>) -> Response {
    match service.ledger(|ledger, _| ledger.well()).await {
        Ok(_) => ([(CONTENT_TYPE, "text/plain")], "ok\n").into_response(),
        Err(problem) => problem.into_response(),
    }
}
