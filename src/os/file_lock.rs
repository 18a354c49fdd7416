//! Advisory locks on files (flock(2)). A lock is held until the file and all duplicates of its descriptor are closed.

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Locks the file, and waits for as long as another process has it.
pub fn lock(file: impl AsFd) -> io::Result<()> {
    loop {
        match flock(&file, FlockOperation::LockExclusive) {
            Err(Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

/// Locks the file; returns `false` while another process has it.
pub fn try_lock(file: impl AsFd) -> io::Result<bool> {
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Locks the file, waiting at most `wait`; `None` if that was not long enough.
pub fn lock_within(file: File, wait: Duration) -> io::Result<Option<File>> {
    if try_lock(&file)? {
        return Ok(Some(file));
    }
    // Only a blocking call stands in the kernel's queue, and it has no time limit, so another thread makes it. If it
    // comes too late, nothing takes the file from it, and the file and its lock go with the channel.
    let (sender, receiver) = mpsc::sync_channel(0);
    thread::Builder::new().name("lock".into()).spawn(move || {
        let locked = lock(&file);
        let _ = sender.send(locked.map(|()| file));
    })?;
    match receiver.recv_timeout(wait) {
        Ok(locked) => locked.map(Some),
        Err(_) => Ok(None),
    }
}

/// Unlocks the file before it is closed.
pub fn unlock(file: impl AsFd) -> io::Result<()> {
    Ok(flock(file, FlockOperation::Unlock)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_excludes_another_description_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let (one, other) = (File::create(&path).unwrap(), File::create(&path).unwrap());
        assert!(try_lock(&one).unwrap());
        assert!(!try_lock(&other).unwrap());
        let other = lock_within(other, Duration::from_millis(10)).unwrap();
        assert!(other.is_none());
        unlock(&one).unwrap();
        let other = lock_within(File::create(&path).unwrap(), Duration::from_secs(60)).unwrap();
        assert!(other.is_some());
        assert!(!try_lock(&one).unwrap());
    }
}
