//! Lists of the senders that the user allowed or refused from held mail: files of the state, with one address a line.
//! This module writes them; the rules read the first, and the digest of held mail the second.

use crate::os::{self, file_lock, safe_open};
use rustix::fs::OFlags;
use rustix::process::geteuid;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The list of allowed senders in the folder of the state.
pub const ALLOWED: &str = "allow.list";
/// The list of refused senders, which the digest leaves out.
pub const REFUSED: &str = "never.list";

/// Adds an address to a list, durably; returns whether it was missing before.
/// Addresses compare without case. A symbolic link is followed, and stays.
///
/// # Errors
/// The system's; the list is then unchanged.
pub fn add(state: &Path, list: &str, address: &str) -> io::Result<bool> {
    let path = state.join(list);
    // Only the user can put a link there, as one into a folder of settings that is under version control.
    let path = if path.is_symlink() { fs::canonicalize(&path)? } else { path };
    let mut file = safe_open::file(&path, OFlags::RDWR | OFlags::CREATE | OFlags::APPEND)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(safe_open::irregular());
    }
    if metadata.uid() != geteuid().as_raw() || metadata.mode() & 0o002 != 0 {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "not yours, or others may write to it"));
    }
    // Without the lock, two concurrent calls for one sender would both find the address missing.
    file_lock::lock(&file)?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    if text.lines().any(|line| line.trim().eq_ignore_ascii_case(address)) {
        return Ok(false);
    }
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    if let Err(error) = file.write_all(format!("{end}{address}\n").as_bytes()) {
        // Half of an address can be another person's address.
        file.set_len(text.len() as u64)?;
        return Err(error);
    }
    file.sync_all()?;
    os::sync_folder(state)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_added_once_and_on_a_line_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        assert!(add(folder.path(), ALLOWED, "bob@y.example").unwrap());
        assert!(!add(folder.path(), ALLOWED, "Bob@y.example").unwrap());
        let path = folder.path().join(ALLOWED);
        fs::write(&path, "bob@y.example\ncarol@y.example").unwrap();
        assert!(add(folder.path(), ALLOWED, "dave@y.example").unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "bob@y.example\ncarol@y.example\ndave@y.example\n");
    }

    #[test]
    fn a_list_may_be_a_link_to_a_file_of_the_users() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (link, path) = (folder.path().join(ALLOWED), other.path().join("allowed"));
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(add(folder.path(), ALLOWED, "bob@y.example").is_err(), "it leads nowhere");
        fs::write(&path, "carol@y.example\n").unwrap();
        assert!(add(folder.path(), ALLOWED, "bob@y.example").unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "carol@y.example\nbob@y.example\n");
        assert!(link.is_symlink());
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
        assert!(add(folder.path(), ALLOWED, "dave@y.example").is_err());
    }

    #[test]
    fn what_is_no_file_in_its_place_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/null", folder.path().join(ALLOWED)).unwrap();
        assert!(add(folder.path(), ALLOWED, "bob@y.example").is_err());
        fs::remove_file(folder.path().join(ALLOWED)).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            folder.path().join(ALLOWED),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .unwrap();
        assert!(add(folder.path(), ALLOWED, "bob@y.example").is_err());
    }
}
