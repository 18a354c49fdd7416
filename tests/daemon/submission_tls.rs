//! TLS of the submission server (mailstamp-submission(8)): STARTTLS and TLS from the first byte, certificates that are
//! renewed or wrong, and programs on other hosts.

use crate::support::programs::{chmod, eventually_or, program};
use crate::support::smtp_server::{Mode, SmtpServer};
use crate::support::submission::{Certificates, Client, LOGIN, PASSWORD, Submission, configure};
use crate::support::{Home, MAILSTAMP, Run, run};
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;

const JOE: &str = "joe@x.example";
const BOB: &str = "bob@y.example";

/// A user whose copies need no stamp.
struct User {
    home: Home,
    server: SmtpServer,
    certificates: Certificates,
}

impl User {
    fn new(tls: &str, more: &str) -> Self {
        let home = Home::bare();
        let certificates = Certificates::make(&home);
        let user = Self { home, server: SmtpServer::start(Mode::Take), certificates };
        user.configure(tls, more);
        user
    }

    fn configure(&self, tls: &str, more: &str) {
        let port = self.server.address().rsplit(':').next().unwrap().to_owned();
        let smtp = format!("[sendmail.smtp]\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"off\"");
        let text = format!("addresses = [{JOE:?}]\n[sendmail]\nnone = [\"*@y.example\"]\n{smtp}");
        configure(&self.home, &text, &format!("{}\n{more}", self.certificates.keys(tls)));
    }

    fn starttls(&self, daemon: &Submission) -> Client {
        Client::starttls(daemon.address, &self.certificates.file("ca.pem"))
    }

    /// openssl(1) as a client of this server; it prints what happened.
    fn s_client(&self, daemon: &Submission, more: &[&str]) -> Run {
        let mut command = Command::new(program("openssl", "openssl"));
        command.args(["s_client", "-crlf", "-connect", &daemon.address.to_string(), "-CAfile"]);
        command.arg(self.certificates.file("ca.pem")).args(["-verify_hostname", "localhost"]).args(more);
        run(&mut command, b"QUIT\n")
    }
}

fn message(id: &str) -> String {
    format!("From: Joe <{JOE}>\nTo: {BOB}\nMessage-ID: <{id}@x.example>\nSubject: x\n\nhello\n.dot\n")
}

#[test]
fn after_starttls_a_session_begins_anew() {
    let user = User::new("starttls", "");
    let daemon = Submission::start(&user.home);
    let mut client = user.starttls(&daemon);
    // What was said before does not count, not even EHLO.
    client.say(&format!("AUTH PLAIN {LOGIN}"), 503);
    client.say(&format!("MAIL FROM:<{JOE}>"), 503);
    let offers = client.say("EHLO client.example", 250);
    assert!(!offers.contains("STARTTLS") && offers.contains("AUTH PLAIN LOGIN"), "{offers}");
    client.say("STARTTLS", 502);
    client.say(&format!("MAIL FROM:<{JOE}>"), 530);
    client.say(&format!("AUTH PLAIN {LOGIN}"), 235);
    // More than a record of TLS, and more than the buffers of the sockets.
    let large = message("2") + &"0123456789012345678901234567890123456789012345678901234567890\n".repeat(50_000);
    for text in [message("1"), large] {
        client.begin(JOE, &[BOB]);
        assert_eq!(client.finish(&text), "250 2.0.0 sent to 1 of 1 recipients\r\n");
    }
    client.say("QUIT", 221);
    // With a notice of TLS that this is the end, or reading would be an error.
    assert_eq!(client.reply(), "");
    assert_eq!(user.server.count(), 2);
    assert!(user.server.last().1.len() > 3_000_000);

    // Programs on this host may go without; what is in the segment of STARTTLS was never protected.
    let mut client = Client::connect(daemon.address);
    let offers = client.say("EHLO client.example", 250);
    assert!(offers.contains("STARTTLS") && offers.contains("AUTH PLAIN LOGIN"), "{offers}");
    client.write(b"STARTTLS\r\nRSET\r\n");
    let reply = client.reply();
    assert!(reply.starts_with("503 5.5.0 ") && client.reply().is_empty(), "{reply}");
    let mut client = daemon.log_in();
    client.say("STARTTLS", 503);
    daemon.end();
}

