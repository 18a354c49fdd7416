//! The message on standard input, read to its end or to the limit of what is looked at. A program that leaves its input
//! unread breaks the pipe of some mail systems and is believed by others, so whoever cuts must read the rest too.

use crate::message::parse::Message;
use std::io::{self, IsTerminal, Read, StdinLock, Write};

/// A header that does not end within so many bytes, in a message beyond the limit, is nobody's: 64 MiB.
const HEADER: usize = 64 * 1024 * 1024;

/// What was read.
#[derive(Debug)]
pub struct Input {
    /// The message, or its beginning.
    pub bytes: Vec<u8>,
    /// Whether there is more on standard input.
    pub cut: bool,
}

/// Reads `largest` bytes from standard input, or more where the header is longer: a forged result below the cut would go
/// through unseen.
///
/// # Errors
/// The system's, and when a header has no end.
pub fn read(largest: u64) -> io::Result<Input> {
    resume(None, largest)
}

/// As [`read`], where something was read already with another limit.
///
/// # Errors
/// As `read`.
pub fn resume(begun: Option<Input>, largest: u64) -> io::Result<Input> {
    let mut bytes = match begun {
        Some(input) if !input.cut && input.bytes.len() as u64 <= largest => return Ok(input),
        Some(input) if input.bytes.len() as u64 > largest => return Ok(Input { cut: true, ..input }),
        Some(input) => input.bytes,
        None => {
            if io::stdin().is_terminal() {
                // Nobody may be listening; that is no reason to stop.
                let hint = "mailstamp: hint: reading a message from the terminal; end it with Ctrl-D";
                let _ = writeln!(io::stderr(), "{hint}");
            }
            Vec::with_capacity(16 * 1024)
        }
    };
    let mut stdin = io::stdin().lock();
    stdin.by_ref().take(largest - bytes.len() as u64).read_to_end(&mut bytes)?;
    // One byte more tells whether the limit was met or exceeded; it belongs to the message all the same.
    let mut more = [0];
    let cut = bytes.len() as u64 == largest && read_one(&mut stdin, &mut more)? == 1;
    if cut {
        bytes.extend(more);
        read_header(&mut stdin, &mut bytes)?;
    }
    Ok(Input { bytes, cut })
}

/// Reads what is left of standard input and hands it to `to`.
///
/// # Errors
/// The system's.
pub fn rest(to: &mut impl io::Write) -> io::Result<()> {
    io::copy(&mut io::stdin().lock(), to).map(|_| ())
}

/// Reads on until the header has ended, each time as much again.
fn read_header(stdin: &mut StdinLock<'_>, bytes: &mut Vec<u8>) -> io::Result<()> {
    while !Message::parse(bytes).has_body() {
        if bytes.len() >= HEADER {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the message's header does not end"));
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
