//! What no program of a user sends: fields by the thousand, of a megabyte, with NULs; and what a machine may do to a
//! delivery: a clock that is decades off, the same post twice at once, a death at any call.

use super::lists::alice_and_bob;
use super::person::{COVERED, Made, Person, domain, friends, signed};
use super::{ALICE, BOB, KEY, SEALED, USE, bob_who_wrote_to_dave, from_dave};
use crate::clock::at;
use crate::peer_lists::{LIST, as_list_sends};
use crate::support::programs::field;
use crate::support::{Run, run, traced_with};
use std::sync::Barrier;

const MEGABYTE: usize = 1 << 20;

/// A post of Alice's as Bob gets it, and the same with another text.
fn post_and_other(alice: &Person, id: &str) -> (Vec<u8>, Vec<u8>) {
    let post = as_list_sends(&alice.sends(LIST, id, None));
    let other = String::from_utf8(post.clone()).unwrap().replace("This is letter", "Buy this, letter");
    assert_ne!(post, other.as_bytes());
    (post, other.into_bytes())
}

/// The message with this above it.
fn below(top: &str, message: &[u8]) -> Vec<u8> {
    [top.as_bytes(), message].concat()
}

// A host on the way adds what it likes. It can break a use, as it can drop the message, and no more than that.
#[test]
fn thousands_of_uses_and_huge_ones_are_no_use() {
    let (_list, alice, bob) = alice_and_bob();
    let (post, _) = post_and_other(&alice, "1");
    let (bad, junk) = ("invalid bad-holder-proof", format!("{USE}: v4.public.{}\n", "A".repeat(200)));
    let own = format!("{USE}: {}\n", field(&post, USE).unwrap());
    let nul = own.replacen("v4.public.", "v4.public\0.", 1);
    assert_eq!(bob.gets(&below(&junk.repeat(10_000), &post)), bad);
    assert_eq!(bob.gets(&below(&format!("{USE}: {}\n", "A".repeat(MEGABYTE)).repeat(8), &post)), bad);
    assert_eq!(bob.gets(&below(&nul.repeat(8), &post)), bad);
    let field_of_nuls = format!("{USE}: {}\n", "\0".repeat(MEGABYTE));
    assert_eq!(bob.gets(&below(&field_of_nuls.repeat(8), &post)), bad);
    // Below the good one nothing counts, and empty fields count nowhere. The same use many times is one.
    let text = String::from_utf8(post.clone()).unwrap();
    let after = |more: &str| text.replacen("From: ", &format!("{more}From: "), 1).into_bytes();
    let empty = format!("{USE}:\n{USE}: \t\n");
    for (top, post) in [(String::new(), after(&junk.repeat(10_000))), (empty.repeat(5_000), after(&own.repeat(10_000)))]
    {
        let class = bob.gets(&below(&top, &post));
        assert!(["first-class peer", "first-class again"].contains(&&*class), "{class}");
    }
}

#[test]
fn a_post_whose_date_or_id_is_odd_has_no_use() {
    let (_list, alice, bob) = alice_and_bob();
    let text = String::from_utf8(post_and_other(&alice, "1").0).unwrap();
    let (id, date) = ("Message-ID: <1@mail.example>", "Date: Sat, 21 Nov 2026 12:00:00 +0000");
    for (from, to) in [
        (id, "Message-ID: <1@mail.example>\0".to_owned()),
        (id, "Message-ID: <1@mail.example\0>".to_owned()),
        (id, format!("Message-ID: <1@mail.example>\nMessage-ID: {}", "x".repeat(MEGABYTE))),
        (id, format!("{id}\n").repeat(10_000).trim_end().to_owned()),
        (id, format!("{id} {}", "x".repeat(MEGABYTE))),
        (date, format!("{date}\nDate: \0")),
        (date, format!("{date}\n {}", "(x)".repeat(MEGABYTE / 3))),
        (date, "Date: Thu, 1 Jan 1970 00:00:00 +0000".to_owned()),
    ] {
        assert!(text.contains(from));
        let class = bob.gets(text.replacen(from, &to, 1).as_bytes());
        assert_eq!(class, "invalid bad-holder-proof", "{:.100}", to);
    }
    assert_eq!(bob.gets(text.as_bytes()), "first-class peer");
}

