//! Inbound gateway: connections of other hosts, each with one of its own to the mail system behind.
//!
//! - `office`: prices, keys of meters, and the bank.
//! - `ends`: both connections, within time limits.
//!
//! What is said on them is decided by `emstamp::inbound`.

mod ends;
mod office;

use super::GatewayError;
use super::clearing::Due;
use super::id_keys::IdKeys;
use super::metrics::Metrics;
use crate::bank::handle::Bank;
use crate::config::gateway::{ClientAddress, GatewayInbound};
use crate::context::Context;
use crate::emstamp::inbound::{Introduction, Session, Settings};
use crate::ipc::peer::Peer;
use crate::ipc::server::{Client, Listener, Server, ServerLimits, Service};
use crate::server::diagnostics::log_stderr;
use crate::server::tls::{Files, RenewedCertificate};
use ends::Ends;
use office::Books;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

/// Divisor for the share of the connections that each other host gets.
const HOST_DIVISOR: usize = 4;
/// Least memory for messages, in bytes.
const MEMORY_MIN: usize = 64 << 20;

/// The inbound gateway.
pub struct Inbound {
    server: Server,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Inbound {
    /// Starts to accept connections.
    ///
    /// # Errors
    /// [`GatewayError`] where a file or the bank cannot be used, or a price is to be asked and there is no bank.
    pub(super) fn begin(
        settings: &GatewayInbound,
        name: &str,
        context: &Context,
        bank: &Arc<Bank>,
        envelope_keys: Option<&Arc<IdKeys>>,
        (numbers, due): (&Arc<Metrics>, Due),
    ) -> Result<Self, GatewayError> {
        let certificate = settings.tls.clone().map(|(certificate, key)| Files { certificate, key });
        let certificate = certificate.map(|files| RenewedCertificate::read(&files)).transpose();
        let certificate = certificate.map_err(|error| GatewayError::Inbound(format!("certificate: {error}")))?;
        let books = Books::open(settings, context, bank, envelope_keys, (numbers, due))?;
        if !books.can_be_paid() {
            if settings.price > 0 {
                let what =
                    "price: there is no bank to be paid into: run mailstamp bank init and mailstamp bank license";
                return Err(GatewayError::Inbound(what.to_owned()));
            }
            log_stderr("gateway: there is no bank that an agency knows, so nothing is asked of anyone");
        }
        let session = Settings {
            name: name.to_owned(),
            largest: settings.largest,
            help: settings.help.clone(),
            closes_unaware: settings.closes_unaware,
            null_sender: settings.null_sender,
            has_tls: certificate.is_some(),
            can_be_paid: books.can_be_paid(),
        };
        let listen = |source| GatewayError::Listen { key: "inbound", at: settings.listen.to_string(), source };
        let listener = TcpListener::bind(settings.listen).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let service = Handler {
            session,
            inner: settings.inner,
            client_address: settings.client_address,
            certificate: certificate.map(Arc::new),
            books,
        };
        // A message in one block, which doubles while it grows.
        let memory = settings.largest.saturating_mul(2).max(MEMORY_MIN);
        let limits =
            ServerLimits { connections: settings.connections, memory, peer_divisor: HOST_DIVISOR, stack_size: 2 << 20 };
        let server = Server::begin("gateway", Listener::Tcp(listener), limits, Arc::new(service))?;
        Ok(Self { server, address })
    }

    /// Closes the socket and idle connections, and waits for messages under way.
    pub fn end(self, patience: Duration) {
        self.server.end(patience);
    }
}

struct Handler {
    session: Settings,
    inner: SocketAddr,
    client_address: ClientAddress,
    certificate: Option<Arc<RenewedCertificate>>,
    books: Books,
}

impl Service for Handler {
    fn serve(&self, client: &Client) {
        if let Err(error) = self.converse(client) {
            log_stderr(&format!("gateway: connection of {} closed: {error}", client.peer));
        }
    }

    fn is_limited(&self, peer: Peer) -> bool {
        !peer.is_local()
    }
}

impl Handler {
    fn converse(&self, client: &Client) -> io::Result<()> {
        let mut ends = Ends::new(client, self.certificate.clone());
        let connected = ends.connect(self.inner);
        let introduction = introduction(self.client_address, client)?;
        let last = Session::new(&self.session, &mut ends, &self.books).run(&introduction);
        if let Err(error) = connected {
            log_stderr(&format!("gateway: no mail system at {}: {error}", self.inner));
        }
        ends.close(last)
    }
}

/// Returns how the mail system behind is told of the client.
fn introduction(how: ClientAddress, client: &Client) -> io::Result<Introduction> {
    let address = |address: rustix::net::SocketAddrAny| {
        let address = SocketAddr::try_from(address).map_err(io::Error::from)?;
        Ok::<_, io::Error>(SocketAddr::new(address.ip().to_canonical(), address.port()))
    };
    let peer = || address(rustix::net::getpeername(&*client.stream)?.ok_or(io::ErrorKind::NotConnected)?);
    Ok(match how {
        ClientAddress::None => Introduction::None,
        ClientAddress::Xclient => {
            let peer = peer()?;
            let ip = if peer.is_ipv6() { format!("IPV6:{}", peer.ip()) } else { peer.ip().to_string() };
            // Without a name, Postfix would keep that of the gateway.
            Introduction::Xclient(format!("NAME=[UNAVAILABLE] ADDR={ip} PORT={}", peer.port()))
        }
        ClientAddress::Proxy => {
            let (peer, own) = (peer()?, address(rustix::net::getsockname(&*client.stream)?)?);
            let family = if peer.is_ipv6() { "TCP6" } else { "TCP4" };
            let line = format!("PROXY {family} {} {} {} {}", peer.ip(), own.ip(), peer.port(), own.port());
            Introduction::Proxy(line)
        }
    })
}
