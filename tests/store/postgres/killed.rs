//! The server is killed: a session at every message of a spend, the postmaster and sessions at any moment; it is
//! restarted, or its disk is full. No spend that was answered is lost, and what was not answered is settled by the next
//! try.

use super::{Site, Told, is_known, is_local, settles};
use crate::ask;
use crate::support::is_soak;
use crate::support::postgres::Setup;
use crate::support::programs::{PATIENCE, eventually};
use crate::support::proxy::{Direction, Fault, Proxy};
use mailstamp::store::postgres::Postgres;
use mailstamp::store::{StoreError, UsedLog};
use mailstamp::verdict::spend::SpendResult;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Instant;

/// The bytes of the first spend on a new connection in a direction, and where its messages begin.
fn messages(site: &Site, proxy: &Proxy, direction: Direction, serial: u32) -> Vec<usize> {
    let log = site.host_through("proxied", &[proxy.port()]);
    log.would_spend(&ask(0, 1)).unwrap();
    proxy.mend();
    assert_eq!(log.spend(&ask(serial, 1)).unwrap(), SpendResult::Fresh);
    let bytes = proxy.passed(direction);
    let (mut places, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        places.push(at);
        at += 1 + u32::from_be_bytes(bytes[at + 1..at + 5].try_into().unwrap()) as usize;
    }
    places
}

/// kill -9 of a session makes PostgreSQL end all sessions and recover.
#[test]
fn a_session_killed_at_any_message_of_a_spend_loses_nothing() {
    let site = Site::new();
    let proxy = Proxy::new(site.cluster.port());
    let mut serial = 0;
    for direction in [Direction::ToServer, Direction::ToClient] {
        serial += 1;
        let places = messages(&site, &proxy, direction, serial);
        let (step, rounds) = if is_soak() { (1, 12) } else { (places.len().div_ceil(4), 1) };
        for &after in places.iter().step_by(step).cycle().take(places.len().div_ceil(step) * rounds) {
            serial += 1;
            proxy.mend();
            let log = site.host_through("proxied", &[proxy.port()]);
            log.would_spend(&ask(0, 1)).unwrap();
            proxy.plan(direction, after, Fault::Hold);
            let mut told = Told::default();
            let mut killed = Vec::new();
            let answer = thread::scope(|scope| {
                let spend = scope.spawn(|| log.spend(&ask(serial, 1)));
                eventually("the spend is held", || (proxy.is_broken() || spend.is_finished()).then_some(()));
                for backend in site.cluster.backends(&site.database) {
                    let _ = kill_process(backend, Signal::KILL);
                    killed.push(backend);
                }
                proxy.mend();
                spend.join().unwrap()
            });
            told.note(1, &answer);
            // Before the server has noticed, another of its sessions may answer, which it ends next.
            let is_there = |pid: &Pid| Path::new(&format!("/proc/{}", pid.as_raw_nonzero())).exists();
            eventually("the server has noticed", || (!killed.iter().any(is_there)).then_some(()));
            recovers(&log, serial);
            settles(&log, &mut told, serial, 1);
        }
    }
}

/// Waits until the server answers again.
fn recovers(log: &Postgres, serial: u32) {
    let answers = || match log.would_spend(&ask(serial, 1)) {
        Ok(_) => Some(()),
        Err(error) => {
            assert!(is_local(&error), "{error}");
            None
        }
    };
    eventually("the server is back", answers);
}