#[test]
fn thousands_of_announcements_and_seals_teach_nothing() {
    let (bob, dave) = (bob_who_wrote_to_dave(), Made::new("dave@z.example", 1, 1, 0));
    let seal = |text: &str| format!("{SEALED}: {text}\n");
    let fields = [
        dave.field(&[]).repeat(10_000),
        format!("{KEY}: {}\n", "A".repeat(MEGABYTE)),
        dave.field(&[]).replacen("v4.public.", "v4.public.\0", 1),
        format!("{KEY}: {}\n", "\0".repeat(MEGABYTE)),
        seal(&"A".repeat(MEGABYTE)),
        seal("AAAA\0AAAA"),
        seal(&"=".repeat(100)),
    ];
    for (number, fields) in fields.iter().enumerate() {
        assert_eq!(bob.gets(&from_dave(&dave, &number.to_string(), fields)), "allowed rule", "{number}");
        let known = bob.knows("dave@z.example");
        assert_eq!((&known["state"], &known["sealed"]), (&"contact".into(), &0.into()), "{number}");
    }
    // Of many seals three are kept, which nothing opens, and Dave is known all the same.
    let many: String = (0..10_000).map(|number| seal(&format!("{number:0>4000}"))).collect();
    bob.gets(&from_dave(&dave, "x", &(dave.field(&[]) + &many)));
    for number in 0..9 {
        bob.gets(&from_dave(&dave, &format!("y{number}"), &seal(&format!("{number:A>4096}"))));
    }
    let known = bob.knows("dave@z.example");
    assert_eq!((&known["state"], &known["sealed"]), (&"new".into(), &6.into()));
    assert!(field(&bob.sends("dave@z.example", "z", None), SEALED).is_some());
}

// A forged address of a list fills the place of a gift that nothing proves, and never of one that is signed.
#[test]
fn forged_gifts_crowd_out_no_signed_one() {
    let list = crate::peer_lists::MailingList::new();
    let (alice, bob) = (list.member_without_stamp(ALICE), list.reader(BOB));
    let forge = |number: u8| {
        let seal = format!("{SEALED}: {}\n", char::from(b'A' + number).to_string().repeat(900));
        let letter = format!("{}From: {LIST}\nTo: {ALICE}\nSubject: x\n\nhello\n", seal.repeat(3));
        alice.gets(letter.as_bytes());
    };
    (0..20).for_each(forge);
    alice.gets(&signed(&list.gift(ALICE), domain(LIST), COVERED));
    (20..25).for_each(forge);
    let post = as_list_sends(&alice.sends(LIST, "1", None));
    assert_eq!(bob.gets(&post), "first-class peer");
}

