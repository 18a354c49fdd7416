//! The recipes `rules/sieve-execute.sieve`, `rules/sieve-filter.sieve` and `rules/dovecot-sieve.conf` under Dovecot's
//! LMTP server with Pigeonhole, with virtual users.

use crate::support::dovecot::Dovecot;
use crate::support::faults::{FAULTS, Fault, HANGS, SPELLINGS, class_fields, mend, set_aside};
use crate::support::peers::{assert_same_fields, exchanged, own_key_in};
use crate::support::programs::{
    Sample, chmod, contents, expected, field, from_list, gtube, letter_with_forged_class, maildir, one_of_each,
    program, recipe, settle, with_folder_each,
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

/// A Dovecot with this recipe and a folder for each class, whose user [`ALICE`] has the configuration of `home`.
fn with_recipe(name: &str, home: &Home) -> Dovecot {
    let dovecot = Dovecot::start();
    settle(home, &dovecot.home(ALICE));
    dovecot.administrator_script(&with_folder_each(&recipe(name, &[])));
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
            (".Junk", &["junk", "revoked"]),
            (".invalid", &["invalid"]),
            (".underpaid", &["underpaid"]),
            (".unverified", &["unverified"]),
            (".used", &["used"]),
        ]);
        assert_eq!(contents(&dovecot.inbox(ALICE)), wanted, "{name}: {}", dovecot.log());
        if name == "sieve-filter.sieve" {
            let used = &maildir(&dovecot.inbox(ALICE).join(".used"))[0];
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
    let text = recipe("sieve-filter.sieve", &[]);
    let (before, rest) = text.split_once("#else {").unwrap();
    let (spamassassin, _) = rest.split_once("elsif execute").unwrap();
    dovecot.administrator_script(&format!("{before}else {{{}", spamassassin.replace("\n#", "\n")));
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
    let still_strips = "case $1 in classify|filter) cat >/dev/null; exit 75;; esac; exec REAL \"$@\"";
    let killed = "case $1 in strip|filter) kill -9 $$;; esac; exec REAL \"$@\"";
    let more = [("cannot decide", Fault::Script(still_strips)), ("killed as a filter", Fault::Script(killed))];
    for name in RECIPES {
        let home = Home::new();
        let dovecot = with_recipe(name, &home);
        let mailstamp = dovecot.file("bin/mailstamp");
        set_aside(&mailstamp);
        let message = letter_with_forged_class("1");
        let mut wanted = Vec::new();
        for (what, fault) in FAULTS.into_iter().chain(more) {
            fault.put(&mailstamp);
            assert_eq!(deliver(&dovecot, ALICE, &message), 250, "{name}, {what}: {}", dovecot.log());
            wanted.push("1");
            assert_eq!(contents(&dovecot.inbox(ALICE)), expected(&[(".Undecided", &wanted)]), "{name}, {what}");
        }
        let undecided = maildir(&dovecot.inbox(ALICE).join(".Undecided"));
        let whole =
            |message: &Vec<u8>| String::from_utf8_lossy(message).replace('\r', "").into_bytes().ends_with(&letter("1"));
        assert!(undecided.iter().all(whole), "{name}: a message was changed");
        // A mailstamp that cannot decide still removes the sender's field.
        assert_eq!(undecided.iter().filter(|message| class_fields(message) == 0).count(), 1, "{name}");
        // The faults are over. The command is the one in the recipe, with the user named.
        mend(&mailstamp, true);
        let said = dovecot.sieve_filter(ALICE, &["-e", "-W", "-m", "INBOX", "SCRIPT", "Undecided", "delete"]);
        let inbox = contents(&dovecot.inbox(ALICE));
        assert_eq!(inbox, expected(&[("", &wanted)]), "{name}: {}{}", said.text(), said.stderr);
        let own = usize::from(name == "sieve-filter.sieve");
        assert!(maildir(&dovecot.inbox(ALICE)).iter().all(|message| class_fields(message) == own), "{name}");
    }
}

#[test]
fn a_program_that_hangs_leaves_the_message_to_the_mail_system() {
    // Dovecot's process panics at the end of its limit, and answers nothing.
    let limits = [("sieve_execute_exec_timeout = 60s", "sieve_execute_exec_timeout = 1s")];
    for name in RECIPES {
        let home = Home::new();
        let dovecot = Dovecot::with_edits(&limits);
        settle(&home, &dovecot.home(ALICE));
        dovecot.administrator_script(&recipe(name, &[]));
        dovecot.hand_over();
        set_aside(&dovecot.file("bin/mailstamp"));
        HANGS.put(&dovecot.file("bin/mailstamp"));
        assert_eq!(deliver(&dovecot, ALICE, &letter_with_forged_class("1")), 0, "{name}: {}", dovecot.log());
        assert_eq!(contents(&dovecot.inbox(ALICE)), [], "{name}");
    }
}

