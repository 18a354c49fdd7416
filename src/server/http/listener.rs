//! HTTP listener: accepts connections within limits, serves HTTP/1, and shuts down gracefully. Headers, requests and
//! unread answers have timeouts. A slow client therefore costs one connection of its own address, and delays no other
//! client. At the limit of connections, the one that has waited longest for its client makes room for the next.
//!
//! The routes give requests their meaning, and their owners choose the address.

use axum::Router;
use axum::http::header::HOST;
use axum::http::{Request, StatusCode, Version};
use axum::response::{IntoResponse, Response};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prometheus_client::metrics::gauge::Gauge;
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, Sleep, sleep, timeout};

/// Limits of connections.
#[derive(Clone, Debug)]
pub(in crate::server) struct Limits {
    /// Timeout of a header, and idle timeout of a connection.
    pub(in crate::server) header: Duration,
    /// Timeout of sending an answer that the client does not read.
    pub(in crate::server) answer: Duration,
    /// Most connections at once.
    pub(in crate::server) connections: usize,
    /// Most connections at once from one address, or from one [`network`].
    pub(in crate::server) connections_each: usize,
    /// Addresses that are exempt from the limit for each address.
    pub(in crate::server) trusted: Vec<IpAddr>,
    /// How long requests under way may take at shutdown.
    pub(in crate::server) end: Duration,
}

/// Peer address, as an extension of every request.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "vendor"), allow(dead_code, reason = "the shop alone reads it"))]
pub struct Peer(pub IpAddr);

/// Handshake of a connection before HTTP.
pub(in crate::server) trait Handshake: Send + Sync + 'static {
    /// Stream for HTTP after the handshake.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Shakes hands, at most for `limits.header`.
    fn handshake(&self, stream: TcpStream) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

/// No handshake: plain HTTP on the TCP connection.
#[derive(Debug)]
pub(in crate::server) struct PlainTcp;

impl Handshake for PlainTcp {
    type Stream = TcpStream;

    async fn handshake(&self, stream: TcpStream) -> io::Result<TcpStream> {
        Ok(stream)
    }
}

/// Activity of a connection.
struct Activity {
    /// Since when it waits for the client: for a request, or for the body of one. `None` while a request is under way.
    idle: Mutex<Option<Instant>>,
    /// Whether the client does not read its answer.
    writing: AtomicBool,
    /// Tells the connection to close, since another one needs its place.
    close: Notify,
}

impl Activity {
    fn new() -> Arc<Self> {
        Arc::new(Self { idle: Mutex::new(Some(Instant::now())), writing: AtomicBool::new(false), close: Notify::new() })
    }

    fn idle(&self) -> Option<Instant> {
        if self.writing.load(Ordering::Relaxed) {
            return None;
        }
        *self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_idle(&self, since: Option<Instant>) {
        *self.idle.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }
}

/// Listener with limits on connections.
pub(in crate::server) struct HttpListener<G> {
    limits: Limits,
    greeting: G,
    active_gauge: Gauge,
    tell: fn(&str),
    places: Arc<Semaphore>,
    each: Mutex<HashMap<IpAddr, usize>>,
    /// Open connections, by a number that none of them shares.
    active: Mutex<HashMap<u64, Arc<Activity>>>,
    next: AtomicU64,
    /// Tells the accept loop that a connection has become idle.
    became_idle: Notify,
    ended: watch::Receiver<bool>,
}

/// Permit of an accepted connection; given back when it is dropped.
struct ConnectionPermit<G> {
    listener: Arc<HttpListener<G>>,
    /// Address or network that the connection counts for.
    who: IpAddr,
    number: u64,
}

/// Returns what counts as one address: an IPv4 address, or a /64 of IPv6.
///
/// A host with an IPv6 address usually has 2⁶⁴ of them.
pub(in crate::server) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => {
            let [a, b, c, d, ..] = six.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        four => four,
    }
}

