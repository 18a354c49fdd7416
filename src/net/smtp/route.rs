//! Connection to the mail server of a route, for one message with any number of recipients. The protocol is in
//! `emstamp::outbound::delivery`, and the caller decides what is paid.

use super::connection::{Connection, Failure, Tls};
use crate::emstamp::outbound::delivery::Delivery;
use crate::os::tls;
use crate::smtp::client::{ClientError, Conversation as _};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest time for the connection, in place of the limit of a step.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Verification of servers' certificates, for many routes.
#[derive(Clone, Debug)]
pub struct Verification(Arc<rustls::ClientConfig>);

impl Verification {
    /// Reads the authorities of the system. `own` (PEM) are trusted, too.
    ///
    /// # Errors
    /// A text that says why `own` cannot be used.
    pub fn new(own: Option<&str>) -> Result<Self, String> {
        let authorities = tls::authorities(true, own).map_err(|error| error.to_string())?;
        let config = tls::client(authorities).map_err(|error| error.to_string())?;
        Ok(Self(Arc::new(config.with_no_client_auth())))
    }
}

/// The server of a route.
#[derive(Clone, Debug)]
pub struct Server {
    host: String,
    port: u16,
    tls: Option<Tls>,
}

/// Failure of a connection. What the server said about the message or a recipient is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteError {
    /// The enhanced status of a temporary failure (RFC 3463).
    pub enhanced: &'static str,
    /// What happened, in printable characters.
    pub text: String,
}

impl Server {
    /// Returns a server without connecting to it. Without `verification`, there is no TLS.
    #[must_use]
    pub fn new(host: &str, port: u16, verification: Option<&Verification>) -> Self {
        let tls = verification.map(|Verification(config)| Tls {
            config: Arc::clone(config),
            host: host.to_owned(),
            is_implicit: false,
        });
        Self { host: host.to_owned(), port, tls }
    }

    /// Returns the name of the server.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns whether STARTTLS comes first.
    #[must_use]
    pub fn needs_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Connects. `limit` is the timeout of each later step.
    pub fn connect(&self, limit: Duration) -> Result<Connected<'_>, RouteError> {
        let mut connection = Connection::open((self.host.as_str(), self.port), limit.min(CONNECT_TIMEOUT))
            .map_err(|it| self.error(&it))?;
        connection.set_limit(limit);
        Ok(Connected { server: self, connection })
    }

    fn error(&self, failure: &Failure) -> RouteError {
        let is_about_tls = match failure {
            Failure::Protocol(ClientError::NoStartTls | ClientError::Injected) | Failure::Name => true,
            Failure::Connection(error) => is_of_tls(error),
            _ => false,
        };
        let enhanced = if is_about_tls { "4.7.5" } else { "4.4.2" };
        RouteError { enhanced, text: failure.describe(&self.host) }
    }
}

fn is_of_tls(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(|inner| inner.is::<rustls::Error>() || inner.downcast_ref::<io::Error>().is_some_and(is_of_tls))
}

/// A connection to the server.
#[derive(Debug)]
pub struct Connected<'s> {
    server: &'s Server,
    connection: Connection,
}

impl Connected<'_> {
    /// Goes on until the delivery is over, or asks something; at most until a time.
    ///
    /// # Errors
    /// [`RouteError`]: the connection is lost, or not protected.
    pub fn advance(&mut self, delivery: &mut Delivery<'_>, until: Instant) -> Result<(), RouteError> {
        let talked = self.connection.converse(delivery, self.server.tls.as_ref(), Some(until));
        talked.map_err(|failure| {
            // After the dot, no QUIT may make the server drop the message.
            if !delivery.is_undecided() {
                let _ = self.connection.close();
            }
            self.server.error(&failure)
        })
    }

    /// Ends the connection.
    pub fn close(mut self) {
        let _ = self.connection.close();
    }
}
