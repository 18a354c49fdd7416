//! Either gateway is killed with kill -9 at each step of a payment: before and after each durable write, and before and
//! after each reply. The network holds messages at the step, so that the kill is at the step and not near it.

use super::{BOXES, Hosts, PRICE};
use crate::gateway_out::Outgoing;
use crate::support::is_soak;
use crate::support::programs::{eventually_or, program};
use crate::support::proxy::{Direction, Fault, Proxy};
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// A step: where messages are held, and how each gateway is killed then.
struct Step {
    name: &'static str,
    on: On,
    to: Direction,
    /// They are held before the last byte of these words.
    at: &'static str,
    outgoing: Kill,
    incoming: Kill,
}

/// The connections on which messages are held.
#[derive(Clone, Copy)]
enum On {
    /// Those of the gateways.
    Between,
    /// Those of the second gateway to its Postfix.
    Inner,
}

/// How a gateway is killed.
#[derive(Clone, Copy, PartialEq)]
enum Kill {
    /// While messages are held. What is on the wire is lost.
    Lost,
    /// While messages are held. What is on the wire arrives.
    Arrives,
    /// At a sync of the first commit after messages went on: the first, before which the commit is not in the file, and
    /// the second, behind which nothing is left to do, by turns.
    Sync,
    /// As messages went on, and the gateway is about to reply.
    Reply,
}

const DOT: &str = "\r\n.\r\n";
/// The answers to a message, of the gateway and of its Postfix alike.
pub(super) const TAKEN: &str = "250 2.0.0 ";

/// The steps of a message, in their order, as the sender sees them, and then as the receiver does.
const STEPS: [Step; 12] = {
    use Direction::{ToClient, ToServer};
    use Kill::{Arrives, Lost, Reply, Sync};
    use On::{Between, Inner};
    const fn step(name: &'static str, held: (On, Direction, &'static str), kills: [Kill; 2]) -> Step {
        let ((on, to, at), [outgoing, incoming]) = (held, kills);
        Step { name, on, to, at, outgoing, incoming }
    }
    [
        step("offered, and not reserved", (Between, ToClient, "EMSTAMP price="), [Sync, Lost]),
        step("reserved, and not shown", (Between, ToServer, "EMST "), [Lost, Lost]),
        step("shown, and not answered", (Between, ToClient, "250 2.1.5 paid"), [Lost, Lost]),
        step("paid, before DATA", (Between, ToServer, "DATA\r\n"), [Lost, Lost]),
        step("sent, and not answered", (Between, ToServer, DOT), [Lost, Lost]),
        step("answered, and not settled", (Between, ToClient, TAKEN), [Sync, Arrives]),
        step("recipient named", (Inner, ToServer, "RCPT TO:<"), [Arrives, Lost]),
        step("token came, and has no answer", (Between, ToServer, "EMST "), [Arrives, Reply]),
        step("message came, and is not pending", (Between, ToServer, DOT), [Arrives, Sync]),
        step("pending, and not handed on", (Inner, ToServer, "DATA\r\n"), [Arrives, Lost]),
        step("handed on, and not received", (Inner, ToClient, TAKEN), [Arrives, Sync]),
        step("received, and not answered", (Between, ToClient, TAKEN), [Lost, Lost]),
    ]
};

/// Messages of a step that are held at once, and how often.
fn counts() -> (usize, usize) {
    if is_soak() { (20, 10) } else { (2, 1) }
}

impl Hosts {
    fn connections(&self, on: On) -> &Proxy {
        match on {
            On::Between => &self.between,
            On::Inner => &self.inner,
        }
    }

    fn gateway(&mut self, is_outgoing: bool) -> &mut Option<Outgoing> {
        if is_outgoing { &mut self.outgoing } else { &mut self.incoming }
    }

    /// Kills a gateway while messages are held at a step, and starts it again.
    fn kill_at(&mut self, step: &Step, is_outgoing: bool, turn: usize) {
        let kill = if is_outgoing { step.outgoing } else { step.incoming };
        let gateway = self.gateway(is_outgoing).take().unwrap();
        let wires = self.connections(step.on);
        let inject = match kill {
            Kill::Sync => Some(format!("fdatasync:signal=KILL:when={}", 1 + turn % 2)),
            Kill::Reply => Some("sendto:signal=KILL:when=1".to_owned()),
            Kill::Lost | Kill::Arrives => None,
        };
        if let Some(inject) = inject {
            let mut strace = attach(&gateway, &inject);
            wires.mend();
            gateway.killed();
            strace.wait().unwrap();
        } else {
            gateway.kill();
            if kill == Kill::Lost {
                wires.fail(Fault::Cut);
            }
            wires.mend();
        }
        let side = if is_outgoing { &self.payer } else { &self.payee };
        *self.gateway(is_outgoing) = Some(Outgoing::start(side));
    }
}

