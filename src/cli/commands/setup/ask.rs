//! Questions of `mailstamp setup` on the terminal. The end of the input is a no.

use super::found::Incoming;
use crate::cli::ui::exit_status::{Failure, IO, USAGE};
use clap::ValueEnum;
use std::io::{self, Write};

/// Asks for a line; an empty one is `usual`.
pub(super) fn line(question: &str, usual: &str) -> Result<String, Failure> {
    let answer = read(&format!("{question} [{}]: ", if usual.is_empty() { "none" } else { usual }))?;
    Ok(if answer.is_empty() { usual.to_owned() } else { answer })
}

/// Asks for the way of mail, until the answer is one.
pub(super) fn choice(question: &str, usual: Incoming) -> Result<Incoming, Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{question}")?;
    for value in Incoming::value_variants().iter().filter_map(ValueEnum::to_possible_value) {
        let help = value.get_help().map(ToString::to_string).unwrap_or_default();
        writeln!(out, "  {:<9} {help}", value.get_name())?;
    }
    drop(out);
    loop {
        let answer = line("Way", usual.as_str())?;
        if let Ok(incoming) = Incoming::from_str(&answer, true) {
            return Ok(incoming);
        }
    }
}

/// Asks a question; only "y" and "yes" agree.
pub(super) fn agreed(question: &str) -> Result<bool, Failure> {
    let answer = read(&format!("{question} [y/N]: "))?;
    Ok(["y", "yes"].iter().any(|yes| answer.eq_ignore_ascii_case(yes)))
}

fn read(prompt: &str) -> Result<String, Failure> {
    let mut out = io::stdout().lock();
    out.write_all(prompt.as_bytes())?;
    out.flush()?;
    let mut text = String::new();
    match io::stdin().read_line(&mut text) {
        Ok(0) => Err(Failure::new(USAGE, "no answer; nothing was changed")),
        Ok(_) => Ok(text.trim().to_owned()),
        Err(error) => Err(Failure::input(IO, &error)),
    }
}
