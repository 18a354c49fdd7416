//! Copies to a server by SMTP: over TLS, with a password, and only to the server that it should be.

use crate::support::programs::{chmod, program};
use crate::support::smtp_server::{Mode, SmtpServer};
use crate::support::{ALICE, Home, run, traced_with};
use serde_json::Value;
use std::cell::Cell;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// The server of `server.py`.
pub struct Server {
    child: Child,
    port: u16,
    taken: PathBuf,
    /// How many of the lines were told.
    told: Cell<usize>,
}

impl Server {
    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Starts a server; `mode` is its kind of TLS.
    pub fn start(home: &Home, mode: &str) -> Self {
        let (certificate, key) = (home.file("server.pem"), home.file("server.key"));
        let mut make = Command::new(program("openssl", "openssl"));
        make.args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "9",
        ]);
        make.args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]);
        make.args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"]).arg(&key).arg("-out").arg(&certificate);
        run(&mut make, b"").exits(0);
        chmod(&certificate, 0o644);
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/sendmail/server.py");
        let taken = home.file("taken");
        let mut serve = Command::new(program("python3", "python3"));
        serve.arg(script).arg(mode).arg(&certificate).arg(&key).arg(&taken).stdout(Stdio::piped());
        let mut server = Self { child: serve.spawn().unwrap(), port: 0, taken, told: Cell::new(0) };
        let mut port = String::new();
        BufReader::new(server.child.stdout.take().unwrap()).read_line(&mut port).unwrap();
        server.port = port.trim().parse().unwrap();
        server
    }

    /// What it took since it was asked last.
    pub fn taken(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.taken).unwrap_or_default();
        // Whole lines only; the server may be writing.
        let (whole, _) = text.rsplit_once('\n').unwrap_or_default();
        let new = whole.lines().skip(self.told.get());
        let new: Vec<Value> = new.map(|line| serde_json::from_str(line).unwrap()).collect();
        self.told.set(self.told.get() + new.len());
        new
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn configure(home: &Home, server: &Server, mode: &str, more: &str) {
    let ca = home.file("server.pem");
    home.configure(&format!(
        "addresses = [{ALICE:?}]\n[sendmail]\nnone = [\"*@y.example\"]\n[sendmail.smtp]\nhost = \"localhost\"\nport = {}\n\
         tls = \"{mode}\"\n{}\n{more}",
        server.port,
        if mode == "off" { String::new() } else { format!("ca_file = {ca:?}") },
    ));
}

const LETTER: &[u8] = b"From: alice@x.example\nDate: d\nMessage-ID: <1@x>\nSubject: s\n\none\n.\n..two\nend";

#[test]
fn a_copy_goes_over_a_protected_connection_with_the_users_password() {
    for mode in ["implicit", "starttls"] {
        let home = Home::new();
        let server = Server::start(&home, mode);
        let password = home.file("password");
        fs::write(&password, "s3cret word\n").unwrap();
        chmod(&password, 0o600);
        let login = format!("user = \"alice\"\npassword_file = {password:?}");
        configure(&home, &server, mode, &login);
        home.run(["sendmail", "-i", "a@y.example", "b@y.example"], LETTER).exits(0);
        let mut taken = server.taken();
        taken.sort_by_key(|one| one["to"].to_string());
        let to: Vec<_> = taken.iter().map(|one| one["to"][0].as_str().unwrap()).collect();
        assert_eq!(to, ["a@y.example", "b@y.example"]);
        for one in &taken {
            assert_eq!((&one["user"], &one["from"]), (&"alice".into(), &"alice@x.example".into()), "{mode}");
            assert_eq!(one["secure"], true);
            let data = String::from_utf8(LETTER.to_vec()).unwrap().replace('\n', "\r\n") + "\r\n";
            assert_eq!(one["data"], data);
        }
        // A password that is wrong or readable by others, and a server that is not the expected one.
        chmod(&password, 0o644);
        let said = home.run(["sendmail", "a@y.example"], LETTER).exits(78);
        assert!(said.stderr.contains("others may read it"), "{}", said.stderr);
        chmod(&password, 0o600);
        fs::write(&password, "wrong").unwrap();
        let said = home.run(["sendmail", "-i", "a@y.example"], LETTER);
        assert!(said.code == 75 && said.stderr.contains("who are you"), "{said:?}");
        configure(&home, &server, mode, &login);
        let config = fs::read_to_string(home.config()).unwrap();
        home.configure(&config.replace("\"localhost\"", "\"127.0.0.1\""));
        let said = home.run(["sendmail", "-i", "c@y.example"], LETTER).exits(75);
        assert!(said.stderr.contains("certificate"), "{}", said.stderr);
        home.configure(&config.lines().filter(|line| !line.starts_with("ca_file")).collect::<Vec<_>>().join("\n"));
        home.run(["sendmail", "-i", "d@y.example"], LETTER).exits(75);
        assert_eq!(server.taken(), [Value::Null; 0]);
    }
}

