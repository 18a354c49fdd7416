//! The program: parse, run, exit. Nothing else ends the process. A panic becomes exit 75, because most mail systems bounce
//! a message on any other status that they do not know.

use std::process::ExitCode;

fn main() -> ExitCode {
    match std::panic::catch_unwind(|| mailstamp::cli::run(std::env::args_os())) {
        Ok(code) => ExitCode::from(code),
        Err(_) => ExitCode::from(mailstamp::cli::exit::TEMPFAIL),
    }
}
