//! Progress of a long command on standard error, only on a terminal. The line is drawn again every 100 ms and removed
//! at the end.

use super::counts::grouped;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// The line.
#[derive(Debug)]
pub struct Progress {
    shown: bool,
    whole: u64,
    done: u64,
    count: u64,
    begun: Instant,
    drawn: Option<Instant>,
}

/// Cells of the bar.
const CELLS: u64 = 30;
const PAUSE: Duration = Duration::from_millis(100);

impl Progress {
    /// Returns a progress line. `whole` computes the number of bytes, only if standard error is a terminal.
    pub fn new(whole: impl FnOnce() -> u64) -> Self {
        let shown = io::stderr().is_terminal();
        let whole = if shown { whole() } else { 0 };
        Self { shown, whole, done: 0, count: 0, begun: Instant::now(), drawn: None }
    }

    /// Counts one more message, of this many bytes.
    pub fn step(&mut self, bytes: u64) {
        self.done = self.done.saturating_add(bytes);
        self.count += 1;
        if self.shown && self.drawn.is_none_or(|drawn| drawn.elapsed() >= PAUSE) {
            self.drawn = Some(Instant::now());
            self.write(&format!("\r{}\x1b[K", bar(self.done, self.whole, self.count, self.begun.elapsed())));
        }
    }

    /// Removes the line, so that other text can be written. The next step draws it again.
    pub fn clear(&mut self) {
        if self.drawn.take().is_some() {
            self.write("\r\x1b[K");
        }
    }

    fn write(&self, text: &str) {
        let mut stderr = io::stderr().lock();
        // A failure to draw is no reason to stop.
        let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

fn bar(done: u64, whole: u64, count: u64, elapsed: Duration) -> String {
    let parts = |of: u64| u128::from(done.min(whole)) * u128::from(of) / u128::from(whole.max(1));
    let full = usize::try_from(parts(CELLS)).unwrap_or_default();
    let rate = u128::from(count) * 1000 / elapsed.as_millis().max(1);
    format!(
        "[{}{}] {:>3} %  messages: {}, {} a second",
        "#".repeat(full),
        "-".repeat(CELLS as usize - full),
        parts(100),
        grouped(count),
        grouped(u64::try_from(rate).unwrap_or(u64::MAX))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_fills_and_never_overflows() {
        let second = Duration::from_secs(1);
        assert_eq!(bar(0, 10, 0, second), format!("[{}]   0 %  messages: 0, 0 a second", "-".repeat(30)));
        let half = format!("[{}{}]  50 %  messages: 1,200, 1,200 a second", "#".repeat(15), "-".repeat(15));
        assert_eq!(bar(5, 10, 1200, second), half);
        // A file may have grown since it was measured.
        assert!(bar(u64::MAX, 10, 1, Duration::ZERO).contains("100 %  messages: 1,"));
        assert!(bar(1, 0, 1, second).starts_with("[-"));
    }
}
