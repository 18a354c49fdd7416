//! The table `[store]`: where the used log is. By default it is a file in the folder of the state; several hosts share
//! one in PostgreSQL. No environment variable and no URL counts here.

use super::ConfigError;
use super::file::Content;
use super::ranges::{MINUTE, Number, Seconds};
use crate::database::{Host, PORT, SynchronousCommit, Tls};
use crate::verdict::facts::Mailbox;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Most servers of one log.
const HOSTS: usize = 8;
/// Longest name of a space, of a database and of a role, in bytes; that of PostgreSQL's names.
const NAME_MAX: usize = 63;

/// A PostgreSQL database that has the used log, shared by several hosts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SharedLog {
    /// The servers, in the order in which they are tried.
    pub hosts: Vec<Host>,
    pub database: String,
    /// The role.
    pub user: String,
    /// The file that holds only the password, closed to other users.
    pub password_file: Option<PathBuf>,
    /// How the connection is protected; `None` on this host.
    pub tls: Option<Tls>,
    /// How long one answer may take.
    pub timeout: Duration,
    /// The most connections of the daemon.
    pub connections: usize,
    /// The name that separates this log from others in the same database.
    pub space: String,
    /// How far a spend must have come before it counts.
    pub synchronous_commit: SynchronousCommit,
    /// Whether a standby that was promoted is used without `mailstamp store accept-restored`.
    pub follow_failover: bool,
}

