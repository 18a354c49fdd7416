//! State of the watcher, and what follows from it. Pure: `folders` and `state_file` do the I/O.
//!
//! - Within a folder a message is identified by its base name, which flags do not change. It alone decides what was
//!   added and removed.
//! - Between folders names change (IMAP servers and mail readers copy), so there fingerprint and stamp identify a
//!   message.
//! - The state is the sum of [`Event`]s, each written before its effect counts as done. An event applied twice has the
//!   same effect as once, and an action repeated after a crash changes nothing.

use crate::message::fingerprint::KnownMessage;
use crate::time::UnixTime;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeSet, HashMap, HashSet};

/// Key of a base name: the first 8 bytes of its SHA-256.
pub type Name = u64;

/// Event of the state file; one line of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "note", rename_all = "kebab-case")]
pub enum Event {
    /// The folder was scanned for the first time.
    Indexed {
        /// Key of the folder.
        folder: String,
    },
    /// The folder is this one on the disk. Another one under the same path was renamed or removed.
    Placed { folder: String, device: u64, inode: u64 },
    /// Messages in the folder were handled.
    Added {
        folder: String,
        /// Which messages.
        names: Vec<Name>,
    },
    /// Messages are no longer in the folder.
    Removed {
        folder: String,
        /// Which messages.
        names: Vec<Name>,
        /// When that was seen (seconds since 1970).
        at: i64,
    },
    /// A stamp is revoked because of this message in this folder.
    RevokedBy {
        /// The stamp's vendor.
        vendor: String,
        serial: String,
        message: KnownMessage,
        folder: String,
        /// The message in it.
        name: Name,
        /// When that was seen (seconds since 1970).
        since: i64,
    },
    /// The message no longer revokes the stamp: it was moved back, or it is too late for that.
    Unrevoked {
        /// The stamp's vendor.
        vendor: String,
        serial: String,
        message: KnownMessage,
    },
}

/// A stamp that is revoked because its message was moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokedBy {
    /// The stamp's vendor.
    pub vendor: String,
    pub serial: String,
    pub message: KnownMessage,
    /// When the message was first seen there (seconds since 1970).
    pub since: i64,
    /// Folders and names of the message; empty once it was moved on.
    places: BTreeSet<(String, Name)>,
    /// Since when it is in none of them (seconds since 1970).
    gone: i64,
}

impl RevokedBy {
    /// Returns whether the message has left Junk and Trash.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.places.is_empty()
    }
}

/// State of the watcher.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatcherState {
    folders: HashMap<String, HashSet<Name>>,
    held: Vec<RevokedBy>,
    /// Which folder on the disk (device and inode) is under each key.
    placed: HashMap<String, (u64, u64)>,
    /// The messages of folders that are no longer under their key. Not stored: it matters only for the next scan.
    former: HashMap<(u64, u64), HashSet<Name>>,
}

impl WatcherState {
    /// Applies an event.
    pub fn apply(&mut self, note: Event) {
        match note {
            Event::Indexed { folder } => {
                self.folders.entry(folder).or_default();
            }
            Event::Placed { folder, device, inode } => {
                let now = (device, inode);
                let names = self.folders.get(&folder).cloned().unwrap_or_default();
                if let Some(before) = self.placed.insert(folder, now).filter(|before| *before != now) {
                    self.former.insert(before, names);
                }
                self.former.remove(&now);
            }
            Event::Added { folder, names } => self.folders.entry(folder).or_default().extend(names),
            Event::Removed { folder, names, at } => {
                let known = self.folders.entry(folder.clone()).or_default();
                names.iter().for_each(|name| {
                    known.remove(name);
                });
                let names: HashSet<Name> = names.into_iter().collect();
                for held in self.held.iter_mut().filter(|held| !held.is_gone()) {
                    held.places.retain(|(place, name)| *place != folder || !names.contains(name));
                    if held.is_gone() {
                        held.gone = at;
                    }
                }
            }
            Event::RevokedBy { vendor, serial, message, folder, name, since } => {
                let known = self.held.iter_mut().find(|it| it.is(&vendor, &serial, message));
                match known {
                    Some(held) => {
                        held.places.insert((folder, name));
                    }
                    None => {
                        let places = BTreeSet::from([(folder, name)]);
                        self.held.push(RevokedBy { vendor, serial, message, since, places, gone: since });
                    }
                }
            }
            Event::Unrevoked { vendor, serial, message } => self.held.retain(|it| !it.is(&vendor, &serial, message)),
        }
    }

