//! Keys of IDs, in a file of the bank's folder for each kind. A new one is made from time to time, and old ones are kept
//! until their last ID has ended. A used ID of an offer is known from the bank, without its key.
//!
//! Processes of one bank, such as one for each half of the gateway, share the files: each knows the others' IDs.

use crate::config::file::{self, FileError};
use crate::emstamp::envelope_id;
use crate::emstamp::id::{IdKey, NONCE_LEN};
use crate::os::atomic_file::{self, Durability};
use crate::os::file_version::FileVersion;
use crate::os::{clock, file_lock, random, safe_open};
use crate::time::UnixTime;
use data_encoding::HEXLOWER;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use zeroize::{Zeroize as _, Zeroizing};

const DAY: i64 = 86_400;

/// Kind of IDs.
#[derive(Debug)]
pub(super) struct Kind {
    file: &'static str,
    /// How long a key makes IDs, in seconds.
    used: i64,
    /// How long a key is kept, in seconds: as long as it makes IDs, and they live, by a clock that may be set back.
    kept: i64,
    /// What ends when the keys are lost.
    lost: &'static str,
}

/// IDs of offers, which live a day.
pub(super) const OFFERS: Kind =
    Kind { file: "id-keys.json", used: DAY, kept: 4 * DAY, lost: "offers that are open end" };
/// IDs of messages that leave ([`envelope_id`]).
pub(super) const ENVELOPES: Kind = Kind {
    file: "envelope-keys.json",
    used: 7 * DAY,
    kept: 9 * DAY + envelope_id::LIFE,
    lost: "reports about messages that left are not known",
};

/// The keys of a kind.
#[derive(Debug)]
pub(super) struct IdKeys {
    kind: &'static Kind,
    path: PathBuf,
    kept: Mutex<Kept>,
}

