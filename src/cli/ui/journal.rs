//! Journal of `mailstamp setup`: what it changed, so that `setup --undo` restores the bytes that were there before.
//!
//! - The journal is on the disk before the first file is changed. A setup that is killed has changed nothing, or can be
//!   undone.
//! - A file is replaced whole, with its mode. Only the user's own files are touched.
//! - A file that was edited since is not restored: only a block that this program wrote is taken out of it.
//! - One process changes files at a time. What it was going to change is looked at again before the journal is written.

use super::exit_status::{CANNOT_CREATE, DATA, Failure, TEMPFAIL};
use super::marked_block;
use crate::os::atomic_file::{self, Durability};
use crate::os::{self, file_lock, safe_open};
use data_encoding::BASE64;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The journal in the folder of the state.
const NAME: &str = "setup.json";
/// Held while files are changed; it has the holder's process ID.
const LOCK: &str = "setup.lock";
/// Longest file that is changed, in bytes.
const LONGEST: u64 = 1 << 20;

/// A file of the user, before a change.
#[derive(Clone, Debug)]
pub struct UserFile {
    /// Its path, with links followed.
    pub path: PathBuf,
    /// Its bytes; `None` if there is none.
    pub bytes: Option<Vec<u8>>,
    /// Its mode and its group; those of a new file are the caller's.
    mode: Option<(u32, u32)>,
}

/// A change of one file.
#[derive(Clone, Debug)]
pub struct Change {
    pub file: UserFile,
    pub after: Vec<u8>,
    /// Mode of the file if it is new.
    pub new_mode: u32,
    /// The block that the change puts into the file.
    pub block: Option<Vec<u8>>,
}

/// What stands in the journal.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Journal {
    entries: Vec<Entry>,
    /// Folders that were created, the outer ones first.
    folders: Vec<PathBuf>,
}

/// A changed file. Bytes are in base64.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry {
    path: PathBuf,
    before: Option<String>,
    after: String,
    mode: u32,
    /// The blocks that were written into the file, the last one first.
    blocks: Vec<String>,
}

/// What became of a file in an undo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undone {
    Restored,
    Removed,
    /// It was edited, and its block was taken out.
    BlockRemoved,
    /// It was as before.
    Unchanged,
    /// It was edited, and is left as it is.
    Left,
}

impl UserFile {
    /// Reads a file of the user. A link is followed, if it and the file are the user's.
    ///
    /// # Errors
    /// A failure that says why the file is not to be changed.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let fail = |what: String| Failure::new(DATA, format!("{}: {what}", path.display()));
        let own = rustix::process::geteuid().as_raw();
        let resolved = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(Self { path: path.to_owned(), bytes: None, mode: None });
            }
            Err(error) => return Err(fail(error.to_string())),
            Ok(found) if found.is_symlink() && found.uid() != own => {
                return Err(fail(format!("a link of user {}, and you are user {own}", found.uid())));
            }
            Ok(found) if found.is_symlink() => fs::canonicalize(path).map_err(|error| fail(error.to_string()))?,
            Ok(_) => path.to_owned(),
        };
        let file = safe_open::regular_file(&resolved).map_err(|error| fail(error.to_string()))?;
        let metadata = file.metadata().map_err(|error| fail(error.to_string()))?;
        if metadata.uid() != own {
            return Err(fail(format!("belongs to user {}, and you are user {own}", metadata.uid())));
        }
        if metadata.nlink() > 1 {
            return Err(fail(format!("has {} hard links, expected 1", metadata.nlink())));
        }
        let folder = fs::metadata(os::above(&resolved)).map_err(|error| fail(error.to_string()))?;
        if (folder.uid() != own && folder.uid() != 0) || folder.mode() & 0o002 != 0 {
            return Err(fail("other users may change its folder".to_owned()));
        }
        let mut bytes = Vec::new();
        file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(|error| fail(error.to_string()))?;
        if bytes.len() as u64 > LONGEST {
            return Err(fail(format!("longer than {} KiB", LONGEST >> 10)));
        }
        Ok(Self { path: resolved, bytes: Some(bytes), mode: Some((metadata.mode() & 0o7777, metadata.gid())) })
    }

    /// Replaces the file with these bytes; it keeps its mode. `None` removes it.
    fn write(&self, bytes: Option<&[u8]>, new_mode: u32) -> io::Result<()> {
        let Some(bytes) = bytes else {
            fs::remove_file(&self.path)?;
            return os::sync_folder(os::above(&self.path));
        };
        let (mode, group) = self.mode.map_or((new_mode, None), |(mode, group)| (mode, Some(group)));
        atomic_file::replace(&self.path, 0o600, Durability::Synced, |file: &mut File| {
            file.write_all(bytes)?;
            if let Some(group) = group.filter(|group| file.metadata().is_ok_and(|it| it.gid() != *group)) {
                // A user may be out of the group by now; the owner and the mode are what programs look at.
                let _ = rustix::fs::fchown(file.as_fd(), None, Some(rustix::fs::Gid::from_raw(group)));
            }
            file.set_permissions(fs::Permissions::from_mode(mode))
        })
    }
}

