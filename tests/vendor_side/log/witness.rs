//! Witnesses of the public log, in Python: `vendor cosign` and the service ask them, and none of them stops anything.

use super::{copied, deposit, in_python, on, public, publish, sell, shop, sound, under};
use crate::ledger::{Shop, open};
use crate::support::programs::eventually;
use crate::support::witness::Witness;
use crate::support::{Home, Run, http, run, shop as served};
use mailstamp::directory::publish as directory;
use mailstamp::ledger::public_log::cosign::CosignError;
use mailstamp::ledger::public_log::files::LogFolder;
use mailstamp::os::clock;
use mailstamp::time::UnixTime;
use mailstamp::transparency::note::Note;
use std::fs;
use std::path::Path;
use std::thread;

/// Asks the witness. Returns the time of its cosignature.
fn cosign(shop: &Shop, witness: &Witness) -> Result<UnixTime, CosignError> {
    let witnesses = [witness.option.parse().unwrap()];
    let mut cosigned = shop.ledger.cosign(&public(shop), &witnesses, clock::now()).unwrap();
    cosigned.answers.remove(0)
}

/// The published head.
fn head(shop: &Shop) -> String {
    fs::read_to_string(LogFolder::below(&public(shop)).checkpoint_path()).unwrap()
}

/// Whether the head has a cosignature of the witness.
fn has(head: &str, witness: &Witness) -> bool {
    head.parse::<Note>().unwrap().cosigned_at(&witness.key().parse().unwrap()).is_some()
}

/// Runs `vendor cosign` on this ledger, perhaps under strace.
fn command(home: &Home, strace: &[&str], ledger: &Path, witnesses: &[&Witness]) -> Run {
    let mut command = under(strace);
    command.args(["vendor", "cosign", "--ledger"]).arg(ledger);
    command.args(witnesses.iter().flat_map(|witness| ["--witness", &witness.option]));
    run(command.env("HOME", home.path()), b"")
}

#[test]
fn a_witness_cosigns_each_head_of_a_log_that_grows() {
    let shop = shop();
    let first = publish(&shop, on(1));
    let witness = Witness::start(1, &first.entry.vkey);
    let mut size = 0;
    // From nothing, and over the borders of subtrees and files.
    for (day, count) in (1..).zip([0, 1, 1, 1, 252, 1, 1, 300, 512]) {
        let last = size;
        let stamps = if count == 0 { Vec::new() } else { sell(&shop, count, on(day)) };
        size += count as u64;
        if day == 4 {
            deposit(&shop, &stamps, on(day));
            size += count as u64;
        }
        assert_eq!(publish(&shop, on(day + 1)).size, size);
        let time = cosign(&shop, &witness).unwrap_or_else(|error| panic!("{size} leaves: {error}"));
        assert!(clock::now().since(time).abs() < 600);
        let wanted = if last == 0 { vec![(0, 200)] } else { vec![(0, 409), (last, 200)] };
        assert_eq!(witness.requests(), wanted, "{size} leaves");
        // Not again within hours, and the file stays as it is.
        let cosigned = head(&shop);
        assert!(has(&cosigned, &witness));
        assert_eq!(
            (cosign(&shop, &witness).unwrap(), witness.requests(), head(&shop)),
            (time, vec![], cosigned.clone())
        );
        // A publication without anything new keeps it, and the directory has it.
        assert_eq!(publish(&shop, on(day + 1)).entry.checkpoint, cosigned);
    }
    assert_eq!(in_python(&public(&shop), &first.entry.vkey), format!("{size} issued={} deposited=1\n", size - 1));
    sound(&shop);
}

#[test]
fn a_witness_that_is_behind_gets_the_proof_that_it_needs() {
    let shop = shop();
    sell(&shop, 300, on(0));
    let witness = Witness::start(1, &publish(&shop, on(1)).entry.vkey);
    cosign(&shop, &witness).unwrap();
    let seen = witness.seen();
    for day in 1..3 {
        sell(&shop, 77, on(day));
        publish(&shop, on(day + 1));
    }
    cosign(&shop, &witness).unwrap();
    assert_eq!(witness.requests()[1..], [(0, 409), (300, 200)]);
    // Brought back from a backup, and started anew.
    for (seen, last) in [(Some(seen.as_str()), 300), (None, 0)] {
        witness.set_seen(seen);
        sell(&shop, 1, on(4));
        publish(&shop, on(5));
        let note: Note = head(&shop).parse().unwrap();
        let log = publish(&shop, on(5)).entry.vkey.parse().unwrap();
        fs::write(LogFolder::below(&public(&shop)).checkpoint_path(), note.only(&log).to_string()).unwrap();
        cosign(&shop, &witness).unwrap();
        assert_eq!(witness.requests().last(), Some(&(last, 200)));
    }
    sound(&shop);
}

