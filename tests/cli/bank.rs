//! `mailstamp bank`: what a user sees of it without an agency.

use crate::support::{Home, Run, traced};
use mailstamp::accounting::bank::event::Event;
use mailstamp::accounting::hash::Hash;
use mailstamp::accounting::hash_chain::Head;
use mailstamp::accounting::meter::payment_hash;
use mailstamp::bank::handle::Bank;
use mailstamp::bank::order::{IncomingToken, PaymentOrder, copy_name};
use mailstamp::os::clock;
use mailstamp::stamp::signing::SecretKey;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

/// A home with an account and a bank.
fn home() -> Home {
    let home = Home::new();
    let mut add = home.command();
    add.args(["account", "add", "shop", "--url", "https://v.example", "--vendor", "agency.example", "--offline"]);
    crate::support::run(&mut add, b"msk_secret\n").exits(0);
    home.run(["bank", "init", "--agency", "agency.example", "--account", "shop"], b"").exits(0);
    home
}

fn bank(home: &Home) -> Bank {
    Bank::new(&home.state(), Duration::from_secs(60))
}

/// Books what an agency, a sender and a receiver would.
fn work(bank: &Bank) {
    let now = clock::now();
    let (agency, receipt) = (Head::EMPTY, Hash::of(b"receipt"));
    bank.book(Event::Checkpoint { agency, account: 7, balance: 1_000, before: 0, receipt }, now).unwrap();
    let key = SecretKey::from_random(&[1; 32]).public();
    let until = now.plus(86_400);
    bank.book(Event::Licensed { license: 1, kid: "m1".into(), key, credits: 600, until }, now).unwrap();
    let (mailbox, fingerprint) = ("r@x.example".to_owned(), "f".to_owned());
    let payment = payment_hash(7, &mailbox, &Hash::of(b"f").0);
    let (id, peer) = ("id".to_owned(), "far@agency.example".to_owned());
    let order = PaymentOrder { payment, mailbox, fingerprint, id, credits: 3, until, peer, renew: false };
    bank.reserve(vec![order], Arc::new(|_, _| Ok("token".into())), now).unwrap().remove(0).unwrap();
    bank.settle(vec![payment], now).unwrap();
    let (id, copy, peer, token) = ("in".to_owned(), copy_name("a", b"f"), "m9".to_owned(), "in".to_owned());
    bank.pending(vec![IncomingToken { id, copy, peer, credits: 5, until, token, max_exposure: 9 }], now).unwrap();
    bank.receive(vec!["in".into()], now).unwrap();
}

fn told(run: Run) -> serde_json::Value {
    serde_json::from_str(&run.exits(0).text()).unwrap()
}

#[test]
fn a_bank_begins_empty_and_for_a_known_account() {
    let home = Home::new();
    let init = |agency, account| home.run(["bank", "init", "--agency", agency, "--account", account], b"");
    init("agency.example", "shop").exits(65);
    for command in ["balance", "statement", "audit"] {
        let run = home.run(["bank", command], b"").exits(66);
        assert!(run.stderr.contains("bank init"), "{}", run.stderr);
    }
    let home = self::home();
    let init = |agency, account| home.run(["bank", "init", "--agency", agency, "--account", account], b"");
    assert!(init("agency.example", "shop").exits(65).stderr.contains("already has a bank"));
    assert!(init("other.example", "shop").exits(65).stderr.contains("not at \"other.example\""));
    let balance = home.run(["bank", "balance"], b"").exits(0).text();
    assert!(balance.starts_with("account shop at agency.example\n") && balance.contains("never asked"), "{balance}");
    assert!(home.run(["bank", "audit"], b"").exits(0).text().starts_with("sound: entries: 1; head 1:"));
}

#[test]
fn balance_and_statement_say_what_came_and_went() {
    let home = home();
    work(&bank(&home));
    let has = told(home.run(["bank", "balance", "--json"], b""));
    let sums = ["held", "licensed", "reserved", "paid", "received"].map(|name| has[name].as_u64().unwrap());
    assert_eq!(sums, [400, 597, 0, 3, 5]);
    assert_eq!((&has["licenses"][0]["kid"], &has["licenses"][0]["left"]), (&"m1".into(), &597.into()));
    let text = home.run(["bank", "balance"], b"").exits(0).text();
    assert!(text.ends_with(&format!(": 597 credits of 600 left\nhead {}\n", has["head"].as_str().unwrap())), "{text}");
    let lines = home.run(["bank", "statement", "--json"], b"").exits(0).text();
    let lines: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let changes: Vec<_> =
        lines.iter().map(|line| (line["event"].as_str().unwrap(), line["change"].as_i64().unwrap())).collect();
    let expected = [("checkpoint", 1_000), ("licensed", 0), ("reserved", 0), ("settled", 0), ("received", 5)];
    assert_eq!(changes, expected);
    assert_eq!((&lines[3]["peer"], &lines[4]["peer"]), (&"far@agency.example".into(), &"m9".into()));
    let table = home.run(["bank", "statement"], b"").exits(0).text();
    assert!(table.lines().count() == 6 && table.contains("+1000"), "{table}");
    let peers = home.run(["bank", "statement", "--by-peer"], b"").exits(0).text();
    let words: Vec<Vec<&str>> = peers.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words, [["far@agency.example", "3", "0"], ["m9", "0", "5"]]);
    assert_eq!(home.run(["bank", "statement", "--since", "2100-01-01", "--json"], b"").exits(0).text(), "");
    // Licences that have ended are not shown like one that pays.
    let (bank, now) = (bank(&home), clock::now());
    bank.book(Event::LicenseEnded { license: 1 }, now).unwrap();
    let (key, until) = (SecretKey::from_random(&[2; 32]).public(), now.plus(-1));
    bank.book(Event::Licensed { license: 2, kid: "m2".into(), key, credits: 9, until }, now).unwrap();
    let text = home.run(["bank", "balance"], b"").exits(0).text();
    assert!(text.contains("597 credits of 600 left, ended before its time\n"), "{text}");
    assert!(text.contains("9 credits of 9 left, past its end\n"), "{text}");
}

