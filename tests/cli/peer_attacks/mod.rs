//! The attacks on correspondents' own keys, each by a third home that has the whole mail flow: it sees every message,
//! can change and repeat it, and has keys, stamps and an address of its own.

mod ends;
mod extremes;
mod lists;
mod losses;
pub mod person;

use crate::sendmail::account::with_account;
use crate::support::programs::field;
use crate::support::shop::Shop;
use crate::support::{Home, stamped};
use mailstamp::message::address::Address;
use mailstamp::message::fingerprint::Fingerprint;
use mailstamp::message::parse::Message;
use mailstamp::peer::gift::{Recipient, give};
use mailstamp::peer::sealing;
use mailstamp::stamp::holder_proof::Proof;
use mailstamp::stamp::serial::Serial;
use mailstamp::stamp::signing::SecretKey;
use person::{COVERED, Made, Person, domain, friends, friends_after, next_second, now, signed, without};

const ALICE: &str = "alice@x.example";
const BOB: &str = "bob@y.example";
const DAVE: &str = "dave@z.example";
const KEY: &str = "Digital-Stamp-Key";
const SEALED: &str = "Digital-Stamp-Sealed";
const STAMP: &str = "Digital-Stamp";
const USE: &str = "Digital-Stamp-Use";

/// Bob, to whom Dave's mail is let through: Bob wrote to Dave. Dave's software is this test.
fn bob_who_wrote_to_dave() -> Person {
    let bob = Person::new(BOB);
    bob.sends(DAVE, "0", None);
    bob
}

/// Dave's message with these fields, as it reaches Bob under a signature of Dave's domain that covers all.
fn from_dave(dave: &Made, id: &str, fields: &str) -> Vec<u8> {
    signed(&dave.letter(id, fields), "z.example", COVERED)
}

// BK6: each use has a nonce and the fingerprint of its message under Alice's signature.
#[test]
fn a_captured_use_fits_no_other_message() {
    let (alice, bob, last) = friends();
    let letter = signed(&alice.sends(BOB, "1", Some(&last)), "x.example", COVERED);
    let text = String::from_utf8(letter.clone()).unwrap();
    for (from, to) in [
        ("This is letter", "Buy this, letter"),
        ("From: alice@x.example", "From: eve@z.example"),
        ("Subject: 1\n", "Subject: 2\n"),
        ("To: bob@y.example", "To: eve@z.example"),
    ] {
        assert!(text.contains(from), "{from}");
        assert_eq!(bob.gets(text.replace(from, to).as_bytes()), "invalid bad-holder-proof", "{to}");
    }
    // The fields alone, on a message of the thief's.
    let fields: String = [STAMP, USE].map(|name| format!("{name}: {}\n", field(&letter, name).unwrap())).concat();
    let other = signed(&Made::new(DAVE, 1, 1, 0).letter("x", &fields), "z.example", COVERED);
    assert_eq!(bob.gets(&other), "invalid bad-holder-proof");
    // The stamp alone shows who gave it, and opens nothing.
    assert_eq!(bob.gets(&without(&letter, &[USE])), "invalid no-holder-proof");
    // What was captured before it came is the same message, once.
    assert_eq!(bob.gets(&letter), "first-class peer");
    assert_eq!(bob.gets(&letter), "first-class again");
    assert_eq!(bob.gets(text.replace("This is letter", "Buy this, letter").as_bytes()), "invalid bad-holder-proof");
}

