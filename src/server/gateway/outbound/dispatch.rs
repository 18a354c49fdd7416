//! Sends a complete message to the servers of its recipients, each over one connection, and returns an answer for each
//! recipient.
//!
//! All servers are asked for their offers first, so that the payments of a message share one commit. The answers must be
//! there before the mail system gives up: Postfix waits for 600 s.

use super::super::id_keys::{self, IdKeys};
use super::super::metrics::Metrics;
use super::payments::{Bill, Payments};
use crate::accounting::hash::Hash;
use crate::emstamp::envelope_id;
use crate::emstamp::fate::Fate;
use crate::emstamp::id::IdKey;
use crate::emstamp::outbound::answer::Answer;
use crate::emstamp::outbound::delivery::{Delivery, Envelope, Question, Recipient};
use crate::emstamp::outbound::lmtp;
use crate::message::address::Address;
use crate::message::fingerprint::Fingerprint;
use crate::message::parse::Message;
use crate::net::smtp::route::{Connected, RouteError, Server};
use crate::os::clock;
use crate::server::diagnostics::log_stderr;
use crate::smtp::client::Conversation as _;
use crate::smtp::client::text::Text;
use crate::stamp::serial::Serial;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant};

/// Timeout of each step of a connection (RFC 5321 section 4.5.3.2).
const STEP_TIMEOUT: Duration = Duration::from_secs(300);
/// Time until all servers have made their offers. Servers wait for 5 minutes at least for the next command.
const OFFERS_TIMEOUT: Duration = Duration::from_secs(120);
/// Time for the whole message.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(540);
/// Most servers at once for one message.
const SERVERS_MAX: usize = 16;

/// Sends messages.
pub(super) struct Dispatch {
    /// The name of the gateway.
    pub name: String,
    /// The server of each domain.
    pub servers: BTreeMap<String, Arc<Server>>,
    /// Keys of the IDs of envelopes.
    pub envelope_keys: Arc<IdKeys>,
    pub payments: Payments,
    /// Takes the payments of delivered messages.
    pub settle: Sender<Vec<Hash>>,
    pub numbers: Arc<Metrics>,
}

/// The delivery to one server.
struct Running<'a> {
    server: &'a Server,
    delivery: Delivery<'a>,
    connected: Option<Connected<'a>>,
    /// The recipients, in the order of the delivery.
    recipients: Vec<&'a Address>,
}

impl Dispatch {
    /// Sends a message. The answers are in the order of its recipients.
    pub(super) fn send(&self, message: &lmtp::Message) -> Vec<Answer> {
        let began = Instant::now();
        let parsed = Message::parse(&message.raw);
        let bill = Bill::new(Fingerprint::of(&parsed));
        let is_utf8_header = message.parameters.is_utf8 && !parsed.header().is_ascii();
        let text = Text::of(&mut std::iter::once(message.raw.as_slice()));
        let mut answers = HashMap::new();
        let mut delivered = Vec::new();
        let groups = self.groups(message);
        for part in groups.chunks(SERVERS_MAX) {
            let mut running: Vec<Running<'_>> = Vec::with_capacity(part.len());
            for (server, recipients) in part {
                let to =
                    recipients.iter().map(|it| Recipient { address: &it.address, notifications: &it.notifications });
                let envelope = Envelope {
                    name: &self.name,
                    id: message.sender.as_ref().and_then(|sender| self.envelope_id(sender)),
                    host: server.host(),
                    sender: message.sender.as_ref(),
                    parameters: &message.parameters,
                    is_utf8_header,
                    recipients: to.collect(),
                    text: &text,
                };
                let delivery = Delivery::new(envelope, server.needs_tls());
                let recipients = recipients.iter().map(|it| &it.address).collect();
                running.push(Running { server, delivery, connected: None, recipients });
            }
            self.run(&mut running, &bill, began);
            for it in running {
                for (address, (answer, paid)) in it.recipients.iter().zip(it.delivery.outcome()) {
                    if let Some(credits) = paid.filter(|_| answer.is_success()) {
                        delivered.extend(bill.name(address));
                        self.numbers.outbound.paid(credits);
                    } else {
                        self.numbers.outbound.count(Fate::of_reply(answer.code), 1);
                    }
                    answers.insert(*address, answer);
                }
            }
        }
        if !delivered.is_empty() {
            // The answer does not wait for the note.
            let _ = self.settle.send(delivered);
        }
        let lost = || Answer::own(451, "4.3.0", "internal error of the gateway");
        let answer = |it: &lmtp::Recipient| answers.get(&it.address).cloned().unwrap_or_else(lost);
        message.recipients.iter().map(answer).collect()
    }

