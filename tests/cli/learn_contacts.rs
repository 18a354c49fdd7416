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
    // What comes before the error is learned, and what comes behind it. The first error is the status.
    let card = |name: &str| format!("BEGIN:VCARD\nEMAIL:{name}@y.example\nEND:VCARD");
    for name in ["one", "zoe"] {
        fs::write(home.file(&format!("{name}.vcf")), card(name)).unwrap();
    }
    let run = home.run(["learn-contacts", "one.vcf", "-", "absent.vcf", ".", "zoe.vcf"], b"junk").exits(65);
    assert_eq!(run.text(), "cards: 2\nlearned: 2 correspondents\n");
    let errors: Vec<&str> = run.stderr.lines().filter(|line| line.starts_with("mailstamp: error: ")).collect();
    let named = ["standard input: no vCard", "absent.vcf: No such file", ".: "];
    assert!(errors.len() == 3 && errors.iter().zip(named).all(|(line, name)| line.contains(name)), "{errors:?}");
    assert_eq!(known(&home), ["one@y.example", "zoe@y.example"]);
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

// Old address books: their lines end with CR, or they are in UTF-16. Nothing was learned of them.
#[test]
fn old_address_books_are_learned() {
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let bare = BOOK.strip_prefix('\u{feff}').unwrap();
    let cr = |text: &str| text.replace("\r\n", "\n").replace('\n', "\r");
    for book in [utf16(BOOK), utf16(bare), utf16(&cr(BOOK)), cr(BOOK).into_bytes(), cr(bare).into_bytes()] {
        let home = Home::new();
        assert!(home.run(["learn-contacts", "-"], &book).exits(0).text().ends_with("\nlearned: 4 correspondents\n"));
        assert_eq!(known(&home).len(), 4);
    }
}

#[test]
fn addresses_beyond_a_thousand_of_a_card_are_told() {
    let home = Home::new();
    let emails: String = (0..1_001).map(|number| format!("EMAIL:p{number}@y.example\n")).collect();
    let run = home.run(["learn-contacts", "-"], format!("BEGIN:VCARD\n{emails}END:VCARD\n").as_bytes()).exits(0);
    let said = "cards: 1\ncards of which only the first 1,000 addresses were read: 1\nlearned: 1,000 correspondents\n";
    assert_eq!(run.text(), said);
    let note = "note: standard input: line 1002: addresses from here on left out: the card has more than 1,000";
    assert!(run.stderr.contains(note), "{}", run.stderr);
}

// Letters beyond ASCII were shown as the numbers of their bytes.
#[test]
fn people_read_names_in_their_own_script() {
    let home = Home::new();
    let name = "jos\u{e9}@y.example";
    home.run(["learn-contacts", "-"], format!("BEGIN:VCARD\nEMAIL:{name}\nEND:VCARD\n").as_bytes()).exits(0);
    assert_eq!(known(&home), [name]);
    let hold = "[[rule]]\nname = \"hold\"\nalways = true\naction = \"hold\"\n";
    fs::write(home.config().with_file_name("rules.toml"), hold).unwrap();
    let text = String::from_utf8(letter("1")).unwrap().replace("bob@y.example", name);
    home.run(["held", "add"], text.replace("<1@", "<\u{e9}\u{202e}\u{1b}1@").as_bytes()).exits(0);
    let (held, log) = (home.run(["held", "list"], b"").exits(0).text(), home.run(["log"], b"").exits(0).text());
    assert!(held.contains(name) && log.contains(name), "{held}{log}");
    assert!(log.contains("<\u{e9}\\xe2\\x80\\xae\\x1b1@"), "{log}");
    let gone = home.run(["correspondents", "--forget", name], b"").exits(0).text();
    assert_eq!(gone, format!("{name}: forgotten\n"));
    let run = home.run(["correspondents", "--owner", "\u{e9}\u{202e}"], b"").exits(64);
    assert!(run.stderr.contains("--owner: \u{e9}\\xe2\\x80\\xae is neither"), "{}", run.stderr);
}

#[test]
fn a_pipe_is_refused_and_one_of_the_shell_is_read() {
    let home = Home::new();
    let fifo = home.file("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    let fifo = fifo.to_str().unwrap();
    for args in [&["learn-contacts", fifo][..], &["trust", "add", fifo], &["affix", "--stamp-file", fifo]] {
        let refused = home.run(args.iter().copied(), b"").exits(66).stderr;
        assert!(refused.contains("not a regular file"), "{args:?}: {refused}");
    }
    home.run(["learn-contacts", "/dev/stdin"], BOOK.as_bytes()).exits(0);
    assert_eq!(known(&home).len(), 4);
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
