//! Attacks on the stamps of a mailing list. The thief is a member or reads a member's mail, and sees every post.

use super::person::{COVERED, Made, Person, domain, now, signed, without};
use super::{SEALED, STAMP, USE};
use crate::peer_lists::{LIST, MailingList, as_list_sends};
use crate::support::programs::field;
use mailstamp::message::address::Address;
use mailstamp::peer::gift::{Recipient, give};
use mailstamp::peer::sealing;
use mailstamp::stamp::serial::Serial;
use mailstamp::stamp::signing::SecretKey;
use std::fs;

const ALICE: &str = "alice@x.example";
const BOB: &str = "bob@y.example";
const CAROL: &str = "carol@z.example";

/// A list with Alice, who has a stamp, and Bob, who reads it.
pub fn alice_and_bob() -> (MailingList, Person, Person) {
    let list = MailingList::new();
    let (alice, bob) = (list.member(ALICE), list.reader(BOB));
    (list, alice, bob)
}

// BK5, BK6
#[test]
fn a_captured_post_is_no_stamp_for_another_one() {
    let (_list, alice, bob) = alice_and_bob();
    let post = alice.sends(LIST, "1", None);
    let sent = as_list_sends(&post);
    let text = String::from_utf8(sent.clone()).unwrap();
    let with = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to).into_bytes()
    };
    let (body, id) = (("This is letter", "Buy this, letter"), ("<1@mail.example>", "<9@mail.example>"));
    // Before it is delivered, another date or Message-ID makes another post of it.
    assert_eq!(bob.gets(&with(id.0, id.1)), "invalid bad-holder-proof");
    assert_eq!(bob.gets(&with("12:00:00 +0000", "12:00:01 +0000")), "invalid bad-holder-proof");
    assert_eq!(bob.gets(&sent), "first-class peer");
    // The same copy comes again after a failure on its way.
    assert_eq!(bob.gets(&sent), "first-class again");
    // Another body under a use that was spent is another message.
    assert_eq!(bob.gets(&with(body.0, body.1)), "used used");
    assert_eq!(bob.gets(&with("Subject: [talk] ", "Subject: [talk] buy this: ")), "used used");
    // So is the post as it was sent to the list, which has another Subject.
    assert_eq!(bob.gets(&post), "used used");
    assert_eq!(bob.gets(&sent), "first-class again");
    // The fields alone, on a message of the thief's.
    let fields: String = [STAMP, USE].map(|name| format!("{name}: {}\n", field(&sent, name).unwrap())).concat();
    let other = Made::new(CAROL, 1, 1, 0).letter("x", &fields);
    assert_eq!(bob.gets(&other), "invalid bad-holder-proof");
    assert_eq!(bob.gets(&without(&sent, &[USE])), "invalid no-holder-proof");
}

#[test]
fn a_post_that_was_captured_before_counts_once_for_each_reader() {
    let (list, alice, bob) = alice_and_bob();
    let carol = list.reader(CAROL);
    let sent = as_list_sends(&alice.sends(LIST, "1", None));
    let other = String::from_utf8(sent.clone()).unwrap().replace("This is letter", "Buy this, letter");
    // The worst: another body takes the place of the post, once.
    assert_eq!(bob.gets(other.as_bytes()), "first-class peer");
    assert_eq!(bob.gets(&sent), "used used");
    assert_eq!(bob.gets(other.replace("Buy", "Get").as_bytes()), "used used");
    assert_eq!(carol.gets(&sent), "first-class peer");
    assert_eq!(carol.gets(other.as_bytes()), "used used");
}

#[test]
fn a_post_to_another_list_is_refused() {
    let (_list, alice, bob) = alice_and_bob();
    let post = String::from_utf8(alice.sends(LIST, "1", None)).unwrap();
    // Bob reads another list, too.
    let other = "other@lists.example";
    let key = SecretKey::from_random(&[8; 32]);
    bob.home.run(["peer", "pin", other, &key.public().to_string()], b"").exits(0);
    // The fan-out of that list, with Alice's stamp for this one: it is the post, and counts once, whichever list sent
    // it. With the names exchanged, no signature holds.
    assert_eq!(bob.gets(&as_list_sends(post.as_bytes())), "first-class peer");
    let there = post.replace(LIST, other).replace("Subject: 1", "Subject: [other] 1");
    assert_eq!(bob.gets(there.as_bytes()), "used used");
    // A stamp of that list for Alice's posts to this one, and one in the name of this list.
    let (alice_address, holder) = (Address::parse(ALICE).unwrap(), SecretKey::from_random(&[7; 32]).public());
    let to = Recipient { address: &alice_address, holder: &holder, days: 14 };
    let forged = give(&Address::parse(LIST).unwrap(), &key, &to, Serial::from_random([1; 16]), now()).unwrap().1;
    let letter = format!("{STAMP}: {}\n", forged.as_str());
    assert_eq!(bob.gets(&Made::new(ALICE, 7, 7, 0).letter("2", &letter)), "unverified unknown-key");
}

