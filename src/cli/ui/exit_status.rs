//! Exit statuses and error messages: `mailstamp: error: …`, and a hint where one helps. On the mail path the only
//! statuses are those of the classes and 75; all other commands use those of sysexits(3).

use super::terminal_text::without_controls;
use crate::config::paths::PathsError;
use crate::context::error::Deferral;
use crate::engine::auto_reply::ReplyError;
use crate::os::without_numbers;
use crate::store::StoreError;
use rustix::io::Errno;
use std::fmt::Display;
use std::io;

/// The command was used wrongly (EX_USAGE).
pub const USAGE: u8 = 64;
/// The input is wrong (EX_DATAERR).
pub const DATA: u8 = 65;
/// An input file is missing (EX_NOINPUT).
pub const NO_INPUT: u8 = 66;
/// The service or its data is not available now (EX_UNAVAILABLE).
pub const UNAVAILABLE: u8 = 69;
/// An output file cannot be made (EX_CANTCREAT).
pub const CANNOT_CREATE: u8 = 73;
/// Reading or writing failed (EX_IOERR).
pub const IO: u8 = 74;
/// Try again later (EX_TEMPFAIL): the one status on which every mail system keeps the message.
pub const TEMPFAIL: u8 = 75;
/// Permission denied, or the request is refused (EX_NOPERM).
pub const NO_PERMISSION: u8 = 77;
/// The configuration is wrong (EX_CONFIG).
pub const CONFIG: u8 = 78;

/// No exit status: `mailstamp-tools` has to run the command, and standard input is as it was.
const FOR_TOOLS: u8 = u8::MAX;

/// Failure of a command: its exit status, and what to tell the user.
#[derive(Debug)]
pub struct Failure {
    /// The exit status.
    pub code: u8,
    /// What happened; empty where there is nothing to report.
    pub message: String,
    /// The hint.
    pub hint: Option<String>,
}

impl Failure {
    /// Returns a failure without a hint.
    pub fn new(code: u8, message: impl Display) -> Self {
        Self { code, message: message.to_string(), hint: None }
    }

    /// Returns the failure to read standard input.
    #[must_use]
    pub fn input(code: u8, error: &io::Error) -> Self {
        Self::stream(code, "cannot read standard input", error)
    }

    /// Returns the failure to write standard output. A broken pipe is not reported, since the reader has seen enough,
    /// unless a message waits.
    #[must_use]
    pub fn output(code: u8, error: &io::Error) -> Self {
        if code == IO && error.kind() == io::ErrorKind::BrokenPipe {
            return Self::new(IO, "");
        }
        Self::stream(code, "cannot write standard output", error)
    }

    fn stream(code: u8, what: &str, error: &io::Error) -> Self {
        let failure = Self::new(code, format!("{what}: {error}"));
        if error.raw_os_error() == Some(Errno::BADF.raw_os_error()) {
            return failure.hint("open it: it is closed, or open in the wrong mode");
        }
        failure
    }

    /// Returns whether the reader of standard output has closed it, which is no error.
    #[must_use]
    pub fn is_unread(&self) -> bool {
        self.code == IO && self.message.is_empty()
    }

    /// Returns the failure of a program without a client of databases, before it did anything.
    #[must_use]
    pub fn for_tools() -> Self {
        Self::new(FOR_TOOLS, PathsError::NoClient)
    }

    /// Returns whether `mailstamp-tools` has to run the command.
    #[must_use]
    pub fn is_for_tools(&self) -> bool {
        self.code == FOR_TOOLS
    }

    /// Returns the same failure with a hint.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Returns the failure with a hint, if it comes from the limit on file sizes and has none.
    #[must_use]
    pub fn explained(self) -> Self {
        let text = io::Error::from(Errno::FBIG).to_string();
        if self.hint.is_none() && without_numbers(&self.message).contains(&without_numbers(&text)) {
            return self.hint("raise the file size limit (ulimit -f, RLIMIT_FSIZE)");
        }
        self
    }

    /// Prints the failure to standard error.
    pub fn report(&self) {
        use io::Write;
        if self.message.is_empty() {
            return;
        }
        // Standard error may be closed by now, and there is no better channel.
        let mut stderr = io::stderr().lock();
        let _ = writeln!(stderr, "mailstamp: error: {}", without_controls(&without_numbers(&self.message)));
        if let Some(hint) = &self.hint {
            let _ = writeln!(stderr, "mailstamp: hint: {}", without_controls(hint));
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

impl From<PathsError> for Failure {
    fn from(error: PathsError) -> Self {
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
