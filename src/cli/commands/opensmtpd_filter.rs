//! `mailstamp opensmtpd-filter`: a filter of smtpd(8).

use crate::boundary::opensmtpd::ProtocolError;
use crate::cli::ui::exit_status::{CONFIG, Failure, TEMPFAIL, USAGE};
use crate::config::paths::CliOverrides;
use crate::server::opensmtpd::{self, OpensmtpdError};
use std::io;

/// Judge the mail of an organisation as a filter of OpenSMTPD.
///
/// smtpd(8) runs it, and shows it each message while the sending host still waits. The configuration needs the table
/// [boundary]. The message is judged once for each recipient. It gets its class as a header field, or is refused. It is
/// tried again when it cannot be judged. mailstamp-milter(8) has the details.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailstamp --config /etc/mailstamp/config.toml opensmtpd-filter    as smtpd runs it\n\n\
    In smtpd.conf (rules/smtpd-filter.conf):\n  \
    proc \"mailstamp\" \"/usr/local/bin/mailstamp --config /etc/mailstamp/config.toml opensmtpd-filter\" user \"mailstamp\"\n  \
    filter \"mailstamp\" proc \"mailstamp\"\n  \
    listen on eth0 filter \"mailstamp\"")]
pub struct Args {}

/// Runs the command.
///
/// # Errors
/// A failure when it cannot start, or smtpd speaks another protocol.
pub fn run(_: &Args, given: &CliOverrides) -> Result<u8, Failure> {
    opensmtpd::run(given, io::stdin().lock(), io::stdout()).map_err(failure)?;
    Ok(0)
}

fn failure(error: OpensmtpdError) -> Failure {
    match error {
        OpensmtpdError::Config(error) => error.into(),
        OpensmtpdError::NoBoundary => Failure::new(CONFIG, error).hint("add [boundary], mailstamp-milter(8)"),
        OpensmtpdError::Rules(_) | OpensmtpdError::ByUser => Failure::new(CONFIG, error),
        OpensmtpdError::SetId => Failure::new(USAGE, error),
        OpensmtpdError::Protocol(ProtocolError::Malformed(_)) => {
            Failure::new(TEMPFAIL, error).hint("smtpd(8) runs this command: see rules/smtpd-filter.conf")
        }
        OpensmtpdError::Protocol(_) | OpensmtpdError::Io(_) => Failure::new(TEMPFAIL, error),
    }
}
