//! `mailstamp peer`, and what `sendmail` and `affix` put on a copy: keys, gifts, uses, and what a run that is repeated
//! sends.

use crate::peer_attacks::person::{COVERED, Person, domain, friends, next_second, signed};
use crate::sendmail::account::with_account;
use crate::support::programs::field;
use crate::support::shop::Shop;
use crate::support::{ALICE, Home};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;

const BOB: &str = "bob@y.example";
const FIELDS: [&str; 4] = ["Digital-Stamp", "Digital-Stamp-Use", "Digital-Stamp-Key", "Digital-Stamp-Sealed"];

/// Which fields of the exchange a copy has.
fn fields(copy: &[u8]) -> [bool; 4] {
    FIELDS.map(|name| field(copy, name).is_some())
}

fn letter(id: &str, to: &str) -> String {
    format!(
        "From: {ALICE}\nTo: {to}\nDate: Sat, 21 Nov 2026 12:00:00 +0000\nMessage-ID: <{id}@mail.example>\n\
         Subject: {id}\n\nhello\n"
    )
}

/// A line that Postfix does not send whole.
fn long_line() -> String {
    "word ".repeat(500)
}

/// What Postfix sends of it (smtp_line_length_limit).
fn as_postfix_breaks(line: &str) -> String {
    let (first, rest) = line.split_at(998);
    let rest = rest.as_bytes().chunks(997).map(|part| format!("\n {}", std::str::from_utf8(part).unwrap()));
    first.to_owned() + &rest.collect::<String>()
}

