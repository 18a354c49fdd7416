//! The operator's commands: all that a vendor needs (BP2d), from the first key to the last payout.

use super::open;
use crate::support::Home;
use mailstamp::ledger::ops;
use serde_json::Value;
use std::fs;
use std::process::{Command, Stdio};

fn home() -> Home {
    let home = Home::bare();
    let init = ["vendor", "init", "--vendor", "stamps.example", "--kid", "a", "--price", "0.001 EUR"];
    let document = home.run(init, b"").exits(0).stdout;
    home.configure("addresses = [\"alice@x.example\"]");
    home.run(["trust", "add", "-"], &document).exits(0);
    home
}

fn vendor(home: &Home, line: &str, stdin: &str) -> crate::support::Run {
    let words = std::iter::once("vendor").chain(line.split(' '));
    home.run(words, stdin.as_bytes())
}

fn json(home: &Home, line: &str, stdin: &str) -> Value {
    serde_json::from_str(&vendor(home, &format!("{line} --json"), stdin).exits(0).text()).unwrap()
}

// BP2d: no service is needed, and it is the same stamp. BC4: neither side has a key. E7: what a million cost.
#[test]
fn a_stamp_is_sold_used_and_taken_back_by_commands_alone() {
    let home = home();
    assert_eq!(json(&home, "price", "")["cost"], "1000.00 EUR");
    vendor(&home, "account add bob --contact bob@y.example", "").exits(0);
    vendor(&home, "account add alice --contact alice@x.example", "").exits(0);
    let bought = json(&home, "credit bob 10 --reference r1", "");
    assert_eq!((&bought["sum"], &bought["balance"], &bought["again"]), (&"0.01 EUR".into(), &10.into(), &false.into()));
    assert_eq!(json(&home, "credit bob 10 --reference r1", "")["again"], true);
    let stamp = vendor(&home, "sell bob --to alice@x.example --value 3 --hashed", "").exits(0).text();
    let message = home.affix(stamp.trim(), &crate::support::letter("one"));
    home.classify(&message).exits(0).says("first-class paid");
    vendor(&home, "deposit alice", &stamp)
        .exits(65)
        .says("stamp 1: it names no address that this account has proved to own");
    vendor(&home, "account own alice alice@x.example", "").exits(0);
    let taken = json(&home, "deposit alice", &stamp);
    assert_eq!((&taken["credits"], &taken["balance"]), (&3.into(), &3.into()));
    assert!(taken["receipt"].as_str().unwrap().starts_with("v4.public."));
    vendor(&home, "deposit alice", &stamp).exits(65).says("stamp 1: it was taken back before");
    // The message as it came, folded as it was.
    let second = vendor(&home, "sell bob --to alice@x.example --hashed", "").exits(0).text();
    let message = home.affix(second.trim(), &crate::support::letter("two"));
    let taken = home.run(["vendor", "deposit", "alice", "--json"], &message).exits(0).text();
    assert_eq!(serde_json::from_str::<Value>(&taken).unwrap()["credits"], 1);
    for nothing in [&b""[..], &crate::support::letter("three")] {
        let run = home.run(["vendor", "deposit", "alice"], nothing).exits(65);
        assert!(run.stderr.contains("there is no stamp in what was read"), "{}", run.stderr);
    }
    assert_eq!(json(&home, "payout alice 3 --reference t1", "")["sum"], "0.003 EUR");
    vendor(&home, "payout alice 2 --reference t2", "").exits(65);
    assert_eq!(json(&home, "audit", "")["sound"], true);
    assert_eq!(json(&home, "account show bob", "")["credits"], 6);
    assert_eq!(json(&home, "account list", "")["accounts"].as_array().unwrap().len(), 2);
    assert_eq!(json(&home, "status", "")["stamps"], 2);
}

// BP1a
#[test]
fn a_request_without_a_recipient_is_refused() {
    let home = home();
    vendor(&home, "account add bob --contact b", "").exits(0);
    let run = vendor(&home, "sell bob", "").exits(64);
    assert!(run.stderr.contains("--to <ADDRESS>"), "{}", run.stderr);
    let run = vendor(&home, "sell bob --orders", "{\"value\":1}\n").exits(65);
    assert!(run.stderr.contains("line 1: the member \"recipient\" is missing"), "{}", run.stderr);
}

