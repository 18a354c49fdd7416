//! What `mailstamp setup` finds in a home: where mail comes in, where sent mail lies, and which mail there is to scan.

use crate::config::paths;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Recipes of procmail and maildrop, in the home.
pub(super) const PROCMAILRC: &str = ".procmailrc";
pub(super) const MAILFILTER: &str = ".mailfilter";

/// Way in which mail comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Incoming {
    /// procmail sorts it by ~/.procmailrc
    Procmail,
    /// maildrop sorts it by ~/.mailfilter
    Maildrop,
    /// Postfix delivers it, and ~/.forward is to name procmail
    Forward,
    /// Dovecot sorts it by a Sieve script
    Sieve,
    /// fetchmail or getmail fetches it
    Fetch,
    /// Another way, or none: no recipe is changed
    None,
}

impl Incoming {
    /// The word of the option.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Procmail => "procmail",
            Self::Maildrop => "maildrop",
            Self::Forward => "forward",
            Self::Sieve => "sieve",
            Self::Fetch => "fetch",
            Self::None => "none",
        }
    }
}

/// Settings of the local delivery of Postfix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Postfix {
    pub(super) mailbox_command: String,
    pub(super) mailbox_transport: String,
    pub(super) home_mailbox: String,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub(super) home: PathBuf,
    /// The text of `~/.forward`.
    pub(super) forward: Option<String>,
    pub(super) postfix: Option<Postfix>,
    has_procmailrc: bool,
    has_mailfilter: bool,
    has_sieve: bool,
    has_fetch: bool,
    pub(super) has_procmail: bool,
}

/// Names of Sieve scripts of a user.
const SIEVE: [&str; 3] = [".dovecot.sieve", "sieve", ".sieve"];
/// Configurations of programs that fetch mail.
const FETCH: [&str; 4] = [".fetchmailrc", ".getmail/getmailrc", ".config/getmail/getmailrc", ".mpop/config"];
/// Folders and files of sent mail.
const SENT: [&str; 10] = [
    "Maildir/.Sent",
    "Maildir/.Sent Items",
    "Maildir/.Sent Messages",
    "Maildir/.INBOX.Sent",
    "Maildir/Sent",
    "Mail/sent",
    "Mail/Sent",
    "mail/sent",
    "mail/Sent",
    "sent",
];
/// Folders and files of mail that came in.
const MAIL: [&str; 4] = ["Maildir", "Mail", "mail", "mbox"];

impl Found {
    /// Looks into a home.
    pub(super) fn look(home: &Path) -> Self {
        let is_there = |name: &str| home.join(name).symlink_metadata().is_ok();
        Self {
            home: home.to_owned(),
            forward: std::fs::read(home.join(".forward")).ok().map(|it| String::from_utf8_lossy(&it).into_owned()),
            postfix: postfix(),
            has_procmailrc: is_there(PROCMAILRC),
            has_mailfilter: is_there(MAILFILTER),
            has_sieve: SIEVE.iter().any(|name| is_there(name)),
            has_fetch: FETCH.iter().any(|name| is_there(name)),
            has_procmail: program("procmail").is_some(),
        }
    }

    /// Returns the way in which mail comes in, as far as that can be seen.
    pub(super) fn way(&self) -> Incoming {
        let command = self.postfix.as_ref().map(|postfix| postfix.mailbox_command.as_str());
        let forward = self.forward.as_deref().map(without_comments);
        let named_in = |text: Option<&str>| match text.unwrap_or_default() {
            text if text.contains("procmail") => Some(Incoming::Procmail),
            text if text.contains("maildrop") => Some(Incoming::Maildrop),
            _ => None,
        };
        let by_file = match (self.has_procmailrc, self.has_mailfilter) {
            (true, false) => Some(Incoming::Procmail),
            (false, true) => Some(Incoming::Maildrop),
            (true, true) => named_in(command).or(Some(Incoming::Procmail)),
            (false, false) => named_in(command),
        };
        let otherwise = if self.has_sieve {
            Incoming::Sieve
        } else if self.can_forward() {
            Incoming::Forward
        } else if self.has_fetch {
            Incoming::Fetch
        } else {
            Incoming::None
        };
        named_in(forward.as_deref()).or(by_file).unwrap_or(otherwise)
    }

    /// Returns whether Postfix delivers to this user by itself, and procmail could do so in its place.
    pub(super) fn can_forward(&self) -> bool {
        let by_itself = |it: &Postfix| it.mailbox_command.is_empty() && it.mailbox_transport.is_empty();
        self.has_procmail && self.forward.is_none() && self.postfix.as_ref().is_some_and(by_itself)
    }

