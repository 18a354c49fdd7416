//! Where the ledger is, how a command gets at it, and what its answers mean as statuses.

use crate::cli::ui::exit_status::{CANNOT_CREATE, CONFIG, DATA, Failure, IO, NO_INPUT, TEMPFAIL};
use crate::cli::ui::output;
use crate::config::paths::{CliOverrides, Paths};
use crate::ledger::error::LedgerError;
use crate::ledger::handle::Ledger;
use crate::ledger::model::Standing;
use crate::server::vendor_http::api::directory::published;
use std::path::PathBuf;
use std::time::Duration;

/// Where the system keeps a vendor's ledger for a user without a home.
const SYSTEM: &str = "/var/lib/mailstamp/vendor";
/// For how long a command waits for another one that has the ledger.
const WAIT: Duration = Duration::from_secs(10);

/// Which ledger.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(skip)]
pub struct Which {
    /// The folder of the ledger [default: vendor in the folder of the state]
    #[arg(long, value_name = "FOLDER")]
    ledger: Option<PathBuf>,
}

impl Which {
    /// The ledger in this folder, or in the usual one.
    #[must_use]
    pub const fn at(ledger: Option<PathBuf>) -> Self {
        Self { ledger }
    }

    /// The folder: the one that was named, else `vendor` in the folder of the state, else the system's.
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
        if std::env::var_os("HOME").is_none_or(|home| home.is_empty()) {
            return Ok(PathBuf::from(SYSTEM));
        }
        let (_, places) = Paths::read(given)?;
        Ok(places.state()?.join("vendor"))
    }

    /// Where the directory is published that the shop hands out as it is.
    ///
    /// # Errors
    /// As [`folder`](Self::folder).
    pub fn public(&self, given: &CliOverrides) -> Result<PathBuf, Failure> {
        Ok(self.folder(given)?.join("public"))
    }

    /// Says what is still to be done for recipients to learn of a change: what was published stays as it is. The shop
    /// tells them by itself where nothing was.
    ///
    /// # Errors
    /// As [`folder`](Self::folder).
    pub(super) fn tell_recipients(&self, ledger: &Ledger, given: &CliOverrides) -> Result<(), Failure> {
        let folder = self.folder(given)?;
        let publish = format!("mailstamp vendor publish --ledger {}", folder.display());
        if published(&folder).exists() {
            output::note(&format!("recipients do not know yet; publish it: {publish}"));
        } else if !ledger.served() {
            output::note(&format!("recipients learn it while the shop is open, or from: {publish} --out FOLDER"));
        }
        Ok(())
    }

    /// The ledger, taken or asked for.
    ///
    /// # Errors
    /// As [`Ledger::reach`].
    pub fn reach(&self, given: &CliOverrides) -> Result<Ledger, Failure> {
        Ok(Ledger::connect(&self.folder(given)?, WAIT)?)
    }
}

/// The account that is named by its name or its number.
pub(super) fn account(ledger: &Ledger, name: &str) -> Result<Standing, Failure> {
    let now = crate::os::clock::now();
    let found = match name.parse() {
        Ok(number) => ledger.account(number, now),
        Err(_) => ledger.account_named(name, now),
    };
    Ok(found?)
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        let code = match &error {
            LedgerError::Refused(_) | LedgerError::Damaged { .. } | LedgerError::Edition(_) => DATA,
            LedgerError::Busy { .. }
            | LedgerError::Served { .. }
            | LedgerError::Left
            | LedgerError::Remote(_)
            | LedgerError::Mail { .. } => TEMPFAIL,
            LedgerError::Absent { .. } => NO_INPUT,
            LedgerError::Exists { .. } => CANNOT_CREATE,
            LedgerError::Version { .. } | LedgerError::Unsafe { .. } => CONFIG,
            LedgerError::Key(_) | LedgerError::Io { .. } => IO,
        };
        Self::new(code, error)
    }
}