#[test]
fn stats_show_what_a_gateway_paid_and_received() {
    let home = home();
    let none = told(Home::new().run(["stats", "--json"], b""));
    assert_eq!(none["gateway"], serde_json::Value::Null);
    work(&bank(&home));
    let has = &told(home.run(["stats", "--json"], b""))["gateway"];
    let sums = |of: &serde_json::Value| ["bought", "received", "paid"].map(|name| of[name].as_i64().unwrap());
    assert_eq!((sums(has), &has["balance"]), ([1_000, 5, 3], &1_005.into()));
    assert_eq!(sums(&has["peers"]["far@agency.example"]), [0, 0, 3]);
    assert_eq!(sums(&has["peers"]["m9"]), [0, 5, 0]);
    let periods = has["periods"].as_array().unwrap();
    let all = periods.iter().map(sums).fold([0; 3], |sum, each| std::array::from_fn(|at| sum[at] + each[at]));
    assert_eq!(all, [1_000, 5, 3], "{periods:?}");
    let text = home.run(["stats"], b"").exits(0).text();
    let row = |what: &str| text.lines().find(|line| line.starts_with(what)).unwrap().to_owned();
    assert!(row("in the bank now").ends_with(" 1,005") && row("far@agency.example").ends_with(" 3"), "{text}");
    let page = home.run(["stats", "--html", "-"], b"").exits(0).text();
    for part in ["<table id=\"credits\">", "<table id=\"credit-peers\">", "<table id=\"credit-periods\">"] {
        assert_eq!(page.matches(part).count(), 1, "{part}");
    }
    assert!(page.contains("<th scope=\"row\">in the bank now</th><td>1,005</td>"), "{page}");
    let since = told(home.run(["stats", "--json", "--since", "2100-01-01"], b""));
    assert_eq!((sums(&since["gateway"]), &since["gateway"]["balance"]), ([0; 3], &1_005.into()));
}

// E21
#[test]
fn an_audit_by_command_tells_what_was_changed() {
    let home = home();
    work(&bank(&home));
    let file = home.state().join("bank/bank.redb");
    let old = fs::read(&file).unwrap();
    let head = told(home.run(["bank", "audit", "--json"], b""))["head"].as_str().unwrap().to_owned();
    bank(&home).book(Event::LicenseEnded { license: 1 }, clock::now()).unwrap();
    let last = told(home.run(["bank", "balance", "--json"], b""))["head"].as_str().unwrap().to_owned();
    home.run(["bank", "audit", "--since", &head], b"").exits(0);
    fs::write(&file, old).unwrap();
    home.run(["bank", "audit"], b"").exits(0);
    let run = home.run(["bank", "audit", "--since", &last], b"").exits(65);
    assert!(run.stderr.contains("older copy") && run.text().starts_with("not sound"), "{}", run.stderr);
    // A byte in the middle: the audit tells, or the file cannot be read.
    let whole = fs::read(&file).unwrap();
    for part in 1..40 {
        let mut bytes = whole.clone();
        let at = part * bytes.len() / 40;
        bytes[at] ^= 0x11;
        fs::write(&file, &bytes).unwrap();
        let run = home.run(["bank", "audit"], b"");
        assert!(matches!(run.code, 0 | 65 | 75 | 78), "{part}: {} {}", run.code, run.stderr);
        assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
    }
    fs::remove_file(&file).unwrap();
    let run = home.run(["bank", "balance"], b"").exits(78);
    assert!(run.stderr.contains("restore it from a backup"), "{}", run.stderr);
}

#[test]
fn looking_at_a_bank_writes_nothing() {
    let home = home();
    work(&bank(&home));
    for command in ["balance", "statement", "audit"] {
        let mut look = home.command();
        look.args(["bank", command]);
        let (run, notes) = traced(&mut look, "fsync,fdatasync,rename,unlink", b"");
        run.exits(0);
        assert!(!notes.contains("sync(") && !notes.contains("rename(") && !notes.contains("unlink("), "{notes}");
    }
}
