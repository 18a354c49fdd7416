//! Replacing a file in one step: readers see the old content or the new one, never a part.

use super::{above, random, sync_folder};
use data_encoding::HEXLOWER;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Whether the new content must survive a power failure once [`replace`] has returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// File and folder are synced.
    Synced,
    /// Nothing is synced: losing the file costs nothing.
    Cached,
}

/// Creates a file with this mode (less the umask) and the content that `write` gives it, and moves it to `path`. The
/// folder must exist.
///
/// The content is written to a file beside it, `.NAME.RANDOM.tmp`. What a killed process leaves there blocks no other.
///
/// # Errors
/// The system's, and those of `write`. `path` is as it was then, but for a folder that can't be synced afterwards.
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
        // The error to report is the first one.
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

    // Layout 2: a container's programs all have one process id, and so had one name for what a killed one left.
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
