//! The milter of the daemon (mailstamp-milter(8)) under Postfix, with the recipe `rules/postfix-main-milter.cf`, and
//! under miltertest. Postfix needs root.

use crate::support::dovecot::Logins;
use crate::support::postfix::Postfix;
use crate::support::programs::{chmod, eventually_or, give, program, recipe, without_fields};
use crate::support::resident::Resident;
use crate::support::smtp::{Protocol, send};
use crate::support::{ALICE, Home, letter, run};
use rustix::process::Signal;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

const BOB: &str = "bob@x.example";
const CAROL: &str = "carol@x.example";

/// A boundary for `x.example`: the daemon's home, a folder for its socket that Postfix may enter, and Postfix with a
/// Maildir for each recipient.
pub(crate) struct Boundary {
    pub(crate) home: Home,
    sockets: tempfile::TempDir,
    boxes: tempfile::TempDir,
    pub(crate) postfix: Postfix,
}

impl Boundary {
    fn new(above: &str, more: &str) -> Self {
        Self::behind("milter", above, more)
    }

    /// Postfix talks to the socket of this name.
    fn behind(name: &str, above: &str, more: &str) -> Self {
        Self::with_postfix(name, above, more, "", "")
    }

    /// With these lines of main.cf, and these services.
    pub(crate) fn with_postfix(name: &str, above: &str, more: &str, settings: &str, services: &str) -> Self {
        let (home, sockets, boxes) = (Home::new(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let number = |option| run(Command::new("id").args([option, "postfix"]), b"").exits(0).text().trim().parse();
        let (user, group) = (number("-u").unwrap(), number("-g").unwrap());
        // What is made in the folder gets its group.
        give(sockets.path(), 0, group);
        chmod(sockets.path(), 0o2750);
        give(boxes.path(), user, group);
        chmod(boxes.path(), 0o755);
        let socket = sockets.path().join("milter");
        home.configure(&format!(
            "addresses = [\"*@x.example\"]\n{above}\n[boundary]\nlisten = \"unix:{}\"\n\
             held_address = \"held@x.example\"\n{more}\n",
            socket.display()
        ));
        let at = format!("unix:{}", sockets.path().join(name).display());
        let main = recipe("postfix-main-milter.cf", &[("unix:/run/mailstamp-milter/socket", &at)]);
        let main = format!(
            "{main}\nmydestination =\nvirtual_mailbox_domains = x.example\nvirtual_mailbox_base = {}\n\
             virtual_mailbox_maps = inline:{{ {} }}\nvirtual_minimum_uid = 1\nvirtual_uid_maps = static:{user}\n\
             virtual_gid_maps = static:{group}\n{settings}",
            boxes.path().display(),
            ["alice", "bob", "carol", "held"].map(|name| format!("{{ {name}@x.example = {name}/ }}")).join(", "),
        );
        let postfix = Postfix::start_with(&main, &format!("virtual unix - n n - - virtual\n{services}"));
        Self { home, sockets, boxes, postfix }
    }

    fn socket(&self) -> PathBuf {
        self.sockets.path().join("milter")
    }

    /// Hands over a message and returns the code of the answer.
    pub(crate) fn send(&self, recipients: &[&str], message: &[u8]) -> u16 {
        send(Protocol::Smtp, self.postfix.port(), "bob@y.example", recipients, message)[0]
    }

    /// The same in one go, whatever is answered when: the first code of a failure, or else 250, and all answers.
    fn session(&self, recipients: &[&str], message: &[u8]) -> (u16, String) {
        self.session_of("", "bob@y.example", recipients, message)
    }

    /// The same under a login of this name, for its address.
    fn send_as(&self, login: &str, recipients: &[&str], message: &[u8]) -> u16 {
        let plain = data_encoding::BASE64.encode(format!("\0{login}\0secret").as_bytes());
        self.session_of(&format!("AUTH PLAIN {plain}\r\n"), login, recipients, message).0
    }

    fn session_of(&self, login: &str, sender: &str, recipients: &[&str], message: &[u8]) -> (u16, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.postfix.port())).unwrap();
        let mut read = stream.try_clone().unwrap();
        let text = String::from_utf8_lossy(message).replace('\n', "\r\n");
        let to: String = recipients.iter().map(|to| format!("RCPT TO:<{to}>\r\n")).collect();
        let session = format!("EHLO y.example\r\n{login}MAIL FROM:<{sender}>\r\n{to}DATA\r\n{text}.\r\nQUIT\r\n");
        let mut told = String::new();
        thread::scope(|scope| {
            scope.spawn(move || stream.write_all(session.as_bytes()).ok());
            let _ = read.read_to_string(&mut told);
        });
        let code = |line: &str| line.get(..3).and_then(|code| code.parse().ok());
        (told.lines().filter_map(code).find(|code: &u16| *code >= 400).unwrap_or(250), told)
    }

