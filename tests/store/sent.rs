//! Every store keeps the contacts of the user and the Message-IDs of sent messages. On the disk: what a failing disk
//! leaves, and files of programs that did not know these tables.

use crate::disk::{Disk, Plan};
use crate::{DAY, NOW, ask, rows};
use mailstamp::message::address::Address;
use mailstamp::store::memory::Memory;
use mailstamp::store::redb::{Options, Redb};
use mailstamp::store::resident::ResidentLog;
use mailstamp::store::{ContactStore, Correspondent, ExportRecord, Imported, LearnLimits, LearnMode, LearnOutcome};
use mailstamp::store::{Sent, Store, UsedLog};
use mailstamp::time::UnixTime;
use mailstamp::verdict::owner::Owner;
use mailstamp::verdict::spend::SpendResult;
use rustix::io::Errno;
use std::fs;
use std::ops::ControlFlow;

/// The owner of addresses without a name.
const OWN: Owner = Owner([0; 8]);
/// Correspondents have no end.
const EVER: UnixTime = UnixTime(i64::MIN);

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

/// A message to these people, sent the given number of days after now.
fn sent(recipients: &[&str], id: &str, days: i64) -> Sent {
    let recipients = recipients.iter().map(|it| address(it)).collect();
    Sent {
        owner: OWN,
        recipients,
        message_id: Some(id.into()),
        time: NOW.plus(days * DAY),
        now: NOW.plus(days.max(0) * DAY),
    }
}

fn learned(correspondents: u64, messages: u64) -> LearnOutcome {
    LearnOutcome { correspondents, messages, over_limit: 0 }
}

fn people(store: &dyn Store) -> Vec<(String, i64, i64)> {
    let mut all = Vec::new();
    let mut to = |Correspondent { address, first, last, .. }| {
        all.push((address, first.since(NOW) / DAY, last.since(NOW) / DAY));
        ControlFlow::Continue(())
    };
    store.correspondents(&mut to).unwrap();
    all
}

