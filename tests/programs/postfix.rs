//! The recipes `rules/postfix-main.cf` and `rules/forward` under Postfix, with procmail, maildrop and Dovecot behind
//! it: a message that is judged, deferred and judged again must end in its folder. And `rules/postfix-master-sent.cf`
//! with `rules/forward-sent`: the recipients of sent mail are learned. Needs root.

use crate::support::dovecot::Dovecot;
use crate::support::faults::{FINAL_FAULTS, HANGS, mend, set_aside};
use crate::support::postfix::{Postfix, User, mailbox_command};
use crate::support::programs::{
    Port, chmod, contents, expected, field, install, maildir, program, recipe, settle, stand_in, with_folder_each,
};
use crate::support::smtp::{Protocol, send};
use crate::support::{ALICE, Home, letter, run};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Flushes the queue until the mailbox holds this.
#[track_caller]
fn holds(postfix: &Postfix, inbox: &Path, folders: &[(&str, &[&str])]) {
    let wanted = expected(folders);
    let holds = || (contents(inbox) == wanted).then_some(());
    postfix.flush_until("delivery", holds, || format!("{:?}", contents(inbox)));
}

/// Returns a user with the recipe of `program` in the home, and a Postfix whose alias `alice` leads to that user.
fn with_user(home: &Home, program: &str, forward: bool) -> (Postfix, User) {
    let user = User::add();
    let mut main = format!("alias_maps = inline:{{ alice={} }}\n", user.name());
    if !forward {
        main += &mailbox_command(program);
    }
    let postfix = Postfix::start(&main);
    let path = postfix.file("bin/mailstamp").display().to_string();
    let edits = [("/usr/local/bin/mailstamp", path.as_str())];
    match program {
        "procmail" => {
            fs::write(user.file(".procmailrc"), with_folder_each(&recipe("procmailrc", &edits))).unwrap();
        }
        _ => {
            fs::write(user.file(".mailfilter"), with_folder_each(&recipe("mailfilter", &edits))).unwrap();
            chmod(&user.file(".mailfilter"), 0o600);
        }
    }
    if forward {
        // The recipe names both programs, one of them behind a comment sign.
        let text = match program {
            "procmail" => recipe("forward", &[]),
            _ => recipe(
                "forward",
                &[("\n\"|/usr/bin/procmail", "\n#"), ("#\"|/usr/bin/maildrop", "\"|/usr/bin/maildrop")],
            ),
        };
        fs::write(user.file(".forward"), text).unwrap();
    }
    let maildirmake = crate::support::programs::program("maildirmake.maildrop", "maildrop");
    run(Command::new(&maildirmake).arg(user.file("Maildir")), b"").exits(0);
    run(Command::new(&maildirmake).args(["-f", "used"]).arg(user.file("Maildir")), b"").exits(0);
    user.move_in(home);
    (postfix, user)
}

/// A stamped message whose delivery fails after mailstamp ran, and is tried again by Postfix, is first-class; another
/// one with its stamp is used (BC13, BP4i, BC15b). Before that, a mailstamp that fails puts mail off and bounces
/// nothing.
fn redelivery(program: &str, forward: bool) {
    let home = Home::new();
    let (postfix, user) = with_user(&home, program, forward);
    let inbox = user.file("Maildir");
    let stamp = home.issue(ALICE, []);
    let smtp =
        |message: &[u8]| assert_eq!(send(Protocol::Smtp, postfix.port(), "bob@y.example", &[ALICE], message), [250]);

    let mailstamp = postfix.file("bin/mailstamp");
    let aside = postfix.file("bin/aside");
    fs::rename(&mailstamp, &aside).unwrap();
    stand_in(&mailstamp, "#!/bin/sh\nkill -9 $$\n");
    smtp(&home.affix(&stamp, &letter("1")));
    postfix.flush_until_deferred(1);
    assert_eq!(contents(&inbox), []);

    for part in ["", "new", "tmp"] {
        chmod(&inbox.join(part), 0o500);
    }
    fs::rename(&aside, &mailstamp).unwrap();
    let spent = user.file(".local/state/mailstamp/verdicts.jsonl");
    let was_judged = || fs::read_to_string(&spent).ok().filter(|log| log.contains("\"paid\""));
    postfix.flush_until("first judgement", was_judged, String::new);
    let before = postfix.logged("status=deferred");
    postfix.flush_until_deferred(before + 1);
    assert_eq!(contents(&inbox), []);

    for part in ["", "new", "tmp"] {
        chmod(&inbox.join(part), 0o700);
    }
    smtp(&home.affix(&stamp, &letter("2")));
    holds(&postfix, &inbox, &[("", &["1"]), (".used", &["2"])]);
    assert_eq!(postfix.logged("status=bounced"), 0, "{}", postfix.log());
    assert!(fs::read_to_string(&spent).unwrap().contains("\"again\""));
}