// A member hands the stamp on, and not the key.
#[test]
fn a_captured_list_stamp_is_bound_to_its_member() {
    let (list, alice, bob) = alice_and_bob();
    let gift = list.gift(ALICE);
    // The thief reads Alice's mail, and has keys of an address of that name.
    let eve = Person::new(ALICE);
    eve.home.run(["peer", "pin", LIST, &list.key], b"").exits(0);
    eve.home.run(["peer", "extract"], &gift).exits(65);
    eve.gets(&gift);
    assert_eq!(field(&eve.sends(LIST, "1", None), STAMP), None);
    drop((alice, bob));
}

// All who know a member's key can seal, so a false gift must cost nothing and displace nothing.
#[test]
fn a_false_gift_in_the_name_of_a_list_is_not_used() {
    let list = MailingList::new();
    let (alice, bob) = (list.member_without_stamp(ALICE), list.reader(BOB));
    let shown = alice.home.run(["peer", "key", "show", "--json"], b"").exits(0).text();
    let line: serde_json::Value = serde_json::from_str(shown.trim()).unwrap();
    let seen = mailstamp::peer::announcement::Announcement::parse(line["announcement"].as_str().unwrap()).unwrap();
    let (from, me) = (Address::parse(LIST).unwrap(), Address::parse(ALICE).unwrap());
    let to = Recipient { address: &me, holder: &seen.keys.signing, days: 14 };
    let thief = SecretKey::from_random(&[9; 32]);
    for number in 1..=9 {
        let (_, token) = give(&from, &thief, &to, Serial::from_random([number; 16]), now()).unwrap();
        let sealed = sealing::seal(&token, &from, &me, &seen.keys.sealing, &[number; 32]).unwrap();
        let letter = format!("{SEALED}: {sealed}\nFrom: {LIST}\nTo: {ALICE}\nSubject: {number}\n\nhello\n");
        alice.gets(letter.as_bytes());
    }
    assert_eq!(field(&alice.sends(LIST, "1", None), STAMP), None);
    // The right one is found, also where its host proves nothing, since the others were thrown away.
    alice.gets(&list.gift(ALICE));
    let post = alice.sends(LIST, "2", None);
    assert_eq!(bob.gets(&as_list_sends(&post)), "first-class peer");
    assert_eq!(alice.knows(LIST)["held"].as_array().unwrap().len(), 1);
}

// What a member posts under the list's stamp makes no key known, and the list is told nothing.
#[test]
fn a_post_teaches_nothing_and_tells_nothing() {
    let (_list, alice, bob) = alice_and_bob();
    let post = alice.sends(LIST, "1", None);
    assert_eq!([super::KEY, SEALED].map(|name| field(&post, name)), [None, None]);
    let forged = String::from_utf8(as_list_sends(&post)).unwrap().replace("From: alice@", "From: dave@");
    let forged = forged.replace("List-Id: <talk.lists.example>\n", "");
    let forged = signed(forged.as_bytes(), domain(ALICE), COVERED);
    assert_eq!(bob.gets(&forged), "first-class peer");
    let knows_none = || [ALICE, "dave@x.example", LIST].iter().all(|address| bob.knows(address).is_null());
    assert!(knows_none());
    // Nor does one that the user let through by a grant.
    bob.home.run(["grant"], &post).exits(0);
    let granted = String::from_utf8(alice.sends(LIST, "2", None)).unwrap().replace("From: alice@", "From: dave@");
    let granted = signed(granted.as_bytes(), domain(ALICE), COVERED);
    assert_eq!(bob.gets(&granted), "first-class multi-use");
    assert!(knows_none());
}

// The owner ends a member: no more stamps, and the last one is refused where the list is judged.
#[test]
fn an_ended_member_is_out_when_the_stamp_ends() {
    let (list, alice, bob) = alice_and_bob();
    let said = list.owner.home.run(["peer", "end", ALICE], b"").exits(0).text();
    assert!(said.contains("stamps revoked: 1"), "{said}");
    let post = alice.sends(LIST, "1", None);
    assert_eq!(list.owner.gets_for(LIST, &post), "revoked by-recipient");
    let said = list.owner.home.run(["peer", "give", "--list", LIST, "--to", ALICE], b"").exits(77).stderr;
    assert!(said.contains("you ended"), "{said}");
    // Subscribers hear nothing of it, and the stamp lasts 14 days at most.
    let later = now().plus(15 * 86_400);
    assert_eq!(bob.gets_at(&as_list_sends(&post), later), "invalid bad-holder-proof");
    assert_eq!(bob.gets(&as_list_sends(&post)), "first-class peer");
}

