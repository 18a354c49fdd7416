//! Exit statuses, and how a failure is told: `mailstamp: error: …`, and a hint where one helps. On the mail path the only
//! statuses are those of the classes and 75; everywhere else those of sysexits(3).

use crate::config::paths::PlacesError;
use crate::engine::auto_reply::ReplyError;
use crate::engine::error::Deferral;
use crate::store::StoreError;
use std::fmt::Display;
use std::io;

/// The command was used wrongly (EX_USAGE).
pub const USAGE: u8 = 64;
/// What was given is not what was asked for (EX_DATAERR).
pub const DATA: u8 = 65;
/// An input file is missing (EX_NOINPUT).
pub const NO_INPUT: u8 = 66;
/// What is asked is not there now (EX_UNAVAILABLE).
pub const UNAVAILABLE: u8 = 69;
/// An output file cannot be made (EX_CANTCREAT).
pub const CANNOT_CREATE: u8 = 73;
/// Reading or writing failed (EX_IOERR).
pub const IO: u8 = 74;
/// Try again later (EX_TEMPFAIL): the one status on which every mail system keeps the message.
pub const TEMPFAIL: u8 = 75;
/// Not for you, or not this way (EX_NOPERM).
pub const NO_PERMISSION: u8 = 77;
/// The configuration is wrong (EX_CONFIG).
pub const CONFIG: u8 = 78;

/// A command that did not do what it was asked for.
#[derive(Debug)]
pub struct Failure {
    /// The exit status.
    pub code: u8,
    /// What happened; empty where nobody needs to be told.
    pub message: String,
    /// What may help.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure without a hint.
    pub fn new(code: u8, message: impl Display) -> Self {
        Self { code, message: message.to_string(), hint: None }
    }

    /// Standard input could not be read.
    #[must_use]
    pub fn input(code: u8, error: &io::Error) -> Self {
        Self::new(code, format!("cannot read standard input: {error}"))
    }

    /// Standard output could not be written. Whoever read what a command prints, and has gone, has seen enough, and is not
    /// told; where a message waits, it is told.
    #[must_use]
    pub fn output(code: u8, error: &io::Error) -> Self {
        if code == IO && error.kind() == io::ErrorKind::BrokenPipe {
            return Self::new(IO, "");
        }
        Self::new(code, format!("cannot write standard output: {error}"))
    }

    /// The same failure with a hint.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Tells the user, on standard error.
    pub fn report(&self) {
        use io::Write;
        if self.message.is_empty() {
            return;
        }
        // Nobody may be listening any more; there is no better place to say so.
        let mut stderr = io::stderr().lock();
        let _ = writeln!(stderr, "mailstamp: error: {}", self.message);
        if let Some(hint) = &self.hint {
            let _ = writeln!(stderr, "mailstamp: hint: {hint}");
        }
    }
}

impl From<Deferral> for Failure {
    fn from(error: Deferral) -> Self {
        Self { code: TEMPFAIL, hint: error.hint().map(str::to_owned), message: error.to_string() }
    }
}

impl From<ReplyError> for Failure {
    fn from(error: ReplyError) -> Self {
        match error {
            ReplyError::Undecided(error) => error.into(),
            ReplyError::Template(error) => Self::new(CONFIG, error),
            error => Self::new(TEMPFAIL, error),
        }
    }
}

impl From<PlacesError> for Failure {
    fn from(error: PlacesError) -> Self {
        Self::new(CONFIG, error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::new(TEMPFAIL, error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::output(IO, &error),
            _ => Self::new(IO, error),
        }
    }
}
