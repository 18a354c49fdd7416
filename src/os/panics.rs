//! Panics: those of a job that may panic are silent, and all others are one line of this program.

use std::cell::Cell;
use std::env;
use std::io::{self, Write as _};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

thread_local! {
    /// Whether this thread runs a job that may panic.
    static IS_EXPECTED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic is reported in one line.
static IS_SHORT: AtomicBool = AtomicBool::new(false);

/// Runs a job that may panic, as a database does on a damaged file. Returns `None` after a panic, which prints nothing.
pub fn catch_silently<T>(job: impl FnOnce() -> T) -> Option<T> {
    set_hook();
    let before = IS_EXPECTED.replace(true);
    let done = catch_unwind(AssertUnwindSafe(job)).ok();
    IS_EXPECTED.set(before);
    done
}

/// Reports every other panic in one line from now on, and as Rust does if `RUST_BACKTRACE` asks for it.
pub fn report_in_one_line() {
    IS_SHORT.store(true, Ordering::Relaxed);
    set_hook();
}

fn set_hook() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if IS_EXPECTED.get() {
                return;
            }
            if !IS_SHORT.load(Ordering::Relaxed) || env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0") {
                return usual(panic);
            }
            // Standard error may be closed.
            let _ = writeln!(io::stderr(), "mailstamp: error: {}", line(panic));
        }));
    });
}

fn line(panic: &PanicHookInfo<'_>) -> String {
    let place = panic.location().map(|at| format!(" at {}:{}", at.file(), at.line())).unwrap_or_default();
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied().or_else(|| Some(payload.downcast_ref::<String>()?.as_str()));
    format!("internal error{place}: {}", text.unwrap_or("unknown").replace(char::is_control, " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expected_panic_is_none_and_the_next_is_one_again() {
        assert_eq!(catch_silently(|| 1), Some(1));
        let nested = catch_silently(|| (catch_silently(|| panic!("on purpose")), IS_EXPECTED.get()));
        assert_eq!(nested, Some((None::<()>, true)));
        assert!(!IS_EXPECTED.get());
    }
}
