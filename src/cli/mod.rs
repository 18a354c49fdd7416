//! Command line. Each subcommand is one file, which translates arguments into calls to the layers below, and the result
//! into text and an exit status. It decides nothing itself.
//!
//! Two programs share it. `mailstamp` judges mail ([`mail_path`]) and becomes `mailstamp-tools` ([`tools`]) for all
//! other command lines. [`run`] handles every command line; `mailstamp-tools` calls it.

pub mod commands;
mod help;
pub mod mail_path;
pub mod tools;
pub mod ui;

use crate::config::paths::CliOverrides;
use crate::context::used_log;
use crate::os::panics;
use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use mail_path::MailPath;
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::panic::{UnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use ui::exit_status::{Failure, TEMPFAIL, USAGE};

/// Let a stranger's serious mail through, and sort the rest.
#[derive(Debug, Parser)]
#[command(
    name = "mailstamp",
    version,
    long_about = "Let a stranger's serious mail through, and sort the rest.\n\n\
        mailstamp reads one message on standard input, verifies the digital stamp on it, spends the stamp's serial \
        once in a local log, and exits with a class code that procmail, maildrop, Sieve, Postfix and mail readers \
        act on.",
    after_help = "Examples:\n  \
        mailstamp classify < message         print the class and its reason, exit with the class code\n  \
        mailstamp filter < message > out     add the class as a header field\n  \
        mailstamp deliver < message          put it into your Maildir by its class\n  \
        mailstamp explain < message          say step by step why\n  \
        mailstamp doctor                     check that everything is in place\n\n\
        The manual: mailstamp(1), mailstamp-sender(1), mailstamp-peer(1), mailstamp.toml(5),\n\
        mailstamp-rules(5), mailstamp-stamp(5), mailstamp-directory(5), mailstamp-emstamp(5),\n\
        mailstamp-log(5), mailstamp(7), mailstamp-metrics(7), mailstamp-bank(8), mailstamp-gateway(8),\n\
        mailstamp-milter(8), mailstamp-sendmail(8), mailstamp-serve(8), mailstamp-store(8), mailstamp-submission(8),\n\
        mailstamp-vendor(8).",
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub struct Cli {
    #[command(flatten)]
    files: Files,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Default, clap::Args)]
