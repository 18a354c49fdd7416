//! Whole exchanges through a real Postfix with two users: the instructions of the challenge work as written, and two
//! mailstamps do not answer each other. Needs root.

use crate::support::postfix::{Postfix, User};
use crate::support::programs::{eventually_or, field, maildir, program, stand_in};
use crate::support::smtp::{Protocol, send};
use crate::support::{Home, letter, run};
use std::fs;
use std::process::Command;

const ALICE: &str = "alice@x.example";
const BOB: &str = "bob@y.example";

/// Sets one of the two users up, with their own mailstamp as `deliver` in their .forward.
fn mailstamp(home: &Home, postfix: &Postfix, user: &User, address: &str) {
    home.configure(&format!(
        "addresses = [\"{address}\"]\ntrusted_authserv_ids = [\"mx.x.example\"]\n[used_log]\nwait = \"60s\"\n\
         [actions]\nunstamped = \"challenge\"\n[replies]\nchallenge = true\nsendmail = \"{}\"\n",
        postfix.file("sendmail").display()
    ));
    let path = home.config().with_file_name("vendors").join("stamps.example.json");
    let document: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let mut document = document.as_object().unwrap().clone();
    document.insert("buy".into(), "https://stamps.example/buy".into());
    fs::write(&path, serde_json::to_vec(&document).unwrap()).unwrap();
    fs::write(user.file(".forward"), format!("\"|{} deliver\"\n", postfix.file("bin/mailstamp").display())).unwrap();
    user.move_in(home);
}

/// A Postfix for both, which vouches for senders whose domain it knows as a boundary does. Its users may not use its
/// own queue (sendmail(8) refuses another's configuration), so theirs is swaks.
fn postfix(alice: &User, bob: &User) -> Postfix {
    let vouch = |domain: &str| {
        format!("{{ {domain} = PREPEND Authentication-Results: mx.x.example; spf=pass smtp.mailfrom={domain} }}")
    };
    let postfix = Postfix::start(&format!(
        "mydestination = x.example, y.example, mx.x.example\nalias_maps = inline:{{ alice={}, bob={} }}\n\
         home_mailbox = Maildir/\nsmtpd_sender_restrictions = check_sender_access inline:{{ {}, {} }}\n",
        alice.name(),
        bob.name(),
        vouch("x.example"),
        vouch("y.example")
    ));
    let swaks = program("swaks", "swaks").display().to_string();
    let script = format!(
        "#!/bin/sh\n[ \"$1 $2 $3 $4\" = '-i -f <> --' ] || exit 64\n\
         exec {swaks} --server 127.0.0.1:{} --from '<>' --to \"$5\" --data - --silent 2\n",
        postfix.port()
    );
    stand_in(&postfix.file("sendmail"), &script);
    postfix
}

fn arrives(postfix: &Postfix, user: &User, count: usize) -> Vec<Vec<u8>> {
    let inbox = user.file("Maildir");
    let there = || Some(maildir(&inbox)).filter(|messages| messages.len() >= count);
    eventually_or("a message", there, || postfix.log())
}

/// Returns the lines about replies in the verdict log of a user.
fn replies(user: &User) -> Vec<String> {
    let log = fs::read_to_string(user.file(".local/state/mailstamp/verdicts.jsonl")).unwrap_or_default();
    // The last line may be on its way.
    let entries = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let told = entries.filter_map(|entry| Some(format!("{} {}", entry["event"].as_str()?, entry["reply"].as_str()?)));
    let mut told: Vec<String> = told.collect();
    told.sort();
    told
}

fn smtp(postfix: &Postfix, from: &str, to: &str, message: &[u8]) {
    assert_eq!(send(Protocol::Smtp, postfix.port(), from, &[to], message), [250]);
}

/// What follows `before` in a text, to the end of the line.
fn after<'a>(text: &'a str, before: &str) -> &'a str {
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("{before:?} is not in {text}"));
    rest.lines().next().unwrap().trim()
}

