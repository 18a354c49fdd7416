//! `mailstamp learn-contacts`: the addresses of address books are correspondents. (Threats 5, 25, 26; promise 5.)

use crate::support::programs::comes_to_an_end;
use crate::support::{ALICE, Home, letter};
use std::fs;

fn known(home: &Home) -> Vec<String> {
    let listed = home.run(["correspondents"], b"").exits(0).text();
    listed.lines().map(|line| line.split("  ").next().unwrap().to_owned()).collect()
}

const BOOK: &str = "\u{feff}BEGIN:VCARD\r\nVERSION:2.1\r\nN;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:M=C3=BCller;=\r\nJoe\r\n\
    EMAIL;INTERNET;HOME:Joe+home@Y.example\r\nEMAIL;ENCODING=QUOTED-PRINTABLE:joe=\r\n=40work.example\r\nEND:VCARD\r\n\
    BEGIN:VCARD\nVERSION:3.0\nitem1.EMAIL;type=INTERNET:ann@y.\n example\nitem1.X-ABLabel:x\nEND:VCARD\n\
    BEGIN:VCARD\nVERSION:4.0\nEMAIL;TYPE=\"home,work\":mailto:eve@y.example\nEMAIL:alice@x.example\nEND:VCARD\n\
    BEGIN:VCARD\nFN:No Mail\nEND:VCARD\n";

#[test]
fn an_address_book_is_learned() {
    let home = Home::new();
    let all = ["ann@y.example", "eve@y.example", "joe@work.example", "joe@y.example"];
    let said =
        "cards: 4\nwithout an address: 1\naddresses left out, since they are yours: 1\nlearned: 4 correspondents\n";
    assert_eq!(home.run(["learn-contacts", "-"], BOOK.as_bytes()).exits(0).text(), said);
    assert_eq!(known(&home), all);
    fs::write(home.file("book.vcf"), BOOK).unwrap();
    fs::write(home.file("one.vcf"), "BEGIN:VCARD\nEMAIL:zoe@y.example\nEND:VCARD").unwrap();
    let both = home.run(["learn-contacts", "book.vcf", "one.vcf"], b"").exits(0).text();
    assert!(both.starts_with("cards: 5\n") && both.ends_with("\nlearned: 1 correspondents\n"), "{both}");
    let rule = "[[rule]]\nname = \"friends\"\naction = \"allow\"\ncorrespondent = true\n";
    fs::write(home.config().with_file_name("rules.toml"), rule).unwrap();
    let from_zoe = String::from_utf8(letter("1")).unwrap().replace("bob@", "zoe@");
    home.classify(from_zoe.as_bytes()).exits(10).says("allowed rule");
    // What was forgotten does not come back by the address book, but by a message.
    home.run(["correspondents", "--forget", "zoe@y.example"], b"").exits(0);
    home.run(["learn-contacts", "one.vcf"], b"").exits(0).says("cards: 1\nlearned: 0 correspondents");
    assert_eq!(known(&home), all);
}

#[test]
fn what_is_broken_is_told_and_the_rest_is_learned() {
    let home = Home::new();
    let book = "BEGIN:VCARD\nEMAIL:a@y.example\nBEGIN:VCARD\nEMAIL:joe at \u{1b}[31mx\nEMAIL:b@y.example\nEND:VCARD\nEND:VCARD\n";
    let run = home.run(["learn-contacts", "-"], book.as_bytes()).exits(0);
    let said =
        "cards: 1\nbroken, and skipped: 2\naddresses left out, since they are none: 1\nlearned: 1 correspondents\n";
    assert_eq!(run.text(), said);
    let told: Vec<&str> = run.stderr.lines().collect();
    let note = |text: &str| format!("mailstamp: note: standard input: line {text}");
    assert_eq!(told[0], note("1: skipped: the card has no END:VCARD"));
    assert!(told[1].starts_with(&note("4: no address: joe at ")) && !told[1].contains('\u{1b}'), "{}", told[1]);
    assert_eq!(told[2..], [note("7: skipped: END:VCARD without BEGIN:VCARD")]);
    assert_eq!(known(&home), ["b@y.example"]);
    let run = home.run(["learn-contacts", "-"], "END:VCARD\n".repeat(100).as_bytes()).exits(65);
    assert_eq!(run.stderr.lines().filter(|line| line.contains("note: standard input: line ")).count(), 20);
    assert!(run.stderr.contains("standard input: 80 more faults"), "{}", run.stderr);
}

