//! The vendor's public log: which leaves it has and when, its files after a crash, and a ledger that was restored.

mod crash;
mod days;
mod restore;
mod served;
mod tidy;
#[cfg(feature = "directory")]
mod witness;

use crate::ledger::{NOW, Shop, handed, orders, texts};
use crate::support::{MAILSTAMP, run};
use mailstamp::directory::document::LogEntry;
use mailstamp::directory::publish;
use mailstamp::ledger::public_log::files::LogFolder;
use mailstamp::ledger::public_log::publish::PublishedLog;
use mailstamp::stamp::claims::Stamp;
use mailstamp::stamp::serial::Serial;
use mailstamp::stamp::token::Token;
use mailstamp::time::UnixTime;
use mailstamp::transparency::checkpoint::Checkpoint;
use mailstamp::transparency::leaf::Leaf;
use mailstamp::transparency::note::{Note, VerifierKey};
use mailstamp::transparency::reader::VerifiedLog;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const DAY: i64 = 86_400;
const VENDOR: &str = "stamps.example";

/// Copies a folder to where there may be one.
fn copied(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

/// mailstamp, under strace with these options if there are any.
fn under(strace: &[&str]) -> Command {
    let mut command = match strace {
        [] => Command::new(MAILSTAMP),
        options => {
            let mut strace = Command::new("strace");
            strace.args(["-f", "-qq", "-o", "/dev/null"]).args(options).arg(MAILSTAMP);
            strace
        }
    };
    command.env_clear().env("PATH", "/usr/bin:/bin");
    command
}

/// A shop with the accounts `alice` (1), who buys, and `joe` (2), who deposits.
fn shop() -> Shop {
    let shop = Shop::new();
    assert_eq!(shop.account("alice", 1_000_000).number, 1);
    assert_eq!(shop.account("joe", 0).number, 2);
    shop.ledger.own(2, "far.example", NOW).unwrap();
    shop
}

/// The time of the test, days later.
fn on(day: i64) -> UnixTime {
    NOW.plus(day * DAY)
}

/// The day of the test, as leaves have it.
fn day(later: i64) -> u32 {
    u32::try_from(on(later).0 / DAY).unwrap()
}

fn sell(shop: &Shop, count: usize, at: UnixTime) -> Vec<String> {
    texts(&shop.ledger.issue(1, &orders(count), None, at).unwrap())
}

fn deposit(shop: &Shop, stamps: &[String], at: UnixTime) {
    assert!(shop.ledger.deposit(2, &handed(stamps), at).unwrap().each.iter().all(Result::is_ok));
}

/// Walks back from a directory to the first edition, over those that are kept in the folder. Returns the versions.
pub fn chain(public: &Path, directory: &str) -> Vec<u64> {
    let mut edition = publish::read(directory).unwrap();
    let mut versions = vec![edition.content.version];
    while let Some(previous) = edition.content.previous {
        let kept = public.join(format!(".well-known/digital-stamp-editions/{}.json", previous.version));
        edition = publish::read(&std::fs::read_to_string(kept).unwrap()).unwrap();
        assert_eq!((edition.content.version, edition.hash), (previous.version, previous.hash));
        versions.push(previous.version);
    }
    versions
}

fn serial(stamp: &str) -> Serial {
    Stamp::read(Token::parse(stamp).unwrap().payload()).unwrap().serial
}

fn public(shop: &Shop) -> PathBuf {
    shop.path().join("public")
}

fn publish(shop: &Shop, at: UnixTime) -> PublishedLog {
    shop.ledger.publish_log(&public(shop), false, at).unwrap()
}

/// Opens the checkpoint under its key.
fn checkpoint(entry: &LogEntry) -> Checkpoint {
    let note: Note = entry.checkpoint.parse().unwrap();
    Checkpoint::open(&note, &entry.vkey.parse::<VerifierKey>().unwrap()).unwrap()
}

/// All leaves of the files, each file verified.
fn leaves(public: &Path, entry: &LogEntry) -> Vec<Leaf> {
    let folder = LogFolder::below(public);
    let checkpoint = checkpoint(entry);
    let mut log = VerifiedLog::open(&folder, checkpoint.size, &checkpoint.root).unwrap();
    let bundles: Vec<_> = (0..log.bundles()).flat_map(|index| log.bundle(index).unwrap()).collect();
    assert_eq!(bundles.len() as u64, checkpoint.size);
    bundles.iter().map(|entry| Leaf::from_bytes(entry).unwrap()).collect()
}

/// Reads and verifies the log in Python, without any part of this program. Returns what it says.
fn in_python(public: &Path, vkey: &str) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/log_reader.py");
    let mut python = Command::new("/usr/bin/python3");
    python.arg(script).arg(LogFolder::below(public).path()).arg(vkey).env_clear();
    let ran = run(&mut python, b"");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    ran.text()
}

/// Fails unless ledger and files are sound.
#[track_caller]
fn sound(shop: &Shop) {
    shop.sound();
    assert_eq!(shop.ledger.check_log_files(&public(shop)).unwrap(), Vec::<String>::new());
}
