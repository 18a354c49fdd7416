//! The commands for lists, and which stamp goes on a post.

use super::{LIST, MailingList, OWNER, as_list_sends};
use crate::peer_attacks::person::Person;
use crate::sendmail::account::with_account;
use crate::support::programs::{chmod, field};
use crate::support::shop::Shop;
use mailstamp::stamp::signing::SecretKey;
use serde_json::Value;
use std::fs;

const ALICE: &str = "alice@x.example";
const BOB: &str = "bob@y.example";

#[test]
fn keys_of_lists_are_pinned_listed_and_unpinned() {
    let list = MailingList::new();
    let bob = Person::new(BOB);
    let said = bob.home.run(["peer", "pin", LIST, "k4.public.x"], b"").exits(64).stderr;
    assert!(said.contains("KEY"), "{said}");
    let secret = SecretKey::from_random(&[1; 32]).to_paserk();
    let said = bob.home.run(["peer", "pin", LIST, &secret], b"").exits(64).stderr;
    assert!(said.contains("a secret key, in the place of its public half"), "{said}");
    let pinned = bob.home.run(["peer", "pin", LIST, &list.key], b"").exits(0).text();
    assert!(pinned.ends_with(" pinned\n"), "{pinned}");
    let again = bob.home.run(["peer", "pin", "--json", "Talk@LISTS.example", &list.key], b"").exits(0).text();
    let again: Value = serde_json::from_str(&again).unwrap();
    assert_eq!((&again["list"], &again["result"]), (&LIST.into(), &"was pinned already".into()));
    let listed = bob.home.run(["peer", "list"], b"").exits(0).text();
    assert!(listed.contains(LIST) && listed.contains(&list.key), "{listed}");
    assert_eq!(bob.home.run(["peer", "list", "--json", "nothing"], b"").exits(0).text(), "");
    // An address with a key of the user's own is no list, and a list that the user runs needs no pin.
    let said = bob.home.run(["peer", "pin", BOB, &list.key], b"").exits(65).stderr;
    assert!(said.contains("peer key new --list"), "{said}");
    let said = list.owner.home.run(["peer", "unpin", LIST], b"").exits(65).stderr;
    assert!(said.contains("you run this list"), "{said}");
    let said = bob.home.run(["peer", "key", "new", "--list", LIST], b"").exits(73).stderr;
    assert!(said.contains("peer unpin"), "{said}");
    list.owner.home.run(["peer", "key", "new", "--list", LIST], b"").exits(73);
    for number in 1..=3 {
        let key = SecretKey::from_random(&[number; 32]).public().to_string();
        bob.home.run(["peer", "pin", LIST, &key], b"").exits(0);
    }
    let fifth = SecretKey::from_random(&[9; 32]).public().to_string();
    bob.home.run(["peer", "pin", LIST, &fifth], b"").exits(73);
    bob.home.run(["peer", "unpin", LIST, &fifth], b"").exits(65);
    let id = again["id"].as_str().unwrap();
    bob.home.run(["peer", "unpin", LIST, "--", id], b"").exits(0);
    let gone = bob.home.run(["peer", "unpin", LIST], b"").exits(0).text();
    assert_eq!(gone.lines().count(), 3);
    bob.home.run(["peer", "unpin", LIST], b"").exits(65);
    // The key of a list is shown as one, and is never announced.
    let shown = list.owner.home.run(["peer", "key", "show", "--json", LIST], b"").exits(0).text();
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&shown["list"], &shown["announcement"]), (&true.into(), &Value::Null));
}

