//! `mailstamp setup`: what it shows, writes and takes back. The blocks under procmail and maildrop are in
//! `tests/programs/setup.rs`.

use crate::support::programs::{chmod, eventually};
use crate::support::screen::Screen;
use crate::support::{ALICE, Home, MAILSTAMP, Run, letter, run, traced_with};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

const RC: &[u8] = b"MAILDIR=$HOME/Mail\n\n:0\n* ^Subject: \xff\ninbox";

/// The files of a home with their bytes and modes, without the state.
fn files(home: &Home) -> BTreeMap<String, (Vec<u8>, u32)> {
    let (mut open, mut found) = (vec![home.path().to_owned()], BTreeMap::new());
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() && !path.is_symlink() {
                open.push(path);
                continue;
            }
            let name = path.strip_prefix(home.path()).unwrap().to_str().unwrap().to_owned();
            if !name.starts_with(".local/state") {
                found.insert(name, (fs::read(&path).unwrap(), path.symlink_metadata().unwrap().mode() & 0o7777));
            }
        }
    }
    found
}

fn setup(home: &Home, more: &[&str]) -> Run {
    home.run(["setup", "--address", ALICE, "--incoming", "procmail"].into_iter().chain(more.iter().copied()), b"")
}

fn undo(home: &Home) -> Run {
    home.run(["setup", "--undo"], b"")
}

/// A home with a `.procmailrc` that only its user may read.
fn with_procmailrc() -> Home {
    let home = Home::bare();
    fs::write(home.file(".procmailrc"), RC).unwrap();
    chmod(&home.file(".procmailrc"), 0o640);
    home
}

#[test]
fn without_a_yes_everything_is_shown_and_nothing_written() {
    let home = with_procmailrc();
    let before = files(&home);
    let said = setup(&home, &[]).exits(0).text();
    for line in [
        "+addresses = [\"alice@x.example\"]",
        "+# >>> mailstamp setup >>>",
        " :0",
        "+name = \"correspondent\"",
        "nothing was changed; with --yes these changes are made",
    ] {
        assert!(said.lines().any(|shown| shown == line), "{line}:\n{said}");
    }
    assert_eq!(files(&home), before);
    assert!(!home.file(".local").exists());
    undo(&home).exits(0).says("there is nothing to undo: setup changed no file");
    // Without an address there is nothing to write.
    let said = home.run(["setup", "--yes"], b"").exits(64).stderr;
    assert!(said.contains("no address is given") && said.contains("--address"), "{said}");
    let said = home.run(["setup", "--yes", "--address", "@"], b"").exits(64).stderr;
    assert!(said.contains("--address \"@\""), "{said}");
    assert_eq!(files(&home), before);
}

#[test]
fn undo_restores_the_bytes_and_two_setups_are_one() {
    let home = with_procmailrc();
    let before = files(&home);
    setup(&home, &["--yes"]).exits(0);
    let after = files(&home);
    let (rc, mode) = &after[".procmailrc"];
    assert!(rc.starts_with(b"# >>> mailstamp setup >>>\n") && rc.ends_with(RC));
    let path = format!("\nMAILSTAMP={MAILSTAMP}\n");
    assert!(String::from_utf8_lossy(rc).contains(&path), "{}", String::from_utf8_lossy(rc));
    assert_eq!(*mode, 0o640);
    home.run(["config", "check"], b"").exits(0);
    let said = setup(&home, &["--yes"]).exits(0).text();
    assert!(said.contains("no file is to be changed\n"), "{said}");
    assert_eq!(files(&home), after);
    let said = undo(&home).exits(0).text();
    assert!(said.contains(".procmailrc: restored\n") && said.contains("config.toml: removed\n"), "{said}");
    assert_eq!(files(&home), before);
    assert!(!home.file(".config").exists());
    undo(&home).exits(0).says("there is nothing to undo: setup changed no file");
    // With the screener, which a setup without the option leaves on.
    setup(&home, &["--yes"]).exits(0);
    let said = setup(&home, &["--yes", "--screener"]);
    assert!(said.code == 65 && said.stderr.contains("/Maildir, which is no Maildir\n"), "{}", said.stderr);
    for folder in ["cur", "new", "tmp"] {
        fs::create_dir_all(home.file("Maildir").join(folder)).unwrap();
    }
    let said = setup(&home, &["--yes", "--screener"]).exits(0).text();
    assert!(said.contains("/Maildir (deliver.maildir): your mail must arrive there, too\n"), "{said}");
    // The configuration is the user's by now. What it lacks is TOML.
    let (_, lacks) = said.split_once("the screener is NOT on; add to ").unwrap();
    let lines: String =
        lacks.lines().skip(1).map_while(|line| line.strip_prefix("    ")).map(|it| format!("{it}\n")).collect();
    let config = fs::read_to_string(home.config()).unwrap();
    fs::write(home.config(), format!("{config}\n{lines}")).unwrap();
    let said = setup(&home, &["--yes", "--screener"]).exits(0).text();
    assert!(!said.contains("NOT on"), "{said}");
    home.run(["held", "add"], b"Subject: x\n\n").exits(0);
    fs::write(home.config(), config).unwrap();
    let screened = files(&home);
    assert!(screened != after);
    setup(&home, &["--yes"]).exits(0);
    assert_eq!(files(&home), screened);
    let said = undo(&home).exits(0).text();
    assert!(said.contains("messages that are still held: 1; mailstamp held list"), "{said}");
    assert_eq!(files(&home), before);
    // And once more from the beginning.
    setup(&home, &["--yes"]).exits(0);
    assert_eq!(files(&home), after);
    undo(&home).exits(0);
    assert_eq!(files(&home), before);
}