#[group(skip)]
struct Files {
    /// Read this configuration [default: config.toml in the user's configuration folder]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Options of every command")]
    config: Option<PathBuf>,
    /// Keep the state in this folder [default: what the configuration says]
    #[arg(long, global = true, value_name = "FOLDER", help_heading = "Options of every command")]
    state: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    MailPath(MailPath),
    /// List, release and delete held mail
    #[command(subcommand)]
    Held(commands::held::Command),
    /// Show the stamps in a message
    Show(commands::show::Args),
    /// Show step by step why a message has its class
    Explain(commands::explain::Args),
    /// Try your rules on a message
    #[command(subcommand)]
    Rules(commands::rules::Command),
    /// Put a stamp on a message
    Affix(commands::affix::Args),
    /// Send a message with a stamp for each recipient, in place of sendmail(8)
    #[cfg(feature = "sender")]
    Sendmail(commands::sendmail::Args),
    /// Buy stamps
    #[cfg(feature = "sender")]
    Buy(commands::buy::Args),
    /// List, show and drop unused stamps
    #[cfg(feature = "sender")]
    #[command(subcommand)]
    Wallet(commands::wallet::Command),
    /// Manage your accounts at vendors
    #[cfg(feature = "sender")]
    #[command(subcommand)]
    Account(commands::account::Command),
    /// Keep the credits of a mail gateway
    #[cfg(feature = "sender")]
    #[command(subcommand)]
    Bank(commands::bank::Command),
    /// Run the mail gateway
    #[cfg(all(feature = "daemon", feature = "sender"))]
    Gateway(commands::gateway::Args),
    /// Exchange keys and stamps with your correspondents
    #[cfg(feature = "sender")]
    #[command(subcommand)]
    Peer(commands::peer::Command),
    /// Remove the stamps or the result fields from a message
    Strip(commands::strip::Args),
    /// Allow a stamp to be used again
    Grant(commands::grant::GrantArgs),
    /// Revoke a stamp, or end its grant
    Revoke(commands::grant::RevokeArgs),
    /// Undo a revocation
    Unrevoke(commands::grant::UnrevokeArgs),
    /// List grants and revocations
    Grants(commands::grants::Args),
    /// Show or set what your mailbox asks of senders
    #[command(subcommand)]
    Price(commands::price::Command),
    /// Show and revoke stamps in Thunderbird, by an add-on
    #[command(subcommand)]
    Thunderbird(commands::thunderbird::Command),
    /// Revoke and unrevoke by moving messages between folders
    Watch(commands::watch::Args),
    /// Run the daemon
    #[cfg(feature = "daemon")]
    Serve(commands::serve::Args),
    /// Make the key with which a milter seals results
    #[command(subcommand)]
    Boundary(commands::boundary::Command),
    /// Judge mail as a filter of OpenSMTPD
    #[cfg(feature = "daemon")]
    OpensmtpdFilter(commands::opensmtpd_filter::Args),
    /// Show the daemon's status
    Status(commands::status::Args),
    /// Test and send automatic replies
    #[command(subcommand)]
    Reply(commands::reply::Command),
    /// Learn your correspondents from sent mail
    LearnSent(commands::learn_sent::Args),
    /// Learn your correspondents from address books
    LearnContacts(commands::learn_contacts::Args),
    /// List your correspondents
    Correspondents(commands::correspondents::Args),
    /// Choose the vendors whose stamps you accept
    #[command(subcommand)]
    Trust(commands::trust::Command),
    /// Issue and sell stamps
    Vendor(commands::vendor_admin::Args),
    /// Fetch key directories of the vendors you trust
    #[cfg(feature = "directory")]
    #[command(subcommand)]
    Directory(commands::directory::Command),
    /// Show the last verdicts
    Log(commands::log::Args),
    /// Judge mail that is already in a mailbox
    Scan(commands::scan::Args),
    /// Count verdicts, vendors and grants
    Stats(commands::stats::Args),
    /// Delete expired rows from the state
    Purge(commands::purge::Args),
    /// Write the state as JSON lines
    Export(commands::export_import::ExportArgs),
    /// Read state that was exported
    Import(commands::export_import::ImportArgs),
    /// Prepare, inspect and copy a used log in PostgreSQL
    #[command(subcommand)]
    Store(commands::store::Command),
    /// Set everything up for your mailbox, or undo that
    Setup(commands::setup::Args),
    /// Check the setup and say what to do
    Doctor(commands::doctor::Args),
    /// Check or show the configuration
    #[command(subcommand)]
    Config(commands::config::Command),
    /// Print completions for a shell
    Completions(commands::completions::Args),
}

impl Command {
    /// Returns whether the command prints its result. Standard output is checked before such a command begins.
    fn prints(&self) -> bool {
        match self {
            // They check for themselves, since a message waits.
            Self::MailPath(_) => false,
            #[cfg(feature = "sender")]
            Self::Sendmail(_) => false,
            // With --results it checks for itself.
            Self::Strip(args) => !args.results,
            Self::Reply(command) => command.prints(),
            // They run on, whether their output is read or not.
            Self::Watch(_) => false,
            #[cfg(feature = "daemon")]
            Self::Serve(_) | Self::OpensmtpdFilter(_) => false,
            #[cfg(all(feature = "daemon", feature = "sender"))]
            Self::Gateway(_) => false,
            Self::Thunderbird(command) => command.prints(),
            Self::Vendor(args) => args.prints(),
            Self::Held(command) => command.prints(),
            Self::LearnSent(args) => args.prints(),
            _ => true,
        }
    }
}

