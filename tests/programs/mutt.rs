//! The recipe `rules/muttrc` in mutt and in neomutt, at a terminal that
//! tmux plays. The mail reader is the only program that sees stamps here (BC15a): the mailbox was filled without a
//! filter.

use crate::support::programs::{eventually_or, field, install, maildir, program, recipe, stand_in};
use crate::support::screen::Screen;
use crate::support::{ALICE, Home, letter, run};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// A mail reader in a terminal of its own.
struct Reader {
    home: Home,
    bin: PathBuf,
}

impl Reader {
    fn of(home: Home) -> Self {
        program("tmux", "tmux");
        let bin = install(home.path());
        for part in ["Maildir/new", "Maildir/cur", "Maildir/tmp"] {
            fs::create_dir_all(home.file(part)).unwrap();
        }
        Self { home, bin }
    }

    fn open(&self, reader: &str) -> Screen {
        let line = format!("{} -n -F {} -f {}", program(reader, reader).display(), "muttrc", "Maildir");
        Screen::open(&self.home, &self.bin, &line)
    }
}

/// Returns a message whose body on the screen differs from its encoded form.
fn encoded_letter() -> Vec<u8> {
    let mime = "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n";
    let plain = String::from_utf8(letter("1")).unwrap();
    let (header, _) = plain.split_once("\n\n").unwrap();
    format!("{header}\n{mime}\nR3LDvMOfZSBhdXMgZGVyIEZlcm5lCg==\n").into_bytes()
}

fn class_of_an_open_message(reader: &str) {
    let reader_name = reader;
    let home = Home::new();
    let stamp = home.issue(ALICE, []);
    let first = home.affix(&stamp, &encoded_letter());
    let later = String::from_utf8(letter("2")).unwrap().replace(" 12:00:00 ", " 13:00:00 ");
    let judged = home.run(["filter"], later.as_bytes()).exits(0).stdout;
    let reader = Reader::of(home);
    // The first new message is the one that the reader begins with.
    fs::write(reader.home.file("Maildir/new/1.first"), &first).unwrap();
    fs::write(reader.home.file("Maildir/cur/2.second:2,S"), &judged).unwrap();
    // What the user had before: everything that could get between the message and mailstamp.
    let before = "set pipe_decode folder=Maildir\nignore *\nunignore from subject\n";
    fs::write(reader.home.file("muttrc"), before.to_owned() + &recipe("muttrc", &[])).unwrap();

    let screen = reader.open(reader_name);
    screen.press_at("a serious matter", "Enter");
    screen.press_at("Grüße aus der Ferne", "S");
    screen.shows("yes does its signature hold?");
    screen.shows("first-class (paid)");
    screen.press_at("Press any key", "Space");
    // So far it was only examined. Now it is judged.
    screen.press_at("Grüße aus der Ferne", "V");
    screen.shows("first-class paid");
    screen.press_at("Press any key", "Space");
    screen.press_at("Grüße aus der Ferne", "S");
    screen.shows("first-class (again)");
    screen.press_at("Press any key", "Space");
    // The user's own setting is back.
    screen.press_at("Grüße aus der Ferne", ":");
    screen.press_at("\n:", "set ?pipe_decode");
    screen.press_at("set ?pipe_decode", "Enter");
    screen.shows_any(&["pipe_decode is set", "pipe_decode=\"yes\""]);
    // A class in the header is shown.
    screen.press_at("Grüße aus der Ferne", "J");
    screen.shows("Digital-Stamp-Class: unstamped; reason=no-stamp");
    // And on another message, the same stamp is used (BC13).
    let other = reader.home.affix(&stamp, &letter("3"));
    reader.home.classify(&other).exits(21).says("used used");
}

