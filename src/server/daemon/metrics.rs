//! Metrics of the daemon: messages by class and reason, and how long each took. They are exported to Prometheus as text
//! and to `mailstamp status` as JSON.
//!
//! Counting a message adds to a few atomic numbers, without a lock. `gauges.rs` measures what is not counted.

use super::gauges::{GaugeCollector, Snapshot};
use super::histogram::Latency;
use crate::engine::remote::state::DaemonState;
use crate::engine::remote::status::{self, Status, StatusRequest};
use crate::os::clock;
use crate::server::http::metrics_endpoint::MetricsSource;
use crate::time::UnixTime;
use crate::verdict::class::Class;
use crate::verdict::reason::Reason;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Prefix of every metric name.
const PREFIX: &str = "mailstamp";
/// Maximum age of measured values for Prometheus, which asks periodically.
const SCRAPED: Duration = Duration::from_secs(15);
/// Maximum age of measured values for a status or health request.
const ASKED: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Judged {
    class: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    answer: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Source {
    vendor: String,
    source: String,
}

/// Answer of the milter to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MilterAnswer {
    Accept,
    Reject,
    Discard,
    Defer,
}

impl MilterAnswer {
    /// All answers, with their words.
    const ALL: [(Self, &'static str); 4] =
        [(Self::Accept, "accept"), (Self::Reject, "reject"), (Self::Discard, "discard"), (Self::Defer, "defer")];
}

/// What the milter learned from a message that a user sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LearnResult {
    /// Its recipients.
    Learned,
    /// Those that the user's limits still allow.
    Limited,
    /// Nothing: the login or From is no owner's, or a program or a mailing list sent it.
    Skipped,
    /// Nothing: the log failed.
    Failed,
}

impl LearnResult {
    /// All results, with their words.
    const ALL: [(Self, &'static str); 4] =
        [(Self::Learned, "learned"), (Self::Limited, "limited"), (Self::Skipped, "skipped"), (Self::Failed, "failed")];
}

/// Answer of the submission server to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubmissionAnswer {
    Accept,
    Reject,
    Defer,
}

impl SubmissionAnswer {
    /// All answers, with their words.
    const ALL: [(Self, &'static str); 3] = [(Self::Accept, "accept"), (Self::Reject, "reject"), (Self::Defer, "defer")];
}

/// Numbers since the start of the process.
#[derive(Debug)]
pub struct Metrics {
    began: Instant,
    since: UnixTime,
    /// The metrics that are counted.
    registry: Registry,
    /// One counter for each reason, in the order of [`Reason::ALL`].
    messages: Vec<Counter>,
    deferred: Counter,
    latency: Latency,
    /// One counter for each kind of answer of the milter, in the order of [`MilterAnswer::ALL`].
    milter: Vec<Counter>,
    /// One counter for each result of learning, in the order of [`LearnResult::ALL`].
    learned: Vec<Counter>,
    /// One counter for each kind of answer of the submission server, in the order of [`SubmissionAnswer::ALL`].
    submission: Vec<Counter>,
    failed_logins: Counter,
    pub(in crate::server) connections: AtomicUsize,
    measuring: GaugeCollector,
}

impl Metrics {
    /// Creates the metrics, all zero.
    #[must_use]
    pub fn new() -> Self {
        let (messages, deferred, latency) =
            (Family::<Judged, Counter>::default(), Counter::default(), Latency::default());
        let of = |reason: &Reason| Judged { class: reason.class().as_str(), reason: reason.as_str() };
        let counters = Reason::ALL.iter().map(|reason| messages.get_or_create_owned(&of(reason))).collect();
        let since = clock::now();
        let answers = Family::<Answered, Counter>::default();
        let milter =
            MilterAnswer::ALL.iter().map(|(_, answer)| answers.get_or_create_owned(&Answered { answer })).collect();
        let results = Family::<Outcome, Counter>::default();
        let learned =
            LearnResult::ALL.iter().map(|(_, result)| results.get_or_create_owned(&Outcome { result })).collect();
        let submitted = Family::<Answered, Counter>::default();
        let submission = SubmissionAnswer::ALL
            .iter()
            .map(|(_, answer)| submitted.get_or_create_owned(&Answered { answer }))
            .collect();
        let failed_logins = Counter::default();
        let version = Family::<[(&str, &str); 1], Gauge>::default();
        version.get_or_create(&[("version", env!("CARGO_PKG_VERSION"))]).set(1);
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register("messages", "Messages judged", messages);
        registry.register("messages_deferred", "Messages that could not be judged and were deferred", deferred.clone());
        registry.register("milter_messages", "Messages that the milter answered", answers);
        registry.register("milter_sent", "Messages of users from which the milter learns", results);
        registry.register("submission_messages", "Messages that the submission server answered", submitted);
        registry.register(
            "submission_logins_failed",
            "Logins that the submission server refused",
            failed_logins.clone(),
        );
        registry.register_with_unit("judgement", "Time to judge a message", Unit::Seconds, latency.clone());
        registry.register("build_info", "Version of the program; the value is always 1", version);
        let start = ConstGauge::new(since.0);
        registry.register_with_unit("start_time", "Start time of the process, in Unix time", Unit::Seconds, start);
        Self {
            began: Instant::now(),
            since,
            registry,
            messages: counters,
            deferred,
            latency,
            milter,
            learned,
            submission,
            failed_logins,
            connections: AtomicUsize::new(0),
            measuring: GaugeCollector::default(),
        }
    }

    /// Counts a message that was judged.
    pub fn record_verdict(&self, reason: Reason, took: Duration) {
        if let Some(count) = self.messages.get(reason as usize) {
            count.inc();
        }
        self.latency.observe(took);
    }

    /// Counts a message that was deferred.
    pub fn deferred(&self, took: Duration) {
        self.deferred.inc();
        self.latency.observe(took);
    }

    /// Counts an answer of the milter.
    pub(in crate::server) fn milter_answer(&self, kind: MilterAnswer) {
        if let Some(count) = self.milter.get(kind as usize) {
            count.inc();
        }
    }

    /// Counts a message of a user from which the milter was to learn.
    pub(in crate::server) fn milter_learned(&self, result: LearnResult) {
        if let Some(count) = self.learned.get(result as usize) {
            count.inc();
        }
    }

    /// Counts an answer of the submission server.
    pub fn submission_answer(&self, kind: SubmissionAnswer) {
        if let Some(count) = self.submission.get(kind as usize) {
            count.inc();
        }
    }

    /// Counts a login that the submission server refused.
    pub fn submission_login_failed(&self) {
        self.failed_logins.inc();
    }

    /// Returns the measured metrics. An unknown value is left out, not reported as 0.
    fn found(&self, warm: &DaemonState, found: &Snapshot) -> Registry {
        let mut registry = Registry::with_prefix(PREFIX);
        let whole = |number: u64| ConstGauge::new(i64::try_from(number).unwrap_or(i64::MAX));
        let connections = whole(self.connections.load(Relaxed) as u64);
        registry.register("connections", "Open connections of clients that have messages judged", connections);
        let answers = Family::<Answered, Counter>::default();
        for (answer, count) in warm.attended().each() {
            answers.get_or_create(&Answered { answer }).inc_by(count);
        }
        registry.register("log_answers", "Answers of the log to other processes", answers);
        registry.register("log_up", "Whether the log answers", whole(found.log.is_some().into()));
        let stores = Family::<[(&str, &str); 1], Gauge>::default();
        for log in warm.logs() {
            stores.get_or_create(&[("store", log.kind())]).inc();
        }
        registry.register("log_open", "Open logs by their store", stores);
        if let Some(log) = found.log {
            registry.register_with_unit("log_size", "Size of the log on the disk", Unit::Bytes, whole(log.bytes));
            registry.register("log_serials", "Used serials in the log", whole(log.used));
            registry.register("log_journal_rows", "Rows that only the write-ahead log has so far", whole(log.waiting));
            registry.register("replies_last_day", "Automatic replies sent in 24 hours", whole(log.replies));
        }
        let (age, good) = (Family::<Source, Gauge>::default(), Family::<Source, Gauge>::default());
        for directory in &found.directories {
            let source = Source { vendor: directory.vendor.clone(), source: directory.source.clone() };
            if let Some(seconds) = directory.age {
                age.get_or_create(&source).set(i64::try_from(seconds).unwrap_or(i64::MAX));
            }
            good.get_or_create(&source).set((directory.health == "ok").into());
        }
        registry.register_with_unit("directory_age", "Time since a source last answered", Unit::Seconds, age);
        registry.register("directory_ok", "Whether a source is healthy", good);
        registry
    }

    /// Returns the head of the answer to a status request.
    #[must_use]
    pub fn status(&self, warm: &Arc<DaemonState>, question: &[u8]) -> Vec<u8> {
        // A request of another version is answered too.
        let asked: StatusRequest = serde_json::from_slice(question).unwrap_or_default();
        let found = self.measuring.collect(warm, ASKED);
        let counts: Vec<(Reason, u64)> =
            Reason::ALL.iter().copied().zip(self.messages.iter().map(|count| count.get())).collect();
        let of_class = |class: Class| {
            let counts = counts.iter().filter(|(reason, _)| reason.class() == class);
            (class.as_str().to_owned(), counts.map(|(_, count)| count).sum())
        };
        let occurred = counts.iter().filter(|(_, count)| *count > 0);
        let status = Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            since: self.since.to_string(),
            uptime: self.began.elapsed().as_secs(),
            same_files: asked.file_set.map(|whose| warm.serves(&whose)),
            connections: self.connections.load(Relaxed) as u64,
            messages: counts.iter().map(|(_, count)| count).sum(),
            classes: Class::ALL.into_iter().map(of_class).collect(),
            reasons: occurred.map(|(reason, count)| (reason.as_str().to_owned(), *count)).collect(),
            deferred: self.deferred.get(),
            latency: status::Latency { median: self.latency.quantile(0.5), p99: self.latency.quantile(0.99) },
            store: warm.logs().first().map(|log| log.kind().to_owned()).unwrap_or_default(),
            log: status::Log {
                answers: found.log.is_some(),
                bytes: found.log.map(|log| log.bytes),
                serials: found.log.map(|log| log.used),
                waiting: found.log.map(|log| log.waiting),
            },
            log_answers: warm.attended().each().map(|(answer, count)| (answer.to_owned(), count)).collect(),
            replies: found.log.map(|log| log.replies),
            directories: found.directories,
        };
        serde_json::to_vec(&status).unwrap_or_default()
    }

    /// Waits until no measurement runs.
    pub(super) fn end(&self) {
        self.measuring.end();
    }
}

/// The numbers of a daemon, counted and measured.
pub(super) struct MeasuredMetrics {
    pub numbers: Arc<Metrics>,
    pub warm: Arc<DaemonState>,
}

impl MetricsSource for MeasuredMetrics {
    fn text(&self) -> Result<String, fmt::Error> {
        let Self { numbers, warm } = self;
        let mut text = String::new();
        text::encode_registry(&mut text, &numbers.registry)?;
        text::encode_registry(&mut text, &numbers.found(warm, &numbers.measuring.collect(warm, SCRAPED)))?;
        text::encode_eof(&mut text)?;
        Ok(text)
    }

    fn trouble(&self) -> Option<&'static str> {
        let answers = self.numbers.measuring.collect(&self.warm, ASKED).log.is_some();
        (!answers).then_some("the log does not answer")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_counted_by_its_own_number() {
        let numbers = Metrics::new();
        for (at, reason) in Reason::ALL.iter().enumerate() {
            (0..=at).for_each(|_| numbers.record_verdict(*reason, Duration::ZERO));
        }
        let mut text = String::new();
        text::encode_registry(&mut text, &numbers.registry).unwrap();
        for (at, reason) in Reason::ALL.iter().enumerate() {
            let line =
                format!("\nmailstamp_messages_total{{class=\"{}\",reason=\"{reason}\"}} {}\n", reason.class(), at + 1);
            assert!(text.contains(&line), "{line}{text}");
        }
    }
}