// BK7
#[test]
fn keys_are_made_shown_rotated_and_carried() {
    let home = Home::bare();
    home.configure(&format!("addresses = [{ALICE:?}, \"a@x.example\", \"*@w.example\"]\n"));
    let said = home.run(["peer", "key", "new"], b"").exits(64).stderr;
    assert!(said.contains("you have several addresses"), "{said}");
    let said = Home::bare().run(["peer", "key", "new"], b"").exits(64).stderr;
    assert!(said.contains("names no address of yours"), "{said}");
    home.run(["peer", "key", "new", "eve@z.example"], b"").exits(64);
    home.run(["peer", "key", "rotate"], b"").exits(64);
    home.run(["peer", "key", "show", ALICE], b"").exits(65);
    let made = home.run(["peer", "key", "new", ALICE], b"").exits(0);
    assert!(made.stderr.contains("[peers] enabled = true"), "{}", made.stderr);
    let made = made.text();
    let words: Vec<&str> = made.split_whitespace().collect();
    assert_eq!((words.len(), words[0], words[1]), (4, ALICE, "active"));
    assert!(words[3].starts_with("k4.public."));
    let said = home.run(["peer", "key", "new", ALICE], b"").exits(73).stderr;
    assert!(said.contains("peer key rotate"), "{said}");
    home.run(["peer", "key", "rotate"], b"").exits(0);
    home.run(["peer", "key", "new", "someone@w.example"], b"").exits(0);
    home.run(["peer", "key", "rotate"], b"").exits(64);
    home.run(["peer", "key", "new", "--compromised", ALICE], b"").exits(0);
    let shown = home.run(["peer", "key", "show", "--json", ALICE], b"").exits(0).text();
    let keys: Vec<Value> = shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let words: Vec<&str> = keys.iter().map(|key| key["status"].as_str().unwrap()).collect();
    assert_eq!(words, ["retired", "revoked", "active"]);
    assert_eq!(keys.iter().filter(|key| !key["announcement"].is_null()).count(), 1);
    assert!(!keys[1]["revoked"].is_null() && !shown.contains("secret"));
    assert_eq!(home.run(["peer", "key", "show"], b"").exits(0).text().lines().count(), 4);

    let files = home.state().join("peer");
    for name in [format!("{ALICE}.json"), "someone@w.example.json".to_owned(), "own.json".to_owned()] {
        let mode = fs::metadata(files.join(&name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{name}");
    }
    assert!(!fs::read_to_string(files.join("own.json")).unwrap().contains("secret"));

    let carried = home.file("keys.json");
    let carried = carried.to_str().unwrap();
    home.run(["peer", "export", carried], b"").exits(0);
    home.run(["peer", "export", carried], b"").exits(74);
    let other = Home::bare();
    other.configure(&format!("addresses = [{ALICE:?}, \"*@w.example\"]\n"));
    other.run(["peer", "import", carried], b"").exits(0);
    assert_eq!(other.run(["peer", "key", "show", "--json", ALICE], b"").exits(0).text(), shown);
    other.run(["peer", "key", "rotate", ALICE], b"").exits(0);
    // What this host has is later.
    let before = other.run(["peer", "key", "show", "--json"], b"").text();
    other.run(["peer", "import", carried], b"").exits(0);
    assert_eq!(other.run(["peer", "key", "show", "--json"], b"").text(), before);
    let third = Home::bare();
    third.configure(&format!("addresses = [{ALICE:?}]\n"));
    third.run(["peer", "key", "new"], b"").exits(0);
    let said = third.run(["peer", "import", carried], b"").exits(65).stderr;
    assert!(said.contains("different histories"), "{said}");
    fs::set_permissions(carried, fs::Permissions::from_mode(0o640)).unwrap();
    third.run(["peer", "import", carried], b"").exits(66);
}

// BK2
#[test]
fn strangers_are_given_nothing() {
    let alice = Person::new(ALICE);
    let refused = |to: &str, why: &str| {
        let said = alice.home.run(["peer", "give", to], b"").exits(77).stderr;
        assert!(said.contains(why), "{said}");
    };
    refused(BOB, "is no correspondent");
    assert_eq!(fields(&alice.sends(BOB, "1", None)), [false; 4]);
    // A contact without a key.
    let bob = Person::without_key(BOB, "");
    bob.writes(&alice, "2", None);
    refused(BOB, "no key of theirs");
    // The contact stands, so the key is announced, and nothing can be given.
    assert_eq!(fields(&alice.sends(BOB, "3", None)), [false, false, true, false]);
}

#[test]
fn a_gift_on_request_goes_with_the_next_message_once() {
    let alice = Person::with(ALICE, "give = \"ask\"\n");
    let bob = Person::new(BOB);
    alice.writes(&bob, "1", None);
    bob.writes(&alice, "2", None);
    let (last, class) = alice.writes(&bob, "3", None);
    assert_eq!(class, "allowed rule");
    bob.writes(&alice, "4", Some(&last));
    assert!(!fields(&alice.sends(BOB, "5", None))[3]);
    let asked = alice.home.run(["peer", "give", "--json", BOB], b"").exits(0).text();
    assert!(asked.contains("\"asked\":true"), "{asked}");
    // Where the next program does not take the message, the same gift waits with it.
    alice.next.ends("exit 75");
    let waiting = letter("6", BOB);
    let send = |code| {
        alice.home.run(["sendmail", "-i", "-f", ALICE, "--", BOB], waiting.as_bytes()).exits(code);
        alice.next.calls().remove(0).copy
    };
    let first = send(75);
    assert_eq!(fields(first.as_bytes()), [true; 4]);
    let size: usize = FIELDS[2..].iter().map(|name| field(first.as_bytes(), name).unwrap().len()).sum();
    assert!(size < 2_048, "{size} bytes");
    // The signature of the use has another time; all else is as it was.
    let kept = |copy: &str| {
        ["Digital-Stamp", "Digital-Stamp-Key", "Digital-Stamp-Sealed"].map(|name| field(copy.as_bytes(), name))
    };
    assert_eq!(kept(&send(75)), kept(&first));
    alice.next.ends("exit 0");
    assert_eq!(kept(&send(0)), kept(&first));
    assert!(!fields(&alice.sends(BOB, "7", None))[3]);
    let given = alice.knows(BOB)["given"].as_array().unwrap().len();
    assert_eq!(given, 1);
}

// A gift under a new key counts in an answer only, and a program cannot tell which message will be answered.
#[test]
fn friends_who_wrote_no_answers_get_there_with_the_first_one() {
    let (alice, bob) = (Person::new(ALICE), Person::new(BOB));
    let write = |number: usize, answers: Option<&[u8]>| {
        let (from, to) = if number % 2 == 1 { (&alice, &bob) } else { (&bob, &alice) };
        from.writes(to, &number.to_string(), answers)
    };
    let all: Vec<_> = (1..=6).map(|number| write(number, None)).collect();
    assert_eq!(all[5].1, "allowed rule");
    let waits = alice.home.run(["peer", "show", BOB], b"").exits(0).text();
    assert!(waits.contains("it came in no answer to you"), "{waits}");
    let (seventh, _) = write(7, Some(&all[5].0));
    assert!(fields(&seventh)[3]);
    assert_eq!(write(8, Some(&seventh)).1, "first-class peer");
    // Alice knows Bob's key now, and so the stamp that waited.
    for number in 9..=12 {
        let (letter, class) = write(number, None);
        assert_eq!((class.as_str(), fields(&letter)[3]), ("first-class peer", false));
    }
    assert_eq!(alice.knows(BOB)["sealed"], 0);
    let (thirteenth, _) = write(13, Some(&seventh));
    assert!(!fields(&thirteenth)[3]);
}

// What mailstamp-peer(1) tells its readers to write.
#[test]
fn the_configurations_of_the_page_are_accepted() {
    let page = include_str!("../../man/mailstamp-peer.1");
    let blocks = page.split(".Bd -literal -offset indent\n").skip(1).map(|rest| rest.split(".Ed\n").next().unwrap());
    let (rules, tables): (Vec<&str>, Vec<&str>) = blocks
        .filter(|block| block.contains(" = ") && block.contains("["))
        .partition(|block| block.contains("[[rule]]"));
    assert_eq!((rules.len(), tables.len()), (1, 3));
    let home = Home::bare();
    for table in &tables {
        let password = home.file("submission-password");
        fs::write(&password, "a secret: word\n").unwrap();
        fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
        let table = table.replace("/home/joe/.config/mailstamp/submission-password", password.to_str().unwrap());
        home.configure(&format!("addresses = [{ALICE:?}]\n{table}"));
        fs::write(home.file(".config/mailstamp/rules.toml"), rules[0]).unwrap();
        home.run(["config", "check"], b"").exits(0);
    }
    // Nothing is bought then, for any recipient.
    let person = Person::new(ALICE);
    let text = fs::read_to_string(person.home.config()).unwrap();
    let none = tables.iter().find(|table| table.contains("none = ")).unwrap().lines().last().unwrap();
    person.home.configure(&text.replacen("when_away = \"plain\"", none, 1));
    assert_eq!(fields(&person.sends(BOB, "1", None)), [false; 4]);
}

#[test]
fn a_gift_on_a_copy_that_was_refused_is_given_again() {
    let alice = Person::new(ALICE);
    let bob = Person::new(BOB);
    alice.writes(&bob, "1", None);
    bob.writes(&alice, "2", None);
    let (last, _) = alice.writes(&bob, "3", None);
    bob.writes(&alice, "4", Some(&last));
    alice.next.ends("exit 67");
    let text = letter("5", BOB);
    alice.home.run(["sendmail", "-i", "-f", ALICE, "--", BOB], text.as_bytes()).exits(67);
    let gift = |copy: &[u8]| field(copy, "Digital-Stamp-Sealed").unwrap();
    let refused = gift(alice.next.calls().remove(0).copy.as_bytes());
    alice.next.ends("exit 0");
    let sent = alice.sends(BOB, "6", None);
    assert_ne!(gift(&sent), refused);
    assert!(!fields(&alice.sends(BOB, "7", None))[3]);
}

#[test]
fn each_address_of_the_user_has_a_key_and_a_stamp_of_its_own() {
    const OTHER: &str = "anna@x.example";
    let (alice, bob, _) = friends();
    let text = fs::read_to_string(alice.home.config()).unwrap();
    alice.home.configure(&text.replacen(&format!("[{ALICE:?}]"), &format!("[{ALICE:?}, {OTHER:?}]"), 1));
    alice.home.run(["peer", "key", "new", OTHER], b"").exits(0);
    let from = |address: &str, id: &str| {
        let text = letter(id, BOB).replacen(ALICE, address, 1);
        alice.home.run(["sendmail", "-i", "-f", address, "--", BOB], text.as_bytes()).exits(0);
        signed(alice.next.calls().remove(0).copy.as_bytes(), domain(address), COVERED)
    };
    let first = from(OTHER, "1");
    assert_eq!(&fields(&first)[1..], [false, true, true]);
    let announced = alice.home.run(["peer", "key", "show", "--json", OTHER], b"").exits(0).text();
    let announced: Value = serde_json::from_str(&announced).unwrap();
    bob.home.run(["peer", "accept", OTHER, announced["announcement"].as_str().unwrap()], b"").exits(0);
    let answer = signed(&bob.sends(OTHER, "2", None), "y.example", COVERED);
    assert!(fields(&answer)[3]);
    let judged = alice.home.run(["classify", "--recipient", OTHER], &answer);
    assert!(judged.text().starts_with("unstamped") || judged.text().starts_with("first-class"), "{}", judged.text());
    // Both can be used now, in turn, and nothing new is announced or given each time.
    for (at, address) in [OTHER, ALICE, OTHER, ALICE].into_iter().enumerate() {
        let arrived = from(address, &format!("t{at}"));
        assert_eq!(bob.gets(&arrived), "first-class peer", "{at} {address}");
    }
}

#[test]
fn a_copy_that_is_sent_again_is_the_same_use() {
    let (alice, bob, _) = friends();
    alice.next.ends("exit 75");
    let text = letter("1", BOB);
    let args = ["sendmail", "-i", "-f", ALICE, "--", BOB];
    alice.home.run(args, text.as_bytes()).exits(75);
    let first = alice.next.calls().remove(0).copy.into_bytes();
    assert_eq!(&fields(&first)[..2], [true, true]);
    // Later, so that the signature has another time.
    next_second();
    alice.next.ends("exit 0");
    alice.home.run(["sendmail", "-q"], b"").exits(0);
    let second = alice.next.calls().remove(0).copy.into_bytes();
    assert_eq!(field(&first, "Digital-Stamp"), field(&second, "Digital-Stamp"));
    let arrived = |copy: &[u8]| bob.gets(&signed(copy, domain(ALICE), COVERED));
    assert_eq!((arrived(&first), arrived(&second)), ("first-class peer".into(), "first-class again".into()));
    // The same text as another message is another use.
    alice.home.run(args, letter("2", BOB).as_bytes()).exits(0);
    let third = alice.next.calls().remove(0).copy.into_bytes();
    assert_eq!(arrived(&third), "first-class peer");
    // A server breaks long lines: the use holds for what arrives.
    let long = letter("3", BOB) + &long_line() + "\n";
    alice.home.run(args, long.as_bytes()).exits(0);
    let copy = alice.next.calls().remove(0).copy;
    let broken = copy.replace(&long_line(), &as_postfix_breaks(&long_line()));
    assert_ne!(broken, copy);
    let classes = [&copy, &broken, &copy].map(|message| arrived(message.as_bytes()));
    assert_eq!(classes, ["first-class peer", "first-class again", "first-class again"]);
    // What arrives broken alone is as good.
    let long = letter("4", BOB) + &long_line() + "\n";
    alice.home.run(args, long.as_bytes()).exits(0);
    let copy = alice.next.calls().remove(0).copy;
    assert_eq!(arrived(copy.replace(&long_line(), &as_postfix_breaks(&long_line())).as_bytes()), "first-class peer");
}

#[test]
fn the_recipients_stamp_goes_before_the_wallet() {
    let shop = Shop::open(10, &[]);
    let (alice, bob, _) = friends();
    with_account(&alice.home, &shop);
    bob.home
        .run(
            ["trust", "add", "-"],
            &serde_json::to_vec(&shop.ledger().published(mailstamp::os::clock::now()).unwrap()).unwrap(),
        )
        .exits(0);
    let text = letter("1", BOB);
    let stamped = alice.home.run(["affix", "--buy"], text.as_bytes()).exits(0).stdout;
    assert_eq!((&fields(&stamped)[..2], shop.balance()), (&[true, true][..], 10));
    assert_eq!(bob.gets(&signed(&stamped, domain(ALICE), COVERED)), "first-class peer");
    // What "affix" made is sent as it is.
    alice.home.run(["sendmail", "-i", "-f", ALICE, "--", BOB], &stamped).exits(0);
    assert_eq!(alice.next.calls().remove(0).copy.as_bytes(), stamped);
    // In the body nothing says who uses it.
    let body = alice.home.run(["affix", "--buy", "--place", "body"], text.as_bytes()).exits(0).stdout;
    assert_eq!((fields(&body), shop.balance()), ([false; 4], 9));
    // Each recipient of one message gets a stamp of their own: Bob's, and a bought one.
    let two = letter("2", "bob@y.example, carol@z.example");
    alice.home.run(["sendmail", "-t", "-i"], two.as_bytes()).exits(0);
    let calls = alice.next.calls();
    let uses: Vec<bool> = calls.iter().map(|call| fields(call.copy.as_bytes())[1]).collect();
    assert_eq!((uses, shop.balance()), (vec![true, false], 8));
    assert!(calls.iter().all(|call| fields(call.copy.as_bytes())[0]));
    // A bought stamp tells its reader the key.
    assert!(fields(calls[1].copy.as_bytes())[2]);
}

#[test]
fn mail_of_programs_and_mail_without_the_exchange_stay_as_they_are() {
    let (alice, bob, _) = friends();
    let automatic = alice.sends_with(BOB, "1", None, "Auto-Submitted: auto-replied\n");
    assert_eq!(fields(&automatic), [false; 4]);
    let text = letter("2", BOB);
    alice.home.run(["sendmail", "-i", "-f", "<>", "--", BOB], text.as_bytes()).exits(0);
    assert_eq!(alice.next.calls().remove(0).copy, text);
    // From with two authors, and one who is not the user.
    for from in ["alice@x.example, carol@x.example", "carol@z.example"] {
        let text = letter("3", BOB).replacen(ALICE, from, 1);
        alice.home.run(["sendmail", "-i", "-f", ALICE, "--", BOB], text.as_bytes()).exits(0);
        assert_eq!(alice.next.calls().remove(0).copy, text);
    }
    // Key files that others can read are refused by name, and the message waits.
    let path = alice.home.state().join(format!("peer/{ALICE}.json"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let said = alice.home.run(["sendmail", "-i", "-f", ALICE, "--", BOB], letter("4", BOB).as_bytes()).exits(75).stderr;
    assert!(said.contains("chmod 600"), "{said}");
    let doctor = alice.home.run(["doctor"], b"").text();
    assert!(doctor.lines().any(|line| line.starts_with("error") && line.contains("chmod 600")), "{doctor}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    alice.home.run(["sendmail", "-q"], b"").exits(0);
    let sent = alice.next.calls().remove(0).copy;
    assert_eq!(bob.gets(&signed(sent.as_bytes(), domain(ALICE), COVERED)), "first-class peer");
}

#[test]
fn a_lost_key_has_to_be_accepted_and_a_stolen_one_ends() {
    let (alice, bob, last) = friends();
    // Lost: nothing links the new key.
    fs::remove_dir_all(alice.home.state().join("peer")).unwrap();
    alice.home.run(["peer", "key", "new"], b"").exits(0);
    let (_, class) = alice.writes(&bob, "1", Some(&last));
    assert_eq!(
        (class.as_str(), bob.states(ALICE)),
        ("unstamped no-stamp", vec!["known".to_owned(), "changed".to_owned()])
    );
    bob.home.run(["peer", "accept", ALICE], b"").exits(0);
    bob.writes(&alice, "2", None);
    assert_eq!(alice.writes(&bob, "3", None).1, "first-class peer");
    // Stolen: what it signed is over on both sides, and a new stamp is given to the next key.
    alice.home.run(["peer", "key", "new", "--compromised"], b"").exits(0);
    assert_eq!(alice.writes(&bob, "4", None).1, "unstamped no-stamp");
    assert_eq!(bob.states(ALICE).iter().filter(|state| *state == "revoked").count(), 1);
    let answer = signed(&bob.sends(ALICE, "5", None), "y.example", COVERED);
    // The stamp that the revoked key signed is not used any more.
    assert_eq!(alice.gets(&answer), "unstamped no-stamp");
    assert_eq!(alice.writes(&bob, "6", None).1, "first-class peer");
}

#[test]
fn doctor_says_what_the_exchange_lacks() {
    let rows = |home: &Home| -> Vec<String> {
        let said = home.run(["doctor"], b"").text();
        said.lines().filter(|line| line.contains("  peers  ")).map(str::to_owned).collect()
    };
    let home = Home::new();
    assert_eq!(rows(&home), [""; 0]);
    home.configure(&format!("addresses = [{ALICE:?}]\n[peers]\nenabled = true\n"));
    let said = rows(&home).concat();
    assert!(said.contains("peer key new") && said.contains("trusted_authserv_ids"), "{said}");
    home.run(["peer", "key", "new"], b"").exits(0);
    assert!(rows(&home).concat().contains("keys are exchanged, for addresses: 1"));
    // Judging would not know the user's own stamps. The keys themselves write it anew.
    fs::remove_file(home.state().join("peer/own.json")).unwrap();
    assert!(rows(&home).concat().contains("own.json lacks a key"));
    let carried = home.file("keys");
    for command in ["export", "import"] {
        home.run(["peer", command, carried.to_str().unwrap()], b"").exits(0);
    }
    assert!(!rows(&home).concat().contains("own.json"));
    home.configure(&format!("addresses = [{ALICE:?}]\ntrusted_authserv_ids = [\"mx.x.example\"]\n"));
    assert!(rows(&home).concat().contains("peers.enabled is false"));
    home.configure("addresses = [\"other@x.example\"]\n[peers]\nenabled = true\n");
    assert!(rows(&home).concat().contains("none of your addresses"));
}

#[cfg(feature = "daemon")]
#[test]
fn the_submission_server_exchanges_too() {
    use crate::support::submission::{Submission, configure};
    let (alice, bob, _) = friends();
    let before = fs::read_to_string(alice.home.config()).unwrap();
    configure(&alice.home, &before, "");
    let server = Submission::start(&alice.home);
    let reply = server.send(ALICE, &[BOB], &letter("1", BOB).replace('\n', "\r\n"));
    assert!(reply.starts_with("250"), "{reply}");
    let copy = alice.next.calls().remove(0).copy;
    assert_eq!(bob.gets(&signed(copy.as_bytes(), domain(ALICE), COVERED)), "first-class peer");
    server.end();
}
