//! Text for the terminal: without characters that control it.

use crate::message::header::readable;

/// Escapes the invisible characters of a text for the terminal, as [`readable`] does. Line ends stay.
#[must_use]
pub fn without_controls(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(|line| readable(line.as_bytes(), usize::MAX)).collect();
    lines.join("\n")
}