/// Parses `name`, `name:port`, `[address]:port`, `/folder` or `/folder:port`.
fn parse_host(text: &str) -> Option<Host> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            (host, port.parse().ok().filter(|it| *it != 0)?)
        }
        _ => (text, PORT),
    };
    if host.starts_with('/') {
        return Some(Host::Unix { folder: PathBuf::from(host), port });
    }
    let bare = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host);
    let is_address = bare.parse::<IpAddr>().is_ok();
    let is_name = bare == host && super::is_host_name(host);
    (is_address || is_name).then(|| Host::Tcp { name: bare.to_owned(), port })
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct StoreTable {
    kind: Kind,
    #[serde(deserialize_with = "super::entry::list")]
    hosts: Vec<String>,
    database: Option<String>,
    user: Option<String>,
    password_file: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
    tls: Option<TlsMode>,
    ca: Option<String>,
    timeout: Option<Seconds<1, MINUTE>>,
    connections: Option<Number<1, 256>>,
    space: Option<String>,
    synchronous_commit: Option<SynchronousCommit>,
    follow_failover: Option<bool>,
    /// Refused, with what to write in its place.
    password: Option<IgnoredAny>,
    /// Refused, as `password`.
    url: Option<IgnoredAny>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    #[default]
    Redb,
    Postgres,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum TlsMode {
    VerifyFull,
    Off,
}

const SECRET: &str = "a secret stands in a file of its own: write password_file = \"/path\", mode 600";

impl SharedLog {
    /// Returns the files that it names, with their keys.
    pub fn files(&self) -> impl Iterator<Item = (&'static str, &Path, Content)> {
        let client = self.tls.as_ref().and_then(|tls| tls.client.as_ref());
        let files = [
            ("store.password_file", self.password_file.as_deref(), Content::Password),
            ("store.ca", self.tls.as_ref().and_then(|tls| tls.ca.as_deref()), Content::Public),
            ("store.certificate", client.map(|(certificate, _)| certificate.as_path()), Content::Public),
            ("store.key", client.map(|(_, key)| key.as_path()), Content::Secret),
        ];
        files.into_iter().filter_map(|(key, path, content)| Some((key, path?, content)))
    }
}

impl StoreTable {
    /// Checks the table against the addresses; `None` is a file of this host. `path` makes a path of a value.
    pub(super) fn settle(
        self,
        mailboxes: &[Mailbox],
        path: &dyn Fn(&'static str, Option<String>) -> Result<Option<PathBuf>, ConfigError>,
    ) -> Result<Option<SharedLog>, ConfigError> {
        if self.password.is_some() {
            return Err(wrong("password", SECRET));
        }
        if self.url.is_some() {
            return Err(wrong("url", "write hosts, database and user; a password goes into password_file"));
        }
        if self.kind == Kind::Redb {
            let only = "is of kind = \"postgres\" alone: write that, or remove this line";
            return self.first_of_postgres().map_or(Ok(None), |key| Err(wrong(key, only)));
        }
        let hosts = hosts(&self.hosts)?;
        let client = match (path("store.certificate", self.certificate)?, path("store.key", self.key)?) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => return Err(wrong("certificate", "write key too: the file of its secret key")),
            (None, Some(_)) => return Err(wrong("key", "write certificate too")),
        };
        let ca = path("store.ca", self.ca)?;
        let on_sockets = matches!(hosts[0], Host::Unix { .. });
        let tls = match (self.tls, ca) {
            (Some(TlsMode::VerifyFull), _) if on_sockets => {
                return Err(wrong("tls", "a Unix socket has no TLS: remove this line"));
            }
            (Some(TlsMode::Off), _) if !hosts.iter().all(Host::is_local) => {
                return Err(wrong(
                    "tls",
                    "\"off\" is for sockets and loopback addresses: others on the way could read and change every \
                     answer; write \"verify-full\"",
                ));
            }
            (mode, ca) if on_sockets || mode == Some(TlsMode::Off) => {
                let needless = ca.map(|_| "ca").or(client.map(|_| "certificate"));
                needless.map_or(Ok(None), |key| Err(wrong(key, "there is no TLS here: remove this line")))?
            }
            (_, ca) => Some(Tls { ca, client }),
        };
        // Otherwise a stamp of one person would be good for all the others that share the log.
        if let Some(mailbox) = mailboxes.iter().find(|it| it.lacks_owner()) {
            return Err(ConfigError::Store(no_owner(mailbox)));
        }
        if !cfg!(feature = "postgres") {
            return Err(wrong("kind", "this program was built without the feature \"postgres\""));
        }
        Ok(Some(SharedLog {
            hosts,
            database: name("database", self.database, "mailstamp")?,
            user: name("user", self.user, "mailstamp")?,
            password_file: path("store.password_file", self.password_file)?,
            tls,
            timeout: Duration::from_secs(self.timeout.map_or(5, |it| it.0.unsigned_abs())),
            connections: self.connections.map_or(8, |it| usize::try_from(it.0).unwrap_or(usize::MAX)),
            space: name("space", self.space, "default")?,
            synchronous_commit: self.synchronous_commit.unwrap_or_default(),
            follow_failover: self.follow_failover.unwrap_or(false),
        }))
    }

    /// Returns the first key that only PostgreSQL has.
    fn first_of_postgres(&self) -> Option<&'static str> {
        let given = [
            ("hosts", !self.hosts.is_empty()),
            ("database", self.database.is_some()),
            ("user", self.user.is_some()),
            ("password_file", self.password_file.is_some()),
            ("certificate", self.certificate.is_some()),
            ("key", self.key.is_some()),
            ("tls", self.tls.is_some()),
            ("ca", self.ca.is_some()),
            ("timeout", self.timeout.is_some()),
            ("connections", self.connections.is_some()),
            ("space", self.space.is_some()),
            ("synchronous_commit", self.synchronous_commit.is_some()),
            ("follow_failover", self.follow_failover.is_some()),
        ];
        given.into_iter().find(|(_, given)| *given).map(|(key, _)| key)
    }
}