// Threat 22 and BP2d: orders by a file, again and again
#[test]
fn orders_from_a_file_are_filled_once() {
    let home = home();
    vendor(&home, "account add bob --contact b", "").exits(0);
    vendor(&home, "credit bob 100 --reference r", "").exits(0);
    let orders = "{\"recipient\":\"a@x.example\"}\n\n{\"recipient\":\"b@x.example\",\"value\":4,\"hashed\":true}\n";
    let first = vendor(&home, "sell bob --orders --key monday", orders).exits(0).text();
    assert_eq!(first.lines().count(), 2);
    assert_eq!(vendor(&home, "sell bob --orders --key monday", orders).exits(0).text(), first);
    vendor(&home, "sell bob --to a@x.example --key monday", "").exits(65);
    // A stamp that was handed out is not bought back: its buyer may have used it.
    vendor(&home, "refund bob", &first).exits(64);
    let serials = first.lines().map(|stamp| {
        let token = mailstamp::stamp::token::Token::parse(stamp).unwrap();
        mailstamp::stamp::claims::Stamp::read(token.payload()).unwrap().serial.to_string()
    });
    vendor(&home, &format!("revoke {}", serials.collect::<Vec<_>>().join(" ")), "").exits(0);
    assert_eq!(json(&home, "account show bob", "")["credits"], 95);
    let revoked = home.run(["vendor", "rotate", "b"], b"").exits(0).text();
    let document: Value = serde_json::from_str(&revoked).unwrap();
    assert_eq!(document["revoked"].as_array().unwrap().len(), 2);
    assert_eq!(document["keys"][0]["status"], "verify-only");
}

#[test]
fn vouchers_keys_and_caps() {
    let home = home();
    vendor(&home, "account add bob --contact b", "").exits(0);
    let codes = vendor(&home, "voucher 5 --count 2", "").exits(0).text();
    assert_eq!(codes.lines().count(), 2);
    for code in codes.lines() {
        vendor(&home, "voucher --redeem bob", code).exits(0);
        vendor(&home, "voucher --redeem bob", code).exits(65);
    }
    let key = json(&home, "account key bob --add laptop", "");
    assert!(key["key"].as_str().unwrap().starts_with("msk_"));
    let listed = json(&home, &format!("account key bob --revoke {}", key["id"].as_str().unwrap()), "");
    assert!(listed["keys"][0]["revoked"].is_number());
    vendor(&home, "account caps bob --max-stamps 1", "").exits(0);
    let orders = "{\"recipient\":\"a@x.example\"}\n".repeat(2);
    let run = vendor(&home, "sell bob --orders", &orders).exits(65);
    assert!(run.stderr.contains("2 stamps in one request; the cap is 1"), "{}", run.stderr);
    vendor(&home, "terms --days 7 --max-value 9", "").exits(0);
    assert_eq!(json(&home, "terms", "")["terms"]["days"], 7);
    for more in ["terms --days 367", "terms --max-days 367", "account caps bob --max-days 367"] {
        vendor(&home, more, "").exits(64);
    }
    home.run(["vendor", "price", "--set", "1 EUR / 800"], b"").exits(0);
    assert_eq!(json(&home, "price --stamps 800", "")["cost"], "1.00 EUR");
}

#[test]
fn only_the_caps_that_were_given_stay_when_the_terms_change() {
    let home = home();
    vendor(&home, "account add bob --contact b", "").exits(0);
    let caps = |line: &str| vendor(&home, format!("account caps bob {line}").trim(), "").exits(0).text();
    assert!(caps("").ends_with("\nof its own: none\n"));
    caps("--max-stamps 10");
    vendor(&home, "terms --max-credits 5", "").exits(0);
    assert_eq!(json(&home, "account show bob", "")["caps"]["credits_a_day"], 5);
    assert!(caps("--max-value 3").ends_with("\nof its own: 10 a request, 3 a stamp\n"));
    // Looking changes nothing.
    assert_eq!(caps(""), caps(""));
    assert_eq!(json(&home, "account show bob", "")["caps"]["stamps"], 10);
    assert!(
        caps("--default --max-days 9").starts_with("at most 1000 stamps a request, 1000 credits a stamp, 9 days, 5 ")
    );
    caps("--default");
    assert_eq!(json(&home, "account show bob", "")["caps"]["days"], 366);
}

#[test]
fn terms_with_a_shorter_cap_still_sell_to_who_asks_for_no_end() {
    let home = home();
    vendor(&home, "account add bob --contact b", "").exits(0);
    vendor(&home, "credit bob 10 --reference r", "").exits(0);
    let said = vendor(&home, "terms --max-days 14", "").exits(0).text();
    assert!(said.starts_with("stamps hold for 14 days unless"), "{said}");
    vendor(&home, "sell bob --to alice@x.example", "").exits(0);
    vendor(&home, "account caps bob --max-days 3", "").exits(0);
    vendor(&home, "sell bob --to alice@x.example", "").exits(0);
}