    /// Returns the fewest events that produce this state.
    #[must_use]
    pub fn notes(&self) -> Vec<Event> {
        let mut notes = Vec::new();
        for (folder, names) in &self.folders {
            notes.push(Event::Indexed { folder: folder.clone() });
            let names: Vec<Name> = names.iter().copied().collect();
            for names in names.chunks(1_000) {
                notes.push(Event::Added { folder: folder.clone(), names: names.to_vec() });
            }
        }
        let placed = self.placed.iter();
        notes.extend(placed.map(|(folder, &(device, inode))| Event::Placed { folder: folder.clone(), device, inode }));
        for held in &self.held {
            let note = |folder: &str, name| Event::RevokedBy {
                vendor: held.vendor.clone(),
                serial: held.serial.clone(),
                message: held.message,
                folder: folder.to_owned(),
                name,
                since: held.since,
            };
            notes.extend(held.places.iter().map(|(folder, name)| note(folder, *name)));
            if held.is_gone() {
                // The message was in a folder, and was removed from it.
                notes.push(note("", 0));
                notes.push(Event::Removed { folder: String::new(), names: vec![0], at: held.gone });
            }
        }
        notes
    }

    /// Returns the known messages of a folder; `None` if it was never scanned.
    #[must_use]
    pub fn known(&self, folder: &str) -> Option<&HashSet<Name>> {
        self.folders.get(folder)
    }

    /// Returns which folder on the disk is known under this key.
    #[must_use]
    pub fn placed(&self, folder: &str) -> Option<(u64, u64)> {
        self.placed.get(folder).copied()
    }

    /// Returns the messages that this folder on the disk had as Junk or Trash, before it was renamed.
    #[must_use]
    pub fn former(&self, place: (u64, u64)) -> Option<&HashSet<Name>> {
        self.former.get(&place)
    }

    /// Returns whether this message already revokes this stamp.
    #[must_use]
    pub fn holds(&self, vendor: &str, serial: &str, message: KnownMessage) -> bool {
        self.held.iter().any(|held| held.is(vendor, serial, message))
    }

    /// Returns the stamps whose messages left Junk and Trash, and may appear elsewhere.
    pub fn left(&self) -> impl Iterator<Item = &RevokedBy> {
        self.held.iter().filter(|held| held.is_gone())
    }

    /// Returns whether another message in Junk or Trash revokes the stamp too.
    #[must_use]
    pub fn other_evidence(&self, vendor: &str, serial: &str, message: KnownMessage) -> bool {
        let same = |held: &&RevokedBy| held.vendor == vendor && held.serial == serial && held.message != message;
        self.held.iter().filter(same).any(|held| !held.is_gone())
    }

    /// Returns events for messages that left too long ago to be moved back.
    #[must_use]
    pub fn too_late(&self, now: UnixTime, within: i64) -> Vec<Event> {
        let late = self.left().filter(|held| now.since(UnixTime(held.since.max(held.gone))) > within);
        late.map(RevokedBy::free).collect()
    }
}

impl RevokedBy {
    fn is(&self, vendor: &str, serial: &str, message: KnownMessage) -> bool {
        self.message == message && self.serial == serial && self.vendor == vendor
    }

    /// Returns the event that ends the revocation.
    #[must_use]
    pub fn free(&self) -> Event {
        Event::Unrevoked { vendor: self.vendor.clone(), serial: self.serial.clone(), message: self.message }
    }
}

