//! How it ends: by either side, by moving a message, by a lost key, a new key, a stolen key.

use super::person::{COVERED, Person, friends, signed};
use super::{ALICE, BOB, SEALED, STAMP, announcement};
use crate::support::programs::field;
use serde_json::Value;

#[test]
fn a_message_moved_to_junk_ends_its_stamp_and_back_undoes_it() {
    let (alice, bob, last) = friends();
    let (letter, class) = alice.writes(&bob, "1", Some(&last));
    assert_eq!(class, "first-class peer");
    let moved = bob.home.run(["revoke", "--moved"], &letter).exits(0).text();
    assert!(moved.starts_with("bob@y.example/") && moved.ends_with(": revoked\n"), "{moved}");
    assert_eq!(alice.writes(&bob, "2", Some(&last)).1, "revoked by-recipient");
    let given = |person: &Person| person.knows(ALICE)["given"][0]["ended"].clone();
    assert!(given(&bob).is_string());
    bob.home.run(["unrevoke", "--moved"], &letter).exits(0);
    assert_eq!(given(&bob), Value::Null);
    assert_eq!(alice.writes(&bob, "3", Some(&last)).1, "first-class peer");
    // By command, for good.
    bob.home.run(["revoke"], &letter).exits(0);
    bob.home.run(["unrevoke", "--moved"], &letter).exits(0);
    assert_eq!(alice.writes(&bob, "4", Some(&last)).1, "revoked by-recipient");
    // A copy that another person planted revokes nothing.
    let (eve, _) = (Person::new("eve@z.example"), ());
    assert_eq!(eve.home.run(["revoke", "--moved"], &letter).exits(0).text(), "");
}

#[test]
fn who_writes_again_after_junk_gives_another_stamp() {
    let (alice, bob, last) = friends();
    let (letter, _) = alice.writes(&bob, "1", Some(&last));
    bob.home.run(["revoke", "--moved"], &letter).exits(0);
    let (answer, _) = bob.writes(&alice, "2", Some(&letter));
    assert!(field(&answer, SEALED).is_some());
    assert_eq!(alice.writes(&bob, "3", Some(&answer)).1, "first-class peer");
}

#[test]
fn a_dropped_correspondent_begins_anew() {
    let (alice, bob, last) = friends();
    let dropped = bob.home.run(["peer", "drop", "--json", ALICE], b"").exits(0).text();
    let dropped: Value = serde_json::from_str(&dropped).unwrap();
    assert_eq!((&dropped["result"], &dropped["revoked"]), (&"forgotten".into(), &1.into()));
    assert!(bob.knows(ALICE).is_null());
    bob.home.run(["peer", "drop", ALICE], b"").exits(65);
    assert_eq!(bob.home.run(["peer", "list"], b"").exits(0).text(), "");
    assert_eq!(alice.writes(&bob, "1", Some(&last)).1, "revoked by-recipient");
    assert_eq!(bob.states(ALICE), [""; 0]);
}

// BK7: a new key in time.
#[test]
fn a_correspondent_follows_a_rotation_without_a_question() {
    let (alice, bob, last) = friends();
    alice.home.run(["peer", "key", "rotate"], b"").exits(0);
    // The old stamp is bound to the old key, which still signs its use.
    let (letter, class) = alice.writes(&bob, "1", Some(&last));
    assert_eq!((class.as_str(), bob.states(ALICE)), ("first-class peer", vec!["past".to_owned(), "known".to_owned()]));
    let (answer, class) = bob.writes(&alice, "2", Some(&letter));
    assert_eq!(class, "first-class peer");
    assert!(field(&answer, SEALED).is_some());
    let (_, class) = alice.writes(&bob, "3", Some(&answer));
    assert_eq!(class, "first-class peer");
    assert_eq!(bob.knows(ALICE)["keys"][1]["key"], alice.keys()[1].as_str());
}

// BK7: someone else has the key of the one who uses stamps.
#[test]
fn a_stolen_key_of_the_holder_is_good_for_nothing_once_its_owner_says_so() {
    let (alice, bob, last) = friends();
    let eve = Person::without_key(ALICE, "");
    eve.steals_keys(&alice);
    alice.home.run(["peer", "key", "new", "--compromised"], b"").exits(0);
    let (letter, class) = alice.writes(&bob, "1", Some(&last));
    assert_eq!(
        (class.as_str(), bob.states(ALICE)),
        ("unstamped no-stamp", vec!["revoked".to_owned(), "new".to_owned()])
    );
    // Eve has Alice's old key, and a message of Bob's to Alice with a stamp for it.
    eve.home.run(["peer", "accept", BOB, &announcement(&bob)], b"").exits(0);
    eve.gets(&last);
    let stolen = signed(&eve.sends(BOB, "2", Some(&last)), "x.example", COVERED);
    let class = bob.gets(&stolen);
    assert!(class != "first-class peer", "{class}");
    assert_eq!(bob.states(ALICE), ["revoked", "new"]);
    // Bob's answer brings a stamp for the new key.
    let (answer, _) = bob.writes(&alice, "3", Some(&letter));
    assert!(field(&answer, SEALED).is_some());
    assert_eq!(alice.writes(&bob, "4", Some(&answer)).1, "first-class peer");
    assert_eq!(bob.states(ALICE), ["revoked", "known"]);
}