// BK3, BK4
#[test]
fn only_the_holder_opens_a_sealed_stamp() {
    let (alice, bob, last) = friends();
    alice.home.run(["peer", "key", "rotate"], b"").exits(0);
    let (_, class) = alice.writes(&bob, "1", Some(&last));
    assert_eq!(class, "first-class peer");
    // Bob's answer brings a stamp for Alice's new key.
    let letter = signed(&bob.sends(ALICE, "2", None), "y.example", COVERED);
    assert!(field(&letter, SEALED).is_some());
    let opened = alice.home.run(["peer", "extract"], &letter).exits(0).text();
    assert!(opened.starts_with("v4.public."), "{opened}");
    assert!(!String::from_utf8_lossy(&letter).contains(opened.trim()));
    // A thief has keys of any address, also of Alice's.
    for address in ["eve@z.example", ALICE] {
        let eve = Person::new(address);
        eve.home.run(["peer", "extract"], &letter).exits(65);
        let asked = eve.sends(BOB, "3", None);
        assert_eq!(field(&asked, STAMP), None);
    }
    // With the stamp in clear text, no use of it can be signed.
    let bare = without(&Made::new(ALICE, 9, 9, 0).letter("4", ""), &[]);
    let thief = SecretKey::from_random(&[9; 32]);
    let token = mailstamp::stamp::token::Token::parse(opened.trim()).unwrap();
    let of = Fingerprint::of(&Message::parse(&bare));
    let proof = Proof::sign(&token, &of, &Serial::from_random([4; 16]), now(), &thief);
    let used = [format!("{USE}: {}\n", proof.as_str()).as_bytes(), &stamped(opened.trim(), &bare)].concat();
    assert_eq!(bob.gets(&signed(&used, "x.example", COVERED)), "invalid bad-holder-proof");
}

#[test]
fn a_forged_from_teaches_no_key() {
    let (bob, dave) = (bob_who_wrote_to_dave(), Made::new(DAVE, 1, 1, 0));
    let letter = |id: &str| dave.letter(id, &dave.field(&[]));
    // Nothing says who sent it; or a server says that another domain did, or that a network of Dave's did.
    let forged = [
        letter("1"),
        signed(&letter("2"), "e.example", COVERED),
        [b"Authentication-Results: mx.example; spf=pass smtp.mailfrom=z.example\n", &*letter("3")].concat(),
        [b"Authentication-Results: mx.example; dmarc=pass header.from=z.example\n", &*letter("4")].concat(),
        [b"Authentication-Results: mx.other.example; dkim=pass header.d=z.example\n", &*letter("5")].concat(),
        [b"Authentication-Results: mx.example; dkim=fail header.d=z.example\n", &*letter("6")].concat(),
    ];
    for (at, forged) in forged.iter().enumerate() {
        bob.gets(forged);
        assert_eq!(bob.states(DAVE), [""; 0], "{at}");
    }
    // Nor does a stranger teach anything under their own name.
    let eve = Made::new("eve@z.example", 2, 2, 0);
    assert_eq!(bob.gets(&signed(&eve.letter("7", &eve.field(&[])), "z.example", COVERED)), "unstamped no-stamp");
    assert!(bob.knows("eve@z.example").is_null());
    assert_eq!(bob.gets(&from_dave(&dave, "8", &dave.field(&[]))), "allowed rule");
    assert_eq!(bob.states(DAVE), ["new"]);
}

#[test]
fn two_announcements_are_none() {
    let (bob, dave, thief) = (bob_who_wrote_to_dave(), Made::new(DAVE, 1, 1, 0), Made::new(DAVE, 2, 2, 0));
    for fields in [
        dave.field(&[]) + &thief.field(&[]),
        thief.field(&[]) + &dave.field(&[]),
        dave.field(&[]) + &dave.field(&[]),
        dave.field(&[]) + &thief.field(&[]).to_lowercase().replacen("key: ", "KEY :", 1),
    ] {
        assert_eq!(bob.gets(&from_dave(&dave, "1", &fields)), "allowed rule");
        assert_eq!(bob.states(DAVE), [""; 0], "{fields}");
    }
}

