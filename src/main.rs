//! The program `mailstamp`: judges one message, or becomes `mailstamp-tools`, which has all other commands.

use mailstamp::cli;
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::guarded(|arguments| cli::mail_path::run(&arguments).unwrap_or_else(|| cli::tools::exec(&arguments)))
}
