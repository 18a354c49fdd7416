//! A mail server that asks credits, written from mailstamp-emstamp(5): it makes offers, takes tokens, notes used IDs, and
//! stops answering where a test wants that. What it takes it keeps.

#![allow(dead_code, reason = "each test program uses its own part of this")]

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use mailstamp::message::fingerprint::Fingerprint;
use mailstamp::message::parse::Message;
use mailstamp::os::clock;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

/// Where it stops answering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stall {
    /// After the dot; the message is not taken.
    Text,
    /// After the dot, until there is no stall any more.
    Pause,
}

/// A payment that it took: the line EMST, and what its token says.
#[derive(Clone, Debug, PartialEq)]
pub struct Paid {
    pub line: String,
    pub token: String,
    pub claims: Value,
}

impl Paid {
    pub fn id(&self) -> &str {
        self.claims["jti"].as_str().unwrap()
    }

    pub fn mailbox(&self) -> &str {
        self.claims["aud"].as_str().unwrap()
    }

    pub fn credits(&self) -> u64 {
        self.claims["val"].as_u64().unwrap()
    }
}

/// A message that it took.
#[derive(Clone, Debug)]
pub struct Taken {
    pub recipients: Vec<String>,
    pub text: String,
    pub paid: Vec<Paid>,
}

/// What it does, and what it has seen.
#[derive(Debug, Default)]
pub struct State {
    /// Credits by mailbox.
    pub prices: HashMap<String, u64>,
    /// Whether it offers the extension.
    pub is_aware: bool,
    /// The account that is paid.
    pub payee: String,
    pub stall: Option<Stall>,
    /// How many connections are stopped.
    pub stalled: usize,
    /// Replies to the next lines EMST, in place of its own.
    pub pay_replies: Vec<String>,
    /// The reply to the next text, in place of its own.
    pub text_reply: Option<String>,
    /// Forgets IDs before they are used.
    pub forgets: bool,
    /// Each line that came, apart from texts.
    pub lines: Vec<String>,
    pub taken: Vec<Taken>,
    /// Messages that were taken before.
    pub copies: usize,
    /// Mailbox and price of each offer, by ID.
    offers: HashMap<String, (String, u64)>,
    /// Mailbox and message of each used ID, and whether the message was delivered.
    used: HashMap<String, (String, String, bool)>,
    next: u64,
}

/// The server. Its threads end with the test.
#[derive(Clone)]
pub struct EmstampServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    tls: Option<Arc<ServerConfig>>,
}

trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