/// Makes the changes, and notes before how to undo them.
///
/// # Errors
/// A failure. Some of the changes may be made then; `setup --undo` takes them back, and another setup goes on. None is
/// made, and the journal stays as it is, if another process has the lock or a file is not as it was planned with.
pub fn apply(state: &Path, changes: &[Change]) -> Result<(), Failure> {
    os::make_folder(state, 0o700).map_err(|error| cannot(state, &error))?;
    let _lock = lock(state)?;
    sweep(&state.join(NAME));
    for change in changes {
        change.check()?;
    }
    let mut journal = Journal::read(state)?;
    for change in changes {
        journal.add(change);
        journal.add_folders(os::above(&change.file.path));
    }
    journal.write(state)?;
    for change in changes {
        sweep(&change.file.path);
        let file = change.check()?;
        os::make_folder(os::above(&file.path), 0o700).map_err(|error| cannot(os::above(&file.path), &error))?;
        file.write(Some(&change.after), change.new_mode).map_err(|error| cannot(&file.path, &error))?;
    }
    Ok(())
}

/// Takes back what setup changed, the last change first. Calls `told` with each file.
///
/// # Errors
/// A failure; another call goes on.
pub fn undo(state: &Path, told: &mut dyn FnMut(&Path, Undone)) -> Result<bool, Failure> {
    if [LOCK, NAME].iter().all(|name| !state.join(name).exists()) {
        return Ok(false);
    }
    let _lock = lock(state)?;
    if !state.join(NAME).exists() {
        return Ok(false);
    }
    sweep(&state.join(NAME));
    let mut journal = Journal::read(state)?;
    let mut left = Vec::new();
    for entry in std::mem::take(&mut journal.entries).into_iter().rev() {
        let undone = entry.undo()?;
        told(&entry.path, undone);
        if undone == Undone::Left {
            left.insert(0, entry);
        }
    }
    if left.is_empty() {
        for folder in journal.folders.iter().rev() {
            // It stays if the user put something else into it.
            let _ = fs::remove_dir(folder);
        }
        let path = state.join(NAME);
        fs::remove_file(&path).and_then(|()| os::sync_folder(state)).map_err(|error| cannot(&path, &error))?;
    } else {
        journal.entries = left;
        journal.write(state)?;
    }
    Ok(true)
}

/// Returns the files that a setup that was cut off had yet to change, or an undo had yet to restore.
pub fn unfinished(state: &Path) -> Vec<PathBuf> {
    let Ok(journal) = Journal::read(state) else { return Vec::new() };
    let as_before = |entry: &&Entry| {
        let now = UserFile::read(&entry.path).ok().map(|file| file.bytes);
        now.is_some_and(|now| now == entry.before() && now != Some(entry.after()))
    };
    journal.entries.iter().filter(as_before).map(|entry| entry.path.clone()).collect()
}

