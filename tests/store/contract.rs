//! The contract of every store. Each test runs on every store; the last one compares them with a model, step by step.

use super::SetStanding;
use crate::disk::{Disk, Plan, Process};
use crate::{DAY, NOW, ask, rows};
use mailstamp::grant::{Grant, GrantKind, StampStatus};
use mailstamp::message::fingerprint::KnownMessage;
use mailstamp::store::memory::Memory;
use mailstamp::store::redb::{Options, Redb};
use mailstamp::store::resident::ResidentLog;
use mailstamp::store::{ExportRecord, GRACE, Imported, Purged, Store, StoreError};
use mailstamp::time::UnixTime;
use mailstamp::verdict::owner::Owner;
use mailstamp::verdict::spend::{Redelivery, SpendRequest, SpendResult, Terms};
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

fn grant(kind: GrantKind, until: Option<i64>) -> StampStatus {
    StampStatus { grant: Some(Grant { until, ..Grant::new(kind, UnixTime(1)) }), ..StampStatus::default() }
}

on_every_store! {
    fn a_stamp_is_fresh_once_and_used_for_every_other_message(store, _other) {
        assert_eq!(store.spend(&ask(1, 1)).unwrap(), SpendResult::Fresh);
        assert_eq!(store.spend(&ask(1, 2)).unwrap(), SpendResult::DoubleSpend { first_seen: NOW });
        let later = SpendRequest { now: NOW.plus(29 * DAY), ..ask(1, 2) };
        assert_eq!(store.spend(&later).unwrap(), SpendResult::DoubleSpend { first_seen: NOW });
        assert_eq!(store.spend(&ask(2, 2)).unwrap(), SpendResult::Fresh);
    }

    fn the_same_serial_of_another_vendor_is_another_stamp(store, _other) {
        assert_eq!(store.spend(&ask(1, 1)).unwrap(), SpendResult::Fresh);
        let other = SpendRequest { vendor: "other.example".into(), ..ask(1, 2) };
        assert_eq!(store.spend(&other).unwrap(), SpendResult::Fresh);
    }

    fn the_same_message_comes_again_in_time_and_so_often_and_no_more(store, _other) {
        store.spend(&ask(1, 1)).unwrap();
        let at = |seconds| SpendRequest { now: NOW.plus(seconds), ..ask(1, 1) };
        assert_eq!(store.spend(&at(5 * DAY)).unwrap(), SpendResult::Redelivery { first_seen: NOW, times: 1 });
        assert_eq!(store.spend(&at(5 * DAY + 1)).unwrap(), SpendResult::DoubleSpend { first_seen: NOW });
        for times in 2..=20 {
            assert_eq!(store.spend(&at(9)).unwrap(), SpendResult::Redelivery { first_seen: NOW, times });
        }
        assert_eq!(store.spend(&at(9)).unwrap(), SpendResult::DoubleSpend { first_seen: NOW });
    }

    fn a_time_below_the_first_counts_as_in_time(store, _other) {
        store.spend(&ask(1, 1)).unwrap();
        let back = SpendRequest { now: NOW.plus(-400 * DAY), ..ask(1, 1) };
        assert_eq!(store.spend(&back).unwrap(), SpendResult::Redelivery { first_seen: NOW, times: 1 });
    }

    fn a_message_is_known_with_its_long_lines_broken_and_not_the_other_way_round(store, _other) {
        let long = KnownMessage { whole: [1; 16], broken: Some([2; 16]) };
        let spend = |serial, message| store.spend(&SpendRequest { message, ..ask(serial, 0) }).unwrap();
        let again = |times| SpendResult::Redelivery { first_seen: NOW, times };
        assert_eq!(spend(1, long), SpendResult::Fresh);
        assert_eq!(spend(1, [2; 16].into()), again(1));
        assert_eq!(spend(1, long), again(2));
        // Another message that is the same once its lines are broken is another message.
        let other = KnownMessage { whole: [3; 16], broken: Some([2; 16]) };
        assert_eq!(spend(1, other), SpendResult::DoubleSpend { first_seen: NOW });
        assert!(store.received(&SpendRequest { message: [2; 16].into(), ..ask(1, 0) }).unwrap());
        assert_eq!(spend(2, [2; 16].into()), SpendResult::Fresh);
        assert_eq!(spend(2, long), SpendResult::DoubleSpend { first_seen: NOW });
    }

    fn a_limited_grant_counts_a_message_with_broken_lines_once(store, _other) {
        let grant = Grant { uses: Some(1), ..Grant::new(GrantKind::MultiUse, NOW) };
        let it = ask(1, 0);
        let granted = StampStatus { grant: Some(grant), ..StampStatus::default() };
        store.set_standing(&it.vendor, &it.serial, granted).unwrap();
        let long = KnownMessage { whole: [1; 16], broken: Some([2; 16]) };
        for message in [long, [2; 16].into(), long] {
            let answer = store.spend(&SpendRequest { message, ..it.clone() }).unwrap();
            assert_eq!(answer, SpendResult::Granted(GrantKind::MultiUse));
        }
        assert_eq!(store.spend(&SpendRequest { message: [3; 16].into(), ..it.clone() }).unwrap(), SpendResult::Fresh);
    }

    fn the_same_message_of_another_owner_is_no_redelivery_and_spends_nothing(store, other) {
        let of = |owner: u8, message| SpendRequest { owner: Owner([owner; 8]), ..ask(1, message) };
        let look = |owner, message| SpendRequest { terms: Terms::LookUp, ..of(owner, message) };
        assert_eq!(store.spend(&of(1, 1)).unwrap(), SpendResult::Fresh);
        assert_eq!(store.spend(&of(2, 1)).unwrap(), SpendResult::OtherOwner);
        assert_eq!(store.spend(&look(0, 1)).unwrap(), SpendResult::OtherOwner);
        // The owner is no part of the key: no owner spends the serial a second time.
        assert_eq!(store.spend(&of(2, 2)).unwrap(), SpendResult::DoubleSpend { first_seen: NOW });
        assert_eq!(store.spend(&of(1, 1)).unwrap(), SpendResult::Redelivery { first_seen: NOW, times: 1 });
        // The owner travels with the row.
        other.import(&mut rows(store).into_iter()).unwrap();
        assert_eq!(other.spend(&of(2, 1)).unwrap(), SpendResult::OtherOwner);
        assert_eq!(rows(other), rows(store));
    }

    fn looking_up_never_spends_but_counts_a_message_that_comes_again(store, _other) {
        let look = |serial, message| SpendRequest { terms: Terms::LookUp, ..ask(serial, message) };
        assert_eq!(store.spend(&look(1, 1)).unwrap(), SpendResult::Fresh);
        assert_eq!(store.spend(&look(1, 2)).unwrap(), SpendResult::Fresh);
        assert_eq!(store.spend(&ask(1, 3)).unwrap(), SpendResult::Fresh);
        assert_eq!(store.spend(&look(1, 3)).unwrap(), SpendResult::Redelivery { first_seen: NOW, times: 1 });
        assert_eq!(store.spend(&look(1, 3)).unwrap(), SpendResult::Redelivery { first_seen: NOW, times: 2 });
        assert_eq!(store.spend(&look(1, 1)).unwrap(), SpendResult::DoubleSpend { first_seen: NOW });
    }

    fn a_peek_gives_the_same_answer_and_changes_nothing(store, _other) {
        for _ in 0..2 {
            assert_eq!(store.would_spend(&ask(1, 1)).unwrap(), SpendResult::Fresh);
        }
        assert_eq!(store.summary().unwrap().used, 0);
        store.spend(&ask(1, 1)).unwrap();
        let before = rows(store);
        for _ in 0..2 {
            assert_eq!(store.would_spend(&ask(1, 1)).unwrap(), SpendResult::Redelivery { first_seen: NOW, times: 1 });
            assert_eq!(store.would_spend(&ask(1, 2)).unwrap(), SpendResult::DoubleSpend { first_seen: NOW });
        }
        assert_eq!(rows(store), before);
    }

    /// BC14: what the user granted is accepted whatever its earlier uses; a grant spends nothing.
    fn a_grant_covers_any_message_until_it_ends_and_spends_nothing(store, _other) {
        let serial = ask(1, 1).serial;
        store.spend(&ask(1, 1)).unwrap();
        let until = NOW.0 + 10;
        assert_eq!(store.set_standing("stamps.example", &serial, grant(GrantKind::MultiUse, Some(until))).unwrap(), StampStatus::default());
        for message in 1..9 {
            assert_eq!(store.spend(&ask(1, message)).unwrap(), SpendResult::Granted(GrantKind::MultiUse));
        }
        let after = SpendRequest { now: NOW.plus(11), ..ask(1, 1) };
        assert_eq!(store.spend(&after).unwrap(), SpendResult::Redelivery { first_seen: NOW, times: 1 });
        let never_spent = ask(2, 1).serial;
        store.set_standing("stamps.example", &never_spent, grant(GrantKind::Return, None)).unwrap();
        assert_eq!(store.spend(&ask(2, 1)).unwrap(), SpendResult::Granted(GrantKind::Return));
        assert_eq!(store.summary().unwrap().used, 1);
    }

    /// BP3e: a revocation outweighs the grant and every earlier use, and can be undone.
    fn a_revocation_outweighs_all_and_can_be_undone(store, _other) {
        let serial = ask(1, 1).serial;
        store.spend(&ask(1, 1)).unwrap();
        let granted = grant(GrantKind::Return, None);
        let revoked = StampStatus { revoked: Some(77), ..granted.clone() };
        store.set_standing("stamps.example", &serial, granted.clone()).unwrap();
        assert_eq!(store.set_standing("stamps.example", &serial, revoked.clone()).unwrap(), granted);
        assert_eq!(store.standing("stamps.example", &serial).unwrap(), revoked);
        assert_eq!(store.spend(&ask(1, 1)).unwrap(), SpendResult::Revoked { since: UnixTime(77) });
        assert_eq!(store.would_spend(&ask(1, 2)).unwrap(), SpendResult::Revoked { since: UnixTime(77) });
        assert_eq!(store.standing("other.example", &serial).unwrap(), StampStatus::default());
        let before = store.set_standing("stamps.example", &serial, StampStatus::default()).unwrap();
        assert_eq!(before.refused.clone().map(|refused| (refused.times, refused.last)), Some((1, NOW.0)));
        assert_eq!(StampStatus { refused: None, ..before }, revoked);
        assert_eq!(store.summary().unwrap().standings, 0);
        assert!(matches!(store.spend(&ask(1, 1)).unwrap(), SpendResult::Redelivery { .. }));
    }

    /// A revoked stamp that is presented again is recorded with its sender, the time and the count.
    fn who_presents_a_revoked_stamp_is_counted_once_a_message(store, _other) {
        let serial = ask(1, 1).serial;
        let from = |message, from: &str| SpendRequest { from: Some(from.into()), ..ask(1, message) };
        store.set_standing("stamps.example", &serial, StampStatus { revoked: Some(7), ..StampStatus::default() }).unwrap();
        store.would_spend(&from(1, "eve@y.example")).unwrap();
        assert_eq!(store.standing("stamps.example", &serial).unwrap().refused, None);
        for (message, sender) in [(1, "eve@y.example"), (1, "eve@y.example"), (2, "mal@z.example")] {
            store.spend(&SpendRequest { terms: Terms::LookUp, ..from(message, sender) }).unwrap();
        }
        let refused = store.standing("stamps.example", &serial).unwrap().refused.unwrap();
        assert_eq!((refused.times, refused.from.as_deref(), refused.last), (2, Some("mal@z.example"), NOW.0));
    }

    fn a_grant_for_some_messages_covers_each_of_them_again_and_no_other(store, _other) {
        let limited = Grant { uses: Some(2), ..Grant::new(GrantKind::MultiUse, NOW) };
        let standing = StampStatus { grant: Some(limited), ..StampStatus::default() };
        store.set_standing("stamps.example", &ask(1, 1).serial, standing).unwrap();
        let look = |message| SpendRequest { terms: Terms::LookUp, ..ask(1, message) };
        for message in [1, 2, 1, 2] {
            assert_eq!(store.spend(&look(message)).unwrap(), SpendResult::Granted(GrantKind::MultiUse));
        }
        assert_eq!(store.spend(&look(3)).unwrap(), SpendResult::Fresh);
        assert_eq!(store.would_spend(&look(2)).unwrap(), SpendResult::Granted(GrantKind::MultiUse));
    }

    /// BP5a: a stamp that has passed into other hands is good for no further message.
    fn a_third_sender_suspends_a_return_grant(store, _other) {
        for (serial, terms, used) in [(1, Terms::LookUp, 0), (2, Terms::Spend, 1)] {
            let name = ask(serial, 1).serial;
            store.set_standing("stamps.example", &name, grant(GrantKind::Return, None)).unwrap();
            let from = |message, from: &str| SpendRequest { from: Some(from.into()), terms, ..ask(serial, message) };
            for (message, sender) in [(1, "bob@y.example"), (2, "bob@z.example"), (3, "bob@y.example")] {
                assert_eq!(store.spend(&from(message, sender)).unwrap(), SpendResult::Granted(GrantKind::Return));
            }
            assert_eq!(store.spend(&from(4, "eve@x.example")).unwrap(), SpendResult::Fresh);
            let suspended = store.standing("stamps.example", &name).unwrap().grant.unwrap().suspended;
            assert_eq!(suspended, Some(NOW.0), "{terms:?}");
            let after = store.spend(&from(5, "bob@y.example")).unwrap();
            assert!(!matches!(after, SpendResult::Granted(_)), "{terms:?}");
            assert_eq!(store.summary().unwrap().used, used);
        }
    }

    /// A move to Junk revokes only stamps that this mailbox received.
    fn a_stamp_is_known_to_have_come_with_its_message_and_no_other(store, _other) {
        assert!(!store.received(&ask(1, 1)).unwrap());
        store.spend(&ask(1, 1)).unwrap();
        store.spend(&ask(1, 2)).unwrap();
        let much_later = SpendRequest { now: NOW.plus(900 * DAY), terms: Terms::LookUp, ..ask(1, 1) };
        assert!(store.received(&much_later).unwrap());
        assert!(!store.received(&ask(1, 2)).unwrap(), "refused");
        assert!(!store.received(&ask(2, 1)).unwrap(), "another stamp");
        let revoked = StampStatus { revoked: Some(1), ..grant(GrantKind::MultiUse, None) };
        store.set_standing("stamps.example", &ask(3, 1).serial, grant(GrantKind::Return, None)).unwrap();
        store.would_spend(&ask(3, 1)).unwrap();
        assert!(!store.received(&ask(3, 1)).unwrap(), "only asked about");
        store.spend(&SpendRequest { terms: Terms::LookUp, ..ask(3, 1) }).unwrap();
        assert!(store.received(&ask(3, 1)).unwrap(), "let through under a grant");
        assert!(!store.received(&ask(3, 2)).unwrap());
        store.set_standing("stamps.example", &ask(1, 1).serial, revoked).unwrap();
        assert!(store.received(&ask(1, 1)).unwrap(), "revoked since");
    }

    fn every_standing_is_listed_once(store, _other) {
        for serial in 0..3 {
            store.set_standing("stamps.example", &ask(serial, 1).serial, grant(GrantKind::Return, None)).unwrap();
        }
        store.set_standing("stamps.example", &ask(1, 1).serial, StampStatus::default()).unwrap();
        let mut listed = Vec::new();
        store.standings(&mut |vendor, serial, _| {
            listed.push(format!("{vendor}/{serial}"));
            ControlFlow::Continue(())
        }).unwrap();
        listed.sort();
        assert_eq!(listed, ["stamps.example/serial-0", "stamps.example/serial-2"]);
    }

    fn a_purge_removes_what_has_ended_oldest_first_and_leaves_the_rest(store, _other) {
        for hour in 0..50 {
            store.spend(&SpendRequest { expires: Some(NOW.plus(hour * 3_600)), ..ask(hour as u32, 1) }).unwrap();
        }
        store.spend(&SpendRequest { expires: None, ..ask(99, 1) }).unwrap();
        assert_eq!(store.purge(NOW, 0, 100).unwrap(), Purged { removed: 0, left: false });
        let later = NOW.plus(40 * 3_600);
        assert_eq!(store.purge(later, 0, 7).unwrap(), Purged { removed: 7, left: true });
        assert_eq!(store.purge(later, 0, 0).unwrap(), Purged { removed: 0, left: true });
        assert_eq!(store.summary().unwrap().cleared, Some(NOW.plus(7 * 3_600)));
        assert_eq!(store.purge(later, 0, 100).unwrap(), Purged { removed: 33, left: false });
        assert_eq!(store.purge(later, 3_600, 100).unwrap(), Purged { removed: 0, left: false });
        assert_eq!(store.summary().unwrap().used, 11);
        assert_eq!(store.purge(UnixTime(i64::MAX), 0, 100).unwrap(), Purged { removed: 10, left: false });
        assert_eq!(store.summary().unwrap().used, 1);
        assert!(matches!(store.spend(&SpendRequest { expires: None, ..ask(99, 2) }).unwrap(), SpendResult::DoubleSpend { .. }));
    }

    fn a_purge_of_thousands_of_rows_stops_at_the_most(store, _other) {
        let mut many = (0..2_600).map(|n: u32| ExportRecord::Used {
            hour: 5,
            stamp: u128::from(n).to_be_bytes(),
            fingerprint: [0; 16].into(),
            owner: Owner::default(),
            first_seen: 0,
            times: 0,
        });
        assert_eq!(store.import(&mut many).unwrap(), Imported { taken: 2_600, known: 0 });
        assert_eq!(store.purge(NOW, 0, 2_500).unwrap(), Purged { removed: 2_500, left: true });
        assert_eq!(store.purge(NOW, 0, 2_500).unwrap(), Purged { removed: 100, left: false });
    }

    /// Threats 7 and 18: a removed serial is never fresh again, whatever the clock says. The answer is an error.
    fn a_removed_serial_is_never_fresh_again_when_the_clock_goes_back(store, _other) {
        let other_hour = |serial, hours: i64| SpendRequest { expires: Some(NOW.plus(hours * 3_600)), ..ask(serial, 1) };
        store.spend(&other_hour(1, 2)).unwrap();
        store.spend(&other_hour(2, 9)).unwrap();
        store.purge(NOW.plus(5 * 3_600), 0, 100).unwrap();
        let cleared = NOW.plus(3 * 3_600);
        for serial in [1, 3] {
            let error = store.spend(&other_hour(serial, 2)).unwrap_err();
            assert!(matches!(error, StoreError::ClockBehind { now, cleared: mark } if now == NOW && mark == cleared));
            assert!(store.would_spend(&other_hour(serial, 2)).is_err());
            let look = SpendRequest { terms: Terms::LookUp, ..other_hour(serial, 2) };
            assert_eq!(store.spend(&look).unwrap(), SpendResult::Fresh);
        }
        assert!(matches!(store.spend(&other_hour(2, 9)).unwrap(), SpendResult::Redelivery { .. }));
        assert_eq!(store.spend(&other_hour(4, 3)).unwrap(), SpendResult::Fresh);
    }

    /// `stamps.expiry_grace` was raised after others of that time were removed: by the clock their time is over, and no
    /// waiting helps.
    fn what_was_removed_of_stamps_that_may_come_late_has_ended(store, _other) {
        let late = |serial, now| SpendRequest { expires: Some(NOW), now, late: now > NOW, ..ask(serial, 1) };
        store.spend(&late(1, NOW)).unwrap();
        store.spend(&late(2, NOW)).unwrap();
        store.purge(NOW.plus(5 * 3_600), 0, 1).unwrap();
        let now = NOW.plus(6 * 3_600);
        let answers: Vec<_> = [1, 2, 3].into_iter().map(|serial| store.spend(&late(serial, now)).unwrap()).collect();
        // One of the two is still there, and answers.
        assert_eq!(answers.iter().filter(|it| **it == SpendResult::Ended).count(), 2, "{answers:?}");
        assert_eq!(answers.iter().filter(|it| matches!(it, SpendResult::Redelivery { .. })).count(), 1, "{answers:?}");
        assert_eq!(store.would_spend(&late(3, now)).unwrap(), SpendResult::Ended);
        assert_eq!(store.spend(&SpendRequest { terms: Terms::LookUp, ..late(3, now) }).unwrap(), SpendResult::Fresh);
        // While it still runs, the clock is behind.
        assert!(matches!(store.spend(&late(3, NOW)), Err(StoreError::ClockBehind { .. })));
        // What no mark covers may come late.
        let other = SpendRequest { expires: Some(NOW.plus(2 * 3_600)), late: true, ..ask(4, 1) };
        assert_eq!(store.spend(&other).unwrap(), SpendResult::Fresh);
    }

    fn a_bucket_removed_in_part_is_under_the_mark_and_its_other_rows_still_answer(store, _other) {
        for serial in 0..10 {
            store.spend(&ask(serial, 1)).unwrap();
        }
        store.purge(NOW.plus(31 * DAY), 0, 5).unwrap();
        let answers: Vec<_> = (0..10).map(|serial| store.spend(&ask(serial, 2))).collect();
        let used = answers.iter().filter(|it| matches!(it, Ok(SpendResult::DoubleSpend { .. }))).count();
        let behind = answers.iter().filter(|it| matches!(it, Err(StoreError::ClockBehind { .. }))).count();
        assert_eq!((used, behind), (5, 5));
    }

    fn a_spend_takes_ended_rows_along_after_the_grace_and_at_most_sixty_four(store, _other) {
        for serial in 0..100 {
            store.spend(&ask(serial, 1)).unwrap();
        }
        let later = |seconds, serial| {
            let now = NOW.plus(30 * DAY + 3_600 + GRACE + seconds);
            SpendRequest { now, expires: Some(now.plus(DAY)), ..ask(serial, 1) }
        };
        store.spend(&later(-1, 100)).unwrap();
        assert_eq!(store.summary().unwrap().used, 101);
        store.spend(&later(0, 101)).unwrap();
        assert_eq!(store.summary().unwrap().used, 102 - 64);
        store.spend(&later(0, 102)).unwrap();
        assert_eq!(store.summary().unwrap().used, 3);
        // What writes nothing removes nothing.
        let much_later = SpendRequest { now: NOW.plus(400 * DAY), ..ask(1, 2) };
        store.would_spend(&much_later).unwrap_err();
        assert_eq!(store.summary().unwrap().used, 3);
    }

    fn a_spend_purges_no_further_than_it_may(store, _other) {
        store.spend(&ask(1, 1)).unwrap();
        let ahead = |serial, purge_until| {
            let now = NOW.plus(730 * DAY);
            SpendRequest { now, expires: Some(now.plus(DAY)), purge_until, ..ask(serial, 1) }
        };
        store.spend(&ahead(2, None)).unwrap();
        store.spend(&ahead(3, Some(NOW.plus(DAY)))).unwrap();
        let summary = store.summary().unwrap();
        assert_eq!((summary.used, summary.cleared), (3, None));
        assert_eq!(store.spend(&ask(4, 1)).unwrap(), SpendResult::Fresh);
        // In the daemon, spends of one batch purge as far as all of them may.
        store.summary().unwrap();
        store.spend(&ahead(5, Some(NOW.plus(730 * DAY)))).unwrap();
        assert_eq!(store.summary().unwrap().used, 3);
    }

    fn a_mark_after_now_is_lifted_and_what_is_known_stays(store, _other) {
        assert_eq!(store.lift_mark(NOW).unwrap(), None);
        let long = |serial, message| SpendRequest { expires: Some(NOW.plus(90 * DAY)), ..ask(serial, message) };
        store.spend(&ask(1, 1)).unwrap();
        store.spend(&SpendRequest { expires: Some(NOW.plus(400 * DAY)), ..ask(2, 1) }).unwrap();
        let mark = ExportRecord::PurgedThrough { hour: u32::try_from((NOW.0 + 365 * DAY) / 3_600).unwrap() };
        store.import(&mut vec![mark].into_iter()).unwrap();
        assert!(matches!(store.spend(&long(3, 1)), Err(StoreError::ClockBehind { .. })));
        let lifted = store.lift_mark(NOW).unwrap().unwrap();
        assert_eq!((lifted.from, lifted.to), (NOW.plus(365 * DAY + 3_600), NOW));
        assert_eq!(store.summary().unwrap().cleared, Some(NOW));
        assert_eq!(store.lift_mark(NOW).unwrap(), None);
        assert_eq!(store.spend(&long(3, 1)).unwrap(), SpendResult::Fresh);
        assert!(matches!(store.spend(&ask(1, 2)).unwrap(), SpendResult::DoubleSpend { .. }));
        // What has ended stays below the mark.
        let ended = SpendRequest { expires: Some(NOW.plus(-1)), ..ask(4, 1) };
        assert!(matches!(store.spend(&ended), Err(StoreError::ClockBehind { .. })));
    }

    fn times_at_the_ends_of_the_range_are_answered(store, _other) {
        for (serial, (now, expires)) in [(i64::MIN, i64::MAX), (i64::MAX, i64::MAX), (-1, 0), (0, 3_599)].into_iter().enumerate() {
            let it = SpendRequest { now: UnixTime(now), expires: Some(UnixTime(expires)), ..ask(serial as u32, 1) };
            assert_eq!(store.spend(&it).unwrap(), SpendResult::Fresh, "{now}");
            assert!(!matches!(store.spend(&SpendRequest { message: [9; 16].into(), ..it }), Ok(SpendResult::Fresh)));
        }
    }

    fn an_export_taken_in_elsewhere_gives_the_same_store(store, other) {
        store.spend(&SpendRequest { expires: Some(NOW), ..ask(0, 1) }).unwrap();
        store.purge(NOW.plus(DAY), 0, 10).unwrap();
        for serial in 1..40 {
            store.spend(&ask(serial, 1)).unwrap();
        }
        store.spend(&ask(3, 1)).unwrap();
        store.set_standing("stamps.example", &ask(3, 1).serial, grant(GrantKind::Return, Some(5))).unwrap();
        let all = rows(store);
        assert_eq!(all.len(), 41);
        assert!(matches!(all[0], ExportRecord::PurgedThrough { .. }));
        assert_eq!(other.import(&mut all.clone().into_iter()).unwrap(), Imported { taken: 41, known: 0 });
        assert_eq!(rows(other), all);
        assert_eq!(other.import(&mut all.clone().into_iter()).unwrap(), Imported { taken: 0, known: 41 });
        assert_eq!(rows(other), all);
        assert!(matches!(other.spend(&ask(7, 2)).unwrap(), SpendResult::DoubleSpend { .. }));
    }

    fn an_import_never_weakens_what_is_known(store, other) {
        let serial = ask(1, 1).serial;
        store.spend(&ask(1, 1)).unwrap();
        store.set_standing("stamps.example", &serial, StampStatus { revoked: Some(50), ..StampStatus::default() }).unwrap();
        store.spend(&SpendRequest { expires: Some(NOW), ..ask(8, 1) }).unwrap();
        store.purge(NOW.plus(DAY), 0, 10).unwrap();
        let before = rows(store);
        other.spend(&SpendRequest { now: NOW.plus(60), ..ask(1, 2) }).unwrap();
        other.set_standing("stamps.example", &serial, grant(GrantKind::Return, None)).unwrap();
        let weak = rows(other);
        store.import(&mut weak.into_iter().chain([ExportRecord::PurgedThrough { hour: 3 }])).unwrap();
        assert_eq!(rows(store), before);
    }

    fn an_export_stops_when_told(store, _other) {
        for serial in 0..10 {
            store.spend(&ask(serial, 1)).unwrap();
        }
        let mut seen = 0;
        store.export(&mut |_| { seen += 1; if seen == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) } }).unwrap();
        assert_eq!(seen, 3);
    }

    fn an_empty_store_answers_everything(store, _other) {
        assert_eq!(rows(store), []);
        assert_eq!(store.summary().unwrap().used, 0);
        assert_eq!(store.purge(NOW, 0, 10).unwrap(), Purged::default());
        assert_eq!(store.standing("stamps.example", &ask(1, 1).serial).unwrap(), StampStatus::default());
        assert_eq!(store.set_standing("stamps.example", &ask(1, 1).serial, StampStatus::default()).unwrap(), StampStatus::default());
        assert_eq!(store.import(&mut std::iter::empty()).unwrap(), Imported::default());
        assert_eq!(store.would_spend(&ask(1, 1)).unwrap(), SpendResult::Fresh);
    }
}

