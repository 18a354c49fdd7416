//! Retries between both halves of the gateway: minutes, hours and days later, by a clock that the agency and both gateways
//! follow, and after the receiver was killed with the message delivered and its answer not sent.

use super::steps::TAKEN;
use super::{Hosts, More, PRICE};
use crate::bank::{Gateway, RATES, sides_of};
use crate::gateway_out::Outgoing;
use crate::support::programs::{eventually_or, stand_in, threads};
use crate::support::proxy::{Direction, Fault, Proxy};
use crate::support::shop::Shop;
use crate::support::{MAILSTAMP, follow_clock, run, set_clock};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// An agency that follows the clock in a file.
fn agency(folder: &Path, clock: &Path) -> Shop {
    let mut command = Command::new(MAILSTAMP);
    follow_clock(&mut command, clock);
    let quoted = |text: Option<&OsStr>| format!("'{}'", text.unwrap().to_str().unwrap());
    let settings = command.get_envs().map(|(name, value)| format!("{}={}", name.to_str().unwrap(), quoted(value)));
    let settings = settings.collect::<Vec<_>>().join(" ");
    let program = folder.join("agency");
    let quoted_program = quoted(Some(OsStr::new(MAILSTAMP)));
    stand_in(&program, &format!("#!/bin/sh\n{settings} exec {quoted_program} \"$@\"\n"));
    Shop::of(&program, 10_000, &RATES)
}

impl Hosts {
    /// Runs a command of the bank of a side, by the clock of its gateway.
    #[track_caller]
    fn bank(&self, side: &Gateway, command: &str) -> Value {
        let mut bank = self.command(side);
        let bank = bank.arg("bank").args(command.split(' ')).arg("--json");
        serde_json::from_str(&run(bank, b"").exits(0).text()).unwrap()
    }

    /// Lines of the first Postfix about a recipient.
    fn said(&self, recipient: &str, status: &str) -> Vec<String> {
        let log = fs::read_to_string(self.front.file("maillog")).unwrap_or_default();
        let (to, status) = (format!("to=<{recipient}>"), format!("status={status}"));
        log.lines().filter(|line| line.contains(&to) && line.contains(&status)).map(str::to_owned).collect()
    }

    /// Waits until the first attempt for a recipient has failed, and returns why.
    #[track_caller]
    fn deferred(&self, recipient: &str) -> String {
        let line = || self.said(recipient, "deferred").pop();
        eventually_or("deferred", line, || self.front.log() + &self.logs())
    }

    /// Tries again until a message has left, and checks that it came once.
    #[track_caller]
    fn leaves(&self, recipient: &str) {
        let sent = || self.said(recipient, "sent").pop();
        let line = self.front.flush_until(recipient, sent, || self.logs());
        assert!(line.contains("paid 3 credits"), "{line}");
        let id = recipient.split_once('@').unwrap().0;
        eventually_or("arrived", || (self.arrived(id) > 0).then_some(()), || self.logs());
        assert_eq!((self.arrived(id), self.said(recipient, "sent").len()), (1, 1));
    }

    /// Waits until so many credits are reserved: that a message has left is noted after the answer.
    #[track_caller]
    fn reserved(&self, credits: u64) {
        let is_so = || (self.payer.has()[2] == credits).then_some(());
        eventually_or("reserved", is_so, || format!("{:?} {}", self.payer.has(), self.logs()));
    }

    /// Sends a message whose token is cut off on the way, so that the receiver never saw it.
    fn send_and_cut(&self, recipient: &str, by: &Proxy, after: usize) {
        by.plan(Direction::ToServer, after, Fault::Cut);
        self.send(recipient.split_once('@').unwrap().0, &[recipient]);
        self.deferred(recipient);
        assert!(by.is_broken());
    }
}