#[test]
fn a_future_date_counts_as_now() {
    let bob = bob_who_wrote_to_dave();
    let (ahead, later) = (Made::new(DAVE, 1, 1, 1_000_000_000), Made::new(DAVE, 1, 2, 60));
    bob.gets(&from_dave(&ahead, "1", &ahead.field(&[])));
    let (known, before) = (bob.states(DAVE), bob.knows(DAVE));
    assert_eq!(known, ["new"]);
    // It is not newer than itself when it comes again, and later keys to seal to are taken.
    bob.gets(&from_dave(&ahead, "2", &ahead.field(&[])));
    assert_eq!(bob.knows(DAVE), before);
    let sealed = |id: &str| field(&bob.sends(DAVE, id, None), SEALED).unwrap();
    let dave = Address::parse(DAVE).unwrap();
    let me = Address::parse(BOB).unwrap();
    let opens = |text: &str, number: u8| {
        let secret = sealing::SealSecret::from_random(&[number; 32]);
        sealing::open(&text.split_whitespace().collect::<String>(), &me, &dave, &secret).is_ok()
    };
    let first = sealed("3");
    assert!(opens(&first, 1) && !opens(&first, 2));
    // The stamp was given; for the next one the key is another.
    bob.home.run(["peer", "drop", DAVE], b"").exits(0);
    bob.gets(&from_dave(&ahead, "4", &ahead.field(&[])));
    next_second();
    let later = Made { keys: mailstamp::peer::announcement::Keys { issued: now(), ..later.keys }, ..later };
    bob.gets(&from_dave(&later, "5", &later.field(&[])));
    let second = sealed("6");
    assert!(opens(&second, 2) && !opens(&second, 1));
}

#[test]
fn an_older_announcement_changes_nothing() {
    let (bob, old, new) = (bob_who_wrote_to_dave(), Made::new(DAVE, 1, 1, -900), Made::new(DAVE, 1, 2, -60));
    bob.gets(&from_dave(&new, "1", &new.field(&[])));
    let before = bob.knows(DAVE);
    assert_eq!(before["keys"].as_array().unwrap().len(), 1);
    bob.gets(&from_dave(&old, "2", &old.field(&[])));
    assert_eq!(bob.knows(DAVE)["keys"], before["keys"]);
    let text: String = field(&bob.sends(DAVE, "3", None), SEALED).unwrap().split_whitespace().collect();
    let (dave, me) = (Address::parse(DAVE).unwrap(), Address::parse(BOB).unwrap());
    let opens = |number: u8| sealing::open(&text, &me, &dave, &sealing::SealSecret::from_random(&[number; 32])).is_ok();
    assert!(opens(2) && !opens(1));
}

#[test]
fn an_announcement_speaks_for_its_own_address() {
    let (bob, dave) = (bob_who_wrote_to_dave(), Made::new(DAVE, 1, 1, 0));
    bob.sends("eve@z.example", "00", None);
    let eve = Made::new("eve@z.example", 2, 2, 0);
    // Dave's announcement in Eve's mail, which is authentic and let through.
    assert_eq!(bob.gets(&signed(&eve.letter("1", &dave.field(&[])), "z.example", COVERED)), "allowed rule");
    assert!(bob.states("eve@z.example").is_empty() && bob.states(DAVE).is_empty());
    // Two authors are none.
    let both = String::from_utf8(eve.letter("2", &eve.field(&[]))).unwrap();
    let both = both.replace("From: eve@z.example", "From: eve@z.example, dave@z.example");
    bob.gets(&signed(both.as_bytes(), "z.example", COVERED));
    assert!(bob.states("eve@z.example").is_empty() && bob.states(DAVE).is_empty());
}

#[test]
fn no_other_key_signs_in_my_name() {
    let (bob, thief) = (Person::new(BOB), SecretKey::from_random(&[9; 32]));
    let (me, eve) = (Address::parse(BOB).unwrap(), Address::parse("eve@z.example").unwrap());
    let holder = thief.public();
    let to = Recipient { address: &eve, holder: &holder, days: 90 };
    let (_, token) = give(&me, &thief, &to, Serial::from_random([1; 16]), now()).unwrap();
    let letter = Made::new("eve@z.example", 9, 9, 0).letter("1", "");
    let of = Fingerprint::of(&Message::parse(&letter));
    let proof = Proof::sign(&token, &of, &Serial::from_random([2; 16]), now(), &thief);
    let forged = [format!("{USE}: {}\n", proof.as_str()).as_bytes(), &stamped(token.as_str(), &letter)].concat();
    assert_eq!(bob.gets(&signed(&forged, "z.example", COVERED)), "unverified unknown-key");
    assert!(bob.knows("eve@z.example").is_null());
    // Who has no key at all has given no stamp.
    let none = Person::without_key(BOB, "");
    assert_eq!(none.gets(&signed(&forged, "z.example", COVERED)), "unverified unknown-vendor");
}

