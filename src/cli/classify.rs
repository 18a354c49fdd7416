//! `mailstamp classify`: the class of a message as a word, a reason and an exit status.

use super::delivery::{self, Delivery};
use super::exit::{Failure, TEMPFAIL};
use super::{input, output};
use crate::config::places::Given;

/// Read a message on standard input, print its class and the reason, and exit with the code of the class.
///
/// A good stamp is spent. 75 means that nothing could be decided and the message has to be tried again.
#[derive(Debug, Default, clap::Args)]
#[command(after_help = "Exit status:\n  \
    0 first-class  10 allowed  11 unstamped  12 underpaid  13 unverified\n  \
    20 invalid  21 used  22 revoked  75 try again\n\n\
    Examples:\n  \
    mailstamp classify < message\n  \
    mailstamp classify --exit-zero --recipient you@your.example < message   (for Sieve)\n  \
    mailstamp classify --no-mark --json < message                           (only look)")]
pub struct Args {
    #[command(flatten)]
    pub delivery: delivery::Args,
    /// Exit 0 for every class (Sieve drops the output of a program that exits otherwise)
    #[arg(long)]
    pub exit_zero: bool,
    /// Print the verdict as a JSON object
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
/// A failure with status 75.
pub fn run(args: &Args, given: &Given) -> Result<u8, Failure> {
    let Delivery { input, verdict, .. } = delivery::judge(&args.delivery, given)?;
    if input.cut {
        input::rest(&mut std::io::sink()).map_err(|error| Failure::input(TEMPFAIL, &error))?;
    }
    let class = verdict.class();
    let text = if args.json { output::verdict(&verdict).to_string() } else { format!("{class} {}", verdict.reason) };
    output::line(&text).map_err(|error| Failure::output(TEMPFAIL, &error))?;
    Ok(if args.exit_zero { 0 } else { class.exit_code() })
}