/// Runs a program and returns its exit status. The first argument is the program's own name. Nothing else ends a
/// process. A panic becomes status 75, because most mail systems bounce a message on any other status that they do not
/// know, and is one line on standard error.
pub fn guarded(run: impl FnOnce(Vec<OsString>) -> u8 + UnwindSafe) -> ExitCode {
    panics::report_in_one_line();
    // Beyond the limit on file sizes (setrlimit(2)), SIGXFSZ would kill the process, and no mail system takes that for
    // "try again". With a handler, the write fails as on a full disk. (Child processes would inherit an ignored
    // signal.)
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::new(AtomicBool::new(false)));
    ExitCode::from(unwound(|| run(std::env::args_os().collect())))
}

fn unwound(run: impl FnOnce() -> u8 + UnwindSafe) -> u8 {
    catch_unwind(run).unwrap_or(TEMPFAIL)
}

/// Runs the program with these arguments, its own name first, and returns its exit status.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    used_log::provide_client();
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    #[cfg(feature = "sender")]
    if let Some((files, words)) = commands::sendmail::argv_of_sendmail(&arguments) {
        return status(commands::sendmail::run_as_sendmail(files, &words));
    }
    // Like cargo: `mailstamp help grant`.
    if arguments.get(1).is_some_and(|word| word == "help") {
        arguments.remove(1);
        arguments.push("--help".into());
    }
    match Cli::parsed(&arguments) {
        Ok(cli) => status(cli.dispatch()),
        Err(error) => usage(&error, &arguments),
    }
}

/// Reports a failure and returns the exit status.
fn status(result: Result<u8, Failure>) -> u8 {
    match result {
        Ok(code) => code,
        Err(failure) => {
            if failure.is_unread() {
                // As other programs do behind `| head`. Rust ignores the signal.
                let _ = signal_hook::low_level::emulate_default_handler(signal_hook::consts::SIGPIPE);
            }
            let failure = failure.explained();
            failure.report();
            failure.code
        }
    }
}

impl Cli {
    fn parsed(arguments: &[OsString]) -> Result<Self, clap::Error> {
        let mut matches = help::grouped(Self::command()).try_get_matches_from(arguments)?;
        Self::from_arg_matches_mut(&mut matches)
    }

