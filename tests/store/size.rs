//! Size of the log's file. Ten million rows are left to the benchmark; the ratios are the same for thousands.

use crate::{DAY, NOW, ask};
use mailstamp::store::redb::{Options, Redb};
use mailstamp::store::{Store, UsedLog};
use mailstamp::verdict::spend::{SpendRequest, SpendResult};

/// Serials spent one commit at a time, their ends spread over 30 days.
fn spend(log: &Redb, serials: std::ops::Range<u32>, days: i64) {
    for serial in serials {
        let now = NOW.plus(days * DAY);
        let expires = now.plus(i64::from(serial.wrapping_mul(2_654_435_761) >> 8) % (30 * DAY));
        let answer = log.spend(&SpendRequest { now, expires: Some(expires), ..ask(serial, 1) });
        assert_eq!(answer.unwrap(), SpendResult::Fresh);
    }
}

#[test]
fn a_serial_takes_at_most_64_bytes_and_the_room_of_ended_ones_is_used_again() {
    const ROWS: u32 = 20_000;
    // In memory where that can be had: it is not the disk's speed that is asked about.
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let log = Redb::new(folder.path().join("log"), Options::default());
    log.spend(&ask(0, 1)).unwrap();
    let empty = log.summary().unwrap().bytes;
    spend(&log, 1..ROWS, 0);
    let full = log.summary().unwrap();
    assert_eq!(full.used, u64::from(ROWS));
    let each = (full.bytes - empty) as f64 / f64::from(ROWS);
    assert!(each <= 64.0, "{each} bytes each, {empty} at first");
    // Forty days on all have ended; each spend takes some of them along.
    spend(&log, ROWS..2 * ROWS, 40);
    let after = log.summary().unwrap();
    assert_eq!(after.used, u64::from(ROWS));
    let grown = after.bytes as f64 / full.bytes as f64;
    assert!(grown <= 1.05, "{grown}");
}
