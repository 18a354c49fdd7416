//! The power is cut at every change that reaches the disk, in a history of processes that spend, see messages again,
//! purge, revoke, reply, learn, and are killed now and then. Whatever part of the unsynced changes survives: the log
//! opens, every answer that was given is remembered, it can be written again, and it is sound. This is what lets the
//! store spare syncs (src/store/redb/sync_elision.rs), and it must be run against every new version of redb.

use super::SetStanding;
use crate::disk::{Change, Cutter, Dice, Disk, Image, Plan};
use crate::processes::letter;
use crate::replies::reply;
use crate::{DAY, NOW, ask};
use mailstamp::grant::StampStatus;
use mailstamp::store::{ContactStore, ReplyLog, ReplyRequest, Reservation, Sent, Store, StoreError, UsedLog};
use mailstamp::time::UnixTime;
use mailstamp::verdict::spend::{SpendRequest, SpendResult};

/// An answer, and the number of changes that had reached the disk then.
pub struct Given {
    pub after: usize,
    pub what: What,
}

pub enum What {
    Spent { serial: u32, times: u8 },
    Revoked { serial: u32 },
    Replied { sender: u32 },
    Learned { number: u32 },
}

pub struct History {
    pub before: Image,
    pub log: Vec<Change>,
    pub given: Vec<Given>,
}

/// Counters of the cuts.
#[derive(Debug, Default)]
pub struct Toll {
    pub cuts: usize,
    pub lost: usize,
    pub unusable: usize,
}

/// A disk with a log of `rows` rows that ended long ago and `rows` that are good, well synced.
pub fn filled(rows: u32) -> Disk {
    let disk = Disk::default();
    let log = disk.open(Plan::Work).unwrap();
    for n in 0..rows {
        let old = NOW.plus(-100 * DAY);
        log.spend(&SpendRequest { now: old, expires: Some(old.plus(i64::from(n) * 3_600)), ..ask(1_000_000 + n, 1) })
            .unwrap();
        log.spend(&ask(2_000_000 + n, 1)).unwrap();
    }
    disk.take_log();
    disk
}

/// How the processes of a history are broken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Broken {
    Not,
    /// One of the two syncs of a commit is never done.
    Sync(usize),
    /// The note that a killed process left is not seen.
    Note,
}

/// Processes as they come: some are killed on the way, or their disk fails once.
fn mixed(seed: u64, processes: usize) -> Vec<Plan> {
    let mut dice = Dice(seed);
    let plan = |_| match dice.below(6) {
        0 | 1 => Plan::DieAt(dice.below(35) as usize),
        2 => Plan::FailAt(dice.below(35) as usize, 5),
        _ => Plan::Work,
    };
    (0..processes).map(plan).collect()
}

/// Runs processes one after the other. Each spends one stamp; some do more.
fn history(disk: &Disk, processes: &[Plan], broken: Broken) -> History {
    let before = disk.image();
    let mut given = Vec::new();
    let mut dice = Dice(processes.len() as u64);
    for (serial, plan) in (0..).zip(processes) {
        let plan = if let Broken::Sync(which) = broken { Plan::LoseSyncs(which) } else { *plan };
        if broken == Broken::Note {
            disk.forget_note();
        }
        let Ok(log) = disk.open(plan) else { continue };
        let mut note = |what| given.push(Given { after: disk.changes(), what });
        match log.spend(&ask(serial, 1)) {
            Ok(answer) => {
                assert_eq!(answer, SpendResult::Fresh);
                note(What::Spent { serial, times: 0 });
            }
            Err(_) => continue,
        }
        if dice.below(4) == 0 && log.spend(&ask(serial, 1)).is_ok() {
            note(What::Spent { serial, times: 1 });
        }
        if dice.below(8) == 0 {
            let revoked = StampStatus { revoked: Some(7), ..StampStatus::default() };
            if log.set_standing("stamps.example", &ask(serial, 1).serial, revoked).is_ok() {
                note(What::Revoked { serial });
            }
        }
        if dice.below(6) == 0 && log.reserve_reply(&to_anybody(serial)).is_ok_and(|it| it == Reservation::Yes) {
            note(What::Replied { sender: serial });
        }
        if dice.below(6) == 0 && log.learn(&[letter(serial)]).is_ok() {
            note(What::Learned { number: serial });
        }
        if dice.below(8) == 0 {
            let _ = log.purge(NOW, 0, 3);
        }
    }
    History { before, log: disk.take_log(), given }
}

/// A reply that no ceiling stops.
fn to_anybody(sender: u32) -> ReplyRequest {
    ReplyRequest { per_day: 1_000, ..reply(sender, 0) }
}

