//! The blocks of `mailstamp setup` under procmail, maildrop and Postfix: messages get the class field and go where the
//! user's own rules put them. Without mailstamp, mail still arrives, and undo restores the files.

use crate::support::dovecot::Dovecot;
use crate::support::faults::class_fields;
use crate::support::postfix::{Postfix, User};
use crate::support::programs::{
    chmod, field, ids, install, letter_with_forged_class, maildir, program, recipe, settle, stand_in, with_screener,
};
use crate::support::smtp::{Protocol, send};
use crate::support::{ALICE, Home, Run, letter, run};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A home with the user's own recipe, set up.
struct SetUp {
    home: Home,
    rc: PathBuf,
    own: String,
    has_maildrop: bool,
}

impl SetUp {
    fn new(has_maildrop: bool) -> Self {
        Self::with(has_maildrop, &[])
    }

    fn with(has_maildrop: bool, more: &[&str]) -> Self {
        let home = Home::bare();
        let bin = install(home.path());
        let path = home.path().display();
        let (name, own) = if has_maildrop {
            // maildrop takes HOME from the passwd file, whatever the environment says.
            let own = format!(
                "HOME=\"{path}\"\nDEFAULT=\"{path}/Maildir\"\nif ( /^Subject:.*list/ )\n{{\n   to \"{path}/Maildir/.list\"\n}}\n"
            );
            (".mailfilter", own)
        } else {
            (".procmailrc", format!("DEFAULT={path}/Maildir/\n\n:0\n* ^Subject:.*list\n$DEFAULT.list/\n"))
        };
        let rc = home.file(name);
        fs::write(&rc, &own).unwrap();
        chmod(&rc, 0o600);
        let maildirmake = program("maildirmake.maildrop", "maildrop");
        run(Command::new(&maildirmake).arg(home.file("Maildir")), b"").exits(0);
        run(Command::new(&maildirmake).args(["-f", "list"]).arg(home.file("Maildir")), b"").exits(0);
        let mut setup = Command::new(bin.join("mailstamp"));
        setup.env_clear().env("HOME", home.path()).args(["setup", "--address", ALICE, "--yes"]);
        run(setup.args(more), b"").exits(0);
        Self { home, rc, own, has_maildrop }
    }

    fn deliver(&self, message: &[u8]) -> Run {
        if self.has_maildrop {
            let mut maildrop = Command::new(program("maildrop", "maildrop"));
            // maildrop takes HOME from the passwd file; mailstamp's must be this one.
            let text = fs::read_to_string(&self.rc).unwrap();
            let rc = self.home.file("rc");
            fs::write(&rc, format!("HOME=\"{}\"\n{text}", self.home.path().display())).unwrap();
            chmod(&rc, 0o600);
            return run(maildrop.arg(rc).current_dir(self.home.path()), message);
        }
        let home = format!("HOME={}", self.home.path().display());
        let procmail = program("procmail", "procmail");
        run(Command::new(procmail).args(["-t", "-m", &home]).arg(&self.rc).current_dir(self.home.path()), message)
    }

    fn inbox(&self) -> PathBuf {
        self.home.file("Maildir")
    }
}

fn classes(folder: &Path) -> Vec<Option<String>> {
    maildir(folder).iter().map(|message| field(message, "Digital-Stamp-Class")).collect()
}

#[test]
fn the_class_is_written_and_the_users_rules_still_sort() {
    for has_maildrop in [false, true] {
        let it = SetUp::new(has_maildrop);
        it.deliver(&letter_with_forged_class("1")).exits(0);
        // As Postfix hands it to a program.
        let line = b"From bob@far.example Mon Nov 30 16:00:00 2026\n";
        it.deliver(&[&line[..], &letter("3")].concat()).exits(0);
        let list = String::from_utf8(letter("2")).unwrap().replace("a serious matter", "a list");
        it.deliver(list.as_bytes()).exits(0);
        let blank = " x\nSubject: a list\nMessage-ID: <0@y.example>\n\nbody\n";
        it.deliver(blank.as_bytes()).exits(0);
        let unstamped = Some("unstamped; reason=no-stamp; action=deliver".to_owned());
        assert_eq!(classes(&it.inbox()), [unstamped.clone(), unstamped.clone()], "maildrop: {has_maildrop}");
        assert_eq!(classes(&it.inbox().join(".list")), [unstamped.clone(), unstamped]);
        let mut inbox = ids(&it.inbox());
        inbox.sort();
        assert_eq!(
            (inbox, ids(&it.inbox().join(".list"))),
            (vec!["1".into(), "3".into()], vec!["0".into(), "2".into()])
        );
        it.home.run(["setup", "--undo"], b"").exits(0);
        assert_eq!(fs::read_to_string(&it.rc).unwrap(), it.own);
    }
}

