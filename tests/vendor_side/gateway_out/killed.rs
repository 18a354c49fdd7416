//! The gateway is killed where its books or those of the far side lack a note, and Postfix tries again. Kills at each step
//! are in `gateway_both::steps`.

use super::{Outgoing, Scene};
use crate::support::emstamp_server::Stall;
use rustix::fs::{FlockOperation, flock};
use std::fs::File;

const BOXES: [&str; 3] = ["b1@y.example", "b2@y.example", "free@y.example"];
const PRICES: [(&str, u64); 2] = [("b1@y.example", 3), ("b2@y.example", 5)];

// E13: the note that a message was delivered is lost
#[test]
fn a_kill_before_the_settlement_is_made_up_for_by_the_clearing() {
    let mut scene = Scene::new(100, &PRICES, "");
    scene.far.state().stall = Some(Stall::Pause);
    scene.send("late", &BOXES);
    scene.stalled();
    // The bank cannot be written while this holds its lock.
    let lock = File::open(scene.payer.bank.path().with_extension("redb.lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    scene.far.state().stall = None;
    for recipient in BOXES {
        scene.outcome(recipient, "sent", 1);
    }
    scene.outgoing.take().unwrap().kill();
    drop(lock);
    assert_eq!(scene.payer.has(), [9_900, 92, 8, 0, 0]);
    scene.outgoing = Some(Outgoing::start(&scene.payer));
    scene.clear();
    assert_eq!(scene.payer.has(), [9_900, 92, 0, 0, 0]);
}

// E12, E15: the far side has forgotten its IDs
#[test]
fn another_id_moves_the_reservation() {
    let mut scene = Scene::new(100, &PRICES, "");
    scene.far.state().stall = Some(Stall::Text);
    scene.send("renew", &BOXES[..1]);
    scene.stalled();
    scene.far.state().forgets = true;
    scene.kill_and_restart();
    scene.outcome("b1@y.example", "sent", 1);
    let shown = scene.far.lines("EMST");
    assert!(shown.len() >= 3 && shown[0] == shown[1] && shown.last() != shown.first(), "{shown:?}");
    scene.settled(3);
    scene.clear();
    assert_eq!(scene.payer.has(), [9_900, 97, 0, 0, 0]);
}
