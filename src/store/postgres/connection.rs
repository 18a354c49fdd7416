//! One session with a server, and the checks at its begin.
//!
//! - The settings that durability depends on are set in each session: those of the role or the server may differ.
//! - No request is ever cancelled. A cancel while a commit waits for a standby ends the wait, and the server then says
//!   that the commit succeeded, with a warning only (PostgreSQL 15, 27.2.8.3). When a deadline passes, the connection
//!   is dropped. A warning makes the result of a write unknown.
//! - A client that stops between two requests of a transaction keeps its locks, and mail of other hosts waits. So the
//!   server ends a session that is idle in a transaction for twice as long as a request may take. That is no cancel of a commit:
//!   the server counts the time only while it waits for a request, and once it read `commit` it waits for none.
//!   `statement_timeout` is off: one that passes just as a statement ends would cut the wait of its commit short.
//! - A write is done when the server says that it is ready for the next request. The end of a statement comes before
//!   its commit (55.2.3).

use super::options::Options;
use super::scram::ScramOnly;
use super::seen::{self, Seen};
use super::trouble;
use crate::database::Host;
use crate::store::error::StoreError;
use crate::time::UnixTime;
use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::Severity;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{AsyncMessage, Client, Config, Error, NoTls, Row, SimpleQueryMessage, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Why a request failed.
#[derive(Debug)]
pub(super) enum Failure {
    Server(Error),
    Store(StoreError),
    /// A row that this program does not write: a value of another type, or one that means nothing.
    Damaged,
    /// No answer within the time limit of one request.
    Late,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Server(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// A parameter of a statement, with its type.
pub(super) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// An open session.
pub(super) struct Connection {
    client: Client,
    server: Arc<str>,
    task: AbortHandle,
    /// The first warning that was not looked at yet.
    warning: Arc<Mutex<Option<String>>>,
    /// Statements that came before: `None` after the first time, and prepared from the second on.
    statements: HashMap<&'static str, Option<Statement>>,
    /// The time limit of each request of a long job.
    pub(super) patience: Option<Duration>,
    /// The number of our space.
    pub(super) space: i32,
    /// The number of the table of spaces, as long as it is the same one.
    pub(super) table: u32,
    /// The server's clock in seconds since 1970, and when it was read.
    time: (i64, Instant),
    pub(super) idle_since: Instant,
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Closes the socket at once. A server that does not answer reads no farewell either.
        self.task.abort();
    }
}

/// What a server says at the begin of a session.
#[derive(Debug, Default)]
pub(super) struct Greeting {
    pub(super) in_recovery: bool,
    pub(super) read_only: bool,
    system_identifier: String,
    timeline: i64,
    position: u64,
    flushed: u64,
    /// The format of the schema, if there is one.
    format: Option<u32>,
    /// The number of our space and its epoch.
    space: Option<(i32, i64)>,
    /// Numbers of the database and of the table of spaces.
    tables: (u32, u32),
}

impl Greeting {
    /// Returns what the server is, compared with what it was.
    pub(super) fn seen(&self, options: &Options) -> Seen {
        let epoch = self.space.map_or(0, |(_, epoch)| epoch);
        let mut seen = Seen::new(options, self.system_identifier.clone(), self.tables, self.timeline);
        seen.flushed = self.flushed;
        seen.at(epoch, self.position)
    }

    /// Returns the number of our space, of a server that can be used.
    pub(super) fn space(&self, server: &str, known: u32) -> Result<i32, StoreError> {
        let refused = |what| Err(StoreError::Refused { server: server.to_owned(), what });
        if self.in_recovery {
            return refused(trouble::standby());
        }
        if self.read_only {
            return refused(trouble::read_only());
        }
        match self.format {
            Some(found) if found > known => Err(StoreError::Version { path: server.into(), found, known }),
            Some(found) if found < known => refused(format!(
                "its tables have format {found}, and this version needs {known}; run mailstamp store init"
            )),
            _ => match self.space {
                Some((number, _)) => Ok(number),
                None => refused(trouble::no_space()),
            },
        }
    }
}

impl Connection {
    /// Connects to one server, without a look at what it is.
    pub(super) async fn open(
        runtime: &Handle,
        host: &Host,
        options: &Options,
        tls: Option<&MakeRustlsConnect>,
    ) -> Result<Self, StoreError> {
        let server: Arc<str> = host.to_string().into();
        let failed = |error| trouble::connect(&server, &error, options.tls.as_ref());
        let away = |error| StoreError::Unreachable { server: server.to_string(), what: trouble::of_io(&error) };
        let password = options.password();
        let password = password.map_err(|what| StoreError::Refused { server: server.to_string(), what })?;
        let config = config_of(host, options, password.as_ref().map(|text| text.as_str()));
        let warning = Arc::default();
        let (client, task) = match (host, tls) {
            (Host::Tcp { .. }, Some(tls)) => {
                let (client, connection) = config.connect(tls.clone()).await.map_err(failed)?;
                (client, serve(runtime, connection, &warning))
            }
            (Host::Tcp { name, port }, None) => {
                let stream = TcpStream::connect((name.as_str(), *port)).await.map_err(away)?;
                stream.set_nodelay(true).map_err(away)?;
                let (client, connection) = config.connect_raw(ScramOnly::new(stream), NoTls).await.map_err(failed)?;
                (client, serve(runtime, connection, &warning))
            }
            (Host::Unix { folder, port }, _) => {
                let stream = UnixStream::connect(folder.join(format!(".s.PGSQL.{port}"))).await.map_err(away)?;
                let (client, connection) = config.connect_raw(ScramOnly::new(stream), NoTls).await.map_err(failed)?;
                (client, serve(runtime, connection, &warning))
            }
        };
        let idle_since = Instant::now();
        Ok(Self {
            client,
            server,
            task,
            warning,
            statements: HashMap::new(),
            patience: None,
            space: 0,
            table: 0,
            time: (0, idle_since),
            idle_since,
        })
    }

    /// Sets up the session, and asks what the server is.
    pub(super) async fn greet(&mut self, options: &Options) -> Result<Greeting, Failure> {
        let text = format!(
            "{};
             select pg_is_in_recovery(), current_setting('transaction_read_only') = 'on',
                 (select system_identifier from pg_control_system()),
                 case when pg_is_in_recovery() then null
                     else pg_walfile_name(pg_current_wal_insert_lsn()) end,
                 case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_insert_lsn() end,
                 case when pg_is_in_recovery() then null else pg_current_wal_flush_lsn() end;
             select m.format, s.id, s.epoch, 'mailstamp.space'::regclass::oid,
                 (select oid from pg_database where datname = current_database()),
                 extract(epoch from clock_timestamp())::bigint
             from mailstamp.meta m left join mailstamp.space s on s.name = {}",
            settings(options),
            quoted(&options.space),
        );
        let mut greeting = Greeting::default();
        let mut rows = 0;
        for message in self.client.simple_query(&text).await? {
            let SimpleQueryMessage::Row(row) = message else { continue };
            rows += 1;
            if rows == 1 {
                greeting.in_recovery = row.get(0) == Some("t");
                greeting.read_only = row.get(1) == Some("t");
                greeting.system_identifier = row.get(2).unwrap_or_default().to_owned();
                // The first eight digits of a WAL file's name are its timeline.
                let timeline = row.get(3).and_then(|name| name.get(..8));
                greeting.timeline = timeline.and_then(|digits| i64::from_str_radix(digits, 16).ok()).unwrap_or(0);
                greeting.position = row.get(4).and_then(seen::position).unwrap_or(0);
                greeting.flushed = row.get(5).and_then(seen::position).unwrap_or(0);
            } else {
                greeting.format = Some(row.get(0).and_then(|format| format.parse().ok()).ok_or(Failure::Damaged)?);
                let number = |column| row.get(column).and_then(|text: &str| text.parse::<i64>().ok());
                let oid = |column| number(column).and_then(|number| u32::try_from(number).ok()).unwrap_or(0);
                greeting.tables = (oid(4), oid(3));
                self.table = greeting.tables.1;
                self.time = (number(5).unwrap_or(0), Instant::now());
                greeting.space = number(1).and_then(|id| i32::try_from(id).ok()).zip(number(2));
            }
        }
        Ok(greeting)
    }

    /// Returns the time by the server's clock.
    pub(super) fn server_time(&self) -> UnixTime {
        let (then, read) = self.time;
        UnixTime(then).plus(i64::try_from(read.elapsed().as_secs()).unwrap_or(0))
    }

    /// Runs a statement. The second time it is prepared, which saves the server half of its work.
    pub(super) async fn rows(&mut self, text: &'static str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, Failure> {
        let patience = self.patience;
        within(patience, self.rows_of(text, parameters)).await
    }

    async fn rows_of(&mut self, text: &'static str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, Error> {
        let Some(statement) = self.statements.get_mut(text) else {
            self.statements.insert(text, None);
            let parameters: Vec<_> = parameters.iter().map(|(value, of)| (*value, of.clone())).collect();
            return self.client.query_typed(text, &parameters).await;
        };
        let statement = match statement {
            Some(statement) => statement,
            None => {
                let types: Vec<Type> = parameters.iter().map(|(_, of)| of.clone()).collect();
                statement.insert(self.client.prepare_typed(text, &types).await?)
            }
        };
        let values: Vec<&(dyn ToSql + Sync)> = parameters.iter().map(|(value, _)| *value).collect();
        self.client.query(&*statement, &values).await
    }

    /// Runs a statement that is never prepared.
    pub(super) async fn rows_once(&mut self, text: &str) -> Result<Vec<Row>, Failure> {
        within(self.patience, self.client.query_typed(text, &[])).await
    }

    /// Runs statements without parameters and rows.
    pub(super) async fn batch(&mut self, text: &str) -> Result<(), Failure> {
        within(self.patience, self.client.batch_execute(text)).await
    }

    /// Returns how far the server has flushed its WAL; `None` if it does not answer.
    pub(super) async fn ping(&mut self) -> Option<u64> {
        let rows = self.rows("select pg_current_wal_flush_lsn()::text", &[]).await.ok()?;
        seen::position(rows.first()?.try_get(0).ok()?)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    pub(super) fn server(&self) -> &str {
        &self.server
    }

    /// Returns the first warning since the last call.
    pub(super) fn take_warning(&self) -> Option<String> {
        self.warning.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Waits for a request, within the time limit if there is one.
async fn within<T>(patience: Option<Duration>, request: impl Future<Output = Result<T, Error>>) -> Result<T, Failure> {
    match patience {
        None => Ok(request.await?),
        Some(patience) => Ok(timeout(patience, request).await.map_err(|_| Failure::Late)??),
    }
}

/// The settings of a session. A lock is waited for less long than our deadline, so that the server says that it was a
/// lock.
pub(super) fn settings(options: &Options) -> String {
    let lock_timeout = (options.timeout / 4).max(Duration::from_millis(1)).as_millis();
    let idle_timeout = (options.timeout * 2).as_millis();
    format!(
        "set standard_conforming_strings = on; set client_min_messages = warning;
         set synchronous_commit = {}; set default_transaction_isolation = 'read committed';
         set statement_timeout = 0; set idle_in_transaction_session_timeout = {idle_timeout};
         set lock_timeout = {lock_timeout}; set search_path = pg_catalog, pg_temp; set bytea_output = hex; set jit = off",
        options.synchronous_commit.as_str()
    )
}

/// Returns a text as a literal that means the same whatever `standard_conforming_strings` is.
fn quoted(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

fn config_of(host: &Host, options: &Options, password: Option<&str>) -> Config {
    let mut config = Config::new();
    // Without TLS the socket is opened here, and these name no host.
    if let Host::Tcp { name, port } = host {
        config.host(name).port(*port);
    }
    config.dbname(&options.database).user(&options.user).application_name("mailstamp");
    if let Some(password) = password {
        config.password(password);
    }
    let encrypted = options.tls.is_some() && matches!(host, Host::Tcp { .. });
    config.ssl_mode(if encrypted { SslMode::Require } else { SslMode::Disable });
    // A peer that is gone without a word is noticed while a connection is idle.
    config.keepalives(true).keepalives_idle(Duration::from_secs(30));
    config.keepalives_interval(Duration::from_secs(10)).keepalives_retries(3);
    config
}

/// Drives a connection on the runtime's thread, and keeps its first warning.
fn serve<S, T>(
    runtime: &Handle,
    mut connection: tokio_postgres::Connection<S, T>,
    warning: &Arc<Mutex<Option<String>>>,
) -> AbortHandle
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let warning = Arc::clone(warning);
    let driven = poll_fn(move |context| {
        loop {
            match connection.poll_message(context) {
                Poll::Ready(Some(Ok(AsyncMessage::Notice(notice)))) => {
                    let warns = notice.parsed_severity() == Some(Severity::Warning);
                    if warns || notice.code().code().starts_with("01") {
                        let text = notice.message().to_owned();
                        warning.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(text);
                    }
                }
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    });
    runtime.spawn(driven).abort_handle()
}
