//! Signals while messages are judged: a reload drops no client, and every client gets its verdict before the end.

use super::{Service, ask, judged, question};
use crate::support::programs::PATIENCE;
use crate::support::{ALICE, Home, letter, stamped};
use mailstamp::ipc::connection::Connection;
use mailstamp::ipc::frame::{Kind, Limits};
use mailstamp::os::unix_socket;
use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

/// Clients at once, and messages of each.
const CLIENTS: usize = 6;
const MESSAGES: usize = 10;

/// A message with a stamp of its own.
fn message(home: &Home, id: &str) -> Vec<u8> {
    stamped(&home.mint(ALICE, id), &letter(id))
}

fn classify_many(home: &Home, client: usize) {
    for number in 0..MESSAGES {
        home.classify(&message(home, &format!("c{client}-{number}"))).exits(0).says("first-class paid");
    }
}

fn reloads_in(log: &str) -> usize {
    log.lines().filter(|line| *line == "mailstamp: reloaded").count()
}

#[test]
fn a_reload_sends_nobody_away() {
    let home = Home::new();
    let service = Service::of(&home);
    let socket = home.state().join("socket");
    let done = AtomicBool::new(false);
    // Number of questions on one connection that stays open.
    let questions = 200;
    thread::scope(|scope| {
        let reloads = scope.spawn(|| {
            while !done.load(SeqCst) {
                service.signal("HUP");
                thread::sleep(Duration::from_millis(5));
            }
        });
        let mut clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let home = &home;
                scope.spawn(move || classify_many(home, client))
            })
            .collect();
        clients.push(scope.spawn(|| {
            let mut channel = Connection::new(unix_socket::connect(&socket).unwrap());
            for number in 0..questions {
                let message = message(&home, &format!("s{number}"));
                let head = serde_json::to_vec(&question(&home, &message)).unwrap();
                let answer = ask(&mut channel, Kind::Judge, &head, &message).expect("the connection has ended");
                let words = String::from_utf8_lossy(&answer.head).into_owned();
                assert!(answer.kind == Kind::Verdict && words.contains("\"reason\":\"paid\""), "{words}");
            }
        }));
        let ended: Vec<_> = clients.into_iter().map(|client| client.join().is_ok()).collect();
        // On a busy machine several signals become one reload.
        let many = || (reloads_in(&fs::read_to_string(home.file("serve.log")).unwrap()) > 20).then_some(());
        super::eventually("reloads", many);
        done.store(true, SeqCst);
        reloads.join().unwrap();
        assert!(ended.iter().all(|well| *well), "{ended:?}");
    });
    // Had one been judged by the command itself, it would not be among these.
    assert_eq!(judged(&socket, "paid"), (CLIENTS * MESSAGES + questions) as u64);
    let log = fs::read_to_string(home.file("serve.log")).unwrap();
    assert!(!log.contains("not reloaded"), "{log}");
}

#[test]
fn everybody_has_a_verdict_when_it_ends() {
    let home = Home::new();
    let mut service = Service::of(&home);
    let socket = home.state().join("socket");
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let home = &home;
            scope.spawn(move || classify_many(home, client));
        }
        // In the middle of it: some were judged there, and more are to come.
        super::eventually("some messages", || (judged(&socket, "paid") >= 5).then_some(()));
        service.signal("TERM");
        assert_eq!(service.ends(), Some(0));
    });
    // Each was spent, and once.
    for client in 0..CLIENTS {
        let id = format!("c{client}-{}", client % MESSAGES);
        home.classify(&stamped(&home.mint(ALICE, &id), &letter("another"))).exits(21).says("used used");
    }
    assert!(!socket.exists());
    assert!(!home.state().join("used.redb.journal0").exists(), "the log was not left as it should be");
}