#[test]
fn a_witness_refuses_a_log_that_was_rolled_back_or_forked() {
    let shop = shop();
    sell(&shop, 10, on(0));
    let witness = Witness::start(1, &publish(&shop, on(1)).entry.vkey);
    let (old, fork) = (shop.folder.path().join("old"), shop.folder.path().join("fork"));
    copied(&public(&shop), &old);
    copied(&shop.path(), &fork);
    sell(&shop, 5, on(1));
    publish(&shop, on(2));
    cosign(&shop, &witness).unwrap();
    // The vendor shows the day before again.
    let witnesses = [witness.option.parse().unwrap()];
    let again = |ledger: &mailstamp::ledger::handle::Ledger, folder: &Path| {
        let before = fs::read(LogFolder::below(folder).checkpoint_path()).unwrap();
        let error = ledger.cosign(folder, &witnesses, clock::now()).unwrap().answers.remove(0).unwrap_err();
        assert_eq!(fs::read(LogFolder::below(folder).checkpoint_path()).unwrap(), before);
        error
    };
    let behind = again(&shop.ledger, &old);
    assert!(matches!(behind, CosignError::Ahead { seen: 15, size: 10 }), "{behind}");
    // Another log of the same vendor, as large, and larger.
    let fork = Shop { folder: tempfile::tempdir().unwrap(), ledger: open(&fork) };
    let folder = shop.folder.path().join("fork/public");
    fork.ledger.issue(1, &crate::ledger::orders(5), None, on(1)).unwrap();
    fork.ledger.publish_log(&folder, false, on(2)).unwrap();
    let same = again(&fork.ledger, &folder);
    assert!(matches!(same, CosignError::Conflict(15)), "{same}");
    fork.ledger.issue(1, &crate::ledger::orders(5), None, on(2)).unwrap();
    fork.ledger.publish_log(&folder, false, on(3)).unwrap();
    let larger = again(&fork.ledger, &folder);
    assert!(matches!(larger, CosignError::Proof), "{larger}");
    assert_eq!(witness.requests().last(), Some(&(15, 422)));
    // It knows one log only, and its key.
    let mut other = Witness::start(2, &witness.key().replace("w1.example/1", "other.example/log"));
    let unknown = cosign(&shop, &other).unwrap_err();
    assert!(matches!(unknown, CosignError::UnknownLog), "{unknown}");
    other.stop();
}

#[test]
fn whatever_a_witness_answers_the_log_stays_published() {
    let shop = shop();
    sell(&shop, 10, on(0));
    let mut witness = Witness::start(1, &publish(&shop, on(1)).entry.vkey);
    let published = head(&shop);
    for (mode, sentence) in [
        ("garbage", "its answer has no cosignature of its key for this head"),
        ("other-key", "its answer has no cosignature of its key for this head"),
        ("other-head", "its answer has no cosignature of its key for this head"),
        ("yesterday", ", more than an hour from this clock"),
        ("endless", "the answer is larger than 16384 bytes"),
        ("wrong-size", "it answered with status 409"),
        ("redirects", "it answered with status 307"),
    ] {
        if mode != "wrong-size" {
            let _ = fs::remove_file(witness.seen_path());
        }
        witness.mode(mode);
        let error = cosign(&shop, &witness).unwrap_err().to_string();
        assert!(error.ends_with(sentence), "{mode}: {error}");
        assert_eq!(head(&shop), published, "{mode}");
    }
    witness.stop();
    let error = cosign(&shop, &witness).unwrap_err().to_string();
    assert!(error.ends_with(" refuses the connection"), "{error}");
    // The cosignature of an earlier answer does not stand in for a bad one.
    witness.restart();
    witness.mode("");
    cosign(&shop, &witness).unwrap();
    witness.mode("garbage");
    let later = clock::now().plus(13 * 3_600);
    let witnesses = [witness.option.parse().unwrap()];
    let answer = shop.ledger.cosign(&public(&shop), &witnesses, later).unwrap().answers.remove(0);
    assert!(matches!(answer, Err(CosignError::Answer)));
    assert!(has(&head(&shop), &witness));
    sound(&shop);
}

#[test]
fn a_cosignature_of_a_head_that_was_replaced_is_dropped() {
    let shop = shop();
    sell(&shop, 10, on(0));
    let witness = Witness::start(1, &publish(&shop, on(1)).entry.vkey);
    sell(&shop, 10, on(1));
    witness.mode("waits");
    let answer = thread::scope(|scope| {
        let asked = scope.spawn(|| cosign(&shop, &witness));
        let mut requests = Vec::new();
        eventually("the request", || {
            requests.extend(witness.requests());
            (!requests.is_empty()).then_some(())
        });
        // While the witness takes its time, the log is published.
        publish(&shop, on(2));
        witness.go();
        asked.join().unwrap()
    });
    assert!(matches!(answer, Err(CosignError::Outdated)));
    assert!(!has(&head(&shop), &witness));
    cosign(&shop, &witness).unwrap();
    sound(&shop);
}

