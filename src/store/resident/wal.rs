//! The journal of a resident process: what was decided is written here and synced once before it is answered, and goes into
//! the tables later, many rows in one commit. A commit of the database costs two syncs and as many pages as rows; a batch
//! here costs one sync and its own length.
//!
//! Two files of fixed length take turns. While the rows of one (a *generation*) are being written into the tables, the other
//! takes what comes. A generation's number is written into the table `meta` by the commit that brings its rows, so each is
//! applied once, and a file whose generation is known there is simply overwritten from its beginning: nothing is ever cut
//! off, and no length changes.
//!
//! Which log has a journal is said by its format: 2 while a generation may be missing from the tables, 1 otherwise. So a
//! program that knows of no journals refuses the log rather than miss what stands in one, and whoever opens a log of format
//! 2 first brings the tables up to date ([`recover`]).

use crate::store::decide::{Entry, SpendKey};
use crate::store::error::StoreError;
use crate::store::place::{IfMissing, SafePath};
use crate::store::redb::schema::{FORMAT, JOURNALLED, META, StampStatusRow};
use crate::store::redb::session::{Session, SessionError};
use crate::store::redb::write_batch::WriteBatch;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// The suffixes of the two files.
pub(in crate::store) const SUFFIXES: [&str; 2] = [".journal0", ".journal1"];
/// The length of a file: 1 MiB.
pub(in crate::store) const LENGTH: usize = 1 << 20;

const MAGIC: [u8; 4] = *b"msj1";
/// Magic, generation, number of the batch, length of its rows; each number with 32 bits, big endian.
const HEAD: usize = 16;
/// What is kept of the SHA-256 over all before it: vendors choose what stands in a row, and must not choose a checksum.
const SUM: usize = 16;

const USE: u8 = 1;
const STANDING: u8 = 2;

/// One of the two files.
pub trait WalFile: std::fmt::Debug + Send + Sync {
    /// All that stands in it.
    ///
    /// # Errors
    /// The system's.
    fn read(&self) -> io::Result<Vec<u8>>;
    /// Writes at an offset, within its length.
    ///
    /// # Errors
    /// The system's.
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Returns when what was written is on the disk.
    ///
    /// # Errors
    /// The system's.
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

/// The two files, while somebody writes them.
#[derive(Debug)]
pub(in crate::store) struct Wal {
    slots: [Box<dyn WalFile>; 2],
    /// The generation that is being written; its lowest bit says which file.
    generation: u32,
    batch: u32,
    end: usize,
}

impl Wal {
    /// A journal for a log whose tables are up to date. From here on the log has one, and says so.
    ///
    /// Its first generation is later than all that stand in the files. They may come from another log that was here before
    /// (a backup has been put in its place), and a recovery must not take them for its own.
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

    /// The files of a log, made in their full length if they are missing.
    pub(in crate::store) fn files(place: &SafePath) -> Result<[Box<dyn WalFile>; 2], StoreError> {
        let [one, other] = SUFFIXES.map(|suffix| -> Result<Box<dyn WalFile>, StoreError> {
            let file = place.file(suffix, IfMissing::Create)?;
            let path = place.path(suffix);
            let file = file.ok_or_else(|| StoreError::Missing { path: path.clone(), lock: path.clone() })?;
            let fail = |source| StoreError::from_io("write", &path, source);
            if file.metadata().map_err(fail)?.len() < LENGTH as u64 {
                // Written and not only lengthened: a batch must never wait for room to be found for it.
                file.write_all_at(&vec![0; LENGTH], 0).and_then(|()| file.sync_all()).map_err(fail)?;
            }
            Ok(Box::new(file))
        });
        let files = [one?, other?];
        place.sync()?;
        Ok(files)
    }

    /// Which generation is being written.
    pub(in crate::store) fn generation(&self) -> u32 {
        self.generation
    }

    /// Whether the generation holds nothing.
    pub(in crate::store) fn is_empty(&self) -> bool {
        self.batch == 0
    }

    /// Whether the batch goes into the file of this generation beside what is there.
    pub(in crate::store) fn has_room(&self, batch: &Record) -> bool {
        self.end + batch.length() <= LENGTH
    }

    /// Writes a batch, durably. After an error nothing is known of it, and the journal must be left to [`recover`].
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

    /// Begins the next generation, in the other file. What stood there must be in the tables.
    pub(in crate::store) fn rotate(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        (self.batch, self.end) = (0, 0);
    }
}

/// Rows as they stand in a batch.
#[derive(Debug)]
pub(in crate::store) struct Record(Vec<u8>);

impl Record {
    /// Bytes that it takes in a file.
    fn length(&self) -> usize {
        HEAD + self.0.len() + SUM
    }

    /// Whether a file that holds nothing else has room for it.
    pub(in crate::store) fn fits(&self) -> bool {
        self.length() <= LENGTH
    }

    pub(in crate::store) fn of(rows: &WriteBatch) -> Result<Self, SessionError> {
        let mut bytes = Vec::with_capacity(rows.len() * 42);
        for (key, entry) in rows.used() {
            bytes.push(USE);
            bytes.extend(key);
            bytes.extend(entry.to_bytes());
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

/// Brings the tables up to date with a journal that was left, in one commit, and makes the log one without a journal.
pub(in crate::store) fn recover(session: &Session, slots: [Option<Box<dyn WalFile>>; 2]) -> Result<(), SessionError> {
    let applied = applied(session)?;
    let mut generations = Vec::new();
    for slot in slots {
        let slot = slot.ok_or_else(|| SessionError::damaged(&"its journal is gone"))?;
        generations.extend(read(&slot.read().map_err(redb::Error::Io)?)?);
    }
    // What is in the tables already stays as it is there: rows may have changed since.
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

/// The recovery of a log in a folder, if its format says that it has a journal.
pub(in crate::store) fn recover_if_needed(session: &Session, place: &SafePath) -> Result<(), SessionError> {
    if !exists(session)? {
        return Ok(());
    }
    let [one, other] = SUFFIXES.map(|suffix| place.file(suffix, IfMissing::Ignore));
    let slot = |file: Option<File>| file.map(|file| Box::new(file) as Box<dyn WalFile>);
    recover(session, [slot(one?), slot(other?)])
}

/// The last generation that is in the tables.
fn applied(session: &Session) -> Result<u32, SessionError> {
    Ok(session.read()?.open_table(META)?.get("journal")?.map_or(0, |generation| generation.value()))
}

/// Whether a log has a journal, as its format says.
pub(in crate::store) fn exists(session: &Session) -> Result<bool, SessionError> {
    Ok(session.read()?.open_table(META)?.get("format")?.is_some_and(|format| format.value() == JOURNALLED))
}

/// The generation that stands in a file, with its rows: every batch from the first on that is whole. What follows is the
/// rest of an older generation, or a batch that nobody was told of.
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

/// The batch at the beginning, if it is whole: generation, number, rows, and what follows.
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
    let wrong = || SessionError::damaged(&"a batch of its journal holds what is no row");
    while let Some((kind, rest)) = body.split_first() {
        match *kind {
            USE => {
                let (key, rest) = rest.split_first_chunk::<{ size_of::<SpendKey>() }>().ok_or_else(wrong)?;
                let (entry, rest) = rest.split_first_chunk::<21>().ok_or_else(wrong)?;
                rows.put_used(*key, Entry::from_bytes(entry));
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