impl Journal {
    fn read(state: &Path) -> Result<Self, Failure> {
        let path = state.join(NAME);
        let text = match safe_open::regular_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            other => other.and_then(io::read_to_string).map_err(|error| cannot(&path, &error))?,
        };
        serde_json::from_str(&text).map_err(|error| Failure::new(DATA, format!("{}: {error}", path.display())))
    }

    fn write(&self, state: &Path) -> Result<(), Failure> {
        let path = state.join(NAME);
        let text = serde_json::to_vec_pretty(self).map_err(|error| Failure::new(DATA, error))?;
        atomic_file::replace(&path, 0o600, Durability::Synced, |file| file.write_all(&text))
            .map_err(|error| cannot(&path, &error))
    }

    fn add(&mut self, change: &Change) {
        let now = change.file.bytes.clone();
        let known = self.entries.iter().position(|entry| entry.path == change.file.path);
        let mut blocks: Vec<String> = change.block.iter().map(|block| BASE64.encode(block)).collect();
        let mut before = now.clone();
        if let Some(known) = known.map(|at| self.entries.remove(at)) {
            // What the file was before the first change, unless it was edited since.
            before = match &now {
                Some(bytes) if *bytes == known.after() => known.before(),
                Some(bytes) => known.without_block(bytes).or(now.clone()),
                None => None,
            };
            blocks.extend(known.blocks.into_iter().filter(|block| !change.block_is(block)));
        }
        self.entries.push(Entry {
            path: change.file.path.clone(),
            before: before.map(|bytes| BASE64.encode(&bytes)),
            after: BASE64.encode(&change.after),
            mode: change.file.mode.map_or(change.new_mode, |(mode, _)| mode),
            blocks,
        });
    }

    /// Notes the folders that are missing on the way to this one.
    fn add_folders(&mut self, folder: &Path) {
        let missing: Vec<&Path> = folder.ancestors().take_while(|folder| !folder.exists()).collect();
        for folder in missing.into_iter().rev().filter(|folder| !folder.as_os_str().is_empty()) {
            if !self.folders.iter().any(|known| known == folder) {
                self.folders.push(folder.to_owned());
            }
        }
    }
}

impl Change {
    /// Returns the file as it is now, if that is how the change was planned.
    fn check(&self) -> Result<UserFile, Failure> {
        let file = UserFile::read(&self.file.path)?;
        if file.bytes == self.file.bytes {
            return Ok(file);
        }
        Err(Failure::new(DATA, format!("{}: was changed meanwhile", file.path.display()))
            .hint("run mailstamp setup again"))
    }

    fn block_is(&self, encoded: &str) -> bool {
        self.block.as_ref().is_some_and(|block| BASE64.encode(block) == encoded)
    }
}

impl Entry {
    fn before(&self) -> Option<Vec<u8>> {
        self.before.as_ref().map(|text| decoded(text))
    }

    fn after(&self) -> Vec<u8> {
        decoded(&self.after)
    }

    /// Returns the file without the block that this program wrote; `None` if it has none that is intact.
    fn without_block(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        self.blocks.iter().find_map(|block| marked_block::without(bytes, &decoded(block)))
    }

    fn undo(&self) -> Result<Undone, Failure> {
        sweep(&self.path);
        let file = UserFile::read(&self.path)?;
        let (before, now) = (self.before(), file.bytes.clone());
        let (wanted, undone) = match &now {
            now if *now == before => return Ok(Undone::Unchanged),
            // The user removed it.
            None => return Ok(Undone::Unchanged),
            Some(bytes) if *bytes == self.after() => {
                let undone = if before.is_some() { Undone::Restored } else { Undone::Removed };
                (before, undone)
            }
            Some(bytes) => match self.without_block(bytes) {
                Some(rest) if rest.is_empty() && before.is_none() => (None, Undone::Removed),
                Some(rest) => (Some(rest), Undone::BlockRemoved),
                // The user took the block out.
                None if !self.blocks.is_empty() && !marked_block::is_in(bytes) => return Ok(Undone::Unchanged),
                None => return Ok(Undone::Left),
            },
        };
        file.write(wanted.as_deref(), self.mode).map_err(|error| cannot(&self.path, &error))?;
        Ok(undone)
    }
}