#[test]
fn who_follows_the_challenge_to_the_letter_gets_through() {
    // BC9.2.
    let (home, alice, bob) = (Home::new(), User::add(), User::add());
    let postfix = postfix(&alice, &bob);
    bob.move_in(&Home::bare());
    mailstamp(&home, &postfix, &alice, ALICE);
    smtp(&postfix, BOB, ALICE, &letter("1"));
    let challenge = arrives(&postfix, &bob, 1).remove(0);
    for (name, value) in [
        ("Return-Path", "<>"),
        ("From", ALICE),
        ("To", BOB),
        ("Subject", "Auto: Re: a serious matter"),
        ("In-Reply-To", "<1@y.example>"),
        ("References", "<1@y.example>"),
        ("Auto-Submitted", "auto-replied"),
        ("Content-Type", "text/plain; charset=us-ascii"),
    ] {
        assert_eq!(field(&challenge, name).as_deref(), Some(value), "{name}");
    }
    assert!(field(&challenge, "Date").is_some() && field(&challenge, "Message-ID").unwrap().ends_with("@x.example>"));
    let text = String::from_utf8(challenge).unwrap();

    // 1. A stamp of that price, for that recipient, from that vendor.
    let (price, _) = after(&text, "Get a stamp of at least ").split_once(' ').unwrap();
    let address = after(&text, "for the recipient\n\n");
    let vendor = after(&text, "The links fill in the order:\n\n  * ").strip_suffix(':').unwrap();
    let buy = after(&text, &format!("  * {vendor}:\n"));
    let link = "https://stamps.example/buy?recipient=alice@x.example&value=1";
    assert_eq!((price, address, vendor, buy), ("1", ALICE, "stamps.example", link));
    let key = home.key(vendor, "2026q4");
    let issue = || {
        let mut command = home.command();
        command.args(["vendor", "issue", "--to", address, "--value", price, "--key"]).arg(&key);
        run(&mut command, b"").exits(0).text().trim().to_owned()
    };
    // 2. At the very end of the message, between the two lines.
    let (_, lines) = text.split_once("between these two lines:\n\n").unwrap();
    let lines: Vec<&str> = lines.lines().take(2).collect();
    let pasted = format!("{}{}\n{}\n{}\n", String::from_utf8(letter("1")).unwrap(), lines[0], issue(), lines[1]);
    // 3. Again to the same address.
    smtp(&postfix, BOB, address, pasted.as_bytes());
    let delivered = arrives(&postfix, &alice, 1).remove(0);
    assert!(field(&delivered, "Digital-Stamp-Class").unwrap().starts_with("first-class; reason=paid"));
    // The same in the header.
    smtp(&postfix, BOB, address, &home.affix(&issue(), &letter("2")));
    let delivered = arrives(&postfix, &alice, 2);
    assert!(delivered.iter().all(|m| field(m, "Digital-Stamp-Class").unwrap().starts_with("first-class; reason=paid")));
    // One challenge, and no other mail.
    let noted = || (replies(&alice) == ["replied challenge"]).then_some(());
    eventually_or("the note of the challenge", noted, || format!("{:?}", replies(&alice)));
    assert_eq!(maildir(&bob.file("Maildir")).len(), 1);
    assert_eq!(postfix.logged("status=bounced") + postfix.logged("status=deferred"), 0, "{}", postfix.log());
}

#[test]
fn two_mailstamps_answer_each_other_once() {
    // Threat 24.
    let (alices, bobs, alice, bob) = (Home::new(), Home::new(), User::add(), User::add());
    let postfix = postfix(&alice, &bob);
    mailstamp(&alices, &postfix, &alice, ALICE);
    mailstamp(&bobs, &postfix, &bob, BOB);
    let from_alice = String::from_utf8(letter("2")).unwrap().replace("bob@y", "carol@y").replace("alice@x", "bob@y");
    let from_alice = from_alice.replace("carol@y", "alice@x").replace("<2@alice", "<2@");
    smtp(&postfix, BOB, ALICE, &letter("1"));
    smtp(&postfix, ALICE, BOB, from_alice.as_bytes());
    let wanted = ["not-replied null-sender", "replied challenge"];
    let told = || (replies(&alice) == wanted && replies(&bob) == wanted).then_some(());
    eventually_or("both replies", told, || format!("{:?} {:?}\n{}", replies(&alice), replies(&bob), postfix.log()));
    // Two messages and two challenges, all held, and nothing is in transit.
    let queue = || {
        let listed =
            run(Command::new(program("postqueue", "postfix")).arg("-c").arg(postfix.file("etc")).arg("-j"), b"");
        listed.exits(0).text().trim().is_empty().then_some(())
    };
    eventually_or("an empty queue", queue, || postfix.log());
    assert_eq!(
        (replies(&alice), replies(&bob)),
        (wanted.map(String::from).to_vec(), wanted.map(String::from).to_vec())
    );
    assert_eq!(postfix.logged("status=sent"), 4, "{}", postfix.log());
    for user in [&alice, &bob] {
        assert_eq!(maildir(&user.file("Maildir")).len(), 0);
        assert_eq!(maildir(&user.file(".local/state/mailstamp/held")).len(), 2);
    }
}

#[test]
fn sendmail_of_postfix_takes_what_it_is_given() {
    let (home, alice, bob) = (Home::new(), User::add(), User::add());
    let postfix = postfix(&alice, &bob);
    bob.move_in(&Home::bare());
    mailstamp(&home, &postfix, &alice, ALICE);
    let sendmail = program("sendmail", "postfix").display().to_string();
    let script = format!("#!/bin/sh\nexec {sendmail} -C {} \"$@\"\n", postfix.file("etc").display());
    stand_in(&postfix.file("sendmail"), &script);
    let arrived = format!(
        "Return-Path: <{BOB}>\nAuthentication-Results: mx.x.example; spf=pass smtp.mailfrom=y.example\n\
         Received: by mx.x.example; Sat, 21 Nov 2026 12:00:01 +0000\n"
    );
    let message = [arrived.as_bytes(), &letter("1")].concat();
    home.run(["reply", "send"], &message).exits(0).says("yes challenge");
    let challenge = arrives(&postfix, &bob, 1).remove(0);
    assert_eq!(field(&challenge, "Return-Path").as_deref(), Some("<>"));
    assert_eq!(field(&challenge, "Auto-Submitted").as_deref(), Some("auto-replied"));
    assert!(postfix.logged("from=<>,") > 0, "{}", postfix.log());
    let text = String::from_utf8(challenge).unwrap();
    assert!(text.contains("-----BEGIN DIGITAL STAMP-----\n-----END DIGITAL STAMP-----\n"), "{text}");
}
