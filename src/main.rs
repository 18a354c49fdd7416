//! The program: parse, run, exit. Nothing else ends the process. A panic becomes exit 75, because most mail systems bounce
//! a message on any other status that they do not know.

use mailstamp::cli;
use std::panic::{UnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    // Where files are limited in size (setrlimit(2)), writing on would kill, which no mail system takes for "try again". With
    // any handler it fails, as on a full disk. (To ignore the signal would be inherited by the programs that are run.)
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::new(AtomicBool::new(false)));
    ExitCode::from(guarded(|| cli::run(std::env::args_os())))
}

fn guarded(run: impl FnOnce() -> u8 + UnwindSafe) -> u8 {
    catch_unwind(run).unwrap_or(cli::exit::TEMPFAIL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_try_again() {
        assert_eq!(guarded(|| 21), 21);
        assert_eq!(guarded(|| panic!("on purpose")), 75);
    }
}