#[test]
fn procmail_as_mailbox_command() {
    redelivery("procmail", false);
}

#[test]
fn maildrop_as_mailbox_command() {
    redelivery("maildrop", false);
}

#[test]
fn procmail_in_forward() {
    redelivery("procmail", true);
}

#[test]
fn maildrop_in_forward() {
    redelivery("maildrop", true);
}

#[test]
fn a_stamp_survives_alias_forward_and_lmtp() {
    // BC5, BX4: swaks -> Postfix -> alias -> .forward -> LMTP -> Dovecot; plain SMTP, and no host on the way knows
    // stamps.
    let home = Home::new();
    let inner = "alice@inner.example";
    let dovecot = Dovecot::start();
    settle(&home, &dovecot.home(inner));
    dovecot.administrator_script(&with_folder_each(&recipe("sieve-filter.sieve", &[])));
    dovecot.hand_over();
    let user = User::add();
    let postfix = Postfix::start(&format!(
        "alias_maps = inline:{{ alice={} }}\nrelay_domains = inner.example\n\
         transport_maps = inline:{{ inner.example=lmtp:inet:127.0.0.1:{} }}\n",
        user.name(),
        dovecot.port()
    ));
    fs::write(user.file(".forward"), inner).unwrap();
    user.move_in(&home);
    let inbox = dovecot.inbox(inner);
    let swaks = |message: &[u8]| {
        let file = postfix.file("message");
        fs::write(&file, message).unwrap();
        let mut command = Command::new(program("swaks", "swaks"));
        command.args(["--server", "127.0.0.1", "--port", &postfix.port().to_string(), "--to", ALICE]);
        command.args(["--from", "bob@y.example", "--helo", "y.example", "--data"]).arg(format!("@{}", file.display()));
        run(&mut command, b"").exits(0).text()
    };
    let verbs = |session: &str| -> Vec<String> {
        let said = session.lines().filter_map(|line| line.strip_prefix(" -> "));
        said.filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect()
    };
    let stamp = home.issue(ALICE, []);
    let first = home.affix(&stamp, &letter("1"));
    let session = verbs(&swaks(&first));
    assert_eq!(
        (&session[..4], session.last().unwrap().as_str()),
        (&["EHLO", "MAIL", "RCPT", "DATA"].map(str::to_owned)[..], "QUIT")
    );
    holds(&postfix, &inbox, &[("", &["1"])]);
    let delivered = &maildir(&inbox)[0];
    assert!(
        field(delivered, "Digital-Stamp-Class").unwrap().starts_with("first-class; reason=paid;"),
        "{}",
        dovecot.log()
    );

    // A snooper with the stamp sends another message to the same recipient.
    swaks(&home.affix(&stamp, &letter("2")));
    holds(&postfix, &inbox, &[("", &["1"]), (".used", &["2"])]);

    // Postfix -> LMTP: stored too late, tried again.
    let third = home.stamped(&letter("3"));
    chmod(&inbox.join("tmp"), 0o500);
    swaks(&third);
    postfix.flush_until_deferred(1);
    chmod(&inbox.join("tmp"), 0o700);
    holds(&postfix, &inbox, &[("", &["1", "3"]), (".used", &["2"])]);
    let classes: Vec<_> = maildir(&inbox).iter().filter_map(|message| field(message, "Digital-Stamp-Class")).collect();
    assert!(classes.iter().any(|class| class.starts_with("first-class; reason=again;")), "{classes:?}");
}

