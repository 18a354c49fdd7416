//! Progress of a long command on standard error, only on a terminal. The line is drawn again every 100 ms and removed
//! at the end.

use super::counts::counted;
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

/// Most cells of the bar, and the fewest with which one is drawn.
const CELLS: usize = 30;
const FEW_CELLS: usize = 4;
const PAUSE: Duration = Duration::from_millis(100);
/// Time after which the remaining time is estimated.
const ESTIMATE: Duration = Duration::from_secs(1);

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
            let width = terminal_size::terminal_size_of(io::stderr()).map_or(80, |(width, _)| usize::from(width.0));
            let line = line(self.done, self.whole, self.count, self.begun.elapsed(), width);
            self.write(&format!("\r{line}\x1b[K"));
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

/// Returns the line: a bar, the share, the count and the remaining time. It leaves a column free, where the cursor
/// stands; what a narrow terminal has no room for is left out.
fn line(done: u64, whole: u64, count: u64, elapsed: Duration, width: usize) -> String {
    let done = done.min(whole);
    let share = if whole == 0 { 0.0 } else { done as f64 / whole as f64 };
    let mut text = format!("{:>3.0} %", (100.0 * share).floor());
    let room = width.saturating_sub(1);
    // The first messages say little about the rest.
    let left = if done == 0 || elapsed < ESTIMATE {
        String::new()
    } else {
        format!("  {} left", clock(elapsed, (whole - done) as f64 / done as f64))
    };
    let messages = format!("  {}", counted(count, "message"));
    for part in [left, messages] {
        if text.len() + part.len() <= room {
            text.push_str(&part);
        }
    }
    let cells = room.saturating_sub(text.len() + 3).min(CELLS);
    if cells < FEW_CELLS {
        return text.chars().take(room).collect();
    }
    let full = (share * cells as f64) as usize;
    format!("[{}{}] {text}", "#".repeat(full), "-".repeat(cells - full))
}

/// Returns a multiple of a time as `m:ss` or `h:mm:ss`.
fn clock(elapsed: Duration, times: f64) -> String {
    let seconds = (elapsed.as_secs_f64() * times).min(1e9).round() as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_fills_and_never_overflows() {
        let minute = Duration::from_secs(60);
        assert_eq!(line(0, 10, 0, minute, 80), format!("[{}]   0 %  0 messages", "-".repeat(30)));
        let half = format!("[{}{}]  50 %  1:00 left  1,200 messages", "#".repeat(15), "-".repeat(15));
        assert_eq!(line(5, 10, 1200, minute, 80), half);
        assert_eq!(line(1, 1000, 1, minute, 80), format!("[{}]   0 %  16:39:00 left  1 message", "-".repeat(30)));
        // A file may have grown since it was measured.
        assert!(line(u64::MAX, 10, 1, minute, 80).contains("] 100 %  0:00 left  1 message"));
        assert!(line(5, 10, 1, Duration::ZERO, 80).contains("]  50 %  1 message"));
        assert!(line(1, 0, 1, minute, 80).starts_with("[-"));
    }

    #[test]
    fn the_line_fits_in_any_terminal() {
        let minute = Duration::from_secs(60);
        assert_eq!(line(5, 10, 1200, minute, 40), "[##--]  50 %  1:00 left  1,200 messages"[..].to_owned());
        for width in 0..200 {
            for count in [1, 1_200, 1_200_000, u64::MAX] {
                for done in [0, 1, 500, 1000] {
                    let line = line(done, 1000, count, minute, width);
                    assert!(line.len() <= width.saturating_sub(1), "{width}: {line}");
                    assert!(width < 22 || done == 0 || line.contains(" left"), "{width}: {line}");
                }
            }
        }
    }
}
