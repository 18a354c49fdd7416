//! `mailstamp watch`: revoke and unrevoke by moving messages between folders.

use super::correspondents::StatusName;
use crate::cli::ui::exit_status::{CONFIG, Failure, TEMPFAIL};
use crate::cli::ui::output;
use crate::cli::ui::progress::Progress;
use crate::config::paths::CliOverrides;
use crate::context::error::Deferral;
use crate::engine::judge::Engine;
use crate::os::without_numbers;
use crate::server::watcher::{self, Report, WatchError};
use crate::stamp::serial::Serial;
use crate::store::LearnOutcome;
use crate::verdict::owner::Owner;
use std::io::{self, Write};

/// Watch mail folders and act on moved messages. A message moved to Junk or Trash has its stamps revoked; moved back,
/// it has them unrevoked. Messages in Sent that ask for it have their stamps logged for return use, and their
/// recipients are learned.
///
/// Nothing is watched until the configuration names a Maildir. Messages already in Junk and Trash at the first run are
/// left alone. Only stamps that this mailbox accepted on that very message are revoked. The command runs until it is
/// ended, which is safe at any time.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailstamp watch          with this in the configuration:\n                           \
    [watch]\n                           maildir = \"/home/you/Maildir\"\n  \
    mailstamp watch --once   look once, as from cron(8)")]
pub struct Args {
    /// Check once, apply the changes, and exit
    #[arg(long)]
    once: bool,
    /// Do not report changes
    #[arg(long, short)]
    quiet: bool,
    /// The user whose folders and state are meant, where the configuration has %u, %n or %d
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// A failure when nothing is to be watched, or with `--once` when an action failed.
pub fn run(args: &Args, given: &CliOverrides) -> Result<u8, Failure> {
    let engines = || Engine::load(given, None).map_err(Deferral::from);
    let mut report = Told { quiet: args.quiet, bar: None, engines: &engines };
    let done = if args.once { watcher::once(&engines, &mut report) } else { watcher::run(&engines, &mut report) };
    drop(report);
    done.map_err(failure)?;
    Ok(0)
}

fn failure(error: WatchError) -> Failure {
    match error {
        WatchError::Places(error) => error.into(),
        WatchError::Undecided(Deferral::Places(error)) => error.into(),
        WatchError::Undecided(error) => error.into(),
        WatchError::Nothing => {
            Failure::new(CONFIG, error).hint("write [watch] and maildir = \"/home/you/Maildir\" into the configuration")
        }
        error => Failure::new(TEMPFAIL, error),
    }
}

/// Reports changes on standard output, and progress on standard error on a terminal.
struct Told<'a> {
    quiet: bool,
    bar: Option<(Progress, usize)>,
    engines: &'a dyn Fn() -> Result<Engine, Deferral>,
}

/// Messages from which a bar is shown. Fewer are done before it could be read.
const WORTH_A_BAR: usize = 500;

impl Told<'_> {
    fn clear(&mut self) {
        if let Some((bar, _)) = &mut self.bar {
            bar.clear();
        }
    }
}

impl Report for Told<'_> {
    fn changed(&mut self, vendor: &str, serial: &Serial, what: &str) {
        self.clear();
        if !self.quiet {
            // The change is made even if standard output is closed.
            let owners = Owner::of_status_name(vendor).and_then(|_| (self.engines)().ok());
            let name = match &owners {
                Some(engine) => StatusName::of(vendor, &engine.context).with_serial(serial),
                None => format!("{vendor}/{serial}"),
            };
            let _ = output::line(&format!("{name}: {what}"));
        }
    }

    fn learned(&mut self, learned: LearnOutcome) {
        if learned.correspondents > 0 && !self.quiet {
            self.clear();
            let _ = output::line(&format!("learned from Sent: {} correspondents", learned.correspondents));
        }
    }

    fn progress(&mut self, done: usize, of: usize) {
        if of < WORTH_A_BAR || self.quiet {
            return;
        }
        let (bar, drawn) = self.bar.get_or_insert_with(|| (Progress::new(|| of as u64), 0));
        while *drawn < done {
            bar.step(1);
            *drawn += 1;
        }
        if done >= of {
            self.bar = None;
        }
    }

    fn error(&mut self, error: &WatchError) {
        self.clear();
        let _ = writeln!(io::stderr(), "mailstamp: warning: {}; will try again", without_numbers(&error.to_string()));
    }
}
