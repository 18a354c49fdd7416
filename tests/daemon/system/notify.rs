//! The interface to a service manager: the socket, on which it listens before there is a daemon, and the messages of
//! sd_notify(3).

use super::{PATIENCE, Service, judged};
use crate::support::programs::{chmod, program, until_listening};
use crate::support::resident::Resident;
use crate::support::{Home, MAILSTAMP, letter, stamped};
use mailstamp::ipc::connection::Connection;
use mailstamp::ipc::frame::Kind;
use mailstamp::os::unix_socket;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::{Duration, Instant};

/// Receives the notifications of the service.
struct Manager(UnixDatagram);

impl Manager {
    fn at(home: &Home) -> Self {
        let socket = UnixDatagram::bind(home.file("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    fn hears(&self) -> String {
        let mut bytes = [0; 1_000];
        let count = self.0.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..count].to_vec()).unwrap()
    }

    /// Returns the next notification that is not of the watchdog.
    fn hears_next(&self) -> String {
        std::iter::repeat_with(|| self.hears()).find(|words| words != "WATCHDOG=1\n").unwrap()
    }
}

/// `mailstamp serve` behind a socket of systemd's.
fn activated(home: &Home, environment: &[&str]) -> Service {
    program("systemd-socket-activate", "systemd");
    fs::create_dir_all(home.state()).unwrap();
    chmod(&home.state(), 0o700);
    // The number of the process stays the same through all that it becomes.
    let passed: String = environment.iter().map(|setting| format!(" -E '{setting}'")).collect();
    let line = format!("exec systemd-socket-activate -l \"$1\" -E WATCHDOG_PID=$${passed} \"$2\" serve");
    let mut command = Command::new("sh");
    command.args(["-c", &line, "sh"]).arg(home.state().join("socket")).arg(MAILSTAMP);
    command.env_clear().env("HOME", home.path()).env("PATH", "/usr/bin:/bin");
    let service = Service::begin(command.stderr(fs::File::create(home.file("serve.log")).unwrap()));
    until_listening(&home.state().join("socket"));
    service
}

#[test]
fn the_first_message_starts_it_and_the_manager_hears_how_it_is() {
    let home = Home::new();
    let manager = Manager::at(&home);
    let notify = format!("NOTIFY_SOCKET={}", home.file("notify").display());
    let mut service = activated(&home, &[&notify, "WATCHDOG_USEC=400000"]);
    let socket = home.state().join("socket");
    manager.0.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(manager.0.recv(&mut [0; 100]).is_err(), "a notification came before a request");
    manager.0.set_read_timeout(Some(PATIENCE)).unwrap();

    let message = stamped(&home.mint(crate::support::ALICE, "first"), &letter("first"));
    home.classify(&message).exits(0).says("first-class paid");
    assert_eq!(manager.hears_next(), "READY=1\n");
    assert_eq!(judged(&socket, "paid"), 1, "it was not the process that judged");

    for _ in 0..3 {
        assert_eq!(manager.hears(), "WATCHDOG=1\n");
    }

    service.signal("HUP");
    let words = manager.hears_next();
    let time = words.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap_or_else(|| panic!("{words}"));
    let since_boot: f64 = fs::read_to_string("/proc/uptime").unwrap().split(' ').next().unwrap().parse().unwrap();
    let age = since_boot * 1e6 - time.trim_end().parse::<f64>().unwrap();
    assert!(age.abs() < 60e6, "{words} is not the time, {since_boot}");
    assert_eq!(manager.hears_next(), "READY=1\n");

    service.signal("TERM");
    assert_eq!(manager.hears_next(), "STOPPING=1\n");
    assert_eq!(service.ends(), Some(0));
    assert!(socket.exists(), "the socket is systemd's");
    // No process listens there any more, in this test; the log is as a single command leaves it.
    assert!(!home.state().join("used.redb.journal0").exists());
    home.classify(&message).exits(0).says("first-class again");
}

/// The log is lent for as long as an export takes. The watchdog must not end the daemon for it, and a stop must still
/// work.
#[test]
fn a_process_that_has_lent_its_log_is_well_and_ends_when_it_is_told() {
    let home = Home::new();
    let manager = Manager::at(&home);
    let notify = format!("NOTIFY_SOCKET={}", home.file("notify").display());
    let mut service = activated(&home, &[&notify, "WATCHDOG_USEC=400000"]);
    home.classify(&letter("first")).exits(11);
    assert_eq!(manager.hears_next(), "READY=1\n");
    let mut borrower = Connection::new(unix_socket::connect(&home.state().join("used.redb.socket")).unwrap());
    let lent = super::ask(&mut borrower, Kind::Acquire, b"{}", b"").unwrap();
    assert_eq!(lent.kind, Kind::Acquired);
    let lent_at = Instant::now();
    for _ in 0..5 {
        assert_eq!(manager.hears(), "WATCHDOG=1\n");
    }
    service.signal("TERM");
    assert_eq!(service.ends(), Some(0));
    // A loan ends by itself after 60 s.
    assert!(lent_at.elapsed() < Duration::from_secs(60), "it waited for the end of the loan");
    drop(borrower);
}

/// Reloads that come faster than the watchdog's time must not keep it from being told.
#[test]
fn the_watchdog_is_told_while_reloads_come() {
    let home = Home::new();
    let manager = Manager::at(&home);
    let notify = format!("NOTIFY_SOCKET={}", home.file("notify").display());
    let service = activated(&home, &[&notify, "WATCHDOG_USEC=60000000"]);
    home.classify(&letter("first")).exits(11);
    assert_eq!(manager.hears(), "READY=1\n");
    for _ in 0..3 {
        service.signal("HUP");
        assert!(manager.hears().starts_with("RELOADING=1\n"));
        assert_eq!(manager.hears(), "READY=1\n");
        assert_eq!(manager.hears(), "WATCHDOG=1\n");
    }
}

/// The same as without them: sd_listen_fds(3) gives descriptors to the process of LISTEN_PID only.
#[test]
fn sockets_for_another_process_are_left_alone() {
    for other in [None, Some("1"), Some("")] {
        let home = Home::new();
        let mut command = home.command();
        command.env("LISTEN_FDS", "1").envs(other.map(|pid| ("LISTEN_PID", pid)));
        let resident = Resident::try_begin(&mut command, &home).expect("it serves at its own socket");
        home.classify(&letter("1")).exits(11);
        assert_eq!(resident.judged(), 1);
    }
}
