//! Reads the message on standard input, to its end or up to a limit. Some mail systems get a broken pipe from a program
//! that does not read its input to the end, and others believe its exit status. So a caller that stops at the limit
//! must read the rest too.

use super::exit_status::{Failure, IO};
use crate::message::parse::Message;
use crate::os::{safe_open, standard_streams};
use rustix::fs::{self, Mode, OFlags};
use std::fs::File;
use std::io::{self, IsTerminal, Read, Stdin, StdinLock, Write};
use std::path::Path;

/// Limit on a header in a message beyond the limit: 64 MiB. No genuine header is longer.
const HEADER: usize = 64 * 1024 * 1024;

/// Message that was read.
#[derive(Debug)]
pub struct Input {
    /// The message, or its beginning.
    pub bytes: Vec<u8>,
    /// Whether there is more on standard input.
    pub cut: bool,
}

/// Returns standard input, if it is open for reading. A closed one would read as an empty message.
///
/// # Errors
/// EBADF.
pub fn stdin() -> io::Result<Stdin> {
    standard_streams::check_input()?;
    Ok(io::stdin())
}

/// Opens a file that the user named. A pipe is refused: opening it waits for a program that may never come. Pipes of the
/// shell are below `/dev` and already open.
///
/// # Errors
/// The system's, and an error for what is neither a regular file nor below `/dev`.
pub fn open(path: &Path) -> io::Result<File> {
    if path.starts_with("/dev") {
        return File::open(path);
    }
    let file = File::from(fs::open(
        path,
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY,
        Mode::empty(),
    )?);
    let kind = file.metadata()?.file_type();
    // Reading a folder is an error of its own.
    if kind.is_file() || kind.is_dir() { Ok(file) } else { Err(safe_open::irregular()) }
}

/// Reads a message as [`read`] does, for a command outside the mail path.
///
/// # Errors
/// A failure with status 74.
pub fn message(largest: u64) -> Result<Input, Failure> {
    read(largest).map_err(|error| Failure::input(IO, &error))
}

/// Reads `largest` bytes from standard input, or more where the header is longer. Otherwise a forged result field below
/// the cut would pass unseen.
///
/// # Errors
/// The system's, and when a header has no end.
pub fn read(largest: u64) -> io::Result<Input> {
    resume(None, largest)
}

/// Reads as [`read`] does, after a part was read with another limit.
pub fn resume(begun: Option<Input>, largest: u64) -> io::Result<Input> {
    let mut bytes = match begun {
        Some(input) if !input.cut && input.bytes.len() as u64 <= largest => return Ok(input),
        Some(input) if input.bytes.len() as u64 > largest => return Ok(Input { cut: true, ..input }),
        Some(input) => input.bytes,
        None => {
            if io::stdin().is_terminal() {
                // Standard error may be closed, which is no reason to stop.
                let hint = "mailstamp: hint: reading a message from the terminal; end it with Ctrl-D";
                let _ = writeln!(io::stderr(), "{hint}");
            }
            Vec::with_capacity(16 * 1024)
        }
    };
    let mut stdin = stdin()?.lock();
    stdin.by_ref().take(largest - bytes.len() as u64).read_to_end(&mut bytes)?;
    // One more byte tells whether the message is longer than the limit. It belongs to the message all the same.
    let mut more = [0];
    let cut = bytes.len() as u64 == largest && read_one(&mut stdin, &mut more)? == 1;
    if cut {
        bytes.extend(more);
        read_header(&mut stdin, &mut bytes)?;
    }
    Ok(Input { bytes, cut })
}

/// Copies the rest of standard input to `to`.
pub fn rest(to: &mut impl io::Write) -> io::Result<()> {
    io::copy(&mut io::stdin().lock(), to).map(|_| ())
}

/// Reads to the end of the header, doubling the amount with each read.
fn read_header(stdin: &mut StdinLock<'_>, bytes: &mut Vec<u8>) -> io::Result<()> {
    while !Message::parse(bytes).has_body() {
        if bytes.len() >= HEADER {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "header does not end within 64 MiB"));
        }
        let again = bytes.len().max(16 * 1024) as u64;
        if stdin.by_ref().take(again).read_to_end(bytes)? == 0 {
            break;
        }
    }
    Ok(())
}

fn read_one(stdin: &mut StdinLock<'_>, byte: &mut [u8; 1]) -> io::Result<usize> {
    loop {
        match stdin.read(byte) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
