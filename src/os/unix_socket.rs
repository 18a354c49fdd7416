//! Unix sockets, bound and connected by a path of any length. (The address of a socket has 107 bytes at most; for a
//! longer path the folder is opened and named by its descriptor.)

use rustix::fs::{Mode, OFlags};
use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_peercred};
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest address, without the terminating NUL.
const ADDRESS: usize = 107;

/// Connect timeout, while the backlog of the listener is full.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Connects to the process that listens there.
///
/// # Errors
/// The system's: `NotFound` where there is no socket, `ConnectionRefused` where no process listens any more,
/// `WouldBlock` where the backlog stays full.
pub fn connect(path: &Path) -> io::Result<UnixStream> {
    let (_folder, address) = address(path)?;
    let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // The connect of the standard library would wait for ever.
    set_socket_timeout(&socket, Timeout::Send, Some(CONNECT_TIMEOUT))?;
    net::connect(&socket, &SocketAddrUnix::new(&address)?)?;
    Ok(socket.into())
}

/// Returns whether the peer runs as this process's user or as root.
pub fn is_ours(stream: &UnixStream) -> io::Result<bool> {
    let uid = owner(stream)?;
    Ok(uid == 0 || uid == rustix::process::geteuid().as_raw())
}

/// Returns the user of the peer, as the kernel reports it (SO_PEERCRED): of the process that connected, or began to
/// listen.
pub fn owner(stream: &UnixStream) -> io::Result<u32> {
    Ok(socket_peercred(stream)?.uid.as_raw())
}

/// Listens there, with this mode of the socket file. Replaces a socket at which no process listens any more.
///
/// # Errors
/// The system's; `AddrInUse` when a process listens there, or when the path is no socket.
pub fn listen(path: &Path, mode: u32) -> io::Result<UnixListener> {
    let (_folder, address) = address(path)?;
    match fs::symlink_metadata(&address) {
        Ok(found) if !found.file_type().is_socket() => return Err(io::ErrorKind::AddrInUse.into()),
        Ok(_) if connect(&address).is_ok() => return Err(io::ErrorKind::AddrInUse.into()),
        Ok(_) => fs::remove_file(&address)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(&address)?;
    fs::set_permissions(&address, fs::Permissions::from_mode(mode))?;
    Ok(listener)
}

/// Socket file that was created, identified by its inode, since the path may later have another file, or none.
#[derive(Debug)]
pub struct Made {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Made {
    /// Returns the socket file at this path.
    pub fn at(path: &Path) -> io::Result<Self> {
        let found = fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), device: found.dev(), inode: found.ino() })
    }

    /// Returns whether the path still leads to it.
    #[must_use]
    pub fn stands(&self) -> bool {
        Self::at(&self.path).is_ok_and(|now| (now.device, now.inode) == (self.device, self.inode))
    }

    /// Removes it, unless another file has its path now.
    pub fn remove(&self) {
        if self.stands() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Returns an address for `path`, and the descriptor that must stay open while it is used.
fn address(path: &Path) -> io::Result<(Option<OwnedFd>, PathBuf)> {
    if path.as_os_str().len() <= ADDRESS {
        return Ok((None, path.to_owned()));
    }
    let (folder, name) = (path.parent().unwrap_or(Path::new(".")), path.file_name().unwrap_or(OsStr::new("")));
    let folder = rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let address = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
    Ok((Some(folder), address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_found_in_a_folder_of_any_length() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["short", &"long".repeat(60)] {
            let path = folder.path().join(name);
            fs::create_dir(&path).unwrap();
            let path = path.join("socket");
            assert_eq!(connect(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
            let listener = listen(&path, 0o600).unwrap();
            assert!(connect(&path).is_ok());
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            assert_eq!(listen(&path, 0o600).unwrap_err().kind(), io::ErrorKind::AddrInUse);
            drop(listener);
            assert_eq!(connect(&path).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
            assert!(listen(&path, 0o600).is_ok());
        }
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("letter");
        fs::write(&path, "precious").unwrap();
        assert!(listen(&path, 0o600).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