/// Keys and their beginnings, newest first.
#[derive(Debug, Default)]
struct Kept {
    begins: Vec<UnixTime>,
    /// Shared with those who use them, who then need not hold the lock.
    keys: Arc<Vec<IdKey>>,
    /// The file as it was read; `None` if there was none.
    version: Option<FileVersion>,
    /// When it was read, since 1970.
    read: Duration,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysFile {
    keys: Vec<KeyRow>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyRow {
    begin: String,
    /// In hexadecimal digits.
    key: String,
}

impl IdKeys {
    /// Reads the keys in the bank's folder.
    pub(super) fn open(bank: &Path, kind: &'static Kind) -> io::Result<Self> {
        let keys = Self { kind, path: bank.join(kind.file), kept: Mutex::default() };
        let kept = keys.read()?;
        *keys.kept.lock().unwrap_or_else(PoisonError::into_inner) = kept;
        Ok(keys)
    }

    /// Calls `with` with the keys, newest first, of which the first one makes IDs. Makes a new one when it is time. The
    /// folder must exist.
    pub(super) fn with<T>(&self, now: UnixTime, with: impl FnOnce(&[IdKey]) -> T) -> io::Result<T> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if !kept.is_current(&self.path) {
            *kept = self.read()?;
        }
        if self.is_over(&kept, now) {
            let lock = safe_open::file(&self.path.with_extension("lock"), OFlags::RDWR | OFlags::CREATE)?;
            file_lock::lock(&lock)?;
            // Another process may have made one meanwhile.
            *kept = self.read()?;
            if self.is_over(&kept, now) {
                *kept = self.with_another(&kept, now)?;
            }
        }
        let keys = Arc::clone(&kept.keys);
        drop(kept);
        Ok(with(&keys))
    }

    /// Returns whether the newest key makes no IDs any more.
    fn is_over(&self, kept: &Kept, now: UnixTime) -> bool {
        kept.begins.first().is_none_or(|begin| now.since(*begin) >= self.kind.used)
    }

    /// Makes a key, and writes it: an ID under a key that is lost at the end of the process would be of no use.
    fn with_another(&self, kept: &Kept, now: UnixTime) -> io::Result<Kept> {
        let mut bytes = Zeroizing::new([0; 32]);
        random::fill(&mut *bytes)?;
        let old = kept.begins.iter().zip(kept.keys.iter()).filter(|it| now.since(*it.0) < self.kind.kept);
        let (mut begins, mut keys): (Vec<_>, Vec<_>) = old.map(|(begin, key)| (*begin, key.clone())).unzip();
        begins.insert(0, now);
        keys.insert(0, IdKey::from_random(&bytes));
        let another = Kept { begins, keys: Arc::new(keys), version: None, read: Duration::ZERO };
        self.write(&another)?;
        Ok(Kept { version: FileVersion::of(&self.path), read: clock::since_1970(), ..another })
    }

    fn read(&self) -> io::Result<Kept> {
        let (version, read) = (FileVersion::of(&self.path), clock::since_1970());
        let kept = match file::read_secret(&self.path) {
            Err(error) if error.is_absent() => Kept::default(),
            Err(error) => return Err(other(&error)),
            Ok(text) => parse(&Zeroizing::new(text)).ok_or_else(|| {
                io::Error::other(format!("{}: malformed; remove it, and {}", self.path.display(), self.kind.lost))
            })?,
        };
        Ok(Kept { version, read, ..kept })
    }

    fn write(&self, kept: &Kept) -> io::Result<()> {
        let row = |(begin, key): (&UnixTime, &IdKey)| KeyRow {
            begin: begin.to_string(),
            key: HEXLOWER.encode(key.to_bytes()),
        };
        let mut file = KeysFile { keys: kept.begins.iter().zip(kept.keys.iter()).map(row).collect() };
        let text = Zeroizing::new(serde_json::to_string(&file).map_err(io::Error::other)?);
        file.keys.iter_mut().for_each(|row| row.key.zeroize());
        atomic_file::replace(&self.path, 0o600, Durability::Synced, |file| file.write_all(text.as_bytes()))
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", self.path.display())))
    }
}

impl Kept {
    /// Returns whether the file is the one that was read.
    fn is_current(&self, path: &Path) -> bool {
        let version = FileVersion::of(path);
        version == self.version && version.is_none_or(|version| version.is_settled(self.read))
    }
}

/// Returns a random nonce of an ID.
pub(super) fn nonce() -> io::Result<[u8; NONCE_LEN]> {
    let mut nonce = [0; NONCE_LEN];
    random::fill(&mut nonce)?;
    Ok(nonce)
}

fn parse(text: &str) -> Option<Kept> {
    let file: KeysFile = serde_json::from_str(text).ok()?;
    let mut kept = Kept::default();
    for row in file.keys {
        let bytes = Zeroizing::new(HEXLOWER.decode(Zeroizing::new(row.key).as_bytes()).ok()?);
        kept.begins.push(UnixTime::from_rfc3339(&row.begin).ok()?);
        Arc::make_mut(&mut kept.keys).push(IdKey::from_random(bytes.as_slice().try_into().ok()?));
    }
    Some(kept)
}

fn other(error: &FileError) -> io::Error {
    io::Error::other(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emstamp::id;
    use crate::message::address::Address;
    use std::os::unix::fs::PermissionsExt;

    const NOW: UnixTime = UnixTime(1_796_126_400);

    #[test]
    fn keys_change_each_day_and_last_as_long_as_their_ids() {
        let folder = tempfile::tempdir().unwrap();
        let mailbox = Address::parse("alice@x.example").unwrap();
        let keys = IdKeys::open(folder.path(), &OFFERS).unwrap();
        let issue = |keys: &IdKeys, now: UnixTime| {
            keys.with(now, |all| all[0].issue([7; 8], now.plus(86_400), &mailbox, 3).unwrap()).unwrap()
        };
        let first = issue(&keys, NOW);
        assert_eq!(issue(&keys, NOW), first);
        let later = NOW.plus(OFFERS.used);
        assert_ne!(issue(&keys, later), first);
        // Another process reads what this one wrote, and knows the ID to its end.
        let keys = IdKeys::open(folder.path(), &OFFERS).unwrap();
        let known = |now: UnixTime| keys.with(now, |all| id::check(&first, all, &mailbox, 3, now)).unwrap();
        assert_eq!(known(later), Ok(NOW.plus(86_400)));
        assert_eq!(known(later.plus(1)), Err(id::IdError::Ended));
        assert_eq!(known(NOW.plus(9 * 86_400)), Err(id::IdError::Foreign));
        let path = folder.path().join("id-keys.json");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&path, "{}").unwrap();
        assert!(IdKeys::open(folder.path(), &OFFERS).unwrap_err().to_string().contains("malformed"));
    }

    #[test]
    fn keys_of_messages_last_as_long_as_their_ids() {
        let folder = tempfile::tempdir().unwrap();
        let ann = Address::parse("ann@x.example").unwrap();
        let keys = IdKeys::open(folder.path(), &ENVELOPES).unwrap();
        let issue = |now: UnixTime| {
            let id = |all: &[IdKey]| envelope_id::issue(&all[0], [7; 8], now.plus(envelope_id::LIFE), &ann);
            keys.with(now, id).unwrap().unwrap()
        };
        issue(NOW);
        let (last, mut now) = (issue(NOW.plus(ENVELOPES.used - 1)), NOW.plus(ENVELOPES.used - 1));
        for _ in 0..30 {
            now = now.plus(DAY);
            issue(now);
        }
        let known = |now: UnixTime| keys.with(now, |all| envelope_id::check(last.as_str(), all, &ann, now)).unwrap();
        assert_eq!(known(now), Ok(now));
        assert_eq!(known(now.plus(1)), Err(id::IdError::Ended));
        assert!(keys.with(now, <[IdKey]>::len).unwrap() <= 6);
        assert!(!folder.path().join(OFFERS.file).exists());
    }

    #[test]
    fn processes_of_one_bank_know_the_ids_of_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let ann = Address::parse("ann@x.example").unwrap();
        let processes: Vec<IdKeys> = (0..4).map(|_| IdKeys::open(folder.path(), &ENVELOPES).unwrap()).collect();
        for week in 0..8 {
            let now = NOW.plus(week * ENVELOPES.used);
            let issue = |keys: &IdKeys| {
                let id = |all: &[IdKey]| envelope_id::issue(&all[0], [7; 8], now.plus(envelope_id::LIFE), &ann);
                keys.with(now, id).unwrap().unwrap()
            };
            let ids: Vec<_> = std::thread::scope(|scope| {
                let all: Vec<_> = processes.iter().map(|keys| scope.spawn(|| issue(keys))).collect();
                all.into_iter().map(|one| one.join().unwrap()).collect()
            });
            for (keys, id) in processes.iter().flat_map(|keys| ids.iter().map(move |id| (keys, id))) {
                let known = keys.with(now, |all| envelope_id::check(id.as_str(), all, &ann, now)).unwrap();
                assert!(known.is_ok(), "{week}: {known:?}");
            }
            assert!(ids.iter().all(|id| *id == ids[0]), "{week}: more than one key");
        }
    }

    #[test]
    fn a_key_that_cannot_be_kept_makes_no_id() {
        let folder = tempfile::tempdir().unwrap();
        let keys = IdKeys::open(&folder.path().join("none"), &OFFERS).unwrap();
        assert!(keys.with(NOW, |_| ()).is_err());
        std::fs::create_dir(folder.path().join("none")).unwrap();
        assert_eq!(keys.with(NOW, <[IdKey]>::len).unwrap(), 1);
    }
}
