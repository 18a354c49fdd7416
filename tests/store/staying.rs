//! The journal of the daemon, under cut power and under kills: as `powercut`, with three files that have one order of
//! changes. Rows are in the journal, on their way into the tables, or in the tables; processes are killed anywhere,
//! also in the middle of a recovery. Whatever part of the unsynced changes survives, the log opens, remembers every
//! answer that was given, can be written again, and is sound. Two more cases occur only in the daemon: its log is
//! replaced while it runs, and it waits for a log that it has lent.

use super::SetStanding;
use crate::disk::{Dice, Disk, Plan};
use crate::powercut::{Given, History, Toll, What, cut_and_check, filled, remembered};
use crate::{NOW, ask};
use mailstamp::grant::{Grant, GrantKind, StampStatus};
use mailstamp::message::address::Address;
use mailstamp::store::redb::{Options, Redb};
use mailstamp::store::resident::ResidentLog;
use mailstamp::store::{ContactStore, ExportRecord, Store, StoreError, UsedLog};
use mailstamp::time::UnixTime;
use mailstamp::verdict::owner::Owner;
use mailstamp::verdict::spend::{SpendRequest, SpendResult};
use std::fs;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

/// Processes as they come: some are killed on the way, or their disk fails once.
fn mixed(seed: u64, processes: usize) -> Vec<Plan> {
    let mut dice = Dice(seed);
    let plan = |_| match dice.below(6) {
        0 | 1 => Plan::DieAt(dice.below(90) as usize),
        2 => Plan::FailAt(dice.below(90) as usize, 5),
        _ => Plan::Work,
    };
    (0..processes).map(plan).collect()
}

/// Runs processes one after the other. Each spends some stamps, and what it does besides brings rows into the tables;
/// most are killed then, some end.
fn history(disk: &Disk, processes: &[Plan], sees_notes: bool) -> History {
    let before = disk.image();
    let mut given = Vec::new();
    let mut dice = Dice(processes.len() as u64);
    let mut serials = 0..;
    for plan in processes {
        if !sees_notes {
            disk.forget_note();
        }
        let Ok(process) = disk.stay(*plan) else { continue };
        let log = process.log();
        for serial in serials.by_ref().take(2 + dice.below(3) as usize) {
            let mut note = |what| given.push(Given { after: disk.changes(), what });
            match log.spend(&ask(serial, 1)) {
                Ok(answer) => {
                    assert_eq!(answer, SpendResult::Fresh);
                    note(What::Spent { serial, times: 0 });
                }
                Err(_) => break,
            }
            if dice.below(4) == 0 && log.spend(&ask(serial, 1)).is_ok() {
                note(What::Spent { serial, times: 1 });
            }
            if dice.below(5) == 0 {
                let revoked = StampStatus { revoked: Some(7), ..StampStatus::default() };
                if log.set_standing("stamps.example", &ask(serial, 1).serial, revoked).is_ok() {
                    note(What::Revoked { serial });
                }
                // A refused message is recorded, too.
                let _ = log.spend(&ask(serial, 3));
            }
            match dice.below(6) {
                0 => drop(log.purge(NOW, 0, 3)),
                1 => drop(log.summary()),
                _ => {}
            }
        }
        if dice.below(4) == 0 {
            process.end();
        }
    }
    History { before, log: disk.take_log(), given }
}

/// Whether all that was answered is remembered, by processes that stay and by one that does not.
fn check(disk: &Disk, given: &[&What]) -> Result<bool, StoreError> {
    let process = disk.stay(Plan::Work)?;
    if !remembered(process.log(), given)? {
        return Ok(false);
    }
    assert_eq!(process.log().spend(&ask(9_999_999, 1))?, SpendResult::Fresh);
    drop(process);
    let process = disk.stay(Plan::Work)?;
    assert!(matches!(process.log().spend(&ask(9_999_999, 2))?, SpendResult::DoubleSpend { .. }));
    process.end();
    let log = disk.open(Plan::Work)?;
    Ok(matches!(log.would_spend(&ask(9_999_999, 2))?, SpendResult::DoubleSpend { .. }) && log.verify()?)
}

fn cut_everywhere(history: &History, ways: u64) -> Toll {
    cut_and_check(history, ways, check)
}

