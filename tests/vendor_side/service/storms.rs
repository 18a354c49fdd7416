//! Concurrent requests, lost answers, and a service that is killed: every purchase is charged once, and the ledger is
//! sound.

use crate::support::http::Connection;
use crate::support::programs::eventually;
use crate::support::shop::{Shop, cutting};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;

const FAST: [&str; 4] = ["--key-rate", "0", "--connections-each", "1000"];
const ORDER: &str = "{\"recipient\":\"r@x.example\"}";

// BP2a
#[test]
fn sixty_four_clients_at_once_get_what_they_pay_for() {
    let shop = Shop::open(10_000, &FAST);
    let serials = Mutex::new(BTreeSet::new());
    thread::scope(|scope| {
        for client in 0..64 {
            let (shop, serials) = (&shop, &serials);
            scope.spawn(move || {
                let mut connection = Connection::open(shop.address).unwrap();
                for at in 0..10 {
                    let answer = shop.buy(&mut connection, &format!("{client}-{at}"), ORDER).unwrap().is(200).json();
                    assert!(serials.lock().unwrap().insert(answer["stamps"][0]["serial"].as_str().unwrap().to_owned()));
                }
            });
        }
    });
    assert_eq!(serials.into_inner().unwrap().len(), 640);
    assert_eq!(shop.balance(), 10_000 - 640);
    assert_eq!(shop.audit().stamps, 640);
}

// Threat 22
#[test]
fn a_storm_of_retries_whose_answers_are_lost_is_charged_once() {
    let shop = Shop::open(10_000, &FAST);
    let proxy = cutting(shop.address, |length, before| match before % 4 {
        0 => 0,
        1 => 20.min(length),
        2 => length / 2,
        _ => length,
    });
    let lost = AtomicUsize::new(0);
    thread::scope(|scope| {
        for client in 0..16 {
            let (shop, lost) = (&shop, &lost);
            scope.spawn(move || {
                let key = format!("storm-{client}");
                let order = json!({ "stamps": [{ "recipient": "r@x.example", "value": client + 1 }] }).to_string();
                let mut whole = BTreeSet::new();
                // The proxy cuts by the number of the answer, so that few clients get none whole for long.
                let mut tries = 0..;
                while tries.next().is_some_and(|count| count < 24 || whole.is_empty()) {
                    match Connection::open(proxy).and_then(|mut it| shop.buy(&mut it, &key, &order)) {
                        Ok(answer) => drop(whole.insert(answer.is(200).json()["stamps"].to_string())),
                        Err(_) => drop(lost.fetch_add(1, Ordering::Relaxed)),
                    }
                }
                assert_eq!(whole.len(), 1, "the same stamp every time");
            });
        }
    });
    assert!(lost.load(Ordering::Relaxed) > 16 * 12, "{lost:?} answers were lost");
    assert_eq!(shop.balance(), 10_000 - (1..=16).sum::<u64>());
    assert_eq!(shop.audit().stamps, 16);
}

#[test]
fn requests_at_once_under_one_key_buy_once() {
    let shop = Shop::open(10, &FAST);
    let start = Barrier::new(20);
    let bought: BTreeSet<String> = thread::scope(|scope| {
        let buy = || {
            let mut connection = Connection::open(shop.address).unwrap();
            start.wait();
            shop.buy(&mut connection, "key", ORDER).unwrap().is(200).json()["stamps"].to_string()
        };
        let clients: Vec<_> = (0..20).map(|_| scope.spawn(buy)).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    assert_eq!((bought.len(), shop.balance(), shop.audit().stamps), (1, 9, 1));
}

#[test]
fn what_was_answered_is_kept_when_the_service_is_killed_in_the_middle() {
    let mut shop = Shop::open(100_000, &FAST);
    let mut sold = BTreeSet::new();
    for round in 0..3 {
        let over = AtomicBool::new(false);
        let answered: Vec<(String, String)> = thread::scope(|scope| {
            let clients: Vec<_> = (0..16)
                .map(|client| {
                    let (shop, over) = (&shop, &over);
                    scope.spawn(move || {
                        let mut answered = Vec::new();
                        let Ok(mut connection) = Connection::open(shop.address) else { return answered };
                        for at in 0.. {
                            let key = format!("{round}-{client}-{at}");
                            match shop.buy(&mut connection, &key, ORDER) {
                                Ok(answer) => answered.push((key, answer.is(200).json()["stamps"].to_string())),
                                Err(_) => break,
                            }
                            if answered.len() >= 5 {
                                over.store(true, Ordering::Relaxed);
                            }
                        }
                        answered
                    })
                })
                .collect();
            eventually("a few sales", || over.load(Ordering::Relaxed).then_some(()));
            shop.signal("-KILL");
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
        });
        assert!(answered.len() >= 5);
        shop.kill_and_restart();
        // Every answered sale is there: asked again, it gives the same stamp and costs nothing.
        let before = shop.balance();
        let mut connection = Connection::open(shop.address).unwrap();
        for (key, stamps) in answered {
            let again = shop.buy(&mut connection, &key, ORDER).unwrap().is(200).json();
            assert_eq!((again["again"].as_bool(), again["stamps"].to_string()), (Some(true), stamps.clone()));
            assert!(sold.insert(stamps), "a stamp was sold twice");
        }
        assert_eq!(shop.balance(), before);
        let audit = shop.audit();
        assert!(audit.stamps >= sold.len() as u64);
        assert_eq!(shop.balance(), 100_000 - audit.stamps);
    }
}

#[test]
fn told_to_end_it_finishes_what_it_has_begun() {
    let mut shop = Shop::open(100_000, &FAST);
    let idle = Connection::open(shop.address).unwrap();
    let begun = AtomicUsize::new(0);
    let (answered, broken): (usize, usize) = thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|client| {
                let (shop, begun) = (&shop, &begun);
                scope.spawn(move || {
                    let mut connection = Connection::open(shop.address).unwrap();
                    let mut answered = 0;
                    loop {
                        begun.fetch_add(1, Ordering::Relaxed);
                        match shop.buy(&mut connection, &format!("{client}-{answered}"), ORDER) {
                            Ok(answer) if answer.status == 200 => answered += 1,
                            _ => return answered,
                        }
                    }
                })
            })
            .collect();
        eventually("some load", || (begun.load(Ordering::Relaxed) > 100).then_some(()));
        shop.signal("-TERM");
        let answered: Vec<usize> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        (answered.iter().sum(), answered.len())
    });
    assert_eq!(shop.ended(), Some(0), "{}", shop.log());
    drop(idle);
    assert_eq!(broken, 8);
    shop.restart();
    // A request in progress was answered, so the sold stamps are those in the answers.
    assert_eq!(shop.audit().stamps, answered as u64);
    assert_eq!(shop.log(), "");
}

#[test]
fn commands_work_while_it_runs() {
    let shop = Shop::open(100, &[]);
    let folder = shop.folder();
    let home = crate::support::Home::bare();
    let command = |words: &[&str]| {
        let all: Vec<&str> = [&["vendor"], words, &["--ledger", folder.to_str().unwrap()]].concat();
        home.run(all, b"").exits(0).text()
    };
    command(&["credit", "joe", "50", "--reference", "r1"]);
    assert_eq!(shop.ask("GET", "/v1/account", &serde_json::Value::Null).is(200).json()["balance"], 150);
    command(&["audit"]);
}
