//! Write-ahead log (WAL) of the resident store, in its files `.journal0` and `.journal1`. A batch is written here and
//! synced once before it is answered. Its rows go into the tables later, many in one commit. A commit of the database
//! costs two syncs and as many pages as rows. A batch here costs one sync and its own length.
//!
//! - Two files of fixed length alternate. While the rows of one (a *generation*) are flushed into the tables, the other
//!   takes new rows.
//! - The commit that flushes a generation writes its number into the table `meta`, so each is applied once.
//! - A file whose generation is in the tables is overwritten from its beginning. No file is truncated, and no length
//!   changes.
//! - The log's format records whether it has a WAL: 4 while a generation may be missing from the tables, 3 otherwise.
//!   So a program without WAL support refuses the log rather than miss rows. A process that opens a log of format 4
//!   first recovers it ([`recover`]).

use crate::os::safe_dir::{IfMissing, SafePath};
use crate::store::decide::{Entry, SpendKey};
use crate::store::error::StoreError;
use crate::store::redb::schema::{FORMAT, JOURNALLED, META, StampStatusRow};
use crate::store::redb::session::{Session, SessionError};
use crate::store::redb::write_batch::WriteBatch;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// The suffixes of the two files.
pub(in crate::store) const SUFFIXES: [&str; 2] = [".journal0", ".journal1"];
/// The length of each file: 1 MiB.
pub(in crate::store) const LENGTH: usize = 1 << 20;

const MAGIC: [u8; 4] = *b"msj2";
/// Bytes of a batch header: magic, generation, number of the batch, length of its rows; each number has 32 bits, big
/// endian.
const HEAD: usize = 16;
/// Bytes kept of the SHA-256 over all before it. Vendors choose the content of a row, and must not choose a checksum.
const SUM: usize = 16;

const USE: u8 = 1;
const STANDING: u8 = 2;

/// One of the two files.
pub trait WalFile: std::fmt::Debug + Send + Sync {
    /// Reads the whole file.
    fn read(&self) -> io::Result<Vec<u8>>;
    /// Writes at an offset, within its length.
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Returns when all writes are on the disk.
    fn sync(&self) -> io::Result<()>;
}