fn revoked_and_unrevoked_at_one_key(name: &str) {
    // BP3e, BP3f.
    let home = Home::new();
    let message = home.affix(&home.issue(ALICE, ["--serial", "one"]), &encoded_letter());
    home.classify(&message).exits(0);
    let reader = Reader::of(home);
    fs::write(reader.home.file("Maildir/new/1.first"), &message).unwrap();
    let before = "set pipe_decode wait_key folder=Maildir mbox_type=Maildir\nset confirmappend=no confirmcreate=no\n";
    fs::write(reader.home.file("muttrc"), before.to_owned() + &recipe("muttrc", &[])).unwrap();
    let state = || reader.home.run(["grants", "one"], b"").exits(0).text().split(' ').next().unwrap().to_owned();
    let screen = reader.open(name);
    for (key, says, then) in
        [("R", "one: revoked", "revoked"), ("U", "one: unrevoked", ""), ("A", "one: granted", "active")]
    {
        screen.press_at("a serious matter", key);
        screen.shows(says);
        screen.press_at("Press any key", "Space");
        assert_eq!(state().trim(), then, "{key}");
    }
    screen.press_at("a serious matter", "X");
    let saved = || (state() == "revoked" && !maildir(&reader.home.file("Maildir/Junk")).is_empty()).then_some(());
    eventually_or("X", saved, || screen.text());
}

/// The recipe `rules/muttrc` with `rules/sendmail-learn`: what sendmail takes is learned, and what it does not is
/// not.
fn whoever_is_written_to_is_learned(name: &str) {
    let home = Home::new();
    let bin = install(home.path());
    let (wrapper, sendmail, outbox) = (bin.join("sendmail-learn"), bin.join("sendmail"), home.file("outbox"));
    let mailstamp = bin.join("mailstamp");
    let learning = recipe("sendmail-learn", &[("/usr/local/bin/mailstamp", mailstamp.to_str().unwrap())]);
    stand_in(&wrapper, &learning.replace("/usr/sbin/sendmail", &sendmail.display().to_string()));
    let line = "#set sendmail=\"/usr/local/bin/sendmail-learn";
    let edits = [(line, format!("set sendmail=\"{}", wrapper.display()))];
    let edits = edits.each_ref().map(|(from, to)| (*from, to.as_str()));
    let muttrc = format!("set from={ALICE} realname=Alice record= sendmail_wait=60\n{}", recipe("muttrc", &edits));
    fs::write(home.file("muttrc"), muttrc).unwrap();
    let send = |to: &str| {
        let mut command = Command::new(program(name, name));
        command.env_clear().env("HOME", home.path()).env("PATH", "/usr/bin:/bin").env("LANG", "C.UTF-8");
        command.current_dir(home.path()).args(["-n", "-F", "muttrc", "-s", "hello", "--", to]);
        run(&mut command, b"hello\n")
    };
    let known = || home.run(["correspondents"], b"").exits(0).text();

    stand_in(&sendmail, "#!/bin/sh\ncat >/dev/null; exit 75\n");
    assert_ne!(send("bob@y.example").code, 0, "sendmail did not take it");
    assert_eq!(known(), "");
    stand_in(&sendmail, &format!("#!/bin/sh\necho \"$@\" >{0}.args; cat >{0}\n", outbox.display()));
    let sent = send("bob@y.example");
    assert_eq!(sent.code, 0, "{}", sent.stderr);
    assert!(known().starts_with("bob@y.example  first "), "{}", known());
    assert_eq!(fs::read_to_string(home.file("outbox.args")).unwrap(), "-oem -oi -- bob@y.example\n");
    let message = fs::read(&outbox).unwrap();
    assert_eq!(field(&message, "To").as_deref(), Some("bob@y.example"));
    assert!(message.ends_with(b"\n\nhello\n"));
    // A problem of mailstamp itself holds nothing up.
    home.configure("addresses = [");
    let sent = send("carol@y.example");
    assert_eq!(sent.code, 0, "{}", sent.stderr);
    assert_eq!(field(&fs::read(&outbox).unwrap(), "To").as_deref(), Some("carol@y.example"));
    home.configure(&format!("addresses = [\"{ALICE}\"]"));
    assert_eq!(known().lines().count(), 1);
}

#[test]
fn mutt_lets_learn_to_whom_it_writes() {
    whoever_is_written_to_is_learned("mutt");
}

#[test]
fn neomutt_lets_learn_to_whom_it_writes() {
    whoever_is_written_to_is_learned("neomutt");
}

#[test]
fn mutt_revokes_at_one_key() {
    revoked_and_unrevoked_at_one_key("mutt");
}

#[test]
fn neomutt_revokes_at_one_key() {
    revoked_and_unrevoked_at_one_key("neomutt");
}

#[test]
fn mutt_shows_the_class_of_the_open_message() {
    class_of_an_open_message("mutt");
}

#[test]
fn neomutt_shows_the_class_of_the_open_message() {
    class_of_an_open_message("neomutt");
}
