//! A public log in a folder, made with the library's parts as a vendor would, honest or not.

use data_encoding::BASE64URL_NOPAD;
use mailstamp::directory::document::{LogEntry, VendorEntry};
use mailstamp::directory::publish::{self, Changes};
use mailstamp::directory::signing_key::SigningKey;
use mailstamp::stamp::serial::Serial;
use mailstamp::time::UnixTime;
use mailstamp::transparency::checkpoint::Checkpoint;
use mailstamp::transparency::leaf::{self, Leaf, LeafKind};
use mailstamp::transparency::merkle::Appender;
use mailstamp::transparency::note::{Note, NoteKey};
use mailstamp::transparency::origin;
use mailstamp::transparency::tile::Tile;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The vendor of these logs.
pub const VENDOR: &str = "stamps.example";

/// A log whose files are in a folder.
pub struct LogFolder {
    _folder: TempDir,
    path: PathBuf,
    key: NoteKey,
    leaves: Vec<Leaf>,
    /// Entries of another form, behind the leaves.
    unknown: Vec<Vec<u8>>,
}

impl LogFolder {
    /// An empty log.
    pub fn new() -> Self {
        Self::with_key(7)
    }

    /// An empty log with the key of this seed.
    pub fn with_key(seed: u8) -> Self {
        let key = NoteKey::from_random(&origin(VENDOR), &[seed; 32]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        Self { path: folder.path().join("log"), _folder: folder, key, leaves: Vec::new(), unknown: Vec::new() }
    }

    /// The same log in another folder, as it is now.
    pub fn copy(&self) -> Self {
        let mut copy = Self::new();
        copy.leaves.clone_from(&self.leaves);
        copy.write();
        copy
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds leaves of a day: kind, serial and value.
    pub fn add_day(&mut self, day: u32, leaves: impl IntoIterator<Item = (LeafKind, String, u64)>) {
        let leaves = leaves.into_iter().map(|(kind, serial, value)| {
            let subject = leaf::stamp(VENDOR, &serial);
            Leaf { kind, subject, value, day }
        });
        let mut leaves: Vec<Leaf> = leaves.collect();
        leaves.sort_by_key(Leaf::to_bytes);
        self.leaves.extend(leaves);
    }

    /// Adds an entry of a form that does not exist yet.
    pub fn add_unknown(&mut self) {
        self.unknown.push(b"later".to_vec());
    }

    /// Writes its head with these lines of witnesses.
    pub fn cosign(&self, lines: &[String]) {
        fs::write(self.path().join("checkpoint"), format!("{}{}", self.head(), lines.concat())).unwrap();
    }

    /// Signs a head with a size that no log has.
    pub fn sign_size(&self, size: u64) {
        let head = Checkpoint { origin: origin(VENDOR), size, root: [7; 32] };
        fs::write(self.path().join("checkpoint"), self.key.sign(&head.to_string()).to_string()).unwrap();
    }

    /// Writes all files.
    pub fn write(&self) {
        let mut write = |tile: Tile, bytes: &[u8]| -> io::Result<()> {
            let path = self.path().join(tile.to_string());
            fs::create_dir_all(path.parent().unwrap())?;
            fs::write(path, bytes)
        };
        let mut tree = Appender::default();
        for entry in self.entries() {
            tree.push(&entry, &mut write).unwrap();
        }
        tree.finish(&mut write).unwrap();
        fs::write(self.path().join("checkpoint"), self.head().to_string()).unwrap();
    }

    fn entries(&self) -> impl Iterator<Item = Vec<u8>> {
        self.leaves.iter().map(|leaf| leaf.to_bytes().to_vec()).chain(self.unknown.iter().cloned())
    }

    /// The signed head.
    pub fn head(&self) -> Note {
        let mut tree = Appender::default();
        for entry in self.entries() {
            tree.add(&entry);
        }
        let head = Checkpoint { origin: origin(VENDOR), size: tree.size(), root: tree.root() };
        self.key.sign(&head.to_string())
    }

    /// The public key.
    pub fn vkey(&self) -> String {
        self.key.verifier().to_string()
    }

    /// The line of `trust head` for another log's head.
    pub fn line_of(&self, other: &Self) -> String {
        format!("{VENDOR} {}", BASE64URL_NOPAD.encode(other.head().to_string().as_bytes()))
    }
}

/// The serial of a stamp that was sold at this time.
pub fn serial(at: UnixTime, number: u32) -> String {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&u32::try_from(at.0).unwrap().to_be_bytes());
    bytes[12..].copy_from_slice(&number.to_be_bytes());
    Serial::from_random(bytes).as_str().to_owned()
}

/// The vendor's directory after this one, signed with this key, which names the log's head and a shop.
pub fn directory(key: &Path, log: &LogFolder, last: Option<&str>, shop: &str) -> String {
    let signer = SigningKey::read(key).unwrap();
    let entry = LogEntry { vkey: log.vkey(), checkpoint: log.head().to_string() };
    let own = VendorEntry { vendor: VENDOR.to_owned(), log: Some(Box::new(entry)), ..VendorEntry::default() };
    let now = UnixTime(1_790_000_000);
    let end = UnixTime(4_000_000_000);
    let last = last.map(|last| publish::read(last).unwrap());
    let changes = Changes { ledger: Some(own), buy: Some(shop.to_owned()), ..Changes::default() };
    publish::next(last, &[&signer], &changes, now, end).unwrap().document
}
