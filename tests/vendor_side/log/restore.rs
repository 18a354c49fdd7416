//! A ledger that was restored from a backup takes its log over, and what the log has as spent stays spent.

use super::{DAY, copied, deposit, in_python, leaves, on, public, publish, sell, serial, shop};
use crate::ledger::meters::{clear, license};
use crate::ledger::{Shop, handed, sound};
use crate::support::meters::Meter;
use mailstamp::accounting::redemption::StampProblem;
use mailstamp::ledger::handle::Ledger;
use mailstamp::ledger::ops;
use mailstamp::ledger::public_log::files::LogFolder;
use mailstamp::vendor_api::meters::ClearingResult;
use std::fs;
use std::path::{Path, PathBuf};

/// Copies keys and files, as an operator does, and restores the backup.
fn restored(shop: &Shop, backup: &Path, name: &str, log: bool) -> (Ledger, PathBuf) {
    let folder = shop.folder.path().join(name);
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let copy = |part: &str| {
        let status =
            std::process::Command::new("cp").arg("-a").args([shop.path().join(part), folder.join(part)]).status();
        assert!(status.unwrap().success());
    };
    copy("keys");
    if log {
        copy("public");
    }
    (Ledger::restore(&folder, backup, on(3)).unwrap(), folder)
}

fn backup(shop: &Shop, name: &str) -> PathBuf {
    let path = shop.folder.path().join(name);
    shop.ledger.backup(&path).unwrap();
    path
}

#[track_caller]
fn refused(ledger: &Ledger, stamp: &str, problem: StampProblem) {
    let done = ledger.deposit(2, &handed(&[stamp.to_owned()]), on(4)).unwrap();
    assert_eq!(done.each, [Err(problem)]);
}