impl EmstampServer {
    /// Starts one whose account is `payee`, with these prices. With a certificate it offers STARTTLS.
    pub fn start(payee: &str, prices: &[(&str, u64)], tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let prices = prices.iter().map(|(mailbox, price)| ((*mailbox).to_owned(), *price)).collect();
        let state = State { prices, is_aware: true, payee: payee.to_owned(), ..State::default() };
        let server = Self { address: listener.local_addr().unwrap(), state: Arc::new(Mutex::new(state)), tls };
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

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The lines that begin so.
    pub fn lines(&self, begin: &str) -> Vec<String> {
        self.state().lines.iter().filter(|line| line.starts_with(begin)).cloned().collect()
    }

    fn stalls(&self, at: Stall) -> bool {
        let mut state = self.state();
        let stalls = state.stall == Some(at);
        state.stalled += usize::from(stalls);
        stalls
    }

    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        let mut lines = Lines { stream: Box::new(stream.try_clone()?), buffer: Vec::new() };
        lines.say("220 far ESMTP")?;
        let mut session = Session::default();
        loop {
            let line = lines.next()?;
            self.state().lines.push(line.clone());
            let verb = line.split(' ').next().unwrap_or_default().to_ascii_uppercase();
            match verb.as_str() {
                "EHLO" => {
                    let mut words = vec!["250-far", "250-PIPELINING", "250-8BITMIME"];
                    words.extend(self.tls.as_ref().filter(|_| !session.is_protected).map(|_| "250-STARTTLS"));
                    words.extend(self.state().is_aware.then_some("250-EMSTAMP 1"));
                    words.push("250 SIZE 1000000");
                    lines.say(&words.join("\r\n"))?;
                }
                "STARTTLS" => {
                    lines.say("220 go")?;
                    let tls = ServerConnection::new(Arc::clone(self.tls.as_ref().unwrap())).unwrap();
                    lines.stream = Box::new(StreamOwned::new(tls, stream.try_clone()?));
                    session = Session { is_protected: true, ..Session::default() };
                }
                "MAIL" => {
                    session = Session { is_protected: session.is_protected, ..Session::default() };
                    session.is_aware = line.ends_with(" EMSTAMP");
                    lines.say("250 2.1.0 ok")?;
                }
                "RCPT" => {
                    let mailbox = line.split(['<', '>']).nth(1).unwrap().to_owned();
                    let price = self.state().prices.get(&mailbox).copied().unwrap_or(0);
                    let reply = self.recipient(&mut session, mailbox, price);
                    lines.say(&reply)?;
                }
                "EMST" => {
                    let scripted =
                        Some(&mut self.state().pay_replies).filter(|it| !it.is_empty()).map(|it| it.remove(0));
                    let reply = scripted.unwrap_or_else(|| self.pay(&mut session, &line));
                    lines.say(&reply)?;
                }
                "DATA" => {
                    let paid = |(mailbox, price): &(String, u64)| {
                        *price == 0 || session.paid.iter().any(|it| it.mailbox() == mailbox)
                    };
                    session.recipients.retain(paid);
                    if session.recipients.is_empty() {
                        lines.say("554 5.5.1 no recipient is left")?;
                        continue;
                    }
                    lines.say("354 go on")?;
                    let text = lines.text()?;
                    if self.stalls(Stall::Text) {
                        return lines.hold();
                    }
                    if self.stalls(Stall::Pause) {
                        while self.state().stall == Some(Stall::Pause) {
                            thread::sleep(Duration::from_millis(10));
                        }
                    }
                    let scripted = self.state().text_reply.take();
                    let reply = scripted.unwrap_or_else(|| self.take(&session, &text));
                    lines.say(&reply)?;
                }
                "QUIT" => return lines.say("221 2.0.0 bye"),
                _ => lines.say("500 5.5.2 what")?,
            }
        }
    }

    fn recipient(&self, session: &mut Session, mailbox: String, price: u64) -> String {
        let mut state = self.state();
        if mailbox.starts_with("gone@") {
            return "550 5.1.1 no such user".to_owned();
        }
        if price > 0 && !session.is_aware {
            return format!("550 5.7.1 <{mailbox}>: this mailbox asks {price} credits");
        }
        session.recipients.push((mailbox.clone(), price));
        if price == 0 {
            return "250 2.1.5 ok".to_owned();
        }
        state.next += 1;
        let id = format!("id-{}-{}", state.next, HEXLOWER.encode(&mailstamp_random()));
        let (end, payee) = (clock::now().plus(3_600).0, state.payee.clone());
        state.offers.insert(id.clone(), (mailbox, price));
        format!("250-2.1.5 ok\r\n250 2.1.5 EMSTAMP price={price} id={id} end={end} payee={payee}")
    }

