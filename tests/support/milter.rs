//! A mail system's side of the milter protocol, as far as the tests need it, and what a milter asked to be changed.

#![allow(dead_code, reason = "each test program uses its own part of this")]

use super::programs::PATIENCE;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// A connection of a mail system.
pub struct MailSystem(UnixStream);

/// What the milter answered to a message, command bytes first.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Its last answer: `a`, `d`, or `y` with the SMTP reply.
    pub last: String,
    /// `m` with number, name and value; `i` with name and value.
    pub fields: Vec<String>,
    /// `+` and `-` with a recipient.
    pub recipients: Vec<String>,
    /// The new body, if there is one.
    pub body: Option<Vec<u8>>,
}

impl Answer {
    /// The value of the field of this name that is inserted.
    pub fn inserted(&self, name: &str) -> Option<&str> {
        self.fields.iter().find_map(|field| field.strip_prefix(&format!("i {name}:")))
    }
}

impl MailSystem {
    /// Connects and negotiates as Postfix does.
    #[track_caller]
    pub fn connect(path: &Path) -> Self {
        let mut system = Self::silent(path);
        system.send(b'O', &[0, 0, 0, 6, 0, 0, 1, 0xff, 0, 0x1f, 0xff, 0xff]);
        let (letter, data) = system.receive().expect("an answer to the negotiation");
        assert_eq!((letter, &data[..4]), (b'O', &[0, 0, 0, 6][..]));
        system
    }

    /// Connects and says nothing.
    pub fn silent(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    /// Sends a command.
    pub fn send(&mut self, letter: u8, data: &[u8]) {
        let length = u32::try_from(data.len() + 1).unwrap().to_be_bytes();
        // A milter that is gone shows in what it answers.
        let _ = self.0.write_all(&[&length[..], &[letter], data].concat());
    }

    /// Sends bytes that are no whole command.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes);
    }

    /// The next answer; `None` when the milter ended the connection.
    pub fn receive(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).ok()?;
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut frame).ok()?;
        Some((frame[0], frame[1..].to_vec()))
    }

    /// The next answer that is more than a word of patience, which comes after each second of work.
    pub fn receive_next(&mut self) -> Option<(u8, Vec<u8>)> {
        std::iter::repeat_with(|| self.receive()).find(|answer| !matches!(answer, Some((b'p', _))))?
    }

    /// Sends a message up to its end, but not that.
    pub fn begin(&mut self, recipients: &[&str], message: &[u8]) {
        self.begin_from("<bob@y.example>", recipients, message);
    }

    /// The same with another envelope sender.
    pub fn begin_from(&mut self, sender: &str, recipients: &[&str], message: &[u8]) {
        self.send(b'M', format!("{sender}\0").as_bytes());
        for recipient in recipients {
            self.send(b'R', format!("<{recipient}>\0").as_bytes());
        }
        let text = String::from_utf8_lossy(message).replace("\r\n", "\n");
        let (header, body) = text.split_once("\n\n").unwrap();
        let mut fields: Vec<String> = Vec::new();
        for line in header.split('\n') {
            match fields.last_mut().filter(|_| line.starts_with([' ', '\t'])) {
                Some(field) => *field += &format!("\n{line}"),
                None => fields.push(line.to_owned()),
            }
        }
        for field in fields {
            let (name, value) = field.split_once(':').unwrap();
            self.send(b'L', format!("{name}\0{value}\0").as_bytes());
        }
        self.send(b'N', b"");
        for chunk in body.replace('\n', "\r\n").as_bytes().chunks(65_535) {
            self.send(b'B', chunk);
            let answer = self.receive();
            assert!(matches!(answer, Some((b'c' | b's', _))), "{answer:?}");
        }
    }

    /// Ends the message; `None` when the connection ended.
    pub fn end(&mut self) -> Option<Answer> {
        self.send(b'E', b"");
        self.answer()
    }

    /// The answer to the end of a message.
    pub fn answer(&mut self) -> Option<Answer> {
        let mut answer = Answer::default();
        loop {
            let (letter, data) = self.receive_next()?;
            let texts = |data: &[u8]| -> Vec<String> {
                data.split(|&byte| byte == 0).map(|text| String::from_utf8_lossy(text).into_owned()).collect()
            };
            match letter {
                b'm' => {
                    let (number, parts) = (u32::from_be_bytes(data[..4].try_into().unwrap()), texts(&data[4..]));
                    answer.fields.push(format!("m{number} {}:{}", parts[0], parts[1]));
                }
                b'i' => {
                    let parts = texts(&data[4..]);
                    answer.fields.push(format!("i {}:{}", parts[0], parts[1]));
                }
                b'+' | b'-' => answer.recipients.push(format!("{}{}", char::from(letter), texts(&data)[0])),
                b'b' => answer.body.get_or_insert_default().extend(data),
                _ => {
                    let text = if letter == b'y' { texts(&data)[0].clone() } else { String::new() };
                    answer.last = format!("{}{text}", char::from(letter));
                    return Some(answer);
                }
            }
        }
    }

    /// Sends a whole message.
    #[track_caller]
    pub fn message(&mut self, recipients: &[&str], message: &[u8]) -> Answer {
        self.begin(recipients, message);
        self.end().expect("an answer to the message")
    }
}
