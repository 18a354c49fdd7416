//! `mailstamp filter`: passes a message through and adds its class on top. It writes nothing before everything is
//! decided: in a mail system, exit 0 after half a message loses the message.

use crate::cli::ui::exit_status::{Failure, TEMPFAIL};
use crate::cli::ui::input;
use crate::cli::ui::judge::{self, Delivery};
use crate::config::paths::CliOverrides;
use crate::engine::result_header;
use crate::message::edit::Edit;
use crate::message::parse::Message;
use std::io::{self, Write};

/// Read a message on standard input and write it to standard output with the field Digital-Stamp-Class on top.
///
/// Every such field that came with the message is removed first, however it is spelled. Nothing else is changed. A good
/// stamp is spent. The exit status is 0, or 75 when no decision was possible; then nothing is written.
#[derive(Debug, Default, clap::Args)]
#[command(
    override_usage = "mailstamp filter [OPTIONS] < MESSAGE",
    after_help = "Examples:\n  \
    mailstamp filter < message > out\n  \
    :0 fw                                in a .procmailrc\n  \
    | mailstamp filter"
)]
pub struct Args {
    #[command(flatten)]
    pub delivery: judge::Args,
}

/// Runs the command.
///
/// # Errors
/// A failure with status 75.
pub fn run(args: &Args, given: &CliOverrides) -> Result<u8, Failure> {
    let Delivery { input, decision, marks } = judge::judge(&args.delivery, given)?;
    let edit = result_header::with_result_headers(&Message::parse(&input.bytes), &decision, &marks);
    write(&edit, input.cut).map_err(|error| Failure::output(TEMPFAIL, &error))?;
    Ok(0)
}

fn write(edit: &Edit<'_>, cut: bool) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    for piece in edit.pieces() {
        stdout.write_all(piece)?;
    }
    if cut {
        input::rest(&mut stdout)?;
    }
    stdout.flush()
}