    /// Waits for this many messages of a recipient and returns them, in the order of their arrival.
    #[track_caller]
    fn messages(&self, name: &str, count: usize) -> Vec<String> {
        let folder = self.boxes.path().join(name).join("new");
        let found = || {
            let entries = fs::read_dir(&folder).map(|all| all.map(|entry| entry.unwrap().path()).collect::<Vec<_>>());
            let mut files = entries.unwrap_or_default();
            files.sort_by_key(|path| fs::metadata(path).map(|data| (data.mtime(), data.mtime_nsec())).ok());
            (files.len() == count).then(|| files.iter().map(|path| fs::read(path).unwrap()).collect::<Vec<_>>())
        };
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        eventually_or(name, found, || self.postfix.log()).into_iter().map(text).collect()
    }
}

/// The message without the fields that Postfix adds at its top.
fn without_trace(message: &str) -> String {
    without_fields(message, &["Return-Path", "X-Original-To", "Delivered-To", "Received"])
}

/// Three recipients of three classes: the bytes of each copy.
#[test]
fn each_of_three_recipients_gets_what_is_theirs() {
    let above = "[actions]\nunstamped = \"reject\"\ninvalid = \"reject\"";
    let site = Boundary::new(above, "subject_prefix = \"[x]\"");
    let _daemon = Resident::of(&site.home);
    let stamped = site.home.stamped(&letter("1"));
    let forged = [b"Digital-Stamp-Class: first-class\nDIGITAL-Stamp-Class: x\n".as_slice(), &stamped].concat();
    assert_eq!(site.send(&[ALICE, BOB, CAROL], &forged), 250);
    // Alice's copy is as it was sent, without what was forged; those of Bob and Carol are held, as one.
    let sent = String::from_utf8(stamped.clone()).unwrap();
    assert_eq!(without_trace(&site.messages("alice", 1)[0]), sent);
    assert_eq!(without_trace(&site.messages("held", 1)[0]), sent);
    assert!(!site.boxes.path().join("bob").exists() && !site.boxes.path().join("carol").exists());

    // Alone, the copy shows its class.
    assert_eq!(site.send(&[ALICE], &forged), 250);
    let copy = without_trace(&site.messages("alice", 2)[1]);
    let (class, rest) = copy.split_at(copy.find("Digital-Stamp:").unwrap());
    assert!(class.starts_with("Digital-Stamp-Class: first-class; reason=again; vendor=stamps.example;\n"), "{class}");
    assert_eq!(rest, sent);

    let (code, told) = site.session(&[BOB, CAROL], &letter("2"));
    assert_eq!(code, 550);
    for line in
        ["550-5.7.1 Mail to this address needs a digital stamp.", "550 5.7.1 The message is unstamped (no-stamp)."]
    {
        assert!(told.contains(&format!("\r\n{line}\r\n")), "{told}");
    }
    assert_eq!(site.send(&[BOB], &stamped), 550);
}

