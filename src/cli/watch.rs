//! `mailstamp watch`: revoke and restore by moving messages between folders.

use super::exit::{CONFIG, Failure, TEMPFAIL};
use super::output;
use crate::config::places::Given;
use crate::serve::watch::{self, Report, WatchError};
use crate::stamp::serial::Serial;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Watch mail folders: a message moved to Junk or Trash has its stamps revoked, moved back they are restored; messages in
/// Sent that say so have their stamps logged for return use.
///
/// Nothing is watched until the configuration names a Maildir. What lies in Junk and Trash at the first run is left alone.
/// Only stamps that this mailbox accepted on that very message are revoked. It runs until it is ended, which may happen at
/// any time.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailstamp watch          with this in the configuration:\n                           \
    [watch]\n                           maildir = \"/home/you/Maildir\"\n  \
    mailstamp watch --once   look once, as from cron(8)")]
pub struct Args {
    /// Look once, do what follows from it, and exit
    #[arg(long)]
    once: bool,
    /// Say nothing about what is done
    #[arg(long, short)]
    quiet: bool,
    /// Whose folders and state, where the configuration has %u, %n or %d
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// A failure when nothing is to be watched, or with `--once` something could not be done.
pub fn run(args: &Args, given: &Given) -> Result<u8, Failure> {
    let mut report = Told { quiet: args.quiet, drawn: None };
    let done = if args.once { watch::once(given, &mut report) } else { watch::run(given, &mut report) };
    report.clear();
    done.map_err(failure)?;
    Ok(0)
}

fn failure(error: WatchError) -> Failure {
    match error {
        WatchError::Places(error) => error.into(),
        WatchError::Undecided(error) => error.into(),
        WatchError::Nothing => {
            Failure::new(CONFIG, error).hint("write [watch] and maildir = \"/home/you/Maildir\" into the configuration")
        }
        error => Failure::new(TEMPFAIL, error),
    }
}

/// Lines on standard output; a bar on standard error where a person looks.
struct Told {
    quiet: bool,
    drawn: Option<Instant>,
}

/// Fewer messages than this are done before a bar could be read.
const WORTH_A_BAR: usize = 500;

impl Told {
    fn clear(&mut self) {
        if self.drawn.take().is_some() {
            // Nobody may be looking any more.
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

impl Report for Told {
    fn did(&mut self, vendor: &str, serial: &Serial, what: &str) {
        self.clear();
        if !self.quiet {
            // If nobody reads it, it is done all the same.
            let _ = output::line(&format!("{vendor}/{serial}: {what}"));
        }
    }

    fn progress(&mut self, folder: &str, done: usize, of: usize) {
        if of < WORTH_A_BAR || self.quiet || !io::stderr().is_terminal() {
            return;
        }
        if done >= of {
            return self.clear();
        }
        if self.drawn.is_none_or(|drawn| drawn.elapsed() >= Duration::from_millis(100)) {
            let filled = done * 30 / of.max(1);
            let bar = format!("{}{}", "#".repeat(filled), ".".repeat(30 - filled.min(30)));
            let folder: String = folder.chars().rev().take(40).filter(|c| !c.is_control()).collect();
            let folder: String = folder.chars().rev().collect();
            let _ = write!(io::stderr(), "\r\x1b[K{folder} [{bar}] {done} of {of}");
            self.drawn = Some(Instant::now());
        }
    }

    fn trouble(&mut self, error: &WatchError) {
        self.clear();
        let _ = writeln!(io::stderr(), "mailstamp: warning: {error}; will try again");
    }
}
