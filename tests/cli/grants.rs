//! Grants and revocations from the command line: two people exchange mail over one stamp. Either of them can end it,
//! and no third person can.

use crate::support::{ALICE, Home, letter};

const BOB: &str = "bob@y.example";

/// Bob's home: another user who trusts the same vendor.
fn bob(alice: &Home) -> Home {
    let home = Home::new();
    home.configure(&format!("addresses = [\"{BOB}\"]"));
    let document = alice.file(".config/mailstamp/vendors/stamps.example.json");
    std::fs::copy(document, home.file(".config/mailstamp/vendors/stamps.example.json")).unwrap();
    home
}

fn serial_of(home: &Home, message: &[u8]) -> String {
    let shown = home.run(["show", "--json"], message).exits(0).text();
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    format!("stamps.example/{}", shown["stamps"][0]["serial"].as_str().unwrap())
}

#[test]
fn two_people_write_ten_letters_on_one_stamp() {
    // BC12a, BP3c, BP4f, BP5a: Alice's one stamp names Bob. It carries Bob's replies, and Alice's further messages.
    let alice = Home::new();
    let bob = bob(&alice);
    let stamp = alice.issue(BOB, []);
    let first = alice.run(["affix", "--return", "--stamp", &stamp], &letter("1")).exits(0).stdout;
    assert!(String::from_utf8_lossy(&first).contains("reuse=return"));
    bob.classify(&first).exits(0).says("first-class paid");
    bob.run(["grant"], &first).exits(0);
    for number in 2..10 {
        let (reader, reason) = if number % 2 == 0 { (&alice, "return") } else { (&bob, "multi-use") };
        let message = alice.affix(&stamp, &letter(&number.to_string()));
        reader.classify(&message).exits(0).says(&format!("first-class {reason}"));
    }
    // BC12b: each of them ends the mail to their own address, and only that.
    alice
        .run(["revoke"], &first)
        .exits(0)
        .says(&format!("{}: revoked; its grant has no effect now", serial_of(&alice, &first)));
    alice.classify(&alice.affix(&stamp, &letter("10"))).exits(22).says("revoked by-recipient");
    bob.classify(&alice.affix(&stamp, &letter("11"))).exits(0).says("first-class multi-use");
    bob.run(["revoke", "--serial", &serial_of(&bob, &first)], b"").exits(0);
    bob.classify(&alice.affix(&stamp, &letter("12"))).exits(22).says("revoked by-recipient");
    // BP3e: the sender of a refused message is listed with the grant.
    let grants = alice.run(["grants", "--refused"], b"").exits(0).text();
    assert!(grants.contains("presented while revoked: 1,") && grants.contains("bob@y.example"), "{grants}");
}

#[test]
fn a_third_sender_suspends_the_grant_and_the_user_is_told() {
    let alice = Home::new();
    let stamp = alice.issue(BOB, []);
    let from = |sender: &str, id: &str| {
        let text = String::from_utf8(letter(id)).unwrap().replace("bob@y.example", sender);
        alice.affix(&stamp, text.as_bytes())
    };
    alice.run(["affix", "--return", "--stamp", &stamp], &letter("1")).exits(0);
    for (number, sender) in ["bob@y.example", "bob@z.example"].into_iter().enumerate() {
        alice.classify(&from(sender, &number.to_string())).exits(0).says("first-class return");
    }
    let third = from("eve@x.example", "3");
    alice.classify(&third).exits(20).says("invalid not-for-me");
    alice.classify(&from("bob@y.example", "4")).exits(20);
    let told = "a third sender came under it";
    assert!(alice.run(["grants"], b"").exits(0).text().contains(told));
    let found = alice.run(["doctor"], b"").text();
    assert!(found.contains("suspended: 1; a third sender came under each"), "{found}");
    // The same terms give it anew.
    alice.run(["grant", "--return"], &third).exits(0).says(&format!("{}: granted anew", serial_of(&alice, &third)));
    alice.classify(&third).exits(0).says("first-class return");
}

