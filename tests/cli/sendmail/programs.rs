//! The recipes `rules/muttrc`, `rules/sendmail-msmtp.toml`, `rules/gitconfig-sendmail`,
//! `rules/php-sendmail.ini` and `rules/crontab-sendmail` in the programs that they are for.

use super::account::with_account;
use super::next::Next;
use super::smtp::Server;
use crate::support::programs::{chmod, eventually_or, field, install, program, recipe, stand_in};
use crate::support::screen::Screen;
use crate::support::shop::Shop;
use crate::support::{ALICE, Home, run};
use std::fs;
use std::process::Command;

const BOB: &str = "bob@y.example";

/// A home with an account at a shop.
fn home_with(shop: &Shop) -> (Home, Next) {
    let home = Home::new();
    let next = Next::install(&home, &format!("addresses = [{ALICE:?}]"), "none = [\"*@lists.example\"]");
    with_account(&home, shop);
    install(home.path());
    (home, next)
}

fn with_path<'a>(command: &'a mut Command, home: &Home) -> &'a mut Command {
    let path = format!("{}:/usr/bin:/bin", home.file("bin").display());
    command.env_clear().env("HOME", home.path()).env("PATH", path).env("LANG", "C.UTF-8").current_dir(home.path())
}

/// Whether there is one stamp on a copy, and it names this recipient.
fn is_stamped_for(copy: &str, recipient: &str) -> bool {
    let bob = Home::bare();
    bob.configure(&format!("addresses = [{recipient:?}]"));
    copy.matches("Digital-Stamp:").count() == 1
        && bob.run(["classify", "--dry-run"], copy.as_bytes()).text() == "unverified unknown-vendor\n"
}

/// BC14: the key that sends a message is the only one that is pressed.
fn one_key_sends_a_stamped_letter(name: &str) {
    let shop = Shop::open(10, &[]);
    let (home, next) = home_with(&shop);
    fs::create_dir(home.file("Mail")).unwrap();
    let muttrc = format!(
        "set from={ALICE} realname=Alice record= autoedit=yes abort_unmodified=no editor=true mbox_type=Maildir\n{}",
        recipe("muttrc", &[("#set sendmail=\"/usr/local/bin/mailstamp", "set sendmail=\"mailstamp")])
    );
    fs::write(home.file("muttrc"), muttrc).unwrap();
    let line = format!("{} -n -F muttrc -s hello {BOB}", program(name, name).display());
    let screen = Screen::open(&home, &home.file("bin"), &line);
    screen.press_at("To: bob", "Enter");
    screen.press_at("Subject: hello", "Enter");
    // What could not be sent stays on the screen, and is sent and paid for once however often the key is pressed.
    let call = screen.press_until("y:Send", "y", || next.calls().pop());
    drop(screen);
    assert_eq!(call.args, format!("-i -f {ALICE} -- {BOB}"));
    assert_eq!(field(call.copy.as_bytes(), "Subject").as_deref(), Some("hello"));
    assert!(is_stamped_for(&call.copy, BOB), "{}", call.copy);
    assert_eq!(shop.balance(), 9);
}

#[test]
fn mutt_sends_a_stamped_letter_at_one_key() {
    one_key_sends_a_stamped_letter("mutt");
}

#[test]
fn neomutt_sends_a_stamped_letter_at_one_key() {
    one_key_sends_a_stamped_letter("neomutt");
}

#[test]
fn msmtp_takes_the_copies() {
    let shop = Shop::open(10, &[]);
    let (home, _) = home_with(&shop);
    let server = Server::start(&home, "none");
    fs::write(
        home.file(".msmtprc"),
        format!("account default\nhost 127.0.0.1\nport {}\nfrom {ALICE}\nauth off\ntls off\n", server.port()),
    )
    .unwrap();
    chmod(&home.file(".msmtprc"), 0o600);
    let msmtp = program("msmtp", "msmtp");
    let table = recipe("sendmail-msmtp.toml", &[("/usr/bin/msmtp", msmtp.to_str().unwrap())]);
    home.configure(&format!("addresses = [{ALICE:?}]\n{table}"));
    let letter = format!("From: {ALICE}\nTo: {BOB}\nBcc: eve@z.example\nSubject: s\n\n.\nhello\n");
    home.run(["sendmail", "-t", "-i"], letter.as_bytes()).exits(0);
    let mut taken = server.taken();
    taken.sort_by_key(|one| one["to"].to_string());
    let data: Vec<&str> = taken.iter().map(|one| one["data"].as_str().unwrap()).collect();
    assert!(is_stamped_for(data[0], BOB) && is_stamped_for(data[1], "eve@z.example"), "{data:?}");
    assert!(data.iter().all(|copy| !copy.contains("eve@") && copy.ends_with("\r\n\r\n.\r\nhello\r\n")));
    // What msmtp says of a recipient is what the caller hears.
    let said = home.run(["sendmail", "-i", "gone@y.example"], letter.as_bytes());
    assert!(said.code != 0 && said.stderr.contains("no such user"), "{said:?}");
    // The refused recipient's stamp is free for the next message to them.
    home.run(["sendmail", "-i", "gone@y.example"], letter.as_bytes());
    assert_eq!(shop.balance(), 7);
}

