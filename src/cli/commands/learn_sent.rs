//! `mailstamp learn-sent`: learns the user's correspondents from sent mail: from one message on standard input, or from
//! folders of earlier mail.

use crate::cli::ui::counts::grouped;
use crate::cli::ui::exit_status::{self, Failure};
use crate::cli::ui::progress::Progress;
use crate::cli::ui::{input, output};
use crate::config::paths::CliOverrides;
use crate::context::Context;
use crate::context::error::Deferral;
use crate::context::learn_sent::{BEGINNING, SkipReason};
use crate::mailbox::walk;
use crate::message::header::readable;
use crate::message::parse::Message;
use crate::os::without_numbers;
use crate::store::{LearnOutcome, Sent};
use crate::time::UnixTime;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Learn your correspondents: read a message that you send on standard input, or sent messages from Maildirs and mbox
/// files.
///
/// It learns the recipients in To, Cc and Bcc and the Message-ID, for rules that ask whether you wrote to a sender.
/// Only messages whose From is one of your addresses count, and none that a program or a mailing list sent. Nothing is
/// printed for a message on standard input.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailstamp learn-sent < sent-message\n  \
    mailstamp learn-sent ~/Maildir/.Sent ~/Mail/sent-2025.mbox")]
pub struct Args {
    /// Maildirs, mbox files, folders of them, or single messages
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Show what was learned from a message, or why nothing was
    #[arg(long, short)]
    verbose: bool,
    /// The user whose addresses and state are meant, where the configuration has %u, %n or %d
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
}

impl Args {
    /// Returns the arguments for sent mail in these folders.
    pub(super) fn of(paths: Vec<PathBuf>) -> Self {
        Self { paths, verbose: false, user: None }
    }

    /// Returns whether the command prints its result.
    #[must_use]
    pub fn prints(&self) -> bool {
        self.verbose || !self.paths.is_empty()
    }
}

/// Messages learned in one durable transaction. Deliveries can proceed between two of them.
const MESSAGES: usize = 2_000;
/// Recipients from which a transaction is full.
const RECIPIENTS: usize = 20_000;

pub fn run(args: &Args, given: &CliOverrides) -> Result<u8, Failure> {
    if args.paths.is_empty() { one(args, given) } else { many(args, given) }
}

fn one(args: &Args, given: &CliOverrides) -> Result<u8, Failure> {
    // The message is read to its end in any case: an unread pipe breaks the sending program.
    let read = input::read(BEGINNING).and_then(|it| input::rest(&mut io::sink()).map(|()| it));
    let input = read.map_err(|error| Failure::input(exit_status::IO, &error))?;
    let context = Context::load(given, None)?;
    let told = match context.may_learn(&Message::parse(&input.bytes), context.now)? {
        Ok(sent) => {
            let learned = context.used_log()?.learn(&[sent])?;
            format!("learned: {}", counted(learned))
        }
        Err(why) => format!("not learned: {why}"),
    };
    if args.verbose {
        output::line(&told)?;
    }
    Ok(0)
}

fn counted(learned: LearnOutcome) -> String {
    format!("{} correspondents, {} messages", grouped(learned.correspondents), grouped(learned.messages))
}

/// Result so far.
#[derive(Default)]
struct Gathered {
    waiting: Vec<Sent>,
    recipients: usize,
    learned: LearnOutcome,
    messages: u64,
    foreign: u64,
    automatic: u64,
    unreadable: u64,
    skipped: u64,
    doubtful: u64,
}

fn many(args: &Args, given: &CliOverrides) -> Result<u8, Failure> {
    let context = Context::load(given, None)?;
    let mut progress = Progress::new(|| walk::size(&args.paths));
    let mut gathered = Gathered::default();
    let stopped = walk::read_certain(&args.paths, BEGINNING, &mut |found| {
        match found {
            walk::Entry::Message(kept) => {
                progress.step(kept.length);
                if !kept.certain {
                    gathered.messages += 1;
                    gathered.doubtful += 1;
                    return ControlFlow::Continue(());
                }
                if let Err(error) = gathered.add(&context, &Message::parse(kept.bytes), UnixTime(kept.modified)) {
                    return ControlFlow::Break(error);
                }
            }
            walk::Entry::Skipped(path, why) => {
                gathered.skipped += 1;
                progress.clear();
                output::skipped(path, why);
            }
            walk::Entry::Unreadable(path, error) => {
                gathered.unreadable += 1;
                progress.clear();
                let path = readable(path.as_os_str().as_bytes(), 1000);
                // Standard error may be closed by now.
                let _ = writeln!(io::stderr(), "mailstamp: error: {path}: {}", without_numbers(&error.to_string()));
            }
        }
        ControlFlow::Continue(())
    });
    drop(progress);
    match stopped {
        ControlFlow::Continue(()) => gathered.learn(&context)?,
        ControlFlow::Break(error) => return Err(error.into()),
    }
    gathered.print()?;
    Ok(if gathered.unreadable == 0 { 0 } else { exit_status::IO })
}

impl Gathered {
    fn add(&mut self, context: &Context, message: &Message<'_>, modified: UnixTime) -> Result<(), Deferral> {
        self.messages += 1;
        match context.may_learn(message, modified)? {
            Err(SkipReason::Foreign | SkipReason::UnknownUser) => self.foreign += 1,
            Err(SkipReason::Automatic | SkipReason::FromList) => self.automatic += 1,
            Ok(sent) => {
                self.recipients += sent.recipients.len();
                self.waiting.push(sent);
            }
        }
        if self.waiting.len() >= MESSAGES || self.recipients >= RECIPIENTS { self.learn(context) } else { Ok(()) }
    }

    fn learn(&mut self, context: &Context) -> Result<(), Deferral> {
        self.learned += context.used_log()?.learn(&self.waiting)?;
        self.waiting.clear();
        self.recipients = 0;
        Ok(())
    }

    fn print(&self) -> io::Result<()> {
        output::line(&format!("messages: {}", grouped(self.messages)))?;
        for (count, what) in [
            (self.foreign, "left out, since From is none of your addresses"),
            (self.automatic, "left out, since a program or a mailing list sent them"),
            (self.doubtful, "left out, since their mbox file does not quote every line that begins with \"From \""),
            (self.unreadable, "could not be read"),
            (self.skipped, "skipped, since they are no mail"),
        ] {
            if count > 0 {
                output::line(&format!("{what}: {}", grouped(count)))?;
            }
        }
        output::line(&format!("learned: {}", counted(self.learned)))
    }
}