// BK7: someone else has the key of the one who gave stamps.
#[test]
fn a_stolen_key_of_the_giver_opens_nothing_and_is_replaced_with_its_stamps() {
    let (alice, bob, last) = friends();
    bob.home.run(["peer", "key", "new", "--compromised"], b"").exits(0);
    // All that the old key signed is void, also what Bob gave.
    let (letter, class) = alice.writes(&bob, "1", Some(&last));
    assert_eq!(class, "invalid key-revoked");
    let (answer, _) = bob.writes(&alice, "2", Some(&letter));
    assert!(field(&answer, SEALED).is_some());
    assert_eq!(alice.states(BOB), ["revoked", "new"]);
    assert_eq!(alice.writes(&bob, "3", Some(&answer)).1, "first-class peer");
}

// BK7: the key is lost, with the machine.
#[test]
fn a_lost_key_is_replaced_by_the_users_word() {
    let (_, bob, last) = friends();
    let alice = Person::new(ALICE);
    let made = signed(&alice.sends(BOB, "1", Some(&last)), "x.example", COVERED);
    assert_eq!(field(&made, STAMP), None);
    bob.gets(&made);
    // Her new key waits; nothing in it says that it is hers.
    let fields = format!("Digital-Stamp-Key: {}\n", announcement(&alice));
    let letter = [fields.as_bytes(), &*alice.sends(BOB, "2", Some(&last))].concat();
    bob.gets(&signed(&letter, "x.example", COVERED));
    assert_eq!(bob.states(ALICE), ["known", "changed"]);
    let accepted = bob.home.run(["peer", "accept", "--json", ALICE], b"").exits(0).text();
    let accepted: Value = serde_json::from_str(&accepted).unwrap();
    assert_eq!((&accepted["result"], &accepted["key"]), (&"accepted".into(), &alice.keys()[0].as_str().into()));
    assert_eq!(bob.states(ALICE), ["past", "known"]);
    let again = bob.home.run(["peer", "accept", ALICE], b"").exits(65);
    assert!(again.stderr.contains("no key waits to be accepted"), "{}", again.stderr);
    // Bob's messages bring a stamp for it, and Alice's word makes Bob's key known to her.
    alice.home.run(["peer", "accept", BOB, &announcement(&bob)], b"").exits(0);
    let (answer, _) = bob.writes(&alice, "3", Some(&letter));
    assert!(field(&answer, SEALED).is_some());
    assert_eq!(alice.writes(&bob, "4", Some(&answer)).1, "first-class peer");
}

#[test]
fn accepting_takes_a_key_by_name_and_no_other() {
    let (alice, bob, _) = friends();
    let id = bob.knows(ALICE)["keys"][0]["id"].as_str().unwrap().to_owned();
    for name in [id.as_str(), alice.keys()[0].as_str()] {
        let said = bob.home.run(["peer", "accept", ALICE, "--", name], b"").exits(0).text();
        assert_eq!(said, format!("{ALICE}: key {id} was accepted already\n"));
    }
    for wrong in ["AAAAAAAAAAA", "v4.public.x", bob.keys()[0].as_str(), &announcement(&bob)] {
        bob.home.run(["peer", "accept", ALICE, wrong], b"").exits(65);
    }
    bob.home.run(["peer", "accept", "eve@z.example"], b"").exits(65);
    // Another person's word, by other means, is enough for two who never wrote.
    let eve = Person::new("eve@z.example");
    bob.home.run(["peer", "accept", "eve@z.example", &announcement(&eve)], b"").exits(0);
    eve.home.run(["peer", "accept", BOB, &announcement(&bob)], b"").exits(0);
    let (letter, _) = bob.writes(&eve, "1", None);
    assert!(field(&letter, SEALED).is_some());
    assert_eq!(eve.writes(&bob, "2", Some(&letter)).1, "first-class peer");
    let shown = bob.home.run(["peer", "show", "eve@z.example"], b"").exits(0).text();
    assert!(
        shown.contains("known") && shown.contains("  given ") && shown.contains("for mail to bob@y.example"),
        "{shown}"
    );
}