/// As msmtp does without a password in its file: the terminal stops a background process that reads from it.
#[test]
fn the_next_program_may_ask_for_a_password_on_the_terminal() {
    let home = Home::new();
    let next = Next::install(&home, &format!("addresses = [{ALICE:?}]"), "none = [\"*@y.example\"]");
    next.ends("printf 'password: ' > /dev/tty; read word < /dev/tty; [ \"$word\" = secret ] && exit 0; exit 77");
    fs::write(home.file("letter"), "Subject: s\n\nhello\n").unwrap();
    let script = "
import os, pty, signal, sys
signal.alarm(300)
child, terminal = pty.fork()
if child == 0:
    os.dup2(os.open(sys.argv[1], os.O_RDONLY), 0)
    os.execv(sys.argv[2], sys.argv[2:])
shown = b''
try:
    while part := os.read(terminal, 4096):
        shown += part
        if part.endswith(b'password: '):
            os.write(terminal, b'secret\\n')
except OSError:
    pass
print(shown)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
";
    let mut python = Command::new(program("python3", "python3"));
    python.args(["-c", script]).arg(home.file("letter")).arg(crate::support::MAILSTAMP).args(["sendmail", BOB]);
    run(with_path(&mut python, &home), b"").exits(0);
    assert_eq!(next.calls().len(), 1);
}

#[test]
fn git_sends_patches_with_stamps() {
    let shop = Shop::open(10, &[]);
    let (home, next) = home_with(&shop);
    let user = format!("[user]\n\tname = Alice\n\temail = {ALICE}\n");
    fs::write(
        home.file(".gitconfig"),
        user + &recipe("gitconfig-sendmail", &[("/usr/local/bin/mailstamp", "mailstamp")]),
    )
    .unwrap();
    let patch = format!(
        "From 0123456789012345678901234567890123456789 Mon Sep 17 00:00:00 2001\nFrom: Alice <{ALICE}>\n\
         Date: Sat, 21 Nov 2026 12:00:00 +0000\nSubject: [PATCH] x: y\n\n---\n a | 1 +\n"
    );
    fs::write(home.file("0001-x.patch"), patch).unwrap();
    let mut git = Command::new(program("git", "git"));
    with_path(&mut git, &home).args(["send-email", "--quiet", "--confirm=never", "--from", ALICE, "--suppress-cc=all"]);
    git.args(["--to", BOB, "--cc", "devel@lists.example", "0001-x.patch"]);
    run(&mut git, b"").exits(0);
    let calls = next.calls();
    assert_eq!(calls.iter().map(|call| call.to()).collect::<Vec<_>>(), [BOB, "devel@lists.example"]);
    assert!(is_stamped_for(&calls[0].copy, BOB), "{}", calls[0].copy);
    assert!(!calls[1].copy.contains("Digital-Stamp"));
    assert_eq!(field(calls[0].copy.as_bytes(), "Message-ID"), field(calls[1].copy.as_bytes(), "Message-ID"));
    assert_eq!(shop.balance(), 9);
}

#[test]
fn php_sends_with_stamps() {
    let shop = Shop::open(10, &[]);
    let (home, next) = home_with(&shop);
    fs::write(home.file("php.ini"), recipe("php-sendmail.ini", &[("/usr/local/bin/mailstamp", "mailstamp")])).unwrap();
    let mut php = Command::new(program("php", "php-cli"));
    with_path(&mut php, &home).arg("-c").arg(home.file("php.ini"));
    php.args(["-r", &format!("exit(mail('{BOB}', 'hello', \"one\\n.\\ntwo\", 'From: {ALICE}') ? 0 : 9);")]);
    run(&mut php, b"").exits(0);
    let call = &next.calls()[0];
    assert!(is_stamped_for(&call.copy, BOB), "{}", call.copy);
    assert!(call.copy.contains("one\n.\ntwo") || call.copy.contains("one\r\n.\r\ntwo"));
    // What cannot be sent is no success.
    next.ends("exit 75");
    run(&mut php, b"").exits(9);
}

