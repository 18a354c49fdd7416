//! The gateway is killed between any two steps, and Postfix tries again.

use super::{Outgoing, Scene};
use crate::support::emstamp_server::Stall;
use crate::support::is_soak;
use rustix::fs::{FlockOperation, flock};
use std::collections::BTreeSet;
use std::fs::File;

const BOXES: [&str; 3] = ["b1@y.example", "b2@y.example", "free@y.example"];
const PRICES: [(&str, u64); 2] = [("b1@y.example", 3), ("b2@y.example", 5)];

// E13: the connection is lost anywhere: neither lost nor doubled
#[test]
fn a_kill_at_any_step_loses_no_credit_and_no_message() {
    // Of each message 8 credits.
    let rounds = if is_soak() { 40 } else { 1 };
    let stalls = [Stall::Offer, Stall::Pay, Stall::Data, Stall::Text, Stall::Taken];
    let mut scene = Scene::new(2_000, &PRICES, "max_day = 5000");
    for (at, stall) in stalls.into_iter().cycle().take(rounds * stalls.len()).enumerate() {
        let before = scene.far.lines("EMST").len();
        scene.far.state().stall = Some(stall);
        scene.send(&format!("kill{at}"), &BOXES);
        scene.stalled();
        scene.kill_and_restart();
        for recipient in BOXES {
            scene.outcome(recipient, "sent", at + 1);
        }
        // The retry shows the very same lines.
        let shown = scene.far.lines("EMST").split_off(before);
        let different: BTreeSet<&String> = shown.iter().collect();
        assert_eq!(different.len(), 2, "{stall:?}: {shown:?}");
        assert!(shown.len() >= if stall == Stall::Offer { 2 } else { 3 }, "{stall:?}: {shown:?}");
        assert!(!matches!(stall, Stall::Text | Stall::Taken) || shown.len() == 4);
        let state = scene.far.state();
        let copies = state.taken.iter().filter(|it| it.text.contains(&format!("<kill{at}@"))).count();
        // A paid box gets one; the free one gets another when the far side had taken the first.
        assert_eq!(copies, if stall == Stall::Taken { 2 } else { 1 }, "{stall:?}");
        drop(state);
        scene.settled(8 * (at as u64 + 1));
    }
    let messages = rounds * stalls.len();
    assert_eq!(scene.paid().len(), 2 * messages);
    scene.clear();
    assert_eq!(scene.payer.has(), [8_000, 2_000 - 8 * messages as u64, 0, 0, 0]);
}

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
