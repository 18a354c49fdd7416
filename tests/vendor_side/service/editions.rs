//! The vendor's editions, from the first one of the shop to those of `vendor publish`, for a recipient who pinned the
//! first key and refreshes. No edition goes back, none is signed with another key, and each agrees with the ledger.

use crate::log::chain;
use crate::support::programs::eventually;
use crate::support::shop::{Shop, VENDOR};
use crate::support::{ALICE, Home, Run, letter};
use mailstamp::directory::document::{Document, PreviousEdition, SignedDirectory, Status};
use mailstamp::directory::publish;
use mailstamp::ledger::ops;
use mailstamp::os::clock;
use mailstamp::stamp::claims::Stamp;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

/// A shop, and a recipient who trusts the key it began with.
struct Town {
    shop: Shop,
    home: Home,
}

impl Town {
    fn new() -> Self {
        let (shop, home) = (Shop::open(100, &[]), Home::bare());
        home.configure(&format!("addresses = [\"{ALICE}\"]"));
        let entry = serde_json::to_vec(&shop.ledger().published(mailstamp::os::clock::now()).unwrap()).unwrap();
        home.run(["trust", "add", "-"], &entry).exits(0);
        let served = home.file("served");
        let source = format!("[[source]]\npublisher = \"{VENDOR}\"\nfrom = \"{}\"\n", served.display());
        fs::write(home.file(".config/mailstamp/vendors/sources.toml"), source).unwrap();
        Self { shop, home }
    }

    /// A command of the vendor's.
    fn vendor(&self, words: &[&str]) -> Run {
        self.try_vendor(words).exits(0)
    }

    fn try_vendor(&self, words: &[&str]) -> Run {
        let ledger = self.shop.folder();
        let (command, rest) = words.split_first().unwrap();
        let all = ["vendor", command, "--ledger", ledger.to_str().unwrap()].into_iter().chain(rest.iter().copied());
        self.home.run(all, b"")
    }

    /// What the shop hands out now. It looks every ten seconds whether something changed, and a shop that was started
    /// looks at once; editions of one second have one version.
    fn served(&mut self) -> (String, SignedDirectory) {
        thread::sleep(Duration::from_millis(1_100));
        self.shop.kill_and_restart();
        let text = self.shop.ask("GET", "/.well-known/digital-stamp", &Value::Null).is(200).text();
        let says = publish::read(&text).unwrap().content;
        (text, says)
    }

    /// The recipient asks the shop.
    fn refresh(&mut self) -> SignedDirectory {
        let (text, says) = self.served();
        fs::write(self.home.file("served"), text).unwrap();
        self.home.run(["directory", "refresh"], b"").exits(0);
        says
    }

    /// A stamp that the shop sells now, on a message.
    fn letter(&self, id: &str) -> Vec<u8> {
        let stamp = self.vendor(&["sell", "joe", "--to", ALICE]).text();
        self.home.affix(stamp.trim(), &letter(id))
    }

    fn public(&self) -> PathBuf {
        self.shop.folder().join("public/.well-known/digital-stamp")
    }
}

#[test]
fn who_knows_the_old_key_follows_to_the_new_one() {
    let mut town = Town::new();
    town.refresh();
    let run = town.vendor(&["rotate", "2027q1"]);
    assert!(run.stderr.contains("next time --prepare"), "{}", run.stderr);
    let stamped = town.letter("one");
    assert_eq!(town.home.run(["classify", "--dry-run"], &stamped).text(), "unverified unknown-key\n");
    town.refresh();
    assert_eq!(town.home.classify(&stamped).exits(0).text(), "first-class paid\n");
    // So does a recipient who missed two of them.
    town.vendor(&["rotate", "2027q2"]);
    fs::remove_dir_all(town.home.file(".local/state/mailstamp/directories")).unwrap();
    town.refresh();
    assert_eq!(town.home.classify(&town.letter("two")).exits(0).text(), "first-class paid\n");
}

#[test]
fn a_prepared_key_is_known_before_it_signs() {
    let mut town = Town::new();
    let run = town.vendor(&["rotate", "--prepare", "2027q1"]);
    assert_eq!(run.stderr, "");
    let kids = |says: &SignedDirectory| -> Vec<(String, Status)> {
        says.vendors[0].keys.iter().map(|key| (key.kid.clone(), key.status)).collect()
    };
    assert_eq!(kids(&town.refresh()), [("2026q4".into(), Status::Active), ("2027q1".into(), Status::Active)]);
    let show = |message: &[u8]| town.home.run(["show"], message).exits(0).text();
    assert!(show(&town.letter("one")).contains("2026q4"));
    town.try_vendor(&["rotate", "--prepare", "2027q1"]).exits(65);
    assert_eq!(town.vendor(&["rotate", "2027q1"]).stderr, "");
    // No recipient has refreshed since.
    let stamped = town.letter("two");
    assert!(show(&stamped).contains("2027q1"));
    assert_eq!(town.home.classify(&stamped).exits(0).text(), "first-class paid\n");
    // What cannot be done whole is not done in part.
    town.try_vendor(&["rotate", "--revoke", "nobody", "2027q2"]).exits(65);
    // The old key is stolen: those who know the prepared one hear of it.
    town.vendor(&["rotate", "--revoke", "2026q4"]);
    assert_eq!(kids(&town.refresh()), [("2026q4".into(), Status::Revoked), ("2027q1".into(), Status::Active)]);
}

