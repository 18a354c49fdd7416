//! The message on standard input, read to its end or to the limit of what is looked at. A program that leaves its input
//! unread breaks the pipe of some mail systems and is believed by others, so whoever cuts must read the rest too.

use std::io::{self, IsTerminal, Read, StdinLock};

/// What was read.
#[derive(Debug)]
pub struct Input {
    /// The message, or its beginning.
    pub bytes: Vec<u8>,
    /// Whether there is more on standard input.
    pub cut: bool,
}

/// Reads at most `largest` bytes from standard input.
///
/// # Errors
/// The system's.
pub fn read(largest: u64) -> io::Result<Input> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        eprintln!("mailstamp: hint: reading a message from the terminal; end it with Ctrl-D");
    }
    let mut bytes = Vec::with_capacity(16 * 1024);
    let mut stdin = stdin.lock();
    stdin.by_ref().take(largest).read_to_end(&mut bytes)?;
    // One byte more tells whether the limit was met or exceeded; it belongs to the message all the same.
    let mut more = [0];
    let cut = bytes.len() as u64 == largest && read_one(&mut stdin, &mut more)? == 1;
    if cut {
        bytes.extend(more);
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

fn read_one(stdin: &mut StdinLock<'_>, byte: &mut [u8; 1]) -> io::Result<usize> {
    loop {
        match stdin.read(byte) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
