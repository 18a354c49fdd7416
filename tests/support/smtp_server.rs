//! The smallest server of SMTP (RFC 5321) that takes messages, refuses them, or stops answering.

#![allow(dead_code, reason = "each test program uses its own part of this")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What it does with the next connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Take,
    /// Refuses every recipient.
    Refuse,
    /// Refuses every recipient for now.
    Defer,
    /// Refuses `gone@`, and `busy@` for now.
    Partly,
    /// Refuses `gone@`, and the null sender.
    OnlyFromUsers,
    /// Accepts connections, and says nothing.
    Silent,
    /// Begins a greeting that never ends, byte after byte.
    Dripping,
    /// Takes the message, and says nothing about it.
    SilentAfterMessage,
}

#[derive(Debug)]
struct State {
    mode: Mode,
    /// Connections that get no answer.
    held: usize,
    /// Envelope and text of each message that was taken.
    taken: Vec<(String, String)>,
}

/// A server. Its threads end with the test.
#[derive(Clone, Debug)]
pub struct SmtpServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl SmtpServer {
    /// Starts one.
    pub fn start(mode: Mode) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = Self { address, state: Arc::new(Mutex::new(State { mode, held: 0, taken: Vec::new() })) };
        let own = server.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (server, stream) = (own.clone(), stream.unwrap());
                // A client that goes away is none of the server's business.
                thread::spawn(move || drop(server.serve(stream)));
            }
        });
        server
    }

    /// Its host and port.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Changes what it does from now on.
    pub fn set(&self, mode: Mode) {
        self.state.lock().unwrap().mode = mode;
    }

    /// How many connections have got no answer.
    pub fn held(&self) -> usize {
        self.state.lock().unwrap().held
    }

    /// How many messages it took.
    pub fn count(&self) -> usize {
        self.state.lock().unwrap().taken.len()
    }

    /// The envelope and the text of the last message.
    pub fn last(&self) -> (String, String) {
        self.state.lock().unwrap().taken.last().cloned().unwrap()
    }

    /// The envelope and the text of each message.
    pub fn taken(&self) -> Vec<(String, String)> {
        self.state.lock().unwrap().taken.clone()
    }

    /// The code in each message.
    pub fn codes(&self) -> Vec<String> {
        let code = |text: &str| text.lines().find_map(|line| line.strip_prefix("    ")).unwrap().to_owned();
        self.taken().iter().map(|(_, text)| code(text)).collect()
    }

    /// The code in the last message.
    pub fn code(&self) -> String {
        self.codes().pop().unwrap()
    }

    fn hold(&self, mut stream: impl Read) -> std::io::Result<()> {
        self.state.lock().unwrap().held += 1;
        // Until the client has had enough.
        std::io::copy(&mut stream, &mut std::io::sink()).map(drop)
    }

    fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mode = self.state.lock().unwrap().mode;
        let mut input = BufReader::new(stream.try_clone()?);
        if mode == Mode::Silent {
            return self.hold(input);
        }
        if mode == Mode::Dripping {
            loop {
                stream.write_all(b"2")?;
                thread::sleep(Duration::from_millis(10));
            }
        }
        stream.write_all(b"220 test ESMTP\r\n")?;
        let mut envelope = String::new();
        loop {
            let mut line = String::new();
            if input.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let answer = match &*line.get(..4).unwrap_or_default().to_ascii_uppercase() {
                "MAIL" if mode == Mode::OnlyFromUsers && line.contains("<>") => "553 write a sender",
                "RCPT" if mode == Mode::OnlyFromUsers && line.contains("<gone@") => "550 no such user",
                "RCPT" if mode == Mode::Refuse || mode == Mode::Partly && line.contains("<gone@") => "550 no such user",
                "RCPT" if mode == Mode::Defer || mode == Mode::Partly && line.contains("<busy@") => "451 not now",
                "MAIL" | "RCPT" => {
                    envelope += line.trim_end();
                    envelope.push('\n');
                    "250 well"
                }
                "DATA" => {
                    stream.write_all(b"354 go on\r\n")?;
                    let mut text = String::new();
                    while !text.ends_with("\r\n.\r\n") {
                        if input.read_line(&mut text)? == 0 {
                            return Ok(());
                        }
                    }
                    if mode == Mode::SilentAfterMessage {
                        return self.hold(input);
                    }
                    let text = text.trim_end_matches(".\r\n").replace("\r\n", "\n");
                    // RFC 5321 section 4.5.2.
                    let lines = text.split_inclusive('\n');
                    let text: String = lines.map(|line| line.strip_prefix('.').unwrap_or(line)).collect();
                    self.state.lock().unwrap().taken.push((std::mem::take(&mut envelope), text));
                    "250 taken"
                }
                "QUIT" => "221 bye",
                _ => "250 test",
            };
            stream.write_all(format!("{answer}\r\n").as_bytes())?;
        }
    }
}