#[test]
fn mail_arrives_unchanged_when_mailstamp_fails_or_is_gone() {
    for has_maildrop in [false, true] {
        let it = SetUp::new(has_maildrop);
        let mailstamp = it.home.file("bin/mailstamp");
        let as_filter = |line: &str| format!("#!/bin/sh\n[ \"$1\" = --version ] && exec echo mailstamp 1\n{line}\n");
        let scripts = [
            None,
            Some("#!/bin/sh\nexit 0\n".to_owned()),
            Some(as_filter("exit 75")),
            Some(as_filter("head -c 9; kill -9 $$")),
        ];
        for (n, script) in scripts.iter().enumerate() {
            fs::remove_file(&mailstamp).unwrap_or_default();
            if let Some(script) = script {
                stand_in(&mailstamp, script);
            }
            let forged = "digital-STAMP-class : first-class;\n\treason=paid\nDigital-Stamp-Class \t: allowed\n";
            it.deliver(&[forged.as_bytes(), &letter_with_forged_class(&n.to_string())].concat()).exits(0);
        }
        // Without a class, and without the sender's, however that was written.
        assert_eq!(classes(&it.inbox()), vec![None; scripts.len()], "maildrop: {has_maildrop}");
        for message in maildir(&it.inbox()) {
            assert_eq!(class_fields(&message), 0, "{}", String::from_utf8_lossy(&message));
            let text = String::from_utf8(message).unwrap();
            let id = text.split("Message-ID: <").nth(1).unwrap().split('@').next().unwrap();
            assert!(text.trim_end().ends_with(String::from_utf8_lossy(&letter(id)).trim_end()), "{text}");
        }
        // Another program that swallows the message: it waits in the mail system.
        stand_in(&mailstamp, &as_filter("echo 'Subject: x'"));
        it.deliver(&letter("9")).exits(75);
        assert_eq!(ids(&it.inbox()).len(), scripts.len());
    }
}

#[test]
fn the_screener_holds_strangers_and_takes_answers() {
    for has_maildrop in [false, true] {
        let it = SetUp::with(has_maildrop, &["--screener"]);
        let path = it.home.path().display().to_string();
        let config = fs::read_to_string(it.home.config()).unwrap();
        let sendmail = format!("[replies]\nsendmail = \"{path}/sendmail\"\n");
        fs::write(it.home.config(), format!("{config}[deliver]\nmaildir = \"{path}/Maildir\"\n{sendmail}")).unwrap();
        stand_in(&it.home.file("sendmail"), &format!("#!/bin/sh\ncat > {path}/digest\n"));
        // With CRLF, which procmail leaves to the class field, too.
        it.deliver(String::from_utf8(letter("1")).unwrap().replace('\n', "\r\n").as_bytes()).exits(0);
        it.deliver(&letter("2")).exits(0);
        assert_eq!((ids(&it.inbox()), ids(&it.home.state().join("held"))), (vec![], vec!["1".into(), "2".into()]));
        it.home.run(["held", "digest"], b"").exits(0);
        let digest = fs::read(it.home.file("digest")).unwrap();
        // The digest is let through.
        it.deliver(&digest).exits(0);
        assert_eq!(maildir(&it.inbox()).len(), 1, "maildrop: {has_maildrop}");
        let text = String::from_utf8(digest).unwrap().replace("=\n", "").replace("=3D", "=").replace("%20", " ");
        let subjects: Vec<&str> = text.lines().filter_map(|line| line.split_once("?subject=")).map(|it| it.1).collect();
        let [allow, _, _, never] = subjects[..] else { panic!("{text}") };
        let answer = |subject: &str, id: &str| {
            let message = format!("From: {ALICE}\nMessage-ID: <{id}@x.example>\nSubject: {subject}\n\n\n");
            it.deliver(message.as_bytes()).exits(0);
        };
        answer(allow, "a");
        answer(never, "n");
        assert_eq!(ids(&it.home.state().join("held")), Vec::<String>::new());
        let mut ids = ids(&it.inbox());
        ids.retain(|id| !id.contains("digest"));
        assert_eq!(ids, ["1"], "maildrop: {has_maildrop}");
        // A second answer is ordinary mail, and so is held.
        answer(allow, "again");
        assert_eq!(crate::support::programs::ids(&it.home.state().join("held")), ["again"]);
        // Without mailstamp, all mail arrives.
        fs::remove_file(it.home.file("bin/mailstamp")).unwrap();
        it.deliver(&letter("5")).exits(0);
        assert!(crate::support::programs::ids(&it.inbox()).contains(&"5".to_owned()));
    }
}