#[test]
fn without_starttls_nothing_is_sent() {
    let home = Home::new();
    let server = Server::start(&home, "none");
    configure(&home, &server, "starttls", "");
    home.run(["sendmail", "a@y.example"], LETTER).exits(75);
    assert_eq!(server.taken(), [Value::Null; 0]);
}

#[test]
fn what_the_server_says_of_single_recipients_decides_their_fate() {
    let home = Home::new();
    let server = Server::start(&home, "none");
    configure(&home, &server, "off", "");
    let send = || home.run(["sendmail", "-i", "-f", "<>", "a@y.example", "gone@y.example", "busy@y.example"], LETTER);
    let said = send().exits(75);
    assert!(said.stderr.contains("gone@y.example: refused (69): ") && said.stderr.contains("no such user"), "{said:?}");
    assert!(said.stderr.contains("busy@y.example: not sent yet: "), "{said:?}");
    let taken = server.taken();
    assert_eq!((taken.len(), &taken[0]["from"]), (1, &"".into()));
    send().exits(75);
    assert_eq!(server.taken().len(), 0);
}

/// The bytes of each write to a socket, and whether TCP_NODELAY was set before them, from the log of strace(1).
fn writes(log: &str) -> (Vec<String>, bool) {
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("TCP:")).collect();
    let is_write = |line: &&&str| line.contains("sendto(") || line.contains("write(") || line.contains("writev(");
    let first = lines.iter().position(|line| is_write(&line)).unwrap();
    let no_delay = lines[..first].iter().any(|line| line.contains("TCP_NODELAY, [1]"));
    let text = |line: &&str| line.split_once('"').unwrap().1.rsplit_once('"').unwrap().0.to_owned();
    (lines.iter().filter(is_write).map(text).collect(), no_delay)
}

#[test]
fn a_message_and_its_end_are_one_write_without_delay() {
    // What is written in two could wait for the server's delayed acknowledgement of the first.
    let home = Home::new();
    let (server, plain) = (Server::start(&home, "none"), SmtpServer::start(Mode::Take));
    configure(&home, &server, "off", "");
    let trace = || {
        let calls = "trace=setsockopt,sendto,write,writev";
        let mut command = home.command();
        command.args(["sendmail", "-i", "a@y.example"]);
        let (ran, notes) = traced_with(&mut command, &["-yy", "-s", "99999", "-e", calls], LETTER);
        ran.exits(0);
        writes(&notes)
    };
    let text = String::from_utf8(LETTER.to_vec()).unwrap();
    let text = text.replace("\n.", "\n..").replace('\n', r"\r\n") + r"\r\n.\r\n";
    let (hello, quit) = (r"EHLO [127.0.0.1]\r\n", r"QUIT\r\n");
    let (mail, to, data) = (r"MAIL FROM:<alice@x.example>\r\n", r"RCPT TO:<a@y.example>\r\n", r"DATA\r\n");
    assert_eq!(trace(), (vec![hello.into(), [mail, to, data].concat(), text.clone(), quit.into()], true));
    // Without PIPELINING.
    let port = plain.address().rsplit(':').next().unwrap().to_owned();
    let config = fs::read_to_string(home.config()).unwrap();
    home.configure(&config.replace(&server.port.to_string(), &port));
    assert_eq!(trace(), ([hello, mail, to, data, &text, quit].map(str::to_owned).to_vec(), true));
    assert_eq!((server.taken().len(), plain.count()), (1, 1));
    assert!(!home.state().join("wallet.redb").exists(), "no stamp was wanted");
}
