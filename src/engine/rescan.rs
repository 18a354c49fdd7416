//! Rescan: judges stored mail as of its receiving time, message by message, in the order in which it is kept. It spends
//! and writes nothing. It only reads the log, and spends what the log does not know in a log in memory. So the second
//! of two old messages with one stamp is `used` here too.

use super::judge::{AskLog, Engine, LazyStore};
use super::marking::Mode;
use crate::context::error::Deferral;
use crate::mailbox::mbox;
use crate::mailbox::walk::StoredMessage;
use crate::message::address::Address;
use crate::message::header::without_comments;
use crate::message::parse::Message;
use crate::message::separator::Separator;
use crate::peer::record::PeerRecord;
use crate::policy::context::Extent;
use crate::policy::decision::Decision;
use crate::store::memory::Memory;
use crate::store::{StoreError, UsedLog};
use crate::time::UnixTime;
use crate::verdict::facts::Envelope;
use crate::verdict::owner::Owner;
use crate::verdict::reason::Reason;
use crate::verdict::spend::{Redelivery, SpendRequest, SpendResult, Terms};
use std::cell::Cell;

/// The judge of stored mail.
#[derive(Debug)]
pub struct Scan {
    engine: Engine,
    envelope: Envelope,
    /// Spends of the messages so far: about 60 bytes for each message with a good stamp.
    seen: Memory,
}

/// The result for one message.
#[derive(Clone, Debug)]
pub struct JudgedMessage {
    /// The judgement.
    pub decision: Decision,
    pub received: UnixTime,
    /// The source of the receiving time.
    pub clue: ReceivedTime,
    /// Whether the log reaches back far enough to know an earlier use of its stamp.
    pub reuse_checked: bool,
}

/// The source of a message's receiving time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceivedTime {
    /// The topmost Received field, which the user's own host wrote.
    Received,
    /// The `From ` line of the mbox file, which the delivering program wrote.
    FromLine,
    File,
}

impl ReceivedTime {
    /// The stable word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::FromLine => "from-line",
            Self::File => "file",
        }
    }
}

impl Scan {
    /// Makes a judge with the engine's configuration, for the envelope's recipient if it names one.
    #[must_use]
    pub fn new(mut engine: Engine, envelope: Envelope) -> Self {
        // Messages do not come in the order of their times, so no row may be purged on the way.
        engine.context.now_overridden = true;
        Self { engine, envelope, seen: Memory::with_grace(i64::MAX) }
    }

    /// Returns the most bytes of a message that are read.
    #[must_use]
    pub fn largest(&self) -> u64 {
        self.engine.context.config.largest
    }

    /// Judges one message.
    ///
    /// # Errors
    /// [`Deferral`]: a local failure, which other messages would meet too.
    pub fn judge(&mut self, kept: &StoredMessage<'_>) -> Result<JudgedMessage, Deferral> {
        let message = Message::parse(kept.bytes);
        let (received, clue) = receiving_time(&message, kept.modified);
        self.engine.context.now = received;
        let checked = Cell::new(true);
        let mut decision = if kept.cut {
            self.engine.judge_beginning(&message, &self.envelope)?
        } else {
            self.ask(&message, &checked)?
        };
        // A delivering program may have quoted some lines after the message was judged.
        if decision.verdict.reason == Reason::Used
            && kept.number.is_some()
            && let Some(before) = mbox::unquoted(kept.bytes)
        {
            let unquoted = self.ask(&Message::parse(&before), &checked)?;
            if unquoted.verdict.reason == Reason::Again {
                decision = unquoted;
            }
        }
        Ok(JudgedMessage {
            decision,
            received,
            clue,
            reuse_checked: checked.get() && self.engine.context.config.used_log,
        })
    }

    fn ask(&self, message: &Message<'_>, checked: &Cell<bool>) -> Result<Decision, Deferral> {
        let engine = &self.engine;
        let verdict = engine.verdicts(message, &ScanLog { scan: self, checked }, |verdict| verdict(&self.envelope))?;
        engine.decide(verdict, message, &self.envelope, Extent::Whole, &LazyStore::new(engine))
    }
}

