//! Health: the answer of a healthy daemon, of one with a fault, and what is reported when no daemon runs.

use super::process::{Process, home};
use crate::support::programs::{Port, eventually, eventually_or};
use crate::support::{ALICE, Home, letter, stamped};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Child;
use std::thread;

/// Returns the line of `doctor` about the daemon.
fn doctor(home: &Home, more: &[&str]) -> String {
    let said = home.run(more.iter().copied().chain(["doctor"]), b"").text();
    said.lines().find(|line| line.contains("  daemon  ")).unwrap_or_else(|| panic!("{said}")).to_owned()
}

#[test]
fn a_log_that_another_process_has_does_not_answer() {
    let home = home("");
    let process = Process::begin(&home);
    home.classify(&letter("1")).exits(11);
    assert_eq!(process.healthy().text(), "ok\n");
    // As export borrows it: a frame without a body, and `{}` as its head.
    let mut borrower = UnixStream::connect(home.state().join("used.redb.socket")).unwrap();
    borrower.write_all(b"MS\x01\x03\0\0\0\x02\0\0\0\0{}").unwrap();
    let mut lent = [0; 14];
    borrower.read_exact(&mut lent).unwrap();
    assert_eq!(lent[3], 67);
    // A result of the health check is reused for a second.
    eventually("trouble", || (process.get("/healthz").text() == "the log does not answer\n").then_some(()));
    process.get("/healthz").is(503);
    let told = home.run(["status"], b"").exits(0).text();
    assert!(told.contains("\nlog          does not answer now\n") && told.contains("1 judged"), "{told}");
    drop(borrower);
    process.healthy();
    // Judgements were not affected.
    home.classify(&stamped(&home.mint(ALICE, "1"), &letter("2"))).exits(0).says("first-class paid");
}

#[test]
fn a_log_that_is_gone_is_told_of_and_its_sizes_are_not() {
    let home = home("");
    home.classify(&stamped(&home.mint(ALICE, "1"), &letter("1"))).exits(0);
    let process = Process::begin(&home);
    fs::remove_file(home.state().join("used.redb")).unwrap();
    process.get("/healthz").is(503);
    let numbers = process.numbers();
    assert_eq!(numbers["mailstamp_log_up"], 0.0);
    assert!(!numbers.contains_key("mailstamp_log_serials"), "{numbers:?}");
    home.classify(&stamped(&home.mint(ALICE, "2"), &letter("2"))).exits(75);
    assert_eq!(process.numbers()["mailstamp_messages_deferred_total"], 1.0);
    assert!(doctor(&home, &[]).starts_with("error "), "{}", doctor(&home, &[]));
}

#[test]
fn without_a_process_there_is_a_hint_and_with_one_the_doctor_knows_it() {
    let home = home("");
    let said = home.run(["status"], b"").exits(69);
    assert!(said.stderr.contains("no daemon is running") && said.stderr.contains("mailstamp serve"), "{}", said.stderr);
    assert_eq!(said.text(), "");
    assert!(doctor(&home, &[]).starts_with("ok       daemon          none"), "{}", doctor(&home, &[]));

    let process = Process::begin(&home);
    let expected = format!(
        "ok       daemon          process {} of version {} answers, and uses the same files",
        process.pid(),
        env!("CARGO_PKG_VERSION")
    );
    // Its log may not answer within a second.
    eventually_or("the doctor", || (doctor(&home, &[]) == expected).then_some(()), || doctor(&home, &[]));
    // A command that names a configuration may use other files than the daemon.
    let config = home.config();
    let named = ["--config", config.to_str().unwrap()];
    assert!(doctor(&home, &named).starts_with("warning  daemon  "), "{}", doctor(&home, &named));
    let told = home.run(named.into_iter().chain(["status"]), b"").exits(0).text();
    assert!(told.contains("\nfiles        others than yours: it judges none of your messages\n"), "{told}");
}

#[test]
fn somebody_who_does_not_answer_is_no_resident_process() {
    let home = home("");
    fs::create_dir_all(home.state()).unwrap();
    let listener = UnixListener::bind(home.state().join("socket")).unwrap();
    let hangs_up = thread::spawn(move || (0..2).for_each(|_| drop(listener.accept().unwrap())));
    let said = home.run(["status"], b"").exits(69);
    assert!(said.stderr.contains("does not answer"), "{}", said.stderr);
    assert!(doctor(&home, &[]).starts_with("error    daemon  "), "{}", doctor(&home, &[]));
    hangs_up.join().unwrap();
}

/// A process that does not outlive the test.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn numbers_are_for_this_machine_only_and_only_if_asked_for() {
    let home = home("");
    home.configure(&format!("addresses = [\"{ALICE}\"]\n[serve]\nmetrics = \"0.0.0.0:9465\""));
    for (command, code) in [(["config", "check"].as_slice(), 78), (&["serve"], 78)] {
        let said = home.run(command.iter().copied(), b"").exits(code);
        assert!(said.stderr.contains("metrics: write an address of this machine"), "{}", said.stderr);
    }
    let port = Port::reserve();
    let taken = TcpListener::bind(("127.0.0.1", port.number())).unwrap();
    let address = taken.local_addr().unwrap();
    home.configure(&format!("addresses = [\"{ALICE}\"]\n[serve]\nmetrics = \"{address}\""));
    // Another user may have taken the address to keep the daemon from serving.
    let errors = fs::File::create(home.file("serve.log")).unwrap();
    let mut served = Served(home.command().arg("serve").stderr(errors).spawn().unwrap());
    let log = || fs::read_to_string(home.file("serve.log")).unwrap();
    eventually("the socket", || log().contains("serving at").then_some(()));
    let warning = format!("warning: serve.metrics: cannot listen at {address}");
    eventually("the warning", || log().contains(&warning).then_some(()));
    assert!(!log().contains("metrics at"), "{}", log());
    home.classify(&letter("plain")).exits(11);
    let judged_one = || assert!(home.run(["status"], b"").exits(0).text().contains("\nmessages     1 judged"));
    judged_one();
    drop(taken);
    eventually("the numbers", || log().contains(&format!("metrics at http://{address}/metrics")).then_some(()));
    // A second one goes away at once, and for good.
    let second = home.run(["serve"], b"").exits(78);
    assert!(second.stderr.contains("mailstamp serve is already running"), "{}", second.stderr);
    judged_one();
    let pid = rustix::process::Pid::from_child(&served.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(served.0.wait().unwrap().success());

    home.configure(&format!("addresses = [\"{ALICE}\"]"));
    let process = Process::begin(&home);
    assert_eq!(process.metrics, None);
    assert!(!process.threads().contains(&"metrics".to_owned()), "{:?}", process.threads());
}

#[test]
fn whoever_says_nothing_keeps_nobody_out_for_long() {
    let process = Process::begin(&home(""));
    assert!(process.threads().contains(&"metrics".to_owned()), "{:?}", process.threads());
    let address = process.metrics.unwrap();
    let silent: Vec<TcpStream> = (0..40)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(b"GET /metrics HTT").unwrap();
            stream
        })
        .collect();
    process.healthy();
    process.get("/metrics").is(200);
    process.get("/nothing").is(404);
    drop(silent);
    let posted = crate::support::http::ask(address, "POST", "/metrics", &[], b"x").unwrap();
    assert_eq!(posted.status, 405);
}
