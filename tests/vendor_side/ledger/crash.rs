//! `kill -9` in the middle of sales and returns, and old backups put back.

use super::meters::license;
use super::{NOW, Shop, WAIT, handed, open, order, orders, sound, texts};
use crate::support::meters::{Meter, head};
use mailstamp::accounting::event::Terms;
use mailstamp::accounting::hash::Hash;
use mailstamp::accounting::order::Order;
use mailstamp::accounting::work::{Gift, WorkTerms};
use mailstamp::ledger::error::LedgerError;
use mailstamp::ledger::handle::Ledger;
use mailstamp::ledger::model::{MeterContact, TokenClaim};
use mailstamp::ledger::ops;
use mailstamp::ledger::payment::Paid;
use mailstamp::ledger::trade::{IssuedStamps, RedeemRequest};
use mailstamp::vendor_api::meters::ClearingResult;
use std::collections::{BTreeMap, HashSet};
use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

/// Names the folder of the ledger to the child.
const FOLDER: &str = "MAILSTAMP_TEST_LEDGER";
/// Stamps of one request.
const EACH: usize = 3;

fn key(thread: usize, number: usize) -> String {
    format!("{thread}.{number}")
}

/// The child's part: four threads that sell and take back, and say so when it is done. Nothing without a folder.
#[test]
fn part_of_the_child() {
    let Some(folder) = env::var_os(FOLDER) else { return };
    let ledger = open(Path::new(&folder));
    let round: usize = env::var("MAILSTAMP_TEST_ROUND").unwrap().parse().unwrap();
    let worker = |thread: usize| {
        for number in 0.. {
            let sold = issue(&ledger, &key(thread + 10 * round, number));
            let stamps: Vec<RedeemRequest> = handed(&texts(&sold)[..1]);
            say(&format!("sold {} {number}", thread + 10 * round));
            ledger.deposit(2, &stamps, NOW).unwrap();
            say(&format!("taken {} {number}", thread + 10 * round));
        }
    };
    thread::scope(|scope| (0..4).map(|thread| scope.spawn(move || worker(thread))).for_each(drop));
}

fn say(line: &str) {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}").unwrap();
    stdout.flush().unwrap();
}

fn issue(ledger: &Ledger, key: &str) -> IssuedStamps {
    ledger.issue(1, &orders(EACH), Some(key), NOW).unwrap()
}

