//! The recipes `rules/sieve-execute.sieve`, `rules/sieve-filter.sieve` and `rules/dovecot-sieve.conf` under Dovecot's
//! LMTP server with Pigeonhole, with virtual users.

use crate::support::dovecot::Dovecot;
use crate::support::programs::{
    Sample, chmod, contents, expected, field, from_list, gtube, install, letter_with_forged_class, maildir,
    one_of_each, program, recipe, settle, stand_in,
};
use crate::support::smtp::{Protocol, send};
use crate::support::{ALICE, Home, letter, run};
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

const RECIPES: [&str; 2] = ["sieve-execute.sieve", "sieve-filter.sieve"];

/// Delivers to one recipient; the code of the answer.
fn deliver(dovecot: &Dovecot, recipient: &str, message: &[u8]) -> u16 {
    send(Protocol::Lmtp, dovecot.port(), "bob@y.example", &[recipient], message)[0]
}

/// A Dovecot whose user [`ALICE`] has this recipe, and the configuration of `home`.
fn with_recipe(name: &str, home: &Home) -> Dovecot {
    let dovecot = Dovecot::start();
    settle(home, &dovecot.home(ALICE));
    dovecot.script(ALICE, &recipe(name, &[]));
    dovecot.hand_over();
    dovecot
}

#[test]
fn each_class_goes_its_own_way() {
    // BC15b, BC13; BC10a: unstamped mail goes on through another filter; BC11: a stamp rescues what it would call spam.
    for name in RECIPES {
        let home = Home::new();
        let samples = one_of_each(&home);
        let dovecot = with_recipe(name, &home);
        for Sample { class, message } in samples {
            assert_eq!(deliver(&dovecot, ALICE, &message), 250, "{name}, {class}: {}", dovecot.log());
        }
        let wanted = expected(&[
            ("", &["allowed", "first-class", "unstamped"]),
            (".Invalid", &["invalid"]),
            (".Junk", &["junk"]),
            (".Revoked", &["revoked"]),
            (".Underpaid", &["underpaid"]),
            (".Unverified", &["unverified"]),
            (".Used", &["used"]),
        ]);
        assert_eq!(contents(&dovecot.inbox(ALICE)), wanted, "{name}: {}", dovecot.log());
        if name == "sieve-filter.sieve" {
            let used = &maildir(&dovecot.inbox(ALICE).join(".Used"))[0];
            assert!(field(used, "Digital-Stamp-Class").unwrap().starts_with("used; reason=used;"));
        }
    }
}

#[test]
fn a_stamp_or_a_rule_brings_what_spamassassin_would_stop() {
    // BC1, BC10a, BC11: the lines for SpamAssassin in the recipe, without their comment signs, in place of
    // bogofilter's.
    // BC9.3: so does a rule, here one on the mailing list.
    let home = Home::new();
    let dovecot = Dovecot::start();
    symlink(program("spamassassin", "spamassassin"), dovecot.file("bin/spamassassin")).unwrap();
    fs::write(home.config().with_file_name("rules.toml"), recipe("rules.toml", &[])).unwrap();
    settle(&home, &dovecot.home(ALICE));
    let edits =
        [("#filter \"spam", "filter \"spam"), ("#if header", "if header"), ("if execute :pipe \"bogofilter\" {", "")];
    dovecot.script(ALICE, &recipe("sieve-filter.sieve", &edits));
    dovecot.hand_over();
    for message in [gtube("1"), home.stamped(&gtube("2")), letter("3"), from_list(&gtube("4"))] {
        assert_eq!(deliver(&dovecot, ALICE, &message), 250, "{}", dovecot.log());
    }
    let wanted = expected(&[("", &["2", "3", "4"]), (".Junk", &["1"])]);
    assert_eq!(contents(&dovecot.inbox(ALICE)), wanted, "{}", dovecot.log());
}

#[test]
fn what_cannot_be_judged_is_kept_apart_and_judged_later() {
    // Nothing is lost, and no class is taken from what the sender wrote into the header.
    for name in RECIPES {
        let home = Home::new();
        let dovecot = with_recipe(name, &home);
        let mailstamp = dovecot.file("bin/mailstamp");
        let message = home.stamped(&letter_with_forged_class("1"));
        let mut wanted = Vec::new();
        for script in
            ["cat >/dev/null; exit 75", "cat >/dev/null; exit 1", "echo first-class paid; cat >/dev/null; exit 101"]
        {
            stand_in(&mailstamp, &format!("#!/bin/sh\n{script}\n"));
            assert_eq!(deliver(&dovecot, ALICE, &message), 250, "{name}, {script}: {}", dovecot.log());
            wanted.push("1");
            assert_eq!(contents(&dovecot.inbox(ALICE)), expected(&[(".Undecided", &wanted)]), "{name}, {script}");
        }
        chmod(&mailstamp, 0o644);
        assert_eq!(deliver(&dovecot, ALICE, &message), 250);
        wanted.push("1");
        assert_eq!(contents(&dovecot.inbox(ALICE)), expected(&[(".Undecided", &wanted)]), "{name}");
        let forged = |message: &Vec<u8>| field(message, "Digital-Stamp-Class").is_some();
        if name == "sieve-filter.sieve" {
            assert!(!maildir(&dovecot.inbox(ALICE).join(".Undecided")).iter().any(forged));
        }
        // The fault is over. The command is the one in the recipe, with the user named.
        std::fs::remove_file(&mailstamp).unwrap();
        install(dovecot.file("").as_path());
        let said = dovecot.sieve_filter(ALICE, &["-e", "-W", "SCRIPT", "Undecided", "delete"]);
        assert_eq!(
            contents(&dovecot.inbox(ALICE)),
            expected(&[("", &wanted)]),
            "{name}: {}{}",
            said.text(),
            said.stderr
        );
    }
}

