//! Synchronous replication: a standby that takes over has every spend that was answered, and while the standby is away,
//! nothing is accepted.

use super::{DEADLINE, Site, Told, is_known, is_local, settles, slack};
use crate::ask;
use crate::support::is_soak;
use crate::support::postgres::{Cluster, Setup};
use crate::support::programs::eventually;
use mailstamp::store::postgres::{Options, Postgres};
use mailstamp::store::{StoreError, UsedLog};
use mailstamp::verdict::spend::SpendResult;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Instant;

/// A site whose commits wait for a standby.
fn replicated() -> (Site, Cluster) {
    let site = Site::new();
    let standby = site.cluster.standby(Setup { durable: true, ..Setup::default() });
    site.cluster.set("synchronous_standby_names", "'standby'");
    let state = || site.cluster.sql("postgres", "select sync_state from pg_stat_replication");
    eventually("the standby is synchronous", || (state() == "sync").then_some(()));
    (site, standby)
}

#[test]
fn a_standby_that_takes_over_has_every_accepted_spend() {
    for round in 0..if is_soak() { 20 } else { 1 } {
        let (site, standby) = replicated();
        let hosts = [site.cluster.port(), standby.port()].map(super::loopback).to_vec();
        let follows = |name: &str, follow_failover| {
            Postgres::new(Options { hosts: hosts.clone(), follow_failover, ..site.options(name) })
        };
        let logs = [follows("mx1", true), follows("mx2", true)];
        let careful = follows("mx3", false);
        assert_eq!(careful.spend(&ask(1_000_000, 1)).unwrap(), SpendResult::Fresh);
        let (next, answered, is_over) = (AtomicU32::new(1), AtomicU32::new(0), AtomicBool::new(false));
        let outcomes: Vec<Vec<(u32, Told)>> = thread::scope(|scope| {
            let spend = |number: usize| {
                let (log, next, answered, is_over) = (&logs[number % 2], &next, &answered, &is_over);
                move || {
                    let mut outcomes = Vec::new();
                    while !is_over.load(Ordering::Relaxed) {
                        let (serial, mut told) = (next.fetch_add(1, Ordering::Relaxed), Told::default());
                        told.note(1, &log.spend(&ask(serial, 1)));
                        answered.fetch_add(u32::from(!told.accepted.is_empty()), Ordering::Relaxed);
                        outcomes.push((serial, told));
                    }
                    outcomes
                }
            };
            let threads: Vec<_> = (0..8).map(|number| scope.spawn(spend(number))).collect();
            let enough = || (answered.load(Ordering::Relaxed) > 100 + round * 13).then_some(());
            eventually("spends are answered", enough);
            site.cluster.kill();
            is_over.store(true, Ordering::Relaxed);
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        // Before it is promoted, it takes no spend.
        let refused = logs[0].spend(&ask(2_000_000, 1));
        assert!(matches!(refused, Err(StoreError::Unreachable { .. } | StoreError::Refused { .. })), "{refused:?}");
        standby.promote();
        let mut lost = 0;
        for (serial, mut told) in outcomes.into_iter().flatten() {
            if told.accepted.is_empty() {
                settles(&logs[1], &mut told, serial, 1);
            } else {
                // The next request of an idle session notices that it has ended.
                let other = eventually("an answer", || match logs[1].spend(&ask(serial, 2)) {
                    Err(error) if is_local(&error) => None,
                    answer => Some(answer.unwrap()),
                });
                lost += u32::from(!matches!(other, SpendResult::DoubleSpend { .. }));
            }
        }
        assert_eq!(lost, 0);
        // A host that was not told to follow asks the administrator.
        let refused = careful.spend(&ask(1_000_000, 1));
        assert!(matches!(refused, Err(StoreError::Restored { .. })), "{refused:?}");
        careful.accept_restored().unwrap();
        is_known(&careful, 1_000_000, 1);
    }
}

/// PostgreSQL would wait for ever, and neither statement_timeout nor the role's own setting may shorten it.
#[test]
fn nothing_is_accepted_while_the_standby_hangs() {
    let (site, standby) = replicated();
    site.cluster.sql("postgres", "alter role mailstamp set synchronous_commit = off");
    let log = Postgres::new(Options { timeout: DEADLINE, ..site.options("mx1") });
    let patient = site.host("mx2");
    assert_eq!(patient.status().unwrap().synchronous_commit, "on");
    assert_eq!(patient.spend(&ask(1, 1)).unwrap(), SpendResult::Fresh);
    standby.freeze();
    let mut told = Told::default();
    for _ in 0..2 {
        let began = Instant::now();
        let answer = log.spend(&ask(2, 1));
        let took = began.elapsed();
        // On the primary the row may be there. It was told nowhere.
        assert!(answer.is_err(), "{answer:?}");
        told.note(1, &answer);
        assert!(took < DEADLINE + slack(), "{took:?}");
    }
    // Known stamps change nothing, so they still have an answer.
    let used = patient.would_spend(&ask(1, 2)).unwrap();
    assert!(matches!(used, SpendResult::DoubleSpend { .. }), "{used:?}");
    standby.thaw();
    assert_eq!(patient.spend(&ask(3, 1)).unwrap(), SpendResult::Fresh);
    settles(&patient, &mut told, 2, 1);
}

/// A cancelled commit is reported as a success with a warning: "committed locally, but might not have been replicated".
#[test]
fn a_commit_that_is_cancelled_is_undecided() {
    let (site, standby) = replicated();
    let log = site.host("mx1");
    assert_eq!(log.spend(&ask(1, 1)).unwrap(), SpendResult::Fresh);
    standby.freeze();
    let mut told = Told::default();
    let answer = thread::scope(|scope| {
        let spend = scope.spawn(|| log.spend(&ask(2, 1)));
        // The adapter may try again: each of its commits is cancelled.
        while !spend.is_finished() {
            let cancel = "select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'";
            site.cluster.sql("postgres", cancel);
        }
        spend.join().unwrap()
    });
    assert!(matches!(answer, Err(StoreError::Undecided { .. })), "{answer:?}");
    told.note(1, &answer);
    standby.thaw();
    settles(&log, &mut told, 2, 1);
}
