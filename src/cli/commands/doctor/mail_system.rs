//! Check of `mailstamp doctor`: whether a mail system calls mailstamp, and how. The usual files of recipes are searched
//! for its name.

use super::Finding;
use crate::message::header::escape_untrusted;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Files in the user's home.
const OWN: [&str; 12] = [
    ".forward",
    ".procmailrc",
    ".mailfilter",
    ".dovecot.sieve",
    ".sieve",
    "sieve",
    ".fetchmailrc",
    ".getmail",
    ".config/getmail",
    ".fdm.conf",
    "Mail/.notmuch/hooks",
    "Maildir/.notmuch/hooks",
];

/// Files of the system.
const SYSTEM: [&str; 15] = [
    "/etc/procmailrc",
    "/etc/maildroprc",
    "/etc/courier/maildroprc",
    "/etc/aliases",
    "/etc/postfix/main.cf",
    "/etc/postfix/master.cf",
    "/etc/exim4/exim4.conf",
    "/etc/exim4/exim4.conf.template",
    "/etc/exim4/conf.d/transport",
    "/etc/exim/exim.conf",
    "/etc/mail/sendmail.mc",
    "/etc/smtpd.conf",
    "/etc/dovecot/dovecot.conf",
    "/etc/dovecot/local.conf",
    "/etc/dovecot/conf.d",
];

/// Longest file that is searched, in bytes.
const LONGEST: u64 = 1 << 20;

/// Commands that judge, change or deliver a waiting message.
const COMMANDS: [&str; 5] = ["classify", "filter", "deliver", "strip", "reply"];

/// Checks the recipes of this user and of the system. Of a milter, the mail system's files may have an address alone.
pub(super) fn mail_system(home: Option<&Path>, has_milter: bool) -> Vec<Finding> {
    let what = "mail system";
    let own = home.into_iter().flat_map(|home| OWN.map(|name| home.join(name)));
    let files = own.chain(SYSTEM.map(PathBuf::from)).flat_map(files);
    let mut findings = Vec::new();
    for path in files {
        let Ok(text) = std::fs::read(&path) else { continue };
        let text = String::from_utf8_lossy(&text);
        let mut lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#')).peekable();
        if !lines.any(|line| line.to_ascii_lowercase().contains("mailstamp")) {
            continue;
        }
        let shown = escape_untrusted(path.as_os_str().as_encoded_bytes(), 200);
        findings.push(match text.lines().enumerate().find_map(|(at, line)| Some((at + 1, fault(line.trim())?))) {
            Some((line, fault)) => {
                Finding::warning(what, format!("{shown}: line {line}: {fault}; see the recipes in rules/"))
            }
            None => Finding::ok(what, format!("{shown} calls mailstamp")),
        });
    }
    if findings.is_empty() && !has_milter {
        let text = "no recipe of yours or of this system calls mailstamp, so no mail is judged; run mailstamp setup, or copy \
             a recipe of mailstamp(7)";
        findings.push(Finding::warning(what, text));
    }
    findings
}

/// Returns the regular file, or those of the folder.
fn files(path: PathBuf) -> Vec<PathBuf> {
    let is_short = |path: &PathBuf| std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() <= LONGEST);
    let mut files = match std::fs::read_dir(&path) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
        Err(_) => vec![path],
    };
    files.retain(is_short);
    files.sort();
    files
}

/// Returns what is wrong with a line that calls mailstamp. Older recipes did so.
fn fault(line: &str) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    let is_call = |name: &str| COMMANDS.iter().find_map(|command| line.find(&format!("{name} {command}")));
    if let Some(at) = is_call("mailstamp") {
        let before = line.get(..at).unwrap_or_default();
        let program = before.rsplit(|c: char| !is_of_path(c)).next().unwrap_or_default();
        if !program.ends_with('/') {
            return Some("mailstamp is called without its path, so another file of that name can be run".into());
        }
        let path = format!("{program}mailstamp");
        if program.starts_with('/') && !is_program(Path::new(&path)) {
            return Some(format!("there is no program {}", escape_untrusted(path.as_bytes(), 200)));
        }
    }
    let is_judged = is_call("mailstamp").or_else(|| is_call("$MAILSTAMP")).is_some();
    let is_condition = line.starts_with('*') && line.trim_start_matches(['*', ' ', '!']).starts_with('?');
    (is_judged && is_condition)
        .then(|| "the exit status alone decides, and a missing program exits like a class".to_owned())
}

fn is_of_path(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | '~' | '$' | '{' | '}')
}

fn is_program(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::fault;

    #[test]
    fn older_recipes_have_a_fault() {
        for (line, expected) in [
            ("* ? mailstamp classify", "without its path"),
            (r#""|mailstamp deliver""#, "without its path"),
            ("VERDICT=`mailstamp classify`", "without its path"),
            ("* ? /bin/sh/mailstamp classify", "no program /bin/sh/mailstamp"),
            ("* ! ? $MAILSTAMP classify", "alone decides"),
        ] {
            assert!(fault(line).is_some_and(|found| found.contains(expected)), "{line}: {:?}", fault(line));
        }
        for line in [
            "VERDICT=`$MAILSTAMP classify`",
            "# * ? mailstamp classify",
            "MAILSTAMP=/opt/mailstamp",
            r#"execute "mailstamp""#,
        ] {
            assert_eq!(fault(line), None, "{line}");
        }
    }
}
