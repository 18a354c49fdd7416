//! `mailstamp vendor serve`: the vendor's ledger over HTTP, for programs (`/v1/`) and for people (the page).
//!
//! It translates requests into calls of the ledger, and answers into JSON or HTML. The ledger decides what is allowed,
//! what it costs and how long it is kept. Sessions, rates and metrics are in memory only; the secret of the forms is
//! beside the ledger.
//!
//! - *Bytes*: [`error`] and the files of [`api`] and [`page`] define the wire formats.
//! - *States*: [`rate_limit`], [`page::session`], [`metrics`].
//! - *Sockets*: [`listener`] (connections and their limits), [`tls`]. No other file here knows of sockets.
//!
//! Logs contain nothing about a client: no address, no key, no request line. An internal error is one line on standard
//! error.

pub mod api;
pub mod auth;
pub mod error;
pub mod listener;
pub mod log_publisher;
pub mod metrics;
pub mod own_inbox;
pub mod page;
#[cfg(feature = "sender")]
mod places;
pub mod public_log;
pub mod rate_limit;
pub mod routes;
pub mod tls;

use crate::config::paths::CliOverrides;
use crate::ledger::address_proof::MailServer;
use crate::ledger::error::LedgerError;
use crate::ledger::handle::Ledger;
#[cfg(feature = "sender")]
use crate::ledger::ops;
#[cfg(feature = "sender")]
use crate::ledger::payment::cashu::{Cashu, CashuPayment};
use crate::ledger::payment::code::MailedCodes;
#[cfg(feature = "sender")]
use crate::ledger::payment::exclusive::{Alone, Purchases};
#[cfg(feature = "sender")]
use crate::ledger::payment::provider::Provider;
use crate::ledger::payment::work::{Work, WorkPayment};
use crate::ledger::payment::{Begun, Completion, Due, Payment, PaymentError, Refund, Vouchers};
use crate::ledger::rejection::Rejection;
use crate::ledger::trade::IssuedStamps;
use crate::os::clock;
use crate::server::diagnostics::warn_stderr;
use crate::server::tls::{Files, TlsError};
use crate::time::UnixTime;
#[cfg(feature = "directory")]
use crate::transparency::witness::Witness;
use api::directory::DirectoryCache;
use error::Problem;
use metrics::Metrics;
use own_inbox::NetworkShares;
use page::session::Sessions;
use rate_limit::RateLimiter;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use zeroize::Zeroizing;

/// Settings of the service.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Address at which it listens.
    pub listen: SocketAddr,
    /// Files of its certificate and key, if it speaks TLS itself.
    pub tls: Option<Files>,
    /// Origin under which browsers reach it (`https://stamps.example`), if it differs from the address.
    pub public_url: Option<String>,
    /// Name and address of the seller, for the page.
    pub seller: Option<String>,
    /// Web address where vouchers are sold, for the page.
    pub voucher_url: Option<String>,
    /// Adapter of a provider of payments.
    #[cfg(feature = "sender")]
    pub provider: Option<Provider>,
    /// Payment by tokens of Cashu.
    #[cfg(feature = "sender")]
    pub cashu: Option<Cashu>,
    /// Proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Vec<IpAddr>,
    /// Address of the metrics endpoint; there is none if absent.
    pub metrics: Option<SocketAddr>,
    /// Folder of the ledger, into which `vendor publish` writes the directory document.
    pub folder: PathBuf,
    /// Mail server that takes the codes.
    pub mail_server: MailServer,
    /// Witnesses that cosign the public log.
    #[cfg(feature = "directory")]
    pub witnesses: Vec<Witness>,
    /// Where the configuration of the recipient is, for a vendor for one recipient: the price of the mailbox decides
    /// whether stamps are given for work.
    pub mailbox: CliOverrides,
    /// Limits of clients.
    pub limits: Limits,
}

