//! The blocks of `mailstamp setup` under procmail, maildrop and Postfix: messages get the class field and go where the
//! user's own rules put them. Without mailstamp, mail still arrives, and undo restores the files.

use crate::support::postfix::{Postfix, User};
use crate::support::programs::{chmod, field, ids, install, letter_with_forged_class, maildir, program, stand_in};
use crate::support::smtp::{Protocol, send};
use crate::support::{ALICE, Home, Run, letter, run};
use std::fs;
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
        run(&mut setup, b"").exits(0);
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
        let list = String::from_utf8(letter("2")).unwrap().replace("a serious matter", "a list");
        it.deliver(list.as_bytes()).exits(0);
        let unstamped = Some("unstamped; reason=no-stamp; action=deliver".to_owned());
        assert_eq!(classes(&it.inbox()), std::slice::from_ref(&unstamped), "maildrop: {has_maildrop}");
        assert_eq!(classes(&it.inbox().join(".list")), [unstamped]);
        assert_eq!((ids(&it.inbox()), ids(&it.inbox().join(".list"))), (vec!["1".into()], vec!["2".into()]));
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
            it.deliver(&letter_with_forged_class(&n.to_string())).exits(0);
        }
        // Without a class, and without the sender's.
        assert_eq!(classes(&it.inbox()), vec![None; scripts.len()], "maildrop: {has_maildrop}");
        for message in maildir(&it.inbox()) {
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
