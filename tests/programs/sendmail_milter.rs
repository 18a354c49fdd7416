//! The milter of the daemon under sendmail, with the recipe `rules/sendmail-milter.mc`. What goes on is relayed to a
//! server of the test. Needs root.

use crate::support::apart::{Apart, unpacked};
use crate::support::programs::{Port, chmod, eventually_or, program, recipe, tail, without_fields};
use crate::support::resident::Resident;
use crate::support::smtp::hand_over;
use crate::support::smtp_server::{Mode, SmtpServer};
use crate::support::{ALICE, Home, letter, run};
use std::fs;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

/// sendmail uses no socket below a folder that others may write, such as `/tmp`.
const FOLDERS: &str = "\
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/mailstamp-milter
mount --bind sockets /run/mailstamp-milter";

struct Sendmail {
    apart: Apart,
    port: Port,
    process: Child,
}

impl Drop for Sendmail {
    fn drop(&mut self) {
        let _ = run(Command::new("kill").arg(self.process.id().to_string()), b"");
        let _ = self.process.wait();
    }
}

impl Sendmail {
    /// Starts it with the recipe, and `behind` as the host to which it relays.
    fn start(home: &Home, behind: &SmtpServer) -> Self {
        let (apart, port) = (Apart::new(home), Port::reserve());
        for (folder, mode) in [("sockets", 0o755), ("queue", 0o700), ("etc/mail", 0o755)] {
            fs::create_dir(apart.file(folder)).unwrap();
            chmod(&apart.file(folder), mode);
        }
        // It looks for a full name of its host, without DNS.
        let host = run(&mut Command::new("hostname"), b"").exits(0).text();
        fs::write(apart.file("etc/hosts"), format!("127.0.0.1 localhost\n127.0.0.1 mx.x.example {host}")).unwrap();
        fs::write(apart.file("etc/mail/service.switch"), "hosts files\naliases files\n").unwrap();
        let address = behind.address();
        let behind = address.rsplit(':').next().unwrap();
        let folder = apart.file("").display().to_string();
        // On a busy machine it would queue mail, and refuse connections.
        let mc = format!(
            "divert(0)dnl\nOSTYPE(`linux')dnl\ndefine(`confDOMAIN_NAME', `mx.x.example')dnl\n\
             define(`QUEUE_DIR', `{folder}queue')dnl\ndefine(`confPID_FILE', `{folder}pid')dnl\n\
             define(`STATUS_FILE', `{folder}status')dnl\ndefine(`ALIAS_FILE', `')dnl\ndefine(`confTO_IDENT', `0')dnl\n\
             define(`confDEF_USER_ID', `alice:alice')dnl\ndefine(`SMART_HOST', `esmtp:[127.0.0.1]')dnl\n\
             define(`confQUEUE_LA', `1000')dnl\ndefine(`confREFUSE_LA', `1000')dnl\n\
             define(`ESMTP_MAILER_ARGS', `TCP $h {behind}')dnl\nFEATURE(`nocanonify')dnl\nFEATURE(`no_default_msa')dnl\n\
             FEATURE(`accept_unresolvable_domains')dnl\nRELAY_DOMAIN(`x.example')dnl\n\
             DAEMON_OPTIONS(`Name=MTA, Port={}, Addr=127.0.0.1')dnl\n{}MAILER(`smtp')dnl\n",
            port.number(),
            recipe("sendmail-milter.mc", &[])
        );
        let cf = unpacked("usr/share/sendmail/cf");
        let mut m4 = Command::new(program("m4", "m4"));
        m4.arg(format!("-D_CF_DIR_={}/", cf.display())).arg(cf.join("m4/cf.m4")).arg("-");
        fs::write(apart.file("sendmail.cf"), run(&mut m4, mc.as_bytes()).exits(0).stdout).unwrap();
        let log = fs::File::create(apart.file("log")).unwrap();
        let mut command = apart.command(FOLDERS, &unpacked("usr/libexec/sendmail/sendmail"));
        command.arg(format!("-C{folder}sendmail.cf")).arg("-bD").stdin(Stdio::null());
        let process = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let sendmail = Self { apart, port, process };
        let number = sendmail.port.number();
        let is_there = || TcpStream::connect(("127.0.0.1", number)).ok();
        eventually_or("sendmail", is_there, || tail(&sendmail.apart.file("log")));
        sendmail
    }
}