/// Promise 2, threat 5.
#[test]
fn no_power_cut_loses_an_answer_of_a_process_that_stays() {
    let toll = cut_everywhere(&history(&filled(40), &mixed(5, 20), true), 5);
    assert!(toll.cuts >= 1_000 && toll.lost == 0 && toll.unusable == 0, "{toll:?}");
}

/// A process is killed at one of its operations, two more follow, and the power is cut at each change of all three.
fn killed_at(operations: impl Iterator<Item = usize>, ways: u64, sees_notes: bool) -> Toll {
    let disk = filled(10);
    // What the first one finds has to be recovered.
    let process = disk.stay(Plan::Work).unwrap();
    process.log().spend(&ask(500_000, 1)).unwrap();
    drop(process);
    disk.take_log();
    let mut sum = Toll::default();
    for at in operations {
        let history = history(&disk.copy(), &[Plan::DieAt(at), Plan::Work, Plan::Work], sees_notes);
        let toll = cut_everywhere(&history, ways);
        sum = Toll { cuts: sum.cuts + toll.cuts, lost: sum.lost + toll.lost, unusable: sum.unusable + toll.unusable };
    }
    sum
}

#[test]
fn a_kill_anywhere_before_the_power_cut_loses_no_answer_of_a_process_that_stays() {
    let toll = killed_at((0..100).step_by(5), 2, true);
    assert!(toll.cuts >= 2_000 && toll.lost == 0 && toll.unusable == 0, "{toll:?}");
}

/// Rows go into the tables on a thread of its own while others come.
#[test]
fn no_power_cut_while_rows_go_into_the_tables_loses_an_answer() {
    let disk = filled(40);
    let before = disk.image();
    let process = disk.stay(Plan::Work).unwrap();
    let mut given = Vec::new();
    for serial in 0..120 {
        assert_eq!(process.log().spend(&ask(serial, 1)).unwrap(), SpendResult::Fresh);
        given.push(Given { after: disk.changes(), what: What::Spent { serial, times: 0 } });
        thread::sleep(Duration::from_millis(20));
    }
    drop(process);
    let toll = cut_everywhere(&History { before, log: disk.take_log(), given }, 5);
    assert!(toll.cuts > 1_000 && toll.lost == 0 && toll.unusable == 0, "{toll:?}");
}

/// The tests are effective: they detect a journal that is not synced, one of which half is not read, and tables that
/// are not durable when the journal is overwritten.
#[test]
fn a_journal_with_a_mistake_in_it_is_caught() {
    for plan in [Plan::LoseJournalSyncs, Plan::ReadHalf, Plan::LoseSyncs(0), Plan::LoseSyncs(1)] {
        let toll = cut_everywhere(&history(&filled(10), &[plan; 12], true), 2);
        assert!(toll.lost + toll.unusable > 10, "{plan:?}: {toll:?}");
    }
}

/// They also detect one that holds syncs back although the process before it was killed between a write and its sync.
#[test]
fn a_process_that_stays_and_does_not_see_the_note_of_a_killed_one_is_caught() {
    let toll = killed_at(42..50, 8, false);
    assert!(toll.lost + toll.unusable > 0, "{toll:?}");
}

/// The files of the journal outlive the log that they belong to: an older log, put in its place, does not get their
/// rows.
#[test]
fn a_log_that_is_replaced_under_the_process_gets_no_rows_of_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let (path, backup) = (folder.path().join("log"), folder.path().join("backup"));
    Redb::new(&path, Options::default()).spend(&ask(1, 1)).unwrap();
    fs::copy(&path, &backup).unwrap();
    let resident = ResidentLog::new(&path, Options::default()).unwrap();
    // Several generations, the last of which stays in the journal.
    for serial in 10..14 {
        resident.spend(&ask(serial, 1)).unwrap();
        resident.summary().unwrap();
    }
    resident.spend(&ask(14, 1)).unwrap();
    fs::rename(&backup, &path).unwrap();
    // To the log that is there now these are fresh, and the first message gets each of them.
    for serial in 10..15 {
        assert_eq!(resident.spend(&ask(serial, 2)).unwrap(), SpendResult::Fresh, "{serial}");
    }
    assert!(matches!(resident.spend(&ask(1, 2)).unwrap(), SpendResult::DoubleSpend { .. }));
    // Killed: the next process finds the files as they are now.
    let after = tempfile::tempdir().unwrap();
    for suffix in ["", ".lock", ".journal0", ".journal1"] {
        let file = format!("log{suffix}");
        fs::copy(folder.path().join(&file), after.path().join(&file)).unwrap();
    }
    let log = Redb::new(after.path().join("log"), Options::default());
    for serial in 10..15 {
        assert!(matches!(log.would_spend(&ask(serial, 2)).unwrap(), SpendResult::Redelivery { .. }), "{serial}");
    }
}

