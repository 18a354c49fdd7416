//! Outbound half of the gateway: takes mail of the mail system by LMTP, and sends it to the servers of its routes, which
//! are paid where they ask for credits (mailstamp-gateway(8)).
//!
//! - `dispatch`: a complete message: sent to the servers, and an answer for each recipient.
//! - `payments`: limits, reservations and tokens of one message.
//! - `settlement`: notes of delivered messages, after their answers.
//!
//! The protocols are in `emstamp::outbound`, and the limits on connections in `ipc::server`.

mod dispatch;
mod payments;
mod settlement;

use super::id_keys::IdKeys;
use super::metrics::Metrics;
use crate::bank::handle::Bank;
use crate::config::boundary::Listen;
use crate::config::file;
use crate::config::gateway::{GatewayOutbound, Route};
use crate::emstamp::outbound::lmtp::{Message, Session, Step};
use crate::ipc::server::{Client, Listener, Server, ServerLimits, Service};
use crate::net::smtp::route::{self, Verification};
use crate::server::diagnostics::log_stderr;
use crate::server::smtp_connection::Connection;
use crate::smtp::data::Fault;
use crate::smtp::reply::Reply;
use dispatch::Dispatch;
use payments::Payments;
use settlement::Settlement;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Mode of a Unix socket: open to its group, to which the mail system must belong.
const SOCKET_MODE: u32 = 0o660;
/// Idle timeout between commands, and between the parts of a message (RFC 5321 section 4.5.3.2: 5 and 3 minutes).
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// Least memory for messages, in bytes.
const MEMORY_MIN: usize = 64 << 20;

/// The outbound half of a gateway.
#[derive(Debug)]
pub struct Outbound {
    server: Server,
    settlement: Settlement,
    /// Where it listens, as the mail system's configuration writes it.
    pub address: String,
}

impl Outbound {
    /// Starts to accept connections. `name` is that of the gateway in greetings and EHLO.
    pub(super) fn begin(
        settings: &GatewayOutbound,
        name: &str,
        bank: &Arc<Bank>,
        envelope_keys: &Arc<IdKeys>,
        numbers: &Arc<Metrics>,
    ) -> io::Result<Self> {
        let verification = settings.verifies.then(|| {
            let own = settings.ca.as_deref().map(file::read).transpose().map_err(io::Error::other)?;
            let told = |error: String| match &settings.ca {
                Some(path) => io::Error::other(format!("{}: {error}", path.display())),
                None => io::Error::other(error),
            };
            Verification::new(own.as_deref()).map_err(told)
        });
        let verification = verification.transpose()?;
        let (listener, listen) = match &settings.listen {
            Listen::Unix(path) => (Listener::bind(path, SOCKET_MODE)?, settings.listen.clone()),
            Listen::Inet(address) => {
                let listener = TcpListener::bind(address)?;
                // Port 0 becomes a free one.
                let address = listener.local_addr()?;
                (Listener::Tcp(listener), Listen::Inet(address))
            }
        };
        let settlement = Settlement::begin(Arc::clone(bank))?;
        // Domains with the same server share its connection.
        let mut known: BTreeMap<&Route, Arc<route::Server>> = BTreeMap::new();
        let mut servers = BTreeMap::new();
        for (domain, route) in &settings.routes {
            let begin = || Arc::new(route::Server::new(&route.host, route.port, verification.as_ref()));
            servers.insert(domain.clone(), Arc::clone(known.entry(route).or_insert_with(begin)));
        }
        let dispatch = Dispatch {
            name: name.to_owned(),
            servers,
            envelope_keys: Arc::clone(envelope_keys),
            payments: Payments::new(Arc::clone(bank), settings),
            settle: settlement.sender(),
            numbers: Arc::clone(numbers),
        };
        let domains = Arc::new(settings.routes.keys().cloned().collect());
        let service = Handler { name: name.to_owned(), largest: settings.largest, domains, dispatch };
        // A message as it came, which doubles while it grows, and as it is sent.
        let memory = settings.largest.saturating_mul(3).max(MEMORY_MIN);
        let limits = ServerLimits { connections: settings.connections, memory, peer_divisor: 1, stack_size: 2 << 20 };
        let server = Server::begin("gateway-out", listener, limits, Arc::new(service))?;
        Ok(Self { server, settlement, address: listen.to_string() })
    }

    /// Closes the socket and idle connections, and waits for messages under way.
    pub fn end(self, patience: Duration) {
        self.server.end(patience);
        self.settlement.end();
    }
}

/// Serves connections of the mail system.
struct Handler {
    name: String,
    largest: usize,
    domains: Arc<BTreeSet<String>>,
    dispatch: Dispatch,
}

impl Service for Handler {
    fn serve(&self, client: &Client) {
        if let Err(error) = self.converse(client) {
            log_stderr(&format!("gateway: connection of the mail system closed: {error}"));
        }
    }
}

impl Handler {
    /// Answers commands until one side ends the connection.
    fn converse(&self, client: &Client) -> io::Result<()> {
        let mut connection = Connection::new(client);
        let mut session = Session::new(&self.name, self.largest, Arc::clone(&self.domains));
        connection.reply(&session.greeting());
        loop {
            match session.step() {
                Step::Reply(reply) => connection.reply(&reply),
                Step::Close(reply) => return close(connection, &reply),
                Step::Each(reply, count) => (0..count).for_each(|_| connection.reply(&reply)),
                Step::Submit(message) => {
                    connection.flush()?;
                    let replies = self.submit(&message, &mut connection);
                    drop(message);
                    connection.hold(session.memory());
                    replies.iter().for_each(|reply| connection.reply(reply));
                }
                Step::Receive => {
                    connection.flush()?;
                    if client.is_over() {
                        return close(connection, &Reply::new(421, "4.3.2", "shutting down"));
                    }
                    match connection.receive(Instant::now() + IDLE_TIMEOUT) {
                        Ok([]) => return Ok(()),
                        Ok(bytes) => session.receive(bytes),
                        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                            return close(connection, &Reply::new(421, "4.4.2", "nothing came for too long"));
                        }
                        Err(error) => return Err(error),
                    }
                    if !connection.hold(session.memory()) {
                        session.refuse_message();
                    }
                }
            }
        }
    }

    /// Sends a message, and returns a reply for each of its recipients.
    fn submit(&self, message: &Message, connection: &mut Connection<'_>) -> Vec<Reply> {
        let count = message.recipients.len();
        if !connection.hold(message.raw.capacity() + message.raw.len()) {
            return vec![Fault::NoMemory.reply(self.largest); count];
        }
        let send = AssertUnwindSafe(|| self.dispatch.send(message));
        match catch_unwind(send) {
            Ok(answers) => answers.iter().map(|answer| answer.reply()).collect(),
            Err(_) => vec![Reply::new(451, "4.3.0", "internal error of the gateway"); count],
        }
    }
}

/// Sends a last reply, and closes the connection.
fn close(mut connection: Connection<'_>, reply: &Reply) -> io::Result<()> {
    connection.reply(reply);
    connection.close()
}
