//! The network between a host and the server breaks, at every message of the protocol and within it, in both
//! directions. The host says that it does not know, or the right answer, and the next try settles it.

use super::{DEADLINE, Site, Told, settles, slack};
use crate::ask;
use crate::support::is_soak;
use crate::support::programs::{PATIENCE, eventually};
use crate::support::proxy::{Direction, Fault, Proxy};
use mailstamp::store::UsedLog;
use mailstamp::store::postgres::{Options, Postgres};
use mailstamp::verdict::spend::SpendResult;
use std::time::Instant;

/// The bytes after which the network breaks: before each message, after its type, and before its last byte.
fn places(bytes: &[u8], has_startup: bool) -> Vec<usize> {
    let (mut places, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        // Every message but the first of a connection has a type before its length.
        let head = usize::from(!(has_startup && at == 0));
        let length: [u8; 4] = bytes[at + head..at + head + 4].try_into().unwrap();
        let next = at + head + u32::from_be_bytes(length) as usize;
        places.extend([at, at + 1, next - 1]);
        at = next;
    }
    assert_eq!(at, bytes.len(), "it ends with a message");
    places.dedup();
    places
}

/// Breaks the network at these places of a spend, and checks each outcome. `warm` connects before.
fn breaks(site: &Site, warm: bool, fault: Fault, sample: usize) {
    let proxy = Proxy::new(site.cluster.port());
    let name = format!("{warm}{fault:?}");
    // With a connection of its own that no fault has met.
    let patient = || site.host_through(&name, &[proxy.port()]);
    let connect = |timeout| {
        let log = Postgres::new(Options { timeout, connections: 1, ..patient().options().clone() });
        if warm {
            eventually("it connects", || log.would_spend(&ask(0, 1)).ok());
        }
        log
    };
    let direct = site.host(&format!("{name} other"));
    // Numbers that no other run of this on the site has.
    let mut serial = (u32::from(warm) * 2 + u32::from(fault == Fault::Hold)) * 100_000 + 1;
    for direction in [Direction::ToServer, Direction::ToClient] {
        serial += 1;
        let log = connect(PATIENCE);
        proxy.mend();
        assert_eq!(log.spend(&ask(serial, 1)).unwrap(), SpendResult::Fresh);
        drop(log);
        let all = places(&proxy.passed(direction), !warm && direction == Direction::ToServer);
        assert!(all.len() >= 6, "{all:?}");
        let step = all.len().div_ceil(if is_soak() { all.len() } else { sample });
        for after in all.into_iter().step_by(step) {
            serial += 1;
            proxy.mend();
            let log = connect(if fault == Fault::Hold { DEADLINE } else { PATIENCE });
            proxy.plan(direction, after, fault);
            let mut told = Told::default();
            let began = Instant::now();
            let answer = log.spend(&ask(serial, 1));
            let took = began.elapsed();
            assert!(fault == Fault::Cut || took < DEADLINE + slack(), "{direction:?} {after}: {took:?}");
            told.note(1, &answer);
            if serial % 2 == 0 {
                // Another message at another host is first, while what was sent is still on its way.
                told.note(2, &direct.spend(&ask(serial, 2)));
            }
            proxy.mend();
            if told.accepted == [2] {
                settles(&direct, &mut told, serial, 2);
                told.note(1, &patient().spend(&ask(serial, 1)));
            } else {
                settles(&patient(), &mut told, serial, 1);
            }
        }
    }
}

#[test]
fn a_connection_cut_at_any_message_of_a_spend_loses_nothing() {
    let site = Site::shared();
    breaks(&site, true, Fault::Cut, 30);
}

#[test]
fn a_connection_cut_while_it_is_made_loses_nothing() {
    let site = Site::shared();
    breaks(&site, false, Fault::Cut, 12);
}

#[test]
fn a_network_that_holds_messages_ends_at_the_deadline() {
    let site = Site::shared();
    breaks(&site, true, Fault::Hold, 3);
    breaks(&site, false, Fault::Hold, 2);
}
