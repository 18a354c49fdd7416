//! The prices that users set for their mailboxes: a text file, a line for each mailbox, `PRICE ADDRESS`, in the order of
//! the addresses. `mailstamp price` and the daemon write it, and the gateway reads it.
//!
//! - A missing file has no prices. A malformed one is an error: no mailbox may become free by it.
//! - A change replaces the file in one step, under a lock, and is on the disk before it returns.

use crate::message::address::Address;
use crate::os::atomic_file::{self, Durability};
use crate::os::file_version::FileVersion;
use crate::os::{clock, file_lock, safe_open};
use crate::stamp::claims::VALUE_MAX;
use rustix::fs::OFlags;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long a change waits for another one.
const WAIT: Duration = Duration::from_secs(5);

/// Prices by canonical address, in credits.
pub type PriceList = BTreeMap<String, u64>;

/// The file, as it was read last.
#[derive(Debug)]
pub struct Prices {
    path: PathBuf,
    read: Mutex<Option<Read>>,
}

#[derive(Debug)]
struct Read {
    version: Option<FileVersion>,
    /// When it was read, as the time since 1970.
    at: Duration,
    list: Arc<PriceList>,
}

impl Prices {
    /// Names the file. It is read when it is first asked for.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, read: Mutex::new(None) }
    }

    /// Returns the price that the holder of the mailbox set, if one is set. Rereads the file when it has changed.
    ///
    /// # Errors
    /// The system's, and [`ErrorKind::InvalidData`] for a malformed line.
    pub fn of(&self, mailbox: &Address) -> io::Result<Option<u64>> {
        Ok(self.list()?.get(&mailbox.normalized()).copied())
    }

    /// Returns all prices, as [`of`](Self::of).
    pub fn list(&self) -> io::Result<Arc<PriceList>> {
        let mut slot = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let version = FileVersion::of(&self.path);
        let is_same = |read: &&Read| read.version == version && version.is_none_or(|it| it.is_settled(read.at));
        if let Some(read) = slot.as_ref().filter(is_same) {
            return Ok(Arc::clone(&read.list));
        }
        let at = clock::since_1970();
        let list = Arc::new(read(&self.path)?);
        *slot = Some(Read { version, at, list: Arc::clone(&list) });
        Ok(list)
    }
}

/// Sets the price of a mailbox, or with `None` removes it. Returns the price before.
///
/// # Errors
/// The system's; [`ErrorKind::InvalidData`] for a malformed file, which stays as it is; [`ErrorKind::TimedOut`] while
/// another process changes it.
pub fn change(path: &Path, mailbox: &Address, price: Option<u64>) -> io::Result<Option<u64>> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let lock = safe_open::file(Path::new(&name), OFlags::RDWR | OFlags::CREATE)?;
    let _lock = file_lock::lock_within(lock, WAIT)?.ok_or(ErrorKind::TimedOut)?;
    let mut list = read(path)?;
    let before = match price {
        Some(price) => list.insert(mailbox.normalized(), price),
        None => list.remove(&mailbox.normalized()),
    };
    if before != price {
        let text: String = list.iter().map(|(address, price)| format!("{price} {address}\n")).collect();
        // Prices are no secret: everyone who writes to a mailbox is told its price.
        atomic_file::replace(path, 0o644, Durability::Synced, |file| file.write_all(text.as_bytes()))?;
    }
    Ok(before)
}

fn read(path: &Path) -> io::Result<PriceList> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(PriceList::new()),
        other => other?,
    };
    let wrong = |at: usize| {
        let what = format!("line {}: not a price, a space and an address", at + 1);
        io::Error::new(ErrorKind::InvalidData, what)
    };
    text.lines().enumerate().map(|(at, line)| parse(line).ok_or_else(|| wrong(at))).collect()
}

fn parse(line: &str) -> Option<(String, u64)> {
    let (price, address) = line.split_once(' ')?;
    let is_plain = price.bytes().all(|byte| byte.is_ascii_digit());
    let price = price.parse().ok().filter(|price| is_plain && *price <= VALUE_MAX)?;
    Some((Address::parse(address).ok()?.normalized(), price))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    #[test]
    fn a_price_is_set_changed_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prices");
        let prices = Prices::new(path.clone());
        let (alice, bob) = (address("Alice@X.example"), address("bob@x.example"));
        assert_eq!(prices.of(&alice).unwrap(), None);
        assert_eq!(change(&path, &alice, Some(5)).unwrap(), None);
        assert_eq!(change(&path, &bob, Some(0)).unwrap(), None);
        assert_eq!(fs::read_to_string(&path).unwrap(), "5 alice@x.example\n0 bob@x.example\n");
        assert_eq!(prices.of(&alice).unwrap(), Some(5));
        assert_eq!(prices.of(&bob).unwrap(), Some(0));
        // In the same moment as the change before.
        assert_eq!(change(&path, &alice, Some(7)).unwrap(), Some(5));
        assert_eq!(prices.of(&address("alice@x.example")).unwrap(), Some(7));
        assert_eq!(change(&path, &alice, None).unwrap(), Some(7));
        assert_eq!(change(&path, &alice, None).unwrap(), None);
        assert_eq!(*prices.list().unwrap(), PriceList::from([("bob@x.example".to_owned(), 0)]));
    }

    #[test]
    fn a_quoted_local_part_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prices");
        for (price, text) in (1..).zip(["\"a b\"@x.example", "\"a\\\"b\"@x.example", "\"a@b\"@x.example"]) {
            assert_eq!(change(&path, &address(text), Some(price)).unwrap(), None);
            assert_eq!(Prices::new(path.clone()).of(&address(&text.to_uppercase())).unwrap(), Some(price), "{text}");
        }
    }

    #[test]
    fn a_malformed_file_makes_no_mailbox_free() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prices");
        for text in ["x", "5", "5 alice", "+5 a@x.example", "-1 a@x.example", "9007199254740992 a@x.example", "\n"] {
            fs::write(&path, text).unwrap();
            let error = Prices::new(path.clone()).of(&address("bob@x.example")).unwrap_err();
            assert!(error.to_string().starts_with("line 1: not a price"), "{text:?}: {error}");
            assert!(change(&path, &address("bob@x.example"), Some(1)).is_err());
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn changes_at_once_lose_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = &folder.path().join("prices");
        std::thread::scope(|scope| {
            for user in 0..8 {
                scope.spawn(move || change(path, &address(&format!("u{user}@x.example")), Some(user)).unwrap());
            }
        });
        assert_eq!(Prices::new(path.clone()).list().unwrap().len(), 8);
    }
}
