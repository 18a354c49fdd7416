//! State of a milter connection: commands in, answers out, over any number of messages. It builds each message from its
//! commands, with what is needed to name its fields to the mail system.
//!
//! - The mail system gets no answer to a command for which it agreed to none.
//! - What goes wrong in a message is noted and answered at its end, since other commands may have no answer.
//! - ABORT forgets the message; the next one knows nothing of it.

use super::wire::{Command, Options, Reply, WireError, action, protocol};
use std::ops::Range;

/// Most recipients of a message. Postfix and sendmail accept 1,000 by default, or fewer.
pub const RECIPIENTS: usize = 10_000;
/// Longest recipient, sender or name, in bytes.
const ADDRESS: usize = 2_048;

/// Changes that may be asked for.
const ACTIONS: u32 = action::ADD_HEADERS
    | action::CHANGE_BODY
    | action::ADD_RECIPIENTS
    | action::DELETE_RECIPIENTS
    | action::CHANGE_HEADERS;

/// Parts of the protocol that are wanted. Each piece of the body has an answer, so that the rest of a large one can be
/// skipped.
const WANTED: u32 = protocol::NO_CONNECT
    | protocol::NO_HELO
    | protocol::NO_UNKNOWN
    | protocol::NO_DATA
    | protocol::NO_REPLY_CONNECT
    | protocol::NO_REPLY_HELO
    | protocol::NO_REPLY_MAIL
    | protocol::NO_REPLY_RECIPIENT
    | protocol::NO_REPLY_DATA
    | protocol::NO_REPLY_UNKNOWN
    | protocol::NO_REPLY_HEADER
    | protocol::NO_REPLY_END_OF_HEADER
    | protocol::SKIP
    | protocol::HEADER_LEADING_SPACE;

/// What follows a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing: the next command.
    Receive,
    Answer(Reply<'static>),
    /// The message of [`Session::message`] is complete: it is judged, answered, and forgotten with [`Session::done`].
    Judge,
    /// The connection ends without an answer.
    Close,
}

/// Reason why a message cannot be judged, whatever it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its header alone is over the limit.
    HeaderTooLarge,
    TooManyRecipients,
    /// A field or an address of which mail systems would read something else than what came.
    Malformed,
    /// The memory that all connections share is used up.
    NoMemory,
}

impl Refusal {
    /// Returns the SMTP reply.
    #[must_use]
    pub fn reply(self) -> &'static str {
        match self {
            Self::HeaderTooLarge => "552 5.3.4 the header of the message is too large",
            Self::TooManyRecipients => "452 4.5.3 too many recipients",
            Self::Malformed => "550 5.6.0 malformed header field or address",
            Self::NoMemory => "451 4.3.1 not enough memory, try again later",
        }
    }
}

/// Recipient of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recipient {
    /// As the client wrote it, with its angle brackets.
    pub given: Vec<u8>,
    /// The address to which the mail system resolved it (`{rcpt_addr}`), if it says so.
    pub resolved: Option<Vec<u8>>,
}

/// A message and its envelope, as far as they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Incoming {
    pub sender: Vec<u8>,
    /// Each once.
    pub recipients: Vec<Recipient>,
    /// The name of the login of the client (`{auth_authen}`), if it logged in.
    pub login: Option<Vec<u8>>,
    /// The message, with CRLF at the ends of lines.
    pub raw: Vec<u8>,
    /// Its fields, from the top, each with its line end.
    pub fields: Vec<Range<usize>>,
    /// Where its body begins.
    pub body: usize,
    /// Whether the body goes on.
    pub is_cut: bool,
    pub refusal: Option<Refusal>,
}

