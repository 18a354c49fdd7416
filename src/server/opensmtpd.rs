//! Filter for OpenSMTPD: a child process of smtpd(8) that judges the mail of an organisation (mailstamp-milter(8)).
//!
//! One thread reads smtpd's lines, and a few others judge. smtpd writes without waiting and reads at any time, so a
//! blocking write ends. The protocol is in `boundary::opensmtpd`.
//!
//! Each judgement reads configuration, rules and keys anew, and asks the log as any command does: through the daemon,
//! where one has it open. Whatever fails, the answer is 451 without a change. If this process ends, so does smtpd.

use super::diagnostics::log_stderr;
use super::milter::edits::edited;
use super::milter::judgement::{decide, envelopes, refusal};
use super::milter::learning::learn;
use crate::boundary::opensmtpd::{Filter, LINE_MAX, Outcome, ProtocolError, Work};
use crate::boundary::plan::{Plan, plan_for_all, shared};
use crate::boundary::session::Incoming;
use crate::config::Config;
use crate::config::paths::{CliOverrides, Paths, PathsError, is_setuid};
use crate::config::rules::{self, RulesError};
use crate::engine::judge::Engine;
use crate::engine::result_header;
use crate::log::verdict_log::Entry;
use crate::message::parse::Message;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

/// Threads that judge. Each waits mostly for the log.
const JUDGES: usize = 8;
/// Least memory for messages, in bytes.
const MEMORY_MIN: usize = 64 << 20;
/// Longest SMTP reply without its line end (RFC 5321 section 4.5.3.1.5), in bytes.
const REPLY_MAX: usize = 510;

/// What a sender is told when the message could not be judged.
const TRY_AGAIN: &str = "451 4.7.1 cannot judge the message now, try again later";