#[test]
fn the_command_says_which_witnesses_did_not_cosign() {
    let shop = shop();
    let home = Home::bare();
    home.configure("");
    let mut one = Witness::start(1, &publish(&shop, on(1)).entry.vkey);
    let two = Witness::start(2, &publish(&shop, on(1)).entry.vkey);
    sell(&shop, 600, on(0));
    sell(&shop, 600, on(0));
    publish(&shop, on(1));
    let folder = shop.path();
    drop(shop.ledger);
    one.stop();
    let some = command(&home, &[], &folder, &[&one, &two]).exits(69);
    assert!(some.text().starts_with("w2.example/1: 1,200 leaves, cosigned 20"), "{}", some.text());
    assert!(some.stderr.starts_with("mailstamp: warning: w1.example/1: "), "{}", some.stderr);
    one.restart();
    assert_eq!(command(&home, &[], &folder, &[&one, &two]).exits(0).text().lines().count(), 2);
    for (witnesses, sentence) in
        [(vec![], "no witness is given"), (vec![&one, &one], "--witness: w1.example/1 is named twice")]
    {
        let refused = command(&home, &[], &folder, &witnesses).exits(64);
        assert!(refused.stderr.contains(sentence), "{}", refused.stderr);
    }
    let bare =
        home.run(["vendor", "cosign", "--witness", &one.option.replace("http://127.0.0.1", "http://x.example")], b"");
    assert!(bare.exits(64).stderr.contains("its address is not of the form https://"));
}

#[test]
fn a_cosignature_that_was_not_written_is_asked_for_again() {
    let shop = shop();
    let home = Home::bare();
    home.configure("");
    sell(&shop, 10, on(0));
    let mut witness = Witness::start(1, &publish(&shop, on(1)).entry.vkey);
    let (folder, published) = (shop.path(), head(&shop));
    let path = LogFolder::below(&public(&shop)).checkpoint_path();
    drop(shop.ledger);
    // The witness dies before it answers, and the vendor before the file is written.
    witness.mode("dies");
    assert_eq!(command(&home, &[], &folder, &[&witness]).code, 69);
    witness.mode("");
    witness.restart();
    let kill = ["-e", "trace=rename", "-e", "inject=rename:signal=SIGKILL"];
    assert_ne!(command(&home, &kill, &folder, &[&witness]).code, 0);
    assert_eq!(fs::read_to_string(&path).unwrap(), published);
    // And its disk is full.
    let full = ["-e", "trace=fsync", "-e", "inject=fsync:error=ENOSPC"];
    let failed = command(&home, &full, &folder, &[&witness]);
    assert!(failed.code == 74 && failed.stderr.contains("checkpoint"), "{}", failed.stderr);
    assert_eq!(fs::read_to_string(&path).unwrap(), published);
    command(&home, &[], &folder, &[&witness]).exits(0);
    assert!(has(&fs::read_to_string(&path).unwrap(), &witness));
    assert_eq!(witness.requests().last(), Some(&(10, 200)));
}

#[test]
fn the_service_has_its_log_cosigned_and_serves_it() {
    // The key of the log is made before the witness, which knows it.
    let mut shop = served::Shop::open(1_000, &[]);
    let public = shop.folder().join("public");
    let log = eventually("the first checkpoint", || shop.ledger().log_entry(&public).unwrap());
    let (good, mut away) = (Witness::start(1, &log.vkey), Witness::start(2, &log.vkey));
    away.stop();
    shop.ledger().issue(shop.account, &crate::ledger::orders(3), None, clock::now().plus(-2 * 86_400)).unwrap();
    shop.signal("-TERM");
    assert_eq!(shop.ended(), Some(0));
    shop.give(&["--witness", &good.option, "--witness", &away.option]);
    shop.restart();
    let get = |path: &str| http::ask(shop.address, "GET", path, &[], b"").unwrap().is(200).text();
    eventually("the cosigned head", || {
        let head = get("/.well-known/digital-stamp-log/checkpoint");
        (head.contains("\n3\n") && has(&head, &good)).then_some(())
    });
    eventually("the directory with it", || {
        let text = get("/.well-known/digital-stamp");
        let log = directory::read(&text).unwrap().content.vendors[0].log.as_deref().cloned();
        log.filter(|log| has(&log.checkpoint, &good))
    });
    eventually("the report", || shop.log().contains("warning: witness w2.example/1: ").then_some(()));
    assert_eq!(shop.log().lines().count(), 1, "{}", shop.log());
    shop.audit();
}
