//! Every operation on the disk fails in turn, or the process is killed there. A request is then done or not, and both can
//! be found out by asking again.

use super::{BOUGHT, found, order, orders, payments, reserve, reserved, sound, token, total};
use crate::NOW;
use crate::disk::{Disk, Plan};
use mailstamp::accounting::bank::event::Event;
use mailstamp::bank::error::BankError;
use mailstamp::bank::handle::Bank;
use mailstamp::emstamp::inbound::Arrival;
use mailstamp::store::StoreError;
use rustix::io::Errno;

/// A bank with message 1 reserved, message 2 settled, token 1 pending, token 2 received, token 3 handed in.
fn filled() -> Disk {
    let disk = Disk::default();
    let bank = disk.bank(Plan::Work).unwrap();
    found(&bank);
    reserved(&bank, orders(1, 3));
    reserved(&bank, orders(2, 3));
    bank.settle(payments(&orders(2, 3)), NOW).unwrap();
    bank.pending((1..4).map(token).collect(), NOW).unwrap();
    bank.receive(vec!["in-2".into(), "in-3".into()], NOW).unwrap();
    bank.book(Event::Sent { request: "r".into(), ids: vec!["in-3".into()] }, NOW).unwrap();
    drop(bank);
    disk
}

/// Does `job` once for every operation that it needs, each time with that operation failing, and then `check`s the disk
/// with whether the job was answered.
fn at_every_operation<T: std::fmt::Debug>(job: impl Fn(&Bank) -> Result<T, BankError>, check: impl Fn(&Bank, bool)) {
    let before = filled();
    let (bank, count) = before.copy().bank_counting(Plan::Work);
    job(&bank.unwrap()).unwrap();
    let operations = count.lock().unwrap().all;
    assert!(operations > 8, "{operations}");
    for at in 0..operations {
        for plan in Plan::failures(at) {
            let disk = before.copy();
            let result = disk.bank(plan).and_then(|bank| job(&bank));
            if let (Err(error), Plan::FailAt(..)) = (&result, plan) {
                plan.assert_named(error.store().unwrap_or_else(|| panic!("{plan:?}: {error:?}")));
            }
            let bank = disk.bank(Plan::Work).unwrap();
            sound(&bank);
            check(&bank, result.is_ok());
            sound(&bank);
        }
    }
}

// E3, E13
#[test]
fn a_reservation_that_fails_anywhere_is_whole_or_not_at_all() {
    at_every_operation(
        |bank| reserve(bank, orders(5, 3)),
        |bank, is_done| {
            let before = bank.balance().unwrap().reserved;
            assert!(before == 18 || (!is_done && before == 9), "{before}");
            let again = reserved(bank, orders(5, 3));
            assert!(again.iter().all(|it| it.again == (before == 18)));
            assert_eq!(again[2].token, "m1 id-5-2 r2@x.example message 5 3");
            assert_eq!((bank.balance().unwrap().reserved, total(bank)), (18, BOUGHT + 8));
        },
    );
}

#[test]
fn a_settlement_that_fails_anywhere_can_be_repeated() {
    at_every_operation(
        |bank| bank.settle(payments(&orders(1, 3)), NOW),
        |bank, is_done| {
            let settled = bank.settle(payments(&orders(1, 3)), NOW).unwrap();
            assert!(settled == 0 || (!is_done && settled == 3), "{settled}");
            let has = bank.balance().unwrap();
            assert_eq!((has.reserved, has.paid, total(bank)), (0, 18, BOUGHT + 8));
        },
    );
}

#[test]
fn a_token_that_was_noted_stays_noted() {
    at_every_operation(
        |bank| bank.pending(vec![token(7), token(8)], NOW),
        |bank, is_done| {
            let found = bank.pending(vec![token(7), token(8)], NOW).unwrap();
            let right = if is_done { vec![Arrival::Again; 2] } else { found.clone() };
            assert_eq!(found, right);
            assert_eq!(found[0], found[1]);
            assert_eq!(bank.exposure("m9").unwrap(), 5 * 4);
        },
    );
}

#[test]
fn a_received_token_is_credited_once() {
    at_every_operation(
        |bank| bank.receive(vec!["in-1".into()], NOW),
        |bank, is_done| {
            let now = bank.receive(vec!["in-1".into()], NOW).unwrap();
            assert!(now == 0 || (!is_done && now == 1));
            assert_eq!((bank.balance().unwrap().received, total(bank)), (12, BOUGHT + 12));
        },
    );
}

#[test]
fn a_clearing_is_booked_once() {
    let collected = || Event::Collected { request: "r".into(), taken: vec![("in-3".into(), 4)], refused: Vec::new() };
    at_every_operation(
        |bank| bank.book(collected(), NOW),
        |bank, is_done| {
            let has = bank.balance().unwrap();
            let is_booked = has.received == 4;
            assert!(is_booked || !is_done);
            assert_eq!(bank.book(collected(), NOW).is_err(), is_booked);
            assert_eq!((bank.balance().unwrap().received, total(bank)), (4, BOUGHT + 8));
        },
    );
}

#[test]
fn creating_a_bank_fails_as_an_error_at_every_operation() {
    let (bank, count) = Disk::default().bank_counting(Plan::Work);
    bank.unwrap().found("agency.example", "shop", NOW).unwrap();
    let operations = count.lock().unwrap().all;
    for at in 0..operations {
        let made = Disk::default()
            .bank(Plan::FailAt(at, Errno::IO.raw_os_error()))
            .and_then(|bank| bank.found("agency.example", "shop", NOW));
        assert!(matches!(made, Err(BankError::Store(StoreError::Io { .. }))), "{at}: {made:?}");
    }
}

/// Syncs do not grow with the recipients, and what is known needs none.
#[test]
fn a_message_of_any_size_is_one_commit() {
    let before = filled();
    let syncs = |job: &dyn Fn(&Bank)| {
        let (bank, count) = before.copy().bank_counting(Plan::Work);
        job(&bank.unwrap());
        count.lock().unwrap().syncs
    };
    for recipients in [1, 10, 100] {
        assert_eq!(syncs(&|bank| drop(reserved(bank, orders(9, recipients)))), 2, "{recipients}");
    }
    // The file may have to grow.
    assert!((2..=3).contains(&syncs(&|bank| drop(reserved(bank, orders(9, 1_000))))));
    assert!((2..=3).contains(&syncs(&|bank| drop(bank.pending((10..1_010).map(token).collect(), NOW).unwrap()))));
    assert_eq!(syncs(&|bank| assert_eq!(bank.settle(payments(&orders(1, 3)), NOW).unwrap(), 3)), 2);
    assert_eq!(syncs(&|bank| assert!(reserved(bank, orders(1, 3)).iter().all(|it| it.again))), 0);
    assert_eq!(syncs(&|bank| assert_eq!(bank.pending(vec![token(1)], NOW).unwrap(), [Arrival::Again])), 0);
    assert_eq!(syncs(&|bank| drop(reserve(bank, vec![super::PaymentOrder { until: NOW, ..order(8, 1) }]).unwrap())), 0);
    assert_eq!(syncs(&|bank| drop(bank.balance().unwrap())), 0);
}