/// Longer than any machine needs: an act that waits for a log in vain takes this long.
fn patient() -> Options {
    Options { wait: Duration::from_secs(900), ..Options::default() }
}

/// Fails if an act took as long as one that waits in vain.
#[track_caller]
fn comes_to_an_end<T>(what: &str, act: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let outcome = act();
    assert!(began.elapsed() < Duration::from_secs(300), "{what}: {:?}", began.elapsed());
    outcome
}

/// A process that locks a lent log between two borrowers is waited for like any other, and not asked for it in vain.
#[test]
fn a_lent_log_that_another_has_taken_meanwhile_is_back_when_he_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let resident = ResidentLog::new(&path, patient()).unwrap();
    resident.spend(&ask(1, 1)).unwrap();
    let (taken, is_taken) = channel();
    thread::scope(|scope| {
        let other = Redb::new(&path, patient());
        resident
            .lend(|| {
                scope.spawn(move || {
                    assert_eq!(other.spend(&ask(2, 1)).unwrap(), SpendResult::Fresh);
                    taken.send(()).unwrap();
                    thread::sleep(Duration::from_millis(300));
                    other.release();
                });
                is_taken.recv().unwrap();
            })
            .unwrap();
    });
    assert_eq!(comes_to_an_end("the spend", || resident.spend(&ask(3, 1))).unwrap(), SpendResult::Fresh);
}

/// Lookups for the rules bypass the spends, and must not get the log before the process that borrows it.
#[test]
fn a_log_that_is_lent_is_taken_by_none_of_the_process_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let resident = ResidentLog::new(&path, patient()).unwrap();
    let bob = Address::parse("bob@y.example").unwrap();
    thread::scope(|scope| {
        let lent = resident.lend(|| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let (owner, ever) = (Owner::default(), UnixTime(0));
                    let wrote_to = resident.wrote_to(owner, &bob, ever).unwrap();
                    assert!(!wrote_to && !resident.sent(owner, "<a@b>").unwrap());
                });
            }
            thread::sleep(Duration::from_millis(200));
            assert!(resident.is_alive(), "it only waits");
            comes_to_an_end("the spend", || Redb::new(&path, patient()).spend(&ask(1, 1)).unwrap())
        });
        assert_eq!(lent.unwrap(), SpendResult::Fresh);
    });
}

/// Standings of stamps can be long: more than a file of the journal holds, together or alone.
#[test]
fn standings_too_long_for_the_journal_are_answered_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let resident = ResidentLog::new(folder.path().join("log"), Options::default()).unwrap();
    let long = |serial: u32, messages: u32| {
        let used_for = (0..messages).map(|n| u128::from(n).to_be_bytes().into()).collect();
        let grant = Grant { uses: Some(messages + 9), used_for, ..Grant::new(GrantKind::MultiUse, NOW) };
        let standing = StampStatus { grant: Some(grant), ..StampStatus::default() };
        ExportRecord::Standing {
            vendor: "stamps.example".into(),
            serial: ask(serial, 1).serial,
            standing: Box::new(standing),
        }
    };
    let rows: Vec<ExportRecord> = (0..40).map(|serial| long(serial, 1_000)).chain([long(40, 32_000)]).collect();
    resident.import(&mut rows.into_iter()).unwrap();
    thread::scope(|scope| {
        for serial in 0..41 {
            let resident = &resident;
            scope.spawn(move || {
                let granted = SpendResult::Granted(GrantKind::MultiUse);
                assert_eq!(resident.spend(&SpendRequest { now: NOW, ..ask(serial, 9) }).unwrap(), granted);
            });
        }
    });
    for serial in 0..41 {
        assert!(resident.received(&ask(serial, 9)).unwrap(), "{serial}");
    }
}
