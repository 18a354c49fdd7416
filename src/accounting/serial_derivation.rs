//! Derivation of serials that never repeat. One request draws 32 random bytes, and its serials and salts are derived
//! from them. The ledger can therefore identify all of them by the draw alone, and a repeated request gets the same
//! stamps byte for byte.
//!
//! A serial is 16 bytes: the second of its issue (4 bytes), then 12 bytes of SHA-256 over the draw and the stamp's
//! position in the request. Why no two are equal:
//!
//! - Serials of different seconds differ in their first bytes. That also keeps the ledger's index in order of time, so
//!   a large index costs no more. It reveals nothing: the stamp contains its time of issue.
//! - Within a second 96 bits are random. A million stamps in one second collide with a probability below 2⁻⁵⁶. The
//!   ledger rejects a draw with a known serial and draws again, before anything is signed.
//! - Nothing of this depends on what the ledger has stored. A ledger restored from an old backup draws as freshly as
//!   others. So does a machine that was cloned with its random state, since its clock went on.

use crate::stamp::serial::Serial;
use crate::time::UnixTime;
use sha2::{Digest, Sha256};

/// Source of the serials and salts of one request. The ledger keeps it secret: it reveals the serials of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    second: u32,
    seed: [u8; 32],
}

impl Draw {
    /// Creates the draw of this second with these random bytes.
    #[must_use]
    pub fn new(now: UnixTime, seed: [u8; 32]) -> Self {
        // The seconds wrap around in 2106; the random bytes remain.
        Self { second: u32::try_from(now.0 & i64::from(u32::MAX)).unwrap_or(0), seed }
    }

    /// Returns the 16 bytes of a serial; `index` counts the stamps of the request from 0.
    #[must_use]
    pub fn serial_bytes(&self, index: u32) -> [u8; 16] {
        let hash = self.hash(b"serial", index);
        let mut bytes = [0; 16];
        let (second, random) = bytes.split_at_mut(4);
        second.copy_from_slice(&self.second.to_be_bytes());
        random.copy_from_slice(&hash[..12]);
        bytes
    }

    /// Returns the serial in the form of a stamp.
    #[must_use]
    pub fn serial(&self, index: u32) -> Serial {
        Serial::from_random(self.serial_bytes(index))
    }

    /// Returns the salt of a hashed recipient.
    #[must_use]
    pub fn salt(&self, index: u32) -> [u8; 16] {
        let hash = self.hash(b"salt", index);
        std::array::from_fn(|at| hash[at])
    }

    fn hash(&self, purpose: &[u8], index: u32) -> [u8; 32] {
        Sha256::new().chain_update(self.seed).chain_update(index.to_be_bytes()).chain_update(purpose).finalize().into()
    }
}

/// Returns the 16 bytes of a derived serial; `None` if it has another form.
#[must_use]
pub fn bytes_of(serial: &Serial) -> Option<[u8; 16]> {
    data_encoding::BASE64URL_NOPAD.decode(serial.as_str().as_bytes()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_draw_gives_the_same_serials_again_and_no_serial_twice() {
        let draw = Draw::new(UnixTime(1_795_262_400), [7; 32]);
        let serials: BTreeSet<_> = (0..10_000).map(|index| draw.serial(index)).collect();
        assert_eq!(serials.len(), 10_000);
        assert_eq!(draw.serial(3), Draw::new(UnixTime(1_795_262_400), [7; 32]).serial(3));
        assert_eq!(bytes_of(&draw.serial(3)), Some(draw.serial_bytes(3)));
        assert!(!serials.contains(&Draw::new(UnixTime(1_795_262_400), [8; 32]).serial(3)));
        assert!(!serials.contains(&Draw::new(UnixTime(1_795_262_401), [7; 32]).serial(3)));
        assert_ne!(draw.salt(3), draw.salt(4));
        assert_ne!(draw.salt(3)[..12], draw.serial_bytes(3)[4..]);
    }

    #[test]
    fn later_serials_sort_behind_earlier_ones() {
        let at = |second| Draw::new(UnixTime(second), [9; 32]).serial_bytes(0);
        assert!(at(1_000) < at(1_001) && at(255) < at(256));
    }
}
