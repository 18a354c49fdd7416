//! Every operation on the disk fails in turn, by an error of the disk, by a full disk, or because the process was
//! killed there. The answer is an error or the right one, never "fresh" a second time, and afterwards nothing is lost.

use super::SetStanding;
use crate::disk::{Disk, Plan};
use crate::{DAY, NOW, ask};
use mailstamp::grant::StampStatus;
use mailstamp::store::redb::Redb;
use mailstamp::store::{ExportRecord, GRACE, GrantStore, Store, StoreError, UsedLog};
use mailstamp::time::UnixTime;
use mailstamp::verdict::owner::Owner;
use mailstamp::verdict::spend::{SpendRequest, SpendResult};
use rustix::io::Errno;

/// When the stamps of `filled` were spent.
const THEN: UnixTime = UnixTime(NOW.0 - 4 * DAY);

/// A stamp that has ended, and whose row may go now, but could not then.
fn ended(serial: u32, message: u8) -> SpendRequest {
    SpendRequest { now: THEN, expires: Some(NOW.plus(-GRACE - 7_200)), ..ask(serial, message) }
}

/// Serials 0 to 99 spent on message 1 and good, 100 to 199 ended.
fn filled() -> Disk {
    let disk = Disk::default();
    let log = disk.open(Plan::Work).unwrap();
    for serial in 0..100 {
        log.spend(&ended(100 + serial, 1)).unwrap();
        log.spend(&SpendRequest { now: THEN, ..ask(serial, 1) }).unwrap();
    }
    disk
}

/// Does `job` once for every operation that it needs, each time with that operation failing, and then `check`s the disk
/// with what the job returned.
fn at_every_operation<T: std::fmt::Debug>(
    job: impl Fn(&Redb) -> Result<T, StoreError>,
    check: impl Fn(&Redb, Result<T, StoreError>),
) {
    let before = filled();
    let (log, count) = before.copy().open_counting(Plan::Work);
    job(&log.unwrap()).unwrap();
    let operations = count.lock().unwrap().all;
    assert!(operations > 8, "{operations}");
    for at in 0..operations {
        for plan in Plan::failures(at) {
            let disk = before.copy();
            let result = disk.open(plan).and_then(|log| {
                let result = job(&log);
                if result.is_err() {
                    assert!(log.would_spend(&ask(0, 2)).is_err(), "an answer after an error of the disk");
                }
                result
            });
            if let Err(error) = &result {
                plan.assert_named(error);
            }
            let log = disk.open(Plan::Work).unwrap();
            check(&log, result);
            for serial in 0..100 {
                assert!(
                    matches!(log.would_spend(&ask(serial, 2)).unwrap(), SpendResult::DoubleSpend { .. }),
                    "{plan:?}: {serial}"
                );
            }
            assert!(log.verify().unwrap());
        }
    }
}

#[test]
fn a_spend_that_fails_anywhere_is_an_error_or_is_remembered() {
    at_every_operation(
        |log| log.spend(&ask(500, 1)),
        |log, result| {
            let again = log.spend(&ask(500, 1)).unwrap();
            match result {
                Ok(answer) => {
                    assert_eq!(answer, SpendResult::Fresh);
                    assert_eq!(again, SpendResult::Redelivery { first_seen: NOW, times: 1 });
                }
                // Not answered: the retry of the same message gets through either way.
                Err(_) => {
                    assert!(matches!(again, SpendResult::Fresh | SpendResult::Redelivery { times: 1, .. }), "{again:?}")
                }
            }
            assert!(matches!(log.spend(&ask(500, 2)).unwrap(), SpendResult::DoubleSpend { .. }));
        },
    );
}

#[test]
fn a_message_that_comes_again_is_never_a_double_because_of_a_failure() {
    at_every_operation(
        |log| log.spend(&ask(50, 1)),
        |log, result| {
            let counted = match result {
                Ok(answer) => {
                    assert_eq!(answer, SpendResult::Redelivery { first_seen: THEN, times: 1 });
                    2..=2
                }
                Err(_) => 1..=2,
            };
            let SpendResult::Redelivery { times, .. } = log.would_spend(&ask(50, 1)).unwrap() else {
                panic!("not again")
            };
            assert!(counted.contains(&times), "{times}");
        },
    );
}

