//! Ten messages between two users, in both directions, through a real Postfix and back into `deliver`. One stamp serves
//! them all, as the vendor's ledger shows. Needs root.

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

// BC12a
#[test]
fn ten_letters_to_and_fro_cost_one_stamp() {
    let shop = Shop::open(100, &[]);
    let (alice, bob) = (User::add(), User::add());
    let postfix = Postfix::start(&format!(
        "mydestination = x.example, y.example, mx.x.example\nalias_maps = inline:{{ alice={}, bob={} }}\n\
         home_mailbox = Maildir/\n",
        alice.name(),
        bob.name()
    ));
    for (user, address) in [(&alice, ALICE), (&bob, BOB)] {
        let home = Home::bare();
        home.configure(&format!(
            "addresses = [{address:?}]\n[used_log]\nwait = \"60s\"\n[sendmail]\nfor_return = true\n\
             [sendmail.smtp]\nhost = \"127.0.0.1\"\nport = {}\ntls = \"off\"\n",
            postfix.port()
        ));
        home.run(["trust", "add", "-"], &serde_json::to_vec(&shop.ledger().published().unwrap()).unwrap()).exits(0);
        // Bob has no account, and could not buy a stamp.
        if address == ALICE {
            with_account(&home, &shop);
        }
        fs::write(user.file(".forward"), format!("\"|{} deliver\"\n", postfix.file("bin/mailstamp").display()))
            .unwrap();
        if home.state().exists() {
            run(Command::new("cp").arg("-r").arg(home.file(".local")).arg(user.file("")), b"").exits(0);
        }
        user.move_in(&home);
    }
    let alice = Correspondent { address: ALICE, user: alice, postfix: &postfix };
    let bob = Correspondent { address: BOB, user: bob, postfix: &postfix };
    let mut last: Option<Vec<u8>> = None;
    let mut classes = Vec::new();
    for number in 0..10 {
        let (from, to) = if number % 2 == 0 { (&alice, &bob) } else { (&bob, &alice) };
        let arrived = from.writes(to, number, last.as_deref());
        classes.push(class(&arrived));
        last = Some(arrived);
    }
    let (paid, back, again) =
        ("first-class; reason=paid", "first-class; reason=return", "first-class; reason=multi-use");
    assert_eq!(classes, [paid, back, again, back, again, back, again, back, again, back]);
    assert_eq!(shop.balance(), 99);
    assert_eq!(shop.ledger().summary().unwrap().stamps, 1);
    shop.audit();
    // Either of them ends it: that stamp does not carry the next message any more.
    bob.mailstamp(&["revoke"], &maildir(&bob.inbox())[0]).exits(0);
    let refused = alice.writes_refused(&bob, last.as_deref().unwrap());
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
