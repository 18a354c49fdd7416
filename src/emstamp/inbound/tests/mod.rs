//! Tests of the session: bytes of a client and of an inner server in, bytes for both out.

mod reports;
mod sessions;

use super::*;
use crate::emstamp::token::Payee;
use crate::message::parse::Message;
use crate::stamp::signing::SecretKey;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

pub(super) fn settings() -> Settings {
    Settings {
        name: "mx.x.example".into(),
        largest: 10_000,
        help: "https://x.example/mail".into(),
        closes_unaware: false,
        null_sender: NullSender::Accept,
        has_tls: true,
        can_be_paid: true,
    }
}

/// An inner server: it answers each line, and keeps what it has taken.
#[derive(Default)]
struct Inner {
    unread: Vec<u8>,
    is_in_data: bool,
    taken: Vec<String>,
    /// Lines RCPT since MAIL.
    envelope: Vec<String>,
    /// Envelope and text of each message.
    messages: Vec<(Vec<String>, String)>,
    /// Words that it offers.
    offers: Vec<&'static str>,
    /// The reply to a message.
    answer: &'static str,
    /// It is silent, and ends, when it has taken this.
    ends_at: Option<&'static str>,
    is_gone: bool,
}

impl Inner {
    fn new() -> Self {
        let offers = vec!["PIPELINING", "SIZE 9000", "8BITMIME", "XCLIENT NAME ADDR", "STARTTLS", "CHUNKING", "DSN"];
        Self { offers, answer: "250 2.0.0 queued as 1", ..Self::default() }
    }

    fn take(&mut self, bytes: &[u8]) -> String {
        self.unread.extend_from_slice(bytes);
        let mut said = String::new();
        loop {
            if self.is_in_data {
                let end = b"\r\n.\r\n";
                let at = match self.unread.starts_with(&end[2..]) {
                    true => Some(0),
                    false => self.unread.windows(end.len()).position(|it| it == end).map(|at| at + 2),
                };
                let Some(at) = at else { return said };
                let text = String::from_utf8_lossy(&self.unread[..at]).into_owned();
                self.unread.drain(..at + 3);
                self.is_in_data = false;
                if self.ends_at == Some(".") {
                    self.is_gone = true;
                    return said;
                }
                self.messages.push((std::mem::take(&mut self.envelope), text));
                said += &format!("{}\r\n", self.answer);
                continue;
            }
            let Some(at) = self.unread.windows(2).position(|it| it == b"\r\n") else { return said };
            let line = String::from_utf8(self.unread.drain(..at + 2).collect()).unwrap();
            let line = line.trim_end().to_owned();
            let verb = line.split([' ', ':']).next().unwrap().to_owned();
            self.taken.push(line.clone());
            if self.ends_at == Some(verb.as_str()) {
                self.is_gone = true;
                return said;
            }
            said += &match verb.as_str() {
                "EHLO" => {
                    let lines: Vec<&str> = std::iter::once("inner").chain(self.offers.iter().copied()).collect();
                    lines.iter().enumerate().fold(String::new(), |text, (at, line)| {
                        let sign = if at + 1 == lines.len() { ' ' } else { '-' };
                        text + &format!("250{sign}{line}\r\n")
                    })
                }
                "HELO" => "250 inner\r\n".to_owned(),
                "XCLIENT" => "220 inner again\r\n".to_owned(),
                "RCPT" if line.contains("<gone@") => "550 5.1.1 no such user\r\n".to_owned(),
                "RCPT" | "MAIL" => {
                    self.envelope.push(line);
                    "250 2.1.5 Ok\r\n".to_owned()
                }
                "RSET" => {
                    self.envelope.clear();
                    "250 2.0.0 reset\r\n".to_owned()
                }
                "DATA" => {
                    self.is_in_data = true;
                    "354 go on\r\n".to_owned()
                }
                "QUIT" => "221 bye\r\n".to_owned(),
                _ => "500 what\r\n".to_owned(),
            };
        }
    }
}

/// A client that sends each part when the parts before are answered, in pieces of these lengths.
struct Ends {
    parts: Vec<Vec<u8>>,
    pieces: Vec<usize>,
    at: usize,
    sent: Vec<u8>,
    inner: Inner,
    /// What the inner server has said.
    said: Vec<u8>,
    free: bool,
}

