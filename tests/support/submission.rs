//! The daemon as a submission server (mailstamp-submission(8)), and a client that shows every reply.

#![allow(dead_code, reason = "each test program uses its own part of this")]

use super::programs::{PATIENCE, chmod, eventually_or, program};
use super::{Home, faketime, run};
use rustix::process::{Pid, Signal, kill_process};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

/// The user name and the password.
pub const USER: &str = "joe";
pub const PASSWORD: &str = "a secret: word";

/// The response of AUTH PLAIN.
pub const LOGIN: &str = "AGpvZQBhIHNlY3JldDogd29yZA==";

/// Adds the table `[submission]` to this configuration, with more keys, and writes the password.
pub fn configure(home: &Home, text: &str, more: &str) {
    let password = home.file("submission-password");
    fs::write(&password, format!("{PASSWORD}\n")).unwrap();
    chmod(&password, 0o600);
    home.configure(&format!(
        "{text}\n[submission]\nlisten = \"127.0.0.1:0\"\nuser = \"{USER}\"\npassword_file = {password:?}\n{more}\n"
    ));
}

/// A certificate for `localhost` and 127.0.0.1 with its key, in a folder, and the authority that issued it.
pub struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    /// Makes an authority, and a certificate for 90 days.
    pub fn make(home: &Home) -> Self {
        let made = Self { folder: home.file("tls") };
        fs::create_dir(&made.folder).unwrap();
        let authority =
            "req -x509 -subj /CN=ca -days 90 -addext keyUsage=keyCertSign,cRLSign -keyout ca-key.pem -out ca.pem";
        made.openssl("", authority);
        made.issue("", 90);
        made
    }

    /// Makes another certificate and a key. It is for that many days since a moment, as `-9d`; since now if empty.
    pub fn issue(&self, since: &str, days: u32) {
        self.openssl("", "req -subj /CN=localhost -keyout key.new -out request");
        fs::write(self.file("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:192.0.2.1\n").unwrap();
        let from = "-in request -CA ca.pem -CAkey ca-key.pem -CAcreateserial -extfile names -out chain.new";
        self.openssl(since, &format!("x509 -req -days {days} {from}"));
        for (new, name) in [("chain.new", "chain.pem"), ("key.new", "key.pem")] {
            fs::rename(self.file(new), self.file(name)).unwrap();
        }
    }

    /// A file: `ca.pem`, `chain.pem`, `key.pem`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The keys of the table `[submission]`.
    pub fn keys(&self, tls: &str) -> String {
        format!("tls = {tls:?}\ncertificate = {:?}\nkey = {:?}", self.file("chain.pem"), self.file("key.pem"))
    }

    /// Runs openssl, at another time if there is one.
    fn openssl(&self, at: &str, words: &str) {
        let openssl = program("openssl", "openssl");
        let mut command = match at {
            "" => Command::new(openssl),
            at => {
                let mut command = faketime(at);
                command.arg(openssl);
                command
            }
        };
        command.args(words.split(' '));
        if words.starts_with("req") {
            command.args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
        }
        run(command.current_dir(&self.folder), b"").exits(0);
    }
}

/// The daemon; killed when this is dropped.
pub struct Submission {
    child: Child,
    log: PathBuf,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Submission {
    /// Starts the daemon of a home, and waits until it listens.
    #[track_caller]
    pub fn start(home: &Home) -> Self {
        Self::start_as(home, home.command())
    }

    /// As `start`, with this beginning of its command.
    #[track_caller]
    pub fn start_as(home: &Home, mut command: Command) -> Self {
        let log = home.file("submission-log");
        command.arg("serve").stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log).unwrap());
        let child = command.spawn().unwrap();
        let said = || fs::read_to_string(&log).unwrap();
        let address = || said().split_once("submission at ")?.1.split([',', '\n']).next()?.parse().ok();
        let address = eventually_or("submission", || said().ends_with('\n').then(address).flatten(), said);
        Self { child, log, address }
    }

    /// What it has said.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it, and waits until it is gone.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end, and waits until it has.
    #[track_caller]
    pub fn end(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }

    /// A connection, greeted and logged in.
    #[track_caller]
    pub fn log_in(&self) -> Client {
        Client::connect(self.address).log_in()
    }

    /// Sends a message, and returns the reply to it.
    #[track_caller]
    pub fn send(&self, sender: &str, recipients: &[&str], message: &str) -> String {
        let mut client = self.log_in();
        client.begin(sender, recipients);
        client.finish(message)
    }
}

impl Drop for Submission {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection, in the clear or not.
trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

/// A client.
pub struct Client(BufReader<Box<dyn Stream + Send>>);

impl Client {
    /// Connects, and waits for the greeting.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        Self(BufReader::new(Box::new(open(address)))).greeted()
    }

    /// Connects with TLS from the first byte on.
    #[track_caller]
    pub fn connect_tls(address: SocketAddr, authority: &Path) -> Self {
        Self(BufReader::new(Box::new(protect(open(address), authority)))).greeted()
    }

    /// Connects, and begins TLS after STARTTLS.
    #[track_caller]
    pub fn starttls(address: SocketAddr, authority: &Path) -> Self {
        let stream = open(address);
        let mut client = Self(BufReader::new(Box::new(stream.try_clone().unwrap()))).greeted();
        client.say("EHLO client.example", 250);
        client.say("STARTTLS", 220);
        Self(BufReader::new(Box::new(protect(stream, authority))))
    }

    #[track_caller]
    fn greeted(mut self) -> Self {
        let greeting = self.reply();
        assert!(greeting.starts_with("220 ") && greeting.contains(" ESMTP"), "{greeting:?}");
        self
    }

    /// Logs in after EHLO.
    #[track_caller]
    pub fn log_in(mut self) -> Self {
        self.say("EHLO client.example", 250);
        self.say(&format!("AUTH PLAIN {LOGIN}"), 235);
        self
    }

    /// Sends bytes. A server that is gone shows in what it replies.
    pub fn write(&mut self, bytes: &[u8]) {
        let stream = self.0.get_mut();
        let _ = stream.write_all(bytes).and_then(|()| stream.flush());
    }

    /// Returns the next reply with all its lines; empty when the server closed the connection.
    pub fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let begin = reply.len();
            if self.0.read_line(&mut reply).unwrap_or(0) == 0 || reply.as_bytes().get(begin + 3) != Some(&b'-') {
                return reply;
            }
        }
    }

    /// Sends a line, and returns the reply, which must have this code.
    #[track_caller]
    pub fn say(&mut self, line: &str, code: u16) -> String {
        self.write(format!("{line}\r\n").as_bytes());
        let reply = self.reply();
        assert!(reply.starts_with(&code.to_string()), "{line:?}: {reply:?}");
        reply
    }

    /// Sends an envelope and DATA.
    #[track_caller]
    pub fn begin(&mut self, sender: &str, recipients: &[&str]) {
        self.say(&format!("MAIL FROM:<{sender}>"), 250);
        for recipient in recipients {
            self.say(&format!("RCPT TO:<{recipient}>"), 250);
        }
        self.say("DATA", 354);
    }

    /// Sends a message of lines with LF, and returns the reply.
    pub fn finish(&mut self, message: &str) -> String {
        let dotted = |line: &str| format!("{}{line}\r\n", if line.starts_with('.') { "." } else { "" });
        let text: String = message.lines().map(dotted).collect();
        self.write((text + ".\r\n").as_bytes());
        self.reply()
    }
}

fn open(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn protect(stream: TcpStream, authority: &Path) -> impl Read + Write + Send + use<> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tls = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    StreamOwned::new(tls, stream)
}