// E15: minutes, hours and days later; the ID ends, and so does the licence
#[test]
#[cfg_attr(target_env = "musl", ignore = "faketime(1) changes no clock of a static program")]
fn a_late_retry_is_paid_once_and_delivered_once() {
    let folder = tempfile::tempdir().unwrap();
    let clock = folder.path().join("clock");
    let at = |text: &str| set_clock(&clock, text);
    at("+0");
    // The first Postfix tries again only when it is told to.
    let slow = ["queue_run_delay", "minimal_backoff_time", "maximal_backoff_time", "transport_retry_time"];
    let slow: String = slow.iter().map(|name| format!("{name} = 3600s\n")).collect();
    // The second one refuses these when it has the message.
    let later = |names: &[&str]| {
        let rows: Vec<String> = names.iter().map(|name| format!("{{{name}@y.example = 450 4.2.0 later}}")).collect();
        format!("smtpd_end_of_data_restrictions = check_recipient_access inline:{{{}}}, permit", rows.join(", "))
    };
    let behind = later(&["five", "six", "four", "old"]) + "\n";
    let more = More { front: slow, behind, clock: Some(clock.clone()), ..More::default() };
    let sides = sides_of(agency(folder.path(), &clock));
    let mut hosts = Hosts::idle_of(sides, 1_000, &["z.example", "w.example"], more);
    hosts.run();
    let [(_, z), (_, w)] = &hosts.more.ways[..] else { panic!("two ways") };

    // A whole one shows where the token is.
    z.mend();
    hosts.send("whole", &["whole@z.example"]);
    hosts.leaves("whole@z.example");
    let passed = z.passed(Direction::ToServer);
    let after = passed.windows(5).position(|it| it == b"EMST ").unwrap() + 20;
    hosts.send_and_cut("later@z.example", z, after);
    hosts.send_and_cut("weeks@w.example", w, after);
    for name in ["five", "six", "four", "old"] {
        let recipient = format!("{name}@y.example");
        hosts.send(name, &[&recipient]);
        let why = hosts.deferred(&recipient);
        assert!(why.contains("Recipient address rejected: later"), "{why}");
    }
    hosts.reserved(6 * PRICE);
    // Both gateways clear by themselves 5 seconds after their start, which a slow machine has behind it here.
    let (payer, payee) = (hosts.payer.has(), hosts.payee.has());
    assert!([0, PRICE].contains(&payer[3]) && payee[0] + payee[4] == PRICE, "{payer:?} {payee:?}");

    at("+5m");
    hosts.behind.set(&later(&["six", "four", "old"]));
    hosts.leaves("five@y.example");
    at("+6h");
    hosts.behind.set(&later(&["four", "old"]));
    hosts.leaves("six@y.example");
    // Its token has ended, and the receiver knows it from the first attempt.
    at("+4d");
    hosts.learn();
    hosts.behind.set(&later(&["old"]));
    hosts.leaves("four@y.example");
    hosts.reserved(3 * PRICE);
    // This one it does not know: the same credits are paid by a new ID.
    z.mend();
    hosts.leaves("later@z.example");
    let wants_another = |by: &Proxy| by.passed(Direction::ToClient).windows(12).any(|it| it == b"\r\n550 5.7.15");
    assert!(wants_another(z));
    hosts.reserved(2 * PRICE);
    // It knows this one, and has no time left to clear it. What passes is kept from before: an attempt of the last flush may
    // still be under way.
    hosts.between.mend();
    at("+150h");
    hosts.learn();
    hosts.behind.set(&later(&["none"]));
    hosts.leaves("old@y.example");
    assert!(wants_another(&hosts.between));
    hosts.reserved(PRICE);

    // The licence ended half a day ago.
    at("+180h");
    w.mend();
    let waits = || hosts.said("weeks@w.example", "deferred").into_iter().find(|line| line.contains("cannot pay now"));
    hosts.front.flush_until("no licence", waits, || hosts.logs());
    hosts.bank(&hosts.payer, "license 1000");
    hosts.bank(&hosts.payee, "license 0");
    // The agency looks every ten seconds whether its directory is to change. The old licence is not listed any more.
    at("+181h");
    hosts.learn();
    hosts.leaves("weeks@w.example");
    assert!(wants_another(w));
    assert!(hosts.front.has_empty_queue());
    assert_eq!(hosts.target.count(), 7);
    assert_eq!(hosts.bank(&hosts.payee, "clear")["refused"], json!([]));
    hosts.bank(&hosts.payer, "clear");
    let paid = 7 * PRICE;
    assert_eq!((hosts.payer.has(), hosts.payee.has()), ([8_000, 2_000 - paid, 0, 0, 0], [paid, 0, 0, 0, 0]));
    assert_eq!(hosts.agency_has(), [10_000 - paid, paid]);
    hosts.payer.sound();
    hosts.payee.sound();
    hosts.shop.audit();
}