    /// Returns a new ID for the envelope of a message, by which a report about it is known.
    fn envelope_id(&self, sender: &Address) -> Option<Serial> {
        let now = clock::now();
        let nonce = id_keys::nonce();
        let id = nonce.and_then(|nonce| {
            let issue = |keys: &[IdKey]| {
                let key = keys.first().ok_or(io::ErrorKind::NotFound)?;
                envelope_id::issue(key, nonce, now.plus(envelope_id::LIFE), sender).map_err(io::Error::other)
            };
            self.envelope_keys.with(now, issue)?
        });
        // Mail leaves without it, too.
        id.map_err(|error| log_stderr(&format!("gateway: mail leaves without an ID for reports: {error}"))).ok()
    }

    /// Returns the servers with their recipients, each once.
    fn groups<'a>(&'a self, message: &'a lmtp::Message) -> Vec<(&'a Arc<Server>, Vec<&'a lmtp::Recipient>)> {
        let mut groups: Vec<(&Arc<Server>, Vec<&lmtp::Recipient>)> = Vec::new();
        let mut known = std::collections::HashSet::new();
        for recipient in message.recipients.iter().filter(|it| known.insert(&it.address)) {
            // The session takes no other domain.
            let Some(server) = self.servers.get(recipient.address.domain()) else { continue };
            match groups.iter_mut().find(|(it, _)| Arc::ptr_eq(it, server)) {
                Some((_, recipients)) => recipients.push(recipient),
                None => groups.push((server, vec![recipient])),
            }
        }
        groups
    }

    /// Runs deliveries to their end, up to the offers all at once.
    fn run(&self, running: &mut [Running<'_>], bill: &Bill, began: Instant) {
        for_each(running, |it| it.advance(began + OFFERS_TIMEOUT));
        let mut asked: Vec<(usize, Question)> = Vec::new();
        for (at, it) in running.iter().enumerate() {
            asked.extend(it.delivery.questions().into_iter().map(|question| (at, question)));
        }
        let of = |(at, question): &(usize, Question)| {
            let address = running.get(*at)?.recipients.get(question.recipient).copied()?;
            Some((address, question.clone()))
        };
        let questions: Vec<(&Address, Question)> = asked.iter().filter_map(of).collect();
        let mut choices = self.payments.decide(bill, &questions).into_iter();
        let mut asked = asked.into_iter().peekable();
        for (at, it) in running.iter_mut().enumerate() {
            let mut own = Vec::new();
            while let Some((_, question)) = asked.next_if(|(of, _)| *of == at) {
                own.extend(choices.next().map(|choice| (question.recipient, choice)));
            }
            it.delivery.decide(own);
        }
        for_each(running, |it| {
            it.advance(began + MESSAGE_TIMEOUT);
            // A server that wants another ID.
            while !it.delivery.is_over() {
                let asked = it.delivery.questions();
                let of = |question: &Question| Some((*it.recipients.get(question.recipient)?, question.clone()));
                let questions: Vec<(&Address, Question)> = asked.iter().filter_map(of).collect();
                let choices = self.payments.decide(bill, &questions);
                it.delivery.decide(asked.iter().map(|it| it.recipient).zip(choices).collect());
                it.advance(began + MESSAGE_TIMEOUT);
            }
            it.connected.take().into_iter().for_each(Connected::close);
        });
    }
}

impl Running<'_> {
    /// Goes on until the delivery is over, or asks something.
    fn advance(&mut self, until: Instant) {
        if self.delivery.is_over() {
            return;
        }
        let connected = match &mut self.connected {
            Some(connected) => Ok(connected),
            empty => self.server.connect(STEP_TIMEOUT).map(|it| empty.insert(it)),
        };
        let advanced = connected.and_then(|connected| connected.advance(&mut self.delivery, until));
        if let Err(RouteError { enhanced, text }) = advanced {
            let is_undecided = self.delivery.is_undecided();
            let after = if is_undecided { " after the message; it is shown the same payment again" } else { "" };
            self.delivery.fail(&Answer::own(451, enhanced, text + after));
            self.connected = None;
        }
    }
}

/// Calls `act` for each, on threads of their own where there are several.
fn for_each<T: Send>(each: &mut [T], act: impl Fn(&mut T) + Sync) {
    if let [it] = each {
        return act(it);
    }
    thread::scope(|scope| {
        for it in each {
            scope.spawn(|| act(it));
        }
    });
}