/// The log as it is, and beside it what this scan has seen. It is opened for each request only: mail may come
/// meanwhile.
struct ScanLog<'a> {
    scan: &'a Scan,
    checked: &'a Cell<bool>,
}

impl AskLog for ScanLog<'_> {
    fn spend(&self, spend: &SpendRequest) -> Result<SpendResult, Deferral> {
        let engine = &self.scan.engine;
        engine.context.preflight()?;
        let log = engine.used_log()?;
        let answer = match engine.ask(log.as_ref(), spend, Mode::DryRun) {
            Err(Deferral::Store(StoreError::ClockBehind { .. })) | Ok(SpendResult::Ended) => {
                // The log has purged the stamps of that time. A delivery must refuse them. Here nothing is at stake,
                // and grants and revocations still count.
                self.checked.set(false);
                engine.ask(log.as_ref(), &SpendRequest { terms: Terms::LookUp, ..spend.clone() }, Mode::DryRun)?
            }
            other => other?,
        };
        let spends = engine.context.config.used_log && spend.terms == Terms::Spend;
        if answer != SpendResult::Fresh || !spends {
            return Ok(answer);
        }
        // A copy of a message in another folder is the same message, however much later it was made.
        Ok(self.scan.seen.spend(&SpendRequest { redelivery: Redelivery::EVER, ..spend.clone() })?)
    }

    fn peer(&self, owner: Owner, correspondent: &Address) -> Result<PeerRecord, Deferral> {
        Ok(self.scan.engine.used_log()?.peer(owner, correspondent)?)
    }
}

/// Returns the receiving time of a message.
fn receiving_time(message: &Message<'_>, modified: i64) -> (UnixTime, ReceivedTime) {
    let top = message.first("Received").map(|field| without_comments(&field.unfolded()));
    // The date comes after the last semicolon (RFC 5321 4.4). Comments around and in it may have more of them.
    if let Some(time) = top.and_then(|text| UnixTime::from_rfc5322(text.rsplit(|&b| b == b';').next()?)) {
        return (time, ReceivedTime::Received);
    }
    match message.envelope_line().split(|&b| b == b'\n').next().and_then(Separator::parse) {
        Some(line) => (line.time, ReceivedTime::FromLine),
        None => (UnixTime(modified), ReceivedTime::File),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(raw: &[u8]) -> (i64, ReceivedTime) {
        let (time, clue) = receiving_time(&Message::parse(raw), 7);
        (time.0, clue)
    }

    #[test]
    fn the_top_received_field_says_when() {
        let raw = b"From x Thu Jan  1 00:00:09 1970\nReceived: from a (b; c) by d;\n\tSat, 21 Nov 2026 13:00:00 +0100 (CET)\n\
            Received: by e; Thu, 1 Jan 1970 00:00:05 +0000\n\n";
        assert_eq!(received(raw), (1_795_262_400, ReceivedTime::Received));
    }

    #[test]
    fn without_it_the_envelope_line_and_then_the_file_say_when() {
        assert_eq!(received(b"From x Thu Jan  1 00:00:09 1970\nA: b\n\n"), (9, ReceivedTime::FromLine));
        assert_eq!(received(b"From x@y Sat Nov 21 12:00:00 2026\r\nReceived: yesterday\n\n").0, 1_795_262_400);
        for raw in [b"Received: by a; soon\n\n".as_slice(), b"From x\n\n", b"From \xff Sat Nov 21 12:00 2026\n", b""] {
            assert_eq!(received(raw), (7, ReceivedTime::File), "{raw:?}");
        }
        for date in [
            "by d; Sat, 21 Nov 2026 12:00:00 +0000 (UTC; (x) y\\) z)",
            "by d (a;b); (Saturday; noon) Sat, 21 (the) Nov 2026\n 12:00:00 +0000",
            "by d id \"(\"; Sat, 21 Nov 2026 12:00:00 +0000",
            "by d; Sat, 21 Nov 2026 12:00:00 +0000 (UTC",
        ] {
            let raw = format!("Received: {date}\n\n");
            assert_eq!(received(raw.as_bytes()), (1_795_262_400, ReceivedTime::Received), "{date}");
        }
        assert_eq!(received(b"Received: ; 1 Jan 1960 00:00:00 +0000\n\n"), (7, ReceivedTime::File));
    }
}
