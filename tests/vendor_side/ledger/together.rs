//! Many requests at once, in one process and in several: no serial twice, no stamp taken back twice, no request lost.

use super::{NOW, Shop, WAIT, handed, open, orders, terms, texts};
use mailstamp::accounting::order::Order;
use mailstamp::accounting::redemption::StampProblem;
use mailstamp::ledger::error::LedgerError;
use mailstamp::ledger::handle::{Ledger, LedgerParams};
use mailstamp::ledger::ops;
use std::collections::HashSet;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::Duration;

// BP2a: 100,000 stamps from 8 parallel issuers
#[test]
fn eight_issuers_never_draw_one_serial_twice() {
    let shop = Shop::new();
    let account = shop.account("alice", 200_000);
    let batches = |each: usize, times: usize| -> Vec<String> {
        let worker = || {
            let mut serials = Vec::new();
            for _ in 0..times {
                let sold = shop.ledger.issue(account.number, &orders(each), None, NOW).unwrap();
                let draw = mailstamp::accounting::serial_derivation::Draw::new(sold.sale.at, sold.sale.seed.0);
                serials.extend((0..u32::try_from(each).unwrap()).map(|index| draw.serial(index).to_string()));
            }
            serials
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(worker)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        })
    };
    let mut serials = batches(500, 25);
    serials.extend(batches(1, 20));
    assert_eq!(serials.len(), 100_160);
    assert_eq!(serials.iter().collect::<HashSet<_>>().len(), 100_160);
    assert_eq!(shop.ledger.summary().unwrap().stamps, 100_160);
    assert_eq!(shop.has(&account), 200_000 - 100_160);
    shop.sound();
}