impl<G: Handshake> HttpListener<G> {
    /// Creates a listener that stops when `ended` becomes true.
    ///
    /// `active_gauge` counts the open connections, and errors go to `tell`.
    pub(in crate::server) fn new(
        limits: Limits,
        greeting: G,
        active_gauge: Gauge,
        tell: fn(&str),
        ended: watch::Receiver<bool>,
    ) -> Arc<Self> {
        let places = Arc::new(Semaphore::new(limits.connections));
        Arc::new(Self {
            limits,
            greeting,
            active_gauge,
            tell,
            places,
            each: Mutex::default(),
            active: Mutex::default(),
            next: AtomicU64::new(0),
            became_idle: Notify::new(),
            ended,
        })
    }

    /// Accepts and serves connections until the end.
    pub(in crate::server) async fn take(self: Arc<Self>, listener: TcpListener, router: Router) {
        let mut ended = self.ended.clone();
        let mut ending = pin!(async move { drop(ended.wait_for(|ended| *ended).await) });
        loop {
            let accepted = tokio::select! {
                () = &mut ending => break,
                accepted = listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, or a connection closed before it was accepted: both pass.
                    if error.kind() != io::ErrorKind::ConnectionAborted {
                        (self.tell)(&format!("cannot accept a connection: {error}"));
                        sleep(Duration::from_millis(50)).await;
                    }
                    continue;
                }
            };
            // Before the place: an address that has its share takes no place from others.
            let Some(guest) = self.admit(peer.ip().to_canonical()) else { continue };
            let place = tokio::select! {
                () = &mut ending => break,
                place = self.place() => place,
            };
            let activity = self.register(&guest);
            let (listener, router) = (Arc::clone(&self), router.clone());
            tokio::spawn(async move {
                listener.attend(stream, peer.ip(), &activity, router).await;
                drop((guest, place));
            });
        }
        // All permits are free again when the requests under way are finished.
        let all = u32::try_from(self.limits.connections).unwrap_or(u32::MAX);
        let _ = timeout(self.limits.end, self.places.acquire_many(all)).await;
    }

    /// Waits for a place. Where there is none, the connection that has been idle longest gives its own up. While all
    /// have a request under way, new connections wait in the queue of the kernel.
    async fn place(&self) -> OwnedSemaphorePermit {
        let mut closing = false;
        loop {
            let idle = self.became_idle.notified();
            if self.places.available_permits() == 0 && !closing {
                closing = self.close_oldest_idle();
            }
            tokio::select! {
                Ok(place) = Arc::clone(&self.places).acquire_owned() => return place,
                () = idle => {}
            }
        }
    }

    fn close_oldest_idle(&self) -> bool {
        let active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = active.values().filter_map(|activity| Some((activity.idle()?, activity)));
        let oldest = oldest.min_by_key(|(since, _)| *since);
        oldest.map(|(_, activity)| activity.close.notify_one()).is_some()
    }

    fn admit(self: &Arc<Self>, address: IpAddr) -> Option<ConnectionPermit<G>> {
        let trusted = self.limits.trusted.contains(&address);
        // A trusted proxy does not count for the network that it is in.
        let who = if trusted { address } else { network(address) };
        let mut each = self.each.lock().unwrap_or_else(PoisonError::into_inner);
        let count = each.entry(who).or_default();
        if *count >= self.limits.connections_each && !trusted {
            return None;
        }
        *count += 1;
        self.active_gauge.inc();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Some(ConnectionPermit { listener: Arc::clone(self), who, number })
    }

    /// Lists a connection that has a place among those that can give theirs up.
    fn register(&self, guest: &ConnectionPermit<G>) -> Arc<Activity> {
        let activity = Activity::new();
        self.active.lock().unwrap_or_else(PoisonError::into_inner).insert(guest.number, Arc::clone(&activity));
        activity
    }

    /// Serves a connection to its end, and ignores its errors.
    async fn attend(self: &Arc<Self>, stream: TcpStream, peer: IpAddr, activity: &Arc<Activity>, router: Router) {
        // Answers are written whole, so Nagle's algorithm would only delay them.
        let _ = stream.set_nodelay(true);
        let greeted = tokio::select! {
            greeted = timeout(self.limits.header, self.greeting.handshake(stream)) => greeted,
            () = activity.close.notified() => return,
        };
        if let Ok(Ok(stream)) = greeted {
            self.speak(stream, peer, activity, router).await;
        }
    }

    async fn speak(self: &Arc<Self>, stream: G::Stream, peer: IpAddr, activity: &Arc<Activity>, router: Router) {
        let router = TowerToHyperService::new(router);
        let (listener, requests) = (Arc::clone(self), Arc::clone(activity));
        let answer = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            requests.set_idle(if request.body().is_end_stream() { None } else { Some(Instant::now()) });
            let request = request.map(|incoming| RequestBody { incoming, activity: Arc::clone(&requests) });
            let has_host = has_host(&request);
            let (answer, listener, requests) = (router.call(request), Arc::clone(&listener), Arc::clone(&requests));
            async move {
                let answer = if has_host { answer.await } else { Ok(no_host()) };
                requests.set_idle(Some(Instant::now()));
                listener.became_idle.notify_one();
                answer
            }
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(self.limits.header).max_buf_size(64 * 1024).half_close(false);
        let stream = TokioIo::new(Patient {
            stream,
            patience: self.limits.answer,
            waiting: None,
            activity: Arc::clone(activity),
        });
        let mut connection = pin!(http.serve_connection(stream, answer));
        let mut ended = self.ended.clone();
        tokio::select! {
            _ = connection.as_mut() => {}
            () = async { drop(ended.wait_for(|ended| *ended).await) } => {
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
            }
            () = activity.close.notified() => {
                // A request may have come meanwhile.
                if activity.idle().is_none() {
                    connection.as_mut().graceful_shutdown();
                    let _ = connection.await;
                }
            }
        }
    }
}