#[test]
fn the_owner_gives_members_stamps_and_renews_them() {
    let list = MailingList::new();
    let give = |more: &[&str], code: i32| {
        let args = ["peer", "give", "--list", LIST, "--to", ALICE];
        list.owner.home.run(args.iter().chain(more).copied(), b"").exits(code)
    };
    let said = give(&[], 77).stderr;
    assert!(said.contains("is no correspondent") && said.contains("mailstamp peer accept"), "{said}");
    let said = list.owner.home.run(["peer", "accept", ALICE, &list.key], b"").exits(65).stderr;
    assert!(said.contains("the whole announcement"), "{said}");
    let alice = list.member_without_stamp(ALICE);
    list.owner.home.run(["peer", "give", "--list", OWNER, "--to", ALICE], b"").exits(65);
    list.owner.home.run(["peer", "give", "--list", "no@lists.example", "--to", ALICE], b"").exits(65);
    for args in [&["peer", "give"][..], &["peer", "give", "--list", LIST], &["peer", "give", ALICE, "--if-due"]] {
        list.owner.home.run(args.iter().copied(), b"").exits(64);
    }
    let gift = give(&["--if-due"], 0).stdout;
    let of = |name: &str| field(&gift, name).unwrap();
    assert_eq!((of("From"), of("To"), of("Auto-Submitted")), (LIST.into(), ALICE.into(), "auto-generated".into()));
    assert!(of("Digital-Stamp-Sealed").len() < 1_000);
    assert_eq!(give(&["--if-due"], 0).stdout, b"");
    // On request there is another one, as where the first was lost.
    let second: Value = serde_json::from_slice(&give(&["--json"], 0).stdout).unwrap();
    assert!(second["message"].as_str().unwrap().starts_with("Digital-Stamp-Sealed:"));
    let given = list.owner.knows(ALICE)["given"].as_array().unwrap().len();
    assert_eq!((given, second["serials"].as_array().unwrap().len()), (2, 1));
    // A reader who did not pin the list keeps nothing of it.
    assert_eq!(field(&alice.sends(LIST, "1", None), "Digital-Stamp"), None);
    alice.gets(&gift);
    assert_eq!(alice.knows(LIST)["state"], "list");
    let shown = alice.home.run(["peer", "show", LIST], b"").exits(0).text();
    assert!(shown.contains("it is opened when you next write to the list"), "{shown}");
    alice.gets(second["message"].as_str().unwrap().as_bytes());
    let post = alice.sends(LIST, "2", None);
    assert!(field(&post, "Digital-Stamp").is_some());
    let known = alice.knows(LIST);
    assert_eq!((&known["state"], known["held"].as_array().unwrap().len()), (&"list".into(), 1));
    assert_eq!(list.owner.gets_for(LIST, &post), "first-class peer");
    assert_eq!(list.reader(BOB).gets(&as_list_sends(&post)), "first-class peer");
    // The list's own mail takes no part in the exchange.
    let own = format!("From: {LIST}\nTo: {ALICE}\nDate: Sat, 21 Nov 2026 12:00:00 +0000\nMessage-ID: <o@l>\n\nhello\n");
    list.owner.home.run(["sendmail", "-i", "-f", LIST, "--", ALICE], own.as_bytes()).exits(0);
    assert_eq!(list.owner.next.calls().remove(0).copy, own);
}

