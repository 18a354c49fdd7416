//! The daemon as a submission server (mailstamp-submission(8)), and a client that shows every reply.

#![allow(dead_code, reason = "each test program uses its own part of this")]

use super::Home;
use super::programs::{PATIENCE, chmod, eventually_or};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Stdio};

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

/// The daemon; killed when this is dropped.
pub struct Submission {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Submission {
    /// Starts the daemon of a home, and waits until it listens.
    #[track_caller]
    pub fn start(home: &Home) -> Self {
        let log = home.file("submission-log");
        let mut command = home.command();
        command.arg("serve").stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log).unwrap());
        let child = command.spawn().unwrap();
        let said = || fs::read_to_string(&log).unwrap();
        let address = || said().split_once("submission at ")?.1.split([',', '\n']).next()?.parse().ok();
        let address = eventually_or("submission", || said().ends_with('\n').then(address).flatten(), said);
        Self { child, address }
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
        let mut client = Client::connect(self.address);
        client.say("EHLO client.example", 250);
        client.say(&format!("AUTH PLAIN {LOGIN}"), 235);
        client
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

/// A client.
pub struct Client {
    input: BufReader<TcpStream>,
    output: TcpStream,
}

impl Client {
    /// Connects, and waits for the greeting.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        let output = TcpStream::connect(address).unwrap();
        output.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = Self { input: BufReader::new(output.try_clone().unwrap()), output };
        let greeting = client.reply();
        assert!(greeting.starts_with("220 localhost ESMTP"), "{greeting:?}");
        client
    }

    /// Sends bytes.
    pub fn write(&mut self, bytes: &[u8]) {
        self.output.write_all(bytes).unwrap();
    }

    /// Returns the next reply with all its lines; empty when the server closed the connection.
    pub fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let begin = reply.len();
            if self.input.read_line(&mut reply).unwrap_or(0) == 0 || reply.as_bytes().get(begin + 3) != Some(&b'-') {
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
        for line in message.lines() {
            let dot = if line.starts_with('.') { "." } else { "" };
            self.write(format!("{dot}{line}\r\n").as_bytes());
        }
        self.write(b".\r\n");
        self.reply()
    }
}