/// Returns whether a request has one Host field, which HTTP/1.0 may leave out (RFC 9112 section 3.2). Proxies disagree
/// about which of two counts.
fn has_host<B>(request: &Request<B>) -> bool {
    match request.headers().get_all(HOST).iter().count() {
        0 => request.version() < Version::HTTP_11,
        count => count == 1,
    }
}

fn no_host() -> Response {
    (StatusCode::BAD_REQUEST, "the header field Host is required once\n").into_response()
}

impl<G> Drop for ConnectionPermit<G> {
    fn drop(&mut self) {
        self.listener.active_gauge.dec();
        self.listener.active.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
        let mut each = self.listener.each.lock().unwrap_or_else(PoisonError::into_inner);
        match each.get_mut(&self.who) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(each.remove(&self.who)),
        }
    }
}

/// Body of a request. Until its end has come, the connection waits for the client.
struct RequestBody {
    incoming: Incoming,
    activity: Arc<Activity>,
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.incoming).poll_frame(context);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            self.activity.set_idle(None);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// Stream that fails when a write stays blocked for `patience`.
struct Patient<S> {
    stream: S,
    patience: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
    activity: Arc<Activity>,
}

impl<S> Patient<S> {
    fn watched<T>(
        &mut self,
        context: &mut Context<'_>,
        went: impl FnOnce(&mut S, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let went = went(&mut self.stream, context);
        self.activity.writing.store(went.is_pending(), Ordering::Relaxed);
        match went {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_network_count_as_one() {
        let network = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), network("2001:db8:1:2::1"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_eq!(network("::ffff:192.0.2.1"), "192.0.2.1");
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
    }

    #[test]
    fn a_network_has_the_places_of_one_address() {
        let limits = Limits {
            header: Duration::ZERO,
            answer: Duration::ZERO,
            connections: 100,
            connections_each: 2,
            trusted: vec!["2001:db8:1:2::7".parse().unwrap()],
            end: Duration::ZERO,
        };
        let (_ending, ended) = watch::channel(false);
        let listener = HttpListener::new(limits, PlainTcp, Gauge::default(), |_| {}, ended);
        let come = |address: &str| listener.admit(address.parse().unwrap());
        let inside: Vec<_> = (1..=3).map(|at| come(&format!("2001:db8:1:2::{at}"))).collect();
        assert_eq!(inside.iter().flatten().count(), 2);
        assert!(come("2001:db8:1:3::1").is_some() && come("192.0.2.1").is_some(), "others are not held up");
        let proxy: Vec<_> = (0..3).filter_map(|_| come("2001:db8:1:2::7")).collect();
        assert_eq!(proxy.len(), 3, "a trusted proxy is asked nothing");
        drop(inside);
        assert!(come("2001:db8:1:2::9").is_some());
        drop(proxy);
        assert!(listener.each.lock().unwrap().is_empty());
    }
}
