//! The senders whom the user let through from the messages he had held: one address a line in a file of the state. Here it
//! is written; the rules read it.

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

/// The file in the folder of the state.
pub const NAME: &str = "allow.list";

/// Adds an address, durably. Whether it was not there before; in another case of letters it is the same.
///
/// # Errors
/// The system's; the list is as it was then.
pub fn add(state: &Path, address: &str) -> io::Result<bool> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut file = File::from(rustix::fs::open(state.join(NAME), flags, Mode::RUSR | Mode::WUSR)?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    // Or two who allow the same sender at once would both find him missing.
    flock(&file, FlockOperation::LockExclusive)?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    if text.lines().any(|line| line.trim().eq_ignore_ascii_case(address)) {
        return Ok(false);
    }
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    if let Err(error) = file.write_all(format!("{end}{address}\n").as_bytes()) {
        // Half of an address can be the address of somebody else.
        file.set_len(text.len() as u64)?;
        return Err(error);
    }
    file.sync_all()?;
    File::open(state)?.sync_all()?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn an_address_is_added_once_and_on_a_line_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        assert!(add(folder.path(), "bob@y.example").unwrap());
        assert!(!add(folder.path(), "Bob@y.example").unwrap());
        let path = folder.path().join(NAME);
        fs::write(&path, "bob@y.example\ncarol@y.example").unwrap();
        assert!(add(folder.path(), "dave@y.example").unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "bob@y.example\ncarol@y.example\ndave@y.example\n");
    }

    #[test]
    fn a_link_or_a_pipe_in_its_place_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/null", folder.path().join(NAME)).unwrap();
        assert!(add(folder.path(), "bob@y.example").is_err());
        fs::remove_file(folder.path().join(NAME)).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, folder.path().join(NAME), rustix::fs::FileType::Fifo, Mode::RWXU, 0)
            .unwrap();
        assert!(add(folder.path(), "bob@y.example").is_err());
    }
}
