//! Which held messages a digest has listed, and when. Where digests are sent, held mail expires only after one.

use crate::autoreply::held_word::LIFE;
use crate::os::atomic_file::{self, Durability};
use crate::os::safe_open;
use crate::time::UnixTime;
use std::collections::HashMap;
use std::io::{self, ErrorKind, Write};
use std::path::Path;

/// The key of the words, in the folder of the state. The first digest makes it.
pub const KEY: &str = "held.key";
/// One line for each listed message: its short name, a blank, and the time of the digest in seconds since 1970.
const LISTED: &str = "digest.listed";

/// The listed messages, by their short names, with the time of their digest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Digested(pub HashMap<String, UnixTime>);

impl Digested {
    /// Reads what the digests of a mailbox listed; empty before the first one.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn load(state: &Path) -> io::Result<Self> {
        let text = match safe_open::regular_file(&state.join(LISTED)).and_then(io::read_to_string) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        let entry = |line: &str| {
            let (name, at) = line.split_once(' ')?;
            Some((name.to_owned(), UnixTime(at.parse().ok()?)))
        };
        Ok(Self(text.lines().filter_map(entry).collect()))
    }

    /// As [`load`](Self::load); `None` if no digest was ever made, so that none is waited for.
    ///
    /// # Errors
    /// As `load`.
    pub fn if_used(state: &Path) -> io::Result<Option<Self>> {
        if state.join(KEY).try_exists()? { Self::load(state).map(Some) } else { Ok(None) }
    }

    /// Replaces the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, state: &Path) -> io::Result<()> {
        let text = self.0.iter().fold(String::new(), |text, (name, at)| format!("{text}{name} {}\n", at.0));
        atomic_file::replace(&state.join(LISTED), 0o600, Durability::Synced, |file| file.write_all(text.as_bytes()))
    }

    /// Returns whether a digest listed the message, and its answers have ended at `now`.
    #[must_use]
    pub fn is_answered_for(&self, name: &str, now: UnixTime) -> bool {
        self.0.get(name).is_some_and(|at| now.since(*at) > LIFE)
    }
}
