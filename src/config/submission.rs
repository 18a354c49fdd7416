//! The table `[submission]`: the SMTP server for the user's own mail programs.

use super::file::{self, FileError};
use super::ranges::Number;
use super::sendmail::Tls;
use super::{ConfigError, MESSAGE_MIN};
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// Highest limit on the size of a message: 1 GiB.
const LARGEST_MAX: u64 = 1 << 30;
/// Fewest characters of a password that other hosts can try.
const PASSWORD_MIN: usize = 12;

/// Settings of the submission server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubmissionServer {
    /// The address; without TLS, it is one of this host.
    pub listen: SocketAddr,
    /// How connections are protected, if they are.
    pub tls: Option<ServerTls>,
    /// The user name for the login.
    pub user: String,
    /// The file that holds only the password, closed to other users.
    pub password_file: PathBuf,
    /// The largest message, in bytes.
    pub largest: usize,
    /// The most concurrent connections.
    pub connections: usize,
}

/// Protection of a server's connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    /// From the first byte on (RFC 8314), or after STARTTLS (RFC 3207).
    pub is_implicit: bool,
    /// The file of the certificate and its chain (PEM).
    pub certificate: PathBuf,
    /// The file of its secret key (PEM), closed to other users.
    pub key: PathBuf,
}

/// The password cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{}: {count} characters, expected at least {PASSWORD_MIN}, since other hosts can guess", path.display())]
    Short { path: PathBuf, count: usize },
}

impl SubmissionServer {
    /// Returns whether programs on other hosts can connect.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        !self.listen.ip().to_canonical().is_loopback()
    }

    /// Reads the password.
    pub fn password(&self) -> Result<Zeroizing<String>, PasswordError> {
        let password = file::read_password(&self.password_file)?;
        let count = password.chars().count();
        if count < PASSWORD_MIN && self.is_remote() {
            return Err(PasswordError::Short { path: self.password_file.clone(), count });
        }
        Ok(password)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SubmissionTable {
    listen: String,
    #[serde(default = "off")]
    tls: Tls,
    certificate: Option<String>,
    key: Option<String>,
    user: String,
    password_file: String,
    #[serde(default = "largest")]
    max_message_size: Number<MESSAGE_MIN, LARGEST_MAX>,
    #[serde(default = "connections")]
    connections: Number<1, 65_536>,
}

fn off() -> Tls {
    Tls::Off
}

fn largest() -> Number<MESSAGE_MIN, LARGEST_MAX> {
    Number(50 << 20)
}

fn connections() -> Number<1, 65_536> {
    Number(32)
}

impl SubmissionTable {
    /// Checks the table; `path` makes a path of a value.
    pub(super) fn settle(
        self,
        path: &dyn Fn(&'static str, Option<String>) -> Result<Option<PathBuf>, ConfigError>,
    ) -> Result<SubmissionServer, ConfigError> {
        let wrong = ConfigError::Submission("listen: write an address and a port, as 127.0.0.1:5870");
        let listen: SocketAddr = self.listen.parse().map_err(|_| wrong)?;
        let tls = match (self.tls, self.certificate, self.key) {
            (Tls::Off, None, None) => None,
            (Tls::Off, ..) => {
                return Err(ConfigError::Submission(
                    "tls: with a certificate, write \"implicit\" or \"starttls\"; without TLS, leave certificate and key out",
                ));
            }
            (_, None, _) => return Err(ConfigError::Submission("tls: needs certificate, the file of the chain")),
            (_, _, None) => return Err(ConfigError::Submission("tls: needs key, the file of the certificate's key")),
            (tls, certificate, key) => Some(ServerTls {
                is_implicit: tls == Tls::Implicit,
                certificate: path("submission.certificate", certificate)?.unwrap_or_default(),
                key: path("submission.key", key)?.unwrap_or_default(),
            }),
        };
        if self.user.is_empty() || self.user.contains('\0') {
            return Err(ConfigError::Submission("user: write a name"));
        }
        let password_file = path("submission.password_file", Some(self.password_file))?;
        let server = SubmissionServer {
            listen,
            tls,
            user: self.user,
            password_file: password_file.ok_or(ConfigError::Submission("password_file: name a file"))?,
            largest: usize::try_from(self.max_message_size.0).unwrap_or(usize::MAX),
            connections: usize::try_from(self.connections.0).unwrap_or(usize::MAX),
        };
        if server.is_remote() && server.tls.is_none() {
            return Err(ConfigError::Submission(
                "listen: without TLS, a password is for this host only: set tls, certificate and key, or write a \
                 loopback address, as 127.0.0.1:5870",
            ));
        }
        Ok(server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::config::user::User;

    fn parse(table: &str) -> Result<SubmissionServer, String> {
        let config = Config::parse(&format!("[submission]\n{table}"), &User::default());
        config.map_err(|error| error.to_string())?.submission.ok_or_else(|| "none".to_owned())
    }

    #[test]
    fn a_submission_server_is_on_this_host_and_has_a_login() {
        let login = "user = \"joe\"\npassword_file = \"/p\"";
        let server = parse(&format!("listen = \"[::1]:5870\"\n{login}")).unwrap();
        assert_eq!((server.largest, server.connections, server.tls), (50 << 20, 32, None));
        let files = "certificate = \"/c\"\nkey = \"/k\"";
        for (word, is_implicit) in [("implicit", true), ("starttls", false)] {
            let server = parse(&format!("listen = \"[::]:465\"\ntls = {word:?}\n{files}\n{login}")).unwrap();
            assert!(server.is_remote());
            assert_eq!(server.tls, Some(ServerTls { is_implicit, certificate: "/c".into(), key: "/k".into() }));
        }
        for (table, said) in [
            (format!("listen = \"192.0.2.1:587\"\n{login}"), "line 2, column 10: submission.listen: without TLS"),
            (format!("listen = \"0.0.0.0:587\"\n{login}"), "submission.listen: without TLS"),
            (format!("listen = \"[::ffff:192.0.2.1]:587\"\n{login}"), "submission.listen: without TLS"),
            (format!("listen = \"0.0.0.0:587\"\ntls = \"off\"\n{login}"), "submission.listen: without TLS"),
            (format!("listen = \"127.0.0.1:5870\"\n{files}\n{login}"), "submission.tls: with a certificate, write"),
            (
                format!("listen = \"0.0.0.0:587\"\ntls = \"starttls\"\nkey = \"/k\"\n{login}"),
                "line 3, column 7: submission.tls: needs certificate",
            ),
            (
                format!("listen = \"0.0.0.0:587\"\ntls = \"implicit\"\ncertificate = \"/c\"\n{login}"),
                "submission.tls: needs key",
            ),
            (
                format!("listen = \"localhost\"\n{login}"),
                "line 2, column 10: submission.listen: write an address and a port",
            ),
            ("listen = \"127.0.0.1:5870\"".to_owned(), "the key \"user\" is missing"),
            ("listen = \"127.0.0.1:5870\"\nuser = \"\"\npassword_file = \"/p\"".to_owned(), "submission.user"),
            ("listen = \"127.0.0.1:5870\"\nuser = \"a\"\npassword_file = \"p\"".to_owned(), "an absolute path"),
            (
                format!("listen = \"127.0.0.1:5870\"\n{login}\nmax_message_size = 0"),
                "line 5, column 20: write a whole number",
            ),
        ] {
            let error = parse(&table).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
