//! Files that are lost or copied, two devices of one person, and a clock that was ahead.

use super::person::{Person, friends, now};
use super::{ALICE, BOB, COVERED, KEY, SEALED, STAMP, announcement, signed};
use crate::clock::at;
use crate::support::programs::field;
use crate::support::run;
use std::fs;
use std::process::Command;

// BK7: a second device of one person.
#[test]
fn a_second_device_has_keys_and_log_of_the_first_and_goes_on() {
    let (alice, bob, last) = friends();
    let desk = Person::without_key(ALICE, "");
    // With the keys alone it is Alice, and holds no stamp of Bob's.
    desk.steals_keys(&alice);
    let bare = desk.sends(BOB, "1", Some(&last));
    assert_eq!((field(&bare, STAMP), field(&bare, KEY)), (None, None));
    let log = alice.home.run(["export"], b"").exits(0).stdout;
    desk.home.run(["import"], &log).exits(0);
    assert_eq!(desk.knows(BOB)["keys"], alice.knows(BOB)["keys"]);
    assert_eq!(desk.writes(&bob, "2", Some(&last)).1, "first-class peer");
    assert_eq!(alice.writes(&bob, "3", Some(&last)).1, "first-class peer");
    assert_eq!(bob.writes(&desk, "4", None).1, "first-class peer");
    // Importing what is known changes nothing, and what one ended, both have ended.
    alice.home.run(["peer", "end", BOB], b"").exits(0);
    let log = alice.home.run(["export"], b"").exits(0).stdout;
    desk.home.run(["import"], &log).exits(0);
    assert_eq!(desk.knows(BOB)["state"], "ended");
    // No rule there lets Bob's mail through all the same.
    fs::remove_file(desk.home.config().with_file_name("rules.toml")).unwrap();
    assert_eq!(bob.writes(&desk, "5", None).1, "revoked by-recipient");
    assert_eq!(field(&desk.sends(BOB, "6", None), SEALED), None);
}

#[test]
fn without_the_file_of_public_keys_no_stamp_of_the_users_is_believed() {
    let (alice, bob, last) = friends();
    let own = bob.home.state().join("peer/own.json");
    let kept = fs::read(&own).unwrap();
    fs::remove_file(&own).unwrap();
    assert_eq!(alice.writes(&bob, "1", Some(&last)).1, "unverified unknown-vendor");
    // One that is damaged, or that others may write, is no answer: the message waits.
    let letter = signed(&alice.sends(BOB, "2", Some(&last)), "x.example", COVERED);
    fs::write(&own, "{").unwrap();
    bob.home.run(["classify", "--recipient", BOB], &letter).exits(75);
    fs::write(&own, kept).unwrap();
    run(Command::new("chmod").args(["666"]).arg(&own), b"").exits(0);
    bob.home.run(["classify", "--recipient", BOB], &letter).exits(75);
    run(Command::new("chmod").args(["600"]).arg(&own), b"").exits(0);
    assert_eq!(bob.gets(&letter), "first-class peer");
    // Mail without such a stamp does not need the file.
    fs::write(&own, "{").unwrap();
    assert_eq!(bob.gets(&super::without(&letter, &[STAMP, super::USE])), "unstamped no-stamp");
}

// Who loses the log still knows their own signature, and is cautious.
#[test]
fn a_lost_log_leaves_stamps_good_for_a_few_uses_and_is_learned_again() {
    let (alice, bob, last) = friends();
    for name in ["used.redb", "used.redb.lock"] {
        fs::remove_file(bob.home.state().join(name)).unwrap();
    }
    let today = now();
    let judged = |id: &str| bob.gets_at(&signed(&alice.sends(BOB, id, Some(&last)), "x.example", COVERED), today);
    let classes: Vec<String> = (0..4).map(|number| judged(&format!("l{number}"))).collect();
    let peer = "first-class peer";
    assert_eq!(classes, [peer, peer, peer, "used too-often"]);
    // Her next announcement makes her known again: at the latest after 30 days, or by hand.
    bob.home.run(["peer", "accept", ALICE, &announcement(&alice)], b"").exits(0);
    assert!(field(&bob.sends(ALICE, "5", Some(&last)), SEALED).is_some());
}

// A clock that was years ahead while a key was made and revoked.
#[test]
#[cfg_attr(target_env = "musl", ignore = "faketime(1) changes no clock of a static program")]
fn what_a_clock_ahead_revoked_is_revoked() {
    let (alice, bob, last) = friends();
    let (letter, class) = alice.writes(&bob, "1", Some(&last));
    assert_eq!(class, "first-class peer");
    at(&bob.home, "+5000d", &["peer", "key", "new", "--compromised"], b"").exits(0);
    assert_eq!(alice.writes(&bob, "2", Some(&last)).1, "invalid key-revoked");
    // The new key counts from now on, and its stamps, too.
    let (answer, _) = bob.writes(&alice, "3", Some(&letter));
    assert!(field(&answer, SEALED).is_some());
    assert_eq!(alice.writes(&bob, "4", Some(&answer)).1, "first-class peer");
}