#[test]
fn from_an_edited_file_only_the_block_is_taken_out() {
    let home = with_procmailrc();
    setup(&home, &["--yes"]).exits(0);
    let rc = home.file(".procmailrc");
    let edited = [b"# mine\n", &fs::read(&rc).unwrap()[..], b"\n# end\n"].concat();
    fs::write(&rc, &edited).unwrap();
    // A second setup in between changes nothing of that.
    setup(&home, &["--yes"]).exits(0);
    assert_eq!(fs::read(&rc).unwrap(), edited);
    let config = format!("{}# mine\n", fs::read_to_string(home.config()).unwrap());
    fs::write(home.config(), &config).unwrap();
    let said = undo(&home).exits(65).text();
    assert!(said.contains(".procmailrc: edited since; the block of setup was taken out\n"), "{said}");
    assert!(said.contains("config.toml: edited since, and left as it is; remove what"), "{said}");
    assert_eq!(fs::read(&rc).unwrap(), [b"# mine\n", RC, b"\n# end\n"].concat());
    assert_eq!(fs::read_to_string(home.config()).unwrap(), config);
    // An edited block is the user's own.
    setup(&home, &["--yes"]).exits(0);
    let text = fs::read(&rc).unwrap();
    let edited = [&text[..40], b" mine ", &text[40..]].concat();
    fs::write(&rc, &edited).unwrap();
    let said = undo(&home).exits(65).text();
    assert!(
        said.contains(".procmailrc: has a block of setup; remove it, from \"# >>> mailstamp setup >>>\""),
        "{said}"
    );
    assert!(said.contains(".procmailrc: edited since, and left as it is"), "{said}");
    assert_eq!(fs::read(&rc).unwrap(), edited);
    // Its user removes it, and then undo is done.
    fs::write(&rc, RC).unwrap();
    fs::remove_file(home.config()).unwrap();
    undo(&home).exits(0);
    assert!(!home.file(".config").exists());
}

#[test]
fn a_link_into_a_folder_of_dotfiles_stays_a_link() {
    let home = with_procmailrc();
    fs::create_dir(home.file("dotfiles")).unwrap();
    fs::rename(home.file(".procmailrc"), home.file("dotfiles/procmailrc")).unwrap();
    symlink("dotfiles/procmailrc", home.file(".procmailrc")).unwrap();
    let before = files(&home);
    let said = setup(&home, &["--yes"]).exits(0).text();
    assert!(said.contains(&format!("--- {}", home.file("dotfiles/procmailrc").display())), "{said}");
    assert!(home.file(".procmailrc").is_symlink());
    assert!(fs::read(home.file("dotfiles/procmailrc")).unwrap().starts_with(b"# >>> mailstamp setup >>>\n"));
    undo(&home).exits(0);
    assert_eq!(files(&home), before);
}

/// Makes a file one that setup does not change.
type Spoil = fn(&Path);

#[test]
fn what_is_not_the_users_own_is_not_changed() {
    let faults: [(&str, Spoil); 5] = [
        ("has 2 hard links, expected 1", |rc| fs::hard_link(rc, rc.with_file_name("other")).unwrap()),
        ("other users may change its folder", |rc| chmod(rc.parent().unwrap(), 0o777)),
        ("the block of mailstamp setup has no end", |rc| fs::write(rc, "# >>> mailstamp setup >>>\n:0\n").unwrap()),
        ("not a regular file", |rc| {
            fs::remove_file(rc).unwrap();
            symlink("/dev/null", rc).unwrap();
        }),
        ("No such file", |rc| {
            fs::remove_file(rc).unwrap();
            symlink("nowhere", rc).unwrap();
        }),
    ];
    for (why, spoil) in faults {
        let home = with_procmailrc();
        spoil(&home.file(".procmailrc"));
        let before = files_there(&home);
        let said = setup(&home, &["--yes"]).exits(65).stderr;
        assert!(said.contains(".procmailrc: ") && said.contains(why), "{why}: {said}");
        assert_eq!(files_there(&home), before);
        assert!(!home.config().exists());
    }
}

