//! Replacing a file in one step: readers see the old content or the new one, never a part.

use super::{above, random, sync_folder};
use data_encoding::HEXLOWER;
use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

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
