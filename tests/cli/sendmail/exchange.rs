//! Ten messages between two users, in both directions, through a real Postfix and back into `deliver`. One stamp serves
//! them all, as the vendor's ledger shows, or only the first, where both have keys of their own. Needs root.

use super::account::with_account;
use crate::support::postfix::{Postfix, User};
use crate::support::programs::{eventually_or, field, maildir};
use crate::support::shop::Shop;
use crate::support::{Home, Run, run};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

const ALICE: &str = "alice@x.example";
const BOB: &str = "bob@y.example";

struct Correspondent<'a> {
    address: &'static str,
    user: User,
    postfix: &'a Postfix,
}

impl Correspondent<'_> {
    fn inbox(&self) -> PathBuf {
        self.user.file("Maildir")
    }

    /// Runs the program as this user.
    fn mailstamp(&self, args: &[&str], stdin: &[u8]) -> Run {
        let mut command = Command::new("runuser");
        command.args(["-u", self.user.name(), "--", "env", "-i"]).arg(format!("HOME={}", self.user.file("").display()));
        command.arg("PATH=/usr/bin:/bin").arg(self.postfix.file("bin/mailstamp")).args(args).current_dir("/");
        run(&mut command, stdin)
    }

    /// Sends a message, and waits until it is in the other correspondent's inbox.
    fn writes(&self, to: &Correspondent<'_>, number: usize, answers: Option<&[u8]>) -> Vec<u8> {
        let reference = answers.and_then(|letter| field(letter, "Message-ID"));
        let reference = reference.map(|id| format!("In-Reply-To: {id}\nReferences: {id}\n")).unwrap_or_default();
        let letter = format!(
            "From: {}\nTo: {}\nDate: Sat, 21 Nov 2026 12:00:00 +0000\nMessage-ID: <{number}@{}>\n{reference}\
             Subject: letter {number}\n\nThis is letter {number}.\n",
            self.address,
            to.address,
            self.user.name()
        );
        self.mailstamp(&["sendmail", "-i", "-f", self.address, "--", to.address], letter.as_bytes()).exits(0);
        let wanted = format!("letter {number}");
        let there =
            || maildir(&to.inbox()).into_iter().find(|message| field(message, "Subject") == Some(wanted.clone()));
        eventually_or("the letter", there, || self.postfix.log())
    }
}

fn class(message: &[u8]) -> String {
    let class = field(message, "Digital-Stamp-Class").unwrap_or_default();
    class.split("; vendor").next().unwrap().to_owned()
}

/// A Postfix for both, which says of each message that it verified a signature of the sender's domain.
fn postfix(alice: &User, bob: &User) -> Postfix {
    let vouch = |domain: &str| {
        format!("{{ {domain} = PREPEND Authentication-Results: mx.x.example; dkim=pass header.d={domain} }}")
    };
    Postfix::start(&format!(
        "mydestination = x.example, y.example, mx.x.example\nalias_maps = inline:{{ alice={}, bob={} }}\n\
         home_mailbox = Maildir/\nsmtpd_sender_restrictions = check_sender_access inline:{{ {}, {} }}\n",
        alice.name(),
        bob.name(),
        vouch("x.example"),
        vouch("y.example")
    ))
}

/// Sets one of the two users up, with `deliver` in their .forward. `tables` ends the configuration. `finish` does the
/// rest in the home, before the user moves in.
fn settle(user: &User, address: &str, shop: &Shop, postfix: &Postfix, tables: &str, finish: impl FnOnce(&Home)) {
    let home = Home::bare();
    home.configure(&format!(
        "addresses = [{address:?}]\ntrusted_authserv_ids = [\"mx.x.example\"]\n[used_log]\nwait = \"60s\"\n\
         [sendmail.smtp]\nhost = \"127.0.0.1\"\nport = {}\ntls = \"off\"\n{tables}",
        postfix.port()
    ));
    home.run(
        ["trust", "add", "-"],
        &serde_json::to_vec(&shop.ledger().published(mailstamp::os::clock::now()).unwrap()).unwrap(),
    )
    .exits(0);
    // Bob has no account, and could not buy a stamp.
    if address == ALICE {
        with_account(&home, shop);
    }
    finish(&home);
    fs::write(user.file(".forward"), format!("\"|{} deliver\"\n", postfix.file("bin/mailstamp").display())).unwrap();
    if home.state().exists() {
        run(Command::new("cp").arg("-r").arg(home.file(".local")).arg(user.file("")), b"").exits(0);
    }
    user.move_in(&home);
}

/// Has the two write ten messages in turn, each an answer to the one before. Returns their classes and the last one.
fn ten_letters(alice: &Correspondent<'_>, bob: &Correspondent<'_>) -> (Vec<String>, Vec<u8>) {
    let mut last: Option<Vec<u8>> = None;
    let mut classes = Vec::new();
    for number in 0..10 {
        let (from, to) = if number % 2 == 0 { (alice, bob) } else { (bob, alice) };
        let arrived = from.writes(to, number, last.as_deref());
        classes.push(class(&arrived));
        last = Some(arrived);
    }
    (classes, last.unwrap())
}