/// The names in a home.
fn files_there(home: &Home) -> Vec<String> {
    let names = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[test]
fn files_that_are_there_are_shown_what_they_lack() {
    let home = with_procmailrc();
    home.configure("addresses = [\"alice+*@x.example\"]");
    fs::write(home.config().with_file_name("rules.toml"), "").unwrap();
    fs::write(home.file(".procmailrc"), "VERDICT=`/usr/local/bin/mailstamp classify`\n").unwrap();
    let before = files(&home);
    let said = setup(&home, &["--yes", "--address", "alice+a@x.example"]).exits(0).text();
    assert!(said.contains("config.toml is there already; add to its addresses: \"alice@x.example\"\n"), "{said}");
    assert!(said.contains("rules.toml is there already, and stays as it is"), "{said}");
    fs::create_dir_all(home.file("Maildir/new")).unwrap();
    let screened = setup(&home, &["--screener"]).exits(0).text();
    assert!(screened.contains("rules.toml: the digest is held, too, unless a rule with reply_to_mine"), "{screened}");
    fs::remove_dir_all(home.file("Maildir")).unwrap();
    assert!(said.contains(".procmailrc calls mailstamp already, and stays as it is\n"), "{said}");
    assert_eq!(files(&home), before);
}

#[test]
fn a_setup_that_is_killed_has_done_nothing_or_can_be_undone() {
    let mut ended = 0;
    for n in 1..=12 {
        let home = with_procmailrc();
        let before = files(&home);
        let inject = format!("inject=rename,fsync:signal=KILL:when={n}");
        let mut command = home.command();
        command.args(["setup", "--address", ALICE, "--incoming", "procmail", "--yes"]);
        let (ran, _) = traced_with(&mut command, &["-e", "trace=rename,fsync", "-e", &inject], b"");
        ended += usize::from(ran.code == 0);
        // doctor says when it was cut off in between.
        let now = files(&home);
        let all = ["config.toml", "rules.toml"].map(|name| now.contains_key(&format!(".config/mailstamp/{name}")));
        let is_begun = all[0] && !(all[1] && now[".procmailrc"].0 != RC);
        let open = home.run(["doctor"], b"").text();
        assert!(!is_begun || open.contains("not finished: "), "{n}: {open}");
        if n % 2 == 0 {
            // Another setup goes on.
            setup(&home, &["--yes"]).exits(0);
            assert!(fs::read(home.file(".procmailrc")).unwrap().ends_with(RC), "{n}");
            assert!(!home.run(["doctor"], b"").text().contains("not finished: "), "{n}");
        }
        undo(&home).exits(0);
        assert_eq!(files(&home), before, "{n}");
    }
    assert!(ended < 8, "{ended} of 12 setups were not killed");
}

#[test]
fn a_full_disk_changes_no_file_by_half() {
    for n in 1..=4 {
        let home = with_procmailrc();
        let before = files(&home);
        let inject = format!("inject=rename:error=ENOSPC:when={n}");
        let mut command = home.command();
        command.args(["setup", "--address", ALICE, "--incoming", "procmail", "--yes"]);
        let (ran, _) = traced_with(&mut command, &["-e", "trace=rename", "-e", &inject], b"");
        let said = ran.exits(73).stderr;
        assert!(said.contains("No space left on device"), "{said}");
        undo(&home).exits(0);
        assert_eq!(files(&home), before, "{n}");
    }
}

/// A home with sent mail, an address book, and mail that came in.
fn with_mail() -> Home {
    let home = with_procmailrc();
    for folder in ["Maildir/cur", "Maildir/new", "Maildir/.Sent/cur", "Maildir/.Junk/cur"] {
        fs::create_dir_all(home.file(folder)).unwrap();
    }
    let put = |name: &str, text: &[u8]| fs::write(home.file("Maildir").join(name), text).unwrap();
    let sent = format!("From: {ALICE}\nTo: joe@y.example\nMessage-ID: <s1@x.example>\n\nHi\n");
    put(".Sent/cur/1:2,S", sent.as_bytes());
    fs::write(home.file("book.vcf"), "BEGIN:VCARD\nEMAIL:zoe@y.example\nEND:VCARD\n").unwrap();
    let from = |from: &str, more: &str| format!("From: {from}\nTo: {ALICE}\n{more}\nHello\n");
    put("cur/1:2,S", from("joe@y.example", "").as_bytes());
    put("cur/2:2,S", from("zoe@y.example", "").as_bytes());
    put("new/3", from("eve@far.example", "").as_bytes());
    put("new/4", from("Eve <eve@far.example>", "").as_bytes());
    put("new/5", from("eva@far.example", "In-Reply-To: <s1@x.example>\n").as_bytes());
    // Not of the last year, and not what came in.
    put("new/6", from("eve@far.example", "Received: by mx.x.example; Sat, 21 Nov 2020 12:00:00 +0000\n").as_bytes());
    put(".Junk/cur/7", &letter("7"));
    home
}

#[test]
fn it_learns_and_says_what_would_have_happened() {
    let home = with_mail();
    let said = setup(&home, &["--yes", "--contacts", "book.vcf"]).exits(0).text();
    assert!(said.contains("learned: 1 correspondents, 1 messages\n"), "{said}");
    assert!(said.contains("cards: 1\nlearned: 1 correspondents\n"), "{said}");
    let review = "mail of the last year, had it been judged: 5 messages\n  let through by correspondent: 2\n  \
                  let through by reply-to-mine: 1\n  of strangers: 2, from 1 sender\n";
    assert!(said.contains(review), "{said}");
    assert!(said.contains("\nnext:\n  ") && said.contains("  vendors: no vendor is trusted yet"), "{said}");
    // The recipe is there, so doctor asks for none.
    assert!(!said.contains("no recipe of yours"), "{said}");
    // The log of verdicts has no line of that.
    assert!(!home.state().join("verdicts.jsonl").exists());
    undo(&home).exits(0);
}

#[test]
fn on_a_terminal_it_asks_and_needs_a_yes() {
    let home = with_mail();
    let before = files(&home);
    let bin = Path::new(MAILSTAMP).parent().unwrap();
    let line = format!("env HOME={} {MAILSTAMP} setup", home.path().display());
    let answer = |answers: &[(&str, &str)]| {
        let terminal = Home::bare();
        let screen = Screen::open(&terminal, bin, &line);
        for (question, text) in answers {
            if !text.is_empty() {
                screen.press_at(question, text);
            }
            screen.press_at(question, "Enter");
        }
        // The screen ends with the program.
        eventually("setup ends", || screen.text().is_empty().then_some(()));
    };
    let questions = |last: &'static str| {
        [
            ("Your addresses, with commas between them [none]:", "alice@x.example, alice+*@x.example"),
            ("Way [procmail]:", ""),
            ("Folders of sent mail [", ""),
            ("Address books (vCard files) [none]:", "~/book.vcf"),
            ("Go on? [y/N]:", last),
        ]
    };
    answer(&questions("n"));
    assert_eq!(files(&home), before);
    answer(&questions("yes"));
    let known = home.run(["correspondents"], b"").exits(0).text();
    assert!(known.contains("joe@y.example") && known.contains("zoe@y.example"), "{known}");
    assert!(fs::read_to_string(home.config()).unwrap().contains("[\"alice@x.example\", \"alice+*@x.example\"]"));
    undo(&home).exits(0);
    assert_eq!(files(&home), before);
}

