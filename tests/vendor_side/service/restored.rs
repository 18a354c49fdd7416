//! A shop over a ledger that was restored from a backup, or replaced by an older file: keys that its own editions revoke
//! sign nothing, and no second vendor begins beside the keys and the log of a lost ledger.

use crate::support::shop::{Shop, VENDOR};
use crate::support::{Home, Run};
use mailstamp::directory::document::{SignedDirectory, Status};
use mailstamp::directory::publish;
use mailstamp::stamp::token::Token;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// A shop that revoked the key of its backup, and published that.
struct Lost {
    shop: Shop,
    home: Home,
    backup: PathBuf,
}

impl Lost {
    fn new() -> Self {
        let shop = Shop::open(100, &[]);
        let home = Home::bare();
        let backup = shop.path().join("backup");
        let mut lost = Self { shop, home, backup };
        lost.vendor(&["backup", lost.backup.to_str().unwrap()]).exits(0);
        lost.vendor(&["rotate", "2027q1", "--revoke", "2026q4"]).exits(0);
        lost.vendor(&["publish"]).exits(0);
        lost.shop.signal("-TERM");
        lost.shop.ended();
        lost
    }

    fn vendor(&self, words: &[&str]) -> Run {
        vendor(&self.home, &self.shop.folder(), words)
    }

    fn remove_ledger(&self) {
        fs::remove_file(self.shop.folder().join("ledger.redb")).unwrap();
    }

    fn buy(&self) -> (u16, Value) {
        let order = json!({ "stamps": [{ "recipient": "r@x.example" }] });
        let answer = self.shop.ask_with("POST", "/v1/stamps", &[("Idempotency-Key", "one")], &order);
        (answer.status, answer.json())
    }

    fn status(&self, path: &str) -> u16 {
        self.shop.ask("GET", path, &Value::Null).status
    }

    fn directory(&self) -> SignedDirectory {
        let text = self.shop.ask("GET", "/.well-known/digital-stamp", &Value::Null).is(200).text();
        publish::read(&text).unwrap().content
    }
}

fn vendor(home: &Home, ledger: &Path, words: &[&str]) -> Run {
    let (command, rest) = words.split_first().unwrap();
    let all = ["vendor", command, "--ledger", ledger.to_str().unwrap()].into_iter().chain(rest.iter().copied());
    home.run(all, b"")
}

fn kid(stamp: &Value) -> String {
    Token::parse(stamp.as_str().unwrap()).unwrap().issuer().unwrap().key_id().to_owned()
}

fn statuses(says: &SignedDirectory) -> Vec<(&str, Status)> {
    says.vendors[0].keys.iter().map(|key| (key.kid.as_str(), key.status)).collect()
}

#[test]
fn a_key_that_the_editions_revoke_is_revoked_by_restore() {
    let mut lost = Lost::new();
    lost.remove_ledger();
    let run = lost.vendor(&["restore", lost.backup.to_str().unwrap()]).exits(0);
    assert!(run.stderr.contains("key 2026q4 was revoked in a published edition"), "{}", run.stderr);
    assert!(run.stderr.contains("run mailstamp vendor rotate 2027q1"), "{}", run.stderr);
    // The document of the web server is gone, too.
    fs::remove_file(lost.shop.folder().join("public/.well-known/digital-stamp")).unwrap();
    fs::remove_file(lost.shop.folder().join(format!("public/{VENDOR}.json"))).unwrap();
    lost.shop.restart();
    assert_eq!(lost.buy().0, 409);
    assert_eq!([lost.status("/healthz"), lost.status("/.well-known/digital-stamp")], [503, 503]);
    // Its name is that of a revoked key, and the other name has a key.
    assert!(lost.vendor(&["rotate", "2026q4"]).exits(65).stderr.contains("choose another name"));
    let file = lost.shop.folder().join("keys/key-2027q1.json");
    fs::rename(&file, lost.shop.path().join("away")).unwrap();
    let run = lost.vendor(&["rotate", "2027q1"]).exits(65);
    assert!(run.stderr.contains("lists another key of this name"), "{}", run.stderr);
    fs::rename(lost.shop.path().join("away"), &file).unwrap();
    lost.vendor(&["rotate", "2027q1"]).exits(0);
    let (status, sold) = lost.buy();
    assert_eq!((status, kid(&sold["stamps"][0]["stamp"]).as_str()), (200, "2027q1"));
    assert_eq!(lost.status("/healthz"), 200);
    assert_eq!(statuses(&lost.directory()), [("2026q4", Status::Revoked), ("2027q1", Status::Active)]);
    lost.vendor(&["audit"]).exits(0);
}

