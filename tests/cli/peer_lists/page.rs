//! The scripts of mailstamp-peer(1) for the owner of a list, as they stand there.

use super::{LIST, MailingList};
use crate::support::programs::{field, install, stand_in};
use crate::support::run;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

const ALICE: &str = "alice@x.example";

/// The block of the page that contains this.
fn block(with: &str) -> &'static str {
    let page = include_str!("../../../man/mailstamp-peer.1");
    let mut blocks = page.split(".Bd -literal -offset indent\n").map(|rest| rest.split(".Ed\n").next().unwrap());
    blocks.find(|block| block.contains(with)).unwrap()
}

/// A shell of the owner that runs this. Programs beside mailstamp stand in `bin`, which is returned too.
fn shell(list: &MailingList, script: &str) -> (Command, PathBuf) {
    let bin = install(list.owner.home.path());
    let path = format!("{}:/usr/bin:/bin", bin.display());
    let home = list.owner.home.path();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]).env_clear().env("HOME", home).env("PATH", path).env("TMPDIR", home);
    command.current_dir(home);
    (command, bin)
}

/// What the stand-in of a program was given, by call.
fn given(list: &MailingList) -> Vec<String> {
    let all = fs::read_to_string(list.owner.home.file("given")).unwrap_or_default();
    all.split("== ").skip(1).map(str::to_owned).collect()
}

#[test]
fn the_daily_job_sends_stamps_to_members_with_a_key_only() {
    let list = MailingList::new();
    let alice = list.member_without_stamp(ALICE);
    let day = || {
        let (mut command, bin) = shell(&list, block("mlmmj-list"));
        stand_in(
            &bin.join("mlmmj-list"),
            &format!("#!/bin/sh\nprintf 'dave@w.example\\n{ALICE}\\neve@w.example\\n'\n"),
        );
        stand_in(&bin.join("sendmail"), "#!/bin/sh\n{ echo \"== $*\"; cat; } >> $HOME/given\n");
        run(&mut command, b"")
    };
    let said = day();
    assert!(said.stderr.contains("dave@w.example: is no correspondent"), "{}", said.stderr);
    let sent = given(&list);
    assert_eq!(sent.len(), 1, "{sent:?}");
    let (args, message) = sent[0].split_once('\n').unwrap();
    assert_eq!(
        (args, field(message.as_bytes(), "To").as_deref()),
        ("-i -f ann@lists.example -- alice@x.example", Some(ALICE))
    );
    alice.gets(message.as_bytes());
    assert!(field(&alice.sends(LIST, "1", None), "Digital-Stamp").is_some());
    // The next day brings nothing new.
    day();
    assert_eq!(given(&list).len(), 1);
}

#[test]
fn a_post_that_cannot_be_judged_now_is_not_lost() {
    let list = MailingList::new();
    let post = list.member(ALICE).sends(LIST, "1", None);
    let posted = || {
        let (mut command, bin) = shell(&list, block("mlmmj-receive"));
        stand_in(&bin.join("mlmmj-receive"), "#!/bin/sh\n{ echo \"== $*\"; cat; } >> $HOME/given\n");
        run(&mut command, &post)
    };
    let config = list.owner.home.config();
    let right = fs::read_to_string(&config).unwrap();
    fs::write(&config, "addresses = 1").unwrap();
    posted().exits(75);
    assert_eq!(given(&list), [""; 0]);
    fs::write(&config, right).unwrap();
    posted().exits(0);
    let taken = given(&list);
    assert!(taken.len() == 1 && taken[0].contains("Digital-Stamp-Class: first-class; reason=peer"), "{taken:?}");
    let left = fs::read_dir(list.owner.home.path()).unwrap().filter_map(Result::ok);
    assert_eq!(left.filter(|entry| entry.file_name().to_string_lossy().starts_with("tmp.")).count(), 0);
}