impl Wires for Ends {
    fn receive(&mut self, to: &mut Vec<u8>) -> Result<(), Lost> {
        while self.parts.first().is_some_and(Vec::is_empty) {
            self.parts.remove(0);
        }
        let part = self.parts.first_mut().ok_or(Lost::Gone)?;
        self.at += 1;
        let length = self.pieces.get(self.at % self.pieces.len().max(1)).copied().unwrap_or(usize::MAX);
        to.extend(part.drain(..length.clamp(1, part.len())));
        Ok(())
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Lost> {
        self.sent.extend_from_slice(bytes);
        Ok(())
    }

    fn protect(&mut self) -> Result<(), Lost> {
        self.sent.extend_from_slice(b"(TLS)\r\n");
        Ok(())
    }

    fn hold(&mut self, _bytes: usize) -> bool {
        self.free
    }

    fn receive_inner(&mut self, to: &mut Replies, _patience: Patience) -> Result<(), Lost> {
        if self.said.is_empty() {
            return Err(Lost::Gone);
        }
        to.receive(&self.said);
        self.said.clear();
        Ok(())
    }

    fn send_inner(&mut self, bytes: &[u8]) -> Result<(), Lost> {
        if self.inner.is_gone {
            return Err(Lost::Gone);
        }
        let said = self.inner.take(bytes);
        self.said.extend_from_slice(said.as_bytes());
        Ok(())
    }
}

/// Books in memory. `paid@` asks 3 credits, `dear@` 5, `away@` cannot be told.
#[derive(Default)]
struct Books {
    offers: Cell<u32>,
    /// ID to mailbox, message, and whether it was received.
    rows: RefCell<BTreeMap<String, (Address, Fingerprint, bool)>>,
    /// Reports that were noted, and whether they were delivered.
    reports: RefCell<Vec<(Report, bool)>>,
    log: RefCell<Vec<String>>,
    /// How often tokens were looked for.
    looks: Cell<u32>,
    exposure: u64,
    is_full: bool,
    /// The books cannot be written.
    is_away: bool,
    /// Another connection delivers the same message.
    is_on_its_way: bool,
}

impl Books {
    fn say(&self, what: &str, tokens: &[&Paid]) {
        let ids: Vec<&str> = tokens.iter().map(|paid| paid.id.as_str()).collect();
        self.log.borrow_mut().push(format!("{what} {}", ids.join(" ")));
    }
}

fn paid_by(pay: &Pay) -> Option<Paid> {
    let claims = crate::emstamp::token::Payment::read(pay.token.payload()).ok()?;
    Some(Paid {
        mailbox: claims.mailbox,
        id: pay.id.clone(),
        credits: pay.credits,
        message: claims.message,
        expires: claims.expires,
        token: pay.token.clone(),
        license: Issuer::new("agency.example", "m1").unwrap(),
        max_exposure: 10,
    })
}

impl Office for Books {
    type Claim = ();

    fn claim(&self, copies: &[(&Address, Fingerprint)]) -> Option<()> {
        (copies.is_empty() || !self.is_on_its_way).then_some(())
    }

    fn price(&self, mailbox: &Address) -> Result<u64, Away> {
        match mailbox.local() {
            "paid" => Ok(3),
            "dear" => Ok(5),
            "away" => Err(Away),
            _ => Ok(0),
        }
    }

    fn offer(&self, _mailbox: &Address, price: u64) -> Result<Offer, Away> {
        self.offers.set(self.offers.get() + 1);
        let payee = "x@agency.example".parse().unwrap();
        Ok(Offer { price, id: Serial::new(format!("id{}", self.offers.get())).unwrap(), end: UnixTime(100), payee })
    }

