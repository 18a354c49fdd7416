//! The reply log of every store: one reply of a kind to a sender in an interval, and a ceiling for all, whatever the
//! clock does (promise 6, threat 24). On the disk: what a failing disk leaves.

use crate::disk::{Disk, Plan};
use crate::{DAY, NOW, ask, rows};
use mailstamp::store::memory::Memory;
use mailstamp::store::redb::{Options, Redb};
use mailstamp::store::resident::ResidentLog;
use mailstamp::store::{ExportRecord, Imported, ReplyKind, ReplyLog, ReplyRequest, Reservation, Store, UsedLog};
use mailstamp::time::UnixTime;
use mailstamp::verdict::spend::SpendResult;
use proptest::prelude::*;
use rustix::io::Errno;

/// A challenge to sender number `sender`, the given seconds after now; 7 days for each, 3 a day for all.
pub fn reply(sender: u32, seconds: i64) -> ReplyRequest {
    ReplyRequest {
        kind: ReplyKind::Challenge,
        sender: format!("s{sender}@x.example"),
        author: None,
        now: NOW.plus(seconds),
        per_sender: 7 * DAY,
        per_day: 3,
    }
}

fn all(store: &dyn Store) -> Vec<ExportRecord> {
    rows(store).into_iter().filter(|row| matches!(row, ExportRecord::Reply { .. })).collect()
}