#[test]
fn what_the_ledger_knows_is_published_and_no_edition_goes_back() {
    let mut town = Town::new();
    town.vendor(&["rotate", "2027q1"]);
    let first = town.refresh();
    let stamped = town.letter("one");
    let shown: Value = serde_json::from_str(&town.home.run(["show", "--json"], &stamped).exits(0).text()).unwrap();
    let serial = shown["stamps"][0]["serial"].as_str().unwrap().to_owned();
    // While the shop makes its directory itself, there is nothing to do.
    assert_eq!(town.vendor(&["price", "--set", "1 EUR / 500"]).stderr, "");
    thread::sleep(Duration::from_millis(1_100));
    town.vendor(&["publish", "--buy", "https://stamps.example/"]);
    let second = town.refresh();
    assert!(second.version > first.version, "{} after {}", second.version, first.version);
    // The command continues the chain of the shop, which serves every edition.
    let kept = |version: u64| {
        let path = format!("/.well-known/digital-stamp-editions/{version}.json");
        publish::read(&town.shop.ask("GET", &path, &Value::Null).is(200).text()).unwrap()
    };
    let mut previous = second.previous.unwrap();
    // On a slow machine, the shop has published the price itself before.
    while previous.version > first.version {
        previous = kept(previous.version).content.previous.unwrap();
    }
    assert_eq!(kept(previous.version), publish::Edition { content: first, hash: previous.hash });
    for other in ["1.json", "00.json", "x.json", "..%2fdigital-stamp"] {
        town.shop.ask("GET", &format!("/.well-known/digital-stamp-editions/{other}"), &Value::Null).is(404);
    }
    let own = &second.vendors[0];
    assert_eq!(own.buy.as_deref(), Some("https://stamps.example/"));
    assert_eq!(own.prices[0].parts().1, 500);
    // Afterwards there is, and it is said.
    let run = town.vendor(&["revoke", &serial]);
    let command = format!("mailstamp vendor publish --ledger {}", town.shop.folder().display());
    assert!(run.stderr.trim_end().ends_with(&command), "{}", run.stderr);
    assert_eq!(town.refresh().version, second.version);
    town.vendor(&["publish"]);
    let third = town.refresh();
    assert!(third.vendors[0].revoked.contains(&serial) && third.vendors[0].buy.is_some());
    assert_eq!(town.home.run(["classify", "--exit-zero"], &stamped).exits(0).text(), "revoked by-vendor\n");
    let text = fs::read_to_string(town.public()).unwrap();
    assert!(matches!(serde_json::from_str(&text).unwrap(), Document::Signed { also, .. } if also.len() == 1));
    // The shop serves it though the folder is lost, and its own continues it.
    let kept = publish::read(&text).unwrap();
    fs::remove_dir_all(town.shop.folder().join("public")).unwrap();
    assert_eq!(town.refresh(), third);
    town.vendor(&["price", "--set", "1 EUR / 400"]);
    let fourth = town.refresh();
    assert_eq!(fourth.previous, Some(PreviousEdition { version: third.version, hash: kept.hash }));
    assert!(fourth.version > third.version && fourth.version <= u64::try_from(clock::now().0).unwrap());
}