// BK2: keys and stamps go to contacts, never to a stranger.
#[test]
fn only_contacts_see_a_key() {
    let (alice, bob, _) = friends();
    for stranger in ["eve@z.example", "alice@y.example", "bob+x@y.example"] {
        let sent = alice.sends(stranger, stranger, None);
        assert!([KEY, SEALED, STAMP, USE].iter().all(|name| field(&sent, name).is_none()), "{stranger}");
    }
    // A copy that goes to both shows the one nothing of the other.
    let letter = format!("From: {ALICE}\nTo: {BOB}, eve@z.example\nMessage-ID: <9@x.example>\n\nhello\n");
    alice.home.run(["sendmail", "-i", "-f", ALICE, "--", BOB, "eve@z.example"], letter.as_bytes()).exits(0);
    let calls = alice.next.calls();
    assert!(calls[0].copy.contains(STAMP) && !calls[1].copy.contains(STAMP), "{}", calls[1].copy);
    drop(bob);
}

#[test]
fn each_address_has_a_key_of_its_own() {
    let home = Home::bare();
    home.configure("addresses = [\"alice@x.example\", \"a@w.example\"]\n[peers]\nenabled = true");
    for address in ["alice@x.example", "a@w.example"] {
        home.run(["peer", "key", "new", address], b"").exits(0);
    }
    let shown = home.run(["peer", "key", "show", "--json"], b"").exits(0).text();
    let value = |line: &str, name: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()[name].to_string();
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), 2);
    for name in ["address", "key", "announcement"] {
        assert_ne!(value(lines[0], name), value(lines[1], name), "{name}");
    }
}

#[test]
fn uses_of_a_stamp_are_capped_by_day() {
    // Before Bob has written to Alice twice since Bob gave her a stamp, it is three uses.
    for (letters, most) in [(5, 3), (6, 5)] {
        let (alice, bob, last) = friends_after(letters, "max_uses_per_day = 5\n");
        // One day, however long this takes.
        let at = now();
        let judged = |id: &str| {
            let letter = signed(&alice.sends(BOB, id, Some(&last)), "x.example", COVERED);
            (bob.gets_at(&letter, at), letter)
        };
        let all: Vec<(String, Vec<u8>)> = (0..7).map(|number| judged(&format!("u{number}"))).collect();
        let accepted = all.iter().take_while(|(class, _)| class == "first-class peer").count();
        // The fifth letter was the first use, unless that was yesterday.
        assert!((most - 1..=most).contains(&accepted), "{accepted} of {most}");
        assert!(all[accepted..].iter().all(|(class, _)| class == "used too-often"), "{all:?}");
        // A message that was accepted is so when it comes again, and is no further use.
        assert_eq!(bob.gets_at(&all[0].1, at), "first-class again");
        assert_eq!(bob.gets_at(&judged("more").1, at.plus(86_400)), "first-class peer");
    }
}

#[test]
fn an_ended_correspondent_is_refused() {
    let (alice, bob, last) = friends();
    let ended = bob.home.run(["peer", "end", ALICE], b"").exits(0).text();
    assert_eq!(ended, "alice@x.example: ended; stamps revoked: 1\n");
    let (letter, class) = alice.writes(&bob, "1", Some(&last));
    assert_eq!(class, "revoked by-recipient");
    assert!(field(&letter, STAMP).is_some());
    // Nothing is learned, given or announced, whatever comes.
    alice.home.run(["peer", "key", "rotate"], b"").exits(0);
    alice.writes(&bob, "2", Some(&last));
    assert_eq!((bob.knows(ALICE)["state"].clone(), bob.states(ALICE)), ("ended".into(), vec!["ended".to_owned()]));
    let answer = bob.sends(ALICE, "3", Some(&letter));
    assert!([KEY, SEALED, STAMP].iter().all(|name| field(&answer, name).is_none()));
    // The user's word begins it again, with a new stamp.
    bob.home.run(["peer", "accept", ALICE], b"").exits(0);
    let answer = signed(&bob.sends(ALICE, "4", Some(&letter)), domain(BOB), COVERED);
    assert!(field(&answer, SEALED).is_some());
}