/// Watched folders must not keep the log from being closed in order.
/// As systemd keeps the socket between two daemons.
#[test]
fn a_successor_is_asked_when_the_daemon_ends() {
    for stamped in [true, false] {
        let home = Home::new();
        fs::create_dir_all(home.state()).unwrap();
        let socket = UnixListener::bind(home.state().join("socket")).unwrap();
        let message = if stamped { message(&home, "1") } else { letter("1") };
        let answering = thread::spawn(move || {
            drop(socket.accept().unwrap());
            let mut next = Connection::new(socket.accept().unwrap().0);
            let limits = Limits { body: 1 << 20, ..Limits::HEAD_ONLY };
            assert_eq!(next.receive(limits, PATIENCE, PATIENCE).unwrap().unwrap().kind, Kind::Judge);
            let head = br#"{"what":"from the next one","hint":null}"#;
            next.send(Kind::Defer, head, b"", PATIENCE).unwrap();
            for _ in 0..2 {
                drop(socket.accept().unwrap());
            }
        });
        let said = home.run(["classify"], &message).exits(75).stderr;
        assert!(said.contains("from the next one"), "{said}");
        // Without a successor that answers, the command judges by itself.
        home.run(["classify"], &message).exits(if stamped { 0 } else { 11 });
        answering.join().unwrap();
    }
}

#[test]
fn the_log_is_left_in_order_where_folders_are_watched() {
    let home = Home::new();
    for folder in ["cur", "new", "tmp"] {
        fs::create_dir_all(home.file("Maildir").join(folder)).unwrap();
    }
    let maildir = home.file("Maildir");
    home.configure(&format!("addresses = [\"{ALICE}\"]\n[watch]\nmaildir = \"{}\"", maildir.display()));
    let mut service = Service::of(&home);
    home.classify(&message(&home, "one")).exits(0).says("first-class paid");
    super::eventually("the watcher", || home.state().join("watch.lock").exists().then_some(()));
    service.signal("TERM");
    assert_eq!(service.ends(), Some(0));
    assert!(!home.state().join("used.redb.journal0").exists(), "the log was not left as it should be");
}

/// A server that takes all the time that it is given does not keep the daemon from ending.
#[test]
fn it_ends_in_the_middle_of_a_fetching() {
    let home = Home::new();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let from = format!("https://{}/directory", server.local_addr().unwrap());
    // Without the signal the fetching would outlast the test.
    let source = format!("timeout = \"3600s\"\n[[source]]\npublisher = \"stamps.example\"\nfrom = \"{from}\"\n");
    fs::write(home.config().with_file_name("vendors").join("sources.toml"), source).unwrap();
    home.configure(&format!("addresses = [\"{ALICE}\"]\n[serve]\nrefresh = \"1s\""));
    let mut service = Service::of(&home);
    home.classify(&message(&home, "one")).exits(0).says("first-class paid");
    let _asked = server.accept().unwrap();
    service.signal("TERM");
    assert_eq!(service.ends(), Some(0));
    assert!(!home.state().join("used.redb.journal0").exists(), "the log was not left as it should be");
}

/// Another watcher was there first; when it is gone, this one watches.
#[test]
fn folders_are_watched_as_soon_as_they_can_be() {
    let home = Home::new();
    let maildir = home.file("Maildir");
    for folder in ["", ".Junk"] {
        for part in ["cur", "new", "tmp"] {
            fs::create_dir_all(maildir.join(folder).join(part)).unwrap();
        }
    }
    home.configure(&format!("addresses = [\"{ALICE}\"]\n[watch]\nmaildir = \"{}\"", maildir.display()));
    let other = Service::begin(home.command().arg("watch"));
    let notes = home.state().join("watch.jsonl");
    super::eventually("the other", || fs::read_to_string(&notes).is_ok_and(|it| it.contains("Junk")).then_some(()));
    let _service = Service::of(&home);
    let log = || fs::read_to_string(home.file("serve.log")).unwrap();
    super::eventually("its word", || log().contains("another watcher is already running").then_some(()));
    drop(other);
    let message = message(&home, "one");
    home.classify(&message).exits(0).says("first-class paid");
    fs::write(maildir.join(".Junk/tmp/1.host"), &message).unwrap();
    fs::rename(maildir.join(".Junk/tmp/1.host"), maildir.join(".Junk/cur/1.host:2,S")).unwrap();
    super::eventually("the revocation", || log().contains("stamps.example/one: revoked").then_some(()));
    assert_eq!(log().matches("another watcher").count(), 1, "{}", log());
}

/// `deliver` has its messages judged there too.
#[test]
fn deliver_asks_it() {
    let home = Home::new();
    let _service = Service::of(&home);
    home.run(["deliver"], &message(&home, "one")).exits(0);
    assert_eq!(judged(&home.state().join("socket"), "paid"), 1);
    let delivered = crate::support::programs::maildir(&home.file("Maildir"));
    assert!(String::from_utf8_lossy(&delivered[0]).starts_with("Digital-Stamp-Class: first-class; reason=paid"));
}
