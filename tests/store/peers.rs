//! Every store keeps the records of correspondents' own keys, and counts the uses of their stamps. On the disk: what a
//! failing disk leaves.

use crate::disk::{Disk, Plan};
use crate::{DAY, NOW, ask, rows};
use mailstamp::message::address::Address;
use mailstamp::peer::gift::Given;
use mailstamp::peer::record::PeerRecord;
use mailstamp::stamp::serial::Serial;
use mailstamp::stamp::signing::SecretKey;
use mailstamp::store::memory::Memory;
use mailstamp::store::redb::{Options, Redb};
use mailstamp::store::resident::ResidentLog;
use mailstamp::store::{ExportRecord, Peer, PeerStore, Store, UsedLog, purge_peers};
use mailstamp::verdict::owner::Owner;
use mailstamp::verdict::spend::{Cap, SpendRequest, SpendResult};
use rustix::io::Errno;
use std::ops::ControlFlow;

/// The owner of addresses without a name.
const OWN: Owner = Owner([0; 8]);

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

/// The record of a contact that was last used this many days after now.
fn contact(days: i64) -> PeerRecord {
    PeerRecord { contact: Some(NOW), used: Some(NOW.plus(days * DAY)), ..PeerRecord::default() }
}

/// A stamp that was given, good for 90 days.
fn given(number: u8) -> Given {
    Given {
        serial: Serial::from_random([number; 16]),
        issuer: address("me@x.example"),
        signer: SecretKey::from_random(&[9; 32]).public(),
        holder: SecretKey::from_random(&[number; 32]).public(),
        issued: NOW,
        until: NOW.plus(90 * DAY),
        in_answer: false,
        ended: None,
    }
}

fn put(store: &dyn Store, owner: Owner, of: &str, record: &PeerRecord) -> PeerRecord {
    store.update_peer(owner, &address(of), &mut |_| record.clone()).unwrap()
}

fn all(store: &dyn Store) -> Vec<Peer> {
    let mut all = Vec::new();
    store
        .peers(&mut |peer| {
            all.push(peer);
            ControlFlow::Continue(())
        })
        .unwrap();
    all
}

/// Use number `serial` of a stamp whose uses of a day have this limit.
fn capped(serial: u32, message: u8, name: &str, most: u8) -> SpendRequest {
    let cap = Cap { name: Serial::new(name).unwrap(), until: NOW.plus(DAY), most };
    SpendRequest { cap: Some(cap), ..ask(serial, message) }
}

