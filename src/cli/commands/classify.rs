//! `mailstamp classify`: the class of a message as a word, a reason and an exit status.

use crate::cli::ui::exit_status::{Failure, TEMPFAIL};
use crate::cli::ui::judge::{self, Delivery};
use crate::cli::ui::{input, output};
use crate::config::paths::CliOverrides;

/// Read a message on standard input, print its class and the reason, and exit with the status of the class.
///
/// A good stamp is spent. Status 75 means that no decision was possible and the message must be tried again.
#[derive(Debug, Default, clap::Args)]
#[command(
    override_usage = "mailstamp classify [OPTIONS] < MESSAGE",
    after_help = "Exit status:\n  \
    0 first-class  10 allowed  11 unstamped  12 underpaid  13 unverified\n  \
    20 invalid  21 used  22 revoked  75 try again\n  \
    with --action: 0 deliver  30 tag  31 challenge  32 hold  33 discard  34 reject\n\n\
    Examples:\n  \
    mailstamp classify < message\n  \
    mailstamp classify --exit-zero --recipient you@your.example < message   (for Sieve)\n  \
    mailstamp classify --dry-run --json < message                           (only look)"
)]
pub struct Args {
    #[command(flatten)]
    pub delivery: judge::Args,
    /// Exit 0 for every class (Sieve drops the output of a program that exits otherwise)
    #[arg(long)]
    pub exit_zero: bool,
    /// Print the action first, and exit with its status
    #[arg(long)]
    pub action: bool,
    /// Print the verdict as a JSON object
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
/// A failure with status 75.
pub fn run(args: &Args, given: &CliOverrides) -> Result<u8, Failure> {
    let Delivery { input, decision, .. } = judge::judge(&args.delivery, given)?;
    if input.cut {
        input::rest(&mut std::io::sink()).map_err(|error| Failure::input(TEMPFAIL, &error))?;
    }
    let (class, action) = (decision.class(), decision.action);
    let text = match (args.json, args.action) {
        (true, _) => output::decision(&decision).to_string(),
        (false, false) => format!("{class} {}", decision.verdict.reason),
        (false, true) => format!("{action} {class} {}", decision.verdict.reason),
    };
    output::line(&text).map_err(|error| Failure::output(TEMPFAIL, &error))?;
    Ok(match (args.exit_zero, args.action) {
        (true, _) => 0,
        (false, false) => class.exit_code(),
        (false, true) => action.exit_code(),
    })
}
