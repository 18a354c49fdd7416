//! Protocol of OpenSMTPD's filters (smtpd-filters(7)), versions 0.5 to 0.7: lines of the mail system in, lines for it
//! out. One filter serves all sessions of the mail system, whose lines come mixed.
//!
//! - A message is kept up to the limit, and judged at its end. Of a longer one, the beginning is judged as soon as the
//!   limit is reached, and the rest is passed through.
//! - Until its message is judged, a session gets nothing back. What goes wrong is answered after its end.
//! - All sessions share the memory for messages.
//! - A line is what is delivered, so the message has LF at the ends of its lines, and perhaps CR before it.

use super::session::{Incoming, RECIPIENTS, Recipient, Refusal};
use crate::message::header::slice;
use std::collections::HashMap;

/// Longest line, in bytes. OpenSMTPD accepts 65,535 from a client.
pub const LINE_MAX: usize = 1 << 17;
/// Most sessions.
const SESSIONS: usize = 20_000;
/// Longest answer that OpenSMTPD takes before 7.3 (protocol 0.7), in bytes: it cuts longer ones.
const OLD_ANSWER: usize = 2_047;
/// Where a line is broken that would be cut: after this many bytes, and then after one fewer, behind a blank. Postfix
/// breaks lines so, and the message keeps its fingerprint.
const BREAK: usize = 998;
/// Most bytes of the name of a login that are kept.
const LOGIN: usize = 2_048;
/// What the sender is told when a session or its recipients are unknown.
const UNKNOWN: &str = "451 4.3.0 cannot judge the message, try again later";

/// Events and requests that are asked for.
const REGISTER: &str = "\
register|report|smtp-in|link-auth
register|report|smtp-in|link-disconnect
register|report|smtp-in|tx-begin
register|report|smtp-in|tx-mail
register|report|smtp-in|tx-rcpt
register|report|smtp-in|tx-reset
register|filter|smtp-in|data-line
register|filter|smtp-in|commit
register|ready
";

/// The mail system speaks another protocol. The filter ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    #[error("smtpd: line over {LINE_MAX} bytes")]
    LineTooLong,
    #[error("smtpd: malformed line: {0}")]
    Malformed(String),
    #[error("smtpd: filter protocol {0}, expected 0.5 or later")]
    Version(String),
}

/// A message that is to be judged, and the name of its transaction.
#[derive(Debug, PartialEq, Eq)]
pub struct Work {
    pub message: Incoming,
    session: u64,
    token: u64,
    number: u64,
    /// Bytes that stay counted until [`Filter::finish`], also when the session is gone.
    size: usize,
}

/// What becomes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is accepted, with this text in place of what was judged.
    Deliver(Vec<u8>),
    /// It is refused with this SMTP reply of one line.
    Refuse(String),
}

#[derive(Debug, Default)]
enum Phase {
    #[default]
    Receiving,
    Judging {
        /// Of a message over the limit, the rest, as far as it came and as it is sent back.
        rest: Vec<u8>,
        has_ended: bool,
    },
    /// The rest is passed through, and the message accepted.
    Accepted,
    /// The rest is dropped, and the message refused with this reply.
    Refused(String),
}

/// A session, and its present transaction.
#[derive(Debug, Default)]
struct Session {
    /// The name of the login of the client, if it logged in.
    login: Option<Vec<u8>>,
    /// Distinguishes transactions.
    number: u64,
    message: Incoming,
    phase: Phase,
    /// Bytes that are counted for it.
    size: usize,
}

/// The filter.
#[derive(Debug)]
pub struct Filter {
    largest: usize,
    memory: usize,
    used: usize,
    transactions: u64,
    sessions: HashMap<u64, Session>,
    breaks_lines: bool,
}

impl Filter {
    /// Makes a filter without sessions. Of a message, `largest` bytes are kept, and of all messages `memory` bytes.
    #[must_use]
    pub fn new(largest: usize, memory: usize) -> Self {
        Self { largest, memory, used: 0, transactions: 0, sessions: HashMap::new(), breaks_lines: true }
    }