#[test]
fn a_purge_that_fails_anywhere_revives_nothing() {
    at_every_operation(
        |log| log.purge(NOW, 0, 60),
        |log, _| {
            for serial in 100..200 {
                let answer = log.would_spend(&ended(serial, 2));
                assert!(
                    matches!(answer, Ok(SpendResult::DoubleSpend { .. }) | Err(StoreError::ClockBehind { .. })),
                    "{answer:?}"
                );
            }
        },
    );
}

#[test]
fn a_revocation_that_was_answered_stands() {
    let revoked = StampStatus { revoked: Some(7), ..StampStatus::default() };
    at_every_operation(
        |log| log.set_standing("stamps.example", &ask(500, 1).serial, revoked.clone()),
        |log, result| {
            let found = log.standing("stamps.example", &ask(500, 1).serial).unwrap();
            assert!(found == revoked || (result.is_err() && found == StampStatus::default()));
        },
    );
}

#[test]
fn an_import_that_fails_can_be_done_again() {
    let rows = || {
        (0..1_500u32).map(|n| ExportRecord::Used {
            hour: u32::MAX,
            stamp: u128::from(n).to_be_bytes(),
            fingerprint: [0; 16].into(),
            owner: Owner::default(),
            first_seen: 5,
            times: 0,
        })
    };
    let before = filled();
    for at in (0..90).step_by(3) {
        let disk = before.copy();
        let first = disk.open(Plan::FailAt(at, Errno::NOSPC.raw_os_error())).and_then(|log| log.import(&mut rows()));
        let log = disk.open(Plan::Work).unwrap();
        let second = log.import(&mut rows()).unwrap();
        assert_eq!(second.taken + second.known, 1_500);
        assert!(first.is_err() || second.taken == 0);
        assert_eq!(log.summary().unwrap().used, 1_700);
    }
}

/// A log that fails while it is made is made anew: it is under another name until it is whole (see `processes`).
#[test]
fn creating_a_log_fails_as_an_error_at_every_operation() {
    let (log, count) = Disk::default().open_counting(Plan::Work);
    drop(log.unwrap());
    let operations = count.lock().unwrap().all;
    for at in 0..operations {
        let made = Disk::default().open(Plan::FailAt(at, Errno::IO.raw_os_error()));
        assert!(matches!(made, Err(StoreError::Io { .. })), "{at}: {made:?}");
    }
}

/// Two syncs for a lone spend in an existing log, none for a question that writes nothing (storage.md, goals).
#[test]
fn a_lone_spend_costs_two_syncs_and_a_look_none() {
    let disk = filled();
    let syncs = |job: &dyn Fn(&Redb)| {
        let (log, count) = disk.open_counting(Plan::Work);
        job(&log.unwrap());
        count.lock().unwrap().syncs
    };
    let spend = |serial, message, expected: fn(SpendResult) -> bool| {
        syncs(&|log: &Redb| assert!(expected(log.spend(&ask(serial, message)).unwrap())))
    };
    assert_eq!(spend(300, 1, |it| it == SpendResult::Fresh), 2);
    assert_eq!(spend(300, 1, |it| matches!(it, SpendResult::Redelivery { .. })), 2);
    assert_eq!(spend(300, 2, |it| matches!(it, SpendResult::DoubleSpend { .. })), 0);
    assert_eq!(syncs(&|log: &Redb| assert_eq!(log.would_spend(&ask(301, 1)).unwrap(), SpendResult::Fresh)), 0);
    assert_eq!(
        syncs(&|log: &Redb| {
            log.summary().unwrap();
        }),
        0
    );
    assert_eq!(
        syncs(&|log: &Redb| {
            log.purge(NOW.plus(-200 * DAY), 0, 9).unwrap();
        }),
        0
    );
}