fn hosts(texts: &[String]) -> Result<Vec<Host>, ConfigError> {
    if texts.is_empty() || texts.len() > HOSTS {
        return Err(wrong("hosts", &format!("write 1 to {HOSTS} servers, as [\"db1.your.example\"]")));
    }
    // The text is not repeated: it may have a password.
    if texts.iter().any(|text| text.contains("://") || text.contains(['@', '='])) {
        return Err(wrong("hosts", "write host names, no URL; a password goes into password_file"));
    }
    let parse = |text: &String| {
        let host = parse_host(text);
        host.ok_or_else(|| {
            wrong("hosts", &format!("{text:?}: write a host name, an address or a folder, and perhaps :port"))
        })
    };
    let hosts = texts.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    let sockets = hosts.iter().filter(|host| matches!(host, Host::Unix { .. })).count();
    if sockets != 0 && sockets != hosts.len() {
        return Err(wrong("hosts", "write host names or folders of sockets, not both"));
    }
    Ok(hosts)
}

fn name(key: &str, given: Option<String>, default: &str) -> Result<String, ConfigError> {
    let text = given.unwrap_or_else(|| default.to_owned());
    if text.is_empty() || text.len() > NAME_MAX || text.chars().any(char::is_control) {
        return Err(wrong(key, &format!("write a name of 1 to {NAME_MAX} bytes")));
    }
    Ok(text)
}

/// Describes an address without an owner, where mail of several people is judged.
pub(super) fn no_owner(mailbox: &Mailbox) -> String {
    format!(
        "addresses: {:?} has no owner: write {{ address = \"...\", owner = \"name\" }}, one name for each person, or \
         \"*@your.example\", where each address is a person",
        mailbox.pattern.as_str()
    )
}

