//! Overview of the commands in `mailstamp --help`, grouped by purpose.

use clap::Command;
use clap::builder::StyledStr;
use clap::error::ErrorKind;
use std::fmt::Write;
use std::net::AddrParseError;
use std::num::{IntErrorKind, ParseIntError};

/// Headings of the groups with the names of their commands, in the order of the overview.
const GROUPS: [(&str, &[&str]); 5] = [
    (
        "Receive mail",
        &[
            "classify",
            "filter",
            "deliver",
            "explain",
            "show",
            "grant",
            "revoke",
            "unrevoke",
            "grants",
            "price",
            "watch",
            "thunderbird",
            "scan",
        ],
    ),
    ("Unstamped mail", &["rules", "held", "learn-sent", "learn-contacts", "correspondents", "reply"]),
    ("Send", &["affix", "strip", "buy", "wallet", "account", "sendmail", "bank", "gateway", "peer"]),
    ("Vendors", &["trust", "directory", "vendor"]),
    (
        "Upkeep",
        &[
            "setup",
            "doctor",
            "config",
            "log",
            "stats",
            "serve",
            "boundary",
            "opensmtpd-filter",
            "status",
            "purge",
            "export",
            "import",
            "store",
            "completions",
        ],
    ),
];

/// Returns the definition with an overview that lists the commands in groups. Commands of features that were not built
/// are left out.
pub(super) fn grouped(command: Command) -> Command {
    let heading = *command.get_styles().get_header();
    let literal = *command.get_styles().get_literal();
    let mut list = StyledStr::new();
    for (title, names) in GROUPS {
        let mut lines = String::new();
        for name in names {
            if let Some(about) = command.find_subcommand(name).and_then(Command::get_about) {
                let _ = writeln!(lines, "  {literal}{name:<16}{literal:#}  {about}");
            }
        }
        if !lines.is_empty() {
            let _ = write!(list, "{heading}{title}:{heading:#}\n{lines}\n");
        }
    }
    let list = list.ansi().to_string();
    command.help_template(format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{list}{heading}Options:{heading:#}\n{{options}}{{after-help}}"
    ))
}

/// Returns the message of clap. A wrong number or address is reported in plain words, not in those of Rust's parser. A
/// file after a command that reads a message gets a tip.
pub(super) fn plain_error(error: &clap::Error) -> String {
    let text = error.render().ansi().to_string();
    if error.kind() == ErrorKind::UnknownArgument && text.contains("< MESSAGE") {
        return text.replacen(
            "< MESSAGE",
            "< MESSAGE\n\n  tip: the message is standard input: write '<' before a file",
            1,
        );
    }
    let Some(source) = std::error::Error::source(error) else { return text };
    let detail = source.to_string();
    let problem = match source.downcast_ref::<ParseIntError>().map(ParseIntError::kind) {
        Some(IntErrorKind::PosOverflow | IntErrorKind::NegOverflow) => "the number is too large",
        Some(_) => "not a whole number from 0 on",
        None if !source.is::<AddrParseError>() => return text,
        None if detail.contains("socket") => "not an address and a port, as in 127.0.0.1:8025",
        None => "not an IP address, as in 127.0.0.1",
    };
    text.replace(&detail, problem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn each_command_is_in_one_group() {
        let mut grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| *names).copied().collect();
        let command = crate::cli::Cli::command();
        let mut built: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
        if cfg!(not(all(feature = "sender", feature = "daemon", feature = "directory"))) {
            grouped.retain(|name| built.contains(name));
        }
        grouped.sort_unstable();
        built.sort_unstable();
        assert_eq!(grouped, built);
    }
}
