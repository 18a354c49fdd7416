//! `mailstamp export` and `import`: write and read the whole state as JSON lines, to move it or to back it up. An
//! import never weakens the state.

use crate::cli::ui::exit_status::{DATA, Failure, IO};
use crate::cli::ui::{input, output};
use crate::config::paths::CliOverrides;
use crate::context::Context;
use crate::stamp::strict_json::problem;
use crate::store::{ExportRecord, Imported, Store};
use crate::time::UnixTime;
use std::fs::{self, File};
use std::io::{self, BufRead, BufWriter, Seek, Write};
use std::iter::Enumerate;
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Write the state (used serials, grants, revocations, records of sent mail) to standard output as JSON lines.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  mailstamp export > backup.jsonl\n  mailstamp export --user alice@x.example > alice.jsonl"
)]
pub struct ExportArgs {
    /// The user whose state is meant, where the configuration has %u, %n or %d
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
}

/// Read JSON lines that `export` wrote on standard input and add them to the state.
///
/// The import never weakens the state: a used serial stays used, a revocation stays, a forgotten address stays
/// forgotten.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp import < backup.jsonl")]
pub struct ImportArgs {
    /// Import as if it were this time; rows of more than a day later are refused (RFC 3339, or seconds since 1970)
    #[arg(long, value_name = "TIME")]
    pub now: Option<UnixTime>,
    /// The user whose state is meant, where the configuration has %u, %n or %d
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
}

/// How far a time in an imported row may lie after now, in seconds. The other machine's clock may be ahead.
const CLOCK_TOLERANCE: i64 = 86_400;

/// Rows imported in one transaction. Between two of them the log is unlocked, so that a waiting delivery can proceed.
const LOT: usize = 10_000;

/// Runs `export`.
///
/// # Errors
/// A failure when the state cannot be read or written out.
pub fn export(given: &CliOverrides) -> Result<u8, Failure> {
    let context = Context::load(given, None)?;
    let state = context.places.state()?;
    // A database is there without a folder, and the folder is made for it.
    let log = context.used_log()?;
    if !state.exists() {
        return Ok(0);
    }
    let mut copy = write_rows(log.as_ref(), state)?;
    let mut stdout = io::stdout().lock();
    io::copy(&mut copy, &mut stdout)?;
    stdout.flush()?;
    Ok(0)
}

/// Writes all rows of a store as lines to a file without a name in the folder `state`, and returns it rewound.
/// The reader of the lines may be slow, and deliveries wait as long as the store is locked.
pub(super) fn write_rows(log: &dyn Store, state: &Path) -> Result<File, Failure> {
    let mut copy = unnamed_file(state)?;
    let mut out = BufWriter::new(&mut copy);
    let mut written = Ok(());
    log.export(&mut |row| {
        written = serde_json::to_writer(&mut out, &row).map_err(io::Error::from).and_then(|()| out.write_all(b"\n"));
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    written?;
    out.flush()?;
    drop(out);
    copy.rewind()?;
    Ok(copy)
}

/// Creates a file that only this process can open, and that is gone when it is closed.
fn unnamed_file(folder: &Path) -> io::Result<File> {
    let path = folder.join(format!("export.{}.tmp", std::process::id()));
    let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

/// Runs `import`.
///
/// # Errors
/// A failure with the number of the first invalid line; the lines before it were imported.
pub fn import(args: &ImportArgs, given: &CliOverrides) -> Result<u8, Failure> {
    let context = Context::load(given, args.now)?;
    let mut total = Imported::default();
    let lines = input::stdin().map_err(|error| Failure::input(IO, &error))?.lock().split(b'\n');
    let mut rows = RowReader::new(lines, context.now);
    while let Some(lot) = rows.next_lot() {
        let imported = context.used_log()?.import(&mut lot.into_iter())?;
        total.taken += imported.taken;
        total.known += imported.known;
    }
    rows.finish().map_err(|failure| {
        failure.hint(format!("rows taken in before it: {}; importing them again does no harm", total.taken))
    })?;
    output::line(&format!("rows taken in: {}, known before: {}", total.taken, total.known))?;
    Ok(0)
}

/// Parses rows in lots, up to the first invalid line.
pub(super) struct RowReader<I> {
    lines: Enumerate<I>,
    latest: UnixTime,
    wrong: Option<(usize, io::Error)>,
    is_over: bool,
}

impl<I: Iterator<Item = io::Result<Vec<u8>>>> RowReader<I> {
    pub(super) fn new(lines: I, now: UnixTime) -> Self {
        Self { lines: lines.enumerate(), latest: now.plus(CLOCK_TOLERANCE), wrong: None, is_over: false }
    }

    /// Returns the next rows; the first time even if there are none.
    pub(super) fn next_lot(&mut self) -> Option<Vec<ExportRecord>> {
        if self.is_over {
            return None;
        }
        let (latest, wrong) = (self.latest, &mut self.wrong);
        let parse = |(index, line): (usize, io::Result<Vec<u8>>)| {
            let row = line.and_then(|line| parse_row(&line, latest));
            row.map_err(|error| *wrong = Some((index + 1, error))).ok()
        };
        let rows: Vec<ExportRecord> = self.lines.by_ref().take(LOT).map_while(parse).collect();
        self.is_over = rows.len() < LOT;
        Some(rows)
    }

    /// Fails with the number of the invalid line, if there was one.
    pub(super) fn finish(self) -> Result<(), Failure> {
        let failure = |(line, error)| Failure::new(DATA, format!("line {line}: {error}"));
        self.wrong.map_or(Ok(()), |wrong| Err(failure(wrong)))
    }
}

/// Parses a line, and refuses one that a clock ahead of `latest` wrote.
/// Such a purge mark would defer every stamp until then.
fn parse_row(line: &[u8], latest: UnixTime) -> io::Result<ExportRecord> {
    let row: ExportRecord = serde_json::from_slice(line)
        .map_err(|error| io::Error::other(format!("not a line that export wrote: {}", problem(&error))))?;
    match row.written_at().filter(|time| *time > latest) {
        Some(time) => Err(io::Error::other(format!("time after now: {time} is more than a day ahead of the clock"))),
        None => Ok(row),
    }
}