    fn examine(&self, pay: &Pay, recipients: &[Priced<'_>]) -> Result<Result<Paid, PaymentError>, Away> {
        let Some(paid) = paid_by(pay) else { return Ok(Err(PaymentError::Signature)) };
        let is_named = recipients.iter().any(|it| *it.mailbox == paid.mailbox);
        Ok(if is_named { Ok(paid) } else { Err(PaymentError::Mailbox) })
    }

    fn known(&self, pays: &[&Pay]) -> Result<Vec<(Known, Option<Paid>)>, Away> {
        self.looks.set(self.looks.get() + 1);
        let rows = self.rows.borrow();
        let known = |pay: &&Pay| match (rows.get(pay.id.as_str()), paid_by(pay)) {
            (Some((mailbox, message, _)), Some(paid)) if *mailbox == paid.mailbox && *message == paid.message => {
                (Known::Again, Some(paid))
            }
            (Some(_), _) => (Known::Other, None),
            _ => (Known::New, None),
        };
        Ok(pays.iter().map(known).collect())
    }

    fn exposure(&self, _license: &Issuer) -> Result<u64, Away> {
        Ok(self.exposure)
    }

    fn pending(&self, tokens: &[&Paid]) -> Result<Vec<Arrival>, Away> {
        self.say("pending", tokens);
        if self.is_away {
            return Err(Away);
        }
        let mut rows = self.rows.borrow_mut();
        let arrival = |paid: &&Paid| match rows.get(paid.id.as_str()) {
            Some((mailbox, message, _)) if (mailbox, *message) != (&paid.mailbox, paid.message) => Arrival::Double,
            Some((.., true)) => Arrival::Received,
            Some(_) => Arrival::Again,
            None if self.is_full => Arrival::Full,
            None => {
                rows.insert(paid.id.to_string(), (paid.mailbox.clone(), paid.message, false));
                Arrival::Fresh
            }
        };
        Ok(tokens.iter().map(arrival).collect())
    }

    fn received(&self, tokens: &[&Paid]) -> Result<(), Away> {
        self.say("received", tokens);
        let mut rows = self.rows.borrow_mut();
        tokens.iter().for_each(|paid| rows.get_mut(paid.id.as_str()).unwrap().2 = true);
        Ok(())
    }

    fn refused(&self, tokens: &[&Paid]) {
        self.say("refused", tokens);
        let mut rows = self.rows.borrow_mut();
        tokens.iter().for_each(|paid| drop(rows.remove(paid.id.as_str())));
    }

    fn report(
        &self,
        mailbox: &Address,
        report: DeliveryReport,
        message: Fingerprint,
    ) -> Result<Result<Report, NoReport>, Away> {
        let id = Serial::new(report.envelope_id.unwrap_or("none".into())).unwrap();
        Ok(match id.as_str() {
            "old" => Err(NoReport::Ended),
            by if by.strip_prefix("by-") == Some(mailbox.local()) => {
                Ok(Report { id, end: UnixTime(100), outcomes: report.outcomes, message })
            }
            _ => Err(NoReport::Foreign),
        })
    }

    fn begin_report(&self, report: &Report) -> Result<Arrival, Away> {
        let mut reports = self.reports.borrow_mut();
        if self.is_away {
            return Err(Away);
        }
        if let Some((_, is_delivered)) = reports.iter().find(|(it, _)| it.message == report.message) {
            return Ok(if *is_delivered { Arrival::Received } else { Arrival::Again });
        }
        if reports.iter().any(|(it, _)| it.outcomes == report.outcomes) {
            return Ok(Arrival::Double);
        }
        if self.is_full {
            return Ok(Arrival::Full);
        }
        self.log.borrow_mut().push(format!("report {}", report.id));
        reports.push((report.clone(), false));
        Ok(Arrival::Fresh)
    }

    fn end_report(&self, report: &Report, is_delivered: bool) {
        self.log.borrow_mut().push(format!("delivered {is_delivered}"));
        let mut reports = self.reports.borrow_mut();
        reports.retain(|(it, _)| it != report || is_delivered);
        reports.iter_mut().filter(|(it, _)| it == report).for_each(|it| it.1 = is_delivered);
    }

    fn marks(&self, _raw: &[u8], tokens: &[&Paid], is_only: bool) -> Vec<u8> {
        format!("Mark: {} {is_only}\n", tokens.len()).into_bytes()
    }
}

/// What a session came to.
struct Told {
    /// All that the client heard, without CR.
    client: String,
    inner: Inner,
    log: Vec<String>,
    looks: u32,
}

impl Told {
    /// The lines with a code, from the one behind the greeting on.
    fn codes(&self) -> Vec<&str> {
        let last = self.client.lines().filter(|line| line.as_bytes().get(3) == Some(&b' '));
        last.skip(1).map(|line| line.split(' ').next().unwrap()).collect()
    }

    #[track_caller]
    fn hears(&self, line: &str) {
        assert!(self.client.contains(line), "{line:?} is not in\n{}", self.client);
    }
}

struct Case {
    settings: Settings,
    books: Books,
    inner: Inner,
    introduction: Introduction,
    pieces: Vec<usize>,
    free: bool,
}

impl Case {
    fn new() -> Self {
        let (books, inner) = (Books::default(), Inner::new());
        let introduction = Introduction::Xclient("NAME=[UNAVAILABLE] ADDR=192.0.2.7".into());
        Self { settings: settings(), books, inner, introduction, pieces: Vec::new(), free: true }
    }

    /// Runs a client that sends these parts, each when those before are answered.
    fn run(self, parts: &[&str]) -> Told {
        let parts = parts.iter().map(|part| part.as_bytes().to_vec()).collect();
        let said = b"220 inner\r\n".to_vec();
        let (inner, pieces, free) = (self.inner, self.pieces, self.free);
        let mut ends = Ends { parts, pieces, at: 0, sent: Vec::new(), inner, said, free };
        let last = Session::new(&self.settings, &mut ends, &self.books).run(&self.introduction);
        ends.sent.extend(last.unwrap_or_default());
        let client = String::from_utf8(ends.sent).unwrap().replace("\r\n", "\n");
        Told { client, inner: ends.inner, log: self.books.log.into_inner(), looks: self.books.looks.get() }
    }
}

fn told(parts: &[&str]) -> Told {
    Case::new().run(parts)
}

const BODY: &str = "From: ann@y.example\r\nSubject: hello\r\n\r\n..dot\r\nbye\r\n.\r\n";
const RAW: &str = "From: ann@y.example\nSubject: hello\n\n.dot\nbye\n";
const AWARE: &str = "EHLO y.example\r\nMAIL FROM:<ann@y.example> EMSTAMP\r\n";

/// The line EMST for this ID, mailbox and message.
fn emst(id: &str, mailbox: &str, credits: u64, raw: &str) -> String {
    let payment = crate::emstamp::token::Payment {
        id: Serial::new(id).unwrap(),
        mailbox: Address::parse(mailbox).unwrap(),
        credits,
        message: Fingerprint::of(&Message::parse(raw.as_bytes())),
        expires: UnixTime(100),
        payee: Payee::new("x", "agency.example").unwrap(),
    };
    let license = Issuer::new("agency.example", "m1").unwrap();
    let token = payment.sign(&license, &SecretKey::from_random(&[1; 32])).unwrap();
    format!("EMST {id} {credits} {}\r\n", token.as_str())
}