on_every_store! {
    fn a_record_is_read_back_and_the_one_that_knows_nothing_takes_no_row(store, _other) {
        let (joe, alice) = ("Joe+News@x.example", Owner::named("alice"));
        assert_eq!(store.peer(OWN, &address(joe)).unwrap(), PeerRecord::default());
        assert_eq!((put(store, OWN, joe, &PeerRecord::default()), store.peer_count().unwrap()), (PeerRecord::default(), 0));
        assert_eq!(put(store, OWN, joe, &contact(0)), contact(0));
        assert_eq!(put(store, alice, joe, &contact(1)), contact(1));
        assert_eq!(put(store, OWN, "a@y.example", &contact(2)), contact(2));
        assert_eq!(store.peer(OWN, &address("joe+news@X.EXAMPLE")).unwrap(), contact(0));
        // Keys are of one address, not of its other details.
        assert_eq!(store.peer(OWN, &address("joe@x.example")).unwrap(), PeerRecord::default());
        assert_eq!((store.peer_count().unwrap(), store.summary().unwrap().peers), (3, 3));
        let names: Vec<(Owner, String)> = all(store).into_iter().map(|it| (it.owner, it.address.canonical())).collect();
        let joes = "joe+news@x.example".to_owned();
        assert_eq!(names, [(alice, joes.clone()), (OWN, "a@y.example".to_owned()), (OWN, joes)]);
        let mut first = None;
        store.peers(&mut |peer| { first = Some(peer.owner); ControlFlow::Break(()) }).unwrap();
        assert_eq!(first, Some(alice));
        put(store, alice, joe, &PeerRecord::default());
        assert_eq!((store.peer_count().unwrap(), all(store).len()), (2, 2));
    }

    fn a_change_sees_what_was_there(store, _other) {
        let joe = address("joe@x.example");
        for number in 1..=3 {
            let after = store.update_peer(OWN, &joe, &mut |before| {
                let more = given(number);
                PeerRecord { given: before.given.iter().cloned().chain([more]).collect(), ..contact(0) }
            });
            assert_eq!(after.unwrap().given.len(), usize::from(number));
        }
        assert_eq!(store.peer(OWN, &joe).unwrap().given, [given(1), given(2), given(3)]);
    }

    fn an_import_of_records_never_weakens(store, other) {
        let one = PeerRecord { given: vec![given(1)], ..contact(0) };
        put(store, OWN, "joe@x.example", &one);
        put(store, Owner::named("alice"), "joe@x.example", &contact(5));
        other.import(&mut rows(store).into_iter()).unwrap();
        assert_eq!(rows(other), rows(store));
        assert_eq!(other.import(&mut rows(store).into_iter()).unwrap().taken, 0);
        // A stamp that was ended here stays so, and one that was ended there is ended here.
        let ended = Given { ended: Some(NOW.plus(9)), ..given(1) };
        put(other, OWN, "joe@x.example", &PeerRecord { given: vec![ended.clone(), given(2)], ..contact(0) });
        other.import(&mut rows(store).into_iter()).unwrap();
        assert_eq!(other.peer(OWN, &address("joe@x.example")).unwrap().given, [ended.clone(), given(2)]);
        store.import(&mut rows(other).into_iter()).unwrap();
        assert_eq!(store.peer(OWN, &address("joe@x.example")).unwrap().given, [ended, given(2)]);
        let lines: Vec<String> = rows(store).iter().map(|row| serde_json::to_string(row).unwrap()).collect();
        assert!(lines[0].starts_with("{\"row\":\"peer\",\"owner\":\""), "{}", lines[0]);
        assert!(lines[1].starts_with("{\"row\":\"peer\",\"address\":\"joe@x.example\",\"peer\":{\"contact\":"), "{}", lines[1]);
        let back: ExportRecord = serde_json::from_str(&lines[1]).unwrap();
        assert_eq!(back, rows(store)[1]);
        assert_eq!(back.written_at(), Some(NOW.plus(9)));
    }

    fn a_purge_removes_what_has_ended(store, _other) {
        put(store, OWN, "joe@x.example", &PeerRecord { given: vec![given(1)], ..contact(0) });
        put(store, OWN, "eve@x.example", &contact(0));
        assert_eq!(purge_peers(store, NOW.plus(90 * DAY)).unwrap(), 0);
        assert_eq!(purge_peers(store, NOW.plus(91 * DAY)).unwrap(), 1);
        assert_eq!(store.peer(OWN, &address("joe@x.example")).unwrap(), contact(0));
        assert_eq!(purge_peers(store, NOW.plus(401 * DAY)).unwrap(), 2);
        assert_eq!(store.peer_count().unwrap(), 0);
    }

    // Attack table: the holder hands the key to a spammer.
    fn uses_of_a_stamp_are_capped_by_day(store, other) {
        let spend = |serial, message| store.spend(&capped(serial, message, "today", 2)).unwrap();
        assert_eq!((spend(1, 1), spend(2, 2)), (SpendResult::Fresh, SpendResult::Fresh));
        assert_eq!(store.would_spend(&capped(3, 3, "today", 2)).unwrap(), SpendResult::TooOften);
        assert_eq!(spend(3, 3), SpendResult::TooOften);
        // What was accepted is so when it comes again, and does not count.
        assert!(matches!(spend(1, 1), SpendResult::Redelivery { times: 1, .. }));
        assert!(matches!(spend(1, 9), SpendResult::DoubleSpend { .. }));
        assert_eq!(spend(4, 4), SpendResult::TooOften);
        // Nothing was written of those that were refused. The next day counts anew, and other stamps have their own.
        assert_eq!(store.spend(&capped(3, 3, "tomorrow", 2)).unwrap(), SpendResult::Fresh);
        assert_eq!(store.spend(&capped(4, 4, "today", 3)).unwrap(), SpendResult::Fresh);
        assert_eq!(store.spend(&capped(5, 5, "today", 3)).unwrap(), SpendResult::TooOften);
        assert_eq!(store.spend(&ask(5, 5)).unwrap(), SpendResult::Fresh);
        assert_eq!(store.spend(&capped(6, 6, "none", 0)).unwrap(), SpendResult::TooOften);
        // Two hours after its day, a counter goes as other rows do.
        other.import(&mut rows(store).into_iter()).unwrap();
        assert_eq!(other.spend(&capped(7, 7, "today", 3)).unwrap(), SpendResult::TooOften);
        let used = store.summary().unwrap().used;
        assert_eq!(store.purge(NOW.plus(DAY + 7_200), 0, 99).unwrap().removed, 2);
        assert_eq!(store.summary().unwrap().used, used - 2);
    }
}