#[test]
fn a_signature_that_does_not_name_the_field_changes_no_key() {
    let (alice, bob, last) = friends();
    let thief = Made::new(ALICE, 9, 9, 0);
    let letter = |id: &str| thief.letter(id, &thief.field(&[]));
    let short = format!(
        "Authentication-Results: mx.example; dkim=pass header.d=x.example header.b=Abcdefgh\n\
         DKIM-Signature: v=1; a=rsa-sha256; d=x.example; s=s; h={COVERED}; l=9; bh=AAAA; b=AbcdefghIJKL\n"
    );
    for forged in [
        signed(&letter("1"), "x.example", "From:Date:Message-ID:Subject"),
        signed(&letter("2"), "x.example", "From:Date:Digital-Stamp-Key"),
        [short.as_bytes(), &letter("3")].concat(),
        [b"Authentication-Results: mx.example; dkim=pass header.d=x.example\n", &*letter("4")].concat(),
    ] {
        bob.gets(&forged);
        assert_eq!(bob.states(ALICE), ["known"]);
    }
    // A signature that covers it is a reason to ask the user, and no more.
    bob.gets(&signed(&letter("5"), "x.example", COVERED));
    assert_eq!(
        (bob.states(ALICE), bob.knows(ALICE)["state"].clone()),
        (vec!["known".into(), "changed".into()], "changed".into())
    );
    assert_eq!(alice.writes(&bob, "6", Some(&last)).1, "first-class peer");
    let sent = bob.sends(ALICE, "7", None);
    assert_eq!(field(&sent, SEALED), None);
}

#[test]
fn first_keys_stand_side_by_side_until_one_is_used() {
    // Another user of Alice's domain is first: the domain's signature holds.
    let (alice, bob) = (Person::new(ALICE), Person::new(BOB));
    let thief = Made::new(ALICE, 9, 9, 0);
    bob.sends(ALICE, "1", None);
    alice.sends(BOB, "2", None);
    assert_eq!(bob.gets(&signed(&thief.letter("3", &thief.field(&[])), "x.example", COVERED)), "allowed rule");
    assert_eq!(bob.states(ALICE), ["new"]);
    let greeting = signed(&bob.sends(ALICE, "4", None), "y.example", COVERED);
    alice.gets(&greeting);
    let (letter, class) = alice.writes(&bob, "5", Some(&greeting));
    assert_eq!((class.as_str(), bob.states(ALICE)), ("allowed rule", vec!["new".to_owned(), "new".to_owned()]));
    // Bob's answer goes to the address alone, so its owner can use what it brings.
    let (answer, _) = bob.writes(&alice, "6", Some(&letter));
    assert!(field(&answer, SEALED).is_some());
    let (_, class) = alice.writes(&bob, "7", Some(&answer));
    assert_eq!((class.as_str(), bob.states(ALICE)), ("first-class peer", vec!["known".to_owned()]));
    assert_eq!(bob.knows(ALICE)["keys"][0]["key"], alice.keys()[0].as_str());
}

#[test]
fn automatic_mail_neither_announces_nor_gives() {
    let (alice, bob, last) = friends();
    for fields in ["Auto-Submitted: auto-replied\n", "Precedence: bulk\n"] {
        let sent = alice.sends_with(BOB, "1", Some(&last), fields);
        assert!([KEY, SEALED, STAMP, USE].iter().all(|name| field(&sent, name).is_none()), "{fields}");
    }
    // What a program sends teaches nothing either, nor does a bounce.
    let wrote = bob_who_wrote_to_dave();
    let dave = Made::new(DAVE, 1, 1, 0);
    for (fields, sender) in [
        ("Auto-Submitted: auto-generated\n", "x@z.example"),
        ("Precedence: list\n", "x@z.example"),
        ("List-Id: <l.z.example>\n", "x@z.example"),
        ("", "<>"),
        ("", ""),
    ] {
        let letter = from_dave(&dave, "2", &(dave.field(&[]) + fields));
        wrote.home.run(["classify", "--recipient", BOB, "--sender", sender], &letter);
        assert!(wrote.knows(DAVE).is_null(), "{fields}{sender}");
    }
    drop(bob);
}