#[test]
fn the_screener_works_in_the_sieve_scripts_of_dovecot() {
    for name in ["sieve-filter.sieve", "sieve-execute.sieve"] {
        let home = Home::new();
        let dovecot = Dovecot::start();
        let sendmail = dovecot.file("sendmail");
        stand_in(&sendmail, &format!("#!/bin/sh\ncat > {}/digest\n", dovecot.home(ALICE).display()));
        home.configure(&format!(
            "addresses = [\"{ALICE}\"]\n[actions]\nunstamped = \"hold\"\n[replies]\nsendmail = {sendmail:?}\n\
             [deliver]\nmaildir = {:?}\n",
            dovecot.inbox(ALICE)
        ));
        fs::write(home.config().with_file_name("rules.toml"), recipe("rules.toml", &[])).unwrap();
        settle(&home, &dovecot.home(ALICE));
        dovecot.administrator_script(&with_screener(&recipe(name, &[])));
        dovecot.hand_over();
        let deliver = |message: &[u8]| {
            let code = send(Protocol::Lmtp, dovecot.port(), "bob@y.example", &[ALICE], message)[0];
            assert_eq!(code, 250, "{}", dovecot.log());
        };
        let held = || ids(&dovecot.home(ALICE).join(".local/state/mailstamp/held"));
        deliver(&letter("1"));
        assert_eq!((held(), ids(&dovecot.inbox(ALICE)).len()), (vec!["1".to_owned()], 0), "{}", dovecot.log());
        // As the mail user, to whom the held mail belongs.
        let owner = fs::metadata(dovecot.home(ALICE)).unwrap();
        let mut digest = Command::new("setpriv");
        digest.args(["--reuid", &owner.uid().to_string(), "--regid", &owner.gid().to_string(), "--clear-groups", "--"]);
        digest.arg(dovecot.file("bin/mailstamp")).args(["held", "digest"]);
        digest.env_clear().env("HOME", dovecot.home(ALICE)).env("PATH", "/usr/bin:/bin").current_dir("/");
        run(&mut digest, b"").exits(0);
        let text = fs::read_to_string(dovecot.home(ALICE).join("digest")).unwrap();
        let text = text.replace("=\n", "").replace("=3D", "=").replace("%20", " ");
        let allow = text.lines().find_map(|line| line.split_once("?subject=allow ")).unwrap().1;
        deliver(format!("From: {ALICE}\nMessage-ID: <a@x>\nSubject: allow {allow}\n\n").as_bytes());
        assert_eq!((held(), ids(&dovecot.inbox(ALICE))), (vec![], vec!["1".to_owned()]), "{}", dovecot.log());
        // The sender is let through, and an answer comes as mail when it is not valid.
        deliver(&letter("2"));
        deliver(format!("From: {ALICE}\nMessage-ID: <b@x>\nSubject: allow {allow}\n\n").as_bytes());
        assert_eq!((held(), ids(&dovecot.inbox(ALICE))), (vec!["b".to_owned()], vec!["1".into(), "2".into()]));
    }
}

#[test]
fn postfix_calls_procmail_by_the_forward_file_of_setup() {
    let user = User::add();
    let postfix =
        Postfix::start(&format!("alias_maps = inline:{{ alice={} }}\nhome_mailbox = Maildir/\n", user.name()));
    let inbox = user.file("Maildir");
    run(Command::new(program("maildirmake.maildrop", "maildrop")).arg(&inbox), b"").exits(0);
    run(Command::new("chown").arg("-R").arg(format!("{}:nogroup", user.name())).arg(user.file("")), b"").exits(0);
    let mailstamp = postfix.file("bin/mailstamp");
    let as_user = |args: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", user.name(), "--regid", "nogroup", "--clear-groups", "--"]).arg(&mailstamp).args(args);
        command.env_clear().env("HOME", user.file("")).env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
        run(command.env("MAIL_CONFIG", postfix.file("etc")).current_dir("/"), b"")
    };
    let mail = |id: &str| {
        assert_eq!(send(Protocol::Smtp, postfix.port(), "bob@y.example", &[ALICE], &letter(id)), [250]);
        let arrived = || ids(&inbox).contains(&id.to_owned()).then_some(());
        postfix.flush_until("delivery", arrived, || format!("{:?}", ids(&inbox)));
        let message =
            maildir(&inbox).into_iter().find(|it| field(it, "Message-ID").unwrap().contains(&format!("<{id}@")));
        field(&message.unwrap(), "Digital-Stamp-Class")
    };
    assert_eq!(mail("1"), None);
    as_user(&["setup", "--address", ALICE, "--yes"]).exits(0);
    assert_eq!(mail("2").as_deref(), Some("unstamped; reason=no-stamp; action=deliver"));
    // The program is gone: mail still arrives.
    let aside = postfix.file("bin/aside");
    fs::rename(&mailstamp, &aside).unwrap();
    assert_eq!(mail("3"), None);
    fs::rename(&aside, &mailstamp).unwrap();
    as_user(&["setup", "--undo"]).exits(0);
    assert!(!user.file(".forward").exists() && !user.file(".procmailrc").exists());
    assert_eq!(mail("4"), None);
    assert_eq!(postfix.logged("status=bounced"), 0, "{}", postfix.log());
}
