//! `kill -9` in the middle of payments, and several processes at once. The other process is this test program.

use super::{BOUGHT, LIMIT, found, order, orders, payments, reserved, sound, token, total};
use crate::NOW;
use mailstamp::bank::handle::Bank;
use mailstamp::emstamp::inbound::Arrival;
use std::collections::BTreeMap;
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// Names the folder of the state to the child.
const FOLDER: &str = "MAILSTAMP_TEST_BANK";
/// Recipients of a message.
const EACH: usize = 3;

fn bank(folder: &Path) -> Bank {
    Bank::new(folder, Duration::from_secs(300))
}

/// The number of a message of a thread.
fn message(thread: usize, number: usize) -> usize {
    thread * 100_000 + number
}

/// The child's part: four threads that pay and are paid, and say so. Nothing without a folder.
#[test]
fn part_of_the_child() {
    let Some(folder) = env::var_os(FOLDER) else { return };
    let bank = bank(Path::new(&folder));
    let round: usize = env::var("MAILSTAMP_TEST_ROUND").unwrap().parse().unwrap();
    let most: usize = env::var("MAILSTAMP_TEST_MOST").unwrap().parse().unwrap();
    let worker = |thread: usize| {
        for number in 0..most {
            let message = message(thread + 10 * round, number);
            let paid = reserved(&bank, orders(message, EACH));
            say(&format!("reserved {message} {}", paid[0].token));
            bank.settle(payments(&orders(message, EACH)), NOW).unwrap();
            say(&format!("settled {message}"));
            bank.pending(vec![token(message)], NOW).unwrap();
            bank.receive(vec![format!("in-{message}")], NOW).unwrap();
            say(&format!("received {message}"));
        }
    };
    thread::scope(|scope| (0..4).map(|thread| scope.spawn(move || worker(thread))).for_each(drop));
}

fn say(line: &str) {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}").unwrap();
    stdout.flush().unwrap();
}

fn child(folder: &Path, round: usize, most: usize) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["bank::processes::part_of_the_child", "--exact", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .env("MAILSTAMP_TEST_ROUND", round.to_string())
        .env("MAILSTAMP_TEST_MOST", most.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What was said of each message: its first token, and the last word.
type Said = BTreeMap<usize, (String, &'static str)>;

/// Runs the child until it has said this many lines, and kills it.
fn killed(folder: &Path, round: usize, lines: usize, said: &mut Said) {
    let mut child = child(folder, round, usize::MAX);
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut note = |line: String| {
        // The name of the test stands before its first line.
        let words: Vec<&str> = line.split("... ").last().unwrap_or_default().splitn(3, ' ').collect();
        match words[..] {
            ["reserved", message, token] => {
                said.insert(message.parse().unwrap(), (token.to_owned(), "reserved"));
            }
            ["settled", message] => said.get_mut(&message.parse().unwrap()).unwrap().1 = "settled",
            ["received", message] => said.get_mut(&message.parse().unwrap()).unwrap().1 = "received",
            _ => {}
        }
    };
    for _ in 0..lines {
        note(output.next().expect("the child works until it is killed"));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    output.for_each(note);
}

// E3, E13: kill -9 loses and doubles nothing
#[test]
fn after_kill_9_no_credit_is_lost_or_doubled() {
    let folder = tempfile::tempdir().unwrap();
    let bank = bank(folder.path());
    found(&bank);
    let mut said = Said::new();
    for round in 0..8 {
        killed(folder.path(), round, 9 + round * 11, &mut said);
        sound(&bank);
        for (message, (text, word)) in &said {
            let again = reserved(&bank, orders(*message, EACH));
            assert!(again.iter().all(|it| it.again), "{message} was lost");
            assert_eq!(&again[0].token, text);
            if *word != "reserved" {
                assert_eq!(bank.settle(payments(&orders(*message, EACH)), NOW).unwrap(), 0, "{message}");
            }
            if *word == "received" {
                assert_eq!(bank.pending(vec![token(*message)], NOW).unwrap(), [Arrival::Received]);
            }
        }
        let has = bank.balance().unwrap();
        assert_eq!(has.licensed + has.reserved + has.paid, LIMIT);
        assert_eq!(total(&bank), BOUGHT + has.received);
        assert!((has.reserved + has.paid).is_multiple_of(3 * EACH as u64), "messages are reserved whole");
        // What was perhaps done is done now, and once.
        for thread in 0..4 {
            let first = message(thread + 10 * round, 0);
            let count = (0..).take_while(|number| said.contains_key(&(first + number))).count();
            for message in first..=first + count {
                reserved(&bank, orders(message, EACH));
                bank.settle(payments(&orders(message, EACH)), NOW).unwrap();
                bank.pending(vec![token(message)], NOW).unwrap();
                bank.receive(vec![format!("in-{message}")], NOW).unwrap();
                said.entry(message)
                    .or_insert_with(|| (reserved(&bank, vec![order(message, 0)])[0].token.clone(), ""))
                    .1 = "received";
            }
        }
        let has = bank.balance().unwrap();
        assert_eq!((has.reserved, has.paid), (0, (said.len() * EACH * 3) as u64));
        assert_eq!(has.received, (said.len() * 4) as u64);
        sound(&bank);
    }
}

#[test]
fn processes_share_a_bank() {
    let folder = tempfile::tempdir().unwrap();
    let bank = bank(folder.path());
    found(&bank);
    let mut children: Vec<Child> = (0..3).map(|round| child(folder.path(), round, 5)).collect();
    let mut looks = 0;
    while children.iter_mut().any(|child| child.try_wait().unwrap().is_none()) {
        sound(&bank);
        let has = bank.balance().unwrap();
        assert_eq!((has.licensed + has.reserved + has.paid, has.held), (LIMIT, BOUGHT - LIMIT));
        looks += 1;
    }
    assert!(looks > 0);
    assert!(children.iter_mut().all(|child| child.wait().unwrap().success()));
    let has = bank.balance().unwrap();
    assert_eq!((has.reserved, has.paid, has.received), (0, 60 * 9, 60 * 4));
    sound(&bank);
}