on_every_store! {
    fn whom_the_user_wrote_to_is_known_and_nobody_else(store, _other) {
        assert_eq!(store.learn(&[sent(&["joe@x.example", "eve@y.example"], "<1@me>", 0)]).unwrap(), learned(2, 1));
        for known in ["joe@x.example", "JOE@X.EXAMPLE.", "joe+news@x.example", "\"joe\"@x.example", "eve@y.example"] {
            assert!(store.wrote_to(OWN, &address(known), EVER).unwrap(), "{known}");
        }
        // Threat 25: an address that looks alike is another contact.
        for unknown in ["jo@x.example", "joe@y.example", "joe@sub.x.example", "j\u{43e}e@x.example", "joe-news@x.example"] {
            assert!(!store.wrote_to(OWN, &address(unknown), EVER).unwrap(), "{unknown}");
        }
        assert!(store.sent(OWN, "<1@me>").unwrap() && store.sent(OWN, " 1@me ").unwrap());
        for unknown in ["<2@me>", "", "<>", "1@ME", &"1@me".repeat(1 << 18)] {
            assert!(!store.sent(OWN, unknown).unwrap());
        }
    }

    fn learning_the_same_again_changes_nothing_and_the_order_does_not_matter(store, other) {
        let all = [
            sent(&["joe@x.example"], "<1@me>", 0),
            sent(&["joe+2@x.example", "eve@y.example"], "<2@me>", 5),
            sent(&["joe@x.example"], "<3@me>", -400),
        ];
        assert_eq!(store.learn(&all).unwrap(), learned(2, 3));
        let before = rows(store);
        assert_eq!(store.learn(&all).unwrap(), LearnOutcome::default());
        assert_eq!(rows(store), before);
        for one in all.iter().rev() {
            other.learn(std::slice::from_ref(one)).unwrap();
        }
        assert_eq!(rows(other), before);
        assert_eq!(people(store), [("eve@y.example".to_owned(), 5, 5), ("joe@x.example".to_owned(), -400, 5)]);
        let counts = store.summary().unwrap();
        assert_eq!((counts.correspondents, counts.sent, counts.replies), (2, 3, 0));
    }

    fn a_copy_to_another_recipient_under_the_same_id_is_learned_too(store, _other) {
        store.learn(&[sent(&["joe@x.example"], "<1@me>", 0)]).unwrap();
        let copy = [sent(&["bcc@z.example"], "<1@me>", 0)];
        assert_eq!(store.learn(&copy).unwrap(), learned(1, 0));
        assert!(store.wrote_to(OWN, &address("bcc@z.example"), EVER).unwrap());
    }

    fn who_is_forgotten_stays_so_until_the_user_writes_again(store, other) {
        let letters = [sent(&["joe@x.example"], "<1@me>", 0), sent(&["eve@y.example"], "<2@me>", 0)];
        store.learn(&letters).unwrap();
        let before = rows(store);
        assert!(store.remove(None, &address("Joe+x@x.example")).unwrap());
        assert!(!store.remove(None, &address("joe@x.example")).unwrap());
        assert!(!store.remove(None, &address("absent@x.example")).unwrap());
        assert_eq!(store.learn(&letters).unwrap(), LearnOutcome::default());
        // An old copy of the state brings no contact back: neither here, nor where the new one is imported after it.
        other.import(&mut before.clone().into_iter()).unwrap();
        other.import(&mut rows(store).into_iter()).unwrap();
        store.import(&mut before.into_iter()).unwrap();
        for store in [store, other] {
            assert!(!store.wrote_to(OWN, &address("joe@x.example"), EVER).unwrap());
            assert_eq!(people(store), [("eve@y.example".to_owned(), 0, 0)]);
            assert_eq!(store.summary().unwrap().correspondents, 1);
        }
        assert_eq!(store.learn(&[sent(&["joe@x.example"], "<3@me>", 1)]).unwrap().correspondents, 1);
        assert!(store.wrote_to(OWN, &address("joe@x.example"), EVER).unwrap());
    }

    fn old_ids_are_purged_and_people_stay(store, _other) {
        let letter = |n: i64| sent(&[&format!("p{n}@x.example")], &format!("<{n}@me>"), -n);
        let all: Vec<Sent> = (0..22_000).map(letter).collect();
        store.learn(&all).unwrap();
        assert_eq!(store.purge_sent(NOW.plus(-400 * DAY)).unwrap(), 22_000 - 401);
        assert_eq!(store.purge_sent(NOW.plus(-400 * DAY)).unwrap(), 0);
        let counts = store.summary().unwrap();
        assert_eq!((counts.sent, counts.correspondents), (401, 22_000));
        assert!(store.sent(OWN, "<400@me>").unwrap() && !store.sent(OWN, "<401@me>").unwrap());
        assert!(store.wrote_to(OWN, &address("p21999@x.example"), EVER).unwrap());
    }

    fn what_one_owner_sent_says_nothing_about_another(store, other) {
        let (alice, bob) = (Owner::named("alice"), Owner::named("bob"));
        let of = |owner, to: &str, id: &str| Sent { owner, ..sent(&[to], id, 0) };
        assert_eq!(store.learn(&[of(alice, "joe@x.example", "<1@me>")]).unwrap(), learned(1, 1));
        let joe = address("joe@x.example");
        let knows = |store: &dyn Store| [alice, bob, OWN].map(|owner| store.wrote_to(owner, &joe, EVER).unwrap());
        assert_eq!(knows(store), [true, false, false]);
        assert_eq!([alice, bob, OWN].map(|owner| store.sent(owner, "<1@me>").unwrap()), [true, false, false]);
        // The same address and the same Message-ID are another row of each.
        assert_eq!(store.learn(&[of(bob, "joe@x.example", "<1@me>"), of(OWN, "joe@x.example", "<1@me>")]).unwrap(), learned(2, 2));
        other.import(&mut rows(store).into_iter()).unwrap();
        assert_eq!((rows(store), store.summary().unwrap().correspondents), (rows(other), 3));
        assert!(store.remove(Some(bob), &joe).unwrap() && !store.remove(Some(bob), &joe).unwrap());
        assert_eq!(knows(store), [true, false, true]);
        assert!(store.remove(None, &joe).unwrap() && !store.remove(None, &joe).unwrap());
        assert_eq!((knows(store), knows(other)), ([false; 3], [true; 3]));
    }

    fn a_removal_by_a_clock_that_was_ahead_is_undone_by_a_message_of_now(store, _other) {
        let wrote = || store.wrote_to(OWN, &address("joe@x.example"), EVER).unwrap();
        store.learn(&[sent(&["joe@x.example"], "<1@me>", 3_650)]).unwrap();
        assert!(store.remove(None, &address("joe@x.example")).unwrap() && !wrote());
        store.learn(&[sent(&["joe@x.example"], "<2@me>", -1)]).unwrap();
        assert!(!wrote(), "a message of yesterday");
        assert_eq!(store.learn(&[sent(&["joe@x.example"], "<3@me>", 0)]).unwrap(), learned(1, 1));
        assert!(wrote());
    }

    fn an_owner_learns_within_their_limits_and_the_next_day_again(store, _other) {
        let (alice, bob) = (Owner::named("alice"), Owner::named("bob"));
        let limited = LearnMode::Limited(LearnLimits { addresses: 5, per_day: 3 });
        let learn = |owner, to: &[&str], days| {
            let outcome = store.learn_as(&[Sent { owner, ..sent(to, "", days) }], limited).unwrap();
            (outcome.correspondents, outcome.over_limit)
        };
        assert_eq!(learn(alice, &["a@x.example", "b@x.example", "c@x.example", "d@x.example"], 0), (3, 1));
        // Known ones are renewed, and another owner is not concerned.
        assert_eq!(learn(alice, &["a@x.example", "e@x.example"], 0), (0, 1));
        assert_eq!(learn(bob, &["a@x.example", "e@x.example"], 0), (2, 0));
        assert_eq!(learn(alice, &["e@x.example", "f@x.example", "g@x.example"], 2), (2, 1));
        assert_eq!(learn(alice, &["g@x.example"], 9), (0, 1));
        store.remove(Some(alice), &address("a@x.example")).unwrap();
        assert_eq!(learn(alice, &["g@x.example"], 20), (0, 1));
        assert_eq!(learn(alice, &["a@x.example"], 21), (1, 0));
        assert_eq!(learn(OWN, &["a@x.example", "e@x.example", "f@x.example", "g@x.example"], 21), (3, 1));
    }

    fn correspondents_end_after_their_term(store, _other) {
        let letter = |n: i64| sent(&[&format!("p{n}@x.example")], "", -n);
        let all: Vec<Sent> = (0..22_000).map(letter).collect();
        store.learn(&all).unwrap();
        store.remove(None, &address("p9@x.example")).unwrap();
        store.remove(None, &address("p401@x.example")).unwrap();
        let since = NOW.plus(-400 * DAY);
        let knows = |n: i64| store.wrote_to(OWN, &address(&format!("p{n}@x.example")), since).unwrap();
        assert_eq!([0, 9, 400, 401, 402].map(knows), [true, false, true, false, false]);
        assert_eq!(store.purge_correspondents(since).unwrap(), 22_000 - 401);
        assert_eq!((store.purge_correspondents(since).unwrap(), people(store).len()), (0, 400));
        assert_eq!([0, 9, 400, 401, 402].map(knows), [true, false, true, false, false]);
    }

    fn an_address_book_brings_no_removed_correspondent_back(store, _other) {
        let book = |days| store.learn_as(&[sent(&["joe@x.example"], "", days)], LearnMode::AddressBook).unwrap();
        assert_eq!((book(0), book(1)), (learned(1, 0), learned(0, 0)));
        assert_eq!(people(store), [("joe@x.example".to_owned(), 0, 1)]);
        store.remove(None, &address("joe@x.example")).unwrap();
        assert_eq!((book(2), people(store)), (learned(0, 0), vec![]));
        assert_eq!(store.learn(&[sent(&["joe@x.example"], "", 3)]).unwrap(), learned(1, 0));
    }

    fn nothing_known_is_no_error(store, _other) {
        assert!(!store.wrote_to(OWN, &address("joe@x.example"), EVER).unwrap() && !store.sent(OWN, "<1@me>").unwrap());
        assert!(!store.remove(None, &address("joe@x.example")).unwrap());
        assert_eq!((store.purge_sent(NOW).unwrap(), store.purge_correspondents(NOW).unwrap()), (0, 0));
        assert_eq!(people(store), []);
        assert_eq!(store.learn(&[]).unwrap(), LearnOutcome::default());
        // Neither an address nor an id.
        assert_eq!(store.learn(&[sent(&[], " ", 0)]).unwrap(), LearnOutcome::default());
        assert_eq!(rows(store), []);
    }

    fn times_at_the_ends_of_the_range_are_kept(store, _other) {
        for time in [i64::MIN, -1, 0, i64::MAX] {
            let letter = Sent { time: UnixTime(time), ..sent(&[&format!("t{time}@x.example")], &time.to_string(), 0) };
            assert_eq!(store.learn(&[letter]).unwrap(), learned(1, 1), "{time}");
        }
        assert_eq!(store.purge_sent(UnixTime(i64::MAX)).unwrap(), 4);
    }

    /// Promise 5.
    fn a_message_to_a_hundred_thousand_is_learned_in_one_piece(store, other) {
        let recipients = (0..100_000).map(|n| address(&format!("p{n}@x.example"))).collect();
        let letter = Sent { owner: OWN, recipients, message_id: None, time: NOW, now: NOW };
        assert_eq!(store.learn(&[letter]).unwrap(), learned(100_000, 0));
        let all = rows(store);
        assert_eq!(other.import(&mut all.into_iter()).unwrap(), Imported { taken: 100_000, known: 0 });
        assert!(other.wrote_to(OWN, &address("p99999@x.example"), EVER).unwrap());
        let mut seen = 0;
        other.correspondents(&mut |_| { seen += 1; if seen == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) } }).unwrap();
        assert_eq!(seen, 3);
    }
}