/// Whether all that was answered is remembered.
pub fn remembered(log: &dyn Store, given: &[&What]) -> Result<bool, StoreError> {
    for what in given {
        let kept = match what {
            What::Spent { serial, times } => match log.would_spend(&ask(*serial, 1))? {
                SpendResult::Redelivery { times: now, .. } => now > *times,
                SpendResult::Revoked { .. } => true,
                _ => false,
            },
            What::Replied { sender } => log.peek_reply(&to_anybody(*sender))? == Reservation::Lately { at: NOW },
            What::Learned { number } => {
                let Sent { owner, recipients, message_id, time, .. } = letter(*number);
                log.wrote_to(owner, &recipients[0], time)? && log.sent(owner, &message_id.unwrap())?
            }
            What::Revoked { serial } => {
                log.would_spend(&ask(*serial, 1))? == SpendResult::Revoked { since: UnixTime(7) }
            }
        };
        if !kept {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether all that was answered is remembered, and the log is sound and can be written.
fn check(disk: &Disk, given: &[&What]) -> Result<bool, StoreError> {
    let log = disk.open(Plan::Work)?;
    if !remembered(&log, given)? {
        return Ok(false);
    }
    let next = ask(9_999_999, 1);
    assert_eq!(log.spend(&next)?, SpendResult::Fresh);
    drop(log);
    let log = disk.open(Plan::Work)?;
    assert!(matches!(log.would_spend(&ask(9_999_999, 2))?, SpendResult::DoubleSpend { .. }));
    log.verify()
}

fn cut_everywhere(history: &History, ways: u64) -> Toll {
    cut_and_check(history, ways, check)
}

/// Cuts the power after each change of a history, in the given number of ways, and checks the remaining files.
pub fn cut_and_check(
    history: &History,
    ways: u64,
    check: impl Fn(&Disk, &[&What]) -> Result<bool, StoreError>,
) -> Toll {
    let mut toll = Toll::default();
    let mut dice = Dice(4);
    let mut cutter = Cutter::new(history.before.clone(), &history.log);
    for at in 0..=history.log.len() {
        let given: Vec<&What> = history.given.iter().filter(|it| it.after <= at).map(|it| &it.what).collect();
        for way in 0..ways {
            let salt = dice.below(u64::MAX);
            let image = cutter.cut(at, |op| match way {
                0 => false,
                // Whole changes, in any selection; and then any 512 bytes, with the odds of the way.
                1 | 2 => Dice(salt ^ op as u64).below(2) == 0,
                _ => dice.below(ways) < way,
            });
            toll.cuts += 1;
            match check(&Disk::of(image, salt.is_multiple_of(2)), &given) {
                Ok(true) => {}
                Ok(false) => toll.lost += 1,
                Err(_) => toll.unusable += 1,
            }
        }
    }
    toll
}

/// Promise 2, threat 5: at least 5,000 cuts, in two histories so that they run side by side.
#[test]
fn no_power_cut_loses_an_answer_or_the_log() {
    let toll = cut_everywhere(&history(&filled(150), &mixed(1, 50), Broken::Not), 7);
    assert!(toll.cuts >= 2_500 && toll.lost == 0 && toll.unusable == 0, "{toll:?}");
}

#[test]
fn no_power_cut_loses_an_answer_or_the_log_either() {
    let toll = cut_everywhere(&history(&filled(3), &mixed(2, 50), Broken::Not), 7);
    assert!(toll.cuts >= 2_500 && toll.lost == 0 && toll.unusable == 0, "{toll:?}");
}

/// A process is killed at each of its operations, the next one works, and the power is cut at each of both's.
fn killed_at_each_operation(broken: Broken) -> Toll {
    let before = filled(20);
    let mut sum = Toll::default();
    for at in 0..35 {
        let history = history(&before.copy(), &[Plan::DieAt(at), Plan::Work, Plan::Work], broken);
        let toll = cut_everywhere(&history, 3);
        sum = Toll { cuts: sum.cuts + toll.cuts, lost: sum.lost + toll.lost, unusable: sum.unusable + toll.unusable };
    }
    sum
}

#[test]
fn a_kill_before_the_power_cut_loses_nothing() {
    let toll = killed_at_each_operation(Broken::Not);
    assert!(toll.cuts >= 2_500 && toll.lost == 0 && toll.unusable == 0, "{toll:?}");
}

/// The test is effective: it detects a wrapper that omits the sync of the data, or the one of the header.
#[test]
fn a_wrapper_that_spares_one_sync_too_many_is_caught() {
    for which in [0, 1] {
        let toll = cut_everywhere(&history(&filled(150), &mixed(3, 6), Broken::Sync(which)), 4);
        assert!(toll.lost + toll.unusable > 10, "{which}: {toll:?}");
    }
}

/// It also detects one that holds syncs back although the process before it was killed between a write and its sync.
#[test]
fn a_wrapper_that_does_not_see_the_note_of_a_killed_process_is_caught() {
    let toll = killed_at_each_operation(Broken::Note);
    assert!(toll.lost + toll.unusable > 0, "{toll:?}");
}
