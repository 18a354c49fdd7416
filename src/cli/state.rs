//! `mailstamp export` and `import`: the used-serial log and the grants as JSON lines, to move them or to keep a copy. Taking
//! in a copy never weakens what is known.

use super::exit::{DATA, Failure};
use super::output;
use crate::config::places::Given;
use crate::filter::open;
use crate::store::Row;
use std::io::{self, BufRead, BufWriter, Write};
use std::ops::ControlFlow;

/// Write the state (used serials, grants, revocations) to standard output as JSON lines.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  mailstamp export > backup.jsonl\n  mailstamp export --user alice@x.example > alice.jsonl"
)]
pub struct ExportArgs {
    /// Whose state, where the configuration has %u, %n or %d
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
}

/// Read JSON lines that `export` wrote on standard input and add them to the state.
///
/// What is known already is never weakened: a used serial stays used, a revocation stays.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp import < backup.jsonl")]
pub struct ImportArgs {
    /// Whose state, where the configuration has %u, %n or %d
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
}

/// Runs `export`.
///
/// # Errors
/// A failure when the state cannot be read or written out.
pub fn export(given: &Given) -> Result<u8, Failure> {
    let engine = open::engine(given, None)?;
    let log = open::used_log(&engine.config, &engine.places)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let mut written = Ok(());
    log.export(&mut |row| {
        written = serde_json::to_writer(&mut out, &row).map_err(io::Error::from).and_then(|()| out.write_all(b"\n"));
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    written?;
    out.flush()?;
    Ok(0)
}

/// Runs `import`.
///
/// # Errors
/// A failure with the number of the first line that is no row; the lines before it were taken in.
pub fn import(given: &Given) -> Result<u8, Failure> {
    let engine = open::engine(given, None)?;
    let log = open::used_log(&engine.config, &engine.places)?;
    let mut wrong = None;
    let mut rows = io::stdin().lock().split(b'\n').enumerate().map_while(|(index, line)| {
        let row = line.and_then(|line| serde_json::from_slice::<Row>(&line).map_err(io::Error::from));
        row.map_err(|error| wrong = Some((index + 1, error))).ok()
    });
    let imported = log.import(&mut rows)?;
    drop(rows);
    if let Some((line, error)) = wrong {
        return Err(Failure::new(DATA, format!("line {line}: {error}"))
            .hint(format!("{} rows before it were taken in; import them again at will", imported.taken)));
    }
    output::line(&format!("{} rows taken in, {} were known", imported.taken, imported.known))?;
    Ok(0)
}