#[test]
fn a_header_line_without_a_colon_is_delivered() {
    // "deleteheader" crashes Dovecot on it.
    for name in RECIPES {
        let home = Home::new();
        let dovecot = with_recipe(name, &home);
        for (id, more) in
            [("1", "no colon here\n"), ("2", "no colon here\nDigital-Stamp-Class: first-class; reason=paid\n")]
        {
            let message = String::from_utf8(letter(id)).unwrap().replacen("\n\n", &format!("\n{more}\n"), 1);
            assert_eq!(deliver(&dovecot, ALICE, message.as_bytes()), 250, "{name}: {}", dovecot.log());
        }
        assert_eq!(contents(&dovecot.inbox(ALICE)), expected(&[("", &["1", "2"])]), "{name}: {}", dovecot.log());
        // A line that continues nothing, and no field.
        for message in [" x\nSubject: y\n\nbody\n", " x\n\nbody\n", "\nbody\n"] {
            assert_eq!(deliver(&dovecot, ALICE, message.as_bytes()), 250, "{name}: {}", dovecot.log());
        }
        assert_eq!(maildir(&dovecot.inbox(ALICE)).len(), 5, "{name}: {}", dovecot.log());
        let own = usize::from(name == "sieve-filter.sieve");
        assert!(maildir(&dovecot.inbox(ALICE)).iter().all(|message| class_fields(message) == own), "{name}");
        assert!(!dovecot.log().contains("Panic"), "{}", dovecot.log());
    }
}

#[test]
fn forged_class_fields_do_not_arrive_in_any_spelling() {
    for name in RECIPES {
        let home = Home::new();
        let dovecot = with_recipe(name, &home);
        for (number, spellings) in SPELLINGS.chunks(8).enumerate() {
            let forged = spellings.join("\n") + "\n";
            let message = [forged.as_bytes(), &letter(&number.to_string())].concat();
            assert_eq!(deliver(&dovecot, ALICE, &message), 250, "{name}: {}", dovecot.log());
        }
        let arrived = maildir(&dovecot.inbox(ALICE));
        assert_eq!(arrived.len(), SPELLINGS.len().div_ceil(8), "{name}: {}", dovecot.log());
        for message in arrived {
            let own = usize::from(name == "sieve-filter.sieve");
            assert_eq!(class_fields(&message), own, "{name}: {}", String::from_utf8_lossy(&message));
        }
    }
}

#[test]
fn the_script_of_a_user_sorts_what_is_left_and_runs_no_program() {
    // One Unix user has all mailboxes, so a user's script that could run mailstamp could read every user's held mail.
    for name in RECIPES {
        let home = Home::new();
        let dovecot = with_recipe(name, &home);
        let sorts = "require [\"fileinto\", \"mailbox\"];\n\
             if header :contains \"Subject\" \"serious\" { fileinto :create \"Serious\"; }\n";
        dovecot.script(ALICE, sorts);
        dovecot.hand_over();
        assert_eq!(deliver(&dovecot, ALICE, &letter("1")), 250, "{}", dovecot.log());
        assert_eq!(deliver(&dovecot, ALICE, &home.stamped(&letter("2"))), 250, "{}", dovecot.log());
        let wanted = expected(&[("", &["2"]), (".Serious", &["1"])]);
        assert_eq!(contents(&dovecot.inbox(ALICE)), wanted, "{name}: {}", dovecot.log());
        for (capability, runs) in [("execute", "execute :output \"stolen\""), ("filter", "filter")] {
            let steals = format!(
                "require [\"vnd.dovecot.{capability}\", \"variables\", \"fileinto\", \"mailbox\"];\n\
                 if {runs} \"mailstamp\" [\"correspondents\"] {{ fileinto :create \"Stolen\"; }}\n"
            );
            dovecot.script(ALICE, &steals);
            dovecot.hand_over();
            assert_eq!(deliver(&dovecot, ALICE, &letter(capability)), 250, "{}", dovecot.log());
        }
        let wanted = expected(&[("", &["2", "execute", "filter"]), (".Serious", &["1"])]);
        assert_eq!(contents(&dovecot.inbox(ALICE)), wanted, "{name}: {}", dovecot.log());
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
        assert_eq!(contents(&inbox), expected(&[("", &["0", "1"]), (".used", &["2"])]), "{name}: {}", dovecot.log());
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
    let config = format!("[\"--config\", \"{}/config.toml\", ", system.display());
    let (classify, strip) = (format!("{config}\"classify\""), format!("{config}\"strip\""));
    let edits = [("[\"classify\"", classify.as_str()), ("[\"strip\"", strip.as_str())];
    dovecot.administrator_script(&with_folder_each(&recipe("sieve-execute.sieve", &edits)));
    for user in [ALICE, carol] {
        dovecot.home(user);
    }
    dovecot.hand_over();
    let serial = ["--serial", "the-same"];
    let for_alice = home.affix(&home.issue(ALICE, serial), &letter("1"));
    let for_carol = home.affix(&home.issue(carol, serial), &letter("2"));
    for (user, message) in [(ALICE, &for_alice), (carol, &for_carol), (carol, &for_alice)] {
        assert_eq!(deliver(&dovecot, user, message), 250, "{}", dovecot.log());
    }
    assert_eq!(contents(&dovecot.inbox(ALICE)), expected(&[("", &["1"])]), "{}", dovecot.log());
    assert_eq!(contents(&dovecot.inbox(carol)), expected(&[("", &["2"]), (".invalid", &["1"])]), "{}", dovecot.log());
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

#[test]
fn the_fields_of_correspondents_with_keys_arrive_whole() {
    for name in RECIPES {
        let home = Home::new();
        let dovecot = with_recipe(name, &home);
        own_key_in(&dovecot.home(ALICE).join(".local/state/mailstamp"), ALICE);
        dovecot.hand_over();
        let sent = exchanged(ALICE, &letter("1"));
        assert_eq!(deliver(&dovecot, ALICE, &sent), 250, "{name}: {}", dovecot.log());
        let arrived = &maildir(&dovecot.inbox(ALICE))[0];
        assert_same_fields(arrived, &sent);
        if name == "sieve-filter.sieve" {
            assert!(field(arrived, "Digital-Stamp-Class").unwrap().starts_with("first-class; reason=peer;"), "{name}");
        }
    }
}