// A gift costs its maker nothing, so a forged one must not take the place of a good one.
#[test]
fn a_false_gift_is_not_used() {
    let (alice, bob, last) = friends();
    let thief = SecretKey::from_random(&[9; 32]);
    let (me, other) = (Address::parse(ALICE).unwrap(), Address::parse(BOB).unwrap());
    // Everyone to whom Alice wrote knows her key to seal to.
    let (alice_keys, announced) =
        (alice.keys(), alice.home.run(["peer", "key", "show", "--json"], b"").exits(0).text());
    let line: serde_json::Value = serde_json::from_str(announced.lines().last().unwrap()).unwrap();
    let seen = mailstamp::peer::announcement::Announcement::parse(line["announcement"].as_str().unwrap()).unwrap();
    assert_eq!(seen.keys.signing.to_string(), alice_keys[0]);
    let to = Recipient { address: &me, holder: &seen.keys.signing, days: 90 };
    let (_, token) = give(&other, &thief, &to, Serial::from_random([1; 16]), now().plus(60)).unwrap();
    let sealed = sealing::seal(&token, &other, &me, &seen.keys.sealing, &[7; 32]).unwrap();
    let forged = String::from_utf8(Made::new(BOB, 9, 9, 0).letter("1", &format!("{SEALED}: {sealed}\n"))).unwrap();
    let forged = forged.replace("To: bob@y.example", "To: alice@x.example");
    alice.gets(&signed(forged.as_bytes(), "y.example", COVERED));
    let (_, class) = alice.writes(&bob, "2", Some(&last));
    assert_eq!(class, "first-class peer");
    assert_eq!(alice.knows(BOB)["held"].as_array().unwrap().len(), 1);
}

// Another user of Bob's domain sends under Bob's address, with the signature of the domain, before Bob's key is known.
#[test]
fn a_false_gift_under_a_new_key_spares_no_purchase() {
    let shop = Shop::open(10, &[]);
    let (alice, thief) = (Person::new(ALICE), Made::new(BOB, 9, 9, 0));
    with_account(&alice.home, &shop);
    // Alice's message to the thief, whose Message-ID the thief knows, and one to Bob alone.
    let to_thief = alice.sends("eve@y.example", "1", None);
    let to_bob = alice.sends(BOB, "2", None);
    assert_eq!(shop.balance(), 8);
    let announced = alice.home.run(["peer", "key", "show", "--json"], b"").exits(0).text();
    let announced: serde_json::Value = serde_json::from_str(announced.trim()).unwrap();
    let announced = announced["announcement"].as_str().unwrap();
    let alices = mailstamp::peer::announcement::Announcement::parse(announced).unwrap().keys;
    let (me, other) = (Address::parse(ALICE).unwrap(), Address::parse(BOB).unwrap());
    let answer = |number: u8, answered: &[u8]| {
        let to = Recipient { address: &me, holder: &alices.signing, days: 90 };
        let issued = now().plus(i64::from(number));
        let (_, token) = give(&other, &thief.secret, &to, Serial::from_random([number; 16]), issued).unwrap();
        let sealed = sealing::seal(&token, &other, &me, &alices.sealing, &[number; 32]).unwrap();
        let id = field(answered, "Message-ID").unwrap();
        let fields = format!("{}{SEALED}: {sealed}\nIn-Reply-To: {id}\n", thief.field(&[]));
        let answer = String::from_utf8(thief.letter(&format!("a{number}"), &fields)).unwrap();
        signed(answer.replace("To: bob@y.example", "To: alice@x.example").as_bytes(), "y.example", COVERED)
    };
    let is_proven = || alice.knows(BOB)["held"].as_array().unwrap().iter().any(|held| held["proven"] == true);
    assert_eq!(alice.gets(&answer(1, &to_thief)), "allowed rule");
    assert_eq!(alice.states(BOB), ["new"]);
    alice.sends(BOB, "3", None);
    assert_eq!((shop.balance(), is_proven()), (7, false));
    // An answer to what Bob alone got is Bob's, but only the first one: others may have read that.
    alice.gets(&answer(2, &to_bob));
    alice.sends(BOB, "4", None);
    assert_eq!((shop.balance(), is_proven()), (7, true));
    // A message that others got, too, shows nothing, whether they stand in its fields or not.
    let both = format!("From: {ALICE}\nTo: {BOB}, eve@y.example\nMessage-ID: <5@x.example>\n\nhello\n");
    alice.home.run(["peer", "drop", BOB], b"").exits(0);
    alice.home.run(["sendmail", "-i", "-f", ALICE, "--", BOB], both.as_bytes()).exits(0);
    let hidden = both.replacen(", eve@y.example", "", 1).replacen("<5@", "<6@", 1);
    alice.home.run(["sendmail", "-i", "-f", ALICE, "--", BOB, "eve@y.example"], hidden.as_bytes()).exits(0);
    alice.next.calls();
    alice.gets(&answer(3, both.as_bytes()));
    alice.gets(&answer(4, hidden.as_bytes()));
    alice.sends(BOB, "7", None);
    assert!(alice.knows(BOB)["held"].as_array().is_some_and(|held| !held.is_empty()) && !is_proven());
}

