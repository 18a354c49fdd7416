//! A client whose message the daemon defers reports that to syslog; the daemon does not.

use crate::support::resident::{PATIENCE, Resident};
use crate::support::{ALICE, Home, letter};
use rustix::process::Signal;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;

#[test]
fn what_the_process_cannot_decide_is_told() {
    let home = Home::new();
    let socket = home.file("log");
    let log = UnixDatagram::bind(&socket).unwrap();
    log.set_read_timeout(Some(PATIENCE)).unwrap();
    home.configure(&format!("syslog = \"{}\"\naddresses = [\"{ALICE}\"]", socket.display()));
    let message = home.stamped(&letter("1"));
    let resident = Resident::of(&home);
    let told = |why: &str| {
        let mut buffer = [0; 4096];
        let length = log.recv(&mut buffer).unwrap();
        let line = String::from_utf8_lossy(&buffer[..length]);
        assert!(line.starts_with("<19>mailstamp[") && line.contains("]: deferred: ") && line.contains(why), "{line}");
    };
    let vendor = home.config().with_file_name("vendors/stamps.example.json");
    fs::set_permissions(&vendor, Permissions::from_mode(0o666)).unwrap();
    for command in ["classify", "filter", "deliver"] {
        home.run([command], &message).exits(75);
        told("others may write to it");
    }
    fs::set_permissions(&vendor, Permissions::from_mode(0o600)).unwrap();
    resident.stop();
    // Without a stamp it needs no log.
    home.classify(&letter("2")).exits(11).says("unstamped no-stamp");
    home.run(["filter"], &letter("2")).exits(0);
    for _ in 0..2 {
        let mut buffer = [0; 4096];
        let length = log.recv(&mut buffer).unwrap();
        assert!(String::from_utf8_lossy(&buffer[..length]).contains("class=unstamped"));
    }
    home.classify(&message).exits(75);
    told("the daemon does not answer");
    resident.signal(Signal::CONT);
    home.classify(&message).exits(0);
}
