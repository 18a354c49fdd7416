//! What is counted while messages are judged: classes, reasons, and how long each took.

use crate::filter::warm::Warm;
use crate::verdict::reason::Reason;
use serde_json::json;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The numbers since the process began.
#[derive(Debug)]
pub struct Numbers {
    began: Instant,
    reasons: Vec<AtomicU64>,
    deferred: AtomicU64,
    pub(super) connections: AtomicUsize,
}

impl Numbers {
    /// All at nothing.
    #[must_use]
    pub fn new() -> Self {
        Self {
            began: Instant::now(),
            reasons: Reason::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
            deferred: AtomicU64::new(0),
            connections: AtomicUsize::new(0),
        }
    }

    /// A message was judged.
    pub fn judged(&self, reason: Reason, _took: Duration) {
        if let Some(count) = Reason::ALL.iter().position(|it| *it == reason).and_then(|at| self.reasons.get(at)) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// A message has to wait.
    pub fn deferred(&self, _took: Duration) {
        self.deferred.fetch_add(1, Relaxed);
    }

    /// The head of the answer to a status question.
    #[must_use]
    pub fn status(&self, _warm: &Warm) -> Vec<u8> {
        let reasons: serde_json::Map<_, _> = Reason::ALL
            .iter()
            .zip(&self.reasons)
            .filter_map(|(reason, count)| {
                let count = count.load(Relaxed);
                (count > 0).then(|| (reason.as_str().to_owned(), count.into()))
            })
            .collect();
        let status = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "uptime": self.began.elapsed().as_secs(),
            "connections": self.connections.load(Relaxed),
            "deferred": self.deferred.load(Relaxed),
            "reasons": reasons,
        });
        status.to_string().into_bytes()
    }
}

impl Default for Numbers {
    fn default() -> Self {
        Self::new()
    }
}