#[test]
fn a_revocation_appoints_nobody() {
    let (alice, bob, last) = friends();
    let eve = Person::without_key(ALICE, "");
    eve.steals_keys(&alice);
    // The thief revokes first, and announces a key of their own.
    eve.home.run(["peer", "key", "new", "--compromised"], b"").exits(0);
    let stolen = Made::new(ALICE, 9, 9, 0);
    let fields = format!("{KEY}: {}\n", announcement(&eve));
    bob.gets(&signed(&stolen.letter("1", &fields), "x.example", COVERED));
    assert_eq!(bob.states(ALICE), ["revoked", "new"]);
    // Neither the old key nor the new one opens anything by itself.
    assert_ne!(alice.writes(&bob, "2", Some(&last)).1, "first-class peer");
    // Bob's next message gives to the address, which is Alice's. She has another key by then, and it stands beside.
    alice.home.run(["peer", "key", "new", "--compromised"], b"").exits(0);
    let fields = format!("{KEY}: {}\n", announcement(&alice));
    bob.gets(&signed(&stolen.letter("3", &fields), "x.example", COVERED));
    let known = bob.states(ALICE);
    assert!(!known.contains(&"known".to_owned()), "{known:?}");
}

#[test]
fn a_second_successor_is_a_fork() {
    let (alice, bob, last) = friends();
    let eve = Person::without_key(ALICE, "");
    eve.steals_keys(&alice);
    for one in [&alice, &eve] {
        one.home.run(["peer", "key", "rotate"], b"").exits(0);
    }
    let made = Made::new(ALICE, 9, 9, 0);
    let announces = |id: &str, of: &Person| made.letter(id, &format!("{KEY}: {}\n", announcement(of)));
    bob.gets(&signed(&announces("1", &eve), "x.example", COVERED));
    assert_eq!(bob.states(ALICE), ["past", "known"]);
    bob.gets(&signed(&announces("2", &alice), "x.example", COVERED));
    assert_eq!(bob.states(ALICE), ["past", "forked", "changed"]);
    assert_eq!(bob.knows(ALICE)["state"], "forked");
    // Nothing is given until the user decides.
    assert_eq!(field(&bob.sends(ALICE, "3", Some(&last)), SEALED), None);
    let id = bob.knows(ALICE)["keys"][2]["id"].as_str().unwrap().to_owned();
    bob.home.run(["peer", "accept", ALICE, "--", &id], b"").exits(0);
    assert_eq!(bob.states(ALICE).last().unwrap(), "known");
    assert!(field(&bob.sends(ALICE, "4", Some(&last)), SEALED).is_some());
}

/// The announcement of a person's active key.
fn announcement(of: &Person) -> String {
    let shown = of.home.run(["peer", "key", "show", "--json"], b"").exits(0).text();
    let lines = shown.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.filter_map(|line| line["announcement"].as_str().map(str::to_owned)).next_back().unwrap()
}
