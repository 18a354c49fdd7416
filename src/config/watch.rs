//! The table `[watch]`: which mail folders `mailstamp watch` looks at, and what they mean. Nothing is watched unless a
//! Maildir is named.

use super::ConfigError;
use super::duration::Seconds;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// What is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// The Maildir with the folders in it, if one is named.
    pub maildir: Option<PathBuf>,
    /// Folders into which a message is moved that should not have come.
    pub junk: Vec<String>,
    /// Folders into which a message is moved that is done with.
    pub trash: Vec<String>,
    /// Folders of the messages that the user sent.
    pub sent: Vec<String>,
    /// For how many seconds moving a message back undoes what moving it away did.
    pub unrevoke_within: i64,
    /// After what time all folders are looked through, whatever the system told.
    pub rescan: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WatchTable {
    pub(super) maildir: Option<String>,
    junk: Vec<String>,
    trash: Vec<String>,
    sent: Vec<String>,
    unrevoke_within: Seconds,
    rescan: Seconds,
}

impl Default for WatchTable {
    fn default() -> Self {
        let names = |name: &str| vec![name.to_owned()];
        Self {
            maildir: None,
            junk: names("Junk"),
            trash: names("Trash"),
            sent: names("Sent"),
            unrevoke_within: Seconds(7 * 86_400),
            rescan: Seconds(600),
        }
    }
}

impl WatchTable {
    /// The settings, with the path of the Maildir made out.
    pub(super) fn settle(self, maildir: Option<PathBuf>) -> Result<Watch, ConfigError> {
        for name in self.junk.iter().chain(&self.trash).chain(&self.sent) {
            let part = |part: &str| part.is_empty() || matches!(part, "." | "..") || part.contains('\0');
            let relative = name.strip_prefix('/').unwrap_or(name);
            if relative.split('/').any(part) {
                return Err(ConfigError::Folder(name.clone()));
            }
        }
        Ok(Watch {
            maildir,
            junk: self.junk,
            trash: self.trash,
            sent: self.sent,
            unrevoke_within: self.unrevoke_within.0,
            // More often is no use: the system tells of changes.
            rescan: Duration::from_secs(self.rescan.0.unsigned_abs().max(1)),
        })
    }
}
