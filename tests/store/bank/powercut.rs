//! The power is cut after every change that reaches the disk, in a history of processes that pay and are paid, and are
//! killed now and then. Whatever part of the unsynced changes survives, every answer is remembered and the bank is sound.

use super::{found, order, orders, payments, reserve, sound, token};
use crate::NOW;
use crate::disk::{Change, Cutter, Dice, Disk, Image, Plan};
use mailstamp::accounting::bank::books::PaymentState;
use mailstamp::bank::error::BankError;
use mailstamp::emstamp::inbound::Arrival;

/// What was answered.
enum What {
    Reserved(usize, String),
    Settled(usize),
    Pending(usize),
    Received(usize),
}

struct History {
    before: Image,
    log: Vec<Change>,
    /// Each answer, and the number of changes that had reached the disk then.
    given: Vec<(usize, What)>,
}

fn history(seed: u64, processes: usize) -> History {
    let disk = Disk::default();
    found(&disk.bank(Plan::Work).unwrap());
    disk.take_log();
    let before = disk.image();
    let mut dice = Dice(seed);
    let mut given = Vec::new();
    for number in 0..processes {
        let plan = match dice.below(5) {
            0 | 1 => Plan::DieAt(usize::try_from(dice.below(60)).unwrap()),
            2 => Plan::FailAt(usize::try_from(dice.below(60)).unwrap(), 5),
            _ => Plan::Work,
        };
        let Ok(bank) = disk.bank(plan) else { continue };
        let mut note = |what| given.push((disk.changes(), what));
        if let Ok(reserved) = reserve(&bank, orders(number, 2)) {
            note(What::Reserved(number, reserved.into_iter().nth(1).unwrap().unwrap().token));
            if bank.settle(payments(&orders(number, 2)), NOW).is_ok() {
                note(What::Settled(number));
            }
        }
        if bank.pending(vec![token(number)], NOW).is_ok() {
            note(What::Pending(number));
            if bank.receive(vec![format!("in-{number}")], NOW).is_ok() {
                note(What::Received(number));
            }
        }
    }
    History { before, log: disk.take_log(), given }
}

/// Whether all that was answered is remembered; the bank must be sound, and can be written.
fn check(disk: &Disk, given: &[&What]) -> Result<bool, BankError> {
    let bank = disk.bank(Plan::Work)?;
    sound(&bank);
    for what in given {
        let kept = match what {
            What::Reserved(number, token) => {
                let again = reserve(&bank, vec![order(*number, 1)])?.remove(0).unwrap();
                again.again && again.token == *token
            }
            What::Settled(number) => {
                reserve(&bank, vec![order(*number, 0)])?.remove(0).unwrap().state == PaymentState::Settled
            }
            What::Pending(number) => {
                matches!(bank.pending(vec![token(*number)], NOW)?[..], [Arrival::Again | Arrival::Received])
            }
            What::Received(number) => bank.pending(vec![token(*number)], NOW)? == [Arrival::Received],
        };
        if !kept {
            return Ok(false);
        }
    }
    assert!(!reserve(&bank, orders(1_000_000, 1))?.remove(0).unwrap().again);
    sound(&bank);
    Ok(true)
}

#[test]
fn no_power_cut_loses_an_answer_or_a_credit() {
    let history = history(3, 16);
    let mut dice = Dice(4);
    let mut cutter = Cutter::new(history.before.clone(), &history.log);
    let mut cuts = 0;
    for at in 0..=history.log.len() {
        let given: Vec<&What> = history.given.iter().filter(|(after, _)| *after <= at).map(|(_, what)| what).collect();
        for way in 0..4 {
            let salt = dice.below(u64::MAX);
            let image = cutter.cut(at, |op| match way {
                0 => false,
                1 => Dice(salt ^ op as u64).below(2) == 0,
                _ => dice.below(4) < way,
            });
            cuts += 1;
            let kept = check(&Disk::of(image, salt.is_multiple_of(2)), &given);
            assert!(matches!(kept, Ok(true)), "cut after {at}, way {way}: {kept:?}");
        }
    }
    assert!(cuts > 1_000, "{cuts}");
}
