//! The files of the state are removed or restored while the daemon serves. It goes on with the files that are there
//! now, and every client finds it: there are never two logs of one mailbox.

use crate::support::resident::{PATIENCE, Resident};
use crate::support::{ALICE, Home, letter, run, stamped};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::process::Signal;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

fn message(home: &Home, serial: &str, id: &str) -> Vec<u8> {
    stamped(&home.mint(ALICE, serial), &letter(id))
}

/// Messages come until the process judges them again; none of them waits.
#[track_caller]
fn is_found_again(home: &Home, resident: &Resident, name: &str) {
    let began = Instant::now();
    for n in 0.. {
        home.classify(&message(home, &format!("{name}{n}"), &format!("{name}{n}"))).exits(0).says("first-class paid");
        if resident.connect().is_some() && resident.judged() > 1 {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{name}: it is not found");
        thread::sleep(Duration::from_millis(200));
    }
    // The daemon has the log now, and a process that needs the file gets it.
    let first = message(home, &format!("{name}0"), &format!("{name}0"));
    home.classify(&first).exits(0).says("first-class again");
    home.run(["revoke"], &first).exits(0);
    home.classify(&first).exits(22).says("revoked by-recipient");
    home.run(["doctor"], b"").exits(0);
}

#[test]
fn sockets_that_were_removed_are_made_anew() {
    let home = Home::new();
    let resident = Resident::of(&home);
    home.classify(&message(&home, "first", "first")).exits(0).says("first-class paid");
    // Stopped, or it may make one of them again before the others are gone.
    resident.stop();
    for entry in fs::read_dir(home.state()).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_socket() {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    assert!(resident.connect().is_none());
    resident.signal(Signal::CONT);
    let began = Instant::now();
    while resident.connect().is_none() {
        assert!(began.elapsed() < PATIENCE, "it is not found");
        thread::sleep(Duration::from_millis(50));
    }
    is_found_again(&home, &resident, "bare");
    resident.end();
    let names = fs::read_dir(home.state()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name.ends_with("socket")).collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn a_state_that_was_removed_is_begun_anew_with_everybody_else() {
    let home = Home::new();
    let resident = Resident::of(&home);
    home.classify(&message(&home, "first", "first")).exits(0).says("first-class paid");
    // Renamed first, at once: the process makes a new folder while the old one is emptied.
    fs::rename(home.state(), home.file("aside")).unwrap();
    fs::remove_dir_all(home.file("aside")).unwrap();
    is_found_again(&home, &resident, "removed");
    resident.end();
    assert!(!home.state().join("used.redb.journal0").exists(), "the log was not left as it should be");
}

/// Promise 2. What the commands do in the folder that was put there, the process must see, and the other way round.
#[test]
fn a_state_that_was_restored_is_the_one_that_the_process_goes_on_with() {
    let home = Home::new();
    let one = message(&home, "one", "one");
    home.classify(&one).exits(0).says("first-class paid");
    let restored = home.file("restored");
    run(Command::new("cp").arg("-a").arg(home.state()).arg(&restored), b"").exits(0);
    let resident = Resident::of(&home);
    home.classify(&message(&home, "two", "two")).exits(0).says("first-class paid");
    // Asked over a connection that was open before: the socket itself cannot be reached any more.
    let mut channel = mailstamp::ipc::connection::Connection::new(resident.connect().unwrap());
    // At once: where the folder is missing for a moment, the process makes another.
    renameat_with(CWD, &restored, CWD, home.state(), RenameFlags::EXCHANGE).unwrap();
    home.run(["revoke"], &one).exits(0);
    let question = |message: &[u8]| {
        let mut head = serde_json::json!({
            "file_set": { "home": [home.file(".config/mailstamp"), home.state()] },
            "names": {}, "spend": true, "record": false, "whole": true,
        });
        head["size"] = message.len().into();
        serde_json::to_vec(&head).unwrap()
    };
    let mut ask = |message: &[u8]| {
        let kind = mailstamp::ipc::frame::Kind::Judge;
        channel.send(kind, &question(message), message, PATIENCE).unwrap();
        let limits = mailstamp::ipc::frame::Limits::HEAD_ONLY;
        String::from_utf8(channel.receive(limits, PATIENCE, PATIENCE).unwrap().unwrap().head).unwrap()
    };
    let said = ask(&one);
    assert!(said.contains("\"by-recipient\""), "{said}");
    // The restored log does not know of it, and now it does.
    let said = ask(&message(&home, "two", "other"));
    assert!(said.contains("\"paid\""), "{said}");
    is_found_again(&home, &resident, "restored");
    resident.kill();
    home.classify(&message(&home, "two", "two")).exits(21).says("used used");
}