/// One step of the model test.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // A few at a time.
enum Step {
    Spend { serial: u8, message: u8, look: bool, now: i64 },
    Peek { serial: u8, message: u8, now: i64 },
    Purge { now: i64, grace: i64, most: usize },
    Stand { serial: u8, standing: StampStatus },
    Reopen,
}

fn times() -> impl Strategy<Value = i64> {
    prop_oneof![8 => 0..20 * DAY, 1 => -50 * DAY..0, 1 => 20 * DAY..900 * DAY]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let standing = prop_oneof![
        Just(StampStatus::default()),
        (0..20 * DAY).prop_map(|end| grant(GrantKind::Return, Some(NOW.0 + end))),
        Just(StampStatus { revoked: Some(9), ..StampStatus::default() }),
    ];
    let step = prop_oneof![
        10 => (0..8u8, 0..3u8, prop::bool::weighted(0.2), times())
            .prop_map(|(serial, message, look, now)| Step::Spend { serial, message, look, now }),
        2 => (0..8u8, 0..3u8, times()).prop_map(|(serial, message, now)| Step::Peek { serial, message, now }),
        2 => (times(), 0..2 * DAY, 0..4usize).prop_map(|(now, grace, most)| Step::Purge { now, grace, most }),
        1 => (0..8u8, standing).prop_map(|(serial, standing)| Step::Stand { serial, standing }),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..60)
}