#[test]
fn commands_work_while_another_process_has_the_ledger() {
    let home = home();
    let folder = home.state().join("vendor");
    let ledger = open(&folder);
    ledger.listen().unwrap();
    vendor(&home, "account add bob --contact b", "").exits(0);
    vendor(&home, "credit bob 100 --reference r", "").exits(0);
    vendor(&home, "sell bob --to a@x.example", "").exits(0);
    vendor(&home, "rotate b", "").exits(0);
    vendor(&home, "backup copy", "").exits(0);
    // As without the other process.
    for (file, error) in [("copy", "File exists"), ("none/copy", "No such file or directory")] {
        let run = vendor(&home, &format!("backup {file}"), "").exits(73);
        assert!(run.stderr.contains(&format!("{file}: {error}")), "{}", run.stderr);
    }
    vendor(&home, "restore copy", "").exits(73);
    assert_eq!(ledger.run(ops::AccountNamed { name: "bob".into() }, super::NOW).unwrap().balance, 99);
    let audit = json(&home, "audit", "");
    assert_eq!(audit["head"], ledger.summary().unwrap().head.to_string());
    drop(ledger);
    let earlier = audit["head"].as_str().unwrap().to_owned();
    vendor(&home, &format!("audit --since {earlier}"), "").exits(0);
    fs::remove_file(folder.join("ledger.redb")).unwrap();
    vendor(&home, "status", "").exits(66);
    vendor(&home, "backup again", "").exits(66);
    vendor(&home, "restore missing", "").exits(66);
    vendor(&home, "restore copy", "").exits(0);
    vendor(&home, "restore copy", "").exits(73);
    vendor(&home, "backup copy", "").exits(73);
    vendor(&home, &format!("audit --since {earlier}"), "").exits(0);
    let other = format!("{}:{}", earlier.split(':').next().unwrap(), "0".repeat(64));
    let run = vendor(&home, &format!("audit --since {other}"), "").exits(65);
    assert!(run.text().contains("does not go through"), "{}", run.text());
}

#[test]
fn commands_take_turns() {
    let home = home();
    vendor(&home, "account add bob --contact b", "").exits(0);
    vendor(&home, "credit bob 100 --reference r", "").exits(0);
    let children: Vec<_> = (0..12)
        .map(|_| {
            let mut command: Command = home.command();
            command.args(["vendor", "sell", "bob", "--to", "a@x.example"]).stdout(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let mut stamps: Vec<String> = children
        .into_iter()
        .map(|child| {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success());
            String::from_utf8(output.stdout).unwrap()
        })
        .collect();
    stamps.sort();
    stamps.dedup();
    assert_eq!(stamps.len(), 12);
    assert_eq!(json(&home, "account show bob", "")["credits"], 88);
}

#[test]
fn what_is_wrong_is_said_with_its_status() {
    let home = Home::bare();
    home.configure("");
    let run = vendor(&home, "status", "").exits(66);
    assert!(run.stderr.contains("`mailstamp vendor init` creates one"), "{}", run.stderr);
    let init = ["vendor", "init", "--vendor", "Stamps.example", "--kid", "a", "--price", "0.001 EUR"];
    home.run(init, b"").exits(65);
    let init = ["vendor", "init", "--vendor", "stamps.example", "--kid", "a", "--price", "0.001"];
    let run = home.run(init, b"").exits(64);
    assert!(run.stderr.contains("not a sum of money"), "{}", run.stderr);
    let home = self::home();
    let init = ["vendor", "init", "--vendor", "stamps.example", "--kid", "a", "--price", "0.001 EUR"];
    home.run(init, b"").exits(73);
    vendor(&home, "account show absent", "").exits(65);
    vendor(&home, "stamp AAAAAAAAAAAAAAAAAAAAAA", "").exits(65);
    let elsewhere = home.file("elsewhere");
    let mut command = home.command();
    crate::support::run(command.args(["vendor", "status", "--ledger"]).arg(&elsewhere), b"").exits(66);
}

#[test]
fn the_folder_of_the_ledger_may_be_named_before_the_subcommand_and_after_it() {
    let home = Home::bare();
    let init = ["vendor", "--ledger", "b", "init", "--vendor", "v.example", "--kid", "a", "--price", "0.001 EUR"];
    home.run(init, b"").exits(0);
    home.run(["vendor", "--ledger", "b", "account", "add", "bob", "--contact", "b"], b"").exits(0);
    for words in [["vendor", "--ledger", "b", "status"], ["vendor", "status", "--ledger", "b"]] {
        assert!(home.run(words, b"").exits(0).text().contains("1 account"), "{words:?}");
    }
    let run = home.run(["vendor", "--ledger", "b", "publish", "--buy", "https://v.example/"], b"").exits(0);
    assert!(run.text().trim_end().ends_with("in b/public"), "{}", run.text());
    home.run(["vendor", "status"], b"").exits(66);
}