    fn dispatch(self) -> Result<u8, Failure> {
        if self.command.prints() {
            ui::output::check()?;
        }
        let Files { config, state } = self.files;
        let given = |recipient| CliOverrides::from_environment(config.clone(), state.clone(), recipient);
        let of = |user| CliOverrides::of_user(config.clone(), state.clone(), user);
        match self.command {
            Command::MailPath(command) => command.run(&given(command.recipient())),
            Command::Held(command) => {
                let overrides = if command.is_on_mail_path() { given(command.user()) } else { of(command.user()) };
                commands::held::run(&command, &overrides)
            }
            Command::Show(args) => commands::show::run(&args, &given(None)),
            Command::Explain(args) => commands::explain::run(&args, &given(args.recipient.clone())),
            Command::Rules(command) => commands::rules::run(&command, &given(command.user())),
            Command::Affix(args) => commands::affix::run(&args, &given(None)),
            #[cfg(feature = "sender")]
            Command::Sendmail(args) => commands::sendmail::run(&args, Files { config, state }),
            #[cfg(feature = "sender")]
            Command::Buy(args) => commands::buy::run(&args, &given(None)),
            #[cfg(feature = "sender")]
            Command::Wallet(command) => commands::wallet::run(&command, &given(None)),
            #[cfg(feature = "sender")]
            Command::Account(command) => commands::account::run(&command, &given(None)),
            #[cfg(feature = "sender")]
            Command::Bank(command) => commands::bank::run(&command, &given(None)),
            #[cfg(all(feature = "daemon", feature = "sender"))]
            Command::Gateway(args) => commands::gateway::run(&args, &given(None)),
            #[cfg(feature = "sender")]
            Command::Peer(command) => commands::peer::run(&command, &of(command.user())),
            Command::Strip(args) => commands::strip::run(&args, &given(None)),
            Command::Grant(args) => commands::grant::grant(&args, &of(args.target.user.clone())),
            Command::Revoke(args) => commands::grant::revoke(&args, &of(args.target.user.clone())),
            Command::Unrevoke(args) => commands::grant::unrevoke(&args, &of(args.target.user.clone())),
            Command::Grants(args) => commands::grants::run(&args, &of(args.user.clone())),
            Command::Price(command) => commands::price::run(&command, &given(None)),
            Command::Thunderbird(command) => commands::thunderbird::run(&command, &given(None)),
            Command::Watch(args) => commands::watch::run(&args, &of(args.user.clone())),
            #[cfg(feature = "daemon")]
            Command::Serve(args) => commands::serve::run(&args, &given(None)),
            Command::Boundary(command) => commands::boundary::run(&command),
            #[cfg(feature = "daemon")]
            Command::OpensmtpdFilter(args) => commands::opensmtpd_filter::run(&args, &given(None)),
            Command::Status(args) => commands::status::run(&args, &given(None)),
            Command::Reply(command) => commands::reply::run(&command, &given(command.recipient())),
            Command::LearnSent(args) => commands::learn_sent::run(&args, &of(args.user.clone())),
            Command::LearnContacts(args) => commands::learn_contacts::run(&args, &of(args.user.clone())),
            Command::Correspondents(args) => commands::correspondents::run(&args, &of(args.user.clone())),
            Command::Trust(command) => commands::trust::run(&command, &given(None)),
            Command::Vendor(args) => commands::vendor_admin::run(&args.command, &given(None)),
            #[cfg(feature = "directory")]
            Command::Directory(command) => commands::directory::run(&command, &given(None)),
            Command::Log(args) => commands::log::run(&args, &of(args.user.clone())),
            Command::Scan(args) => {
                let overrides = if args.user.is_some() { of(args.user.clone()) } else { given(args.recipient.clone()) };
                commands::scan::run(&args, &overrides)
            }
            Command::Stats(args) => commands::stats::run(&args, &of(args.user.clone())),
            Command::Purge(args) => commands::purge::run(&args, &of(args.user.clone())),
            Command::Export(args) => commands::export_import::export(&of(args.user)),
            Command::Import(args) => commands::export_import::import(&args, &of(args.user.clone())),
            Command::Store(command) => commands::store::run(&command, &of(command.user())),
            Command::Setup(args) => commands::setup::run(&args, &given(None)),
            Command::Doctor(args) => commands::doctor::run(&args, &of(args.user.clone())),
            Command::Config(command) => commands::config::run(&command, &of(command.user())),
            Command::Completions(args) => commands::completions::run(&args),
        }
    }
}

/// Prints the message of clap and returns the exit status: 0 for help and version, else 64. The status is 75 where a
/// message may be waiting: on the mail path, and with an unknown subcommand if standard input is not a terminal.
fn usage(error: &clap::Error, arguments: &[OsString]) -> u8 {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let printed = ui::output::check().and_then(|()| error.print().map_err(Failure::from));
        return status(printed.map(|()| 0));
    }
    // Standard error may be closed by now.
    let told = help::plain_error(error);
    let _ = write!(anstream::stderr().lock(), "{told}");
    let words: Vec<&str> = arguments.iter().skip(1).filter_map(|argument| argument.to_str()).collect();
    let on_mail_path = mail_path::may_wait(&words);
    let known = words.iter().any(|word| Cli::command().find_subcommand(word).is_some());
    if !on_mail_path && (known || std::io::stdin().is_terminal()) {
        return USAGE;
    }
    let told = anstream::adapter::strip_str(&told).to_string();
    ui::judge::tell(
        &CliOverrides::from_environment(None, None, None),
        told.lines().next().unwrap_or_default().trim_start_matches("error: "),
    );
    TEMPFAIL
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_try_again() {
        assert_eq!(unwound(|| 21), 21);
        assert_eq!(unwound(|| panic!("on purpose")), 75);
    }

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