/// Serial n ends n days after NOW; serial 7 never.
fn of_step(serial: u8, message: u8, now: i64) -> SpendRequest {
    let expires = (serial != 7).then(|| NOW.plus(i64::from(serial) * DAY));
    let redelivery = Redelivery { within: 2 * DAY, times: 3 };
    let now = NOW.plus(now);
    let late = expires.is_some_and(|end| now > end);
    SpendRequest { expires, now, redelivery, late, ..ask(u32::from(serial), message) }
}

/// A model of the log, as the papers define it: a serial belongs to the message that was first accepted with it.
#[derive(Default)]
struct Model {
    owner: HashMap<u8, (u8, i64, u8)>,
    standing: HashMap<u8, StampStatus>,
    /// Serials whose rows a purge may have removed.
    ended: HashSet<u8>,
}

impl Model {
    fn check(
        &mut self,
        serial: u8,
        message: u8,
        ask: &SpendRequest,
        spent: Result<SpendResult, StoreError>,
        wrote: bool,
    ) {
        let standing = self.standing.get(&serial).cloned().unwrap_or_default();
        if let Some(since) = standing.revoked {
            assert_eq!(spent.unwrap(), SpendResult::Revoked { since: UnixTime(since) });
            return;
        }
        if let Some(grant) = standing.grant.filter(|grant| grant.active(ask.now)) {
            assert_eq!(spent.unwrap(), SpendResult::Granted(grant.kind));
            return;
        }
        match (spent, self.owner.get_mut(&serial)) {
            (Ok(SpendResult::Fresh), None) if ask.terms == Terms::Spend => {
                if wrote {
                    self.owner.insert(serial, (message, ask.now.0, 0));
                }
            }
            (Ok(SpendResult::Fresh), None) => {}
            // A row that a purge removed is unknown to a look-up, and to nothing else.
            (Ok(SpendResult::Fresh), Some(_)) => {
                assert_eq!(ask.terms, Terms::LookUp, "fresh twice");
                assert!(self.ended.contains(&serial));
            }
            (Ok(SpendResult::Redelivery { first_seen, times }), Some((owner, since, seen))) => {
                assert_eq!((message, first_seen.0, times), (*owner, *since, *seen + 1));
                assert!(times <= 3 && ask.now.0 - *since <= 2 * DAY);
                if wrote {
                    *seen = times;
                }
            }
            (Ok(SpendResult::DoubleSpend { first_seen }), Some((owner, since, seen))) => {
                assert_eq!(first_seen.0, *since);
                assert!(message != *owner || *seen == 3 || ask.now.0 - *since > 2 * DAY);
            }
            (Err(StoreError::ClockBehind { .. }), _) => {
                assert_eq!((ask.terms, ask.late), (Terms::Spend, false));
                assert!(!self.ended.is_empty(), "nothing was ever removed");
            }
            (Ok(SpendResult::Ended), _) => {
                assert_eq!((ask.terms, ask.late), (Terms::Spend, true));
                assert!(!self.ended.is_empty(), "nothing was ever removed");
            }
            (other, owner) => panic!("{other:?} for {owner:?}"),
        }
    }