    /// Returns the folders of sent mail.
    pub(super) fn sent(&self) -> Vec<PathBuf> {
        self.existing(&SENT)
    }

    /// Returns the folders and files of mail that came in.
    pub(super) fn mail(&self) -> Vec<PathBuf> {
        let mut mail = self.existing(&MAIL);
        let login = std::env::var_os("LOGNAME").or_else(|| std::env::var_os("USER"));
        let spool = login.filter(|name| !name.is_empty() && !name.to_string_lossy().contains('/'));
        mail.extend(spool.map(|name| Path::new("/var/mail").join(name)).filter(|path| path.is_file()));
        mail
    }

    fn existing(&self, names: &[&str]) -> Vec<PathBuf> {
        names.iter().map(|name| self.home.join(name)).filter(|path| path.exists()).collect()
    }
}

/// Returns the lines that are no comments.
pub(super) fn without_comments(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    lines.collect::<Vec<_>>().join("\n")
}

/// Asks Postfix, if there is one, how it delivers.
fn postfix() -> Option<Postfix> {
    let names = ["mailbox_command", "mailbox_transport", "home_mailbox"];
    let ran = Command::new(program("postconf")?).arg("-h").args(names).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8(ran.stdout).ok().filter(|_| ran.status.success())?;
    let mut lines = text.lines().map(|line| line.trim().to_owned());
    let mut next = || lines.next();
    Some(Postfix { mailbox_command: next()?, mailbox_transport: next()?, home_mailbox: next()? })
}

/// Returns the path of a program of the system.
pub(super) fn program(name: &str) -> Option<PathBuf> {
    let usual = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    usual.into_iter().map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Returns whether mail below this folder did not come in, or was sorted out: sent mail, drafts, Junk and Trash.
pub(super) fn is_left_out(path: &Path, sent: &[PathBuf]) -> bool {
    const NAMES: [&str; 7] = ["sent", "draft", "junk", "spam", "trash", "outbox", "templates"];
    let home = paths::home().unwrap_or_default();
    let below = path.strip_prefix(&home).unwrap_or(path);
    let named = |name: &OsStr| {
        let name = name.to_string_lossy().to_lowercase();
        let name = name.trim_start_matches('.').trim_start_matches("inbox.");
        NAMES.iter().any(|known| name.starts_with(known))
    };
    sent.iter().any(|sent| path.starts_with(sent)) || below.iter().any(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_of_mail_is_seen() {
        let postfix = |command: &str| Some(Postfix { mailbox_command: command.to_owned(), ..Postfix::default() });
        let none = Found { has_procmail: true, ..Found::default() };
        assert_eq!(none.way(), Incoming::None);
        let by = |found: Found| found.way();
        assert_eq!(by(Found { has_procmailrc: true, has_mailfilter: true, ..none.clone() }), Incoming::Procmail);
        let both = Found { has_procmailrc: true, has_mailfilter: true, ..none.clone() };
        assert_eq!(by(Found { forward: Some("\"|/usr/bin/maildrop\"".into()), ..both }), Incoming::Maildrop);
        let named = "#\"|/usr/bin/maildrop\"\n\"|/usr/bin/procmail -t\"\n";
        assert_eq!(by(Found { forward: Some(named.into()), ..none.clone() }), Incoming::Procmail);
        assert_eq!(
            by(Found { postfix: postfix("/usr/bin/procmail -a \"$EXTENSION\""), ..none.clone() }),
            Incoming::Procmail
        );
        assert_eq!(by(Found { postfix: postfix(""), ..none.clone() }), Incoming::Forward);
        assert_eq!(by(Found { postfix: postfix(""), has_sieve: true, ..none.clone() }), Incoming::Sieve);
        let elsewhere = Found { postfix: postfix(""), forward: Some("me@far.example".into()), ..none.clone() };
        assert_eq!(elsewhere.way(), Incoming::None);
        assert_eq!(by(Found { postfix: postfix(""), has_procmail: false, has_fetch: true, ..none }), Incoming::Fetch);
    }

    #[test]
    fn sent_mail_and_junk_are_left_out() {
        let sent = [PathBuf::from("/m/out")];
        for path in ["/m/out/cur/1", "/m/.Sent Items/cur/1", "/m/.INBOX.Junk/cur/1", "/m/Trash", "/m/drafts"] {
            assert!(is_left_out(Path::new(path), &sent), "{path}");
        }
        for path in ["/m/cur/1", "/m/.lists.presents/cur/1", "/m/new/1"] {
            assert!(!is_left_out(Path::new(path), &sent), "{path}");
        }
    }
}