#[test]
fn the_lists_stamp_goes_before_the_wallet() {
    let shop = Shop::open(10, &[]);
    let list = MailingList::new();
    let alice = list.member(ALICE);
    with_account(&alice.home, &shop);
    let post = alice.sends(LIST, "1", None);
    let stamp = field(&post, "Digital-Stamp").unwrap();
    assert_eq!(shop.balance(), 10);
    let text = format!("From: {ALICE}\nTo: {LIST}\nSubject: s\n\nhello\n");
    let affixed = alice.home.run(["affix", "--buy"], text.as_bytes()).exits(0).stdout;
    assert_eq!((field(&affixed, "Digital-Stamp").unwrap(), shop.balance()), (stamp.clone(), 10));
    let bob = list.reader(BOB);
    assert_eq!(bob.gets(&as_list_sends(&affixed)), "first-class peer");
    // A copy beside the post has a stamp of its own.
    let both = text.replacen("To: ", "Cc: bob@y.example\nTo: ", 1).replacen("Subject", "Message-ID: <2@x>\nSubject", 1);
    alice.home.run(["sendmail", "-t", "-i"], both.as_bytes()).exits(0);
    let calls = alice.next.calls();
    let of_list: Vec<bool> =
        calls.iter().map(|call| field(call.copy.as_bytes(), "Digital-Stamp").as_ref() == Some(&stamp)).collect();
    assert_eq!((of_list, shop.balance()), (vec![false, true], 9));
    // What is tried again is the same use.
    alice.next.ends("exit 75");
    let waiting = text.replacen("Subject", "Message-ID: <3@x>\nSubject", 1);
    let args = ["sendmail", "-i", "-f", ALICE, "--", LIST];
    alice.home.run(args, waiting.as_bytes()).exits(75);
    let first = alice.next.calls().remove(0).copy;
    alice.next.ends("exit 0");
    alice.home.run(["sendmail", "-q"], b"").exits(0);
    let second = alice.next.calls().remove(0).copy;
    assert_eq!(bob.gets(&as_list_sends(first.as_bytes())), "first-class peer");
    assert_eq!(bob.gets(&as_list_sends(second.as_bytes())), "first-class again");
}

#[test]
fn a_held_stamp_of_an_unpinned_list_is_not_used() {
    let list = MailingList::new();
    let alice = list.member(ALICE);
    let has_stamp = |id: &str| field(&alice.sends(LIST, id, None), "Digital-Stamp").is_some();
    let held = || alice.knows(LIST)["held"][0]["proven"].clone();
    assert!(has_stamp("1"));
    alice.home.run(["peer", "unpin", LIST], b"").exits(0);
    assert!(!has_stamp("2"));
    let shown = alice.home.run(["peer", "show", LIST], b"").exits(0).text();
    assert!(shown.contains("not used, since the key of the list that signed it is not pinned"), "{shown}");
    assert_eq!(held(), false);
    // Another key of the list does not bring it back.
    let other = SecretKey::from_random(&[1; 32]).public().to_string();
    alice.home.run(["peer", "pin", LIST, &other], b"").exits(0);
    assert!(!has_stamp("3"));
    alice.home.run(["peer", "pin", LIST, &list.key], b"").exits(0);
    assert!(has_stamp("4"));
    assert_eq!(held(), true);
    // What came and was not opened waits as long.
    alice.home.run(["peer", "unpin", LIST], b"").exits(0);
    alice.gets(&list.gift(ALICE));
    assert!(!has_stamp("5"));
}

#[cfg(feature = "daemon")]
#[test]
fn the_submission_server_uses_the_lists_stamp() {
    use crate::support::submission::{Submission, configure};
    let shop = Shop::open(10, &[]);
    let list = MailingList::new();
    let (alice, bob) = (list.member(ALICE), list.reader(BOB));
    with_account(&alice.home, &shop);
    let before = fs::read_to_string(alice.home.config()).unwrap();
    configure(&alice.home, &before, "");
    let server = Submission::start(&alice.home);
    let post = |id: &str| {
        format!(
            "From: {ALICE}\nTo: {LIST}\nCc: {BOB}\nDate: Sat, 21 Nov 2026 12:00:00 +0000\nMessage-ID: <{id}@x.example>\n\
             Subject: {id}\n\nhello\n"
        )
    };
    let posted = |id: &str, to: &[&str]| {
        let reply = server.send(ALICE, to, &post(id));
        assert!(reply.starts_with("250"), "{reply}");
        let mut calls = alice.next.calls();
        calls.retain(|call| call.to() == LIST);
        assert_eq!(calls.len(), 1);
        calls.remove(0).copy.into_bytes()
    };
    let first = posted("1", &[LIST]);
    assert_eq!(bob.gets(&as_list_sends(&first)), "first-class peer");
    // The copy beside the post has a bought stamp, and the post none.
    let second = posted("2", &[LIST, BOB]);
    assert_eq!((field(&second, "Digital-Stamp"), shop.balance()), (field(&first, "Digital-Stamp"), 9));
    assert_eq!(bob.gets(&as_list_sends(&second)), "first-class peer");
    // It is told nothing, and without the pin it gets a bought stamp, as any other recipient.
    assert_eq!(["Digital-Stamp-Key", "Digital-Stamp-Sealed"].map(|name| field(&second, name)), [None, None]);
    alice.home.run(["peer", "unpin", LIST], b"").exits(0);
    let third = posted("3", &[LIST]);
    assert_eq!((field(&third, "Digital-Stamp") == field(&first, "Digital-Stamp"), shop.balance()), (false, 8));
    server.end();
}