/// BC15d
#[test]
fn a_subject_gets_its_prefix_once_and_a_body_stays() {
    let site = Boundary::new("[actions]\nunstamped = \"tag\"\n[held]\n", "subject_prefix = \"[unstamped]\"");
    let _daemon = Resident::of(&site.home);
    let subject = "=?utf-8?q?h=C3=A9llo?=\n =?utf-8?q?_there?=";
    let body = format!("\u{e9}\u{0}\n..\n.\n \nFrom me\n{}\nend  \n", "y".repeat(900));
    let mut message = format!("From: bob@y.example\nMessage-ID: <1@y.example>\nSubject: {subject}\n\n{body}");
    for pass in 1..=3 {
        assert_eq!(site.send(&[ALICE, BOB], message.as_bytes()), 250);
        let copy = without_trace(&site.messages("alice", pass)[pass - 1]);
        let wanted = format!("\nSubject: [unstamped] {subject}\n");
        assert!(copy.contains(&wanted) && copy.matches("[unstamped]").count() == 1, "{copy}");
        assert!(copy.ends_with(&format!("\n\n{body}")), "{copy:?}");
        assert_eq!(copy.matches("Digital-Stamp-Class:").count(), 1);
        assert!(copy.starts_with("Digital-Stamp-Class: unstamped; reason=no-stamp; action=tag\n"), "{copy}");
        message = copy;
    }
}

/// Postfix breaks long lines on the way in; the host behind it must still know the message.
#[test]
fn long_lines_keep_their_class_at_the_inner_host() {
    let site = Boundary::new("", "");
    let _daemon = Resident::of(&site.home);
    for (number, columns) in [997, 998, 999, 1_500, 5_000].into_iter().enumerate() {
        let text = [letter(&columns.to_string()), "z".repeat(columns).into_bytes(), b"\nend\n".to_vec()].concat();
        let message = site.home.stamped(&text);
        assert_eq!(site.send(&[ALICE], &message), 250);
        let copy = &site.messages("alice", number + 1)[number];
        assert!(copy.contains("Digital-Stamp-Class: first-class; reason=paid;"), "{columns}: {copy}");
        site.home.run(["classify", "--recipient", ALICE], copy.as_bytes()).exits(0).says("first-class again");
        // As the next Postfix would send it on.
        let long = |line: &str| -> String {
            let bytes = line.trim_end_matches('\n');
            if bytes.len() <= 998 {
                return line.to_owned();
            }
            let (first, rest) = bytes.split_at(998);
            let rest: Vec<&str> =
                rest.as_bytes().chunks(997).map(|piece| std::str::from_utf8(piece).unwrap()).collect();
            format!("{first}\n {}\n", rest.join("\n "))
        };
        let broken: String = copy.split_inclusive('\n').map(long).collect();
        site.home.run(["classify", "--recipient", ALICE], broken.as_bytes()).exits(0).says("first-class again");
    }
}

