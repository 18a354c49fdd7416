//! What is answered to each frame of a connection. Nothing of one frame is remembered for the next.

use super::metrics::Numbers;
use super::peer_credentials::Peer;
use crate::engine::remote::protocol::{LARGEST, Question};
use crate::engine::remote::state::{Reply, Warm};
use crate::ipc::frame::{Frame, HEAD_MAX, Kind, Limits};
use crate::store::combining::client::undecided;
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
}

impl Service {
    pub(super) fn new(warm: Arc<Warm>, numbers: Arc<Numbers>) -> Self {
        Self { warm, numbers }
    }

    pub(super) fn numbers(&self) -> &Numbers {
        &self.numbers
    }

    /// Answers a frame: `send` is called once, with the kind and the head of the answer. A panic is our own trouble, and
    /// the message waits.
    pub(super) fn answer(&self, frame: &Frame, peer: &Peer, send: impl FnOnce(Kind, &[u8])) {
        let mut send = Some(send);
        let mut once = |kind, head: &[u8]| send.take().into_iter().for_each(|send| send(kind, head));
        let answered = catch_unwind(AssertUnwindSafe(|| match frame.kind {
            Kind::Judge => self.judge(frame, peer, &mut once),
            Kind::Status => once(Kind::Well, &self.numbers.status(&self.warm, &frame.head)),
            _ => once(Kind::Refused, b"{}"),
        }));
        if answered.is_err() {
            let (kind, head) = undecided("the resident process met a mistake of its own", None);
            once(kind, &head);
        }
    }

    fn judge(&self, frame: &Frame, peer: &Peer, send: &mut dyn FnMut(Kind, &[u8])) {
        let began = Instant::now();
        // A question of a later version may have what this one does not know; then it is not for us.
        let Ok(question) = serde_json::from_slice::<Question>(&frame.head) else {
            return send(Kind::Yourself, b"{}");
        };
        let user = match peer {
            Peer::Any => None,
            Peer::Only(name) => Some(name.as_str()),
        };
        self.warm.answer(&question, &frame.body, user, |reply| {
            // Before it is sent: whoever has his answer finds it counted, and how slowly he reads is not our time.
            match &reply {
                Reply::Judged(answer) => self.numbers.judged(answer.decision.verdict.reason, began.elapsed()),
                Reply::Undecided(_) => self.numbers.deferred(began.elapsed()),
                Reply::WantBody | Reply::Yourself => {}
            }
            let (kind, head) = match &reply {
                Reply::Judged(answer) => match answer.to_head() {
                    Ok(head) => (Kind::Judged, head),
                    Err(error) => undecided(&error.to_string(), None),
                },
                Reply::WantBody => (Kind::WantBody, b"{}".to_vec()),
                Reply::Yourself => (Kind::Yourself, b"{}".to_vec()),
                Reply::Undecided(error) => undecided(&error.to_string(), error.hint()),
            };
            send(kind, &head);
        });
    }
}
