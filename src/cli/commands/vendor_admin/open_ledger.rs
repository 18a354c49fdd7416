//! Where the books are, how a command gets at them, and what their answers mean as statuses.

use crate::cli::ui::exit_status::{CANNOT_CREATE, CONFIG, DATA, Failure, IO, NO_INPUT, TEMPFAIL};
use crate::cli::ui::output;
use crate::config::paths::{Given, Places};
use crate::ledger::error::BooksError;
use crate::ledger::handle::Books;
use crate::ledger::model::Standing;
use crate::server::vendor_http::api::directory::published;
use std::path::PathBuf;
use std::time::Duration;

/// Where the system keeps a vendor's books for a user without a home.
const SYSTEM: &str = "/var/lib/mailstamp/vendor";
/// For how long a command waits for another one that has the books.
const WAIT: Duration = Duration::from_secs(10);

/// Which books.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(skip)]
pub struct Which {
    /// The folder of the books [default: vendor in the folder of the state]
    #[arg(long, value_name = "FOLDER")]
    books: Option<PathBuf>,
}

impl Which {
    /// The books in this folder, or in the usual one.
    #[must_use]
    pub const fn at(books: Option<PathBuf>) -> Self {
        Self { books }
    }

    /// The folder: the one that was named, else `vendor` in the folder of the state, else the system's.
    ///
    /// # Errors
    /// A configuration that cannot be read.
    pub fn folder(&self, given: &Given) -> Result<PathBuf, Failure> {
        if let Some(folder) = &self.books {
            return Ok(folder.clone());
        }
        if let Some(state) = &given.state {
            return Ok(state.join("vendor"));
        }
        if std::env::var_os("HOME").is_none_or(|home| home.is_empty()) {
            return Ok(PathBuf::from(SYSTEM));
        }
        let (_, places) = Places::read(given)?;
        Ok(places.state()?.join("vendor"))
    }

    /// Where the directory is published that the shop hands out as it is.
    ///
    /// # Errors
    /// As [`folder`](Self::folder).
    pub fn public(&self, given: &Given) -> Result<PathBuf, Failure> {
        Ok(self.folder(given)?.join("public"))
    }

    /// Says what is still to be done for recipients to learn of a change: what was published stays as it is. The shop
    /// tells them by itself where nothing was.
    ///
    /// # Errors
    /// As [`folder`](Self::folder).
    pub(super) fn tell_recipients(&self, books: &Books, given: &Given) -> Result<(), Failure> {
        let folder = self.folder(given)?;
        let publish = format!("mailstamp vendor publish --books {}", folder.display());
        if published(&folder).exists() {
            output::note(&format!("recipients do not know yet; publish it: {publish}"));
        } else if !books.served() {
            output::note(&format!("recipients learn it while the shop is open, or from: {publish} --out FOLDER"));
        }
        Ok(())
    }

    /// The books, taken or asked for.
    ///
    /// # Errors
    /// As [`Books::reach`].
    pub fn reach(&self, given: &Given) -> Result<Books, Failure> {
        Ok(Books::reach(&self.folder(given)?, WAIT)?)
    }
}

/// The account that is named by its name or its number.
pub(super) fn account(books: &Books, name: &str) -> Result<Standing, Failure> {
    let now = crate::os::clock::now();
    let found = match name.parse() {
        Ok(number) => books.account(number, now),
        Err(_) => books.account_named(name, now),
    };
    Ok(found?)
}

impl From<BooksError> for Failure {
    fn from(error: BooksError) -> Self {
        let code = match &error {
            BooksError::Refused(_) | BooksError::Damaged { .. } | BooksError::Edition(_) => DATA,
            BooksError::Busy { .. }
            | BooksError::Served { .. }
            | BooksError::Left
            | BooksError::Remote(_)
            | BooksError::Mail { .. } => TEMPFAIL,
            BooksError::Absent { .. } => NO_INPUT,
            BooksError::Exists { .. } => CANNOT_CREATE,
            BooksError::Version { .. } | BooksError::Unsafe { .. } => CONFIG,
            BooksError::Key(_) | BooksError::Io { .. } => IO,
        };
        Self::new(code, error)
    }
}
