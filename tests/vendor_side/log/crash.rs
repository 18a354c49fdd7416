//! A publication that is killed before each of its writes, and continued.

use super::{chain, copied, in_python, on, public, sell, shop, under};
use crate::ledger::open;
use crate::support::{Home, run};
use std::path::Path;

/// Returns the versions of the editions that are kept in the folder.
fn editions(public: &Path) -> Vec<u64> {
    let Ok(folder) = std::fs::read_dir(public.join(".well-known/digital-stamp-editions")) else { return Vec::new() };
    let names = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter_map(|name| name.strip_suffix(".json")?.parse().ok()).collect()
}

#[test]
fn a_publication_that_was_killed_anywhere_is_continued() {
    let shop = shop();
    sell(&shop, 200, on(0));
    shop.ledger.publish_log(&public(&shop), false, on(1)).unwrap();
    sell(&shop, 100, on(1));
    let ledger = shop.path();
    drop(shop.ledger);
    let home = Home::bare();
    home.configure("");
    let work = home.file("work");
    let publish = |strace: &[&str]| {
        let mut command = under(strace);
        command.args(["vendor", "publish", "--now", &on(2).to_string(), "--ledger"]).arg(&work);
        run(command.env("HOME", home.path()), b"")
    };
    copied(&ledger, &work);
    assert_eq!(publish(&[]).code, 0);
    let whole = open(&work).log_entry(&work.join("public")).unwrap().unwrap();
    assert_eq!(in_python(&work.join("public"), &whole.vkey), "300 issued=300\n");
    let (mut kills, mut only_booked) = (0, 0);
    // Each call of each kind: strace counts them apart.
    let mut points = ["syncfs", "fsync", "fdatasync", "rename"].map(|call| (call, 1)).to_vec();
    while let Some((call, number)) = points.pop() {
        copied(&ledger, &work);
        let (trace, inject) = (format!("trace={call}"), format!("inject={call}:signal=SIGKILL:when={number}"));
        let killed = publish(&["-e", &trace, "-e", &inject]);
        if killed.code == 0 {
            continue;
        }
        points.push((call, number + 1));
        kills += 1;
        // What is there is whole: the old log or the new one.
        let there = open(&work);
        assert_eq!(there.check_log_files(&work.join("public")).unwrap(), Vec::<String>::new(), "{call} {number}");
        let size = in_python(&work.join("public"), &whole.vkey);
        assert!(["200 issued=200\n", "300 issued=300\n"].contains(&size.as_str()), "{call} {number}: {size}");
        // An edition that a reader may have is continued, whether it was published or only booked.
        let editions = editions(&work.join("public"));
        let booked = there.last_edition().unwrap().map(|booked| booked.version);
        assert!(booked >= editions.iter().max().copied(), "{call} {number}: {booked:?}, {editions:?}");
        only_booked += usize::from(booked.is_some_and(|booked| !editions.contains(&booked)));
        drop(there);
        let again = publish(&[]);
        assert_eq!(again.code, 0, "{call} {number}: {}", again.stderr);
        let newest = std::fs::read_to_string(work.join("public/.well-known/digital-stamp")).unwrap();
        let chain = chain(&work.join("public"), &newest);
        assert!(
            editions.iter().chain(&booked).all(|it| chain.contains(it)),
            "{call} {number}: {chain:?}, {editions:?}"
        );
        let there = open(&work);
        assert_eq!(there.log_entry(&work.join("public")).unwrap().unwrap(), whole, "{call} {number}");
        assert_eq!(there.audit(None).unwrap().problems, Vec::<String>::new(), "{call} {number}");
        assert_eq!(in_python(&work.join("public"), &whole.vkey), "300 issued=300\n", "{call} {number}");
    }
    assert!((20..90).contains(&kills) && only_booked > 0, "{kills} {only_booked}");
}