    fn pay(&self, session: &mut Session, line: &str) -> String {
        let words: Vec<&str> = line.split(' ').collect();
        let [_, id, credits, token] = words[..] else { return "501 5.5.4 form".to_owned() };
        let body = token.strip_prefix("v4.public.").unwrap().split('.').next().unwrap();
        let body = BASE64URL_NOPAD.decode(body.as_bytes()).unwrap();
        let claims: Value = serde_json::from_slice(&body[..body.len() - 64]).unwrap();
        let paid = Paid { line: line.to_owned(), token: token.to_owned(), claims };
        assert_eq!((paid.id(), paid.credits().to_string().as_str()), (id, credits));
        let mut state = self.state();
        if let Some((mailbox, message, _)) = state.used.get(id) {
            let is_same = mailbox == paid.mailbox() && *message == paid.claims["msg"];
            session.paid.push(paid);
            return if is_same { "250 2.1.5 again" } else { "550 5.7.1 used" }.to_owned();
        }
        if std::mem::take(&mut state.forgets) {
            state.offers.remove(id);
        }
        match state.offers.get(id) {
            Some((mailbox, price)) if mailbox == paid.mailbox() && paid.credits() >= *price => {
                session.paid.push(paid);
                "250 2.1.5 paid".to_owned()
            }
            Some(_) => "550 5.7.1 too few".to_owned(),
            None => "550 5.7.15 take a new ID".to_owned(),
        }
    }

    fn take(&self, session: &Session, text: &str) -> String {
        let print = BASE64URL_NOPAD.encode(&Fingerprint::of(&Message::parse(text.as_bytes())).0);
        if session.paid.iter().any(|it| it.claims["msg"] != print.as_str()) {
            return "550 5.7.1 a token is for another message".to_owned();
        }
        let mut state = self.state();
        let had = |it: &Paid| state.used.get(it.id()).is_some_and(|(.., delivered)| *delivered);
        let fresh: Vec<Paid> = session.paid.iter().filter(|it| !had(it)).cloned().collect();
        let of = |mailbox: &str| session.paid.iter().any(|it| it.mailbox() == mailbox);
        let is_new = |mailbox: &str| !of(mailbox) || fresh.iter().any(|it| it.mailbox() == mailbox);
        let recipients = session.recipients.iter().map(|(mailbox, _)| mailbox.clone());
        let recipients: Vec<String> = recipients.filter(|mailbox| is_new(mailbox)).collect();
        for it in &session.paid {
            state.used.insert(it.id().to_owned(), (it.mailbox().to_owned(), print.clone(), true));
        }
        if recipients.is_empty() {
            state.copies += 1;
            return "250 2.0.0 had it before".to_owned();
        }
        state.taken.push(Taken { recipients, text: text.to_owned(), paid: fresh });
        "250 2.0.0 taken".to_owned()
    }
}

fn mailstamp_random() -> [u8; 8] {
    let mut bytes = [0; 8];
    mailstamp::os::random::fill(&mut bytes).unwrap();
    bytes
}

/// A message whose envelope comes.
#[derive(Default)]
struct Session {
    is_protected: bool,
    is_aware: bool,
    /// With their prices.
    recipients: Vec<(String, u64)>,
    paid: Vec<Paid>,
}

struct Lines {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
}

impl Lines {
    fn say(&mut self, line: &str) -> io::Result<()> {
        self.stream.write_all(format!("{line}\r\n").as_bytes())?;
        self.stream.flush()
    }

    /// Waits until the client has had enough.
    fn hold(mut self) -> io::Result<()> {
        io::copy(&mut self.stream, &mut io::sink()).map(drop)
    }

    fn next(&mut self) -> io::Result<String> {
        loop {
            if let Some(at) = self.buffer.windows(2).position(|it| it == b"\r\n") {
                let line = String::from_utf8_lossy(&self.buffer[..at]).into_owned();
                self.buffer.drain(..at + 2);
                return Ok(line);
            }
            let mut piece = [0; 4_096];
            match self.stream.read(&mut piece)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.buffer.extend_from_slice(&piece[..count]),
            }
        }
    }

    /// The text of a message, with LF at the ends of lines.
    fn text(&mut self) -> io::Result<String> {
        let mut text = String::new();
        loop {
            match self.next()?.as_str() {
                "." => return Ok(text),
                line => text += &format!("{}\n", line.strip_prefix('.').unwrap_or(line)),
            }
        }
    }
}
