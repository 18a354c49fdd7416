//! What is answered to each frame of a connection. Nothing of one frame is remembered for the next.

use super::numbers::Numbers;
use super::peer::Peer;
use crate::filter::question::{LARGEST, Question};
use crate::filter::warm::{Reply, Warm};
use crate::socket::frame::{Frame, HEAD_MAX, Kind, Limits};
use crate::store::question::undecided;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

/// The limits of a question.
pub(super) const LIMITS: Limits = Limits { head: HEAD_MAX, body: LARGEST };

/// What every connection is answered from.
#[derive(Debug)]
pub(super) struct Service {
    warm: Arc<Warm>,
    numbers: Arc<Numbers>,
    pub(super) system: bool,
}

impl Service {
    pub(super) fn new(warm: Arc<Warm>, numbers: Arc<Numbers>, system: bool) -> Self {
        Self { warm, numbers, system }
    }

    pub(super) fn numbers(&self) -> &Numbers {
        &self.numbers
    }

    /// The answer to a frame: its kind and head. A panic is our own trouble, and the message waits.
    pub(super) fn answer(&self, frame: &Frame, peer: &Peer) -> (Kind, Vec<u8>) {
        let answered = catch_unwind(AssertUnwindSafe(|| match frame.kind {
            Kind::Judge => self.judge(frame, peer),
            Kind::Status => (Kind::Well, self.numbers.status(&self.warm, &frame.head)),
            _ => (Kind::Refused, b"{}".to_vec()),
        }));
        answered.unwrap_or_else(|_| undecided("the resident process met a mistake of its own", None))
    }

    fn judge(&self, frame: &Frame, peer: &Peer) -> (Kind, Vec<u8>) {
        let began = Instant::now();
        // A question of a later version may have what this one does not know; then it is not for us.
        let Ok(question) = serde_json::from_slice::<Question>(&frame.head) else {
            return (Kind::Yourself, b"{}".to_vec());
        };
        let user = match peer {
            Peer::Any => None,
            Peer::Only(name) => Some(name.as_str()),
        };
        match self.warm.answer(&question, &frame.body, user) {
            Reply::Judged(answer) => {
                self.numbers.judged(answer.decision.verdict.reason, began.elapsed());
                match answer.to_head() {
                    Ok(head) => (Kind::Judged, head),
                    Err(error) => undecided(&error.to_string(), None),
                }
            }
            Reply::WantBody => (Kind::WantBody, b"{}".to_vec()),
            Reply::Yourself => (Kind::Yourself, b"{}".to_vec()),
            Reply::Undecided(error) => {
                self.numbers.deferred(began.elapsed());
                undecided(&error.to_string(), error.hint())
            }
        }
    }
}
