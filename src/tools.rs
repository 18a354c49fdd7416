//! The program `mailstamp-tools`: every command. `mailstamp` becomes it for all commands outside the mail path.

use mailstamp::cli;
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::guarded(cli::run)
}