/// Limits of clients.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest body of a request, in bytes.
    pub body: usize,
    /// Timeout of a header, and idle timeout of a connection.
    pub header: Duration,
    /// Timeout of a whole request with its body, and of an answer that the client does not read.
    pub request: Duration,
    /// Most connections at once.
    pub connections: usize,
    /// Most connections at once from one address that is not a trusted proxy.
    pub connections_each: usize,
    /// How long requests under way may take at shutdown.
    pub end: Duration,
    /// Requests a second of one API key. 0 disables this limit, as it does with the next two.
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

/// Reasons why the service does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The ledger cannot be opened.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The certificate or its key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The service cannot listen on an address.
    #[error("cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: io::Error },
    /// Any other error of the system.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// Shared state from which every request is answered. Clones share it.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    ledger: Ledger,
    settings: Settings,
    origin: Origin,
    /// Secret of the forms, which outlives the service.
    secret: Zeroizing<[u8; 32]>,
    work: Work,
    shares: NetworkShares,
    rates: RateLimiter,
    sessions: Sessions,
    metrics: Metrics,
    edition: DirectoryCache,
    /// Permits to wait for the mail server.
    mailing: Arc<Semaphore>,
    /// Permits to wait for the provider of payments.
    #[cfg(feature = "sender")]
    paying: Arc<Semaphore>,
    #[cfg(feature = "sender")]
    places: places::Places,
    #[cfg(feature = "sender")]
    purchases: Purchases,
    #[cfg(feature = "sender")]
    cashu: Option<CashuPayment>,
}

/// Way in which a visitor without an account pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// With a voucher.
    Voucher,
    /// With work of so many rounds.
    Work(u32),
    /// With a code that was mailed.
    Code,
    /// With a provider of payments.
    #[cfg(feature = "sender")]
    Provider,
    /// With a token of Cashu, from this address.
    #[cfg(feature = "sender")]
    Cashu(IpAddr),
}

impl Inner {
    /// Runs a step of a payment.
    fn pay<T>(&self, way: Way, step: impl FnOnce(&dyn Payment) -> T) -> T {
        match way {
            Way::Voucher => step(&Vouchers),
            Way::Work(rounds) => step(&WorkPayment { work: &self.work, rounds }),
            Way::Code => {
                let Self { ledger, secret, settings, .. } = self;
                step(&MailedCodes { ledger, server: &settings.mail_server, secret })
            }
            #[cfg(feature = "sender")]
            Way::Provider => match &self.settings.provider {
                Some(provider) => step(provider),
                None => step(&Vouchers),
            },
            #[cfg(feature = "sender")]
            Way::Cashu(_) => match &self.cashu {
                Some(cashu) => step(cashu),
                None => step(&Vouchers),
            },
        }
    }