// A batch of one store is decided together: each use sees the count of those before it.
#[test]
fn uses_that_come_at_once_are_counted_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let log = ResidentLog::new(folder.path().join("log"), Options::default()).unwrap();
    let fresh = std::thread::scope(|scope| {
        let spend = |number: u8| {
            let log = &log;
            scope.spawn(move || log.spend(&capped(number.into(), number, "today", 5)).unwrap())
        };
        let all: Vec<_> = (0..40).map(spend).collect();
        all.into_iter().map(|it| it.join().unwrap()).filter(|answer| *answer == SpendResult::Fresh).count()
    });
    assert_eq!(fresh, 5);
    drop(log);
    let log = Redb::new(folder.path().join("log"), Options::default());
    assert_eq!(log.spend(&capped(99, 99, "today", 5)).unwrap(), SpendResult::TooOften);
}

#[test]
fn a_question_about_a_correspondent_makes_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let log = Redb::new(&path, Options::default());
    let joe = address("joe@x.example");
    assert_eq!(log.peer(OWN, &joe).unwrap(), PeerRecord::default());
    log.update_peer(OWN, &joe, &mut |record| record.clone()).unwrap();
    assert_eq!((log.peer_count().unwrap(), purge_peers(&log, NOW).unwrap(), all(&log).len()), (0, 0, 0));
    assert!(!path.exists());
}

// Whatever operation fails, a use is counted if it was accepted, and a record is the old or the new one.
#[test]
fn a_disk_that_fails_loses_no_count_and_no_record() {
    let joe = address("joe@x.example");
    let before = Disk::default();
    let log = before.open(Plan::Work).unwrap();
    put(&log, OWN, "joe@x.example", &contact(0));
    assert_eq!(log.spend(&capped(1, 1, "today", 2)).unwrap(), SpendResult::Fresh);
    drop(log);
    let both = |log: Redb| {
        let spent = log.spend(&capped(2, 2, "today", 2));
        (spent, log.update_peer(OWN, &joe, &mut |_| contact(3)))
    };
    let (log, count) = before.copy().open_counting(Plan::Work);
    assert!(matches!(both(log.unwrap()), (Ok(SpendResult::Fresh), Ok(_))));
    let operations = count.lock().unwrap().all;
    assert!(operations > 8, "{operations}");
    for at in 0..operations {
        for plan in [Plan::FailAt(at, Errno::IO.raw_os_error()), Plan::DieAt(at)] {
            let disk = before.copy();
            let done = disk.open(plan).map(both);
            let log = disk.open(Plan::Work).unwrap();
            let again = log.spend(&capped(2, 2, "today", 2)).unwrap();
            let was_told = matches!(done, Ok((Ok(_), _)));
            assert!(
                again == SpendResult::Fresh && !was_told || matches!(again, SpendResult::Redelivery { .. }),
                "{plan:?}"
            );
            assert_eq!(log.spend(&capped(3, 3, "today", 2)).unwrap(), SpendResult::TooOften, "{plan:?}");
            let record = log.peer(OWN, &joe).unwrap();
            assert!(record == contact(3) || record == contact(0) && !matches!(done, Ok((_, Ok(_)))), "{plan:?}");
        }
    }
}
