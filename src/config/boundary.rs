//! The table `[boundary]`: settings of the milter and of the filter for OpenSMTPD.

use super::ConfigError;
use super::store::no_owner;
use crate::boundary::plan::Mixed;
use crate::message::address::Address;
use crate::verdict::facts::Mailbox;
use serde::Deserialize;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Longest prefix of a Subject, and longest line of a refusal, in characters.
const PREFIX_MAX: usize = 60;
const LINE_MAX: usize = 400;
/// Most lines of a refusal.
const LINES: usize = 10;

/// Settings of the boundary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boundary {
    /// The milter, if there is one.
    pub milter: Option<MilterSettings>,
    /// What becomes of a recipient that refuses a message, when another one does not.
    pub mixed: Mixed,
    /// Whether accepted stamps are stripped.
    pub strips_stamps: bool,
    /// The text before the Subject of tagged mail.
    pub subject_prefix: Option<String>,
    /// The lines that a refused sender is told.
    pub reject_text: Vec<String>,
    /// Whether the recipients of mail that users send after a login become their correspondents.
    pub learns_sent: bool,
}

/// Settings of the milter alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MilterSettings {
    /// The socket for the mail system.
    pub listen: Listen,
    /// The address that gets held mail.
    pub held_address: Address,
    /// The file of the key that seals results. The daemon reads it when it starts.
    pub seal: Option<PathBuf>,
}

/// Socket of the milter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    Unix(PathBuf),
    Inet(SocketAddr),
}