/// Users log in at Postfix by Dovecot. Whom Alice wrote to may answer Alice without a stamp, and no other user.
#[test]
fn correspondents_of_a_user_answer_without_a_stamp() {
    let logins = Logins::start();
    let settings = format!(
        "smtpd_sasl_auth_enable = yes\nsmtpd_sasl_type = dovecot\nsmtpd_sasl_path = {}\n\
         transport_maps = inline:{{ {{ z.example = discard: }} }}\n",
        logins.socket().display()
    );
    let discard = "discard unix - - n - - discard\n";
    let site =
        Boundary::with_postfix("milter", "[actions]\nunstamped = \"reject\"", "learn_sent = true", &settings, discard);
    let rule = "[[rule]]\nname = \"correspondent\"\naction = \"allow\"\ncorrespondent = true\n";
    fs::write(site.home.config().with_file_name("rules.toml"), rule).unwrap();
    let _daemon = Resident::of(&site.home);
    let message = |from: &str| format!("From: {from}\nMessage-ID: <{from}>\nSubject: hello\n\nhello\n").into_bytes();
    let answers = |from: &str, to: &str| site.session(&[to], &message(from)).0;
    let (stranger, other) = ("stranger@z.example", "other@z.example");
    assert_eq!(answers(stranger, ALICE), 550);
    // The macro has no value where the client did not log in.
    let forged = site.session(&[stranger], &message(ALICE)).0;
    assert_eq!((forged, answers(stranger, ALICE)), (250, 550), "{}", site.postfix.log());
    assert_eq!(site.send_as(ALICE, &[stranger], &message(ALICE)), 250, "{}", site.postfix.log());
    // Of another user's From nothing is learned, for neither of them.
    assert_eq!(site.send_as(BOB, &[other], &message(ALICE)), 250, "{}", site.postfix.log());
    assert_eq!((answers(stranger, ALICE), answers(stranger, BOB)), (250, 550), "{}", site.postfix.log());
    assert_eq!((answers(other, ALICE), answers(other, BOB)), (550, 550));
    let copy = &site.messages("alice", 1)[0];
    assert!(copy.contains("Digital-Stamp-Class: allowed; reason=rule; rule=correspondent;"), "{copy}");
    // The host behind agrees.
    site.home.run(["classify", "--recipient", ALICE], copy.as_bytes()).exits(10);
    site.home.run(["classify", "--recipient", BOB], copy.as_bytes()).exits(11);
    site.home.run(["correspondents", "--owner", ALICE, "--forget", stranger], b"").exits(0);
    assert_eq!(answers(stranger, ALICE), 550);
}

/// A milter that is not there, hangs, or ends: the client tries again, and the message is first-class once.
#[test]
fn a_milter_in_trouble_defers_mail() {
    let short = "milter_command_timeout = 4s\nmilter_content_timeout = 5s\nmilter_connect_timeout = 4s\n";
    let site = Boundary::with_postfix("milter", "", "", short, "");
    let message = site.home.stamped(&letter("1"));
    let refused = || assert_eq!(site.session(&[ALICE], &message).0, 451, "{}", site.postfix.log());
    refused();
    let daemon = Resident::of(&site.home);
    daemon.stop();
    refused();
    daemon.signal(Signal::CONT);
    assert_eq!(site.send(&[ALICE], &message), 250);
    daemon.kill();
    refused();
    let daemon = Resident::of(&site.home);
    assert_eq!(site.send(&[ALICE], &message), 250);
    let copies = site.messages("alice", 2);
    let of_reason = |reason: &str| copies.iter().filter(|copy| copy.contains(reason)).count();
    assert_eq!((of_reason("reason=paid;"), of_reason("reason=again;")), (1, 1), "{copies:?}");
    daemon.end();
}

/// The milter is killed after it spent the stamp, and before Postfix has the answer.
#[test]
fn a_milter_killed_between_spend_and_answer() {
    let site = Boundary::behind("proxy", "", "");
    let listener = UnixListener::bind(site.sockets.path().join("proxy")).unwrap();
    chmod(&site.sockets.path().join("proxy"), 0o660);
    let message = site.home.stamped(&letter("1"));
    let daemon = Resident::of(&site.home);
    thread::scope(|scope| {
        let sent = scope.spawn(|| site.session(&[ALICE], &message).0);
        let (mail_system, mut milter) = until_the_end(&listener, &site.socket());
        frame(&mut milter).unwrap();
        daemon.kill();
        drop(mail_system);
        assert_eq!(sent.join().unwrap(), 451);
    });
    let daemon = Resident::of(&site.home);
    let stamp_again = site.home.run(["classify", "--dry-run", "--recipient", ALICE], &message).exits(0);
    stamp_again.says("first-class again");
    thread::scope(|scope| {
        let sent = scope.spawn(|| site.send(&[ALICE], &message));
        let (mail_system, _) = listener.accept().unwrap();
        relay(scope, &mail_system, &UnixStream::connect(site.socket()).unwrap());
        assert_eq!(sent.join().unwrap(), 250);
        drop(mail_system.shutdown(std::net::Shutdown::Both));
    });
    assert!(site.messages("alice", 1)[0].contains("first-class; reason=again;"));
    daemon.end();
}

