//! Returnable stamps: stamps that correspondents let come back. The folder `returns` of the state has one small file
//! for each message that brought one, found by its Message-ID when the user answers that message. This is a cache: a
//! lost file costs a stamp, and no decision depends on it. So it has neither lock nor sync, and is not part of the used
//! log.

use super::contacts::message_name;
use crate::message::address::Address;
use crate::os;
use crate::os::atomic_file::{self, Durability};
use crate::time::UnixTime;
use crate::verdict::owner::Owner;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use std::fs::{self};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The folder.
const FOLDER: &str = "returns";
/// No row is longer than this.
const LONGEST: u64 = 64 * 1024;

/// A stamp that may come back, and its recipients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReturnableStamp {
    pub stamp: String,
    /// The author of the message that brought it, and the Reply-To addresses. No other recipient gets the stamp.
    pub from: Vec<Address>,
    /// When it came.
    pub at: UnixTime,
}

/// The store of returnable stamps.
#[derive(Debug)]
pub struct ReturnableStore {
    folder: PathBuf,
}

impl ReturnableStore {
    /// Makes the store in the folder of the state.
    #[must_use]
    pub fn new(state: &Path) -> Self {
        Self { folder: state.join(FOLDER) }
    }

    /// Keeps a stamp, under the Message-ID of the message that brought it.
    /// Nothing is kept under an empty one. The first stamp stays: another message under the same Message-ID changes
    /// nothing.
    pub fn keep(&self, message_id: &str, returnable: &ReturnableStamp) -> io::Result<()> {
        let Some(path) = self.path(message_id).filter(|path| !path.exists()) else { return Ok(()) };
        os::make_folder(&self.folder, 0o700)?;
        let row = serde_json::to_vec(returnable)?;
        atomic_file::replace(&path, 0o600, Durability::Cached, |file| file.write_all(&row))
    }

    /// Returns the stamp that came with the message of this Message-ID, if it may come back.
    /// Angle brackets are optional.
    #[must_use]
    pub fn find(&self, message_id: &str) -> Option<ReturnableStamp> {
        let path = self.path(message_id)?;
        fs::metadata(&path).ok().filter(|metadata| metadata.is_file() && metadata.len() <= LONGEST)?;
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    /// Removes the stamps that came before `before`; returns how many.
    pub fn purge(&self, before: UnixTime) -> u64 {
        let mut removed = 0;
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let since = entry.metadata().and_then(|metadata| metadata.modified()).ok();
            let since = since.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
            let old = since.is_some_and(|since| i64::try_from(since.as_secs()).is_ok_and(|at| at < before.0));
            removed += u64::from(old && fs::remove_file(entry.path()).is_ok());
        }
        removed
    }

    fn path(&self, message_id: &str) -> Option<PathBuf> {
        Some(self.folder.join(HEXLOWER.encode(&message_name(Owner::default(), message_id)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_found_by_the_message_that_brought_it() {
        let folder = tempfile::tempdir().unwrap();
        let returns = ReturnableStore::new(folder.path());
        let row = |stamp: &str| ReturnableStamp {
            stamp: stamp.to_owned(),
            from: vec![Address::parse("bob@y.example").unwrap()],
            at: UnixTime(7),
        };
        assert_eq!(returns.find("<1@y>"), None);
        returns.keep("<1@y>", &row("one")).unwrap();
        returns.keep("1@y", &row("two")).unwrap();
        returns.keep("", &row("none")).unwrap();
        assert_eq!(returns.find(" 1@y "), Some(row("one")));
        assert_eq!((returns.find("<2@y>"), returns.find("")), (None, None));
        assert_eq!(returns.purge(UnixTime(0)), 0);
        assert_eq!(returns.purge(UnixTime(i64::MAX)), 1);
        assert_eq!(returns.find("<1@y>"), None);
    }
}