#[test]
fn shop_and_another_folder_are_one_chain() {
    let mut town = Town::new();
    let (own, other) = (town.shop.folder().join("public"), town.home.file("other"));
    eventually("the public log", || own.join(".well-known/digital-stamp-log/checkpoint").exists().then_some(()));
    let elsewhere = other.join(".well-known/digital-stamp");
    let source = |from: &str| format!("[[source]]\npublisher = \"{VENDOR}\"\nfrom = \"{from}\"\n");
    let both = [town.home.file("served"), elsewhere.clone()].map(|path| source(path.to_str().unwrap())).concat();
    fs::write(town.home.file(".config/mailstamp/vendors/sources.toml"), both).unwrap();
    let first = town.served().1.version;
    // Nothing changed: the edition stays over a restart.
    assert_eq!(town.served().1.version, first);
    let mut versions = vec![first];
    for (round, price) in ["1 EUR / 500", "1 EUR / 400", "1 EUR / 300"].into_iter().enumerate() {
        town.vendor(&["publish", "--out", other.to_str().unwrap(), "--buy", &format!("https://{round}.example/")]);
        versions.push(publish::read(&fs::read_to_string(&elsewhere).unwrap()).unwrap().content.version);
        if round > 0 {
            // The recipient sees both, and then each for itself.
            town.home.run(["directory", "refresh"], b"").exits(0);
        }
        town.vendor(&["price", "--set", price]);
        versions.push(town.refresh().version);
        // The edition of the shop was the last of several, as the next publication elsewhere.
        town.vendor(&["price", "--set", &price.replace("1 EUR", "2 EUR")]);
        versions.push(town.refresh().version);
        for folder in [&own, &other] {
            let log = folder.join(".well-known/digital-stamp-log");
            let check = town.home.run(["trust", "check", VENDOR, "--from", log.to_str().unwrap()], b"");
            // Editions that only the shop has served are not in the other folder before the next publication there.
            assert!(check.code == 0 || folder == &other && check.code == 69, "{}: {}", check.code, check.stderr);
        }
    }
    versions.reverse();
    town.vendor(&["publish", "--out", other.to_str().unwrap()]);
    town.home.run(["directory", "refresh"], b"").exits(0);
    for folder in [&own, &other] {
        let newest = fs::read_to_string(&elsewhere).unwrap();
        assert_eq!(chain(folder, &newest)[1..], versions);
        let log = folder.join(".well-known/digital-stamp-log");
        town.home.run(["trust", "check", VENDOR, "--from", log.to_str().unwrap()], b"").exits(0);
        let known = fs::read_to_string(town.home.file(&format!(".local/state/mailstamp/logs/{VENDOR}.json"))).unwrap();
        let known: Value = serde_json::from_str(&known).unwrap();
        assert_eq!(known["edition"]["version"], publish::read(&newest).unwrap().content.version);
    }
}

#[test]
fn a_recipient_who_is_shown_another_history_is_told_once() {
    let mut town = Town::new();
    town.vendor(&["publish", "--buy", "https://stamps.example/"]);
    town.refresh();
    // The vendor as it was, for other eyes.
    town.shop.signal("-TERM");
    town.shop.ended();
    let copy = town.home.file("copy");
    let copied = Command::new("cp").arg("-a").args([&town.shop.folder(), &copy]).status().unwrap();
    assert!(copied.success());
    town.shop.restart();
    town.vendor(&["price", "--set", "1 EUR / 500"]);
    town.vendor(&["publish"]);
    let accepted = town.refresh();
    let later = clock::now().plus(100).to_string();
    town.home.run(["vendor", "publish", "--ledger", copy.to_str().unwrap(), "--now", &later], b"").exits(0);
    let forked = fs::read_to_string(copy.join("public/.well-known/digital-stamp")).unwrap();
    let version = publish::read(&forked).unwrap().content.version;
    fs::write(town.home.file("served"), &forked).unwrap();
    let sentence = format!(
        "the directory was rewritten: version {version} does not continue version {}, which was accepted before",
        accepted.version
    );
    // It is accepted, for a vendor may lose its folder and its ledger.
    for (command, status) in [("check", 65), ("refresh", 65), ("refresh", 0), ("check", 0)] {
        let run = town.home.run(["directory", command, "--json"], b"").exits(status);
        let report: Value = serde_json::from_str(&run.text()).unwrap();
        let alarms: Vec<&str> = report["alarms"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert_eq!(report["sources"][0]["version"], version);
        assert_eq!(
            (alarms.len(), alarms.iter().any(|alarm| alarm.contains(&sentence))),
            if status == 0 { (0, false) } else { (1, true) }
        );
        assert_eq!(run.stderr.contains(&sentence), status != 0, "{}", run.stderr);
    }
    assert_eq!(town.home.classify(&town.letter("one")).exits(0).text(), "first-class paid\n");
}

#[test]
fn serials_of_ended_stamps_leave_every_edition() {
    let mut town = Town::new();
    let ledger = town.shop.ledger();
    let sold = |days: i64| {
        let at = clock::now().plus(-days * 86_400);
        let sold = ledger.issue(town.shop.account, &crate::ledger::orders(1), None, at).unwrap();
        Stamp::read(sold.stamps[0].payload()).unwrap().serial
    };
    let (ended, late) = (sold(70), sold(50));
    let serials = vec![ended.clone(), late.clone()];
    assert_eq!(ledger.run(ops::Revoke { serials, customer: false }, clock::now()).unwrap(), 2);
    drop(ledger);
    let listed = |says: &SignedDirectory| says.vendors[0].revoked.iter().cloned().collect::<Vec<_>>();
    assert_eq!(listed(&town.served().1), [late.to_string()]);
    // An edition that still had it loses it, too.
    let early = clock::now().plus(-30 * 86_400).to_string();
    town.vendor(&["publish", "--now", &early]);
    let first = publish::read(&fs::read_to_string(town.public()).unwrap()).unwrap().content;
    assert_eq!(listed(&first).len(), 2);
    town.vendor(&["publish"]);
    assert_eq!(listed(&town.served().1), [late.to_string()]);
}
