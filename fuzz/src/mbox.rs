//! The messages of an mbox file: together they are the file, none has a dated line of its kind within, and of none more
//! is kept than the limit; whatever the size of the reads.

use mailstamp::mailbox::mbox::{Messages, Piece, is_certain, unquoted};
use mailstamp::message::separator::Separator;
use std::io::BufReader;

/// Checks one input.
pub fn run(file: &[u8]) {
    let pieces: Vec<Piece> = Messages::new(file, u64::MAX).map(|piece| piece.expect("bytes in memory")).collect();
    let all: Vec<u8> = pieces.iter().flat_map(|piece| piece.bytes.clone()).collect();
    assert_eq!(all, file);
    let _ = is_certain(file).expect("bytes in memory");
    for (at, piece) in pieces.iter().enumerate() {
        assert!(!piece.cut && piece.length == piece.bytes.len() as u64 && piece.length > 0);
        assert!(at == 0 || piece.bytes.starts_with(b"From "));
        let inner = piece.bytes.split_inclusive(|&b| b == b'\n').skip(1);
        assert!(inner.filter(|line| line.len() < 1_000).all(|line| Separator::parse(line).is_none()));
        if let Some(text) = unquoted(&piece.bytes) {
            assert!(text.len() < piece.bytes.len());
            assert_eq!(text.split(|&b| b == b'\n').count(), piece.bytes.split(|&b| b == b'\n').count());
        }
    }

    let slowly =
        Messages::new(BufReader::with_capacity(3, file), u64::MAX).map(|piece| piece.expect("bytes in memory"));
    assert!(slowly.eq(pieces.iter().cloned()));
    let little: Vec<Piece> = Messages::new(file, 20).map(|piece| piece.expect("bytes in memory")).collect();
    assert_eq!(little.len(), pieces.len());
    for (short, whole) in little.iter().zip(&pieces) {
        assert_eq!(short.length, whole.length);
        assert!(whole.bytes.starts_with(&short.bytes) && (short.cut || short.bytes == whole.bytes));
        // The line by which a message begins is always kept.
        let first = whole.bytes.iter().position(|&b| b == b'\n').map_or(whole.bytes.len(), |at| at + 1);
        assert!(short.bytes.len() <= first.max(20));
    }
}