/// Two hosts spend all the time, and try each message until there is an answer, while the server is killed again and
/// again. What was answered is known at the end, for its message and no other.
fn under_load(site: &Site, times: u32, kill: impl Fn()) {
    let (next, answered, is_over) = (AtomicU32::new(1), AtomicU32::new(0), AtomicBool::new(false));
    let hosts = [site.host("mx1"), site.host("mx2")];
    let spent: Vec<Vec<u32>> = thread::scope(|scope| {
        let worker = |number: usize| {
            let (log, next, answered, is_over) = (&hosts[number % 2], &next, &answered, &is_over);
            move || {
                let mut spent = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    let serial = next.fetch_add(1, Ordering::Relaxed);
                    let mut told = Told::default();
                    let began = Instant::now();
                    while told.accepted.is_empty() {
                        told.note(1, &log.spend(&ask(serial, 1)));
                        assert!(began.elapsed() < PATIENCE, "serial {serial} gets no answer");
                    }
                    answered.fetch_add(1, Ordering::Relaxed);
                    spent.push(serial);
                }
                spent
            }
        };
        let workers: Vec<_> = (0..12).map(|number| scope.spawn(worker(number))).collect();
        for round in 0..times {
            let (before, more) = (answered.load(Ordering::Relaxed), 20 + round * 7 % 40);
            let went_on = || {
                let is_dead = workers.iter().any(thread::ScopedJoinHandle::is_finished);
                (is_dead || answered.load(Ordering::Relaxed) >= before + more).then_some(())
            };
            eventually("spends go on", went_on);
            kill();
        }
        is_over.store(true, Ordering::Relaxed);
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    assert!(spent.iter().all(|of_one| !of_one.is_empty()));
    thread::scope(|scope| {
        for serials in &spent {
            scope.spawn(|| serials.iter().for_each(|&serial| is_known(&hosts[1], serial, 1)));
        }
    });
}

#[test]
fn a_postmaster_killed_at_any_moment_loses_nothing() {
    let site = Site::new();
    under_load(&site, if is_soak() { 250 } else { 6 }, || {
        site.cluster.kill();
        site.cluster.start();
    });
}

#[test]
fn sessions_killed_at_any_moment_lose_nothing() {
    let site = Site::new();
    under_load(&site, if is_soak() { 250 } else { 5 }, || {
        let backends = eventually("there are sessions", || {
            let ran = site.cluster.try_sql("postgres", BACKENDS);
            (ran.code == 0 && ran.text().trim() != "").then(|| ran.text())
        });
        let backend = rustix::process::Pid::from_raw(backends.lines().next().unwrap().parse().unwrap()).unwrap();
        let _ = kill_process(backend, Signal::KILL);
    });
}

const BACKENDS: &str = "select pid from pg_stat_activity where usename = 'mailstamp' order by random()";

/// Sessions that an administrator ends, as a pooler or a restart in good order does.
#[test]
fn a_server_that_is_restarted_loses_nothing() {
    let site = Site::new();
    under_load(&site, if is_soak() { 50 } else { 1 }, || {
        site.cluster.shut_down();
        site.cluster.start();
    });
}

#[test]
fn a_full_disk_of_the_server_is_told_and_nothing_is_accepted() {
    let settings = ["max_wal_size = 8MB", "min_wal_size = 8MB", "wal_recycle = on", "wal_init_zero = on"];
    let site = Site::with(Setup { durable: true, settings: &settings, disk: Some("96m"), ..Setup::default() });
    let log = site.host("mx1");
    let mut spent = Vec::new();
    for serial in 0..50 {
        assert_eq!(log.spend(&ask(serial, 1)).unwrap(), SpendResult::Fresh);
        spent.push(serial);
    }
    let path = site.cluster.on_disk("fill");
    let mut fill = File::create(&path).unwrap();
    while fill.write_all(&[1; 4096]).is_ok() {}
    // Pages that are there already still take rows.
    let (serial, error) = (50..100_000)
        .find_map(|serial| match log.spend(&ask(serial, 1)) {
            Ok(answer) => {
                assert_eq!(answer, SpendResult::Fresh);
                spent.push(serial);
                None
            }
            Err(error) => Some((serial, error)),
        })
        .expect("the disk is full");
    assert!(matches!(error, StoreError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("its disk is full"), "{error}");
    std::fs::remove_file(path).unwrap();
    drop(fill);
    settles(&log, &mut Told::default(), serial, 1);
    spent.iter().for_each(|&serial| is_known(&log, serial, 1));
}