/// Recipients of the user's mail are learned, also after a first failure; those of forged mail from outside are not.
#[test]
fn what_is_submitted_is_learned_and_what_only_says_so_is_not() {
    let home = Home::new();
    let user = User::add();
    let copies = format!("{ALICE}={}+sent@x.example", user.name());
    let services = recipe(
        "postfix-master-sent.cf",
        &[
            ("submission inet n       -       y", "SUBMISSION inet n - n"),
            ("cleanup-sent unix n     -       y", "cleanup-sent unix n - n"),
            ("you@your.example=login+sent@your.example", &copies),
        ],
    );
    let main = format!("alias_maps = inline:{{ bob={} }}\n", user.name());
    let postfix = Postfix::start_with(&main, &services);
    let mailstamp = postfix.file("bin/mailstamp");
    let forward = recipe("forward-sent", &[("/usr/local/bin/mailstamp", mailstamp.to_str().unwrap())]);
    fs::write(user.file(".forward+sent"), forward).unwrap();
    fs::write(user.file(".forward"), "/dev/null\n").unwrap();
    user.move_in(&home);
    let known = || {
        // A copy, since only its owner may read a log.
        let state = home.file("copy");
        let _ = fs::remove_dir_all(&state);
        let from = user.file(".local/state/mailstamp");
        if !from.exists() {
            return String::new();
        }
        let mut copy = Command::new("cp");
        // What is copied while the log is written may be no log.
        let copied = run(copy.args(["-r", "--no-preserve=ownership"]).arg(from).arg(&state), b"");
        let told = home.run(["--state", state.to_str().unwrap(), "correspondents"], b"");
        if copied.code == 0 && told.code == 0 { told.text() } else { String::new() }
    };
    let message = |to: &str| format!("From: {ALICE}\nTo: {to}\nMessage-ID: <{to}>\n\nhello\n").into_bytes();
    let send = |port, to: &str| assert_eq!(send(Protocol::Smtp, port, ALICE, &["bob@x.example"], &message(to)), [250]);
    let aside = postfix.file("bin/aside");
    fs::rename(&mailstamp, &aside).unwrap();
    stand_in(&mailstamp, "#!/bin/sh\ncat >/dev/null; exit 75\n");
    send(postfix.submission(), "carol@y.example");
    postfix.flush_until_deferred(1);
    fs::rename(&aside, &mailstamp).unwrap();
    // Forged, from outside.
    send(postfix.port(), "eve@y.example");
    send(postfix.submission(), "dave@y.example");
    let both = || known().lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>();
    let ready = || (both() == ["carol@y.example", "dave@y.example"]).then_some(());
    postfix.flush_until("learned", ready, known);
    assert_eq!(postfix.logged("status=bounced"), 0, "{}", postfix.log());
}

/// The recipe `rules/postfix-master-virtual.cf`: pipe(8) runs mailstamp for each recipient; every fault defers.
#[test]
fn virtual_mailboxes_by_pipe() {
    let carol = "carol@v.example";
    let home = Home::new();
    let user = User::add();
    let (config, boxes) = (user.file(".config/mailstamp/config.toml"), user.file("vmail"));
    let boxes = boxes.display();
    let text = format!(
        "addresses = [\"%u\", \"%n+*@%d\"]\nsyslog = false\nstate = \"{boxes}/%d/%n/mailstamp\"\n\
         [deliver]\nmaildir = \"{boxes}/%d/%n/Maildir\"\n"
    );
    fs::write(home.config(), text).unwrap();
    let bin = install(user.file("").as_path()).join("mailstamp");
    let edits = [
        ("user=vmail", format!("user={}", user.name())),
        ("/usr/local/bin/mailstamp", bin.display().to_string()),
        ("/etc/mailstamp/config.toml", config.display().to_string()),
        // Patience of a few seconds with what hangs.
        (" 300 ", " 5 ".to_owned()),
    ];
    let edits: Vec<_> = edits.iter().map(|(from, to)| (*from, to.as_str())).collect();
    let main = "virtual_mailbox_domains = v.example\nvirtual_mailbox_maps = static:all\nvirtual_transport = mailstamp\n\
                mailstamp_destination_recipient_limit = 1\n";
    let postfix = Postfix::start_with(main, &recipe("postfix-master-virtual.cf", &edits));
    for name in ["alice", "carol"] {
        fs::create_dir_all(user.file("vmail/v.example").join(name)).unwrap();
    }
    user.move_in(&home);
    let (alice, carols) = (user.file("vmail/v.example/alice/Maildir"), user.file("vmail/v.example/carol/Maildir"));
    let deliver = |to: &[&str], message: &[u8]| {
        assert_eq!(send(Protocol::Smtp, postfix.port(), "bob@y.example", to, message), [250]);
    };
    set_aside(&bin);
    // Each takes Postfix two seconds, and deliver.rs has all of them.
    for (number, (what, fault)) in FINAL_FAULTS.into_iter().step_by(2).chain([("hangs", HANGS)]).enumerate() {
        fault.put(&bin);
        if number == 0 {
            deliver(&["alice@v.example"], &letter("1"));
        }
        let before = postfix.logged("status=deferred");
        postfix.flush_until_deferred(before + 2);
        assert_eq!((postfix.logged("status=bounced"), contents(&alice)), (0, Vec::new()), "{what}: {}", postfix.log());
    }
    mend(&bin, true);
    // One message to both: each mailbox judges for itself.
    deliver(&["alice@v.example", carol], &home.affix(&home.issue(carol, []), &letter("2")));
    holds(&postfix, &carols, &[("", &["2"])]);
    let arrived = || contents(&alice).iter().map(|(_, ids)| ids.len()).sum::<usize>();
    postfix.flush_until("both at alice", || (arrived() == 2).then_some(()), || format!("{:?}", contents(&alice)));
    assert_eq!(postfix.logged("status=bounced"), 0, "{}", postfix.log());
}