#[test]
fn a_question_about_what_was_sent_makes_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = Redb::new(folder.path().join("state/log"), Options::default());
    nothing_known_is_no_error(&store, &store);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// Threat 5: of a learning that fails, all or nothing is known, and it can be done again.
#[test]
fn a_learning_that_fails_anywhere_is_all_or_nothing() {
    let letters: Vec<Sent> = (0..300).map(|n| sent(&[&format!("p{n}@x.example")], &format!("<{n}@me>"), 0)).collect();
    let whole = learned(300, 300);
    let before = Disk::default();
    before.open(Plan::Work).unwrap().spend(&ask(1, 1)).unwrap();
    let (log, count) = before.copy().open_counting(Plan::Work);
    assert_eq!(log.unwrap().learn(&letters).unwrap(), whole);
    let operations = count.lock().unwrap().all;
    assert!(operations > 8, "{operations}");
    for at in 0..operations {
        for plan in
            [Plan::FailAt(at, Errno::NOSPC.raw_os_error()), Plan::FailAt(at, Errno::IO.raw_os_error()), Plan::DieAt(at)]
        {
            let disk = before.copy();
            let first = disk.open(plan).and_then(|log| log.learn(&letters));
            let log = disk.open(Plan::Work).unwrap();
            let known =
                (0..300).filter(|n| log.wrote_to(OWN, &address(&format!("p{n}@x.example")), EVER).unwrap()).count();
            let ids = (0..300).filter(|n| log.sent(OWN, &format!("{n}@me")).unwrap()).count();
            assert!((known, ids) == (300, 300) || first.is_err() && (known, ids) == (0, 0), "{plan:?}: {known} {ids}");
            let again = log.learn(&letters).unwrap();
            assert_eq!(again, if known == 0 { whole } else { LearnOutcome::default() }, "{plan:?}");
            assert!(matches!(log.would_spend(&ask(1, 2)).unwrap(), SpendResult::DoubleSpend { .. }));
            assert!(log.verify().unwrap());
        }
    }
}

#[test]
fn the_rows_are_lines_of_json() {
    let store = Memory::new();
    store.learn(&[sent(&["Joe+a@x.example"], "<1@me>", 0)]).unwrap();
    store.remove(None, &address("joe@x.example")).unwrap();
    let lines: Vec<String> = rows(&store).iter().map(|row| serde_json::to_string(row).unwrap()).collect();
    assert_eq!(
        lines,
        [
            r#"{"row":"correspondent","address":"joe@x.example","first":1795262400,"last":1795262400,"forgotten":1795262400}"#,
            r#"{"row":"sent","message":"0d0f6bcf3bb7bb09c3b9ff2e14008f97","at":1795262400}"#,
        ]
    );
    for line in lines {
        assert!(rows(&store).contains(&serde_json::from_str::<ExportRecord>(&line).unwrap()));
    }
}
