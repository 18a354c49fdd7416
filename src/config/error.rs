//! Errors of the configuration, with the position of the value.

use super::syntax::{self, SyntaxError};
use super::user::UserError;
use crate::message::address::PatternError;
use crate::transparency::witness::QuorumError;

/// Error in the configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not TOML, an unknown key, or a value of the wrong kind.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// An address, or a pattern of addresses, is wrong.
    #[error("{key} = {text:?}: {source}")]
    Pattern {
        key: &'static str,
        text: String,
        /// What is wrong with it.
        source: PatternError,
    },
    /// `%u`, `%n` or `%d` cannot be filled in.
    #[error("{key} = {text:?}: {source}")]
    User {
        key: &'static str,
        text: String,
        /// Why not.
        source: UserError,
    },
    /// A path that does not begin at the root.
    #[error("{key} = {text:?}: write an absolute path")]
    Relative { key: &'static str, text: String },
    /// An invalid name for Authentication-Results fields.
    #[error("{key} = {text:?}: write a host name")]
    AuthservId { key: &'static str, text: String },
    #[error("addresses: owner = {0:?}: write a name")]
    Owner(String),
    #[error("watch: {0:?}: write the name of a folder, as \"Junk\" or \"Archive/Junk\", or an absolute path")]
    Folder(String),
    /// An error in the table `[sendmail]`.
    #[error("sendmail.{0}")]
    Sendmail(&'static str),
    /// An error in the table `[serve]`.
    #[error("serve.{0}")]
    Serve(&'static str),
    /// An error in the table `[store]`, or in what it needs: the key, and what is wrong.
    #[error("{0}")]
    Store(String),
    /// An error in the table `[boundary]`, or in what it needs: the key, and what is wrong.
    #[error("{0}")]
    Boundary(String),
    /// An error in the table `[submission]`.
    #[error("submission.{0}")]
    Submission(&'static str),
    /// An error in the table `[gateway]`: the key, and what is wrong.
    #[error("{0}")]
    Gateway(String),
    /// An error in the table `[logs]`.
    #[error("{}: {_0}", key_in_logs(_0))]
    Logs(QuorumError),
    /// One of the above, at its line and column.
    #[error("line {line}, column {column}: {source}")]
    At { line: usize, column: usize, source: Box<Self> },
}

impl ConfigError {
    /// Returns the error without its position.
    #[must_use]
    pub fn kind(&self) -> &Self {
        if let Self::At { source, .. } = self { source } else { self }
    }

    /// Adds the position of the value, if it is known.
    pub(super) fn located(self, text: &str) -> Self {
        let place = match &self {
            Self::Pattern { key, text: value, .. }
            | Self::User { key, text: value, .. }
            | Self::Relative { key, text: value }
            | Self::AuthservId { key, text: value } => syntax::locate(text, key, value),
            Self::Owner(value) => syntax::locate(text, "addresses", value),
            Self::Folder(value) => syntax::locate(text, "watch", value),
            Self::Sendmail(what) => syntax::place_of_key(text, &format!("sendmail.{}", key_of(what))),
            Self::Serve(what) => syntax::place_of_key(text, &format!("serve.{}", key_of(what))),
            Self::Boundary(what) | Self::Store(what) | Self::Gateway(what) => syntax::place_of_key(text, key_of(what)),
            Self::Logs(what) => syntax::place_of_key(text, key_in_logs(what)),
            Self::Submission(what) => syntax::place_of_key(text, &format!("submission.{}", key_of(what))),
            Self::Syntax(_) | Self::At { .. } => None,
        };
        match place {
            Some((line, column)) => Self::At { line, column, source: Box::new(self) },
            None => self,
        }
    }
}

/// Returns the key before the colon of a message.
fn key_of(what: &str) -> &str {
    what.split_once(':').map_or(what, |(key, _)| key)
}

/// Returns the key that is wrong.
const fn key_in_logs(what: &QuorumError) -> &'static str {
    match what {
        QuorumError::Minimum { .. } => "logs.minimum",
        QuorumError::Twice(_) | QuorumError::Many(_) => "logs.witnesses",
    }
}