/// The settings for hops behind mailstamp: `rules/postfix-main.cf` and `rules/postfix-master-reinject.cf`. A message
/// that was judged keeps its bytes on the way, so that it is the same message when it is judged again.
#[test]
fn what_is_judged_stays_the_same_message_on_later_hops() {
    let home = Home::new();
    let folder = tempfile::tempdir().unwrap();
    chmod(folder.path(), 0o777);
    let sink = |name: &str| folder.path().join(name);
    let mut servers = Vec::new();
    let mut serve = |name: &str| {
        let port = Port::reserve();
        let mut command = Command::new(program("smtp-sink", "postfix"));
        // LMTP without 8BITMIME; all messages go to one file.
        command
            .args(["-u", "nobody", "-L", "-8", "-D"])
            .arg(sink(name))
            .arg(format!("127.0.0.1:{}", port.number()))
            .arg("10");
        servers.push(Ended(command.spawn().unwrap()));
        port
    };
    let (plain, kept) = (serve("plain"), serve("kept"));
    let text = recipe("postfix-main.cf", &[]);
    let setting = text.lines().find(|line| line.starts_with("disable_mime_output_conversion")).unwrap();
    let services =
        recipe("postfix-master-reinject.cf", &[("127.0.0.1:10025 inet n  -       y", "SUBMISSION inet n - n")]);
    let relay = |sink: &Port| {
        format!(
            "relay_domains = far.example\ntransport_maps = inline:{{ far.example=lmtp:inet:127.0.0.1:{} }}\n",
            sink.number()
        )
    };
    let recipe_hop = Postfix::start_with(&(relay(&kept) + setting + "\n"), &services);
    let other_hop = Postfix::start(&relay(&plain));
    let message = format!(
        "From: bob@y.example\nTo: alice\nSubject: hi\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\
         Content-Transfer-Encoding: 8bit\n\ngr\u{fc}\u{df}e {ALICE}\n"
    );
    let judged = home.stamped(message.as_bytes());
    home.classify(&judged).exits(0).says("first-class paid");
    let arrived = |postfix: &Postfix, port: u16, name: &str| {
        assert_eq!(send(Protocol::Smtp, port, "bob@y.example", &["a@far.example"], &judged), [250]);
        let found = || {
            let all = fs::read(sink(name)).unwrap_or_default();
            // smtp-sink writes fields of its own, and an empty line behind the message.
            let start = all.windows(9).position(|part| part == b"Received:")?;
            all.ends_with(b"\n\n").then(|| all[start..all.len() - 1].to_vec())
        };
        postfix.flush_until("the sink", found, String::new)
    };
    let same = arrived(&recipe_hop, recipe_hop.submission(), "kept");
    home.classify(&same).exits(0).says("first-class again");
    // Without the settings the stamp is used: Postfix added a date and encoded the text.
    let changed = arrived(&other_hop, other_hop.port(), "plain");
    home.classify(&changed).exits(21).says("used used");
    let changed = String::from_utf8_lossy(&changed).into_owned();
    assert!(
        changed.contains("Date: ") && changed.contains("To: alice@x.example") && changed.contains("=C3=BC"),
        "{changed}"
    );
}

/// A process that ends with the value.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
