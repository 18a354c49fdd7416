//! Lists of the senders that the user allowed or refused from held mail: files of the state, with one address a line.
//! This module writes them; the rules read the first, and the digest of held mail the second.

use crate::os::{self, file_lock, safe_open};
use rustix::fs::OFlags;
use std::io::{self, Read, Write};
use std::path::Path;

/// The list of allowed senders in the folder of the state.
pub const ALLOWED: &str = "allow.list";
/// The list of refused senders, which the digest leaves out.
pub const REFUSED: &str = "never.list";

/// Adds an address to a list, durably; returns whether it was missing before.
/// Addresses compare without case.
///
/// # Errors
/// The system's; the list is then unchanged.
pub fn add(state: &Path, list: &str, address: &str) -> io::Result<bool> {
    let mut file = safe_open::file(&state.join(list), OFlags::RDWR | OFlags::CREATE | OFlags::APPEND)?;
    if !file.metadata()?.is_file() {
        return Err(safe_open::irregular());
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
    use std::fs;

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
    fn a_link_or_a_pipe_in_its_place_is_refused() {
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