// The owner moves a post to Junk: that is for the owner alone, and brings the member no other stamp.
#[test]
fn junk_of_the_owner_gives_a_member_no_new_stamp() {
    let (list, alice, _bob) = alice_and_bob();
    let post = alice.sends(LIST, "1", None);
    assert_eq!(list.owner.gets_for(LIST, &post), "first-class peer");
    let said = list.owner.home.run(["revoke", "--moved"], &post).exits(0).text();
    assert!(said.ends_with(": revoked\n"), "{said}");
    assert_eq!(list.owner.gets_for(LIST, &alice.sends(LIST, "2", None)), "revoked by-recipient");
    let due = ["peer", "give", "--list", LIST, "--to", ALICE, "--if-due"];
    assert_eq!(list.owner.home.run(due, b"").exits(0).stdout, b"");
}

// The key of a list is stolen.
#[test]
fn a_revoked_key_of_a_list_ends_with_its_pin() {
    let (list, alice, bob) = alice_and_bob();
    list.owner.home.run(["peer", "key", "new", "--compromised", LIST], b"").exits(0);
    let post = as_list_sends(&alice.sends(LIST, "1", None));
    assert_eq!(list.owner.gets_for(LIST, &post), "invalid key-revoked");
    bob.home.run(["peer", "unpin", LIST], b"").exits(0);
    assert_eq!(bob.gets(&post), "unverified unknown-vendor");
    let pinned = bob.home.state().join("peer/lists.json");
    assert!(!fs::read_to_string(pinned).unwrap().contains("k4.public."));
}

// Moving a post to Junk ends that member's stamp for the one who moved it, also where several share a log.
#[test]
fn junk_ends_a_members_stamp_for_its_reader_alone() {
    let list = MailingList::new();
    let (alice, dave) = (list.member(ALICE), list.member("dave@w.example"));
    let both = list.readers(&[("bob", BOB), ("carol", CAROL)]);
    let delivered = |to: &str, post: &[u8]| [format!("Delivered-To: {to}\n").as_bytes(), post].concat();
    let [first, second] = ["1", "2"].map(|id| as_list_sends(&alice.sends(LIST, id, None)));
    for reader in [BOB, CAROL] {
        assert_eq!(both.gets_for(reader, &delivered(reader, &first)), "first-class peer");
    }
    // Without a word on whose copy it is, nothing is ended.
    let said = both.home.run(["revoke", "--moved"], &first).exits(0).text();
    assert_eq!(said, "");
    let said = both.home.run(["revoke"], &first).exits(65).stderr;
    assert!(said.contains("--owner"), "{said}");
    let said = both.home.run(["revoke", "--moved"], &delivered(BOB, &first)).exits(0).text();
    assert!(said.ends_with(": revoked\n"), "{said}");
    let classes = |post: &[u8]| [BOB, CAROL].map(|reader| both.gets_for(reader, &delivered(reader, post)));
    assert_eq!(classes(&second), ["revoked by-recipient", "first-class peer"]);
    let of_dave = as_list_sends(&dave.sends(LIST, "3", None));
    assert_eq!(classes(&of_dave), ["first-class peer", "first-class peer"]);
    let said = both.home.run(["unrevoke", "--moved"], &delivered(BOB, &first)).exits(0).text();
    assert!(said.ends_with(": unrevoked\n"), "{said}");
    let third = as_list_sends(&alice.sends(LIST, "4", None));
    assert_eq!(classes(&third), ["first-class peer", "first-class peer"]);
    // By command, for one of them.
    let said = both.home.run(["revoke", "--owner", "carol"], &third).exits(0).text();
    assert!(said.starts_with(&format!("{LIST}/")) && said.ends_with(" of carol: revoked\n"), "{said}");
    let fourth = as_list_sends(&alice.sends(LIST, "5", None));
    assert_eq!(classes(&fourth), ["first-class peer", "revoked by-recipient"]);
    // Each status is shown under the name of its owner.
    let grants =
        |text: &[&str]| both.home.run(["grants", "--revoked"].iter().chain(text).copied(), b"").exits(0).text();
    let (said, of_carol) = (grants(&[]), grants(&["--json"]));
    assert!(said.contains(&format!("revoked    {LIST}/")) && said.contains(" of carol  revoked "), "{said}");
    let of_carol: serde_json::Value = serde_json::from_str(of_carol.trim()).unwrap();
    assert_eq!((&of_carol["vendor"], &of_carol["owner"]), (&LIST.into(), &"carol".into()));
}