/// Runs the child until it has printed this many lines, kills it, and returns the reported sales, or
/// clearings, of every thread.
fn killed(child: &str, folder: &Path, round: usize, lines: usize) -> BTreeMap<usize, usize> {
    let mut child = Command::new(env::current_exe().unwrap())
        .args([child, "--exact", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .env("MAILSTAMP_TEST_ROUND", round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BTreeMap::new();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut count = 0;
    let mut note = |line: String| {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [.., "sold" | "cleared", thread, number] = words[..] {
            said.insert(thread.parse().unwrap(), number.parse::<usize>().unwrap() + 1);
        }
    };
    while count < lines {
        note(output.next().expect("the child works until it is killed"));
        count += 1;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    output.for_each(note);
    said
}

// BP2a after a crash, threat 21 (kill -9 in redeem), threat 22 (charged once)
#[test]
fn after_kill_9_nothing_is_lost_doubled_or_charged_twice() {
    let shop = Shop::new();
    let (alice, joe) = (shop.account("alice", 1_000_000), shop.account("joe", 0));
    assert_eq!((alice.number, joe.number), (1, 2));
    shop.ledger.own(joe.number, "far.example", NOW).unwrap();
    let path = shop.path();
    drop(shop.ledger);
    let mut sales = 0;
    let mut stamps = HashSet::new();
    for round in 0..8 {
        let said = killed("ledger::crash::part_of_the_child", &path, round, 7 + round * 13);
        let ledger = open(&path);
        sound(&ledger);
        for (thread, count) in said {
            // What was said to be sold was; the one after it may have been.
            for number in 0..=count {
                let sold = issue(&ledger, &key(thread, number));
                assert!(sold.sale.again || number == count, "{thread} {number} was lost");
                stamps.extend(texts(&sold));
                sales += 1;
                ledger.deposit(2, &handed(&texts(&sold)[..1]), NOW).unwrap();
            }
        }
        // A thread that said nothing may have sold once: ask for it too, so that every sale is known.
        for thread in (0..4).map(|thread| thread + 10 * round) {
            if !stamps.is_empty() && issue_is_new(&ledger, thread, &mut stamps) {
                sales += 1;
            }
        }
        assert_eq!(stamps.len(), sales * EACH, "no serial twice");
        assert_eq!(ledger.account(1, NOW).unwrap().balance, 1_000_000 - (sales * EACH) as u64, "charged once");
        assert_eq!(ledger.summary().unwrap().stamps, (sales * EACH) as u64);
        let taken = ledger.account(2, NOW).unwrap().balance;
        assert!(taken <= sales as u64, "{taken} of {sales} were taken back");
        sound(&ledger);
    }
}

/// The child's part: four threads that clear one token each time. Nothing without a folder.
#[test]
fn part_of_the_child_that_clears() {
    let Some(folder) = env::var_os(FOLDER) else { return };
    let ledger = open(Path::new(&folder));
    let round: usize = env::var("MAILSTAMP_TEST_ROUND").unwrap().parse().unwrap();
    let worker = |thread: usize| {
        for number in 0.. {
            assert_eq!(clear(&ledger, &key(thread + 10 * round, number)), CLEARED);
            say(&format!("cleared {} {number}", thread + 10 * round));
        }
    };
    thread::scope(|scope| (0..4).map(|thread| scope.spawn(move || worker(thread))).for_each(drop));
}

const CLEARED: ClearingResult = ClearingResult::Cleared { credits: 2 };

/// Clears the payment of this name, under an idempotency key of the same name.
fn clear(ledger: &Ledger, name: &str) -> ClearingResult {
    let body = Hash::of(name.as_bytes());
    let (kid, idempotency) = (Meter::new(2).kid().to_owned(), name.to_owned());
    let contact = MeterContact { account: 2, kid, idempotency, body, bank: head(9) };
    let claim = TokenClaim { license: 1, credits: 2, payment: body, until: NOW };
    ledger.run(ops::Clear { contact, tokens: vec![Ok(claim)] }, NOW).unwrap().each.remove(0)
}

#[test]
fn after_kill_9_every_payment_was_cleared_once() {
    let shop = Shop::new();
    shop.account("payer", 1_000_000);
    shop.account("payee", 0);
    license(&shop.ledger, 1, &Meter::new(1), 900_000, NOW).unwrap();
    license(&shop.ledger, 2, &Meter::new(2), 0, NOW).unwrap();
    let path = shop.path();
    drop(shop.ledger);
    let mut cleared = 0;
    for round in 0..6 {
        let said = killed("ledger::crash::part_of_the_child_that_clears", &path, round, 5 + round * 17);
        let ledger = open(&path);
        sound(&ledger);
        for thread in (0..4).map(|thread| thread + 10 * round) {
            // What was said to be cleared was; the one after it may have been. Either way the answer is the same.
            let count = said.get(&thread).copied().unwrap_or_default();
            for number in 0..=count {
                let before = ledger.summary().unwrap().cleared;
                assert_eq!(clear(&ledger, &key(thread, number)), CLEARED);
                let new = ledger.summary().unwrap().cleared - before;
                assert!(new == 0 || number == count, "{thread} {number} was lost");
                cleared += 1;
            }
        }
        let summary = ledger.summary().unwrap();
        assert_eq!(summary.cleared, cleared, "each once");
        assert_eq!(ledger.account(2, NOW).unwrap().balance, 2 * cleared);
        assert_eq!(summary.licensed, 900_000 - 2 * i64::try_from(cleared).unwrap());
        sound(&ledger);
    }
}

/// Asks for the first request of a thread; whether its stamps were not known yet.
fn issue_is_new(ledger: &Ledger, thread: usize, stamps: &mut HashSet<String>) -> bool {
    let before = stamps.len();
    stamps.extend(texts(&issue(ledger, &key(thread, 0))));
    stamps.len() > before
}

/// The child's part: four threads that give stamps for work. Nothing without a folder.
#[test]
fn part_of_the_child_that_gives() {
    let Some(folder) = env::var_os(FOLDER) else { return };
    let ledger = open(Path::new(&folder));
    let round: usize = env::var("MAILSTAMP_TEST_ROUND").unwrap().parse().unwrap();
    let worker = |thread: usize| {
        for number in 0.. {
            give(&ledger, &key(thread + 10 * round, number));
            say(&format!("sold {} {number}", thread + 10 * round));
        }
    };
    thread::scope(|scope| (0..4).map(|thread| scope.spawn(move || worker(thread))).for_each(drop));
}

fn give(ledger: &Ledger, key: &str) -> IssuedStamps {
    let order = Order { value: 0, ..order("joe@far.example") };
    ledger.issue_for(Paid::Given(Gift::Work), &[order], Some(key), NOW).unwrap()
}

#[test]
fn after_kill_9_each_work_was_given_and_counted_once() {
    let shop = Shop::new();
    shop.ledger.run(ops::SetRecipient { recipient: "joe@far.example".into() }, NOW).unwrap();
    let set = |ledger: &Ledger, per_day| {
        let work = Some(WorkTerms { per_day, ..WorkTerms::default() });
        ledger.run(ops::SetTerms { terms: Terms { work, ..ledger.profile().unwrap().terms } }, NOW).unwrap();
    };
    set(&shop.ledger, 100_000);
    let path = shop.path();
    drop(shop.ledger);
    let mut given = 0;
    let mut stamps = HashSet::new();
    for round in 0..4 {
        let said = killed("ledger::crash::part_of_the_child_that_gives", &path, round, 5 + round * 17);
        let ledger = open(&path);
        sound(&ledger);
        for thread in (0..4).map(|thread| thread + 10 * round) {
            // What was said to be given was; the one after it may have been. Either way it is the same stamp.
            let count = said.get(&thread).copied().unwrap_or_default();
            for number in 0..=count {
                let sold = give(&ledger, &key(thread, number));
                assert!(sold.sale.again || number == count, "{thread} {number} was lost");
                stamps.extend(texts(&sold));
                given += 1;
            }
        }
        assert_eq!(stamps.len(), given);
        assert_eq!(ledger.summary().unwrap().stamps, given as u64);
        // The count of the cap is that of the stamps.
        let is_sold_out = |per_hour: usize| {
            set(&ledger, u32::try_from(24 * per_hour).unwrap());
            ledger.run(ops::WhenGiven {}, NOW).unwrap().work.is_some()
        };
        assert!(is_sold_out(given) && !is_sold_out(given + 1), "{given}");
        set(&ledger, 100_000);
        sound(&ledger);
    }
}

// BP2a after a restored backup
#[test]
fn a_ledger_put_back_from_an_old_backup_never_sells_a_serial_again() {
    let shop = Shop::new();
    let account = shop.account("alice", 10_000);
    let mut serials: Vec<String> = Vec::new();
    let mut issue = |ledger: &Ledger, count: usize| {
        for _ in 0..count {
            serials.extend(texts(&ledger.issue(account.number, &orders(10), None, NOW).unwrap()));
        }
    };
    issue(&shop.ledger, 20);
    let backup = shop.folder.path().join("backup");
    let head = shop.ledger.backup(&backup).unwrap();
    assert_eq!(fs::metadata(&backup).unwrap().len() % 4096, 0);
    issue(&shop.ledger, 20);
    let path = shop.path();
    drop(shop.ledger);
    for round in 0..3 {
        // The lock file stays; so it is as after a lost disk.
        fs::remove_file(path.join("ledger.redb")).unwrap();
        let ledger = Ledger::restore(&path, &backup, NOW).unwrap();
        assert_eq!(ledger.account(account.number, NOW).unwrap().balance, 9_800);
        // In the same second with the same ledger, three times.
        issue(&ledger, 20);
        sound(&ledger);
        assert_eq!(ledger.audit(Some(head)).unwrap().problems, Vec::<String>::new());
        let entry = ledger.run(ops::Entries { after: head.number, most: 1 }, NOW).unwrap().remove(0);
        assert_eq!(serde_json::to_value(&entry.event).unwrap()["event"], "restored", "round {round}");
        assert!(matches!(Ledger::restore(&path, &backup, NOW), Err(LedgerError::Exists { .. })));
    }
    assert_eq!(serials.len(), 1_000);
    assert_eq!(serials.iter().collect::<HashSet<_>>().len(), 1_000);
}

#[test]
fn a_backup_is_consistent_while_others_work() {
    let shop = Shop::new();
    let account = shop.account("alice", 1_000_000);
    let others = thread::scope(|scope| {
        let work = || {
            let mut count = 0;
            while !shop.folder.path().join("over").exists() {
                shop.ledger.issue(account.number, &orders(7), None, NOW).unwrap();
                count += 1;
            }
            count
        };
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(work)).collect();
        for number in 0..5 {
            let backup = shop.folder.path().join(format!("backup{number}"));
            let head = shop.ledger.backup(&backup).unwrap();
            let ledger = Ledger::restore(&shop.folder.path().join(format!("copy{number}")), &backup, NOW).unwrap();
            sound(&ledger);
            assert_eq!(ledger.summary().unwrap().head.number, head.number + 1);
        }
        fs::write(shop.folder.path().join("over"), "").unwrap();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum::<u64>()
    });
    assert_eq!(shop.has(&account), 1_000_000 - 7 * others);
    let there = shop.folder.path().join("backup0");
    let before = fs::read(&there).unwrap();
    let error = shop.ledger.backup(&there).unwrap_err().to_string();
    assert!(error.contains("cannot create"), "{error}");
    assert_eq!(fs::read(&there).unwrap(), before, "a file that is there is left alone");
}

#[test]
fn a_backup_that_was_edited_is_not_put_back() {
    let shop = Shop::new();
    shop.account("alice", 10);
    let backup = shop.folder.path().join("backup");
    shop.ledger.backup(&backup).unwrap();
    super::chain::edit(&backup, |tx| {
        let mut table = tx.open_table(super::chain::BALANCE).unwrap();
        let keys: Vec<[u8; 12]> =
            redb::ReadableTable::iter(&table).unwrap().map(|row| *row.unwrap().0.value()).collect();
        table.insert(&keys[0], 1_000_000).unwrap();
    });
    let folder = shop.folder.path().join("copy");
    let error = Ledger::restore(&folder, &backup, NOW).unwrap_err();
    assert!(matches!(&error, LedgerError::Backup { what, .. } if what.contains("has 1000000")), "{error}");
    assert!(matches!(Ledger::open(&folder, WAIT), Err(LedgerError::Absent { .. })));
    fs::write(&backup, "nothing").unwrap();
    assert!(Ledger::restore(&folder, &backup, NOW).is_err());
}
