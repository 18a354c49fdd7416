//! The table `[watch]`: the mail folders that `mailstamp watch` watches, and their meaning. None is watched unless a
//! Maildir is named.

use super::ConfigError;
use super::ranges::{DAY, MINUTE, Seconds};
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// Settings of the watcher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// The Maildir that contains the folders, if one is named.
    pub maildir: Option<PathBuf>,
    /// Folders for unwanted messages.
    pub junk: Vec<String>,
    /// Folders for messages that are no longer needed; none by default.
    pub trash: Vec<String>,
    /// Folders of sent messages.
    pub sent: Vec<String>,
    /// How many seconds after a move its effect is undone by moving the message back.
    pub unrevoke_within: i64,
    /// The interval at which all folders are scanned, even without a notification.
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
    rescan: Seconds<1, DAY>,
}

impl Default for WatchTable {
    fn default() -> Self {
        let names = |name: &str| vec![name.to_owned()];
        Self {
            maildir: None,
            junk: names("Junk"),
            // Many users throw away mail that they liked.
            trash: Vec::new(),
            sent: names("Sent"),
            unrevoke_within: Seconds(7 * DAY),
            rescan: Seconds(10 * MINUTE),
        }
    }
}

impl WatchTable {
    /// Returns the settings, with the resolved path of the Maildir.
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
            rescan: Duration::from_secs(self.rescan.0.unsigned_abs()),
        })
    }
}
