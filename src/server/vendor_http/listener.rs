//! Listening sockets and shutdown of the vendor's service. `server::http::listener` handles the connections and their
//! limits, and `routes` the requests.

use super::log_publisher::LogPublisher;
use super::tls::Tls;
use super::{ServeError, Service, routes};
use crate::ledger::ops;
use crate::os::clock;
use crate::server::diagnostics::warn_stderr;
use crate::server::http::listener::{Handshake, HttpListener, Limits, PlainTcp};
use axum::Router;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::interval;

/// Serves until SIGTERM or SIGINT. Calls `listening` with the addresses once it accepts.
///
/// # Errors
/// When it cannot start.
pub async fn serve(service: Service, listening: impl FnOnce(&str)) -> Result<(), ServeError> {
    let settings = service.settings().clone();
    let tls = settings.tls.as_ref().map(Tls::read).transpose()?.map(Arc::new);
    let (listener, address) = listen(settings.listen).await?;
    let mut told = format!("{}://{address}/", if tls.is_some() { "https" } else { "http" });
    let metrics = match settings.metrics {
        Some(address) => {
            let (listener, address) = listen(address).await?;
            told += &format!(" metrics http://{address}/metrics");
            Some(listener)
        }
        None => None,
    };
    let (mut end, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut renew = signal(SignalKind::hangup())?;
    let (ending, ended) = watch::channel(false);
    let numbers = metrics.map(|listener| open(&service, PlainTcp, listener, routes::numbers(&service), ended.clone()));
    let shop = match tls.clone() {
        Some(tls) => open(&service, tls, listener, routes::all(&service), ended),
        None => open(&service, PlainTcp, listener, routes::all(&service), ended),
    };
    listening(&told);
    let log = LogPublisher::default();
    let mut minute = interval(Duration::from_secs(60));
    loop {
        tokio::select! {
            _ = minute.tick() => {
                tokio::spawn(log.clone().tick(service.clone(), clock::now()));
                // Its problem was reported.
                drop(service.ledger(|ledger, now| ledger.run(ops::Forget {}, now)).await);
            }
            _ = end.recv() => break,
            _ = interrupt.recv() => break,
            _ = renew.recv() => if let Some(Err(error)) = tls.as_ref().map(|tls| tls.renew()) {
                warn_stderr(&error.to_string());
            },
        }
    }
    // The receivers may be gone already.
    let _ = ending.send(true);
    let _ = shop.await;
    if let Some(numbers) = numbers {
        let _ = numbers.await;
    }
    Ok(())
}

/// Accepts connections on a listener, for these routes.
fn open(
    service: &Service,
    greeting: impl Handshake,
    listener: TcpListener,
    router: Router,
    ended: watch::Receiver<bool>,
) -> JoinHandle<()> {
    let settings = service.settings();
    let limits = Limits {
        header: settings.limits.header,
        answer: settings.limits.request,
        connections: settings.limits.connections,
        connections_each: settings.limits.connections_each,
        trusted: settings.trusted_proxies.clone(),
        end: settings.limits.end,
    };
    let inside = service.metrics().connections();
    tokio::spawn(HttpListener::new(limits, greeting, inside, warn_stderr, ended).take(listener, router))
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), ServeError> {
    let failed = |source| ServeError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}