/// Has strace(1) kill a gateway at a system call.
fn attach(gateway: &Outgoing, inject: &str) -> Child {
    let (call, _) = inject.split_once(':').unwrap();
    let mut strace = Command::new(program("strace", "strace"));
    strace.args(["-f", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &format!("inject={inject}")]);
    strace.args(["-p", &gateway.pid().to_string()]).stdin(Stdio::null()).stderr(Stdio::piped());
    let mut child = strace.spawn().unwrap();
    // Once it says so, it has stopped all threads. Its output has to be read.
    let mut told = BufReader::new(child.stderr.take().unwrap()).lines();
    let first = told.next().expect("it says something").unwrap();
    assert!(first.contains("attached"), "{first}");
    std::thread::spawn(move || told.count());
    let tasks = format!("/proc/{}/task", gateway.pid());
    let is_traced = |task: fs::DirEntry| {
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        !status.contains("TracerPid:\t0\n")
    };
    let attached = || fs::read_dir(&tasks).unwrap().all(|task| is_traced(task.unwrap())).then_some(());
    eventually_or("strace", attached, || inject.to_owned());
    child
}

/// Kills one gateway at each step. Returns a line for each: what arrived, and what the credits came to.
fn kill_at_each_step(is_outgoing: bool) {
    let (at_once, rounds) = counts();
    let victim = if is_outgoing { "payer" } else { "payee" };
    let mut hosts = Hosts::new(100_000);
    let mut messages = 0;
    eprintln!("killed: {victim}; messages of a step: {}", at_once * rounds);
    eprintln!("| step | copies | paid | received | at the agency |");
    for (number, step) in STEPS.iter().enumerate() {
        let name = format!("{} {}, {victim} killed", number + 1, step.name);
        let before = hosts.target.count();
        let mut ids = Vec::new();
        for round in 0..rounds {
            hosts.connections(step.on).hold_at(step.to, step.at);
            for message in 0..at_once {
                ids.push(format!("{number}-{round}-{message}"));
                hosts.send(ids.last().unwrap(), &BOXES[..2]);
            }
            let held = || (hosts.connections(step.on).held() == at_once).then_some(());
            eventually_or(&name, held, || format!("{} {}", hosts.connections(step.on).held(), hosts.logs()));
            hosts.kill_at(step, is_outgoing, number + round);
            messages += at_once;
            hosts.done("sent", 2 * messages);
        }
        let paid = 2 * PRICE * messages as u64;
        hosts.clear(paid);
        eventually_or("queue", || hosts.behind.has_empty_queue().then_some(()), || hosts.logs());
        let copies = hosts.copies();
        let is_doubtful = !is_outgoing && step.incoming == Kill::Sync && matches!(step.on, On::Inner);
        let most = if is_doubtful { 2 } else { 1 };
        let odd: Vec<_> = ids.iter().map(|id| (id, copies.get(id).copied().unwrap_or(0))).collect();
        let odd: Vec<_> = odd.into_iter().filter(|(_, count)| *count == 0 || *count > most).collect();
        assert!(odd.is_empty(), "{name}: {odd:?}\n{}", hosts.logs());
        let [held, licensed, ..] = hosts.payer.has();
        let agency = hosts.agency_has();
        eprintln!(
            "| {name} | {} of {} | {} | {} | {agency:?} |",
            hosts.target.count() - before,
            ids.len(),
            2 * hosts.limit - held - licensed,
            hosts.payee.has()[0],
        );
        assert_eq!(agency, [2 * hosts.limit - paid, paid], "{name}");
    }
    let copies = hosts.copies();
    assert_eq!(copies.len(), messages);
}

// E13, E14: kill -9 of the gateway that pays
#[test]
fn a_payer_killed_at_any_step_loses_and_doubles_nothing() {
    kill_at_each_step(true);
}

// E13, E14: kill -9 of the gateway that is paid
#[test]
fn a_payee_killed_at_any_step_loses_and_doubles_nothing() {
    kill_at_each_step(false);
}