#[test]
fn tls_from_the_first_byte_on() {
    let user = User::new("implicit", "");
    let daemon = Submission::start(&user.home);
    let mut client = Client::connect_tls(daemon.address, &user.certificates.file("ca.pem")).log_in();
    client.say("STARTTLS", 502);
    client.begin(JOE, &[BOB]);
    assert_eq!(client.finish(&message("1")), "250 2.0.0 sent to 1 of 1 recipients\r\n");
    let said = user.s_client(&daemon, &["-verify_return_error", "-ign_eof"]).exits(0).text();
    assert!(said.contains("Verify return code: 0") && said.contains("221 2.0.0 bye"), "{said}");
    // Plain text is no handshake, and gets no answer of SMTP.
    let mut plain = TcpStream::connect(daemon.address).unwrap();
    plain.write_all(b"EHLO x\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"2"), "{answer:?}");
    daemon.end();
}

#[test]
fn bad_and_slow_handshakes_end_and_keep_no_other_out() {
    let user = User::new("starttls", "connections = 3");
    let daemon = Submission::start(&user.home);
    for version in ["-tls1", "-tls1_1"] {
        let more = ["-starttls", "smtp", version, "-cipher", "ALL:@SECLEVEL=0"];
        let said = user.s_client(&daemon, &more);
        let text = said.text() + &said.stderr;
        // Some of these have no signature algorithm that TLS 1.2 knows either, and get another alert.
        assert!(said.code != 0 && text.contains("alert ") && text.contains("Cipher is (NONE)"), "{text}");
    }
    user.s_client(&daemon, &["-starttls", "smtp", "-tls1_2"]).exits(0);
    let begin = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(daemon.address).unwrap();
        let mut read = |end: &[u8]| {
            let mut text = Vec::new();
            while !text.ends_with(end) {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                text.extend_from_slice(&byte);
            }
        };
        read(b"mailstamp\r\n");
        stream.write_all(b"STARTTLS\r\n").unwrap();
        let mut stream = stream;
        let mut reply = [0; 21];
        stream.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"220 2.0.0 begin TLS\r\n");
        stream.write_all(bytes).unwrap();
        stream
    };
    // The client gets an alert of TLS, and the end.
    let mut garbage = begin(b"MAIL FROM:<joe@x.example>\r\n");
    let mut answer = Vec::new();
    let _ = garbage.read_to_end(&mut answer);
    assert_eq!(answer.first(), Some(&21), "{answer:?}");
    begin(b"\x16\x03\x01").shutdown(Shutdown::Write).unwrap();
    eventually_or("log", || daemon.log().contains("no TLS with 127.0.0.1: ").then_some(()), || daemon.log());
    // As many as the limit, in the middle of a handshake: the longest idle one makes room.
    let _slow: Vec<TcpStream> = (0..3).map(|_| begin(b"\x16\x03\x01\x02\x00\x01")).collect();
    let mut client = user.starttls(&daemon).log_in();
    client.begin(JOE, &[BOB]);
    assert_eq!(client.finish(&message("1")), "250 2.0.0 sent to 1 of 1 recipients\r\n");
    assert!(!daemon.log().contains(PASSWORD) && !daemon.log().contains(LOGIN), "{}", daemon.log());
}