/// The filter cannot start, or must end.
#[derive(Debug, thiserror::Error)]
pub enum OpensmtpdError {
    #[error(transparent)]
    Config(#[from] PathsError),
    #[error(transparent)]
    Rules(#[from] RulesError),
    #[error("the configuration has no table [boundary]")]
    NoBoundary,
    #[error(
        "boundary: the configuration has %u, %n or %d; write addresses = [\"*@your.example\"], and one state for all"
    )]
    ByUser,
    #[error("an installation that is set-id cannot be a filter")]
    SetId,
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    #[error("smtpd: {0}")]
    Io(#[from] io::Error),
}

/// The protocol, and where its answers go. Locked together, so that answers keep their order.
struct Conversation<W> {
    filter: Filter,
    output: W,
}

/// Answers the lines of `input` until its end.
///
/// # Errors
/// [`OpensmtpdError`]: nothing more can be judged.
pub fn run(given: &CliOverrides, input: impl Read, output: impl Write + Send) -> Result<(), OpensmtpdError> {
    if is_setuid() {
        return Err(OpensmtpdError::SetId);
    }
    let Engine { context, .. } = Engine::load(given, None)?;
    if context.config.boundary.is_none() {
        return Err(OpensmtpdError::NoBoundary);
    }
    if context.places.by_user {
        return Err(OpensmtpdError::ByUser);
    }
    rules::in_force(&context.config, &context.places)?;
    let (largest, memory) = limits(&context.config);
    let filter = Filter::new(largest, memory);
    let conversation = Mutex::new(Conversation { filter, output });
    let (hand_over, works) = channel();
    let works = Mutex::new(works);
    thread::scope(|scope| {
        for _ in 0..JUDGES {
            thread::Builder::new().name("judge".into()).spawn_scoped(scope, || {
                judge_all(given, &works, &conversation);
            })?;
        }
        // The judges end with it, after what was handed over.
        let hand_over = hand_over;
        let mut input = BufReader::new(input);
        let mut line = Vec::new();
        loop {
            line.clear();
            (&mut input).take(LINE_MAX as u64 + 1).read_until(b'\n', &mut line)?;
            let Some(text) = line.strip_suffix(b"\n") else {
                return if line.len() > LINE_MAX { Err(ProtocolError::LineTooLong.into()) } else { Ok(()) };
            };
            let mut answer = Vec::new();
            let mut conversation = locked(&conversation);
            if Filter::begins(text)
                && let Ok((config, _)) = Paths::read(given)
            {
                let (largest, memory) = limits(&config);
                conversation.filter.limit(largest, memory);
            }
            let work = conversation.filter.receive(text, &mut answer)?;
            conversation.send(&answer)?;
            drop(conversation);
            // The judges live as long as this.
            work.into_iter().for_each(|work| drop(hand_over.send(work)));
        }
    })
}

/// Returns the limit on the size of a message, and the memory for all messages, both in bytes.
fn limits(config: &Config) -> (usize, usize) {
    let largest = usize::try_from(config.largest).unwrap_or(usize::MAX);
    // A message in one block, which doubles while it grows.
    (largest, largest.saturating_mul(3).max(MEMORY_MIN))
}

impl<W: Write> Conversation<W> {
    fn send(&mut self, answer: &[u8]) -> io::Result<()> {
        if answer.is_empty() {
            return Ok(());
        }
        self.output.write_all(answer)?;
        self.output.flush()
    }
}

/// Judges messages until no more come.
fn judge_all<W: Write>(given: &CliOverrides, works: &Mutex<Receiver<Work>>, conversation: &Mutex<Conversation<W>>) {
    loop {
        let Ok(work) = locked(works).recv() else { return };
        let judged = catch_unwind(AssertUnwindSafe(|| judge(given, &work.message)));
        let judged = judged.unwrap_or_else(|_| Err("internal error".to_owned()));
        let (outcome, log) = judged.map_or_else(
            |trouble| {
                log_stderr(&format!("message deferred: {trouble}"));
                (Outcome::Refuse(TRY_AGAIN.to_owned()), None)
            },
            |Judged { outcome, engine, entries }| (outcome, Some((engine, entries))),
        );
        let mut answer = Vec::new();
        let mut conversation = locked(conversation);
        conversation.filter.finish(&work, outcome, &mut answer);
        // Where smtpd is gone, the reading thread sees its end too.
        let _ = conversation.send(&answer);
        drop(conversation);
        if let Some((engine, entries)) = log {
            entries.iter().for_each(|entry| engine.record(entry));
        }
    }
}

/// A judgement, before it is answered.
struct Judged {
    outcome: Outcome,
    engine: Engine,
    /// The log lines that are still to be written.
    entries: Vec<Entry>,
}

/// Judges a message. Good stamps are spent, durably, before this returns.
///
/// # Errors
/// Why it must be tried again.
fn judge(given: &CliOverrides, incoming: &Incoming) -> Result<Judged, String> {
    let engine = Engine::load(given, None).map_err(|error| error.to_string())?;
    let boundary = engine.context.config.boundary.clone().ok_or("[boundary] is no longer in the configuration")?;
    let message = Message::parse(&incoming.raw);
    let envelopes = envelopes(incoming, &engine);
    let mut decisions = decide(&engine, incoming.is_cut, &message, envelopes.iter().map(Option::as_ref))?;
    let outcome = match plan_for_all(&mut decisions, boundary.mixed) {
        Plan::Deliver(_) => {
            let (mut edit, new) = edited(&engine, &boundary, &message, &shared(&decisions));
            new.into_iter().for_each(|field| edit.insert_top(field));
            Outcome::Deliver(edit.pieces().collect::<Vec<_>>().concat())
        }
        Plan::Reject | Plan::Discard => {
            let mut reply = format!("550 5.7.1 {}", refusal(&boundary, &decisions, &engine).join(" "));
            reply.truncate((0..=REPLY_MAX).rev().find(|end| reply.is_char_boundary(*end)).unwrap_or_default());
            Outcome::Refuse(reply)
        }
    };
    let is_own = boundary.learns_sent && matches!(outcome, Outcome::Deliver(_));
    if let Some(login) = incoming.login.as_deref().filter(|_| is_own) {
        learn(&engine, login, incoming, &message);
    }
    let judged = decisions.iter().zip(&envelopes).filter_map(|(it, to)| it.as_ref().zip(to.as_ref()));
    let entry = |(decision, envelope)| result_header::entry(decision, &message, envelope, engine.context.now);
    let entries = judged.map(entry).collect();
    Ok(Judged { outcome, entries, engine })
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