/// Removes what a killed setup left beside a file. The caller has the lock.
fn sweep(path: &Path) {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return };
    for entry in fs::read_dir(os::above(path)).into_iter().flatten().flatten() {
        if entry.file_name().to_str().and_then(atomic_file::replaced_by) == Some(name) {
            // It does no harm if it stays.
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn decoded(text: &str) -> Vec<u8> {
    BASE64.decode(text.as_bytes()).unwrap_or_default()
}

/// The lock. It is free again when this is dropped.
struct Lock(File);

/// Takes the lock. Waiting would be of no use: what was planned before the wait is out of date after it.
fn lock(state: &Path) -> Result<Lock, Failure> {
    let path = state.join(LOCK);
    let failed = |error: io::Error| cannot(&path, &error);
    let file = safe_open::file(&path, OFlags::RDWR | OFlags::CREATE).map_err(|errno| failed(errno.into()))?;
    if file_lock::try_lock(&file).map_err(failed)? {
        let lock = Lock(file);
        lock.0.set_len(0).and_then(|()| write!(&lock.0, "{}", std::process::id())).map_err(failed)?;
        return Ok(lock);
    }
    let mut text = String::new();
    // The ID is missing if the holder has just begun or ended.
    let _ = file.take(20).read_to_string(&mut text);
    let holder = text.parse::<u32>().map_or("another process".to_owned(), |pid| format!("process {pid}"));
    Err(Failure::new(TEMPFAIL, format!("{}: held by {holder}, another mailstamp setup", path.display()))
        .hint("wait for it to end, then run this again; nothing was changed"))
}

impl Drop for Lock {
    fn drop(&mut self) {
        // An ID that stays is read only while the next holder has not written its own.
        let _ = self.0.set_len(0);
    }
}

fn cannot(path: &Path, error: &io::Error) -> Failure {
    Failure::new(CANNOT_CREATE, format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_setup_spoils_no_journal() {
        let folder = tempfile::tempdir().unwrap();
        let (state, new, old) = (folder.path().join("s"), folder.path().join("new"), folder.path().join("old"));
        fs::write(&old, "mine").unwrap();
        let plan = |text: &str| {
            [&old, &new].map(|path| Change {
                file: UserFile::read(path).unwrap(),
                after: text.into(),
                new_mode: 0o600,
                block: None,
            })
        };
        let (first, second) = (plan("first"), plan("second"));
        apply(&state, &first).unwrap();
        let journal = fs::read(state.join(NAME)).unwrap();
        let error = apply(&state, &second).unwrap_err();
        assert!(error.code == DATA && error.message.ends_with("old: was changed meanwhile"), "{error:?}");
        // While another one has the lock, neither a setup nor an undo does anything.
        let held = lock(&state).unwrap();
        let says = format!("setup.lock: held by process {}, another mailstamp setup", std::process::id());
        for error in [apply(&state, &plan("third")).unwrap_err(), undo(&state, &mut |_, _| ()).unwrap_err()] {
            assert!(error.code == TEMPFAIL && error.message.ends_with(&says), "{error:?}");
        }
        assert_eq!((fs::read(state.join(NAME)).unwrap(), fs::read_to_string(&new).unwrap()), (journal, "first".into()));
        drop(held);
        assert!(undo(&state, &mut |_, _| ()).unwrap());
        assert!(!new.exists() && fs::read(&old).unwrap() == b"mine");
        assert!(!undo(&state, &mut |_, _| ()).unwrap());
    }
}