on_every_store! {
    fn one_sender_gets_one_of_a_kind_in_his_time(store, _other) {
        assert_eq!(store.reserve_reply(&reply(1, 0)).unwrap(), Reservation::Yes);
        for seconds in [0, 1, 7 * DAY - 1] {
            assert_eq!(store.reserve_reply(&reply(1, seconds)).unwrap(), Reservation::Lately { at: NOW }, "{seconds}");
        }
        let other_kind = ReplyRequest { kind: ReplyKind::Compromised, ..reply(1, 0) };
        assert_eq!(store.reserve_reply(&other_kind).unwrap(), Reservation::Yes);
        assert_eq!(store.reserve_reply(&reply(2, 0)).unwrap(), Reservation::Yes);
        assert_eq!(store.reserve_reply(&reply(1, 7 * DAY)).unwrap(), Reservation::Yes);
        let second = NOW.plus(7 * DAY);
        assert_eq!(store.reserve_reply(&reply(1, 7 * DAY + 9)).unwrap(), Reservation::Lately { at: second });
        let sent = |kind, sender: &str, at: UnixTime| ExportRecord::Reply { kind, sender: sender.into(), at: at.0 as u32 };
        assert_eq!(all(store), [
            sent(ReplyKind::Challenge, "s1@x.example", second),
            sent(ReplyKind::Challenge, "s2@x.example", NOW),
            sent(ReplyKind::Compromised, "s1@x.example", NOW),
        ]);
        assert_eq!(store.summary().unwrap().replies, 3);
    }

    fn a_reply_counts_for_sender_and_author(store, _other) {
        let from = |sender: u32, author: u32| {
            ReplyRequest { author: Some(format!("s{author}@x.example")), ..reply(sender, 0) }
        };
        assert_eq!(store.reserve_reply(&from(1, 9)).unwrap(), Reservation::Yes);
        for again in [from(2, 9), from(1, 8), from(9, 7), reply(9, 0), reply(1, 0)] {
            assert_eq!(store.peek_reply(&again).unwrap(), Reservation::Lately { at: NOW });
            assert_eq!(store.reserve_reply(&again).unwrap(), Reservation::Lately { at: NOW });
        }
        assert_eq!(store.reserve_reply(&from(2, 8)).unwrap(), Reservation::Yes);
        // The ceiling counts messages.
        assert_eq!(store.reserve_reply(&from(3, 7)).unwrap(), Reservation::Yes);
        assert_eq!(store.reserve_reply(&from(4, 6)).unwrap(), Reservation::Ceiling { sent: 3 });
    }

    fn the_ceiling_is_over_all_kinds_and_senders(store, _other) {
        for sender in 0..2 {
            assert_eq!(store.reserve_reply(&reply(sender, i64::from(sender) * 7_200)).unwrap(), Reservation::Yes);
        }
        let other_kind = ReplyRequest { kind: ReplyKind::Compromised, ..reply(0, 7_200) };
        assert_eq!(store.reserve_reply(&other_kind).unwrap(), Reservation::Yes);
        for seconds in [7_200, DAY, DAY + 3_599] {
            assert_eq!(store.reserve_reply(&reply(9, seconds)).unwrap(), Reservation::Ceiling { sent: 3 }, "{seconds}");
        }
        // The first has left the day, the others have not.
        assert_eq!(store.reserve_reply(&reply(9, DAY + 3_600)).unwrap(), Reservation::Yes);
        assert_eq!(store.reserve_reply(&reply(10, DAY + 3_600)).unwrap(), Reservation::Ceiling { sent: 3 });
        let none = ReplyRequest { per_day: 0, ..reply(11, 90 * DAY) };
        assert_eq!(store.reserve_reply(&none).unwrap(), Reservation::Ceiling { sent: 0 });
    }

    /// Threat 18.
    fn a_clock_set_back_lets_nothing_through_and_nobody_is_silent_for_years(store, _other) {
        let ahead = 400 * DAY;
        for sender in 0..3 {
            assert_eq!(store.reserve_reply(&reply(sender, ahead)).unwrap(), Reservation::Yes);
        }
        assert_eq!(store.peek_reply(&reply(0, 0)).unwrap(), Reservation::Lately { at: NOW });
        assert_eq!(store.reserve_reply(&reply(9, 0)).unwrap(), Reservation::Ceiling { sent: 3 });
        assert_eq!(store.reserve_reply(&reply(9, DAY)).unwrap(), Reservation::Ceiling { sent: 3 });
        assert_eq!(store.reserve_reply(&reply(9, DAY + 3_600)).unwrap(), Reservation::Yes);
        assert_eq!(store.reserve_reply(&reply(0, DAY + 3_600)).unwrap(), Reservation::Lately { at: NOW.plus(DAY + 3_600) });
        assert_eq!(store.reserve_reply(&reply(0, 8 * DAY + 3_600)).unwrap(), Reservation::Yes);
    }

    fn a_peek_gives_the_same_answer_and_changes_nothing(store, _other) {
        for _ in 0..2 {
            assert_eq!(store.peek_reply(&reply(1, 0)).unwrap(), Reservation::Yes);
        }
        assert_eq!(rows(store), []);
        store.reserve_reply(&reply(1, 99)).unwrap();
        let before = rows(store);
        assert_eq!(store.peek_reply(&reply(1, 99)).unwrap(), Reservation::Lately { at: NOW.plus(99) });
        assert_eq!(store.peek_reply(&reply(2, 99)).unwrap(), Reservation::Yes);
        assert_eq!(rows(store), before);
    }

    fn an_import_never_weakens(store, other) {
        store.reserve_reply(&reply(1, 0)).unwrap();
        let early = rows(store);
        for sender in [2, 3] {
            store.reserve_reply(&reply(sender, 10)).unwrap();
        }
        let late = rows(store);
        store.import(&mut early.clone().into_iter()).unwrap();
        assert_eq!(rows(store), late);
        assert_eq!(other.import(&mut late.clone().into_iter()).unwrap(), Imported { taken: 4, known: 0 });
        assert_eq!(other.import(&mut late.clone().into_iter()).unwrap(), Imported { taken: 0, known: 4 });
        assert_eq!(rows(other), late);
        assert_eq!(other.reserve_reply(&reply(1, 20)).unwrap(), Reservation::Lately { at: NOW });
        assert_eq!(other.reserve_reply(&reply(9, 20)).unwrap(), Reservation::Ceiling { sent: 3 });
        let line = serde_json::to_string(&late[0]).unwrap();
        assert_eq!(line, r#"{"row":"reply","kind":"challenge","sender":"s1@x.example","at":1795262400}"#);
        let line = serde_json::to_string(&late[3]).unwrap();
        assert_eq!(line, r#"{"row":"replies","hour":498684,"count":3}"#);
        assert_eq!(serde_json::from_str::<ExportRecord>(&line).unwrap(), late[3]);
    }

    fn a_purge_forgets_senders_and_not_the_day(store, _other) {
        for sender in 0..2_500 {
            let ask = ReplyRequest { per_day: 9_999, ..reply(sender, i64::from(sender)) };
            store.import(&mut std::iter::once(ExportRecord::Reply { kind: ask.kind, sender: ask.sender, at: ask.now.0 as u32 })).unwrap();
        }
        store.reserve_reply(&reply(5_000, 3_000)).unwrap();
        assert_eq!(store.purge_replies(NOW.plus(2_400)).unwrap(), 2_400);
        assert_eq!(store.summary().unwrap().replies, 101);
        assert_eq!(store.purge_replies(UnixTime(i64::MAX)).unwrap(), 101);
        let full = ReplyRequest { per_day: 1, ..reply(1, 3_000) };
        assert_eq!(store.peek_reply(&full).unwrap(), Reservation::Ceiling { sent: 1 });
    }

    fn nothing_known_is_no_error(store, _other) {
        assert_eq!(all(store), []);
        assert_eq!(store.peek_reply(&reply(1, 0)).unwrap(), Reservation::Yes);
        assert_eq!(store.purge_replies(NOW).unwrap(), 0);
        let none = ReplyRequest { per_day: 0, ..reply(1, 0) };
        assert_eq!(store.reserve_reply(&none).unwrap(), Reservation::Ceiling { sent: 0 });
        assert_eq!(rows(store), []);
    }
}

#[test]
fn a_question_about_a_reply_makes_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = Redb::new(folder.path().join("state/log"), Options::default());
    nothing_known_is_no_error(&store, &store);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// Threat 5: what was not answered may have been written down, which costs a reply and never sends one too many.
#[test]
fn a_reservation_that_fails_anywhere_is_an_error_or_is_remembered() {
    let before = Disk::default();
    let log = before.open(Plan::Work).unwrap();
    log.spend(&ask(1, 1)).unwrap();
    log.reserve_reply(&reply(1, 0)).unwrap();
    drop(log);
    let (log, count) = before.copy().open_counting(Plan::Work);
    assert_eq!(log.unwrap().reserve_reply(&reply(2, 0)).unwrap(), Reservation::Yes);
    let Ok(count) = count.lock().map(|count| *count) else { panic!("the count") };
    assert!(count.all > 8 && count.syncs == 2, "{count:?}");
    for at in 0..count.all {
        for plan in
            [Plan::FailAt(at, Errno::NOSPC.raw_os_error()), Plan::FailAt(at, Errno::IO.raw_os_error()), Plan::DieAt(at)]
        {
            let disk = before.copy();
            let first = disk.open(plan).and_then(|log| log.reserve_reply(&reply(2, 0)));
            let log = disk.open(Plan::Work).unwrap();
            let again = log.reserve_reply(&reply(2, 0)).unwrap();
            match first {
                Ok(answer) => {
                    assert_eq!((answer, again), (Reservation::Yes, Reservation::Lately { at: NOW }), "{plan:?}")
                }
                Err(_) => {
                    assert!(matches!(again, Reservation::Yes | Reservation::Lately { .. }), "{plan:?}: {again:?}")
                }
            }
            assert_eq!(log.reserve_reply(&reply(1, 0)).unwrap(), Reservation::Lately { at: NOW });
            assert_eq!(log.reserve_reply(&reply(3, 0)).unwrap(), Reservation::Yes, "two are counted, not three");
            assert_eq!(log.reserve_reply(&reply(4, 0)).unwrap(), Reservation::Ceiling { sent: 3 });
            assert!(matches!(log.would_spend(&ask(1, 2)).unwrap(), SpendResult::DoubleSpend { .. }));
            assert!(log.verify().unwrap());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// With a clock that only goes forward, and with one that is set back, no 24 hours of that clock see more replies
    /// than the ceiling. No sender gets two within the interval.
    #[test]
    fn neither_limit_is_ever_passed(steps in prop::collection::vec((0..6u32, -40_000..40_000i64), 1..80)) {
        let store = Memory::new();
        let (mut clock, mut sent) = (0, Vec::<(u32, i64)>::new());
        for (sender, step) in steps {
            clock += step;
            // What was sent at a time that is still to come was sent before now.
            sent.iter_mut().for_each(|(_, at)| *at = (*at).min(clock));
            let ask = ReplyRequest { per_sender: DAY, ..reply(sender, clock) };
            let peeked = store.peek_reply(&ask).unwrap();
            let answer = store.reserve_reply(&ask).unwrap();
            prop_assert_eq!(peeked, answer);
            if answer == Reservation::Yes {
                let lately = sent.iter().any(|(to, at)| *to == sender && clock - at < DAY);
                let day = sent.iter().filter(|(_, at)| clock - at < DAY).count();
                prop_assert!(!lately && day < 3, "{:?}", sent);
                sent.push((sender, clock));
            }
        }
    }
}
