//! `mailstamp strip`: removes the stamps from a message, or what its sender wrote under the names of our result fields.

use crate::cli::ui::exit_status::{Failure, TEMPFAIL};
use crate::cli::ui::{input, judge, output};
use crate::config::paths::{CliOverrides, Paths};
use crate::engine::result_header::{HeaderContext, without_result_headers};
use crate::message::edit::Edit;
use crate::message::parse::Message;
use crate::stamp::affix::strip;
use std::io::{self, Write};

/// Read a message on standard input and write it to standard output without its stamps.
///
/// Nothing else is changed: a stamp that `affix` put on is removed exactly. A stamp inside an encoded text part or an
/// encoded subject cannot be removed without changing more. It stays, and a line on standard error says so.
///
/// With --results the stamps stay, and the result fields go that came with the message: every Digital-Stamp-Class,
/// however it is spelled. A recipe that runs classify needs this, since classify does not change the message.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "mailstamp strip [OPTIONS] < MESSAGE",
    after_help = "Examples:\n  \
    mailstamp strip < stamped > message\n  \
    :0 fhw                               in a .procmailrc\n  \
    | mailstamp strip --results"
)]
pub struct Args {
    /// Remove the result fields, as filter does, and leave the stamps
    #[arg(long)]
    pub results: bool,
}

/// Runs the command.
///
/// # Errors
/// A failure when reading or writing fails. With `--results` it has status 75, since a message is waiting.
pub fn run(args: &Args, given: &CliOverrides) -> Result<u8, Failure> {
    if args.results {
        return judge::run(given, true, || strip_results(given));
    }
    let input = input::message(u64::MAX)?;
    let message = Message::parse(&input.bytes);
    let stripped = strip(&message);
    write(&stripped.edit)?;
    let mut stderr = io::stderr().lock();
    for place in stripped.left {
        // The message is written already. A closed standard error changes nothing.
        let _ = writeln!(stderr, "mailstamp: hint: a stamp in the {} was left in place", output::place(place));
    }
    Ok(0)
}

fn strip_results(given: &CliOverrides) -> Result<u8, Failure> {
    let (config, _) = Paths::read(given)?;
    let input = input::read(u64::MAX).map_err(|error| Failure::input(TEMPFAIL, &error))?;
    let edit = without_result_headers(&Message::parse(&input.bytes), &HeaderContext::of(&config));
    write(&edit).map_err(|error| Failure::output(TEMPFAIL, &error))?;
    Ok(0)
}

fn write(edit: &Edit<'_>) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    for piece in edit.pieces() {
        stdout.write_all(piece)?;
    }
    stdout.flush()
}
