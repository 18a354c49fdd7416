//! `mailstamp vendor serve`: the vendor's ledger over HTTP, for programs (`/v1/`) and for people (the page). It translates
//! requests into calls of the ledger, and answers into JSON or HTML. The ledger decides what is allowed, what it costs and
//! how long it is kept. Sessions, rates and metrics are in memory only; the secret of the forms lies beside the ledger.
//!
//! - *Bytes*: [`error`] and the files of [`api`] and [`page`] say what goes over the wire.
//! - *States*: [`rate_limit`], [`page::session`], [`metrics`].
//! - *Sockets*: [`listener`] (connections and their limits), [`tls`]. No other file here knows of sockets.
//!
//! Logs name no client: no address, no key, no request line. Trouble on our side is one line on standard error.

pub mod api;
pub mod auth;
pub mod error;
pub mod listener;
pub mod metrics;
pub mod page;
pub mod rate_limit;
pub mod routes;
pub mod tls;

use crate::ledger::error::LedgerError;
use crate::ledger::handle::Ledger;
use crate::ledger::payment::{Payment, Vouchers};
use crate::os::clock;
use crate::server::diagnostics::warn_stderr;
use crate::time::UnixTime;
use api::directory::DirectoryCache;
use error::Problem;
use metrics::Metrics;
use page::session::Sessions;
use rate_limit::RateLimiter;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// How the service runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The files of its certificate and key, if it speaks TLS by itself.
    pub tls: Option<tls::Files>,
    /// The origin under which people reach it (`https://stamps.example`), if that is not where it listens.
    pub public_url: Option<String>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpAddr>,
    /// Where Prometheus may ask; nowhere, if absent.
    pub metrics: Option<SocketAddr>,
    /// The folder of the ledger, where `vendor publish` writes the directory document.
    pub folder: PathBuf,
    /// What sends the codes that prove an address.
    pub sendmail: PathBuf,
    /// What nobody may exceed.
    pub limits: Limits,
}

/// What nobody may exceed.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The body of a request, in bytes.
    pub body: usize,
    /// For how long a header may take, and for how long a connection may be idle.
    pub header: Duration,
    /// For how long a whole request may take, its body among it, and for how long an answer may wait to be read.
    pub request: Duration,
    /// Connections at once.
    pub connections: usize,
    /// Connections at once from one address that is not a trusted proxy.
    pub connections_each: usize,
    /// For how long requests under way may go on when the service is told to end.
    pub end: Duration,
    /// Requests a second of one API key; none of these rates holds when it is 0.
    pub key_rate: u32,
    /// Requests a second of one address without a key.
    pub address_rate: u32,
    /// Wrong keys, codes and vouchers a minute of one address.
    pub wrong_rate: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 1024 * 1024,
            header: Duration::from_secs(10),
            request: Duration::from_secs(30),
            connections: 1_000,
            connections_each: 200,
            end: Duration::from_secs(30),
            key_rate: 100,
            address_rate: 10,
            wrong_rate: 10,
        }
    }
}

/// Why the service does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The ledger cannot be opened.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The certificate or its key cannot be used.
    #[error("{}: {what}", path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Anything else that the system says.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// What every request is answered with. Clones are the same service.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    ledger: Ledger,
    settings: Settings,
    origin: Origin,
    payment: Box<dyn Payment>,
    rates: RateLimiter,
    sessions: Sessions,
    metrics: Metrics,
    edition: DirectoryCache,
    /// Who may have sendmail(8) run.
    mailing: Arc<Semaphore>,
}

/// Programs of sendmail(8) at once.
const MAILS: usize = 4;
/// Requests of the ledger at once.
const ASKING: usize = 128;

/// Under what people reach the service.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Scheme, host and port, if they are known beforehand.
    pub text: Option<String>,
    /// Whether only encrypted connections lead there, so that cookies may say so.
    pub secure: bool,
}

impl Service {
    /// The service over this ledger.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn new(ledger: Ledger, settings: Settings) -> io::Result<Self> {
        let text = settings.public_url.as_ref().map(|url| url.trim_end_matches('/').to_owned());
        let secure = text.as_ref().map_or(settings.tls.is_some(), |text| text.starts_with("https://"));
        // Without it forms are out of date after the next start, and nothing worse.
        let secret = ledger.secret().or_else(|error| {
            warn_stderr(&error.to_string());
            page::session::random()
        })?;
        Ok(Self(Arc::new(Inner {
            ledger,
            origin: Origin { text, secure },
            payment: Box::new(Vouchers),
            rates: RateLimiter::new(&settings.limits),
            sessions: Sessions::new(secret),
            metrics: Metrics::new(),
            edition: DirectoryCache::default(),
            mailing: Arc::new(Semaphore::new(MAILS)),
            settings,
        })))
    }

    /// How it runs.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Under what people reach it.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.0.origin
    }

    /// How people without an account pay.
    #[must_use]
    pub fn payment(&self) -> &dyn Payment {
        &*self.0.payment
    }

    /// Who asks too often.
    #[must_use]
    pub fn rates(&self) -> &RateLimiter {
        &self.0.rates
    }

    /// Who is signed in.
    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        &self.0.sessions
    }

    /// The numbers for Prometheus.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// The directory document that was made last.
    #[must_use]
    pub fn edition(&self) -> &DirectoryCache {
        &self.0.edition
    }

    /// Asks the ledger, on a thread that may wait for the disk.
    ///
    /// # Errors
    /// The problem that the caller is told; our own trouble is told to the operator as well.
    pub async fn ledger<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Ledger, UnixTime) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, Problem> {
        let inner = Arc::clone(&self.0);
        let now = clock::now();
        match tokio::task::spawn_blocking(move || ask(&inner.ledger, now)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(Problem::of(&error, now)),
            Err(_) => Err(Problem::trouble("a request ended in a panic")),
        }
    }

    /// As [`ledger`](Self::ledger), for what has sendmail(8) run, which may take a minute: few at once, so that there are
    /// always threads for the others.
    ///
    /// # Errors
    /// As [`ledger`](Self::ledger), and when all places are taken for long.
    pub async fn mail<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Ledger, UnixTime) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, Problem> {
        let place = timeout(self.0.settings.limits.header, Arc::clone(&self.0.mailing).acquire_owned()).await;
        let Ok(Ok(place)) = place else { return Err(Problem::trouble("sendmail is slow, and many wait for it")) };
        self.ledger(move |ledger, now| {
            // Kept until the program has ended, even if the caller is gone.
            let _place = place;
            ask(ledger, now)
        })
        .await
    }
}

/// Serves until the system asks it to end (SIGTERM, SIGINT), then ends what is under way, and returns. `listening` is told
/// once where it can be reached.
///
/// # Errors
/// [`ServeError`] when it cannot begin.
pub fn run(ledger: Ledger, settings: Settings, listening: impl FnOnce(&str)) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // Each waits for a commit that it shares with the others.
        .max_blocking_threads(ASKING + MAILS)
        // The ledger's answers are small, and so are our own structures.
        .thread_stack_size(1024 * 1024)
        .build()?;
    let service = Service::new(ledger, settings)?;
    runtime.block_on(listener::serve(service, listening))?;
    runtime.shutdown_timeout(Duration::from_secs(5));
    Ok(())
}