/// Returns the key of a file of a Maildir.
///
/// Leaves out its flags (after `:2,`) and the number that mbsync writes into names (`,U=`): neither makes it another
/// message.
#[must_use]
pub fn message_key(file: &[u8]) -> Name {
    let base = file.split(|b| *b == b':').next().unwrap_or(file);
    let mut hash = Sha256::new();
    for (index, part) in base.split(|b| *b == b',').enumerate() {
        if index > 0 {
            if part.strip_prefix(b"U=").is_some_and(|number| number.iter().all(u8::is_ascii_digit)) {
                continue;
            }
            hash.update(b",");
        }
        hash.update(part);
    }
    hash.finalize().first_chunk().map_or(0, |first| Name::from_be_bytes(*first))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(message: u8, folder: &str, name: Name) -> Event {
        Event::RevokedBy {
            vendor: "stamps.example".into(),
            serial: "s".into(),
            message: [message; 16].into(),
            folder: folder.into(),
            name,
            since: 10,
        }
    }

    fn went(folder: &str, names: &[Name], at: i64) -> Event {
        Event::Removed { folder: folder.into(), names: names.to_vec(), at }
    }

    fn memory(notes: impl IntoIterator<Item = Event>) -> WatcherState {
        let mut memory = WatcherState::default();
        notes.into_iter().for_each(|note| memory.apply(note));
        memory
    }

    #[test]
    fn flags_and_the_numbers_of_mbsync_make_no_other_message() {
        let name = message_key(b"1.M2P3.host,S=5,W=6");
        for same in ["1.M2P3.host,S=5,W=6:2,", "1.M2P3.host,S=5,W=6:2,FS", "1.M2P3.host,U=77,S=5,W=6:2,S"] {
            assert_eq!(message_key(same.as_bytes()), name, "{same}");
        }
        for other in ["1.M2P4.host,S=5,W=6", "1.M2P3.host", "1.M2P3.host,S=5,W=6,U=x", ""] {
            assert_ne!(message_key(other.as_bytes()), name, "{other}");
        }
    }

    #[test]
    fn a_message_has_left_when_it_lies_in_no_folder_any_more() {
        let mut known = memory([held(1, "Junk", 5), held(1, "Trash", 6)]);
        known.apply(went("Junk", &[5], 20));
        assert_eq!(known.left().count(), 0, "moved from Junk to Trash");
        known.apply(went("Trash", &[6, 7], 30));
        assert_eq!(known.left().count(), 1);
        assert!(known.too_late(UnixTime(130), 100).is_empty());
        let free = known.too_late(UnixTime(131), 100);
        free.into_iter().for_each(|note| known.apply(note));
        assert_eq!(known, memory([went("Junk", &[], 0), went("Trash", &[], 0)]));
    }

    #[test]
    fn a_renamed_folder_is_known_with_its_messages() {
        let placed = |inode| Event::Placed { folder: "Junk".into(), device: 1, inode };
        let came = Event::Added { folder: "Junk".into(), names: vec![5] };
        let state = memory([placed(7), came.clone(), placed(7), placed(8), went("Junk", &[5], 20)]);
        assert_eq!(state.former((1, 7)), Some(&HashSet::from([5])));
        assert_eq!((state.former((1, 8)), state.placed("Junk")), (None, Some((1, 8))));
        assert_eq!(memory(state.notes()).placed("Junk"), Some((1, 8)));
        assert_eq!(memory([placed(7), came, placed(8), placed(7)]).former((1, 7)), None, "renamed back");
    }

    #[test]
    fn another_message_in_junk_speaks_against_the_same_stamp() {
        let mut memory = memory([held(1, "Junk", 5), held(2, "Junk", 6), went("Junk", &[5], 20)]);
        assert!(memory.other_evidence("stamps.example", "s", [1; 16].into()));
        memory.apply(went("Junk", &[6], 21));
        assert!(!memory.other_evidence("stamps.example", "s", [1; 16].into()));
    }

    #[test]
    fn the_same_notes_once_more_change_nothing_and_the_fewest_notes_make_the_same_memory() {
        let came = Event::Added { folder: "Junk".into(), names: (0..2_500).collect() };
        let notes = [came, held(1, "Junk", 5), held(2, "Junk", 6), held(3, "Trash", 5), went("Junk", &[6], 20)];
        let once = memory(notes.clone());
        assert_eq!(memory(notes.iter().cloned().chain(notes.iter().cloned())), once);
        let mut again = memory(once.notes());
        // The folder that a message left is not kept; an empty folder without name represents it.
        again.folders.remove("");
        assert_eq!(again, once);
        for note in once.notes() {
            let line = serde_json::to_string(&note).unwrap();
            assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), note);
        }
    }
}