#[test]
fn a_renewed_certificate_is_used_without_a_signal() {
    let user = User::new("starttls", "");
    let daemon = Submission::start(&user.home);
    let mut before = user.starttls(&daemon).log_in();
    let serial = || {
        let said = user.s_client(&daemon, &["-starttls", "smtp"]).text();
        let (_, rest) = said.split_once("-----BEGIN CERTIFICATE-----").unwrap_or_else(|| panic!("{said}"));
        rest.split("-----END").next().unwrap().to_owned()
    };
    let on_disk = || {
        let text = fs::read_to_string(user.certificates.file("chain.pem")).unwrap();
        text.split("-----BEGIN CERTIFICATE-----").nth(1).unwrap().split("-----END").next().unwrap().to_owned()
    };
    let old = on_disk();
    assert_eq!(serial(), old);
    // The certificate is new, and the key is not yet: the old pair serves.
    let (key, new_key) = (user.certificates.file("key.pem"), user.home.file("kept"));
    fs::copy(&key, &new_key).unwrap();
    let old_key = fs::read(&key).unwrap();
    user.certificates.issue("", 90);
    fs::rename(&key, &new_key).unwrap();
    fs::write(&key, old_key).unwrap();
    chmod(&key, 0o600);
    assert_eq!((serial(), serial()), (old.clone(), old.clone()));
    let said = "key.pem: not the key of the certificate; the previous certificate stays in use";
    assert_eq!(daemon.log().matches(said).count(), 1, "{}", daemon.log());
    fs::rename(&new_key, &key).unwrap();
    let new = serial();
    assert!(new == on_disk() && new != old);
    assert_eq!(daemon.log().matches("chain.pem: read the new certificate").count(), 1, "{}", daemon.log());
    // A session under way goes on.
    before.begin(JOE, &[BOB]);
    assert_eq!(before.finish(&message("1")), "250 2.0.0 sent to 1 of 1 recipients\r\n");
    daemon.end();
}

#[test]
fn a_certificate_that_cannot_be_used_is_told_before_the_start() {
    let user = User::new("starttls", "");
    let (chain, key) = (user.certificates.file("chain.pem"), user.certificates.file("key.pem"));
    let (good_chain, good_key) = (fs::read(&chain).unwrap(), fs::read(&key).unwrap());
    let other_key = {
        user.certificates.issue("", 90);
        fs::read(&key).unwrap()
    };
    let told = |said: &str| {
        let ran = run(user.home.command().arg("serve"), b"").exits(78);
        assert!(ran.stderr.contains(said), "{}", ran.stderr);
        let doctor = user.home.run(["doctor"], b"").exits(78).text();
        assert!(doctor.lines().any(|line| line.starts_with("error") && line.contains(said)), "{doctor}");
        let check = user.home.run(["config", "check"], b"").exits(78);
        assert!(check.stderr.contains(said), "{}", check.stderr);
    };
    for (chain_text, key_text, said) in [
        (&good_chain[..], &other_key[..], "key.pem: not the key of the certificate"),
        (b"no certificate\n", &good_key, "chain.pem: contains no certificate"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &good_key, "chain.pem: not a certificate"),
        (b"-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n", &good_key, "chain.pem: malformed PEM"),
        (&good_chain, &good_chain, "key.pem: contains no PEM block of this kind"),
    ] {
        fs::write(&chain, chain_text).unwrap();
        fs::write(&key, key_text).unwrap();
        told(said);
    }
    fs::write(&key, &good_key).unwrap();
    chmod(&key, 0o640);
    told("key.pem: others may read it; chmod 600 would close it");
    fs::remove_file(&key).unwrap();
    told("key.pem: no such file");
}

#[test]
fn an_expired_certificate_is_told_by_doctor() {
    let user = User::new("implicit", "");
    let doctor = || user.home.run(["doctor"], b"").text();
    let line = |health: &str, said: &str| {
        let doctor = doctor();
        assert!(doctor.lines().any(|line| line.starts_with(health) && line.contains(said)), "{said}\n{doctor}");
    };
    user.home.run(["config", "check"], b"").exits(0);
    line("ok", "chain.pem: valid until ");
    user.certificates.issue("-80d", 90);
    line("warning", "chain.pem: expires on ");
    user.certificates.issue("+10d", 90);
    line("error", "chain.pem: not valid before ");
    user.certificates.issue("-20d", 10);
    line("error", "chain.pem: expired on ");
    // The daemon does other things, and gets the new one as soon as it is there.
    let daemon = Submission::start(&user.home);
    assert!(daemon.log().contains("chain.pem: expired on "), "{}", daemon.log());
    let said = user.s_client(&daemon, &[]).text();
    assert!(said.contains("Verify return code: 10 (certificate has expired)"), "{said}");
    daemon.end();
}