#[test]
#[cfg_attr(target_env = "musl", ignore = "faketime(1) changes no clock of a static program")]
fn a_clock_decades_off_opens_nothing_and_forgets_nothing() {
    let (_list, alice, bob) = alice_and_bob();
    let (friend, reader, last) = friends();
    let letter = signed(&friend.sends(BOB, "1", Some(&last)), "x.example", COVERED);
    let (post, other) = post_and_other(&alice, "1");
    let args = ["classify", "--recipient", BOB];
    let judged = |person: &Person, when: &str, message: &[u8]| at(&person.home, when, &args, message);
    assert_eq!(bob.gets(&post), "first-class peer");
    assert_eq!(reader.gets(&letter), "first-class peer");
    // About 1970, and before this release.
    for when in ["-56y", "-2y"] {
        for (person, message) in [(&bob, &post), (&bob, &other), (&reader, &letter)] {
            judged(person, when, message).exits(75);
        }
        // Nothing is signed with such a date.
        let text = format!("From: {ALICE}\nTo: {LIST}\nMessage-ID: <{when}@x.example>\n\nhello\n");
        at(&alice.home, when, &["sendmail", "-i", "-f", ALICE, "--", LIST], text.as_bytes()).exits(75);
        assert!(alice.next.calls().is_empty());
    }
    // About 2040, and in a year.
    for when in ["+14y", "+400d"] {
        for (person, message) in [(&bob, &post), (&bob, &other), (&reader, &letter)] {
            judged(person, when, message).exits(20).says("invalid bad-holder-proof");
        }
        for person in [&alice, &bob, &reader, &friend] {
            at(&person.home, when, &["purge"], b"").exits(0);
        }
    }
    // All is known as before.
    assert_eq!(bob.gets(&post), "first-class again");
    assert_eq!(bob.gets(&other), "used used");
    assert_eq!(reader.gets(&letter), "first-class again");
    assert_eq!(bob.gets(&post_and_other(&alice, "2").0), "first-class peer");
    assert_eq!(friend.writes(&reader, "3", Some(&last)).1, "first-class peer");
}

/// All messages at once, each judged by a process of its own.
fn at_once(bob: &Person, messages: &[&[u8]]) -> Vec<Run> {
    let start = Barrier::new(messages.len());
    std::thread::scope(|scope| {
        let judge = |message| {
            let mut command = bob.home.command();
            command.args(["classify", "--recipient", BOB]);
            start.wait();
            run(&mut command, message)
        };
        let threads: Vec<_> = messages.iter().map(|message| scope.spawn(move || judge(message))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn of_a_post_that_comes_twice_at_once_one_copy_is_new() {
    let (_list, alice, bob) = alice_and_bob();
    let classes = |messages: &[&[u8]]| {
        let mut classes: Vec<String> =
            at_once(&bob, messages).iter().map(|run| run.text().trim_end().to_owned()).collect();
        classes.sort();
        classes
    };
    for number in 0..3 {
        let (post, _) = post_and_other(&alice, &format!("a{number}"));
        assert_eq!(classes(&[&post, &post]), ["first-class again", "first-class peer"]);
        let (post, other) = post_and_other(&alice, &format!("b{number}"));
        assert_eq!(classes(&[&post, &other]), ["first-class peer", "used used"]);
    }
    let (post, other) = post_and_other(&alice, "c");
    let many = classes(&[&*post, &*other].repeat(8));
    let count = |class: &str| many.iter().filter(|own| *own == class).count();
    assert_eq!(["first-class peer", "first-class again", "used used"].map(count), [1, 7, 8]);
}

// At every call that changes anything on the disk.
#[test]
fn a_post_is_let_through_once_wherever_its_delivery_dies() {
    let (_list, alice, bob) = alice_and_bob();
    let mut deaths = 0;
    for call in ["pwrite64,pwritev2", "write", "ftruncate", "fdatasync,fsync", "rename,renameat,renameat2", "unlinkat"]
    {
        for n in 1.. {
            let (post, other) = post_and_other(&alice, &format!("{}{n}", call.split(',').next().unwrap()));
            let inject = format!("inject={}:signal=KILL:when={n}", call.replace(',', ",?").replacen("", "?", 1));
            let mut command = bob.home.command();
            let (said, _) = traced_with(command.args(["classify", "--recipient", BOB]), &["-e", &inject], &post);
            if said.code == 0 {
                break;
            }
            deaths += 1;
            // One of both texts, and always the same one.
            let order = if n % 2 == 0 { [&post, &other] } else { [&other, &post] };
            let classes = [order[0], order[1], order[0], order[1]].map(|message| bob.gets(message));
            let again = "first-class again";
            let expected = match &*classes[0] {
                "first-class peer" | "first-class again" => [classes[0].as_str(), "used used", again, "used used"],
                _ => ["used used", again, "used used", again],
            };
            assert_eq!(classes, expected, "{call} {n}");
        }
    }
    assert!(deaths >= 5, "killed {deaths} times only");
}