impl Incoming {
    /// Returns how many bytes it takes.
    pub(super) fn size(&self) -> usize {
        let recipients = self.recipients.iter().map(|it| it.given.len() + it.resolved.as_ref().map_or(0, Vec::len));
        self.raw.capacity()
            + self.fields.capacity() * size_of::<Range<usize>>()
            + recipients.sum::<usize>()
            + self.recipients.capacity() * size_of::<Recipient>()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Options must be negotiated.
    Start,
    /// Between messages.
    Idle,
    Envelope,
    Header,
    Body,
}

/// A connection.
#[derive(Debug)]
pub struct Session {
    largest: usize,
    phase: Phase,
    agreed: Options,
    message: Incoming,
    /// `{auth_authen}` of the message that begins.
    login: Option<Vec<u8>>,
    /// `{rcpt_addr}` of the recipient that follows.
    resolved: Option<Vec<u8>>,
}

impl Session {
    /// Begins a session. Of a message, `largest` bytes are kept.
    #[must_use]
    pub fn new(largest: usize) -> Self {
        Self {
            largest,
            phase: Phase::Start,
            agreed: Options::default(),
            message: Incoming::default(),
            login: None,
            resolved: None,
        }
    }

    /// Returns whether no message is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Start | Phase::Idle)
    }

    /// Returns the limit on a message's size.
    #[must_use]
    pub fn largest(&self) -> usize {
        self.largest
    }

    /// Changes the limit on a message's size.
    pub fn limit(&mut self, largest: usize) {
        self.largest = largest;
    }

    /// Returns the current message.
    #[must_use]
    pub fn message(&self) -> &Incoming {
        &self.message
    }

    /// Returns whether the values of fields begin with the blanks after the colon.
    #[must_use]
    pub fn has_leading_space(&self) -> bool {
        self.agreed.protocol & protocol::HEADER_LEADING_SPACE != 0
    }