#[test]
fn an_older_file_sells_nothing_with_a_revoked_key() {
    let mut lost = Lost::new();
    lost.remove_ledger();
    fs::copy(&lost.backup, lost.shop.folder().join("ledger.redb")).unwrap();
    let run = lost.vendor(&["audit"]).exits(65);
    assert!(run.text().contains("key 2026q4 is revoked in a published edition"), "{}", run.text());
    lost.shop.restart();
    assert!(lost.shop.log().contains("run mailstamp vendor rotate 2027q1"), "{}", lost.shop.log());
    assert_eq!(lost.buy().0, 409);
    lost.vendor(&["rotate", "2027q2"]).exits(0);
    let (status, sold) = lost.buy();
    assert_eq!((status, kid(&sold["stamps"][0]["stamp"]).as_str()), (200, "2027q2"));
}

#[test]
fn the_editions_beside_a_named_log_are_taken_over() {
    let lost = Lost::new();
    lost.remove_ledger();
    let (elsewhere, public) = (lost.home.file("web"), lost.shop.folder().join("public"));
    fs::rename(&public, &elsewhere).unwrap();
    let log = elsewhere.join(".well-known/digital-stamp-log");
    let damaged = elsewhere.join(".well-known/digital-stamp-editions/9999999999.json");
    fs::write(&damaged, "half").unwrap();
    let words = ["restore", lost.backup.to_str().unwrap(), "--log", log.to_str().unwrap()];
    let run = lost.vendor(&words).exits(74);
    assert!(run.stderr.contains("cannot read the newest edition in"), "{}", run.stderr);
    fs::remove_file(damaged).unwrap();
    assert!(lost.vendor(&words).exits(0).stderr.contains("key 2026q4 was revoked"));
    let newest = |public: &Path| {
        let mut names: Vec<_> = fs::read_dir(public.join(".well-known/digital-stamp-editions")).unwrap().collect();
        names.sort_by_key(|name| name.as_ref().unwrap().file_name());
        names.pop().unwrap().unwrap().file_name()
    };
    assert_eq!(newest(&public), newest(&elsewhere));
    lost.vendor(&["rotate", "2027q1"]).exits(0);
    lost.vendor(&["publish"]).exits(0);
    let text = fs::read_to_string(public.join(".well-known/digital-stamp")).unwrap();
    assert!(publish::read(&text).unwrap().content.previous.is_some());
}

#[test]
fn nothing_begins_beside_the_keys_of_a_lost_ledger() {
    let lost = Lost::new();
    lost.remove_ledger();
    let init = ["init", "--vendor", VENDOR, "--kid", "2026q4", "--price", "0.001 EUR"];
    let own = ["init", "--for-me", "joe@x.example", "--buy", "https://stamps.example"];
    lost.home.configure("addresses = [\"joe@x.example\"]");
    for words in [["status"].as_slice(), &["serve"]] {
        let run = lost.vendor(words).exits(66);
        assert!(run.stderr.contains("`mailstamp vendor restore` restores it"), "{}", run.stderr);
    }
    let refused = |lost: &Lost, words: &[&str]| {
        let run = lost.vendor(words).exits(73);
        assert!(run.stderr.contains("restore it (`mailstamp vendor restore`)"), "{}", run.stderr);
        assert!(!lost.shop.folder().join("ledger.redb.new").exists());
    };
    refused(&lost, &init);
    refused(&lost, &own);
    fs::create_dir_all(lost.home.file(".config/mailstamp/vendors")).unwrap();
    fs::write(lost.home.file(".config/mailstamp/vendors/stamps.example.json"), "{}").unwrap();
    refused(&lost, &own);
    // Keys alone, and the log alone.
    let (public, keys) = (lost.shop.folder().join("public"), lost.shop.folder().join("keys"));
    let away = lost.home.file("away");
    for part in [&public, &keys] {
        fs::rename(part, &away).unwrap();
        refused(&lost, &init);
        fs::rename(&away, part).unwrap();
    }
    // A backup that is refused leaves nothing that a new ledger would continue.
    fs::write(lost.home.file("none"), "none").unwrap();
    lost.vendor(&["restore", lost.home.file("none").to_str().unwrap()]).exits(65);
    refused(&lost, &init);
    lost.vendor(&["restore", lost.backup.to_str().unwrap()]).exits(0);
    // A run of init that was killed is continued.
    let folder = lost.shop.folder();
    fs::rename(folder.join("ledger.redb"), folder.join("ledger.redb.new")).unwrap();
    fs::remove_dir_all(&public).unwrap();
    assert!(lost.vendor(&["status"]).exits(66).stderr.contains("`mailstamp vendor init` creates one"));
    lost.vendor(&init).exits(0);
}
