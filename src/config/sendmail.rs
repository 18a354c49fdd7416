//! The table `[sendmail]`: the receiver of the copies that `mailstamp sendmail` makes, the recipients that need no
//! stamp, and what happens to a message when no stamp is available.

use super::ConfigError;
use super::ranges::Number;
use crate::message::address::Pattern;
use serde::Deserialize;
use std::path::PathBuf;

/// The settings.
#[derive(Clone, Debug)]
pub struct Sendmail {
    /// The receiver of the copies.
    pub next: NextHop,
    /// Recipients that need no stamp.
    pub none: Vec<Pattern>,
    /// What happens to a message when no stamp is available now.
    pub when_away: OnVendorUnavailable,
    /// Whether recipients may use the stamp of every message in a reply.
    pub for_return: bool,
    /// Whether stamps that correspondents let come back are kept for answers.
    pub keep_returns: bool,
    /// Whether recipients are learned as correspondents.
    pub learn: bool,
    /// The number of copies sent in parallel.
    pub at_once: usize,
}

/// Receiver of the copies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextHop {
    /// A program with the options of sendmail(8), and the arguments before those of mailstamp.
    Program(PathBuf, Vec<String>),
    /// A server.
    Smtp(Smtp),
}

/// A server that takes mail by SMTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Smtp {
    /// Its name, which its certificate must bear.
    pub host: String,
    pub port: u16,
    /// How the connection is protected.
    pub tls: Tls,
    /// The user name there, and the file that holds only the password, closed to other users.
    pub login: Option<(String, PathBuf)>,
    /// A file of certificates (PEM) that are trusted in addition to the system's.
    pub ca_file: Option<PathBuf>,
}

/// How a connection is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    /// From the first byte on (RFC 8314).
    Implicit,
    /// After STARTTLS (RFC 3207); without it, no message is sent.
    #[default]
    Starttls,
    /// Not at all; allowed for this host only.
    Off,
}

/// What happens to a message when no stamp is available now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnVendorUnavailable {
    /// It waits.
    #[default]
    Defer,
    /// It is sent without a stamp, and the user is told.
    Plain,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SendmailTable {
    next: NextEntry,
    none: Vec<String>,
    when_away: OnVendorUnavailable,
    for_return: bool,
    keep_returns: bool,
    learn: bool,
    at_once: Number<1, AT_ONCE>,
    smtp: SmtpTable,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "write a program in quotes, or a list of it and its arguments")]
