//! What a payment costs: round trips between the gateways, and syncs of either.

use super::steps::TAKEN;
use super::{Hosts, PRICE};
use crate::bank::Gateway;
use crate::gateway_out::Outgoing;
use crate::support::MAILSTAMP;
use crate::support::programs::{eventually_or, program};
use crate::support::proxy::Direction;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// So many mailboxes whose names begin so.
fn boxes(name: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{name}{number}@y.example")).collect()
}

impl Hosts {
    fn send_to(&self, id: &str, boxes: &[String]) {
        self.send(id, &boxes.iter().map(String::as_str).collect::<Vec<_>>());
    }

    /// How often the first gateway waited for the second one, up to the answer to the message.
    fn round_trips(&self) -> usize {
        let said = self.between.said();
        let is_taken = |(from, bytes): &(Direction, Vec<u8>)| {
            *from == Direction::ToClient && String::from_utf8_lossy(bytes).contains(TAKEN)
        };
        let end = said.iter().position(is_taken).unwrap();
        said[..end].iter().filter(|(from, _)| *from == Direction::ToServer).count()
    }
}

// E9: a payment costs one round trip, for one recipient as for many
#[test]
fn paid_recipients_cost_one_round_trip_more_than_free_ones() {
    let hosts = Hosts::new(5_000);
    let config = hosts.payee.home.config().display().to_string();
    let mut sent = 0;
    let mut trips = Vec::new();
    for count in [1, 40] {
        for (name, price) in [("free", "0"), ("paid", "3")] {
            let boxes = boxes(name, count);
            for mailbox in &boxes {
                let set = ["--config", &config, "price", "set", price, "--address", mailbox];
                hosts.payee.home.run(set, b"").exits(0);
            }
            hosts.between.mend();
            hosts.send_to(&format!("{name}{count}"), &boxes);
            sent += count;
            hosts.done("sent", sent);
            trips.push(hosts.round_trips());
        }
    }
    // EHLO, MAIL with RCPT, DATA, and the message.
    assert_eq!(trips, [4, 5, 4, 5]);
    hosts.clear(41 * PRICE);
}

/// A gateway whose syncs are noted.
fn noted(side: &Gateway) -> (Outgoing, PathBuf) {
    let notes = side.home.file("syncs");
    let mut command = Command::new(program("strace", "strace"));
    // The tracer is another process than the child, so a kill ends the gateway.
    command.args(["-D", "-f", "-qq", "--decode-pids=comm", "-e", "trace=fsync,fdatasync", "-o"]).arg(&notes);
    let home = side.home.path();
    command.arg(MAILSTAMP).env_clear().env("HOME", home).env("PATH", "/usr/bin:/bin").current_dir(home);
    (Outgoing::start_as(side, command), notes)
}

// One commit for all recipients of a message at the sender before DATA, and two at the receiver; a commit has two syncs
#[test]
fn fifty_recipients_cost_no_more_syncs_than_one() {
    let mut hosts = Hosts::idle(5_000);
    let (incoming, received) = noted(&hosts.payee);
    let (outgoing, sent) = noted(&hosts.payer);
    (hosts.incoming, hosts.outgoing) = (Some(incoming), Some(outgoing));
    // The thread that asks the agency has syncs of its own.
    let all = |notes: &PathBuf| {
        let notes = fs::read_to_string(notes).unwrap();
        notes.lines().filter(|line| line.contains("sync(") && !line.contains("<clearing>")).count()
    };
    // The first offer makes a key for IDs.
    hosts.send("first", &["b0@y.example"]);
    hosts.done("sent", 1);
    let settled = || (hosts.payer.has()[2] == 0).then_some(());
    let (mut messages, mut counts) = (1, Vec::new());
    for (number, count) in [1, 50].into_iter().enumerate() {
        eventually_or("settlement", settled, || format!("{:?}", hosts.payer.has()));
        let before = (all(&sent), all(&received));
        hosts.between.hold_at(Direction::ToServer, "DATA\r\n");
        hosts.send_to(&format!("m{number}"), &boxes("b", count));
        let held = || (hosts.between.held() == 1).then_some(());
        eventually_or("DATA", held, || hosts.logs());
        assert_eq!(hosts.payer.has()[2], PRICE * count as u64, "all are reserved");
        let reserved = all(&sent) - before.0;
        assert_eq!(all(&received), before.1, "nothing is noted before the message");
        hosts.between.hold_at(Direction::ToClient, TAKEN);
        eventually_or("the answer", || (hosts.between.said().len() > 1).then(held).flatten(), || hosts.logs());
        let noted = all(&received) - before.1;
        assert_eq!(all(&sent) - before.0, reserved, "the sender notes nothing while it waits");
        hosts.between.mend();
        messages += count;
        hosts.done("sent", messages);
        // The settlement, behind the answer.
        eventually_or("settlement", settled, || format!("{:?}", hosts.payer.has()));
        counts.push([reserved, noted, all(&sent) - before.0 - reserved]);
    }
    eprintln!("syncs of 1 and 50 recipients: reserved, pending and received, settled: {counts:?}");
    // A commit is one of the clearing's thread where that has one at the same time.
    assert!(counts.iter().flatten().zip([2, 4, 2].iter().cycle()).all(|(count, most)| count <= most), "{counts:?}");
    hosts.clear(52 * PRICE);
}
