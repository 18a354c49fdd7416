//! What would have become of the mail of the last year, in a few lines. Nothing is spent or written.

use super::found::is_left_out;
use crate::cli::ui::counts::{counted, grouped, plural};
use crate::cli::ui::exit_status::Failure;
use crate::cli::ui::output;
use crate::config::paths::CliOverrides;
use crate::context::error::Deferral;
use crate::engine::judge::Engine;
use crate::engine::rescan::Scan;
use crate::mailbox::walk::{self, Entry, StoredMessage};
use crate::message::address::Address;
use crate::message::header::escape_untrusted;
use crate::message::parse::Message;
use crate::os::clock;
use crate::verdict::class::Class;
use crate::verdict::facts::Envelope;
use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How far back mail is judged, in seconds.
const YEAR: i64 = 365 * 24 * 60 * 60;
/// Most messages that are judged.
const MESSAGES: u64 = 20_000;
/// Longest time that is spent.
const TIME: Duration = Duration::from_secs(60);
/// Senders that are told apart.
const SENDERS: usize = 100_000;

/// Result so far.
#[derive(Default)]
struct Sums {
    messages: u64,
    /// Let through, by rule or `stamp`.
    through: BTreeMap<String, u64>,
    strangers: u64,
    senders: HashSet<Address>,
    is_cut: bool,
}

/// Judges the mail that came in within a year, and prints what would have happened to it.
///
/// # Errors
/// A failure when nothing can be judged.
pub(super) fn last_year(mail: &[PathBuf], sent: &[PathBuf], given: &CliOverrides) -> Result<(), Failure> {
    if mail.is_empty() {
        return Ok(output::line("no mail was found to judge; mailstamp scan FOLDER judges it")?);
    }
    let engine = Engine::load(given, None)?;
    let since = engine.context.now.0 - YEAR;
    let mut scan = Scan::new(engine, Envelope::default());
    let (mut sums, began) = (Sums::default(), Instant::now());
    let stopped = walk::read(mail, scan.largest(), &mut |found| {
        let Entry::Message(kept) = found else { return ControlFlow::Continue(()) };
        if kept.modified < since || is_left_out(kept.path, sent) {
            return ControlFlow::Continue(());
        }
        if sums.messages >= MESSAGES || began.elapsed() > TIME {
            sums.is_cut = true;
            return ControlFlow::Break(None);
        }
        match sums.judge(&mut scan, &kept, since) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(Some(error)),
        }
    });
    if let ControlFlow::Break(Some(error)) = stopped {
        return Err(error.into());
    }
    sums.print()
}

impl Sums {
    fn judge(&mut self, scan: &mut Scan, kept: &StoredMessage<'_>, since: i64) -> Result<(), Deferral> {
        let judged = scan.judge(kept)?;
        if judged.received.0 < since || judged.received > clock::now() {
            return Ok(());
        }
        self.messages += 1;
        let decision = judged.decision;
        let by = match (&decision.rule, decision.verdict.class()) {
            (Some(rule), Class::Allowed) => Some(escape_untrusted(rule.as_bytes(), 100)),
            (_, Class::FirstClass) => Some("a stamp".to_owned()),
            _ => None,
        };
        match by {
            Some(by) => *self.through.entry(by).or_default() += 1,
            None => {
                self.strangers += 1;
                let author = Message::parse(kept.bytes).authors().into_iter().next();
                if self.senders.len() < SENDERS {
                    self.senders.extend(author);
                }
            }
        }
        Ok(())
    }

    fn print(&self) -> Result<(), Failure> {
        let limit = if self.is_cut { ", and no more were looked at" } else { "" };
        output::line(&format!(
            "mail of the last year, had it been judged: {}{limit}",
            counted(self.messages, "message")
        ))?;
        for (by, count) in &self.through {
            output::line(&format!("  let through by {by}: {}", grouped(*count)))?;
        }
        let senders = self.senders.len() as u64;
        output::line(&format!(
            "  of strangers: {}, from {} sender{}",
            grouped(self.strangers),
            grouped(senders),
            plural(senders)
        ))?;
        Ok(())
    }
}