/// strace(1), which kills a process at a system call of some threads.
struct Killer(Child);

impl Killer {
    /// Attaches it to the threads of this name.
    fn attach(process: u32, name: &str, call: &str) -> Self {
        let tasks = threads(process).into_iter().filter(|(_, of)| of == name).map(|(number, _)| number);
        let tasks: Vec<_> = tasks.collect();
        assert!(!tasks.is_empty());
        let mut strace = Command::new("strace");
        strace.args(["-o", "/dev/null", "-e", &format!("inject={call}:error=EIO:signal=KILL")]);
        strace.args(tasks.iter().flat_map(|task| ["-p", task]));
        let mut strace = strace.stderr(Stdio::piped()).spawn().expect("Debian's strace is installed");
        let mut told = BufReader::new(strace.stderr.take().unwrap()).lines();
        for _ in &tasks {
            let line = told.next().expect("it says something").unwrap();
            assert!(line.contains("attached"), "{line}");
        }
        // Its output has to be read.
        std::thread::spawn(move || told.count());
        Self(strace)
    }
}

impl Drop for Killer {
    fn drop(&mut self) {
        // It ends with what it traces.
        let _ = self.0.wait();
    }
}

// E13: the message is delivered, and the sender does not hear it
#[test]
fn a_kill_before_the_answer_makes_no_second_copy_once_the_books_have_it() {
    let mut hosts = Hosts::new(5_000);
    for (number, (call, received, copies)) in [
        // The answer itself.
        ("sendto", PRICE, 1),
        // The note that the message was delivered: this copy cannot be known.
        ("fdatasync", 0, 2),
    ]
    .into_iter()
    .enumerate()
    {
        let recipient = format!("{call}@y.example");
        hosts.inner.hold_at(Direction::ToClient, TAKEN);
        hosts.send(call, &[&recipient]);
        eventually_or("the answer", || (hosts.inner.held() > 0).then_some(()), || hosts.logs());
        let incoming = hosts.incoming.take().unwrap();
        let killer = Killer::attach(incoming.pid(), "gateway", call);
        hosts.inner.mend();
        incoming.killed();
        drop(killer);
        let before = hosts.payee.has();
        assert_eq!(before[0] + before[4], number as u64 * PRICE + received, "{call}: {before:?}");
        assert_eq!(hosts.said(&recipient, "sent"), Vec::<String>::new());
        hosts.incoming = Some(Outgoing::start(&hosts.payee));
        let sent = || hosts.said(&recipient, "sent").pop();
        let line = hosts.front.flush_until(call, sent, || hosts.logs());
        assert_eq!(line.contains("paid and delivered before"), copies == 1, "{line}");
        let arrived = || (hosts.arrived(call) == copies).then_some(());
        eventually_or(call, arrived, || format!("{} {}", hosts.arrived(call), hosts.logs()));
    }
    eventually_or("queue", || hosts.behind.has_empty_queue().then_some(()), || hosts.logs());
    assert_eq!(hosts.target.count(), 3);
    hosts.clear(2 * PRICE);
}
