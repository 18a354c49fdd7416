//! Replacing a file in one step: readers see the old content or the new one, never a part.

use super::{above, random, sync_folder};
use data_encoding::HEXLOWER;
use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;
use std::fs::{self, DirEntry, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Whether the new content must survive a power failure once [`replace`] has returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// File and folder are synced.
    Synced,
    /// Not synced: losing the file does no harm.
    Cached,
}

/// Creates a file with this mode (less the umask) and the content that `write` gives it, and moves it to `path`. The
/// folder must exist.
///
/// The content is written to a file beside it, `.NAME.RANDOM.tmp`. The file that a killed process leaves blocks no
/// other process.
///
/// # Errors
/// The system's, and those of `write`. `path` is unchanged then, unless only the later sync of the folder fails.
pub fn replace(
    path: &Path,
    mode: u32,
    durability: Durability,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let temporary = beside(path)?;
    let mut file = File::options().write(true).create_new(true).mode(mode).open(&temporary)?;
    let written = write(&mut file)
        .and_then(|()| if durability == Durability::Synced { file.sync_all() } else { Ok(()) })
        .and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        // The first error is the one to report.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    if durability == Durability::Synced {
        sync_folder(above(path))?;
    }
    Ok(())
}

/// Returns a new name in the folder of `path`.
fn beside(path: &Path) -> io::Result<PathBuf> {
    let mut bytes = [0; 8];
    random::fill(&mut bytes)?;
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().ok_or(io::ErrorKind::InvalidInput)?);
    name.push(format!(".{}.tmp", HEXLOWER.encode(&bytes)));
    Ok(path.with_file_name(name))
}

/// Age of a temporary file at which the process that wrote it is gone.
const LEFTOVER_AGE: Duration = Duration::from_secs(60 * 60);

/// Returns the name of the file to which [`replace`] moves a temporary file of this name; `None` if it is none.
#[must_use]
pub fn replaced_by(temporary: &str) -> Option<&str> {
    let (name, random) = temporary.strip_prefix('.')?.strip_suffix(".tmp")?.rsplit_once('.')?;
    let is_temporary = !name.is_empty() && random.len() == 16 && HEXLOWER.decode(random.as_bytes()).is_ok();
    is_temporary.then_some(name)
}

/// Returns whether a file in a folder is a temporary one that a killed [`replace`] left more than an hour ago.
#[must_use]
pub fn is_leftover(entry: &DirEntry) -> bool {
    let is_temporary = entry.file_name().to_str().and_then(replaced_by).is_some();
    let changed = || entry.metadata().ok().filter(fs::Metadata::is_file)?.modified().ok();
    // A file of the future is left alone.
    is_temporary && changed().and_then(|changed| changed.elapsed().ok()).is_some_and(|age| age > LEFTOVER_AGE)
}

/// Removes what killed processes left in a folder more than an hour ago. A missing folder has none.
///
/// # Errors
/// The system's.
pub fn remove_leftovers(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        if is_leftover(&entry) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Removes a file, which another process may have removed just now.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Gives a file another name in the same folder, in the place of what had it. The folder is not synced.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)
}

/// Gives a file a name that no file has: by a link, which leaves it its old name too, or by a rename where the file
/// system has no links. Returns whether the old name is gone.
///
/// # Errors
/// The system's; EEXIST where the name is taken.
pub fn link_new(folder: impl AsFd, from: &str, other: impl AsFd, to: &str) -> Result<bool, Errno> {
    match rustix::fs::linkat(&folder, from, &other, to, AtFlags::empty()) {
        Ok(()) => Ok(false),
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK | Errno::XDEV) => {
            rename_new(folder, from, other, to).map(|()| true)
        }
        Err(errno) => Err(errno),
    }
}

/// Moves a file to a name that no file has, where the file system can promise that, from one open folder to another.
///
/// # Errors
/// The system's; EEXIST where the name is taken.
fn rename_new(folder: impl AsFd, from: &str, other: impl AsFd, to: &str) -> Result<(), Errno> {
    match rustix::fs::renameat_with(&folder, from, &other, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => rustix::fs::renameat(&folder, from, &other, to),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn names(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    // Layout 2: in a container all programs had one process id, and so one name for the file that a killed one left.
    #[test]
    fn what_a_killed_process_left_blocks_no_replace() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stamps.example.json");
        let pid = std::process::id();
        let left = [format!("stamps.example.{pid}.tmp"), format!(".stamps.example.json.{pid}")];
        left.iter().for_each(|name| fs::write(folder.path().join(name), "").unwrap());
        for content in ["one", "two"] {
            replace(&path, 0o644, Durability::Synced, |file| file.write_all(content.as_bytes())).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        assert_eq!(names(folder.path()).len(), 3);
    }

    #[test]
    fn only_old_leftovers_of_a_replace_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let old = std::time::UNIX_EPOCH + Duration::from_secs(1);
        let kept =
            [".a.tmp", ".lock", "a.0123456789abcdef.tmp", ".a.0123456789ABCDEF.tmp", "..0123456789abcdef.tmp", "a"];
        let names = kept.into_iter().chain([".a.b.0123456789abcdef.tmp"]);
        for name in names {
            File::create(folder.path().join(name)).unwrap().set_modified(old).unwrap();
        }
        fs::write(folder.path().join(".new.0123456789abcdef.tmp"), "").unwrap();
        fs::create_dir(folder.path().join(".folder.0123456789abcdef.tmp")).unwrap();
        remove_leftovers(folder.path()).unwrap();
        assert_eq!(self::names(folder.path()).len(), kept.len() + 2);
        assert!(!folder.path().join(".a.b.0123456789abcdef.tmp").exists());
        remove_leftovers(&folder.path().join("none")).unwrap();
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "old").unwrap();
        let failed = replace(&path, 0o600, Durability::Synced, |file| {
            file.write_all(b"half")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(
            (fs::read_to_string(&path).unwrap().as_str(), names(folder.path())),
            ("old", vec!["file".to_owned()])
        );
        assert!(replace(Path::new("/"), 0o600, Durability::Cached, |_| Ok(())).is_err());
    }
}