#[test]
fn what_was_spent_after_the_backup_is_not_spent_again() {
    let shop = shop();
    let stamps = sell(&shop, 300, on(0));
    deposit(&shop, &stamps[..10], on(0));
    let (payer, payee) = (Meter::new(1), Meter::new(2));
    license(&shop.ledger, 1, &payer, 500, on(0)).unwrap();
    license(&shop.ledger, 2, &payee, 3, on(0)).unwrap();
    publish(&shop, on(1));
    let pending = sell(&shop, 20, on(1));
    let copy = backup(&shop, "backup");
    // Lost with the disk, but for the log.
    deposit(&shop, &stamps[10..30], on(1));
    deposit(&shop, &pending[..5], on(1));
    let revoked: Vec<_> = stamps[40..42].iter().map(|stamp| serial(stamp)).collect();
    shop.ledger.run(ops::Revoke { serials: revoked, customer: false }, on(1)).unwrap();
    let later = sell(&shop, 7, on(1));
    let token = payer.pay("joe", "joe@far.example", 1, 40, on(1).plus(60));
    clear(&shop.ledger, 2, &payee, std::slice::from_ref(&token), on(1)).unwrap();
    let log = publish(&shop, on(2));
    let (ledger, folder) = restored(&shop, &copy, "restored", true);
    for stamp in stamps[10..30].iter().chain(&pending[..5]) {
        refused(&ledger, stamp, StampProblem::Deposited);
    }
    refused(&ledger, &stamps[0], StampProblem::Deposited);
    refused(&ledger, &stamps[40], StampProblem::Revoked);
    refused(&ledger, &later[0], StampProblem::NotIssued);
    let cleared = clear(&ledger, 2, &payee, &[token], on(3)).unwrap();
    assert!(matches!(cleared.each[..], [ClearingResult::Refused(_)]), "{:?}", cleared.each);
    // What was not spent can be.
    assert_eq!(
        ledger.deposit(2, &handed(&[stamps[50].clone(), pending[7].clone()]), on(4)).unwrap().each,
        [Ok(1), Ok(1)]
    );
    sound(&ledger);
    // The log goes on from its published size, without a leaf twice.
    let public = folder.join("public");
    assert_eq!(ledger.publish_log(&public, false, on(3)).unwrap().entry, log.entry);
    ledger.issue(1, &crate::ledger::orders(3), None, on(3)).unwrap();
    let next = ledger.publish_log(&public, false, on(5)).unwrap();
    assert_eq!((next.size, next.appended), (log.size + 5, 5));
    let found = leaves(&public, &next.entry);
    let kinds: std::collections::BTreeSet<_> = found.iter().map(|leaf| (leaf.kind, leaf.subject)).collect();
    assert_eq!(kinds.len(), found.len());
    assert!(in_python(&public, &next.entry.vkey).starts_with(&format!("{} ", next.size)));
    sound(&ledger);
    assert_eq!(ledger.check_log_files(&public).unwrap(), Vec::<String>::new());
    // Elsewhere the lost leaves cannot be made again.
    let other = shop.folder.path().join("other");
    let problem = ledger.publish_log(&other, false, on(5)).unwrap_err().to_string();
    assert!(problem.contains("copy the published files there"), "{problem}");
    // A copy of this one keeps all of it.
    let second = shop.folder.path().join("second");
    ledger.backup(&second).unwrap();
    fs::create_dir(shop.folder.path().join("again")).unwrap();
    let again = shop.folder.path().join("again");
    fs::set_permissions(&again, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    std::process::Command::new("cp").arg("-a").args([folder.join("keys"), again.join("keys")]).status().unwrap();
    let ledger = Ledger::restore_with_log(&again, &second, &LogFolder::below(&public), on(6)).unwrap().0;
    refused(&ledger, &stamps[11], StampProblem::Deposited);
    assert_eq!(ledger.publish_log(&again.join("public"), false, on(6)).unwrap().entry, next.entry);
    sound(&ledger);
}

#[test]
fn a_backup_with_entries_that_the_log_does_not_have_logs_them_later() {
    let shop = shop();
    sell(&shop, 5, on(0));
    publish(&shop, on(1));
    // The copy is newer than the log.
    let stamps = sell(&shop, 6, on(1));
    let (ledger, folder) = restored(&shop, &backup(&shop, "backup"), "restored", true);
    let log = ledger.publish_log(&folder.join("public"), false, on(4)).unwrap();
    assert_eq!((log.size, log.appended), (11, 6));
    assert_eq!(ledger.deposit(2, &handed(&stamps), on(4)).unwrap().each, vec![Ok(1); 6]);
    sound(&ledger);
}

#[test]
fn without_the_published_log_nothing_is_published_until_it_is_taken_over() {
    let shop = shop();
    let stamps = sell(&shop, 5, on(0));
    publish(&shop, on(1));
    let copy = backup(&shop, "backup");
    deposit(&shop, &stamps[..2], on(1));
    let log = publish(&shop, on(2));
    let (ledger, folder) = restored(&shop, &copy, "restored", false);
    let own = folder.join("public");
    let problem = ledger.publish_log(&own, false, on(3)).unwrap_err().to_string();
    assert!(problem.contains("run mailstamp vendor publish --resume-log"), "{problem}");
    assert!(!LogFolder::below(&own).checkpoint_path().exists());
    // The files are found.
    std::process::Command::new("cp").arg("-a").args([public(&shop), own.clone()]).status().unwrap();
    assert!(ledger.publish_log(&own, false, on(3)).is_err());
    assert_eq!(ledger.publish_log(&own, true, on(3)).unwrap().entry, log.entry);
    refused(&ledger, &stamps[0], StampProblem::Deposited);
    assert_eq!(ledger.deposit(2, &handed(&stamps[2..3]), on(4)).unwrap().each, [Ok(1)]);
    sound(&ledger);
}

#[test]
fn an_older_file_put_in_place_is_refused_and_never_makes_a_second_tree() {
    let shop = shop();
    let stamps = sell(&shop, 5, on(0));
    publish(&shop, on(1));
    let path = shop.path();
    copied(&path.join("public"), &shop.folder.path().join("shorter"));
    let five = fs::read(LogFolder::below(&shop.folder.path().join("shorter")).checkpoint_path()).unwrap();
    let file = path.join("ledger.redb");
    let old = shop.folder.path().join("old.redb");
    let ledger = {
        drop(shop.ledger);
        fs::copy(&file, &old).unwrap();
        crate::ledger::open(&path)
    };
    ledger.deposit(2, &handed(&stamps[..2]), on(1)).unwrap();
    let log = ledger.publish_log(&path.join("public"), false, on(2)).unwrap();
    drop(ledger);
    // Not by the command that restores.
    fs::copy(&old, &file).unwrap();
    let ledger = crate::ledger::open(&path);
    ledger.issue(1, &crate::ledger::orders(4), None, on(2).plus(DAY / 2)).unwrap();
    // Neither in its own folder nor elsewhere, where the log may be as old as the ledger.
    let other = shop.folder.path().join("other");
    let shorter = shop.folder.path().join("shorter");
    for (public, takes_over) in [(&path.join("public"), false), (&other, false), (&shorter, false), (&shorter, true)] {
        let problem = ledger.publish_log(public, takes_over, on(4)).unwrap_err().to_string();
        assert!(problem.contains("7 leaves, and this ledger made 5 of them"), "{problem}");
    }
    assert!(!LogFolder::below(&other).checkpoint_path().exists());
    assert_eq!(fs::read(LogFolder::below(&shorter).checkpoint_path()).unwrap(), five);
    let next = ledger.publish_log(&path.join("public"), true, on(4)).unwrap();
    assert_eq!((next.size, next.appended), (log.size + 4, 4));
    refused(&ledger, &stamps[0], StampProblem::Deposited);
    sound(&ledger);
    assert_eq!(ledger.check_log_files(&path.join("public")).unwrap(), Vec::<String>::new());
}
