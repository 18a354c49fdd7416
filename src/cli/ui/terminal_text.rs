//! Text for the terminal: without characters that control it.

/// Escapes the control characters of a text for the terminal as `\\xNN`. Line ends stay.
#[must_use]
pub fn without_controls(text: &str) -> String {
    let escaped = |letter: char| match letter {
        '\n' => "\n".to_owned(),
        letter if letter.is_control() => format!("\\x{:02x}", u32::from(letter)),
        letter => letter.to_string(),
    };
    text.chars().map(escaped).collect()
}