#[test]
fn a_stamp_is_good_for_many_letters_only_where_the_user_says_so() {
    // BP5c: off by default, whatever the message says and however often its sender wrote; asked for by message, or by
    // the serial of one correspondent's stamp, and for that stamp alone.
    let home = Home::new();
    let [one, other] = [home.issue(ALICE, []), home.issue(ALICE, [])];
    let from_bob = |stamp: &str, id: &str| home.affix(stamp, &letter(id));
    let first = from_bob(&one, "1");
    let marked = String::from_utf8(first.clone()).unwrap().replacen("\nFrom:", "; reuse=many; reuse=return\nFrom:", 1);
    home.run(["learn-sent"], b"To: bob@y.example\nMessage-ID: <0@x.example>\n\n").exits(0);
    home.classify(marked.as_bytes()).exits(0).says("first-class paid");
    home.classify(&from_bob(&one, "2")).exits(21).says("used used");
    home.classify(&from_bob(&other, "3")).exits(0).says("first-class paid");
    assert_eq!(home.run(["grants"], b"").exits(0).text(), "");
    home.run(["grant"], &first).exits(0);
    home.classify(&from_bob(&one, "2")).exits(0).says("first-class multi-use");
    home.classify(&from_bob(&other, "4")).exits(21).says("used used");
    home.run(["grant", "--serial", &serial_of(&home, &from_bob(&other, "4"))], b"").exits(0);
    home.classify(&from_bob(&other, "4")).exits(0).says("first-class multi-use");
}

#[test]
fn a_grant_for_many_letters_ends_by_revocation() {
    // BP5a, BP5b: five messages of the sender come under the grant. Then the stamp is on spam, which the user pipes
    // into the command. The next message under it is refused, of its first sender too, and the grant stays listed.
    let home = Home::new();
    let stamp = home.issue(ALICE, []);
    let first = home.affix(&stamp, &letter("1"));
    home.classify(&first).exits(0).says("first-class paid");
    home.run(["grant", "--multi-use"], &first).exits(0);
    for number in 2..=6 {
        home.classify(&home.affix(&stamp, &letter(&number.to_string()))).exits(0).says("first-class multi-use");
    }
    let spam = |id: &str| {
        String::from_utf8(home.affix(&stamp, &letter(id))).unwrap().replace("bob@y.example", "eve@z.example")
    };
    home.classify(spam("7").as_bytes()).exits(0).says("first-class multi-use");
    home.run(["revoke"], spam("7").as_bytes()).exits(0);
    for message in [spam("7").into_bytes(), spam("8").into_bytes(), home.affix(&stamp, &letter("9")), first] {
        home.classify(&message).exits(22).says("revoked by-recipient");
    }
    let listed = home.run(["grants", "--json"], b"").exits(0).text();
    let listed: serde_json::Value = serde_json::from_str(listed.lines().next().unwrap()).unwrap();
    assert_eq!(listed["state"], "revoked", "{listed}");
    assert_eq!(home.run(["grants", "--active"], b"").exits(0).text(), "");
}

#[test]
fn the_mark_alone_gives_nothing() {
    // BP3c, BP3d: without an entry in Alice's own log, a stamp that names Bob is not for her, whatever the field says.
    let alice = Home::new();
    let stamp = alice.issue(BOB, []);
    let marked = String::from_utf8(alice.affix(&stamp, &letter("1"))).unwrap();
    let marked = marked.replacen("\nFrom:", "; reuse=return\nFrom:", 1);
    alice.classify(marked.as_bytes()).exits(20).says("invalid not-for-me");
    assert_eq!(alice.run(["grants"], b"").exits(0).text(), "");
}