    /// What has ended by the latest clock may be gone.
    fn time_passes(&mut self, now: i64, grace: i64) {
        for serial in 0..7 {
            if i64::from(serial) * DAY + grace < now {
                self.ended.insert(serial);
            }
        }
    }
}

/// Follows the steps in the store of `owner`; `reopen` returns who owns it afterwards.
fn follow<S>(steps: &[Step], grace: i64, mut owner: S, store: impl Fn(&S) -> &dyn Store, reopen: impl Fn(S) -> S) {
    let mut model = Model::default();
    for step in steps {
        if matches!(step, Step::Reopen) {
            owner = reopen(owner);
            continue;
        }
        let store = store(&owner);
        match step {
            Step::Spend { serial, message, look, now } => {
                let terms = if *look { Terms::LookUp } else { Terms::Spend };
                let ask = SpendRequest { terms, ..of_step(*serial, *message, *now) };
                let peeked = store.would_spend(&ask);
                let spent = store.spend(&ask);
                assert_eq!(peeked.ok(), spent.as_ref().ok().copied(), "peek and spend differ");
                model.check(*serial, *message, &ask, spent, true);
                model.time_passes(*now, grace);
            }
            Step::Peek { serial, message, now } => {
                let ask = of_step(*serial, *message, *now);
                let spent = store.would_spend(&ask);
                model.check(*serial, *message, &ask, spent, false);
            }
            Step::Purge { now, grace, most } => {
                let before = store.summary().unwrap();
                let purged = store.purge(NOW.plus(*now), *grace, *most).unwrap();
                let after = store.summary().unwrap();
                assert!(purged.removed <= *most);
                assert_eq!(before.used, after.used + purged.removed as u64);
                assert!(before.cleared <= after.cleared);
                model.time_passes(*now, *grace);
            }
            Step::Stand { serial, standing } => {
                let name = of_step(*serial, 0, 0);
                let before = store.set_standing(&name.vendor, &name.serial, standing.clone()).unwrap();
                // The model ignores the store's own records of incoming messages.
                let grant = before.grant.map(|grant| Grant { used_for: Vec::new(), senders: Vec::new(), ..grant });
                let before = StampStatus { refused: None, grant, ..before };
                assert_eq!(before, model.standing.insert(*serial, standing.clone()).unwrap_or_default());
            }
            Step::Reopen => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Promises 2 and 3, threat 7: never fresh for two messages, whatever the order of questions, purges and clocks.
    #[test]
    fn no_serial_is_fresh_for_two_messages_in_memory(steps in steps()) {
        follow(&steps, DAY, Memory::with_grace(DAY), |it| it, |it| it);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// The same on disk, where the log is also left and opened again in between.
    #[test]
    fn no_serial_is_fresh_for_two_messages_on_disk(steps in steps()) {
        let folder = tempfile::tempdir().unwrap();
        let redb = Redb::new(folder.path().join("log"), Options { grace: DAY, ..Options::default() });
        let reopen = |it: Redb| {
            it.release();
            it
        };
        follow(&steps, DAY, redb, |it| it, reopen);
    }

    /// The same in the daemon, which lends the log in between.
    #[test]
    fn no_serial_is_fresh_for_two_messages_in_a_resident_process(steps in steps()) {
        let folder = tempfile::tempdir().unwrap();
        let resident = ResidentLog::new(folder.path().join("log"), Options { grace: DAY, ..Options::default() }).unwrap();
        let lend = |it: ResidentLog| {
            it.lend(|| ()).unwrap();
            it
        };
        follow(&steps, DAY, resident, |it| it, lend);
    }

    /// The same when that process is killed in between, and the next recovers what it left.
    #[test]
    fn no_serial_is_fresh_for_two_messages_in_a_process_that_is_killed(steps in steps()) {
        let (disk, options) = (Disk::default(), Options { grace: DAY, ..Options::default() });
        let next = |killed: Process| {
            drop(killed);
            disk.stay_with(Plan::Work, options).unwrap()
        };
        let first = disk.stay_with(Plan::Work, options).unwrap();
        follow(&steps, DAY, first, |it| it.log(), next);
    }

    /// Both stores give the same answers and hold the same rows.
    #[test]
    fn the_stores_agree_step_by_step(steps in steps()) {
        let folder = tempfile::tempdir().unwrap();
        let redb = Redb::new(folder.path().join("log"), Options { grace: DAY, ..Options::default() });
        agree(&steps, &redb, &Memory::with_grace(DAY));
    }
}

#[cfg(feature = "postgres")]
proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// The same on a server, where another host takes over in between.
    #[test]
    fn no_serial_is_fresh_for_two_messages_on_a_server(steps in steps()) {
        follow(&steps, DAY, crate::shared::with_grace(DAY), |it| it, |it| crate::shared::again(&it));
    }

    #[test]
    fn a_server_and_the_memory_agree_step_by_step(steps in steps()) {
        agree(&steps, &crate::shared::with_grace(DAY), &Memory::with_grace(DAY));
    }
}

/// Follows the steps in two stores, which give the same answers and hold the same rows.
fn agree(steps: &[Step], one: &dyn Store, other: &dyn Store) {
    for step in steps {
        let [a, b] = [one, other].map(|store| match step {
            Step::Spend { serial, message, now, .. } => format!("{:?}", store.spend(&of_step(*serial, *message, *now))),
            Step::Purge { now, grace, most } => format!("{:?}", store.purge(NOW.plus(*now), *grace, *most)),
            Step::Stand { serial, standing } => {
                let name = of_step(*serial, 0, 0);
                format!("{:?}", store.set_standing(&name.vendor, &name.serial, standing.clone()))
            }
            Step::Peek { .. } | Step::Reopen => format!("{:?}", rows(store)),
        });
        assert_eq!(a, b);
    }
}
