//! Files of the public log in the folder that is published: tiles, entry bundles, and the checkpoint.
//!
//! A tile is replaced in one step and not synced: the checkpoint that needs it is written after the whole file system
//! was synced, and without it the tile is written again.

use super::error::PublicLogError;
use crate::config::file;
use crate::directory::public_log::place;
use crate::ledger::error::LedgerError;
use crate::ledger::files::failed;
use crate::os::{self, atomic_file, atomic_file::Durability};
use crate::transparency::merkle::{self, Appender, Node};
use crate::transparency::note::{self, Note, VerifierKey};
use crate::transparency::reader::{BUNDLE, LogError, Source, SourceError, VerifiedLog};
use crate::transparency::tile::{Level, Tile};
use crate::transparency::{self, checkpoint::Checkpoint};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The folder of a log.
#[derive(Clone, Debug)]
pub struct LogFolder {
    path: PathBuf,
}

impl LogFolder {
    /// Returns the log below a folder that a web server publishes.
    #[must_use]
    pub fn below(public: &Path) -> Self {
        Self { path: public.join(transparency::PATH) }
    }

    /// Returns the log in this folder.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the path of its checkpoint.
    #[must_use]
    pub fn checkpoint_path(&self) -> PathBuf {
        self.path.join("checkpoint")
    }

    /// Reads the checkpoint of this key; `None` if there is none.
    pub(super) fn checkpoint(&self, key: &VerifierKey) -> Result<Option<(Note, Checkpoint)>, LedgerError> {
        let path = self.checkpoint_path();
        let text = match file::read_up_to(&path, note::LONGEST as u64) {
            Ok(text) => text,
            Err(error) if error.is_absent() => return Ok(None),
            Err(error) => return Err(failed("read", &path, io::Error::other(error.kind))),
        };
        let opened = text.parse::<Note>().map_err(Into::into);
        let opened = opened.and_then(|note| Checkpoint::open(&note, key).map(|checkpoint| (note, checkpoint)));
        opened.map(Some).map_err(|problem| PublicLogError::Checkpoint { path, problem }.into())
    }

    /// Opens the files of this checkpoint; each is verified when it is read.
    pub(super) fn open(&self, checkpoint: &Checkpoint) -> Result<VerifiedLog<&Self>, PublicLogError> {
        VerifiedLog::open(self, checkpoint.size, &checkpoint.root).map_err(PublicLogError::files(self.path.clone()))
    }

    /// Builds the tree of this checkpoint anew from its entries, which are verified, and hands each file of it to `write`.
    pub(super) fn rebuild(
        &self,
        checkpoint: &Checkpoint,
        write: &mut impl FnMut(Tile, &[u8]) -> Result<(), LedgerError>,
    ) -> Result<(), LedgerError> {
        let mut log = self.open(checkpoint)?;
        let mut tree = Appender::default();
        for index in 0..log.bundles() {
            for entry in log.bundle(index).map_err(PublicLogError::files(self.path.clone()))? {
                tree.push(&entry, write)?;
            }
        }
        tree.finish(write)
    }

    /// Returns the tree of this checkpoint, to be continued.
    pub(super) fn tree(&self, checkpoint: &Checkpoint) -> Result<Appender, PublicLogError> {
        let damaged = |problem: &dyn ToString| PublicLogError::damaged(self.path.clone(), &problem.to_string());
        let get = |tile: Tile| {
            let path = tile.to_string();
            self.get(&path, BUNDLE).map_err(|problem| damaged(&LogError::Read { path, problem }))
        };
        let size = checkpoint.size;
        let mut levels: Vec<Vec<Node>> = Vec::new();
        for level in 0..merkle::levels(size) {
            let bytes = merkle::edge(size, level).map(get).transpose()?.unwrap_or_default();
            levels.push(bytes.as_chunks().0.to_vec());
        }
        let bundle = merkle::last_bundle(size).map(get).transpose()?.unwrap_or_default();
        let tree = Appender::resume(size, levels, bundle).map_err(|problem| damaged(&problem))?;
        if tree.root() == checkpoint.root { Ok(tree) } else { Err(damaged(&LogError::Root { size })) }
    }

    /// Writes one file of the tree.
    pub(super) fn write(&self, tile: Tile, bytes: &[u8]) -> Result<(), LedgerError> {
        let path = self.path.join(tile.to_string());
        let replace = || atomic_file::replace(&path, 0o644, Durability::Cached, |file| file.write_all(bytes));
        let written = match replace() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(os::above(&path)).and_then(|()| replace())
            }
            other => other,
        };
        written.map_err(|source| failed("write", &path, source))
    }

    /// Writes the checkpoint, after all files of the tree are on the disk.
    pub(super) fn write_checkpoint(&self, note: &Note) -> Result<(), LedgerError> {
        fs::create_dir_all(&self.path)
            .and_then(|()| os::sync_file_system(&self.path))
            .map_err(|source| failed("write", &self.checkpoint_path(), source))?;
        self.replace_checkpoint(note)
    }

    /// Writes the checkpoint of files that are on the disk.
    pub(super) fn replace_checkpoint(&self, note: &Note) -> Result<(), LedgerError> {
        let (path, text) = (self.checkpoint_path(), note.to_string());
        atomic_file::replace(&path, 0o644, Durability::Synced, |file| file.write_all(text.as_bytes()))
            .map_err(|source| failed("write", &path, source))
    }
}

impl Source for LogFolder {
    fn get(&self, path: &str, longest: usize) -> Result<Vec<u8>, SourceError> {
        place::read(&self.path.join(path), longest)
    }
}

/// File of a log, as a web server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile {
    pub bytes: Vec<u8>,
    /// Whether it never changes.
    pub is_final: bool,
}

impl LogFolder {
    /// Reads a file by its path in the log; `None` for any path that no file of a log has, and for a missing file.
    ///
    /// # Errors
    /// The system's.
    pub fn file(&self, path: &str) -> io::Result<Option<LogFile>> {
        let (longest, is_final) = match Tile::parse(path) {
            Some(Tile { level: Level::Entries, .. }) => (BUNDLE, true),
            Some(_) => (32 * usize::from(transparency::tile::WIDTH), true),
            None if path == "checkpoint" => (note::LONGEST, false),
            None => return Ok(None),
        };
        match self.get(path, longest) {
            Ok(bytes) => Ok(Some(LogFile { bytes, is_final })),
            Err(SourceError::Absent) => Ok(None),
            Err(error) => Err(io::Error::other(error)),
        }
    }
}