#[test]
fn lines_of_a_crontab_send_with_stamps_and_go_on_with_what_waits() {
    let shop = Shop::open(10, &[]);
    let (home, next) = home_with(&shop);
    let crontab = recipe("crontab-sendmail", &[("/usr/local/bin/mailstamp", "mailstamp")]);
    let lines: Vec<&str> = crontab.lines().filter(|line| line.starts_with(['*', '0'])).collect();
    let command = |line: &str| line.split_whitespace().skip(5).collect::<Vec<_>>().join(" ");
    let cron = |line: &str| run(with_path(&mut Command::new("sh"), &home).args(["-c", &command(line)]), b"");
    next.ends("exit 75");
    cron(lines[1]).exits(75);
    assert_eq!(next.calls().len(), 1);
    next.ends("exit 0");
    assert_eq!(cron(lines[0]).exits(0).stderr, "");
    let call = &next.calls()[0];
    assert_eq!(field(call.copy.as_bytes(), "Subject").as_deref(), Some("disks"));
    assert!(is_stamped_for(&call.copy, "boss@far.example"), "{}", call.copy);
    assert_eq!(field(call.copy.as_bytes(), "From").as_deref(), Some(ALICE));
    assert_eq!(cron(lines[0]).exits(0).stderr, "");
    assert_eq!((next.calls().len(), shop.balance()), (0, 9));
}

/// mlmmj in between: what comes out of a list carries a stamp for the list, which is for none of its members.
#[test]
fn a_list_hands_on_the_stamp_and_no_member_is_meant_by_it() {
    let (home, list) = (Home::new(), "talk@lists.example");
    let spool = home.file("list");
    for part in [
        "incoming",
        "queue",
        "queue/discarded",
        "archive",
        "text",
        "subconf",
        "unsubconf",
        "bounce",
        "control",
        "moderation",
        "subscribers.d",
        "digesters.d",
        "nomailsubs.d",
        "requeue",
    ] {
        fs::create_dir_all(spool.join(part)).unwrap();
    }
    let server = Server::start(&home, "none");
    for (name, text) in [
        ("control/listaddress", list.to_owned()),
        ("control/owner", "owner@lists.example".into()),
        ("control/relayhost", "127.0.0.1".into()),
        ("control/smtpport", server.port().to_string()),
        ("control/footer", "-- \nthe list talk".into()),
        ("control/modnonsubposts", String::new()),
        ("subscribers.d/a", ALICE.to_owned()),
        ("index", "0".into()),
    ] {
        fs::write(spool.join(name), text + "\n").unwrap();
    }
    fs::remove_file(spool.join("control/modnonsubposts")).unwrap();
    let stamp = home.issue(list, []);
    let letter = format!(
        "Received: by here; now\nReturn-Path: <{BOB}>\nFrom: {BOB}\nTo: {list}\nDate: Sat, 21 Nov 2026 12:00:00 +0000\nMessage-ID: <1@y.example>\nSubject: s\n\nhello\n"
    );
    let posted = home.affix(&stamp, letter.as_bytes());
    let mut receive = Command::new(program("mlmmj-receive", "mlmmj"));
    receive.args(["-F", "-L"]).arg(&spool);
    run(&mut receive, &posted).exits(0);
    let there = || server.taken().into_iter().find(|one| one["to"][0] == ALICE);
    let taken = eventually_or("the list", there, || format!("{:?}", fs::read_dir(&spool).unwrap().collect::<Vec<_>>()));
    let copy = taken["data"].as_str().unwrap();
    assert!(copy.contains("the list talk"), "{copy}");
    assert_eq!(field(copy.as_bytes(), "Digital-Stamp").unwrap().replace(' ', ""), stamp);
    // For the list it is good, whose owner it pays; for its members it is not.
    home.classify(copy.as_bytes()).exits(20).says("invalid not-for-me");
    home.configure(&format!("addresses = [{list:?}]"));
    home.classify(copy.as_bytes()).exits(0).says("first-class paid");
    home.classify(&posted).exits(21).says("used used");
}

#[test]
fn a_missing_next_program_is_said() {
    let home = Home::new();
    let next = home.file("none");
    home.configure(&format!("addresses = [{ALICE:?}]\n[sendmail]\nnext = {next:?}\nnone = [\"*@y.example\"]"));
    let said = home.run(["sendmail", BOB], b"Subject: s\n\n").exits(75);
    assert!(said.stderr.contains("cannot be run"), "{}", said.stderr);
    stand_in(&next, "#!/bin/sh\ncat > /dev/null\n");
    home.run(["sendmail", "-q"], b"").exits(0);
}