fn wrong(key: &str, what: &str) -> ConfigError {
    ConfigError::Store(format!("store.{key}: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::config::user::User;

    const BUILT: bool = cfg!(feature = "postgres");

    fn parse(table: &str) -> Result<Option<SharedLog>, String> {
        let text = format!("addresses = [\"*@x.example\"]\n[store]\n{table}");
        Config::parse(&text, &User::default()).map(|config| config.store).map_err(|error| error.to_string())
    }

    fn postgres(table: &str) -> Result<SharedLog, String> {
        parse(&format!("kind = \"postgres\"\n{table}")).map(Option::unwrap)
    }

    #[test]
    fn a_program_without_the_client_says_so() {
        let found = postgres("hosts = [\"/run/postgresql\"]");
        if BUILT {
            let log = found.unwrap();
            assert_eq!(
                (log.database.as_str(), log.user.as_str(), log.space.as_str()),
                ("mailstamp", "mailstamp", "default")
            );
            assert_eq!((log.tls, log.timeout, log.connections), (None, Duration::from_secs(5), 8));
        } else {
            let said = "line 3, column 8: store.kind: this program was built without the feature \"postgres\"";
            assert_eq!(found.unwrap_err(), said);
        }
        assert_eq!(parse("kind = \"redb\"").unwrap(), None);
        assert_eq!(Config::parse("", &User::default()).unwrap().store, None);
    }

    #[test]
    fn hosts_are_names_addresses_or_folders() {
        let parse = |text| parse_host(text).map(|host| host.to_string());
        for (text, shown) in [
            ("db1.x.example", "db1.x.example:5432"),
            ("db2.x.example:5433", "db2.x.example:5433"),
            ("192.0.2.1", "192.0.2.1:5432"),
            ("[2001:db8::1]:7", "[2001:db8::1]:7"),
            ("2001:db8::1", "[2001:db8::1]:5432"),
            ("/run/postgresql", "/run/postgresql:5432"),
            ("/run/postgresql:5433", "/run/postgresql:5433"),
        ] {
            assert_eq!(parse(text).as_deref(), Some(shown));
            // What is shown can be written.
            assert_eq!(parse_host(shown), parse_host(text));
        }
        for text in ["", "a b", "db:0", "db:65536", "db:x", "[db]:1", ":5432"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_the_key() {
        let tls = "hosts = [\"db.x.example\"]\nca = \"/ca\"";
        for (table, said) in [
            ("", "store.hosts: write 1 to 8 servers"),
            ("hosts = [\"postgres://u:s3cret@db/x\"]", "line 4, column 9: store.hosts: write host names, no URL"),
            ("hosts = [\"host=db password=s3cret\"]", "store.hosts: write host names, no URL"),
            ("hosts = [\"db:x\"]", "store.hosts: \"db:x\": write a host name"),
            ("hosts = [\"/run/postgresql\", \"db\"]", "store.hosts: write host names or folders"),
            ("url = \"postgres://u:s3cret@db/x\"", "line 4, column 7: store.url: write hosts, database and user"),
            ("password = \"s3cret\"", "store.password: a secret stands in a file of its own"),
            ("hosts = [\"db\"]\ntls = \"off\"", "line 5, column 7: store.tls: \"off\" is for sockets and loopback"),
            ("hosts = [\"127.0.0.1\", \"db\"]\ntls = \"off\"", "store.tls: \"off\" is for sockets and loopback"),
            ("hosts = [\"/run\"]\ntls = \"verify-full\"", "store.tls: a Unix socket has no TLS"),
            ("hosts = [\"/run\"]\nca = \"/ca\"", "store.ca: there is no TLS here"),
            ("hosts = [\"db\"]\nca = \"ca\"", "store.ca = \"ca\": write an absolute path"),
            ("hosts = [\"/run\"]\ncertificate = \"/c\"\nkey = \"/k\"", "store.certificate: there is no TLS here"),
            (&format!("{tls}\ncertificate = \"/c\""), "store.certificate: write key too"),
            (&format!("{tls}\nkey = \"/k\""), "store.key: write certificate too"),
            ("hosts = [\"/run\"]\ntls = \"require\"", "\"require\" is none of \"verify-full\""),
            ("hosts = [\"/run\"]\nspace = \"\"", if BUILT { "store.space: write a name" } else { "built without" }),
            ("hosts = [\"/run\"]\nsynchronous_commit = \"off\"", "\"off\" is none of \"on\""),
        ] {
            let error = postgres(table).unwrap_err();
            assert!(error.contains(said) && !error.contains("s3cret"), "{table}\n{error}");
        }
        let error = parse("hosts = [\"db\"]").unwrap_err();
        assert!(error.contains("store.hosts: is of kind = \"postgres\" alone"), "{error}");
    }

    #[test]
    fn a_shared_log_has_an_owner_for_each_address() {
        let said = |addresses: &str| {
            let text = format!("addresses = [{addresses}]\n[store]\nkind = \"postgres\"\nhosts = [\"/run\"]");
            Config::parse(&text, &User::named("a@x.example").unwrap()).err().map(|error| error.to_string())
        };
        for alone in ["\"a@x.example\"", "\"*@x.example\", \"a+*@y.example\"", "\"%u\""] {
            let said = said(alone).unwrap();
            assert!(said.contains("has no owner: write { address"), "{said}");
        }
        for good in
            ["\"*@x.example\"", "{ address = \"a@x.example\", owner = \"a\" }", "{ address = \"%u\", owner = \"%u\" }"]
        {
            let refused = said(good).filter(|said| !said.contains("built without"));
            assert_eq!(refused, None);
        }
    }

    #[test]
    fn both_ends_of_the_ranges_are_taken() {
        let with = |line: &str| postgres(&format!("hosts = [\"/run\"]\n{line}"));
        for (good, bad) in [
            (["timeout = \"1s\"", "timeout = \"1m\""], ["timeout = \"0s\"", "timeout = \"61s\""]),
            (["connections = 1", "connections = 256"], ["connections = 0", "connections = 257"]),
        ] {
            for line in good {
                assert!(with(line).err().is_none_or(|error| error.contains("built without")), "{line}");
            }
            for line in bad {
                assert!(with(line).unwrap_err().contains(" is not"), "{line}");
            }
        }
    }
}
