//! A boundary that seals its results, and the mailboxes behind it: Postfix with the milter, then LMTP, Dovecot, and
//! `rules/sieve-filter.sieve`. Postfix needs root.

use crate::milter::Boundary;
use crate::support::dovecot::Dovecot;
use crate::support::programs::{eventually_or, maildir, recipe, settle};
use crate::support::resident::Resident;
use crate::support::{ALICE, Home, letter};

const BOB: &str = "bob@x.example";
const CAROL: &str = "carol@x.example";
const CLASS: &str = "Digital-Stamp-Class:";

/// A boundary, and mailboxes whose users trust it, and no vendor.
struct Site {
    boundary: Boundary,
    dovecot: Dovecot,
    _daemon: Resident,
    _keys: Home,
}

impl Site {
    fn new(more: &str) -> Self {
        let keys = Home::bare();
        let key = keys.file("seal.key");
        let keygen = ["boundary", "keygen", "--host", "mx.x.example", "--out", key.to_str().unwrap()];
        let trusted = keys.run(keygen, b"").exits(0).text();
        let dovecot = Dovecot::start();
        dovecot.administrator_script(&recipe("sieve-filter.sieve", &[]));
        for user in [ALICE, BOB, CAROL] {
            keys.configure(&format!("addresses = [\"{user}\"]\nsyslog = false\n{trusted}"));
            settle(&keys, &dovecot.home(user));
        }
        dovecot.hand_over();
        let boundary = Boundary::with_postfix(
            "milter",
            more,
            &format!("seal = \"{}\"", key.display()),
            &format!("virtual_transport = lmtp:inet:127.0.0.1:{}\n", dovecot.port()),
            "",
        );
        let daemon = Resident::of(&boundary.home);
        Self { boundary, dovecot, _daemon: daemon, _keys: keys }
    }

    /// Waits for this many messages in the inbox of a user, and returns the class fields of each.
    #[track_caller]
    fn classes(&self, user: &str, count: usize) -> Vec<String> {
        let inbox = self.dovecot.inbox(user);
        let found = || Some(maildir(&inbox)).filter(|messages| messages.len() == count);
        let otherwise = || self.boundary.postfix.log() + &self.dovecot.log();
        let fields = |message: Vec<u8>| {
            let text = String::from_utf8_lossy(&message).replace("\r\n", "\n").replace("\n ", " ");
            text.lines().filter(|line| line.starts_with(CLASS)).map(|line| format!("{line}\n")).collect::<String>()
        };
        eventually_or(user, found, otherwise).into_iter().map(fields).collect()
    }
}

#[test]
fn each_mailbox_behind_a_boundary_gets_its_own_class() {
    let site = Site::new("[actions]\ninvalid = \"tag\"");
    let home = &site.boundary.home;
    let text = String::from_utf8(letter("1")).unwrap().replace("\nDate:", &format!("\nCc: {BOB}\nDate:"));
    let forged = format!("{CLASS} first-class; reason=paid; host=mx.x.example; for={CAROL}; t=1; seal=A\n{text}");
    let message = home.affix(&home.issue(BOB, ["--value", "3"]), &home.stamped(forged.as_bytes()));
    // Carol is in Bcc, and is judged again.
    assert_eq!(site.boundary.send(&[CAROL, ALICE, BOB], &message), 250);
    for (user, class) in [
        (ALICE, "first-class; reason=paid; vendor=stamps.example;"),
        (BOB, "first-class; reason=paid; vendor=stamps.example;"),
        (CAROL, "unverified; reason=unknown-vendor; vendor=stamps.example;"),
    ] {
        let [fields] = &site.classes(user, 1)[..] else { panic!() };
        assert!(
            fields.starts_with(&format!("{CLASS} {class}")) && fields.matches(CLASS).count() == 1,
            "{user}: {fields}"
        );
        assert_eq!(fields.contains("value=3"), user == BOB, "{user}: {fields}");
    }
}

/// Postfix breaks long lines on the way in.
#[test]
fn a_seal_holds_over_long_lines() {
    let site = Site::new("");
    for (number, columns) in [997, 998, 999, 1_500, 2_048, 5_000].into_iter().enumerate() {
        let text = [letter(&columns.to_string()), "z".repeat(columns).into_bytes(), b"\nend\n".to_vec()].concat();
        assert_eq!(site.boundary.send(&[ALICE], &site.boundary.home.stamped(&text)), 250);
        let classes = site.classes(ALICE, number + 1);
        assert!(
            classes.iter().all(|class| class.starts_with(&format!("{CLASS} first-class; reason=paid;"))),
            "{columns}: {classes:?}"
        );
    }
}
