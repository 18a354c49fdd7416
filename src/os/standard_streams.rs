//! Access modes of standard input and standard output. The standard library takes a failure to read or write a closed
//! descriptor for success, so a message would be empty, or written to nothing. `closed_streams.c` gives closed
//! descriptors a mode that shows here.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, MemfdFlags, OFlags, fcntl_getfl, fstat, fsync, memfd_create};
use rustix::io::{Errno, ioctl_fionread, retry_on_intr};
use rustix::stdio::dup2_stdin;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::AsFd;

/// Interval at which a pipe is looked at until its reader has read it: 10 ms.
const DRAIN_INTERVAL: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };

/// Checks that standard input is open for reading.
///
/// # Errors
/// EBADF, or the system's.
pub fn check_input() -> io::Result<()> {
    check(io::stdin(), OFlags::WRONLY)
}

/// Checks that standard output is open for writing.
///
/// # Errors
/// EBADF, or the system's.
pub fn check_output() -> io::Result<()> {
    check(io::stdout(), OFlags::RDONLY)
}

/// Puts back what was read from standard input, for the program that this one becomes: `begin`, and what is still
/// unread.
///
/// # Errors
/// The system's. Part of the input may be lost to this process then.
pub fn put_back_input(begin: &[u8]) -> io::Result<()> {
    let mut copy = File::from(memfd_create("stdin", MemfdFlags::CLOEXEC)?);
    copy.write_all(begin)?;
    io::copy(&mut io::stdin().lock(), &mut copy)?;
    copy.rewind()?;
    Ok(dup2_stdin(&copy)?)
}

/// Waits until what was written to standard output has arrived: on the disk, or at the reader of a pipe.
///
/// # Errors
/// The system's; EPIPE when the reader of a pipe is gone and has not read everything.
pub fn drain_output() -> io::Result<()> {
    let stdout = io::stdout();
    match FileType::from_raw_mode(fstat(&stdout)?.st_mode) {
        FileType::RegularFile => Ok(fsync(&stdout)?),
        FileType::Fifo => loop {
            if ioctl_fionread(&stdout)? == 0 {
                return Ok(());
            }
            // No event tells that a pipe is empty; this one tells that it has no reader.
            let mut event = [PollFd::new(&stdout, PollFlags::empty())];
            if retry_on_intr(|| poll(&mut event, Some(&DRAIN_INTERVAL)))? > 0 && ioctl_fionread(&stdout)? > 0 {
                return Err(Errno::PIPE.into());
            }
        },
        _ => Ok(()),
    }
}

/// Fails like read(2) or write(2) on a stream whose access mode is `wrong`.
fn check(stream: impl AsFd, wrong: OFlags) -> io::Result<()> {
    let flags = fcntl_getfl(stream)?;
    // A descriptor of O_PATH is open for neither.
    if flags & OFlags::RWMODE == wrong || flags.contains(OFlags::PATH) { Err(Errno::BADF.into()) } else { Ok(()) }
}
