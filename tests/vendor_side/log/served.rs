//! The shop publishes and serves the log, and names it in its directory.

use super::{in_python, leaves};
use crate::support::http;
use crate::support::programs::eventually;
use crate::support::shop::{Shop, VENDOR};
use mailstamp::directory::document::LogEntry;
use mailstamp::directory::publish;
use mailstamp::ledger::ops;
use mailstamp::ledger::public_log::files::LogFolder;
use mailstamp::os::clock;
use serde_json::json;
use std::fs;

fn ask(shop: &Shop, path: &str) -> http::Answer {
    http::ask(shop.address, "GET", path, &[], b"").unwrap()
}

/// The log that the directory of the shop names.
fn named(shop: &Shop) -> Option<LogEntry> {
    let text = ask(shop, "/.well-known/digital-stamp").is(200).text();
    publish::read(&text).unwrap().content.vendors[0].log.as_deref().cloned()
}

#[test]
fn the_shop_publishes_at_its_start_and_serves_each_file() {
    let mut shop = Shop::open(1_000, &[]);
    let public = shop.folder().join("public");
    let path = LogFolder::below(&public).checkpoint_path();
    eventually("the first checkpoint", || path.exists().then_some(()));
    // Sold two days ago, says the clock of the request.
    let ledger = shop.ledger();
    let before = clock::now().plus(-2 * 86_400);
    ledger.issue(shop.account, &crate::ledger::orders(300), None, before).unwrap();
    drop(ledger);
    shop.kill_and_restart();
    eventually("the next checkpoint", || fs::read_to_string(&path).unwrap().contains("\n300\n").then_some(()));
    let log = eventually("the log in the directory", || named(&shop).filter(|log| log.checkpoint.contains("\n300\n")));
    assert_eq!(leaves(&public, &log).len(), 300);
    assert_eq!(in_python(&public, &log.vkey), "300 issued=300\n");
    assert!(log.vkey.starts_with(&format!("{VENDOR}/.well-known/digital-stamp-log+")));
    let at = |file: &str| format!("/.well-known/digital-stamp-log/{file}");
    let answer = ask(&shop, &at("checkpoint")).is(200);
    assert_eq!(answer.text(), log.checkpoint);
    assert_eq!(answer.field("cache-control"), Some("no-cache"));
    for file in ["tile/0/000", "tile/entries/000", "tile/0/001.p/44", "tile/entries/001.p/44", "tile/1/000.p/1"] {
        let answer = ask(&shop, &at(file)).is(200);
        assert_eq!(answer.body, fs::read(public.join(&at(file)[1..])).unwrap(), "{file}");
        assert_eq!(answer.field("cache-control"), Some("public, max-age=31536000, immutable"), "{file}");
    }
    // Never a file outside, however it is asked for.
    for file in [
        "",
        "tile/0/002",
        "tile/0/0",
        "tile/0/000.p/256",
        "../digital-stamp",
        "%2e%2e/%2e%2e/.lock",
        "tile/../checkpoint",
        "tile%2f..%2f..%2fcheckpoint",
        "tile/0/..%2f..%2fcheckpoint",
        "/etc/passwd",
    ] {
        ask(&shop, &at(file)).is(404);
    }
    // A reader of a day asks for many files.
    for _ in 0..60 {
        ask(&shop, &at("tile/0/000")).is(200);
    }
    shop.audit();
    assert_eq!(shop.log(), "");
}

#[test]
fn a_log_that_cannot_be_published_is_reported_and_the_shop_sells() {
    let mut shop = Shop::open(1_000, &[]);
    let path = LogFolder::below(&shop.folder().join("public")).checkpoint_path();
    eventually("the first checkpoint", || path.exists().then_some(()));
    fs::write(&path, "no checkpoint").unwrap();
    shop.kill_and_restart();
    eventually("the report", || shop.log().contains("not a signed note").then_some(()));
    let order = json!({ "recipient": "joe@far.example" });
    shop.ask_with("POST", "/v1/stamps", &[("Idempotency-Key", "one")], &order).is(200);
    assert_eq!(shop.ledger().run(ops::LogPosition {}, clock::now()).unwrap().size, 0);
}