    /// Returns whether a line begins a transaction.
    #[must_use]
    pub fn begins(line: &[u8]) -> bool {
        line.starts_with(b"report|") && line.split(|&byte| byte == b'|').nth(4) == Some(b"tx-begin")
    }

    /// Changes the limits, in bytes as in [`new`](Self::new).
    pub fn limit(&mut self, largest: usize, memory: usize) {
        (self.largest, self.memory) = (largest, memory);
    }

    /// Applies a line without its line end, and appends what is answered. Returns a message that is to be judged.
    ///
    /// # Errors
    /// [`ProtocolError`]: the filter must end.
    pub fn receive(&mut self, line: &[u8], out: &mut Vec<u8>) -> Result<Option<Work>, ProtocolError> {
        if line == b"config|ready" {
            out.extend_from_slice(REGISTER.as_bytes());
        }
        if line.starts_with(b"config|") {
            return Ok(None);
        }
        let Request { is_filter, version, event, session, rest } = Request::parse(line)?;
        self.breaks_lines = version < 7;
        if !is_filter {
            self.report(session, event, rest, version);
            return Ok(None);
        }
        let (token, rest) = first(rest);
        let token = hex(token).ok_or_else(|| malformed(line))?;
        match event {
            b"data-line" => Ok(self.data(session, token, rest, out)),
            b"commit" => {
                let reply = match self.sessions.get(&session).map(|it| &it.phase) {
                    Some(Phase::Accepted) => None,
                    Some(Phase::Refused(reply)) => Some(reply.as_str()),
                    _ => Some(UNKNOWN),
                };
                let decision = reply.map_or("proceed".to_owned(), |reply| format!("reject|{reply}"));
                out.extend_from_slice(format!("filter-result|{session:016x}|{token:016x}|{decision}\n").as_bytes());
                Ok(None)
            }
            // It waits for an answer, and was not registered.
            _ => Err(malformed(line)),
        }
    }

    /// Notes what became of a message, and appends what is answered. To be called for every [`Work`].
    pub fn finish(&mut self, work: &Work, outcome: Outcome, out: &mut Vec<u8>) {
        self.used -= work.size;
        let of_work = self.sessions.get_mut(&work.session).filter(|it| it.number == work.number);
        let Some(Session { phase, size, .. }) = of_work else { return };
        let Phase::Judging { rest, has_ended } = phase else { return };
        let (rest, has_ended) = (std::mem::take(rest), *has_ended);
        self.used -= std::mem::take(size);
        let back = Back { session: work.session, token: work.token, breaks_lines: self.breaks_lines };
        *phase = match outcome {
            Outcome::Deliver(text) => {
                back.text(&text, out);
                out.extend_from_slice(&rest);
                Phase::Accepted
            }
            Outcome::Refuse(reply) => Phase::Refused(reply),
        };
        if has_ended {
            back.end(out);
        }
    }

    fn report(&mut self, id: u64, event: &[u8], rest: &[u8], version: u32) {
        match event {
            b"link-disconnect" => {
                let gone = self.sessions.remove(&id);
                self.used -= gone.map_or(0, |session| session.size);
            }
            b"link-auth" => {
                // Before 0.7 the name comes first, in which a client can write anything.
                let (name, result) = if version < 7 {
                    last(rest)
                } else {
                    let (result, name) = first(rest);
                    (name, result)
                };
                if result == b"pass"
                    && let Some(session) = self.session(id)
                {
                    session.login = Some(slice(name, 0, LOGIN.min(name.len())).to_vec());
                }
            }
            b"tx-begin" | b"tx-reset" => self.begin(id),
            b"tx-mail" | b"tx-rcpt" => {
                let rest = first(rest).1;
                let (address, result) = if version < 6 {
                    last(rest)
                } else {
                    let (result, address) = first(rest);
                    (address, result)
                };
                if result == b"ok" && event == b"tx-mail" {
                    self.grow(id, |message| message.sender = address.to_vec());
                } else if result == b"ok" {
                    self.grow(id, |message| {
                        let given = address.to_vec();
                        if message.recipients.len() >= RECIPIENTS {
                            message.refusal = Some(Refusal::TooManyRecipients);
                        } else if message.recipients.iter().all(|known| known.given != given) {
                            message.recipients.push(Recipient { given, resolved: None });
                        }
                    });
                }
            }
            _ => {}
        }
    }