/// sendmail breaks lines over 990 characters by default, so that no host behind would know the message again. The recipe
/// switches that off.
#[test]
fn a_seal_holds_over_long_lines_behind_sendmail() {
    let (home, inner, behind) = (Home::new(), Home::bare(), SmtpServer::start(Mode::Take));
    let sendmail = Sendmail::start(&home, &behind);
    let key = home.file("seal.key").display().to_string();
    let trusted = home.run(["boundary", "keygen", "--host", "mx.x.example", "--out", &key], b"").exits(0).text();
    inner.configure(&format!("addresses = [\"{ALICE}\"]\nsyslog = false\n{trusted}"));
    home.configure(&format!(
        "addresses = [\"*@x.example\"]\n[boundary]\nlisten = \"unix:{}\"\nheld_address = \"held@x.example\"\n\
         seal = \"{key}\"\n",
        sendmail.apart.file("sockets/socket").display()
    ));
    let _daemon = Resident::of(&home);
    for (number, columns) in [988, 989, 990, 991, 998, 999, 2_041, 5_000].into_iter().enumerate() {
        let text = [letter(&columns.to_string()), "z".repeat(columns).into_bytes(), b"\nend\n".to_vec()].concat();
        assert_eq!(hand_over(sendmail.port.number(), &[ALICE], &home.stamped(&text)).0, 250);
        let arrived = || behind.taken().get(number).map(|(_, text)| text.clone());
        let copy = eventually_or("the host behind", arrived, || tail(&sendmail.apart.file("log")));
        assert!(copy.ends_with(&format!("\n{}\nend\n", "z".repeat(columns))), "{columns}: {copy}");
        inner.classify(copy.as_bytes()).exits(0).says("first-class paid");
    }
}

#[test]
fn the_milter_works_under_sendmail() {
    let (home, behind) = (Home::new(), SmtpServer::start(Mode::Take));
    let sendmail = Sendmail::start(&home, &behind);
    let socket = sendmail.apart.file("sockets/socket");
    home.configure(&format!(
        "addresses = [\"*@x.example\"]\n[actions]\nunstamped = \"tag\"\nunverified = \"reject\"\n[boundary]\n\
         listen = \"unix:{}\"\nheld_address = \"held@x.example\"\nsubject_prefix = \"[unstamped]\"\n\
         reject_text = \"one\\ntwo\"\n",
        socket.display()
    ));
    let stamped = home.stamped(&letter("1"));
    let forged = [b"Digital-Stamp-Class: first-class\nDIGITAL-Stamp-Class: x\n".as_slice(), &stamped].concat();
    let send = |message: &[u8]| hand_over(sendmail.port.number(), &[ALICE], message);
    let arrived = |count: usize| {
        let all = || Some(behind.taken()).filter(|all| all.len() >= count);
        let all = eventually_or("the host behind", all, || tail(&sendmail.apart.file("log")));
        assert_eq!(all.len(), count);
        without_fields(&all[count - 1].1, &["Received"])
    };
    // The milter is not there.
    assert_eq!(send(&forged).0, 451);
    let daemon = Resident::of(&home);
    assert_eq!(send(&forged).0, 250);
    let copy = arrived(1);
    let (class, rest) = copy.split_at(copy.find("Digital-Stamp:").unwrap());
    assert!(class.starts_with("Digital-Stamp-Class: first-class; reason=paid; vendor=stamps.example;"), "{class}");
    assert_eq!(rest, String::from_utf8(stamped).unwrap());

    let body = "\u{e9}\n..\n.\n \nFrom me\nend  \n";
    let message = format!("From: bob@y.example\nDate: x\nMessage-ID: <2@y.example>\nSubject: hello\n\n{body}");
    assert_eq!(send(message.as_bytes()).0, 250);
    let wanted = message.replace("Subject: ", "Subject: [unstamped] ");
    assert_eq!(arrived(2), format!("Digital-Stamp-Class: unstamped; reason=no-stamp; action=tag\n{wanted}"));

    let stranger = Home::new();
    stranger.vendor("other.example", "1");
    let key = stranger.key("other.example", "1");
    let issued = stranger.run(["vendor", "issue", "--to", ALICE, "--key", key.to_str().unwrap()], b"").exits(0).text();
    let (code, told) = send(&home.affix(issued.trim(), &letter("3")));
    assert_eq!(code, 550);
    assert!(told.contains("550-5.7.1 one\r\n550-5.7.1 two\r\n550 5.7.1 The message is unverified"), "{told}");

    daemon.kill();
    assert_eq!(send(&forged).0, 451);
    assert_eq!(behind.count(), 2);
}
