//! Keys of IDs, in a file of the bank's folder for each kind. A new one is made from time to time, and old ones are kept
//! until their last ID has ended. A used ID of an offer is known from the bank, without its key.

use crate::config::file::{self, FileError};
use crate::emstamp::envelope_id;
use crate::emstamp::id::{IdKey, NONCE_LEN};
use crate::os::atomic_file::{self, Durability};
use crate::os::random;
use crate::time::UnixTime;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
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
    /// Reads the keys in the bank's folder, which must exist.
    pub(super) fn open(bank: &Path, kind: &'static Kind) -> io::Result<Self> {
        let path = bank.join(kind.file);
        let kept = match file::read_secret(&path) {
            Err(error) if error.is_absent() => Kept::default(),
            Err(error) => return Err(other(&error)),
            Ok(text) => parse(&Zeroizing::new(text)).ok_or_else(|| {
                io::Error::other(format!("{}: malformed; remove it, and {}", path.display(), kind.lost))
            })?,
        };
        Ok(Self { kind, path, kept: Mutex::new(kept) })
    }

    /// Calls `with` with the keys, newest first, of which the first one makes IDs. Makes a new one when it is time.
    pub(super) fn with<T>(&self, now: UnixTime, with: impl FnOnce(&[IdKey]) -> T) -> io::Result<T> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.begins.first().is_none_or(|begin| now.since(*begin) >= self.kind.used) {
            let mut bytes = Zeroizing::new([0; 32]);
            random::fill(&mut *bytes)?;
            let old = kept.begins.iter().filter(|begin| now.since(**begin) < self.kind.kept).count();
            kept.begins.truncate(old);
            kept.begins.insert(0, now);
            let keys = Arc::make_mut(&mut kept.keys);
            keys.truncate(old);
            keys.insert(0, IdKey::from_random(&bytes));
            if let Err(error) = self.write(&kept) {
                // An offer under a key that is lost at the end of the process would be of no use.
                kept.begins.remove(0);
                Arc::make_mut(&mut kept.keys).remove(0);
                return Err(error);
            }
        }
        let keys = Arc::clone(&kept.keys);
        drop(kept);
        Ok(with(&keys))
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
    fn a_key_that_cannot_be_kept_makes_no_id() {
        let folder = tempfile::tempdir().unwrap();
        let keys = IdKeys::open(&folder.path().join("none"), &OFFERS).unwrap();
        assert!(keys.with(NOW, |_| ()).is_err());
        std::fs::create_dir(folder.path().join("none")).unwrap();
        assert_eq!(keys.with(NOW, <[IdKey]>::len).unwrap(), 1);
    }
}