#[test]
fn postfix_is_asked_where_it_delivers() {
    // Postfix delivers by itself into a Maildir: procmail is to go on there.
    let home = Home::bare();
    fs::create_dir_all(home.file("etc")).unwrap();
    fs::create_dir_all(home.file("Maildir/new")).unwrap();
    fs::write(home.file("etc/main.cf"), "home_mailbox = Maildir/\n").unwrap();
    fs::write(home.file("etc/master.cf"), "").unwrap();
    let setup = |more: &[&str]| {
        let mut command = home.command();
        command.env("MAIL_CONFIG", home.file("etc"));
        run(command.args(["setup", "--address", ALICE]).args(more), b"")
    };
    let before = files(&home);
    setup(&["--yes"]).exits(0);
    let forward = fs::read_to_string(home.file(".forward")).unwrap();
    assert!(forward.contains("\n\"|/usr/bin/procmail -t\"\n"), "{forward}");
    let rc = fs::read_to_string(home.file(".procmailrc")).unwrap();
    assert!(
        rc.ends_with("# <<< mailstamp setup <<<\n\n# Where Postfix delivers (home_mailbox).\nDEFAULT=$HOME/Maildir/\n")
    );
    setup(&["--yes"]).exits(0);
    assert_eq!(fs::read_to_string(home.file(".procmailrc")).unwrap(), rc);
    undo(&home).exits(0);
    assert_eq!(files(&home), before);
    // With another local delivery, ~/.forward is not setup's to write.
    fs::write(home.file("etc/main.cf"), "mailbox_transport = lmtp:unix:private/dovecot\n").unwrap();
    let said = setup(&["--yes", "--incoming", "forward"]).exits(65).stderr;
    assert!(said.contains("--incoming forward: needs Postfix"), "{said}");
    let said = setup(&[]).exits(0).text();
    assert!(said.starts_with("mail comes in by: none\n"), "{said}");
}