// Issue 18: one purchase, and then none.
#[test]
fn ten_letters_between_two_with_keys_cost_one_stamp_and_then_none() {
    const RULE: &str = "[[rule]]\nname = \"known\"\naction = \"allow\"\ncorrespondent = true\nauthenticated = true\n";
    let shop = Shop::open(100, &[]);
    let (alice, bob) = (User::add(), User::add());
    let postfix = postfix(&alice, &bob);
    for (user, address) in [(&alice, ALICE), (&bob, BOB)] {
        let tables = "[peers]\nenabled = true\n[sendmail]\nwhen_away = \"plain\"\n";
        settle(user, address, &shop, &postfix, tables, |home| {
            fs::write(home.file(".config/mailstamp/rules.toml"), RULE).unwrap();
            home.run(["peer", "key", "new"], b"").exits(0);
        });
    }
    let alice = Correspondent { address: ALICE, user: alice, postfix: &postfix };
    let bob = Correspondent { address: BOB, user: bob, postfix: &postfix };
    let (classes, last) = ten_letters(&alice, &bob);
    let peer = "first-class; reason=peer";
    let first = ["first-class; reason=paid", "allowed; reason=rule; rule=known; action=deliver"];
    assert_eq!(classes[..2], first);
    assert!(classes[2..].iter().all(|class| class == peer), "{classes:?}");
    assert_eq!((shop.balance(), shop.ledger().summary().unwrap().stamps), (99, 1));
    // All that the exchange adds is less than 2 kB, on each message.
    for message in [maildir(&alice.inbox()), maildir(&bob.inbox())].concat() {
        let text = String::from_utf8(message).unwrap();
        let (mut added, mut is_ours) = (0, false);
        for line in text.split_inclusive('\n').take_while(|line| *line != "\n") {
            let begins = |name: &str| line.starts_with(&format!("{name}:"));
            is_ours = begins("Digital-Stamp-Key") || begins("Digital-Stamp-Sealed") || is_ours && line.starts_with(' ');
            added += if is_ours { line.len() } else { 0 };
        }
        assert!(added < 2_000, "{added}");
    }
    // The user's own word ends it, where no rule lets Alice's mail through all the same.
    fs::remove_file(bob.user.file(".config/mailstamp/rules.toml")).unwrap();
    bob.mailstamp(&["peer", "end", ALICE], b"").exits(0);
    let refused = alice.writes_refused(&bob, &last);
    assert!(refused.starts_with("revoked"), "{refused}");
}

// BC12a
#[test]
fn ten_letters_to_and_fro_cost_one_stamp() {
    let shop = Shop::open(100, &[]);
    let (alice, bob) = (User::add(), User::add());
    let postfix = postfix(&alice, &bob);
    for (user, address) in [(&alice, ALICE), (&bob, BOB)] {
        settle(user, address, &shop, &postfix, "[sendmail]\nfor_return = true\n", |_| {});
    }
    let alice = Correspondent { address: ALICE, user: alice, postfix: &postfix };
    let bob = Correspondent { address: BOB, user: bob, postfix: &postfix };
    let (classes, last) = ten_letters(&alice, &bob);
    let (paid, back, again) =
        ("first-class; reason=paid", "first-class; reason=return", "first-class; reason=multi-use");
    assert_eq!(classes, [paid, back, again, back, again, back, again, back, again, back]);
    assert_eq!(shop.balance(), 99);
    assert_eq!(shop.ledger().summary().unwrap().stamps, 1);
    shop.audit();
    // Either of them ends it: that stamp does not carry the next message any more.
    bob.mailstamp(&["revoke"], &maildir(&bob.inbox())[0]).exits(0);
    let refused = alice.writes_refused(&bob, &last);
    assert!(refused.starts_with("revoked"), "{refused}");
}

impl Correspondent<'_> {
    /// The class of one more answer.
    fn writes_refused(&self, to: &Correspondent<'_>, answers: &[u8]) -> String {
        let id = field(answers, "Message-ID").unwrap();
        let letter = format!(
            "From: {}\nTo: {}\nDate: Sat, 21 Nov 2026 13:00:00 +0000\nMessage-ID: <last@x>\nIn-Reply-To: {id}\n\
             Subject: the last\n\nOne more.\n",
            self.address, to.address
        );
        self.mailstamp(&["sendmail", "-i", "-f", self.address, "--", to.address], letter.as_bytes()).exits(0);
        let there = || {
            let log = fs::read_to_string(to.user.file(".local/state/mailstamp/verdicts.jsonl")).ok()?;
            let line = log.lines().last().filter(|line| line.contains("last@x"))?;
            // It may be on its way.
            serde_json::from_str::<serde_json::Value>(line).ok()
        };
        let entry = eventually_or("the last letter", there, || self.postfix.log());
        entry["class"].as_str().unwrap_or_default().to_owned()
    }
}