/// As Postfix writes it.
impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Inet(address) => write!(f, "inet:{address}"),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BoundaryTable {
    listen: Option<String>,
    #[serde(default)]
    allow_remote: bool,
    #[serde(default)]
    mixed: Mixed,
    held_address: Option<String>,
    #[serde(default)]
    strip: Strip,
    subject_prefix: Option<String>,
    reject_text: Option<String>,
    #[serde(default)]
    learn_sent: bool,
    seal: Option<PathBuf>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Strip {
    #[default]
    Nothing,
    Stamps,
}

impl BoundaryTable {
    /// Checks the table against the addresses that it is to judge for.
    pub(super) fn settle(self, mailboxes: &[Mailbox]) -> Result<Boundary, ConfigError> {
        if mailboxes.is_empty() {
            let what = "addresses: empty, so [boundary] judges nothing: write addresses = [\"*@your.example\"]";
            return Err(ConfigError::Boundary(what.to_owned()));
        }
        // Otherwise a stamp of one person would be good for all the others.
        if let Some(mailbox) = mailboxes.iter().find(|it| it.lacks_owner()) {
            return Err(ConfigError::Boundary(no_owner(mailbox)));
        }
        let held =
            |text: String| Address::parse(&text).map_err(|error| wrong(&format!("held_address: {text:?}: {error}")));
        let held_address = self.held_address.map(held).transpose()?;
        if let Some(path) = self.seal.as_ref().filter(|path| !path.is_absolute()) {
            return Err(wrong(&format!("seal: {:?}: write an absolute path", path.display().to_string())));
        }
        let milter = match (self.listen, held_address) {
            (Some(at), Some(held_address)) => {
                Some(MilterSettings { listen: listen(&at, self.allow_remote)?, held_address, seal: self.seal })
            }
            (Some(_), None) => return Err(wrong("held_address: missing: write the address that gets held mail")),
            // The filter for OpenSMTPD needs neither, and seals nothing.
            (None, _) if self.seal.is_some() => return Err(wrong("seal: only a milter seals: write listen")),
            (None, _) => None,
        };
        let plain = |text: &str, most: usize| {
            let is_plain = |c: char| c == ' ' || c.is_ascii_graphic() && c != '%';
            !text.trim().is_empty() && text.len() <= most && text.chars().all(is_plain)
        };
        if let Some(prefix) = self.subject_prefix.as_ref().filter(|it| !plain(it, PREFIX_MAX) || it.contains("=?")) {
            return Err(wrong(&format!("subject_prefix: {prefix:?}: write up to {PREFIX_MAX} ASCII characters")));
        }
        let text = self.reject_text.as_deref().unwrap_or(REJECT_TEXT);
        let reject_text: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
        if reject_text.is_empty() || reject_text.len() > LINES || !reject_text.iter().all(|line| plain(line, LINE_MAX))
        {
            return Err(wrong(&format!(
                "reject_text: write up to {LINES} lines of up to {LINE_MAX} ASCII characters each, without '%'"
            )));
        }
        Ok(Boundary {
            milter,
            mixed: self.mixed,
            strips_stamps: self.strip == Strip::Stamps,
            subject_prefix: self.subject_prefix.map(|prefix| prefix.trim().to_owned()),
            reject_text,
            learns_sent: self.learn_sent,
        })
    }
}

/// What a refused sender is told by default.
pub const REJECT_TEXT: &str = "Mail to this address needs a digital stamp.";

fn wrong(what: &str) -> ConfigError {
    ConfigError::Boundary(format!("boundary.{what}"))
}

fn listen(text: &str, allow_remote: bool) -> Result<Listen, ConfigError> {
    let unusable = |why: &str| wrong(&format!("listen: {text:?}: {why}"));
    if let Some(path) = text.strip_prefix("unix:") {
        let path = PathBuf::from(path);
        return if path.is_absolute() { Ok(Listen::Unix(path)) } else { Err(unusable("write an absolute path")) };
    }
    let Some(address) = text.strip_prefix("inet:") else {
        return Err(unusable("write \"unix:/path\" or \"inet:127.0.0.1:8893\""));
    };
    let address: SocketAddr =
        address.parse().map_err(|_| unusable("write an address and a port, as \"inet:127.0.0.1:8893\""))?;
    if !address.ip().is_loopback() && !allow_remote {
        let why = "a milter has no login: write a loopback address, or allow_remote = true behind a firewall";
        return Err(unusable(why));
    }
    Ok(Listen::Inet(address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::config::user::User;

    fn parse(addresses: &str, more: &str) -> Result<Boundary, String> {
        let text = format!("addresses = [{addresses}]\n[boundary]\nheld_address = \"held@x.example\"\n{more}");
        let config = Config::parse(&text, &User::default()).map_err(|error| error.to_string())?;
        config.boundary.ok_or_else(|| "none".to_owned())
    }

    #[test]
    fn a_boundary_has_owners_and_a_socket() {
        let socket = "listen = \"unix:/run/m\"";
        let all = "listen = \"inet:[::1]:8893\"\nmixed = \"discard\"\nstrip = \"stamps\"\nsubject_prefix = \"[x]\"\n\
                   reject_text = \"one\\ntwo\"\nlearn_sent = true\nseal = \"/etc/seal.key\"";
        let boundary = parse("\"*@x.example\", { address = \"a@y.example\", owner = \"a\" }", all).unwrap();
        assert_eq!((boundary.mixed, boundary.strips_stamps, boundary.learns_sent), (Mixed::Discard, true, true));
        let milter = boundary.milter.unwrap();
        assert_eq!(milter.listen.to_string(), "inet:[::1]:8893");
        assert_eq!(milter.seal, Some(PathBuf::from("/etc/seal.key")));
        assert_eq!(boundary.reject_text, ["one", "two"]);
        assert_eq!(parse("\"/@x/\"", socket).unwrap().mixed, Mixed::Hold);
        let domain = "\"*@x.example\"";
        let remote = "listen = \"inet:192.0.2.1:8893\"";
        assert!(parse(domain, &format!("{remote}\nallow_remote = true")).is_ok());
        assert_eq!(parse(domain, "").unwrap().milter, None);
        let without_held = format!("addresses = [{domain}]\n[boundary]\n{socket}");
        let error = Config::parse(&without_held, &User::default()).unwrap_err().to_string();
        assert!(error.contains("held_address: missing"), "{error}");
        for (addresses, more, said) in [
            ("", socket, "addresses: empty, so [boundary] judges nothing"),
            ("\"alice@x.example\"", socket, "\"alice@x.example\" has no owner"),
            ("\"*@x.example\", \"a+*@y.example\"", socket, "\"a+*@y.example\" has no owner"),
            (domain, "listen = \"/run/m\"", "write \"unix:/path\""),
            (domain, "listen = \"unix:m\"", "absolute path"),
            (domain, "listen = \"inet:8893@127.0.0.1\"", "an address and a port"),
            (domain, remote, "a milter has no login"),
            (domain, "listen = \"unix:/m\"\nmixed = \"reject\"", "is none of \"hold\""),
            (domain, "listen = \"unix:/m\"\nsubject_prefix = \"ä\"", "subject_prefix"),
            (domain, "seal = \"/seal.key\"", "seal: only a milter seals"),
            (domain, "listen = \"unix:/m\"\nreject_text = \"100 %\"", "reject_text"),
            (domain, "listen = \"unix:/m\"\nseal = \"seal.key\"", "seal: \"seal.key\": write an absolute path"),
        ] {
            let error = parse(addresses, more).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