// Threat 21: 8 parallel redeems of one stamp, one success
#[test]
fn of_eight_who_hand_in_one_stamp_one_is_credited() {
    let shop = Shop::new();
    let (alice, joe) = (shop.account("alice", 100), shop.account("joe", 0));
    shop.ledger.own(joe.number, "far.example", NOW).unwrap();
    for round in 1..=10 {
        let stamps = handed(&texts(&shop.ledger.issue(alice.number, &orders(1), None, NOW).unwrap()));
        let each: Vec<_> = thread::scope(|scope| {
            let hand_in = || shop.ledger.deposit(joe.number, &stamps, NOW).unwrap().each.remove(0);
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(hand_in)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(each.iter().filter(|it| **it == Ok(1)).count(), 1);
        assert_eq!(each.iter().filter(|it| **it == Err(StampProblem::Deposited)).count(), 7);
        assert_eq!(shop.has(&joe), round);
    }
    shop.sound();
}

// Threat 22: a storm of one request
#[test]
fn a_storm_of_one_request_is_charged_once() {
    let shop = Shop::new();
    let account = shop.account("alice", 100);
    let answers: HashSet<Vec<String>> = thread::scope(|scope| {
        let issue = || texts(&shop.ledger.issue(account.number, &orders(2), Some("storm"), NOW).unwrap());
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(issue)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(answers.len(), 1);
    assert_eq!(shop.has(&account), 98);
    let spend = |credits| shop.ledger.pay_out(account.number, credits, &credits.to_string(), NOW).is_ok();
    // Only one of them can be paid.
    let paid = thread::scope(|scope| {
        let threads: Vec<_> = (50..58).map(|credits| scope.spawn(move || spend(credits))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).filter(|paid| *paid).count()
    });
    assert_eq!(paid, 1);
    shop.sound();
}

#[test]
fn refused_requests_leave_their_neighbours_alone() {
    let shop = Shop::new();
    let account = shop.account("alice", 50);
    // Two hundred requests for two stamps each, of which twenty-five can be paid, share a few commits.
    let sold: Vec<bool> = thread::scope(|scope| {
        let issue = || shop.ledger.issue(account.number, &orders(2), None, NOW).is_ok();
        let threads: Vec<_> = (0..200).map(|_| scope.spawn(issue)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(sold.iter().filter(|sold| **sold).count(), 25);
    assert_eq!(shop.has(&account), 0);
    shop.sound();
}

#[test]
fn other_processes_ask_the_one_that_has_the_ledger() {
    let shop = Shop::new();
    let account = shop.account("alice", 100);
    shop.ledger.listen().unwrap();
    let mode = fs::metadata(shop.path().join("ledger.socket")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // Within one process the lock of the file is held all the same.
    let there = Ledger::connect(&shop.path(), WAIT).unwrap();
    let wanted = [Order { hashed: true, value: 3, ..super::order("joe@far.example") }];
    let first = there.issue(account.number, &wanted, Some("k"), NOW).unwrap();
    let here = shop.ledger.issue(account.number, &wanted, Some("k"), NOW).unwrap();
    assert_eq!((texts(&first), here.sale.again), (texts(&here), true));
    assert_eq!(there.run(ops::AccountNamed { name: "alice".into() }, NOW).unwrap().balance, 97);
    let error = super::refused(there.issue(account.number, &orders(98), None, NOW));
    assert_eq!(error, super::refused(shop.ledger.issue(account.number, &orders(98), None, NOW)));
    there.rotate("b", NOW).unwrap();
    assert_eq!(there.profile().unwrap(), shop.ledger.profile().unwrap());
    assert_eq!(there.summary().unwrap(), shop.ledger.summary().unwrap());
    assert_eq!(
        there.run(ops::History { account: account.number, before: u64::MAX, most: 9 }, NOW).unwrap(),
        shop.ledger.run(ops::History { account: account.number, before: u64::MAX, most: 9 }, NOW).unwrap()
    );
    let report = there.audit(None).unwrap();
    assert_eq!(report, shop.ledger.audit(None).unwrap());
    let (text, _) = there.add_api_key(account.number, "x", NOW).unwrap();
    assert_eq!(there.authenticate(&text, NOW).unwrap(), account);
    assert_eq!(
        there.run(ops::Days { account: account.number, from: 0 }, NOW).unwrap(),
        shop.ledger.run(ops::Days { account: account.number, from: 0 }, NOW).unwrap()
    );
    let serial = mailstamp::stamp::serial::Serial::new("unknown").unwrap();
    assert_eq!(there.run(ops::Stamp { serial }, NOW).unwrap(), None);
    // When it goes, the next takes the ledger itself.
    let path = shop.path();
    drop(shop.ledger);
    assert!(there.summary().is_err());
    assert!(!path.join("ledger.socket").exists());
    assert_eq!(
        Ledger::connect(&path, WAIT).unwrap().run(ops::AccountNamed { name: "alice".into() }, NOW).unwrap().balance,
        97
    );
}

#[test]
fn a_ledger_in_use_by_a_silent_process_is_waited_for() {
    let shop = Shop::new();
    let error = Ledger::connect(&shop.path(), Duration::from_millis(50)).unwrap_err();
    assert!(matches!(&error, LedgerError::Busy { waited, .. } if waited.as_millis() >= 50), "{error}");
    assert!(matches!(Ledger::open(&shop.path(), Duration::ZERO), Err(LedgerError::Busy { .. })));
    let path = shop.path();
    let waiting = thread::spawn({
        let path = path.clone();
        move || open(&path)
    });
    drop(shop.ledger);
    let ledger = waiting.join().unwrap();
    assert!(ledger.summary().is_ok());
    drop(ledger);
    // A socket that a killed process left does not stop anybody.
    fs::write(path.join("ledger.socket"), "").unwrap();
    let ledger = open(&path);
    ledger.listen().unwrap();
    assert!(Ledger::connect(&path, WAIT).unwrap().summary().is_ok());
}

#[test]
fn a_new_ledger_waits_for_a_lock_that_outlives_its_ledger() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger");
    let found = || {
        Ledger::create(&path, &LedgerParams { vendor: "stamps.example".into(), kid: "a".into(), terms: terms() }, NOW)
    };
    drop(found().unwrap());
    // As after an init that was killed.
    fs::rename(path.join("ledger.redb"), path.join("ledger.redb.new")).unwrap();
    fs::remove_file(path.join("keys/key-a.json")).unwrap();
    let lock = File::open(path.join("ledger.lock")).unwrap();
    lock.lock().unwrap();
    thread::scope(|scope| {
        let made = scope.spawn(|| found().map(drop));
        // Time enough to give up, without a wait.
        thread::sleep(Duration::from_millis(200));
        drop(lock);
        made.join().unwrap().unwrap();
    });
}

// Layout 1: the address of a socket holds 107 bytes.
#[test]
fn a_ledger_in_a_folder_with_a_long_name_is_shared_as_any() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a".repeat(60)).join("b".repeat(60));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let founding = LedgerParams { vendor: "stamps.example".into(), kid: "k1".into(), terms: terms() };
    let ledger = Ledger::create(&path, &founding, NOW).unwrap();
    ledger.listen().unwrap();
    let other = Ledger::connect(&path, WAIT).unwrap();
    assert_eq!(
        other
            .run(ops::OpenAccount { name: "alice".into(), contact: "alice@y.example".into(), caps: None }, NOW)
            .unwrap()
            .name,
        "alice"
    );
    assert_eq!(ledger.summary().unwrap().accounts, 1);
    drop((other, ledger));
    assert!(!path.join("ledger.socket").exists());
}