enum NextEntry {
    Program(String),
    WithArguments(Vec<String>),
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SmtpTable {
    host: Option<String>,
    port: Option<Number<1, 65_535>>,
    tls: Tls,
    user: Option<String>,
    password_file: Option<String>,
    ca_file: Option<String>,
}

/// Limit on the copies sent in parallel: each is a thread and a process or a connection.
const AT_ONCE: u64 = 64;

impl Default for SendmailTable {
    fn default() -> Self {
        Self {
            next: NextEntry::Program("/usr/sbin/sendmail".to_owned()),
            none: Vec::new(),
            when_away: OnVendorUnavailable::default(),
            for_return: false,
            keep_returns: true,
            learn: true,
            at_once: Number(8),
            smtp: SmtpTable::default(),
        }
    }
}

impl SendmailTable {
    /// Returns the settings; `pattern` parses an address pattern, `path` makes a path of a value.
    pub(super) fn settle(
        self,
        pattern: &dyn Fn(&'static str, &str) -> Result<Pattern, ConfigError>,
        path: &dyn Fn(&'static str, Option<String>) -> Result<Option<PathBuf>, ConfigError>,
    ) -> Result<Sendmail, ConfigError> {
        let next = match (self.smtp.settle(path)?, self.next) {
            (Some(smtp), _) => NextHop::Smtp(smtp),
            (None, next) => {
                let mut words = match next {
                    NextEntry::Program(program) => vec![program],
                    NextEntry::WithArguments(words) => words,
                }
                .into_iter();
                let wrong = || ConfigError::Sendmail("next: name a program");
                let program = words.next().ok_or_else(wrong)?;
                NextHop::Program(path("sendmail.next", Some(program))?.ok_or_else(wrong)?, words.collect())
            }
        };
        let none = self.none.iter().map(|text| pattern("sendmail.none", text)).collect::<Result<_, _>>()?;
        Ok(Sendmail {
            next,
            none,
            when_away: self.when_away,
            for_return: self.for_return,
            keep_returns: self.keep_returns,
            learn: self.learn,
            at_once: usize::try_from(self.at_once.0).unwrap_or(usize::MAX),
        })
    }
}

impl SmtpTable {
    fn settle(
        self,
        path: &dyn Fn(&'static str, Option<String>) -> Result<Option<PathBuf>, ConfigError>,
    ) -> Result<Option<Smtp>, ConfigError> {
        let Some(host) = self.host else {
            let nothing = self.port.is_none() && self.user.is_none() && self.password_file.is_none();
            let wrong = ConfigError::Sendmail("smtp: name a host");
            return if nothing && self.ca_file.is_none() { Ok(None) } else { Err(wrong) };
        };
        let password = path("sendmail.smtp.password_file", self.password_file)?;
        let login = match (self.user, password) {
            (Some(user), Some(file)) => Some((user, file)),
            (None, None) => None,
            _ => return Err(ConfigError::Sendmail("smtp: user and password_file belong together")),
        };
        let here = matches!(host.as_str(), "localhost" | "127.0.0.1" | "::1");
        if self.tls == Tls::Off && !here {
            return Err(ConfigError::Sendmail("smtp: tls = \"off\" is for a server on this host only"));
        }
        let usual = match self.tls {
            Tls::Implicit => 465,
            Tls::Starttls => 587,
            Tls::Off => 25,
        };
        Ok(Some(Smtp {
            host,
            port: self.port.and_then(|port| u16::try_from(port.0).ok()).unwrap_or(usual),
            tls: self.tls,
            login,
            ca_file: path("sendmail.smtp.ca_file", self.ca_file)?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use crate::config::user::User;
    use crate::config::{Config, ConfigError};
    use crate::message::address::Address;

    use super::*;

    fn parse(text: &str) -> Result<Sendmail, ConfigError> {
        Config::parse(text, &User::default()).map(|config| config.sendmail)
    }

    #[test]
    fn without_a_word_the_systems_own_takes_the_copies_and_nothing_goes_unstamped() {
        let sendmail = parse("").unwrap();
        assert_eq!(sendmail.next, NextHop::Program(PathBuf::from("/usr/sbin/sendmail"), vec![]));
        assert!(
            sendmail.none.is_empty()
                && !sendmail.for_return
                && sendmail.keep_returns
                && sendmail.learn
                && sendmail.when_away == OnVendorUnavailable::Defer
        );
    }

    #[test]
    fn a_program_has_arguments_and_a_server_a_port() {
        let text = "[sendmail]\nnext = [\"/usr/bin/msmtp\", \"-a\", \"work\"]\nnone = [\"*@x.example\"]";
        let sendmail = parse(text).unwrap();
        let words = vec!["-a".to_owned(), "work".to_owned()];
        assert_eq!(sendmail.next, NextHop::Program(PathBuf::from("/usr/bin/msmtp"), words));
        assert!(sendmail.none[0].matches(&Address::parse("a@x.example").unwrap()));
        let text = "[sendmail.smtp]\nhost = \"m.x.example\"\nuser = \"a\"\npassword_file = \"/p\"";
        let NextHop::Smtp(smtp) = parse(text).unwrap().next else { panic!() };
        assert_eq!((smtp.port, smtp.tls, smtp.login), (587, Tls::Starttls, Some(("a".into(), "/p".into()))));
        let NextHop::Smtp(smtp) = parse("[sendmail.smtp]\nhost = \"m.x.example\"\ntls = \"implicit\"").unwrap().next
        else {
            panic!()
        };
        assert_eq!(smtp.port, 465);
    }

    #[test]
    fn what_would_not_work_or_show_a_password_is_refused() {
        for text in [
            "[sendmail]\nnext = \"sendmail\"",
            "[sendmail]\nnext = []",
            "[sendmail]\nnone = [\"x\"]",
            "[sendmail]\nat_once = 0",
            "[sendmail]\nwhen_away = \"drop\"",
            "[sendmail]\nprev = 1",
            "[sendmail.smtp]\nport = 25",
            "[sendmail.smtp]\nhost = \"m.x.example\"\ntls = \"off\"",
            "[sendmail.smtp]\nhost = \"m.x.example\"\nuser = \"a\"",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
