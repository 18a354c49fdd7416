//! Locates and opens the ledger, and maps its errors to exit statuses.

use crate::accounting::event::KeyState;
use crate::cli::ui::exit_status::{CANNOT_CREATE, CONFIG, DATA, Failure, IO, NO_INPUT, TEMPFAIL};
use crate::cli::ui::output;
use crate::config::paths::{CliOverrides, Paths, names_own_state};
use crate::ledger::address_proof::MailServer;
use crate::ledger::error::{CREATE, LedgerError};
use crate::ledger::handle::Ledger;
use crate::ledger::model::Standing;
use crate::ledger::ops;
use crate::os::clock;
use crate::os::clock_record::ClockHealth;
use crate::server::vendor_http::api::directory::published;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

/// Folder of the ledger for a user without a home.
const SYSTEM: &str = "/var/lib/mailstamp-vendor";
/// Limit on the wait for another command that has the ledger open.
const WAIT: Duration = Duration::from_secs(10);

/// Location of the ledger.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(skip)]
pub struct Which {
    /// The folder of the ledger [default: vendor in the folder of the state]
    #[arg(long, value_name = "FOLDER")]
    ledger: Option<PathBuf>,
}

impl Which {
    /// Returns the ledger in this folder, or in the usual one.
    #[must_use]
    pub const fn at(ledger: Option<PathBuf>) -> Self {
        Self { ledger }
    }

    /// Returns the folder: the one that was named, else `vendor` in the folder of the state, else the system's.
    ///
    /// # Errors
    /// A configuration that cannot be read.
    pub fn folder(&self, given: &CliOverrides) -> Result<PathBuf, Failure> {
        if let Some(folder) = &self.ledger {
            return Ok(folder.clone());
        }
        if let Some(state) = &given.state {
            return Ok(state.join("vendor"));
        }
        if !names_own_state() {
            return Ok(PathBuf::from(SYSTEM));
        }
        let (_, places) = Paths::read(given)?;
        Ok(places.state()?.join("vendor"))
    }

    /// Returns the folder of the published directory, which the shop serves unchanged.
    pub fn public(&self, given: &CliOverrides) -> Result<PathBuf, Failure> {
        Ok(self.folder(given)?.join("public"))
    }

    /// Prints how recipients learn of a change. A published directory stays as it is until it is published again. Where
    /// there is none, the shop serves a current one.
    pub(super) fn tell_recipients(&self, ledger: &Ledger, given: &CliOverrides) -> Result<(), Failure> {
        let folder = self.folder(given)?;
        let publish = format!("mailstamp vendor publish --ledger {}", folder.display());
        if published(&folder).exists() {
            output::note(&format!("recipients do not know yet; publish it: {publish}"));
        } else if !ledger.served() {
            output::note(&format!("recipients learn of it while the shop runs, or from: {publish} --out FOLDER"));
        }
        Ok(())
    }

    /// Opens the ledger, or connects to the process that has it open.
    pub fn reach(&self, given: &CliOverrides) -> Result<Ledger, Failure> {
        Ok(Ledger::connect(&self.folder(given)?, WAIT)?)
    }
}

/// Mail server that takes codes.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub(super) struct Smtp {
    /// The mail server that takes the codes that prove an address; plain SMTP
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:25", value_parser = host_and_port)]
    smtp: String,
}

impl Smtp {
    pub(super) fn server(&self, timeout: Duration) -> MailServer {
        MailServer { address: self.smtp.clone(), timeout }
    }
}

fn host_and_port(text: &str) -> Result<String, String> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0) => Ok(text.to_owned()),
        _ => Err("not a host and a port, as in 127.0.0.1:25".to_owned()),
    }
}

/// Finds an account by its name or its number.
pub(super) fn account(ledger: &Ledger, name: &str) -> Result<Standing, Failure> {
    let now = clock::now();
    let found = match name.parse() {
        Ok(number) => ledger.account(number, now),
        Err(_) => ledger.run(ops::AccountNamed { name: name.to_owned() }, now),
    };
    Ok(found?)
}

/// Reports keys that the published editions revoked and the ledger did not, and which command makes a key that signs.
pub(super) fn tell_revoked(ledger: &Ledger, revoked: &[String]) -> Result<(), Failure> {
    for kid in revoked {
        output::warning(&format!("key {kid} was revoked in a published edition, so it is revoked here, too"));
    }
    if !revoked.is_empty() && ledger.profile()?.keys.iter().all(|key| key.state != KeyState::Active) {
        let kid = ledger.published_key()?.unwrap_or_else(|| "NAME".to_owned());
        output::warning(&format!("no key signs, so nothing is sold; run mailstamp vendor rotate {kid}"));
    }
    Ok(())
}

/// Reports a clock that the ledger does not believe.
pub(super) fn tell_clock(ledger: &Ledger) {
    let now = clock::now();
    match ledger.clock_health(now) {
        None | Some(ClockHealth::Believed) => {}
        Some(ClockHealth::Ahead { expected }) => output::note(&format!(
            "the clock says {now}, ahead of {expected}, the time last seen and the uptime since; no idempotency key is \
             forgotten and no licence closes until the machine has run for a day"
        )),
        Some(ClockHealth::WasAhead { read }) => {
            output::note(&format!("the clock was ahead at {read}: stamps and licences of that time end late"));
        }
        Some(ClockHealth::Behind { seen }) => output::note(&format!(
            "the clock says {now}, behind {seen}, the time last seen; set the clock, unless it was ahead then"
        )),
    }
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        let code = match &error {
            LedgerError::Refused(_)
            | LedgerError::Damaged { .. }
            | LedgerError::Backup { .. }
            | LedgerError::Edition(_)
            | LedgerError::PublicLog(_) => DATA,
            LedgerError::Busy { .. }
            | LedgerError::Served { .. }
            | LedgerError::Left
            | LedgerError::Remote(_)
            | LedgerError::Mail { .. } => TEMPFAIL,
            LedgerError::Absent { .. } | LedgerError::Lost { .. } => NO_INPUT,
            LedgerError::Exists { .. } | LedgerError::Remains { .. } => CANNOT_CREATE,
            LedgerError::Version { .. } | LedgerError::Unsafe { .. } => CONFIG,
            LedgerError::Io { doing: CREATE, .. } => CANNOT_CREATE,
            LedgerError::Io { source, .. } if source.kind() == ErrorKind::NotFound => NO_INPUT,
            LedgerError::Key(_) | LedgerError::Io { .. } => IO,
        };
        Self::new(code, error)
    }
}
