//! What long-running commands report to their operator.

use crate::message::header::readable;
use crate::os::without_numbers;
use std::io::{self, Write as _};

/// Longest line, in bytes.
const MAX_LINE: usize = 1_000;

/// Writes one line to standard error, with control characters escaped. An error there is ignored: no better place is
/// left to report it.
pub(super) fn log_stderr(what: &str) {
    let _ = writeln!(io::stderr(), "mailstamp: {}", readable(without_numbers(what).as_bytes(), MAX_LINE));
}

/// Writes one warning to standard error.
#[cfg(feature = "vendor")]
pub(super) fn warn_stderr(what: &str) {
    log_stderr(&format!("warning: {what}"));
}
