//! The smallest client of SMTP (RFC 5321) and LMTP (RFC 2033) that can hand over one message and show what was
//! answered.

#![allow(dead_code, reason = "each test program uses its own part of this")]

use super::programs::PATIENCE;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

/// Which of the two is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// One answer for the message.
    Smtp,
    /// One answer for each recipient.
    Lmtp,
}

/// Hands over `message` and returns the code of the answer to the data, for each recipient under LMTP; 0 when the
/// server closed the connection without one.
///
/// # Panics
/// When the session breaks down before the data, or a recipient is refused.
pub fn send(protocol: Protocol, port: u16, sender: &str, recipients: &[&str], message: &[u8]) -> Vec<u16> {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut session = Session { input: BufReader::new(stream.try_clone().unwrap()), output: stream };
    session.answer(&[220]);
    session.say(if protocol == Protocol::Lmtp { "LHLO client.example" } else { "EHLO client.example" }, &[250]);
    session.say(&format!("MAIL FROM:<{sender}>"), &[250]);
    for recipient in recipients {
        session.say(&format!("RCPT TO:<{recipient}>"), &[250]);
    }
    session.say("DATA", &[354]);
    session.output.write_all(&dotted(message)).unwrap();
    let answers = if protocol == Protocol::Lmtp { recipients.len() } else { 1 };
    let codes: Vec<u16> = (0..answers).map(|_| session.answer(&[])).collect();
    if !codes.contains(&0) {
        session.say("QUIT", &[]);
    }
    codes
}

/// Hands over a message, and ends with the first failure, wherever it comes. Returns its code, or else 250, and its
/// lines.
pub fn hand_over(port: u16, recipients: &[&str], message: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut input = BufReader::new(stream.try_clone().unwrap());
    let commands = ["EHLO y.example".to_owned(), "MAIL FROM:<bob@y.example>".to_owned()].into_iter();
    let commands = commands.chain(recipients.iter().map(|to| format!("RCPT TO:<{to}>")));
    let commands = commands.chain(["DATA".to_owned()]).map(|line| (line + "\r\n").into_bytes());
    for command in std::iter::once(Vec::new()).chain(commands).chain([dotted(message)]) {
        stream.write_all(&command).unwrap();
        let mut told = String::new();
        loop {
            let start = told.len();
            // A server that ends the connection may do so without a word.
            if input.read_line(&mut told).unwrap_or(0) == 0 {
                return (0, told);
            }
            if told.as_bytes().get(start + 3) != Some(&b'-') {
                let code = told[start..].get(..3).and_then(|code| code.parse().ok()).unwrap_or(0);
                if !(200..400).contains(&code) {
                    return (code, told);
                }
                break;
            }
        }
    }
    (250, String::new())
}

struct Session {
    input: BufReader<TcpStream>,
    output: TcpStream,
}

impl Session {
    fn say(&mut self, line: &str, expected: &[u16]) -> u16 {
        self.output.write_all(format!("{line}\r\n").as_bytes()).unwrap();
        self.answer(expected)
    }

    /// The code of the next answer, which must be one of `expected` if any are.
    fn answer(&mut self, expected: &[u16]) -> u16 {
        loop {
            let mut line = String::new();
            self.input.read_line(&mut line).unwrap();
            if line.as_bytes().get(3) == Some(&b'-') {
                continue;
            }
            let code = line.get(..3).and_then(|code| code.parse().ok()).unwrap_or(0);
            assert!(expected.is_empty() || expected.contains(&code), "expected {expected:?}: {line:?}");
            return code;
        }
    }
}

/// The message as DATA wants it: CRLF, leading dots doubled, a dot on a line at the end.
fn dotted(message: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(message.len() + 64);
    for line in message.split_inclusive(|&b| b == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.starts_with(b".") {
            wire.push(b'.');
        }
        wire.extend(line);
        wire.extend(b"\r\n");
    }
    wire.extend(b".\r\n");
    wire
}
