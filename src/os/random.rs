//! Random bytes of the system (getrandom(2)), for keys, serials and names of files.

use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
use std::io;

/// Fills all of `bytes` by the system call itself. The library for it looks up the function of the C library by name,
/// finds none in a static program, and falls back to a device file, which a chroot lacks.
///
/// # Errors
/// The system's, when it has no random bytes.
pub fn fill(bytes: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while let Some(rest @ [_, ..]) = bytes.get_mut(done..) {
        match getrandom(rest, GetRandomFlags::empty()) {
            Ok(count) => done += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bytes_are_filled_and_anew_each_time() {
        let mut drawn = [[0; 4096]; 2];
        drawn.iter_mut().for_each(|bytes| fill(bytes).unwrap());
        assert_ne!(drawn[0], drawn[1]);
        // 64 zeros in a row come by chance once in 2^500 draws.
        assert!(drawn.iter().flat_map(|bytes| bytes.chunks(64)).all(|part| part.iter().any(|byte| *byte != 0)));
        fill(&mut []).unwrap();
    }
}
