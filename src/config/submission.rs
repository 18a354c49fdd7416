//! The table `[submission]`: the SMTP server for the user's own mail programs.

use super::ranges::Number;
use super::{ConfigError, MESSAGE_MIN};
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Highest limit on the size of a message: 1 GiB.
const LARGEST_MAX: u64 = 1 << 30;

/// Settings of the submission server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubmissionServer {
    /// The address, on this host.
    pub listen: SocketAddr,
    /// The user name for the login.
    pub user: String,
    /// The file that holds only the password, closed to other users.
    pub password_file: PathBuf,
    /// The largest message, in bytes.
    pub largest: usize,
    /// The most concurrent connections.
    pub connections: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SubmissionTable {
    listen: String,
    user: String,
    password_file: String,
    #[serde(default = "largest")]
    max_message_size: Number<MESSAGE_MIN, LARGEST_MAX>,
    #[serde(default = "connections")]
    connections: Number<1, 65_536>,
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
        if !listen.ip().is_loopback() {
            return Err(ConfigError::Submission(
                "listen: without TLS, a password is for this host only: write a loopback address, as 127.0.0.1:5870",
            ));
        }
        if self.user.is_empty() || self.user.contains('\0') {
            return Err(ConfigError::Submission("user: write a name"));
        }
        let password_file = path("submission.password_file", Some(self.password_file))?;
        Ok(SubmissionServer {
            listen,
            user: self.user,
            password_file: password_file.ok_or(ConfigError::Submission("password_file: name a file"))?,
            largest: usize::try_from(self.max_message_size.0).unwrap_or(usize::MAX),
            connections: usize::try_from(self.connections.0).unwrap_or(usize::MAX),
        })
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
        assert_eq!((server.largest, server.connections), (50 << 20, 32));
        for (table, said) in [
            (format!("listen = \"192.0.2.1:587\"\n{login}"), "line 2, column 10: submission.listen: without TLS"),
            (format!("listen = \"0.0.0.0:587\"\n{login}"), "submission.listen: without TLS"),
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