impl WalFile for File {
    fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; LENGTH];
        let mut filled = 0;
        while filled < LENGTH {
            match self.read_at(&mut bytes[filled..], filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// The two files, while they are being written.
#[derive(Debug)]
pub(in crate::store) struct Wal {
    slots: [Box<dyn WalFile>; 2],
    /// The generation that is being written; its lowest bit selects the file.
    generation: u32,
    batch: u32,
    end: usize,
}

impl Wal {
    /// Starts a WAL for a log whose tables are up to date, and records it in the log's format.
    ///
    /// The first generation is later than all in the files. Those may belong to an earlier log at this path, if a
    /// backup has replaced it, and a recovery must not apply them.
    pub(in crate::store) fn begin(session: &Session, slots: [Box<dyn WalFile>; 2]) -> Result<Self, SessionError> {
        let mut last = applied(session)?;
        for slot in &slots {
            let bytes = slot.read().map_err(redb::Error::Io)?;
            last = batch(&bytes).map_or(last, |(generation, ..)| last.max(generation));
        }
        session.write(|tx| {
            let mut meta = tx.open_table(META)?;
            meta.insert("journal", last)?;
            meta.insert("format", JOURNALLED)?;
            Ok(())
        })?;
        Ok(Self { slots, generation: last.wrapping_add(1), batch: 0, end: 0 })
    }

    /// Opens the files of a log, and creates missing ones in full length.
    pub(in crate::store) fn files(place: &SafePath) -> Result<[Box<dyn WalFile>; 2], StoreError> {
        let [one, other] = SUFFIXES.map(|suffix| -> Result<Box<dyn WalFile>, StoreError> {
            let file = place.file(suffix, IfMissing::Create)?;
            let path = place.path(suffix);
            let file = file.ok_or_else(|| StoreError::Missing { path: path.clone(), lock: path.clone() })?;
            let fail = |source| StoreError::from_io("write", &path, source);
            if file.metadata().map_err(fail)?.len() < LENGTH as u64 {
                // Written, not only lengthened: a batch must never wait for the allocation of disk space.
                file.write_all_at(&vec![0; LENGTH], 0).and_then(|()| file.sync_all()).map_err(fail)?;
            }
            Ok(Box::new(file))
        });
        let files = [one?, other?];
        place.sync()?;
        Ok(files)
    }

    /// The generation that is being written.
    pub(in crate::store) fn generation(&self) -> u32 {
        self.generation
    }

    /// Whether the generation has no batch.
    pub(in crate::store) fn is_empty(&self) -> bool {
        self.batch == 0
    }

    /// Whether the current file has room for the batch.
    pub(in crate::store) fn has_room(&self, batch: &Record) -> bool {
        self.end + batch.length() <= LENGTH
    }

    /// Writes a batch, durably.
    /// After an error the state of the batch is unknown, and the WAL must be left to [`recover`].
    pub(in crate::store) fn append(&mut self, batch: &Record) -> io::Result<()> {
        let length = u32::try_from(batch.0.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut bytes = Vec::with_capacity(HEAD + batch.0.len() + SUM);
        bytes.extend(MAGIC);
        for number in [self.generation, self.batch, length] {
            bytes.extend(number.to_be_bytes());
        }
        bytes.extend(&batch.0);
        let sum = Sha256::digest(&bytes);
        bytes.extend(&sum[..SUM]);
        let slot = &self.slots[(self.generation & 1) as usize];
        slot.write(self.end as u64, &bytes)?;
        slot.sync()?;
        self.end += bytes.len();
        self.batch += 1;
        Ok(())
    }

    /// Begins the next generation, in the other file.
    /// The rows there must be in the tables.
    pub(in crate::store) fn rotate(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        (self.batch, self.end) = (0, 0);
    }
}

/// The rows of a batch, encoded.
#[derive(Debug)]
pub(in crate::store) struct Record(Vec<u8>);

impl Record {
    /// Bytes that it takes in a file.
    fn length(&self) -> usize {
        HEAD + self.0.len() + SUM
    }

    /// Whether an empty file has room for it.
    pub(in crate::store) fn fits(&self) -> bool {
        self.length() <= LENGTH
    }

    pub(in crate::store) fn of(rows: &WriteBatch) -> Result<Self, SessionError> {
        let mut bytes = Vec::with_capacity(rows.len() * 43);
        for (key, entry) in rows.used() {
            bytes.push(USE);
            bytes.extend(key);
            let row = entry.to_row();
            bytes.push(u8::try_from(row.as_bytes().len()).unwrap_or_default());
            bytes.extend(row.as_bytes());
        }
        for row in rows.standings() {
            let json = row.to_bytes()?;
            let length = u32::try_from(json.len()).map_err(|error| SessionError::damaged(&error))?;
            bytes.push(STANDING);
            bytes.extend(length.to_be_bytes());
            bytes.extend(json);
        }
        Ok(Self(bytes))
    }
}

/// Applies a left WAL to the tables in one commit, and removes the WAL from the log's format.
pub(in crate::store) fn recover(session: &Session, slots: [Option<Box<dyn WalFile>>; 2]) -> Result<(), SessionError> {
    let applied = applied(session)?;
    let mut generations = Vec::new();
    for slot in slots {
        let slot = slot.ok_or_else(|| SessionError::damaged(&"a journal file is missing"))?;
        generations.extend(read(&slot.read().map_err(redb::Error::Io)?)?);
    }
    // Generations in the tables are not applied again: their rows may have changed since.
    generations.retain(|(generation, _)| *generation > applied);
    generations.sort_unstable_by_key(|(generation, _)| *generation);
    session.write(|tx| {
        let mut last = applied;
        for (generation, rows) in &generations {
            rows.apply(tx)?;
            last = *generation;
        }
        let mut meta = tx.open_table(META)?;
        meta.insert("journal", last)?;
        meta.insert("format", FORMAT)?;
        Ok(())
    })
}

/// Recovers a log in a folder, if its format records a WAL.
pub(in crate::store) fn recover_if_needed(session: &Session, place: &SafePath) -> Result<(), SessionError> {
    if !exists(session)? {
        return Ok(());
    }
    let [one, other] = SUFFIXES.map(|suffix| place.file(suffix, IfMissing::Ignore));
    let slot = |file: Option<File>| file.map(|file| Box::new(file) as Box<dyn WalFile>);
    recover(session, [slot(one?), slot(other?)])
}

/// Returns the last generation in the tables.
fn applied(session: &Session) -> Result<u32, SessionError> {
    Ok(session.read()?.open_table(META)?.get("journal")?.map_or(0, |generation| generation.value()))
}

/// Whether the log's format records a WAL.
pub(in crate::store) fn exists(session: &Session) -> Result<bool, SessionError> {
    Ok(session.read()?.open_table(META)?.get("format")?.is_some_and(|format| format.value() == JOURNALLED))
}

/// Reads the generation in a file, with the rows of every complete batch from the first on.
/// What follows is the rest of an older generation, or a batch that was never answered.
fn read(bytes: &[u8]) -> Result<Option<(u32, WriteBatch)>, SessionError> {
    let (mut rest, mut found): (_, Option<(u32, WriteBatch)>) = (bytes, None);
    for expected in 0.. {
        let Some((generation, number, body, after)) = batch(rest) else { break };
        if number != expected || found.as_ref().is_some_and(|(known, _)| *known != generation) {
            break;
        }
        replay_record(body, &mut found.get_or_insert((generation, WriteBatch::default())).1)?;
        rest = after;
    }
    Ok(found)
}

/// Reads the batch at the beginning, if it is complete: generation, number, rows, and the bytes after it.
fn batch(bytes: &[u8]) -> Option<(u32, u32, &[u8], &[u8])> {
    let number = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let length = usize::try_from(number(12)?).ok()?;
    let whole = bytes.get(..HEAD.checked_add(length)?)?;
    let sum = bytes.get(whole.len()..whole.len() + SUM)?;
    let sound = whole.starts_with(&MAGIC) && Sha256::digest(whole).starts_with(sum);
    sound
        .then(|| (number(4), number(8)))
        .and_then(|(generation, batch)| Some((generation?, batch?, &whole[HEAD..], &bytes[whole.len() + SUM..])))
}

fn replay_record(mut body: &[u8], rows: &mut WriteBatch) -> Result<(), SessionError> {
    let wrong = || SessionError::damaged(&"a batch of the journal has an invalid row");
    while let Some((kind, rest)) = body.split_first() {
        match *kind {
            USE => {
                let (key, rest) = rest.split_first_chunk::<{ size_of::<SpendKey>() }>().ok_or_else(wrong)?;
                let (length, rest) = rest.split_first().ok_or_else(wrong)?;
                let (row, rest) = rest.split_at_checked(usize::from(*length)).ok_or_else(wrong)?;
                rows.put_used(*key, Entry::from_row(row).ok_or_else(wrong)?);
                body = rest;
            }
            STANDING => {
                let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(wrong)?;
                let length = u32::from_be_bytes(*length) as usize;
                let json = rest.get(..length).ok_or_else(wrong)?;
                rows.put_standing(StampStatusRow::from_bytes(json)?)?;
                body = &rest[length..];
            }
            _ => return Err(wrong()),
        }
    }
    Ok(())
}