/// Another process has the log for longer than Postfix waits for a milter that says nothing.
#[test]
fn progress_keeps_postfix_waiting_while_the_log_is_leased() {
    let site = Boundary::with_postfix("proxy", "", "", "milter_content_timeout = 6s\n", "");
    let listener = UnixListener::bind(site.sockets.path().join("proxy")).unwrap();
    chmod(&site.sockets.path().join("proxy"), 0o660);
    let daemon = Resident::of(&site.home);
    // The first stamp opens the log.
    site.home.run(["classify", "--recipient", ALICE], &site.home.stamped(&letter("1"))).exits(0);
    for attempt in 0.. {
        let message = site.home.stamped(&letter(&format!("2-{attempt}")));
        let lease = daemon.lease_log();
        let code = thread::scope(|scope| {
            let sent = scope.spawn(|| site.session(&[ALICE], &message).0);
            let (mut mail_system, mut milter) = until_the_end(&listener, &site.socket());
            // One a second.
            let in_time = (0..7).all(|_| {
                let progress = frame(&mut milter).unwrap();
                assert_eq!(progress, [0, 0, 0, 1, b'p']);
                mail_system.write_all(&progress).is_ok()
            });
            drop(lease);
            if in_time {
                relay(scope, &mail_system, &milter);
            }
            let code = sent.join().unwrap();
            drop(mail_system.shutdown(std::net::Shutdown::Both));
            code
        });
        if code == 250 {
            break;
        }
        // A machine that stood still for 5 seconds has kept Postfix waiting itself.
        assert!(code == 451 && attempt < 10, "{code} {}", site.postfix.log());
    }
    assert!(site.messages("alice", 1)[0].contains("first-class; reason=paid;"));
    daemon.end();
}

/// Passes a message on to its end: the mail system, and the milter whose answer is to come.
fn until_the_end(listener: &UnixListener, socket: &Path) -> (UnixStream, UnixStream) {
    loop {
        // Postfix was started by a connection that said nothing, and may have had one here for it.
        let (mut mail_system, _) = listener.accept().unwrap();
        let mut milter = UnixStream::connect(socket).unwrap();
        while let Some(command) = frame(&mut mail_system) {
            milter.write_all(&command).unwrap();
            match command[4] {
                b'E' => return (mail_system, milter),
                b'O' | b'B' => mail_system.write_all(&frame(&mut milter).unwrap()).unwrap(),
                _ => {}
            }
        }
    }
}

/// Passes everything on, both ways.
fn relay<'scope>(scope: &'scope thread::Scope<'scope, '_>, one: &UnixStream, other: &UnixStream) {
    for (from, to) in [(one, other), (other, one)] {
        let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        scope.spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Both);
        });
    }
}

/// One frame, with its length; `None` when the connection ends.
fn frame(stream: &mut UnixStream) -> Option<Vec<u8>> {
    let mut frame = vec![0; 4];
    stream.read_exact(&mut frame).ok()?;
    let length = u32::from_be_bytes(frame[..].try_into().unwrap()) as usize;
    frame.resize(4 + length, 0);
    stream.read_exact(&mut frame[4..]).ok()?;
    Some(frame)
}

/// Runs miltertest with a message, and these checks of the answer.
#[track_caller]
fn miltertest(home: &Home, socket: &Path, recipients: &[&str], fields: &[(&str, &str)], checks: &[&str]) {
    let rcpt: String = recipients.iter().map(|to| format!("ok(mt.rcptto(conn, \"<{to}>\"))\n")).collect();
    let header: String =
        fields.iter().map(|(name, value)| format!("ok(mt.header(conn, {name:?}, {value:?}))\n")).collect();
    let checks: String = checks.iter().map(|check| format!("if not ({check}) then error({check:?}) end\n")).collect();
    let script = format!(
        "function ok(result) if result ~= nil then error(result) end end\n\
         conn = mt.connect(\"unix:{}\")\nif conn == nil then error(\"no connection\") end\n\
         ok(mt.mailfrom(conn, \"<bob@y.example>\"))\n{rcpt}{header}ok(mt.eoh(conn))\n\
         ok(mt.bodystring(conn, \"text\\r\\n\"))\nok(mt.eom(conn))\n{checks}mt.disconnect(conn)\n",
        socket.display()
    );
    let file = home.file("script.lua");
    fs::write(&file, &script).unwrap();
    let ran = run(Command::new(program("miltertest", "miltertest")).arg("-s").arg(&file), b"");
    assert_eq!(ran.code, 0, "{}{}{script}", ran.text(), ran.stderr);
}