#[test]
fn each_command_may_come_again_and_says_what_it_did() {
    let home = Home::new();
    let message = home.stamped(&letter("1"));
    let serial = serial_of(&home, &message);
    let says = |args: &[&str], what: &str| {
        home.run(args.iter().copied(), &message).exits(0).says(&format!("{serial}: {what}"));
    };
    says(&["unrevoke"], "was not revoked");
    says(&["grant", "--uses", "2", "--note", "the plumber"], "granted");
    says(&["grant", "--uses", "2", "--note", "the plumber"], "was granted already");
    says(&["grant", "--uses", "3"], "granted anew");
    says(&["revoke"], "revoked; its grant has no effect now");
    says(&["revoke"], "was revoked already");
    says(&["grant", "--uses", "3"], "granted, and of no effect while it is revoked");
    says(&["unrevoke"], "unrevoked; its grant is in force again");
    let listed = home.run(["grants", "--active", "--json"], b"").exits(0).text();
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((&listed["state"], &listed["uses"], &listed["schema"]), (&"active".into(), &3.into(), &1.into()));
}

#[test]
fn a_grant_has_its_end_and_its_number() {
    // BP4g: covered even outside the stamp's window, and no further than the grant goes.
    let home = Home::new();
    let stamp = home.issue(ALICE, ["--days", "1"]);
    let first = home.affix(&stamp, &letter("1"));
    home.classify(&first).exits(0);
    home.run(["grant", "--uses", "1", "--until", "2040-01-01T00:00:00Z"], &first).exits(0);
    let late = ["classify", "--now", "2039-01-01T00:00:00Z"];
    let second = home.affix(&stamp, &letter("2"));
    home.run(late, &second).exits(0).says("first-class multi-use");
    home.run(late, &second).exits(0).says("first-class multi-use");
    home.run(late, &home.affix(&stamp, &letter("3"))).exits(20).says("invalid expired");
    home.run(["classify", "--now", "2041-01-01T00:00:00Z"], &second).exits(20).says("invalid expired");
}

#[test]
fn a_stamp_is_found_by_message_id_or_not_at_all() {
    let home = Home::new();
    let message = home.stamped(&letter("1"));
    home.classify(&message).exits(0);
    home.run(["revoke", "--message-id", "1@y.example"], b"").exits(0);
    home.classify(&message).exits(22).says("revoked by-recipient");
    home.run(["unrevoke", "--message-id", "<1@y.example>"], b"").exits(0);
    home.classify(&message).exits(0).says("first-class again");
    home.run(["revoke", "--message-id", "other@y.example"], b"").exits(66);
    home.run(["revoke"], &letter("2")).exits(65);
    home.run(["revoke", "--serial", "no-slash"], b"").exits(65);
    home.run(["revoke", "--serial", "stamps.example/a b"], b"").exits(65);
}

#[test]
fn a_message_id_of_several_messages_names_no_stamp() {
    let home = Home::new();
    let classify = |serial: &str, from: &str| {
        let letter = String::from_utf8(letter("1")).unwrap().replace("bob@y.example", from);
        home.classify(&home.affix(&home.issue(ALICE, ["--serial", serial]), letter.as_bytes())).exits(0)
    };
    classify("good", "bob@y.example");
    classify("good", "bob@y.example").says("first-class again");
    home.run(["grant", "--message-id", "<1@y.example>"], b"").exits(0);
    home.run(["revoke", "--message-id", "<1@y.example>"], b"").exits(0);
    home.run(["unrevoke", "--message-id", "<1@y.example>"], b"").exits(0);
    let before = home.run(["grants", "--json"], b"").exits(0).text();
    // A stranger writes the same Message-ID.
    classify("planted", "eve@z.example");
    for command in ["grant", "revoke", "unrevoke"] {
        let said = home.run([command, "--message-id", "<1@y.example>"], b"").exits(65);
        for stamp in ["stamps.example/good from bob@y.example", "stamps.example/planted from eve@z.example"] {
            assert!(said.stderr.contains(stamp), "{command}: {}", said.stderr);
        }
    }
    assert_eq!(home.run(["grants", "--json"], b"").exits(0).text(), before);
    let long = format!("<{}@y.example>", "a".repeat(300));
    home.run(["revoke", "--message-id", &long], b"").exits(65);
}

