//! Connections: accepted within limits, served with HTTP/1, and ended in order. A slow client costs one connection of his
//! own address and nobody else's time: a header has a limit, a request has one, and so has an answer that nobody reads.
//! What a request means is left to the routes.

use super::caller::Peer;
use super::tls::Tls;
use super::{ServeError, Service, routes, tell};
use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Sleep, sleep, timeout};

/// Serves until SIGTERM or SIGINT. `listening` is told the addresses once connections are taken.
///
/// # Errors
/// When it cannot begin.
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
    let whole = Arc::new(Doors::new(&service, tls.clone(), ended.clone()));
    let numbers = metrics.map(|listener| {
        let doors = Arc::new(Doors::new(&service, None, ended.clone()));
        tokio::spawn(doors.take(listener, routes::numbers(&service)))
    });
    let shop = tokio::spawn(Arc::clone(&whole).take(listener, routes::all(&service)));
    listening(&told);
    loop {
        tokio::select! {
            _ = end.recv() => break,
            _ = interrupt.recv() => break,
            _ = renew.recv() => if let Some(Err(error)) = tls.as_ref().map(|tls| tls.renew()) {
                tell(&error.to_string());
            },
        }
    }
    // Whoever is listening may have gone already.
    let _ = ending.send(true);
    let _ = shop.await;
    if let Some(numbers) = numbers {
        let _ = numbers.await;
    }
    Ok(())
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), ServeError> {
    let failed = |source| ServeError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Who may come in, and how many at once.
struct Doors {
    service: Service,
    tls: Option<Arc<Tls>>,
    places: Arc<Semaphore>,
    each: Mutex<HashMap<IpAddr, usize>>,
    ended: watch::Receiver<bool>,
}

/// A connection that was let in; it leaves when this is dropped.
struct Guest {
    doors: Arc<Doors>,
    address: IpAddr,
}

impl Doors {
    fn new(service: &Service, tls: Option<Arc<Tls>>, ended: watch::Receiver<bool>) -> Self {
        let places = Arc::new(Semaphore::new(service.settings().limits.connections));
        Self { service: service.clone(), tls, places, each: Mutex::default(), ended }
    }

    async fn take(self: Arc<Self>, listener: TcpListener, router: Router) {
        let mut ended = self.ended.clone();
        let mut ending = pin!(async move { drop(ended.wait_for(|ended| *ended).await) });
        loop {
            // While all places are taken, the system's queue holds those who come.
            let place = tokio::select! {
                () = &mut ending => break,
                place = Arc::clone(&self.places).acquire_owned() => place,
            };
            let accepted = tokio::select! {
                () = &mut ending => break,
                accepted = listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, or a connection that went before it came: neither is for ever.
                    if error.kind() != io::ErrorKind::ConnectionAborted {
                        tell(&format!("cannot take a connection: {error}"));
                        sleep(Duration::from_millis(50)).await;
                    }
                    continue;
                }
            };
            let Some(guest) = self.let_in(peer.ip().to_canonical()) else { continue };
            let (doors, router) = (Arc::clone(&self), router.clone());
            tokio::spawn(async move {
                doors.attend(stream, peer.ip(), router).await;
                drop((guest, place));
            });
        }
        // Their requests are finished; then all places are free again.
        let all = u32::try_from(self.service.settings().limits.connections).unwrap_or(u32::MAX);
        let _ = timeout(self.service.settings().limits.end, self.places.acquire_many(all)).await;
    }

    fn let_in(self: &Arc<Self>, address: IpAddr) -> Option<Guest> {
        let settings = self.service.settings();
        let mut each = self.each.lock().unwrap_or_else(PoisonError::into_inner);
        let count = each.entry(address).or_default();
        if *count >= settings.limits.connections_each && !settings.trusted_proxies.contains(&address) {
            return None;
        }
        *count += 1;
        self.service.metrics().connection(1);
        Some(Guest { doors: Arc::clone(self), address })
    }

    /// Serves a connection to its end, which nobody needs to know.
    async fn attend(&self, stream: TcpStream, peer: IpAddr, router: Router) {
        // Answers are written whole; waiting for more would only delay them.
        let _ = stream.set_nodelay(true);
        let limits = self.service.settings().limits;
        match &self.tls {
            None => self.speak(stream, peer, router).await,
            Some(tls) => {
                if let Ok(Ok(stream)) = timeout(limits.header, tls.acceptor().accept(stream)).await {
                    self.speak(stream, peer, router).await;
                }
            }
        }
    }

    async fn speak(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, peer: IpAddr, router: Router) {
        let limits = self.service.settings().limits;
        let router = TowerToHyperService::new(router);
        let answer = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            router.call(request)
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(limits.header).max_buf_size(64 * 1024).half_close(false);
        let stream = TokioIo::new(Patient { stream, patience: limits.request, waiting: None });
        let mut connection = pin!(http.serve_connection(stream, answer));
        let mut ended = self.ended.clone();
        tokio::select! {
            _ = connection.as_mut() => {}
            () = async { drop(ended.wait_for(|ended| *ended).await) } => {
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
            }
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.doors.service.metrics().connection(-1);
        let mut each = self.doors.each.lock().unwrap_or_else(PoisonError::into_inner);
        match each.get_mut(&self.address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(each.remove(&self.address)),
        }
    }
}

/// A stream that fails when nobody reads what is written for as long as `patience`.
struct Patient<S> {
    stream: S,
    patience: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    fn watched<T>(
        &mut self,
        context: &mut Context<'_>,
        went: impl FnOnce(&mut S, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match went(&mut self.stream, context) {
            Poll::Ready(done) => {
                self.waiting = None;
                Poll::Ready(done)
            }
            Poll::Pending => {
                let patience = self.patience;
                let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(patience)));
                waiting.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().watched(context, |stream, context| Pin::new(stream).poll_write(context, from))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().watched(context, |stream, context| Pin::new(stream).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().watched(context, |stream, context| Pin::new(stream).poll_shutdown(context))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().watched(context, |stream, context| Pin::new(stream).poll_write_vectored(context, from))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
