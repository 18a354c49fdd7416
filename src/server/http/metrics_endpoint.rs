//! Metrics endpoint of a long-running process: `/metrics` for Prometheus, and `/healthz`. It listens on this machine
//! only.
//!
//! It runs on one thread, and only when the configuration sets its address. It reads nothing of a request but the path,
//! and never blocks on a client.

use super::listener::{HttpListener, Limits, PlainTcp};
use crate::server::diagnostics::log_stderr;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::metrics::gauge::Gauge;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tower_http::timeout::TimeoutLayer;

/// Most connections at once; a scraper needs one.
const CONNECTIONS: usize = 16;
/// Timeout of a header, of an idle connection, and of an unread answer.
const IO_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout of a request.
const REQUEST: Duration = Duration::from_secs(3);
/// How long requests under way may take at shutdown.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
/// Content type of OpenMetrics.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The running endpoint.
#[derive(Debug)]
pub(crate) struct MetricsEndpoint {
    /// Address at which it listens.
    pub(crate) address: SocketAddr,
    ending: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

/// Process whose numbers are shown.
pub(crate) trait MetricsSource: Send + Sync + 'static {
    /// Formats all numbers as OpenMetrics text.
    fn text(&self) -> Result<String, fmt::Error>;

    /// Returns what is wrong; `None` if the process can do its work.
    fn trouble(&self) -> Option<&'static str>;
}

type Source = Arc<dyn MetricsSource>;

impl MetricsEndpoint {
    /// Starts the endpoint at this address.
    pub(crate) fn begin(address: SocketAddr, source: Arc<dyn MetricsSource>) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(CONNECTIONS).build()?;
        let listener = {
            let _inside = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let router = Router::new()
            .route("/metrics", get(metrics))
            .route("/healthz", get(health))
            .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, REQUEST))
            .with_state(source);
        let limits = Limits {
            header: IO_TIMEOUT,
            answer: IO_TIMEOUT,
            connections: CONNECTIONS,
            // All clients have the same address, and the one that is idle longest makes room.
            connections_each: usize::MAX,
            trusted: Vec::new(),
            end: DRAIN_TIMEOUT,
        };
        let (ending, ended) = watch::channel(false);
        let http = HttpListener::new(limits, PlainTcp, Gauge::default(), log_stderr, ended);
        let thread = thread::Builder::new().name("metrics".into()).spawn(move || {
            runtime.block_on(http.take(listener, router));
            runtime.shutdown_timeout(DRAIN_TIMEOUT);
        })?;
        Ok(Self { address, ending, thread })
    }

    /// Stops accepting, and waits until requests under way are answered.
    pub(crate) fn end(self) {
        let _ = self.ending.send(true);
        let _ = self.thread.join();
    }
}

/// `GET /metrics`.
async fn metrics(State(source): State<Source>) -> Response {
    match spawn_blocking(move || source.text()).await {
        Ok(Ok(text)) => ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// `GET /healthz`.
async fn health(State(source): State<Source>) -> Response {
    match spawn_blocking(move || source.trouble()).await {
        Ok(None) => "ok\n".into_response(),
        Ok(Some(trouble)) => (StatusCode::SERVICE_UNAVAILABLE, format!("{trouble}\n")).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