#[test]
fn a_forged_stamp_revokes_nobodys() {
    // Threat 32: a serial in a forged stamp is not the vendor's.
    let (home, other) = (Home::new(), Home::new());
    let forged = other.affix(&other.issue(ALICE, ["--serial", "precious"]), &letter("1"));
    let good = home.affix(&home.issue(ALICE, ["--serial", "precious"]), &letter("2"));
    let refused = home.run(["revoke"], &forged).exits(65);
    assert!(refused.stderr.contains("does not hold"), "{}", refused.stderr);
    home.classify(&good).exits(0).says("first-class paid");
    // One not seen before is revoked all the same, when its signature holds or when it is named.
    let unseen = home.stamped(&letter("3"));
    home.run(["revoke"], &unseen).exits(0);
    home.classify(&unseen).exits(22).says("revoked by-recipient");
}

#[test]
fn nothing_is_accepted_once_a_revocation_has_been_answered() {
    // No window between revoke and accept: they share one transaction under one lock.
    let home = Home::new();
    home.configure(&format!("addresses = [\"{ALICE}\"]\n[used_log]\nwait = \"300s\""));
    let stamp = home.issue(ALICE, []);
    let first = home.affix(&stamp, &letter("0"));
    home.run(["grant"], &first).exits(0);
    for round in 0..10 {
        let late = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for reader in 0..4 {
                let (home, stamp, late) = (&home, &stamp, &late);
                scope.spawn(move || {
                    for letters in 0..3 {
                        let message = home.affix(stamp, &letter(&format!("{round}-{reader}-{letters}")));
                        // Asked before the delivery begins: if the answer to `revoke` was there by then, it must hold.
                        let revoked = late.load(std::sync::atomic::Ordering::SeqCst);
                        let code = home.classify(&message).code;
                        assert!(code == 22 || (code == 0 && !revoked), "{code} after the revocation: {revoked}");
                    }
                });
            }
            scope.spawn(|| {
                home.run(["revoke"], &first).exits(0);
                late.store(true, std::sync::atomic::Ordering::SeqCst);
            });
        });
        home.run(["unrevoke"], &first).exits(0);
    }
}

#[test]
fn a_serial_that_was_never_seen_is_pointed_out() {
    let home = Home::new();
    home.classify(&home.affix(&home.issue(ALICE, ["--serial", "seen"]), &letter("1"))).exits(0);
    let said = |command: &str, serial: &str| {
        let serial = format!("stamps.example/{serial}");
        home.run([command, "--serial", &serial], b"").exits(0).text().trim_end().to_owned()
    };
    assert_eq!(said("revoke", "seen"), "stamps.example/seen: revoked");
    assert_eq!(said("unrevoke", "sene"), "stamps.example/sene: was not revoked; never seen");
    assert_eq!(said("revoke", "sene"), "stamps.example/sene: revoked; never seen");
    assert_eq!(said("revoke", "sene"), "stamps.example/sene: was revoked already");
    assert_eq!(said("grant", "other"), "stamps.example/other: granted; never seen");
}

#[test]
fn several_messages_at_once_are_refused() {
    let home = Home::new();
    let (first, second) = (home.stamped(&letter("1")), home.stamped(&letter("2")));
    let separator = b"From bob@y.example Sat Nov 21 12:00:00 2026\n";
    let multipart = b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\ntext\n--b--\n";
    let mbox = [&separator[..], &first, b"\n", separator, &second].concat();
    let plain = [&first[..], b"\n", &second].concat();
    let parts = [&home.stamped(multipart)[..], b"\n", &second].concat();
    for (what, input) in [("mbox", mbox), ("plain", plain), ("multipart", parts)] {
        for command in ["revoke", "unrevoke", "grant"] {
            let said = home.run([command], &input).exits(65);
            assert!(said.stderr.contains("more than one message"), "{what} {command}: {}", said.stderr);
        }
    }
    home.classify(&first).exits(0).says("first-class paid");
    // An attached message is not a second one, and neither is the line of an mbox file.
    let attached = [b"Content-Type: message/rfc822\n\n", &second[..]].concat();
    home.run(["revoke"], &home.stamped(&attached)).exits(0);
    home.run(["revoke"], &[&separator[..], &second].concat()).exits(0);
}
