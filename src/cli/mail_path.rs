//! Mail path: `classify`, `filter` and `deliver`, the only commands that the program `mailstamp` runs itself. It starts
//! once for each message, and everything in a program is mapped and relocated at each start. So it holds nothing else.

use super::commands::{classify, deliver, filter};
use super::ui::exit_status::Failure;
use super::ui::{judge, output};
use super::{Files, status, tools};
use crate::config::paths::CliOverrides;
use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::path::Path;

/// The names of [`MailPath`].
const MAIL_PATH: [&str; 3] = ["classify", "filter", "deliver"];

/// What `--version` prints.
pub(super) const VERSION: &str = concat!("mailstamp ", env!("CARGO_PKG_VERSION"));

/// The names under which the program is sendmail(8), whatever its arguments are.
const SENDMAIL_NAMES: [&str; 2] = ["mailstamp-sendmail", "sendmail"];

/// The subcommands that stand between a message and its mailbox.
#[derive(Debug, Subcommand)]
pub(super) enum MailPath {
    /// Print the class of a message and exit with its code
    Classify(classify::Args),
    /// Pass a message through with its class in a header field
    Filter(filter::Args),
    /// Put a message into a Maildir by its class
    Deliver(deliver::Args),
}

/// Command line of the mail path: a part of [`super::Cli`] and otherwise the same.
#[derive(Debug, Parser)]
struct Delivering {
    #[command(flatten)]
    files: Files,
    #[command(subcommand)]
    command: MailPath,
}

impl MailPath {
    pub(super) fn recipient(&self) -> Option<String> {
        match self {
            Self::Classify(classify::Args { delivery, .. })
            | Self::Filter(filter::Args { delivery })
            | Self::Deliver(deliver::Args { delivery, .. }) => delivery.recipient.clone(),
        }
    }

    /// Runs the command. Every failure has status 75 and is written to syslog.
    pub(super) fn run(&self, given: &CliOverrides) -> Result<u8, Failure> {
        let prints = !matches!(self, Self::Deliver(_));
        judge::run(given, prints, || {
            let done = match self {
                Self::Classify(args) => classify::run(args, given),
                Self::Filter(args) => filter::run(args, given),
                Self::Deliver(args) => deliver::run(args, given),
            };
            done.map_err(|failure| {
                if failure.is_for_tools() {
                    tools::hand_over(&std::env::args_os().collect::<Vec<_>>())
                } else {
                    failure
                }
            })
        })
    }
}

/// Runs a command line of the mail path and returns its exit status. The program's own name comes first.
///
/// Returns `None` for any other command line, invalid ones and `--help` included: [`super::run`] has the whole
/// definition. `--version` is answered here, so that `doctor` can compare the two programs.
#[must_use]
pub fn run(arguments: &[OsString]) -> Option<u8> {
    if let [program, word] = arguments
        && (word == "--version" || word == "-V")
        && !is_sendmail(Path::new(program))
    {
        let printed = output::check().and_then(|()| output::line(VERSION).map_err(Failure::from));
        return Some(status(printed.map(|()| 0)));
    }
    let Delivering { files: Files { config, state }, command } = parsed(arguments)?;
    let given = CliOverrides::from_environment(config, state, command.recipient());
    Some(status(command.run(&given)))
}

/// Returns whether a message may be waiting behind these arguments. The name of a command counts at any position, since
/// invalid arguments do not show which word is the subcommand.
pub(super) fn may_wait(words: &[&str]) -> bool {
    let both = |all: [&str; 2]| all.iter().all(|word| words.contains(word));
    words.iter().any(|word| MAIL_PATH.contains(word))
        || both(["held", "add"])
        || both(["held", "answer"])
        || both(["reply", "send"])
        || both(["strip", "--results"])
}

/// Returns whether the first argument names the program as sendmail(8).
pub(super) fn is_sendmail(program: &Path) -> bool {
    program.file_name().is_some_and(|name| SENDMAIL_NAMES.iter().any(|known| name == *known))
}

/// Parses a command line. Building its definition takes longer than judging most messages, so the commonest command
/// lines, a bare name, are recognised without it.
fn parsed(arguments: &[OsString]) -> Option<Delivering> {
    let (program, words) = arguments.split_first()?;
    if is_sendmail(Path::new(program)) {
        return None;
    }
    let bare = match words {
        [name] if name == "classify" => Some(MailPath::Classify(classify::Args::default())),
        [name] if name == "filter" => Some(MailPath::Filter(filter::Args::default())),
        [name] if name == "deliver" => Some(MailPath::Deliver(deliver::Args::default())),
        _ => None,
    };
    if let Some(command) = bare {
        return Some(Delivering { files: Files::default(), command });
    }
    let named = words.iter().any(|word| MAIL_PATH.iter().any(|name| word == name));
    if named { Delivering::try_parse_from(arguments).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::CommandFactory;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn the_definition_of_the_mail_path_is_sound() {
        Delivering::command().debug_assert();
        let names: Vec<_> = Delivering::command().get_subcommands().map(|it| it.get_name().to_owned()).collect();
        assert_eq!(names, MAIL_PATH);
    }

    #[test]
    fn the_mail_path_is_parsed_as_the_whole_is() {
        for line in [
            "mailstamp classify",
            "mailstamp filter",
            "mailstamp deliver",
            "mailstamp --state /s filter --dry-run --config /c",
            "mailstamp classify --json --now 7",
            "mailstamp deliver --maildir /m",
        ] {
            let (part, whole) = (parsed(&words(line)).unwrap(), Cli::try_parse_from(words(line)).unwrap());
            let Command::MailPath(command) = whole.command else { panic!("{line}") };
            assert_eq!(format!("{:?} {:?}", part.files, part.command), format!("{:?} {command:?}", whole.files));
        }
    }

    #[test]
    fn the_version_is_that_of_the_whole() {
        let whole = Cli::try_parse_from(words("mailstamp --version")).unwrap_err();
        assert_eq!(whole.to_string().trim_end(), VERSION);
    }

    #[test]
    fn other_command_lines_are_not_of_the_mail_path() {
        for line in [
            "mailstamp",
            "mailstamp --help",
            "mailstamp classify --help",
            "mailstamp classify --dry-rnu",
            "mailstamp show",
            "mailstamp sendmail classify",
            "mailstamp help filter",
            "/usr/sbin/sendmail classify",
            "mailstamp-sendmail filter",
        ] {
            assert!(parsed(&words(line)).is_none(), "{line}");
        }
        let wrong = Cli::try_parse_from(words("mailstamp classify --dry-rnu")).unwrap_err();
        assert!(wrong.to_string().contains("'--dry-run'"));
    }
}