    /// Returns a session, new if it is unknown; `None` if there are too many.
    fn session(&mut self, id: u64) -> Option<&mut Session> {
        if self.sessions.len() >= SESSIONS && !self.sessions.contains_key(&id) {
            return None;
        }
        Some(self.sessions.entry(id).or_default())
    }

    /// Forgets the transaction of a session.
    fn begin(&mut self, id: u64) {
        self.transactions += 1;
        let number = self.transactions;
        let Some(session) = self.session(id) else { return };
        let login = session.login.take();
        let message = Incoming { login: login.clone(), ..Incoming::default() };
        let before = std::mem::replace(session, Session { login, number, message, ..Session::default() });
        self.used -= before.size;
    }

    /// Adds to the message of a session, and refuses it where the memory is used up.
    fn grow(&mut self, id: u64, add: impl FnOnce(&mut Incoming)) {
        let Some(session) = self.session(id) else { return };
        add(&mut session.message);
        if session.message.refusal.is_some() {
            session.message = Incoming { refusal: session.message.refusal, ..Incoming::default() };
        }
        self.count(id);
    }

    /// Counts the bytes of a session anew. Over the limit, its message is refused and forgotten.
    fn count(&mut self, id: u64) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let others = self.used - session.size;
        let rest = if let Phase::Judging { rest, .. } = &session.phase { Some(rest.capacity()) } else { None };
        session.size = session.message.size() + rest.unwrap_or_default();
        if others + session.size > self.memory {
            session.size = 0;
            session.message = Incoming { refusal: Some(Refusal::NoMemory), ..Incoming::default() };
            if rest.is_some() {
                session.phase = Phase::Refused(Refusal::NoMemory.reply().to_owned());
            }
        }
        self.used = others + session.size;
    }

    fn data(&mut self, id: u64, token: u64, line: &[u8], out: &mut Vec<u8>) -> Option<Work> {
        let back = Back { session: id, token, breaks_lines: self.breaks_lines };
        let is_end = line == b".";
        let text = line.strip_prefix(b".").unwrap_or(line);
        match self.sessions.get_mut(&id).map(|session| &mut session.phase) {
            Some(Phase::Receiving) if is_end => return self.judge(id, &back, None, out),
            Some(Phase::Receiving) => {
                if self.keep(id, text) {
                    return None;
                }
                return self.judge(id, &back, Some(text), out);
            }
            Some(Phase::Judging { has_ended, .. }) if is_end => *has_ended = true,
            Some(Phase::Judging { rest, .. }) => {
                back.line(text, rest);
                self.count(id);
            }
            _ if is_end => back.end(out),
            Some(Phase::Accepted) => back.line(text, out),
            Some(Phase::Refused(_)) | None => {}
        }
        None
    }

    /// Adds a line to a message. Returns false where the line would be beyond the limit, and the header is complete.
    fn keep(&mut self, id: u64, text: &[u8]) -> bool {
        let largest = self.largest;
        let Some(session) = self.sessions.get_mut(&id).filter(|it| it.message.refusal.is_none()) else { return true };
        let message = &mut session.message;
        if message.raw.len() + text.len() < largest {
            message.raw.extend_from_slice(text);
            message.raw.push(b'\n');
            if message.body == 0 && matches!(text, b"" | b"\r") {
                message.body = message.raw.len();
            }
        } else if message.body == 0 {
            *message = Incoming { refusal: Some(Refusal::HeaderTooLarge), ..Incoming::default() };
        } else {
            message.is_cut = true;
            return false;
        }
        self.count(id);
        true
    }

    /// Hands out the message of a session to be judged, or refuses it. `over` is its first line beyond the limit;
    /// without one, the message is complete.
    fn judge(&mut self, id: u64, back: &Back, over: Option<&[u8]>, out: &mut Vec<u8>) -> Option<Work> {
        let session = self.sessions.get_mut(&id)?;
        let message = std::mem::take(&mut session.message);
        let size = std::mem::take(&mut session.size);
        // Without recipients, reports are missing.
        let unknown = message.recipients.is_empty().then_some(UNKNOWN);
        if let Some(reply) = message.refusal.map(Refusal::reply).or(unknown) {
            self.used -= size;
            session.phase = Phase::Refused(reply.to_owned());
            if over.is_none() {
                back.end(out);
            }
            return None;
        }
        let mut rest = Vec::new();
        over.into_iter().for_each(|line| back.line(line, &mut rest));
        session.phase = Phase::Judging { rest, has_ended: over.is_none() };
        Some(Work { message, session: id, token: back.token, number: session.number, size })
    }
}