#[test]
fn a_message_that_could_not_be_stored_is_still_first_class_when_it_is_tried_again() {
    // The stamp was spent, then the maildir could not be written: 451. BC13, BP4i, BX4: another message with it is
    // used.
    for name in RECIPES {
        let home = Home::new();
        let dovecot = with_recipe(name, &home);
        let stamp = home.issue(ALICE, []);
        let first = home.affix(&stamp, &letter("1"));
        let inbox = dovecot.inbox(ALICE);
        assert_eq!(deliver(&dovecot, ALICE, &letter("0")), 250, "{}", dovecot.log());
        chmod(&inbox.join("tmp"), 0o500);
        assert_eq!(deliver(&dovecot, ALICE, &first), 451, "{name}: {}", dovecot.log());
        chmod(&inbox.join("tmp"), 0o700);
        assert_eq!(deliver(&dovecot, ALICE, &home.affix(&stamp, &letter("2"))), 250);
        assert_eq!(deliver(&dovecot, ALICE, &first), 250);
        assert_eq!(contents(&inbox), expected(&[("", &["0", "1"]), (".Used", &["2"])]), "{name}: {}", dovecot.log());
        if name == "sieve-filter.sieve" {
            let classes: Vec<_> = maildir(&inbox).iter().filter_map(|m| field(m, "Digital-Stamp-Class")).collect();
            assert!(classes.iter().any(|class| class.starts_with("first-class; reason=again;")), "{classes:?}");
        }
    }
}

#[test]
fn virtual_users_have_a_log_each() {
    // One Unix user, one configuration, two mailboxes: a stamp for alice is hers alone, and neither sees the other's
    // log.
    let carol = "carol@z.example";
    let home = Home::new();
    let dovecot = Dovecot::start();
    let system = dovecot.file("etc");
    settle(&home, &dovecot.file("homes"));
    fs::rename(dovecot.file("homes/.config/mailstamp"), &system).unwrap();
    let text =
        format!("syslog = false\naddresses = [\"%u\"]\nstate = \"{}/%d/%n/stamps\"\n", dovecot.file("homes").display());
    fs::write(system.join("config.toml"), text).unwrap();
    run(Command::new("chmod").args(["-R", "go+rX"]).arg(&system), b"").exits(0);
    // What the recipe finds in /etc/mailstamp is elsewhere here.
    let config = format!("[\"--config\", \"{}/config.toml\", \"classify\"", system.display());
    for user in [ALICE, carol] {
        dovecot.home(user);
        dovecot.script(user, &recipe("sieve-execute.sieve", &[("[\"classify\"", &config)]));
    }
    dovecot.hand_over();
    let serial = ["--serial", "the-same"];
    let for_alice = home.affix(&home.issue(ALICE, serial), &letter("1"));
    let for_carol = home.affix(&home.issue(carol, serial), &letter("2"));
    for (user, message) in [(ALICE, &for_alice), (carol, &for_carol), (carol, &for_alice)] {
        assert_eq!(deliver(&dovecot, user, message), 250, "{}", dovecot.log());
    }
    assert_eq!(contents(&dovecot.inbox(ALICE)), expected(&[("", &["1"])]), "{}", dovecot.log());
    assert_eq!(contents(&dovecot.inbox(carol)), expected(&[("", &["2"]), (".Invalid", &["1"])]), "{}", dovecot.log());
    for user in [ALICE, carol] {
        assert!(dovecot.home(user).join("stamps/used.redb").is_file(), "{user}");
    }
    // One message to both in one session: each judges on their own.
    let both = home.affix(&home.issue(carol, []), &home.stamped(&letter("3")));
    let codes = send(Protocol::Lmtp, dovecot.port(), "bob@y.example", &[ALICE, carol], &both);
    assert_eq!(codes, [250, 250], "{}", dovecot.log());
    assert_eq!(contents(&dovecot.inbox(ALICE)), expected(&[("", &["1", "3"])]));
    assert_eq!(contents(&dovecot.inbox(carol))[0], expected(&[("", &["2", "3"])])[0]);
}