#[test]
fn a_list_is_no_correspondent_and_a_correspondent_no_list() {
    let list = MailingList::new();
    let alice = list.member(ALICE);
    let said = list.owner.home.run(["peer", "pin", ALICE, &list.key], b"").exits(65).stderr;
    assert!(said.contains("is a correspondent") && said.contains("peer drop"), "{said}");
    let said = list.reader(BOB).home.run(["peer", "end", LIST], b"").exits(65).stderr;
    assert!(said.contains("mailstamp peer unpin"), "{said}");
    // What a member ended is forgotten, and begins anew.
    alice.home.run(["peer", "end", LIST], b"").exits(0);
    alice.gets(&list.gift(ALICE));
    assert_eq!(field(&alice.sends(LIST, "1", None), "Digital-Stamp"), None);
    let said = alice.home.run(["peer", "accept", LIST], b"").exits(65).stderr;
    assert!(said.contains("mailstamp peer drop"), "{said}");
    alice.home.run(["peer", "drop", LIST], b"").exits(0);
    alice.gets(&list.gift(ALICE));
    assert!(field(&alice.sends(LIST, "2", None), "Digital-Stamp").is_some());
}

#[test]
fn explain_and_doctor_speak_of_lists() {
    let list = MailingList::new();
    let (alice, bob) = (list.member(ALICE), list.reader(BOB));
    let post = as_list_sends(&alice.sends(LIST, "1", None));
    let said = bob.home.run(["explain", "--recipient", BOB], &post).exits(0).text();
    assert!(said.contains(&format!("issuer {LIST}")) && said.contains("first-class"), "{said}");
    assert!(said.contains(&format!(", given to {ALICE}\n")), "{said}");
    let said = Person::new("dave@w.example").home.run(["explain"], &post).exits(0).text();
    assert_eq!(said.matches("that of a mailing list is accepted by \"peer pin\"").count(), 2, "{said}");
    let lines = |person: &Person| {
        let text = person.home.run(["doctor"], b"").text();
        text.lines().filter(|line| line.contains("lists")).map(str::to_owned).collect::<Vec<_>>().join("\n")
    };
    assert!(lines(&bob).contains("pinned: 1"), "{}", lines(&bob));
    assert!(lines(&list.owner).contains("run by you: 1"), "{}", lines(&list.owner));
    let both = list.readers(&[("bob", BOB), ("carol", "carol@z.example")]);
    assert!(lines(&both).contains("--recipient") && lines(&both).contains("peer key new"), "{}", lines(&both));
    let pins = bob.home.state().join("peer/lists.json");
    chmod(&pins, 0o666);
    assert!(lines(&bob).contains("is deferred"), "{}", lines(&bob));
    bob.home.run(["config", "check"], b"").exits(78);
    let judged = bob.home.run(["classify", "--recipient", BOB], &post).exits(75).stderr;
    assert!(judged.contains("lists.json"), "{judged}");
    chmod(&pins, 0o600);
    fs::write(&pins, "{}").unwrap();
    bob.home.run(["peer", "unpin", LIST], b"").exits(66);
}