/// Address of what is sent back to a session.
struct Back {
    session: u64,
    token: u64,
    breaks_lines: bool,
}

impl Back {
    /// Appends the lines of a text.
    fn text(&self, text: &[u8], out: &mut Vec<u8>) {
        for line in text.split_inclusive(|&byte| byte == b'\n') {
            self.line(line.strip_suffix(b"\n").unwrap_or(line), out);
        }
    }

    /// Appends a line; where it would be cut, broken.
    fn line(&self, text: &[u8], out: &mut Vec<u8>) {
        let prefix = format!("filter-dataline|{:016x}|{:016x}|", self.session, self.token);
        let dot: &[u8] = if text.starts_with(b".") { b"." } else { b"" };
        let is_whole = !self.breaks_lines || prefix.len() + dot.len() + text.len() <= OLD_ANSWER;
        let (first, rest) = text.split_at(if is_whole { text.len() } else { BREAK });
        for part in [prefix.as_bytes(), dot, first, b"\n"] {
            out.extend_from_slice(part);
        }
        for piece in rest.chunks(BREAK - 1) {
            for part in [prefix.as_bytes(), b" ", piece, b"\n"] {
                out.extend_from_slice(part);
            }
        }
    }

    /// Appends the end of a message.
    fn end(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("filter-dataline|{:016x}|{:016x}|.\n", self.session, self.token).as_bytes());
    }
}

/// A line of the mail system, apart from its configuration.
struct Request<'a> {
    is_filter: bool,
    /// The number after `0.`.
    version: u32,
    event: &'a [u8],
    session: u64,
    /// What follows the session.
    rest: &'a [u8],
}

impl<'a> Request<'a> {
    fn parse(line: &'a [u8]) -> Result<Self, ProtocolError> {
        let malformed = || malformed(line);
        let (stream, rest) = first(line);
        let (version, rest) = first(rest);
        let (_time, rest) = first(rest);
        let (_subsystem, rest) = first(rest);
        let (event, rest) = first(rest);
        let (session, rest) = first(rest);
        let is_filter = match stream {
            b"filter" => true,
            b"report" => false,
            _ => return Err(malformed()),
        };
        let text = std::str::from_utf8(version).map_err(|_| malformed())?;
        let number = text.strip_prefix("0.").and_then(|number| number.parse().ok());
        let version = number.filter(|number| *number >= 5);
        let version = version.ok_or_else(|| ProtocolError::Version(text.chars().take(20).collect()))?;
        Ok(Self { is_filter, version, event, session: hex(session).ok_or_else(malformed)?, rest })
    }
}

fn malformed(line: &[u8]) -> ProtocolError {
    ProtocolError::Malformed(String::from_utf8_lossy(line.get(..100).unwrap_or(line)).into_owned())
}

fn hex(digits: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
    u64::from_str_radix(digits, 16).ok()
}

/// Splits at the first bar.
fn first(text: &[u8]) -> (&[u8], &[u8]) {
    let at = memchr::memchr(b'|', text);
    at.map_or((text, b""), |at| (slice(text, 0, at), slice(text, at + 1, text.len())))
}

/// Splits at the last bar.
fn last(text: &[u8]) -> (&[u8], &[u8]) {
    let at = memchr::memrchr(b'|', text);
    at.map_or((b"", text), |at| (slice(text, 0, at), slice(text, at + 1, text.len())))
}

#[cfg(test)]
mod tests;
