//! What a publication removes, and what it says about the clock.

use super::{DAY, checkpoint, leaves, on, public, publish, sell, shop, sound};
use crate::support::{Home, MAILSTAMP, run};
use mailstamp::ledger::public_log::files::LogFolder;
use mailstamp::transparency::reader::VerifiedLog;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

/// The files below a folder that are no full ones, by their paths.
fn partial(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.to_str().unwrap().contains(".p/") {
            found.push(path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
        }
    }
    found.sort();
    found
}

#[test]
fn partial_files_are_removed_when_their_full_ones_are_there() {
    let shop = shop();
    let log = LogFolder::below(&public(&shop));
    let mut before = None;
    for (day, widths) in [
        (0, &["000.p/100"][..]),
        (1, &["000.p/100", "000.p/200"]),
        // A reader may have the checkpoint of 200 leaves.
        (2, &["000.p/200", "001.p/44"]),
        (3, &["001.p/144", "001.p/44"]),
        (4, &["001.p/144", "001.p/244", "001.p/44"]),
        (5, &["001.p/244", "002.p/88"]),
        (6, &["002.p/188", "002.p/88"]),
    ] {
        sell(&shop, 100, on(day));
        let published = publish(&shop, on(day + 1));
        let of = |level: &str| partial(&log.path().join("tile").join(level));
        assert_eq!((of("0"), of("entries")), (widths.to_vec().iter().map(|it| (*it).to_owned()).collect(), of("0")));
        // Level 1 is not full yet.
        assert_eq!(of("1").len() as u64, published.size / 256);
        // The last checkpoint, and the one before.
        assert_eq!(leaves(&public(&shop), &published.entry).len() as u64, published.size);
        if let Some(before) = before.replace(published.entry) {
            let before = checkpoint(&before);
            let mut log = VerifiedLog::open(&log, before.size, &before.root).unwrap();
            assert!((0..log.bundles()).all(|bundle| log.bundle(bundle).is_ok()));
        }
    }
    sound(&shop);
    assert!(!log.path().join("tile/0/000.p").exists());
}

#[test]
fn what_killed_publications_left_goes_with_the_next_one() {
    let shop = shop();
    let home = Home::bare();
    home.configure("");
    let (folder, public) = (shop.path(), public(&shop));
    sell(&shop, 300, on(0));
    publish(&shop, on(1));
    sell(&shop, 300, on(1));
    drop(shop.ledger);
    let well_known = public.join(".well-known");
    let old = SystemTime::now() - Duration::from_secs(2 * 60 * 60);
    let left = [
        public.join(".stamps.example.zone.0123456789abcdef.tmp"),
        well_known.join(".digital-stamp.0123456789abcdef.tmp"),
        well_known.join("digital-stamp-editions/.1.json.0123456789abcdef.tmp"),
        well_known.join("digital-stamp-log/.checkpoint.0123456789abcdef.tmp"),
        well_known.join("digital-stamp-log/tile/entries/.000.0123456789abcdef.tmp"),
        well_known.join("digital-stamp-log/tile/0/001.p/.44.0123456789abcdef.tmp"),
    ];
    fs::create_dir_all(well_known.join("digital-stamp-editions")).unwrap();
    left.iter().for_each(|path| File::create(path).unwrap().set_modified(old).unwrap());
    // One that may be in use.
    let new = public.join(".stamps.example.zone.0123456789abcdee.tmp");
    fs::write(&new, "").unwrap();
    let publish = |now| {
        let mut command = Command::new(MAILSTAMP);
        command.args(["vendor", "publish", "--now", &on(now).to_string(), "--ledger"]).arg(&folder);
        run(command.env_clear().env("HOME", home.path()), b"").exits(0)
    };
    let said = publish(2);
    assert!(said.text().contains("600 leaves, 300 of them new") && said.stderr.is_empty(), "{}", said.stderr);
    left.iter().for_each(|path| assert!(!path.exists(), "{}", path.display()));
    assert!(new.exists());
    // By a clock that is two days behind, or will be.
    let behind = publish(0);
    let day = |later: i64| mailstamp::time::UnixTime(on(later).0 / DAY * DAY).to_string()[..10].to_owned();
    let sentence =
        format!("mailstamp: warning: the clock says {}, and the public log has leaves of {}:", on(0), day(1));
    assert!(behind.stderr.starts_with(&sentence), "{}", behind.stderr);
    assert!(publish(2).stderr.is_empty());
}