    /// Returns how many bytes the message takes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.message.size()
    }

    /// Notes that the message cannot be judged, and forgets what came of it.
    pub fn refuse(&mut self, refusal: Refusal) {
        self.message = Incoming { refusal: Some(refusal), ..Incoming::default() };
    }

    /// Forgets the message.
    pub fn done(&mut self) {
        self.message = Incoming::default();
        self.login = None;
        self.resolved = None;
        self.phase = Phase::Idle;
    }

    /// Applies a frame, without its prefix.
    ///
    /// # Errors
    /// [`WireError`]: the connection must be closed.
    pub fn receive(&mut self, frame: &[u8]) -> Result<Next, WireError> {
        let command = Command::parse(frame)?;
        let letter = frame.first().copied().unwrap_or_default();
        let out_of_order = Err(WireError::OutOfOrder(letter));
        let before_negotiation = matches!(command, Command::Negotiate(_) | Command::Abort | Command::Quit);
        if self.phase == Phase::Start && !before_negotiation {
            return out_of_order;
        }
        let in_message = matches!(self.phase, Phase::Envelope | Phase::Header | Phase::Body);
        Ok(match command {
            Command::Negotiate(offer) if !in_message => {
                self.agreed = offer.agree(ACTIONS, WANTED)?;
                self.done();
                Next::Answer(Reply::Negotiate(self.agreed))
            }
            Command::Macros { of, values } => {
                self.note(of, &values);
                Next::Receive
            }
            Command::Connect => {
                self.done();
                self.answer(letter)
            }
            Command::Helo => {
                self.done();
                self.answer(letter)
            }
            Command::Mail(sender) => {
                let login = self.login.take();
                self.done();
                self.phase = Phase::Envelope;
                self.message.login = login;
                if sender.len() > ADDRESS {
                    self.refuse(Refusal::Malformed);
                } else {
                    self.message.sender = sender.to_vec();
                }
                self.answer(letter)
            }
            Command::Recipient(given) if self.phase == Phase::Envelope => {
                let resolved = self.resolved.take();
                self.recipient(given, resolved);
                self.answer(letter)
            }
            Command::Data if self.phase == Phase::Envelope => self.answer(letter),
            Command::Header { name, value } if matches!(self.phase, Phase::Envelope | Phase::Header) => {
                self.phase = Phase::Header;
                self.field(name, value);
                self.answer(letter)
            }
            Command::EndOfHeader if matches!(self.phase, Phase::Envelope | Phase::Header) => {
                self.end_of_header();
                self.answer(letter)
            }
            Command::Body(piece) if in_message => {
                self.body(piece);
                let is_over = self.message.is_cut || self.message.refusal.is_some();
                if is_over && self.agreed.protocol & protocol::SKIP != 0 {
                    Next::Answer(Reply::Skip)
                } else {
                    self.answer(letter)
                }
            }
            Command::EndOfMessage(piece) if in_message => {
                self.body(piece);
                Next::Judge
            }
            Command::Abort => {
                if self.phase != Phase::Start {
                    self.done();
                }
                Next::Receive
            }
            Command::Quit => Next::Close,
            Command::QuitForNext => {
                self.done();
                Next::Receive
            }
            Command::UnknownCommand => self.answer(letter),
            _ => return out_of_order,
        })
    }

    /// Returns the answer to go on, unless none was agreed for this command.
    fn answer(&self, letter: u8) -> Next {
        if self.agreed.answers(letter) { Next::Answer(Reply::Continue) } else { Next::Receive }
    }

    fn note(&mut self, of: u8, values: &[(&[u8], &[u8])]) {
        let of_name = |wanted: &[u8]| values.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value);
        match of {
            b'M' => {
                let login = of_name(b"{auth_authen}").filter(|value| !value.is_empty());
                self.login = login.map(|value| value.get(..ADDRESS).unwrap_or(value).to_vec());
            }
            b'R' => {
                let resolved = of_name(b"{rcpt_addr}").filter(|value| !value.is_empty() && value.len() <= ADDRESS);
                self.resolved = resolved.map(<[u8]>::to_vec);
            }
            _ => {}
        }
    }

    fn recipient(&mut self, given: &[u8], resolved: Option<Vec<u8>>) {
        if self.message.refusal.is_some() || self.message.recipients.iter().any(|known| known.given == given) {
            return;
        }
        if given.len() > ADDRESS {
            self.refuse(Refusal::Malformed);
        } else if self.message.recipients.len() >= RECIPIENTS {
            self.refuse(Refusal::TooManyRecipients);
        } else {
            self.message.recipients.push(Recipient { given: given.to_vec(), resolved });
        }
    }

    fn field(&mut self, name: &[u8], value: &[u8]) {
        if self.message.refusal.is_some() {
            return;
        }
        // Another line would be another field, or the end of the header.
        let is_name = !name.is_empty() && !name.iter().any(|byte| matches!(byte, b':' | b'\r' | b'\n'));
        let lines = value.split_inclusive(|&byte| byte == b'\n');
        if !is_name || lines.clone().skip(1).any(|line| !matches!(line.first(), Some(b' ' | b'\t'))) {
            return self.refuse(Refusal::Malformed);
        }
        if self.message.raw.len() + name.len() + 2 * value.len() > self.largest {
            return self.refuse(Refusal::HeaderTooLarge);
        }
        let separator: &[u8] = if self.has_leading_space() { b":" } else { b": " };
        let raw = &mut self.message.raw;
        let start = raw.len();
        raw.extend_from_slice(name);
        raw.extend_from_slice(separator);
        for line in lines {
            let text = line.strip_suffix(b"\n").map(|text| text.strip_suffix(b"\r").unwrap_or(text));
            raw.extend_from_slice(text.unwrap_or(line));
            raw.extend_from_slice(if text.is_some() { b"\r\n" } else { b"" });
        }
        raw.extend_from_slice(b"\r\n");
        self.message.fields.push(start..self.message.raw.len());
        self.message.body = self.message.raw.len();
    }

    fn end_of_header(&mut self) {
        self.phase = Phase::Body;
        if self.message.refusal.is_none() {
            self.message.raw.extend_from_slice(b"\r\n");
            self.message.body = self.message.raw.len();
        }
    }

    fn body(&mut self, piece: &[u8]) {
        if !piece.is_empty() && self.phase != Phase::Body {
            self.end_of_header();
        }
        if self.message.refusal.is_some() || piece.is_empty() {
            return;
        }
        let space = self.largest.saturating_sub(self.message.raw.len());
        self.message.raw.extend_from_slice(piece.get(..space.min(piece.len())).unwrap_or_default());
        self.message.is_cut |= piece.len() > space;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boundary::wire::VERSION;
    use proptest::prelude::*;

    const EVERYTHING: u32 = 0x1f_ffff;

    fn negotiation(actions: u32, protocol: u32) -> Vec<u8> {
        [b"O", [VERSION, actions, protocol].map(u32::to_be_bytes).as_flattened()].concat()
    }

    fn session(protocol: u32) -> Session {
        let mut session = Session::new(1_000);
        assert!(matches!(session.receive(&negotiation(0x1ff, protocol)), Ok(Next::Answer(Reply::Negotiate(_)))));
        session
    }

    /// Sends these frames and returns what follows the last one.
    fn send(session: &mut Session, frames: &[&[u8]]) -> Next {
        frames.iter().fold(Next::Close, |_, frame| session.receive(frame).unwrap())
    }

    #[test]
    fn a_message_is_built_from_its_commands() {
        for (protocol, value) in [(EVERYTHING, " a\n b"), (0, "a\n b")] {
            let mut session = session(protocol);
            let field = format!("LSubject\0{value}\0");
            let frames: [&[u8]; 11] = [
                b"DMi\x001\0{auth_authen}\0\0",
                b"M<bob@y.example>\0SIZE=5\0",
                b"DR{rcpt_addr}\0alice@x.example\0",
                b"R<Alice@x.example>\0NOTIFY=NEVER\0",
                b"R<Alice@x.example>\0",
                b"R<carol@x.example>\0",
                field.as_bytes(),
                b"N",
                b"Bhello\r\n",
                b"Byou",
                b"E",
            ];
            assert_eq!(send(&mut session, &frames), Next::Judge);
            let message = session.message();
            assert_eq!(message.raw, b"Subject: a\r\n b\r\n\r\nhello\r\nyou");
            assert_eq!((message.body, message.fields.len(), &message.fields[0]), (18, 1, &(0..16)));
            assert_eq!((&message.sender[..], &message.login), (&b"<bob@y.example>"[..], &None));
            let resolved = Some(b"alice@x.example".to_vec());
            let alice = Recipient { given: b"<Alice@x.example>".to_vec(), resolved };
            let carol = Recipient { given: b"<carol@x.example>".to_vec(), resolved: None };
            assert_eq!(message.recipients, [alice, carol]);
        }
    }

    #[test]
    fn a_message_knows_nothing_of_the_one_before() {
        for end in [&b"A"[..], b"E", b"K", b"M<x@y.example>\0"] {
            let mut session = session(EVERYTHING);
            let begin: [&[u8]; 6] =
                [b"DM{auth_authen}\0bob\0", b"M<bob@y>\0", b"R<a@x>\0", b"LA\x001\0", b"N", b"Bbody"];
            send(&mut session, &begin);
            assert_eq!(session.message().login.as_deref(), Some(&b"bob"[..]));
            if send(&mut session, &[end]) == Next::Judge {
                session.done();
            }
            let frames: [&[u8]; 4] = [b"M<>\0", b"R<c@x>\0", b"LB\x002\0", b"E"];
            assert_eq!(send(&mut session, &frames), Next::Judge);
            let message = session.message();
            assert_eq!((&message.raw[..], &message.sender[..]), (&b"B:2\r\n"[..], &b"<>"[..]));
            assert!(message.recipients.len() == 1 && message.login.is_none());
        }
    }

    #[test]
    fn a_large_message_is_cut_and_a_large_header_refused() {
        let mut session = session(EVERYTHING);
        let piece = [b"B".to_vec(), vec![b'x'; 600]].concat();
        let frames: [&[u8]; 4] = [b"M<>\0", b"R<c@x>\0", b"N", &piece];
        assert_eq!(send(&mut session, &frames), Next::Answer(Reply::Continue));
        assert_eq!(send(&mut session, &[&piece]), Next::Answer(Reply::Skip));
        assert_eq!(send(&mut session, &[b"E"]), Next::Judge);
        assert_eq!((session.message().raw.len(), session.message().is_cut), (1_000, true));
        let field = [b"LA\0".to_vec(), vec![b'x'; 600], b"\0".to_vec()].concat();
        let frames: [&[u8]; 4] = [b"M<>\0", b"R<c@x>\0", &field, b"E"];
        assert_eq!(send(&mut session, &frames), Next::Judge);
        assert_eq!(session.message().refusal, Some(Refusal::HeaderTooLarge));
        assert!(session.message().raw.is_empty());
    }

    #[test]
    fn a_field_that_others_read_differently_is_refused() {
        for field in ["LA\0 1\nB: 2\0", "LA\0 1\n\nbody\0", "LA\nB\0 1\0", "L\0 1\0", "LA:B\0x\0"] {
            let frames: [&[u8]; 4] = [b"M<>\0", b"R<c@x>\0", field.as_bytes(), b"E"];
            let mut session = session(EVERYTHING);
            send(&mut session, &frames);
            assert_eq!(session.message().refusal, Some(Refusal::Malformed), "{field:?}");
        }
    }

    #[test]
    fn commands_out_of_order_end_the_connection() {
        let mut fresh = Session::new(1_000);
        assert_eq!(fresh.receive(b"M<>\0"), Err(WireError::OutOfOrder(b'M')));
        for frame in [&b"R<a@x>\0"[..], b"LA\0b\0", b"N", b"Bx", b"E", b"T"] {
            assert_eq!(session(EVERYTHING).receive(frame), Err(WireError::OutOfOrder(frame[0])));
        }
        let mut session = session(EVERYTHING);
        send(&mut session, &[b"M<>\0", b"N"]);
        assert_eq!(session.receive(b"LA\0b\0"), Err(WireError::OutOfOrder(b'L')));
        let offer = negotiation(action::ADD_HEADERS, 0);
        assert!(matches!(Session::new(1).receive(&offer), Err(WireError::Actions { .. })));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3_000))]
        // Threat 28.
        #[test]
        fn whatever_comes_there_is_no_panic_and_no_answer_too_many(
            offered in prop_oneof![Just(EVERYTHING), any::<u32>()],
            commands in prop::collection::vec(
                prop_oneof![
                    4 => (prop::sample::select(b"ODCHMRTLNBEAQKU".to_vec()), prop::collection::vec(
                        prop_oneof![Just(0), Just(b'\n'), Just(b' '), any::<u8>()], 0..8)),
                    4 => (prop::sample::select(b"MRLNBE".to_vec()), Just(b"<a@x>\0 b\0".to_vec())),
                    1 => (any::<u8>(), prop::collection::vec(any::<u8>(), 0..8)),
                ],
                0..24,
            )
        ) {
            let mut session = Session::new(200);
            session.receive(&negotiation(0x1ff, offered)).unwrap();
            let mut agreed = Options { version: VERSION, actions: ACTIONS, protocol: offered & WANTED };
            for (letter, data) in commands {
                let frame = [&[letter], &data[..]].concat();
                match session.receive(&frame) {
                    Err(_) | Ok(Next::Close) => break,
                    Ok(Next::Judge) => {
                        prop_assert_eq!(letter, b'E');
                        session.done();
                    }
                    Ok(Next::Answer(Reply::Negotiate(options))) => agreed = options,
                    Ok(next) => prop_assert_eq!(next != Next::Receive, agreed.answers(letter), "{}", char::from(letter)),
                }
                let message = session.message();
                prop_assert!(message.raw.len() <= 202 && message.body <= message.raw.len());
                prop_assert!(message.fields.iter().all(|field| field.end <= message.body));
            }
        }
    }
}
