//! `mailstamp strip`: removes the stamps from a message.

use crate::cli::ui::exit_status::Failure;
use crate::cli::ui::{input, output};
use crate::message::parse::Message;
use crate::stamp::affix::strip;
use std::io::{self, Write};

/// Read a message on standard input and write it to standard output without its stamps.
///
/// Nothing else is changed: a stamp that `affix` put on is removed exactly. A stamp inside an encoded text part or an
/// encoded subject cannot be removed without changing more. It stays, and a line on standard error says so.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "mailstamp strip < MESSAGE",
    after_help = "Examples:\n  mailstamp strip < stamped > message"
)]
pub struct Args {}

/// Runs the command.
///
/// # Errors
/// A failure when reading or writing fails.
pub fn run(_: &Args) -> Result<u8, Failure> {
    let input = input::message(u64::MAX)?;
    let message = Message::parse(&input.bytes);
    let stripped = strip(&message);
    let mut stdout = io::stdout().lock();
    for piece in stripped.edit.pieces() {
        stdout.write_all(piece)?;
    }
    stdout.flush()?;
    let mut stderr = io::stderr().lock();
    for place in stripped.left {
        // The message is written already. A closed standard error changes nothing.
        let _ = writeln!(stderr, "mailstamp: hint: a stamp in the {} was left in place", output::place(place));
    }
    Ok(0)
}