#[test]
fn what_is_no_address_book_is_an_error() {
    let home = Home::new();
    for junk in [&b""[..], b"\x89PNG\r\n\x1a\n\0\0", &letter("1"), &[b'x'; 3 << 20]] {
        let run = home.run(["learn-contacts", "-"], junk).exits(65);
        assert!(run.stderr.contains("standard input: no vCard in it"), "{}", run.stderr);
    }
    assert!(home.run(["learn-contacts", "absent.vcf"], b"").exits(66).stderr.contains("absent.vcf: No such file"));
    home.run(["learn-contacts", "."], b"").exits(74);
    home.run(["learn-contacts"], b"").exits(64);
    assert!(!home.state().exists());
    // What came before the error is learned.
    fs::write(home.file("one.vcf"), "BEGIN:VCARD\nEMAIL:zoe@y.example\nEND:VCARD").unwrap();
    let run = home.run(["learn-contacts", "one.vcf", "-"], b"junk").exits(65);
    assert!(run.text().ends_with("learned: 1 correspondents\n"), "{}", run.text());
    assert_eq!(known(&home), ["zoe@y.example"]);
    home.configure("");
    home.run(["learn-contacts", "one.vcf"], b"").exits(75);
}

#[test]
fn several_owners_have_an_address_book_each() {
    let home = Home::new();
    let owner = |address: &str, owner: &str| format!("{{ address = \"{address}\", owner = \"{owner}\" }}");
    home.configure(&format!("addresses = [{}, {}]", owner(ALICE, "alice"), owner("bob@x.example", "bob")));
    let run = home.run(["learn-contacts", "-"], BOOK.as_bytes()).exits(64);
    assert!(run.stderr.contains("several owners") && run.stderr.contains("--owner"), "{}", run.stderr);
    home.run(["learn-contacts", "--owner", "carol", "-"], BOOK.as_bytes()).exits(64);
    home.run(["learn-contacts", "--owner", "Alice@X.example", "-"], BOOK.as_bytes()).exits(0);
    let listed = |more: &[&str]| home.run([&["correspondents"], more].concat(), b"").exits(0).text().lines().count();
    assert_eq!((listed(&[]), listed(&["--owner", "alice"]), listed(&["--owner", "bob"])), (4, 4, 0));
    let bobs = home.run(["learn-contacts", "--owner", "bob", "-"], BOOK.as_bytes()).exits(0).text();
    assert!(bobs.ends_with("learned: 4 correspondents\n"), "{bobs}");
    home.run(["correspondents", "--forget", "ann@y.example"], b"").exits(0).says("ann@y.example: forgotten");
    assert_eq!((listed(&["--owner", "alice"]), listed(&["--owner", "bob"])), (3, 3));
}

/// Promise 5.
#[test]
fn ten_thousand_cards_with_photos_are_learned_at_once() {
    let home = Home::new();
    let photo: String = (0..20).map(|_| format!(" {}\r\n", "A".repeat(74))).collect();
    let card = |number: usize| {
        format!(
            "BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Person {number}\r\nPHOTO;ENCODING=b;TYPE=JPEG:\r\n{photo}\
             EMAIL;TYPE=INTERNET:p{number}@y.example\r\nEND:VCARD\r\n"
        )
    };
    let book: String = (0..10_000).map(card).collect();
    fs::write(home.file("book.vcf"), book).unwrap();
    let learn = || home.run(["learn-contacts", "book.vcf"], b"").exits(0).text();
    assert!(comes_to_an_end("the address book", learn).ends_with("learned: 10,000 correspondents\n"));
    assert_eq!(known(&home).len(), 10_000);
}