/// What a program on another host sees. Prints the answers.
const STRANGER: &str = r#"
import base64, select, smtplib, socket, ssl, sys
port, authority, password = int(sys.argv[1]), sys.argv[2], sys.argv[3]
context = ssl.create_default_context(cafile=authority)
def connect():
    return smtplib.SMTP("192.0.2.1", port, source_address=("192.0.2.1", 0))
def plain(password):
    return "AUTH PLAIN " + base64.b64encode(f"\0joe\0{password}".encode()).decode()
server = connect()
server.ehlo()
print("offers", server.has_extn("starttls"), server.has_extn("auth"))
print(server.docmd(plain(password))[0], server.docmd("MAIL FROM:<joe@x.example>")[0])
# A ninth connection of this host makes no room: one that is idle is closed for it.
own = [server.sock] + [connect().sock for _ in range(8)]
print("closed", select.select(own, [], [], 60)[0][0].recv(1) == b"")
def log_in(password):
    server = connect()
    server.starttls(context=context)
    server.ehlo()
    return server, server.docmd(plain(password))
server, answer = log_in(password)
print("right", answer[0], server.sendmail("joe@x.example", ["bob@y.example"], "From: joe@x.example\r\n\r\nhi\r\n"))
# A device with an old password counts once.
for word in ["old"] * 2 + [f"guess {n}" for n in range(4)]:
    print(log_in(word)[1][0], end=" ")
print(*log_in(password)[1])
"#;

#[test]
fn other_hosts_log_in_under_tls_and_cannot_guess() {
    let user = User::new("starttls", "");
    // The network of the daemon is its own, with an address that is not of the loopback. The next server is not there.
    let taken = user.home.file("taken");
    let next = format!("next = [\"/bin/sh\", \"-c\", 'cat > \"$0\"', {taken:?}]");
    let text = fs::read_to_string(user.home.config()).unwrap();
    let (before, _) = text.split_once("[sendmail.smtp]").unwrap();
    let (_, after) = text.split_once("[submission]").unwrap();
    user.home.configure(&format!("{before}{next}\n[submission]{}", after.replace("127.0.0.1:0", "0.0.0.0:0")));
    let script = "ip link set lo up && ip address add 192.0.2.1/32 dev lo && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.env_clear().env("HOME", user.home.path()).env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
    command.args(["--net", "sh", "-c", script, "sh", MAILSTAMP]);
    let daemon = Submission::start_as(&user.home, command);
    let mut stranger = Command::new("nsenter");
    stranger.arg(format!("--net=/proc/{}/ns/net", daemon.id())).arg(program("python3", "python3"));
    stranger.args(["-", &daemon.address.port().to_string()]).arg(user.certificates.file("ca.pem")).arg(PASSWORD);
    let ran = run(&mut stranger, STRANGER.as_bytes());
    let expected = "offers True False\n538 530\nclosed True\nright 235 {}\n\
                    535 535 535 535 535 535 421 ";
    assert!(ran.text().starts_with(expected), "{}{}{}", ran.text(), ran.stderr, daemon.log());
    let log = daemon.log();
    assert_eq!(log.matches("wrong user name or password for joe, from 192.0.2.1\n").count(), 6, "{log}");
    assert!(fs::read_to_string(&taken).unwrap().ends_with("\nhi\n"));
    assert!(log.contains("login refused after too many wrong ones, from 192.0.2.1\n"), "{log}");

    daemon.end();

    // A short password is not for the network.
    fs::write(user.home.file("submission-password"), "eleven char\n").unwrap();
    let ran = run(user.home.command().arg("serve"), b"").exits(78);
    assert!(ran.stderr.contains("submission-password: 11 characters, expected at least 12"), "{}", ran.stderr);
    let doctor = user.home.run(["doctor"], b"").exits(78).text();
    assert!(doctor.contains("submission-password: 11 characters, expected at least 12"), "{doctor}");
}
