//! Hosts at once: for one serial, for serials in another order, and for rows that are being purged.

use super::{Site, is_known};
use crate::support::is_soak;
use crate::{NOW, ask};
use mailstamp::store::postgres::Postgres;
use mailstamp::store::{StoreError, UsedLog};
use mailstamp::time::UnixTime;
use mailstamp::verdict::spend::{SpendRequest, SpendResult};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

const HOUR: i64 = 3_600;

/// Lets so many threads at two hosts do each round at once; returns their answers by thread and round. No answer is
/// judged before all have ended: a thread that ends early would keep the others waiting.
fn at_once<T: Send>(
    site: &Site,
    threads: u8,
    rounds: u32,
    act: impl Fn(&Postgres, u8, u32) -> T + Sync,
) -> Vec<Vec<T>> {
    let hosts = [site.host("mx1"), site.host("mx2")];
    let barrier = Barrier::new(threads.into());
    thread::scope(|scope| {
        let run = |number: u8| {
            let (log, barrier, act) = (&hosts[usize::from(number % 2)], &barrier, &act);
            move || -> Vec<T> {
                let round = |round| {
                    barrier.wait();
                    act(log, number, round)
                };
                (0..rounds).map(round).collect()
            }
        };
        let threads: Vec<_> = (0..threads).map(|number| scope.spawn(run(number))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Threat 4 between hosts; 32 messages at each of two.
#[test]
fn of_sixty_four_messages_at_two_hosts_one_is_accepted() {
    let site = Site::shared();
    let rounds = if is_soak() { 1_000 } else { 25 };
    let answers = at_once(&site, 64, rounds, |log, message, round| log.spend(&ask(round, message)));
    let other = site.host("mx3");
    for round in 0..rounds {
        let of_round: Vec<_> = answers.iter().map(|of_thread| of_thread[round as usize].as_ref().unwrap()).collect();
        let accepted: Vec<usize> = (0..64).filter(|&number| *of_round[number] == SpendResult::Fresh).collect();
        let used = of_round.iter().filter(|answer| ***answer == SpendResult::DoubleSpend { first_seen: NOW }).count();
        assert_eq!((accepted.len(), used), (1, 63), "{of_round:?}");
        is_known(&other, round, u8::try_from(accepted[0]).unwrap());
    }
}

/// One message that comes to both hosts several times at once is accepted once, and each other time is counted.
#[test]
fn one_message_at_two_hosts_is_accepted_and_counted() {
    let site = Site::shared();
    let rounds = if is_soak() { 1_000 } else { 20 };
    let answers = at_once(&site, 16, rounds, |log, _, round| log.spend(&ask(round, 1)));
    for round in 0..rounds as usize {
        let mut counts = Vec::new();
        for of_thread in &answers {
            match &of_thread[round] {
                Ok(SpendResult::Fresh) => counts.push(0),
                Ok(SpendResult::Redelivery { times, .. }) => counts.push(*times),
                // Too many change one row. The message comes again.
                Err(StoreError::Busy { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
        counts.sort_unstable();
        assert_eq!(counts, (0..counts.len() as u8).collect::<Vec<u8>>());
    }
}

/// Batches of two hosts that have the same serials, in opposite orders, would wait for each other for ever.
#[test]
fn two_hosts_with_the_same_serials_in_opposite_orders_both_end() {
    let site = Site::shared();
    let hosts = [site.host("mx1"), site.host("mx2")];
    let many = if is_soak() { 20_000 } else { 600 };
    let fresh = AtomicU32::new(0);
    thread::scope(|scope| {
        for number in 0..32_u32 {
            let (log, fresh) = (&hosts[(number % 2) as usize], &fresh);
            scope.spawn(move || {
                for serial in (0..many).filter(|serial| serial % 16 == number / 2) {
                    let serial = if number % 2 == 0 { serial } else { many - 1 - serial };
                    match log.spend(&ask(serial, (number % 2) as u8)).unwrap() {
                        SpendResult::Fresh => fresh.fetch_add(1, Ordering::Relaxed),
                        SpendResult::DoubleSpend { .. } => 0,
                        other => panic!("{other:?}"),
                    };
                }
            });
        }
    });
    assert_eq!(fresh.into_inner(), many);
}

/// The stamp of a round: it ends in an hour of its own, which the purge of the round removes.
fn of_round(round: u32, message: u8) -> SpendRequest {
    SpendRequest { expires: Some(end(round)), purge_until: None, ..ask(round, message) }
}

fn end(round: u32) -> UnixTime {
    NOW.plus((i64::from(round) + 1) * HOUR)
}

/// One statement would answer "fresh" here once the purge commits: its snapshot has the mark from before, and it sees
/// no row.
#[test]
fn a_serial_whose_row_is_being_purged_is_not_fresh() {
    let site = Site::shared();
    let (cleaner, log) = (site.host("mx3"), site.host("mx4"));
    let rounds = if is_soak() { 1_000 } else { 40 };
    for round in 0..rounds {
        assert_eq!(log.spend(&of_round(round, 1)).unwrap(), SpendResult::Fresh);
    }
    let answers = at_once(&site, 9, rounds, |log, number, round| match number {
        0 => Err(cleaner.purge(end(round).plus(HOUR), 0, 100)),
        _ => Ok(log.spend(&of_round(round, 1 + number))),
    });
    let mut removed = 0;
    let (mut known, mut cleared) = (0, 0);
    for answer in answers.into_iter().flatten() {
        match answer {
            Err(purged) => removed += purged.unwrap().removed,
            Ok(Ok(SpendResult::DoubleSpend { .. })) => known += 1,
            Ok(Err(StoreError::ClockBehind { .. })) => cleared += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(removed, rounds as usize);
    eprintln!("{known} before the purge, {cleared} after it");
}