/// miltertest speaks the protocol by its own code: each action.
#[test]
fn each_action_under_miltertest() {
    let home = Home::new();
    let socket = home.file("milter");
    home.configure(&format!(
        "addresses = [\"*@x.example\"]\n[actions]\nunstamped = \"reject\"\ninvalid = \"tag\"\nused = \"discard\"\n\
         unverified = \"hold\"\n[boundary]\nlisten = \"unix:{}\"\nheld_address = \"held@x.example\"\n\
         strip = \"stamps\"\nsubject_prefix = \"[x]\"\n",
        socket.display()
    ));
    let _daemon = Resident::of(&home);
    let test = |to: &[&str], fields: &[(&str, &str)], checks: &[&str]| miltertest(&home, &socket, to, fields, checks);
    let (accept, subject) = ("mt.getreply(conn) == SMFIR_ACCEPT", ("Subject", " hello"));
    let stamp = home.issue(ALICE, []);
    test(&[ALICE], &[subject], &["mt.getreply(conn) == SMFIR_REPLYCODE"]);
    // The field of the stamp is stripped, and no other.
    let paid = [accept, "mt.eom_check(conn, MT_HDRINSERT, \"Digital-Stamp-Class\")"];
    let stripped = "mt.eom_check(conn, MT_HDRDELETE, \"Digital-Stamp\")";
    test(&[ALICE], &[subject, ("Digital-Stamp", &stamp)], &[paid[0], paid[1], stripped]);
    let again = [("Subject", " another"), ("Digital-Stamp", stamp.as_str())];
    test(&[ALICE], &again, &["mt.getreply(conn) == SMFIR_DISCARD"]);
    let tagged = "mt.eom_check(conn, MT_HDRCHANGE, \"Subject\")";
    let kept = format!("not {stripped}");
    test(&[BOB], &[subject, ("Digital-Stamp", &stamp)], &[paid[0], paid[1], tagged, &kept]);
    let other = Home::new();
    other.vendor("other.example", "1");
    let mut issue = other.command();
    issue.args(["vendor", "issue", "--to", ALICE, "--key"]).arg(other.key("other.example", "1"));
    let unknown = run(&mut issue, b"").exits(0).text();
    let removed = format!("mt.eom_check(conn, MT_RCPTDELETE, \"<{ALICE}>\")");
    let held = [accept, &removed, "mt.eom_check(conn, MT_RCPTADD, \"<held@x.example>\")"];
    test(&[ALICE], &[subject, ("Digital-Stamp", unknown.trim())], &held);
    // The three differ: two stay, and one is refused, hence held.
    let mixed = [accept, "not mt.eom_check(conn, MT_HDRINSERT, \"Digital-Stamp-Class\")"];
    test(&[ALICE, BOB, "x@y.example"], &[subject, ("Digital-Stamp", &stamp), ("A", " 1")], &mixed);
    let forged = [accept, "mt.eom_check(conn, MT_HDRDELETE, \"Digital-Stamp-Class\")"];
    test(&["x@y.example"], &[subject, ("digital-stamp-CLASS", " first-class")], &forged[..1]);
    fs::write(home.config(), "nonsense").unwrap();
    test(&[ALICE], &[subject], &["mt.getreply(conn) == SMFIR_REPLYCODE"]);
}