    /// Keeps other requests from a purchase until its sale or refund, where others than the ledger are paid. They may
    /// have money for it, so it cannot be paid in another way then, by an account (`payer`) or without.
    #[cfg(feature = "sender")]
    fn alone(
        &self,
        way: Option<Way>,
        payer: Option<u64>,
        due: &Due,
        now: UnixTime,
    ) -> Result<Option<Alone<'_>>, PaymentError> {
        if self.cashu.is_none() && self.settings.provider.is_none() {
            return Ok(None);
        }
        let busy = |text: String| PaymentError::Evidence("busy", text);
        let alone = self.purchases.alone(due);
        let again = "This order is being paid at this moment. Send this form again in some seconds.";
        let alone = alone.ok_or_else(|| busy(again.to_owned()))?;
        let is_sold = || self.ledger.sold(payer, std::slice::from_ref(&due.order), &due.purchase, now);
        if let Some(what) = self.paid_elsewhere(way, due)?
            && is_sold()?.is_none()
        {
            return Err(busy(format!(
                "{what} for this order, and nothing was charged now. Complete that payment with the order code, or begin \
                 a new order."
            )));
        }
        Ok(Some(alone))
    }

    /// Returns what was done to pay a purchase in another way than this one, if another party may have its money.
    #[cfg(feature = "sender")]
    fn paid_elsewhere(&self, way: Option<Way>, due: &Due) -> Result<Option<String>, PaymentError> {
        let cashu = self.cashu.as_ref().filter(|_| !matches!(way, Some(Way::Cashu(_))));
        if cashu.map(|cashu| cashu.is_begun(due)).transpose()? == Some(true) {
            return Ok(Some("A token of Cashu was sent".to_owned()));
        }
        let provider = self.settings.provider.as_ref().filter(|_| way != Some(Way::Provider));
        let Some(provider) = provider.filter(|_| self.purchases.is_begun_elsewhere(due)) else { return Ok(None) };
        let _place = self.paying.try_acquire().map_err(|_| PaymentError::Busy)?;
        Ok(provider.has_money(due)?.then(|| format!("A payment with {} was made", provider.name)))
    }

    /// Gives back what a provider received for a purchase that was sold for another payment.
    #[cfg(feature = "sender")]
    fn give_back(&self, due: &Due, now: UnixTime) -> Result<(), PaymentError> {
        let Some(provider) = &self.settings.provider else { return Ok(()) };
        let Some(_alone) = self.purchases.alone(due) else { return Ok(()) };
        if self.ledger.run(ops::IsPaid { reference: provider.reference(due) }, now)? {
            return Ok(());
        }
        match provider.complete(due, "", now) {
            Ok(Completion::Paid(paid)) => {
                provider.refund(due, &paid);
                Ok(())
            }
            // Nothing was paid, or it was refunded before.
            Ok(Completion::Pending) | Err(PaymentError::Evidence(..)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// What a payment holds while it waits for others.
#[expect(dead_code, reason = "held until it is dropped")]
enum Waiting {
    Not,
    Permit(OwnedSemaphorePermit),
    #[cfg(feature = "sender")]
    Place(places::Place),
}

/// Most codes under way to the mail server at once.
const MAILS: usize = 8;
/// Most requests to a provider of payments at once.
#[cfg(feature = "sender")]
const PAYMENTS: usize = 8;
/// Most threads that wait for a provider or a mint at once.
#[cfg(feature = "sender")]
const WAITING: usize = PAYMENTS + places::MOST;
#[cfg(not(feature = "sender"))]
const WAITING: usize = 0;
/// Most requests of the ledger at once.
const ASKING: usize = 128;

/// Origin under which browsers reach the service.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Scheme, host and port, if they are configured.
    pub text: Option<String>,
    /// Whether every connection is encrypted, so that cookies may be marked secure.
    pub secure: bool,
}

impl Service {
    /// Creates the service on this ledger.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn new(ledger: Ledger, settings: Settings) -> io::Result<Self> {
        let text = settings.public_url.as_ref().map(|url| url.trim_end_matches('/').to_owned());
        let secure = text.as_ref().map_or(settings.tls.is_some(), |text| text.starts_with("https://"));
        // Without the stored secret, forms only become invalid at the next start.
        let secret = ledger.secret().or_else(|error| {
            warn_stderr(&error.to_string());
            page::session::random()
        })?;
        Ok(Self(Arc::new(Inner {
            ledger,
            origin: Origin { text, secure },
            secret: Zeroizing::new(secret),
            work: Work::new().map_err(io::Error::other)?,
            shares: NetworkShares::default(),
            rates: RateLimiter::new(&settings.limits),
            sessions: Sessions::new(secret),
            metrics: Metrics::new(),
            edition: DirectoryCache::default(),
            mailing: Arc::new(Semaphore::new(MAILS)),
            #[cfg(feature = "sender")]
            paying: Arc::new(Semaphore::new(PAYMENTS)),
            #[cfg(feature = "sender")]
            places: places::Places::default(),
            #[cfg(feature = "sender")]
            purchases: Purchases::default(),
            #[cfg(feature = "sender")]
            cashu: settings
                .cashu
                .clone()
                .map(|cashu| CashuPayment::open(cashu, &settings.folder))
                .transpose()
                .map_err(io::Error::other)?,
            settings,
        })))
    }

    /// Returns the settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Returns the origin under which browsers reach it.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.0.origin
    }

    /// Returns the payments by Cashu, if they are configured.
    #[cfg(feature = "sender")]
    #[must_use]
    pub fn cashu(&self) -> Option<&CashuPayment> {
        self.0.cashu.as_ref()
    }

    /// Returns the parts of the caps that networks got.
    #[must_use]
    pub fn shares(&self) -> &NetworkShares {
        &self.0.shares
    }

    /// Returns the rate limiter.
    #[must_use]
    pub fn rates(&self) -> &RateLimiter {
        &self.0.rates
    }

    /// Returns the sessions that are signed in.
    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        &self.0.sessions
    }

    /// Returns the metrics.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Returns the cache of the directory document.
    #[must_use]
    pub fn edition(&self) -> &DirectoryCache {
        &self.0.edition
    }

    /// Calls the ledger, on a thread that may wait for the disk.
    ///
    /// # Errors
    /// The problem to answer with. Internal errors are also reported to the operator.
    pub async fn ledger<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Ledger, UnixTime) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, Problem> {
        let inner = Arc::clone(&self.0);
        let now = clock::now();
        match tokio::task::spawn_blocking(move || ask(&inner.ledger, now)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(Problem::of(&error, now)),
            Err(_) => Err(Problem::trouble("a request panicked")),
        }
    }

    /// Runs steps of a payment on a thread that may wait. No step runs in the writer of the books.
    async fn payment<T: Send + 'static>(
        &self,
        steps: impl FnOnce(&Inner, UnixTime) -> Result<T, PaymentError> + Send + 'static,
    ) -> Result<T, Problem> {
        let inner = Arc::clone(&self.0);
        let now = clock::now();
        match tokio::task::spawn_blocking(move || steps(&inner, now)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(PaymentError::Ledger(error))) => Err(Problem::of(&error, now)),
            Ok(Err(PaymentError::Evidence(word, text))) => Err(Problem::new(word, text)),
            Ok(Err(error @ PaymentError::Busy)) => Err(Problem::busy(&error.to_string())),
            Ok(Err(error @ PaymentError::Provider(_))) => Err(Problem::provider(&error.to_string())),
            Ok(Err(PaymentError::Told { log, text })) => Err(Problem::told(&log, text)),
            Err(_) => Err(Problem::trouble("a payment panicked")),
        }
    }

    /// Begins a payment.
    ///
    /// # Errors
    /// Those of the payment, and `rate` while as many codes are mailed as may be at once.
    pub async fn begin(&self, way: Way, due: Due, contact: Option<String>) -> Result<Begun, Problem> {
        let place = match way {
            Way::Code => Waiting::Permit(self.mailing()?),
            way => self.paying(way)?,
        };
        self.payment(move |inner, now| {
            // Held until the server has answered, even if the client is gone.
            let _place = place;
            let begun = inner.pay(way, |payment| payment.begin(&due, contact.as_deref(), now))?;
            // Without an answer there is no page on which the buyer could pay.
            #[cfg(feature = "sender")]
            if way == Way::Provider {
                inner.purchases.begin_elsewhere(&due);
            }
            Ok(begun)
        })
        .await
    }

    /// Completes a payment, and sells the stamp for it. A payment whose sale the ledger rejects is refunded.
    ///
    /// # Errors
    /// Those of the payment and of the ledger.
    pub async fn sell_for(&self, way: Way, due: Due, evidence: String) -> Result<IssuedStamps, Problem> {
        let evidence = Zeroizing::new(evidence);
        let place = self.paying(way)?;
        self.payment(move |inner, now| {
            let _place = place;
            #[cfg(feature = "sender")]
            let _alone = inner.alone(Some(way), None, &due, now)?;
            let Completion::Paid(paid) = inner.pay(way, |payment| payment.complete(&due, &evidence, now))? else {
                let text = "The payment has not arrived yet. Try again in a moment.";
                return Err(PaymentError::Evidence("unpaid", text.to_owned()));
            };
            let orders = std::slice::from_ref(&due.order);
            let sold = inner.ledger.issue_for(paid.clone(), orders, Some(&due.purchase), now);
            let Err(LedgerError::Refused(rejection)) = &sold else { return Ok(sold?) };
            // Stamps were sold for this payment before.
            if matches!(rejection, Rejection::KeyReused { .. }) {
                return Ok(sold?);
            }
            match inner.pay(way, |payment| payment.refund(&due, &paid)) {
                Refund::NothingTaken | Refund::Never => Ok(sold?),
                Refund::Returned => {
                    let text = format!("The payment was refunded, since the stamp cannot be sold: {rejection}.");
                    Err(PaymentError::Evidence("refunded", text))
                }
                Refund::Later => {
                    let text = format!("The stamp cannot be sold: {rejection}. Try again later for your refund.");
                    Err(PaymentError::Evidence("refunded", text))
                }
            }
        })
        .await
    }

    /// Sells the stamp of a purchase to an account.
    ///
    /// # Errors
    /// Those of the ledger, and of a purchase that is paid in another way.
    pub async fn sell_to(&self, account: u64, due: Due) -> Result<IssuedStamps, Problem> {
        self.payment(move |inner, now| {
            #[cfg(feature = "sender")]
            let _alone = inner.alone(None, Some(account), &due, now)?;
            let orders = std::slice::from_ref(&due.order);
            Ok(inner.ledger.issue(account, orders, Some(&due.purchase), now)?)
        })
        .await
    }

    /// Gives back what a provider of payments received for a purchase that was paid in another way.
    ///
    /// # Errors
    /// Those of the ledger and of the provider.
    #[cfg(feature = "sender")]
    pub async fn give_back(&self, due: Due) -> Result<(), Problem> {
        let place = self.paying(Way::Provider)?;
        self.payment(move |inner, now| {
            let _place = place;
            inner.give_back(&due, now)
        })
        .await
    }

    /// Takes a place to wait for a provider of payments or a mint, so that a slow one leaves the threads of other
    /// requests alone.
    fn paying(&self, way: Way) -> Result<Waiting, Problem> {
        #[cfg(feature = "sender")]
        let full = || Problem::rate(Duration::from_secs(5));
        match way {
            Way::Voucher | Way::Work(_) | Way::Code => Ok(Waiting::Not),
            #[cfg(feature = "sender")]
            Way::Provider => {
                let place = Arc::clone(&self.0.paying).try_acquire_owned();
                place.map(Waiting::Permit).map_err(|_| full())
            }
            #[cfg(feature = "sender")]
            Way::Cashu(address) => self.0.places.take(address).map(Waiting::Place).ok_or_else(full),
        }
    }

    fn mailing(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let place = Arc::clone(&self.0.mailing).try_acquire_owned();
        place.map_err(|_| Problem::rate(self.0.settings.mail_server.timeout))
    }

    /// Calls the ledger as [`ledger`](Self::ledger) does, for calls that wait for the mail server.
    ///
    /// At most `MAILS` run at once, so that a slow server leaves the threads of other requests alone.
    ///
    /// # Errors
    /// As [`ledger`](Self::ledger), and `rate` while as many are under way.
    pub async fn mail<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Ledger, UnixTime) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, Problem> {
        let place = self.mailing()?;
        self.ledger(move |ledger, now| {
            // Held until the server has answered, even if the client is gone.
            let _place = place;
            ask(ledger, now)
        })
        .await
    }
}

/// Serves until SIGTERM or SIGINT, then finishes requests under way, and returns.
///
/// Calls `listening` once, with the addresses at which it listens.
///
/// # Errors
/// [`ServeError`] when it cannot start.
pub fn run(ledger: Ledger, settings: Settings, listening: impl FnOnce(&str)) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // Each thread waits for a group commit.
        .max_blocking_threads(ASKING + MAILS + WAITING)
        // Answers of the ledger and the service's own structures are small.
        .thread_stack_size(1024 * 1024)
        .build()?;
    let service = Service::new(ledger, settings)?;
    runtime.block_on(listener::serve(service, listening))?;
    runtime.shutdown_timeout(Duration::from_secs(5));
    Ok(())
}
